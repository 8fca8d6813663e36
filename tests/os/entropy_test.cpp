// Tests of random_bytes.
#include "os/entropy.hpp"

#include <set>
#include <vector>

#include "support/catch.hpp"

using namespace armdb;

TEST_CASE("entropy: any size is filled, each time anew") {
  for (const std::size_t size : {0u, 1u, 16u, 255u, 256u, 257u, 100000u}) {
    std::vector<std::uint8_t> bytes(size);
    REQUIRE(os::random_bytes(bytes).ok());
    if (size < 255) continue;
    const std::set<std::uint8_t> tail(bytes.end() - 255, bytes.end());
    CHECK(tail.size() > 100);  // about 162 of 256 values in 255 draws
  }
  ByteArray<16> one{};
  ByteArray<16> two{};
  REQUIRE(os::random_bytes(one).ok());
  REQUIRE(os::random_bytes(two).ok());
  CHECK(one != two);
}

// Tests of integers in byte order.
#include "base/little.hpp"

#include <cstdint>

#include "support/catch.hpp"

using namespace armdb::base;

TEST_CASE("little: files are little-endian and keys big-endian, at any address", "[pitfall-38]") {
  std::uint8_t bytes[9] = {};
  store_little<std::uint64_t>(bytes + 1, 0x0102030405060708u);
  CHECK(bytes[1] == 8);
  CHECK(bytes[8] == 1);
  CHECK(load_little<std::uint64_t>(bytes + 1) == 0x0102030405060708u);
  CHECK(load_big<std::uint64_t>(bytes + 1) == 0x0807060504030201u);
  store_big<std::uint32_t>(bytes + 3, 0x0a0b0c0du);
  CHECK(bytes[3] == 0x0a);
  CHECK(load_big<std::uint32_t>(bytes + 3) == 0x0a0b0c0du);
  CHECK(load_little<std::uint32_t>(bytes + 3) == 0x0d0c0b0au);
  store_little<std::uint16_t>(bytes, 0xfffe);
  CHECK(bytes[0] == 0xfe);
  CHECK(load_little<std::uint16_t>(bytes) == 0xfffe);
  store_big<std::uint8_t>(bytes, 0x80);
  CHECK(load_little<std::uint8_t>(bytes) == 0x80);
}

TEST_CASE("little: big-endian bytes sort as the numbers do") {
  std::uint8_t low[8];
  std::uint8_t high[8];
  for (std::uint64_t value = 1; value < (std::uint64_t{1} << 60); value *= 3) {
    store_big<std::uint64_t>(low, value - 1);
    store_big<std::uint64_t>(high, value);
    CHECK(std::memcmp(low, high, 8) < 0);
  }
}

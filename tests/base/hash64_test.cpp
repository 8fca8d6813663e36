// Tests of hash64.
#include "base/hash64.hpp"

#include <bit>
#include <set>
#include <string>
#include <vector>

#include "support/catch.hpp"

using armdb::base::hash64;

TEST_CASE("hash64: every byte and the length count") {
  for (std::size_t size = 1; size <= 64; ++size) {
    std::vector<std::uint8_t> key(size, 0x5a);
    const std::uint64_t hash = hash64(key.data(), size, 7);
    CHECK(hash64(key.data(), size - 1, 7) != hash);
    for (std::size_t at = 0; at < size; ++at) {
      key[at] ^= 1;
      REQUIRE(hash64(key.data(), size, 7) != hash);
      key[at] ^= 1;
    }
    CHECK(hash64(key.data(), size, 7) == hash);
  }
}

TEST_CASE("hash64: the seed chooses another hash") {
  const std::uint8_t key[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  std::set<std::uint64_t> hashes;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) hashes.insert(hash64(key, 8, seed));
  CHECK(hashes.size() == 1000);
}

TEST_CASE("hash64: counted keys spread evenly over high and low bits") {
  constexpr int kKeys = 65536;
  for (const int shift : {0, 56}) {
    std::vector<int> buckets(256);
    for (std::uint64_t key = 0; key < kKeys; ++key) {
      std::uint8_t bytes[8];
      armdb::base::store_big<std::uint64_t>(bytes, key);
      buckets[(hash64(bytes, 8, 42) >> shift) & 0xff] += 1;
    }
    for (const int count : buckets) {
      CHECK(count > 256 - 100);  // 256 expected, 6 standard deviations
      CHECK(count < 256 + 100);
    }
  }
}

TEST_CASE("hash64: a changed bit changes about half the bits") {
  double changed = 0;
  for (std::uint64_t key = 0; key < 1000; ++key) {
    std::uint8_t bytes[8];
    armdb::base::store_little<std::uint64_t>(bytes, key);
    const std::uint64_t before = hash64(bytes, 8, 1);
    bytes[key % 8] ^= static_cast<std::uint8_t>(1u << (key / 8 % 8));
    changed += std::popcount(before ^ hash64(bytes, 8, 1));
  }
  CHECK(changed / 1000 > 30);
  CHECK(changed / 1000 < 34);
}

TEST_CASE("hash64: the same on every machine", "[pitfall-38]") {
  // The 128-bit product and its 32-bit twin must not drift apart: these are stored routes.
  CHECK(armdb::base::fold_multiply(0x0123456789abcdefu, 0xfedcba9876543210u) ==
        (0x0121fa00ad77d742u ^ 0x2236d88fe5618cf0u));
  const std::string text = "a key of twenty-nine bytes...";
  const std::uint64_t whole =
      hash64(reinterpret_cast<const std::uint8_t*>(text.data()), text.size(), 3);
  std::vector<std::uint8_t> shifted(text.size() + 1);
  std::copy(text.begin(), text.end(), shifted.begin() + 1);
  CHECK(hash64(shifted.data() + 1, text.size(), 3) == whole);
}

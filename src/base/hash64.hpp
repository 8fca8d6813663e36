// hash64: a keyed 64-bit hash of short keys; chooses shards and buckets, never stored as a check.
//
// Folded multiplication (128-bit product, halves xored), the idea behind wyhash and mum-hash.
// The seed is random per store, so that nobody can choose keys that collide without it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/little.hpp"

namespace armdb::base {

[[nodiscard]] inline std::uint64_t fold_multiply(std::uint64_t a, std::uint64_t b) noexcept {
#if defined(__SIZEOF_INT128__)
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
#else
  const std::uint64_t a_low = a & 0xffffffffu, a_high = a >> 32;
  const std::uint64_t b_low = b & 0xffffffffu, b_high = b >> 32;
  const std::uint64_t low = a_low * b_low;
  const std::uint64_t middle = a_high * b_low + (low >> 32);
  const std::uint64_t other = a_low * b_high + (middle & 0xffffffffu);
  const std::uint64_t high = a_high * b_high + (middle >> 32) + (other >> 32);
  return ((other << 32) | (low & 0xffffffffu)) ^ high;
#endif
}

// Any size; inlined where the size is a constant. The same result on every machine.
[[nodiscard]] inline std::uint64_t hash64(const std::uint8_t* data, std::size_t size,
                                          std::uint64_t seed) noexcept {
  constexpr std::uint64_t kFirst = 0x9e3779b97f4a7c15u;   // 2^64 / golden ratio
  constexpr std::uint64_t kSecond = 0xd1b54a32d192ed03u;  // odd, from L'Ecuyer's tables
  std::uint64_t state = seed ^ kFirst;
  std::size_t left = size;
  while (left > 16) {
    state = fold_multiply(load_little<std::uint64_t>(data) ^ state,
                          load_little<std::uint64_t>(data + 8) ^ kSecond);
    data += 16;
    left -= 16;
  }
  std::uint64_t a = 0;
  std::uint64_t b = 0;
  if (left >= 8) {
    a = load_little<std::uint64_t>(data);
    b = load_little<std::uint64_t>(data + left - 8);
  } else if (left >= 4) {
    a = load_little<std::uint32_t>(data);
    b = load_little<std::uint32_t>(data + left - 4);
  } else if (left != 0) {
    a = data[0];
    b = (static_cast<std::uint64_t>(data[left / 2]) << 8) | data[left - 1];
  }
  state = fold_multiply(a ^ state, b ^ kSecond ^ size);
  return fold_multiply(state ^ kFirst, seed ^ kSecond);
}

}  // namespace armdb::base

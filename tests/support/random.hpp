// Random: fast numbers for sampling and jitter. Never for keys, salts or hash seeds.
#pragma once

#include <bit>
#include <cstdint>

namespace armdb::base {

// xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64, so that any seed will do. The
// same seed gives the same numbers on every machine.
//
// Threads: one at a time.
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept {
    for (std::uint64_t& word : state_) {
      seed += 0x9e3779b97f4a7c15u;
      std::uint64_t mixed = seed;
      mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
      mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
      word = mixed ^ (mixed >> 31);
    }
  }

  [[nodiscard]] std::uint64_t next() noexcept {
    const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  // Below `bound`; 0 when that is 0. Uneven by at most bound / 2^64, which no sample can see.
  [[nodiscard]] std::uint64_t below(std::uint64_t bound) noexcept {
    const std::uint64_t word = next();
    // The high half of word * bound (Lemire), from 32-bit parts where there is no 128-bit type.
#if defined(__SIZEOF_INT128__)
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::uint64_t>((static_cast<Wide>(word) * bound) >> 64);
#else
    const std::uint64_t low = (word & 0xffffffffu) * (bound & 0xffffffffu);
    const std::uint64_t left = (word >> 32) * (bound & 0xffffffffu) + (low >> 32);
    const std::uint64_t right = (word & 0xffffffffu) * (bound >> 32) + (left & 0xffffffffu);
    return (word >> 32) * (bound >> 32) + (left >> 32) + (right >> 32);
#endif
  }

  // True once in `n` times.
  [[nodiscard]] bool one_in(std::uint64_t n) noexcept { return below(n) == 0; }

 private:
  std::uint64_t state_[4];
};

}  // namespace armdb::base

// Router: which shard a key belongs to, and the hash that the index uses too.
#pragma once

#include <cstdint>

#include "base/hash64.hpp"
#include "core/bytes.hpp"

namespace armdb::engine {

// Threads: any; never changes.
class Router {
 public:
  Router() = default;
  Router(std::uint32_t shard_count, std::uint32_t prefix_bits, std::uint64_t seed) noexcept
      : shard_count_(shard_count), prefix_bits_(prefix_bits), seed_(seed) {}

  [[nodiscard]] std::uint64_t hash(const std::uint8_t* key, std::size_t size) const noexcept {
    return base::hash64(key, size, seed_);
  }

  // `hash` is that of the whole key.
  [[nodiscard]] std::uint32_t shard(const std::uint8_t* key, std::size_t size,
                                    std::uint64_t hash) const noexcept {
    if (shard_count_ == 1) return 0;
    if (prefix_bits_ != 0) hash = prefix_hash(key, size);
    return static_cast<std::uint32_t>(((hash >> 32) * shard_count_) >> 32);
  }

  // The shard of all keys that begin with `prefix`, or shard_count() when they are in many.
  [[nodiscard]] std::uint32_t shard_of_prefix(Bytes prefix) const noexcept {
    if (shard_count_ == 1) return 0;
    if (prefix_bits_ == 0 || prefix.size() * 8 < prefix_bits_) return shard_count_;
    return shard(prefix.data(), prefix.size(), 0);
  }

  [[nodiscard]] std::uint32_t shard_count() const noexcept { return shard_count_; }
  [[nodiscard]] std::uint64_t seed() const noexcept { return seed_; }

 private:
  // Hash of the first prefix_bits_ bits; a shorter key counts whole.
  [[nodiscard]] std::uint64_t prefix_hash(const std::uint8_t* key,
                                          std::size_t size) const noexcept {
    const std::size_t whole = prefix_bits_ / 8;
    if (whole >= size) return base::hash64(key, size, seed_);
    const unsigned rest = prefix_bits_ % 8;
    const std::uint64_t last = rest == 0 ? 0 : key[whole] >> (8 - rest);
    return base::hash64(key, whole, seed_ ^ (last << 8) ^ rest);
  }

  std::uint32_t shard_count_ = 1;
  std::uint32_t prefix_bits_ = 0;
  std::uint64_t seed_ = 0;
};

}  // namespace armdb::engine

// Expiry: which keys of a shard end at some time, and the clock that decides it.
//
// Only keys with a time to live are in the table, and there is none before the first of them: a
// collection that uses no expiry pays one load per read.
//
// Order: a writer publishes a value in the index first and its expiry here second; a reader looks
// here first and in the index second. So a reader that has seen a new expiry also sees the value
// it belongs to, and an expired value is never found under its successor's expiry.
//
// Threads: find, expired, any and scan by anyone without a lock; the rest by the holder of the
// shard's lock. Clock: anyone.
#pragma once

#include <atomic>
#include <cstdint>

#include "index/index.hpp"
#include "os/clock.hpp"

namespace armdb::engine {

// The wall clock, but it never goes back behind a moment that has decided something: what has
// expired once stays so, whatever the machine's clock does.
class Clock {
 public:
  [[nodiscard]] std::uint64_t now_ms() const noexcept {
    const std::uint64_t wall = os::wall_ms();
    const std::uint64_t floor = floor_ms();
    return wall > floor ? wall : floor;
  }
  [[nodiscard]] std::uint64_t floor_ms() const noexcept {
    return floor_.load(std::memory_order_relaxed);
  }
  void raise(std::uint64_t to_ms) noexcept {
    std::uint64_t floor = floor_ms();
    while (floor < to_ms &&
           !floor_.compare_exchange_weak(floor, to_ms, std::memory_order_relaxed)) {
    }
  }

 private:
  std::atomic<std::uint64_t> floor_{0};
};

class ExpiryTable {
 public:
  ExpiryTable(Clock& clock, index::IndexConfig like) noexcept;
  ~ExpiryTable();
  ExpiryTable(const ExpiryTable&) = delete;
  ExpiryTable& operator=(const ExpiryTable&) = delete;

  [[nodiscard]] bool any() const noexcept {
    return table_.load(std::memory_order_acquire) != nullptr;
  }
  // When the key ends, in milliseconds since 1970; 0: never, or it is not there.
  [[nodiscard]] std::uint64_t find(const std::uint8_t* key, std::uint64_t hash) const noexcept;
  [[nodiscard]] bool expired(const std::uint8_t* key, std::uint64_t hash) const noexcept {
    return any() && over(find(key, hash));
  }
  // True when an entry that ends at `expiry_ms` has ended. It then has for good.
  [[nodiscard]] bool over(std::uint64_t expiry_ms) const noexcept;

  // Makes sure that the next `count` calls of set() cannot fail; false when out of memory.
  [[nodiscard]] bool reserve(std::size_t count) noexcept;
  // 0 takes the key out; anything else needs reserve() before.
  void set(const std::uint8_t* key, std::uint64_t hash, std::uint64_t expiry_ms) noexcept;

  // The index behind it, for sweeps; null when there is none.
  [[nodiscard]] const index::Index* table() const noexcept {
    return table_.load(std::memory_order_acquire);
  }

 private:
  Clock& clock_;
  const index::IndexConfig config_;
  std::atomic<index::Index*> table_{nullptr};
};

}  // namespace armdb::engine

// The class behind the hash table, all but its lookups: hash_table.cpp explains it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/arena.hpp"
#include "base/step_point.hpp"
#include "index/hash_table_bucket.hpp"
#include "index/hash_table_key.hpp"
#include "index/index.hpp"

namespace armdb::index {

// Entries per bucket at which the table grows. Between two doublings, buckets not yet split are
// up to twice as full as the others; at 8 of 11 about one in six has an overflow bucket.
constexpr std::size_t kHashMeanLoad = 8;
constexpr std::uint32_t kHashBucketsMax = std::uint32_t{1} << 31;
constexpr std::size_t kHashGroup = 32;         // lookups whose cache misses overlap
constexpr std::size_t kHashPrefetchMax = 256;  // bytes of a record; the machine guesses the rest
constexpr std::size_t kHashKeyMax = 1024;
constexpr std::size_t kHashLocationBytes = 8;

// Where the writer is in a chain.
struct HashCursor {
  HashBucket* bucket;
  unsigned slot;
};

// All of the table that does not depend on the key's width.
class HashTable : public Index {
 public:
  explicit HashTable(const IndexConfig& config) noexcept;

  // Makes the first bucket; false when out of memory.
  [[nodiscard]] bool start() noexcept;

  [[nodiscard]] std::size_t size() const noexcept final {
    return size_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::size_t memory_bytes() const noexcept final;
  [[nodiscard]] Block make_block() const noexcept final;
  void read_from(const std::uint8_t*, Bound, bool, Block& block) const noexcept final {
    block.set_count(0);
  }
  void read_next(bool, Block& block) const noexcept final { block.set_count(0); }
  std::uint64_t scan(std::uint64_t cursor, Block& block) const noexcept final;
  void prefetch(std::uint64_t hash) const noexcept final;

  [[nodiscard]] bool reserve(std::size_t count) noexcept final;
  void publish(Place& place, const std::uint8_t* key, const std::uint8_t* value,
               base::Location at) noexcept final;
  void expect(std::size_t count) noexcept final;
  void relocate(Place& place, base::Location at) noexcept final;
  void erase(Place& place) noexcept final;

 protected:
  [[nodiscard]] HashBucket* head(std::uint32_t number) const noexcept {
    return reinterpret_cast<HashBucket*>(buckets_.at(number + 1));
  }
  [[nodiscard]] HashBucket* overflow(std::uint32_t id) const noexcept {
    return reinterpret_cast<HashBucket*>(overflow_.at(id));
  }
  [[nodiscard]] HashBucket* next(const HashBucket* bucket) const noexcept {
    const std::uint32_t id = base::load_relaxed(&bucket->overflow);
    return id != 0 ? overflow(id) : nullptr;
  }
  [[nodiscard]] std::uint8_t* record(std::uint32_t id) const noexcept { return records_.at(id); }
  // For readers. Acquire pairs with the release in set_bucket_count(): the memory of all these
  // buckets is seen.
  [[nodiscard]] std::uint32_t bucket_count() const noexcept {
    base::step_point(base::Step::read, &bucket_count_);
    return bucket_count_.load(std::memory_order_acquire);
  }
  // True when `number` still is the bucket of `hash`. After a miss; see the top of the file.
  [[nodiscard]] bool is_bucket_of(std::uint64_t hash, std::uint32_t number) const noexcept {
    base::step_point(base::Step::read, &bucket_count_);
    return hash_bucket_number(hash, bucket_count_.load(std::memory_order_relaxed)) == number;
  }

  const std::uint32_t key_size_;
  const std::uint32_t value_size_;
  const std::size_t value_at_;  // in a record
  const std::uint64_t hash_seed_;
  const std::size_t prefetch_bytes_;  // of a record that will be copied

  alignas(64) std::atomic<std::uint32_t> bucket_count_{0};
  alignas(64) base::Arena buckets_;
  alignas(64) base::Arena overflow_;
  alignas(64) base::Arena records_;
  alignas(64) std::atomic<std::size_t> size_{0};

 private:
  [[nodiscard]] std::uint64_t hash_of(const std::uint8_t* record_of_key) const noexcept;
  void insert(Place& place, const std::uint8_t* key, const std::uint8_t* value,
              base::Location at) noexcept;
  [[nodiscard]] bool copy_entry(std::uint32_t id, std::uint64_t hash,
                                std::uint8_t* entry) const noexcept;

  void append(HashBucket* first, HashCursor& end, std::uint8_t tag, std::uint32_t id) noexcept;
  void free_chain(std::uint32_t id) noexcept;
  void update_filter(HashBucket* first) noexcept;
  void set_bucket_count(std::uint32_t count) noexcept {
    base::step_point(base::Step::write, &bucket_count_);
    bucket_count_.store(count, std::memory_order_release);
  }
  void grow() noexcept;
  [[nodiscard]] bool split(std::uint32_t count) noexcept;
  void copy_movers(HashBucket* source, HashBucket* target, std::uint64_t bit) noexcept;
  void drop_movers(HashBucket* source, HashBucket* target) noexcept;
};

}  // namespace armdb::index

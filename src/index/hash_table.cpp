// The unordered index: a hash table of cache-line buckets over a dense arena of records, which
// grows one bucket at a time (linear hashing) and is read without locks.
//
// A record is location (8), key padded to 8, value padded to 8. It keeps its id and its place in
// memory from insert to erase; buckets hold tags and ids only (index/hash_table_bucket.hpp). So
// memory per key is the record and 8 to 10 bytes of bucket at any size, and growing moves ids.
//
// Bucket number b is node b + 1 of buckets_, whatever else happens: numbers are never given back.
//
// Invariants. "Chain" is a head and its overflow buckets; "its version" is the head's.
//   (1) All that a reader loads from buckets and records it loads by atomics, and believes only
//       after still() on the version that it began with. An id is validated before it is
//       followed: the chain had it at an even version, so the acquire in begin_read() covers the
//       allocation behind it, and no wild or stale id ever reaches Arena::at().
//   (2) Slots, tags, overflow ids and filter of a chain, and the location and value of its
//       records, change only while its version is odd. The key of a record never changes while
//       a chain names the record.
//   (3) A record or overflow bucket is freed, and so reused, only after the version of the chain
//       that named it has gone odd (it is unlinked inside). The release fence of that
//       begin_write() comes before all later writes to the node, by whichever chain or by the
//       arena's free list. So a reader of the old chain that sees one of those bytes fails
//       still() there (fence to fence, see base/shared_bytes.hpp). This is why publish() may
//       fill a reused record before it enters the new chain's version.
//   (4) bucket_count_ only grows, by one per split. A split stores it while source and target
//       are odd, after the target is filled. Its release pairs with the acquire in find():
//       who sees the count finds the target's memory, and its version odd or already final.
//   (5) At each even version of all chains, a key that is in the index is in the chain of
//       hash_bucket_number(hash, bucket_count_), once.
//
// Why a stale reader is harmless, case by case:
//   - Hit. Chain and record were as read at one moment when the version was even, so the key was
//     there then, with that location and value, be the count that led there old or new.
//   - Miss, with the mapping of the hash as before on a second look at the count. The mapping of
//     one hash changes only forward, so it held when the chain was read: by (5) a true miss.
//   - Miss, and a split moved the key away. Either the version that was read comes from after the
//     split; then its acquire makes the second look see the new count (stored before the version
//     became even), the mapping differs, and find() tries again. Or it comes from before; then
//     still() says that the split had not begun when the chain was read.
//   - New count, target still odd: begin_read() waits until the split ends.
//   - Overwrite, erase or reuse beside the reader: its chain's version moves; (1), (2), (3).
//   - A chain that grows while it is walked: each step is validated, so the walk is of the chain
//     at one version, and ends.
//
// scan() goes by record id. A record that stays keeps its id, so it is met once; the chain of its
// hash names it, and location, value and key are copied under that chain's version. Any other
// record (free, half filled, erased and reused while looked at) is named by no chain, or by one
// under which it is read whole: it was live at that moment.
//
// Threads: as index/index.hpp says. What the writer counts lies on other lines than what readers
// look at.
#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>

#include "base/arena.hpp"
#include "base/build.hpp"
#include "base/check.hpp"
#include "base/hash64.hpp"
#include "base/location.hpp"
#include "base/shared_bytes.hpp"
#include "index/hash_table_bucket.hpp"
#include "index/hash_table_key.hpp"
#include "index/index.hpp"

namespace armdb::index {
namespace {

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

  [[nodiscard]] bool reserve(std::size_t count) noexcept final;
  void publish(Place& place, const std::uint8_t* key, const std::uint8_t* value,
               base::Location at) noexcept final;
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
  // True when `number` still is the bucket of `hash`. After a miss; see the top of the file.
  [[nodiscard]] bool is_bucket_of(std::uint64_t hash, std::uint32_t number) const noexcept {
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
  void grow() noexcept;
  [[nodiscard]] bool split(std::uint32_t count) noexcept;
  void copy_movers(HashBucket* source, HashBucket* target, std::uint64_t bit) noexcept;
  void drop_movers(HashBucket* source, HashBucket* target) noexcept;
};

HashTable::HashTable(const IndexConfig& config) noexcept
    : key_size_(config.key_size),
      value_size_(config.value_size),
      value_at_(kHashLocationBytes + hash_padded(config.key_size)),
      hash_seed_(config.hash_seed),
      prefetch_bytes_(std::min(value_at_ + config.value_size, kHashPrefetchMax)),
      buckets_(sizeof(HashBucket), config.step_bytes, config.pages, true),
      overflow_(sizeof(HashBucket), config.step_bytes, config.pages, true),
      records_(value_at_ + hash_padded(config.value_size), config.step_bytes, config.pages) {
  ARMDB_ASSERT(key_size_ >= 1 && key_size_ <= kHashKeyMax);
}

bool HashTable::start() noexcept {
  const std::uint32_t first = buckets_.allocate();
  if (first == base::Arena::kNone) return false;
  ARMDB_ASSERT(first == 1);
  bucket_count_.store(1, std::memory_order_release);
  return true;
}

std::size_t HashTable::memory_bytes() const noexcept {
  return sizeof(*this) + buckets_.memory_bytes() + overflow_.memory_bytes() +
         records_.memory_bytes();
}

Block HashTable::make_block() const noexcept {
  const std::size_t entry = kHashLocationBytes + hash_padded(value_size_) + hash_padded(key_size_);
  return Block(key_size_, value_size_, std::clamp<std::size_t>(65536 / entry, 4, 512));
}

// ---- Scan ----

// The hash of the key in a record. A reader may get a mixture when the record is being reused.
std::uint64_t HashTable::hash_of(const std::uint8_t* record_of_key) const noexcept {
  alignas(8) std::uint8_t key[kHashKeyMax];
  const std::uint8_t* from = record_of_key + kHashLocationBytes;
  if (!base::kSmallBuild && key_size_ == 8) {  // the common width, inlined
    base::copy_from_shared(key, from, 8);
    return base::hash64(key, 8, hash_seed_);
  }
  base::copy_from_shared(key, from, key_size_);
  return base::hash64(key, key_size_, hash_seed_);
}

// Copies record `id` to `entry` if the chain of `hash` names it.
bool HashTable::copy_entry(std::uint32_t id, std::uint64_t hash,
                           std::uint8_t* entry) const noexcept {
  const std::uint8_t tag = hash_tag(hash);
  for (;;) {
    const std::uint32_t count = bucket_count_.load(std::memory_order_acquire);
    const std::uint32_t number = hash_bucket_number(hash, count);
    const HashBucket* const first = head(number);
    const std::uint32_t version = first->version.begin_read();
    bool named = false;
    for (const HashBucket* bucket = first; bucket != nullptr;) {
      std::uint64_t matches = hash_match(HashTags(bucket), tag);
      for (; matches != 0 && !named; matches &= matches - 1) {
        named = base::load_relaxed(&bucket->records[hash_first_slot(matches)]) == id;
      }
      const std::uint32_t more = base::load_relaxed(&bucket->overflow);
      if (named || more == 0 || !first->version.still(version)) break;
      bucket = overflow(more);
    }
    if (named) {
      const std::uint8_t* const from = record(id);
      base::copy_from_shared(entry, from, kHashLocationBytes);
      base::copy_from_shared(entry + kHashLocationBytes, from + value_at_, value_size_);
      base::copy_from_shared(entry + kHashLocationBytes + hash_padded(value_size_),
                             from + kHashLocationBytes, key_size_);
    }
    if (!first->version.still(version)) continue;
    if (named) return true;
    if (is_bucket_of(hash, number)) return false;
  }
}

std::uint64_t HashTable::scan(std::uint64_t cursor, Block& block) const noexcept {
  ARMDB_ASSERT(block.valid());
  block.set_count(0);
  std::uint64_t id = cursor != 0 ? cursor : 1;
  // Acquire in end(): ids below it may be asked for. Later ones were inserted during the scan or
  // are met by the next call.
  const std::uint64_t end = records_.end();
  const std::uint64_t stop = std::min<std::uint64_t>(end, id + 4 * block.capacity());
  while (id < stop && block.count() < block.capacity()) {
    std::uint32_t ids[kHashGroup];
    std::uint64_t hashes[kHashGroup];
    const std::size_t room = std::min(kHashGroup, block.capacity() - block.count());
    std::size_t group = 0;
    for (; id < stop && group < room; ++id) {
      const std::uint8_t* const from = record(static_cast<std::uint32_t>(id));
      // A zero location marks a free record. Where a location is two words, a mixture of two
      // good ones may look like it, so there the chain alone decides.
      if (sizeof(base::Word) >= 8 && hash_load64(from) == 0) continue;
      ids[group] = static_cast<std::uint32_t>(id);
      hashes[group] = hash_of(from);
      const std::uint32_t count = bucket_count_.load(std::memory_order_acquire);
      hash_prefetch(head(hash_bucket_number(hashes[group], count)));
      ++group;
    }
    for (std::size_t i = 0; i < group; ++i) {
      if (!copy_entry(ids[i], hashes[i], block.entry(block.count()))) continue;
      block.set_count(block.count() + 1);
    }
  }
  return id < end ? id : 0;
}

// ---- Writer ----

bool HashTable::reserve(std::size_t count) noexcept {
  // One overflow bucket for the chain of each entry, one for the split that may follow (or is put
  // off; see grow()).
  return records_.reserve(count) && overflow_.reserve(2 * count) && buckets_.reserve(count);
}

void HashTable::publish(Place& place, const std::uint8_t* key, const std::uint8_t* value,
                        base::Location at) noexcept {
  ARMDB_ASSERT(!at.nowhere());
  if (!place.found) {
    insert(place, key, value, at);
    return;
  }
  std::uint8_t* const to = record(place.node);
  base::Version& version = head(place.path[0])->version;
  version.begin_write();
  hash_store64(to, at.packed());
  if (value_size_ != 0) base::copy_to_shared(to + value_at_, value, value_size_);
  version.end_write();
}

void HashTable::relocate(Place& place, base::Location at) noexcept {
  ARMDB_ASSERT(place.found && !at.nowhere());
  base::Version& version = head(place.path[0])->version;
  version.begin_write();
  hash_store64(record(place.node), at.packed());
  version.end_write();
}

void HashTable::insert(Place& place, const std::uint8_t* key, const std::uint8_t* value,
                       base::Location at) noexcept {
  const std::uint32_t id = records_.allocate();
  ARMDB_ASSERT(id != base::Arena::kNone);
  std::uint8_t* const to = record(id);
  // Not named by any chain yet; invariant 3 keeps readers of its former chain out. The padding
  // first, so that the key's last word is zero behind the key.
  hash_store64(to + value_at_ - 8, 0);
  base::copy_to_shared(to + kHashLocationBytes, key, key_size_);
  if (value_size_ != 0) base::copy_to_shared(to + value_at_, value, value_size_);
  hash_store64(to, at.packed());
  ARMDB_ASSERT(hash_of(to) == place.hash);

  HashBucket* const first = head(place.path[0]);
  HashCursor end{first, 0};
  while (HashBucket* const more = next(end.bucket)) end.bucket = more;
  end.slot = hash_slots_used(end.bucket);
  first->version.begin_write();
  append(first, end, hash_tag(place.hash), id);
  first->version.end_write();
  size_.store(size() + 1, std::memory_order_relaxed);
  grow();
}

void HashTable::erase(Place& place) noexcept {
  ARMDB_ASSERT(place.found);
  HashBucket* const first = head(place.path[0]);
  HashBucket* const hole = place.path[1] != 0 ? overflow(place.path[1]) : first;
  HashBucket* before_last = nullptr;
  HashBucket* last = first;
  while (HashBucket* const more = next(last)) {
    before_last = last;
    last = more;
  }
  const unsigned last_slot = hash_slots_used(last) - 1;

  first->version.begin_write();
  // The last entry of the chain fills the hole, so that the chain stays dense.
  hash_put(hole, place.slot, HashTags(last).at(last_slot),
           base::load_relaxed(&last->records[last_slot]));
  hash_put(last, last_slot, 0, 0);
  if (last_slot == 0 && before_last != nullptr) {
    const std::uint32_t emptied = before_last->overflow;
    base::store_relaxed(&before_last->overflow, 0u);
    overflow_.free(emptied);
  }
  if (before_last != nullptr) update_filter(first);
  hash_store64(record(place.node), 0);  // free; see scan()
  first->version.end_write();

  records_.free(place.node);
  size_.store(size() - 1, std::memory_order_relaxed);
}

// Adds an entry at the end of a chain, the version of which is odd (or which no reader can reach
// yet). The overflow bucket that may be needed was reserved.
void HashTable::append(HashBucket* first, HashCursor& end, std::uint8_t tag,
                       std::uint32_t id) noexcept {
  if (end.slot == kHashSlots) {
    const std::uint32_t fresh = overflow_.allocate();
    ARMDB_ASSERT(fresh != base::Arena::kNone);
    HashBucket* const bucket = overflow(fresh);
    base::store_relaxed(&bucket->overflow, 0u);
    hash_store64(&bucket->tags_low, 0);
    base::store_relaxed(&bucket->tags_high, 0u);
    base::store_relaxed(&end.bucket->overflow, fresh);
    end = {bucket, 0};
  }
  hash_put(end.bucket, end.slot++, tag, id);
  if (end.bucket != first) {
    hash_put_filter(first, (first->tags_high & 0xff000000u) | hash_filter_bit(tag));
  }
}

void HashTable::free_chain(std::uint32_t id) noexcept {
  while (id != 0) {
    const std::uint32_t more = overflow(id)->overflow;
    overflow_.free(id);
    id = more;
  }
}

void HashTable::update_filter(HashBucket* first) noexcept {
  std::uint32_t bits = 0;
  for (const HashBucket* bucket = next(first); bucket != nullptr; bucket = next(bucket)) {
    const HashTags tags(bucket);
    for (unsigned slot = 0; slot < kHashSlots && tags.at(slot) != 0; ++slot) {
      bits |= hash_filter_bit(tags.at(slot));
    }
  }
  hash_put_filter(first, bits);
}

// ---- Growth ----

// After an insert: splits when one is due, and before that brings what it will read into the
// cache, a few inserts ahead.
void HashTable::grow() noexcept {
  const std::uint32_t count = bucket_count_.load(std::memory_order_relaxed);
  const std::size_t split_at = kHashMeanLoad * count + 1;
  const std::size_t now = size();
  if (now < split_at) {
    const HashBucket* const source = head(count - std::bit_floor(count));
    if (now + 6 == split_at) {
      hash_prefetch_to_write(source);
    } else if (now + 3 == split_at) {
      for (const std::uint32_t& id : source->records) {
        if (id != 0) hash_prefetch(record(id));
      }
      if (source->overflow != 0) hash_prefetch_to_write(overflow(source->overflow));
    }
    return;
  }
  // Two at a time when splits were put off for want of memory.
  if (split(count) && now >= split_at + 2 * kHashMeanLoad) static_cast<void>(split(count + 1));
}

// Makes bucket number `count` and moves to it what now belongs there. False, and nothing is
// changed, when out of memory: chains get longer, and the next insert tries again.
bool HashTable::split(std::uint32_t count) noexcept {
  if (count >= kHashBucketsMax) return false;
  const std::uint32_t bit = std::bit_floor(count);
  HashBucket* const source = head(count - bit);
  std::size_t overflow_count = 0;
  for (const HashBucket* bucket = next(source); bucket != nullptr; bucket = next(bucket)) {
    overflow_count += 1;
  }
  if (overflow_count != 0 && !overflow_.reserve(overflow_count)) return false;
  const std::uint32_t node = buckets_.allocate();
  if (node == base::Arena::kNone) return false;
  ARMDB_ASSERT(node == count + 1);
  HashBucket* const target = head(count);
  target->version.begin_write();
  copy_movers(source, target, bit);  // touches records: before the source goes odd
  source->version.begin_write();
  drop_movers(source, target);
  // Release: pairs with find(); see invariant 4.
  bucket_count_.store(count + 1, std::memory_order_release);
  target->version.end_write();
  source->version.end_write();
  return true;
}

void HashTable::copy_movers(HashBucket* source, HashBucket* target, std::uint64_t bit) noexcept {
  HashCursor end{target, 0};
  for (const HashBucket* bucket = source; bucket != nullptr; bucket = next(bucket)) {
    const HashTags tags(bucket);
    for (unsigned slot = 0; slot < kHashSlots && tags.at(slot) != 0; ++slot) {
      const std::uint32_t id = bucket->records[slot];
      if ((hash_of(record(id)) & bit) != 0) append(target, end, tags.at(slot), id);
    }
  }
}

// Takes out of `source` what `target` has; both are in the same order.
void HashTable::drop_movers(HashBucket* source, HashBucket* target) noexcept {
  HashCursor moved{target, 0};
  HashCursor kept{source, 0};
  for (const HashBucket* bucket = source; bucket != nullptr; bucket = next(bucket)) {
    const HashTags tags(bucket);
    for (unsigned slot = 0; slot < kHashSlots && tags.at(slot) != 0; ++slot) {
      if (moved.slot == kHashSlots && next(moved.bucket)) moved = {next(moved.bucket), 0};
      const std::uint32_t id = bucket->records[slot];
      // Behind its last entry a reused bucket keeps old ids: only the tag says that there is one.
      if (moved.slot < kHashSlots && HashTags(moved.bucket).at(moved.slot) != 0 &&
          moved.bucket->records[moved.slot] == id) {
        moved.slot += 1;
        continue;
      }
      if (kept.slot == kHashSlots) kept = {next(kept.bucket), 0};
      hash_put(kept.bucket, kept.slot++, tags.at(slot), id);
    }
  }
  for (unsigned slot = kept.slot; slot < kHashSlots; ++slot) hash_put(kept.bucket, slot, 0, 0);
  const std::uint32_t rest = kept.bucket->overflow;
  base::store_relaxed(&kept.bucket->overflow, 0u);
  free_chain(rest);
  update_filter(source);
}

// ---- Lookups ----

enum class HashAnswer : std::uint8_t { hit, miss, changed };

// The lookups, with the key's width known to the compiler (8, 16, 32; 0: any other).
template <unsigned kWidth> class HashTableT final : public HashTable {
 public:
  using HashTable::HashTable;

  bool find(const std::uint8_t* key, std::uint64_t hash, base::Location* at,
            std::uint8_t* value) const noexcept override;
  void find_many(std::span<Lookup> lookups) const noexcept override;
  void locate(const std::uint8_t* key, std::uint64_t hash, Place& place) noexcept override;

 private:
  // What find_many knows of one lookup between its stages.
  struct Probe {
    const HashBucket* first;
    std::uint32_t number;
    std::uint32_t version;
    std::uint32_t record;    // the first one of the tag; 0: none found yet
    std::uint32_t overflow;  // where to look next; 0: nowhere
  };

  HashAnswer look(const HashBucket* first, const HashKey<kWidth>& key, std::uint64_t hash,
                  base::Location* at, std::uint8_t* value) const noexcept;
  void match(const HashBucket* bucket, const Lookup& lookup, Probe& probe) const noexcept;
  void match_heads(std::span<Lookup> lookups, Probe* probes) const noexcept;
  void finish(Lookup& lookup, const Probe& probe) const noexcept;
};

template <unsigned kWidth>
HashAnswer HashTableT<kWidth>::look(const HashBucket* first, const HashKey<kWidth>& key,
                                    std::uint64_t hash, base::Location* at,
                                    std::uint8_t* value) const noexcept {
  const std::uint8_t tag = hash_tag(hash);
  const std::uint32_t version = first->version.begin_read();
  HashTags tags(first);
  const bool overflows = (tags.high & hash_filter_bit(tag)) != 0;
  for (const HashBucket* bucket = first;;) {
    for (std::uint64_t matches = hash_match(tags, tag); matches != 0; matches &= matches - 1) {
      const std::uint32_t id = base::load_relaxed(&bucket->records[hash_first_slot(matches)]);
      if (!first->version.still(version)) return HashAnswer::changed;
      const std::uint8_t* const from = record(id);
      if (value != nullptr) hash_prefetch(from + 64);  // the value's end, while the key comes
      if (!key.equals(from + kHashLocationBytes)) continue;
      if (at != nullptr) *at = base::Location(hash_load64(from));
      if (value != nullptr) hash_copy_value(value, from + value_at_, value_size_);
      return first->version.still(version) ? HashAnswer::hit : HashAnswer::changed;
    }
    const std::uint32_t more = overflows ? base::load_relaxed(&bucket->overflow) : 0;
    if (!first->version.still(version)) return HashAnswer::changed;
    if (more == 0) return HashAnswer::miss;
    bucket = overflow(more);
    tags = HashTags(bucket);
  }
}

template <unsigned kWidth>
bool HashTableT<kWidth>::find(const std::uint8_t* key, std::uint64_t hash, base::Location* at,
                              std::uint8_t* value) const noexcept {
  const HashKey<kWidth> wanted(key, key_size_);
  for (;;) {
    // Acquire pairs with the release in split(): the bucket's memory is seen.
    const std::uint32_t count = bucket_count_.load(std::memory_order_acquire);
    const std::uint32_t number = hash_bucket_number(hash, count);
    switch (look(head(number), wanted, hash, at, value)) {
      case HashAnswer::hit:
        return true;
      case HashAnswer::miss:
        if (is_bucket_of(hash, number)) return false;
        break;
      case HashAnswer::changed:
        break;
    }
  }
}

// Looks for the tag in one bucket of a chain and asks for what comes next to be cached.
template <unsigned kWidth>
void HashTableT<kWidth>::match(const HashBucket* bucket, const Lookup& lookup,
                               Probe& probe) const noexcept {
  const std::uint8_t tag = hash_tag(lookup.hash);
  const HashTags tags(bucket);
  std::uint64_t matches = hash_match(tags, tag);
  std::uint32_t ids[kHashSlots];
  unsigned count = 0;
  for (; matches != 0; matches &= matches - 1) {
    ids[count++] = base::load_relaxed(&bucket->records[hash_first_slot(matches)]);
  }
  const bool goes_on = bucket != probe.first || (tags.high & hash_filter_bit(tag)) != 0;
  probe.record = 0;
  probe.overflow = goes_on ? base::load_relaxed(&bucket->overflow) : 0;
  if (!probe.first->version.still(probe.version)) {
    probe.first = nullptr;  // changed: finish() begins again
    return;
  }
  for (unsigned i = 0; i < count; ++i) {
    const std::uint8_t* const from = record(ids[i]);
    const std::size_t bytes = lookup.value != nullptr ? prefetch_bytes_ : value_at_;
    for (std::size_t line = 0; line < bytes; line += 64) hash_prefetch(from + line);
  }
  if (count != 0) {
    probe.record = ids[0];
  } else if (probe.overflow != 0) {
    hash_prefetch(overflow(probe.overflow));
  }
}

// Stages one and two: all heads, then their tags; those that point to an overflow bucket last.
template <unsigned kWidth>
void HashTableT<kWidth>::match_heads(std::span<Lookup> lookups, Probe* probes) const noexcept {
  const std::uint32_t count = bucket_count_.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < lookups.size(); ++i) {
    probes[i].number = hash_bucket_number(lookups[i].hash, count);
    probes[i].first = head(probes[i].number);
    hash_prefetch(probes[i].first);
  }
  std::size_t late[kHashGroup];
  std::size_t late_count = 0;
  for (std::size_t i = 0; i < lookups.size(); ++i) {
    Probe& probe = probes[i];
    probe.version = probe.first->version.begin_read();
    match(probe.first, lookups[i], probe);
    if (probe.first != nullptr && probe.record == 0 && probe.overflow != 0) late[late_count++] = i;
  }
  for (std::size_t i = 0; i < late_count; ++i) {
    Probe& probe = probes[late[i]];
    match(overflow(probe.overflow), lookups[late[i]], probe);
  }
}

// Stage three. What is not plain (a second record of the tag, a longer chain, a change) is left
// to find(): by now its lines are cached.
template <unsigned kWidth>
void HashTableT<kWidth>::finish(Lookup& lookup, const Probe& probe) const noexcept {
  if (probe.first != nullptr && probe.record == 0 && probe.overflow == 0) {
    // match() saw the whole chain at one version, so this is find()'s miss.
    if (is_bucket_of(lookup.hash, probe.number)) {
      lookup.found = false;
      return;
    }
  } else if (probe.first != nullptr && probe.record != 0) {
    const HashKey<kWidth> wanted(lookup.key, key_size_);
    const std::uint8_t* const from = record(probe.record);
    if (wanted.equals(from + kHashLocationBytes)) {
      lookup.at = base::Location(hash_load64(from));
      if (lookup.value != nullptr) {
        hash_copy_value(lookup.value, from + value_at_, value_size_);
      }
      if (probe.first->version.still(probe.version)) {
        lookup.found = true;
        return;
      }
    }
  }
  lookup.found = find(lookup.key, lookup.hash, &lookup.at, lookup.value);
}

template <unsigned kWidth>
void HashTableT<kWidth>::find_many(std::span<Lookup> lookups) const noexcept {
  if constexpr (base::kSmallBuild) return Index::find_many(lookups);
  Probe probes[kHashGroup];
  while (!lookups.empty()) {
    const std::span<Lookup> group = lookups.first(std::min(kHashGroup, lookups.size()));
    match_heads(group, probes);
    for (std::size_t i = 0; i < group.size(); ++i) finish(group[i], probes[i]);
    lookups = lookups.subspan(group.size());
  }
}

// The writer needs no versions: only it changes anything.
template <unsigned kWidth>
void HashTableT<kWidth>::locate(const std::uint8_t* key, std::uint64_t hash,
                                Place& place) noexcept {
  const HashKey<kWidth> wanted(key, key_size_);
  const std::uint8_t tag = hash_tag(hash);
  const std::uint32_t count = bucket_count_.load(std::memory_order_relaxed);
  place.found = false;
  place.value = nullptr;
  place.hash = hash;
  place.path[0] = hash_bucket_number(hash, count);
  place.path[1] = 0;
  for (const HashBucket* bucket = head(place.path[0]);;) {
    for (auto matches = hash_match(HashTags(bucket), tag); matches != 0; matches &= matches - 1) {
      const unsigned slot = hash_first_slot(matches);
      const std::uint32_t id = bucket->records[slot];
      const std::uint8_t* const from = record(id);
      if (!wanted.equals(from + kHashLocationBytes)) continue;
      place.found = true;
      place.at = base::Location(hash_load64(from));
      if (value_size_ != 0) place.value = from + value_at_;
      place.node = id;
      place.slot = slot;
      return;
    }
    if (bucket->overflow == 0) return;
    place.path[1] = bucket->overflow;
    bucket = overflow(place.path[1]);
  }
}

template <unsigned kWidth> std::unique_ptr<Index> hash_make(const IndexConfig& config) noexcept {
  std::unique_ptr<HashTable> table(new (std::nothrow) HashTableT<kWidth>(config));
  if (table == nullptr || !table->start()) return nullptr;
  return table;
}

}  // namespace

std::unique_ptr<Index> make_hash_table(const IndexConfig& config) {
  if constexpr (!base::kSmallBuild) {  // there the general kernel has to do
    if (config.key_size == 8) return hash_make<8>(config);
    if (config.key_size == 16) return hash_make<16>(config);
    if (config.key_size == 32) return hash_make<32>(config);
  }
  return hash_make<0>(config);
}

}  // namespace armdb::index

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
//   (4) bucket_count_ only grows: by one per split, or at once while nothing is in the table. A
//       split stores it while source and target are odd, after the target is filled. Its release
//       pairs with the acquire in find(): who sees the count finds the target's memory, and its
//       version odd or already final.
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
#include "index/hash_table.hpp"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>
#include <span>

#include "base/build.hpp"
#include "base/check.hpp"
#include "base/hash64.hpp"
#include "base/location.hpp"
#include "base/shared_bytes.hpp"

namespace armdb::index {

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
  set_bucket_count(1);
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
    const std::uint32_t count = bucket_count();
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
      const std::uint32_t count = bucket_count();
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

// ---- Lookups ----

// Only the first record of the tag in the head, which nearly always is the one: for any other
// locate() waits itself.
void HashTable::prefetch(std::uint64_t hash) const noexcept {
  if constexpr (base::kSmallBuild) return;
  const HashBucket* const first = head(hash_bucket_number(hash, bucket_count()));
  const std::uint32_t version = first->version.begin_read();
  const std::uint64_t matches = hash_match(HashTags(first), hash_tag(hash));
  if (matches == 0) return;
  const std::uint32_t id = base::load_relaxed(&first->records[hash_first_slot(matches)]);
  if (!first->version.still(version)) return;
  for (std::size_t at = 0; at < prefetch_bytes_; at += 64) hash_prefetch_to_write(record(id) + at);
}

namespace {

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
    const std::uint32_t count = bucket_count();
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
  const std::uint32_t count = bucket_count();
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
      if (value_size_ != 0) hash_prefetch_to_write(from + 64);  // see look()
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

// The writer's side of the hash table: inserts, erases, growth. hash_table.cpp has the protocol.
#include <algorithm>
#include <bit>

#include "base/check.hpp"
#include "index/hash_table.hpp"

namespace armdb::index {

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

// While nothing is in the table nothing moves: all chains are empty, so that a reader who still
// has the old count misses rightly.
void HashTable::expect(std::size_t count) noexcept {
  const std::uint32_t before = bucket_count_.load(std::memory_order_relaxed);
  const std::size_t wanted = std::min<std::size_t>(count / kHashMeanLoad, kHashBucketsMax);
  if (size() != 0 || wanted <= before || !buckets_.reserve(wanted - before)) return;
  for (std::size_t at = before; at < wanted; ++at) {
    const std::uint32_t node = buckets_.allocate();
    ARMDB_ASSERT(node == at + 1);
    static_cast<void>(node);
  }
  set_bucket_count(static_cast<std::uint32_t>(wanted));
}

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
  set_bucket_count(count + 1);  // see invariant 4
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

}  // namespace armdb::index

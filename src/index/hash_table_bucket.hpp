// One cache line of the hash table: eleven one-byte tags, eleven record ids, a version.
//
//   offset  size  field
//        0     4  version    sequence lock of the whole chain; used in the head of a chain only
//        4     4  overflow   the next bucket of the chain, an id of the overflow arena; 0: none
//        8     8  tags       of slots 0 to 7; tag of slot i in bits 8i to 8i+7
//       16     4  tags       of slots 8 to 10, and in the top byte, in the head, the filter: bit
//                            t % 8 is set when an overflow bucket holds an entry of tag t
//       20    44  records    ids of the record arena
//
// Tag 0 means an empty slot. A chain is dense: its entries fill it from slot 0 of the head on, so
// only its last bucket has empty slots, and no overflow bucket is empty.
//
// Tags are words to the program (loaded, changed and stored whole), so the byte order of the
// machine does not matter.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/shared_bytes.hpp"

namespace armdb::index {

constexpr unsigned kHashSlots = 11;

struct HashBucket {
  base::Version version;
  std::uint32_t overflow;
  std::uint64_t tags_low;
  std::uint32_t tags_high;
  std::uint32_t records[kHashSlots];
};
static_assert(sizeof(HashBucket) == 64, "a bucket is one cache line");

// The bucket of `hash` in a table of `count` buckets (linear hashing, W. Litwin, VLDB 1980): the
// low bits that number the next power of two, or one bit less where that bucket is not yet.
[[nodiscard]] inline std::uint32_t hash_bucket_number(std::uint64_t hash,
                                                      std::uint32_t count) noexcept {
  const std::uint32_t mask = (std::uint32_t{2} << (31 - std::countl_zero(count | 1))) - 1;
  const std::uint32_t number = static_cast<std::uint32_t>(hash) & mask;
  // A shift by a truth, not a branch: nobody could predict it.
  return number & (mask >> static_cast<unsigned>(number >= count));
}

// From bits 32 to 39: bucket numbers use the low 32 bits, the choice of the shard the top ones
// (with fewer than 2^16 shards these bits do not show in it).
[[nodiscard]] inline std::uint8_t hash_tag(std::uint64_t hash) noexcept {
  const auto tag = static_cast<std::uint8_t>(hash >> 32);
  return tag != 0 ? tag : std::uint8_t{1};
}

[[nodiscard]] inline std::uint32_t hash_filter_bit(std::uint8_t tag) noexcept {
  return std::uint32_t{1} << (24 + tag % 8);
}

[[nodiscard]] inline std::uint64_t hash_load64(const void* from) noexcept {
  std::uint64_t value;
  base::copy_from_shared(reinterpret_cast<std::uint8_t*>(&value),
                         static_cast<const std::uint8_t*>(from), sizeof value);
  return value;
}

inline void hash_store64(void* to, std::uint64_t value) noexcept {
  base::copy_to_shared(static_cast<std::uint8_t*>(to),
                       reinterpret_cast<const std::uint8_t*>(&value), sizeof value);
}

// The tags of one bucket, taken out of shared memory.
struct HashTags {
  std::uint64_t low;
  std::uint32_t high;

  explicit HashTags(const HashBucket* bucket) noexcept
      : low(hash_load64(&bucket->tags_low)), high(base::load_relaxed(&bucket->tags_high)) {}

  [[nodiscard]] std::uint8_t at(unsigned slot) const noexcept {
    return static_cast<std::uint8_t>(slot < 8 ? low >> (8 * slot) : high >> (8 * (slot - 8)));
  }
};

// The slots whose tag is `tag`, one bit each in an order that hash_first_slot() knows. Exact: no
// false positive beside a true one, as the shorter trick with a borrow would have.
[[nodiscard]] inline std::uint64_t hash_match(const HashTags& tags, std::uint8_t tag) noexcept {
  constexpr std::uint64_t kOnes = 0x0101010101010101u;
  constexpr std::uint64_t kLow7 = 0x7f7f7f7f7f7f7f7fu;
  const std::uint64_t low = tags.low ^ (kOnes * tag);
  const std::uint64_t high = tags.high ^ (kOnes * tag);
  const std::uint64_t low_zero = ~(((low & kLow7) + kLow7) | low | kLow7);
  const std::uint64_t high_zero = ~(((high & kLow7) + kLow7) | high | kLow7) & 0x808080u;
  return (low_zero >> 7) | (high_zero >> 6);  // slot i < 8 at bit 8i, slot i >= 8 at 8(i-8) + 1
}

[[nodiscard]] inline unsigned hash_first_slot(std::uint64_t mask) noexcept {
  const auto bit = static_cast<unsigned>(std::countr_zero(mask));
  return (bit >> 3) + ((bit & 1) << 3);
}

// How many slots of a bucket are taken; they are its first ones.
[[nodiscard]] inline unsigned hash_slots_used(const HashBucket* bucket) noexcept {
  const std::uint64_t empty = hash_match(HashTags(bucket), 0);
  // Slots 0 to 7 first: a dense bucket that has an empty one there has no entry after it.
  constexpr std::uint64_t kFirstEight = 0x0101010101010101u;
  if ((empty & kFirstEight) != 0) return hash_first_slot(empty & kFirstEight);
  return empty != 0 ? hash_first_slot(empty) : kHashSlots;
}

// Writer: one slot of a bucket; tag 0 and record 0 empty it.
inline void hash_put(HashBucket* bucket, unsigned slot, std::uint8_t tag,
                     std::uint32_t record) noexcept {
  base::store_relaxed(&bucket->records[slot], record);
  const HashTags tags(bucket);
  if (slot < 8) {
    const std::uint64_t others = tags.low & ~(std::uint64_t{0xff} << (8 * slot));
    hash_store64(&bucket->tags_low, others | (std::uint64_t{tag} << (8 * slot)));
  } else {
    const unsigned shift = 8 * (slot - 8);
    const std::uint32_t others = tags.high & ~(std::uint32_t{0xff} << shift);
    base::store_relaxed(&bucket->tags_high, others | (std::uint32_t{tag} << shift));
  }
}

// Writer: the filter of a head, as bits of hash_filter_bit().
inline void hash_put_filter(HashBucket* head, std::uint32_t bits) noexcept {
  base::store_relaxed(&head->tags_high, (HashTags(head).high & 0x00ffffffu) | bits);
}

}  // namespace armdb::index

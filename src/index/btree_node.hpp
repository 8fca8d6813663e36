// The nodes of the B+-tree: their bytes, the search in them, and the edits of one node.
//
// A leaf                                       An inner node
//    0  version   4                               0  version   4
//    4  count     4  entries                      4  count     4  separators
//    8  next      4  leaf id, 0: none             8  level     4  1: the children are leaves
//   12  prev      4                              12  unused    4
//   16  words     8 * capacity, once or twice    16  words     8 * capacity, once or twice
//       order     1 * capacity, padded to 8          children  4 * (capacity + 1), padded to 8
//       slots     capacity slots                     rests     capacity rests
//
// words: the first 8 bytes of each key as one native number, so that number order is byte order
// (shorter keys are padded with zeros; all keys are of one width, so that this is exact); then,
// for keys of more than 8 bytes, a second array with the next 8. What a key has beyond 16 bytes
// is its rest, padded to 8, compared only where both words tie.
//
// A slot is location (8), value (padded to 8), rest. Slots never move within a leaf: `order` is
// a permutation of all slots, first those of the entries, ascending, then the free ones. So an
// insert shifts 8 or 16 bytes and one more per entry, and an overwrite touches one slot.
//
// separators[i] is at most the smallest key below children[i + 1], and above all keys below
// children[i].
//
// Invariants that hold at every moment, in free nodes and in the middle of a change too, so that
// a reader with a stale node never leaves it:
//   (1) count is at most the capacity.
//   (2) Each byte of `order` is below the capacity.
//
// Threads: the functions that take `const std::uint8_t*` by any thread, in between
// Version::begin_read and still; the others by the writer, on a node it marked (BtreeWrite).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/check.hpp"
#include "base/little.hpp"
#include "base/location.hpp"
#include "base/shared_bytes.hpp"

namespace armdb::index {

constexpr std::uint32_t kBtreeWordsAt = 16;

// Sizes and offsets, the same for all nodes of a tree.
struct BtreeShape {
  std::uint32_t key_size = 0;
  std::uint32_t value_size = 0;
  std::uint32_t dense = 1;          // word arrays: 1 or 2
  std::uint32_t rest_bytes = 0;     // padded
  std::uint32_t payload_bytes = 0;  // location and padded value
  std::uint32_t slot_bytes = 0;
  std::uint32_t leaf_capacity = 0;
  std::uint32_t leaf_order_at = 0;
  std::uint32_t leaf_slots_at = 0;
  std::uint32_t leaf_bytes = 0;
  std::uint32_t inner_capacity = 0;
  std::uint32_t inner_children_at = 0;
  std::uint32_t inner_rests_at = 0;
  std::uint32_t inner_bytes = 0;

  static BtreeShape of(std::uint32_t key_size, std::uint32_t value_size) noexcept;
};

// A key in the form the nodes hold it. `rest` points at the user's bytes or into a node.
struct BtreeKey {
  std::uint64_t words[2] = {0, 0};
  const std::uint8_t* rest = nullptr;
  std::uint32_t rest_size = 0;
};

// Marks a node as changing, for as long as it lives.
class BtreeWrite {
 public:
  explicit BtreeWrite(std::uint8_t* node) noexcept
      : version_(*reinterpret_cast<base::Version*>(node)) {
    version_.begin_write();
  }
  ~BtreeWrite() { version_.end_write(); }
  BtreeWrite(const BtreeWrite&) = delete;
  BtreeWrite& operator=(const BtreeWrite&) = delete;

 private:
  base::Version& version_;
};

// ---- Fields ----

inline std::uint32_t btree_begin_read(const std::uint8_t* node) noexcept {
  return reinterpret_cast<const base::Version*>(node)->begin_read();
}
inline bool btree_still(const std::uint8_t* node, std::uint32_t version) noexcept {
  return reinterpret_cast<const base::Version*>(node)->still(version);
}

inline std::uint32_t btree_u32(const std::uint8_t* from) noexcept {
  return base::load_relaxed(reinterpret_cast<const std::uint32_t*>(from));
}
inline void btree_set_u32(std::uint8_t* to, std::uint32_t value) noexcept {
  base::store_relaxed(reinterpret_cast<std::uint32_t*>(to), value);
}

inline std::uint32_t btree_count(const std::uint8_t* node) noexcept { return btree_u32(node + 4); }
inline void btree_set_count(std::uint8_t* node, std::uint32_t count) noexcept {
  btree_set_u32(node + 4, count);
}
inline std::uint32_t btree_next(const std::uint8_t* leaf) noexcept { return btree_u32(leaf + 8); }
inline void btree_set_next(std::uint8_t* leaf, std::uint32_t id) noexcept {
  btree_set_u32(leaf + 8, id);
}
inline std::uint32_t btree_prev(const std::uint8_t* leaf) noexcept { return btree_u32(leaf + 12); }
inline void btree_set_prev(std::uint8_t* leaf, std::uint32_t id) noexcept {
  btree_set_u32(leaf + 12, id);
}
inline std::uint32_t btree_level(const std::uint8_t* inner) noexcept {
  return btree_u32(inner + 8);
}
inline void btree_set_level(std::uint8_t* inner, std::uint32_t level) noexcept {
  btree_set_u32(inner + 8, level);
}

// One 8-byte number; where a Word is 4 bytes it may come out torn, which the version then tells.
inline std::uint64_t btree_word(const std::uint8_t* from) noexcept {
  if constexpr (sizeof(base::Word) == 8) {
    return base::load_relaxed(reinterpret_cast<const base::Word*>(from));
  } else {
    std::uint64_t word;
    base::copy_from_shared(reinterpret_cast<std::uint8_t*>(&word), from, sizeof word);
    return word;
  }
}
inline void btree_set_word(std::uint8_t* to, std::uint64_t word) noexcept {
  base::copy_to_shared(to, reinterpret_cast<const std::uint8_t*>(&word), sizeof word);
}

inline std::uint8_t btree_order(const BtreeShape& shape, const std::uint8_t* leaf,
                                std::uint32_t at) noexcept {
  return base::load_relaxed(leaf + shape.leaf_order_at + at);
}
inline std::uint32_t btree_slot_at(const BtreeShape& shape, std::uint8_t slot) noexcept {
  return shape.leaf_slots_at + slot * shape.slot_bytes;
}
inline std::uint32_t btree_child(const BtreeShape& shape, const std::uint8_t* inner,
                                 std::uint32_t at) noexcept {
  return btree_u32(inner + shape.inner_children_at + at * 4);
}

// ---- Keys ----

// Up to 8 bytes of a key, as a number that orders like them.
inline std::uint64_t btree_chunk(const std::uint8_t* bytes, std::size_t size) noexcept {
  if (size >= 8) return base::load_big<std::uint64_t>(bytes);
  std::uint8_t padded[8] = {};
  for (std::size_t at = 0; at < size; ++at) padded[at] = bytes[at];
  return base::load_big<std::uint64_t>(padded);
}

inline BtreeKey btree_key(const BtreeShape& shape, const std::uint8_t* bytes) noexcept {
  BtreeKey key;
  key.words[0] = btree_chunk(bytes, shape.key_size);
  if (shape.dense > 1) key.words[1] = btree_chunk(bytes + 8, shape.key_size - 8);
  if (shape.rest_bytes != 0) {
    key.rest = bytes + 16;
    key.rest_size = shape.key_size - 16;
  }
  return key;
}

// The key of a leaf's entry, or of an inner node's separator, for the writer; `rest` is padded.
BtreeKey btree_leaf_key(const BtreeShape& shape, const std::uint8_t* leaf,
                        std::uint32_t at) noexcept;
BtreeKey btree_separator(const BtreeShape& shape, const std::uint8_t* inner,
                         std::uint32_t at) noexcept;
// Such a key as its user wrote it.
void btree_key_bytes(const BtreeShape& shape, const BtreeKey& key, std::uint8_t* out) noexcept;

// Order of a rest in a node against the key's: negative, zero or positive.
inline int btree_compare_rest(const std::uint8_t* shared, const BtreeKey& key) noexcept {
  for (std::uint32_t at = 0; at < key.rest_size; at += 8) {
    std::uint64_t word = btree_word(shared + at);
    if constexpr (std::endian::native == std::endian::little) word = base::byte_swapped(word);
    const std::uint64_t other = btree_chunk(key.rest + at, key.rest_size - at);
    if (word != other) return word < other ? -1 : 1;
  }
  return 0;
}

// ---- Search ----

// How many of `count` ascending words are below `key` or, when kUpper, not above it. Without
// branches on the words: they would be mispredicted half of the time.
template <bool kUpper>
inline std::uint32_t btree_rank(const std::uint8_t* words, std::uint32_t count,
                                std::uint64_t key) noexcept {
  const std::uint8_t* base = words;
  while (count > 1) {
    const std::uint32_t half = count / 2;
    const std::uint64_t word = btree_word(base + (half - 1) * 8);
    const bool below = kUpper ? word <= key : word < key;
    base += static_cast<std::size_t>(half * 8) & (std::size_t{0} - std::size_t{below});
    count -= half;
  }
  if (count == 1) {
    const std::uint64_t word = btree_word(base);
    base += (kUpper ? word <= key : word < key) ? 8 : 0;
  }
  return static_cast<std::uint32_t>(base - words) / 8;
}

// Where a key is, or would go.
struct BtreeSpot {
  std::uint32_t at = 0;
  bool found = false;
};

// Narrows [at, end) to the words that equal `word`; when there are none, `at` is where it would
// go, and the answer is false.
inline bool btree_narrow(const std::uint8_t* words, std::uint64_t word, std::uint32_t& at,
                         std::uint32_t& end) noexcept {
  at += btree_rank<false>(words + at * 8, end - at, word);
  if (at >= end || btree_word(words + at * 8) != word) return false;
  if (at + 1 < end && btree_word(words + (at + 1) * 8) == word) {
    end = at + btree_rank<true>(words + at * 8, end - at, word);
  } else {
    end = at + 1;
  }
  return end > at;  // false only in a node that is changing
}

// Finds a key among `count` others. rest_at(i) is where the rest of the i-th lies. kDense: word
// arrays in a node, 0 when that is asked at run time. kRest: keys go on after the second.
template <unsigned kDense, bool kRest, class RestAt>
inline BtreeSpot btree_search(const BtreeShape& shape, const std::uint8_t* words,
                              std::uint32_t capacity, std::uint32_t count, const BtreeKey& key,
                              const RestAt& rest_at) noexcept {
  std::uint32_t at = 0;
  std::uint32_t end = count;
  if constexpr (kDense == 1) {
    at = btree_rank<false>(words, count, key.words[0]);
    return {at, at < count && btree_word(words + at * 8) == key.words[0]};
  }
  if (!btree_narrow(words, key.words[0], at, end)) return {at, false};
  if (kDense == 0 && shape.dense == 1) return {at, true};
  if (!btree_narrow(words + capacity * 8, key.words[1], at, end)) return {at, false};
  if constexpr (!kRest) return {at, true};
  while (at < end) {
    const std::uint32_t middle = at + (end - at) / 2;
    const int order = btree_compare_rest(rest_at(middle), key);
    if (order == 0) return {middle, true};
    if (order < 0) {
      at = middle + 1;
    } else {
      end = middle;
    }
  }
  return {at, false};
}

template <unsigned kDense, bool kRest>
inline BtreeSpot btree_search_leaf(const BtreeShape& shape, const std::uint8_t* leaf,
                                   const BtreeKey& key) noexcept {
  return btree_search<kDense, kRest>(shape, leaf + kBtreeWordsAt, shape.leaf_capacity,
                                     btree_count(leaf), key, [&](std::uint32_t at) {
                                       const std::uint8_t slot = btree_order(shape, leaf, at);
                                       return leaf + btree_slot_at(shape, slot) +
                                              shape.payload_bytes;
                                     });
}

// Which child leads to the key.
template <unsigned kDense, bool kRest>
inline std::uint32_t btree_search_inner(const BtreeShape& shape, const std::uint8_t* inner,
                                        const BtreeKey& key) noexcept {
  if constexpr (kDense == 1) {
    return btree_rank<true>(inner + kBtreeWordsAt, btree_count(inner), key.words[0]);
  }
  const BtreeSpot spot = btree_search<kDense, kRest>(
      shape, inner + kBtreeWordsAt, shape.inner_capacity, btree_count(inner), key,
      [&](std::uint32_t at) { return inner + shape.inner_rests_at + at * shape.rest_bytes; });
  return spot.at + (spot.found ? 1 : 0);
}

// ---- Edits of a marked leaf ----

// An empty leaf without neighbours.
void btree_reset_leaf(const BtreeShape& shape, std::uint8_t* leaf) noexcept;
void btree_write_location(const BtreeShape& shape, std::uint8_t* leaf, std::uint32_t at,
                          base::Location location) noexcept;
void btree_write_value(const BtreeShape& shape, std::uint8_t* leaf, std::uint32_t at,
                       const std::uint8_t* value) noexcept;
void btree_insert(const BtreeShape& shape, std::uint8_t* leaf, std::uint32_t at,
                  const BtreeKey& key, const std::uint8_t* value, base::Location location) noexcept;
void btree_remove(const BtreeShape& shape, std::uint8_t* leaf, std::uint32_t at,
                  std::uint32_t count) noexcept;
// Moves `count` entries of `from`, beginning at `at`, to `to`, beginning at `to_at`.
void btree_move(const BtreeShape& shape, std::uint8_t* from, std::uint32_t at, std::uint32_t count,
                std::uint8_t* to, std::uint32_t to_at) noexcept;

// ---- Edits of a marked inner node ----

void btree_set_separator(const BtreeShape& shape, std::uint8_t* inner, std::uint32_t at,
                         const BtreeKey& key) noexcept;
void btree_set_child(const BtreeShape& shape, std::uint8_t* inner, std::uint32_t at,
                     std::uint32_t id) noexcept;
// Inserts separators[at] and children[at + 1].
void btree_insert_child(const BtreeShape& shape, std::uint8_t* inner, std::uint32_t at,
                        const BtreeKey& key, std::uint32_t child) noexcept;
// Removes separators[at] and children[at + 1].
void btree_remove_child(const BtreeShape& shape, std::uint8_t* inner, std::uint32_t at) noexcept;
// Copies `count` separators and the `count` + 1 children around them. Sets no count.
void btree_copy_inner(const BtreeShape& shape, const std::uint8_t* from, std::uint32_t at,
                      std::uint32_t count, std::uint8_t* to, std::uint32_t to_at) noexcept;

}  // namespace armdb::index

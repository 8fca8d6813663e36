// The shape of a B+-tree's nodes, and the edits of one node. See btree_node.hpp.
#include "index/btree_node.hpp"

#include <algorithm>

namespace armdb::index {
namespace {

constexpr std::uint32_t kBtreeNodeBytes = 4096;  // what a node should not pass
constexpr std::uint32_t kBtreeLeafCapacityMax = 128;
constexpr std::uint32_t kBtreeInnerCapacityMax = 254;  // 255 children: Place::path_slot is a byte
constexpr std::uint32_t kBtreeInnerCapacityMin = 15;

constexpr std::uint32_t btree_padded(std::uint32_t size) noexcept { return (size + 7) / 8 * 8; }

// memmove within a node that readers look at; whole words.
void btree_shift(std::uint8_t* to, const std::uint8_t* from, std::size_t bytes) noexcept {
  auto* target = reinterpret_cast<base::Word*>(to);
  const auto* source = reinterpret_cast<const base::Word*>(from);
  const std::size_t words = bytes / sizeof(base::Word);
  if (target <= source) {
    for (std::size_t at = 0; at < words; ++at) {
      base::store_relaxed(target + at, base::load_relaxed(source + at));
    }
  } else {
    for (std::size_t at = words; at-- > 0;) {
      base::store_relaxed(target + at, base::load_relaxed(source + at));
    }
  }
}

void btree_write_rest(std::uint8_t* to, const BtreeKey& key) noexcept {
  for (std::uint32_t at = 0; at < key.rest_size; at += 8) {
    std::uint8_t chunk[8];
    base::store_big<std::uint64_t>(chunk, btree_chunk(key.rest + at, key.rest_size - at));
    base::copy_to_shared(to + at, chunk, sizeof chunk);
  }
}

// Makes room for `room` entries at `at`: their words are junk, their slots taken.
void btree_open(const BtreeShape& shape, std::uint8_t* leaf, std::uint32_t at,
                std::uint32_t room) noexcept {
  const std::uint32_t count = btree_count(leaf);
  ARMDB_ASSERT(at <= count && count + room <= shape.leaf_capacity);
  for (std::uint32_t word = 0; word < shape.dense; ++word) {
    std::uint8_t* words = leaf + kBtreeWordsAt + word * shape.leaf_capacity * 8;
    btree_shift(words + (at + room) * 8, words + at * 8, (count - at) * std::size_t{8});
  }
  std::uint8_t* order = leaf + shape.leaf_order_at;
  std::uint8_t taken[kBtreeLeafCapacityMax];
  std::memcpy(taken, order + count, room);
  for (std::uint32_t from = count; from-- > at;)
    base::store_relaxed(order + from + room, order[from]);
  for (std::uint32_t i = 0; i < room; ++i) base::store_relaxed(order + at + i, taken[i]);
  btree_set_count(leaf, count + room);
}

}  // namespace

BtreeShape BtreeShape::of(std::uint32_t key_size, std::uint32_t value_size) noexcept {
  BtreeShape shape;
  shape.key_size = key_size;
  shape.value_size = value_size;
  shape.dense = key_size > 8 ? 2 : 1;
  shape.rest_bytes = key_size > 16 ? btree_padded(key_size - 16) : 0;
  shape.payload_bytes = 8 + btree_padded(value_size);
  shape.slot_bytes = shape.payload_bytes + shape.rest_bytes;

  // 7 bytes less, for the padding of `order`. Where values are large, more than a few of them
  // in a leaf would make small collections and short scans pay.
  const std::uint32_t words_bytes = shape.dense * 8;
  const std::uint32_t fitting =
      (kBtreeNodeBytes - kBtreeWordsAt - 7) / (words_bytes + 1 + shape.slot_bytes);
  const std::uint32_t capacity_min = shape.slot_bytes > 4096 ? 8 : 16;
  shape.leaf_capacity = std::clamp(fitting, capacity_min, kBtreeLeafCapacityMax);
  shape.leaf_order_at = kBtreeWordsAt + words_bytes * shape.leaf_capacity;
  shape.leaf_slots_at = shape.leaf_order_at + btree_padded(shape.leaf_capacity);
  shape.leaf_bytes = shape.leaf_slots_at + shape.leaf_capacity * shape.slot_bytes;

  shape.inner_capacity =
      std::clamp((kBtreeNodeBytes - kBtreeWordsAt - 8) / (words_bytes + 4 + shape.rest_bytes),
                 kBtreeInnerCapacityMin, kBtreeInnerCapacityMax);
  shape.inner_children_at = kBtreeWordsAt + words_bytes * shape.inner_capacity;
  shape.inner_rests_at = shape.inner_children_at + btree_padded((shape.inner_capacity + 1) * 4);
  shape.inner_bytes = shape.inner_rests_at + shape.inner_capacity * shape.rest_bytes;
  return shape;
}

BtreeKey btree_leaf_key(const BtreeShape& shape, const std::uint8_t* leaf,
                        std::uint32_t at) noexcept {
  BtreeKey key;
  const std::uint8_t* words = leaf + kBtreeWordsAt + at * 8;
  key.words[0] = btree_word(words);
  if (shape.dense > 1) key.words[1] = btree_word(words + shape.leaf_capacity * 8);
  const std::uint8_t slot = btree_order(shape, leaf, at);
  key.rest = leaf + btree_slot_at(shape, slot) + shape.payload_bytes;
  key.rest_size = shape.rest_bytes;
  return key;
}

BtreeKey btree_separator(const BtreeShape& shape, const std::uint8_t* inner,
                         std::uint32_t at) noexcept {
  BtreeKey key;
  const std::uint8_t* words = inner + kBtreeWordsAt + at * 8;
  key.words[0] = btree_word(words);
  if (shape.dense > 1) key.words[1] = btree_word(words + shape.inner_capacity * 8);
  key.rest = inner + shape.inner_rests_at + at * shape.rest_bytes;
  key.rest_size = shape.rest_bytes;
  return key;
}

void btree_key_bytes(const BtreeShape& shape, const BtreeKey& key, std::uint8_t* out) noexcept {
  std::uint8_t words[16];
  base::store_big<std::uint64_t>(words, key.words[0]);
  base::store_big<std::uint64_t>(words + 8, key.words[1]);
  const std::size_t dense = std::min<std::size_t>(shape.key_size, 8 * std::size_t{shape.dense});
  std::memcpy(out, words, dense);
  base::copy_from_shared(out + dense, key.rest, shape.key_size - dense);
}

void btree_reset_leaf(const BtreeShape& shape, std::uint8_t* leaf) noexcept {
  btree_set_count(leaf, 0);
  btree_set_next(leaf, 0);
  btree_set_prev(leaf, 0);
  for (std::uint32_t at = 0; at < shape.leaf_capacity; ++at) {
    base::store_relaxed(leaf + shape.leaf_order_at + at, static_cast<std::uint8_t>(at));
  }
}

void btree_write_location(const BtreeShape& shape, std::uint8_t* leaf, std::uint32_t at,
                          base::Location location) noexcept {
  btree_set_word(leaf + btree_slot_at(shape, btree_order(shape, leaf, at)), location.packed());
}

void btree_write_value(const BtreeShape& shape, std::uint8_t* leaf, std::uint32_t at,
                       const std::uint8_t* value) noexcept {
  if (shape.value_size == 0) return;
  std::uint8_t* slot = leaf + btree_slot_at(shape, btree_order(shape, leaf, at));
  base::copy_to_shared(slot + 8, value, shape.value_size);
}

void btree_insert(const BtreeShape& shape, std::uint8_t* leaf, std::uint32_t at,
                  const BtreeKey& key, const std::uint8_t* value,
                  base::Location location) noexcept {
  btree_open(shape, leaf, at, 1);
  for (std::uint32_t word = 0; word < shape.dense; ++word) {
    btree_set_word(leaf + kBtreeWordsAt + (word * shape.leaf_capacity + at) * 8, key.words[word]);
  }
  btree_write_location(shape, leaf, at, location);
  btree_write_value(shape, leaf, at, value);
  const std::uint32_t slot_at = btree_slot_at(shape, btree_order(shape, leaf, at));
  btree_write_rest(leaf + slot_at + shape.payload_bytes, key);
}

void btree_remove(const BtreeShape& shape, std::uint8_t* leaf, std::uint32_t at,
                  std::uint32_t gone) noexcept {
  const std::uint32_t count = btree_count(leaf);
  ARMDB_ASSERT(at + gone <= count);
  for (std::uint32_t word = 0; word < shape.dense; ++word) {
    std::uint8_t* words = leaf + kBtreeWordsAt + (word * shape.leaf_capacity + at) * 8;
    btree_shift(words, words + gone * 8, (count - at - gone) * std::size_t{8});
  }
  std::uint8_t* order = leaf + shape.leaf_order_at;
  std::uint8_t freed[kBtreeLeafCapacityMax];
  std::memcpy(freed, order + at, gone);
  for (std::uint32_t to = at; to + gone < count; ++to)
    base::store_relaxed(order + to, order[to + gone]);
  for (std::uint32_t i = 0; i < gone; ++i) base::store_relaxed(order + count - gone + i, freed[i]);
  btree_set_count(leaf, count - gone);
}

void btree_move(const BtreeShape& shape, std::uint8_t* from, std::uint32_t at, std::uint32_t count,
                std::uint8_t* to, std::uint32_t to_at) noexcept {
  btree_open(shape, to, to_at, count);
  for (std::uint32_t word = 0; word < shape.dense; ++word) {
    const std::uint32_t words_at = kBtreeWordsAt + word * shape.leaf_capacity * 8;
    btree_shift(to + words_at + to_at * 8, from + words_at + at * 8, count * std::size_t{8});
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    btree_shift(to + btree_slot_at(shape, btree_order(shape, to, to_at + i)),
                from + btree_slot_at(shape, btree_order(shape, from, at + i)), shape.slot_bytes);
  }
  btree_remove(shape, from, at, count);
}

void btree_set_separator(const BtreeShape& shape, std::uint8_t* inner, std::uint32_t at,
                         const BtreeKey& key) noexcept {
  for (std::uint32_t word = 0; word < shape.dense; ++word) {
    btree_set_word(inner + kBtreeWordsAt + (word * shape.inner_capacity + at) * 8, key.words[word]);
  }
  btree_write_rest(inner + shape.inner_rests_at + at * shape.rest_bytes, key);
}

void btree_set_child(const BtreeShape& shape, std::uint8_t* inner, std::uint32_t at,
                     std::uint32_t id) noexcept {
  btree_set_u32(inner + shape.inner_children_at + at * 4, id);
}

void btree_insert_child(const BtreeShape& shape, std::uint8_t* inner, std::uint32_t at,
                        const BtreeKey& key, std::uint32_t child) noexcept {
  const std::uint32_t count = btree_count(inner);
  ARMDB_ASSERT(at <= count && count < shape.inner_capacity);
  const std::size_t behind = count - at;
  for (std::uint32_t word = 0; word < shape.dense; ++word) {
    std::uint8_t* words = inner + kBtreeWordsAt + (word * shape.inner_capacity + at) * 8;
    btree_shift(words + 8, words, behind * 8);
  }
  std::uint8_t* rests = inner + shape.inner_rests_at + at * shape.rest_bytes;
  btree_shift(rests + shape.rest_bytes, rests, behind * shape.rest_bytes);
  for (std::uint32_t i = count; i > at; --i) {
    btree_set_child(shape, inner, i + 1, btree_child(shape, inner, i));
  }
  btree_set_separator(shape, inner, at, key);
  btree_set_child(shape, inner, at + 1, child);
  btree_set_count(inner, count + 1);
}

void btree_remove_child(const BtreeShape& shape, std::uint8_t* inner, std::uint32_t at) noexcept {
  const std::uint32_t count = btree_count(inner);
  ARMDB_ASSERT(at < count);
  const std::size_t behind = count - at - 1;
  for (std::uint32_t word = 0; word < shape.dense; ++word) {
    std::uint8_t* words = inner + kBtreeWordsAt + (word * shape.inner_capacity + at) * 8;
    btree_shift(words, words + 8, behind * 8);
  }
  std::uint8_t* rests = inner + shape.inner_rests_at + at * shape.rest_bytes;
  btree_shift(rests, rests + shape.rest_bytes, behind * shape.rest_bytes);
  for (std::uint32_t i = at + 1; i < count; ++i) {
    btree_set_child(shape, inner, i, btree_child(shape, inner, i + 1));
  }
  btree_set_count(inner, count - 1);
}

void btree_copy_inner(const BtreeShape& shape, const std::uint8_t* from, std::uint32_t at,
                      std::uint32_t count, std::uint8_t* to, std::uint32_t to_at) noexcept {
  for (std::uint32_t word = 0; word < shape.dense; ++word) {
    const std::uint32_t words_at = kBtreeWordsAt + word * shape.inner_capacity * 8;
    btree_shift(to + words_at + to_at * 8, from + words_at + at * 8, count * std::size_t{8});
  }
  btree_shift(to + shape.inner_rests_at + to_at * shape.rest_bytes,
              from + shape.inner_rests_at + at * shape.rest_bytes,
              count * std::size_t{shape.rest_bytes});
  for (std::uint32_t i = 0; i <= count; ++i) {
    btree_set_child(shape, to, to_at + i, btree_child(shape, from, at + i));
  }
}

}  // namespace armdb::index

// The B+-tree's invariants, checked by walking it. Test builds only.
#include "index/btree.hpp"

#if defined(ARMDB_CHECKS)

#include <array>
#include <cstring>

namespace armdb::index {

namespace {
using BtreeKeyBytes = std::array<std::uint8_t, kBtreeKeyBytesMax>;
}

struct BtreeIndex::Walk {
  BtreeKeyBytes last{};  // the last key, or the separator behind it
  bool has_last = false;
  bool last_is_separator = false;
  std::uint32_t leaf = kBtreeNone;
  std::size_t entries = 0;
  std::size_t leaves = 0;
  std::size_t inners = 0;
};

namespace {

BtreeKeyBytes btree_bytes(const BtreeShape& shape, const BtreeKey& key) {
  BtreeKeyBytes bytes{};
  std::array<std::uint8_t, kBtreeKeyBytesMax + 16> padded{};
  base::store_big<std::uint64_t>(padded.data(), key.words[0]);
  base::store_big<std::uint64_t>(padded.data() + 8, key.words[1]);
  if (key.rest_size != 0) std::memcpy(padded.data() + 16, key.rest, key.rest_size);
  std::memcpy(bytes.data(), padded.data(), shape.key_size);
  return bytes;
}

}  // namespace

bool BtreeIndex::check_leaf(Walk& walk, std::uint32_t id) const {
  const std::uint8_t* leaf = leaf_at(id);
  const std::uint32_t count = btree_count(leaf);
  if (count > shape_.leaf_capacity) return false;
  if (btree_prev(leaf) != walk.leaf) return false;
  if (walk.leaf != kBtreeNone && btree_next(leaf_at(walk.leaf)) != id) return false;

  std::array<bool, 256> seen{};
  for (std::uint32_t at = 0; at < shape_.leaf_capacity; ++at) {
    const std::uint8_t slot = btree_order(shape_, leaf, at);
    if (slot >= shape_.leaf_capacity || seen[slot]) return false;
    seen[slot] = true;
  }
  for (std::uint32_t at = 0; at < count; ++at) {
    const BtreeKeyBytes key = btree_bytes(shape_, btree_leaf_key(shape_, leaf, at));
    // The first key behind a separator may equal it.
    const bool equal_allowed = at == 0 && walk.last_is_separator;
    if (walk.has_last && !(walk.last < key || (equal_allowed && walk.last == key))) return false;
    walk.last = key;
    walk.has_last = true;
    walk.last_is_separator = false;
  }
  walk.leaf = id;
  walk.entries += count;
  walk.leaves += 1;
  return true;
}

bool BtreeIndex::check_inner(Walk& walk, std::uint32_t id, std::uint32_t level) const {
  const std::uint8_t* inner = inner_at(id);
  const std::uint32_t count = btree_count(inner);
  if (count > shape_.inner_capacity || btree_level(inner) != level) return false;
  walk.inners += 1;
  for (std::uint32_t at = 0; at <= count; ++at) {
    const std::uint32_t child = btree_child(shape_, inner, at);
    const bool good = level == 1 ? check_leaf(walk, child) : check_inner(walk, child, level - 1);
    if (!good) return false;
    if (at == count) break;
    const BtreeKeyBytes separator = btree_bytes(shape_, btree_separator(shape_, inner, at));
    // Strictly above the keys before it; separators ascend as well.
    if (walk.has_last && !(walk.last < separator)) return false;
    walk.last = separator;
    walk.has_last = true;
    walk.last_is_separator = true;
  }
  return true;
}

bool BtreeIndex::check() const {
  Walk walk;
  if (!check_inner(walk, root_id_, btree_level(root_))) return false;
  if (btree_next(leaf_at(walk.leaf)) != kBtreeNone) return false;
  if (edge_.depth != 0) {
    if (edge_.depth != btree_level(root_) || edge_.node != walk.leaf) return false;
    std::uint32_t id = root_id_;
    for (std::uint32_t depth = 0; depth < edge_.depth; ++depth) {
      const std::uint32_t last = btree_count(inner_at(id));
      if (edge_.path[depth] != id || edge_.path_slot[depth] != last) return false;
      id = btree_child(shape_, inner_at(id), last);
    }
  }
  return walk.entries == size() && walk.leaves == leaves_.nodes_in_use() &&
         walk.inners == inners_.nodes_in_use();
}

bool btree_check(const Index& tree) { return static_cast<const BtreeIndex&>(tree).check(); }

}  // namespace armdb::index

#endif  // ARMDB_CHECKS

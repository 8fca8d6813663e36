// The writer's side of the B+-tree: inserts, splits, erases, merges. btree.cpp has the protocol.
#include <algorithm>
#include <optional>

#include "base/build.hpp"
#include "index/btree.hpp"

namespace armdb::index {

bool BtreeIndex::start() noexcept {
  root_id_ = inners_.allocate();
  if (root_id_ == kBtreeNone) return false;
  const std::uint32_t leaf = leaves_.allocate();
  if (leaf == kBtreeNone) return false;
  root_ = inner_at(root_id_);
  btree_reset_leaf(shape_, leaf_at(leaf));
  btree_set_level(root_, 1);
  btree_set_child(shape_, root_, 0, leaf);
  return true;
}

// ---- Writer: inserts ----

// The place of a key above all others. Where it is not, the edge is forgotten: random keys pay for
// this once, and no edit but an insert behind all, which keeps it, finds it known.
bool BtreeIndex::locate_at_edge(const BtreeKey& key, Place& place) noexcept {
  const std::uint8_t* leaf = leaf_at(edge_.node);
  const std::uint32_t count = btree_count(leaf);
  bool above = false;
  if (count != 0) {
    const BtreeKey last = btree_leaf_key(shape_, leaf, count - 1);
    above = key.words[0] > last.words[0];
    if (key.words[0] == last.words[0]) {
      above = key.words[1] > last.words[1];
      if (key.words[1] == last.words[1]) above = btree_compare_rest(last.rest, key) < 0;
    }
  }
  if (!above) {
    edge_.depth = 0;
    return false;
  }
  place = edge_;
  place.slot = count;
  return true;
}

void BtreeIndex::publish(Place& place, const std::uint8_t* key, const std::uint8_t* value,
                         base::Location at) noexcept {
  std::uint8_t* leaf = leaf_at(place.node);
  if (place.found) {
    const BtreeWrite write(leaf);
    btree_write_location(shape_, leaf, place.slot, at);
    btree_write_value(shape_, leaf, place.slot, value);
    return;
  }
  const Fresh fresh{key, value, at};
  if (base::kSmallBuild || btree_count(leaf) == shape_.leaf_capacity) {
    publish_run(place, {&fresh, 1});
    return;
  }
  {
    const BtreeWrite write(leaf);
    insert_one(leaf, place.slot, fresh);
  }
  size_.store(size() + 1, std::memory_order_relaxed);
}

void BtreeIndex::publish_run(Place& place, std::span<const Fresh> run) noexcept {
  std::uint8_t* leaf = leaf_at(place.node);
  if (btree_count(leaf) < shape_.leaf_capacity) {
    const BtreeWrite write(leaf);
    insert(leaf, place.slot, run);
  } else {
    const bool at_edge = place.last || (place.slot == 0 && btree_prev(leaf) == kBtreeNone);
    ARMDB_ASSERT(place.last || edge_.depth == 0);
    if (at_edge || run.size() > 1 || !shift_into_sibling(place, run)) {
      make_inner_room(place, at_edge);
      split_leaf(place, run);
      if (place.last) edge_ = place;
    }
  }
  size_.store(size() + run.size(), std::memory_order_relaxed);
}

// What fits into one leaf, below whatever follows there: this one or, when it is full and a new
// one is worth it, the one that is begun. Sorted input fills leaf after leaf that way, and each is
// named to its parent once.
std::size_t BtreeIndex::run_length(const Place& place, std::span<const Fresh> run) const noexcept {
  const std::uint8_t* leaf = leaf_at(place.node);
  const std::uint32_t capacity = shape_.leaf_capacity;
  const std::uint32_t count = btree_count(leaf);
  const std::uint32_t room = count < capacity ? capacity - count : capacity;
  const std::size_t most = std::min<std::size_t>(room, run.size());
  std::uint8_t bound[kBtreeKeyBytesMax];
  bool bounded = place.slot < count;
  if (bounded) btree_key_bytes(shape_, btree_leaf_key(shape_, leaf, place.slot), bound);
  for (std::uint32_t depth = place.depth; !bounded && depth > 0; --depth) {
    const std::uint8_t* inner = inner_at(place.path[depth - 1]);
    const std::uint32_t at = place.path_slot[depth - 1];
    bounded = at < btree_count(inner);
    if (bounded) btree_key_bytes(shape_, btree_separator(shape_, inner, at), bound);
  }
  std::size_t length = 1;
  for (; length < most; ++length) {
    const std::uint8_t* key = run[length].key;
    if (std::memcmp(run[length - 1].key, key, shape_.key_size) >= 0) break;
    if (bounded && std::memcmp(key, bound, shape_.key_size) >= 0) break;
  }
  if (count < capacity) return length;
  // The next leaf has much room: publish() shares it. Else groups that come from the largest down
  // would begin a leaf each.
  const std::uint8_t* parent = inner_at(place.path[place.depth - 1]);
  const std::uint32_t right = place.path_slot[place.depth - 1] + 1u;
  if (right <= btree_count(parent) && btree_count(leaf_below(parent, right)) < capacity * 2 / 3) {
    return 1;
  }
  const std::uint32_t behind = capacity - place.slot;
  if (behind == 0) return length;
  // A new leaf takes what is behind the place; the run goes where more room is then.
  if (behind > capacity / 4 && length < capacity / 2) return 1;
  return std::min<std::size_t>(length, std::max(behind, place.slot));
}

void BtreeIndex::relocate(Place& place, base::Location at) noexcept {
  ARMDB_ASSERT(place.found);
  std::uint8_t* leaf = leaf_at(place.node);
  const BtreeWrite write(leaf);
  btree_write_location(shape_, leaf, place.slot, at);
}

// Moves entries of a full leaf to the emptier of its siblings, if that has much room, and
// inserts; false when it has not. Random inserts fill leaves to 80 % that way, not to 69 %.
bool BtreeIndex::shift_into_sibling(const Place& place, std::span<const Fresh> run) noexcept {
  const std::uint32_t capacity = shape_.leaf_capacity;
  const std::uint32_t at = place.path_slot[place.depth - 1];
  std::uint8_t* parent = inner_at(place.path[place.depth - 1]);
  std::uint8_t* leaf = leaf_at(place.node);
  std::uint8_t* left = at > 0 ? leaf_below(parent, at - 1) : nullptr;
  std::uint8_t* right = at < btree_count(parent) ? leaf_below(parent, at + 1) : nullptr;
  const std::uint32_t left_room = left != nullptr ? capacity - btree_count(left) : 0;
  const std::uint32_t right_room = right != nullptr ? capacity - btree_count(right) : 0;
  const std::uint32_t room = std::max(left_room, right_room);
  if (room < std::max(2u, capacity / 6)) return false;

  const std::uint32_t moved = (room + 1) / 2;
  const std::uint32_t slot = place.slot;
  const BtreeWrite write_parent(parent);
  const BtreeWrite write_leaf(leaf);
  if (right_room > left_room) {
    const BtreeWrite write_right(right);
    const std::uint32_t kept = capacity - moved;
    btree_move(shape_, leaf, kept, moved, right, 0);
    slot <= kept ? insert(leaf, slot, run) : insert(right, slot - kept, run);
    btree_set_separator(shape_, parent, at, btree_leaf_key(shape_, right, 0));
  } else {
    const BtreeWrite write_left(left);
    const std::uint32_t before = btree_count(left);
    btree_move(shape_, leaf, 0, moved, left, before);
    slot <= moved ? insert(left, before + slot, run) : insert(leaf, slot - moved, run);
    btree_set_separator(shape_, parent, at - 1, btree_leaf_key(shape_, leaf, 0));
  }
  return true;
}

// Splits a full leaf, whose parent has room, and inserts. A new last key leaves the old leaf
// full, and a new first one gives all to the new leaf: sorted loads fill the leaves. A run parts
// the leaf where it goes. The place names the leaf it went to.
void BtreeIndex::split_leaf(Place& place, std::span<const Fresh> run) noexcept {
  const std::uint32_t capacity = shape_.leaf_capacity;
  std::uint8_t* parent = inner_at(place.path[place.depth - 1]);
  std::uint8_t* leaf = leaf_at(place.node);
  const std::uint32_t right_id = leaves_.allocate();
  ARMDB_ASSERT(right_id != kBtreeNone);
  std::uint8_t* right = leaf_at(right_id);
  const std::uint32_t after_id = btree_next(leaf);
  std::uint8_t* after = after_id != kBtreeNone ? leaf_at(after_id) : nullptr;

  std::uint32_t kept = capacity / 2;
  if (place.slot == capacity || run.size() > 1) kept = place.slot;
  if (place.slot == 0 && btree_prev(leaf) == kBtreeNone) kept = 0;
  const bool roomier_right = run.size() > 1 && kept > capacity / 2;
  const bool goes_right = place.slot > kept || kept == capacity || roomier_right;

  const BtreeWrite write_parent(parent);
  const BtreeWrite write_leaf(leaf);
  const BtreeWrite write_right(right);
  std::optional<BtreeWrite> write_after;
  if (after != nullptr) write_after.emplace(after);
  btree_reset_leaf(shape_, right);
  btree_set_prev(right, place.node);
  btree_set_next(right, after_id);
  btree_set_next(leaf, right_id);
  if (after != nullptr) btree_set_prev(after, right_id);
  btree_move(shape_, leaf, kept, capacity - kept, right, 0);
  goes_right ? insert(right, place.slot - kept, run) : insert(leaf, place.slot, run);
  std::uint8_t& at = place.path_slot[place.depth - 1];
  btree_insert_child(shape_, parent, at, btree_leaf_key(shape_, right, 0), right_id);
  if (!goes_right) return;
  place.node = right_id;
  at = static_cast<std::uint8_t>(at + 1);
}

// Splits full inner nodes, from the top down, until the leaf's parent has room.
void BtreeIndex::make_inner_room(Place& place, bool at_edge) noexcept {
  std::uint32_t depth = place.depth;
  while (depth > 0 && btree_count(inner_at(place.path[depth - 1])) == shape_.inner_capacity) {
    --depth;
  }
  if (depth == 0) {
    push_root_down(place);
    depth = 1;
  }
  for (; depth < place.depth; ++depth) split_inner(place, depth, at_edge);
}

// The root's contents go to a new node, its only child.
void BtreeIndex::push_root_down(Place& place) noexcept {
  ARMDB_ASSERT(place.depth < kBtreeDepthMax);
  const std::uint32_t id = inners_.allocate();
  ARMDB_ASSERT(id != kBtreeNone);
  std::uint8_t* node = inner_at(id);
  {
    const BtreeWrite write_root(root_);
    const BtreeWrite write(node);
    btree_set_level(node, btree_level(root_));
    btree_copy_inner(shape_, root_, 0, btree_count(root_), node, 0);
    btree_set_count(node, btree_count(root_));
    btree_set_level(root_, btree_level(root_) + 1);
    btree_set_child(shape_, root_, 0, id);
    btree_set_count(root_, 0);
  }
  for (std::uint32_t depth = place.depth; depth > 0; --depth) {
    place.path[depth] = place.path[depth - 1];
    place.path_slot[depth] = place.path_slot[depth - 1];
  }
  place.path[1] = id;
  place.path_slot[0] = 0;
  place.depth += 1;
}

// Splits path[depth], which is full, below path[depth - 1], which has room.
void BtreeIndex::split_inner(Place& place, std::uint32_t depth, bool at_edge) noexcept {
  const std::uint32_t count = shape_.inner_capacity;
  const std::uint32_t slot = place.path_slot[depth];
  std::uint8_t* parent = inner_at(place.path[depth - 1]);
  std::uint8_t* node = inner_at(place.path[depth]);
  const std::uint32_t right_id = inners_.allocate();
  ARMDB_ASSERT(right_id != kBtreeNone);
  std::uint8_t* right = inner_at(right_id);

  // separators[kept] moves up. At the tree's edges, as for leaves, the old node stays full.
  std::uint32_t kept = count / 2;
  if (at_edge && slot == count) kept = count - 1;
  if (at_edge && slot == 0) kept = 0;
  {
    const BtreeWrite write_parent(parent);
    const BtreeWrite write_node(node);
    const BtreeWrite write_right(right);
    btree_set_level(right, btree_level(node));
    btree_copy_inner(shape_, node, kept + 1, count - kept - 1, right, 0);
    btree_set_count(right, count - kept - 1);
    btree_insert_child(shape_, parent, place.path_slot[depth - 1],
                       btree_separator(shape_, node, kept), right_id);
    btree_set_count(node, kept);
  }
  if (slot > kept) {
    place.path[depth] = right_id;
    place.path_slot[depth] = static_cast<std::uint8_t>(slot - kept - 1);
    place.path_slot[depth - 1] = static_cast<std::uint8_t>(place.path_slot[depth - 1] + 1);
  }
}

// ---- Writer: erase ----

void BtreeIndex::erase(Place& place) noexcept {
  ARMDB_ASSERT(place.found && edge_.depth == 0);
  std::uint8_t* leaf = leaf_at(place.node);
  {
    const BtreeWrite write(leaf);
    btree_remove(shape_, leaf, place.slot, 1);
  }
  size_.store(size() - 1, std::memory_order_relaxed);

  const std::uint32_t count = btree_count(leaf);
  const std::uint32_t capacity = shape_.leaf_capacity;
  if (count > capacity * 3 / 8) return;
  // Both together must leave room, or the next insert would split them again.
  const auto fits = [&](const std::uint8_t* sibling) {
    return count == 0 || count + btree_count(sibling) <= capacity * 3 / 4;
  };
  std::uint8_t* parent = inner_at(place.path[place.depth - 1]);
  const std::uint32_t at = place.path_slot[place.depth - 1];
  if (at > 0 && fits(leaf_below(parent, at - 1))) {
    merge_leaves(parent, at - 1);
  } else if (at < btree_count(parent) && fits(leaf_below(parent, at + 1))) {
    merge_leaves(parent, at);
  } else {
    return;
  }
  thin_out(place);
}

// Moves children[at + 1]'s entries to children[at] and frees it.
void BtreeIndex::merge_leaves(std::uint8_t* parent, std::uint32_t at) noexcept {
  const std::uint32_t left_id = btree_child(shape_, parent, at);
  const std::uint32_t right_id = btree_child(shape_, parent, at + 1);
  std::uint8_t* left = leaf_at(left_id);
  std::uint8_t* right = leaf_at(right_id);
  const std::uint32_t after_id = btree_next(right);
  std::uint8_t* after = after_id != kBtreeNone ? leaf_at(after_id) : nullptr;
  {
    const BtreeWrite write_parent(parent);
    const BtreeWrite write_left(left);
    const BtreeWrite write_right(right);
    std::optional<BtreeWrite> write_after;
    if (after != nullptr) write_after.emplace(after);
    btree_move(shape_, right, 0, btree_count(right), left, btree_count(left));
    btree_set_next(left, after_id);
    if (after != nullptr) btree_set_prev(after, left_id);
    btree_remove_child(shape_, parent, at);
  }
  leaves_.free(right_id);
}

void BtreeIndex::merge_inners(std::uint8_t* parent, std::uint32_t at) noexcept {
  const std::uint32_t right_id = btree_child(shape_, parent, at + 1);
  std::uint8_t* left = inner_at(btree_child(shape_, parent, at));
  std::uint8_t* right = inner_at(right_id);
  const std::uint32_t before = btree_count(left);
  const std::uint32_t moved = btree_count(right);
  {
    const BtreeWrite write_parent(parent);
    const BtreeWrite write_left(left);
    const BtreeWrite write_right(right);
    btree_set_separator(shape_, left, before, btree_separator(shape_, parent, at));
    btree_copy_inner(shape_, right, 0, moved, left, before + 1);
    btree_set_count(left, before + 1 + moved);
    btree_remove_child(shape_, parent, at);
  }
  inners_.free(right_id);
}

// Merges inner nodes that lost children, from the leaf's parent up.
void BtreeIndex::thin_out(const Place& place) noexcept {
  const std::uint32_t capacity = shape_.inner_capacity;
  for (std::uint32_t depth = place.depth - 1; depth > 0; --depth) {
    const std::uint32_t count = btree_count(inner_at(place.path[depth]));
    if (count > capacity / 4) break;
    // A node with a single child cannot lose it, so that it takes any chance to merge.
    const std::uint32_t most = count == 0 ? capacity : capacity * 3 / 4;
    std::uint8_t* parent = inner_at(place.path[depth - 1]);
    const std::uint32_t at = place.path_slot[depth - 1];
    const auto fits = [&](std::uint32_t sibling) {
      return count + 1 + btree_count(inner_at(btree_child(shape_, parent, sibling))) <= most;
    };
    if (at > 0 && fits(at - 1)) {
      merge_inners(parent, at - 1);
    } else if (at < btree_count(parent) && fits(at + 1)) {
      merge_inners(parent, at);
    } else {
      break;
    }
  }
  while (btree_count(root_) == 0 && btree_level(root_) > 1) pull_root_up();
}

// The root's only child's contents go to the root.
void BtreeIndex::pull_root_up() noexcept {
  const std::uint32_t id = btree_child(shape_, root_, 0);
  std::uint8_t* node = inner_at(id);
  {
    const BtreeWrite write_root(root_);
    const BtreeWrite write(node);
    btree_copy_inner(shape_, node, 0, btree_count(node), root_, 0);
    btree_set_count(root_, btree_count(node));
    btree_set_level(root_, btree_level(node));
  }
  inners_.free(id);
}

}  // namespace armdb::index

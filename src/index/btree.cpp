// The ordered index: a B+-tree with one writer and readers that take no lock.
//
// Inner nodes lead to leaves, leaves hold the entries and are linked both ways; their bytes are in
// btree_node.hpp. Nodes live in two arenas and name each other by number. The root is an inner
// node that never moves: when it is full its contents go to a new node below it, and when one
// child is left that child's contents come back. So there is no root pointer to race for.
//
// Invariants (while no node is marked):
//   (1) All leaves are equally deep. Keys ascend within a leaf and along the links.
//   (2) A separator is above all keys to its left, and not above any to its right.
//   (3) A leaf's version changes with its entries, its next, its prev and its range of keys; an
//       inner node's with its separators, its children and the ranges of those.
//   (4) Leaf memory holds leaves for ever, and inner memory inner nodes; a version only rises,
//       through free and reuse too.
//
// Writer: each step (an insert, a split, a merge, ...) marks all nodes that it changes, changes
// them, and unmarks them; in between no reader begins to read one of them. An insert that needs
// inner nodes split is several steps, from the top down, and the tree is whole between them. A
// new node is marked as well, since readers may still hold it from its earlier life. A node is
// freed in the step that unlinks it. Keys in ascending order, each above all others (a load, a log
// of events), build the tree from below: the path to the open leaf is kept, a full leaf is named to
// its parent on that path, and a full inner node stays full.
//
// Reader: takes a version, reads, validates; only then believes what it read or follows an id.
// Going down: the child's version is taken while the parent's is still the same, checked after
// it, or the child may have been split before we looked (begin_write of the parent comes before
// any change of a child's range; begin_read of the child, an acquire, sees both or neither). From
// then on the child's version alone vouches for its range (3), and the parent may change. Along
// the links the same holds with the neighbour in place of the parent.
//
// Why stale is harmless: a node that was freed, or reused, is still a node of its kind (4), its
// count and slots stay in range (btree_node.hpp), and whatever was read from it is thrown away
// when its version is compared. A reader starts again only when a writer has got something done.
//
// Memory orders: those of base::Version. The counter of entries is a relaxed hint.
#include "index/btree.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <new>

#include "base/build.hpp"
#include "index/btree_node.hpp"

namespace armdb::index {
namespace {

constexpr std::size_t kBtreeGroup = 16;  // lookups of find_many in flight at once

constexpr std::size_t kBtreeFetchBytesMax = 256;  // of one slot; larger ones the machine sees

inline void btree_prefetch(const std::uint8_t* from, std::size_t bytes = 1) noexcept {
  if constexpr (base::kSmallBuild) return;
  for (std::size_t at = 0; at < bytes; at += 64) __builtin_prefetch(from + at);
}

// Copies a multiple of 8 bytes out of a node. Word by word into its place: g++ would gather
// several in a vector by way of the stack, which costs more than it saves.
inline void btree_copy_words(std::uint8_t* to, const std::uint8_t* from,
                             std::size_t bytes) noexcept {
  const auto copy_word = [&](std::size_t at) {
    const std::uint64_t word = btree_word(from + at);
    std::memcpy(to + at, &word, sizeof word);
  };
  std::size_t at = 0;
  for (; !base::kSmallBuild && at + 32 <= bytes; at += 32) {
    copy_word(at);
    copy_word(at + 8);
    copy_word(at + 16);
    copy_word(at + 24);
  }
  for (; at < bytes; at += 8) copy_word(at);
}

}  // namespace

// ---- Readers ----

template <class Choose> BtreeIndex::Stand BtreeIndex::descend(const Choose& choose) const noexcept {
  for (;;) {
    const std::uint8_t* node = root_;
    std::uint32_t version = btree_begin_read(node);
    for (std::uint32_t level = btree_level(node);; --level) {
      const std::uint32_t id = btree_child(shape_, node, choose(node));
      if (!btree_still(node, version)) break;
      // Here `level` and `id` are true ones.
      const std::uint8_t* child = level == 1 ? leaf_at(id) : inner_at(id);
      if (level == 1) {
        btree_prefetch(child, kBtreeWordsAt + shape_.leaf_capacity * 8);
        btree_prefetch(child + shape_.leaf_order_at);
      } else {
        // The first steps of the search.
        btree_prefetch(child + kBtreeWordsAt + shape_.inner_capacity * 2);
        btree_prefetch(child + kBtreeWordsAt + shape_.inner_capacity * 4);
        btree_prefetch(child + kBtreeWordsAt + shape_.inner_capacity * 6);
      }
      const std::uint32_t child_version = btree_begin_read(child);
      if (!btree_still(node, version)) break;
      if (level == 1) return {child, id, child_version};
      node = child;
      version = child_version;
    }
  }
}

void BtreeIndex::copy_slot(const std::uint8_t* leaf, std::uint8_t slot, base::Location* at,
                           std::uint8_t* value) const noexcept {
  const std::uint8_t* from = leaf + btree_slot_at(shape_, slot);
  if (at != nullptr) *at = base::Location(btree_word(from));
  if (value != nullptr) base::copy_from_shared(value, from + 8, shape_.value_size);
}

// Copies the entries [first, last) into the block; false when the leaf changed meanwhile. The
// block then holds junk.
bool BtreeIndex::copy_run(const Stand& leaf, std::uint32_t first, std::uint32_t last,
                          bool descending, Block& block) const noexcept {
  ARMDB_ASSERT(block.capacity() >= shape_.leaf_capacity);
  // The next leaf of the scan comes from memory while this one is copied.
  const std::uint32_t onward_id = descending ? btree_prev(leaf.node) : btree_next(leaf.node);
  if (!btree_still(leaf.node, leaf.version)) return false;
  const std::uint8_t* onward = leaf.node;
  if (onward_id != kBtreeNone) {
    onward = leaf_at(onward_id);
    btree_prefetch(onward, shape_.leaf_slots_at);
  }

  // All in locals: the compiler must take it that the copied bytes may be members of ours.
  const std::uint8_t* order = leaf.node + shape_.leaf_order_at;
  const std::size_t slots_at = shape_.leaf_slots_at;
  const std::size_t slot_bytes = shape_.slot_bytes;
  const std::size_t payload_bytes = shape_.payload_bytes;
  const std::size_t rest_bytes = shape_.rest_bytes;
  const std::size_t second_at = shape_.dense > 1 ? shape_.leaf_capacity * std::size_t{8} : 0;
  const std::size_t stride = static_cast<std::size_t>(block.entry(1) - block.entry(0));
  const std::size_t fetched_bytes = std::min(slot_bytes, kBtreeFetchBytesMax);
  const std::uint32_t count = last - first;
  std::uint8_t* to = block.entry(0);
  for (std::uint32_t i = 0; i < count; ++i, to += stride) {
    const std::uint32_t from = descending ? last - 1 - i : first + i;
    const std::uint8_t* slot = leaf.node + slots_at + base::load_relaxed(order + from) * slot_bytes;
    btree_prefetch(onward + slots_at + i * slot_bytes, fetched_bytes);
    btree_copy_words(to, slot, payload_bytes);
    const std::uint8_t* word = leaf.node + kBtreeWordsAt + from * 8;
    base::store_big<std::uint64_t>(to + payload_bytes, btree_word(word));
    if (second_at != 0) {
      base::store_big<std::uint64_t>(to + payload_bytes + 8, btree_word(word + second_at));
      btree_copy_words(to + payload_bytes + 16, slot + payload_bytes, rest_bytes);
    }
  }
  if (!btree_still(leaf.node, leaf.version)) return false;
  block.set_count(count);
  block.leaf = leaf.id;
  // Versions are even when read: the low bit is free to tell the direction.
  block.leaf_version = leaf.version | (descending ? 1u : 0u);
  return true;
}

// Fills the block from the next leaf that has entries, or empties it when there is none; false
// when the leaf the block came from has changed since.
bool BtreeIndex::copy_neighbour(bool descending, Block& block) const noexcept {
  Stand here{leaf_at(block.leaf), block.leaf, block.leaf_version & ~1u};
  for (;;) {
    const std::uint32_t id = descending ? btree_prev(here.node) : btree_next(here.node);
    if (!btree_still(here.node, here.version)) return false;
    if (id == kBtreeNone) {
      block.set_count(0);
      return true;
    }
    Stand there{leaf_at(id), id, 0};
    there.version = btree_begin_read(there.node);
    if (!btree_still(here.node, here.version)) return false;
    if (!copy_run(there, 0, btree_count(there.node), descending, block)) continue;
    if (block.count() != 0) return true;
    here = there;
  }
}

void BtreeIndex::read_next(bool descending, Block& block) const noexcept {
  ARMDB_ASSERT(block.count() != 0);
  // copy_neighbour may leave junk in the block.
  std::array<std::uint8_t, kBtreeKeyBytesMax> last;
  std::memcpy(last.data(), block.key(block.count() - 1), shape_.key_size);
  const bool same_direction = (block.leaf_version & 1) == (descending ? 1u : 0u);
  if (same_direction && copy_neighbour(descending, block)) return;
  read_from(last.data(), Bound::exclusive, descending, block);
}

// ---- Search, per key width ----

namespace {

// kDense and kRest: see btree_search.
template <unsigned kDense, bool kRest> class BtreeT final : public BtreeIndex {
 public:
  using BtreeIndex::BtreeIndex;

  bool find(const std::uint8_t* key, std::uint64_t hash, base::Location* at,
            std::uint8_t* value) const noexcept override;
  void find_many(std::span<Lookup> lookups) const noexcept override;
  void read_from(const std::uint8_t* key, Bound bound, bool descending,
                 Block& block) const noexcept override;
  void locate(const std::uint8_t* key, std::uint64_t hash, Place& place) noexcept override;

 private:
  // One lookup of find_many on its way: first `parent` is the node above `node`.
  struct Step {
    const std::uint8_t* node;
    const std::uint8_t* parent;
    std::uint32_t parent_version;
    std::uint32_t version;
    std::uint32_t level;  // of `node`; leaves are 0
    std::uint8_t slot;
    bool disturbed;
    bool found;
    BtreeKey key;
  };

  std::uint32_t choose(const std::uint8_t* inner, const BtreeKey& key) const noexcept {
    return btree_search_inner<kDense, kRest>(shape_, inner, key);
  }
  BtreeSpot search(const std::uint8_t* leaf, const BtreeKey& key) const noexcept {
    return btree_search_leaf<kDense, kRest>(shape_, leaf, key);
  }
  void go_down(Step& step) const noexcept;
  void find_slot(Step& step, bool wants_value) const noexcept;
  void find_group(std::span<Lookup> lookups) const noexcept;
};

template <unsigned kDense, bool kRest>
bool BtreeT<kDense, kRest>::find(const std::uint8_t* key, std::uint64_t, base::Location* at,
                                 std::uint8_t* value) const noexcept {
  const BtreeKey words = btree_key(shape_, key);
  for (;;) {
    const Stand leaf = descend([&](const std::uint8_t* inner) { return choose(inner, words); });
    const BtreeSpot spot = search(leaf.node, words);
    if (spot.found) copy_slot(leaf.node, btree_order(shape_, leaf.node, spot.at), at, value);
    if (btree_still(leaf.node, leaf.version)) return spot.found;
  }
}

// Takes one level: what the last round prefetched is read now.
template <unsigned kDense, bool kRest>
void BtreeT<kDense, kRest>::go_down(Step& step) const noexcept {
  step.version = btree_begin_read(step.node);
  if (step.parent == nullptr) {
    step.level = btree_level(step.node);
  } else if (!btree_still(step.parent, step.parent_version)) {
    step.disturbed = true;
    return;
  }
  const std::uint32_t id = btree_child(shape_, step.node, choose(step.node, step.key));
  if (!btree_still(step.node, step.version)) {
    step.disturbed = true;
    return;
  }
  step.parent = step.node;
  step.parent_version = step.version;
  step.level -= 1;
  step.node = step.level == 0 ? leaf_at(id) : inner_at(id);
  if (step.level == 0) {
    btree_prefetch(step.node, kBtreeWordsAt + shape_.leaf_capacity * 8);
    btree_prefetch(step.node + shape_.leaf_order_at);
  } else {
    btree_prefetch(step.node);
    btree_prefetch(step.node + kBtreeWordsAt + shape_.inner_capacity * 2);
    btree_prefetch(step.node + kBtreeWordsAt + shape_.inner_capacity * 4);
    btree_prefetch(step.node + kBtreeWordsAt + shape_.inner_capacity * 6);
  }
}

template <unsigned kDense, bool kRest>
void BtreeT<kDense, kRest>::find_slot(Step& step, bool wants_value) const noexcept {
  step.version = btree_begin_read(step.node);
  if (!btree_still(step.parent, step.parent_version)) {
    step.disturbed = true;
    return;
  }
  const BtreeSpot spot = search(step.node, step.key);
  step.found = spot.found;
  if (!spot.found) return;
  step.slot = btree_order(shape_, step.node, spot.at);
  btree_prefetch(step.node + btree_slot_at(shape_, step.slot),
                 wants_value ? std::min(shape_.payload_bytes, 512u) : 8);
}

template <unsigned kDense, bool kRest>
void BtreeT<kDense, kRest>::find_group(std::span<Lookup> lookups) const noexcept {
  std::array<Step, kBtreeGroup> steps;
  for (std::size_t i = 0; i < lookups.size(); ++i) {
    steps[i] = Step{root_, nullptr, 0, 0, 1, 0, false, false, btree_key(shape_, lookups[i].key)};
  }
  for (bool moving = true; moving;) {
    moving = false;
    for (std::size_t i = 0; i < lookups.size(); ++i) {
      if (steps[i].level == 0 || steps[i].disturbed) continue;
      go_down(steps[i]);
      moving = true;
    }
  }
  for (std::size_t i = 0; i < lookups.size(); ++i) {
    if (!steps[i].disturbed) find_slot(steps[i], lookups[i].value != nullptr);
  }
  for (std::size_t i = 0; i < lookups.size(); ++i) {
    const Step& step = steps[i];
    Lookup& lookup = lookups[i];
    if (!step.disturbed) {
      if (step.found) copy_slot(step.node, step.slot, &lookup.at, lookup.value);
      lookup.found = step.found;
      if (btree_still(step.node, step.version)) continue;
    }
    lookup.found = find(lookup.key, lookup.hash, &lookup.at, lookup.value);
  }
}

template <unsigned kDense, bool kRest>
void BtreeT<kDense, kRest>::find_many(std::span<Lookup> lookups) const noexcept {
  if constexpr (base::kSmallBuild) return Index::find_many(lookups);
  for (std::size_t first = 0; first < lookups.size(); first += kBtreeGroup) {
    find_group(lookups.subspan(first, std::min(kBtreeGroup, lookups.size() - first)));
  }
}

template <unsigned kDense, bool kRest>
void BtreeT<kDense, kRest>::read_from(const std::uint8_t* key, Bound bound, bool descending,
                                      Block& block) const noexcept {
  const bool bounded = bound != Bound::none;
  const BtreeKey words = bounded ? btree_key(shape_, key) : BtreeKey{};
  const std::size_t fetched_bytes = std::min<std::size_t>(shape_.slot_bytes, kBtreeFetchBytesMax);
  for (;;) {
    const Stand leaf = descend([&](const std::uint8_t* inner) {
      if (bounded) return choose(inner, words);
      return descending ? btree_count(inner) : 0u;
    });
    std::uint32_t first = 0;
    std::uint32_t last = btree_count(leaf.node);
    if (bounded) {
      const BtreeSpot spot = search(leaf.node, words);
      // The key itself goes with what is before it or with what is behind.
      const bool behind = descending == (bound == Bound::inclusive);
      const std::uint32_t cut = std::min(spot.at + (spot.found && behind ? 1 : 0), last);
      (descending ? last : first) = cut;
    }
    for (std::uint32_t at = first; at < last; ++at) {
      btree_prefetch(leaf.node + btree_slot_at(shape_, btree_order(shape_, leaf.node, at)),
                     fetched_bytes);
    }
    if (!copy_run(leaf, first, last, descending, block)) continue;
    if (block.count() != 0 || copy_neighbour(descending, block)) return;
  }
}

template <unsigned kDense, bool kRest>
void BtreeT<kDense, kRest>::locate(const std::uint8_t* key, std::uint64_t hash,
                                   Place& place) noexcept {
  const BtreeKey words = btree_key(shape_, key);
  if (edge_.depth != 0 && locate_at_edge(words, place)) return;
  place.hash = hash;
  place.depth = 0;
  std::uint32_t id = root_id_;
  for (std::uint32_t level = btree_level(root_); level > 0; --level) {
    const std::uint8_t* inner = inner_at(id);
    const std::uint32_t at = choose(inner, words);
    place.path[place.depth] = id;
    place.path_slot[place.depth] = static_cast<std::uint8_t>(at);
    place.depth += 1;
    id = btree_child(shape_, inner, at);
  }
  const std::uint8_t* leaf = leaf_at(id);
  btree_prefetch(leaf, kBtreeWordsAt + shape_.leaf_capacity * 8);
  const BtreeSpot spot = search(leaf, words);
  place.node = id;
  place.slot = spot.at;
  place.found = spot.found;
  place.at = {};
  place.value = nullptr;
  place.last = !spot.found && spot.at == btree_count(leaf) && btree_next(leaf) == kBtreeNone;
  if (place.last) edge_ = place;
  if (!spot.found) return;
  copy_slot(leaf, btree_order(shape_, leaf, spot.at), &place.at, nullptr);
  const std::uint8_t* slot = leaf + btree_slot_at(shape_, btree_order(shape_, leaf, spot.at));
  if (shape_.value_size != 0) place.value = slot + 8;
}

template <class Tree> std::unique_ptr<Index> btree_made(const IndexConfig& config) {
  std::unique_ptr<Tree> tree(new (std::nothrow) Tree(config));
  if (tree == nullptr || !tree->start()) return nullptr;
  return tree;
}

}  // namespace

std::unique_ptr<Index> make_btree(const IndexConfig& config) {
  ARMDB_ASSERT(config.key_size != 0 && config.key_size <= kBtreeKeyBytesMax);
  if constexpr (base::kSmallBuild) return btree_made<BtreeT<0, true>>(config);
  if (config.key_size <= 8) return btree_made<BtreeT<1, false>>(config);
  if (config.key_size <= 16) return btree_made<BtreeT<2, false>>(config);
  return btree_made<BtreeT<2, true>>(config);
}

}  // namespace armdb::index

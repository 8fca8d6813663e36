// The class behind the B+-tree, all but its search: btree.cpp explains it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "index/btree_node.hpp"
#include "index/index.hpp"

namespace armdb::index {

constexpr std::uint32_t kBtreeNone = base::Arena::kNone;
constexpr std::uint32_t kBtreeDepthMax = 16;  // as many as Place::path holds
constexpr std::uint32_t kBtreeKeyBytesMax = 1024;

// All that does not search: the same machine code for every key width.
class BtreeIndex : public Index {
 public:
  explicit BtreeIndex(const IndexConfig& config) noexcept
      : shape_(BtreeShape::of(config.key_size, config.value_size)),
        leaves_(shape_.leaf_bytes, config.step_bytes, config.pages, true),
        inners_(shape_.inner_bytes, config.step_bytes / 8, config.pages, true) {}

  // Makes the root and one empty leaf; false when out of memory.
  [[nodiscard]] bool start() noexcept;

  [[nodiscard]] std::size_t size() const noexcept final {
    return size_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::size_t memory_bytes() const noexcept final {
    return leaves_.memory_bytes() + inners_.memory_bytes() + sizeof *this;
  }
  [[nodiscard]] Block make_block() const noexcept final {
    return Block(shape_.key_size, shape_.value_size, shape_.leaf_capacity);
  }
  void read_next(bool descending, Block& block) const noexcept final;
  std::uint64_t scan(std::uint64_t, Block& block) const noexcept final {
    block.set_count(0);
    return 0;
  }

  [[nodiscard]] bool reserve(std::size_t count) noexcept final {
    // Each leaf that is full now splits once at most before half a leaf of entries came to it.
    // One inner node per level that splits, and one when the root moves down.
    const std::size_t full = count < leaves_.nodes_in_use() ? count : leaves_.nodes_in_use();
    const std::size_t splits = full + 2 * count / shape_.leaf_capacity + 1;
    return leaves_.reserve(splits) && inners_.reserve(btree_level(root_) + splits);
  }
  void publish(Place& place, const std::uint8_t* key, const std::uint8_t* value,
               base::Location at) noexcept final;
  [[nodiscard]] std::size_t run_length(const Place& place,
                                       std::span<const Fresh> run) const noexcept final;
  void publish_run(Place& place, std::span<const Fresh> run) noexcept final;
  void relocate(Place& place, base::Location at) noexcept final;
  void erase(Place& place) noexcept final;

#if defined(ARMDB_CHECKS)
  [[nodiscard]] bool check() const;
#endif

 protected:
  // A leaf that a reader stands on.
  struct Stand {
    const std::uint8_t* node = nullptr;
    std::uint32_t id = kBtreeNone;
    std::uint32_t version = 0;
  };

  // Goes down; `choose(inner)` gives the child to take. Begins again until it was not disturbed.
  template <class Choose> Stand descend(const Choose& choose) const noexcept;

  void copy_slot(const std::uint8_t* leaf, std::uint8_t slot, base::Location* at,
                 std::uint8_t* value) const noexcept;
  bool copy_run(const Stand& leaf, std::uint32_t first, std::uint32_t last, bool descending,
                Block& block) const noexcept;
  bool copy_neighbour(bool descending, Block& block) const noexcept;

  std::uint8_t* leaf_at(std::uint32_t id) const noexcept { return leaves_.at(id); }
  std::uint8_t* inner_at(std::uint32_t id) const noexcept { return inners_.at(id); }
  std::uint8_t* leaf_below(const std::uint8_t* inner, std::uint32_t at) const noexcept {
    return leaf_at(btree_child(shape_, inner, at));
  }

  void insert_one(std::uint8_t* leaf, std::uint32_t at, const Fresh& fresh) noexcept {
    btree_insert(shape_, leaf, at, btree_key(shape_, fresh.key), fresh.value, fresh.at);
  }
  void insert(std::uint8_t* leaf, std::uint32_t at, std::span<const Fresh> run) noexcept {
    for (const Fresh& fresh : run) insert_one(leaf, at++, fresh);
  }
  [[nodiscard]] bool locate_at_edge(const BtreeKey& key, Place& place) noexcept;
  bool shift_into_sibling(const Place& place, std::span<const Fresh> run) noexcept;
  void split_leaf(Place& place, std::span<const Fresh> run) noexcept;
  void make_inner_room(Place& place, bool at_edge) noexcept;
  void push_root_down(Place& place) noexcept;
  void split_inner(Place& place, std::uint32_t depth, bool at_edge) noexcept;

  void merge_leaves(std::uint8_t* parent, std::uint32_t at) noexcept;
  void merge_inners(std::uint8_t* parent, std::uint32_t at) noexcept;
  void thin_out(const Place& place) noexcept;
  void pull_root_up() noexcept;

#if defined(ARMDB_CHECKS)
  struct Walk;
  [[nodiscard]] bool check_leaf(Walk& walk, std::uint32_t id) const;
  [[nodiscard]] bool check_inner(Walk& walk, std::uint32_t id, std::uint32_t level) const;
#endif

  const BtreeShape shape_;
  base::Arena leaves_;
  base::Arena inners_;
  std::uint32_t root_id_ = kBtreeNone;
  std::uint8_t* root_ = nullptr;
  std::atomic<std::size_t> size_{0};
  // While keys come that are above all others: the open leaf, and the inner nodes from the root to
  // it. The tree then grows along its right edge, from the leaves up and without a descent. With
  // depth 0 it is not known: any other locate() forgets it.
  Place edge_;
};

#if defined(ARMDB_CHECKS)
// Walks a tree that make_btree made: order, separators, links both ways, slots, counts, and that
// no node was lost. Threads: as a writer.
[[nodiscard]] bool btree_check(const Index& tree);
#endif

}  // namespace armdb::index

// Arena: fixed-size nodes that are named by index, in memory that never moves or goes away.
//
// Memory grows in steps and returns to the source only with the arena. A freed node is reused,
// so that a reader which still looks at it sees other nodes' bytes, never unmapped memory: the
// versions inside the nodes tell it so. (Type-stable memory; see index/btree.cpp.)
//
// Threads: allocate, free and reserve by one writer at a time; at() by anyone.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/step_point.hpp"

namespace armdb::base {

// Where memory comes from. os/pages.hpp has one with huge pages; the default is calloc.
struct PageSource {
  // Zeroed memory aligned to 64 bytes at least, or null. `nth` counts the caller's steps from 0:
  // the first should stay cheap for small collections.
  void* (*allocate)(std::size_t bytes, std::size_t nth);
  void (*release)(void* memory, std::size_t bytes);

  static PageSource heap() noexcept;
};

class Arena {
 public:
  using NodeId = std::uint32_t;
  static constexpr NodeId kNone = 0;  // node 0 is never handed out

  // `node_bytes` is rounded up to a multiple of 8 (of 64 when it is 64 or more and
  // `cache_line_nodes`); a step holds a power of two of nodes and is about `step_bytes`.
  Arena(std::size_t node_bytes, std::size_t step_bytes, PageSource source,
        bool cache_line_nodes = false) noexcept;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Makes sure that `count` following allocate() calls succeed; false when out of memory.
  [[nodiscard]] bool reserve(std::size_t count) noexcept;
  // kNone when out of memory. Fresh nodes are zero; reused ones hold what they held.
  [[nodiscard]] NodeId allocate() noexcept;
  void free(NodeId node) noexcept;

  // Any id below end() may be asked for, by a reader with a stale id too.
  [[nodiscard]] std::uint8_t* at(NodeId node) const noexcept {
    step_point(Step::read, &steps_);
    // Acquire pairs with the release in grow(): the step's address and zeroes are seen.
    std::uint8_t* const* steps = steps_.load(std::memory_order_acquire);
    return steps[node >> step_shift_] + static_cast<std::size_t>(node & step_mask_) * node_bytes_;
  }
  // One past the largest id ever handed out.
  [[nodiscard]] NodeId end() const noexcept {
    step_point(Step::read, &end_);
    return end_.load(std::memory_order_acquire);
  }

  [[nodiscard]] std::size_t node_bytes() const noexcept { return node_bytes_; }
  [[nodiscard]] std::size_t nodes_in_use() const noexcept { return in_use_; }
  // Memory taken by nodes up to end(), rounded up to pages, and by the tables.
  [[nodiscard]] std::size_t memory_bytes() const noexcept;

 private:
  bool grow() noexcept;

  std::size_t node_bytes_;
  unsigned step_shift_;
  NodeId step_mask_;
  std::size_t step_bytes_;
  PageSource source_;

  std::atomic<std::uint8_t**> steps_{nullptr};  // the current table of steps
  std::size_t step_count_ = 0;
  std::size_t step_capacity_ = 0;
  std::uint8_t** tables_[32] = {};  // all tables ever published: a reader may hold an old one
  std::size_t table_count_ = 0;

  std::atomic<NodeId> end_{1};
  NodeId free_head_ = kNone;  // free nodes are chained through their last 4 bytes, relaxed stores
  std::size_t free_count_ = 0;
  std::size_t in_use_ = 0;
};

}  // namespace armdb::base

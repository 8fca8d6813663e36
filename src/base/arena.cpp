// Arena: how steps are taken from the source and published to readers.
#include "base/arena.hpp"

#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

#include "base/check.hpp"
#include "base/shared_bytes.hpp"

namespace armdb::base {
namespace {

constexpr std::size_t kHeapAlignment = 64;
constexpr std::size_t kArenaPageBytes = 4096;
constexpr std::size_t kFirstTableSteps = 8;

// calloc, not operator new and a memset: large blocks come as fresh pages from the operating
// system, so that memory which is never used is never touched. The block's own address is kept
// in the word before the aligned memory.
void* heap_allocate(std::size_t bytes, std::size_t /*nth*/) noexcept {
  constexpr std::size_t kExtra = kHeapAlignment + sizeof(void*);
  if (bytes > static_cast<std::size_t>(-1) - kExtra) return nullptr;
  auto* block = static_cast<std::uint8_t*>(std::calloc(1, bytes + kExtra));
  if (block == nullptr) return nullptr;
  const auto address = reinterpret_cast<std::uintptr_t>(block) + kExtra;
  std::uint8_t* memory = block + (kExtra - address % kHeapAlignment);
  std::memcpy(memory - sizeof(void*), &block, sizeof(void*));
  return memory;
}

void heap_release(void* memory, std::size_t /*bytes*/) noexcept {
  void* block = nullptr;
  std::memcpy(&block, static_cast<std::uint8_t*>(memory) - sizeof(void*), sizeof(void*));
  std::free(block);
}

std::size_t rounded_up(std::size_t value, std::size_t unit) noexcept {
  return (value + unit - 1) / unit * unit;
}

}  // namespace

PageSource PageSource::heap() noexcept { return {heap_allocate, heap_release}; }

Arena::Arena(std::size_t node_bytes, std::size_t step_bytes, PageSource source,
             bool cache_line_nodes) noexcept
    : node_bytes_(rounded_up(node_bytes == 0 ? 1 : node_bytes,
                             cache_line_nodes && node_bytes >= 64 ? 64 : 8)),
      source_(source) {
  const std::size_t wanted = (step_bytes + node_bytes_ - 1) / node_bytes_;
  const std::size_t nodes = std::bit_ceil(wanted < 2 ? std::size_t{2} : wanted);
  ARMDB_ASSERT(nodes <= std::size_t{1} << 31);
  step_shift_ = static_cast<unsigned>(std::countr_zero(nodes));
  step_mask_ = static_cast<NodeId>(nodes - 1);
  step_bytes_ = nodes * node_bytes_;
}

Arena::~Arena() {
  std::uint8_t** steps = steps_.load(std::memory_order_relaxed);
  for (std::size_t at = 0; at < step_count_; ++at) source_.release(steps[at], step_bytes_);
  for (std::size_t at = 0; at < table_count_; ++at) delete[] tables_[at];
}

bool Arena::grow() noexcept {
  // The last id is never handed out, so that end() fits a NodeId.
  constexpr std::uint64_t kNodesMax = std::uint64_t{1} << 32;
  if ((static_cast<std::uint64_t>(step_count_ + 1) << step_shift_) > kNodesMax) return false;

  std::uint8_t** steps = steps_.load(std::memory_order_relaxed);
  if (step_count_ == step_capacity_) {
    const std::size_t capacity = step_capacity_ == 0 ? kFirstTableSteps : step_capacity_ * 2;
    if (table_count_ == sizeof tables_ / sizeof tables_[0]) return false;
    auto** table = new (std::nothrow) std::uint8_t*[capacity]();
    if (table == nullptr) return false;
    for (std::size_t at = 0; at < step_count_; ++at) table[at] = steps[at];
    // The old table stays: a reader may have just loaded its address.
    tables_[table_count_++] = table;
    step_capacity_ = capacity;
    steps = table;
    step_point(Step::write, &steps_);
    // Publishes the copies. Without this, a failure below would leave the new table unused and
    // the next call would make another.
    steps_.store(steps, std::memory_order_release);
  }

  auto* memory = static_cast<std::uint8_t*>(source_.allocate(step_bytes_, step_count_));
  if (memory == nullptr) return false;
  steps[step_count_] = memory;
  step_count_ += 1;
  step_point(Step::write, &steps_);
  // Release pairs with the acquire in at(): who loads the table after this sees the new entry.
  // Stored even where the table is the same. A reader gets an id of the new step only after
  // this, because end_ and the node's bytes are published later still.
  steps_.store(steps, std::memory_order_release);
  return true;
}

bool Arena::reserve(std::size_t count) noexcept {
  constexpr std::uint64_t kEndMax = static_cast<NodeId>(-1);
  const NodeId end = end_.load(std::memory_order_relaxed);
  for (;;) {
    if (count <= free_count_) return true;
    std::uint64_t capacity = static_cast<std::uint64_t>(step_count_) << step_shift_;
    if (capacity > kEndMax) capacity = kEndMax;
    const std::uint64_t fresh = capacity > end ? capacity - end : 0;
    if (count - free_count_ <= fresh) return true;
    if (!grow()) return false;
  }
}

Arena::NodeId Arena::allocate() noexcept {
  if (free_head_ != kNone) {
    const NodeId node = free_head_;
    free_head_ =
        load_relaxed(reinterpret_cast<const NodeId*>(at(node) + node_bytes_ - sizeof(NodeId)));
    free_count_ -= 1;
    in_use_ += 1;
    return node;
  }
  if (!reserve(1)) return kNone;
  const NodeId node = end_.load(std::memory_order_relaxed);
  step_point(Step::write, &end_);
  // Release pairs with the acquire in end(): the step of every id below it can be reached.
  end_.store(node + 1, std::memory_order_release);
  in_use_ += 1;
  return node;
}

void Arena::free(NodeId node) noexcept {
  ARMDB_ASSERT(node != kNone && node < end_.load(std::memory_order_relaxed));
  // An atomic store: a reader with a stale id may be looking at these bytes.
  store_relaxed(reinterpret_cast<NodeId*>(at(node) + node_bytes_ - sizeof(NodeId)), free_head_);
  free_head_ = node;
  free_count_ += 1;
  in_use_ -= 1;
}

std::size_t Arena::memory_bytes() const noexcept {
  // Capacities double from kFirstTableSteps, so that all of them sum to twice the last, less one.
  const std::size_t table_entries = step_capacity_ == 0 ? 0 : 2 * step_capacity_ - kFirstTableSteps;
  const std::size_t table_bytes = table_entries * sizeof(std::uint8_t*);
  if (step_count_ == 0) return table_bytes;
  const std::size_t used =
      rounded_up(static_cast<std::size_t>(end_.load(std::memory_order_relaxed)) * node_bytes_,
                 kArenaPageBytes);
  const std::size_t taken = step_count_ * step_bytes_;
  return table_bytes + (used < taken ? used : taken);
}

}  // namespace armdb::base

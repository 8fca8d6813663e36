// OrderedScan: walks a tree's keys in order, over all shards or the one a prefix lies in.
//
// Each shard gives its entries a leaf at a time; a heap merges them. Nothing is pinned: a scan
// holds copies (and shares of decoded objects), and finds its place again by key. Writing beside it
// is legal; an entry that stays during the whole scan is seen exactly once.
//
// Threads: one per scan.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/engine.hpp"
#include "index/index.hpp"

namespace armdb::engine {

// The limits of a scan; each key has the collection's key size.
struct ScanLimits {
  index::Bound lower_bound = index::Bound::none;
  index::Bound upper_bound = index::Bound::none;
  std::vector<std::uint8_t> lower;
  std::vector<std::uint8_t> upper;
  std::uint32_t shard = ~std::uint32_t{0};  // the only one concerned, or all
};

class OrderedScan {
 public:
  OrderedScan(const Engine& engine, ScanLimits limits, bool descending);
  ~OrderedScan();
  OrderedScan(const OrderedScan&) = delete;
  OrderedScan& operator=(const OrderedScan&) = delete;

  // Stands on the first entry, or at the end. False at the end.
  bool first();
  // Steps on; back() steps against the direction of the scan, also from the end.
  bool next();
  bool back();
  [[nodiscard]] bool valid() const noexcept { return !heap_.empty(); }

  [[nodiscard]] const std::uint8_t* key() const noexcept;
  // Payload::value: the bytes as they were when the leaf was copied.
  [[nodiscard]] const std::uint8_t* value() const noexcept;
  // Payload::location. False when the entry has been erased since.
  Result<bool> read(ByteView& out) const;
  // `status`, which is about this entry, with its key, file and offset.
  [[nodiscard]] Status describe(const Status& status) const;
  // False when the entry has expired since its leaf was copied, or gone since where entries do.
  bool still_there() noexcept;

  [[nodiscard]] const Status& status() const noexcept { return status_; }

 private:
  struct Source {
    std::uint32_t shard = 0;
    index::Block block;
    std::size_t at = 0;
    std::size_t end = 0;       // entries of the block that lie before the far limit
    std::uint64_t prefix = 0;  // the first bytes of the key it stands on, as a number
  };

  bool start(const std::uint8_t* key, index::Bound bound, bool descending);
  bool advance(bool descending);
  // Fills a block and shares the objects that it holds.
  void fill(Source& source, FunctionRef<void(index::Block&)> how) const;
  void sift_down(std::size_t at) noexcept;
  [[nodiscard]] bool before(std::uint32_t a, std::uint32_t b) const noexcept;
  [[nodiscard]] bool inside(const std::uint8_t* key) const noexcept;
  // Takes up a block that was just filled; false when nothing of it lies before the far limit.
  bool enter_block(Source& source) const noexcept;
  [[nodiscard]] std::uint64_t prefix_of(const std::uint8_t* key) const noexcept;
  [[nodiscard]] const Source& top() const noexcept { return sources_[heap_.front()]; }

  const Engine& engine_;
  const ScanLimits limits_;
  const bool descending_;
  const std::size_t key_size_;
  bool walking_descending_;  // the direction the blocks were filled in
  std::vector<Source> sources_;
  std::vector<std::uint32_t> heap_;  // sources that stand on an entry, the next one first
  Status status_;
};

// Walks a map's entries in no order; see index::Index::scan.
class UnorderedScan {
 public:
  // What is told of an entry: `value` is empty for Payload::location unless `with_values`; the
  // object is that of collections that keep one.
  using Visitor = FunctionRef<bool(Bytes key, Bytes value, detail::Shared* object)>;

  UnorderedScan(const Engine& engine, bool with_values)
      : engine_(engine), with_values_(with_values) {}

  // Calls `visit` for each entry until it answers false.
  Status run(Visitor visit);
  // The same from `cursor` on (0: the beginning), for about `limit` entries; moves the cursor
  // behind them, to 0 at the end. Maps only.
  Status run_some(std::uint64_t& cursor, std::size_t limit, Visitor visit);

 private:
  Status visit_block(const Shard& shard, index::Block& block, Visitor visit, bool& go_on);

  const Engine& engine_;
  const bool with_values_;
};

// Shares the objects in a block that was just filled under a guard; drops those shares.
void share_objects(const Engine& engine, const index::Block& block) noexcept;
void drop_objects(const Engine& engine, const index::Block& block) noexcept;

}  // namespace armdb::engine

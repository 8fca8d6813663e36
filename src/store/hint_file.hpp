// Hint files: written beside a segment as it grows, read back when it is opened.
//
// A writer collects items as entries are flushed and writes them in blocks to NAME.hint.tmp;
// finishing adds the trailer and renames. A hint need not be durable: one that is not whole, or
// does not fit its segment, is not believed, and the segment is scanned.
//
// Threads: one at a time.
#pragma once

#include <memory>
#include <vector>

#include "format/hint.hpp"
#include "store/segment.hpp"

namespace armdb::store {

class HintWriter {
 public:
  // Starts the hint of `segment`; null where it cannot be made (hints only save time).
  static std::unique_ptr<HintWriter> start(const StoreContext& context, const Segment& segment);
  ~HintWriter();

  // Adds an entry at `offset` of the segment.
  void add(const format::Entry& entry, std::uint64_t offset);
  // Ends the file; true when the hint stands.
  bool finish(std::uint64_t segment_length, std::uint64_t last_sequence);

 private:
  HintWriter(const StoreContext& context, const Segment& segment, std::string path,
             Owned<File> file);
  void write_block(bool trailer);

  const StoreContext& context_;
  std::string path_;
  Owned<File> file_;
  std::uint32_t seed_ = 0;
  std::uint64_t offset_ = 0;
  std::uint32_t block_count_ = 0;
  std::uint64_t item_count_ = 0;
  std::vector<std::uint8_t> block_;
  bool broken_ = false;
};

// Gives the items of the segment's hint file to `visit`, if that file stands, is whole and names
// this very segment with `length` and `last_sequence`. False when it does not count; no item
// was visited then, unless the visitor itself failed: `status` has its error.
bool read_hint(const StoreContext& context, const Segment& segment, std::uint64_t length,
               std::uint64_t last_sequence, FunctionRef<Status(const format::HintItem&)> visit,
               Status& status);

}  // namespace armdb::store

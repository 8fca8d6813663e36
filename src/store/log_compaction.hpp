// LogCompaction: rewrites segments with much dead in them.
//
// One job takes a run of adjacent segments, so that the order of sequences stays (invariant 1 of
// LogStore), and writes one compacted segment in their place:
//
//   choose      under the lock: which segments
//   copy        no lock: live entries and tombstones that are still needed, with their sequences
//   seal        no lock: footer, sync, directory sync; then the caller syncs the log itself,
//               for an entry that was dropped may be superseded by one that only the log has
//   publish     under the lock: readers can find the copy; the MANIFEST to write is returned
//   (caller)    no lock: writes that MANIFEST
//   next_moves  under the lock, a few at a time: the index is pointed at the copies
//   retire      under the lock: the sources leave the store
//   remove      no lock: their files are deleted, oldest first
//
// Errc::failed from any of them, and any error behind the MANIFEST, leaves a state that only
// recovery can judge: the caller has to LogStore::fail().
//
// A tombstone is dropped only when no older segment is left that could hold its key.
//
// Threads: one job at a time per shard (the shard's maintenance lock).
#pragma once

#include <array>
#include <span>

#include "store/log_store.hpp"

namespace armdb::store {

// An entry that was copied.
struct Move {
  Bytes key;
  base::Location from;
  base::Location to;
};

// An entry of a source; whether it is live is for the index to say.
struct Candidate {
  format::Entry entry;
  base::Location at;
  bool live = false;
};

class LogCompaction {
 public:
  // As many candidates are judged at once.
  static constexpr std::size_t kBatch = 32;

  explicit LogCompaction(LogStore& store) : store_(store) {}
  ~LogCompaction();

  // True when there is something to do. `threshold` is the dead share from which a segment is
  // worth rewriting. `cheapest` takes the one with the least to copy of those with anything dead
  // instead: the disk is full. Segments that begin behind sequence `end` are left alone.
  bool choose(double threshold, bool cheapest = false, std::uint64_t end = ~std::uint64_t{0});
  // Copies until about `budget` bytes were read. `judge` sets `live` of those that the index
  // names. True when all is copied.
  Result<bool> copy(std::uint64_t budget, FunctionRef<void(std::span<Candidate>)> judge);
  Status seal();
  // Gives the MANIFEST that tells of it.
  Status publish(std::vector<std::uint8_t>& manifest);
  // The MANIFEST could not be written, and the old one stands: nothing happened, the copy goes.
  Status withdraw();
  // Gives up to `most` copied entries to `relocate`; false when there are no more. Reading them
  // again can fail.
  Result<bool> next_moves(std::size_t most, FunctionRef<void(const Move&)> relocate);
  Status retire();
  Status remove();

 private:
  Status begin_output();
  ScanStep gather(const Segment& source, std::uint64_t& read);
  Status copy_batch(FunctionRef<void(std::span<Candidate>)> judge);
  Status copy_entry(const format::Entry& entry, base::Location from);
  Status write_out();
  Status sync_directory();
  void choose_small_run(std::uint64_t end);

  LogStore& store_;
  std::vector<SegmentPtr> sources_;
  bool oldest_ = false;  // no older segment is left: tombstones can go
  std::size_t source_at_ = 0;
  std::unique_ptr<SegmentScanner> scanner_;

  std::array<Candidate, kBatch> batch_;
  std::size_t batch_count_ = 0;
  std::vector<std::uint8_t> batch_bytes_;  // what the candidates' views point into

  SegmentPtr output_;
  std::unique_ptr<HintWriter> hint_;
  std::vector<std::uint8_t> buffer_;
  std::vector<std::uint64_t> origins_;  // packed locations of the copied entries, in their order
  std::uint64_t output_length_ = 0;
  bool published_ = false;
  std::unique_ptr<SegmentScanner> moves_;
  std::size_t moved_ = 0;
};

}  // namespace armdb::store

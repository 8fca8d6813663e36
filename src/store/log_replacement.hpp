// LogReplacement: a copy of another log that takes the place of all that this one has.
//
//   add         no lock: entries in order of sequence go to compacted segments, which no MANIFEST
//               names yet: a crash leaves the old content
//   seal        no lock: footers, syncs
//   publish     under the lock: readers can find the copy; the MANIFEST to write is returned
//   (caller)    no lock: writes that MANIFEST: from here on a crash leaves the new content
//   each        no lock: the entries again, in order, for the index
//   retire      under the lock: the old segments leave the store
//   remove      no lock: their files are deleted
//
// Errors as in LogCompaction: behind the MANIFEST the caller has to LogStore::fail().
//
// Threads: one, under the shard's maintenance lock; nobody syncs meanwhile.
#pragma once

#include <memory>
#include <vector>

#include "store/log_store.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::store {

class LogReplacement {
 public:
  explicit LogReplacement(LogStore& store) : store_(store) {}
  ~LogReplacement();
  LogReplacement(const LogReplacement&) = delete;
  LogReplacement& operator=(const LogReplacement&) = delete;

  // Tells where it went; the place is found by readers once the copy is published.
  Status add(const Write& write, std::uint64_t sequence, base::Location& at);
  // The copy is that of the state at `sequence`.
  Status seal(std::uint64_t sequence);
  // Ends the active segment too.
  Status publish(std::vector<std::uint8_t>& manifest);
  // The MANIFEST could not be written, and the old one stands: nothing happened.
  Status withdraw();
  Status each(FunctionRef<Status(const RecoveredEntry&)> visit);
  // True for a place in the copy.
  [[nodiscard]] bool has(base::Location at) const noexcept;
  Status retire();
  // Those with entries above `aside_above` are kept on disk as .aside files, for people.
  Status remove(std::uint64_t aside_above);

 private:
  Status begin_output(std::uint64_t sequence);
  Status end_output(std::uint64_t last_sequence);
  Status write_out();

  LogStore& store_;
  std::vector<SegmentPtr> outputs_;  // oldest first; the last one is being written until seal()
  std::vector<SegmentPtr> sources_;
  std::vector<std::uint8_t> buffer_;
  std::uint64_t sequence_ = 0;  // of the last entry, then that of the copy
  std::uint64_t sealed_last_before_ = 0;
  bool open_ = false;
  bool published_ = false;
};

}  // namespace armdb::store

#endif  // !ARMDB_OMIT_REPLICATION

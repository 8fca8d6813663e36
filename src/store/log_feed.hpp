// LogFeed: reads the log of one shard for one follower, in order, from a position on.
//
// A position is a sequence: everything up to it was told. What is told leaves no hole: where
// compaction has taken something that the position asks for, the feed says so, and the follower
// needs a copy of everything instead; the same class reads that.
//
// Threads: one; locate() under the shard's lock, the rest beside everything.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "store/log_store.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::store {

// What comes next in the log, encoded as it goes over the wire.
struct FeedPiece {
  std::uint64_t before = 0;           // everything up to it was told earlier
  std::uint64_t last = 0;             // of the last entry in this piece
  std::vector<std::uint8_t> entries;  // whole ones, and whole batches
  std::vector<JointPart> joint;       // it is one part of a batch over these shards, and no more
};

enum class FeedStep : std::uint8_t {
  ready,      // read() may find something
  end,        // nothing stands behind the position
  overtaken,  // compaction has taken some of what stands behind the position
  foreign,    // the position is none of this log: the follower has another history
};

class LogFeed {
 public:
  explicit LogFeed(std::uint64_t position) : position_(position) {}

  // Where to read on. `log` is the shard's.
  FeedStep locate(const LogStore& log);
  // Takes entries up to sequence `limit` into `piece`, which is emptied first: about `bytes_max`
  // bytes, more only for a large entry or batch. Nothing: locate() again. corrupt: the log is
  // damaged, and must not be passed on.
  Status read(std::uint64_t limit, std::size_t bytes_max, FeedPiece& piece);
  [[nodiscard]] std::uint64_t position() const noexcept { return position_; }

  // Reads what the log has up to `limit`, for a follower that begins anew: entries of any age,
  // batches as plain entries. From here on read() gives pieces of that; it ends with an empty one,
  // and the position is then `limit`.
  void begin_copy(const LogStore& log, std::uint64_t limit);
  [[nodiscard]] bool copying() const noexcept { return copying_; }

 private:
  bool take(const format::Entry& entry, std::uint64_t limit, FeedPiece& piece, Status& status);
  Status read_copy(std::size_t bytes_max, FeedPiece& piece);
  void enter(SegmentPtr segment) noexcept;
  void append_scanned(std::vector<std::uint8_t>& out);
  Status damaged() const;

  // How the checksum of an entry on the wire differs from the one in a segment.
  struct Reseeding {
    std::size_t content = 0;  // bytes of the entry behind its header; 0: none is known
    std::uint32_t seed = 0;   // of the segment
    std::uint32_t difference = 0;
  };
  static constexpr std::size_t kReseedings = 64;
  std::array<Reseeding, kReseedings> reseedings_{};

  std::uint64_t position_;
  SegmentPtr segment_;                       // the one that is read; null: to be found
  std::uint64_t offset_ = 0;                 // in it: everything before it was told
  std::uint64_t readable_ = 0;               // of it
  std::unique_ptr<SegmentScanner> scanner_;  // of the segment
  std::vector<SegmentPtr> copied_;           // of a copy: still to be read, the next one last
  std::uint64_t copy_limit_ = 0;
  bool copying_ = false;
  bool in_batch_ = false;
  std::uint64_t batch_next_ = 0;  // the sequence that goes on with the open batch
};

}  // namespace armdb::store

#endif  // !ARMDB_OMIT_REPLICATION

// Segment: one file of a shard's log, and a scanner over its entries.
//
// Invariants:
//   (1) Bytes below `readable` are in the file and never change while the segment lives.
//   (2) A segment that this open did not create is never written.
//
// Threads: identity, file and mapping never change once the segment is published; `readable`
// is atomic; the rest belongs to the holder of the shard's lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/file_system.hpp"
#include "format/entry.hpp"
#include "format/file_header.hpp"
#include "format/manifest.hpp"
#include "store/store.hpp"

namespace armdb::store {

// A mapping that ByteViews may keep alive after its segment is gone.
struct MappedRegion : detail::Shared {
  Owned<Mapping> mapping;
  static MappedRegion* make(Owned<Mapping> mapping) noexcept;
};

class Segment {
 public:
  Segment(std::string path, const format::SegmentHeader& header, Owned<File> file);
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  // Maps `bytes` of the file for reading, of which reads may use the first `usable`; where that
  // cannot be had, reads go through the file. A file system may move a file away from under its
  // mapping once it grows past it: what is usable must be written before that.
  void map(std::uint64_t bytes, std::uint64_t usable);

  [[nodiscard]] std::uint32_t id() const noexcept { return header.file.file_id; }
  // Bytes that compaction would not copy.
  [[nodiscard]] std::uint64_t dead_bytes(bool oldest) const noexcept {
    return dead + (oldest ? tombstone_bytes : 0);
  }
  [[nodiscard]] std::uint64_t live_bytes(bool oldest) const noexcept {
    const std::uint64_t gone = dead_bytes(oldest);
    return gone < total ? total - gone : 0;
  }
  [[nodiscard]] format::ManifestSegment manifest_record() const;

  const format::SegmentHeader header;
  const std::uint32_t seed;  // of entry crcs
  const std::string path;
  const Owned<File> file;
  MappedRegion* region = nullptr;
  std::uint64_t mapped = 0;  // bytes of the region that may be used

  // Bytes that a scan reads at a time: a write buffer's, so that small devices need little.
  std::size_t scan_bytes = std::size_t{1} << 20;

  std::atomic<std::uint64_t> readable{0};

  std::uint64_t length = 0;     // accepted bytes
  std::uint64_t allocated = 0;  // the active one: bytes with real blocks
  std::uint64_t first_sequence = 0;
  std::uint64_t last_sequence = 0;
  std::uint64_t count = 0;  // entries that are not marks
  std::uint64_t total = 0;  // their bytes, each as Location::bytes_max()
  std::uint64_t dead = 0;   // of these, superseded or erased ones
  std::uint64_t tombstone_bytes = 0;
  std::uint64_t tombstones = 0;
  bool sealed = false;
  bool durable = false;
  bool hinted = false;   // a hint file stands beside it
  bool damaged = false;  // has a region that was skipped: kept as it is for repair
  bool renew = false;    // sealed by an old key: compaction takes it whatever is dead in it
  bool retired = false;  // replaced by a compacted one, about to go
};

using SegmentPtr = std::shared_ptr<Segment>;

// What a scanner met.
enum class ScanStep : std::uint8_t {
  entry,   // `entry`, `offset` and `size` tell of a whole one
  end,     // the limit, or nothing but zeros up to it
  broken,  // bytes at `offset` are no entry
  failed,  // reading or memory failed; see status
};

// Reads a segment's entries one after another, in large pieces.
// Threads: one.
class SegmentScanner {
 public:
  // From `offset` to `limit` (bytes of the file that may be looked at).
  SegmentScanner(const Segment& segment, std::uint64_t offset, std::uint64_t limit);

  ScanStep next();
  // Goes on elsewhere, up to another limit, with what has been read already.
  void go_on(std::uint64_t at, std::uint64_t limit) noexcept {
    position_ = at;
    limit_ = limit;
  }
  // After `broken`: looks for the next whole entry of a sequence above `sequence_min` and at most
  // `sequence_max`, whose key has `key_size` bytes or which is a mark. `entry`, `end` or `failed`.
  ScanStep resync(std::uint64_t sequence_min, std::uint64_t sequence_max, std::size_t key_size);
  // True when only zeros lie between `offset` and the limit.
  [[nodiscard]] bool only_zeros_left();

  format::Entry entry;
  std::uint64_t offset = 0;  // of the entry or the broken bytes
  std::size_t size = 0;
  Status status;

  [[nodiscard]] std::uint64_t position() const noexcept { return position_; }

 private:
  // Makes at least `need` bytes from position_ available, or all up to the limit.
  bool fill(std::size_t need);
  [[nodiscard]] Bytes window() const noexcept;

  const Segment& segment_;
  std::uint64_t position_;
  std::uint64_t limit_;
  std::uint64_t effort_;  // bytes that resync() may still put through a checksum
  std::unique_ptr<std::uint8_t[]> buffer_;
  std::size_t capacity_ = 0;
  std::uint64_t buffer_at_ = 0;  // file offset of buffer_[0]
  std::size_t buffer_size_ = 0;  // valid bytes
};

}  // namespace armdb::store

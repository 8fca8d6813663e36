// LogRecovery: builds a shard's log and tells what is in it, from whatever bytes are there.
//
// Steps: list the directory; take the live segments from the MANIFEST (or rebuild that list from
// the segments); load them in order of sequence, by hint or by scan; add what stands in the tail
// buffer; then, unless read-only, move the tail's entries to a new segment, write the MANIFEST
// and delete what is dead.
//
// Rules:
//   (1) Bytes below the durable watermark that are no entries are damage: skipped, counted,
//       reported; what follows them counts.
//   (2) Bytes above it are a torn tail: nothing after them counts, in this segment or a later
//       one. Later segments are set aside (renamed to .aside), never deleted.
//   (3) No file is truncated or appended to. Accepted lengths go to the MANIFEST.
//   (4) A joint batch that another shard has lost, and what follows it, counts as torn: the engine
//       surveys all shards first where there may be any, and tells where to stop.
//   (5) Nothing is deleted before the MANIFEST that does without it is durable.
//
// Threads: one.
#pragma once

#include "store/log_store.hpp"

namespace armdb::store {

class LogRecovery {
 public:
  // Entries from `limit` on do not count. `survey` collects joint batches, or is null.
  LogRecovery(LogStore& store, RecoveryVisitor visit, std::uint64_t limit, Survey* survey)
      : store_(store), visit_(visit), limit_(limit), survey_(survey) {}
  Status run();

 private:
  struct Candidate {
    SegmentPtr segment;
    std::uint64_t file_bytes = 0;
    bool listed = false;
    format::ManifestSegment record;  // when listed
  };
  // A listed segment whose file is gone or wrong.
  struct Missing {
    format::ManifestSegment record;
    std::string what;
    bool judged = false;
  };
  // State of the scan of one segment.
  struct Scan {
    std::uint64_t expected = 0;      // next sequence, in a log segment
    std::uint64_t accepted = 0;      // bytes
    std::uint64_t batch_offset = 0;  // of an open batch; 0: none
    bool damaged = false;
    bool torn = false;
    bool footer = false;
    bool resumed = false;  // behind damage: the next entry may have any higher sequence
  };

  Status list_directory();
  Status collect_segments();
  Status collect_listed(const format::Manifest& manifest);
  Status collect_unlisted(const format::Manifest& manifest);
  Status rebuild_list();
  void limit_to_accepted();
  Status open_segment(std::uint32_t id, Candidate& out);
  // True when a mark says that a sync of this segment failed.
  [[nodiscard]] bool sync_failed(std::uint32_t id) const noexcept;
  bool read_footer(Candidate& candidate, std::vector<std::uint32_t>* sources);

  Status load_all();
  [[nodiscard]] bool follows_hole(const Candidate& candidate) const noexcept;
  void judge_missing(std::size_t at);
  void raise_durable(std::size_t from);
  Status load(Candidate& candidate);
  bool load_by_hint(Candidate& candidate, Status& status);
  Status scan(Candidate& candidate);
  Status scan_entry(SegmentScanner& scanner, Segment& segment, Scan& state);
  Status handle_broken(SegmentScanner& scanner, Candidate& candidate, Scan& state, bool& go_on);
  std::uint64_t watermark_behind(const Segment& segment, std::uint64_t from, std::uint64_t limit);
  void note_joint(const format::Entry& entry);
  Status deliver(Segment& segment, const format::Entry& entry, base::Location at);
  // Tells the visitor; deliver() counts the entry in its segment first.
  Status tell(const format::Entry& entry, base::Location at);
  Status deliver_batch(Segment& segment, std::uint64_t from, std::uint64_t to);
  bool fits_shape(const format::Entry& entry) const noexcept;
  void damage(std::string_view what, const std::string& path, std::uint64_t offset = 0);
  void torn(std::string_view path, std::uint64_t offset, std::uint64_t bytes);
  Status set_aside(std::size_t from);
  void leave_aside(std::uint32_t id);
  Status rename_aside(std::uint32_t id);

  [[nodiscard]] const Candidate* segment_of_tail() const;
  Status load_tail();
  Status visit_carried();
  Status leave_gap();
  [[nodiscard]] bool is_replaced(std::uint32_t id);
  Status finish();
  Status finish_reading();

  LogStore& store_;
  RecoveryVisitor visit_;
  const std::uint64_t limit_;
  Survey* const survey_;
  JointBatch joint_;  // the one whose mark came last
  std::vector<Candidate> candidates_;
  std::vector<Missing> missing_;
  std::vector<std::uint32_t> aside_ids_;  // to be set aside at the end: no segments, or cut off
  std::vector<std::uint32_t> data_ids_, hint_ids_, failed_ids_;  // of files; ascending: data_ids_
  std::vector<std::uint32_t> dead_ids_;                          // ascending, maybe repeated
  std::string temporary_names_;                                  // each with a slash behind it
  std::uint32_t id_max_ = 0;
  std::uint64_t last_ = 0;             // sequence of the last accepted entry
  std::uint64_t durable_ = 0;          // everything up to it was synced once
  std::uint64_t last_entry_ = 0;       // of the last entry there is; last_ may lie in a gap
  std::uint64_t listed_last_ = 0;      // what the MANIFEST says of the end of its segments
  TailContents tail_;                  // what stands in the write buffer's file
  bool raised_ = false;                // watermarks to come have been looked for
  bool cut_ = false;                   // a torn tail was met: only gapless successors count
  std::uint32_t torn_id_ = 0;          // the segment it was met in, when that can be read
  bool rebuilt_ = false;               // there was no MANIFEST to believe
  bool changed_ = false;               // the MANIFEST no longer says what is there
  std::vector<std::uint8_t> carried_;  // entries of the tail, and of a batch it completes
  std::uint64_t carried_last_ = 0;     // the sequence of their last one
  std::uint32_t carried_seed_ = 0;
};

}  // namespace armdb::store

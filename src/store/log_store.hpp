// LogStore: the Bitcask store of one shard: an append-only log of entries in segments.
//
// Invariants:
//   (1) Segments are ordered by sequence and their ranges do not overlap.
//   (2) A log segment's entries have consecutive sequences; a gap is damage or a lost tail.
//   (3) Only the active segment is written, and only segments that this open created.
//   (4) `durable_sequence()` never exceeds what a power cut leaves behind.
//   (5) The manifest and compaction are worked on by one thread at a time (the shard's
//       maintenance lock).
//   (6) After a failed write or sync nothing more is written: `failed()` is sticky.
//
// Threads: read(), durable_sequence() and run_sync() by anyone; verify() and the compaction by
// one thread each beside writers; end_prewrite() by whoever began it; everything else by the
// holder of the shard's lock.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "store/block_cache.hpp"
#include "store/hint_file.hpp"
#include "store/segment.hpp"
#include "store/tail_buffer.hpp"

namespace armdb::store {

// No store comes near this; crafted files that claim it would leave no room to go on.
inline constexpr std::uint64_t kSequenceLimit = std::uint64_t{1} << 62;

// Entries that count whole or not at all.
struct Batch {
  std::size_t count = 0;  // of writes, one or more
  const void* writes = nullptr;
  Write (*write)(const void* writes, std::size_t at) = nullptr;  // gives each one
  std::span<const JointPart> parts;  // of all shards; empty when this is the only one
  // Private to the store.
  std::vector<std::uint8_t> mark;  // the parts as they are written
  std::uint64_t bytes = 0;
  std::unique_ptr<std::uint8_t[]> image;  // of a batch that is longer than the write buffer
};

// Reads every byte of a segment that counts; damage goes to the log and the report. Needs no
// lock.
Status verify_segment(const StoreContext& context, const Segment& segment, VerifyReport& report);

// Tells every entry of a sealed segment, with its value, in order; damage ends it.
Status visit_segment(const Segment& segment, FunctionRef<Status(const RecoveredEntry&)> visit);

// Segments by file id, for readers; replaced whole and reclaimed by epochs.
struct SegmentMap {
  std::uint32_t mask = 0;
  std::unique_ptr<Segment*[]> slots;
  static SegmentMap* make(std::span<const SegmentPtr> segments);
  [[nodiscard]] Segment* find(std::uint32_t file_id) const noexcept;
};

// A log as it was at one moment. Its segments can be read also when compaction has replaced them.
struct LogImage {
  std::vector<SegmentPtr> segments;
  std::vector<std::uint8_t> manifest;
};
// Writes it, with the hints that are still there, to another shard's directory, and syncs it. Needs
// no lock.
Status copy_log(const StoreContext& context, const LogImage& image, FileSystem& to,
                const std::string& directory);

class LogStore final : public Store {
 public:
  // Recovers what the shard's directory holds, telling `visit` every accepted entry in order of
  // sequence. Changes nothing on disk when the configuration is read_only.
  // Entries from `sequence_limit` on do not count: another shard lost its part of a joint batch.
  static Status open(const StoreContext& context, RecoveryVisitor visit,
                     std::uint64_t sequence_limit, std::unique_ptr<LogStore>& opened);
  // Recovers without changing anything, to learn which joint batches are there.
  static Status survey(const StoreContext& context, Survey& survey);
  ~LogStore() override;
  LogStore(const LogStore&) = delete;
  LogStore& operator=(const LogStore&) = delete;

  // ---- Writer ----

  // Accepts one entry under the next sequence. On an error nothing has changed.
  Status append(const Write& write, base::Location& at);
  // What is appended while this lives survives a kill only after settle(): where it is sealed, that
  // is done in few large pieces and costs less. Null: nothing.
  class Group {
   public:
    explicit Group(LogStore* log) noexcept : log_(log) {
      if (log_ != nullptr) log_->holding_ = true;
    }
    ~Group() {
      if (log_ != nullptr) log_->holding_ = false;
    }
    Group(const Group&) = delete;
    Group& operator=(const Group&) = delete;

   private:
    LogStore* const log_;
  };
  void settle() noexcept { tail_.seal(); }
  // The next entry gets this sequence, which is above that of the last one: a follower's entries
  // have those of their leader.
  Status continue_at(std::uint64_t sequence);
  // Accepts a batch, whose parts in other shards must agree, in two steps: prepare_batch() may
  // fail, and then nothing has changed; then either accept_batch(), which cannot fail, or
  // abandon_batch(), which undoes it. In between nothing else may be appended.
  Status prepare_batch(Batch& batch);
  // Tells where each write went.
  void accept_batch(Batch& batch, FunctionRef<void(std::size_t at, base::Location)> accepted);
  void abandon_batch(Batch& batch) noexcept;
  Status write(const Write& write, base::Location, base::Location& at) override {
    return append(write, at);
  }
  Result<bool> settle(base::Location old, const RecoveredEntry& entry) override;
  void mark_dead(base::Location at) noexcept override;
  // Writes the buffer to the active segment.
  Status flush() override;

  SyncTicket begin_sync(Status& status) override;
  Status run_sync(const SyncTicket& ticket) override;
  Status end_sync(const SyncTicket& ticket, Status outcome) override;

  // Marks the segments that an old data key seals for compaction, and the MANIFEST for a new one;
  // returns how many there are.
  std::size_t mark_old_keys() noexcept;
  // Ends the active segment, so that checkpoint and compaction see all there is.
  Status seal_active();
  // The MANIFEST as it should be now, for write_manifest() outside the lock; empty when the one
  // on disk says the same.
  std::vector<std::uint8_t> manifest_now();
  // What is there now, for copy_log(): ends the active segment.
  Status freeze(LogImage& image);
  static Status write_manifest(const StoreContext& context, const std::vector<std::uint8_t>& image);
  // Writes the hint of a sealed segment by reading it; outside the lock. True when it stands.
  static bool write_hint(const StoreContext& context, const Segment& segment);
  // Takes disk space that compaction may use when there is no other; gives it back. Best effort.
  static void keep_reserve(const StoreContext& context);
  // False when there was none.
  static bool release_reserve(const StoreContext& context);
  [[nodiscard]] bool wants_hint(const Segment& segment) const noexcept;

  // May come behind a gap.
  [[nodiscard]] std::uint64_t next_sequence() const noexcept { return sequence_next_; }
#if defined(ARMDB_OMIT_REPLICATION)
  [[nodiscard]] static constexpr std::uint64_t pinned() noexcept { return ~std::uint64_t{0}; }
  static void await_prewrite() noexcept {}
#else
  // What is above `sequence` is not compacted while that keeps at most `bytes`: followers are to
  // read it. ~0: nothing is kept.
  void pin(std::uint64_t sequence, std::uint64_t bytes) noexcept {
    pin_ = sequence;
    retain_bytes_ = bytes;
  }
  [[nodiscard]] std::uint64_t pinned() const noexcept;
  // About how much stands behind a sequence.
  [[nodiscard]] std::uint64_t bytes_above(std::uint64_t sequence) const noexcept;
  // Writes what stands in the buffer to the active segment while writers go on, in two steps: the
  // first under the shard's lock, the second without it. The next flush has only the rest to do,
  // and tells of errors; whatever else touches the file waits for the second step. False when there
  // is too little for that, another thread is at it, blocks for it are not there yet, or frames
  // are sealed, which are made in order.
  struct Prewrite {
    SegmentPtr segment;
    std::uint64_t offset = 0;
    Bytes bytes;
  };
  [[nodiscard]] bool begin_prewrite(Prewrite& part) ARMDB_TRY_ACQUIRE(true, prewrite_mutex_);
  void end_prewrite(const Prewrite& part) ARMDB_RELEASE(prewrite_mutex_);
  void await_prewrite() { const base::MutexLock wait(prewrite_mutex_); }
  // No power cut takes a segment as if it had never been.
  [[nodiscard]] bool names_durable() const noexcept {
    return directory_changes_ == directory_synced_;
  }
#endif
  // The last MANIFEST was not written: the next one has to be.
  void manifest_failed() noexcept { manifest_stale_ = true; }
  [[nodiscard]] bool has_unsynced() const noexcept override;
  Status fail(Status cause) override { return poison(cause, {}); }
  [[nodiscard]] const StoreContext& context() const noexcept { return context_; }
  [[nodiscard]] const RecoveryReport& recovery() const noexcept { return recovery_; }
  void add_stats(Stats& stats) const override;
  [[nodiscard]] std::vector<SegmentPtr> segments() const { return segments_; }

  // ---- Readers ----

  // Reads the value of the entry at `at`, whose key must be `key`. The caller holds a guard of
  // the epoch domain; `value` lies in `buffer` or in a mapping under that guard.
  ReadOutcome read(base::Location at, Bytes key, ReadBuffer& buffer, Bytes& value,
                   Status& status) const;

  [[nodiscard]] Status describe(Status status, base::Location at) const override;

  // Starts reading at `at` from memory, for warmup(). Under a guard.
  void touch(base::Location at) const;

 private:
  friend class LogRecovery;
  friend class LogCompaction;
  friend class LogReplacement;

  explicit LogStore(const StoreContext& context) : context_(context) {}

  // Both open() and, with `joints`, survey().
  static Status recover(const StoreContext& context, RecoveryVisitor visit, std::uint64_t limit,
                        Survey* joints, std::unique_ptr<LogStore>& opened);
  std::vector<std::uint8_t> manifest_image(std::uint64_t durable);
  // Takes segments out of the store, for good. On an error nothing has changed.
  Status leave(std::span<const SegmentPtr> leaving);
  Status open_writer(Bytes carried, std::uint32_t carried_seed);
  Status make_room(std::uint64_t bytes, bool tombstone);
  Status append_large(const format::Entry& entry, std::uint64_t bytes);
  Status write_behind(Bytes image);
  Status skip_prewritten(Bytes& image, std::uint64_t& offset);
  void accept_behind(std::uint64_t bytes) noexcept;
  static void each_of(const Batch& batch, std::uint64_t sequence,
                      FunctionRef<void(const format::Entry&, std::size_t bytes)> take);
  void append_watermark() noexcept;
  void account(Segment& segment, const format::Entry& entry, base::Location at) noexcept;
  Status begin_segment();
  // Creates the file `header.file.file_id` names. Touches nothing of the store: needs no lock.
  // `spent` false after a failure: the name was not used.
  static Status new_segment_file(const StoreContext& context, format::SegmentHeader& header,
                                 Owned<File>& file, std::string& path, bool& spent);
  void give_back_id(std::uint32_t id) noexcept;
  Status allocate_ahead(std::uint64_t bytes, bool tombstone);
  void set_put_limit() noexcept;
  Status publish_map();
  Status save_manifest();
  [[nodiscard]] std::uint64_t cache_share() const noexcept {
    return context_.config.cache_bytes / context_.shard_count;
  }
  Status poison(const Status& cause, std::span<const SegmentPtr> segments);
  Status poison_active(Status cause);
  [[nodiscard]] SegmentPtr find_segment(std::uint32_t file_id) const;
  [[nodiscard]] bool values_on_disk() const noexcept {
    return context_.shape.payload == Payload::location;
  }
  ReadOutcome read_from_file(const Segment& segment, base::Location at, ReadBuffer& buffer,
                             Bytes& entry, Status& status) const;

  const StoreContext context_;
  std::uint64_t sealed_last_ = 0;  // the largest sequence in any sealed segment, dropped or not
  RecoveryReport recovery_;

  std::vector<SegmentPtr> segments_;  // in order of sequence; the active one last
  SegmentPtr active_;                 // null until something is written
  TailBuffer tail_;
  bool tail_open_ = false;
  bool holding_ = false;
  std::unique_ptr<HintWriter> hint_;  // of the active segment
  std::unique_ptr<BlockCache> cache_;
  std::uint64_t put_limit_ = 0;  // appends that end below it need no thought
  std::uint64_t sequence_next_ = 1;
  std::uint64_t watermark_written_ = 0;
  std::atomic<std::uint32_t> next_file_id_{1};
  std::uint64_t manifest_generation_ = 0;
  bool manifest_stale_ = false;  // segments were sealed, synced or retired since the last one
  std::uint64_t directory_changes_ = 0;
  std::uint64_t directory_synced_ = 0;
  std::uint64_t compactions_ = 0;
#if !defined(ARMDB_OMIT_REPLICATION)
  std::uint64_t pin_ = ~std::uint64_t{0};
  std::uint64_t retain_bytes_ = 0;
  base::Mutex prewrite_mutex_;  // taken under the shard's lock, and held without it
  std::size_t prewritten_ = 0;  // of the buffer, from its start; the file has it already
  Status prewrite_error_;
#endif
  bool full_ = false;  // the last put found no space

  std::atomic<const SegmentMap*> map_{nullptr};
};

}  // namespace armdb::store

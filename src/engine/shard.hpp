// Shard: the only place where an index and a store meet.
//
// Invariants:
//   (1) The index never names an entry the store has not accepted.
//   (2) Under mutex_ nothing is synced and no value is read from disk; but an atomic block reads
//       what its caller asks for, a batch the old values that a hook wants, a large part of a
//       joint batch that another shard refused is taken back durably, verify() and migrate() of
//       slots read a piece of their file at a time, and moving and closing them syncs.
//
// Threads: any thread may call any member. Writers hold mutex_; reads take no lock. sync_mutex_
// lets one thread sync for all that wait (group commit). maintenance_ is held by compaction,
// checkpoint, migration and close. Order of locks: maintenance_, sync_mutex_ (several in the order
// of shards), the engine's joint mutex, mutex_ (several in the order of shards).
//
// Values. The index keeps, with the location of each entry: its bytes (Payload::value); nothing
// more (Payload::location); or a counted reference to the decoded object, where a face gave
// ObjectOps. An object that is replaced is retired, so that a reader under a guard may still
// share it.
#pragma once

#include <memory>

#include "base/mutex.hpp"
#include "core/hook.hpp"
#include "core/owned.hpp"
#include "core/stats.hpp"
#include "engine/expiry.hpp"
#include "engine/slot_states.hpp"
#include "engine/tap.hpp"
#include "index/index.hpp"
#include "store/log_compaction.hpp"
#include "store/log_feed.hpp"
#include "store/log_store.hpp"
#include "store/slot_store.hpp"

namespace armdb::engine {

class Engine;

inline constexpr std::size_t kRunMax = 64;

// When a write may happen.
enum class When : std::uint8_t {
  always,
  absent,   // else key_exists
  present,  // else not_found
  equal,    // else not_found or value_mismatch; Payload::value only
  unmoved,  // the entry is the one that was seen, or is still not there; else value_mismatch
  expired,  // else not_found
};

struct WriteRequest {
  Bytes key;
  std::uint64_t hash = 0;
  Bytes value;
  detail::Shared* object = nullptr;  // the decoded value, where the index keeps it
  std::uint64_t expiry_ms = 0;       // 0: never
  bool keep_expiry = false;          // of the entry that is replaced, if there is one
  bool erase = false;
  When when = When::always;
  Bytes expected;       // with When::equal
  base::Location seen;  // with When::unmoved; nowhere: the key was not there
};

// What the shards of a collection have in common.
struct Common {
  Engine* engine = nullptr;
  Clock clock;
  Owned<detail::Hook> hook;
  const detail::ObjectOps* objects = nullptr;
  std::atomic<bool> migrating{false};
#if !defined(ARMDB_OMIT_REPLICATION)
  TapList taps;
#endif
};

class Transaction;

// The object that an index keeps for an entry.
inline detail::Shared* object_at(const std::uint8_t* kept) noexcept {
  detail::Shared* object;
  std::memcpy(&object, kept, sizeof(void*));
  return object;
}

// `status`, which is about the value of `key`, with the key in its text.
Status key_status(const Status& status, Bytes key);

class Shard {
 public:
  // How to recover the shard.
  struct Opening {
    std::uint64_t hash_seed = 0;  // that of the router
    std::uint64_t sequence_limit = ~std::uint64_t{0};
    std::uint64_t joint_last = 0;  // the last joint batch that was found
    store::SlotOptions slots;      // of a Fixed store
  };
  static Status open(const store::StoreContext& context, Common& common, const Opening& opening,
                     std::unique_ptr<Shard>& opened);
  ~Shard();

  // ---- Writing ----

  Status write(const WriteRequest& request);
  // kRunMax plain puts at most under one lock; stops at the first that fails. Erases of what is
  // not there are passed over; `done` counts the others.
  Status put_group(std::span<const WriteRequest* const> requests, std::uint64_t& done);
  // The same for puts whose keys do not descend, of an ordered shard.
  Status put_run(std::span<const WriteRequest* const> requests, std::uint64_t& done);
  // After the groups of a call: from here on they survive a kill, sealed ones too.
  void settle() noexcept {
    const base::MutexLock lock(mutex_);
    if (log_ != nullptr) log_->settle();
  }
  // See Index::expect().
  void expect(std::size_t count) {
    const base::MutexLock lock(mutex_);
    index_->expect(count);
  }
  // All of them or none, also after a crash. Then after_batch().
  Status write_batch(std::span<const WriteRequest> requests);
  // One shard's part of a batch over several.
  struct JointWrite {
    Shard* shard = nullptr;
    std::span<const WriteRequest> requests;
    std::uint64_t first = 0;  // the sequence that the leader gave the first one; 0: the next
  };
  // Under the engine's joint mutex; then, without it, after_batch() for each shard: a sync takes
  // that mutex.
  static Status write_joint(std::span<JointWrite> parts);
  Status after_batch();
  // Calls `body` under the lock; what it writes becomes one batch when it returns ok.
  Status atomic(FunctionRef<Status(Transaction&)> body);

  // ---- Reading ----

  // Copies what the index keeps of the value; `at` and `value` may be null.
  bool find(const std::uint8_t* key, std::uint64_t hash, base::Location* at,
            std::uint8_t* value) const noexcept {
    if (expiries_.any() && expiries_.expired(key, hash)) [[unlikely]]
      return false;
    return index_->find(key, hash, at, value);
  }
  void find_many(std::span<index::Lookup> lookups) const noexcept;
  // For an entry that a scan copied some time ago: brings it up to date where expiry demands it;
  // false when it is gone.
  bool still_there(index::Block& block, std::size_t at) const noexcept;

  // Payload::location: calls `use` with the value, which ends with the call. False when the key
  // is not there.
  Result<bool> read(Bytes key, std::uint64_t hash, FunctionRef<void(Bytes)> use) const;
  // `at`, which may be null, gets the entry's place.
  Result<bool> read_view(Bytes key, std::uint64_t hash, ByteView& out, base::Location* at) const;
  // The same for an entry that a scan found at `at`; asks the index when it has moved.
  Result<bool> read_at(Bytes key, base::Location at, ByteView& out) const;
  // A reference to the decoded object, or null.
  detail::Shared* find_object(const std::uint8_t* key, std::uint64_t hash,
                              base::Location* at) const noexcept;
  // The file and offset of an entry, for messages.
  [[nodiscard]] Status describe(Status status, base::Location at) const;
  // False when the key is not there; 0: it stays.
  bool expires_at(const std::uint8_t* key, std::uint64_t hash, std::uint64_t& expiry_ms) const;

  // ---- Durability and care ----

  Status flush();
  // Everything accepted before the call is durable when it returns ok.
  Status sync();
  Status checkpoint();
  Status warmup();
  Status verify(VerifyReport& report);
  // One step of compaction; true when there is more to do. On a full disk it goes on with the
  // store's reserve. Segments that begin behind sequence `end` are left alone.
  Result<bool> compact_step(std::uint64_t budget, std::uint64_t end = ~std::uint64_t{0});
  // All there is to do in what the log has now: beside busy writers there is always more.
  Status compact();
  // For backup_to(): what is there now; then written elsewhere, without a lock.
  Status freeze(store::LogImage& image);
  Status copy(const store::LogImage& image, const store::Keyring* keys, FileSystem& to,
              const std::string& directory);
  Status copy_slots(const store::Keyring* keys, FileSystem& to, const std::string& directory);
  // Everything on disk is sealed by the newest data key then.
  Status renew_keys();
  Status renew_slots();
  // Fixed: gives free space at the end of the file back. While somebody is migrating no slot moves:
  // it would look like a new one, and be passed over.
  Status shrink();
  // Common::migrating is seen from here on.
  void wait_for_care() { const base::MutexLock maintenance(maintenance_); }
  // Erases entries that have expired; looks at about `budget` of those that may, from `cursor`
  // on, and moves it (0 at the end). Returns how many were erased.
  Result<std::uint64_t> sweep(std::uint64_t budget, std::uint64_t& cursor);
  // Tells every live entry with a sequence in (done, start] to `visit`, in order of the log, with
  // its value. `passed` is called when everything up to a sequence has been told and is durable.
  // No compaction meanwhile.
  Status visit_log(std::uint64_t done, std::uint64_t start,
                   FunctionRef<Status(const store::RecoveredEntry&)> visit,
                   FunctionRef<Status(std::uint64_t)> passed);
  Status tell_hook();
  Status seal();
  Status close();

#if !defined(ARMDB_OMIT_REPLICATION)
  // ---- Replication: the shard of a log ----

  // Leader: what stands behind the feed's position, up to sequence `limit`. `step` is ready when
  // the piece has something, or tells why not.
  Status feed(store::LogFeed& feed, std::uint64_t limit, std::size_t bytes_max,
              store::FeedPiece& piece, store::FeedStep& step);
  // Makes it read a copy of what is durable now; the sequence of that.
  std::uint64_t begin_copy(store::LogFeed& feed) const;
  // See LogStore::pin().
  void pin(std::uint64_t sequence, std::uint64_t retain_bytes);
  // See LogStore::Prewrite: a sync behind it keeps writers waiting for less.
  void prewrite();
  // The last sequence of what feed() can read; writes the buffer out for that, and syncs where a
  // power cut could take it without a trace. On an error that of what is durable.
  Status flush_for_feed(std::uint64_t& limit);
  // About how much of the log stands behind a sequence, or has changed in slots since.
  [[nodiscard]] std::uint64_t bytes_above(std::uint64_t sequence) const;

  // Follower: writes what the leader wrote, the first of it under sequence `first`; all or nothing
  // where it is a batch. Erases of what is not there take their sequence too.
  Status apply(std::uint64_t first, std::span<const WriteRequest> requests, bool batch);
  // Follower: a copy of the leader's shard as of a sequence takes the place of everything, when it
  // is complete; until then, and after a crash before that, the old content stays.
  // Threads: one, that of the follower.
  // `expected`: about how many entries will come; 0: nobody knows.
  Status begin_replacement(std::size_t expected = 0);
  Status add_to_replacement(std::span<const std::uint64_t> sequences,
                            std::span<const WriteRequest> requests);
  // Segments with entries above `aside_above` are kept as .aside files. Calls `pulse` now and then,
  // because it takes as long as a recovery.
  Status finish_replacement(std::uint64_t sequence, std::uint64_t aside_above,
                            FunctionRef<void()> pulse);
  void abandon_replacement() noexcept;

  // ---- Replication: the shard of slots ----

  // The last recovery found that entries are missing, and no copy has replaced them since.
  [[nodiscard]] bool has_holes() const {
    ARMDB_ASSERT(slots_ != nullptr);
    const base::MutexLock lock(mutex_);
    return !replaced_ && slots_->damaged_slots() != 0;
  }
  // Leader: knows from here on which keys were written last, as many as fit into so many bytes, or
  // into these while a copy is told; 0: no more.
  void keep_changes(std::uint64_t bytes_max, std::uint64_t copy_bytes_max);
  // Follower: whether writes that did not come from the leader are taken. When it returns, none is
  // under way that is refused from now on.
  void take_own_writes(bool yes);
  // Tells the keys that were written behind a version, as they are now; `covered` is false when
  // that is no longer known.
  Status tell_changes(std::uint64_t after, std::size_t bytes_max, SlotStates& states,
                      bool& covered) const;
  // A copy: the version at its beginning, then all states in pieces, until the walk is over. Those
  // that have not changed since the version `known` are told by key only.
  std::uint64_t begin_telling_all();
  Status tell_all(SlotWalk& walk, std::uint64_t known, std::size_t bytes_max,
                  SlotStates& states) const;
  void end_telling_all();

  // The next write has a version above that; the last one now.
  std::uint64_t raise_sequence(std::uint64_t to);
  // Follower: writes states, also in a copy: puts, and erases of what may not be there.
  // Threads: one, that of the follower, for this and the following.
  Status apply_states(std::span<const WriteRequest> requests);
  Status begin_taking_copy();
  // Keys of a copy that are there as they are; not_found when one is not.
  Status mention_keys(Bytes keys);
  // Erases what the copy did not mention, durably.
  Status finish_copy(FunctionRef<void()> pulse);
  void abandon_copy() noexcept;
  // Keeps what is there now in an .aside file.
  Status keep_aside(FileSystem& plain);
#endif

  [[nodiscard]] std::uint64_t durable_sequence() const noexcept {
    return store_->durable_sequence();
  }
  [[nodiscard]] std::uint64_t last_sequence() const noexcept;
  [[nodiscard]] bool unsynced() const noexcept;
  [[nodiscard]] bool uses_expiry() const noexcept { return expiries_.any(); }
  void add_stats(Stats& stats) const;
  [[nodiscard]] const index::Index& index() const noexcept { return *index_; }
  [[nodiscard]] std::size_t size() const noexcept { return index_->size(); }

  // One sync of all shards that are bound together by joint batches; see Engine::sync_joint().
  // `asking` is synced in any case.
  static Status sync_bound(std::span<const std::unique_ptr<Shard>> shards, const Shard* asking,
                           base::Mutex& joint_mutex);
  [[nodiscard]] bool is_bound() const;

 private:
  friend class Transaction;

  Shard(const store::StoreContext& context, Common& common, const Opening& opening,
        const index::IndexConfig& config)
      : context_(context),
        common_(common),
        seed_(opening.hash_seed),
        expiries_(common.clock, config),
        joint_last_(opening.joint_last) {}

  Status recover(const Opening& opening);
  Status open_store(const Opening& opening, store::RecoveryVisitor visit);
  [[nodiscard]] bool keeps_bytes() const noexcept {
    return context_.shape.payload == Payload::value;
  }
  [[nodiscard]] bool hook_reads() const noexcept {
    return common_.hook && common_.hook->needs_old && !keeps_bytes() && common_.objects == nullptr;
  }
  [[nodiscard]] bool live(const WriteRequest& request, const index::Place& place) const noexcept {
    return place.found && !expiries_.expired(request.key.data(), request.hash);
  }
  Status judge(const WriteRequest& request, const index::Place& place) const ARMDB_REQUIRES(mutex_);
  Status write_located(const WriteRequest& request, index::Place& place, const Bytes* old)
      ARMDB_REQUIRES(mutex_);
  void publish(const WriteRequest& request, index::Place& place, base::Location at,
               std::uint64_t expiry_ms, const Bytes* old) ARMDB_REQUIRES(mutex_);
  Status write_reading_value(const WriteRequest& request);
  Status append(const WriteRequest& request, std::uint64_t expiry_ms, base::Location old,
                base::Location& at) ARMDB_REQUIRES(mutex_);
  Status end_sync(const store::SyncTicket& ticket, Status outcome);
  Status write_some(std::span<const WriteRequest* const> requests, std::uint64_t& done,
                    bool sorted);
  Status put_run_locked(std::span<const WriteRequest* const> requests, std::uint64_t& done)
      ARMDB_REQUIRES(mutex_);
  Status insert_run(std::span<const WriteRequest* const> requests, std::span<index::Fresh> run,
                    index::Place& place, std::uint64_t& done) ARMDB_REQUIRES(mutex_);
  void fetch(std::span<const WriteRequest* const> requests) const;
  void log_untold(const Status& why) const;
  Status prepare(std::span<const WriteRequest> requests, store::Batch& batch)
      ARMDB_REQUIRES(mutex_);
  void accept(std::span<const WriteRequest> requests, store::Batch& batch) ARMDB_REQUIRES(mutex_);
  void publish_reading_old(const WriteRequest& request, index::Place& place, base::Location at)
      ARMDB_REQUIRES(mutex_);
  Status write_batch_locked(std::span<const WriteRequest> requests) ARMDB_REQUIRES(mutex_);
  static Status write_all_locked(std::span<JointWrite> parts);
  static Status write_joint_from(std::span<JointWrite> parts, std::size_t at);
  Status refuse_if_closed() const ARMDB_REQUIRES(mutex_);
  // The same of a write that is none of the leader's: it may have begun before this was a follower.
#if defined(ARMDB_OMIT_REPLICATION)
  Status refuse_own_write() const ARMDB_REQUIRES(mutex_) { return refuse_if_closed(); }
#else
  Status refuse_own_write() const ARMDB_REQUIRES(mutex_);
#endif
  Status after_write(bool sync_wanted);
  Status read_location(base::Location at, Bytes key, store::ReadBuffer& buffer, Bytes& value,
                       bool& moved) const;
  Result<bool> find_and_read(Bytes key, std::uint64_t hash, store::ReadBuffer& buffer, Bytes& value,
                             base::Location* where) const;
  Result<bool> compact_once(std::uint64_t budget, bool cheapest, std::uint64_t end)
      ARMDB_REQUIRES(maintenance_);
  Status compact_sealed();  // compact() without ending the active segment
  Status keep_failure(Status status);
  Status fail(Status cause);
  Status sync_all(bool files_too);
  [[nodiscard]] bool bound() const ARMDB_REQUIRES(mutex_) {
    return joint_last_ > store_->durable_sequence();
  }
  Status move_slots(std::uint64_t newest) ARMDB_REQUIRES(mutex_);
  Status copy_slot(Bytes key, base::Location from) ARMDB_REQUIRES(mutex_);
  Result<bool> finish_compaction() ARMDB_REQUIRES(maintenance_);
  Status relocate_all(store::LogCompaction& job) ARMDB_REQUIRES(maintenance_);
  Status each_slot(std::uint64_t first, VerifyReport& report,
                   FunctionRef<Status(const store::RecoveredEntry&)> visit,
                   FunctionRef<Status(std::uint64_t)> passed);
  Status each_block(FunctionRef<Status(index::Block&)> visit) const;
#if !defined(ARMDB_OMIT_REPLICATION)
  bool tell_some_changes(std::size_t bytes_max, SlotStates& states) const ARMDB_REQUIRES(mutex_);
  void add_state(std::uint64_t version, const std::uint8_t* key, std::uint64_t hash,
                 SlotStates& states) const ARMDB_REQUIRES(mutex_);
  Status tell_block(const index::Block& block, std::uint64_t known, SlotStates& states) const;
  Status apply_state(const WriteRequest& request) ARMDB_REQUIRES(mutex_);
  void mention(base::Location at) ARMDB_REQUIRES(mutex_);
  [[nodiscard]] bool mentioned(base::Location at) const ARMDB_REQUIRES(mutex_);
  struct Replacement;
  struct ShownRun;
  bool reserve_expiries(std::span<const WriteRequest> run) ARMDB_REQUIRES(mutex_);
  Status show_run(Replacement& job, ShownRun& run);
  Status apply_run(std::span<const WriteRequest> run) ARMDB_REQUIRES(mutex_);
  Status show_replacement(Replacement& job, FunctionRef<void()> pulse) ARMDB_REQUIRES(maintenance_);
  Status erase_replaced(Replacement& job, FunctionRef<void()> pulse) ARMDB_REQUIRES(maintenance_);
#endif

  const store::StoreContext context_;
  Common& common_;
  const std::uint64_t seed_;

  mutable base::Mutex maintenance_;
  std::unique_ptr<store::LogCompaction> compaction_ ARMDB_GUARDED_BY(maintenance_);

  base::Mutex sync_mutex_;

  // Written under mutex_, read without: all three say themselves what readers may call.
  mutable base::Mutex mutex_;
  base::ConditionVariable sync_ended_;
  std::unique_ptr<index::Index> index_;
  std::unique_ptr<store::Store> store_;
  store::LogStore* log_ = nullptr;  // it is one of these two
  store::SlotStore* slots_ = nullptr;
  ExpiryTable expiries_;
  // The last entry of a joint batch. While it is not durable, a sync covers all shards with such
  // entries: what is durable here must not depend on what a power cut may take there.
  std::uint64_t joint_last_ ARMDB_GUARDED_BY(mutex_) = 0;
#if !defined(ARMDB_OMIT_REPLICATION)
  bool replaced_ ARMDB_GUARDED_BY(mutex_) = false;  // by a copy, since it was opened
  // Fixed, of a leader: null while nobody serves.
  std::unique_ptr<store::SlotChanges> changes_ ARMDB_GUARDED_BY(mutex_);
  std::uint64_t changes_bytes_[2] ARMDB_GUARDED_BY(mutex_) = {};  // at most; while a copy is told
  std::uint32_t copies_told_ ARMDB_GUARDED_BY(mutex_) = 0;
  // Fixed, of a follower: the slots that a copy has mentioned so far, a bit for each.
  bool taking_copy_ ARMDB_GUARDED_BY(mutex_) = false;
  bool takes_own_writes_ ARMDB_GUARDED_BY(mutex_) = true;
  std::vector<std::uint64_t> mentioned_ ARMDB_GUARDED_BY(mutex_);
#endif
  std::vector<std::uint8_t> old_bytes_ ARMDB_GUARDED_BY(mutex_);  // for the hook
  std::atomic<std::uint32_t> retired_{0};  // objects, since the last attempt to reclaim some
  bool closed_ ARMDB_GUARDED_BY(mutex_) = false;
#if !defined(ARMDB_OMIT_REPLICATION)
  std::shared_ptr<Replacement> replacement_;  // its type is not known here; goes before store_
#endif
};

}  // namespace armdb::engine

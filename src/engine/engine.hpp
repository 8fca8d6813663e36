// Engine: a collection without types: its shards, and what concerns all of them.
//
// Threads: any thread may call any member beside any other; close() may run beside calls, which
// then answer `closed`.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/epoch.hpp"
#include "core/config.hpp"
#include "core/file_system.hpp"
#include "engine/router.hpp"
#include "engine/shard.hpp"
#include "store/cursor_file.hpp"
#include "store/keyring.hpp"
#include "store/manifest_file.hpp"

namespace armdb::engine {

class Engine final
#if !defined(ARMDB_OMIT_REPLICATION)
    : store::LossListener
#endif
{
 public:
  // What a typed face brings along.
  struct Parts {
    Owned<detail::Hook> hook;
    const detail::ObjectOps* objects = nullptr;
  };
  // `shape` is checked against the stored one; without it (null) the stored one is taken and the
  // collection must exist.
  static Result<std::unique_ptr<Engine>> open(const std::string& path, const Shape* shape,
                                              const FixedConfig& config, Parts parts);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Fills in hash and shard; the rest of `request` is the caller's.
  Status write(WriteRequest& request, bool sync);
  // See Index::expect().
  void expect(std::size_t count) {
    for (const auto& shard : shards_) shard->expect(count / shard_count());
  }
  // Plain puts, or erases of what is there, written group by group: after an error those of
  // earlier groups are done.
  Status write_many(std::span<const BytesPair> pairs, bool erase, std::uint64_t expiry_ms,
                    std::uint64_t& done);
  // All of them or none, also after a crash; `written` tells when only the sync failed.
  Status write_batch(std::span<WriteRequest> requests, bool sync, bool& written);
  Status atomic(Bytes key, FunctionRef<Status(Transaction&)> body, bool sync);
  // `at` and `value` may be null.
  [[nodiscard]] bool find(const std::uint8_t* key, base::Location* at,
                          std::uint8_t* value) const noexcept {
    const std::uint64_t hash = router_.hash(key, shape_.key_size);
    return shards_[router_.shard(key, shape_.key_size, hash)]->find(key, hash, at, value);
  }
  void find_many(std::span<BytesLookup> gets) const noexcept;
  Result<bool> read(Bytes key, FunctionRef<void(Bytes)> use) const;
  Result<bool> read_view(Bytes key, ByteView& out, base::Location* at = nullptr) const;
  // The shard of a key, with its hash.
  [[nodiscard]] Shard& owner(Bytes key, std::uint64_t& hash) const noexcept {
    hash = router_.hash(key.data(), key.size());
    return *shards_[router_.shard(key.data(), key.size(), hash)];
  }
  // When an entry ends that is put now with this time to live (see WriteOptions); 0: never.
  [[nodiscard]] std::uint64_t expiry_of(std::uint64_t ttl_ms) noexcept;

  Status flush();
  Status sync();
  // Syncs when that was FixedConfig::sync_interval_ms ago.
  Status tick();
  // Syncs the shards that joint batches bind together; for Shard::sync().
  Status sync_joint(const Shard* asking);

  // What a follower takes over from its leader when it is created.
  struct Origin {
    Shape shape;
    std::uint32_t shard_count = 1;
    std::uint32_t shard_prefix_bits = 0;
    std::uint64_t hash_seed = 0;
    store::StoreId lineage{};
  };
#if defined(ARMDB_OMIT_REPLICATION)
  [[nodiscard]] static constexpr bool follower() noexcept { return false; }
#else
  [[nodiscard]] bool follower() const noexcept {
    return refuses_.load(std::memory_order_acquire) && !config_.read_only;
  }

  // ---- Replication ----

  // Makes an empty follower; key_exists when there is a collection.
  static Status create_follower(const std::string& path, const FixedConfig& config,
                                const Origin& origin);
  [[nodiscard]] Origin origin() const;
  [[nodiscard]] store::ReplicaState replica_state() const;
  // Where a term that begins now begins, per shard: behind what the opening found when nobody led
  // or followed since then, for what a crash took may have stood where this one has written.
  [[nodiscard]] std::vector<std::uint64_t> term_starts() const;
  // Durable when it returns ok; from then on the collection is a follower or not, as it says.
  Status save_replica_state(store::ReplicaState state);
  // From here on it refuses writes: it found out that there is a newer leader.
  void demote() noexcept { refuses_.store(true, std::memory_order_release); }
  // One at a time applies what a leader ships, or ends that; false: another one does.
  [[nodiscard]] bool begin_following() noexcept {
    return !following_.exchange(true, std::memory_order_acq_rel);
  }
  // The same of those who ship it.
  [[nodiscard]] bool begin_serving() noexcept {
    return !serving_.exchange(true, std::memory_order_acq_rel);
  }
  void end_serving() noexcept { serving_.store(false, std::memory_order_release); }
  void end_following() noexcept { following_.store(false, std::memory_order_release); }
  [[nodiscard]] TapList& taps() noexcept { return common_.taps; }
  // A batch over several shards as the leader wrote it; all or nothing, also after a crash.
  Status apply_joint(std::span<Shard::JointWrite> parts);

  // How far a shard is in the history: its last sequence; of slots that follow, by the leader's
  // numbers. The rest is of the Fixed store only, and does nothing on the other one.
  [[nodiscard]] std::uint64_t position(std::uint32_t at) const;
  [[nodiscard]] store::Cursor cursor(std::uint32_t at) const;
  // Leader: before it serves; numbers that nobody knows the beginning of begin anew.
  Status begin_numbering();
  // Follower: durably counts as a leader does, above all it had of another one; then, once
  // db.replica says that it leads, no more by a cursor. Nobody writes meanwhile, and all is synced.
  Status begin_own_numbering();
  void end_counting_by_cursor();
  // Follower: in memory only.
  void move_cursor(std::uint32_t at, std::uint64_t position, std::uint64_t reached);
  // Before states are applied that may be as late as that. Durable when it returns ok.
  Status reach(std::uint32_t at, std::uint64_t sequence);
  // Writes down what the cursors speak for, right after a sync of the shards. `quiet`: nothing more
  // is on its way; durably.
  Status save_positions(bool quiet);
  // The shard's next copy has to tell all; with `all` it has reached nothing either.
  Status forget(std::uint32_t at, bool all);
  // See Shard::keep_aside().
  Status keep_aside(std::uint32_t at);
#endif

  // Erases what has expired, shard after shard; see Shard::sweep(). Goes on where it stopped.
  Result<std::uint64_t> sweep(std::uint64_t budget);
  // Asks `decide` about every entry that was there when the migration to `to_version` began, and
  // was not asked about before a crash. See Collection::migrate().
  struct MigrationCalls {
    // Fills in the write that `change` then asks for; an object's reference is taken over.
    FunctionRef<Status(const store::RecoveredEntry&, WriteRequest&, bool& change)> decide;
    FunctionRef<bool(const MigrationProgress&)> report;  // false stops
  };
  Status migrate(std::uint32_t to_version, MigrationCalls calls);
  [[nodiscard]] std::uint32_t data_version() const;
  Status checkpoint();
  Status warmup();
  Result<VerifyReport> verify();
  Status compact();
  Result<bool> compact_step(std::uint64_t budget);
  // See Collection.
  Status rotate_key(const EncryptionKey& from, const EncryptionKey& to);
  Status reencrypt(const EncryptionKey& key);
  Status backup_to(const std::string& path, const EncryptionKey& key, Cipher cipher);
  Status close();

  [[nodiscard]] bool closed() const noexcept { return closed_.load(std::memory_order_acquire); }
  [[nodiscard]] const Shape& shape() const noexcept { return shape_; }
  [[nodiscard]] const FixedConfig& config() const noexcept { return config_; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] base::EpochDomain& epochs() const noexcept { return epochs_; }
  // Null where values are not kept decoded.
  [[nodiscard]] const detail::ObjectOps* objects() const noexcept { return common_.objects; }
  [[nodiscard]] const Router& router() const noexcept { return router_; }
  [[nodiscard]] std::uint32_t shard_count() const noexcept { return router_.shard_count(); }
  [[nodiscard]] Shard& shard(std::uint32_t at) const noexcept { return *shards_[at]; }
  [[nodiscard]] std::size_t size() const noexcept;
  // The smallest of the shards' durable sequences does not compare between shards; this is the
  // one of the shard that `key` belongs to.
  [[nodiscard]] std::uint64_t durable_sequence(std::uint32_t at) const noexcept {
    return shards_[at]->durable_sequence();
  }
  [[nodiscard]] Stats stats() const;

 private:
  Engine(std::string path, const FixedConfig& config)
      : path_(std::move(path)),
        config_(without_key(config))
#if !defined(ARMDB_OMIT_REPLICATION)
        ,
        refuses_(config.read_only),
        cursor_file_(plain_files(), path_)
#endif
  {
    common_.engine = this;
  }
  // Only Opening needs it.
  static FixedConfig without_key(FixedConfig config) {
    config.encryption_key.wipe();
    return config;
  }
  friend class Opening;

  // As they lie on disk; and decrypted, where they are encrypted.
  [[nodiscard]] FileSystem& plain_files() const {
    return config_.file_system == nullptr ? posix_file_system() : *config_.file_system;
  }
  [[nodiscard]] FileSystem& files() const {
    return keyring_ == nullptr ? plain_files() : keyring_->sealed_files();
  }
  // Writes db.state when it says something new.
  Status save_state() ARMDB_REQUIRES(state_mutex_);
  Status save_floor();
  [[nodiscard]] bool refuses() const noexcept {
#if defined(ARMDB_OMIT_REPLICATION)
    return config_.read_only;
#else
    return refuses_.load(std::memory_order_relaxed);
#endif
  }
  Status refuse_write() const;
  Status write_groups(std::span<const BytesPair> pairs, bool erase, std::uint64_t expiry_ms,
                      std::uint64_t& done);
  Status refuse_change() const;  // or that it is closed
#if defined(ARMDB_OMIT_REPLICATION)
  Status refuse_upkeep() const { return refuse_change(); }
#else
  Status refuse_upkeep() const;  // read_only, but not a follower
#endif
  Status refuse_compaction() const;
  Status refuse_batch() const;
  Status refuse_keys() const;
  Status mark_joint() ARMDB_REQUIRES(joint_mutex_);
  Status migrate_all(std::uint32_t to_version, MigrationCalls calls);
  Status begin_migration(std::uint32_t to_version, std::span<const std::uint64_t> starts)
      ARMDB_REQUIRES(state_mutex_);
  Status migrate_shard(std::uint32_t at, MigrationProgress& progress, MigrationCalls calls);

  Status copy_to(const std::string& path, const EncryptionKey& key, Cipher cipher);
  Status refuse_if_closed() const;
  Status on_all_shards(FunctionRef<Status(Shard&)> what);

  const std::string path_;
  const FixedConfig config_;  // of a Bitcask store only the part that is Config
  Shape shape_;
  store::Description description_;
  Router router_;
  Owned<FileLock> lock_;
  std::unique_ptr<store::Keyring> keyring_;  // before the shards end; null: in the clear
  mutable base::EpochDomain epochs_;
  Common common_;
  std::vector<std::unique_ptr<Shard>> shards_;  // before epochs_ ends
  base::Mutex joint_mutex_;  // one joint batch at a time, and none while tickets are taken
  bool joint_marked_ ARMDB_GUARDED_BY(joint_mutex_) = false;
  base::Mutex sweep_mutex_;
  std::uint32_t sweep_shard_ ARMDB_GUARDED_BY(sweep_mutex_) = 0;
  std::uint64_t sweep_cursor_ ARMDB_GUARDED_BY(sweep_mutex_) = 0;
  base::Mutex migration_mutex_;  // one migration at a time
  base::Mutex renewal_mutex_;    // one renewal of keys at a time
  mutable base::Mutex state_mutex_;
  store::CollectionState state_ ARMDB_GUARDED_BY(state_mutex_);
  bool state_changed_ ARMDB_GUARDED_BY(state_mutex_) = false;
  std::atomic<bool> closed_{false};
#if !defined(ARMDB_OMIT_REPLICATION)
  std::atomic<bool> refuses_;  // opened read_only, or a follower
  std::atomic<bool> following_{false};
  std::atomic<bool> serving_{false};
  // While the shards are opened: notes in db.replica that this one has to be copied anew, should it
  // follow. Nothing where the collection was never replicated.
  Status on_loss(std::uint32_t shard) override;
  Status begin_copy_anew(std::uint32_t shard);
  Status count_by_cursor();
  Status save_cursors(bool durable) ARMDB_REQUIRES(cursor_io_mutex_);
  void settle_cursors();

  // Order: replica_mutex_, this, cursor_mutex_, which no file is written under.
  base::Mutex cursor_io_mutex_;
  store::CursorFile cursor_file_ ARMDB_GUARDED_BY(cursor_io_mutex_);
  store::Cursors saved_cursors_ ARMDB_GUARDED_BY(cursor_io_mutex_);  // as they are in the file
  bool cursors_known_ ARMDB_GUARDED_BY(cursor_io_mutex_) = false;    // the file said something
  bool positions_durable_ ARMDB_GUARDED_BY(cursor_io_mutex_) = false;
  mutable base::Mutex cursor_mutex_;
  std::vector<store::Cursor> cursors_ ARMDB_GUARDED_BY(cursor_mutex_);
  bool counts_by_cursor_ ARMDB_GUARDED_BY(cursor_mutex_) = false;  // it follows
  mutable base::Mutex replica_mutex_;
  store::ReplicaState replica_ ARMDB_GUARDED_BY(replica_mutex_);
  // The last sequences of the shards, until the state above is saved.
  std::vector<std::uint64_t> opened_at_ ARMDB_GUARDED_BY(replica_mutex_);
#endif
  std::atomic<std::uint64_t> ticked_ms_{0};
  std::atomic<std::uint32_t> compact_next_{0};  // the shard a compact_step() turns to
};

}  // namespace armdb::engine

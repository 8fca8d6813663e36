// Opening a collection: settings, directory, lock, db.meta, then the shards side by side.
#include <algorithm>
#include <cstring>
#include <new>

#include "base/errors.hpp"
#include "base/location.hpp"
#include "base/search.hpp"
#include "base/text.hpp"
#include "engine/engine.hpp"
#include "os/entropy.hpp"
#include "os/thread.hpp"
#include "store/collection_files.hpp"

namespace armdb::engine {

namespace {

std::string shape_text(const Shape& shape) {
  const std::string values =
      shape.payload == Payload::location ? "any length" : base::text("% bytes", {shape.value_size});
  return base::text(
      "a % with keys of % bytes and values of % on the % store",
      {shape.ordered ? "tree" : "map", shape.key_size, values, shape.fixed ? "Fixed" : "Bitcask"});
}

Status bad_setting(std::string_view name, std::string_view range) {
  return base::failure(Errc::invalid_argument, "Config::% must be %", {name, range});
}

Status check_config(const FixedConfig& config) {
  if (config.sync_batch_size == 0) return bad_setting("sync_batch_size", "1 at least");
  if (config.shard_count > 256) return bad_setting("shard_count", "0 to 256");
  if (config.max_file_size < (std::uint64_t{64} << 10) ||
      config.max_file_size > (std::uint64_t{16} << 30)) {
    return bad_setting("max_file_size", "64 KiB to 16 GiB");
  }
  if (config.write_buffer_size < (16u << 10) || config.write_buffer_size > (64u << 20)) {
    return bad_setting("write_buffer_size", "16 KiB to 64 MiB");
  }
  if (config.write_buffer_size % 8 != 0) return bad_setting("write_buffer_size", "a multiple of 8");
  if (!(config.compaction_threshold >= 0.01 && config.compaction_threshold <= 1)) {
    return bad_setting("compaction_threshold", "0.01 to 1");
  }
  if (config.index_step_bytes < (4u << 10) || config.index_step_bytes > (64u << 20)) {
    return bad_setting("index_step_bytes", "4 KiB to 64 MiB");
  }
  return {};
}

Status check_shape(const Shape& shape, const Config& config) {
  if (shape.key_size == 0 || shape.key_size > 1024) {
    return Status(Errc::invalid_argument, "keys must have 1 to 1024 bytes");
  }
  if (shape.payload == Payload::value && shape.value_size > (64u << 10)) {
    return Status(Errc::invalid_argument,
                  "values kept in memory can have 65536 bytes; use a VarTree or VarMap");
  }
  if (shape.payload == Payload::location && shape.value_size != 0) {
    return Status(Errc::invalid_argument, "values kept on disk have any size: value_size is 0");
  }
  if (config.shard_prefix_bits > 8 * shape.key_size) {
    return bad_setting("shard_prefix_bits",
                       base::text("0 to the % bits of a key", {std::uint64_t{8} * shape.key_size}));
  }
  return {};
}

}  // namespace

// The steps of opening; what was made so far is undone by the destructors.
class Opening {
 public:
  Opening(const std::string& path, const Shape* shape, const FixedConfig& config,
          Engine::Parts parts, const Engine::Origin* origin = nullptr)
      : shape_(shape),
        origin_(origin),
        parts_(std::move(parts)),
        key_(config.encryption_key),
        engine_(new (std::nothrow) Engine(path, config)) {}
  ~Opening() {
    key_.wipe();
    if (engine_ != nullptr) engine_->closed_.store(true);  // it failed: nothing to write back
  }

  Result<std::unique_ptr<Engine>> run() {
    if (engine_ == nullptr) return base::out_of_memory("no memory to open a collection");
    base::Mutex::set_processors(os::hardware_threads());
    Status status = store::Keyring::check(key_);
    if (status.ok()) status = check_config(engine_->config_);
    if (status.ok() && shape_ != nullptr) status = check_shape(*shape_, engine_->config_);
    if (status.ok()) status = open_collection().at(engine_->path_);
    if (status.ok() && engine_->common_.hook && engine_->common_.hook->needs_init) {
      for (const auto& shard : engine_->shards_) {
        if (status.ok()) status = shard->tell_hook();
      }
    }
    if (!status.ok()) return status;
    return std::move(engine_);
  }

 private:
  FileSystem& files() const { return engine_->plain_files(); }

  [[nodiscard]] bool may_create() const {
    return !engine_->config_.read_only && engine_->config_.create && shape_ != nullptr;
  }
  static Status none() {
    return Status(Errc::not_found, "there is no collection at this path (no db.meta)");
  }

  // What goes wrong here is told with the path, where no file is named.
  Status open_collection() {
    Status status = lock_directory();
    if (status.ok()) status = read_or_create_meta();
    if (status.ok()) status = read_state();
#if !defined(ARMDB_OMIT_REPLICATION)
    if (status.ok()) status = read_replica_state();
#else
    // What is written here without its terms would be taken for a part of its leader's history.
    if (status.ok() && !engine_->config_.read_only &&
        store::was_replicated(files(), engine_->path_)) {
      status =
          Status(Errc::unsupported, "replicated: open it read_only, or build with replication");
    }
#endif
    if (status.ok()) status = open_shards();
#if !defined(ARMDB_OMIT_REPLICATION)
    if (status.ok()) {
      engine_->settle_cursors();
      note_sequences();
    }
#endif
    if (!status.ok() && creating_) {
      store::undo_creation(files(), engine_->path_);
      if (made_) store::try_remove(files(), engine_->path_);
    }
    if (status.ok() && meta_.shape.fixed && !known_) status = note_slots();
    return status;
  }

  Status lock_directory() {
    const Config& config = engine_->config_;
    const std::string& path = engine_->path_;
    Result<FileInfo> info = files().info(path);
    // A link to the directory is as good.
    if (info.ok() && info->kind == FileKind::other) info = files().info(store::path_in(path, "."));
    if (info.ok() && info->kind != FileKind::directory) {
      return Status(Errc::invalid_argument, "the path is not a directory; a collection is one");
    }
    if (!info.ok()) {
      if (!info.is(Errc::not_found)) return info.status();
      if (!may_create()) return none();
      Status status = files().create_directory(path);
      if (!status.ok()) return status;
      made_ = true;
    }
    static_cast<void>(store::look_if_empty(files(), path, {}, empty_));
    Result<Owned<FileLock>> lock = files().lock(
        store::lock_path(path), config.read_only ? LockMode::shared : LockMode::exclusive);
    // A store on a read-only medium may have no lock file, and no writer either.
    if (!lock.ok() && !(config.read_only && lock.is(Errc::not_found))) {
      return std::move(lock).status().at(store::lock_path(path));
    }
    if (lock.ok()) engine_->lock_ = std::move(*lock);
    return {};
  }

  Status read_or_create_meta() {
    Status status = store::read_description(files(), engine_->path_, meta_);
    if (status.is(Errc::not_found)) {
      if (!may_create()) return none();
      creating_ = empty_;
      status = create();
    } else if (status.ok() && !engine_->config_.read_only) {
      status = store::settle_description(files(), engine_->path_);
    }
    if (status.ok()) status = check_against_meta();
    if (status.ok() && engine_->keyring_ == nullptr) status = settle_keyring(false);
    // The db.keys that was read may have its name in the page cache only, where a process was
    // killed as it replaced it; what is sealed from now on must not outlive its key.
    if (status.ok() && engine_->keyring_ != nullptr && !engine_->config_.read_only) {
      status = files().sync_directory(engine_->path_);
    }
    if (!status.ok()) return status;
    engine_->shape_ = meta_.shape;
    engine_->description_ = meta_;
    engine_->router_ = Router(meta_.shard_count, meta_.shard_prefix_bits, meta_.hash_seed);
    return {};
  }

  Status create() {
    const Config& config = engine_->config_;
    meta_.shape = *shape_;
    meta_.shard_count = config.shard_count != 0 ? config.shard_count : os::busy_threads();
    meta_.shard_prefix_bits = config.shard_prefix_bits;
    std::uint8_t random[24];
    Status status = os::random_bytes(random);
    if (!status.ok()) return status;
    std::memcpy(meta_.store_id.data(), random, 16);
    std::memcpy(&meta_.hash_seed, random + 16, 8);
#if !defined(ARMDB_OMIT_REPLICATION)
    if (origin_ != nullptr) {
      meta_.shard_count = origin_->shard_count;
      meta_.shard_prefix_bits = origin_->shard_prefix_bits;
      meta_.hash_seed = origin_->hash_seed;
    }
#endif
    status = settle_keyring(true);  // seals all of the above
#if !defined(ARMDB_OMIT_REPLICATION)
    // What a creation that was cut short has left speaks of another store id.
    if (status.ok() && origin_ == nullptr) store::forget_replication(files(), engine_->path_);
    // Before db.meta, which makes it a collection: it is a follower from its first moment.
    if (status.ok() && origin_ != nullptr) {
      store::ReplicaState state;
      state.store_id = meta_.store_id;
      state.lineage = origin_->lineage;
      state.follower = true;
      state.replacing = std::vector<std::uint8_t>(meta_.shard_count);
      status = store::replace_replica_state(files(), engine_->path_, state);
    }
#endif
    return status.ok() ? store::create_description(files(), engine_->path_, meta_) : status;
  }

  Status settle_keyring(bool fresh) {
    return store::Keyring::settle(files(), engine_->path_, key_, engine_->config_.cipher, fresh,
                                  meta_, engine_->keyring_);
  }

  Status check_against_meta() const {
    const Config& config = engine_->config_;
    if (shape_ != nullptr && *shape_ != meta_.shape) {
      return base::failure(Errc::shape_mismatch, "the collection is %, but was opened as %",
                           {shape_text(meta_.shape), shape_text(*shape_)});
    }
    Status status = check_number("shard_count", meta_.shard_count, config.shard_count);
    if (!status.ok()) return status;
    return check_number("shard_prefix_bits", meta_.shard_prefix_bits, config.shard_prefix_bits);
  }

  static Status check_number(std::string_view name, std::uint32_t stored, std::uint32_t asked) {
    if (asked == 0 || asked == stored) return {};
    return base::failure(Errc::format_mismatch,
                         "the collection has a % of %, Config asks for %; use 0 to take what is "
                         "stored",
                         {name, stored, asked});
  }

  Status read_state() ARMDB_NO_THREAD_SAFETY_ANALYSIS {
    Engine& engine = *engine_;
    Status status =
        store::read_state(engine.files(), engine.path_, meta_.store_id, engine.state_, &known_);
    if (!status.ok()) return status;
    if (engine.state_.migrating && engine.state_.shards.size() != meta_.shard_count) {
      return base::corrupt("db.state is of a collection with another number of shards");
    }
    engine.common_.clock.raise(engine.state_.clock_floor_ms);
    engine.common_.hook = std::move(parts_.hook);
    engine.common_.objects = parts_.objects;
    engine.joint_marked_ = engine.state_.joint;
    engine.common_.migrating = engine.state_.migrating;
    return {};
  }

#if !defined(ARMDB_OMIT_REPLICATION)
  Status read_replica_state() ARMDB_NO_THREAD_SAFETY_ANALYSIS {
    Engine& engine = *engine_;
    Status status =
        store::read_replica_state(files(), engine.path_, meta_.store_id, engine.replica_);
    if (status.is(Errc::not_found)) return {};
    if (status.ok() && engine.replica_.replacing.size() != meta_.shard_count) {
      status = base::corrupt("db.replica is of a collection with another number of shards");
    }
    if (status.ok() && engine.replica_.follower) engine.refuses_ = true;
    return status;
  }
#endif

#if !defined(ARMDB_OMIT_REPLICATION)
  void note_sequences() ARMDB_NO_THREAD_SAFETY_ANALYSIS {
    engine_->opened_at_ = engine_->term_starts();
  }
#endif

  // From here on a slots.dat that is missing was lost: db.state is there.
  Status note_slots() ARMDB_NO_THREAD_SAFETY_ANALYSIS {
    if (engine_->config_.read_only) return {};
    engine_->state_changed_ = true;
    return engine_->save_state();
  }

  [[nodiscard]] [[gnu::noinline]] store::StoreContext context_of(std::size_t at) const {
    const auto shard = static_cast<std::uint32_t>(at);
    store::StoreContext context{engine_->files(),
                                engine_->config_,
                                engine_->epochs_,
                                store::shard_path(engine_->path_, shard),
                                meta_.store_id,
                                shard,
                                meta_.shard_count,
                                meta_.shape,
                                engine_->common_.objects != nullptr,
                                engine_->keyring_.get(),
                                engine_->follower()};
#if !defined(ARMDB_OMIT_REPLICATION)
    // A crash may have come between the MANIFEST of a copy and the names of what it replaced.
    {
      const base::MutexLock lock(engine_->replica_mutex_);  // another shard may tell of a loss
      const std::vector<std::uint8_t>& replacing = engine_->replica_.replacing;
      context.keep_replaced = at < replacing.size() && replacing[at] == format::kAwaitsCopyAside;
    }
    context.losses = engine_.get();
#endif
    return context;
  }

  // Beside each other where there are processors; the first error wins.
  Status on_each_shard(FunctionRef<Status(std::size_t)> what) const {
    return os::run_all(meta_.shard_count, os::busy_threads(), what);
  }

  Status open_shards() {
    std::vector<Shard::Opening> openings(meta_.shard_count);
    const FixedConfig& config = engine_->config_;
    for (Shard::Opening& opening : openings) {
      opening.hash_seed = meta_.hash_seed;
      opening.slots.create = !known_;
      opening.slots.copies = config.single_copy ? 1 : 2;
      opening.slots.stage_bytes = config.write_buffer_size;
      opening.slots.grow_step_bytes = config.grow_step;
      opening.slots.sync_batch = config.enable_fsync ? config.sync_batch_size : 0;
    }
    // Only after a crash, and where batches over several shards were written.
    if (meta_.shard_count > 1 && marked_joint()) {
      std::vector<store::Survey> surveys(meta_.shard_count);
      Status status = on_each_shard(
          [&](std::size_t at) { return store::LogStore::survey(context_of(at), surveys[at]); });
      if (!status.ok()) return status;
      judge_joint_batches(surveys, openings);
    }
    engine_->shards_ = std::vector<std::unique_ptr<Shard>>(meta_.shard_count);
    return on_each_shard([&](std::size_t at) {
      return Shard::open(context_of(at), engine_->common_, openings[at], engine_->shards_[at]);
    });
  }

  [[nodiscard]] bool marked_joint() const ARMDB_NO_THREAD_SAFETY_ANALYSIS {
    return engine_->state_.joint;
  }

  // A joint batch counts when every shard has its part. Dropping one cuts a shard short, which
  // may drop others: again, until nothing changes.
  static void judge_joint_batches(std::span<const store::Survey> surveys,
                                  std::span<Shard::Opening> openings) {
    const auto lacks = [&](const store::JointPart& part) {
      if (part.shard >= surveys.size()) return true;
      const store::Survey& survey = surveys[part.shard];
      return part.last_sequence > survey.durable_sequence &&
             (part.last_sequence > survey.last_sequence ||
              part.last_sequence >= openings[part.shard].sequence_limit);
    };
    for (bool changed = true; changed;) {
      changed = false;
      for (std::size_t at = 0; at < surveys.size(); ++at) {
        Shard::Opening& opening = openings[at];
        opening.joint_last = 0;
        for (const store::JointBatch& joint : surveys[at].joints) {
          if (joint.last_sequence <= surveys[at].durable_sequence) continue;
          if (joint.first_sequence >= opening.sequence_limit) continue;
          opening.joint_last = joint.last_sequence;
          if (!base::any_of(joint.parts, lacks)) continue;
          opening.sequence_limit = joint.first_sequence;
          changed = true;
        }
      }
    }
  }

  const Shape* shape_;
  const Engine::Origin* origin_;  // of a new follower, or null
  Engine::Parts parts_;
  EncryptionKey key_;
  std::unique_ptr<Engine> engine_;
  store::Description meta_;
  bool known_ = false;     // there is a db.state
  bool made_ = false;      // the directory, by this call
  bool empty_ = false;     // it was, before this call
  bool creating_ = false;  // and no one else did
};

// ---- Keys ----

Status Engine::refuse_keys() const {
  Status status = refuse_upkeep();
  if (!status.ok() || keyring_ != nullptr) return status;
  return Status(Errc::format_mismatch, "the collection is not encrypted").at(path_);
}

#if ARMDB_WITH_OPENSSL

Status Engine::rotate_key(const EncryptionKey& from, const EncryptionKey& to) {
  Status status = refuse_keys();
  if (status.ok()) status = store::Keyring::check(to);
  return status.ok() ? keyring_->rotate(from, to) : status;
}

Status Engine::reencrypt(const EncryptionKey& key) {
  Status status = refuse_keys();
  if (!status.ok()) return status;
  const base::MutexLock renewal(renewal_mutex_);
  status = keyring_->begin_renewal(key);
  for (std::size_t at = 0; status.ok() && at < shards_.size(); ++at) {
    status = shards_[at]->renew_keys();
  }
  if (status.ok()) {
    const base::MutexLock lock(state_mutex_);
    state_changed_ = true;
    status = save_state();
  }
  return status.ok() ? keyring_->end_renewal(key) : status;
}

#else

Status Engine::rotate_key(const EncryptionKey&, const EncryptionKey&) { return refuse_keys(); }

Status Engine::reencrypt(const EncryptionKey&) { return refuse_keys(); }

#endif  // ARMDB_WITH_OPENSSL

Result<std::unique_ptr<Engine>> Engine::open(const std::string& path, const Shape* shape,
                                             const FixedConfig& config, Parts parts) {
  if (path.empty()) return Status(Errc::invalid_argument, "the path of a collection is empty");
  // Without slashes at the end: what stands before the last one is then the parent.
  std::size_t size = path.size();
  while (size > 1 && path[size - 1] == '/') --size;
  return Opening(path.substr(0, size), shape, config, std::move(parts)).run();
}

#if !defined(ARMDB_OMIT_REPLICATION)
Status Engine::create_follower(const std::string& path, const FixedConfig& config,
                               const Origin& origin) {
  FixedConfig plain = config;
  plain.shard_count = 0;  // the leader's
  plain.shard_prefix_bits = 0;
  FileSystem& files = config.file_system == nullptr ? posix_file_system() : *config.file_system;
  store::Description there;
  if (store::read_description(files, path, there).ok()) {
    return Status(Errc::key_exists, "there is a collection at this path already").at(path);
  }
  return Opening(path, &origin.shape, plain, {}, &origin).run().status();
}
#endif

}  // namespace armdb::engine

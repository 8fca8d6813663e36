// Migration: asks about every entry once, in the order of the logs, and remembers how far it came.
//
// Entries are told apart by their sequences. What is written after the migration began has a
// higher one than any that was there: a migrated entry, or one that the program put in the new
// form, is never asked about, and what a crash took is asked about again. db.state keeps, per
// shard, where the migration began and up to where its results are durable.
#include "base/errors.hpp"
#include "engine/engine.hpp"

namespace armdb::engine {

namespace {

constexpr std::uint64_t kEntriesPerReport = 1024;

}  // namespace

std::uint32_t Engine::data_version() const {
  const base::MutexLock lock(state_mutex_);
  return state_.data_version;
}

Status Engine::migrate(std::uint32_t to_version, MigrationCalls calls) {
  Status status = refuse_change();
  if (!status.ok()) return status;
  const base::MutexLock turn(migration_mutex_);
  common_.migrating = true;
  for (const auto& shard : shards_) shard->wait_for_care();
  status = migrate_all(to_version, calls);
  const base::MutexLock lock(state_mutex_);
  common_.migrating = state_.migrating;
  return status;
}

Status Engine::migrate_all(std::uint32_t to_version, MigrationCalls calls) {
  // What is written from here on is new. Durable before it is stored: sequences that a power cut
  // takes back are given out again.
  std::vector<std::uint64_t> starts(shard_count());
  for (std::uint32_t at = 0; at < shard_count(); ++at) starts[at] = shards_[at]->last_sequence();
  Status status = sync();
  if (!status.ok()) return status;
  {
    const base::MutexLock lock(state_mutex_);
    if (state_.migrating && state_.migrating_to != to_version) {
      return base::failure(Errc::invalid_argument,
                           "a migration to version % was begun and not finished; finish it "
                           "first",
                           {state_.migrating_to})
          .at(path_);
    }
    if (!state_.migrating && to_version != 0 && state_.data_version >= to_version) return {};
    if (!state_.migrating) status = begin_migration(to_version, starts);
    if (!status.ok()) return status;
  }
  MigrationProgress progress;
  progress.entries = size();
  for (std::uint32_t at = 0; at < shard_count(); ++at) {
    status = migrate_shard(at, progress, calls);
    if (!status.ok()) return status;
  }
  static_cast<void>(calls.report(progress));
  const base::MutexLock lock(state_mutex_);
  state_.migrating = false;
  state_.data_version = std::max(state_.data_version, to_version);
  state_.migrating_to = 0;
  state_.shards.clear();
  state_changed_ = true;
  return save_state();
}

Status Engine::begin_migration(std::uint32_t to_version, std::span<const std::uint64_t> starts) {
  state_.migrating = true;
  state_.migrating_to = to_version;
  state_.shards = std::vector<format::MigrationShard>(shard_count());
  for (std::uint32_t at = 0; at < shard_count(); ++at) {
    state_.shards[at] = {starts[at], 0};
  }
  state_changed_ = true;
  Status status = save_state();
  if (!status.ok()) {
    state_.migrating = false;
    state_.migrating_to = 0;
    state_.shards.clear();
  }
  return status;
}

Status Engine::migrate_shard(std::uint32_t at, MigrationProgress& progress, MigrationCalls calls) {
  Shard& shard = *shards_[at];
  std::uint64_t done = 0;
  std::uint64_t start = 0;
  {
    const base::MutexLock lock(state_mutex_);
    done = state_.shards[at].done_sequence;
    start = state_.shards[at].start_sequence;
  }
  if (done >= start) return {};
  const auto visit = [&](const store::RecoveredEntry& entry) -> Status {
    WriteRequest request;
    request.key = entry.key;
    request.when = When::unmoved;
    request.seen = entry.at;
    request.keep_expiry = true;
    bool change = false;
    Status status = calls.decide(entry, request, change);
    if (status.ok() && change) {
      request.hash = router_.hash(request.key.data(), request.key.size());
      status = shard.write(request);
      if (status.ok()) ++(request.erase ? progress.erased : progress.updated);
      // Overwritten meanwhile: whoever did that wrote the new form.
      if (status.is(Errc::value_mismatch)) status = {};
    }
    if (request.object != nullptr) detail::unshare(request.object);
    if (++progress.seen % kEntriesPerReport == 0 && status.ok() && !calls.report(progress)) {
      status = Status(Errc::aborted, "the migration was stopped; call migrate() again to go on");
    }
    return status;
  };
  return shard.visit_log(done, start, visit, [&](std::uint64_t sequence) {
    const base::MutexLock lock(state_mutex_);
    state_.shards[at].done_sequence = sequence;
    state_changed_ = true;
    return save_state();
  });
}

}  // namespace armdb::engine

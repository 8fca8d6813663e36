// The collection's part in replication: who it is, and writes that concern several shards.
#include "base/log.hpp"
#include "engine/engine.hpp"
#include "store/manifest_file.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::engine {

Engine::Origin Engine::origin() const {
  Origin origin;
  origin.shape = shape_;
  origin.shard_count = description_.shard_count;
  origin.shard_prefix_bits = description_.shard_prefix_bits;
  origin.hash_seed = description_.hash_seed;
  origin.lineage = replica_state().lineage;
  return origin;
}

// One that was never replicated is the beginning of its own lineage.
store::ReplicaState Engine::replica_state() const {
  const base::MutexLock lock(replica_mutex_);
  store::ReplicaState state = replica_;
  if (!state.replacing.empty()) return state;
  state.store_id = state.lineage = description_.store_id;
  state.replacing = std::vector<std::uint8_t>(shard_count());
  return state;
}

Status Engine::refuse_upkeep() const {
  Status status = refuse_if_closed();
  return status.ok() && config_.read_only ? refuse_write() : status;
}

std::vector<std::uint64_t> Engine::term_starts() const {
  {
    const base::MutexLock lock(replica_mutex_);
    if (!opened_at_.empty()) return opened_at_;
  }
  std::vector<std::uint64_t> lasts;
  for (std::uint32_t at = 0; at < shard_count(); ++at) lasts.push_back(position(at));
  return lasts;
}

// A follower refuses writes before it is known as one, and takes them only after it is not.
Status Engine::save_replica_state(store::ReplicaState state) {
  Status status = refuse_if_closed();
  if (status.ok() && config_.read_only) status = refuse_write();
  if (!status.ok()) return status;
  const base::MutexLock lock(replica_mutex_);
  const bool refused = refuses_.load(std::memory_order_acquire);
  if (state.follower) refuses_.store(true, std::memory_order_release);
  // A write that passed the engine's refusal before would be taken for a part of the leader's
  // history, or come behind the position that is noted here.
  const bool steps_down = state.follower && !replica_.follower;
  for (std::size_t at = 0; steps_down && at < shards_.size(); ++at) {
    shards_[at]->take_own_writes(false);
  }
  // Before db.replica says that it follows: a position of before that time would be believed.
  if (steps_down && shape_.fixed) status = count_by_cursor();
  const bool counted = status.ok();
  if (counted) status = store::replace_replica_state(plain_files(), path_, state);
  if (!status.ok()) {
    // Which of the two a crash would leave is known, unless the rename went half through.
    if (counted && status.is(Errc::failed)) return status;
    if (steps_down) end_counting_by_cursor();
    refuses_.store(refused, std::memory_order_release);
    return status;
  }
  if (!state.follower) {
    end_counting_by_cursor();
    refuses_.store(false, std::memory_order_release);
  }
  replica_ = std::move(state);
  opened_at_.clear();
  return {};
}

// The next opening may find nothing damaged any more, and a follower would still lack something.
Status Engine::on_loss(std::uint32_t shard) {
  const base::MutexLock lock(replica_mutex_);
  if (replica_.replacing.empty()) return {};
  store::ReplicaState state = replica_;
  std::uint8_t& replacing = state.replacing[shard];
  if (replacing == format::kWhole) replacing = format::kHoles;
  if (replacing == format::kUneven) replacing = format::kAwaitsCopy;
  Status status;
  if (replacing != format::kHoles) status = begin_copy_anew(shard);
  if (status.ok() && replacing != replica_.replacing[shard]) {
    status = store::replace_replica_state(plain_files(), path_, state);
    if (status.ok()) replica_ = std::move(state);
  }
  if (!status.ok()) {
    base::log(config_.log, LogLevel::error, "what was lost to damage could not be noted", status);
  }
  return status;
}

Status Engine::apply_joint(std::span<Shard::JointWrite> parts) {
  const base::MutexLock lock(joint_mutex_);
  Status status = mark_joint();
  if (status.ok()) status = Shard::write_joint(parts);
  if (status.ok()) common_.taps.tell();
  return status;
}

}  // namespace armdb::engine

#endif  // !ARMDB_OMIT_REPLICATION

// The engine: calls on one key go to its shard, calls on the collection to all shards.
#include "engine/engine.hpp"

#include <algorithm>

#include "base/insertion_sort.hpp"
#include "os/clock.hpp"
#include "os/thread.hpp"

namespace armdb::engine {

namespace {

// Keys of one get_many or put_many round: their cache misses overlap, and they fit on the stack.
constexpr std::size_t kManyRound = kRunMax;

}  // namespace

Engine::~Engine() {
  static_cast<void>(close());
  // Shards before the epochs that hold what they retired.
  shards_.clear();
}

Status Engine::refuse_if_closed() const {
  if (closed()) return Status(Errc::closed, "the collection was closed").at(path_);
  return {};
}

// Runs on all shards, beside each other where there are processors; the first error wins, and
// the other shards are still done.
Status Engine::on_all_shards(FunctionRef<Status(Shard&)> what) {
  return os::run_all(shards_.size(), os::busy_threads(),
                     [&](std::size_t at) { return what(*shards_[at]); });
}

// ---- One key ----

Status Engine::refuse_write() const {
  if (!refuses()) return {};
#if !defined(ARMDB_OMIT_REPLICATION)
  if (!config_.read_only) {
    return Status(Errc::read_only,
                  "the collection is a follower: write to its leader, or promote() it")
        .at(path_);
  }
#endif
  return Status(Errc::read_only, "the collection was opened read_only").at(path_);
}

Status Engine::refuse_change() const {
  Status status = refuse_if_closed();
  if (status.ok()) status = refuse_write();
  return status;
}

Status Engine::write(WriteRequest& request, bool sync) {
  if (refuses()) return refuse_write();
  Shard& shard = owner(request.key, request.hash);
  Status status = shard.write(request);
  if (status.ok() && sync) status = shard.sync();
  return status;
}

Result<bool> Engine::read(Bytes key, FunctionRef<void(Bytes)> use) const {
  std::uint64_t hash = 0;
  const Shard& shard = owner(key, hash);
  return shard.read(key, hash, use);
}

Result<bool> Engine::read_view(Bytes key, ByteView& out, base::Location* at) const {
  std::uint64_t hash = 0;
  const Shard& shard = owner(key, hash);
  return shard.read_view(key, hash, out, at);
}

std::uint64_t Engine::expiry_of(std::uint64_t ttl_ms) noexcept {
  if (ttl_ms == 0) ttl_ms = config_.default_ttl_ms;
  if (ttl_ms == 0 || ttl_ms == WriteOptions::kForever) return 0;
  const std::uint64_t now = common_.clock.now_ms();
  // Now and then, so that the clock that is stored is not far behind what entries say.
  constexpr std::uint64_t kClockStepMs = 1000;
  if (now > common_.clock.floor_ms() + kClockStepMs) common_.clock.raise(now);
  constexpr std::uint64_t kEndOfTime = std::uint64_t{1} << 62;
  return now < kEndOfTime && ttl_ms < kEndOfTime - now ? now + ttl_ms : kEndOfTime;
}

// Each would cost a sync of its own, to have what it changes safe before it changes it in place.
Status Engine::refuse_batch() const {
  if (refuses()) return refuse_write();
  if (!shape_.fixed) return {};
  return Status(Errc::unsupported, "batches and atomic() need the log: use the Bitcask store")
      .at(path_);
}

Status Engine::atomic(Bytes key, FunctionRef<Status(Transaction&)> body, bool sync) {
  Status refusal = refuse_batch();
  if (!refusal.ok()) return refusal;
  std::uint64_t hash = 0;
  Shard& shard = owner(key, hash);
  Status status = shard.atomic(body);
  return status.ok() && sync ? shard.sync() : status;
}

// ---- Many keys ----

void Engine::find_many(std::span<BytesLookup> gets) const noexcept {
  index::Lookup lookups[kManyRound];
  std::uint64_t hashes[kManyRound];
  std::uint32_t owners[kManyRound];
  std::uint8_t order[kManyRound];
  while (!gets.empty()) {
    const std::size_t count = std::min(gets.size(), kManyRound);
    for (std::size_t at = 0; at < count; ++at) {
      hashes[at] = router_.hash(gets[at].key, shape_.key_size);
      owners[at] = router_.shard(gets[at].key, shape_.key_size, hashes[at]);
      order[at] = static_cast<std::uint8_t>(at);
    }
    if (shard_count() > 1) {
      base::insertion_sort(order, order + count,
                           [&](std::uint8_t a, std::uint8_t b) { return owners[a] < owners[b]; });
    }
    for (std::size_t at = 0; at < count; ++at) {
      const BytesLookup& get = gets[order[at]];
      lookups[at] = {get.key, hashes[order[at]], get.value, {}, false};
    }
    for (std::size_t first = 0; first < count;) {
      std::size_t last = first + 1;
      while (last < count && owners[order[last]] == owners[order[first]]) ++last;
      shards_[owners[order[first]]]->find_many({lookups + first, last - first});
      first = last;
    }
    for (std::size_t at = 0; at < count; ++at) gets[order[at]].found = lookups[at].found;
    gets = gets.subspan(count);
  }
}

Status Engine::write_many(std::span<const BytesPair> pairs, bool erase, std::uint64_t expiry_ms,
                          std::uint64_t& done) {
  if (refuses()) return refuse_write();
  Status status = write_groups(pairs, erase, expiry_ms, done);
  if (keyring_ != nullptr) {
    for (const auto& shard : shards_) shard->settle();
  }
  return status;
}

Status Engine::write_groups(std::span<const BytesPair> pairs, bool erase, std::uint64_t expiry_ms,
                            std::uint64_t& done) {
  WriteRequest requests[kManyRound];
  std::uint32_t owners[kManyRound];
  const WriteRequest* order[kManyRound];
  while (!pairs.empty()) {
    const std::size_t count = std::min(pairs.size(), kManyRound);
    for (std::size_t at = 0; at < count; ++at) {
      requests[at].key = pairs[at].key;
      requests[at].value = pairs[at].value;
      requests[at].object = pairs[at].object;
      requests[at].erase = erase;
      requests[at].when = erase ? When::present : When::always;
      requests[at].expiry_ms = pairs[at].expires_at_ms != 0 ? pairs[at].expires_at_ms : expiry_ms;
      requests[at].hash = router_.hash(pairs[at].key.data(), pairs[at].key.size());
      owners[at] = router_.shard(pairs[at].key.data(), pairs[at].key.size(), requests[at].hash);
      order[at] = &requests[at];
    }
    const auto owner = [&](const WriteRequest* request) { return owners[request - requests]; };
    // Stable: of two pairs of one key the later one must win.
    base::insertion_sort(order, order + count, [&](const WriteRequest* a, const WriteRequest* b) {
      return owner(a) < owner(b);
    });
    for (std::size_t first = 0; first < count;) {
      std::size_t last = first + 1;
      bool sorted = shape_.ordered && !erase;
      for (; last < count && owner(order[last]) == owner(order[first]); ++last) {
        sorted = sorted && compare_bytes(order[last - 1]->key, order[last]->key) <= 0;
      }
      Shard& shard = *shards_[owner(order[first])];
      const std::span<const WriteRequest* const> group(order + first, last - first);
      Status status = sorted ? shard.put_run(group, done) : shard.put_group(group, done);
      if (!status.ok()) return status;
      first = last;
    }
    pairs = pairs.subspan(count);
  }
  return {};
}

// Requests in the order of their shards, then one batch, or one part for each shard.
Status Engine::write_batch(std::span<WriteRequest> requests, bool sync, bool& written) {
  written = false;
  Status status = refuse_if_closed();
  if (status.ok()) status = refuse_batch();
  if (!status.ok() || requests.empty()) return status;
  std::vector<std::size_t> ends(shard_count() + 1);
  for (WriteRequest& request : requests) {
    request.hash = router_.hash(request.key.data(), request.key.size());
    ++ends[router_.shard(request.key.data(), request.key.size(), request.hash) + 1];
  }
  for (std::size_t at = 1; at < ends.size(); ++at) ends[at] += ends[at - 1];
  std::vector<WriteRequest> sorted(requests.size());
  for (const WriteRequest& request : requests) {
    sorted[ends[router_.shard(request.key.data(), request.key.size(), request.hash)]++] = request;
  }
  std::vector<Shard::JointWrite> all(shard_count());
  std::size_t count = 0;
  std::size_t from = 0;
  for (std::uint32_t at = 0; at < shard_count(); from = ends[at], ++at) {
    if (ends[at] == from) continue;
    all[count++] = {shards_[at].get(), std::span(sorted).subspan(from, ends[at] - from)};
  }
  const std::span<Shard::JointWrite> parts(all.data(), count);
  if (parts.size() == 1) {
    status = parts[0].shard->write_batch(parts[0].requests);
  } else {
    const base::MutexLock lock(joint_mutex_);
    status = mark_joint();
    if (status.ok()) status = Shard::write_joint(parts);
  }
  written = status.ok();
  for (std::size_t at = 0; status.ok() && at < parts.size(); ++at) {
    status = sync ? parts[at].shard->sync() : parts[at].shard->after_batch();
  }
  return status;
}

// A crash may leave parts of joint batches from here on: the next open has to look for them.
Status Engine::mark_joint() {
  if (joint_marked_) return {};
  const base::MutexLock lock(state_mutex_);
  state_changed_ = state_changed_ || !state_.joint;
  state_.joint = true;
  Status status = save_state();
  joint_marked_ = status.ok();
  return status;
}

// ---- All shards ----

std::size_t Engine::size() const noexcept {
  std::size_t size = 0;
  for (const auto& shard : shards_) size += shard->size();
  return size;
}

Status Engine::flush() {
  Status status = refuse_if_closed();
  if (!status.ok() || config_.read_only) return status;
  for (const auto& shard : shards_) {
    Status outcome = shard->flush();
    if (!outcome.ok()) status = std::move(outcome);
  }
  return status;
}

Status Engine::sync() {
  Status status = refuse_if_closed();
  if (!status.ok() || config_.read_only) return status;
  std::vector<Shard*> dirty(shards_.size());
  std::size_t count = 0;
  for (const auto& shard : shards_) {
    if (shard->unsynced()) dirty[count++] = shard.get();
  }
  // A sync waits for the disk, not for a processor: more threads than processors pay.
  return os::run_all(count, 8, [&](std::size_t at) { return dirty[at]->sync(); });
}

Status Engine::tick() {
  const std::uint64_t now = os::monotonic_ms();
  const std::uint64_t last = ticked_ms_.load(std::memory_order_relaxed);
  if (!shape_.fixed || now - last < config_.sync_interval_ms) return refuse_if_closed();
  ticked_ms_.store(now, std::memory_order_relaxed);
  return sync();
}

Status Engine::sync_joint(const Shard* asking) {
  return Shard::sync_bound(shards_, asking, joint_mutex_);
}

Status Engine::checkpoint() {
  Status status = refuse_if_closed();
  if (!status.ok() || config_.read_only) return status;
  status = on_all_shards([](Shard& shard) { return shard.checkpoint(); });
  return status.ok() ? save_floor() : status;
}

Status Engine::save_state() {
  if (!state_changed_) return {};
  Status status = store::replace_state(files(), path_, state_);
  state_changed_ = !status.ok();
  return status;
}

// Where entries expire: what the clock has decided is not taken back after a restart.
Status Engine::save_floor() {
  bool uses_expiry = false;
  for (const auto& shard : shards_) uses_expiry = uses_expiry || shard->uses_expiry();
  if (!uses_expiry) return {};
  common_.clock.raise(common_.clock.now_ms());
  const base::MutexLock lock(state_mutex_);
  state_.clock_floor_ms = common_.clock.floor_ms();
  state_changed_ = true;
  return save_state();
}

Result<std::uint64_t> Engine::sweep(std::uint64_t budget) {
  // The leader erases what has expired.
  if (follower() && !closed()) return std::uint64_t{0};
  Status status = refuse_change();
  if (!status.ok()) return status;
  const base::MutexLock lock(sweep_mutex_);
  std::uint64_t erased = 0;
  for (std::uint32_t tries = 0; tries < shard_count(); ++tries) {
    Result<std::uint64_t> some = shards_[sweep_shard_]->sweep(budget, sweep_cursor_);
#if !defined(ARMDB_OMIT_REPLICATION)
    if (some.is(Errc::read_only)) break;  // it has become a follower
#endif
    if (!some.ok()) return some;
    erased += *some;
    if (sweep_cursor_ != 0) break;
    sweep_shard_ = (sweep_shard_ + 1) % shard_count();
  }
  if (erased != 0) status = save_floor();
  if (!status.ok()) return status;
  return erased;
}

Status Engine::warmup() {
  Status status = refuse_if_closed();
  if (!status.ok()) return status;
  return on_all_shards([](Shard& shard) { return shard.warmup(); });
}

Result<VerifyReport> Engine::verify() {
  Status status = refuse_if_closed();
  if (!status.ok()) return status;
  VerifyReport report;
  const std::uint64_t before = keyring_ == nullptr ? 0 : keyring_->forged();
  for (const auto& shard : shards_) {
    status = shard->verify(report);
    if (!status.ok()) return status;
  }
  if (keyring_ != nullptr) report.forged_pieces = keyring_->forged() - before;
  return report;
}

Status Engine::refuse_compaction() const {
  Status status = refuse_if_closed();
  if (status.ok() && config_.read_only) {
    status = Status(Errc::read_only, "a read_only collection cannot be compacted");
  }
  return status;
}

Status Engine::compact() {
  Status status = refuse_compaction();
  if (!status.ok()) return status;
  const Result<std::uint64_t> swept = sweep(~std::uint64_t{0});
  // A full disk: all the more there is to compact.
  if (!swept.ok() && !swept.is(Errc::no_space)) return swept.status();
  if (shape_.fixed) return on_all_shards([](Shard& shard) { return shard.shrink(); });
  return on_all_shards([](Shard& shard) { return shard.compact(); });
}

// Goes round the shards: one that has nothing to do gives its turn away.
Result<bool> Engine::compact_step(std::uint64_t budget) {
  Status status = refuse_compaction();
  if (status.ok()) status = tick();
  if (!status.ok()) return status;
  constexpr std::uint64_t kSweepPerStep = 4096;
  const Result<std::uint64_t> swept = sweep(kSweepPerStep);
  if (!swept.ok() && !swept.is(Errc::no_space)) return swept.status();
  for (std::uint32_t tries = 0; tries < shard_count(); ++tries) {
    const std::uint32_t at = compact_next_.load(std::memory_order_relaxed) % shard_count();
    Result<bool> more = shards_[at]->compact_step(budget);
    if (!more.ok()) return more;
    if (*more) return true;
    compact_next_.store(at + 1, std::memory_order_relaxed);
  }
  return false;
}

Status Engine::close() {
  if (closed_.exchange(true, std::memory_order_acq_rel)) {
    return Status(Errc::closed, "the collection was closed before").at(path_);
  }
  Status status = on_all_shards([](Shard& shard) { return shard.close(); });
  if (!config_.read_only && status.ok()) {
    {
      // A batch that slipped in while the shards closed is written, and not synced: the next open
      // looks for it.
      bool bound = false;
      for (const auto& shard : shards_) bound = bound || shard->is_bound();
      const base::MutexLock lock(state_mutex_);
      state_changed_ = state_changed_ || (state_.joint && !bound);
      state_.joint = state_.joint && bound;
      status = save_state();
    }
    if (status.ok()) status = save_floor();
  }
  epochs_.collect();
  lock_.reset();
  return status;
}

Stats Engine::stats() const {
  Stats stats;
  stats.shards = shards_.size();
  stats.written_survives_kill = !config_.read_only;
  for (const auto& shard : shards_) shard->add_stats(stats);
  if (stats.entries != 0) {
    stats.index_bytes_per_key =
        static_cast<double>(stats.index_bytes) / static_cast<double>(stats.entries);
  }
  return stats;
}

}  // namespace armdb::engine

// The engine: calls on one key go to its shard, calls on the collection to all shards.
#include "engine/engine.hpp"

#include <algorithm>

#include "base/insertion_sort.hpp"
#include "os/thread.hpp"

namespace armdb::engine {

namespace {

// Keys of one get_many or put_many round: their cache misses overlap, and they fit on the stack.
constexpr std::size_t kManyRound = 64;

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
  std::vector<Status> outcomes(shards_.size());
  os::run_parallel(shards_.size(), std::min<unsigned>(os::hardware_threads(), 8),
                   [&](std::size_t at) { outcomes[at] = what(*shards_[at]); });
  for (Status& outcome : outcomes) {
    if (!outcome.ok()) return std::move(outcome);
  }
  return {};
}

// ---- One key ----

Status Engine::write(WriteRequest& request, bool sync) {
  if (config_.read_only) {
    return Status(Errc::read_only, "the collection was opened read_only").at(path_);
  }
  request.hash = router_.hash(request.key.data(), request.key.size());
  Shard& shard = *shards_[router_.shard(request.key.data(), request.key.size(), request.hash)];
  Status status = shard.write(request);
  if (status.ok() && sync) status = shard.sync();
  return status;
}

Result<bool> Engine::read(Bytes key, FunctionRef<void(Bytes)> use) const {
  const std::uint64_t hash = router_.hash(key.data(), key.size());
  return shards_[router_.shard(key.data(), key.size(), hash)]->read(key, hash, use);
}

Result<bool> Engine::read_view(Bytes key, ByteView& out) const {
  const std::uint64_t hash = router_.hash(key.data(), key.size());
  return shards_[router_.shard(key.data(), key.size(), hash)]->read_view(key, hash, out);
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

Status Engine::put_many(std::span<const BytesPair> pairs) {
  if (config_.read_only) {
    return Status(Errc::read_only, "the collection was opened read_only").at(path_);
  }
  WriteRequest requests[kManyRound];
  std::uint32_t owners[kManyRound];
  const WriteRequest* order[kManyRound];
  while (!pairs.empty()) {
    const std::size_t count = std::min(pairs.size(), kManyRound);
    index::Lookup lookups[kManyRound];
    for (std::size_t at = 0; at < count; ++at) {
      requests[at].key = pairs[at].key;
      requests[at].value = pairs[at].value;
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
      std::size_t last = first;
      while (last < count && owner(order[last]) == owner(order[first])) {
        lookups[last] = {order[last]->key.data(), order[last]->hash, nullptr, {}, false};
        ++last;
      }
      Shard& shard = *shards_[owner(order[first])];
      // Brings the lines of all these keys into the cache at once, before the lock is taken.
      shard.find_many({lookups + first, last - first});
      Status status = shard.put_group({order + first, last - first});
      if (!status.ok()) return status;
      first = last;
    }
    pairs = pairs.subspan(count);
  }
  return {};
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
  std::vector<Shard*> dirty;
  for (const auto& shard : shards_) {
    if (shard->unsynced()) dirty.push_back(shard.get());
  }
  if (dirty.size() == 1) return dirty.front()->sync();
  std::vector<Status> outcomes(dirty.size());
  // A sync waits for the disk, not for a processor: more threads than processors pay.
  os::run_parallel(dirty.size(), static_cast<unsigned>(std::min<std::size_t>(dirty.size(), 8)),
                   [&](std::size_t at) { outcomes[at] = dirty[at]->sync(); });
  for (Status& outcome : outcomes) {
    if (!outcome.ok()) return std::move(outcome);
  }
  return {};
}

Status Engine::checkpoint() {
  Status status = refuse_if_closed();
  if (!status.ok() || config_.read_only) return status;
  return on_all_shards([](Shard& shard) { return shard.checkpoint(); });
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
  for (const auto& shard : shards_) {
    status = shard->verify(report);
    if (!status.ok()) return status;
  }
  return report;
}

Status Engine::compact() {
  Status status = refuse_if_closed();
  if (!status.ok()) return status;
  if (config_.read_only)
    return Status(Errc::read_only, "a read_only collection cannot be compacted");
  return on_all_shards([&](Shard& shard) -> Status {
    Status sealed = shard.seal();
    // A full disk: all the more there is to compact.
    if (!sealed.ok() && !sealed.is(Errc::no_space)) return sealed;
    for (;;) {
      const Result<bool> more = shard.compact_step(~std::uint64_t{0}, config_.compaction_threshold);
      if (!more.ok()) return more.status();
      if (!*more) return {};
    }
  });
}

// Goes round the shards: one that has nothing to do gives its turn away.
Result<bool> Engine::compact_step(std::uint64_t budget) {
  Status status = refuse_if_closed();
  if (!status.ok()) return status;
  if (config_.read_only)
    return Status(Errc::read_only, "a read_only collection cannot be compacted");
  for (std::uint32_t tries = 0; tries < shard_count(); ++tries) {
    const std::uint32_t at = compact_next_.load(std::memory_order_relaxed) % shard_count();
    const Result<bool> more = shards_[at]->compact_step(budget, config_.compaction_threshold);
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

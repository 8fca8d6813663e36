// The shard as a leader's source and as a follower's copy.
#include <new>

#include "base/append.hpp"
#include "base/errors.hpp"
#include "base/hash64.hpp"
#include "engine/engine.hpp"
#include "engine/shard.hpp"
#include "os/pages.hpp"
#include "store/log_replacement.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::engine {

namespace {

constexpr std::uint64_t kEntriesPerPulse = 1024;

}  // namespace

// A copy of the leader's shard on its way in, and which of its entries count in the end: they are
// shown when all are there, so that no reader sees one that a later one replaces.
struct Shard::Replacement {
  explicit Replacement(store::LogStore& log) : copy(log) {}
  store::LogReplacement copy;
  std::unique_ptr<index::Index> last;  // where the last entry of each key went
};

// ---- Leader ----

Status Shard::feed(store::LogFeed& feed, std::uint64_t limit, std::size_t bytes_max,
                   store::FeedPiece& piece, store::FeedStep& step) {
  step = store::FeedStep::ready;
  {
    const base::MutexLock lock(mutex_);
    Status status = refuse_if_closed();
    if (!status.ok()) return status;
    if (!feed.copying()) step = feed.locate(*log_);
  }
  piece.entries.clear();
  if (step != store::FeedStep::ready) return {};
  Status status = feed.read(limit, bytes_max, piece);
  if (status.ok() && piece.entries.empty()) step = store::FeedStep::end;
  return status;
}

// The limit and the segments of one moment: compaction drops what a durable entry has replaced, and
// with a limit of before that entry a key would be missing from the copy.
std::uint64_t Shard::begin_copy(store::LogFeed& feed) const {
  const base::MutexLock lock(mutex_);
  const std::uint64_t limit = log_->durable_sequence();
  feed.begin_copy(*log_, limit);
  return limit;
}

void Shard::pin(std::uint64_t sequence, std::uint64_t retain_bytes) {
  const base::MutexLock lock(mutex_);
  if (log_ != nullptr) log_->pin(sequence, retain_bytes);
}

// What the next open finds of a segment makes it leave a gap in the sequences, by which followers
// are told from it; so the name of a segment comes before what is in it.
Status Shard::flush_for_feed(std::uint64_t& limit) {
  limit = store_->durable_sequence();
  {
    const base::MutexLock lock(mutex_);
    Status status = store_->flush();
    if (!status.ok()) return status;
    if (log_->names_durable()) {
      limit = store_->last_sequence();
      return status;
    }
  }
  Status status = sync();
  limit = store_->durable_sequence();
  return status;
}

std::uint64_t Shard::bytes_above(std::uint64_t sequence) const {
  const base::MutexLock lock(mutex_);
  if (log_ != nullptr) return log_->bytes_above(sequence);
  const std::uint64_t last = store_->last_sequence();
  const std::uint64_t each = context_.shape.key_size + context_.shape.value_size;
  return last > sequence ? (last - sequence) * each : 0;
}

// ---- Follower: the stream ----

Status Shard::apply(std::uint64_t first, std::span<const WriteRequest> requests, bool batch) {
  const WriteRequest* pointers[kRunMax];
  const std::size_t count = requests.size() < kRunMax ? requests.size() : kRunMax;
  for (std::size_t at = 0; at < count; ++at) pointers[at] = &requests[at];
  fetch({pointers, count});
  {
    const base::MutexLock lock(mutex_);
    Status status = refuse_if_closed();
    if (status.ok()) status = log_->continue_at(first);
    // A hook that wants old values from disk gets them in the way of batches.
    if (status.ok() && (batch || hook_reads())) return write_batch_locked(requests);
    const store::LogStore::Group group(log_);
    for (std::size_t at = 0; status.ok() && at < requests.size(); ++at) {
      index::Place place;
      index_->locate(requests[at].key.data(), requests[at].hash, place);
      status = write_located(requests[at], place, nullptr);
    }
    log_->settle();
    if (!status.ok()) return status;
  }
  return after_write(false);
}

// ---- Follower: a copy in place of everything ----

Status Shard::begin_replacement() {
  std::unique_ptr<Replacement> fresh(new (std::nothrow) Replacement(*log_));
  if (fresh == nullptr) return base::out_of_memory("no memory to take a copy");
  index::IndexConfig config;
  config.key_size = context_.shape.key_size;
  config.step_bytes = context_.config.index_step_bytes;
  config.pages = os::page_source();
  config.hash_seed = seed_;
  fresh->last = index::make_index(config);
  if (fresh->last == nullptr) return base::out_of_memory("no memory to take a copy");
  replacement_ = std::move(fresh);
  return {};
}

void Shard::abandon_replacement() noexcept { replacement_.reset(); }

bool Shard::has_holes() const {
  const base::MutexLock lock(mutex_);
  if (slots_ != nullptr) return !replaced_ && slots_->damaged_slots() != 0;
  const store::RecoveryReport& recovery = log_->recovery();
  return !replaced_ && (recovery.damaged_regions != 0 || recovery.rebuilt);
}

Status Shard::add_to_replacement(std::uint64_t first, const WriteRequest& request) {
  index::Index& last = *replacement_->last;
  base::Location at;
  Status status = replacement_->copy.add(
      {request.key, request.value, request.erase, request.erase ? 0 : request.expiry_ms}, first,
      at);
  if (!status.ok()) return status;
  index::Place place;
  last.locate(request.key.data(), request.hash, place);
  if (!request.erase) {
    if (!place.found && !last.reserve()) return base::out_of_memory("no memory to take a copy");
    last.publish(place, request.key.data(), nullptr, at);
  } else if (place.found) {
    last.erase(place);
  }
  return {};
}

// The MANIFEST is the moment from which on a crash leaves the new content. Readers see each key
// change once, from what it was to what it is in the copy.
Status Shard::finish_replacement(std::uint64_t sequence, std::uint64_t aside_above,
                                 FunctionRef<void()> pulse) {
  const std::shared_ptr<Replacement> job = std::move(replacement_);
  const base::MutexLock maintenance(maintenance_);
  compaction_.reset();  // its sources are about to go
  Status status = keep_failure(job->copy.seal(sequence));
  if (!status.ok()) return status;
  const base::MutexLock turn(sync_mutex_);
  std::vector<std::uint8_t> manifest;
  {
    const base::MutexLock lock(mutex_);
    status = refuse_if_closed();
    if (status.ok()) status = job->copy.publish(manifest);
    if (!status.ok()) return status;
  }
  status = store::LogStore::write_manifest(context_, manifest);
  if (!status.ok() && !status.is(Errc::failed)) {
    const base::MutexLock lock(mutex_);
    Status withdrawn = job->copy.withdraw();
    if (withdrawn.ok()) return status;
    status = std::move(withdrawn);
  }
  if (status.ok()) status = show_replacement(*job, pulse);
  if (status.ok()) status = erase_replaced(*job, pulse);
  if (status.ok()) {
    const base::MutexLock lock(mutex_);
    joint_last_ = 0;
    replaced_ = true;
    status = job->copy.retire();
  }
  if (!status.ok()) return fail(std::move(status));
  status = keep_failure(job->copy.remove(aside_above));
  context_.epochs.collect();
  return status;
}

Status Shard::show_replacement(Replacement& job, FunctionRef<void()> pulse) {
  std::uint64_t shown = 0;
  return job.copy.each([&](const store::RecoveredEntry& entry) -> Status {
    if (++shown % kEntriesPerPulse == 0) pulse();
    WriteRequest request;
    request.key = entry.key;
    request.value = entry.value;
    request.expiry_ms = entry.expiry_ms;
    request.hash = base::hash64(entry.key.data(), entry.key.size(), seed_);
    base::Location last;
    const bool counts = !entry.tombstone &&
                        job.last->find(entry.key.data(), request.hash, &last, nullptr) &&
                        last == entry.at;
    const base::MutexLock lock(mutex_);
    if (!counts) {
      store_->mark_dead(entry.at);
      return {};
    }
    Status status;
    if (common_.objects != nullptr) {
      request.object = common_.objects->decode(entry.value, status);
      if (!status.ok()) return describe(key_status(status, entry.key), entry.at);
    }
    index::Place place;
    index_->locate(entry.key.data(), request.hash, place);
    if ((!place.found && !index_->reserve()) || (entry.expiry_ms != 0 && !expiries_.reserve(1))) {
      status = base::out_of_memory("no memory for the index");
    } else {
      publish_reading_old(request, place, entry.at);
    }
    if (request.object != nullptr) detail::unshare(request.object);
    return status;
  });
}

// What is not in the copy is gone at the leader.
Status Shard::erase_replaced(Replacement& job, FunctionRef<void()> pulse) {
  return each_block([&](index::Block& block) -> Status {
    pulse();
    for (std::size_t at = 0; at < block.count(); ++at) {
      if (job.copy.has(block.location(at))) continue;
      WriteRequest request;
      request.key = Bytes(block.key(at), context_.shape.key_size);
      request.hash = base::hash64(request.key.data(), request.key.size(), seed_);
      request.erase = true;
      const base::MutexLock lock(mutex_);
      index::Place place;
      index_->locate(request.key.data(), request.hash, place);
      if (place.found && !job.copy.has(place.at)) publish_reading_old(request, place, place.at);
    }
    return {};
  });
}

}  // namespace armdb::engine

#endif  // !ARMDB_OMIT_REPLICATION

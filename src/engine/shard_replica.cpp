// The shard as a leader's source and as a follower's copy.
#include <algorithm>
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

constexpr std::size_t kShownBytes = std::size_t{64} << 10;

// Also brings what leads to these keys into the cache, for a writer that goes there next.
void look_up(const index::Index& index, std::span<const WriteRequest> requests,
             index::Lookup* lookups) {
  for (std::size_t at = 0; at < requests.size(); ++at) {
    lookups[at] = {requests[at].key.data(), requests[at].hash, nullptr, {}, false};
  }
  index.find_many({lookups, requests.size()});
}

}  // namespace

// A copy of the leader's shard on its way in, and which of its entries count in the end: they are
// shown when all are there, so that no reader sees one that a later one replaces.
struct Shard::Replacement {
  explicit Replacement(store::LogStore& log) : copy(log) {}
  store::LogReplacement copy;
  std::unique_ptr<index::Index> last;  // where the last entry of each key went
};

// Entries of a copy on their way into the index, some under one lock, their cache misses at once.
struct Shard::ShownRun {
  std::size_t count = 0;
  std::size_t used = 0;
  std::vector<std::uint8_t> bytes = std::vector<std::uint8_t>(kShownBytes);  // keys and values
  WriteRequest requests[kRunMax];
  base::Location at[kRunMax];

  Bytes keep(Bytes from) {
    std::uint8_t* const to = bytes.data() + used;
    if (!from.empty()) std::memcpy(to, from.data(), from.size());
    used += from.size();
    return {to, from.size()};
  }
  void add(const store::RecoveredEntry& entry, bool with_value, std::uint64_t hash) {
    const std::size_t need = entry.key.size() + (with_value ? entry.value.size() : 0);
    if (used + need > bytes.size()) bytes.resize(used + need);  // it is the first one
    WriteRequest& request = requests[count] = {};
    request.key = keep(entry.key);
    if (with_value) request.value = keep(entry.value);
    request.hash = hash;
    request.expiry_ms = entry.expiry_ms;
    request.erase = entry.tombstone;
    at[count++] = entry.at;
  }
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

void Shard::prewrite() ARMDB_NO_THREAD_SAFETY_ANALYSIS {
  store::LogStore::Prewrite part;
  {
    const base::MutexLock lock(mutex_);
    if (log_ == nullptr || !refuse_if_closed().ok() || !log_->begin_prewrite(part)) return;
  }
  log_->end_prewrite(part);
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
  index::Lookup lookups[kRunMax];
  look_up(*index_, requests.first(std::min(requests.size(), kRunMax)), lookups);
  {
    const base::MutexLock lock(mutex_);
    Status status = refuse_if_closed();
    if (status.ok()) status = log_->continue_at(first);
    // A hook that wants old values from disk gets them in the way of batches.
    if (status.ok() && (batch || hook_reads())) return write_batch_locked(requests);
    for (std::size_t at = 0; status.ok() && at < requests.size(); at += kRunMax) {
      status = apply_run(requests.subspan(at, std::min(requests.size() - at, kRunMax)));
    }
    if (!status.ok()) return status;
  }
  return after_write(false);
}

bool Shard::reserve_expiries(std::span<const WriteRequest> run) {
  std::size_t expiring = 0;
  for (const WriteRequest& request : run) expiring += request.expiry_ms != 0 ? 1 : 0;
  return expiring == 0 || expiries_.reserve(expiring);
}

// All of them are where a kill leaves them before a reader sees any: what a follower has shown it
// must not forget, and where entries are sealed that is done for all at once.
Status Shard::apply_run(std::span<const WriteRequest> run) {
  const auto live = std::count_if(run.begin(), run.end(),
                                  [](const WriteRequest& request) { return !request.erase; });
  if (!index_->reserve(static_cast<std::size_t>(live)) || !reserve_expiries(run)) {
    return base::out_of_memory("no memory for the index");
  }
  base::Location at[kRunMax];
  std::size_t count = 0;
  Status status;
  {
    const store::LogStore::Group group(log_);
    for (; count < run.size(); ++count) {
      status = append(run[count], run[count].expiry_ms, {}, at[count]);
      if (!status.ok()) break;
    }
  }
  log_->settle();
  for (std::size_t next = 0; next < count; ++next) {
    index::Place place;
    index_->locate(run[next].key.data(), run[next].hash, place);
    publish(run[next], place, at[next], run[next].expiry_ms, nullptr);
  }
  return status;
}

// ---- Follower: a copy in place of everything ----

Status Shard::begin_replacement(std::size_t expected) {
  std::unique_ptr<Replacement> fresh(new (std::nothrow) Replacement(*log_));
  if (fresh == nullptr) return base::out_of_memory("no memory to take a copy");
  index::IndexConfig config;
  config.key_size = context_.shape.key_size;
  config.step_bytes = context_.config.index_step_bytes;
  config.pages = os::page_source();
  config.hash_seed = seed_;
  fresh->last = index::make_index(config);
  if (fresh->last == nullptr) return base::out_of_memory("no memory to take a copy");
  fresh->last->expect(expected);
  replacement_ = std::move(fresh);
  return {};
}

void Shard::abandon_replacement() noexcept { replacement_.reset(); }

Status Shard::add_to_replacement(std::span<const std::uint64_t> sequences,
                                 std::span<const WriteRequest> requests) {
  ARMDB_ASSERT(requests.size() <= kRunMax && sequences.size() == requests.size());
  index::Index& last = *replacement_->last;
  if (!last.reserve(requests.size())) return base::out_of_memory("no memory to take a copy");
  index::Lookup lookups[kRunMax];
  look_up(last, requests, lookups);
  for (std::size_t next = 0; next < requests.size(); ++next) {
    const WriteRequest& request = requests[next];
    base::Location at;
    Status status = replacement_->copy.add(
        {request.key, request.value, request.erase, request.erase ? 0 : request.expiry_ms},
        sequences[next], at);
    if (!status.ok()) return status;
    index::Place place;
    last.locate(request.key.data(), request.hash, place);
    if (!request.erase) {
      last.publish(place, request.key.data(), nullptr, at);
    } else if (place.found) {
      last.erase(place);
    }
  }
  return {};
}

// The MANIFEST is the moment from which on a crash leaves the new content.
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
  const bool replaces = size() != 0;
  if (status.ok()) status = show_replacement(*job, pulse);
  if (status.ok() && replaces) status = erase_replaced(*job, pulse);
  if (status.ok()) {
    const base::MutexLock lock(mutex_);
    joint_last_ = 0;
    status = job->copy.retire();
  }
  if (!status.ok()) return fail(std::move(status));
  status = keep_failure(job->copy.remove(aside_above));
  context_.epochs.collect();
  return status;
}

Status Shard::show_replacement(Replacement& job, FunctionRef<void()> pulse) {
  if (size() == 0) expect(job.last->size());
  const bool with_values = keeps_bytes() || common_.hook || common_.objects != nullptr;
  ShownRun run;
  Status status = job.copy.each([&](const store::RecoveredEntry& entry) -> Status {
    const std::size_t bytes = entry.key.size() + (with_values ? entry.value.size() : 0);
    Status shown;
    if (run.count == kRunMax || run.used + bytes > run.bytes.size()) {
      pulse();
      shown = show_run(job, run);
    }
    run.add(entry, with_values, base::hash64(entry.key.data(), entry.key.size(), seed_));
    return shown;
  });
  return status.ok() ? show_run(job, run) : status;
}

// Readers see each key change once, from what it was to what it is in the copy.
Status Shard::show_run(Replacement& job, ShownRun& run) {
  const std::span<WriteRequest> requests(run.requests, std::exchange(run.count, 0));
  run.used = 0;
  index::Lookup last[kRunMax];
  look_up(*job.last, requests, last);
  const auto counts = [&](std::size_t at) {
    return !requests[at].erase && last[at].found && last[at].at == run.at[at];
  };
  Status status;
  for (std::size_t at = 0; status.ok() && common_.objects != nullptr && at < requests.size();
       ++at) {
    if (!counts(at)) continue;
    requests[at].object = common_.objects->decode(requests[at].value, status);
    if (!status.ok()) status = describe(key_status(status, requests[at].key), run.at[at]);
  }
  index::Lookup now[kRunMax];
  look_up(*index_, requests, now);
  {
    const base::MutexLock lock(mutex_);
    if (status.ok() && (!index_->reserve(requests.size()) || !reserve_expiries(requests))) {
      status = base::out_of_memory("no memory for the index");
    }
    for (std::size_t at = 0; status.ok() && at < requests.size(); ++at) {
      if (!counts(at)) {
        store_->mark_dead(run.at[at]);
        continue;
      }
      index::Place place;
      index_->locate(requests[at].key.data(), requests[at].hash, place);
      publish_reading_old(requests[at], place, run.at[at]);
    }
  }
  for (const WriteRequest& request : requests) {
    if (request.object != nullptr) detail::unshare(request.object);
  }
  return status;
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

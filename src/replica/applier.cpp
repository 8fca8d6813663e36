// Entries off the wire on their way into the shards, those of large pieces on threads.
#include "replica/applier.hpp"

#include <algorithm>
#include <new>

#include "base/errors.hpp"
#include "format/frame.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::replica {

namespace {

constexpr std::size_t kRunEntries = engine::kRunMax;
// What is shorter is applied before another thread would be awake.
constexpr std::size_t kThreadedBytes = std::size_t{64} << 10;
// Of parts that wait: enough to work on while the caller syncs.
constexpr std::size_t kWaitingPartsMax = std::size_t{8} << 20;

}  // namespace

Status request_of(const engine::Engine& engine, std::uint32_t shard, const format::Entry& entry,
                  engine::WriteRequest& request) {
  const Shape& shape = engine.shape();
  request = {};
  request.key = entry.key;
  request.value = entry.value;
  request.erase = entry.tombstone();
  request.expiry_ms = entry.expiry_ms;
  const bool fits =
      entry.key.size() == shape.key_size && (request.erase || shape.payload == Payload::location ||
                                             entry.value.size() == shape.value_size);
  if (!fits) return base::corrupt("the leader sent an entry of another shape");
  request.hash = engine.router().hash(entry.key.data(), entry.key.size());
  if (engine.router().shard(entry.key.data(), entry.key.size(), request.hash) != shard) {
    return base::corrupt("the leader sent an entry to a shard that its key does not belong to");
  }
  if (engine.objects() == nullptr || request.erase) return {};
  Status status;
  request.object = engine.objects()->decode(entry.value, status);
  return status.ok() ? status : engine::key_status(status, entry.key);
}

Status out_of_place(std::uint64_t before, std::uint64_t last) {
  return base::failure(Errc::corrupt, "the leader goes on behind sequence %, this shard is at %",
                       {before, last});
}

void EntryRun::clear() noexcept {
  for (const engine::WriteRequest& request : requests) {
    if (request.object != nullptr) detail::unshare(request.object);
  }
  requests.clear();
  sequences.clear();
  batch = false;
}

Status parse_run(const engine::Engine& engine, const Part& part, std::size_t& offset,
                 EntryRun& run) {
  run.clear();
  const Bytes all(part.bytes);
  while (offset < all.size()) {
    format::Entry entry;
    std::size_t size = 0;
    const format::EntryRead read =
        format::decode_entry(all.sub(offset, all.size() - offset), format::kWireSeed, entry, size);
    const bool plain = (entry.flags & ~(format::kTombstone | format::kExpiry)) == 0;
    if (read != format::EntryRead::whole || entry.mark() || (part.copy && !plain)) {
      return base::corrupt("the leader sent bytes that are no entries");
    }
    const bool opens = (entry.flags & format::kBatchBegin) != 0;
    const bool commits = (entry.flags & format::kBatchCommit) != 0;
    const bool follows =
        part.copy || run.requests.empty() || entry.sequence == run.first + run.requests.size();
    if (run.batch && (opens || !follows)) {
      return base::corrupt("the leader sent a batch with a hole, or one inside another");
    }
    if (!run.batch && !run.requests.empty() &&
        (opens || !follows || run.requests.size() == kRunEntries)) {
      return {};
    }
    if (run.requests.empty()) run.first = entry.sequence;
    run.batch = run.batch || opens;
    engine::WriteRequest request;
    Status status = request_of(engine, part.shard, entry, request);
    if (!status.ok()) return status;
    run.requests.push_back(request);
    if (part.copy) run.sequences.push_back(entry.sequence);
    offset += size;
    if (run.batch && commits) return {};
  }
  return run.batch ? base::corrupt("the leader sent a batch without its end") : Status();
}

Applier::~Applier() {
  {
    const base::MutexLock lock(mutex_);
    ending_ = true;
    work_.notify_all();
  }
  threads_.reset();  // joins
}

void Applier::start_threads() {
  tried_ = true;
  const std::size_t most = std::min<std::size_t>(engine_.shard_count(), os::busy_threads());
  if (os::hardware_threads() < 2) return;
  threads_.reset(new (std::nothrow) os::Thread[most]);
  for (std::size_t at = 0; threads_ != nullptr && at < most; ++at) {
    const Status started =
        threads_[at].start([](void* self) { static_cast<Applier*>(self)->work(); }, this);
    if (!started.ok()) return;
    threaded_ = true;
  }
}

Status Applier::take(Part part) {
  const bool large = part.bytes.size() >= kThreadedBytes;
  if (large && !tried_) start_threads();
  {
    const base::MutexLock lock(mutex_);
    Lane& lane = lanes_[part.shard];
    while (failure_.ok() && waiting_bytes_ != 0 &&
           waiting_bytes_ + part.bytes.size() > kWaitingPartsMax) {
      done_.wait(mutex_);
    }
    if (!failure_.ok()) return failure_;
    if (threaded_ && (large || lane.busy || !lane.waiting.empty())) {
      waiting_bytes_ += part.bytes.size();
      ++unfinished_;
      lane.waiting.push_back(std::move(part));
      work_.notify_one();
      return {};
    }
  }
  Status status = apply(part, run_);
  run_.clear();
  const base::MutexLock lock(mutex_);
  if (!status.ok() && failure_.ok()) failure_ = status;
  return status;
}

Status Applier::drain() {
  const base::MutexLock lock(mutex_);
  while (unfinished_ != 0) done_.wait(mutex_);
  return failure_;
}

bool Applier::busy() {
  if (!threaded_) return false;
  const base::MutexLock lock(mutex_);
  return unfinished_ != 0;
}

Applier::Lane* Applier::next_lane() noexcept {
  for (Lane& lane : lanes_) {
    if (!lane.busy && !lane.waiting.empty()) return &lane;
  }
  return nullptr;
}

void Applier::work() {
  EntryRun run;
  for (;;) {
    Part part;
    Lane* lane = nullptr;
    bool failed = false;
    {
      const base::MutexLock lock(mutex_);
      while ((lane = next_lane()) == nullptr && !ending_) work_.wait(mutex_);
      if (ending_) return;
      part = std::move(lane->waiting.front());
      lane->waiting.erase(lane->waiting.begin());
      lane->busy = true;
      waiting_bytes_ -= part.bytes.size();
      failed = !failure_.ok();
      done_.notify_all();  // there is room for another one
    }
    Status status = failed ? Status() : apply(part, run);
    run.clear();
    const base::MutexLock lock(mutex_);
    lane->busy = false;
    --unfinished_;
    if (!status.ok() && failure_.ok()) failure_ = std::move(status);
    done_.notify_all();
    if (!lane->waiting.empty()) work_.notify_one();
  }
}

Status Applier::apply(const Part& part, EntryRun& run) {
  engine::Shard& shard = engine_.shard(part.shard);
  const std::uint64_t last = part.copy ? part.before : shard.last_sequence();
  if (part.before != last) {
    return out_of_place(part.before, last);
  }
  Status status;
  for (std::size_t offset = 0; status.ok() && offset < part.bytes.size();) {
    status = parse_run(engine_, part, offset, run);
    if (!status.ok()) break;
    status = part.copy ? shard.add_to_replacement(run.sequences, run.requests)
                       : shard.apply(run.first, run.requests, run.batch);
  }
  return status;
}

}  // namespace armdb::replica

#endif  // !ARMDB_OMIT_REPLICATION

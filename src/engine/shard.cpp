// The shard: writes under its lock, reads without, sync shared by all who wait for it.
#include "engine/shard.hpp"

#include <new>

#include "base/hash64.hpp"
#include "base/log.hpp"
#include "os/pages.hpp"

namespace armdb::engine {

namespace {

// How often a read asks the index again before it says that the store is inconsistent. A
// location is out of date only while a flush or compaction moves it.
constexpr int kReadTries = 1000;

// Recovered entries on their way into the index, some at a time: their cache misses overlap.
class RecoveryBatch {
 public:
  RecoveryBatch(index::Index& index, const Shape& shape, std::uint64_t seed)
      : index_(index), shape_(shape), seed_(seed), stride_(shape.key_size + shape.value_size) {
    bytes_.resize(kEntries * stride_);
  }

  Status add(store::LogStore& store, const store::RecoveredEntry& entry) {
    std::uint8_t* key = bytes_.data() + count_ * stride_;
    std::memcpy(key, entry.key.data(), shape_.key_size);
    if (shape_.value_size != 0 && !entry.tombstone) {
      std::memcpy(key + shape_.key_size, entry.value.data(), shape_.value_size);
    }
    lookups_[count_] = {key, base::hash64(key, shape_.key_size, seed_), nullptr, {}, false};
    at_[count_] = entry.at;
    tombstone_[count_] = entry.tombstone;
    ++count_;
    return count_ == kEntries ? apply(store) : Status();
  }

  Status apply(store::LogStore& store) {
    // Only for the misses it takes: every entry is located again below, in order.
    index_.find_many({lookups_, count_});
    for (std::size_t at = 0; at < count_; ++at) {
      index::Place place;
      index_.locate(lookups_[at].key, lookups_[at].hash, place);
      // A hint that turned out damaged told of this very entry before the scan did.
      if (place.found && place.at != at_[at]) store.mark_dead(place.at);
      if (tombstone_[at]) {
        if (place.found) index_.erase(place);
        continue;
      }
      if (!place.found && !index_.reserve()) {
        return Status(Errc::out_of_memory, "no memory for the index");
      }
      index_.publish(place, lookups_[at].key, lookups_[at].key + shape_.key_size, at_[at]);
    }
    count_ = 0;
    return {};
  }

 private:
  static constexpr std::size_t kEntries = 32;

  index::Index& index_;
  const Shape& shape_;
  const std::uint64_t seed_;
  const std::size_t stride_;
  std::vector<std::uint8_t> bytes_;
  index::Lookup lookups_[kEntries];
  base::Location at_[kEntries];
  bool tombstone_[kEntries] = {};
  std::size_t count_ = 0;
};

}  // namespace

// ---- Opening ----

Result<std::unique_ptr<Shard>> Shard::open(const store::StoreContext& context, std::uint64_t seed) {
  std::unique_ptr<Shard> shard(new (std::nothrow) Shard(context, seed));
  if (shard == nullptr) return Status(Errc::out_of_memory, "no memory to open a shard");
  index::IndexConfig config;
  config.key_size = context.shape.key_size;
  config.value_size = context.shape.payload == Payload::value ? context.shape.value_size : 0;
  config.ordered = context.shape.ordered;
  config.step_bytes = context.config.index_step_bytes;
  config.pages = os::page_source();
  config.hash_seed = seed;
  shard->index_ = index::make_index(config);
  if (shard->index_ == nullptr) return Status(Errc::out_of_memory, "no memory for an index");
  // Recovery accounts dead entries in the store that is being opened, which is known only to the
  // store until open() returns; so the store hands itself out with each entry.
  RecoveryBatch batch(*shard->index_, context.shape, seed);
  Result<std::unique_ptr<store::LogStore>> store = store::LogStore::open(
      context, [&](store::LogStore& opening, const store::RecoveredEntry& entry) {
        return batch.add(opening, entry);
      });
  if (!store.ok()) return std::move(store).status();
  shard->store_ = std::move(*store);
  Status status = batch.apply(*shard->store_);
  if (!status.ok()) return status;
  return shard;
}

// ---- Writing ----

Status Shard::refuse_if_closed() const {
  if (closed_) return Status(Errc::closed, "the collection was closed");
  return {};
}

Status Shard::write(const WriteRequest& request) {
  const bool compares = request.when == When::equal || request.old_view != nullptr;
  if (compares && context_.shape.payload == Payload::location) {
    return write_comparing_values(request);
  }
  bool sync_wanted = false;
  {
    const base::MutexLock lock(mutex_);
    Status status = refuse_if_closed();
    if (!status.ok()) return status;
    index::Place place;
    index_->locate(request.key.data(), request.hash, place);
    if (request.had_old != nullptr) *request.had_old = place.found;
    if (place.found && request.when == When::equal &&
        Bytes(place.value, context_.shape.value_size) != request.expected) {
      return Errc::value_mismatch;
    }
    if (place.found && request.old_value != nullptr && context_.shape.value_size != 0) {
      std::memcpy(request.old_value, place.value, context_.shape.value_size);
    }
    status = write_located(request, place);
    if (!status.ok()) return status;
    sync_wanted = store_->take_sync_wanted();
  }
  return after_write(sync_wanted);
}

Status Shard::write_located(const WriteRequest& request, index::Place& place) {
  if (request.when == When::absent && place.found) return Errc::key_exists;
  if (request.when != When::always && request.when != When::absent && !place.found) {
    return Errc::not_found;
  }
  if (!place.found && !index_->reserve()) {
    return Status(Errc::out_of_memory, "no memory for the index");
  }
  // Store first, index second. The other way round a reader could see a value whose write then
  // fails (invariant 1).
  store::Write write;
  write.key = request.key;
  write.value = request.value;
  write.tombstone = request.erase;
  base::Location at;
  Status status = store_->append(write, at);
  if (!status.ok()) return status;
  if (place.found) store_->mark_dead(place.at);
  if (request.erase) {
    index_->erase(place);
  } else {
    index_->publish(place, request.key.data(), request.value.data(), at);
  }
  return {};
}

// Var types: the old value is read outside the lock, and the write happens only if the key is
// still where it was read (invariant 2).
Status Shard::write_comparing_values(const WriteRequest& request) {
  for (int tries = 0; tries < kReadTries; ++tries) {
    base::Location seen;
    bool found = false;
    store::ReadBuffer buffer;
    {
      const base::EpochDomain::Guard guard(context_.epochs);
      found = index_->find(request.key.data(), request.hash, &seen, nullptr);
      if (found) {
        Bytes value;
        bool moved = false;
        Status status = read_location(seen, request.key, buffer, value, moved);
        if (!status.ok()) return status;
        if (moved) continue;
        if (request.when == When::equal && value != request.expected) return Errc::value_mismatch;
        if (request.old_view != nullptr) {
          Result<ByteView> view = store::make_view(value, buffer);
          if (!view.ok()) return std::move(view).status();
          *request.old_view = std::move(*view);
        }
      }
    }
    bool sync_wanted = false;
    {
      const base::MutexLock lock(mutex_);
      Status status = refuse_if_closed();
      if (!status.ok()) return status;
      index::Place place;
      index_->locate(request.key.data(), request.hash, place);
      if (place.found != found || (found && place.at != seen)) continue;
      if (request.had_old != nullptr) *request.had_old = found;
      status = write_located(request, place);
      if (!status.ok()) return status;
      sync_wanted = store_->take_sync_wanted();
    }
    return after_write(sync_wanted);
  }
  return Status(Errc::io_error, "a key changed too often while its value was compared; try again");
}

Status Shard::put_group(std::span<const WriteRequest* const> requests) {
  bool sync_wanted = false;
  {
    const base::MutexLock lock(mutex_);
    Status status = refuse_if_closed();
    for (const WriteRequest* request : requests) {
      if (!status.ok()) return status;
      index::Place place;
      index_->locate(request->key.data(), request->hash, place);
      status = write_located(*request, place);
    }
    if (!status.ok()) return status;
    sync_wanted = store_->take_sync_wanted();
  }
  return after_write(sync_wanted);
}

// With Config::enable_fsync the write that filled the buffer also tells how its sync went.
Status Shard::after_write(bool sync_wanted) { return sync_wanted ? sync() : Status(); }

// ---- Reading values ----

Status Shard::read_location(base::Location at, Bytes key, store::ReadBuffer& buffer, Bytes& value,
                            bool& moved) const {
  Status status;
  const store::ReadOutcome outcome = store_->read(at, key, buffer, value, status);
  moved = outcome == store::ReadOutcome::moved;
  return status;
}

Result<bool> Shard::find_and_read(Bytes key, std::uint64_t hash, store::ReadBuffer& buffer,
                                  Bytes& value) const {
  for (int tries = 0; tries < kReadTries; ++tries) {
    base::Location at;
    if (!index_->find(key.data(), hash, &at, nullptr)) return false;
    bool moved = false;
    Status status = read_location(at, key, buffer, value, moved);
    if (!status.ok()) return status;
    if (!moved) return true;
  }
  return Status(Errc::corrupt, "the index names an entry that no segment has; run verify")
      .at(context_.directory);
}

Result<bool> Shard::read(Bytes key, std::uint64_t hash, FunctionRef<void(Bytes)> use) const {
  store::ReadBuffer buffer;
  Bytes value;
  const base::EpochDomain::Guard guard(context_.epochs);
  Result<bool> found = find_and_read(key, hash, buffer, value);
  if (found.ok() && *found) use(value);
  return found;
}

Result<bool> Shard::read_view(Bytes key, std::uint64_t hash, ByteView& out) const {
  store::ReadBuffer buffer;
  Bytes value;
  const base::EpochDomain::Guard guard(context_.epochs);
  Result<bool> found = find_and_read(key, hash, buffer, value);
  if (!found.ok() || !*found) return found;
  Result<ByteView> view = store::make_view(value, buffer);
  if (!view.ok()) return std::move(view).status();
  out = std::move(*view);
  return true;
}

Result<bool> Shard::read_at(Bytes key, base::Location at, ByteView& out) const {
  {
    store::ReadBuffer buffer;
    Bytes value;
    const base::EpochDomain::Guard guard(context_.epochs);
    bool moved = false;
    Status status = read_location(at, key, buffer, value, moved);
    if (!status.ok()) return status;
    if (!moved) {
      Result<ByteView> view = store::make_view(value, buffer);
      if (!view.ok()) return std::move(view).status();
      out = std::move(*view);
      return true;
    }
  }
  return read_view(key, base::hash64(key.data(), key.size(), seed_), out);
}

// ---- Durability ----

Status Shard::flush() {
  bool sync_wanted = false;
  {
    const base::MutexLock lock(mutex_);
    Status status = refuse_if_closed();
    if (status.ok()) status = store_->flush();
    if (!status.ok()) return status;
    sync_wanted = store_->take_sync_wanted();
  }
  return after_write(sync_wanted);
}

Status Shard::sync() { return sync_all(false); }

Status Shard::sync_all(bool files_too) {
  std::uint64_t wanted = 0;
  {
    const base::MutexLock lock(mutex_);
    Status status = refuse_if_closed();
    if (!status.ok()) return status;
    wanted = store_->last_sequence();
    // Footers and names hold no entry, but what is recorded as durable has to be so to the end.
    files_too = files_too && store_->has_unsynced();
  }
  // Who comes while another thread syncs waits here, and mostly finds its write synced by the
  // next one in line.
  const base::MutexLock turn(sync_mutex_);
  if (store_->durable_sequence() >= wanted && !files_too) return {};
  store::SyncTicket ticket;
  {
    const base::MutexLock lock(mutex_);
    Status status;
    ticket = store_->begin_sync(status);
    if (!status.ok()) return status;
  }
  Status outcome = store::LogStore::run_sync(context_, ticket);
  const base::MutexLock lock(mutex_);
  return store_->end_sync(ticket, std::move(outcome));
}

bool Shard::unsynced() const noexcept {
  const base::MutexLock lock(mutex_);
  return !store_->failed().ok() || store_->durable_sequence() < store_->last_sequence();
}

Status Shard::seal() {
  const base::MutexLock lock(mutex_);
  Status status = refuse_if_closed();
  return status.ok() ? store_->seal_active() : status;
}

Status Shard::checkpoint() {
  const base::MutexLock maintenance(maintenance_);
  Status status = seal();
  if (status.ok()) status = sync_all(true);
  if (!status.ok()) return status;
  std::vector<store::SegmentPtr> segments;
  {
    const base::MutexLock lock(mutex_);
    segments = store_->segments();
    std::erase_if(segments, [&](const auto& segment) { return !store_->wants_hint(*segment); });
  }
  for (const store::SegmentPtr& segment : segments) {
    const bool written = store::LogStore::write_hint(context_, *segment);
    const base::MutexLock lock(mutex_);
    segment->hinted = written;
  }
  std::vector<std::uint8_t> manifest;
  {
    const base::MutexLock lock(mutex_);
    status = store_->failed();
    if (!status.ok()) return status;
    manifest = store_->manifest_now();
  }
  status = store::LogStore::write_manifest(context_, manifest);
  if (status.is(Errc::failed)) return fail(std::move(status));
  if (!status.ok()) {
    const base::MutexLock lock(mutex_);
    store_->manifest_failed();
  }
  return status;
}

Status Shard::close() {
  Status status;
  if (!context_.config.read_only) status = checkpoint();
  const base::MutexLock maintenance(maintenance_);
  compaction_.reset();
  const base::MutexLock lock(mutex_);
  // A put that came in between is written, as every put is.
  if (!context_.config.read_only && status.ok() && !closed_) status = store_->flush();
  closed_ = true;
  return status;
}

// ---- Looking after it ----

Status Shard::warmup() {
  index::Block block = index_->make_block();
  if (!block.valid()) return Status(Errc::out_of_memory, "no memory for a scan");
  const base::EpochDomain::Guard guard(context_.epochs);
  const auto touch_all = [&] {
    for (std::size_t at = 0; at < block.count(); ++at) store_->touch(block.location(at));
  };
  if (context_.shape.ordered) {
    index_->read_from(nullptr, index::Bound::none, false, block);
    for (; block.count() != 0; index_->read_next(false, block)) touch_all();
    return {};
  }
  std::uint64_t cursor = 0;
  do {
    cursor = index_->scan(cursor, block);
    touch_all();
  } while (cursor != 0);
  return {};
}

Status Shard::verify(VerifyReport& report) {
  std::vector<store::SegmentPtr> segments;
  {
    const base::MutexLock lock(mutex_);
    Status status = refuse_if_closed();
    if (!status.ok()) return status;
    // On a full or failed disk what is in the files can still be verified.
    if (!context_.config.read_only) static_cast<void>(store_->flush());
    segments = store_->segments();
  }
  for (const store::SegmentPtr& segment : segments) {
    Status status = store::verify_segment(context_, *segment, report);
    if (!status.ok()) return status;
  }
  return {};
}

void Shard::add_stats(Stats& stats) const {
  const base::MutexLock lock(mutex_);
  stats.entries += index_->size();
  stats.index_bytes += index_->memory_bytes();
  store_->add_stats(stats);
}

// ---- Compaction ----

Result<bool> Shard::compact_step(std::uint64_t budget, double threshold) {
  const base::MutexLock maintenance(maintenance_);
  Result<bool> more = compact_once(budget, threshold, false);
  if (more.is(Errc::no_space) && store::LogStore::release_reserve(context_)) {
    // The disk is full: spend the reserve on the segment that needs the least of it.
    more = compact_once(~std::uint64_t{0}, threshold, true);
  }
  store::LogStore::keep_reserve(context_);
  return more;
}

Result<bool> Shard::compact_once(std::uint64_t budget, double threshold, bool cheapest) {
  if (compaction_ == nullptr) {
    auto job = std::make_unique<store::LogCompaction>(*store_);
    const base::MutexLock lock(mutex_);
    Status status = refuse_if_closed();
    if (status.ok()) status = store_->failed();
    if (!status.ok()) return status;
    if (!job->choose(threshold, cheapest)) return false;
    compaction_ = std::move(job);
  }
  Result<bool> copied = compaction_->copy(budget, [&](std::span<store::Candidate> candidates) {
    index::Lookup lookups[store::LogCompaction::kBatch];
    for (std::size_t at = 0; at < candidates.size(); ++at) {
      const Bytes key = candidates[at].entry.key;
      lookups[at] = {key.data(), base::hash64(key.data(), key.size(), seed_), nullptr, {}, false};
    }
    index_->find_many({lookups, candidates.size()});
    for (std::size_t at = 0; at < candidates.size(); ++at) {
      candidates[at].live = lookups[at].found && lookups[at].at == candidates[at].at;
    }
  });
  if (copied.ok() && !*copied) return true;
  Result<bool> finished = copied.ok() ? finish_compaction() : std::move(copied);
  compaction_.reset();
  context_.epochs.collect();
  return finished;
}

Result<bool> Shard::finish_compaction() {
  store::LogCompaction& job = *compaction_;
  Status status = job.seal();
  if (status.is(Errc::failed)) return fail(std::move(status));
  // What was dropped may be superseded by an entry that only the log has: that one first.
  if (status.ok()) status = sync();
  if (!status.ok()) return status;
  std::vector<std::uint8_t> manifest;
  {
    const base::MutexLock lock(mutex_);
    Result<std::vector<std::uint8_t>> published = job.publish();
    if (!published.ok()) return std::move(published).status();
    manifest = std::move(*published);
  }
  status = store::LogStore::write_manifest(context_, manifest);
  if (!status.ok() && !status.is(Errc::failed)) {
    const base::MutexLock lock(mutex_);
    Status withdrawn = job.withdraw();
    if (withdrawn.ok()) return status;
    status = std::move(withdrawn);
  }
  if (status.ok()) status = relocate_all(job);
  if (status.ok()) {
    const base::MutexLock lock(mutex_);
    status = job.retire();
  }
  // The MANIFEST tells of the copies now: an index that still names sources must not go on.
  if (!status.ok()) return fail(std::move(status));
  status = job.remove();
  if (status.is(Errc::failed)) return fail(std::move(status));
  if (!status.ok()) return status;
  return true;
}

Status Shard::fail(Status cause) {
  const base::MutexLock lock(mutex_);
  return store_->fail(std::move(cause));
}

// Reads a batch of copied entries without the lock, then points the index at them under it.
Status Shard::relocate_all(store::LogCompaction& job) {
  constexpr std::size_t kMovesPerLock = 256;
  std::vector<std::uint8_t> keys;
  std::vector<store::Move> moves;
  for (bool go_on = true; go_on;) {
    keys.clear();
    moves.clear();
    const Result<bool> more = job.next_moves(kMovesPerLock, [&](const store::Move& move) {
      keys.insert(keys.end(), move.key.begin(), move.key.end());
      moves.push_back(move);
    });
    if (!more.ok()) return more.status();
    go_on = *more;
    const std::size_t key_size = context_.shape.key_size;
    const base::MutexLock lock(mutex_);
    for (std::size_t at = 0; at < moves.size(); ++at) {
      const std::uint8_t* key = keys.data() + at * key_size;
      index::Place place;
      index_->locate(key, base::hash64(key, key_size, seed_), place);
      if (place.found && place.at == moves[at].from) {
        index_->relocate(place, moves[at].to);
      } else {
        store_->mark_dead(moves[at].to);  // overwritten or erased since it was copied
      }
    }
  }
  return {};
}

}  // namespace armdb::engine

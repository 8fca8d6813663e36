// The shard's life beside reads and writes: syncs, checkpoint, sweeps, compaction, close.
#include <algorithm>

#include "base/append.hpp"
#include "base/errors.hpp"
#include "base/hash64.hpp"
#include "base/search.hpp"
#include "engine/engine.hpp"
#include "engine/shard.hpp"
#include "os/thread.hpp"

namespace armdb::engine {

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

// Alone, or together with the shards that joint batches bind to this one.
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
  {
    // Who comes while another thread syncs waits here, and mostly finds its write synced by the
    // next one in line.
    const base::MutexLock turn(sync_mutex_);
    if (store_->durable_sequence() >= wanted && !files_too) return {};
    store::SyncTicket ticket;
    bool alone = true;
    {
      const base::MutexLock lock(mutex_);
      Status status;
      alone = !bound();
      if (alone) ticket = store_->begin_sync(status);
      if (!status.ok()) return status;
    }
    if (alone) {
      return end_sync(ticket, store_->run_sync(ticket));
    }
  }
  // Its ticket is taken after this call began, and covers what is asked for.
  return common_.engine->sync_joint(this);
}

// Writers come in between: those that wait for the end of the sync too.
Status Shard::end_sync(const store::SyncTicket& ticket, Status outcome) {
  do {
    const base::MutexLock lock(mutex_);
    outcome = store_->end_sync(ticket, std::move(outcome));
    sync_ended_.notify_all();
  } while (outcome.is(Errc::aborted));
#if !defined(ARMDB_OMIT_REPLICATION)
  common_.taps.tell();
#endif
  return outcome;
}

bool Shard::is_bound() const {
  const base::MutexLock lock(mutex_);
  return bound();
}

// What is durable here must not depend on what a power cut may take there: the sequences of all
// bound shards become durable together, when the disk has them all.
Status Shard::sync_bound(std::span<const std::unique_ptr<Shard>> shards, const Shard* asking,
                         base::Mutex& joint_mutex) ARMDB_NO_THREAD_SAFETY_ANALYSIS {
  for (const auto& shard : shards) shard->sync_mutex_.lock();
  std::vector<store::SyncTicket> tickets(shards.size());
  std::vector<Status> outcomes(shards.size());
  Status status;
  {
    // No joint batch comes between two tickets.
    const base::MutexLock joint(joint_mutex);
    for (std::size_t at = 0; status.ok() && at < shards.size(); ++at) {
      const base::MutexLock lock(shards[at]->mutex_);
      tickets[at].wanted = shards[at]->bound() || shards[at].get() == asking;
      if (tickets[at].wanted) tickets[at] = shards[at]->store_->begin_sync(status);
    }
  }
  if (status.ok()) {
    os::run_parallel(shards.size(), 8, [&](std::size_t at) {
      if (!tickets[at].wanted) return;
      outcomes[at] = shards[at]->store_->run_sync(tickets[at]);
    });
    for (const Status& outcome : outcomes) {
      if (status.ok()) status = outcome;
    }
    const bool all = status.ok();
    for (std::size_t at = 0; at < shards.size(); ++at) {
      // One that failed fails for good; the others are as durable as they were before.
      if (!tickets[at].wanted || (!all && outcomes[at].ok())) continue;
      Status ended = shards[at]->end_sync(tickets[at], std::move(outcomes[at]));
      if (!ended.ok()) status = std::move(ended);
    }
  }
  for (const auto& shard : shards) shard->sync_mutex_.unlock();
  return status;
}

bool Shard::unsynced() const noexcept {
  const base::MutexLock lock(mutex_);
  return !store_->failed().ok() || store_->durable_sequence() < store_->last_sequence();
}

Status Shard::seal() {
  const base::MutexLock lock(mutex_);
  Status status = refuse_if_closed();
  return status.ok() && log_ != nullptr ? log_->seal_active() : status;
}

Status Shard::checkpoint() {
  const base::MutexLock maintenance(maintenance_);
  Status status = seal();
  if (status.ok()) status = sync_all(true);
  if (!status.ok() || log_ == nullptr) return status;
  std::vector<store::SegmentPtr> segments;
  {
    const base::MutexLock lock(mutex_);
    segments = log_->segments();
    base::erase_if(segments, [&](const auto& segment) { return !log_->wants_hint(*segment); });
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
    manifest = log_->manifest_now();
  }
  status = keep_failure(store::LogStore::write_manifest(context_, manifest));
  if (!status.ok() && !status.is(Errc::failed)) {
    const base::MutexLock lock(mutex_);
    log_->manifest_failed();
  }
  return status;
}

Status Shard::close() {
  Status status;
  if (!context_.config.read_only) status = checkpoint();
  const base::MutexLock maintenance(maintenance_);
  compaction_.reset();
  const base::MutexLock turn(sync_mutex_);
  const base::MutexLock lock(mutex_);
  // A put that came in between is written, as every put is.
  if (!context_.config.read_only && status.ok() && !closed_) {
    status = slots_ != nullptr ? slots_->close() : store_->flush();
  }
  if (log_ != nullptr) log_->await_prewrite();  // another process may open it from here on
  closed_ = true;
  return status;
}

// ---- Looking after it ----

Status Shard::warmup() {
  if (log_ == nullptr) return {};  // all values are in memory
  const base::EpochDomain::Guard guard(context_.epochs);
  return each_block([&](index::Block& block) {
    for (std::size_t at = 0; at < block.count(); ++at) log_->touch(block.location(at));
    return Status();
  });
}

// The slots as they are in the file, piece after piece.
Status Shard::each_slot(std::uint64_t first, VerifyReport& report,
                        FunctionRef<Status(const store::RecoveredEntry&)> visit,
                        FunctionRef<Status(std::uint64_t)> passed) {
  for (store::SlotPiece piece;; first = piece.first + piece.count) {
    Status status;
    {
      const base::MutexLock lock(mutex_);
      status = refuse_if_closed();
      if (status.ok()) status = slots_->read_piece(first, piece);
    }
    if (!status.ok() || piece.count == 0) return status;
    status = slots_->visit_piece(piece, report, visit);
    if (status.ok()) status = passed(piece.first + piece.count);
    if (!status.ok()) return status;
  }
}

Status Shard::verify(VerifyReport& report) {
  if (slots_ != nullptr) {
    ++report.segments;
    report.damaged_regions += slots_->missing_slots();
    return each_slot(
        0, report, [](const store::RecoveredEntry&) { return Status(); },
        [](std::uint64_t) { return Status(); });
  }
  std::vector<store::SegmentPtr> segments;
  {
    const base::MutexLock lock(mutex_);
    Status status = refuse_if_closed();
    if (!status.ok()) return status;
    // On a full or failed disk what is in the files can still be verified.
    if (!context_.config.read_only) static_cast<void>(store_->flush());
    segments = log_->segments();
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
  if (expiries_.any()) stats.index_bytes += expiries_.table()->memory_bytes();
  store_->add_stats(stats);
}

std::uint64_t Shard::last_sequence() const noexcept {
  const base::MutexLock lock(mutex_);
  return store_->last_sequence();
}

// ---- Sweeping and migrating ----

Result<std::uint64_t> Shard::sweep(std::uint64_t budget, std::uint64_t& cursor) {
  const index::Index* table = expiries_.table();
  std::uint64_t erased = 0;
  if (table == nullptr) {
    cursor = 0;
    return erased;
  }
  index::Block block = table->make_block();
  if (!block.valid()) return base::out_of_memory("no memory for a scan");
  for (std::uint64_t looked = 0; looked < budget; looked += block.count()) {
    cursor = table->scan(cursor, block);
    for (std::size_t at = 0; at < block.count(); ++at) {
      WriteRequest request;
      request.key = Bytes(block.key(at), context_.shape.key_size);
      request.hash = base::hash64(request.key.data(), request.key.size(), seed_);
      if (!expiries_.expired(request.key.data(), request.hash)) continue;
      request.erase = true;
      request.when = When::expired;
      Status status = write(request);
      if (status.is(Errc::not_found)) continue;  // somebody put it again
      if (!status.ok()) return status;
      ++erased;
    }
    if (cursor == 0) break;
  }
  return erased;
}

Status Shard::visit_log(std::uint64_t done, std::uint64_t start,
                        FunctionRef<Status(const store::RecoveredEntry&)> visit,
                        FunctionRef<Status(std::uint64_t)> passed) {
  // Slots are told in the order of their numbers: there `done` is one of these.
  const std::uint64_t done_sequence = slots_ == nullptr ? done : 0;
  const auto visit_live = [&](const store::RecoveredEntry& entry) -> Status {
    if (entry.tombstone || entry.sequence <= done_sequence || entry.sequence > start) return {};
    base::Location now;
    const bool live = find(entry.key.data(),
                           base::hash64(entry.key.data(), entry.key.size(), seed_), &now, nullptr);
    return live && now == entry.at ? visit(entry) : Status();
  };
  const base::MutexLock maintenance(maintenance_);
  if (slots_ != nullptr) {
    VerifyReport unused;
    Status status = each_slot(done, unused, visit_live, [&](std::uint64_t slots) {
      Status synced = sync();
      return synced.ok() ? passed(std::min(start - 1, slots)) : synced;
    });
    return status.ok() ? passed(start) : status;
  }
  compaction_.reset();  // begun by a compact_step(): its copies would be of another time
  Status status = seal();
  if (!status.ok()) return status;
  std::vector<store::SegmentPtr> segments;
  {
    const base::MutexLock lock(mutex_);
    segments = log_->segments();
  }
  for (const store::SegmentPtr& segment : segments) {
    if (segment->first_sequence > start || segment->last_sequence <= done) continue;
    status = store::visit_segment(*segment, visit_live);
    if (status.ok()) status = sync();
    if (status.ok()) status = passed(std::min(start, segment->last_sequence));
    if (!status.ok()) return status;
  }
  return {};
}

// ---- Compaction ----

// The last live slots move to free ones before them, some at a time; then the end of the file goes.
// What is written meanwhile is left to another call, and so is what busy writers keep from going.
Status Shard::shrink() {
  constexpr int kTries = 4;
  const std::uint64_t newest = last_sequence();
  const base::MutexLock maintenance(maintenance_);
  for (int tries = 0; tries < kTries;) {
    Status status;
    {
      const base::MutexLock turn(sync_mutex_);
      const base::MutexLock lock(mutex_);
      status = refuse_if_closed();
      bool moves = !common_.migrating.load(std::memory_order_relaxed);
#if !defined(ARMDB_OMIT_REPLICATION)
      moves = moves && !taking_copy_;
      // An entry that moves changes nothing that anybody reads.
      store::SlotChanges* const changes = slots_->tell_changes_to(nullptr);
#endif
      if (status.ok() && moves) status = move_slots(newest);
#if !defined(ARMDB_OMIT_REPLICATION)
      slots_->tell_changes_to(changes);
#endif
      if (status.ok()) status = slots_->begin_trim();
    }
    if (status.is(Errc::aborted)) continue;
    if (status.is(Errc::not_found)) return {};
    if (status.ok()) status = sync();
    if (!status.ok()) return status;
    const base::MutexLock turn(sync_mutex_);
    const base::MutexLock lock(mutex_);
    status = slots_->end_trim();
    if (!status.is(Errc::aborted)) return status;
    ++tries;
  }
  return {};
}

// A power cut may take what was not synced: the new slots are durable before the old ones go. Until
// then two have the same key, and nobody may erase it, as that would leave the other one; so the
// writers wait. `aborted` when there are more of those that are no newer than `newest`.
Status Shard::move_slots(std::uint64_t newest) {
  constexpr std::size_t kMovesPerLock = 1024;
  const std::size_t key_size = context_.shape.key_size;
  std::vector<std::uint8_t> key;
  std::vector<std::uint8_t> keys;
  std::vector<std::uint64_t> moved;  // packed locations
  std::uint64_t end = ~std::uint64_t{0};
  Status stopped;
  while (stopped.ok()) {
    base::Location from;
    stopped = slots_->last_live(newest, end, key, from);
    if (stopped.ok()) stopped = copy_slot(Bytes(key), from);
    if (!stopped.ok()) break;
    base::append(keys, Bytes(key));
    const std::uint64_t packed = from.packed();
    moved.push_back(packed);
    if (moved.size() == kMovesPerLock) stopped = Errc::aborted;
  }
  // Whatever stopped it: none of them may stay in two slots.
  Status status;
  if (!moved.empty()) status = slots_->sync();
  for (std::size_t at = 0; status.ok() && at < moved.size(); ++at) {
    base::Location gone;
    const Bytes old = Bytes(keys).sub(at * key_size, key_size);
    status = slots_->write({old, {}, true, 0}, base::Location(moved[at]), gone);
  }
  return status.ok() && !stopped.is(Errc::not_found) ? stopped : status;
}

Status Shard::copy_slot(Bytes key, base::Location from) {
  index::Place place;
  const std::uint64_t hash = base::hash64(key.data(), key.size(), seed_);
  index_->locate(key.data(), hash, place);
  if (!place.found || place.at != from) return base::corrupt("a slot is not in the index");
  const std::uint64_t expiry_ms = expiries_.any() ? expiries_.find(key.data(), hash) : 0;
  const Bytes value(place.value, context_.shape.value_size);
  base::Location at;
  Status status = slots_->write({key, value, false, expiry_ms}, {}, at);
  if (status.ok()) index_->relocate(place, at);
  return status;
}

Status Shard::compact() {
  Status sealed = seal();
  if (!sealed.ok() && !sealed.is(Errc::no_space)) return sealed;
  return compact_sealed();
}

Status Shard::compact_sealed() {
  const std::uint64_t end = last_sequence();
  for (;;) {
    const Result<bool> more = compact_step(~std::uint64_t{0}, end);
    if (!more.ok() || !*more) return more.status();
  }
}

Result<bool> Shard::compact_step(std::uint64_t budget, std::uint64_t end) {
  if (log_ == nullptr) return false;
  const base::MutexLock maintenance(maintenance_);
  Result<bool> more = compact_once(budget, false, end);
  if (more.is(Errc::no_space) && store::LogStore::release_reserve(context_)) {
    // The disk is full: spend the reserve on the segment that needs the least of it.
    more = compact_once(~std::uint64_t{0}, true, end);
  }
  store::LogStore::keep_reserve(context_);
  return more;
}

#if ARMDB_WITH_OPENSSL

// Rewrites all that an old data key seals. Where a segment is damaged, so that compaction leaves it
// alone, its key is still needed.
Status Shard::renew_keys() {
  if (slots_ != nullptr) return renew_slots();
  Status status = seal();
  if (!status.ok()) return status;
  {
    const base::MutexLock maintenance(maintenance_);
    const base::MutexLock lock(mutex_);
    compaction_.reset();  // its output may be sealed by the old one
    static_cast<void>(log_->mark_old_keys());
  }
  status = compact_sealed();
  if (!status.ok()) return status;
  {
    const base::MutexLock lock(mutex_);
    if (log_->mark_old_keys() != 0) {
      return base::corrupt("damaged segments could not be sealed anew; run repair, then try again");
    }
  }
  return checkpoint();
}

// Both copies of each slot, with a sync behind each round, then what is left in the stage. Nobody
// else syncs meanwhile: that would keep slots from being written.
Status Shard::renew_slots() {
  constexpr std::uint64_t kSlotsAtOnce = 256;
  constexpr int kRounds = 2;
  const base::MutexLock turn(sync_mutex_);
  Status status;
  for (int round = 0; status.ok(); ++round) {
    store::SyncTicket ticket;
    {
      const base::MutexLock lock(mutex_);
      status = refuse_if_closed();
      if (status.ok()) ticket = slots_->begin_sync(status);
    }
    if (status.ok()) status = end_sync(ticket, slots_->run_sync(ticket));
    if (round == kRounds) break;
    for (std::uint64_t number = 0, end = 1; status.ok() && number < end;) {
      const base::MutexLock lock(mutex_);
      status = refuse_if_closed();
      if (status.ok() && round == 0 && number == 0) slots_->renew_session();
      if (status.ok()) status = slots_->renew(number, kSlotsAtOnce);
      end = slots_->slot_count();
    }
  }
  if (!status.ok()) return status;
  const base::MutexLock lock(mutex_);
  status = refuse_if_closed();
  if (status.ok()) status = slots_->wipe_stage();
  return status.ok() ? slots_->sync() : status;
}

#endif  // ARMDB_WITH_OPENSSL

Result<bool> Shard::compact_once(std::uint64_t budget, bool cheapest, std::uint64_t end) {
  if (compaction_ == nullptr) {
    auto job = std::make_unique<store::LogCompaction>(*log_);
    const base::MutexLock lock(mutex_);
    Status status = refuse_if_closed();
    if (status.ok()) status = store_->failed();
    if (!status.ok()) return status;
    if (!job->choose(context_.config.compaction_threshold, cheapest, end)) return false;
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
  Status status = keep_failure(job.seal());
  // What was dropped may be superseded by an entry that only the log has: that one first.
  if (status.ok()) status = sync();
  if (!status.ok()) return status;
  std::vector<std::uint8_t> manifest;
  {
    const base::MutexLock lock(mutex_);
    status = job.publish(manifest);
    if (!status.ok()) return status;
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
  status = keep_failure(job.remove());
  if (!status.ok()) return status;
  return true;
}

// What failed for good fails the shard, too.
Status Shard::keep_failure(Status status) {
  return status.is(Errc::failed) ? fail(std::move(status)) : status;
}

Status Shard::fail(Status cause) {
  const base::MutexLock lock(mutex_);
  return store_->fail(std::move(cause));
}

// Reads a batch of copied entries without the lock, then points the index at them under it.
Status Shard::relocate_all(store::LogCompaction& job) {
  constexpr std::size_t kMovesPerLock = 256;
  std::vector<std::uint8_t> keys;
  std::vector<store::Move> moves(kMovesPerLock);
  for (bool go_on = true; go_on;) {
    keys.clear();
    std::size_t count = 0;
    const Result<bool> more = job.next_moves(kMovesPerLock, [&](const store::Move& move) {
      base::append(keys, move.key);
      moves[count++] = move;
    });
    if (!more.ok()) return more.status();
    go_on = *more;
    const std::size_t key_size = context_.shape.key_size;
    const base::MutexLock lock(mutex_);
    for (std::size_t at = 0; at < count; ++at) {
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

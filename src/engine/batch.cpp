// Batches: writes that count whole or not at all, in one shard or over several.
#include "base/append.hpp"
#include "base/errors.hpp"
#include "base/hash64.hpp"
#include "engine/engine.hpp"
#include "engine/transaction.hpp"

namespace armdb::engine {

// ---- The view of an atomic block ----

Transaction::~Transaction() {
  for (const Pending& pending : pending_) {
    if (pending.object != nullptr) detail::unshare(pending.object);
  }
}

Bytes Transaction::key_of(const Pending& pending) const noexcept {
  return Bytes(bytes_).sub(pending.bytes_at, shard_.context_.shape.key_size);
}

Bytes Transaction::value_of(const Pending& pending) const noexcept {
  return Bytes(bytes_).sub(pending.bytes_at + shard_.context_.shape.key_size, pending.value_size);
}

const Transaction::Pending* Transaction::find(Bytes key, std::uint64_t hash) const noexcept {
  if (heads_.empty()) return nullptr;
  std::uint32_t number = heads_[static_cast<std::size_t>(hash) & (heads_.size() - 1)];
  for (; number != 0; number = pending_[number - 1].before) {
    const Pending& pending = pending_[number - 1];
    if (pending.hash == hash && key_of(pending) == key) return &pending;
  }
  return nullptr;
}

void Transaction::chain(std::uint32_t number) {
  Pending& pending = pending_[number - 1];
  std::uint32_t& head = heads_[static_cast<std::size_t>(pending.hash) & (heads_.size() - 1)];
  pending.before = std::exchange(head, number);
}

Status Transaction::write(const WriteRequest& request) {
  const Pending* own = find(request.key, request.hash);
  index::Place place;
  shard_.index_->locate(request.key.data(), request.hash, place);
  std::uint64_t expiry_ms = request.expiry_ms;
  if (own == nullptr) {
    Status status = shard_.judge(request, place);
    if (!status.ok()) return status;
    if (request.keep_expiry && shard_.live(request, place)) {
      expiry_ms = shard_.expiries_.find(request.key.data(), request.hash);
    }
  } else {
    if (request.when == When::absent && !own->erase) return Errc::key_exists;
    if (request.when == When::present && own->erase) return Errc::not_found;
    if (request.keep_expiry && !own->erase) expiry_ms = own->expiry_ms;
  }
  Pending pending;
  pending.bytes_at = bytes_.size();
  pending.value_size = request.value.size();
  pending.hash = request.hash;
  pending.expiry_ms = request.erase ? 0 : expiry_ms;
  pending.object = request.object;
  pending.erase = request.erase;
  base::append(bytes_, request.key);
  base::append(bytes_, request.value);
  if (request.object != nullptr) detail::share(request.object);
  pending_.push_back(pending);
  if (pending_.size() <= heads_.size()) {
    chain(static_cast<std::uint32_t>(pending_.size()));
    return {};
  }
  heads_ = std::vector<std::uint32_t>(heads_.empty() ? 16 : 2 * heads_.size());
  for (std::uint32_t number = 1; number <= pending_.size(); ++number) chain(number);
  return {};
}

bool Transaction::contains(Bytes key, std::uint64_t hash) const noexcept {
  const Pending* own = find(key, hash);
  return own != nullptr ? !own->erase : shard_.find(key.data(), hash, nullptr, nullptr);
}

Result<bool> Transaction::read(Bytes key, std::uint64_t hash,
                               FunctionRef<void(Bytes, detail::Shared*)> use) const {
  if (const Pending* own = find(key, hash); own != nullptr) {
    if (!own->erase) use(value_of(*own), own->object);
    return !own->erase;
  }
  if (!shard_.keeps_bytes() && shard_.common_.objects == nullptr) {
    return shard_.read(key, hash, [&](Bytes value) { use(value, nullptr); });
  }
  index::Place place;
  shard_.index_->locate(key.data(), hash, place);
  if (!place.found || shard_.expiries_.expired(key.data(), hash)) return false;
  if (shard_.common_.objects != nullptr) {
    use({}, object_at(place.value));
  } else {
    use(Bytes(place.value, shard_.context_.shape.value_size), nullptr);
  }
  return true;
}

std::vector<WriteRequest> Transaction::requests() const {
  std::vector<WriteRequest> requests(pending_.size());
  for (std::size_t at = 0; at < pending_.size(); ++at) {
    const Pending& pending = pending_[at];
    requests[at].key = key_of(pending);
    requests[at].hash = pending.hash;
    requests[at].value = value_of(pending);
    requests[at].object = pending.object;
    requests[at].expiry_ms = pending.expiry_ms;
    requests[at].erase = pending.erase;
  }
  return requests;
}

// ---- One shard ----

Status Shard::atomic(FunctionRef<Status(Transaction&)> body) {
  bool sync_wanted = false;
  {
    const base::MutexLock lock(mutex_);
    Status status = refuse_own_write();
    if (!status.ok()) return status;
    Transaction transaction(*this);
    status = body(transaction);
    if (!status.ok()) return status;
    status = write_batch_locked(transaction.requests());
    if (!status.ok()) return status;
    sync_wanted = store_->take_sync_wanted();
  }
  return after_write(sync_wanted);
}

Status Shard::write_batch(std::span<const WriteRequest> requests) {
  const base::MutexLock lock(mutex_);
  Status status = refuse_own_write();
  return status.ok() ? write_batch_locked(requests) : status;
}

Status Shard::write_batch_locked(std::span<const WriteRequest> requests) {
  if (requests.empty()) return {};
  store::Batch batch;
  Status status = prepare(requests, batch);
  if (status.ok()) accept(requests, batch);
  return status;
}

// All that can fail.
Status Shard::prepare(std::span<const WriteRequest> requests, store::Batch& batch) {
  std::size_t live = 0;
  std::size_t expiring = 0;
  for (const WriteRequest& request : requests) {
    live += request.erase ? 0 : 1;
    expiring += request.expiry_ms != 0 ? 1 : 0;
  }
  if (!index_->reserve(live) || (expiring != 0 && !expiries_.reserve(expiring))) {
    return base::out_of_memory("no memory for the index");
  }
  batch.count = requests.size();
  batch.writes = requests.data();
  batch.write = [](const void* writes, std::size_t at) -> store::Write {
    const WriteRequest& request = static_cast<const WriteRequest*>(writes)[at];
    return {request.key, request.value, request.erase, request.expiry_ms};
  };
  return log_->prepare_batch(batch);
}

void Shard::accept(std::span<const WriteRequest> requests, store::Batch& batch) {
  log_->accept_batch(batch, [&](std::size_t n, base::Location at) ARMDB_NO_THREAD_SAFETY_ANALYSIS {
    const WriteRequest& request = requests[n];
    index::Place place;
    index_->locate(request.key.data(), request.hash, place);
    publish_reading_old(request, place, at);
  });
}

// publish() with the old value from disk, where the hook wants that.
void Shard::publish_reading_old(const WriteRequest& request, index::Place& place,
                                base::Location at) {
  if (!hook_reads() || !place.found) {
    publish(request, place, at, request.expiry_ms, nullptr);
    return;
  }
  store::ReadBuffer buffer;
  Bytes old;
  bool moved = false;
  const base::EpochDomain::Guard guard(context_.epochs);
  const Status status = read_location(place.at, request.key, buffer, old, moved);
  if (!status.ok()) log_untold(status);
  publish(request, place, at, request.expiry_ms, status.ok() && !moved ? &old : nullptr);
}

// ---- Several shards ----

Status Shard::write_joint(std::span<JointWrite> parts) { return write_joint_from(parts, 0); }

Status Shard::after_batch() {
  bool sync_wanted = false;
  {
    const base::MutexLock lock(mutex_);
    sync_wanted = store_->take_sync_wanted();
  }
  return after_write(sync_wanted);
}

// Takes the locks in order, one per call, and lets go of them when all is done.
Status Shard::write_joint_from(std::span<JointWrite> parts, std::size_t at) {
  if (at == parts.size()) return write_all_locked(parts);
  const base::MutexLock lock(parts[at].shard->mutex_);
  return write_joint_from(parts, at + 1);
}

Status Shard::write_all_locked(std::span<JointWrite> parts) ARMDB_NO_THREAD_SAFETY_ANALYSIS {
  std::vector<store::Batch> batches(parts.size());
  std::vector<store::JointPart> names(parts.size());
  Status status;
  for (std::size_t at = 0; at < parts.size(); ++at) {
    Shard& shard = *parts[at].shard;
#if !defined(ARMDB_OMIT_REPLICATION)
    const bool own = parts[at].first == 0;
    if (status.ok()) status = own ? shard.refuse_own_write() : shard.refuse_if_closed();
    if (status.ok() && !own) status = shard.log_->continue_at(parts[at].first);
#else
    if (status.ok()) status = shard.refuse_if_closed();
#endif
    names[at] = {shard.context_.shard, shard.log_->next_sequence() + parts[at].requests.size() - 1};
  }
  std::size_t ready = 0;
  for (; status.ok() && ready < parts.size(); ++ready) {
    batches[ready].parts = names;
    status = parts[ready].shard->prepare(parts[ready].requests, batches[ready]);
    if (!status.ok()) break;
  }
  for (std::size_t at = 0; at < ready; ++at) {
    Shard& shard = *parts[at].shard;
    if (!status.ok()) {
      shard.log_->abandon_batch(batches[at]);
      continue;
    }
    shard.joint_last_ = names[at].last_sequence;
    shard.accept(parts[at].requests, batches[at]);
  }
  return status;
}

}  // namespace armdb::engine

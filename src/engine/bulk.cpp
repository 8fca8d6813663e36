// Writes of many keys under one lock: groups in any order, and runs of new keys in theirs.
#include "base/append.hpp"
#include "base/errors.hpp"
#include "engine/shard.hpp"

namespace armdb::engine {

Status Shard::put_group(std::span<const WriteRequest* const> requests, std::uint64_t& done) {
  const auto count = [&](const WriteRequest& request, Status status) {
    if (status.ok()) ++done;
    return request.erase && status.is(Errc::not_found) ? Status() : status;
  };
  if (hook_reads()) {
    Status status;
    for (const WriteRequest* request : requests) {
      if (status.ok()) status = count(*request, write(*request));
    }
    return status;
  }
  fetch(requests);
  bool sync_wanted = false;
  {
    const base::MutexLock lock(mutex_);
    Status status = refuse_if_closed();
    for (const WriteRequest* request : requests) {
      if (!status.ok()) return status;
      index::Place place;
      index_->locate(request->key.data(), request->hash, place);
      status = count(*request, write_located(*request, place, nullptr));
    }
    if (!status.ok()) return status;
    sync_wanted = store_->take_sync_wanted();
  }
  return after_write(sync_wanted);
}

Status Shard::put_run(std::span<const WriteRequest* const> requests, std::uint64_t& done) {
  ARMDB_ASSERT(requests.size() <= kRunMax);
  if (common_.hook) return put_group(requests, done);
  bool sync_wanted = false;
  {
    const base::MutexLock lock(mutex_);
    Status status = refuse_if_closed();
    if (status.ok()) status = put_run_locked(requests, done);
    if (!status.ok()) return status;
    sync_wanted = store_->take_sync_wanted();
  }
  return after_write(sync_wanted);
}

Status Shard::put_run_locked(std::span<const WriteRequest* const> requests, std::uint64_t& done) {
  index::Fresh fresh[kRunMax];
  const detail::Shared* objects[kRunMax];
  for (std::size_t at = 0; at < requests.size(); ++at) {
    objects[at] = requests[at]->object;
    fresh[at] = {requests[at]->key.data(), requests[at]->value.data(), {}};
    if (objects[at] != nullptr)
      fresh[at].value = reinterpret_cast<const std::uint8_t*>(objects + at);
  }
  bool fetched = false;
  for (std::size_t at = 0; at < requests.size();) {
    index::Place place;
    index_->locate(requests[at]->key.data(), requests[at]->hash, place);
    const std::span<index::Fresh> rest(fresh + at, requests.size() - at);
    const std::size_t length = place.found ? 1 : index_->run_length(place, rest);
    if (length < rest.size() / 2 && !fetched) {
      // Far from each other: the misses of all at once.
      fetch(requests.subspan(at + 1));
      fetched = true;
    }
    Status status;
    if (place.found) {
      status = write_located(*requests[at], place, nullptr);
      done += status.ok() ? 1 : 0;
    } else {
      status = insert_run(requests.subspan(at, length), rest.first(length), place, done);
    }
    if (!status.ok()) return status;
    at += length;
  }
  return {};
}

// Goes to the log one after the other, as far as that goes well, and then to the index in one step.
Status Shard::insert_run(std::span<const WriteRequest* const> requests, std::span<index::Fresh> run,
                         index::Place& place, std::uint64_t& done) {
  std::size_t expiring = 0;
  for (const WriteRequest* request : requests) expiring += request->expiry_ms != 0 ? 1 : 0;
  // For all: between the reserve() of each append() and its set() stand those of the others.
  if (!index_->reserve() || (expiring != 0 && !expiries_.reserve(expiring)))
    return base::out_of_memory("no memory for the index");
  Status status;
  std::size_t count = 0;
  for (; count < run.size(); ++count) {
    status = append(*requests[count], requests[count]->expiry_ms, run[count].at);
    if (!status.ok()) break;
  }
  if (count == 0) return status;
  for (std::size_t at = 0; at < count; ++at) {
    const WriteRequest& request = *requests[at];
    if (request.object != nullptr) detail::share(request.object);
    if (expiries_.any()) expiries_.set(request.key.data(), request.hash, request.expiry_ms);
  }
  index_->publish_run(place, run.first(count));
  done += count;
  return status;
}

// Brings what leads to these keys into the cache.
void Shard::fetch(std::span<const WriteRequest* const> requests) const {
  index::Lookup lookups[kRunMax];
  for (std::size_t at = 0; at < requests.size(); ++at) {
    lookups[at] = {requests[at]->key.data(), requests[at]->hash, nullptr, {}, false};
  }
  index_->find_many({lookups, requests.size()});
}

}  // namespace armdb::engine

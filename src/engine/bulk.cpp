// Writes of many keys under one lock: groups in any order, and runs of new keys in theirs.
#include "base/append.hpp"
#include "base/errors.hpp"
#include "engine/shard.hpp"

namespace armdb::engine {

Status Shard::put_group(std::span<const WriteRequest* const> requests, std::uint64_t& done) {
  if (!hook_reads()) return write_some(requests, done, false);
  for (const WriteRequest* request : requests) {
    Status status = write(*request);
    done += status.ok() ? 1 : 0;
    if (!status.ok() && !(request->erase && status.is(Errc::not_found))) return status;
  }
  return {};
}

// Runs of new keys that have the same neighbours go to the log one after the other, then to their
// leaf in one step; a key that is there goes the way of all writes.
Status Shard::put_run(std::span<const WriteRequest* const> requests, std::uint64_t& done) {
  return common_.hook ? put_group(requests, done) : write_some(requests, done, true);
}

Status Shard::write_some(std::span<const WriteRequest* const> requests, std::uint64_t& done,
                         bool sorted) {
  ARMDB_ASSERT(requests.size() <= kRunMax);
  if (!sorted) fetch(requests);
  for (std::size_t at = 0;;) {
    bool sync_wanted = false;
    {
      const base::MutexLock lock(mutex_);
      const store::LogStore::Group group(log_);
      Status status = refuse_own_write();
      while (status.ok() && at < requests.size()) {
        const std::span<const WriteRequest* const> rest = requests.subspan(at);
        const std::uint64_t before = done;
        if (sorted) {
          status = put_run_locked(rest, done);
          at += static_cast<std::size_t>(done - before);
        } else {
          index::Place place;
          index_->locate(rest[0]->key.data(), rest[0]->hash, place);
          status = write_located(*rest[0], place, nullptr);
          done += status.ok() ? 1 : 0;
          if (rest[0]->erase && status.is(Errc::not_found)) status = Status();
          at += status.ok() ? 1 : 0;
        }
      }
      if (status.is(Errc::aborted)) {
        sync_ended_.wait(mutex_);
        continue;
      }
      if (!status.ok()) return status;
      sync_wanted = store_->take_sync_wanted();
    }
    return after_write(sync_wanted);
  }
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
    if (length < rest.size() / 2 && !place.last && !fetched) {
      // Far from each other: the misses of all at once.
      fetch(requests.subspan(at + 1));
      fetched = true;
    }
    Status status;
    if (place.found) {
      if (slots_ != nullptr) slots_->look_ahead();
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
  if (!index_->reserve() || (expiring != 0 && !expiries_.reserve(expiring)))
    return base::out_of_memory("no memory for the index");
  Status status;
  std::size_t count = 0;
  for (; count < run.size(); ++count) {
    status = append(*requests[count], requests[count]->expiry_ms, {}, run[count].at);
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

// The Fixed shard as a leader's source and as a follower's copy: states of keys, not a log.
#include <algorithm>

#include "base/append.hpp"
#include "base/errors.hpp"
#include "base/hash64.hpp"
#include "engine/shard.hpp"
#include "store/manifest_file.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::engine {

namespace {

// So many changes at a time, and twice as many places to find those of one key.
constexpr std::size_t kChangesMax = 4096;
constexpr std::size_t kSeenPlaces = 2 * kChangesMax;
// About what a state has besides its key and its value.
constexpr std::size_t kStateBytes = 32;
constexpr std::size_t kStatesPerLock = 32;

}  // namespace

// ---- Leader: the stream ----

void Shard::keep_changes(std::uint64_t bytes_max, std::uint64_t copy_bytes_max) {
  const base::MutexLock lock(mutex_);
  if (slots_ == nullptr) return;
  slots_->tell_changes_to(nullptr);
  changes_.reset();
  if (bytes_max == 0) return;
  changes_ = std::make_unique<store::SlotChanges>(context_.shape.key_size, store_->last_sequence(),
                                                  bytes_max);
  slots_->tell_changes_to(changes_.get());
  changes_bytes_[0] = bytes_max;
  changes_bytes_[1] = std::max(bytes_max, copy_bytes_max);
  copies_told_ = 0;
}

// Some at a time: writers wait for no more than these.
Status Shard::tell_changes(std::uint64_t after, std::size_t bytes_max, SlotStates& states,
                           bool& covered) const {
  states.clear();
  states.seen.assign(kSeenPlaces, 0);
  states.position = after;
  for (bool first = true, more = true; more; first = false) {
    const base::MutexLock lock(mutex_);
    Status status = refuse_if_closed();
    if (!status.ok()) return status;
    const std::uint64_t now = store_->last_sequence();
    const bool there =
        changes_ != nullptr && changes_->covers(states.position) && states.position <= now;
    if (first) covered = there;
    if (!there) return {};  // what is collected holds
    states.latest = now;
    more = tell_some_changes(bytes_max, states);
  }
  return {};
}

// One of each key, as it is now: it stands for all changes of that key up to now. False when the
// piece is full, or has all.
bool Shard::tell_some_changes(std::size_t bytes_max, SlotStates& states) const {
  const std::size_t key_size = context_.shape.key_size;
  std::size_t count = 0;
  bool full = false;
  std::uint64_t last = states.position;
  const auto add = [&](std::uint64_t version,
                       const std::uint8_t* key) ARMDB_NO_THREAD_SAFETY_ANALYSIS {
    const std::size_t bytes =
        states.all.size() * kStateBytes + states.keys.size() + states.values.size();
    full = states.all.size() == kChangesMax || bytes >= bytes_max;
    if (full || count == kStatesPerLock) return false;
    ++count;
    last = version;
    const std::uint64_t hash = base::hash64(key, key_size, seed_);
    std::size_t at = static_cast<std::size_t>(hash) % kSeenPlaces;
    for (; states.seen[at] != 0; at = (at + 1) % kSeenPlaces) {
      const std::size_t known = states.seen[at] - std::size_t{1};
      if (Bytes(states.keys).sub(known * key_size, key_size) != Bytes(key, key_size)) continue;
      if (states.all[known].as_of >= version) return true;
      break;  // it has changed since it was added
    }
    add_state(version, key, hash, states);
    states.all.back().as_of = states.latest;
    states.seen[at] = static_cast<std::uint16_t>(states.all.size());
    return true;
  };
  changes_->each_after(last, add);
  const bool more = full || count == kStatesPerLock;
  states.position = more ? last : states.latest;
  return more && !full;
}

// Also one that has expired: it counts until it is swept or overwritten.
void Shard::add_state(std::uint64_t version, const std::uint8_t* key, std::uint64_t hash,
                      SlotStates& states) const {
  const std::size_t value_size = context_.shape.value_size;
  const std::size_t before = states.values.size();
  states.values.resize(before + value_size);
  SlotStates::One one;
  one.version = version;
  one.erased =
      !index_->find(key, hash, nullptr, value_size == 0 ? nullptr : states.values.data() + before);
  if (one.erased) {
    states.values.resize(before);
  } else if (expiries_.any()) {
    one.expiry_ms = expiries_.find(key, hash);
  }
  states.all.push_back(one);
  base::append(states.keys, Bytes(key, context_.shape.key_size));
}

// ---- Leader: a copy ----

std::uint64_t Shard::begin_telling_all() {
  const base::MutexLock lock(mutex_);
  ++copies_told_;
  if (changes_ != nullptr) changes_->set_limit(changes_bytes_[1]);
  return store_->last_sequence();
}

void Shard::end_telling_all() {
  const base::MutexLock lock(mutex_);
  if (copies_told_ == 0) return;
  --copies_told_;
  if (copies_told_ == 0 && changes_ != nullptr) changes_->set_limit(changes_bytes_[0]);
}

// What changes while this goes on was written after it began, and is in the stream behind the copy.
Status Shard::tell_all(SlotWalk& walk, std::uint64_t known, std::size_t bytes_max,
                       SlotStates& states) const {
  states.clear();
  if (!walk.begun) {
    walk.begun = true;
    walk.block = index_->make_block();
    if (!walk.block.valid()) return base::out_of_memory("no memory for a scan");
    if (context_.shape.ordered) {
      index_->read_from(nullptr, index::Bound::none, false, walk.block);
    } else {
      walk.cursor = index_->scan(0, walk.block);
    }
  }
  for (;;) {
    if (context_.shape.ordered && walk.block.count() == 0) walk.over = true;
    if (walk.over) return {};
    Status status = tell_block(walk.block, known, states);
    if (!status.ok()) return status;
    if (context_.shape.ordered) {
      index_->read_next(false, walk.block);
    } else if (walk.cursor == 0) {
      walk.over = true;
    } else {
      walk.cursor = index_->scan(walk.cursor, walk.block);
    }
    const std::size_t bytes =
        states.all.size() * kStateBytes + states.keys.size() + states.values.size();
    if (bytes >= bytes_max) return {};
  }
}

// The block was read without the lock: all that it has was written by now. With an expiry it is
// looked for once more, as the two are seen together only here.
Status Shard::tell_block(const index::Block& block, std::uint64_t known, SlotStates& states) const {
  const std::size_t key_size = context_.shape.key_size;
  const base::MutexLock lock(mutex_);
  Status status = refuse_if_closed();
  if (!status.ok()) return status;
  states.latest = store_->last_sequence();
  for (std::size_t at = 0; at < block.count(); ++at) {
    const std::uint8_t* const key = block.key(at);
    const std::uint64_t version = slots_->version_of(block.location(at));
    if (version <= known) {
      states.all.push_back(
          {.version = version, .expiry_ms = 0, .erased = false, .unchanged = true});
      base::append(states.keys, Bytes(key, key_size));
    } else if (expiries_.any()) {
      add_state(version, key, base::hash64(key, key_size, seed_), states);
      if (states.all.back().erased) {  // since the block was read: the stream behind tells it
        states.all.pop_back();
        states.keys.resize(states.keys.size() - key_size);
      }
    } else {
      states.all.push_back(
          {.version = version, .expiry_ms = 0, .erased = false, .unchanged = false});
      base::append(states.keys, Bytes(key, key_size));
      base::append(states.values, Bytes(block.value(at), context_.shape.value_size));
    }
  }
  return {};
}

// ---- Follower ----

void Shard::take_own_writes(bool yes) {
  const base::MutexLock lock(mutex_);
  takes_own_writes_ = yes;
}

Status Shard::refuse_own_write() const {
  Status status = refuse_if_closed();
  if (!status.ok() || takes_own_writes_) return status;
  return Status(Errc::read_only, "the collection has become a follower");
}

std::uint64_t Shard::raise_sequence(std::uint64_t to) {
  const base::MutexLock lock(mutex_);
  if (slots_ != nullptr) slots_->raise(to);
  return store_->last_sequence();
}

Status Shard::apply_states(std::span<const WriteRequest> requests) {
  while (!requests.empty()) {
    const std::size_t count = std::min(requests.size(), kStatesPerLock);
    {
      const base::MutexLock lock(mutex_);
      for (const WriteRequest& request : requests.first(count)) {
        Status status = apply_state(request);
        if (!status.ok()) return status;
      }
    }
    requests = requests.subspan(count);
  }
  return after_write(false);
}

// What is there already is not written again; but where a copy of it may be damaged.
Status Shard::apply_state(const WriteRequest& request) {
  const bool heal = slots_->damaged_slots() != 0 && !replaced_;
  for (;;) {
    Status status = refuse_if_closed();
    if (!status.ok()) return status;
    slots_->look_ahead();
    index::Place place;
    index_->locate(request.key.data(), request.hash, place);
    const std::uint64_t expiry_ms = expiries_.find(request.key.data(), request.hash);
    const bool same = place.found && !request.erase && !heal && expiry_ms == request.expiry_ms &&
                      Bytes(place.value, context_.shape.value_size) == request.value;
    if (!same) status = write_located(request, place, nullptr);
    if (status.is(Errc::aborted)) {
      sync_ended_.wait(mutex_);
      continue;
    }
    if (!status.ok() || !taking_copy_ || request.erase) return status;
    base::Location at;
    static_cast<void>(index_->find(request.key.data(), request.hash, &at, nullptr));
    mention(at);
    return status;
  }
}

void Shard::mention(base::Location at) {
  const std::uint64_t slot = store::SlotStore::slot_of(at);
  const auto word = static_cast<std::size_t>(slot / 64);
  if (word >= mentioned_.size()) mentioned_.resize(std::max(word + 1, 2 * mentioned_.size()));
  mentioned_[word] |= std::uint64_t{1} << (slot % 64);
}

bool Shard::mentioned(base::Location at) const {
  const std::uint64_t slot = store::SlotStore::slot_of(at);
  const auto word = static_cast<std::size_t>(slot / 64);
  return word < mentioned_.size() && (mentioned_[word] >> (slot % 64) & 1) != 0;
}

// No slot moves from here on: it would look like one that was not mentioned.
Status Shard::begin_taking_copy() {
  const base::MutexLock maintenance(maintenance_);
  const base::MutexLock lock(mutex_);
  taking_copy_ = true;
  mentioned_ = {};
  return refuse_if_closed();
}

void Shard::abandon_copy() noexcept {
  const base::MutexLock lock(mutex_);
  taking_copy_ = false;
  mentioned_ = {};
}

Status Shard::mention_keys(Bytes keys) {
  const std::size_t key_size = context_.shape.key_size;
  const base::MutexLock lock(mutex_);
  for (std::size_t done = 0; done < keys.size(); done += key_size) {
    const std::uint8_t* const key = keys.data() + done;
    base::Location at;
    if (!index_->find(key, base::hash64(key, key_size, seed_), &at, nullptr)) {
      return Errc::not_found;
    }
    mention(at);
  }
  return {};
}

// What was not mentioned is gone at the leader.
Status Shard::finish_copy(FunctionRef<void()> pulse) {
  Status status = each_block([&](index::Block& block) -> Status {
    pulse();
    const base::MutexLock lock(mutex_);
    for (std::size_t at = 0; at < block.count(); ++at) {
      WriteRequest request;
      request.key = Bytes(block.key(at), context_.shape.key_size);
      request.hash = base::hash64(request.key.data(), request.key.size(), seed_);
      request.erase = true;
      base::Location now;
      if (!index_->find(request.key.data(), request.hash, &now, nullptr) || mentioned(now)) {
        continue;
      }
      Status erased = apply_state(request);
      if (!erased.ok()) return erased;
    }
    return {};
  });
  {
    const base::MutexLock lock(mutex_);
    if (status.ok()) status = slots_->clear_damaged();
    if (status.ok()) replaced_ = true;
    taking_copy_ = false;
    mentioned_ = {};
  }
  return status.ok() ? sync() : status;
}

// The file as it is, for people: put in the place of slots.dat it opens like after a crash.
Status Shard::keep_aside(FileSystem& plain) {
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  Status status = sync();
  if (!status.ok()) return status;
  const base::MutexLock maintenance(maintenance_);
  const std::string path = slots_->aside_path(plain);
  const std::string temporary = store::temporary_path(path);
  store::try_remove(plain, temporary);
  {
    Result<Owned<File>> file = plain.open(temporary, OpenMode::create_new);
    if (!file.ok()) return std::move(file).status().at(temporary);
    std::vector<std::uint8_t> piece;
    for (std::uint64_t done = 0; status.ok(); done += piece.size()) {
      piece.resize(kPiece);
      {
        const base::MutexLock lock(mutex_);
        status = refuse_if_closed();
        if (status.ok()) status = slots_->read_raw(done, piece);
      }
      if (piece.empty()) break;
      if (status.ok()) status = (*file)->write_at(done, piece);
    }
    if (status.ok()) status = (*file)->sync();
  }
  if (status.ok()) status = plain.rename(temporary, path);
  if (status.ok()) status = plain.sync_directory(context_.directory);
  if (!status.ok()) store::try_remove(plain, temporary);
  return std::move(status).at(path);
}

}  // namespace armdb::engine

#endif  // !ARMDB_OMIT_REPLICATION

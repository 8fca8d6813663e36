// The shard: writes under its lock, reads without. shard_care.cpp has syncs, compaction and the
// rest of its life; batch.cpp has batches.
#include "engine/shard.hpp"

#include <new>

#include "base/append.hpp"
#include "base/build.hpp"
#include "base/errors.hpp"
#include "base/hash64.hpp"
#include "base/log.hpp"
#include "engine/recovery_batch.hpp"
#include "os/pages.hpp"

namespace armdb::engine {

namespace {

// How often a read asks the index again before it says that the store is inconsistent. A
// location is out of date only while a flush or compaction moves it.
constexpr int kReadTries = 1000;

// Objects that are replaced between two attempts to reclaim some.
constexpr std::uint32_t kRetiredPerCollect = 64;

index::IndexConfig shard_index_config(const store::StoreContext& context, bool objects,
                                      std::uint64_t seed) {
  index::IndexConfig config;
  config.key_size = context.shape.key_size;
  if (context.shape.payload == Payload::value) config.value_size = context.shape.value_size;
  if (objects) config.value_size = sizeof(detail::Shared*);
  config.ordered = context.shape.ordered;
  config.step_bytes = context.config.index_step_bytes;
  config.pages = os::page_source();
  config.hash_seed = seed;
  return config;
}

}  // namespace

Status key_status(const Status& status, Bytes key) {
  std::string digits;
  for (const std::uint8_t byte : key) {
    digits += "0123456789abcdef"[byte >> 4];
    digits += "0123456789abcdef"[byte & 15];
  }
  return base::failure(status.code(), "the value of key 0x% cannot be decoded: %",
                       {digits, status.message()});
}

// ---- Opening ----

Status Shard::open(const store::StoreContext& context, Common& common, const Opening& opening,
                   std::unique_ptr<Shard>& opened) {
  const index::IndexConfig config =
      shard_index_config(context, common.objects != nullptr, opening.hash_seed);
  std::unique_ptr<Shard> shard(new (std::nothrow) Shard(context, common, opening, config));
  if (shard == nullptr) return base::out_of_memory("no memory to open a shard");
  shard->index_ = index::make_index(config);
  if (shard->index_ == nullptr) return base::out_of_memory("no memory for an index");
  Status status = shard->recover(opening);
  if (status.ok()) opened = std::move(shard);
  return status;
}

Status Shard::recover(const Opening& opening) {
  // Recovery settles entries in the store that is being opened, which is known only to the store
  // until open() returns; so the store hands itself out with each entry.
  RecoveryBatch batch(*index_, expiries_, context_.shape, common_.objects, seed_);
  Status status =
      open_store(opening, [&](store::Store& opened, const store::RecoveredEntry& entry) {
        return batch.add(opened, entry);
      });
  if (status.ok()) status = batch.apply(*store_);
  if (status.ok() && slots_ != nullptr) status = slots_->start();
  if (!status.ok() || batch.undecoded() == 0) return status;
  return each_block([&](index::Block& block) -> Status {
    for (std::size_t at = 0; at < block.count(); ++at) {
      if (object_at(block.value(at)) != nullptr) continue;
      return describe(
          key_status(batch.decode_error(), Bytes(block.key(at), context_.shape.key_size)),
          block.location(at));
    }
    return {};
  });
}

Status Shard::open_store(const Opening& opening, store::RecoveryVisitor visit) {
  if (context_.shape.fixed) {
    Result<std::unique_ptr<store::SlotStore>> slots =
        store::SlotStore::open(context_, opening.slots, visit);
    if (!slots.ok()) return slots.status();
    slots_ = slots->get();
    store_ = std::move(*slots);
    return {};
  }
  std::unique_ptr<store::LogStore> log;
  Status status = store::LogStore::open(context_, visit, opening.sequence_limit, log);
  log_ = log.release();
  store_.reset(log_);
  return status;
}

Shard::~Shard() {
  if (common_.objects == nullptr || index_ == nullptr) return;
  static_cast<void>(each_block([&](index::Block& block) {
    for (std::size_t at = 0; at < block.count(); ++at) {
      if (detail::Shared* object = object_at(block.value(at)); object != nullptr) {
        detail::unshare(object);
      }
    }
    return Status();
  }));
}

// Every entry of the index, a block at a time.
Status Shard::each_block(FunctionRef<Status(index::Block&)> visit) const {
  index::Block block = index_->make_block();
  if (!block.valid()) return base::out_of_memory("no memory for a scan");
  if (context_.shape.ordered) {
    index_->read_from(nullptr, index::Bound::none, false, block);
    while (block.count() != 0) {
      Status status = visit(block);
      if (!status.ok()) return status;
      index_->read_next(false, block);
    }
    return {};
  }
  std::uint64_t cursor = 0;
  do {
    cursor = index_->scan(cursor, block);
    Status status = visit(block);
    if (!status.ok()) return status;
  } while (cursor != 0);
  return {};
}

// Tells the hook of each entry, while nobody else has the collection. Of expired ones too: they
// count until they are swept or overwritten, which it will be told.
Status Shard::tell_hook() {
  return each_block([&](index::Block& block) -> Status {
    for (std::size_t at = 0; at < block.count(); ++at) {
      const Bytes key(block.key(at), context_.shape.key_size);
      detail::HookValue value;
      ByteView view;
      if (common_.objects != nullptr) {
        value.object = object_at(block.value(at));
      } else if (keeps_bytes()) {
        value.bytes = Bytes(block.value(at), context_.shape.value_size);
      } else {
        const Result<bool> found = read_at(key, block.location(at), view);
        if (!found.ok()) return found.status();
        value.bytes = view;
      }
      Status status = common_.hook->on_init(key, value);
      if (!status.ok()) return describe(key_status(status, key), block.location(at));
    }
    return {};
  });
}

// ---- Writing ----

Status Shard::refuse_if_closed() const {
  if (closed_) return Status(Errc::closed, "the collection was closed");
  return {};
}

Status Shard::write(const WriteRequest& request) {
  if (hook_reads()) return write_reading_value(request);
  for (;;) {
    bool sync_wanted = false;
    if constexpr (!base::kSmallBuild) index_->prefetch(request.hash);
    {
      const base::MutexLock lock(mutex_);
      Status status = refuse_own_write();
      if (!status.ok()) return status;
      if (slots_ != nullptr) slots_->look_ahead();
      index::Place place;
      index_->locate(request.key.data(), request.hash, place);
      status = write_located(request, place, nullptr);
      // No room for more beside the running sync.
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

// Whether the write may happen.
Status Shard::judge(const WriteRequest& request, const index::Place& place) const {
  if (request.when == When::always) return {};
  const bool there = live(request, place);
  switch (request.when) {
    case When::absent:
      return there ? Status(Errc::key_exists) : Status();
    case When::unmoved:
      return (there ? place.at : base::Location()) == request.seen ? Status()
                                                                   : Status(Errc::value_mismatch);
    case When::expired:
      return place.found && !there ? Status() : Status(Errc::not_found);
    default:
      break;
  }
  if (!there) return Errc::not_found;
  if (request.when == When::equal &&
      Bytes(place.value, context_.shape.value_size) != request.expected) {
    return Errc::value_mismatch;
  }
  return {};
}

// `old`: the value before, where it was read for the hook.
Status Shard::write_located(const WriteRequest& request, index::Place& place, const Bytes* old) {
  Status status = judge(request, place);
  if (!status.ok()) return status;
  std::uint64_t expiry_ms = request.expiry_ms;
  if (request.keep_expiry && live(request, place)) {
    expiry_ms = expiries_.find(request.key.data(), request.hash);
  }
  if (!request.erase &&
      ((!place.found && !index_->reserve()) || (expiry_ms != 0 && !expiries_.reserve(1)))) {
    return base::out_of_memory("no memory for the index");
  }
  // Store first, index second. The other way round a reader could see a value whose write then
  // fails (invariant 1).
  base::Location at;
  status = append(request, expiry_ms, place.found ? place.at : base::Location(), at);
  if (!status.ok()) [[unlikely]]
    return status;
  publish(request, place, at, expiry_ms, old);
  return {};
}

Status Shard::append(const WriteRequest& request, std::uint64_t expiry_ms, base::Location old,
                     base::Location& at) {
  return store_->write({request.key, request.value, request.erase, request.erase ? 0 : expiry_ms},
                       old, at);
}

// The log has the write: now the index, the expiry behind it, and the hook last.
void Shard::publish(const WriteRequest& request, index::Place& place, base::Location at,
                    std::uint64_t expiry_ms, const Bytes* old) {
  const bool found = place.found;
  detail::HookValue before;
  if (found && common_.objects != nullptr) before.object = object_at(place.value);
  if (found && common_.hook && keeps_bytes()) {
    old_bytes_.clear();
    base::append(old_bytes_, Bytes(place.value, context_.shape.value_size));
    before.bytes = Bytes(old_bytes_);
  }
  if (old != nullptr) before.bytes = *old;
  if (found) store_->mark_dead(place.at);
  if (!request.erase) {
    std::uint8_t pointer[sizeof(detail::Shared*)];
    const std::uint8_t* kept = request.value.data();
    if (common_.objects != nullptr) {
      detail::share(request.object);
      std::memcpy(pointer, &request.object, sizeof pointer);
      kept = pointer;
    }
    index_->publish(place, request.key.data(), kept, at);
  } else if (found) {
    index_->erase(place);
  }
  if (expiries_.any()) expiries_.set(request.key.data(), request.hash, expiry_ms);
  if (common_.hook && (found || !request.erase)) {
    const detail::HookValue after{request.value, request.object};
    const bool known = found && (keeps_bytes() || before.object != nullptr || old != nullptr);
    common_.hook->on_write(request.key, known ? &before : nullptr,
                           request.erase ? nullptr : &after);
  }
  if (before.object != nullptr) {
    context_.epochs.retire(const_cast<detail::Shared*>(before.object), [](void* object) {
      detail::unshare(static_cast<detail::Shared*>(object));
    });
    retired_.fetch_add(1, std::memory_order_relaxed);
  }
}

// Var types with a hook: the old value is read outside the lock, and the write happens only if the
// key is still where it was read (invariant 2).
Status Shard::write_reading_value(const WriteRequest& request) {
  for (int tries = 0; tries < kReadTries; ++tries) {
    bool sync_wanted = false;
    {
      const base::EpochDomain::Guard guard(context_.epochs);
      base::Location seen;
      store::ReadBuffer buffer;
      Bytes value;
      Status unread;
      // An expired value too: the hook still counts on it.
      const bool found = index_->find(request.key.data(), request.hash, &seen, nullptr);
      if (found) {
        bool moved = false;
        unread = read_location(seen, request.key, buffer, value, moved);
        if (moved) continue;
      }
      const base::MutexLock lock(mutex_);
      Status status = refuse_own_write();
      if (!status.ok()) return status;
      index::Place place;
      index_->locate(request.key.data(), request.hash, place);
      if (place.found != found || (found && place.at != seen)) continue;
      // A damaged value can still be overwritten or erased.
      if (!unread.ok()) log_untold(unread);
      status = write_located(request, place, found && unread.ok() ? &value : nullptr);
      if (!status.ok()) return status;
      sync_wanted = store_->take_sync_wanted();
    }
    return after_write(sync_wanted);
  }
  return Status(Errc::io_error, "a key changed too often while its value was read; try again");
}

void Shard::log_untold(const Status& why) const {
  base::log(context_.config.log, LogLevel::error, "a hook is not told an old value", why);
}

// With Config::enable_fsync the write that filled the buffer also tells how its sync went.
Status Shard::after_write(bool sync_wanted) {
#if !defined(ARMDB_OMIT_REPLICATION)
  common_.taps.tell();
#endif
  if (retired_.load(std::memory_order_relaxed) >= kRetiredPerCollect) {
    retired_.store(0, std::memory_order_relaxed);
    context_.epochs.collect();
  }
  return sync_wanted ? sync() : Status();
}

// ---- Reading values ----

void Shard::find_many(std::span<index::Lookup> lookups) const noexcept {
  index_->find_many(lookups);
  if (!expiries_.any()) return;
  // Again, one by one: first the expiry, then the value (see expiry.hpp).
  for (index::Lookup& lookup : lookups) {
    lookup.found = lookup.found && find(lookup.key, lookup.hash, &lookup.at, lookup.value);
  }
}

bool Shard::still_there(index::Block& block, std::size_t at) const noexcept {
  if (!expiries_.any()) return true;
  const std::uint8_t* key = block.key(at);
  const std::uint64_t hash = base::hash64(key, context_.shape.key_size, seed_);
  base::Location where;
  if (common_.objects != nullptr) {
    detail::Shared* object = find_object(key, hash, &where);
    if (object == nullptr) return false;
    detail::unshare(object_at(block.value(at)));
    std::memcpy(block.entry(at) + 8, &object, sizeof(void*));
    return true;
  }
  const bool kept = keeps_bytes() && context_.shape.value_size != 0;
  if (!find(key, hash, &where, kept ? block.entry(at) + 8 : nullptr)) return false;
  block.set_location(at, where);
  return true;
}

detail::Shared* Shard::find_object(const std::uint8_t* key, std::uint64_t hash,
                                   base::Location* at) const noexcept {
  // The guard keeps the object until it is shared.
  const base::EpochDomain::Guard guard(context_.epochs);
  std::uint8_t pointer[sizeof(detail::Shared*)];
  if (!find(key, hash, at, pointer)) return nullptr;
  detail::Shared* object = object_at(pointer);
  detail::share(object);
  return object;
}

// Under the lock: without it an entry may be seen before its expiry.
bool Shard::expires_at(const std::uint8_t* key, std::uint64_t hash,
                       std::uint64_t& expiry_ms) const {
  const base::MutexLock lock(mutex_);
  expiry_ms = expiries_.find(key, hash);
  return !expiries_.over(expiry_ms) && index_->find(key, hash, nullptr, nullptr);
}

Status Shard::describe(Status status, base::Location at) const {
  return store_->describe(std::move(status), at);
}

Status Shard::read_location(base::Location at, Bytes key, store::ReadBuffer& buffer, Bytes& value,
                            bool& moved) const {
  Status status;
  const store::ReadOutcome outcome = log_->read(at, key, buffer, value, status);
  moved = outcome == store::ReadOutcome::moved;
  return status;
}

Result<bool> Shard::find_and_read(Bytes key, std::uint64_t hash, store::ReadBuffer& buffer,
                                  Bytes& value, base::Location* where) const {
  for (int tries = 0; tries < kReadTries; ++tries) {
    base::Location at;
    if (!find(key.data(), hash, &at, nullptr)) return false;
    bool moved = false;
    Status status = read_location(at, key, buffer, value, moved);
    if (!status.ok()) return status;
    if (where != nullptr) *where = at;
    if (!moved) return true;
  }
  return base::corrupt("the index names an entry that no segment has; run verify")
      .at(context_.directory);
}

Result<bool> Shard::read(Bytes key, std::uint64_t hash, FunctionRef<void(Bytes)> use) const {
  store::ReadBuffer buffer;
  Bytes value;
  const base::EpochDomain::Guard guard(context_.epochs);
  Result<bool> found = find_and_read(key, hash, buffer, value, nullptr);
  if (found.ok() && *found) use(value);
  return found;
}

Result<bool> Shard::read_view(Bytes key, std::uint64_t hash, ByteView& out,
                              base::Location* at) const {
  store::ReadBuffer buffer;
  Bytes value;
  const base::EpochDomain::Guard guard(context_.epochs);
  Result<bool> found = find_and_read(key, hash, buffer, value, at);
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
  return read_view(key, base::hash64(key.data(), key.size(), seed_), out, nullptr);
}

}  // namespace armdb::engine

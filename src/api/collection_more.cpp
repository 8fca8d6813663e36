// The type-erased handle: batches, atomic blocks, expiry, migration, loading and erasing in bulk,
// and decoded objects. collection.cpp has single writes, reads and cursors.
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "api/collection.hpp"
#include "api/values.hpp"
#include "base/append.hpp"
#include "base/errors.hpp"
#include "engine/decoded_value.hpp"
#include "engine/engine.hpp"
#include "engine/scan.hpp"
#include "engine/transaction.hpp"

namespace armdb {

// ---- Batches ----

namespace detail {

MutableBytes Encoded::room(std::size_t size) {
  std::uint8_t* at = small_;
  if (size > sizeof small_) {
    large_.resize(size);
    at = reinterpret_cast<std::uint8_t*>(large_.data());
  }
  bytes = Bytes(at, size);
  return {at, size};
}

BatchBuffer& BatchBuffer::operator=(BatchBuffer&& other) noexcept {
  if (this == &other) return *this;
  clear();
  bytes_ = std::move(other.bytes_);
  count_ = std::exchange(other.count_, 0);
  return *this;
}

// An item of a BatchBuffer: this, then the key, then the value.
struct BatchBuffer::Item {
  Shared* object = nullptr;
  std::uint64_t ttl_ms = 0;
  std::uint32_t key_size = 0;
  std::uint32_t value_size = 0;
  bool erase = false;
  const char* bytes = nullptr;

  [[nodiscard]] Bytes key() const { return std::string_view(bytes, key_size); }
  [[nodiscard]] Bytes value() const { return std::string_view(bytes + key_size, value_size); }
};

void BatchBuffer::add(const WriteCall& call, std::uint64_t ttl_ms) {
  Item item;
  item.object = call.object;
  item.ttl_ms = ttl_ms;
  item.key_size = static_cast<std::uint32_t>(call.key.size());
  item.value_size = static_cast<std::uint32_t>(call.value.size());
  item.erase = call.kind == WriteKind::erase;
  // Room for all of it first: nothing behind this line can fail.
  const std::size_t size = bytes_.size() + sizeof item + item.key_size + item.value_size;
  if (size > bytes_.capacity()) bytes_.reserve(std::max(size, 2 * bytes_.capacity()));
  bytes_.append(reinterpret_cast<const char*>(&item), sizeof item);
  bytes_.append(call.key.text());
  bytes_.append(call.value.text());
  if (item.object != nullptr) share(item.object);
  ++count_;
}

BatchBuffer::Item BatchBuffer::item(std::size_t& offset) const noexcept {
  Item item;
  std::memcpy(static_cast<void*>(&item), bytes_.data() + offset, sizeof item);
  item.bytes = bytes_.data() + offset + sizeof item;
  offset += sizeof item + item.key_size + item.value_size;
  return item;
}

void BatchBuffer::clear() noexcept {
  for (std::size_t offset = 0; offset < bytes_.size();) {
    const Item next = item(offset);
    if (next.object != nullptr) unshare(next.object);
  }
  bytes_.clear();
  count_ = 0;
}

}  // namespace detail

Status Collection::write_batch(detail::BatchBuffer& batch, WriteOptions options) {
  if (!is_open()) return base::not_open();
  std::vector<engine::WriteRequest> requests(batch.count());
  std::vector<std::unique_ptr<engine::DecodedValue>> objects(batch.count());
  std::size_t offset = 0;
  for (std::size_t at = 0; at < requests.size(); ++at) {
    const detail::BatchBuffer::Item item = batch.item(offset);
    Status status = item.erase ? check(item.key()) : check(item.key(), item.value());
    if (status.ok() && !item.erase) {
      objects[at] =
          std::make_unique<engine::DecodedValue>(*engine_, item.value(), item.object, status);
    }
    if (!status.ok()) return status;
    engine::WriteRequest& request = requests[at];
    request.key = item.key();
    request.value = item.value();
    if (objects[at] != nullptr) request.object = objects[at]->get();
    request.erase = item.erase;
    if (!item.erase) request.expiry_ms = engine_->expiry_of(item.ttl_ms);
  }
  bool written = false;
  Status status = engine_->write_batch(requests, options.sync, written);
  if (written) batch.clear();
  return status;
}

// ---- Atomic blocks ----

Status Collection::atomic(Bytes key, FunctionRef<Status(detail::AtomicCalls&)> body,
                          WriteOptions options) {
  Status status = check(key);
  if (!status.ok()) return status;
  return engine_->atomic(
      key,
      [&](engine::Transaction& transaction) {
        detail::AtomicCalls calls(*this, &transaction);
        return body(calls);
      },
      options.sync);
}

namespace detail {

Status AtomicCalls::check(Bytes key, std::uint64_t& hash) const {
  Status status = collection_.check(key);
  if (!status.ok()) return status;
  const auto* transaction = static_cast<const engine::Transaction*>(transaction_);
  if (&collection_.engine_->owner(key, hash) == &transaction->shard()) return {};
  return Status(Errc::shard_mismatch,
                "the key is in another shard than that of atomic(): use a WriteBatch, or "
                "Config::shard_prefix_bits");
}

Status AtomicCalls::write(const WriteCall& call, WriteOptions options) {
  engine::WriteRequest request;
  Status status = check(call.key, request.hash);
  request.erase = call.kind == WriteKind::erase;
  if (status.ok() && !request.erase) status = collection_.check(call.key, call.value);
  if (!status.ok()) return status;
  request.key = call.key;
  request.value = call.value;
  const engine::DecodedValue object(*collection_.engine_, request.erase ? Bytes() : call.value,
                                    request.erase ? nullptr : call.object, status, !request.erase);
  if (!status.ok()) return status;
  request.object = object.get();
  request.keep_expiry = call.keep_expiry && options.ttl_ms == 0;
  if (call.kind == WriteKind::insert) request.when = engine::When::absent;
  if (request.erase) request.when = engine::When::present;
  if (!request.erase) request.expiry_ms = collection_.engine_->expiry_of(options.ttl_ms);
  return static_cast<engine::Transaction*>(transaction_)->write(request);
}

Result<bool> AtomicCalls::read(Bytes key, FunctionRef<void(Bytes, Shared*)> use) const {
  std::uint64_t hash = 0;
  Status status = check(key, hash);
  if (!status.ok()) return status;
  return static_cast<const engine::Transaction*>(transaction_)->read(key, hash, use);
}

Status AtomicCalls::describe(const Status& status, Bytes key) const {
  return collection_.describe(status, key);
}

Result<bool> AtomicCalls::contains(Bytes key) const {
  std::uint64_t hash = 0;
  Status status = check(key, hash);
  if (!status.ok()) return status;
  return static_cast<const engine::Transaction*>(transaction_)->contains(key, hash);
}

}  // namespace detail

Status Collection::describe(const Status& status, Bytes key) const {
  if (engine_ == nullptr) return status;
  std::uint64_t hash = 0;
  const engine::Shard& shard = engine_->owner(key, hash);
  base::Location at;
  Status named = engine::key_status(status, key);
  return shard.find(key.data(), hash, &at, nullptr) && !at.nowhere()
             ? shard.describe(std::move(named), at)
             : named;
}

Status Collection::for_each_object(ObjectVisitor fn) const {
  if (!is_open()) return base::not_open();
  return engine::UnorderedScan(*engine_, true).run(fn);
}

Result<std::uint64_t> Collection::scan(std::uint64_t cursor, std::size_t limit,
                                       ObjectVisitor fn) const {
  if (!is_open()) return base::not_open();
  if (engine_->shape().ordered) {
    return Status(Errc::unsupported, "a tree has order: use range() and its cursors");
  }
  Status status =
      engine::UnorderedScan(*engine_, true).run_some(cursor, limit == 0 ? 1 : limit, fn);
  if (!status.ok()) return status;
  return cursor;
}

// ---- Expiry ----

Result<std::uint64_t> Collection::expires_at(Bytes key) const {
  Status status = check(key);
  if (!status.ok()) return status;
  std::uint64_t hash = 0;
  const engine::Shard& shard = engine_->owner(key, hash);
  std::uint64_t expiry_ms = 0;
  if (!shard.expires_at(key.data(), hash, expiry_ms)) return Errc::not_found;
  return expiry_ms == 0 ? WriteOptions::kForever : expiry_ms;
}

Status Collection::persist(Bytes key, WriteOptions options) {
  options.ttl_ms = WriteOptions::kForever;
  for (;;) {
    Stamp stamp;
    const Result<std::optional<ByteView>> value = get(key, &stamp);
    if (!value.ok()) return value.status();
    if (!value->has_value()) return Errc::not_found;
    Status status = write(
        {.key = key, .value = **value, .kind = detail::WriteKind::if_unchanged, .seen = stamp},
        options);
    if (!status.is(Errc::value_mismatch)) return status;
  }
}

Result<std::uint64_t> Collection::sweep_expired(std::uint64_t budget) {
  if (!is_open()) return base::not_open();
  return engine_->sweep(budget);
}

// ---- Migration ----

Status Collection::migrate(std::uint32_t to_version,
                           FunctionRef<Status(MigrateEntry&, MigrateVerdict&)> decide,
                           FunctionRef<bool(const MigrationProgress&)> report) {
  if (!is_open()) return base::not_open();
  const auto ask = [&](const store::RecoveredEntry& entry, engine::WriteRequest& request,
                       bool& change) -> Status {
    MigrateEntry asked{entry.key, entry.value, {}, nullptr};
    MigrateVerdict verdict = MigrateVerdict::keep;
    Status status = decide(asked, verdict);
    request.object = asked.object;
    change = status.ok() && verdict != MigrateVerdict::keep;
    request.erase = verdict == MigrateVerdict::erase;
    request.value = asked.fresh;
    if (!change || request.erase) return status;
    status = check(entry.key, asked.fresh);
    if (status.ok() && engine_->objects() != nullptr && request.object == nullptr) {
      request.object = engine_->objects()->decode(asked.fresh, status);
    }
    return status;
  };
  return engine_->migrate(to_version, {ask, report});
}

std::uint32_t Collection::data_version() const {
  return engine_ == nullptr ? 0 : engine_->data_version();
}

// ---- In bulk ----

Result<std::uint64_t> Collection::erase_many(std::span<const BytesPair> keys) {
  if (!is_open()) return base::not_open();
  Status status;
  for (const BytesPair& pair : keys) {
    if (status.ok()) status = check(pair.key);
  }
  std::uint64_t erased = 0;
  if (status.ok()) status = engine_->write_many(keys, true, 0, erased);
  return status.ok() ? Result<std::uint64_t>(erased) : Result<std::uint64_t>(std::move(status));
}

// Keys are gathered by the block and erased behind the cursor, which pins nothing.
Result<std::uint64_t> Collection::erase_from(Cursor cursor) {
  constexpr std::size_t kRound = 64;
  std::uint64_t erased = 0;
  std::vector<std::uint8_t> keys;
  while (cursor.valid()) {
    keys.clear();
    std::size_t count = 0;
    do {
      base::append(keys, cursor.key());
      ++count;
      cursor.next();
    } while (cursor.valid() && count < kRound);
    BytesPair pairs[kRound];
    const std::size_t key_size = keys.size() / count;
    for (std::size_t at = 0; at < count; ++at) {
      pairs[at].key = Bytes(keys).sub(at * key_size, key_size);
    }
    Result<std::uint64_t> gone = erase_many({pairs, count});
    if (!gone.ok()) return gone;
    erased += *gone;
  }
  Status status = cursor.status();
  if (!status.ok()) return status;
  return erased;
}

Result<std::uint64_t> Collection::erase_range(const Bound<Bytes>& first, const Bound<Bytes>& last) {
  return erase_from(cursor(first, last, false));
}

Result<std::uint64_t> Collection::erase_prefix(Bytes prefix) {
  if (is_open() && prefix.size() > shape().key_size) return 0;
  return erase_from(prefix_cursor(prefix, false));
}

Result<std::uint64_t> Collection::clear() {
  if (!is_open()) return base::not_open();
  if (engine_->shape().ordered) return erase_range({}, {});
  std::uint64_t erased = 0;
  Status status;
  Status walked = for_each(
      [&](Bytes key, Bytes) {
        const BytesPair pair{key, {}};
        Result<std::uint64_t> gone = erase_many({&pair, 1});
        status = gone.status();
        if (gone.ok()) erased += *gone;
        return gone.ok();
      },
      false);
  if (status.ok()) status = std::move(walked);
  if (!status.ok()) return status;
  return erased;
}

}  // namespace armdb

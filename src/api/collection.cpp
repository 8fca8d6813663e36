// The type-erased handle: checks of arguments, and calls to the engine.
#include "api/collection.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "base/errors.hpp"
#include "base/log.hpp"
#include "base/search.hpp"
#include "engine/decoded_value.hpp"
#include "engine/engine.hpp"
#include "engine/scan.hpp"

namespace armdb {

namespace {

index::Bound api_bound(BoundKind kind) {
  switch (kind) {
    case BoundKind::inclusive:
      return index::Bound::inclusive;
    case BoundKind::exclusive:
      return index::Bound::exclusive;
    case BoundKind::none:
      break;
  }
  return index::Bound::none;
}

// `key` filled up: with zeros the smallest key it begins, with 0xff the largest.
std::vector<std::uint8_t> api_full_key(Bytes key, std::size_t size, std::uint8_t fill) {
  std::vector<std::uint8_t> full(size, fill);
  if (!key.empty()) std::memcpy(full.data(), key.data(), key.size());
  return full;
}

// What all keys between the limits begin with.
Bytes api_common_prefix(const engine::ScanLimits& limits) {
  const bool bounded =
      limits.lower_bound != index::Bound::none && limits.upper_bound != index::Bound::none;
  std::size_t size = 0;
  while (bounded && size < limits.lower.size() && limits.lower[size] == limits.upper[size]) ++size;
  return Bytes(limits.lower).sub(0, size);
}

}  // namespace

Result<ByteView> make_view(Bytes bytes) {
  store::ReadBuffer buffer;
  return store::make_view(bytes, buffer);
}

// ---- Opening and closing ----

Collection::Collection(Collection&& other) noexcept
    : engine_(std::exchange(other.engine_, nullptr)) {}

Collection& Collection::operator=(Collection&& other) noexcept {
  if (this != &other) {
    Collection old(std::exchange(engine_, std::exchange(other.engine_, nullptr)));
  }
  return *this;
}

Collection::~Collection() {
  if (engine_ == nullptr) return;
  if (!engine_->closed()) {
    const Status status = engine_->close();
    if (!status.ok()) {
      base::log(engine_->config().log, LogLevel::error, "closing a collection", status);
    }
  }
  delete engine_;
}

Result<Collection> Collection::open(std::string_view path, const Shape& shape,
                                    const FixedConfig& config, Owned<detail::Hook> hook,
                                    const detail::ObjectOps* objects) {
  Result<std::unique_ptr<engine::Engine>> engine =
      engine::Engine::open(std::string(path), &shape, config, {std::move(hook), objects});
  if (!engine.ok()) return std::move(engine).status();
  return Collection(engine->release());
}

Result<Collection> Collection::open_existing(std::string_view path, const Config& config) {
  Result<std::unique_ptr<engine::Engine>> engine =
      engine::Engine::open(std::string(path), nullptr, config, {});
  if (!engine.ok()) return std::move(engine).status();
  return Collection(engine->release());
}

Status Collection::close() { return engine_ == nullptr ? base::not_open() : engine_->close(); }

Status Collection::tick() { return engine_ == nullptr ? base::not_open() : engine_->tick(); }

Shape Collection::shape() const noexcept { return engine_ == nullptr ? Shape() : engine_->shape(); }

bool Collection::is_open() const noexcept { return engine_ != nullptr && !engine_->closed(); }

// ---- Arguments ----

namespace {

Status api_wrong_size(const char* what, std::size_t size, std::size_t wanted) {
  return base::failure(Errc::invalid_argument, "the % has % bytes, in this collection it has %",
                       {what, size, wanted});
}

}  // namespace

Status Collection::check(Bytes key) const {
  if (engine_ == nullptr || engine_->closed()) return base::not_open();
  const std::size_t wanted = engine_->shape().key_size;
  if (key.size() == wanted) return {};
  return api_wrong_size("key", key.size(), wanted);
}

Status Collection::check(Bytes key, Bytes value) const {
  Status status = check(key);
  if (!status.ok()) return status;
  const Shape& shape = engine_->shape();
  if (shape.payload == Payload::location) {
    constexpr std::size_t kValueBytesMax = std::size_t{1} << 30;
    if (value.size() <= kValueBytesMax) return {};
    return Status(Errc::too_large, "a value can have 1 GiB at most");
  }
  if (value.size() == shape.value_size) return {};
  return api_wrong_size("value", value.size(), shape.value_size);
}

// ---- Writes ----

namespace {

engine::When api_when(detail::WriteKind kind) {
  switch (kind) {
    case detail::WriteKind::insert:
      return engine::When::absent;
    case detail::WriteKind::erase:
      return engine::When::present;
    case detail::WriteKind::cas:
    case detail::WriteKind::compare_erase:
      return engine::When::equal;
    case detail::WriteKind::if_unchanged:
    case detail::WriteKind::erase_if_unchanged:
      return engine::When::unmoved;
    case detail::WriteKind::put:
      break;
  }
  return engine::When::always;
}

bool api_erases(detail::WriteKind kind) {
  return kind == detail::WriteKind::erase || kind == detail::WriteKind::compare_erase ||
         kind == detail::WriteKind::erase_if_unchanged;
}

engine::WriteRequest api_request(engine::Engine& engine, const detail::WriteCall& call,
                                 std::uint64_t ttl_ms) {
  engine::WriteRequest request;
  request.key = call.key;
  request.value = call.value;
  request.object = call.object;
  request.erase = api_erases(call.kind);
  request.when = api_when(call.kind);
  request.expected = call.expected;
  request.seen = base::Location(call.seen.place);
  request.keep_expiry = call.keep_expiry && ttl_ms == 0;
  if (!request.erase) request.expiry_ms = engine.expiry_of(ttl_ms);
  if (call.expires_at_ms != 0) request.expiry_ms = call.expires_at_ms;
  return request;
}

}  // namespace

Status Collection::write(const detail::WriteCall& call, WriteOptions options) {
  const bool erases = api_erases(call.kind);
  Status status = erases ? check(call.key) : check(call.key, call.value);
  if (!status.ok()) return status;
  engine::WriteRequest request = api_request(*engine_, call, options.ttl_ms);
  if (request.when == engine::When::equal && engine_->shape().payload == Payload::location) {
    return write_if_equal(call, options);
  }
  if (erases || engine_->objects() == nullptr) return engine_->write(request, options.sync);
  const engine::DecodedValue object(*engine_, call.value, call.object, status);
  if (!status.ok()) return status;
  request.object = object.get();
  return engine_->write(request, options.sync);
}

Status Collection::put(Bytes key, Bytes value, WriteOptions options) {
  return write({.key = key, .value = value}, options);
}

Status Collection::insert(Bytes key, Bytes value, WriteOptions options) {
  return write({.key = key, .value = value, .kind = detail::WriteKind::insert}, options);
}

Status Collection::erase(Bytes key, WriteOptions options) {
  return write({.key = key, .kind = detail::WriteKind::erase}, options);
}

Status Collection::cas(Bytes key, Bytes expected, Bytes desired, WriteOptions options) {
  return write({.key = key, .value = desired, .kind = detail::WriteKind::cas, .expected = expected},
               options);
}

Status Collection::compare_erase(Bytes key, Bytes expected, WriteOptions options) {
  return write({.key = key, .kind = detail::WriteKind::compare_erase, .expected = expected},
               options);
}

Result<std::optional<ByteView>> Collection::exchange(Bytes key, Bytes value, WriteOptions options) {
  for (;;) {
    Stamp seen;
    Result<std::optional<ByteView>> old = get(key, &seen);
    if (!old.ok()) return old;
    Status status =
        write({.key = key, .value = value, .kind = detail::WriteKind::if_unchanged, .seen = seen},
              options);
    if (status.ok()) return old;
    if (!status.is(Errc::value_mismatch)) return status;
  }
}

// Values that lie on disk: read and compared without a lock, and written only if nobody wrote
// meanwhile.
Status Collection::write_if_equal(const detail::WriteCall& call, WriteOptions options) {
  detail::WriteCall attempt = call;
  attempt.kind = call.kind == detail::WriteKind::cas ? detail::WriteKind::if_unchanged
                                                     : detail::WriteKind::erase_if_unchanged;
  for (;;) {
    const Result<std::optional<ByteView>> old = get(call.key, &attempt.seen);
    if (!old.ok()) return old.status();
    if (!old->has_value()) return Errc::not_found;
    if (Bytes(**old) != call.expected) return Errc::value_mismatch;
    Status status = write(attempt, options);
    if (!status.is(Errc::value_mismatch)) return status;
  }
}

Status Collection::put_many(std::span<const BytesPair> pairs, WriteOptions options) {
  // All sizes first: a wrong one must not leave half of the work done.
  if (engine_ == nullptr) return base::not_open();
  for (const BytesPair& pair : pairs) {
    Status status = check(pair.key, pair.value);
    if (!status.ok()) return status;
  }
  Status status;
  const auto undecoded = [](const BytesPair& pair) { return pair.object == nullptr; };
  if (engine_->objects() != nullptr && base::any_of(pairs, undecoded)) {
    for (const BytesPair& pair : pairs) {
      if (status.ok()) {
        status = write({.key = pair.key,
                        .value = pair.value,
                        .object = pair.object,
                        .expires_at_ms = pair.expires_at_ms},
                       {.sync = false, .ttl_ms = options.ttl_ms});
      }
    }
  } else {
    std::uint64_t done = 0;
    status = engine_->write_many(pairs, false, engine_->expiry_of(options.ttl_ms), done);
  }
  return status.ok() && options.sync ? engine_->sync() : status;
}

// ---- Reads ----

Result<std::optional<ByteView>> Collection::get(Bytes key, Stamp* stamp) const {
  Status status = check(key);
  if (!status.ok()) return status;
  const Shape& shape = engine_->shape();
  ByteView view;
  bool found = false;
  base::Location at;
  if (shape.payload == Payload::location) {
    const Result<bool> read = engine_->read_view(key, view, &at);
    if (!read.ok()) return read.status();
    found = *read;
  } else if (shape.value_size <= ByteView::kInlineBytes) {
    std::uint8_t small[ByteView::kInlineBytes];
    found = engine_->find(key.data(), &at, small);
    if (found) view = ByteView::inlined({small, shape.value_size});
  } else {
    store::SharedBlock* block = store::SharedBlock::make(shape.value_size);
    if (block == nullptr) return base::out_of_memory("no memory for a value");
    view = ByteView::adopt(block, {block->bytes(), shape.value_size});
    found = engine_->find(key.data(), &at, block->bytes());
  }
  if (stamp != nullptr) stamp->place = found ? at.packed() : 0;
  return found ? std::optional<ByteView>(std::move(view)) : std::nullopt;
}

bool Collection::contains(Bytes key) const noexcept {
  return engine_ != nullptr && key.size() == engine_->shape().key_size &&
         engine_->find(key.data(), nullptr, nullptr);
}

Result<bool> Collection::read(Bytes key, FunctionRef<void(Bytes)> fn) const {
  Status status = check(key);
  if (!status.ok()) return status;
  if (engine_->shape().payload == Payload::location) return engine_->read(key, fn);
  const Result<std::optional<ByteView>> value = get(key);
  if (!value.ok()) return value.status();
  if (value->has_value()) fn(**value);
  return value->has_value();
}

bool Collection::get_into(const std::uint8_t* key, std::uint8_t* value,
                          Stamp* stamp) const noexcept {
  if (engine_ == nullptr) return false;
  base::Location at;
  bool found = false;
  if (engine_->objects() == nullptr || value == nullptr) {
    found = engine_->find(key, stamp != nullptr ? &at : nullptr, value);
  } else {
    std::uint64_t hash = 0;
    const engine::Shard& shard = engine_->owner({key, engine_->shape().key_size}, hash);
    detail::Shared* object = shard.find_object(key, hash, &at);
    found = object != nullptr;
    std::memcpy(value, &object, sizeof(void*));
  }
  if (stamp != nullptr) stamp->place = found ? at.packed() : 0;
  return found;
}

void Collection::get_many(std::span<BytesLookup> lookups) const noexcept {
  for (BytesLookup& lookup : lookups) lookup.found = false;
  if (engine_ == nullptr) return;
  if (engine_->objects() == nullptr) return engine_->find_many(lookups);
  // The guard keeps the objects until they are shared.
  const base::EpochDomain::Guard guard(engine_->epochs());
  engine_->find_many(lookups);
  for (const BytesLookup& lookup : lookups) {
    if (lookup.value == nullptr) continue;
    if (lookup.found) {
      detail::share(engine::object_at(lookup.value));
    } else {
      // An entry that vanished while it was read leaves a pointer behind that is nobody's.
      std::memset(lookup.value, 0, sizeof(void*));
    }
  }
}

std::size_t Collection::size() const noexcept { return engine_ == nullptr ? 0 : engine_->size(); }

Status Collection::for_each(FunctionRef<bool(Bytes key, Bytes value)> fn, bool with_values) const {
  if (!is_open()) return base::not_open();
  return engine::UnorderedScan(*engine_, with_values)
      .run([&](Bytes key, Bytes value, detail::Shared*) { return fn(key, value); });
}

// ---- Cursors ----

struct Cursor::State {
  State(const engine::Engine& engine_in, engine::ScanLimits limits, bool descending)
      : engine(engine_in), scan(engine_in, std::move(limits), descending) {}

  const engine::Engine& engine;
  engine::OrderedScan scan;
  Status status;
};

Cursor::Cursor(Cursor&& other) noexcept
    : state_(std::exchange(other.state_, nullptr)),
      key_(std::exchange(other.key_, {})),
      value_(other.value_),
      valid_(std::exchange(other.valid_, false)) {}

Cursor& Cursor::operator=(Cursor&& other) noexcept {
  std::swap(state_, other.state_);
  std::swap(key_, other.key_);
  std::swap(value_, other.value_);
  std::swap(valid_, other.valid_);
  return *this;
}

Cursor::~Cursor() { delete state_; }

void Cursor::settle(bool stands) {
  valid_ = stands;
  if (!stands) return;
  const Shape& shape = state_->engine.shape();
  key_ = Bytes(state_->scan.key(), shape.key_size);
  value_ =
      shape.payload == Payload::value ? Bytes(state_->scan.value(), shape.value_size) : Bytes();
}

bool Cursor::next() {
  if (state_ == nullptr || !state_->status.ok()) return false;
  bool stands = state_->scan.next();
  while (stands && !state_->scan.still_there()) stands = state_->scan.next();
  settle(stands);
  return valid_;
}

bool Cursor::prev() {
  if (state_ == nullptr || !state_->status.ok()) return false;
  bool stands = state_->scan.back();
  while (stands && !state_->scan.still_there()) stands = state_->scan.back();
  settle(stands);
  return valid_;
}

void Cursor::begin() {
  bool stands = state_->scan.first();
  while (stands && !state_->scan.still_there()) stands = state_->scan.next();
  settle(stands);
}

detail::Shared* Cursor::object() const noexcept {
  if (!valid_ || state_->engine.objects() == nullptr) return nullptr;
  detail::Shared* object = engine::object_at(state_->scan.value());
  detail::share(object);
  return object;
}

Result<ByteView> Cursor::read() const {
  if (!valid_) return Status(Errc::invalid_argument, "the cursor stands on no entry");
  ByteView view;
  if (state_->engine.shape().payload == Payload::location) {
    const Result<bool> found = state_->scan.read(view);
    // not_found is said of entries only: no failure may be taken for it.
    if (found.is(Errc::not_found)) return Status(Errc::io_error, found.message());
    if (!found.ok()) return found.status();
    if (!*found) return Errc::not_found;
    return view;
  }
  store::ReadBuffer buffer;
  return store::make_view(value_, buffer);
}

Status Cursor::describe(const Status& status) const {
  return valid_ ? state_->scan.describe(status) : status;
}

Status Cursor::status() const {
  if (state_ == nullptr) {
    return key_.data() == nullptr ? base::not_open() : base::out_of_memory("no memory for a scan");
  }
  return state_->status.ok() ? state_->scan.status() : state_->status;
}

namespace {

Status api_cursor_refusal(const engine::Engine& engine) {
  if (engine.closed()) return base::not_open();
  if (!engine.shape().ordered) {
    return Status(Errc::unsupported, "a map has no order: use for_each");
  }
  return {};
}

}  // namespace

Cursor Collection::cursor_within(const Bound<Bytes>& first, const Bound<Bytes>& last,
                                 std::uint8_t fill, bool descending) const {
  Cursor cursor;
  if (engine_ == nullptr) return cursor;
  Status refusal = api_cursor_refusal(*engine_);
  const std::size_t key_size = engine_->shape().key_size;
  if (refusal.ok() && (first.key.size() > key_size || last.key.size() > key_size)) {
    refusal = Status(Errc::invalid_argument, "a bound or prefix is longer than a key");
  }
  engine::ScanLimits limits;
  if (refusal.ok()) {
    limits.lower_bound = api_bound(first.kind);
    limits.upper_bound = api_bound(last.kind);
    limits.lower = api_full_key(first.key, key_size, 0);
    limits.upper = api_full_key(last.key, key_size, fill);
    limits.shard = engine_->router().shard_of_prefix(api_common_prefix(limits));
  }
  cursor.state_ = new (std::nothrow) Cursor::State(*engine_, std::move(limits), descending);
  if (cursor.state_ == nullptr) {
    cursor.key_ = "";  // tells status() why there is no state
    return cursor;
  }
  cursor.state_->status = std::move(refusal);
  if (cursor.state_->status.ok()) cursor.begin();
  return cursor;
}

Cursor Collection::cursor(const Bound<Bytes>& first, const Bound<Bytes>& last,
                          bool descending) const {
  return cursor_within(first, last, 0, descending);
}

Cursor Collection::prefix_cursor(Bytes prefix, bool descending) const {
  const auto bound = Bound<Bytes>::inclusive(prefix);
  return cursor_within(bound, bound, 0xff, descending);
}

// ---- Durability and care ----

Status Collection::flush_buffers() {
  return engine_ == nullptr ? base::not_open() : engine_->flush();
}

Status Collection::sync() { return engine_ == nullptr ? base::not_open() : engine_->sync(); }

std::uint64_t Collection::durable_sequence(Bytes key) const noexcept {
  if (engine_ == nullptr || key.size() != engine_->shape().key_size) return 0;
  const engine::Router& router = engine_->router();
  return engine_->durable_sequence(
      router.shard(key.data(), key.size(), router.hash(key.data(), key.size())));
}

std::uint64_t Collection::durable_sequence() const noexcept {
  if (engine_ == nullptr) return 0;
  std::uint64_t smallest = engine_->durable_sequence(0);
  for (std::uint32_t at = 1; at < engine_->shard_count(); ++at) {
    smallest = std::min(smallest, engine_->durable_sequence(at));
  }
  return smallest;
}

Status Collection::checkpoint() {
  return engine_ == nullptr ? base::not_open() : engine_->checkpoint();
}

Status Collection::warmup() { return engine_ == nullptr ? base::not_open() : engine_->warmup(); }

Stats Collection::stats() const { return engine_ == nullptr ? Stats() : engine_->stats(); }

Result<VerifyReport> Collection::verify() {
  if (engine_ == nullptr) return base::not_open();
  return engine_->verify();
}

Status Collection::rotate_key(const EncryptionKey& from, const EncryptionKey& to) {
  if (to.empty()) {
    return Status(Errc::invalid_argument,
                  "a collection is not decrypted by rotate_key(): make a copy (armdb decrypt)");
  }
  return engine_ == nullptr ? base::not_open() : engine_->rotate_key(from, to);
}

Status Collection::reencrypt(const EncryptionKey& key) {
  return engine_ == nullptr ? base::not_open() : engine_->reencrypt(key);
}

Status Collection::backup_to(std::string_view path, const EncryptionKey& key, Cipher cipher) {
  if (path.empty()) return Status(Errc::invalid_argument, "the path of a backup is empty");
  return engine_ == nullptr ? base::not_open() : engine_->backup_to(std::string(path), key, cipher);
}

Status Collection::compact() { return engine_ == nullptr ? base::not_open() : engine_->compact(); }

Result<bool> Collection::compact_step(std::uint64_t budget_bytes) {
  if (engine_ == nullptr) return base::not_open();
  return engine_->compact_step(budget_bytes);
}

}  // namespace armdb

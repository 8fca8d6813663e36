// The type-erased handle: checks of arguments, and calls to the engine.
#include "api/collection.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "base/log.hpp"
#include "engine/engine.hpp"
#include "engine/scan.hpp"

namespace armdb {

namespace {

Status closed_status() {
  return Status(Errc::closed, "the collection was closed, moved away or never opened");
}

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

// `key` filled up with zeros: the smallest key it begins.
std::vector<std::uint8_t> api_full_key(Bytes key, std::size_t size) {
  std::vector<std::uint8_t> full(size);
  if (!key.empty()) std::memcpy(full.data(), key.data(), std::min(key.size(), size));
  return full;
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
                                    const Config& config) {
  Result<std::unique_ptr<engine::Engine>> engine =
      engine::Engine::open(std::string(path), &shape, config);
  if (!engine.ok()) return std::move(engine).status();
  return Collection(engine->release());
}

Result<Collection> Collection::open_existing(std::string_view path, const Config& config) {
  Result<std::unique_ptr<engine::Engine>> engine =
      engine::Engine::open(std::string(path), nullptr, config);
  if (!engine.ok()) return std::move(engine).status();
  return Collection(engine->release());
}

Status Collection::close() { return engine_ == nullptr ? closed_status() : engine_->close(); }

Shape Collection::shape() const noexcept { return engine_ == nullptr ? Shape() : engine_->shape(); }

bool Collection::is_open() const noexcept { return engine_ != nullptr && !engine_->closed(); }

// ---- Arguments ----

Status Collection::check(Bytes key) const {
  if (engine_ == nullptr || engine_->closed()) return closed_status();
  const std::size_t wanted = engine_->shape().key_size;
  if (key.size() == wanted) return {};
  return Status(Errc::invalid_argument, "the key has " + std::to_string(key.size()) +
                                            " bytes, keys of this collection have " +
                                            std::to_string(wanted));
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
  return Status(Errc::invalid_argument, "the value has " + std::to_string(value.size()) +
                                            " bytes, values of this collection have " +
                                            std::to_string(shape.value_size));
}

// ---- Writes ----

Status Collection::put(Bytes key, Bytes value, WriteOptions options) {
  Status status = check(key, value);
  if (!status.ok()) return status;
  engine::WriteRequest request;
  request.key = key;
  request.value = value;
  return engine_->write(request, options.sync);
}

Status Collection::insert(Bytes key, Bytes value, WriteOptions options) {
  Status status = check(key, value);
  if (!status.ok()) return status;
  engine::WriteRequest request;
  request.key = key;
  request.value = value;
  request.when = engine::When::absent;
  return engine_->write(request, options.sync);
}

Status Collection::erase(Bytes key, WriteOptions options) {
  Status status = check(key);
  if (!status.ok()) return status;
  engine::WriteRequest request;
  request.key = key;
  request.erase = true;
  request.when = engine::When::present;
  return engine_->write(request, options.sync);
}

Status Collection::cas(Bytes key, Bytes expected, Bytes desired, WriteOptions options) {
  Status status = check(key, desired);
  if (!status.ok()) return status;
  engine::WriteRequest request;
  request.key = key;
  request.value = desired;
  request.when = engine::When::equal;
  request.expected = expected;
  return engine_->write(request, options.sync);
}

Status Collection::compare_erase(Bytes key, Bytes expected, WriteOptions options) {
  Status status = check(key);
  if (!status.ok()) return status;
  engine::WriteRequest request;
  request.key = key;
  request.erase = true;
  request.when = engine::When::equal;
  request.expected = expected;
  return engine_->write(request, options.sync);
}

Result<std::optional<ByteView>> Collection::exchange(Bytes key, Bytes value, WriteOptions options) {
  Status status = check(key, value);
  if (!status.ok()) return status;
  engine::WriteRequest request;
  request.key = key;
  request.value = value;
  bool had_old = false;
  request.had_old = &had_old;
  ByteView old;
  const Shape& shape = engine_->shape();
  if (shape.payload == Payload::location) {
    request.old_view = &old;
    status = engine_->write(request, options.sync);
  } else {
    // Made before the write, so that nothing can fail after it.
    store::ReadBuffer buffer;
    std::uint8_t small[ByteView::kInlineBytes];
    const bool fits = shape.value_size <= sizeof small;
    request.old_value = fits ? small : buffer.room(513 + shape.value_size);
    if (request.old_value == nullptr) return Status(Errc::out_of_memory, "no memory for a value");
    status = engine_->write(request, options.sync);
    if (status.ok() && had_old) {
      Result<ByteView> view = store::make_view({request.old_value, shape.value_size}, buffer);
      if (!view.ok()) return std::move(view).status();
      old = std::move(*view);
    }
  }
  if (!status.ok()) return status;
  std::optional<ByteView> result;
  if (had_old) result = std::move(old);
  return result;
}

Status Collection::put_many(std::span<const BytesPair> pairs, WriteOptions options) {
  // All sizes first: a wrong one must not leave half of the work done.
  if (engine_ == nullptr) return closed_status();
  for (const BytesPair& pair : pairs) {
    Status status = check(pair.key, pair.value);
    if (!status.ok()) return status;
  }
  Status status = engine_->put_many(pairs);
  return status.ok() && options.sync ? engine_->sync() : status;
}

// ---- Reads ----

Result<std::optional<ByteView>> Collection::get(Bytes key) const {
  Status status = check(key);
  if (!status.ok()) return status;
  const Shape& shape = engine_->shape();
  std::optional<ByteView> result;
  if (shape.payload == Payload::location) {
    ByteView view;
    const Result<bool> found = engine_->read_view(key, view);
    if (!found.ok()) return found.status();
    if (*found) result = std::move(view);
    return result;
  }
  if (shape.value_size <= ByteView::kInlineBytes) {
    std::uint8_t small[ByteView::kInlineBytes];
    if (engine_->find(key.data(), small)) result = ByteView::inlined({small, shape.value_size});
    return result;
  }
  store::SharedBlock* block = store::SharedBlock::make(shape.value_size);
  if (block == nullptr) return Status(Errc::out_of_memory, "no memory for a value");
  ByteView view = ByteView::adopt(block, {block->bytes(), shape.value_size});
  if (engine_->find(key.data(), block->bytes())) result = std::move(view);
  return result;
}

bool Collection::contains(Bytes key) const noexcept {
  return engine_ != nullptr && key.size() == engine_->shape().key_size &&
         engine_->find(key.data(), nullptr);
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

bool Collection::get_into(const std::uint8_t* key, std::uint8_t* value) const noexcept {
  return engine_ != nullptr && engine_->find(key, value);
}

void Collection::get_many(std::span<BytesLookup> lookups) const noexcept {
  for (BytesLookup& lookup : lookups) lookup.found = false;
  if (engine_ != nullptr) engine_->find_many(lookups);
}

std::size_t Collection::size() const noexcept { return engine_ == nullptr ? 0 : engine_->size(); }

Status Collection::for_each(FunctionRef<bool(Bytes key, Bytes value)> fn, bool with_values) const {
  if (!is_open()) return closed_status();
  return engine::UnorderedScan(*engine_).run(with_values, fn);
}

// ---- Cursors ----

struct Cursor::State {
  State(const engine::Engine& engine_in, engine::ScanLimits limits, bool descending)
      : engine(engine_in), scan(engine_in, std::move(limits), descending) {}
  explicit State(const engine::Engine& engine_in, Status failure)
      : engine(engine_in), scan(engine_in, {}, false), status(std::move(failure)) {}

  const engine::Engine& engine;
  engine::OrderedScan scan;
  Status status;
};

Cursor::Cursor(Cursor&& other) noexcept
    : state_(std::exchange(other.state_, nullptr)),
      key_(other.key_),
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
  settle(state_->scan.next());
  return valid_;
}

bool Cursor::prev() {
  if (state_ == nullptr || !state_->status.ok()) return false;
  settle(state_->scan.back());
  return valid_;
}

Result<ByteView> Cursor::read() const {
  if (!valid_) return Status(Errc::invalid_argument, "the cursor stands on no entry");
  ByteView view;
  if (state_->engine.shape().payload == Payload::location) {
    const Result<bool> found = state_->scan.read(view);
    if (!found.ok()) return found.status();
    if (!*found) return Errc::not_found;
    return view;
  }
  store::ReadBuffer buffer;
  return store::make_view(value_, buffer);
}

Status Cursor::status() const {
  if (state_ == nullptr) return closed_status();
  return state_->status.ok() ? state_->scan.status() : state_->status;
}

namespace {

Status api_cursor_refusal(const engine::Engine& engine) {
  if (engine.closed()) return closed_status();
  if (!engine.shape().ordered) {
    return Status(Errc::unsupported, "a map has no order: use for_each");
  }
  return {};
}

}  // namespace

Cursor Collection::cursor(const Bound<Bytes>& first, const Bound<Bytes>& last,
                          bool descending) const {
  Cursor cursor;
  if (engine_ == nullptr) return cursor;
  Status refusal = api_cursor_refusal(*engine_);
  const std::size_t key_size = engine_->shape().key_size;
  if (refusal.ok() && (first.key.size() > key_size || last.key.size() > key_size)) {
    refusal = Status(Errc::invalid_argument, "a bound is longer than a key");
  }
  if (!refusal.ok()) {
    cursor.state_ = new (std::nothrow) Cursor::State(*engine_, std::move(refusal));
    return cursor;
  }
  engine::ScanLimits limits;
  limits.lower_bound = api_bound(first.kind);
  limits.upper_bound = api_bound(last.kind);
  limits.lower = api_full_key(first.key, key_size);
  limits.upper = api_full_key(last.key, key_size);
  cursor.state_ = new (std::nothrow) Cursor::State(*engine_, std::move(limits), descending);
  if (cursor.state_ != nullptr) cursor.settle(cursor.state_->scan.first());
  return cursor;
}

Cursor Collection::prefix_cursor(Bytes prefix, bool descending) const {
  Cursor cursor;
  if (engine_ == nullptr) return cursor;
  Status refusal = api_cursor_refusal(*engine_);
  const std::size_t key_size = engine_->shape().key_size;
  if (refusal.ok() && prefix.size() > key_size) {
    refusal = Status(Errc::invalid_argument, "the prefix is longer than a key");
  }
  if (!refusal.ok()) {
    cursor.state_ = new (std::nothrow) Cursor::State(*engine_, std::move(refusal));
    return cursor;
  }
  engine::ScanLimits limits;
  limits.lower_bound = limits.upper_bound = index::Bound::inclusive;
  limits.lower = api_full_key(prefix, key_size);
  limits.upper.assign(key_size, 0xff);
  if (!prefix.empty()) std::memcpy(limits.upper.data(), prefix.data(), prefix.size());
  limits.shard = engine_->router().shard_of_prefix(prefix);
  cursor.state_ = new (std::nothrow) Cursor::State(*engine_, std::move(limits), descending);
  if (cursor.state_ != nullptr) cursor.settle(cursor.state_->scan.first());
  return cursor;
}

// ---- Durability and care ----

Status Collection::flush_buffers() {
  return engine_ == nullptr ? closed_status() : engine_->flush();
}

Status Collection::sync() { return engine_ == nullptr ? closed_status() : engine_->sync(); }

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
  return engine_ == nullptr ? closed_status() : engine_->checkpoint();
}

Status Collection::warmup() { return engine_ == nullptr ? closed_status() : engine_->warmup(); }

Stats Collection::stats() const { return engine_ == nullptr ? Stats() : engine_->stats(); }

Result<VerifyReport> Collection::verify() {
  if (engine_ == nullptr) return closed_status();
  return engine_->verify();
}

Status Collection::compact() { return engine_ == nullptr ? closed_status() : engine_->compact(); }

Result<bool> Collection::compact_step(std::uint64_t budget_bytes) {
  if (engine_ == nullptr) return closed_status();
  return engine_->compact_step(budget_bytes);
}

}  // namespace armdb

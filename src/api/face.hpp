// Faces: what all typed collections share.
//
// They turn keys and values into bytes, as the kind of `Values` says, and call Collection;
// durability, threads and errors are as there. Types that are decoded are default constructible.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

#include "api/collection.hpp"
#include "api/hook_adapter.hpp"
#include "api/key_traits.hpp"
#include "api/values.hpp"
#include "api/view.hpp"

namespace armdb {

// The store under a collection: Bitcask is the append-only log; Fixed has slots of one size that
// are written in place, which needs no compaction, but atomic() and WriteBatch need a log.
struct Bitcask {};
struct Fixed {};

// What the function given to migrate() returns for an entry.
template <class V> struct MigrateAction {
  MigrateVerdict verdict = MigrateVerdict::keep;
  V value{};
  static MigrateAction keep() { return {}; }
  static MigrateAction update(V value) { return {MigrateVerdict::update, std::move(value)}; }
  static MigrateAction erase() { return {MigrateVerdict::erase, V{}}; }
};

struct MigrateOptions {
  // Remembered when all is done: one to this version or an older one then does nothing. 0: none.
  std::uint32_t to_version = 0;
  // Called each 1024 entries: false stops, and migrate() answers `aborted`; and at the end.
  bool (*progress)(void* context, const MigrationProgress& progress) = nullptr;
  void* context = nullptr;
};

namespace detail {

// What the function given to update() and its kin returned: a value, or that it refuses.
template <class T> Result<T> answer_of(T answer) { return answer; }
template <class T> Result<T> answer_of(std::optional<T> answer) {
  return answer.has_value() ? Result<T>(std::move(*answer)) : Result<T>(Errc::aborted);
}
template <class T> Result<T> answer_of(Result<T> answer) { return answer; }

// Runs a program's functions inside the library, which may be built without exceptions: holds back
// what they throw until the library has let go of its locks and guards.
class Callbacks {
 public:
  // False when it threw.
  template <class F> bool run(F&& call) {
#if defined(__cpp_exceptions)
    try {
      call();
    } catch (...) {
      thrown_ = std::current_exception();
      return false;
    }
#else
    call();
#endif
    return true;
  }
  // Whether fn says to go on: it answers true, or nothing, and does not throw.
  template <class F, class... Args> bool ask(F&& fn, const Args&... args) {
    bool go_on = true;
    const bool returned = run([&] {
      if constexpr (std::is_void_v<decltype(fn(args...))>) {
        fn(args...);
      } else {
        go_on = static_cast<bool>(fn(args...));
      }
    });
    return returned && go_on;
  }
  void rethrow() {
    if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
  }

 private:
  std::exception_ptr thrown_;
};

// What an atomic block works with: the shard of its key, under its lock. Reads see the block's own
// writes. A key of another shard is shard_mismatch. Ends with the block. Of the options of its
// writes the time to live counts, of those of atomic() itself sync.
template <class K, class Values> class ShardHandle {
 public:
  using In = typename Values::In;
  using Out = typename Values::Out;
  explicit ShardHandle(AtomicCalls& calls) noexcept : calls_(calls) {}
  Status put(const K& key, const In& value, WriteOptions options = {}) {
    return write(key, value, {.kind = WriteKind::put}, options);
  }
  Status insert(const K& key, const In& value, WriteOptions options = {}) {
    return write(key, value, {.kind = WriteKind::insert}, options);
  }
  Status erase(const K& key) {
    return calls_.write({.key = KeyBytes<K>(key), .kind = WriteKind::erase}, {});
  }
  Result<std::optional<Out>> get(const K& key) const {
    std::optional<Out> out;
    Status decoded;
    const Result<bool> found = calls_.read(KeyBytes<K>(key), [&](Bytes value, Shared* object) {
      decoded = Values::decode(value, object, out.emplace());
    });
    if (!found.ok()) return found.status();
    if (!decoded.ok()) return calls_.describe(decoded, KeyBytes<K>(key));
    return out;
  }
  Result<bool> contains(const K& key) const { return calls_.contains(KeyBytes<K>(key)); }
  // fn(const V&) gives the new value, or refuses; see update() of the collection.
  template <class F> Status update(const K& key, F&& fn, WriteOptions options = {}) {
    Result<std::optional<Out>> old = get(key);
    if (!old.ok()) return std::move(old).status();
    if (!old->has_value()) return Errc::not_found;
    auto answer = answer_of(fn(Values::show(**old)));
    if (!answer.ok()) return answer.status();
    return write(key, *std::move(answer), {.kind = WriteKind::put, .keep_expiry = true}, options);
  }

 private:
  Status write(const K& key, const In& value, WriteCall call, WriteOptions options) {
    Encoded encoded;
    Status status = Values::encode(value, encoded);
    return status.ok() ? calls_.write(encoded.in(call, KeyBytes<K>(key)), options) : status;
  }
  AtomicCalls& calls_;
};

// An iterator's way from a cursor to an element; false when the entry is gone.
template <class K, class Values> struct FaceReader {
  static constexpr std::size_t kKeyBytes = key_traits<K>::size;
  using value_type = KeyValue<K, typename Values::Element>;
  static bool read(const Cursor& cursor, value_type& out) {
    out.key = key_traits<K>::decode(cursor.key().data());
    return Values::element(cursor, out.value);
  }
};

// Calls on keys and values, ordered or not. Those that name neither are Collection's.
template <Key K, class ValuesIn, bool kOrdered> class Face : protected Collection {
 public:
  using Values = ValuesIn;
  using key_type = K;
  using In = typename Values::In;    // what writes take
  using Out = typename Values::Out;  // what reads give
  using value_type = Out;
  using Handle = ShardHandle<K, Values>;
  static constexpr Shape kShape{key_traits<K>::size, Values::kValueSize, kOrdered,
                                Values::kPayload};
  using Collection::backup_to, Collection::checkpoint, Collection::clear, Collection::close,
      Collection::compact, Collection::compact_step, Collection::data_version, Collection::empty,
      Collection::flush_buffers, Collection::is_open, Collection::reencrypt, Collection::rotate_key,
      Collection::size, Collection::stats, Collection::sweep_expired, Collection::sync,
      Collection::tick, Collection::verify, Collection::warmup;
  // The handle without types.
  [[nodiscard]] Collection& collection() noexcept { return *this; }
  [[nodiscard]] const Collection& collection() const noexcept { return *this; }

  // ---- Writes ----
  Status put(const K& key, const In& value, WriteOptions options = {}) {
    return write_value(key, value, {.kind = WriteKind::put}, options);
  }
  // key_exists when it is there.
  Status insert(const K& key, const In& value, WriteOptions options = {}) {
    return write_value(key, value, {.kind = WriteKind::insert}, options);
  }
  // not_found when it is not there.
  Status erase(const K& key, WriteOptions options = {}) {
    return Collection::erase(KeyBytes<K>(key), options);
  }
  // Replaces, or erases, only when the stored value is `expected`: not_found, value_mismatch.
  // Const*, Zero*, Var*: as bytes; else with ==, or as encoded where there is none.
  Status cas(const K& key, const In& expected, const In& desired, WriteOptions options = {}) {
    return if_equal(key, expected, &desired, options);
  }
  Status compare_erase(const K& key, const In& expected, WriteOptions options = {}) {
    return if_equal(key, expected, nullptr, options);
  }

  // ---- Read, then write what depends on it ----
  // The value is read and the function called without a lock; the write happens only when nobody
  // wrote the key in between, else all is done again: the function may be called more than once.
  // It may refuse by returning std::optional or Result without a value: nothing changes, and the
  // answer is `aborted` or its error (a V that is a std::optional goes back in a Result). An
  // exception from it passes through, and nothing has changed. The time to live stays, unless
  // options give one.
  // fn(const V&) gives the new value; returns it. not_found when the key is not there.
  template <class F> Result<Out> update(const K& key, F&& fn, WriteOptions options = {}) {
    return modify(key, fn, options, false);
  }
  // The same, but returns the value before.
  template <class F> Result<Out> fetch_update(const K& key, F&& fn, WriteOptions options = {}) {
    return modify(key, fn, options, true);
  }
  // fn(std::optional<V>) gives the value to put, whether or not the key is there; returns it.
  // Without a value it refuses: nothing changes.
  template <class F> Result<Out> upsert(const K& key, F&& fn, WriteOptions options = {}) {
    Result<Out> result;
    Status status = rewrite(key, options, [&](std::optional<Out>& old, WriteCall&, Encoded& fresh) {
      std::optional<In> shown;
      if (old.has_value()) shown.emplace(Values::show(*old));
      return take_answer(answer_of(fn(std::move(shown))), result, fresh);
    });
    return status.ok() ? std::move(result) : Result<Out>(std::move(status));
  }
  // Puts, and gives the value before, if there was one.
  Result<std::optional<Out>> exchange(const K& key, const In& value, WriteOptions options = {}) {
    std::optional<Out> before;
    Status status = rewrite(key, options, [&](auto& old, WriteCall& call, Encoded& fresh) {
      before = std::move(old);
      call.keep_expiry = false;
      return Values::encode(value, fresh);
    });
    if (!status.ok()) return status;
    return before;
  }

  // ---- Groups ----
  // Calls fn(handle) under the lock of the key's shard: all its writes happen when it returns ok
  // (a Status, or nothing), or none, also after a crash. Other writers of the shard wait; it must
  // not call this collection except through the handle.
  template <class F> Status atomic(const K& key, F&& fn, WriteOptions options = {}) {
    Callbacks callbacks;
    const auto body = [&](AtomicCalls& calls) {
      Status status = Errc::aborted;
      Handle handle(calls);
      callbacks.run([&] {
        if constexpr (std::is_void_v<decltype(fn(handle))>) {
          fn(handle);
          status = Status();
        } else {
          status = fn(handle);
        }
      });
      return status;
    };
    Status status = Collection::atomic(KeyBytes<K>(key), body, options);
    callbacks.rethrow();
    return status;
  }
  // `range` is contiguous (a vector, an array, a span) and its elements are like std::pair: .first
  // and .second. Not atomic as a whole; of two entries with one key the later one wins.
  template <class Range> Status put_many(const Range& range, WriteOptions options = {}) {
    const std::span entries(std::data(range), std::size(range));
    return put_in_order(
        entries.size(), [&](std::size_t at) -> const auto& { return entries[at]; }, options);
  }
  // The same for very many: in a tree shard by shard in the order of keys, into full leaves, which
  // takes up to 32 bytes per entry beside the range unless it is in that order already.
  template <class Range> Status load(const Range& range, WriteOptions options = {}) {
    const std::span entries(std::data(range), std::size(range));
    const auto order = begin_load(entries.size(), [&](std::size_t at, std::uint8_t* out) {
      key_traits<K>::encode(entries[at].first, out);
    });
    if (!order.ok()) return order.status();
    const auto entry = [&](std::size_t at) -> const auto& {
      return entries[order->empty() ? at : (*order)[at]];
    };
    return put_in_order(entries.size(), entry, options);
  }

  // ---- Reads ----
  // Collections in memory: std::optional<V>, or TypedRef<T>, and it cannot fail. Var*: a Result.
  [[nodiscard]] auto get(const K& key) const {
    return Values::find(collection(), KeyBytes<K>(key), nullptr);
  }
  // Only a missing key gives the fallback; an error is an error.
  [[nodiscard]] auto get_or(const K& key, const In& fallback) const {
    auto value = get(key);
    if constexpr (requires { &Values::place; }) {
      return value.has_value() ? In(*value) : fallback;
    } else {
      if (!value.ok()) return Result<Out>(value.status());
      return value->has_value() ? Result<Out>(std::move(**value)) : Values::own(fallback);
    }
  }
  // Calls fn(const V&) with the value; false when the key is not there. Var* copy nothing. The
  // value ends with the call.
  template <class F> Result<bool> read(const K& key, F&& fn) const {
    if constexpr (std::is_same_v<In, Bytes>) {
      Callbacks callbacks;
      Result<bool> found = Collection::read(
          KeyBytes<K>(key), [&](Bytes value) { callbacks.run([&] { fn(value); }); });
      callbacks.rethrow();
      return found;
    } else {
      Result<std::optional<Out>> value = get_stamped(key, nullptr);
      if (!value.ok()) return std::move(value).status();
      if (value->has_value()) fn(Values::show(**value));
      return value->has_value();
    }
  }
  // Decodes nothing.
  [[nodiscard]] bool contains(const K& key) const noexcept {
    return Collection::contains(KeyBytes<K>(key));
  }
  // out[i] gets what get(keys[i]) gives, as std::optional or TypedRef. Where values are in memory
  // the cache misses of many keys overlap: several times the speed of single gets. Var* answer with
  // a Status and stop at the first error.
  auto get_many(std::span<const K> keys, std::span<typename Values::Slot> out) const {
    const std::size_t count = keys.size() < out.size() ? keys.size() : out.size();
    if constexpr (requires { &Values::place; }) {
      std::uint8_t bytes[kRound][key_traits<K>::size];
      BytesLookup lookups[kRound];
      for (std::size_t first = 0; first < count; first += kRound) {
        const std::size_t round = count - first < kRound ? count - first : kRound;
        for (std::size_t at = 0; at < round; ++at) {
          key_traits<K>::encode(keys[first + at], bytes[at]);
          lookups[at] = {bytes[at], Values::place(out[first + at]), false};
        }
        Collection::get_many({lookups, round});
        for (std::size_t at = 0; at < round; ++at) {
          if (!lookups[at].found) out[first + at] = {};
        }
      }
    } else {
      for (std::size_t at = 0; at < count; ++at) {
        auto value = get(keys[at]);
        if (!value.ok()) return Status(value.status());
        out[at] = std::move(*value);
      }
      return Status();
    }
  }
  // Calls fn(const K&, const V&) for each entry, in no order; fn may return false to stop. Writing
  // beside it is legal; entries that stay are seen exactly once. A value that cannot be read ends
  // the walk with its error.
  template <class F> Status for_each(F&& fn) const {
    Status failed;
    Callbacks callbacks;
    Status status = for_each_object(visitor(fn, failed, callbacks));
    callbacks.rethrow();
    return failed.ok() ? status : failed;
  }

  // ---- Expiry and the rest ----
  // When the entry expires, in milliseconds since 1970; kForever when it does not. not_found.
  Result<std::uint64_t> expires_at(const K& key) const {
    return Collection::expires_at(KeyBytes<K>(key));
  }
  // Takes the entry's expiry away. not_found.
  Status persist(const K& key, WriteOptions options = {}) {
    return Collection::persist(KeyBytes<K>(key), options);
  }
  [[nodiscard]] std::uint64_t durable_sequence(const K& key) const noexcept {
    return Collection::durable_sequence(KeyBytes<K>(key));
  }
  [[nodiscard]] std::uint64_t durable_sequence() const noexcept {
    return Collection::durable_sequence();
  }
  // Asks fn(const K&, const V&) -> MigrateAction<V> (Var*: <std::string>) about every entry that is
  // there now. See Collection::migrate() for what happens beside writers and after a crash.
  template <class F> Status migrate(F&& fn, MigrateOptions options = {}) {
    typename Values::Changed held{};
    Encoded encoded;
    Callbacks callbacks;
    const auto decide = [&](MigrateEntry& entry, MigrateVerdict& verdict) -> Status {
      bool returned = true;
      Status status = Values::view(entry.value, nullptr, [&](const auto& value) {
        returned = callbacks.run([&] {
          const K key = key_traits<K>::decode(entry.key.data());
          auto action = fn(key, value);
          verdict = action.verdict;
          held = std::move(action.value);
        });
      });
      if (!status.ok()) return describe(status, entry.key);
      if (!returned) return Errc::aborted;
      if (verdict != MigrateVerdict::update) return {};
      status = Values::encode(held, encoded);
      entry.fresh = encoded.bytes;
      entry.object = encoded.object.release();
      return status;
    };
    const auto report = [&](const MigrationProgress& progress) {
      return options.progress == nullptr ||
             callbacks.ask(options.progress, options.context, progress);
    };
    Status status = Collection::migrate(options.to_version, decide, report);
    callbacks.rethrow();
    return status;
  }

 protected:
  bool descending_ = true;  // of trees
  // A Collection::ObjectVisitor that calls fn with key and value.
  template <class F> auto visitor(F& fn, Status& failed, Callbacks& callbacks) const {
    return [this, &fn, &failed, &callbacks](Bytes key, Bytes bytes, Shared* object) {
      const K decoded = key_traits<K>::decode(key.data());
      bool go_on = true;
      failed = Values::view(bytes, object,
                            [&](const auto& value) { go_on = callbacks.ask(fn, decoded, value); });
      if (!failed.ok()) failed = describe(failed, key);
      return failed.ok() && go_on;
    };
  }

 private:
  static constexpr std::size_t kRound = 32;  // keys whose cache misses overlap
  Result<std::optional<Out>> get_stamped(const K& key, Stamp* seen) const {
    auto found = Values::find(collection(), KeyBytes<K>(key), seen);
    if constexpr (std::is_same_v<decltype(found), TypedRef<In>>) {
      return found ? std::optional<Out>(std::move(found)) : std::nullopt;
    } else {
      return found;
    }
  }
  // The rest of the call is given.
  Status write_value(const K& key, const In& value, WriteCall call, WriteOptions options) {
    Encoded encoded;
    Status status = Values::encode(value, encoded);
    return status.ok() ? write(encoded.in(call, KeyBytes<K>(key)), options) : status;
  }
  // Reads, lets change(old, call, fresh) say what to write, and writes it when nobody wrote
  // meanwhile; else all over again.
  template <class Change> Status rewrite(const K& key, WriteOptions options, Change change) {
    for (;;) {
      WriteCall call{.kind = WriteKind::if_unchanged, .keep_expiry = true};
      Result<std::optional<Out>> old = get_stamped(key, &call.seen);
      if (!old.ok()) return std::move(old).status();
      Encoded fresh;
      Status status = change(*old, call, fresh);
      if (!status.ok()) return status;
      status = write(fresh.in(call, KeyBytes<K>(key)), options);
      if (!status.is(Errc::value_mismatch)) return status;
    }
  }
  template <class A>
  static Status take_answer(Result<A> answer, Result<Out>& result, Encoded& fresh) {
    if (!answer.ok()) return answer.status();
    result = Values::own(static_cast<In>(*std::move(answer)));
    return result.ok() ? Values::encode(Values::show(*result), fresh) : result.status();
  }
  template <class F> Result<Out> modify(const K& key, F& fn, WriteOptions options, bool want_old) {
    Result<Out> after;
    Result<Out> before;
    Status status = rewrite(key, options, [&](auto& old, WriteCall&, Encoded& fresh) -> Status {
      if (!old.has_value()) return Errc::not_found;
      auto answer = answer_of(fn(Values::show(*old)));
      before = std::move(*old);
      return take_answer(std::move(answer), after, fresh);
    });
    if (!status.ok()) return status;
    return want_old ? std::move(before) : std::move(after);
  }
  // Without `desired` it erases.
  Status if_equal(const K& key, const In& expected, const In* desired, WriteOptions options) {
    if constexpr (!requires { &Values::same; }) {
      Encoded old;
      Encoded fresh;
      static_cast<void>(Values::encode(expected, old));
      if (desired != nullptr) static_cast<void>(Values::encode(*desired, fresh));
      const WriteKind kind = desired != nullptr ? WriteKind::cas : WriteKind::compare_erase;
      return write(fresh.in({.kind = kind, .expected = old.bytes}, KeyBytes<K>(key)), options);
    } else {
      return rewrite(key, options, [&](auto& old, WriteCall& call, Encoded& fresh) -> Status {
        if (!old.has_value()) return Errc::not_found;
        if (!Values::same(Values::show(*old), expected)) return Errc::value_mismatch;
        call.keep_expiry = false;
        if (desired != nullptr) return Values::encode(*desired, fresh);
        call.kind = WriteKind::erase_if_unchanged;
        return {};
      });
    }
  }
  // entry(i) gives the i-th pair.
  template <class EntryAt>
  Status put_in_order(std::size_t count, EntryAt entry, WriteOptions options) {
    std::uint8_t keys[kRound][key_traits<K>::size];
    Encoded encoded[kRound];
    BytesPair pairs[kRound];
    Status status;
    for (std::size_t first = 0; status.ok() && first < count;) {
      std::size_t at = 0;
      for (; status.ok() && at < kRound && first < count; ++at, ++first) {
        const auto& [key, value] = entry(first);
        key_traits<K>::encode(key, keys[at]);
        status = Values::encode(value, encoded[at]);
        pairs[at] = {Bytes(keys[at]), encoded[at].bytes, encoded[at].object.get()};
      }
      if (!status.ok()) return status;
      status = Collection::put_many({pairs, at}, {.sync = false, .ttl_ms = options.ttl_ms});
    }
    return status.ok() && options.sync ? sync() : status;
  }
};

template <class Base> class MapFace : public Base {
 public:
  // for_each() in pieces: calls fn for about `limit` entries from `cursor` on (0 at first) and
  // returns the cursor to go on with; 0 at the end. See Collection::scan().
  template <class F>
  Result<std::uint64_t> scan(std::uint64_t cursor, std::size_t limit, F&& fn) const {
    Status failed;
    Callbacks callbacks;
    Result<std::uint64_t> next =
        Collection::scan(cursor, limit, this->visitor(fn, failed, callbacks));
    callbacks.rethrow();
    return failed.ok() ? std::move(next) : Result<std::uint64_t>(std::move(failed));
  }
};

template <class Base> class TreeFace : public Base {
  using K = typename Base::key_type;
  static constexpr std::size_t kSize = key_traits<K>::size;

 public:
  using Range = KeyRange<FaceReader<K, typename Base::Values>>;
  using KeysRange = KeyRange<KeyReader<K>>;
  // Everything, from the largest key down when Config::reversed (the default).
  [[nodiscard]] Range iter() const { return {this->collection(), {}, {}, descending_}; }
  // Keys in [first, last).
  [[nodiscard]] Range range(const K& first, const K& last) const {
    return range_bounds(Bound<K>::inclusive(first), Bound<K>::exclusive(last));
  }
  [[nodiscard]] Range range_bounds(const Bound<K>& first, const Bound<K>& last) const {
    return {this->collection(), encoded_bound(first), encoded_bound(last), descending_};
  }
  // Keys whose encoded bytes begin with `prefix`.
  [[nodiscard]] Range prefix(Bytes prefix) const {
    return {this->collection(), prefix_bound<kSize>(prefix, 0), prefix_bound<kSize>(prefix, 0xff),
            descending_};
  }
  // Keys alone: no value is read from disk.
  [[nodiscard]] KeysRange keys() const { return {this->collection(), {}, {}, descending_}; }
  [[nodiscard]] KeysRange keys(const Bound<K>& first, const Bound<K>& last) const {
    return {this->collection(), encoded_bound(first), encoded_bound(last), descending_};
  }
  [[nodiscard]] KeysRange keys_with_prefix(Bytes prefix) const {
    return {this->collection(), prefix_bound<kSize>(prefix, 0), prefix_bound<kSize>(prefix, 0xff),
            descending_};
  }
  // Erase many keys, each one logged; return how many. See Collection::erase_range().
  Result<std::uint64_t> erase_range(const K& first, const K& last) {
    const KeyBytes<K> from(first);
    const KeyBytes<K> to(last);
    return Collection::erase_range(Bound<Bytes>::inclusive(from), Bound<Bytes>::exclusive(to));
  }
  Result<std::uint64_t> erase_prefix(Bytes prefix) { return Collection::erase_prefix(prefix); }

 protected:
  using Base::descending_;
};

template <Key K, class Values, bool kOrdered>
using OrderedFace =
    std::conditional_t<kOrdered, TreeFace<Face<K, Values, true>>, MapFace<Face<K, Values, false>>>;

// A whole collection type.
template <Key K, class Values, bool kOrdered, class Hook, class Store>
class Typed : public OrderedFace<K, Values, kOrdered> {
 public:
  static constexpr bool kFixed = std::is_same_v<Store, Fixed>;
  static_assert(!kFixed || Values::kPayload == Payload::value, "Fixed is for Const* and Zero*");
  using Config = std::conditional_t<kFixed, FixedConfig, armdb::Config>;
  // Opens the collection in the directory `path`, or creates it; recovers what a crash left.
  static Result<Typed> open(std::string_view path, const Config& config = {}) {
    static_assert(std::is_same_v<Hook, NoHook>, "this collection has a hook: use open_hooked()");
    return open_with(path, config, nullptr);
  }
  // `hook` must outlive the collection. With Hook::needs_init it is told of every live entry
  // before this returns.
  static Result<Typed> open_hooked(std::string_view path, const Config& config, Hook& hook) {
    auto* adapter = new (std::nothrow) HookAdapter<Hook, K, Values>(hook, config.log);
    if (adapter == nullptr) return Errc::out_of_memory;
    return open_with(path, config, adapter);
  }
  template <class F> Status atomic(const K& key, F&& fn, WriteOptions options = {}) {
    static_assert(!kFixed, "atomic() needs a log: use the Bitcask store");
    return OrderedFace<K, Values, kOrdered>::atomic(key, fn, options);
  }

 private:
  static Result<Typed> open_with(std::string_view path, const Config& config, detail::Hook* hook) {
    Shape shape = Typed::kShape;
    shape.fixed = kFixed;
    Result<Collection> opened =
        Collection::open(path, shape, config, Owned<detail::Hook>(hook), Values::kObjects);
    if (!opened.ok()) return std::move(opened).status();
    Typed self;
    self.collection() = std::move(*opened);
    self.descending_ = config.reversed;
    return self;
  }
};

}  // namespace detail
}  // namespace armdb

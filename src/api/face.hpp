// What all typed collections share: the calls that concern no single key, and the two families
// of values: Const* (bytes kept in memory) and Var* (bytes kept on disk).
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "api/collection.hpp"
#include "api/key_traits.hpp"
#include "api/view.hpp"

namespace armdb::detail {

// Calls on the whole collection. See Collection for their contracts.
class AnyFace {
 public:
  AnyFace() noexcept = default;

  [[nodiscard]] bool is_open() const noexcept { return collection_.is_open(); }
  [[nodiscard]] std::size_t size() const noexcept { return collection_.size(); }
  [[nodiscard]] bool empty() const noexcept { return collection_.empty(); }
  Status flush_buffers() { return collection_.flush_buffers(); }
  Status sync() { return collection_.sync(); }
  [[nodiscard]] std::uint64_t durable_sequence() const noexcept {
    return collection_.durable_sequence();
  }
  Status checkpoint() { return collection_.checkpoint(); }
  Status warmup() { return collection_.warmup(); }
  [[nodiscard]] Stats stats() const { return collection_.stats(); }
  Result<VerifyReport> verify() { return collection_.verify(); }
  Status compact() { return collection_.compact(); }
  Result<bool> compact_step(std::uint64_t budget_bytes) {
    return collection_.compact_step(budget_bytes);
  }
  Status close() { return collection_.close(); }

  // The handle without types.
  [[nodiscard]] Collection& collection() noexcept { return collection_; }
  [[nodiscard]] const Collection& collection() const noexcept { return collection_; }

 protected:
  explicit AnyFace(Collection collection) noexcept : collection_(std::move(collection)) {}

  Collection collection_;
};

// Calls on one key that are the same whatever a value is. `Value` is what a write takes.
template <Key K, class Value>
class KeyFace : public AnyFace {
 public:
  Status put(const K& key, const Value& value, WriteOptions options = {}) {
    return collection_.put(KeyBytes<K>(key), value, options);
  }
  Status insert(const K& key, const Value& value, WriteOptions options = {}) {
    return collection_.insert(KeyBytes<K>(key), value, options);
  }
  Status erase(const K& key, WriteOptions options = {}) {
    return collection_.erase(KeyBytes<K>(key), options);
  }
  Status cas(const K& key, const Value& expected, const Value& desired, WriteOptions options = {}) {
    return collection_.cas(KeyBytes<K>(key), expected, desired, options);
  }
  Status compare_erase(const K& key, const Value& expected, WriteOptions options = {}) {
    return collection_.compare_erase(KeyBytes<K>(key), expected, options);
  }
  [[nodiscard]] bool contains(const K& key) const noexcept {
    return collection_.contains(KeyBytes<K>(key));
  }
  using AnyFace::durable_sequence;
  [[nodiscard]] std::uint64_t durable_sequence(const K& key) const noexcept {
    return collection_.durable_sequence(KeyBytes<K>(key));
  }

  // `range` is contiguous (a vector, an array, a span) and its elements are like std::pair: .first
  // and .second. Not atomic as a whole; of two entries with one key the later one wins.
  template <class Range>
  Status put_many(const Range& range, WriteOptions options = {}) {
    std::span entries(std::data(range), std::size(range));
    constexpr std::size_t kRound = 64;
    std::uint8_t keys[kRound][key_traits<K>::size];
    BytesPair pairs[kRound];
    while (!entries.empty()) {
      const std::size_t count = entries.size() < kRound ? entries.size() : kRound;
      for (std::size_t at = 0; at < count; ++at) {
        key_traits<K>::encode(entries[at].first, keys[at]);
        pairs[at] = {Bytes(keys[at]), Bytes(entries[at].second)};
      }
      entries = entries.subspan(count);
      Status status = collection_.put_many({pairs, count}, {});
      if (!status.ok()) return status;
    }
    return options.sync ? collection_.sync() : Status();
  }

 protected:
  KeyFace() noexcept = default;
  using AnyFace::AnyFace;
};

// Values of one size, kept in memory. Reads cannot fail, and take no lock.
template <Key K, class V, bool kOrdered>
class ConstFace : public KeyFace<K, V> {
 public:
  using key_type = K;
  using value_type = V;
  static constexpr Shape kShape{key_traits<K>::size, sizeof(V), kOrdered, Payload::value};

  [[nodiscard]] std::optional<V> get(const K& key) const noexcept {
    std::optional<V> value(std::in_place);
    if (!this->collection_.get_into(KeyBytes<K>(key).data(), value->data())) value.reset();
    return value;
  }
  [[nodiscard]] V get_or(const K& key, const V& fallback) const noexcept {
    V value;
    return this->collection_.get_into(KeyBytes<K>(key).data(), value.data()) ? value : fallback;
  }
  // Puts and gives the value before, if there was one.
  Result<std::optional<V>> exchange(const K& key, const V& value, WriteOptions options = {}) {
    Result<std::optional<ByteView>> old =
        this->collection_.exchange(KeyBytes<K>(key), value, options);
    if (!old.ok()) return std::move(old).status();
    std::optional<V> result;
    if (*old) std::memcpy(result.emplace().data(), (*old)->data(), sizeof(V));
    return result;
  }
  // out[i] gets the value of keys[i]; `out` must be as long as `keys`. Cache misses overlap:
  // several times the speed of single gets.
  void get_many(std::span<const K> keys, std::span<std::optional<V>> out) const noexcept {
    constexpr std::size_t kRound = 64;
    std::uint8_t bytes[kRound][key_traits<K>::size];
    BytesLookup lookups[kRound];
    while (!keys.empty() && !out.empty()) {
      std::size_t count = keys.size() < kRound ? keys.size() : kRound;
      if (count > out.size()) count = out.size();
      for (std::size_t at = 0; at < count; ++at) {
        key_traits<K>::encode(keys[at], bytes[at]);
        lookups[at] = {bytes[at], out[at].emplace().data(), false};
      }
      this->collection_.get_many({lookups, count});
      for (std::size_t at = 0; at < count; ++at) {
        if (!lookups[at].found) out[at].reset();
      }
      keys = keys.subspan(count);
      out = out.subspan(count);
    }
  }

 protected:
  ConstFace() noexcept = default;
  explicit ConstFace(Collection collection) noexcept : KeyFace<K, V>(std::move(collection)) {}
  static_assert(std::is_same_v<V, ByteArray<sizeof(V)>>,
                "values of Const* are ByteArray<N>; for other lengths use VarTree or VarMap");
};

// Values of any length up to 1 GiB, kept on disk; the index holds where they lie.
template <Key K, bool kOrdered>
class VarFace : public KeyFace<K, Bytes> {
 public:
  using key_type = K;
  using value_type = ByteView;
  static constexpr Shape kShape{key_traits<K>::size, 0, kOrdered, Payload::location};

  // An owned copy, or a share of the mapped segment where the value is long.
  [[nodiscard]] Result<std::optional<ByteView>> get(const K& key) const {
    return this->collection_.get(KeyBytes<K>(key));
  }
  // An error is an error; only a missing key gives the fallback, which is copied.
  [[nodiscard]] Result<ByteView> get_or(const K& key, Bytes fallback) const {
    Result<std::optional<ByteView>> value = get(key);
    if (!value.ok()) return std::move(value).status();
    return value->has_value() ? Result<ByteView>(std::move(**value)) : make_view(fallback);
  }
  // Calls fn(Bytes) with the value and copies nothing; false when the key is not there. The bytes
  // end with the call.
  template <class F>
  Result<bool> read(const K& key, F&& fn) const {
    return this->collection_.read(KeyBytes<K>(key), fn);
  }
  Result<std::optional<ByteView>> exchange(const K& key, Bytes value, WriteOptions options = {}) {
    return this->collection_.exchange(KeyBytes<K>(key), value, options);
  }
  // out[i] gets what get(keys[i]) gives; stops at the first error.
  Status get_many(std::span<const K> keys, std::span<std::optional<ByteView>> out) const {
    for (std::size_t at = 0; at < keys.size() && at < out.size(); ++at) {
      Result<std::optional<ByteView>> value = get(keys[at]);
      if (!value.ok()) return std::move(value).status();
      out[at] = std::move(*value);
    }
    return {};
  }

 protected:
  VarFace() noexcept = default;
  explicit VarFace(Collection collection) noexcept : KeyFace<K, Bytes>(std::move(collection)) {}
};

// Order: ranges over a face whose elements `Reader` makes.
template <class Base, Key K, class Reader>
class TreeFace : public Base {
 public:
  using Range = KeyRange<Reader>;
  using KeysRange = KeyRange<KeyReader<K>>;
  using EncodedKey = ByteArray<key_traits<K>::size>;

  // Everything, from the largest key down when Config::reversed (the default).
  [[nodiscard]] Range iter() const { return {this->collection_, {}, {}, descending_}; }
  // Keys in [first, last).
  [[nodiscard]] Range range(const K& first, const K& last) const {
    return range_bounds(Bound<K>::inclusive(first), Bound<K>::exclusive(last));
  }
  [[nodiscard]] Range range_bounds(const Bound<K>& first, const Bound<K>& last) const {
    return {this->collection_, encoded_bound(first), encoded_bound(last), descending_};
  }
  // Keys whose encoded bytes begin with `prefix`.
  [[nodiscard]] Range prefix(Bytes prefix) const {
    return {this->collection_, prefix, descending_};
  }
  // Keys alone: no value is read from disk.
  [[nodiscard]] KeysRange keys() const { return {this->collection_, {}, {}, descending_}; }
  [[nodiscard]] KeysRange keys(const Bound<K>& first, const Bound<K>& last) const {
    return {this->collection_, encoded_bound(first), encoded_bound(last), descending_};
  }
  [[nodiscard]] KeysRange keys_with_prefix(Bytes prefix) const {
    return {this->collection_, prefix, descending_};
  }

 protected:
  TreeFace() noexcept = default;
  TreeFace(Collection collection, bool descending) noexcept
      : Base(std::move(collection)), descending_(descending) {}

 private:
  bool descending_ = true;
};

}  // namespace armdb::detail

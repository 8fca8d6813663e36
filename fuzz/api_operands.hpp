// What fuzz_api works with: its input, keys and values, and the calls of a handle that is closed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "armdb.hpp"

namespace fuzz {

using namespace armdb;

inline constexpr std::size_t kKeys = 64;
inline constexpr std::uint64_t kPast = 1;  // an expiry that is over on every clock

inline void require(bool holds, const char* what, const Status& status = {}) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s %s\n", what, status.message().c_str());
  std::abort();
}

inline void same(const Status& status, Errc answer, const char* what) {
  require(status.is(answer), what, status);
}

struct Point {
  std::uint32_t x, y;
  friend bool operator==(const Point&, const Point&) = default;
};

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  [[nodiscard]] bool empty() const { return at_ >= size_; }
  std::uint8_t byte() { return at_ < size_ ? data_[at_++] : 0; }
  // Small ones, powers of two, and the ends of the range.
  std::uint64_t number() {
    const std::uint8_t choice = byte();
    if (choice < 128) return choice;
    if (choice < 192) return std::uint64_t{1} << (choice - 128);
    return ~std::uint64_t{0} - (choice - 192);
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t at_ = 0;
};

// ---- Keys: 4 bytes that share prefixes, and what follows them ----

inline constexpr ByteArray<4> head_of(std::size_t number) {
  return {static_cast<std::uint8_t>(number >> 4), static_cast<std::uint8_t>(number >> 2 & 3),
          static_cast<std::uint8_t>(number & 3), 0xff};
}
template <class K> K key_of(std::size_t number) {
  std::uint8_t bytes[key_traits<K>::size] = {};
  const auto head = head_of(number);
  std::memcpy(bytes, head.data(), head.size());
  return key_traits<K>::decode(bytes);
}
template <class K> std::size_t number_of(const K& key) {
  std::uint8_t bytes[key_traits<K>::size];
  key_traits<K>::encode(key, bytes);
  const std::size_t number = bytes[0] * std::size_t{16} + bytes[1] * std::size_t{4} + bytes[2];
  require(number < kKeys && key_of<K>(number) == key, "keys are those that were written");
  return number;
}

// ---- Values as the model keeps them ----

inline Point own(const Point& value) { return value; }
inline std::string own(const std::string& value) { return value; }
inline std::string own(const TypedRef<std::string>& value) { return *value; }
inline std::string own(Bytes value) { return std::string(value.text()); }
inline std::string own(const ByteView& value) { return std::string(value.text()); }

template <class C>
using Own = std::conditional_t<std::is_same_v<typename C::In, Point>, Point, std::string>;

// What get() gave, in any of its forms.
template <class Own, class Got> std::optional<Own> got(const Got& result) {
  if constexpr (requires { result.status(); }) {
    require(result.ok(), "reads", result.status());
    return got<Own>(*result);
  } else {
    return result.has_value() ? std::optional<Own>(own(*result)) : std::nullopt;
  }
}

template <class V> struct Entry {
  V value;
  bool expired = false;
  bool forever = true;
};

// Calls of a handle that is closed, or that was moved from.
template <class C> void all_closed(C& handle) {
  using K = typename C::key_type;
  using V = Own<C>;
  using In = typename C::In;
  const K key = key_of<K>(0);
  const V fresh{};
  same(handle.put(key, In(fresh)), Errc::closed, "put");
  same(handle.insert(key, In(fresh)), Errc::closed, "insert");
  same(handle.erase(key), Errc::closed, "erase");
  require(!handle.cas(key, In(fresh), In(fresh)).ok(), "cas");
  same(handle.sync(), Errc::closed, "sync");
  same(handle.flush_buffers(), Errc::closed, "flush_buffers");
  same(handle.checkpoint(), Errc::closed, "checkpoint");
  same(handle.compact(), Errc::closed, "compact");
  same(handle.compact_step(1).status(), Errc::closed, "compact_step");
  same(handle.warmup(), Errc::closed, "warmup");
  same(handle.verify().status(), Errc::closed, "verify");
  same(handle.tick(), Errc::closed, "tick");
  same(handle.clear().status(), Errc::closed, "clear");
  same(handle.sweep_expired(1).status(), Errc::closed, "sweep_expired");
  same(handle.persist(key), Errc::closed, "persist");
  same(handle.expires_at(key).status(), Errc::closed, "expires_at");
  same(handle.close(), Errc::closed, "close");
  same(handle.backup_to("/never", {}), Errc::closed, "backup_to");
  require(!handle.collection().rotate_key({}, {}).ok(), "rotate_key");
  require(!handle.collection().reencrypt({}).ok(), "reencrypt");
  require(!handle.is_open(), "is_open");
  static_cast<void>(handle.get(key));
  static_cast<void>(handle.stats());
  static_cast<void>(handle.size());
  static_cast<void>(handle.data_version());
  static_cast<void>(handle.durable_sequence(key));
  static_cast<void>(handle.for_each([](const K&, const auto&) {}));
  const std::vector<std::pair<K, V>> entries = {{key, fresh}};
  same(handle.put_many(entries), Errc::closed, "put_many");
  same(handle.load(entries), Errc::closed, "load");
  if constexpr (!C::kFixed) {
    same(handle.atomic(key, [](auto&) {}), Errc::closed, "atomic");
    WriteBatch<C> batch(handle);
    static_cast<void>(batch.put(key, In(fresh)));
    same(batch.commit(), Errc::closed, "commit");
  }
  if constexpr (C::kShape.ordered) {
    for (const auto& entry : handle.iter()) static_cast<void>(entry);
    for (const auto& entry : handle.prefix("")) static_cast<void>(entry);
    same(handle.erase_range(key, key).status(), Errc::closed, "erase_range");
    same(handle.erase_prefix("").status(), Errc::closed, "erase_prefix");
  } else {
    static_cast<void>(handle.scan(0, 1, [](const K&, const auto&) {}));
  }
}

}  // namespace fuzz

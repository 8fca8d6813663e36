// key_traits<K>: how a type becomes a key of fixed width whose byte order is its order.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "core/bytes.hpp"

namespace armdb {

namespace detail {
// An enum's integer; of others T itself.
template <class T>
using NumberOf = typename std::conditional_t<std::is_enum_v<T>, std::underlying_type<T>,
                                             std::type_identity<T>>::type;
}  // namespace detail

// Specialise for your own key types:
//   template <> struct armdb::key_traits<Point> {
//     static constexpr std::size_t size = 8;
//     static void encode(const Point& point, std::uint8_t* out);   // writes `size` bytes
//     static Point decode(const std::uint8_t* in);                 // reads them back
//   };
// Trees order keys by their encoded bytes, first byte first.
template <class K> struct key_traits;
template <std::size_t N> struct key_traits<ByteArray<N>> {
  static_assert(N >= 1 && N <= 1024, "keys have 1 to 1024 bytes");
  static constexpr std::size_t size = N;
  static void encode(const ByteArray<N>& key, std::uint8_t* out) noexcept {
    std::memcpy(out, key.data(), N);
  }
  static ByteArray<N> decode(const std::uint8_t* in) noexcept {
    ByteArray<N> key;
    std::memcpy(key.data(), in, N);
    return key;
  }
};

// Integers, and enums as theirs: big-endian, signed ones with the sign bit flipped, so that byte
// order is their order.
template <class K>
requires((std::integral<K> && !std::same_as<K, bool>) || std::is_enum_v<K>) struct key_traits<K> {
  using Number = detail::NumberOf<K>;
  using Unsigned = std::make_unsigned_t<Number>;
  static constexpr std::size_t size = sizeof(K);
  static constexpr auto kFlip =
      static_cast<Unsigned>(std::is_signed_v<Number> ? std::uint64_t{1} << (8 * sizeof(K) - 1) : 0);
  static void encode(K key, std::uint8_t* out) noexcept {
    std::uint64_t bits = static_cast<Unsigned>(static_cast<Unsigned>(key) ^ kFlip);
    for (std::size_t at = size; at-- > 0; bits >>= 8) out[at] = static_cast<std::uint8_t>(bits);
  }
  static K decode(const std::uint8_t* in) noexcept {
    std::uint64_t bits = 0;
    for (std::size_t at = 0; at < size; ++at) bits = (bits << 8) | in[at];
    return static_cast<K>(static_cast<Unsigned>(static_cast<Unsigned>(bits) ^ kFlip));
  }
};

// A type with a key_traits of 1 to 1024 bytes.
template <class K>
concept Key = requires(const K& key, std::uint8_t* out, const std::uint8_t* in) {
  { key_traits<K>::size } -> std::convertible_to<std::size_t>;
  key_traits<K>::encode(key, out);
  { key_traits<K>::decode(in) } -> std::convertible_to<K>;
  requires key_traits<K>::size >= 1 && key_traits<K>::size <= 1024;
};

namespace detail {

// The encoded form of a key while a call lasts.
template <Key K> class KeyBytes {
 public:
  explicit KeyBytes(const K& key) noexcept { key_traits<K>::encode(key, bytes_); }
  operator Bytes() const noexcept { return {bytes_, key_traits<K>::size}; }  // NOLINT
  [[nodiscard]] const std::uint8_t* data() const noexcept { return bytes_; }

 private:
  std::uint8_t bytes_[key_traits<K>::size];
};

}  // namespace detail
}  // namespace armdb

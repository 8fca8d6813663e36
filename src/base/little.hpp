// Integers in byte order: little-endian for files, big-endian for keys, on any machine.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace armdb::base {

template <class T> [[nodiscard]] constexpr T byte_swapped(T value) noexcept {
  static_assert(std::is_unsigned_v<T>);
  if constexpr (sizeof(T) == 1) return value;
  if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
}

template <class T> [[nodiscard]] inline T load_little(const std::uint8_t* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof value);
  return std::endian::native == std::endian::little ? value : byte_swapped(value);
}

template <class T>
inline void store_little(std::uint8_t* to, std::type_identity_t<T> value) noexcept {
  if constexpr (std::endian::native != std::endian::little) value = byte_swapped(value);
  std::memcpy(to, &value, sizeof value);
}

template <class T> [[nodiscard]] inline T load_big(const std::uint8_t* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof value);
  return std::endian::native == std::endian::big ? value : byte_swapped(value);
}

template <class T> inline void store_big(std::uint8_t* to, std::type_identity_t<T> value) noexcept {
  if constexpr (std::endian::native != std::endian::big) value = byte_swapped(value);
  std::memcpy(to, &value, sizeof value);
}

}  // namespace armdb::base

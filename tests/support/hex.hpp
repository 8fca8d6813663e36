// Bytes from hexadecimal digits, as standards print their test vectors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/bytes.hpp"

namespace armdb::test {

// Blanks are skipped.
inline std::vector<std::uint8_t> from_hex(std::string_view digits) {
  std::vector<std::uint8_t> bytes;
  unsigned value = 0;
  std::size_t count = 0;
  for (const char digit : digits) {
    if (digit == ' ') continue;
    value = value << 4 | static_cast<unsigned>(digit <= '9' ? digit - '0' : digit - 'a' + 10);
    if (++count % 2 == 0) bytes.push_back(static_cast<std::uint8_t>(value));
  }
  return bytes;
}

// The first bytes of `digits` as an array.
template <std::size_t N> ByteArray<N> array_from_hex(std::string_view digits) {
  const std::vector<std::uint8_t> bytes = from_hex(digits);
  ByteArray<N> array{};
  for (std::size_t i = 0; i < N && i < bytes.size(); ++i) array[i] = bytes[i];
  return array;
}

}  // namespace armdb::test

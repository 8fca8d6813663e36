// Values for tests with many threads: each is a number, and says so in every byte, so that a value
// that is a mixture shows. The same for all kinds of collections.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "armdb.hpp"

namespace armdb::test {

inline constexpr std::uint64_t kTorn = ~std::uint64_t{0};

struct TextCodec {
  static std::size_t size(const std::string& text) { return text.size(); }
  static Status encode(const std::string& text, MutableBytes out) {
    std::copy(text.begin(), text.end(), out.begin());
    return {};
  }
  static Status decode(Bytes in, std::string& out) {
    out = in.text();
    return {};
  }
};

using NumberArray = ByteArray<40>;

inline void make(std::uint64_t number, NumberArray& value) {
  for (std::size_t at = 0; at < 5; ++at) {
    const std::uint64_t word = at == 0 ? number : number * 0x9e3779b97f4a7c15u + at;
    std::memcpy(value.data() + at * 8, &word, 8);
  }
}
// From 8 bytes, which fit into a ByteView, to some hundred.
inline void make(std::uint64_t number, std::string& value) {
  value = std::to_string(number) + ':';
  value.resize(value.size() + number * number % 331, static_cast<char>('a' + number % 26));
}
inline std::uint64_t number_of(const NumberArray& value) {
  std::uint64_t number = 0;
  std::memcpy(&number, value.data(), 8);
  NumberArray right;
  make(number, right);
  return right == value ? number : kTorn;
}
inline std::uint64_t number_of(std::string_view value) {
  std::uint64_t number = 0;
  for (std::size_t at = 0; at < value.size() && value[at] != ':'; ++at) {
    number = number * 10 + static_cast<unsigned char>(value[at]) - '0';
  }
  std::string right;
  make(number, right);
  return right == value ? number : kTorn;
}
inline std::uint64_t number_of(const std::string& value) {
  return number_of(std::string_view(value));
}
inline std::uint64_t number_of(Bytes value) { return number_of(value.text()); }
inline std::uint64_t number_of(const ByteView& value) { return number_of(value.text()); }
template <class T> std::uint64_t number_of(const TypedRef<T>& value) { return number_of(*value); }
// What is optional in one way or another; 0: not there.
template <class T> std::uint64_t number_of(const std::optional<T>& value) {
  return value.has_value() ? number_of(*value) : 0;
}
template <class T> std::uint64_t number_of(const Result<T>& value) {
  return value.ok() ? number_of(*value) : kTorn;
}
template <class T> std::uint64_t number_in(const T& found) { return number_of(found); }
template <class T> std::uint64_t number_in(const TypedRef<T>& found) {
  return found ? number_of(*found) : 0;
}
template <class T> std::uint64_t number_in(const std::optional<TypedRef<T>>& found) {
  return found.has_value() ? number_in(*found) : 0;
}

}  // namespace armdb::test

// Views of bytes: Bytes (read-only), MutableBytes, and ByteArray<N>, the plain fixed-width key.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <span>
#include <string_view>
#include <type_traits>

namespace armdb {

class Bytes;

// A fixed-width key or value. Keys compare as unsigned bytes, first byte first.
template <std::size_t N> using ByteArray = std::array<std::uint8_t, N>;
using MutableBytes = std::span<std::uint8_t>;

namespace detail {

struct Shared;

template <class T>
concept ByteLike = sizeof(T) == 1 && !std::is_same_v<T, bool> &&
                   (std::is_integral_v<T> || std::is_same_v<T, std::byte>);
constexpr const std::uint8_t* as_bytes(const std::uint8_t* data) noexcept { return data; }
template <ByteLike T> const std::uint8_t* as_bytes(const T* data) noexcept {
  return reinterpret_cast<const std::uint8_t*>(data);
}
// Not arrays: of a literal the bytes are those before its NUL.
template <class R>
concept ByteRange = !std::is_same_v<R, Bytes> && !std::is_array_v<R> &&
                    !std::is_convertible_v<const R&, const char*> && requires(const R& range) {
  std::size(range);
  as_bytes(std::data(range));
};

}  // namespace detail

// A read-only view of bytes that somebody else owns. Any contiguous range of bytes or chars
// converts to it; a C string or a literal is taken up to its NUL.
class Bytes {
 public:
  constexpr Bytes() noexcept = default;
  constexpr Bytes(const std::uint8_t* data, std::size_t size) noexcept : data_(data), size_(size) {}
  // NOLINTBEGIN(google-explicit-constructor): views are meant to be made by the way
  Bytes(std::nullptr_t) = delete;
  Bytes(const char* text) noexcept : data_(detail::as_bytes(text)), size_(std::strlen(text)) {}
  template <detail::ByteRange R>
  constexpr Bytes(const R& range) noexcept
      : data_(detail::as_bytes(std::data(range))), size_(std::size(range)) {}
  template <std::size_t N>
  constexpr Bytes(const std::uint8_t (&array)[N]) noexcept : data_(array), size_(N) {}
  // NOLINTEND(google-explicit-constructor)
  [[nodiscard]] constexpr const std::uint8_t* data() const noexcept { return data_; }
  [[nodiscard]] constexpr std::size_t size() const noexcept { return size_; }
  [[nodiscard]] constexpr bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] constexpr const std::uint8_t* begin() const noexcept { return data_; }
  [[nodiscard]] constexpr const std::uint8_t* end() const noexcept { return data_ + size_; }
  [[nodiscard]] constexpr std::uint8_t operator[](std::size_t i) const noexcept { return data_[i]; }
  // The bytes from `offset`, at most `count` of them; empty when `offset` is past the end.
  [[nodiscard]] constexpr Bytes sub(std::size_t offset, std::size_t count = ~std::size_t{0}) const {
    if (offset >= size_) return {};
    return {data_ + offset, count < size_ - offset ? count : size_ - offset};
  }
  [[nodiscard]] std::string_view text() const noexcept {
    return {reinterpret_cast<const char*>(data_), size_};
  }
  friend bool operator==(Bytes a, Bytes b) noexcept {
    return a.size_ == b.size_ && (a.size_ == 0 || std::memcmp(a.data_, b.data_, a.size_) == 0);
  }

 private:
  const std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

// One question of Collection::get_many. `key` has the key size, `value` the value size or is null.
struct BytesLookup {
  const std::uint8_t* key = nullptr;
  std::uint8_t* value = nullptr;
  bool found = false;
};
struct BytesPair {
  Bytes key;
  Bytes value;
  detail::Shared* object = nullptr;  // the value decoded; for collections that keep it so
  std::uint64_t expires_at_ms = 0;   // since 1970; 0: as the options say
};

// Byte order of a and b: negative, zero or positive; a prefix comes before what it starts.
[[nodiscard]] inline int compare_bytes(Bytes a, Bytes b) noexcept {
  const std::size_t shared = a.size() < b.size() ? a.size() : b.size();
  const int order = shared == 0 ? 0 : std::memcmp(a.data(), b.data(), shared);
  return order != 0 ? order : int{a.size() > b.size()} - int{a.size() < b.size()};
}

}  // namespace armdb

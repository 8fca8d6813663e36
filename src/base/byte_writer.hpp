// ByteWriter: puts fields one after the other into a buffer of known size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "base/little.hpp"
#include "core/bytes.hpp"

namespace armdb::base {

// The first field that does not fit sets overflow() for good; it and all after it are not
// written. Every byte of written() was put there by a call, none is left over from before.
//
// Threads: as an int.
class ByteWriter {
 public:
  explicit ByteWriter(MutableBytes buffer) noexcept : buffer_(buffer) {}

  // The type is always spelled out: it is the width on disk.
  template <class T> void little(std::type_identity_t<T> value) noexcept {
    if (std::uint8_t* to = room(sizeof(T))) store_little<T>(to, value);
  }

  void put(Bytes bytes) noexcept {
    if (bytes.empty()) return;  // memcpy from null is undefined even for no bytes
    if (std::uint8_t* to = room(bytes.size())) std::memcpy(to, bytes.data(), bytes.size());
  }

  void zeros(std::size_t count) noexcept {
    if (count == 0) return;
    if (std::uint8_t* to = room(count)) std::memset(to, 0, count);
  }

  [[nodiscard]] bool overflow() const noexcept { return overflow_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] Bytes written() const noexcept { return {buffer_.data(), size_}; }

 private:
  // Where the next `count` bytes go, or null.
  std::uint8_t* room(std::size_t count) noexcept {
    if (overflow_ || count > buffer_.size() - size_) {
      overflow_ = true;
      return nullptr;
    }
    std::uint8_t* to = buffer_.data() + size_;
    size_ += count;
    return to;
  }

  MutableBytes buffer_;
  std::size_t size_ = 0;
  bool overflow_ = false;
};

}  // namespace armdb::base

// ByteReader: takes fields off the front of untrusted bytes; never steps outside them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/little.hpp"
#include "core/bytes.hpp"

namespace armdb::base {

// The first field that does not fit makes the reader failed for good; from then on every field
// is zero and every span empty. So a parser takes all fields, then judges once.
//
// Threads: as an int.
class ByteReader {
 public:
  constexpr explicit ByteReader(Bytes bytes) noexcept : rest_(bytes) {}

  template <class T> [[nodiscard]] T little() noexcept {
    const Bytes field = take(sizeof(T));
    return field.size() == sizeof(T) ? load_little<T>(field.data()) : T{0};
  }

  // The next `count` bytes. Any count may be asked for: it is compared, never added.
  [[nodiscard]] Bytes take(std::uint64_t count) noexcept {
    if (failed_ || count > rest_.size()) {
      failed_ = true;
      rest_ = Bytes();
      return {};
    }
    const Bytes taken(rest_.data(), static_cast<std::size_t>(count));
    rest_ = Bytes(rest_.data() + taken.size(), rest_.size() - taken.size());
    return taken;
  }

  void skip(std::uint64_t count) noexcept { static_cast<void>(take(count)); }

  // What was not taken yet.
  [[nodiscard]] Bytes rest() const noexcept { return rest_; }
  [[nodiscard]] std::size_t remaining() const noexcept { return rest_.size(); }
  [[nodiscard]] bool failed() const noexcept { return failed_; }

 private:
  Bytes rest_;
  bool failed_ = false;
};

}  // namespace armdb::base

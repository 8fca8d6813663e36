// Location: where an entry lies, in one word.
#pragma once

#include <bit>
#include <cstdint>

#include "base/check.hpp"

namespace armdb::base {

// File id (24 bits), offset in units of 8 bytes (32 bits), and about how long the entry is (8
// bits), so that dead bytes are counted and one read fetches all without looking at the entry.
// Entries start at multiples of 8; file ids begin at 1, so that zero means "nowhere".
class Location {
 public:
  static constexpr std::uint32_t kFileIdMax = (std::uint32_t{1} << 24) - 1;
  static constexpr std::uint64_t kOffsetMax = std::uint64_t{0xffffffff} * 8;

  constexpr Location() noexcept = default;
  constexpr explicit Location(std::uint64_t packed) noexcept : packed_(packed) {}
  constexpr Location(std::uint32_t file_id, std::uint64_t offset, std::uint64_t bytes) noexcept
      : packed_((static_cast<std::uint64_t>(file_id) << 40) | ((offset / 8) << 8) |
                size_code(bytes)) {
    ARMDB_ASSERT(file_id <= kFileIdMax && offset <= kOffsetMax && offset % 8 == 0);
  }

  [[nodiscard]] constexpr std::uint32_t file_id() const noexcept {
    return static_cast<std::uint32_t>(packed_ >> 40);
  }
  [[nodiscard]] constexpr std::uint64_t offset() const noexcept {
    return ((packed_ >> 8) & 0xffffffff) * 8;
  }
  // The entry's size rounded up, by an eighth at most.
  [[nodiscard]] constexpr std::uint64_t bytes_max() const noexcept {
    const std::uint64_t exponent = (packed_ >> 3) & 31;
    const std::uint64_t mantissa = packed_ & 7;
    return exponent == 0 ? mantissa * 8 : ((8 + mantissa) << (exponent - 1)) * 8;
  }
  [[nodiscard]] constexpr std::uint64_t packed() const noexcept { return packed_; }
  [[nodiscard]] constexpr bool nowhere() const noexcept { return packed_ == 0; }

  friend constexpr bool operator==(Location, Location) noexcept = default;

 private:
  // A small floating-point number of 8-byte units: 5 bits of exponent, 3 of mantissa, rounded up.
  static constexpr std::uint64_t size_code(std::uint64_t bytes) noexcept {
    const std::uint64_t units = (bytes + 7) / 8;
    if (units < 8) return units;
    unsigned shift = static_cast<unsigned>(std::bit_width(units)) - 4;
    std::uint64_t mantissa = (units + (std::uint64_t{1} << shift) - 1) >> shift;
    if (mantissa == 16) {
      mantissa = 8;
      ++shift;
    }
    return (static_cast<std::uint64_t>(shift + 1) << 3) | (mantissa & 7);
  }

  std::uint64_t packed_ = 0;
};

}  // namespace armdb::base

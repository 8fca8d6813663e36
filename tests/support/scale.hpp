// ARMDB_TEST_SCALE: how long the long tests run; 1 is full, sanitizers take less.
#pragma once

#include <cstddef>
#include <cstdlib>

namespace armdb::test {

// `size` times the scale, and at least `least`.
inline std::size_t scaled(std::size_t size, std::size_t least = 1) {
  static const double scale = [] {
    const char* const text = std::getenv("ARMDB_TEST_SCALE");
    const double given = text == nullptr ? 0 : std::strtod(text, nullptr);
    return given > 0 && given <= 1000 ? given : 1.0;
  }();
  const double wanted = static_cast<double>(size) * scale;
  return wanted < static_cast<double>(least) ? least : static_cast<std::size_t>(wanted);
}

}  // namespace armdb::test

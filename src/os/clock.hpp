// Clocks: monotonic for intervals, wall for people. Correctness never depends on the wall clock.
#pragma once

#include <cstdint>
#include <string>

namespace armdb::os {

// Time since some fixed moment; never goes back. Threads: any.
[[nodiscard]] std::uint64_t monotonic_ns() noexcept;
[[nodiscard]] std::uint64_t monotonic_ms() noexcept;

// Milliseconds since 1970-01-01 UTC; may jump.
[[nodiscard]] std::uint64_t wall_ms() noexcept;

// The wall clock as text, "2025-11-21T06:14:00Z".
[[nodiscard]] std::string wall_text();

}  // namespace armdb::os

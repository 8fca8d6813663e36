// Clocks of POSIX.
#include "os/clock.hpp"

#include <time.h>

#include <cstdio>

#include "base/simulation.hpp"

namespace armdb::os {
namespace {

std::uint64_t clock_ns(clockid_t clock) noexcept {
  timespec now{};
  if (::clock_gettime(clock, &now) != 0) return 0;
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

std::uint64_t monotonic_ns() noexcept {
  if (base::Simulation* const instead = base::simulated()) return instead->monotonic_ns();
  return clock_ns(CLOCK_MONOTONIC);
}

std::uint64_t monotonic_ms() noexcept { return monotonic_ns() / 1'000'000u; }

std::uint64_t wall_ms() noexcept {
  if (base::Simulation* const instead = base::simulated())
    return instead->milliseconds_since_1970();
  return clock_ns(CLOCK_REALTIME) / 1'000'000u;
}

std::string wall_text() {
  const time_t now = ::time(nullptr);
  tm parts{};
  if (::gmtime_r(&now, &parts) == nullptr) return "unknown time";
  char text[80];
  const int size =
      std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02dZ", parts.tm_year + 1900,
                    parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
  return size > 0 ? std::string(text) : std::string("unknown time");
}

}  // namespace armdb::os

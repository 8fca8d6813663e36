// The loop of the crash tests: work after work, each from its seed.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdlib>

#include "support/catch.hpp"
#include "support/crash_lab.hpp"

namespace armdb::test {

inline std::size_t crash_number_of(const char* name, std::size_t fallback) {
  const char* const text = std::getenv(name);
  return text != nullptr && *text != 0 ? std::strtoull(text, nullptr, 10) : fallback;
}

// Runs works from `seed` on until `states` states or `seconds` are over, and says how many there
// were. ARMDB_CRASH_SEED and ARMDB_CRASH_SECONDS say otherwise.
template <class Simulator>
void simulate_crashes(CrashSettings settings, std::size_t states, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  const auto passed = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
  settings.seed = crash_number_of("ARMDB_CRASH_SEED", settings.seed);
  const double seconds_most = static_cast<double>(crash_number_of("ARMDB_CRASH_SECONDS", 0));
  if (seconds_most > 0) seconds = seconds_most;
  settings.states_most = states;
  CrashCounts counts;
  do {
    Simulator simulator(settings, counts);
    if (!simulator.run()) {
      FAIL(simulator.failure() << "\n  again: ARMDB_CRASH_SEED=" << settings.seed
                               << " and the name of this test");
    }
    settings.seed += 1;
  } while (counts.all() < states && passed() < seconds);
  const auto rate = static_cast<std::size_t>(static_cast<double>(counts.all()) / passed());
  WARN(counts.text() << "; " << rate << " per second");
  CHECK(counts.states > 0);
}

}  // namespace armdb::test

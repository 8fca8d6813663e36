// Power cuts, kills and failed syncs at every call of collections on the Fixed store.
#include "support/catch.hpp"
#include "support/crash_run.hpp"
#include "support/fixed_crash_simulator.hpp"
#include "support/scale.hpp"

namespace {

using armdb::test::CrashSettings;
using armdb::test::FixedCrashSimulator;
using armdb::test::simulate_crashes;

// Few states of many places and many works.
CrashSettings quick_settings() {
  CrashSettings settings;
  settings.operations = 30;
  settings.states_per_place = 3;
  return settings;
}

std::size_t quick_states() { return armdb::test::scaled(20000); }
constexpr double kQuickSeconds = 4;

}  // namespace

TEST_CASE(
    "fixed crash: after every power cut or kill each key has a state at or past its last sync",
    "[serial][crash][simulator][fixed]") {
  simulate_crashes<FixedCrashSimulator>(quick_settings(), quick_states(), kQuickSeconds);
}

TEST_CASE("fixed crash: after a failed call reopening recovers, and nothing durable is lost",
          "[serial][crash][simulator][fixed]") {
  CrashSettings settings = quick_settings();
  settings.operations = 20;
  SECTION("syncs") { settings.faults = CrashSettings::Faults::syncs; }
  SECTION("any calls") { settings.faults = CrashSettings::Faults::calls; }
  simulate_crashes<FixedCrashSimulator>(settings, quick_states(), kQuickSeconds / 4);
}

#if ARMDB_WITH_OPENSSL
TEST_CASE("fixed crash: encrypted, while keys change, every state that a crash can leave recovers",
          "[crash][simulator][fixed]") {
  CrashSettings settings = quick_settings();
  settings.keys = true;
  SECTION("without faults") {}
  SECTION("with failed calls") { settings.faults = CrashSettings::Faults::calls; }
  settings.operations = 20;
  simulate_crashes<FixedCrashSimulator>(settings, armdb::test::scaled(2500), kQuickSeconds / 4);
}
#endif

TEST_CASE("fixed crash: many states after power cuts, kills and failed calls recover (long)",
          "[crash][simulator][fixed][slow]") {
  CrashSettings settings;
  settings.seed = 1000;
  settings.operations = 90;
  settings.states_per_place = 40;
  SECTION("without faults") {}
  SECTION("with failed syncs") { settings.faults = CrashSettings::Faults::syncs; }
  SECTION("with failed calls") { settings.faults = CrashSettings::Faults::calls; }
#if ARMDB_WITH_OPENSSL
  SECTION("while keys change") {
    settings.keys = true;
    settings.operations = 30;
    settings.states_per_place = 4;
  }
#endif
  const std::size_t states = armdb::test::crash_number_of("ARMDB_CRASH_STATES", 350000) / 3;
  simulate_crashes<FixedCrashSimulator>(settings, states,
                                        static_cast<double>(armdb::test::scaled(60, 10)));
}

// Power cuts, kills and failed syncs at every call, against the model.
#include "support/catch.hpp"
#include "support/crash_run.hpp"
#include "support/crash_simulator.hpp"
#include "support/scale.hpp"

namespace {

using armdb::test::crash_number_of;
using armdb::test::CrashSettings;
using armdb::test::CrashSimulator;
using armdb::test::simulate_crashes;

// Few states of many places and many works.
CrashSettings quick_settings() {
  CrashSettings settings;
  settings.operations = 30;
  settings.states_per_place = 3;
  return settings;
}

std::size_t quick_states() { return armdb::test::scaled(40000); }
constexpr double kQuickSeconds = 7;

std::size_t long_states() { return crash_number_of("ARMDB_CRASH_STATES", 350000) / 3; }
double long_seconds() { return static_cast<double>(armdb::test::scaled(60, 10)); }

}  // namespace

TEST_CASE(
    "crash: every state a power cut or a kill can leave recovers to a prefix at or past the last "
    "sync",
    "[serial][crash][simulator][pitfall-1][pitfall-2][pitfall-6][pitfall-7][pitfall-8][pitfall-9]"
    "[pitfall-10][pitfall-12][pitfall-14][pitfall-15][pitfall-16][pitfall-21]") {
  simulate_crashes<CrashSimulator>(quick_settings(), quick_states(), kQuickSeconds);
}

TEST_CASE("crash: after a failed sync reopening recovers, and nothing durable is lost",
          "[serial][crash][simulator][pitfall-3][pitfall-4][pitfall-5]") {
  CrashSettings settings = quick_settings();
  settings.faults = CrashSettings::Faults::syncs;
  simulate_crashes<CrashSimulator>(settings, quick_states(), kQuickSeconds);
}

TEST_CASE("crash: after any failed call reopening recovers, and nothing durable is lost",
          "[serial][crash][simulator][pitfall-4][pitfall-27]") {
  CrashSettings settings = quick_settings();
  settings.faults = CrashSettings::Faults::calls;
  simulate_crashes<CrashSimulator>(settings, quick_states(), kQuickSeconds);
}

#if ARMDB_WITH_OPENSSL
TEST_CASE("crash: encrypted, while keys change, every state that a crash can leave recovers",
          "[serial][crash][simulator][pitfall-21][pitfall-52]") {
  CrashSettings settings = quick_settings();
  settings.keys = true;
  SECTION("without faults") {}
  SECTION("with failed calls") { settings.faults = CrashSettings::Faults::calls; }
  settings.operations = 20;
  simulate_crashes<CrashSimulator>(settings, armdb::test::scaled(2500), kQuickSeconds / 3);
}
#endif

TEST_CASE("crash: many states after power cuts, kills and failed calls recover (long)",
          "[crash][simulator][slow][pitfall-1][pitfall-14]") {
  CrashSettings settings;
  settings.seed = 1000;
  settings.operations = 90;
  settings.states_per_place = 40;
  SECTION("without faults") {}
  SECTION("with failed syncs") { settings.faults = CrashSettings::Faults::syncs; }
  SECTION("with failed calls") { settings.faults = CrashSettings::Faults::calls; }
#if ARMDB_WITH_OPENSSL
  // Opening takes ten times as long, and a work is not stopped in its middle.
  SECTION("while keys change") {
    settings.keys = true;
    settings.operations = 30;
    settings.states_per_place = 4;
  }
#endif
  simulate_crashes<CrashSimulator>(settings, long_states(), long_seconds());
}

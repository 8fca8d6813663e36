// A leader and two followers under simulated crashes, cuts and faults, seed after seed.
#include <chrono>

#include "support/catch.hpp"
#include "support/crash_run.hpp"
#include "support/replication_sim.hpp"
#include "support/scale.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS) && !defined(ARMDB_OMIT_REPLICATION)

namespace {

using armdb::test::crash_number_of;
using armdb::test::ReplicationSim;
using armdb::test::ReplicationSimCounts;
using armdb::test::ReplicationSimSettings;

// ARMDB_CRASH_SEED says which is the first, ARMDB_CRASH_SEEDS how many; with ARMDB_CRASH_LOUD=1
// what happens is told on stderr.
void simulate(ReplicationSimSettings settings, std::size_t seeds) {
  settings.seed = crash_number_of("ARMDB_CRASH_SEED", settings.seed);
  settings.loud = crash_number_of("ARMDB_CRASH_LOUD", 0) != 0;
  seeds = crash_number_of("ARMDB_CRASH_SEEDS", seeds);
  ReplicationSimCounts counts;
  const auto begin = std::chrono::steady_clock::now();
  for (std::size_t left = seeds; left != 0; --left, ++settings.seed) {
    ReplicationSim sim(settings, counts);
    if (sim.run()) continue;
    FAIL(sim.failure() << "\n  after " << counts.text()
                       << "\n  again: ARMDB_CRASH_SEEDS=1 ARMDB_CRASH_SEED=" << settings.seed
                       << " and the name of this test");
  }
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
  WARN(counts.text() << "; " << static_cast<double>(seeds) / passed.count() << " per second");
  CHECK(counts.checks > seeds);
}

// With the fourth part of the seeds encrypted.
void simulate_long(ReplicationSimSettings settings, std::size_t seeds) {
  SECTION("in the clear") {}
#if ARMDB_WITH_OPENSSL
  SECTION("encrypted") {
    settings.encrypted = true;
    seeds /= 4;
  }
#endif
  simulate(settings, seeds);
}

}  // namespace

TEST_CASE("replication: under crashes, cuts and faults followers have what their leader had",
          "[crash][replication][simulated][clear]") {
  simulate({}, armdb::test::scaled(100, 5));
}

TEST_CASE("replication: under crashes, cuts and faults, many seeds (long)",
          "[crash][replication][simulated][slow][clear]") {
  ReplicationSimSettings settings;
  settings.seed = 100000;
  simulate_long(settings, armdb::test::scaled(4000, 10));
}

#if ARMDB_WITH_OPENSSL
TEST_CASE("replication: encrypted, under crashes, cuts and faults",
          "[crash][replication][simulated][encrypted]") {
  ReplicationSimSettings settings;
  settings.seed = 50000;
  settings.encrypted = true;
  simulate(settings, armdb::test::scaled(20, 3));
}
#endif

TEST_CASE("replication: slots, under crashes, cuts and faults",
          "[crash][replication][simulated][clear]") {
  ReplicationSimSettings settings;
  settings.seed = 200000;
  settings.fixed = true;
  simulate(settings, armdb::test::scaled(100, 5));
}

TEST_CASE("replication: slots, under crashes, cuts and faults, many seeds (long)",
          "[crash][replication][simulated][slow][clear]") {
  ReplicationSimSettings settings;
  settings.seed = 300000;
  settings.fixed = true;
  simulate_long(settings, armdb::test::scaled(4000, 10));
}

TEST_CASE("replication: slots, with many leaders, whose terms are more than are kept (long)",
          "[crash][replication][simulated][slow][clear]") {
  ReplicationSimSettings settings;
  settings.seed = 350000;
  settings.fixed = true;
  settings.events = 150;
  simulate(settings, armdb::test::scaled(100, 10));
}

#if ARMDB_WITH_OPENSSL
TEST_CASE("replication: slots, encrypted, under crashes, cuts and faults",
          "[crash][replication][simulated][encrypted]") {
  ReplicationSimSettings settings;
  settings.seed = 250000;
  settings.fixed = true;
  settings.encrypted = true;
  simulate(settings, armdb::test::scaled(20, 3));
}
#endif

TEST_CASE("replication simulator: the same seed is the same run", "[crash][replication]") {
  for (const std::uint64_t seed : {1, 2, 3, 4, 5, 6}) {
    ReplicationSimSettings settings;
    settings.seed = seed;
    settings.fixed = seed > 3;
    std::uint64_t traces[2] = {};
    for (std::uint64_t& trace : traces) {
      ReplicationSimCounts counts;
      ReplicationSim sim(settings, counts);
      static_cast<void>(sim.run());
      trace = counts.trace;
    }
    CHECK(traces[0] == traces[1]);
  }
}

#endif

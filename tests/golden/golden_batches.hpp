// What the golden stores of v1_batches/ hold: batches in one shard and over several, expiry, and
// db.state. The same for the program that made them and the test that opens them. Never changes:
// the files are there for ever.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/config.hpp"
#include "golden/golden_content.hpp"

namespace armdb::test {

// Past by any clock; past by the clock floor of stores that have kGoldenFloorLate; far ahead.
inline constexpr std::uint64_t kGolden1995 = 788'918'400'000;
inline constexpr std::uint64_t kGolden2090 = 3'786'912'000'000;
inline constexpr std::uint64_t kGolden2200 = 7'258'118'400'000;
inline constexpr std::uint64_t kGoldenFloorEarly = 915'148'800'000;   // 1999
inline constexpr std::uint64_t kGoldenFloorLate = 3'944'678'400'000;  // 2095

struct GoldenBatchStore {
  const char* name;
  Shape shape;
  std::uint32_t shards;
  bool killed;  // copied while it was open
  std::uint64_t clock_floor_ms;
  std::uint32_t data_version;
};

// The first two characters of a key choose the shard: keys of one hundred lie together.
inline constexpr std::uint32_t kGoldenPrefixBits = 16;

inline const std::vector<GoldenBatchStore>& golden_batch_stores() {
  static const std::vector<GoldenBatchStore> stores = {
      {"joint_map", {4, 8, false, Payload::value}, 3, true, kGoldenFloorLate, 3},
      {"joint_tree", {4, 0, true, Payload::location}, 3, true, kGoldenFloorEarly, 0},
      {"closed_map", {4, 0, false, Payload::location}, 2, false, kGoldenFloorLate, 2},
      {"migrating_tree", {4, 8, true, Payload::value}, 1, true, kGoldenFloorEarly, 1},
  };
  return stores;
}

struct GoldenWrite {
  int number = 0;
  int version = 0;  // 0: an erase
  std::uint64_t expiry_ms = 0;
};

enum class GoldenStep : std::uint8_t {
  puts,
  batch,
  lost_batch,  // joint_tree: written, but not in every shard when the process died
  flush,
  sync,
  checkpoint,
};

struct GoldenStepOf {
  GoldenStep step = GoldenStep::puts;
  std::vector<GoldenWrite> writes{};
};

// One number of each hundred, `add` behind it; the expiry by turns.
inline std::vector<GoldenWrite> golden_row(int add, int version) {
  static constexpr std::uint64_t kTurns[] = {0, kGolden1995, kGolden2200, 0, kGolden2090};
  std::vector<GoldenWrite> writes;
  for (int hundred = 0; hundred < 20; ++hundred) {
    writes.push_back({hundred * 100 + add, version, kTurns[(hundred + add) % 5]});
  }
  return writes;
}

// A batch of one hundred: new keys, a value over another, an expiry that goes and one that comes,
// erases of a key that was there and of one that the batch put.
inline std::vector<GoldenWrite> golden_batch_of(int hundred, int version) {
  const int first = hundred * 100;
  return {{first + 10, version, 0}, {first + 11, version, kGolden2200},
          {first, version, 0},      {first + 12, version, kGolden1995},
          {first + 1, 0, 0},        {first + 13, version, 0},
          {first + 13, 0, 0},       {first + 2, version, kGolden2200}};
}

inline std::vector<GoldenStepOf> golden_batch_steps(const GoldenBatchStore& store) {
  std::vector<GoldenStepOf> steps = {
      {GoldenStep::puts, golden_row(0, 1)},
      {GoldenStep::puts, golden_row(1, 1)},
      {GoldenStep::batch, golden_row(2, 2)},
      {GoldenStep::checkpoint},
      {GoldenStep::batch, golden_batch_of(3, 3)},
      {GoldenStep::batch, golden_row(3, 3)},
      {GoldenStep::sync},
      {GoldenStep::batch, golden_row(1, 4)},
      {GoldenStep::batch, golden_batch_of(4, 4)},
      {GoldenStep::flush},
      {GoldenStep::puts, {{2500, 5, kGolden2200}, {2501, 5, 0}}},
      {GoldenStep::batch, golden_batch_of(5, 5)},
      {GoldenStep::batch, golden_row(4, 5)},
  };
  std::vector<GoldenWrite> erases = golden_row(3, 0);
  for (GoldenWrite& write : erases) write.expiry_ms = 0;
  steps.push_back({GoldenStep::batch, erases});
  if (std::string_view(store.name) == "joint_tree") {
    steps.push_back({GoldenStep::lost_batch, golden_row(5, 6)});
  }
  return steps;
}

struct GoldenEntry {
  std::string value;
  std::uint64_t expiry_ms = 0;
};

// Versions of values that a migration gave. migrating_tree was stopped behind the first few.
inline constexpr int kGoldenMigrated = 9;
inline constexpr std::size_t kGoldenMigratedFirst = 5;

// Of all entries, expired ones too.
inline std::map<std::string, GoldenEntry> golden_batch_content(const GoldenBatchStore& store) {
  std::map<std::string, GoldenEntry> all;
  for (const GoldenStepOf& step : golden_batch_steps(store)) {
    if (step.step == GoldenStep::lost_batch) continue;
    for (const GoldenWrite& write : step.writes) {
      all.erase(golden_key(write.number));
      if (write.version == 0) continue;
      all[golden_key(write.number)] = {golden_value(store.shape, write.number, write.version),
                                       write.expiry_ms};
    }
  }
  return all;
}

}  // namespace armdb::test

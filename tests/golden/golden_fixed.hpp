// What the golden stores of v1_fixed/ hold: slots with one copy and with two, expiry, a stage in
// use. The same for the program that made them and the test that opens them. Never changes: the
// files are there for ever.
#pragma once

#include <string_view>

#include "golden/golden_batches.hpp"

namespace armdb::test {

struct GoldenFixedStore {
  const char* name;
  Shape shape;
  std::uint32_t shards;
  bool single_copy;
  bool killed;  // copied while it was open
};

inline const std::vector<GoldenFixedStore>& golden_fixed_stores() {
  static const std::vector<GoldenFixedStore> stores = {
      {"closed_tree", {4, 8, true, Payload::value, true}, 2, false, false},
      {"killed_map", {4, 8, false, Payload::value, true}, 2, false, true},
      {"killed_single", {4, 8, true, Payload::value, true}, 1, true, true},
  };
  return stores;
}

// Of a killed store: staged while a sync ran, and not in its slot yet; and in the first place of
// the stage, whole, but only half in its slot. With one copy there is no such sync.
inline constexpr GoldenWrite kGoldenStaged{13, 6, kGolden2200};
inline constexpr GoldenWrite kGoldenHalf{11, 7, 0};

// Each ends with a sync, except for the last one.
inline std::vector<std::vector<GoldenWrite>> golden_fixed_steps() {
  static constexpr std::uint64_t kTurns[] = {0, kGolden2200, 0, kGolden1995};
  std::vector<GoldenWrite> first;
  std::vector<GoldenWrite> second;
  for (int number = 0; number < 120; ++number) first.push_back({number, 1, kTurns[number % 4]});
  for (int number = 0; number < 120; number += 3) {
    second.push_back({number, 2, kTurns[number / 3 % 4]});
  }
  for (int number = 0; number < 120; number += 5) second.push_back({number, 0, 0});
  return {first, second, {{200, 3, 0}, {201, 3, kGolden2200}, {7, 4, 0}, {8, 0, 0}, {9, 4, 0}}};
}

// Of all entries, expired ones too.
inline std::map<std::string, GoldenEntry> golden_fixed_content(const GoldenFixedStore& store) {
  std::map<std::string, GoldenEntry> all;
  const auto take = [&](const GoldenWrite& write) {
    all.erase(golden_key(write.number));
    if (write.version == 0) return;
    all[golden_key(write.number)] = {golden_value(store.shape, write.number, write.version),
                                     write.expiry_ms};
  };
  for (const std::vector<GoldenWrite>& step : golden_fixed_steps()) {
    for (const GoldenWrite& write : step) take(write);
  }
  if (store.killed && !store.single_copy) take(kGoldenStaged);
  if (store.killed) take(kGoldenHalf);
  return all;
}

}  // namespace armdb::test

// What the golden stores hold: the same for the program that made them and the test that opens
// them. Never changes: the files are there for ever.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/config.hpp"

namespace armdb::test {

struct GoldenStore {
  const char* name;
  Shape shape;
  std::uint32_t shards;
};

inline const std::vector<GoldenStore>& golden_stores() {
  static const std::vector<GoldenStore> stores = {
      {"const_tree", {4, 8, true, Payload::value}, 2},
      {"const_map", {4, 8, false, Payload::value}, 1},
      {"var_tree", {4, 0, true, Payload::location}, 1},
      {"var_map", {4, 0, false, Payload::location}, 2},
  };
  return stores;
}

// "0007"
inline std::string golden_key(int number) {
  std::string text = std::to_string(number);
  return std::string(4 - text.size(), '0') + text;
}

// Eight bytes where the shape wants so, else of different lengths, one longer than a buffer.
inline std::string golden_value(const Shape& shape, int number, int version) {
  const std::string stem = golden_key(number) + "v" + golden_key(version).substr(1);
  if (shape.payload == Payload::value) return stem;
  std::string value;
  const std::size_t size = number == 13 ? 17000 : static_cast<std::size_t>(number * 7 % 50);
  while (value.size() < size) value += stem;
  value.resize(size);
  return value;
}

// Puts of make_golden: 0 to 39 in version 1; every third again in version 2; every fifth erased;
// 40 to 47 in version 3 and never synced. The batch of const_map: 50 to 52 in version 4.
inline std::map<std::string, std::string> golden_content(const GoldenStore& store) {
  std::map<std::string, std::string> all;
  const auto put = [&](int number, int version) {
    all[golden_key(number)] = golden_value(store.shape, number, version);
  };
  for (int number = 0; number < 40; ++number) put(number, number % 3 == 0 ? 2 : 1);
  for (int number = 0; number < 40; number += 5) all.erase(golden_key(number));
  for (int number = 40; number < 48; ++number) put(number, 3);
  if (std::string_view(store.name) == "const_map") {
    for (int number = 50; number < 53; ++number) put(number, 4);
  }
  return all;
}

}  // namespace armdb::test

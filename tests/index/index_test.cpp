// Many small hash tables under churn, each with another seed, against a model: splits beside
// reused overflow buckets are rare in one table and certain in thousands.
#include <cstring>
#include <map>

#include "base/hash64.hpp"
#include "index/index.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/scale.hpp"

using namespace armdb;

namespace {

constexpr std::uint32_t kValueBytes = 24;

// Empty when the table agreed with the model all along.
std::string churn(std::uint64_t seed, bool ordered) {
  base::Random random(seed);
  index::IndexConfig config;
  config.key_size = 4;
  config.value_size = kValueBytes;
  config.ordered = ordered;
  config.step_bytes = 16u << 10;
  config.hash_seed = random.next();
  const auto index = index::make_index(config);
  std::map<std::uint32_t, std::uint64_t> model;
  const auto keys = static_cast<std::uint32_t>(20 + random.next() % 400);
  for (std::uint64_t step = 1; step < 2500; ++step) {
    const auto key = static_cast<std::uint32_t>(random.next() % keys);
    std::uint8_t bytes[8] = {};
    std::memcpy(bytes, &key, sizeof key);
    const std::uint64_t hash = base::hash64(bytes, 4, config.hash_seed);
    std::uint8_t value[kValueBytes] = {};
    const std::uint64_t what = random.next() % 4;
    index::Place place;
    index->locate(bytes, hash, place);
    if (place.found != model.contains(key)) return "locate at step " + std::to_string(step);
    if (what < 2) {
      if (!index->reserve()) return "out of memory";
      const std::uint64_t number = random.next();
      std::memcpy(value, &number, sizeof number);
      index->publish(place, bytes, value, base::Location(1, 8 * step, 32));
      model[key] = number;
    } else if (what == 2 && place.found) {
      index->erase(place);
      model.erase(key);
    } else {
      const bool found = index->find(bytes, hash, nullptr, value);
      std::uint64_t number = 0;
      std::memcpy(&number, value, sizeof number);
      if (found != model.contains(key) || (found && number != model[key])) {
        return "find at step " + std::to_string(step);
      }
    }
    if (index->size() != model.size()) return "size at step " + std::to_string(step);
  }
  return {};
}

}  // namespace

TEST_CASE("hash_table: thousands of small tables under churn agree with the model", "[serial]") {
  const std::uint64_t tables = test::scaled(3000, 300);
  for (std::uint64_t seed = 1; seed <= tables; ++seed) {
    INFO("seed " << seed);
    REQUIRE(churn(seed, false).empty());
  }
  INFO("seed 2288");  // lost a key in a split beside a reused overflow bucket
  REQUIRE(churn(2288, false).empty());
}

TEST_CASE("btree: hundreds of small trees under churn agree with the model") {
  const std::uint64_t trees = test::scaled(500, 50);
  for (std::uint64_t seed = 1; seed <= trees; ++seed) {
    INFO("seed " << seed);
    REQUIRE(churn(seed, true).empty());
  }
}

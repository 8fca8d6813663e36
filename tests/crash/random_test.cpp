// Tests of Random.
#include "support/random.hpp"

#include <set>
#include <vector>

#include "support/catch.hpp"

using armdb::base::Random;

TEST_CASE("random: a seed gives its own numbers, always the same") {
  std::set<std::uint64_t> firsts;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) {
    Random one(seed);
    Random two(seed);
    firsts.insert(one.next());
    static_cast<void>(two.next());
    REQUIRE(one.next() == two.next());
  }
  CHECK(firsts.size() == 1000);
}

TEST_CASE("random: below stays below and reaches all") {
  Random random(5);
  std::vector<int> seen(10);
  for (int i = 0; i < 10000; ++i) seen.at(random.below(10)) += 1;
  for (const int count : seen) {
    CHECK(count > 800);
    CHECK(count < 1200);
  }
  CHECK(random.below(0) == 0);
  CHECK(random.below(1) == 0);
  bool large = false;
  for (int i = 0; i < 100; ++i) large = large || random.below(~std::uint64_t{0}) > (1ull << 63);
  CHECK(large);
}

TEST_CASE("random: one_in(n) is true about once in n times") {
  Random random(6);
  int hits = 0;
  for (int i = 0; i < 10000; ++i) hits += random.one_in(100) ? 1 : 0;
  CHECK(hits > 50);
  CHECK(hits < 160);
  CHECK(random.one_in(1));
}

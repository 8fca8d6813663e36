// insertion_sort: order, stability, and what it does to nothing at all.
#include "base/insertion_sort.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/random.hpp"

using namespace armdb;

TEST_CASE("insertion_sort: sorts as std::stable_sort does") {
  base::Random random(7);
  for (std::size_t size = 0; size < 80; ++size) {
    std::vector<std::pair<int, std::size_t>> mine;
    for (std::size_t at = 0; at < size; ++at) {
      mine.emplace_back(static_cast<int>(random.next() % 9), at);
    }
    std::vector<std::pair<int, std::size_t>> theirs = mine;
    const auto before = [](const auto& a, const auto& b) { return a.first < b.first; };
    base::insertion_sort(mine.begin(), mine.end(), before);
    std::stable_sort(theirs.begin(), theirs.end(), before);
    CHECK(mine == theirs);
  }
}

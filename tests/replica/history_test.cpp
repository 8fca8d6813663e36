// Histories: where two lists of terms part, and whom a follower takes for its leader.
#include "replica/history.hpp"

#include <vector>

#include "support/catch.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

using namespace armdb;
using format::Term;
using replica::common_end;
using replica::kAllCommon;

namespace {

Term term(std::uint64_t number, std::uint64_t id, std::uint64_t start) {
  return {number, id, {start}};
}

TEST_CASE("history: two lists agree up to where the last term they share ends", "[replication]") {
  const std::vector<Term> one{term(1, 7, 0)};
  const std::vector<Term> two{term(1, 7, 0), term(2, 8, 100)};
  const std::vector<Term> other{term(1, 7, 0), term(2, 9, 60)};
  CHECK(common_end(one, one, 0) == kAllCommon);
  CHECK(common_end(one, two, 0) == 100);
  CHECK(common_end(two, one, 0) == 100);
  CHECK(common_end(two, other, 0) == 60);
  CHECK(common_end({}, two, 0) == 0);
  const std::vector<Term> apart{term(1, 6, 0)};
  CHECK(common_end(apart, two, 0) == 0);
}

TEST_CASE("history: a term that was heard of and never reached ends where the next one begins",
          "[replication]") {
  // A follower at 100 greeted a leader whose second term began at 500, and was promoted at 100.
  const std::vector<Term> promoted{term(1, 7, 0), term(2, 8, 500), term(1ull << 32, 9, 100)};
  // One that never heard of the second term, and one that did.
  const std::vector<Term> old{term(1, 7, 0)};
  const std::vector<Term> heard{term(1, 7, 0), term(2, 8, 500)};
  CHECK(common_end(old, promoted, 0) == 100);
  CHECK(common_end(promoted, old, 0) == 100);
  CHECK(common_end(heard, promoted, 0) == 100);
}

}  // namespace

#endif

// SlotLane: how a follower of a Fixed store can go on.
#include "replica/slot_lane.hpp"

#include "replica/history.hpp"
#include "support/catch.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

using namespace armdb;
using replica::judge_position;
using replica::kAllCommon;

namespace {

constexpr std::uint8_t kStream = format::kWhole;
constexpr std::uint8_t kCopy = format::kAwaitsCopy;

bool is(const replica::SlotStart& start, std::uint8_t replace, std::uint64_t known) {
  return start.replace == replace && start.known == known;
}

}  // namespace

TEST_CASE("slot_lane: by the numbers of a leader that began the collection") {
  const store::Cursor own{};
  CHECK(is(judge_position(own, 100, kAllCommon, 0, kStream), kStream, 0));
  CHECK(is(judge_position(own, 100, kAllCommon, 100, kStream), kStream, 100));
  CHECK(is(judge_position(own, 100, kAllCommon, 60, format::kAhead), kStream, 60));
  CHECK(is(judge_position(own, 100, kAllCommon, 60, kCopy), kCopy, 60));
  CHECK(is(judge_position(own, 100, kAllCommon, 60, format::kAwaitsCopyAside), kCopy, 60));
  // Above what it ever gave away, or above the common end.
  CHECK(is(judge_position(own, 100, kAllCommon, 101, kStream), format::kFromNothing, 0));
  CHECK(is(judge_position(own, 100, 50, 51, kStream), format::kFromNothing, 0));
  CHECK(is(judge_position(own, 100, 50, 50, kStream), kStream, 50));
}

TEST_CASE("slot_lane: a leader that was promoted knows its own numbers, and where it joined") {
  const store::Cursor own{.position = 40, .reached = 40, .joined = 40, .own_from = 71};
  CHECK(is(judge_position(own, 100, kAllCommon, 71, kStream), kStream, 71));
  CHECK(is(judge_position(own, 100, kAllCommon, 80, format::kAhead), kStream, 80));
  CHECK(is(judge_position(own, 100, 40, 40, kStream), kStream, 71));
  // One that may have later states than those of that moment, or a part of a copy.
  CHECK(is(judge_position(own, 100, 40, 40, format::kAhead), format::kFromNothing, 0));
  CHECK(is(judge_position(own, 100, 40, 40, kCopy), format::kFromNothing, 0));
  // What was before its own numbers is told by the versions of its slots no more.
  CHECK(is(judge_position(own, 100, 40, 39, kStream), format::kFromNothing, 0));
  CHECK(is(judge_position(own, 100, kAllCommon, 60, kStream), format::kFromNothing, 0));
}

TEST_CASE("slot_lane: nobody joins a leader whose content was not that of one moment") {
  const store::Cursor own{.position = 40, .reached = 45, .joined = 71, .own_from = 71};
  CHECK(is(judge_position(own, 100, 40, 40, kStream), format::kFromNothing, 0));
  CHECK(is(judge_position(own, 100, kAllCommon, 71, kStream), kStream, 71));
}

#endif  // !ARMDB_OMIT_REPLICATION

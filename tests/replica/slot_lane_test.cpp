// SlotLane: how a follower of a Fixed store can go on.
#include "replica/slot_lane.hpp"

#include <memory>
#include <string>

#include "replica/history.hpp"
#include "support/one_shard.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

#include "support/scripted_peer.hpp"

using namespace armdb;
using replica::judge_position;
using replica::kAllCommon;
using test::FaultFileSystem;

namespace {

// A leader of one shard, and what it says to somebody who never answers.
struct Leader {
  Leader() {
    shape.fixed = true;
    open();
  }
  void open() {
    engine.reset();
    auto opened = engine::Engine::open("/c", &shape, test::one_shard(files), {});
    INFO(opened.message());
    REQUIRE(opened.ok());
    engine = std::move(*opened);
  }
  void put(int number) {
    const std::string key = test::key_of(number);
    const std::string value = test::value_of(number);
    engine::WriteRequest request;
    request.key = Bytes(key);
    request.value = Bytes(value);
    REQUIRE(engine->write(request, false).ok());
  }
  void put_many(int count) {
    for (int number = 0; number < count; ++number) put(number);
  }
  engine::Shard& shard() { return engine->shard(0); }

  FaultFileSystem files;
  Shape shape = test::kConstMap;
  std::unique_ptr<engine::Engine> engine;
  test::Script script;
  replica::Channel channel{std::make_unique<test::ScriptedPeer>(script), 3600000};
};

// The lane's next piece, durable and sent.
void say_more(Leader& leader, replica::SlotLane& lane) {
  bool shipped = false;
  REQUIRE(lane.collect().ok());
  REQUIRE(leader.engine->sync().ok());
  REQUIRE(lane.send(shipped).ok());
}

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

TEST_CASE("slot_lane: what changes beside a copy is kept until the stream has told it") {
  constexpr std::size_t kPieceBytes = 4096;
  constexpr std::uint64_t kKeptBytes = std::uint64_t{32} << 10;
  Leader leader;
  leader.put_many(3000);
  // Many more changes than what is kept at other times has room for.
  leader.shard().keep_changes(kKeptBytes, kKeptBytes * 64);
  replica::SlotLane lane(leader.channel, leader.shard(), 0, kPieceBytes);
  std::uint8_t replace = 0;
  REQUIRE(lane.begin({format::kFromNothing, 0}, 0, replace).ok());
  REQUIRE(lane.begin_copy().ok());
  leader.put_many(9000);
  int pieces = 0;
  for (; lane.copying(); ++pieces) say_more(leader, lane);
  CHECK(pieces > 2);
  leader.put_many(9000);
  for (pieces = 0; lane.behind(); ++pieces) say_more(leader, lane);
  CHECK(pieces > 2);
  CHECK(leader.script.heard_of(format::FrameType::copy_begin) == 1);

  // Behind that a follower that is so slow gets a copy, and memory is free again.
  leader.put_many(9000);
  REQUIRE(lane.collect().ok());
  CHECK(lane.copying());
  CHECK(leader.script.heard_of(format::FrameType::copy_begin) == 2);
}

TEST_CASE("slot_lane: nor does one that lost them before it was opened this time") {
  Leader leader;
  leader.shard().keep_changes(std::uint64_t{32} << 10, std::uint64_t{32} << 10);
  leader.put_many(10);
  REQUIRE_FALSE(leader.shard().has_holes());
  for (const bool holes : {false, true}) {
    replica::SlotLane lane(leader.channel, leader.shard(), 0, 4096, holes);
    std::uint8_t replace = 0;
    CHECK(lane.begin({format::kFromNothing, 0}, 0, replace).is(Errc::corrupt) == holes);
    CHECK(lane.begin_copy().is(Errc::corrupt) == holes);
  }
}

TEST_CASE("slot_lane: a shard that lost slots gives no copy, and announces none") {
  Leader leader;
  leader.shard().keep_changes(std::uint64_t{32} << 10, std::uint64_t{32} << 10);
  leader.put_many(40);
  REQUIRE(leader.engine->close().ok());
  const std::string path = test::in_shard("slots.dat");
  const std::string bytes = test::read_path(leader.files, path);
  std::size_t hurt = 0;
  for (std::size_t at = 0; (at = bytes.find(test::value_of(7), at)) != std::string::npos; ++at) {
    test::flip(leader.files, path, at, 3);
    ++hurt;
  }
  if (hurt == 0) return;  // sealed
  leader.open();
  REQUIRE(leader.shard().has_holes());
  leader.shard().keep_changes(std::uint64_t{32} << 10, std::uint64_t{32} << 10);
  const std::uint64_t last = leader.shard().last_sequence();
  for (const bool stream : {true, false}) {
    replica::SlotLane lane(leader.channel, leader.shard(), 0, 4096);
    std::uint8_t replace = 0;
    const std::uint8_t how = stream ? format::kWhole : format::kAwaitsCopy;
    // One that has all of it needs no copy; one that stands before does.
    CHECK(lane.begin({how, last}, last, replace).ok() == stream);
    CHECK(lane.begin({how, last - 1}, last - 1, replace).is(Errc::corrupt));
    CHECK(lane.begin_copy().is(Errc::corrupt));
  }
  CHECK(leader.script.heard.empty());
}

#endif  // !ARMDB_OMIT_REPLICATION

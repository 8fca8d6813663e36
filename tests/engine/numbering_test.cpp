// The numbers of a Fixed collection that follows, and that leads after it followed.
#include <cerrno>
#include <string>

#include "engine/engine.hpp"
#include "support/catch.hpp"
#include "support/fault_file_system.hpp"
#include "support/one_shard.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

using namespace armdb;
using test::FaultFileSystem;

namespace {

struct Subject {
  explicit Subject(bool fixed = true) {
    shape.fixed = fixed;
    open();
  }
  void open() {
    auto opened = engine::Engine::open("/c", &shape, test::one_shard(files), {});
    INFO(opened.message());
    REQUIRE(opened.ok());
    engine = std::move(*opened);
  }
  void lose_power() {
    files.power_cut_lose_all();
    engine.reset();
    open();
  }
  void be(bool follower) {
    store::ReplicaState state = engine->replica_state();
    state.follower = follower;
    state.terms = {{1, 7, {0}}};
    REQUIRE(engine->save_replica_state(std::move(state)).ok());
  }
  void put(int number) { REQUIRE(write_late(number).ok()); }
  // As a thread that the engine let pass before it became something else.
  Status write_late(int number) {
    const std::string key = test::key_of(number);
    const std::string value = test::value_of(number);
    engine::WriteRequest request;
    request.key = Bytes(key);
    request.value = Bytes(value);
    request.hash = engine->router().hash(request.key.data(), request.key.size());
    return engine->shard(0).write(request);
  }

  FaultFileSystem files;
  Shape shape = test::kConstMap;
  std::unique_ptr<engine::Engine> engine;
};

}  // namespace

TEST_CASE("numbering: a leader that becomes a follower stands at its last version") {
  Subject subject;
  for (int number = 0; number < 7; ++number) subject.put(number);
  CHECK(subject.engine->position(0) == 7);
  subject.be(true);
  CHECK(subject.engine->position(0) == 7);
  subject.lose_power();  // its content was synced with that
  CHECK(subject.engine->size() == 7);
  CHECK(subject.engine->position(0) == 7);
  CHECK(subject.engine->cursor(0).reached == 7);
}

TEST_CASE("numbering: a write that was under way when a leader became a follower is refused") {
  const bool fixed = GENERATE(true, false);
  Subject subject(fixed);
  subject.put(1);
  subject.be(true);
  CHECK(subject.write_late(2).is(Errc::read_only));
  CHECK(subject.engine->size() == 1);
  const std::string key = test::key_of(3);
  const std::string value = test::value_of(3);
  std::vector<engine::WriteRequest> batch(1);
  batch[0].key = Bytes(key);
  batch[0].value = Bytes(value);
  batch[0].hash = subject.engine->router().hash(batch[0].key.data(), batch[0].key.size());
  engine::Shard& shard = subject.engine->shard(0);
  if (!fixed) {
    CHECK(shard.write_batch(batch).is(Errc::read_only));
    CHECK(shard.atomic([](engine::Transaction&) { return Status(); }).is(Errc::read_only));
    std::vector<engine::Shard::JointWrite> joint(1);
    joint[0].shard = &shard;
    joint[0].requests = batch;
    CHECK(engine::Shard::write_joint(joint).is(Errc::read_only));
    CHECK(subject.engine->size() == 1);
  }
  subject.be(false);
  CHECK(subject.write_late(2).ok());
  if (!fixed) CHECK(shard.write_batch(batch).ok());
}

TEST_CASE("numbering: a leader that fails to become a follower stays one") {
  // A file of the numbers that cannot be synced, and then a note of the role that cannot.
  for (std::size_t nth = 1;; ++nth) {
    Subject subject;
    REQUIRE(subject.engine->begin_numbering().ok());
    subject.be(false);
    subject.put(1);
    REQUIRE(subject.engine->sync().ok());
    subject.files.fail(test::Call::open, nth, EIO, true);
    store::ReplicaState state = subject.engine->replica_state();
    state.follower = true;
    const Status status = subject.engine->save_replica_state(std::move(state));
    const bool met = subject.files.fault_met();
    subject.files.clear_faults();
    CHECK(status.ok() != met);
    if (!met) {
      REQUIRE(nth > 1);
      break;
    }
    CHECK_FALSE(subject.engine->replica_state().follower);
    subject.put(2);
    CHECK(subject.engine->position(0) == subject.engine->shard(0).last_sequence());
  }
}

TEST_CASE("numbering: a position is written with a sync, what is reached before") {
  Subject subject;
  subject.be(true);
  engine::Engine& engine = *subject.engine;
  REQUIRE(engine.reach(0, 50).ok());
  engine.move_cursor(0, 20, 50);
  CHECK(engine.position(0) == 20);
  subject.lose_power();
  CHECK(subject.engine->position(0) == 0);
  CHECK(subject.engine->cursor(0).reached >= 50);

  REQUIRE(subject.engine->reach(0, 60).ok());
  subject.engine->move_cursor(0, 60, 60);
  REQUIRE(subject.engine->save_positions(false).ok());
  subject.files.kill_process();
  subject.engine.reset();
  subject.open();
  CHECK(subject.engine->position(0) == 60);
  REQUIRE(subject.engine->save_positions(false).ok());
  // What is quiet is durable, and says that nothing is later.
  subject.engine->move_cursor(0, 70, 70);
  REQUIRE(subject.engine->save_positions(true).ok());
  subject.lose_power();
  CHECK(subject.engine->position(0) == 70);
  CHECK(subject.engine->cursor(0).reached == 70);

  REQUIRE(subject.engine->forget(0, false).ok());
  subject.lose_power();
  CHECK(subject.engine->position(0) == 0);
  CHECK(subject.engine->cursor(0).reached == 70);
}

TEST_CASE("numbering: who takes over counts above all it had heard of, also after a restart") {
  for (const bool exact : {false, true}) {
    Subject subject;
    for (int number = 0; number < 3; ++number) subject.put(number);
    subject.be(true);
    REQUIRE(subject.engine->reach(0, 100).ok());
    subject.engine->move_cursor(0, exact ? 100 : 90, 100);
    REQUIRE(subject.engine->sync().ok());
    REQUIRE(subject.engine->begin_own_numbering().ok());
    CHECK(subject.engine->position(0) == (exact ? 100u : 90u));  // where its term begins
    subject.be(false);
    const std::uint64_t own_from = subject.engine->cursor(0).own_from;
    CHECK(own_from == (exact ? 101u : 91u));
    CHECK(subject.engine->cursor(0).joined == (exact ? 100u : own_from));
    CHECK(subject.engine->position(0) == own_from);
    for (const bool again : {false, true}) {
      if (again) subject.lose_power();
      CHECK(subject.engine->shard(0).last_sequence() == own_from);
      CHECK(subject.engine->shard(0).durable_sequence() == own_from);
      CHECK(subject.engine->cursor(0).own_from == own_from);
    }
    subject.put(1);
    CHECK(subject.engine->shard(0).last_sequence() == own_from + 1);
    REQUIRE(subject.engine->sync().ok());
    CHECK(subject.engine->shard(0).durable_sequence() == own_from + 1);
  }
}

TEST_CASE("numbering: a leader whose file is lost begins anew, one that never served does not") {
  Subject subject;
  for (int number = 0; number < 3; ++number) subject.put(number);
  REQUIRE(subject.engine->begin_numbering().ok());
  CHECK(subject.engine->cursor(0).own_from == 0);
  CHECK(subject.engine->position(0) == 3);
  subject.be(false);
  subject.lose_power();
  REQUIRE(subject.engine->begin_numbering().ok());
  CHECK(subject.engine->cursor(0).own_from == 0);

  REQUIRE(subject.engine->close().ok());
  REQUIRE(subject.files.remove("/c/db.cursor").ok());
  subject.engine.reset();
  subject.open();
  REQUIRE(subject.engine->begin_numbering().ok());
  CHECK(subject.engine->cursor(0).own_from == 4);
  CHECK(subject.engine->cursor(0).joined == 4);
  CHECK(subject.engine->shard(0).last_sequence() == 4);
}

TEST_CASE("numbering: a follower whose file is lost has reached nobody knows what") {
  Subject subject;
  subject.put(1);
  subject.be(true);
  REQUIRE(subject.engine->close().ok());
  REQUIRE(subject.files.remove("/c/db.cursor").ok());
  subject.engine.reset();
  subject.open();
  CHECK(subject.engine->position(0) == 0);
  CHECK(subject.engine->cursor(0).reached == store::kPositionMax);
}

#endif  // !ARMDB_OMIT_REPLICATION

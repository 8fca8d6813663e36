// LeaderSession: whom a leader believes, what it ships, and when it rests.
#include "replica/leader.hpp"

#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "support/one_shard.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

#include "support/scripted_peer.hpp"

using namespace armdb;
using test::FaultFileSystem;

namespace {

// A session of `source` with what the script plays.
Status converse(replica::Source& source, const replica::Options& options,
                std::unique_ptr<os::Stream> peer, os::Waker* woken = nullptr) {
  std::unique_ptr<os::Waker> waker;
  if (woken == nullptr) REQUIRE(os::Waker::make(waker).ok());
  replica::Channel channel(std::move(peer), options.timeout_ms);
  replica::LeaderSession session(channel, options, woken == nullptr ? *waker : *woken);
  const std::atomic<bool> stopping{false};
  return session.run([&](const std::string&) { return &source; }, stopping);
}
Status converse(replica::Source& source, const replica::Options& options, test::Script& script) {
  return converse(source, options, std::make_unique<test::ScriptedPeer>(script));
}

std::unique_ptr<engine::Engine> open_slots(FaultFileSystem& files) {
  Shape shape = test::kConstMap;
  shape.fixed = true;
  auto opened = engine::Engine::open("/c", &shape, test::one_shard(files), engine::Engine::Parts{});
  REQUIRE(opened.ok());
  return std::move(*opened);
}

// Nothing happens by the clock.
replica::Options patient() {
  replica::Options options;
  options.timeout_ms = options.heartbeat_ms = 3600000;
  return options;
}

struct Outcome {
  Status status;
  bool fenced = false;
  bool refuses_writes = false;
};

// A follower greets a new leader with one term, of a number far above the leader's.
Outcome greet(bool own_lineage) {
  FaultFileSystem files;
  auto engine =
      engine::Engine::open("/c", &test::kVarTree, test::one_shard(files), engine::Engine::Parts{});
  REQUIRE(engine.ok());
  replica::Options options;
  options.timeout_ms = 3600000;
  Outcome outcome;
  {
    replica::Source source(**engine, "c", options);
    REQUIRE(source.begin().ok());
    format::Hello hello = test::hello_to(**engine);
    if (!own_lineage) hello.lineage[3] ^= 1;
    hello.terms = {{std::uint64_t{1} << 40, 5, {0}}};
    test::Script script;
    script.hello(hello);
    outcome.status = converse(source, options, script);
    outcome.fenced = source.fenced();
  }
  engine::WriteRequest request;
  request.key = Bytes("0001");
  outcome.refuses_writes = !(*engine)->write(request, false).ok();
  return outcome;
}

}  // namespace

TEST_CASE("leader: a follower that has seen a newer leader fences it") {
  const Outcome outcome = greet(true);
  CHECK(outcome.status.is(Errc::fenced));
  CHECK(outcome.fenced);
  CHECK(outcome.refuses_writes);
}

TEST_CASE("leader: what no sync has covered is not shipped [pitfall-58]") {
  FaultFileSystem files;
  auto engine =
      engine::Engine::open("/c", &test::kVarTree, test::one_shard(files), engine::Engine::Parts{});
  REQUIRE(engine.ok());
  engine::WriteRequest request;
  request.key = Bytes("0001");
  REQUIRE((*engine)->write(request, true).ok());
  for (const bool early : {true, false}) {
    replica::Options options;
    options.timeout_ms = options.heartbeat_ms = 3600000;
    options.ship_early = early;
    replica::Source source(**engine, "c", options);
    REQUIRE(source.begin().ok());
    const std::string fresh = early ? "0002" : "0003";
    request.key = Bytes(fresh);
    REQUIRE((*engine)->write(request, false).ok());
    test::Script script;
    script.hello(test::hello_to(**engine));
    script.pause();
    if (!early) files.fail(test::Call::sync, 1, EIO, true);
    CHECK_FALSE(converse(source, options, script).is(Errc::corrupt));
    const std::string heard(script.heard.begin(), script.heard.end());
    CHECK(heard.find("0001") != std::string::npos);
    CHECK((heard.find(fresh) != std::string::npos) == early);
  }
}

TEST_CASE("leader: what its last process told to be durable is so before it tells anything") {
  FaultFileSystem files;
  const auto open = [&] {
    auto opened = engine::Engine::open("/c", &test::kVarTree, test::one_shard(files), {});
    REQUIRE(opened.ok());
    return std::move(*opened);
  };
  auto engine = open();
  engine::WriteRequest request;
  request.key = Bytes("0001");
  REQUIRE(engine->write(request, false).ok());
  REQUIRE(engine->sync().ok());
  files.kill_process();
  engine.reset();
  engine = open();
  CHECK(engine->shard(0).last_sequence() == 1);
  replica::Options options;
  options.ship_early = true;
  replica::Source source(*engine, "c", options);
  REQUIRE(source.begin().ok());
  CHECK(engine->shard(0).durable_sequence() == 1);
}

TEST_CASE("leader: who stands at what a power cut took, and this one wrote on, is told so") {
  FaultFileSystem files;
  std::unique_ptr<engine::Engine> engine;
  const auto open = [&] {
    engine.reset();
    auto opened = engine::Engine::open("/c", &test::kVarTree, test::one_shard(files),
                                       engine::Engine::Parts{});
    REQUIRE(opened.ok());
    engine = std::move(*opened);
  };
  const auto put = [&](const char* key, bool sync) {
    engine::WriteRequest request;
    request.key = Bytes(key);
    REQUIRE(engine->write(request, sync).ok());
  };
  replica::Options options;
  options.timeout_ms = 3600000;
  open();
  put("0001", true);
  std::vector<format::Term> terms;
  {
    replica::Source source(*engine, "c", options);
    REQUIRE(source.begin().ok());
    terms = engine->replica_state().terms;
    put("0002", false);
    std::uint64_t shipped = 0;
    REQUIRE(engine->shard(0).flush_for_feed(shipped).ok());
    REQUIRE(shipped == 2);
  }
  files.power_cut_lose_all();
  open();
  REQUIRE(engine->shard(0).last_sequence() == 1);
  put("0003", true);
  const bool reopened = GENERATE(false, true);
  if (reopened) open();
  replica::Source source(*engine, "c", options);
  REQUIRE(source.begin().ok());
  // Of an opening the first term begins before what was written then.
  CHECK((engine->replica_state().terms.back().starts[0] == 1) == !reopened);

  format::Hello hello = test::hello_to(*engine);
  hello.sequences = {2};
  hello.terms = terms;
  test::Script script;
  script.hello(hello);
  static_cast<void>(converse(source, options, script));
  const Bytes heard(script.heard);
  format::FrameHeader header;
  REQUIRE(format::decode_frame_header(heard, header).ok());
  REQUIRE(header.type == format::FrameType::hello);
  format::Hello answer;
  REQUIRE(format::decode_hello(heard.sub(format::kWireHeaderBytes, header.length), answer).ok());
  // Else the terms tell where the histories part.
  CHECK(answer.replace[0] == (reopened ? 2 : 1));
}

TEST_CASE("leader: states that no sync has covered are not shipped [pitfall-58]") {
  FaultFileSystem files;
  const auto engine = open_slots(files);
  const replica::Options options = patient();
  replica::Source source(*engine, "c", options);
  REQUIRE(source.begin().ok());
  engine::WriteRequest request;
  request.value = Bytes("abcdefgh");
  request.key = Bytes("0001");
  REQUIRE(engine->write(request, true).ok());
  for (const bool fails : {false, true}) {
    request.key = Bytes("0002");
    request.value = Bytes(fails ? "12345678" : "87654321");
    REQUIRE(engine->write(request, false).ok());
    test::Script script;
    script.hello(test::hello_to(*engine));
    script.pause();
    if (fails) files.fail(test::Call::sync, 1, EIO, true);
    CHECK_FALSE(converse(source, options, script).is(Errc::corrupt));
    const std::string heard(script.heard.begin(), script.heard.end());
    CHECK((heard.find("0001") != std::string::npos) == !fails);
    CHECK((heard.find("87654321") != std::string::npos) == !fails);
    CHECK(heard.find("12345678") == std::string::npos);
  }
}

#if !defined(ARMDB_OMIT_THREADS)
namespace {

// Tells when the session waits for a moment only; the script goes on when it waits for something to
// do.
class RestingPeer final : public os::Stream {
 public:
  RestingPeer(test::Script& script, std::function<void()> rests)
      : script_(script), rests_(std::move(rests)) {}
  Result<std::size_t> read(MutableBytes out) override { return script_.read(out); }
  Result<std::size_t> write(Bytes data) override { return script_.write(data); }
  Result<bool> wait(bool to_write, std::uint32_t timeout_ms, os::Waker* waker) override {
    if (to_write || timeout_ms > 1000) return script_.wait(to_write, timeout_ms, waker);
    rests_();
    return true;
  }
  void shut() noexcept override { script_.shut(); }
  [[nodiscard]] std::string peer() const override { return script_.peer(); }

 private:
  test::ScriptedPeer script_;
  std::function<void()> rests_;
};

// A leader with entries that its follower has not seen.
struct Busy {
  Busy(int entries, bool fixed) {
    Shape shape = fixed ? test::kConstMap : test::kVarTree;
    shape.fixed = fixed;
    auto opened =
        engine::Engine::open("/c", &shape, test::one_shard(files), engine::Engine::Parts{});
    REQUIRE(opened.ok());
    engine = std::move(*opened);
    options = patient();
    source = std::make_unique<replica::Source>(*engine, "c", options);
    REQUIRE(source->begin().ok());
    const std::uint64_t before = engine->position(0);
    for (int number = 0; number < entries; ++number) {
      const std::string key = test::key_of(number);
      engine::WriteRequest request;
      request.key = Bytes(key);
      request.value = Bytes("abcdefgh");
      REQUIRE(engine->write(request, false).ok());
    }
    format::Hello hello = test::hello_to(*engine);
    hello.terms = engine->replica_state().terms;
    hello.sequences[0] = before;
    script.hello(hello);
    REQUIRE(os::Waker::make(waker).ok());
  }
  ~Busy() {
    source->stop();
    if (waiting.joinable()) waiting.join();
  }
  void wait_for_follower() {
    waiting =
        std::thread([&] { static_cast<void>(source->wait_for(1, ~std::uint64_t{0}, 3600000)); });
    while (!source->awaited()) std::this_thread::yield();
  }
  void ship(std::function<void()> rests) {
    auto peer = std::make_unique<RestingPeer>(script, std::move(rests));
    CHECK(converse(*source, options, std::move(peer), waker.get()).is(Errc::closed));
    CHECK(script.heard_of(format::FrameType::data) > 0);
  }

  FaultFileSystem files;
  replica::Options options;
  std::unique_ptr<engine::Engine> engine;
  std::unique_ptr<replica::Source> source;
  test::Script script;
  std::unique_ptr<os::Waker> waker;
  std::thread waiting;
};

int rests_behind(int entries, bool fixed, bool awaited) {
  Busy leader(entries, fixed);
  if (awaited) leader.wait_for_follower();
  int rests = 0;
  leader.ship([&] { ++rests; });
  return rests;
}

}  // namespace

TEST_CASE("leader: a session rests behind a lot, not behind a little, nor while somebody waits") {
  const bool fixed = GENERATE(false, true);
  CHECK(rests_behind(2000, fixed, false) > 0);
  CHECK(rests_behind(20, fixed, false) == 0);
  CHECK(rests_behind(2000, fixed, true) == 0);
}

TEST_CASE("leader: who begins to wait for followers wakes a session that rests") {
  Busy leader(2000, GENERATE(false, true));
  int rests = 0;
  leader.ship([&] {
    if (++rests > 1) return;
    CHECK_FALSE(leader.waker->woken());
    leader.wait_for_follower();
    for (int tries = 0; tries < 20000 && !leader.waker->woken(); ++tries) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    CHECK(leader.waker->woken());
  });
  CHECK(rests == 1);
}

#endif  // !ARMDB_OMIT_THREADS

TEST_CASE("leader: a sync of one session is one for all of them") {
  FaultFileSystem files;
  auto engine =
      engine::Engine::open("/c", &test::kVarTree, test::one_shard(files), engine::Engine::Parts{});
  REQUIRE(engine.ok());
  const replica::Options options;
  replica::Source source(**engine, "c", options);
  CHECK(source.sync_due());
  // Longer than the time between two, which counts from the end.
  files.set_observer([](test::Call call, const std::string&) {
    if (call == test::Call::sync) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  });
  engine::WriteRequest request;
  request.key = Bytes("0001");
  // The machine may be busy for longer than it lasts.
  bool due = true;
  for (int tries = 0; due && tries < 100; ++tries) {
    REQUIRE((*engine)->write(request, false).ok());
    REQUIRE(source.sync().ok());
    due = source.sync_due();
  }
  CHECK_FALSE(due);
}

TEST_CASE("leader: one that lost slots says so, also where no opening finds that any more") {
  FaultFileSystem files;
  const auto engine = open_slots(files);
  const replica::Options options = patient();
  replica::Source source(*engine, "c", options);
  engine::WriteRequest request;
  request.key = Bytes("0001");
  request.value = Bytes("abcdefgh");
  REQUIRE(engine->write(request, true).ok());
  REQUIRE(source.begin().ok());
  for (const bool holes : {false, true}) {
    store::ReplicaState state = engine->replica_state();
    state.replacing[0] = holes ? format::kHoles : format::kWhole;
    REQUIRE(engine->save_replica_state(state).ok());
    test::Script script;
    script.hello(test::hello_to(*engine));
    script.pause();
    const Status status = converse(source, options, script);
    INFO(status.message());
    CHECK(status.is(Errc::corrupt) == holes);
    CHECK((status.message().find("lost slots") != std::string::npos) == holes);
    CHECK((script.heard_of(format::FrameType::hello) == 0) == holes);
  }
}

TEST_CASE("leader: one of another collection is refused, whatever terms that has seen") {
  const Outcome outcome = greet(false);
  CHECK(outcome.status.is(Errc::format_mismatch));
  CHECK_FALSE(outcome.fenced);
  CHECK_FALSE(outcome.refuses_writes);
}

#endif  // !ARMDB_OMIT_REPLICATION

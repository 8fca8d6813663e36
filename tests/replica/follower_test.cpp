// FollowerSession: what a follower does not take from a leader.
#include "replica/follower.hpp"

#include <memory>
#include <string>
#include <vector>

#include "replica/client.hpp"
#include "support/one_shard.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

#include "support/scripted_peer.hpp"

using namespace armdb;
using test::FaultFileSystem;

namespace {

using format::FrameType;

// A follower with two shards, and what a leader of one term says to it.
struct Talk {
  Talk() {
    config = test::one_shard(files);
    config.shard_count = 0;
    engine::Engine::Origin origin;
    origin.shape = test::kVarTree;
    origin.shard_count = 2;
    REQUIRE(engine::Engine::create_follower("/c", config, origin).ok());
    reopen();
  }

  void reopen() {
    engine.reset();
    auto opened = engine::Engine::open("/c", &test::kVarTree, config, engine::Engine::Parts{});
    REQUIRE(opened.ok());
    engine = std::move(*opened);
  }

  void hello(std::vector<format::Term> terms, std::vector<std::uint8_t> replace) {
    format::Hello hello = test::hello_to(*engine);
    hello.terms = std::move(terms);
    hello.sequences = {100, 100};
    hello.replace = std::move(replace);
    script = {};
    script.hello(hello);
  }

  void say(FrameType type, std::uint32_t shard, std::uint64_t sequence,
           const std::vector<std::uint8_t>& payload = {}, unsigned flags = 0) {
    format::FrameHeader header;
    header.type = type;
    header.flags = static_cast<std::uint16_t>(flags);
    header.shard = shard;
    header.sequence = sequence;
    script.frame(header, payload);
  }

  // Entries from `first` on with keys of that shard.
  std::vector<std::uint8_t> entries(std::uint32_t shard, std::uint64_t first,
                                    std::vector<unsigned> flags) const {
    std::vector<std::uint8_t> out;
    int number = static_cast<int>(first) * 50;
    for (std::size_t at = 0; at < flags.size(); ++at) {
      std::string key;
      do {
        key = test::key_of(number++);
      } while (shard_of(key) != shard);
      format::Entry entry;
      entry.sequence = first + at;
      entry.flags = static_cast<std::uint8_t>(flags[at]);
      entry.key = entry.value = Bytes(key);
      const std::vector<std::uint8_t> bytes = test::wire_entry(entry);
      out.insert(out.end(), bytes.begin(), bytes.end());
    }
    return out;
  }
  [[nodiscard]] std::uint32_t shard_of(const std::string& key) const {
    const Bytes bytes(key);
    const std::uint64_t hash = engine->router().hash(bytes.data(), bytes.size());
    return engine->router().shard(bytes.data(), bytes.size(), hash);
  }

  Status run(std::uint32_t heartbeat_ms = 3600000) {
    replica::Options options;
    options.heartbeat_ms = heartbeat_ms;
    options.timeout_ms = 3600000;
    std::unique_ptr<os::Waker> waker;
    REQUIRE(os::Waker::make(waker).ok());
    replica::Channel channel(std::make_unique<test::ScriptedPeer>(script), options.timeout_ms);
    replica::Progress progress;
    const std::atomic<bool> stopping{false};
    const auto told = [](const replica::Progress&) {};
    replica::FollowerSession session(channel, *engine, options, *waker, told);
    return session.run(progress, stopping);
  }
  [[nodiscard]] std::uint64_t last(std::uint32_t shard) const {
    return engine->shard(shard).last_sequence();
  }

  FaultFileSystem files;
  Config config;
  std::unique_ptr<engine::Engine> engine;
  test::Script script;
};

const std::vector<format::Term> kFirst = {{1, 7, {0, 0}}};
constexpr unsigned kBegin = format::kBatchBegin;
constexpr unsigned kCommit = format::kBatchCommit;
constexpr unsigned kJoint = format::kFrameJoint;
constexpr unsigned kLast = format::kFrameJoint | format::kFrameLast;

}  // namespace

TEST_CASE("follower: a copy that is older than what it has would cost batches in other shards") {
  Talk talk;
  talk.hello(kFirst, {0, 0});
  talk.say(FrameType::data, 0, 0, talk.entries(0, 1, {kBegin, kCommit}), kJoint);
  talk.say(FrameType::data, 1, 0, talk.entries(1, 1, {kBegin, 0, kCommit}), kLast);
  CHECK(talk.run().is(Errc::closed));
  REQUIRE(talk.last(0) == 2);
  REQUIRE(talk.last(1) == 3);

  talk.hello(kFirst, {0, 0});
  talk.say(FrameType::copy_begin, 0, 1);
  talk.say(FrameType::copy_end, 0, 1);
  const Status status = talk.run();
  CHECK(status.is(Errc::corrupt));
  CHECK(status.message().find("older") != std::string::npos);
  talk.files.kill_process();
  talk.reopen();
  CHECK(talk.engine->shard(0).size() == 2);
  CHECK(talk.engine->shard(1).size() == 3);
}

TEST_CASE("follower: entries that no leader of its history has are kept aside, also on a retry") {
  for (const bool cut_before : {false, true}) {
    Talk talk;
    talk.hello(kFirst, {0, 0});
    talk.say(FrameType::data, 0, 0, talk.entries(0, 1, {0, 0, 0}));
    CHECK(talk.run().is(Errc::closed));
    if (cut_before) {
      // A copy of the leader that it knows: nothing of its own was lost there.
      talk.hello(kFirst, {1, 0});
      talk.say(FrameType::copy_begin, 0, 50);
      CHECK(talk.run().is(Errc::closed));
      CHECK(talk.engine->replica_state().replacing[0] == 1);
    }
    // Another one, which has only two of the three.
    const std::vector<format::Term> terms = {{1, 7, {0, 0}}, {9, 8, {2, 0}}};
    talk.hello(terms, {1, 0});
    talk.say(FrameType::copy_begin, 0, 2);
    talk.say(FrameType::copy_data, 0, 0, talk.entries(0, 1, {0, 0}));
    CHECK(talk.run().is(Errc::closed));
    CHECK(talk.engine->replica_state().replacing[0] == 2);
    CHECK(talk.last(0) == 3);

    talk.hello(terms, {1, 0});
    talk.say(FrameType::copy_begin, 0, 2);
    talk.say(FrameType::copy_data, 0, 0, talk.entries(0, 1, {0, 0}));
    talk.say(FrameType::copy_end, 0, 2);
    CHECK(talk.run().is(Errc::closed));
    CHECK(talk.engine->replica_state().replacing[0] == format::kUneven);
    CHECK(talk.last(0) == 2);
    CHECK(talk.engine->shard(0).size() == 2);
    CHECK_FALSE(test::names_with(talk.files, ".aside").empty());
  }
}

TEST_CASE("follower: what its leader lost of the term that they share is kept aside") {
  const std::uint8_t replace = GENERATE(std::uint8_t{1}, std::uint8_t{2});
  Talk talk;
  talk.hello(kFirst, {0, 0});
  talk.say(FrameType::data, 0, 0, talk.entries(0, 1, {0, 0}));
  CHECK(talk.run().is(Errc::closed));
  REQUIRE(talk.last(0) == 2);

  std::vector<format::Term> terms = kFirst;
  terms.push_back({2, 8, {90, 90}});
  talk.hello(terms, {replace, 0});
  talk.say(FrameType::copy_begin, 0, 100);
  talk.say(FrameType::copy_data, 0, 100, talk.entries(0, 95, {0}));
  talk.say(FrameType::copy_end, 0, 100);
  CHECK(talk.run().is(Errc::closed));
  CHECK(talk.last(0) == 100);
  CHECK(test::names_with(talk.files, ".aside").empty() == (replace == 1));
}

TEST_CASE("follower: a copy has no batches, and one with a long one is refused") {
  Talk talk;
  talk.hello(kFirst, {0, 0});
  talk.say(FrameType::copy_begin, 0, 300);
  std::vector<unsigned> flags(300);
  flags.front() = kBegin;
  flags.back() = kCommit;
  talk.say(FrameType::copy_data, 0, 0, talk.entries(0, 1, flags));
  talk.say(FrameType::copy_end, 0, 300);
  CHECK(talk.run().is(Errc::corrupt));
  CHECK(talk.last(0) == 0);
}

TEST_CASE("follower: who has one part of a batch in a copy, and not the other, takes no lead") {
  Talk talk;
  const auto marks = [](std::uint64_t first, std::uint64_t second) {
    return format::encode_marks(std::vector<format::Mark>{{first, first}, {second, second}});
  };
  talk.hello(kFirst, {0, 0});
  talk.say(FrameType::copy_begin, 1, 2);
  talk.say(FrameType::copy_data, 1, 0, talk.entries(1, 1, {0, 0}));
  talk.say(FrameType::copy_end, 1, 2);
  talk.say(FrameType::progress, 0, 0, marks(2, 2));
  CHECK(talk.run().is(Errc::closed));
  CHECK(talk.last(1) == 2);
  CHECK(replica::promote(*talk.engine).is(Errc::failed));
  // Also after a crash; and no second copy is asked for.
  talk.files.kill_process();
  talk.reopen();
  CHECK(replica::promote(*talk.engine).is(Errc::failed));
  talk.hello(kFirst, {0, 0});
  talk.say(FrameType::progress, 0, 0, marks(2, 2));
  talk.say(FrameType::data, 0, 0, talk.entries(0, 1, {0}));
  CHECK(talk.run().is(Errc::closed));
  CHECK(replica::promote(*talk.engine).is(Errc::failed));
  talk.hello(kFirst, {0, 0});
  talk.say(FrameType::progress, 0, 0, marks(2, 2));
  talk.say(FrameType::data, 0, 1, talk.entries(0, 2, {0}));
  talk.say(FrameType::progress, 0, 0, marks(3, 3));
  CHECK(talk.run().is(Errc::closed));
  CHECK(talk.engine->replica_state().replacing[1] == format::kWhole);
  CHECK(replica::promote(*talk.engine).ok());
}

TEST_CASE("follower: one that lost something asks for a copy, or leads with what is left") {
  const bool promoted = GENERATE(false, true);
  Talk talk;
  talk.hello(kFirst, {0, 0});
  talk.say(FrameType::data, 0, 0, talk.entries(0, 1, {0, 0}));
  CHECK(talk.run().is(Errc::closed));
  store::ReplicaState state = talk.engine->replica_state();
  state.replacing[0] = format::kHoles;
  REQUIRE(talk.engine->save_replica_state(state).ok());
  if (promoted) {
    REQUIRE(replica::promote(*talk.engine).ok());
    CHECK(talk.engine->replica_state().replacing[0] == format::kWhole);
    return;
  }
  talk.script = {};
  CHECK(talk.run().is(Errc::closed));
  format::Hello hello;
  const Bytes heard = Bytes(talk.script.heard).sub(format::kWireHeaderBytes);
  REQUIRE(format::decode_hello(heard, hello).ok());
  CHECK(hello.replace[0] == format::kAwaitsCopy);
  CHECK(hello.replace[1] == format::kWhole);
}

TEST_CASE("follower: what comes twice, or too early, is refused and changes nothing [pitfall-60]") {
  for (const std::uint64_t before : {0, 1, 3}) {
    Talk talk;
    talk.hello(kFirst, {0, 0});
    talk.say(FrameType::data, 0, 0, talk.entries(0, 1, {0, 0}));
    talk.say(FrameType::data, 0, before, talk.entries(0, before + 1, {0}));
    const Status status = talk.run();
    INFO("behind " << before << ": " << status.message());
    CHECK(status.is(Errc::corrupt));
    CHECK(talk.last(0) == 2);
    CHECK(talk.engine->size() == 2);
  }
}

TEST_CASE("follower: a batch over several shards that is none is refused") {
  const auto refuses = [](auto say) {
    Talk talk;
    talk.hello(kFirst, {0, 0});
    say(talk);
    const Status status = talk.run();
    INFO(status.message());
    CHECK(status.is(Errc::corrupt));
    CHECK(talk.last(0) == 0);
    CHECK(talk.last(1) == 0);
  };
  refuses([](Talk& talk) {  // an empty part
    talk.say(FrameType::data, 0, 0, {}, kJoint);
    talk.say(FrameType::data, 1, 0, talk.entries(1, 1, {kBegin, kCommit}), kLast);
  });
  refuses([](Talk& talk) {  // plain entries
    talk.say(FrameType::data, 0, 0, talk.entries(0, 1, {0, 0}), kJoint);
    talk.say(FrameType::data, 1, 0, talk.entries(1, 1, {kBegin, kCommit}), kLast);
  });
  refuses([](Talk& talk) {  // more than one batch
    talk.say(FrameType::data, 0, 0, talk.entries(0, 1, {kBegin, kCommit, 0}), kJoint);
    talk.say(FrameType::data, 1, 0, talk.entries(1, 1, {kBegin, kCommit}), kLast);
  });
  refuses([](Talk& talk) {  // no end
    talk.say(FrameType::data, 0, 0, talk.entries(0, 1, {kBegin, 0}), kJoint);
    talk.say(FrameType::data, 1, 0, talk.entries(1, 1, {kBegin, kCommit}), kLast);
  });
  refuses([](Talk& talk) {  // the same shard twice: also the limit to what is kept in memory
    talk.say(FrameType::data, 1, 0, talk.entries(1, 1, {kBegin, kCommit}), kJoint);
    talk.say(FrameType::data, 1, 0, talk.entries(1, 1, {kBegin, kCommit}), kJoint);
  });
  refuses([](Talk& talk) {  // in another order
    talk.say(FrameType::data, 1, 0, talk.entries(1, 1, {kBegin, kCommit}), kJoint);
    talk.say(FrameType::data, 0, 0, talk.entries(0, 1, {kBegin, kCommit}), kLast);
  });
  refuses([](Talk& talk) {  // a batch inside a batch
    talk.say(FrameType::data, 0, 0, talk.entries(0, 1, {kBegin, kBegin, kCommit}));
  });
}

TEST_CASE("follower: what it sends last is a reason") {
  Talk talk;
  talk.hello(kFirst, {0, 0});
  talk.say(FrameType::data, 0, 5, talk.entries(0, 6, {0}));
  CHECK(talk.run().is(Errc::corrupt));
  CHECK(talk.script.heard_of(FrameType::error) == 1);
}

TEST_CASE("follower: its leader hears from it while it shows a long copy") {
  // A heartbeat of 0 is always due: no clock decides how often.
  for (const std::uint32_t heartbeat_ms : {3600000u, 0u}) {
    INFO("heartbeat " << heartbeat_ms);
    Talk talk;
    constexpr std::size_t kEntries = 3000;
    talk.hello(kFirst, {1, 0});
    talk.say(FrameType::copy_begin, 0, kEntries);
    talk.say(FrameType::copy_data, 0, 0, talk.entries(0, 1, std::vector<unsigned>(kEntries)));
    talk.say(FrameType::copy_end, 0, kEntries);
    CHECK(talk.run(heartbeat_ms).is(Errc::closed));
    CHECK(talk.engine->shard(0).size() == kEntries);
    // One when no frame is left; the first one at all is always due.
    const std::size_t acks = talk.script.heard_of(FrameType::ack);
    INFO("acks " << acks);
    CHECK((heartbeat_ms == 0 ? acks >= 3 : acks <= 2));
  }
}

#endif  // !ARMDB_OMIT_REPLICATION

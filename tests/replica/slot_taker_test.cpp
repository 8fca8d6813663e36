// SlotTaker: what a follower on the Fixed store takes from a leader, and what not.
#include "replica/slot_taker.hpp"

#include <memory>
#include <string>
#include <vector>

#include "replica/client.hpp"
#include "replica/follower.hpp"
#include "support/one_shard.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

#include "support/scripted_peer.hpp"

using namespace armdb;
using test::FaultFileSystem;

namespace {

using format::FrameType;

Shape fixed_shape() {
  Shape shape = test::kConstMap;
  shape.fixed = true;
  return shape;
}

// A follower with two shards, and what a leader of one term says to it.
struct Talk {
  Talk() {
    config = test::one_shard(files);
    config.shard_count = 0;
    engine::Engine::Origin origin;
    origin.shape = fixed_shape();
    origin.shard_count = 2;
    REQUIRE(engine::Engine::create_follower("/c", config, origin).ok());
    reopen();
  }

  void reopen() {
    engine.reset();
    const Shape shape = fixed_shape();
    auto opened = engine::Engine::open("/c", &shape, config, engine::Engine::Parts{});
    REQUIRE(opened.ok());
    engine = std::move(*opened);
  }

  void hello(std::vector<std::uint8_t> replace,
             std::vector<format::Term> terms = {{1, 7, {0, 0}}}) {
    format::Hello hello = test::hello_to(*engine);
    hello.terms = std::move(terms);
    hello.sequences = {100, 100};
    hello.replace = std::move(replace);
    script = {};
    script.hello(hello);
  }
  // All of it is about shard 0.
  void say(FrameType type, std::uint64_t sequence, const std::vector<std::uint8_t>& payload = {},
           unsigned flags = 0, std::uint32_t shard = 0) {
    format::FrameHeader header;
    header.type = type;
    header.flags = static_cast<std::uint16_t>(flags);
    header.shard = shard;
    header.sequence = sequence;
    script.frame(header, payload);
  }
  // The number-th key of a shard.
  [[nodiscard]] std::string key(int number, std::uint32_t shard = 0) const {
    for (int at = 0;; ++at) {
      std::string key = test::key_of(at);
      std::uint64_t hash = 0;
      if (&engine->owner(Bytes(key), hash) == &engine->shard(shard) && number-- == 0) return key;
    }
  }
  static std::vector<std::uint8_t> state(const std::string& key, std::uint64_t sequence,
                                         const std::string& value, unsigned flags = 0) {
    format::Entry entry;
    entry.sequence = sequence;
    entry.flags = static_cast<std::uint8_t>(flags);
    entry.key = Bytes(key);
    entry.value = Bytes(value);
    return test::wire_entry(entry);
  }
  [[nodiscard]] std::vector<std::uint8_t> states(std::uint64_t first, int count) const {
    std::vector<std::uint8_t> out;
    for (int at = 0; at < count; ++at) {
      const auto bytes = state(key(at), first + static_cast<std::uint64_t>(at), test::value_of(at));
      out.insert(out.end(), bytes.begin(), bytes.end());
    }
    return out;
  }
  [[nodiscard]] std::vector<std::uint8_t> keys(std::vector<int> numbers) const {
    std::vector<std::uint8_t> out;
    for (const int number : numbers) {
      const std::string one = key(number);
      out.insert(out.end(), one.begin(), one.end());
    }
    return out;
  }

  Status run(std::uint32_t heartbeat_ms = 3600000) {
    replica::Options options;
    options.timeout_ms = 3600000;
    options.heartbeat_ms = heartbeat_ms;
    std::unique_ptr<os::Waker> waker;
    REQUIRE(os::Waker::make(waker).ok());
    replica::Channel channel(std::make_unique<test::ScriptedPeer>(script), options.timeout_ms);
    replica::Progress progress;
    const std::atomic<bool> stopping{false};
    const auto told = [](const replica::Progress&) {};
    replica::FollowerSession session(channel, *engine, options, *waker, told);
    return session.run(progress, stopping);
  }
  // A follower that is whole, at position 3 with three keys.
  void begin() {
    hello({0, 0});
    say(FrameType::reach, 3);
    say(FrameType::data, 0, states(1, 3));
    say(FrameType::cursor, 3);
    REQUIRE(run().is(Errc::closed));
    REQUIRE(engine->position(0) == 3);
    REQUIRE(engine->shard(0).size() == 3);
  }
  // What it says of shard 0 in its greeting.
  format::Hello greeting() {
    script = {};
    CHECK(run().is(Errc::closed));
    format::Hello hello;
    REQUIRE(format::decode_hello(Bytes(script.heard).sub(format::kWireHeaderBytes), hello).ok());
    return hello;
  }

  FaultFileSystem files;
  FixedConfig config;
  std::unique_ptr<engine::Engine> engine;
  test::Script script;
};

}  // namespace

TEST_CASE("slot_taker: a piece moves the position, half a piece does not") {
  Talk talk;
  talk.begin();
  CHECK(talk.engine->cursor(0).reached == 3);
  CHECK(talk.greeting().replace[0] == 0);
  talk.hello({0, 0});
  talk.say(FrameType::reach, 9);
  talk.say(FrameType::data, 3, Talk::state(talk.key(1), 5, {}, format::kTombstone));
  CHECK(talk.run().is(Errc::closed));
  CHECK(talk.engine->shard(0).size() == 2);
  for (const bool crashed : {false, true}) {
    if (crashed) {
      talk.files.power_cut_lose_all();
      talk.reopen();
    }
    const format::Hello hello = talk.greeting();
    CHECK(hello.sequences[0] == 3);
    CHECK(hello.replace[0] == format::kAhead);
    CHECK(hello.sequences[1] == 0);
    CHECK(hello.replace[1] == 0);
  }
  // The same once more, and the rest.
  talk.hello({0, 0});
  talk.say(FrameType::reach, 9);
  talk.say(FrameType::data, 3, Talk::state(talk.key(1), 5, {}, format::kTombstone));
  talk.say(FrameType::cursor, 9);
  CHECK(talk.run().is(Errc::closed));
  CHECK(talk.engine->position(0) == 9);
  CHECK(talk.greeting().replace[0] == 0);
  talk.files.power_cut_lose_all();
  talk.reopen();
  CHECK(talk.greeting().sequences[0] == 9);
  CHECK(talk.engine->shard(0).size() == 2);
}

TEST_CASE("slot_taker: what no leader says is refused, and moves nothing") {
  const auto refuses = [](auto say) {
    Talk talk;
    talk.begin();
    talk.hello({0, 0});
    say(talk);
    const Status status = talk.run();
    INFO(status.message());
    CHECK(status.is(Errc::corrupt));
    CHECK(talk.engine->position(0) == 3);
    CHECK(talk.engine->shard(0).size() == 3);
  };
  refuses([](Talk& talk) { talk.say(FrameType::data, 3, talk.states(4, 3)); });  // not announced
  refuses([](Talk& talk) {
    talk.say(FrameType::reach, 5);
    talk.say(FrameType::data, 3, talk.states(6, 3));
  });
  refuses([](Talk& talk) {  // not behind the position
    talk.say(FrameType::reach, 9);
    talk.say(FrameType::data, 3, talk.states(3, 3));
  });
  for (const std::uint64_t before : {2, 4}) {
    refuses([&](Talk& talk) {
      talk.say(FrameType::reach, 9);
      talk.say(FrameType::data, before, talk.states(6, 3));
    });
  }
  refuses([](Talk& talk) { talk.say(FrameType::cursor, 2); });
  refuses([](Talk& talk) { talk.say(FrameType::cursor, 9, {1}); });
  refuses([](Talk& talk) { talk.say(FrameType::data, 3); });
  refuses([](Talk& talk) {
    talk.say(FrameType::reach, 9);
    talk.say(FrameType::data, 3, talk.states(6, 3), format::kFrameMore);
  });
  refuses([](Talk& talk) {  // of another shard
    talk.say(FrameType::reach, 9);
    talk.say(FrameType::data, 3, Talk::state(talk.key(0, 1), 4, test::value_of(1)));
  });
  refuses([](Talk& talk) {  // of another size
    talk.say(FrameType::reach, 9);
    talk.say(FrameType::data, 3, Talk::state(talk.key(0), 4, "short"));
  });
  refuses([](Talk& talk) {  // a batch
    talk.say(FrameType::reach, 9);
    talk.say(FrameType::data, 3,
             Talk::state(talk.key(0), 4, test::value_of(1), format::kBatchBegin));
  });
  refuses([](Talk& talk) {  // cut off
    std::vector<std::uint8_t> some = talk.states(4, 1);
    some.pop_back();
    talk.say(FrameType::reach, 9);
    talk.say(FrameType::data, 3, some);
  });
  refuses([](Talk& talk) { talk.say(FrameType::copy_keys, 0, talk.keys({0})); });
  refuses([](Talk& talk) { talk.say(FrameType::copy_end, 9); });
  refuses([](Talk& talk) { talk.say(FrameType::copy_begin, 2); });  // older than what it has
}

TEST_CASE("slot_taker: a copy erases what it does not mention") {
  Talk talk;
  talk.begin();
  talk.hello({1, 0});
  talk.say(FrameType::copy_begin, 20);
  talk.say(FrameType::copy_keys, 0, talk.keys({1}));
  talk.say(FrameType::reach, 21);
  talk.say(FrameType::copy_data, 0, Talk::state(talk.key(7), 21, test::value_of(7)));
  talk.say(FrameType::copy_end, 20);
  CHECK(talk.run().is(Errc::closed));
  CHECK(talk.engine->position(0) == 20);
  CHECK(talk.engine->cursor(0).reached == 21);
  CHECK(talk.engine->replica_state().replacing[0] == format::kWhole);
  CHECK(talk.engine->shard(0).size() == 2);
  CHECK(talk.engine->find(Bytes(talk.key(1)).data(), nullptr, nullptr));
  CHECK(talk.engine->find(Bytes(talk.key(7)).data(), nullptr, nullptr));
  talk.files.power_cut_lose_all();
  talk.reopen();
  CHECK(talk.engine->position(0) == 20);
  CHECK(talk.engine->shard(0).size() == 2);
}

TEST_CASE("slot_taker: a copy that is cut off leaves no leader, and begins again by its position") {
  Talk talk;
  talk.begin();
  talk.hello({1, 0});
  talk.say(FrameType::copy_begin, 20);
  talk.say(FrameType::reach, 21);
  talk.say(FrameType::copy_data, 0, Talk::state(talk.key(7), 21, test::value_of(7)));
  CHECK(talk.run().is(Errc::closed));
  for (const bool crashed : {false, true}) {
    if (crashed) {
      talk.files.power_cut_lose_all();
      talk.reopen();
    }
    CHECK(replica::promote(*talk.engine).is(Errc::failed));
    const format::Hello hello = talk.greeting();
    CHECK(hello.sequences[0] == 3);
    CHECK(hello.replace[0] == format::kAwaitsCopy);
  }
}

TEST_CASE("slot_taker: a copy that is none is refused") {
  const auto refuses = [](auto say) {
    Talk talk;
    talk.begin();
    talk.hello({1, 0});
    talk.say(FrameType::copy_begin, 20);
    say(talk);
    const Status status = talk.run();
    INFO(status.message());
    CHECK(status.is(Errc::corrupt));
    CHECK(talk.engine->replica_state().replacing[0] == format::kAwaitsCopy);
    CHECK(talk.engine->shard(0).size() >= 3);
  };
  refuses([](Talk& talk) { talk.say(FrameType::copy_end, 21); });
  refuses([](Talk& talk) { talk.say(FrameType::cursor, 21); });
  refuses([](Talk& talk) {
    talk.say(FrameType::reach, 30);
    talk.say(FrameType::data, 3, talk.states(21, 1));
  });
  refuses([](Talk& talk) { talk.say(FrameType::copy_data, 0, talk.states(21, 1)); });
  refuses([](Talk& talk) {
    talk.say(FrameType::reach, 30);
    talk.say(FrameType::copy_data, 0, Talk::state(talk.key(0), 21, {}, format::kTombstone));
  });
  refuses([](Talk& talk) {
    std::vector<std::uint8_t> keys = talk.keys({0, 1});
    keys.pop_back();
    talk.say(FrameType::copy_keys, 0, keys);
  });
}

TEST_CASE("slot_taker: who lacks what its leader takes for unchanged asks for everything") {
  Talk talk;
  talk.begin();
  talk.hello({1, 0});
  talk.say(FrameType::copy_begin, 20);
  talk.say(FrameType::copy_keys, 0, talk.keys({0, 5}));
  const Status status = talk.run();
  CHECK(status.is(Errc::corrupt));
  for (const bool crashed : {false, true}) {
    if (crashed) {
      talk.files.power_cut_lose_all();
      talk.reopen();
    }
    const format::Hello hello = talk.greeting();
    CHECK(hello.sequences[0] == 0);
    CHECK(hello.replace[0] == format::kAwaitsCopy);
  }
  // Keys alone say nothing to it now.
  talk.hello({1, 0});
  talk.say(FrameType::copy_begin, 20);
  talk.say(FrameType::copy_keys, 0, talk.keys({0}));
  CHECK(talk.run().is(Errc::corrupt));
}

TEST_CASE("slot_taker: states past the common end are kept aside before they go") {
  Talk talk;
  talk.begin();
  // One that took over behind version 2, and has to tell all.
  const std::vector<format::Term> terms = {{1, 7, {0, 0}}, {std::uint64_t{1} << 32, 8, {2, 0}}};
  talk.hello({2, 0}, terms);
  CHECK(talk.run().is(Errc::closed));
  CHECK(talk.engine->replica_state().replacing[0] == format::kAwaitsCopyAside);
  CHECK(talk.engine->position(0) == 0);
  CHECK(talk.engine->shard(0).size() == 3);
  CHECK(test::names_with(talk.files, ".aside").empty());
  talk.files.power_cut_lose_all();
  talk.reopen();
  talk.hello({2, 0}, terms);
  talk.say(FrameType::copy_begin, 40);
  CHECK(talk.run().is(Errc::closed));
  CHECK(test::names_with(talk.files, ".aside").size() == 1);
  CHECK(talk.engine->replica_state().replacing[0] == format::kAwaitsCopy);
  // Once is enough.
  talk.hello({2, 0}, terms);
  talk.say(FrameType::copy_begin, 40);
  talk.say(FrameType::copy_end, 40);
  CHECK(talk.run().is(Errc::closed));
  CHECK(test::names_with(talk.files, ".aside").size() == 1);
  CHECK(talk.engine->position(0) == 40);
  CHECK(talk.engine->shard(0).size() == 0);
  // The other shard had nothing that went.
  CHECK(test::names_with(talk.files, ".aside", "/c/shard_001").empty());
}

TEST_CASE("slot_taker: its leader hears from it while it ends a long copy") {
  // A heartbeat of 0 is always due: no clock decides how often.
  for (const std::uint32_t heartbeat_ms : {3600000u, 0u}) {
    INFO("heartbeat " << heartbeat_ms);
    Talk talk;
    std::string key = "k000";
    std::vector<std::uint8_t> states;
    std::uint64_t version = 0;
    std::uint64_t hash = 0;
    for (int number = 0; number < 6000; ++number) {
      key[1] = static_cast<char>('A' + number / 400);
      key[2] = static_cast<char>('A' + number / 20 % 20);
      key[3] = static_cast<char>('A' + number % 20);
      if (&talk.engine->owner(Bytes(key), hash) != &talk.engine->shard(0)) continue;
      const auto one = Talk::state(key, ++version, test::value_of(number % 1000));
      states.insert(states.end(), one.begin(), one.end());
    }
    talk.hello({0, 0});
    talk.say(FrameType::reach, version);
    talk.say(FrameType::data, 0, states);
    talk.say(FrameType::cursor, version);
    REQUIRE(talk.run().is(Errc::closed));
    REQUIRE(talk.engine->shard(0).size() == version);
    // None of them is in the copy: they go, one after the other.
    talk.hello({1, 0});
    talk.say(FrameType::copy_begin, version);
    talk.say(FrameType::copy_end, version);
    CHECK(talk.run(heartbeat_ms).is(Errc::closed));
    CHECK(talk.engine->shard(0).size() == 0);
    const std::size_t acks = talk.script.heard_of(FrameType::ack);
    INFO("acks " << acks);
    CHECK((heartbeat_ms == 0 ? acks >= 4 : acks <= 3));
  }
}

TEST_CASE("slot_taker: a follower with a log takes none of these frames") {
  FaultFileSystem files;
  FixedConfig config = test::one_shard(files);
  config.shard_count = 0;
  engine::Engine::Origin origin;
  origin.shape = test::kVarTree;
  REQUIRE(engine::Engine::create_follower("/c", config, origin).ok());
  for (const FrameType type : {FrameType::reach, FrameType::cursor, FrameType::copy_keys}) {
    Talk talk;
    auto opened = engine::Engine::open("/c", &test::kVarTree, config, engine::Engine::Parts{});
    REQUIRE(opened.ok());
    talk.engine = std::move(*opened);
    format::Hello hello = test::hello_to(*talk.engine);
    hello.terms = {{1, 7, {0}}};
    talk.script.hello(hello);
    talk.say(type, 5);
    CHECK(talk.run().is(Errc::corrupt));
    talk.engine.reset();
  }
}

#endif  // !ARMDB_OMIT_REPLICATION

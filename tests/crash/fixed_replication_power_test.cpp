// Power cuts of a follower on the Fixed store, at each call of its file system: its position never
// speaks for what it does not have, and it ends with the content of its leader.
//
// Leader and follower are real, on file systems of their own; what one says is kept, and then read
// to the other: no thread, no time. All states that a key had at the leader are remembered.
#include <cerrno>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.hpp"
#include "support/catch.hpp"
#include "support/fault_file_system.hpp"
#include "support/one_shard.hpp"
#include "support/random.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

#include "replica/client.hpp"
#include "replica/follower.hpp"
#include "replica/leader.hpp"
#include "support/scripted_peer.hpp"

using namespace armdb;
using test::FaultFileSystem;

namespace {

constexpr int kKeys = 60;
constexpr std::uint32_t kShards = 2;

Shape fixed_shape() {
  Shape shape{4, 8, false, Payload::value};
  shape.fixed = true;
  return shape;
}

FixedConfig config_of(FaultFileSystem& files) {
  FixedConfig config = test::one_shard(files);
  config.shard_count = 0;
  return config;
}

using Engine = std::unique_ptr<engine::Engine>;

Engine open(FaultFileSystem& files, std::uint32_t shards = 0) {
  const Shape shape = fixed_shape();
  FixedConfig config = config_of(files);
  config.shard_count = shards;
  auto opened = engine::Engine::open("/c", &shape, config, engine::Engine::Parts{});
  INFO(opened.message());
  REQUIRE(opened.ok());
  return std::move(*opened);
}

using Contents = std::map<std::string, std::string>;

Contents contents_of(const engine::Engine& engine) {
  Contents contents;
  for (int number = 0; number < kKeys; ++number) {
    const std::string key = test::key_of(number);
    std::uint8_t value[8];
    if (engine.find(Bytes(key).data(), nullptr, value)) contents[key] = Bytes(value).text();
  }
  return contents;
}

std::size_t asides_in(FaultFileSystem& files) {
  std::size_t count = 0;
  for (std::uint32_t shard = 0; shard < kShards; ++shard) {
    count += test::names_with(files, ".aside", store::shard_path("/c", shard)).size();
  }
  return count;
}

// What a key became under a version of its shard; empty where it was erased.
struct Change {
  std::uint32_t shard = 0;
  std::uint64_t version = 0;
  std::string value;
};

// Who writes, and all it ever wrote.
class Writer {
 public:
  explicit Writer(engine::Engine& engine) : engine_(engine) {}
  void put(int number, int version) {
    write(test::key_of(number), test::value_of(number, version));
  }
  void erase(int number) { write(test::key_of(number), {}); }

  // Whether a key may be in this state at a position, with nothing later than `reached`.
  [[nodiscard]] bool possible(const std::string& key, const std::string& value,
                              std::uint64_t position, std::uint64_t reached) const {
    const auto known = changes_.find(key);
    std::string at_position;
    if (known != changes_.end()) {
      for (const Change& change : known->second) {
        if (change.version <= position) at_position = change.value;
        if (change.version > position && change.version <= reached && change.value == value) {
          return true;
        }
      }
    }
    return value == at_position;
  }

 private:
  void write(const std::string& key, const std::string& value) {
    engine::WriteRequest request;
    request.key = Bytes(key);
    request.value = Bytes(value);
    request.erase = value.empty();
    REQUIRE(engine_.write(request, false).ok());
    std::uint64_t hash = 0;
    const std::uint64_t version = engine_.owner(Bytes(key), hash).last_sequence();
    const std::uint32_t shard = engine_.router().shard(Bytes(key).data(), key.size(), hash);
    changes_[key].push_back({shard, version, value});
  }

  engine::Engine& engine_;
  std::map<std::string, std::vector<Change>> changes_;
};

replica::Options options() {
  replica::Options options;
  options.heartbeat_ms = options.timeout_ms = 3600000;
  return options;
}

// What a follower says to a leader that says this; and how it ends.
Status follow(engine::Engine& engine, test::Script& script) {
  const replica::Options own = options();
  std::unique_ptr<os::Waker> waker;
  REQUIRE(os::Waker::make(waker).ok());
  replica::Channel channel(std::make_unique<test::ScriptedPeer>(script), own.timeout_ms);
  replica::Progress progress;
  const std::atomic<bool> stopping{false};
  const auto told = [](const replica::Progress&) {};
  replica::FollowerSession session(channel, engine, own, *waker, told);
  return session.run(progress, stopping);
}

// All that a leader says to this follower, until it has nothing more to say.
test::Script lead(replica::Source& source, engine::Engine& follower) {
  test::Script nothing;
  REQUIRE(follow(follower, nothing).is(Errc::closed));
  test::Script greeting;
  greeting.raw(Bytes(nothing.heard));
  greeting.pause();
  const replica::Options own = options();
  std::unique_ptr<os::Waker> waker;
  REQUIRE(os::Waker::make(waker).ok());
  replica::Channel channel(std::make_unique<test::ScriptedPeer>(greeting), own.timeout_ms);
  {
    replica::LeaderSession session(channel, own, *waker);
    const std::atomic<bool> stopping{false};
    const Status status = session.run([&](const std::string&) { return &source; }, stopping);
    INFO(status.message());
    REQUIRE(status.is(Errc::closed));
  }
  test::Script said;
  said.raw(Bytes(greeting.heard));
  return said;
}

struct Leader {
  Leader() : engine(open(files, kShards)), writer(*engine) { serve(); }
  void serve() {
    source.reset();
    source = std::make_unique<replica::Source>(*engine, "", own);
    const Status status = source->begin();
    INFO(status.message());
    REQUIRE(status.ok());
  }
  FaultFileSystem files;
  const replica::Options own = options();
  Engine engine;
  Writer writer;
  std::unique_ptr<replica::Source> source;
};

// A leader with a past, and a follower that has some of it.
struct Play {
  Play() {
    for (int number = 0; number < 40; ++number) leader.writer.put(number, 1);
    REQUIRE(engine::Engine::create_follower("/c", config_of(files), leader.engine->origin()).ok());
    follower = open(files);
  }
  void catch_up() {
    test::Script said = lead(*leader.source, *follower);
    const Status status = follow(*follower, said);
    INFO(status.message());
    REQUIRE(status.is(Errc::closed));
    CHECK(contents_of(*follower) == contents_of(*leader.engine));
  }
  void write_more() {
    for (int number = 30; number < 50; ++number) leader.writer.put(number, 2);
    for (int number = 0; number < 30; number += 3) leader.writer.erase(number);
    for (int number = 40; number < 50; ++number) leader.writer.put(number, 3);
  }
  void crash(std::size_t how) {
    if (how == 0) files.power_cut_lose_all();
    if (how == 1) files.power_cut_keep_all();
    if (how == 2) files.kill_process();
    if (how > 2) files.power_cut_random(how);
    follower.reset();
    files.clear_faults();
    follower = open(files);
  }
  void check_position() const {
    const store::ReplicaState state = follower->replica_state();
    const Contents contents = contents_of(*follower);
    for (int number = 0; number < kKeys; ++number) {
      const std::string key = test::key_of(number);
      std::uint64_t hash = 0;
      static_cast<void>(follower->owner(Bytes(key), hash));
      const std::uint32_t shard = follower->router().shard(Bytes(key).data(), key.size(), hash);
      if (state.replacing[shard] != format::kWhole) continue;
      const store::Cursor cursor = follower->cursor(shard);
      const auto there = contents.find(key);
      const std::string value = there == contents.end() ? std::string() : there->second;
      INFO(key << " is \"" << value << "\" at " << cursor.position << " to " << cursor.reached);
      REQUIRE(leader.writer.possible(key, value, cursor.position, cursor.reached));
    }
  }

  Leader leader;
  FaultFileSystem files;
  Engine follower;
};

// Each call of a conversation is the last one before the power goes, in all ways. `prepare` brings
// the play to where that one begins.
template <class Prepare> void cut_at_each_call(Prepare prepare, std::size_t calls_least) {
  for (std::size_t how = 0; how < 6; ++how) {
    bool met = true;
    std::size_t nth = 1;
    for (; met; ++nth) {
      Play play;
      prepare(play);
      test::Script said = lead(*play.leader.source, *play.follower);
      play.files.fail(test::Call::any, nth, EIO, true);
      static_cast<void>(follow(*play.follower, said));
      met = play.files.fault_met();
      INFO("call " << nth << ", crash " << how);
      play.crash(how);
      play.check_position();
      play.catch_up();
      play.check_position();
      CHECK(asides_in(play.files) == 0);
    }
    CHECK(nth > calls_least);
  }
}

}  // namespace

TEST_CASE("power cut: a Fixed follower's position is never ahead of what it has",
          "[crash][replication][fixed]") {
  SECTION("its first stream") {
    cut_at_each_call([](Play&) {}, 5);
  }
  SECTION("a stream that goes on") {
    cut_at_each_call(
        [](Play& play) {
          play.catch_up();
          play.write_more();
        },
        3);
  }
  SECTION("a copy of what changed") {
    cut_at_each_call(
        [](Play& play) {
          play.catch_up();
          play.write_more();
          play.leader.serve();  // it knows no more what was written last
        },
        8);
  }
  SECTION("a copy of everything") {
    cut_at_each_call(
        [](Play& play) {
          play.leader.serve();
          play.write_more();
        },
        8);
  }
}

TEST_CASE("power cut: what a former leader alone has is kept aside, whatever comes between",
          "[crash][replication][fixed]") {
  for (std::size_t how = 0; how < 6; ++how) {
    bool met = true;
    std::size_t nth = 1;
    for (; met; ++nth) {
      Play play;
      play.catch_up();
      // The old leader goes on alone; then its follower takes over, on the leader's file system.
      play.write_more();
      std::swap(play.follower, play.leader.engine);
      play.leader.source.reset();
      REQUIRE(play.follower->sync().ok());
      REQUIRE(replica::promote(*play.leader.engine).ok());
      auto source = std::make_unique<replica::Source>(*play.leader.engine, "", play.leader.own);
      REQUIRE(source->begin().ok());
      Writer writer(*play.leader.engine);
      for (int number = 20; number < 60; number += 2) writer.put(number, 7);
      store::ReplicaState state = play.follower->replica_state();
      state.follower = true;
      REQUIRE(play.follower->save_replica_state(state).ok());
      const Contents before = contents_of(*play.follower);

      FaultFileSystem& files = play.leader.files;  // of what follows now
      test::Script said = lead(*source, *play.follower);
      files.fail(test::Call::any, nth, EIO, true);
      static_cast<void>(follow(*play.follower, said));
      met = files.fault_met();
      INFO("call " << nth << ", crash " << how);
      if (how == 0) files.power_cut_lose_all();
      if (how == 1) files.power_cut_keep_all();
      if (how == 2) files.kill_process();
      if (how > 2) files.power_cut_random(how);
      play.follower.reset();
      files.clear_faults();
      play.follower = open(files);
      if (asides_in(files) < kShards) {
        // A shard without one has all it had.
        const Contents now = contents_of(*play.follower);
        for (std::uint32_t shard = 0; shard < kShards; ++shard) {
          if (test::exists(files,
                           store::path_in(store::shard_path("/c", shard), "0000000001.aside"))) {
            continue;
          }
          for (int number = 0; number < kKeys; ++number) {
            const std::string key = test::key_of(number);
            std::uint64_t hash = 0;
            if (&play.follower->owner(Bytes(key), hash) != &play.follower->shard(shard)) continue;
            REQUIRE(before.count(key) == now.count(key));
            if (before.count(key) != 0) REQUIRE(before.at(key) == now.at(key));
          }
        }
      }
      test::Script rest = lead(*source, *play.follower);
      const Status status = follow(*play.follower, rest);
      INFO(status.message());
      REQUIRE(status.is(Errc::closed));
      CHECK(contents_of(*play.follower) == contents_of(*play.leader.engine));
      CHECK(asides_in(files) >= kShards);
      source.reset();
      play.leader.engine.reset();  // its file system ends first
    }
    CHECK(nth > 10);
  }
}

#endif  // !ARMDB_OMIT_REPLICATION

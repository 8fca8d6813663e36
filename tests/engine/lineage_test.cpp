// The collection's part in replication: what it takes for true when it cannot be written down.
#include <cerrno>
#include <functional>

#include "engine/engine.hpp"
#include "support/catch.hpp"
#include "support/fault_file_system.hpp"
#include "support/one_shard.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

using namespace armdb;
using test::FaultFileSystem;

namespace {

TEST_CASE("lineage: one that could not be made a follower still takes writes", "[replication]") {
  FaultFileSystem files;
  FixedConfig config;
  config.file_system = &files;
  config.shard_count = 1;
  Shape shape;
  shape.key_size = 1;
  shape.payload = Payload::location;
  auto engine = engine::Engine::open("/collection", &shape, config, {});
  REQUIRE(engine.ok());
  const std::uint8_t key[1] = {1};
  const auto put = [&] {
    engine::WriteRequest request;
    request.key = Bytes(key);
    request.value = Bytes(key);
    return (*engine)->write(request, false);
  };
  store::ReplicaState state = (*engine)->replica_state();
  state.follower = true;
  files.fail(test::Call::open, 1, ENOSPC);
  CHECK((*engine)->save_replica_state(state).is(Errc::no_space));
  CHECK(put().ok());
  // What is renamed and not synced may be there after a crash, or not: no writes then.
  files.clear_faults();
  files.fail(test::Call::sync_directory, 1, EIO);
  CHECK((*engine)->save_replica_state(state).is(Errc::failed));
  CHECK(put().is(Errc::read_only));
  files.clear_faults();
  state.follower = false;
  CHECK((*engine)->save_replica_state(state).ok());
  CHECK(put().ok());
}

// ---- Damage that an opening finds ----

using EnginePtr = std::unique_ptr<engine::Engine>;

Result<EnginePtr> open_pair(FaultFileSystem& files, bool fixed) {
  FixedConfig config;
  static_cast<Config&>(config) = test::one_shard(files);
  config.shard_count = 2;
  config.hints = false;  // or nobody looks at the entries
  Shape shape = test::kConstMap;
  shape.fixed = fixed;
  return engine::Engine::open("/c", &shape, config, {});
}

Status put_number(engine::Engine& engine, int number, int version) {
  const std::string key = test::key_of(number);
  const std::string value = test::value_of(number, version);
  engine::WriteRequest request;
  request.key = Bytes(key);
  request.value = Bytes(value);
  return engine.write(request, false);
}

std::vector<std::string> segments_in_first(FaultFileSystem& files) {
  std::vector<std::string> paths;
  for (const std::string& name : test::names_with(files, ".data")) {
    paths.push_back(test::in_shard(name.c_str()));
  }
  return paths;
}

// A store that was replicated, closed, and all of it durable. On the log the first shard has four
// segments.
void make_replicated(FaultFileSystem& files, bool fixed, std::uint8_t replacing) {
  auto engine = open_pair(files, fixed);
  INFO(engine.message());
  REQUIRE(engine.ok());
  std::size_t segments = 0;
  for (int version = 0; fixed ? version < 2 : segments < 4; ++version) {
    for (int number = 0; number < 200; ++number) {
      REQUIRE(put_number(**engine, number, version).ok());
    }
    segments = segments_in_first(files).size();
    // Of a slot the next version goes to its other copy then.
    if (fixed) REQUIRE((*engine)->sync().ok());
  }
  store::ReplicaState state = (*engine)->replica_state();
  state.replacing[0] = replacing;
  state.follower = fixed && replacing != format::kWhole;
  REQUIRE((*engine)->save_replica_state(state).ok());
  REQUIRE((*engine)->close().ok());
}

void lose_manifest_and_segment(FaultFileSystem& files) {
  REQUIRE(files.remove(segments_in_first(files).front()).ok());
  REQUIRE(files.remove(test::in_shard("MANIFEST")).ok());
  REQUIRE(files.sync_directory(test::kShard).ok());
}
void lose_segment(FaultFileSystem& files) {
  REQUIRE(files.remove(segments_in_first(files)[1]).ok());
  REQUIRE(files.sync_directory(test::kShard).ok());
}
void hurt_entry(FaultFileSystem& files) { test::flip(files, segments_in_first(files)[1], 5000, 5); }
void lose_end(FaultFileSystem& files) { test::cut(files, segments_in_first(files).back(), 100); }
// Of one slot the copy that is there twice over, or both of its copies.
void hurt_slot(FaultFileSystem& files, int version) {
  const std::string path = test::in_shard("slots.dat");
  const std::string bytes = test::read_path(files, path);
  for (int number = 0; number < 200; ++number) {
    const std::size_t at = bytes.find(test::value_of(number, version));
    if (at == std::string::npos) continue;
    test::flip(files, path, at, 3);
    if (version == 1) return;
    test::flip(files, path, bytes.find(test::value_of(number, 1)), 3);
    return;
  }
  FAIL("no such slot");
}

struct Damage {
  const char* what;
  bool fixed;
  std::function<void(FaultFileSystem&)> done;
};

TEST_CASE("lineage: damage is noted before recovery mends what shows it", "[replication][clear]") {
  using Files = FaultFileSystem;
  const Damage damage =
      GENERATE(Damage{"MANIFEST and a segment", false, lose_manifest_and_segment},
               Damage{"a segment", false, lose_segment}, Damage{"an entry", false, hurt_entry},
               Damage{"the end of the log", false, lose_end},
               Damage{"a copy of a slot", true, [](Files& files) { hurt_slot(files, 1); }},
               Damage{"a slot", true, [](Files& files) { hurt_slot(files, 0); }});
  const auto before = static_cast<std::uint8_t>(
      GENERATE(format::kWhole, format::kAwaitsCopy, format::kAwaitsCopyAside, format::kUneven));
  std::uint8_t after = before;
  if (before == format::kWhole) after = format::kHoles;
  if (before == format::kUneven) after = format::kAwaitsCopy;
  INFO(damage.what);
  FaultFileSystem files;
  make_replicated(files, damage.fixed, before);
  damage.done(files);
  const FaultFileSystem::Snapshot damaged = files.snapshot();
  std::size_t failed = 0;
  bool met = true;
  // Each call of the opening that finds it fails, and all that follow.
  for (std::size_t nth = 1; met; ++nth) {
    for (const bool power : {false, true}) {
      files.restore(damaged);
      files.fail(test::Call::any, nth, EIO, true);
      {
        const auto engine = open_pair(files, damage.fixed);
        if (!engine.ok()) ++failed;
      }
      met = files.fault_met();
      files.clear_faults();
      power ? files.power_cut_lose_all() : files.kill_process();
      const auto engine = open_pair(files, damage.fixed);
      INFO(nth << (power ? " with a power cut" : " with a kill") << ": " << engine.message());
      REQUIRE(engine.ok());
      const std::vector<std::uint8_t> replacing = (*engine)->replica_state().replacing;
      REQUIRE(int{replacing[0]} == int{after});
      REQUIRE(int{replacing[1]} == int{format::kWhole});
      if (!damage.fixed || before == format::kWhole) continue;
      // A copy that went on would leave out what was lost.
      REQUIRE((*engine)->cursor(0).position == 0);
      REQUIRE((*engine)->cursor(1).position != 0);
    }
  }
  CHECK(failed > 20);
}

TEST_CASE("lineage: damage in a store that was never replicated is noted nowhere",
          "[replication][clear]") {
  FaultFileSystem files;
  make_replicated(files, false, format::kWhole);
  REQUIRE(files.remove("/c/db.replica").ok());
  lose_segment(files);
  const auto engine = open_pair(files, false);
  REQUIRE(engine.ok());
  CHECK((*engine)->stats().damaged_regions != 0);
  CHECK_FALSE(test::exists(files, "/c/db.replica"));
}

}  // namespace

#endif

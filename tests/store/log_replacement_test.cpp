// LogReplacement: a copy takes the place of everything, at one moment; no crash shows a mix.
#include "store/log_replacement.hpp"

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "support/one_shard.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

using namespace armdb;
using test::Call;
using test::FaultFileSystem;

namespace {

using Content = std::map<std::string, std::string>;

constexpr std::uint64_t kOldLast = 300;
constexpr std::uint64_t kNewLast = 5000;
constexpr std::uint64_t kNoneAside = ~std::uint64_t{0};
constexpr int kKeys = 130;

const Shape kShapes[] = {test::kVarTree, test::kConstMap};

Config follower_config(FileSystem& files) {
  Config config = test::one_shard(files);
  config.shard_count = 0;  // the leader's
  return config;
}

Result<std::unique_ptr<engine::Engine>> try_open(FileSystem& files, const Shape& shape) {
  return engine::Engine::open("/c", &shape, follower_config(files), {});
}
std::unique_ptr<engine::Engine> open(FileSystem& files, const Shape& shape) {
  Result<std::unique_ptr<engine::Engine>> engine = try_open(files, shape);
  INFO(engine.status().message());
  REQUIRE(engine.ok());
  return std::move(*engine);
}

struct Request {
  Request(engine::Engine& engine, int number, int version, bool erase)
      : key(test::key_of(number)), value(test::value_of(number, version)) {
    write.key = Bytes(key);
    if (!erase) write.value = Bytes(value);
    write.erase = erase;
    write.hash = engine.router().hash(write.key.data(), write.key.size());
  }
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;
  std::string key, value;
  engine::WriteRequest write;
};

// A follower with keys 0 to 99 of version 1, in segments and with something dead.
Content make_old(FaultFileSystem& files, const Shape& shape) {
  engine::Engine::Origin origin;
  origin.shape = shape;
  origin.lineage[0] = 9;
  const Status made = engine::Engine::create_follower("/c", follower_config(files), origin);
  INFO(made.message());
  REQUIRE(made.ok());
  const std::unique_ptr<engine::Engine> engine = open(files, shape);
  Content old;
  for (std::uint64_t sequence = 1; sequence <= kOldLast; ++sequence) {
    const int number = static_cast<int>(sequence % 100);
    const Request request(*engine, number, sequence > 100 ? 1 : 0, false);
    REQUIRE(engine->shard(0).apply(sequence, {&request.write, 1}, false).ok());
    old[request.key] = test::value_of(number, 1);
    if (sequence == 150) REQUIRE(engine->checkpoint().ok());
  }
  REQUIRE(engine->close().ok());
  return old;
}

// Keys 50 to 129 of version 2, each with an older entry, and erases in between.
Content copy_content() {
  Content content;
  for (int number = 50; number < kKeys; ++number) {
    if (number % 10 != 3) content[test::key_of(number)] = test::value_of(number, 2);
  }
  return content;
}

Status add(engine::Shard& shard, std::uint64_t sequence, const engine::WriteRequest& write) {
  return shard.add_to_replacement({&sequence, 1}, {&write, 1});
}

Status copy_into(engine::Engine& engine, std::uint64_t aside_above = kNoneAside) {
  engine::Shard& shard = engine.shard(0);
  Status status = shard.begin_replacement();
  std::uint64_t sequence = 1000;
  for (int version = 1; status.ok() && version <= 2; ++version) {
    for (int number = 50; status.ok() && number < kKeys; ++number) {
      const Request request(engine, number, version, version == 2 && number % 10 == 3);
      status = add(shard, sequence, request.write);
      sequence += 3;
    }
  }
  if (!status.ok()) {
    shard.abandon_replacement();
    return status;
  }
  return shard.finish_replacement(kNewLast, aside_above, [] {});
}

Content content_of(engine::Engine& engine) {
  Content content;
  for (int number = 0; number < kKeys; ++number) {
    const std::string key = test::key_of(number);
    std::uint8_t value[8];
    if (engine.shape().payload == Payload::value) {
      if (engine.find(Bytes(key).data(), nullptr, value)) content[key] = Bytes(value).text();
      continue;
    }
    const Result<bool> there =
        engine.read(Bytes(key), [&](Bytes bytes) { content[key] = bytes.text(); });
    if (!there.ok()) content[key] = "error: " + there.status().message();
  }
  return content;
}

// The old or the new content, with what belongs to it; true when it is the new one.
bool check_either(engine::Engine& engine, const Content& old) {
  const bool renewed = engine.shard(0).last_sequence() == kNewLast;
  const Content content = content_of(engine);
  CHECK(content == (renewed ? copy_content() : old));
  CHECK(engine.shard(0).last_sequence() == (renewed ? kNewLast : kOldLast));
  CHECK(engine.shard(0).size() == content.size());
  const Result<VerifyReport> report = engine.verify();
  CHECK((report.ok() && report->damaged_regions == 0));
  return renewed;
}

}  // namespace

TEST_CASE("log_replacement: a copy takes the place of everything, and the log goes on behind it") {
  for (const Shape& shape : kShapes) {
    FaultFileSystem files;
    const Content old = make_old(files, shape);
    std::unique_ptr<engine::Engine> engine = open(files, shape);
    CHECK_FALSE(check_either(*engine, old));
    const auto segments = test::names_with(files, ".data");
    REQUIRE(copy_into(*engine).ok());
    CHECK(check_either(*engine, old));
    CHECK(engine->shard(0).durable_sequence() == kNewLast);
    for (const std::string& name : segments)
      CHECK_FALSE(test::exists(files, test::in_shard(name.c_str())));
    CHECK(test::names_with(files, ".aside").empty());
    const Request next(*engine, 1, 7, false);
    CHECK_FALSE(engine->shard(0).apply(kNewLast, {&next.write, 1}, false).ok());
    REQUIRE(engine->shard(0).apply(kNewLast + 1, {&next.write, 1}, false).ok());
    REQUIRE(engine->close().ok());
    engine = open(files, shape);
    Content now = copy_content();
    now[next.key] = next.value;
    CHECK(content_of(*engine) == now);
    CHECK(engine->shard(0).last_sequence() == kNewLast + 1);
  }
}

TEST_CASE(
    "log_replacement: until it is finished nothing is seen, and abandoned it leaves nothing") {
  FaultFileSystem files;
  const Content old = make_old(files, test::kVarTree);
  const std::unique_ptr<engine::Engine> engine = open(files, test::kVarTree);
  const auto names = test::names_with(files, "");
  engine::Shard& shard = engine->shard(0);
  REQUIRE(shard.begin_replacement().ok());
  for (int number = 0; number < 90; ++number) {
    const Request request(*engine, number, 3, false);
    REQUIRE(add(shard, static_cast<std::uint64_t>(number) + 1, request.write).ok());
  }
  const Request back(*engine, 1, 3, false);
  CHECK(add(shard, 90, back.write).is(Errc::invalid_argument));
  CHECK(add(shard, store::kSequenceLimit, back.write).is(Errc::invalid_argument));
  CHECK_FALSE(check_either(*engine, old));
  CHECK(test::names_with(files, "").size() > names.size());
  shard.abandon_replacement();
  CHECK(test::names_with(files, "") == names);
  CHECK_FALSE(check_either(*engine, old));
  // One whose end is before its entries changes nothing either.
  REQUIRE(shard.begin_replacement().ok());
  REQUIRE(add(shard, 90, back.write).ok());
  CHECK(shard.finish_replacement(89, kNoneAside, [] {}).is(Errc::invalid_argument));
  CHECK_FALSE(check_either(*engine, old));
  CHECK(test::names_with(files, "") == names);
}

TEST_CASE("log_replacement: a copy of nothing empties the shard") {
  for (const Shape& shape : kShapes) {
    FaultFileSystem files;
    make_old(files, shape);
    std::unique_ptr<engine::Engine> engine = open(files, shape);
    REQUIRE(engine->shard(0).begin_replacement().ok());
    REQUIRE(engine->shard(0).finish_replacement(kNewLast, kNoneAside, [] {}).ok());
    CHECK(content_of(*engine).empty());
    CHECK(engine->shard(0).size() == 0);
    REQUIRE(engine->close().ok());
    engine = open(files, shape);
    CHECK(content_of(*engine).empty());
    CHECK(engine->shard(0).last_sequence() == kNewLast);
  }
}

TEST_CASE("log_replacement: segments with entries above the common end are kept aside") {
  FaultFileSystem files;
  make_old(files, test::kVarTree);
  const std::unique_ptr<engine::Engine> engine = open(files, test::kVarTree);
  const auto segments = test::names_with(files, ".data");
  std::map<std::string, std::string> bytes;
  REQUIRE(copy_into(*engine, kOldLast - 1).ok());
  const auto aside = test::names_with(files, ".aside");
  CHECK_FALSE(aside.empty());
  CHECK(aside.back().substr(0, 10) == segments.back().substr(0, 10));
  CHECK(content_of(*engine) == copy_content());
}

TEST_CASE("log_replacement: what a copy had brought is kept aside too, also by a recovery") {
  FaultFileSystem files;
  make_old(files, test::kVarTree);
  std::unique_ptr<engine::Engine> engine = open(files, test::kVarTree);
  REQUIRE(copy_into(*engine).ok());
  store::ReplicaState state = engine->replica_state();
  state.follower = true;
  state.replacing[0] = format::kAwaitsCopyAside;
  REQUIRE(engine->save_replica_state(state).ok());
  const auto segments = test::names_with(files, ".data");
  // A copy of another leader's comes as far as its MANIFEST.
  FaultFileSystem::Snapshot after;
  files.set_observer([&](Call call, const std::string& path) {
    if (call == Call::remove && path.ends_with(".hint")) after = files.snapshot();
  });
  REQUIRE(engine->shard(0).begin_replacement().ok());
  const Request request(*engine, 1, 3, false);
  REQUIRE(add(engine->shard(0), kNewLast + 1, request.write).ok());
  REQUIRE(engine->shard(0).finish_replacement(kNewLast + 1, 0, [] {}).ok());
  files.set_observer(nullptr);
  engine.reset();
  files.restore(after);
  engine = open(files, test::kVarTree);
  CHECK(engine->shard(0).size() == 1);
  REQUIRE_FALSE(test::names_with(files, ".aside").empty());
  CHECK(test::names_with(files, ".aside").front().substr(0, 10) == segments.front().substr(0, 10));
}

TEST_CASE("log_replacement: the power goes at any call, and the old or the new is there") {
  for (const Shape& shape : kShapes) {
    for (const std::uint64_t aside_above : {kNoneAside, std::uint64_t{200}}) {
      FaultFileSystem files;
      const Content old = make_old(files, shape);
      std::unique_ptr<engine::Engine> engine = open(files, shape);
      std::vector<FaultFileSystem::Snapshot> snapshots;
      files.set_observer([&](Call, const std::string&) { snapshots.push_back(files.snapshot()); });
      REQUIRE(copy_into(*engine, aside_above).ok());
      files.set_observer(nullptr);
      snapshots.push_back(files.snapshot());
      REQUIRE(snapshots.size() > 10);
      engine.reset();
      std::size_t renewed = 0;
      std::size_t kept = 0;
      FaultFileSystem later;
      for (std::size_t at = 0; at < snapshots.size(); ++at) {
        for (int kind = 0; kind < 5; ++kind) {
          later.restore(snapshots[at]);
          if (kind == 0) later.power_cut_lose_all();
          if (kind == 1) later.power_cut_keep_all();
          if (kind == 2) later.kill_process();
          if (kind > 2) later.power_cut_random(at * 5 + static_cast<std::size_t>(kind));
          INFO("call " << at << " kind " << kind);
          std::unique_ptr<engine::Engine> again = open(later, shape);
          (check_either(*again, old) ? renewed : kept) += 1;
          // Finished, it is the new one for good; from the old one it can be done again.
          CHECK((at + 1 != snapshots.size() || again->shard(0).last_sequence() == kNewLast));
          if (again->shard(0).last_sequence() == kOldLast && kind == 3) {
            CHECK(copy_into(*again, aside_above).ok());
            CHECK(check_either(*again, old));
          }
        }
      }
      CHECK(renewed > 0);
      CHECK(kept > 0);
    }
  }
}

TEST_CASE("log_replacement: each call fails, and the old or the new is there, never a mix") {
  for (const Shape& shape : kShapes) {
    for (const bool sticky : {false, true}) {
      FaultFileSystem made;
      const Content old = make_old(made, shape);
      const FaultFileSystem::Snapshot snapshot = made.snapshot();
      bool met = true;
      std::size_t failures = 0;
      for (std::size_t nth = 1; met; ++nth) {
        FaultFileSystem files;
        files.restore(snapshot);
        std::unique_ptr<engine::Engine> engine = open(files, shape);
        files.fail(Call::any, nth, EIO, sticky);
        const Status status = copy_into(*engine);
        met = files.fault_met();
        const std::string what = std::to_string(static_cast<int>(files.first_fault()));
        files.clear_faults();
        INFO("call " << nth << (sticky ? " and all after it" : "") << ", of kind " << what << ": "
                     << status.message());
        failures += status.ok() ? 0 : 1;
        CHECK((met || status.ok()));
        CHECK((!status.ok() || engine->shard(0).last_sequence() == kNewLast));
        static_cast<void>(engine->close());
        engine.reset();
        engine = open(files, shape);
        const bool renewed = check_either(*engine, old);
        CHECK((!status.ok() || renewed));
        if (!renewed) {
          CHECK(copy_into(*engine).ok());
          CHECK(check_either(*engine, old));
        }
      }
      CHECK(failures > 5);
    }
  }
}

TEST_CASE("log_replacement: no space for a copy leaves a shard that goes on, and can try again") {
  FaultFileSystem made;
  const Content old = make_old(made, test::kVarTree);
  const FaultFileSystem::Snapshot snapshot = made.snapshot();
  bool met = true;
  std::size_t tried_again = 0;
  for (std::size_t nth = 1; met; ++nth) {
    FaultFileSystem files;
    files.restore(snapshot);
    const std::unique_ptr<engine::Engine> engine = open(files, test::kVarTree);
    files.fail(Call::write, nth, ENOSPC);
    const Status status = copy_into(*engine);
    met = files.fault_met();
    files.clear_faults();
    INFO("write " << nth << ": " << status.message());
    if (status.is(Errc::failed)) continue;
    CHECK(check_either(*engine, old) == status.ok());
    if (status.ok()) continue;
    REQUIRE(copy_into(*engine).ok());
    CHECK(check_either(*engine, old));
    ++tried_again;
  }
  CHECK(tried_again >= 3);
}

#endif  // !ARMDB_OMIT_REPLICATION

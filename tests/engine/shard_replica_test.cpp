// A shard as a leader's source and as a follower's copy, before power cuts.
#include <cerrno>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/secret.hpp"
#include "engine/engine.hpp"
#include "support/catch.hpp"
#include "support/fault_file_system.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

using namespace armdb;
using test::FaultFileSystem;

namespace {

// A collection of one shard.
struct Subject {
  explicit Subject(FaultFileSystem& in, bool encrypted = false) : files(in) {
    config.file_system = &files;
    if (encrypted) config.encryption_key = ByteArray<32>{1};
    config.shard_count = 1;
    config.write_buffer_size = 16u << 10;
    config.max_file_size = 64u << 10;
    shape.key_size = 1;
    shape.payload = Payload::location;
    shape.ordered = true;
    open();
  }
  void open(engine::Engine::Parts parts = {}) {
    auto opened = engine::Engine::open("/collection", &shape, config, std::move(parts));
    INFO(opened.message());
    REQUIRE(opened.ok());
    engine = std::move(*opened);
  }
  void lose_power() {
    files.power_cut_lose_all();
    engine.reset();
    open();
  }
  void put(std::uint8_t key) {
    const std::uint8_t bytes[1] = {key};
    engine::WriteRequest request;
    request.key = Bytes(bytes);
    request.value = Bytes(bytes);
    REQUIRE(engine->write(request, false).ok());
  }
  engine::Shard& shard() { return engine->shard(0); }

  FaultFileSystem& files;
  FixedConfig config;
  Shape shape;
  std::unique_ptr<engine::Engine> engine;
};

TEST_CASE("shard: a sequence that was shipped early is not used again after a power cut",
          "[replication]") {
  FaultFileSystem files;
  Subject subject(files);
  const bool closed_between = GENERATE(false, true);
  std::uint64_t before = 0;
  if (closed_between) {
    // The MANIFEST then tells of one segment, and nothing of the next.
    subject.put(1);
    REQUIRE(subject.engine->checkpoint().ok());
    before = 1;
  }
  for (std::uint8_t key = 0; key < 5; ++key) subject.put(key);
  std::uint64_t shipped = 0;
  REQUIRE(subject.shard().flush_for_feed(shipped).ok());
  CHECK(shipped == before + 5);
  for (std::uint8_t key = 5; key < 10; ++key) subject.put(key);
  REQUIRE(subject.shard().flush_for_feed(shipped).ok());
  CHECK(shipped == before + 10);
  subject.lose_power();
  CHECK(subject.shard().last_sequence() < shipped);
  subject.put(20);
  CHECK(subject.shard().last_sequence() > shipped);
}

// Names in the shard's directory that end so.
std::size_t count_files(FileSystem& files, std::string_view end) {
  std::size_t count = 0;
  REQUIRE(files
              .list("/collection/shard_000",
                    [&](std::string_view name, FileKind) { count += name.ends_with(end) ? 1 : 0; })
              .ok());
  return count;
}

TEST_CASE("shard: what a copy replaces is kept aside, also when a crash comes first",
          "[replication]") {
  // Each call that changes a name or a file fails once, and then the power does.
  bool met = true;
  for (std::size_t nth = 1; met; ++nth) {
    FaultFileSystem files;
    Subject subject(files);
    for (std::uint8_t key = 0; key < 10; ++key) subject.put(key);
    REQUIRE(subject.engine->sync().ok());
    store::ReplicaState state = subject.engine->replica_state();
    state.follower = true;
    state.replacing[0] = 2;
    REQUIRE(subject.engine->save_replica_state(state).ok());
    REQUIRE(subject.shard().begin_replacement().ok());
    const std::uint8_t key[1] = {50};
    engine::WriteRequest request;
    request.key = Bytes(key);
    request.value = Bytes(key);
    request.hash = subject.engine->router().hash(key, 1);
    const std::uint64_t sequence = 3;
    REQUIRE(subject.shard().add_to_replacement({&sequence, 1}, {&request, 1}).ok());
    files.fail(test::Call::any, nth, EIO, true);
    const Status finished = subject.shard().finish_replacement(4, 5, [] {});
    met = files.fault_met();
    CHECK((met || finished.ok()));
    files.clear_faults();
    if (nth % 2 == 0) {
      files.power_cut_lose_all();
    } else {
      files.power_cut_keep_all();
    }
    subject.engine.reset();
    subject.open();
    const std::size_t size = subject.engine->size();
    INFO(nth << ": " << finished.message());
    CHECK((size == 10 || size == 1));
    CHECK(subject.shard().last_sequence() == (size == 10 ? 10u : 4u));
    if (size == 1) CHECK(count_files(files, ".aside") == 1);
    if (!met) CHECK(size == 1);
  }
}

// As the entry of a leader, with that sequence.
void follow(Subject& subject, std::uint8_t key, std::uint64_t sequence) {
  const std::uint8_t bytes[1] = {key};
  engine::WriteRequest request;
  request.key = Bytes(bytes);
  request.value = Bytes(bytes);
  request.hash = subject.engine->router().hash(bytes, 1);
  REQUIRE(subject.shard().apply(sequence, {&request, 1}, false).ok());
}

TEST_CASE("shard: what a former leader shows as a follower stays, below its gap, when it is killed",
          "[replication]") {
  FaultFileSystem files;
  Subject subject(files);
  const auto kill = [&] {
    files.kill_process();
    subject.engine.reset();
    subject.open();
  };
  for (std::uint8_t key = 1; key <= 5; ++key) subject.put(key);
  kill();
  // Whatever it writes itself now stands behind a gap. Another leader goes on where it was.
  store::ReplicaState state = subject.engine->replica_state();
  state.follower = true;
  REQUIRE(subject.engine->save_replica_state(state).ok());
  std::uint64_t last = 5;
  for (std::size_t round = 0; round < 4; ++round) {
    INFO("round " << round);
    for (int count = 0; count < 3; ++count) {
      ++last;
      follow(subject, static_cast<std::uint8_t>(last), last);
    }
    // With segments that the MANIFEST lists behind the gap, and with none.
    if (round == 2) {
      REQUIRE(subject.engine->checkpoint().ok());
      ++last;
      follow(subject, static_cast<std::uint8_t>(last), last);
    }
    kill();
    CHECK(subject.shard().last_sequence() == last);
    CHECK(subject.engine->size() == last);
  }
}

// Kills the process when it is told of the n-th write: readers see that one from here on.
struct KillingHook final : detail::Hook {
  KillingHook(FaultFileSystem& in, std::uint64_t n) : Hook(false, false), files(in), left(n) {}
  void on_write(Bytes, const detail::HookValue*, const detail::HookValue*) noexcept override {
    if (--left == 0) files.kill_process();
  }
  Status on_init(Bytes, const detail::HookValue&) noexcept override { return {}; }
  FaultFileSystem& files;
  std::uint64_t left;
};

TEST_CASE("shard: what a follower's readers see of a stream outlives a kill at that moment",
          "[replication]") {
  const bool encrypted = crypto::kHasCrypto && GENERATE(false, true);
  constexpr std::uint64_t kRun = 10;
  for (std::uint64_t told = 1; told <= kRun; ++told) {
    INFO("encrypted " << encrypted << ", killed when " << told << " were seen");
    FaultFileSystem files;
    Subject subject(files, encrypted);
    subject.engine.reset();
    engine::Engine::Parts parts;
    parts.hook.reset(new KillingHook(files, told));
    subject.open(std::move(parts));
    std::uint8_t keys[kRun];
    std::vector<engine::WriteRequest> requests(kRun);
    for (std::uint8_t at = 0; at < kRun; ++at) {
      keys[at] = at;
      requests[at].key = requests[at].value = Bytes(keys + at, 1);
      requests[at].hash = subject.engine->router().hash(keys + at, 1);
    }
    static_cast<void>(subject.shard().apply(1, requests, false));
    subject.engine.reset();
    subject.open();
    CHECK(subject.shard().last_sequence() >= told);
    CHECK(subject.engine->size() >= told);
  }
}

}  // namespace

#endif

// A shard as a leader's source and as a follower's copy, before power cuts.
#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "support/catch.hpp"
#include "support/fault_file_system.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

using namespace armdb;
using test::FaultFileSystem;

namespace {

// A collection of one shard.
struct Subject {
  explicit Subject(FaultFileSystem& in) : files(in) {
    config.file_system = &files;
    config.shard_count = 1;
    config.write_buffer_size = 16u << 10;
    config.max_file_size = 64u << 10;
    shape.key_size = 1;
    shape.payload = Payload::location;
    shape.ordered = true;
    open();
  }
  void open() {
    auto opened = engine::Engine::open("/collection", &shape, config, {});
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

}  // namespace

#endif

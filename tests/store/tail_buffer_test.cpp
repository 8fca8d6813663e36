// The tail buffer: what a returned put() wrote is there after a kill.
#include "store/tail_buffer.hpp"

#include "support/one_shard.hpp"

using namespace armdb;
using test::FaultFileSystem;

namespace {

const std::string kTail = "/c/shard_000/tail.buf";

// 10 entries flushed, 10 more in the tail buffer, then the process died.
FaultFileSystem::Snapshot killed(const Shape& shape) {
  FaultFileSystem files;
  Collection collection = test::open_shard(test::one_shard(files), shape);
  test::put_range(collection, 0, 10);
  REQUIRE(collection.flush_buffers().ok());
  test::put_range(collection, 10, 20);
  files.kill_process();
  return files.snapshot();
}

int served(FaultFileSystem& files, const Shape& shape, Config config) {
  int first = 0;
  {
    const Collection collection = test::open_shard(config, shape);
    first = test::prefix_length(test::contents(collection));
    files.kill_process();
  }
  const Collection again = test::open_shard(config, shape);
  CHECK(test::prefix_length(test::contents(again)) == first);
  return first;
}

}  // namespace

TEST_CASE("tail_buffer: every returned put survives a kill, one after another") {
  FaultFileSystem files;
  const Config config = test::one_shard(files);
  for (int number = 0; number < 40; ++number) {
    Collection collection = test::open_shard(config);
    CHECK(collection.stats().written_survives_kill);
    CHECK(test::prefix_length(test::contents(collection)) == number);
    const std::size_t writes = files.calls(test::Call::write);
    if (number % 2 == 1) {
      test::put(collection, number - 1);
      test::put(collection, number);
      // At no system call: the second put only stores into the mapping.
      CHECK(files.calls(test::Call::write) <= writes + 2);
    } else {
      test::put(collection, number);
    }
    files.kill_process();
  }
}

TEST_CASE("tail_buffer: a flipped bit ends what it adds to the file, and nothing else",
          "[serial]") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    const auto snapshot = killed(shape);
    FaultFileSystem files;
    files.restore(snapshot);
    const std::size_t used = test::used_length(test::read_path(files, kTail));
    const bool sealed = test::exists(files, "/c/db.keys");
    REQUIRE((sealed || used == 64 + 10 * 32));
    int fewest = 20;
    for (std::size_t at = 0; at < used + 40; ++at) {
      files.restore(snapshot);
      test::flip(files, kTail, at, static_cast<int>(at % 8));
      const int wanted = at < 64 || at >= 64 + 320 ? 20 : 10 + static_cast<int>((at - 64) / 32);
      INFO("byte " << at);
      const int count = served(files, shape, test::one_shard(files));
      // A piece that is sealed has one or more entries.
      CHECK((sealed ? count >= 10 && count <= 20 : count == wanted));
      fewest = std::min(fewest, count);
    }
    CHECK(fewest == 10);
  }
}

TEST_CASE("tail_buffer: cut at any byte, or missing", "[serial]") {
  const auto snapshot = killed(test::kVarTree);
  FaultFileSystem files;
  files.restore(snapshot);
  const std::size_t used = test::used_length(test::read_path(files, kTail));
  const bool sealed = test::exists(files, "/c/db.keys");
  int before = 10;
  for (std::size_t size = 0; size < used + 40; ++size) {
    files.restore(snapshot);
    test::cut(files, kTail, size);
    const int whole = size < 64 ? 0 : std::min(10, static_cast<int>((size - 64) / 32));
    const int wanted = 10 + whole;
    INFO("cut to " << size);
    const int count = served(files, test::kVarTree, test::one_shard(files));
    CHECK((sealed ? count >= before : count == wanted));
    before = count;
  }
  CHECK(before == 20);
  files.restore(snapshot);
  REQUIRE(files.remove(kTail).ok());
  CHECK(served(files, test::kVarTree, test::one_shard(files)) == 10);
}

TEST_CASE("tail_buffer: another size next time, smaller or larger, loses nothing", "[serial]") {
  for (const std::uint32_t size : {16u << 10, 32u << 10, 256u << 10}) {
    for (const std::uint32_t next : {16u << 10, 24u << 10, 512u << 10}) {
      FaultFileSystem files;
      Config config = test::one_shard(files);
      config.write_buffer_size = size;
      config.max_file_size = 1u << 20;
      Collection collection = test::open_shard(config);
      test::put_range(collection, 0, 6000);
      files.kill_process();
      config.write_buffer_size = next;
      config.max_file_size = 64u << 10;
      CHECK(served(files, test::kVarTree, config) == 6000);
    }
  }
}

TEST_CASE("tail_buffer: a reader that may not write sees what it holds") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    FaultFileSystem files;
    files.restore(killed(shape));
    const std::uint64_t hash = files.hash();
    Config config = test::one_shard(files);
    config.read_only = true;
    {
      Collection collection = test::open_shard(config, shape);
      CHECK(test::prefix_length(test::contents(collection)) == 20);
      CHECK(collection.verify().ok());
      CHECK(collection.stats().last_sequence == 20);
    }
    CHECK(files.hash() == hash);
  }
}

TEST_CASE("tail_buffer: another shard's or store's tail is not taken [pitfall-20]") {
  FaultFileSystem other;
  other.restore(killed(test::kVarTree));
  const std::string foreign = test::read_path(other, kTail);
  FaultFileSystem files;
  files.restore(killed(test::kVarTree));
  test::replace(files, kTail, foreign);
  const Collection collection = test::open_shard(test::one_shard(files));
  CHECK(test::prefix_length(test::contents(collection)) == 10);
}

TEST_CASE("tail_buffer: without shared mappings a flush is needed, and stats() says so") {
  FaultFileSystem files;
  const Config config = test::one_shard(files);
  files.fail(test::Call::map, 1, ENODEV, true);
  Collection collection = test::open_shard(config);
  CHECK_FALSE(collection.stats().written_survives_kill);
  test::put_range(collection, 0, 10);
  REQUIRE(collection.flush_buffers().ok());
  test::put_range(collection, 10, 20);
  files.kill_process();
  collection = test::open_shard(config);
  CHECK(test::prefix_length(test::contents(collection)) == 10);
}

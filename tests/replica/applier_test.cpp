// Applier: large pieces go to threads, and still each shard has all of its entries, in order.
#include "replica/applier.hpp"

#include <memory>
#include <string>
#include <vector>

#include "support/one_shard.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

#include "support/scripted_peer.hpp"

using namespace armdb;
using test::FaultFileSystem;

namespace {

constexpr std::uint32_t kShards = 3;
constexpr std::uint64_t kEntriesPerPart = 150;  // of 1 KiB each: a large part

struct Follower {
  Follower() {
    Config config = test::one_shard(files);
    config.max_file_size = 1u << 20;
    config.shard_count = 0;
    engine::Engine::Origin origin;
    origin.shape = test::kVarTree;
    origin.shard_count = kShards;
    REQUIRE(engine::Engine::create_follower("/c", config, origin).ok());
    auto opened = engine::Engine::open("/c", &test::kVarTree, config, engine::Engine::Parts{});
    REQUIRE(opened.ok());
    engine = std::move(*opened);
  }

  // Overwrites the same keys of that shard, each time with the part's number.
  replica::Part part(std::uint32_t shard, std::uint64_t number) const {
    replica::Part part;
    part.shard = shard;
    part.before = number * kEntriesPerPart;
    int next = 0;
    for (std::uint64_t at = 0; at < kEntriesPerPart; ++at) {
      const std::string key = key_of(shard, next);
      const std::string value(1000, static_cast<char>('a' + number));
      format::Entry entry;
      entry.sequence = part.before + 1 + at;
      entry.key = Bytes(key);
      entry.value = Bytes(value);
      const std::vector<std::uint8_t> bytes = test::wire_entry(entry);
      part.bytes.insert(part.bytes.end(), bytes.begin(), bytes.end());
    }
    return part;
  }
  // The next key of that shard from number `next` on.
  std::string key_of(std::uint32_t shard, int& next) const {
    for (;;) {
      const std::string key = test::key_of(next++);
      const Bytes bytes(key);
      const std::uint64_t hash = engine->router().hash(bytes.data(), bytes.size());
      if (engine->router().shard(bytes.data(), bytes.size(), hash) == shard) return key;
    }
  }
  [[nodiscard]] std::uint64_t last(std::uint32_t shard) const {
    return engine->shard(shard).last_sequence();
  }
  // What all keys of a shard have.
  void require_all(std::uint32_t shard, char letter) const {
    int next = 0;
    for (std::uint64_t at = 0; at < kEntriesPerPart; ++at) {
      const std::string key = key_of(shard, next);
      const Bytes bytes(key);
      const std::uint64_t hash = engine->router().hash(bytes.data(), bytes.size());
      char found = 0;
      const auto look = [&](Bytes value) { found = static_cast<char>(value.data()[0]); };
      const Result<bool> read = engine->shard(shard).read(bytes, hash, look);
      REQUIRE((read.ok() && *read));
      REQUIRE(found == letter);
    }
  }

  FaultFileSystem files;
  std::unique_ptr<engine::Engine> engine;
};

}  // namespace

TEST_CASE("applier: the parts of a shard are applied in order, large ones and small") {
  Follower follower;
  constexpr std::uint64_t kParts = 20;
  {
    replica::Applier applier(*follower.engine);
    for (std::uint64_t number = 0; number < kParts; ++number) {
      for (std::uint32_t shard = 0; shard < kShards; ++shard) {
        replica::Part part = follower.part(shard, number);
        REQUIRE(part.bytes.size() > (std::size_t{64} << 10));
        REQUIRE(applier.take(std::move(part)).ok());
      }
    }
    REQUIRE(applier.drain().ok());
    CHECK(!applier.busy());
  }
  for (std::uint32_t shard = 0; shard < kShards; ++shard) {
    CHECK(follower.last(shard) == kParts * kEntriesPerPart);
    follower.require_all(shard, static_cast<char>('a' + kParts - 1));
  }
}

TEST_CASE("applier: behind a part that does not fit nothing more is applied") {
  Follower follower;
  replica::Applier applier(*follower.engine);
  REQUIRE(applier.take(follower.part(1, 0)).ok());
  Status status = applier.take(follower.part(1, 2));  // part 1 is missing
  for (std::uint64_t number = 3; status.ok() && number < 10; ++number) {
    status = applier.take(follower.part(1, number));
  }
  if (status.ok()) status = applier.drain();
  CHECK(status.is(Errc::corrupt));
  CHECK(!applier.take(follower.part(1, 1)).ok());
  CHECK(follower.last(1) == kEntriesPerPart);
}

TEST_CASE("applier: a byte that is wrong is no entry, on a thread too") {
  Follower follower;
  replica::Applier applier(*follower.engine);
  replica::Part part = follower.part(2, 0);
  part.bytes[part.bytes.size() / 2] ^= 1;
  Status status = applier.take(std::move(part));
  if (status.ok()) status = applier.drain();
  CHECK(status.is(Errc::corrupt));
  CHECK(follower.last(2) < kEntriesPerPart);
}

#endif  // !ARMDB_OMIT_REPLICATION

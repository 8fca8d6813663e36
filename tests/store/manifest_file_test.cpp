// The MANIFEST: replaced whole or not at all, and rebuilt when it is gone. db.state: the same, but
// absent it is all zeros, and damaged it is refused.
#include "store/manifest_file.hpp"

#include <cerrno>

#include "support/one_shard.hpp"

using namespace armdb;
using test::Call;
using test::FaultFileSystem;

namespace {

// Segments 1 to 4, of which compaction has rewritten some; numbers 0 to 299 are alive.
FaultFileSystem::Snapshot some_segments(const Shape& shape) {
  FaultFileSystem files;
  Collection collection = test::open_shard(test::one_shard(files), shape);
  for (int part = 0; part < 3; ++part) {
    test::put_range(collection, 0, 100 * (part + 1));
    REQUIRE(collection.checkpoint().ok());
  }
  REQUIRE(collection.compact().ok());
  test::put_range(collection, 0, 300);
  for (int number = 300; number < 400; ++number) {
    test::put(collection, number);
    REQUIRE(collection.erase(test::key_of(number)).ok());
  }
  REQUIRE(collection.close().ok());
  return files.snapshot();
}

const std::string kManifest = "/c/shard_000/MANIFEST";

constexpr store::StoreId kStore{1, 2, 3, 4};
const std::string kState = "/c/db.state";

format::State some_state() {
  format::State state;
  state.store_id = kStore;
  state.clock_floor_ms = 1700000000000;
  state.joint = true;
  state.data_version = 2;
  state.migrating = true;
  state.migrating_to = 3;
  state.shards = {{50, 20}, {60, 60}};
  return state;
}

}  // namespace

TEST_CASE("manifest_file: missing, it is rebuilt from the segments [pitfall-18]") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    FaultFileSystem files;
    files.restore(some_segments(shape));
    REQUIRE(files.remove(kManifest).ok());
    for (int open = 0; open < 2; ++open) {
      Collection collection = test::open_shard(test::one_shard(files), shape);
      CHECK(test::prefix_length(test::contents(collection)) == 300);
      CHECK(test::exists(files, kManifest));
      test::put_range(collection, 0, 300);
      REQUIRE(collection.sync().ok());
    }
  }
}

TEST_CASE("manifest_file: a wrong byte anywhere, or a cut, and it is rebuilt and told",
          "[serial]") {
  const auto snapshot = some_segments(test::kVarTree);
  FaultFileSystem files;
  files.restore(snapshot);
  const std::size_t size = test::read_path(files, kManifest).size();
  for (std::size_t at = 0; at < size; ++at) {
    for (const bool cut : {false, true}) {
      files.restore(snapshot);
      if (cut) {
        test::cut(files, kManifest, at);
      } else {
        test::flip(files, kManifest, at, static_cast<int>(at % 8));
      }
      const Result<Collection> collection =
          Collection::open("/c", test::kVarTree, test::one_shard(files));
      INFO("byte " << at << (cut ? " cut" : " flipped") << " " << collection.message());
      REQUIRE(collection.ok());
      CHECK(test::prefix_length(test::contents(*collection)) == 300);
      CHECK(collection->stats().damaged_regions >= 1);
    }
  }
}

TEST_CASE("manifest_file: another shard's or an older one is not believed blindly [pitfall-20]") {
  FaultFileSystem files;
  Config config = test::one_shard(files);
  config.shard_count = 2;
  Collection collection = test::open_shard(config);
  test::put_range(collection, 0, 100);
  REQUIRE(collection.close().ok());
  const std::string bytes = test::read_path(files, "/c/shard_001/MANIFEST");
  test::replace(files, kManifest, bytes);
  collection = test::open_shard(config);
  CHECK(test::prefix_length(test::contents(collection)) == 100);
  CHECK(collection.stats().damaged_regions >= 1);
}

TEST_CASE("manifest_file: replace_file leaves the old bytes or the new ones [pitfall-6]") {
  const std::string old_bytes(700, 'o');
  const std::string new_bytes(900, 'n');
  for (std::size_t nth = 1; nth < 8; ++nth) {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      FaultFileSystem files;
      REQUIRE(files.create_directory("/d").ok());
      REQUIRE(store::replace_file(files, "/d", "name", Bytes(old_bytes)).ok());
      REQUIRE(files.sync_directory("/").ok());
      files.fail(Call::any, nth, EIO, true);
      const Status status = store::replace_file(files, "/d", "name", Bytes(new_bytes));
      const bool met = files.fault_met();
      CHECK(status.ok() == !met);
      files.clear_faults();
      files.power_cut_random(seed);
      const std::string after = test::read_path(files, "/d/name");
      CHECK((after == new_bytes || (met && after == old_bytes)));
    }
  }
}

TEST_CASE("manifest_file: read_file refuses what no armdb wrote") {
  FaultFileSystem files;
  std::vector<std::uint8_t> bytes;
  CHECK(store::read_file(files, "/none", 10, bytes).is(Errc::not_found));
  test::write_path(files, "/file", "0123456789");
  REQUIRE(store::read_file(files, "/file", 10, bytes).ok());
  CHECK(Bytes(bytes).text() == "0123456789");
  CHECK(store::read_file(files, "/file", 9, bytes).is(Errc::corrupt));
  files.fail(Call::read, 1, EIO);
  CHECK(store::read_file(files, "/file", 10, bytes).is(Errc::io_error));
}

TEST_CASE("manifest_file: no db.state is a state of zeros, and none is made by reading") {
  FaultFileSystem files;
  REQUIRE(files.create_directory("/c").ok());
  const std::uint64_t hash = files.hash();
  format::State state = some_state();
  REQUIRE(store::read_state(files, "/c", kStore, state).ok());
  format::State zeros;
  zeros.store_id = kStore;
  CHECK(format::encode_state(state) == format::encode_state(zeros));
  CHECK(files.hash() == hash);
}

TEST_CASE("manifest_file: db.state gives back what replaced it, also after a power cut") {
  FaultFileSystem files;
  REQUIRE(files.create_directory("/c").ok());
  REQUIRE(files.sync_directory("/").ok());
  format::State many = some_state();
  many.shards.assign(format::kStateShardsMax, {70, 30});
  format::State zeros;
  zeros.store_id = kStore;
  for (const format::State& in : {some_state(), many, zeros}) {
    REQUIRE(store::replace_state(files, "/c", in).ok());
    files.power_cut_lose_all();
    format::State out;
    REQUIRE(store::read_state(files, "/c", kStore, out).ok());
    CHECK(format::encode_state(out) == format::encode_state(in));
  }
}

TEST_CASE("manifest_file: the db.state of another collection is refused, and what to do told") {
  FaultFileSystem files;
  REQUIRE(files.create_directory("/c").ok());
  REQUIRE(store::replace_state(files, "/c", some_state()).ok());
  store::StoreId other = kStore;
  other[15] = 1;
  format::State state;
  const Status status = store::read_state(files, "/c", other, state);
  CHECK(status.is(Errc::corrupt));
  CHECK(status.message().find("put the right one back") != std::string::npos);
  CHECK(status.file() == kState);
  CHECK(state.store_id == store::StoreId{});
}

TEST_CASE("manifest_file: a wrong bit in db.state, a cut or a byte too many is refused") {
  FaultFileSystem files;
  REQUIRE(files.create_directory("/c").ok());
  REQUIRE(store::replace_state(files, "/c", some_state()).ok());
  const std::string bytes = test::read_path(files, kState);
  format::State state;
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (const bool cut : {false, true}) {
      test::replace(files, kState, bytes);
      if (cut) {
        test::cut(files, kState, at);
      } else {
        test::flip(files, kState, at, static_cast<int>(at % 8));
      }
      const Status status = store::read_state(files, "/c", kStore, state);
      INFO("byte " << at << (cut ? " cut: " : " flipped: ") << status.message());
      CHECK(status.is(Errc::corrupt));
      CHECK(status.file() == kState);
    }
  }
  for (const std::size_t more : {1u, 16u, 5000u}) {
    test::replace(files, kState, bytes + std::string(more, '\0'));
    CHECK(store::read_state(files, "/c", kStore, state).is(Errc::corrupt));
  }
  CHECK(state.store_id == store::StoreId{});
}

TEST_CASE("manifest_file: a db.state that cannot be read is not taken for an absent one") {
  FaultFileSystem files;
  REQUIRE(files.create_directory("/c").ok());
  REQUIRE(store::replace_state(files, "/c", some_state()).ok());
  for (const Call call : {Call::open, Call::read}) {
    files.fail(call, 1, EIO);
    format::State state;
    CHECK(store::read_state(files, "/c", kStore, state).is(Errc::io_error));
    CHECK(files.fault_met());
    files.clear_faults();
  }
}

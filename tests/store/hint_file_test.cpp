// Hint files: they save time, and never make data appear or disappear.
#include "store/hint_file.hpp"

#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "format/hint.hpp"
#include "support/one_shard.hpp"
#include "support/plain_files.hpp"

using namespace armdb;
using test::FaultFileSystem;

namespace {

constexpr int kCount = 40;

// Three sealed segments, each with a hint; a key of the second supersedes one of the first.
FaultFileSystem::Snapshot three_segments() {
  FaultFileSystem files;
  Collection collection = test::open_shard(test::one_shard(files));
  for (int segment = 0; segment < 3; ++segment) {
    test::put_range(collection, 0, kCount / 2, segment);
    test::put_range(collection, kCount / 2, kCount, 0);
    REQUIRE(collection.erase(test::key_of(segment)).ok());
    REQUIRE(collection.checkpoint().ok());
  }
  REQUIRE(collection.close().ok());
  return files.snapshot();
}

std::map<std::string, std::string> wanted() {
  auto all = test::numbers(kCount / 2, kCount);
  all.merge(test::numbers(0, kCount / 2, 2));
  all.erase(test::key_of(2));
  return all;
}

// Opens, compares, and closes; how many entries came from hints.
std::uint64_t check_open(FaultFileSystem& files) {
  Collection collection = test::open_shard(test::one_shard(files));
  CHECK(test::contents(collection) == wanted());
  const Stats stats = collection.stats();
  CHECK(stats.damaged_regions == 0);
  CHECK(stats.dead_bytes <= stats.data_bytes);
  files.kill_process();
  return stats.opened_by_hint;
}

constexpr std::uint64_t kItems = 3 * (kCount + 1);

}  // namespace

TEST_CASE("hint_file: opening reads hints and no values, and writes missing ones again") {
  FaultFileSystem files;
  files.restore(three_segments());
  CHECK(test::names_with(files, ".hint").size() == 3);
  CHECK(check_open(files) == kItems);
  REQUIRE(files.remove(test::segment_path(2, "hint")).ok());
  CHECK(check_open(files) == kItems - (kCount + 1));
  CHECK(check_open(files) == kItems);
}

TEST_CASE("hint_file: without hints everything is checked and the same [pitfall-11]") {
  FaultFileSystem files;
  files.restore(three_segments());
  for (int id = 1; id <= 3; ++id) REQUIRE(files.remove(test::segment_path(id, "hint")).ok());
  const auto snapshot = files.snapshot();
  CHECK(check_open(files) == 0);
  // Loaded by scan: a value that fails its checksum is not taken.
  files.restore(snapshot);
  test::flip(files, test::segment_path(3), 96 + 40 * 5 + 26, 0);
  const Collection collection = test::open_shard(test::one_shard(files));
  CHECK(collection.stats().damaged_regions == 1);
}

TEST_CASE("hint_file: a flipped bit anywhere in it is noticed [pitfall-9]", "[serial]") {
  const auto snapshot = three_segments();
  FaultFileSystem files;
  files.restore(snapshot);
  const std::size_t size = test::PlainFiles(files).read(test::segment_path(2, "hint")).size();
  for (std::size_t at = 0; at < size; ++at) {
    files.restore(snapshot);
    test::PlainFiles(files).flip(test::segment_path(2, "hint"), at, static_cast<int>(at % 8));
    INFO("byte " << at);
    CHECK(check_open(files) == kItems - (kCount + 1));
  }
}

TEST_CASE("hint_file: cut at any byte, or with more behind, it does not count [pitfall-9]") {
  const auto snapshot = three_segments();
  FaultFileSystem files;
  files.restore(snapshot);
  const std::string bytes = test::PlainFiles(files).read(test::segment_path(2, "hint"));
  for (std::size_t size = 0; size < bytes.size(); size += size < 200 ? 1 : 7) {
    files.restore(snapshot);
    test::PlainFiles(files).cut(test::segment_path(2, "hint"), size);
    INFO("cut to " << size);
    CHECK(check_open(files) == kItems - (kCount + 1));
  }
  files.restore(snapshot);
  test::PlainFiles(files).replace(test::segment_path(2, "hint"), bytes + "more");
  CHECK(check_open(files) == kItems - (kCount + 1));
}

TEST_CASE("hint_file: another segment's or store's hint is not believed [pitfall-10]") {
  const auto snapshot = three_segments();
  FaultFileSystem other;
  other.restore(three_segments());
  FaultFileSystem files;
  for (int id = 1; id <= 3; ++id) {
    if (id == 2) continue;
    files.restore(snapshot);
    const std::string bytes = test::read_path(files, test::segment_path(id, "hint"));
    test::replace(files, test::segment_path(2, "hint"), bytes);
    CHECK(check_open(files) == kItems - (kCount + 1));
  }
  files.restore(snapshot);
  test::replace(files, test::segment_path(2, "hint"),
                test::read_path(other, test::segment_path(2, "hint")));
  CHECK(check_open(files) == kItems - (kCount + 1));
}

TEST_CASE("hint_file: a trailer of another length, count or sequence is not believed [pitfall-9]") {
  const auto snapshot = three_segments();
  FaultFileSystem files;
  for (const std::size_t field : {0u, 8u, 16u}) {
    for (const int change : {-1, 1}) {
      files.restore(snapshot);
      std::string bytes = test::PlainFiles(files).read(test::segment_path(2, "hint"));
      auto* const raw = reinterpret_cast<std::uint8_t*>(bytes.data());
      const std::size_t at = bytes.size() - format::kHintTrailerBytes + field;
      const auto value = base::load_little<std::uint64_t>(raw + at);
      base::store_little<std::uint64_t>(raw + at, value + static_cast<std::uint64_t>(change));
      // With a right checksum.
      const std::size_t block = bytes.size() - format::kHintTrailerBytes - 16;
      const auto seed = base::load_little<std::uint32_t>(raw + 48);
      base::store_little<std::uint32_t>(raw + block,
                                        base::crc32c(seed, Bytes(bytes).sub(block + 4)));
      test::PlainFiles(files).replace(test::segment_path(2, "hint"), bytes);
      INFO("field " << field << " changed by " << change);
      CHECK(check_open(files) == kItems - (kCount + 1));
    }
  }
}

TEST_CASE("hint_file: a segment that a power cut took the end of has no hint [pitfall-9]") {
  // The hint reached the disk, the entries it tells of did not.
  for (std::uint64_t keep = 0; keep < 12; ++keep) {
    FaultFileSystem files;
    const Config config = test::one_shard(files);
    Collection collection = test::open_shard(config);
    test::put_range(collection, 0, 10);
    REQUIRE(collection.sync().ok());
    test::put_range(collection, 10, 2500);  // fills a segment: it is sealed and hinted
    REQUIRE(test::exists(files, test::segment_path(1, "hint")));
    files.power_cut(
        [&](const test::PendingAtom& atom) {
          const bool data = atom.path.ends_with("1.data");
          return data && atom.offset > keep * 6000 ? test::AtomFate::absent
                                                   : test::AtomFate::present;
        },
        [](std::size_t) { return true; });
    collection = test::open_shard(config);
    const int count = test::prefix_length(test::contents(collection));
    INFO("kept " << keep * 6000 << " bytes, " << count << " entries");
    CHECK(count >= 10);
    CHECK(collection.stats().damaged_regions == 0);
    for (int number = 0; number < count; ++number) {
      CHECK(collection.get(test::key_of(number)).ok());
    }
  }
}

TEST_CASE("hint_file: none are written where they are not wanted or of no use") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    FaultFileSystem files;
    Config config = test::one_shard(files);
    config.hints = shape == test::kConstMap;
    Collection collection = test::open_shard(config, shape);
    test::put_range(collection, 0, 3000);
    REQUIRE(collection.compact().ok());
    REQUIRE(collection.close().ok());
    CHECK(test::names_with(files, ".hint").empty());
    CHECK(test::names_with(files, ".tmp").empty());
    collection = test::open_shard(config, shape);
    CHECK(collection.stats().opened_by_scan == 3000);
  }
}

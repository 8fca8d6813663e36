// Stores with batches, expiry and db.state must open for ever, with exactly what they held.
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "format/entry.hpp"
#include "format/file_header.hpp"
#include "format/state.hpp"
#include "format/tail.hpp"
#include "golden/golden_batches.hpp"
#include "golden/golden_files.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace armdb;
namespace fs = std::filesystem;
using test::GoldenBatchStore;
using test::GoldenEntry;
using Content = std::map<std::string, GoldenEntry>;

fs::path folder() { return fs::path(__FILE__).parent_path() / "v1_batches"; }

const GoldenBatchStore& store_of(std::string_view name) {
  for (const GoldenBatchStore& store : test::golden_batch_stores()) {
    if (store.name == name) return store;
  }
  FAIL("no such store");
  std::abort();
}

// A copy in a directory of its own.
struct Copy {
  explicit Copy(const GoldenBatchStore& store) : path(directory / "c") {
    fs::copy(folder() / store.name, path, fs::copy_options::recursive);
  }
  test::TempDir directory;
  fs::path path;
};

bool expired(const GoldenBatchStore& store, const GoldenEntry& entry) {
  return entry.expiry_ms == test::kGolden1995 ||
         (entry.expiry_ms == test::kGolden2090 && store.clock_floor_ms == test::kGoldenFloorLate);
}

std::size_t expired_of(const GoldenBatchStore& store, const Content& all) {
  std::size_t count = 0;
  for (const auto& item : all) count += expired(store, item.second) ? 1 : 0;
  return count;
}

// `swept`: those that are over are not counted any more.
void check_content(const Collection& collection, const GoldenBatchStore& store, const Content& all,
                   bool swept = false) {
  CHECK(collection.size() == all.size() - (swept ? expired_of(store, all) : 0));
  std::map<std::string, std::string> walked;
  const Status status = collection.for_each([&](Bytes key, Bytes value) {
    walked[std::string(key.text())] = std::string(value.text());
    return true;
  });
  INFO(status.message());
  CHECK(status.ok());
  std::map<std::string, std::string> live;
  for (const auto& [key, entry] : all) {
    INFO(key);
    const auto read = collection.get(key);
    REQUIRE(read.ok());
    const Result<std::uint64_t> expiry = collection.expires_at(key);
    if (expired(store, entry)) {
      CHECK_FALSE(read->has_value());
      CHECK(expiry.is(Errc::not_found));
      continue;
    }
    live[key] = entry.value;
    REQUIRE(read->has_value());
    CHECK((*read)->text() == entry.value);
    REQUIRE(expiry.ok());
    CHECK(*expiry == (entry.expiry_ms == 0 ? WriteOptions::kForever : entry.expiry_ms));
  }
  CHECK(walked == live);
}

format::State state_of(const fs::path& path) {
  const std::string bytes = test::golden_bytes_of(path).at("db.state");
  format::State state;
  const Status status = format::decode_state(Bytes(bytes), state);
  INFO(status.message());
  REQUIRE(status.ok());
  return state;
}

// In migrating_tree the first few entries of the log have their new values already.
Content content_of(const GoldenBatchStore& store, const Collection& collection) {
  Content all = test::golden_batch_content(store);
  if (std::string_view(store.name) != "migrating_tree") return all;
  std::size_t migrated = 0;
  for (auto& [key, entry] : all) {
    const std::string fresh =
        test::golden_value(store.shape, std::stoi(key), test::kGoldenMigrated);
    const auto read = collection.get(key);
    if (!read.ok() || !read->has_value() || (*read)->text() != fresh) continue;
    entry.value = fresh;
    ++migrated;
  }
  CHECK(migrated == test::kGoldenMigratedFirst);
  return all;
}

// How many entries with all these flags stand in a file from `offset` on.
std::size_t count_flags(const std::string& bytes, std::size_t offset, std::uint32_t seed,
                        unsigned flags, std::set<std::uint64_t>* expiries = nullptr) {
  std::size_t count = 0;
  format::Entry entry;
  std::size_t size = 0;
  for (Bytes rest = Bytes(bytes).sub(offset);
       format::decode_entry(rest, seed, entry, size) == format::EntryRead::whole;
       rest = rest.sub(size)) {
    count += (entry.flags & flags) == flags ? 1 : 0;
    if (expiries != nullptr && entry.expiry_ms != 0) expiries->insert(entry.expiry_ms);
  }
  return count;
}

struct Marks {
  std::size_t in_segments = 0;
  std::size_t in_tails = 0;
  std::size_t begins = 0;
  std::set<std::uint64_t> expiries;
};

// The tail continues the segment with the largest name.
Marks marks_of(const GoldenBatchStore& store) {
  Marks marks;
  for (std::uint32_t shard = 0; shard < store.shards; ++shard) {
    const auto files =
        test::golden_bytes_of(folder() / store.name / ("shard_00" + std::to_string(shard)));
    std::uint32_t seed = 0;
    for (const auto& [name, bytes] : files) {
      if (!name.ends_with(".data")) continue;
      format::SegmentHeader header;
      REQUIRE(format::decode_segment_header(Bytes(bytes), header).ok());
      seed = format::entry_seed(header);
      const std::size_t from = format::kSegmentHeaderBytes;
      marks.in_segments += count_flags(bytes, from, seed, format::kJoint, &marks.expiries);
      marks.begins += count_flags(bytes, from, seed, format::kBatchBegin);
    }
    marks.in_tails +=
        count_flags(files.at("tail.buf"), format::kTailHeaderBytes, seed, format::kJoint);
  }
  return marks;
}

}  // namespace

TEST_CASE("golden batches: each store opens read-only and holds what it held", "[golden]") {
  for (const GoldenBatchStore& store : test::golden_batch_stores()) {
    INFO(store.name);
    const Copy copy(store);
    const test::GoldenBytes before = test::golden_bytes_of(copy.path);
    for (const bool mapped : {true, false}) {
      Collection collection = test::open_golden(copy.path, store.shape, true, mapped);
      check_content(collection, store, content_of(store, collection));
      CHECK(collection.data_version() == store.data_version);
      const Stats stats = collection.stats();
      CHECK(stats.shards == store.shards);
      CHECK(stats.damaged_regions == 0);
      CHECK(stats.segments_set_aside == 0);
      const Result<VerifyReport> report = collection.verify();
      REQUIRE(report.ok());
      CHECK(report->damaged_regions == 0);
    }
    CHECK(test::golden_bytes_of(copy.path) == before);
  }
}

TEST_CASE("golden batches: each store can be written, swept, compacted and closed", "[golden]") {
  for (const GoldenBatchStore& store : test::golden_batch_stores()) {
    INFO(store.name);
    const Copy copy(store);
    Content all;
    {
      Collection collection = test::open_golden(copy.path, store.shape, false, true);
      all = content_of(store, collection);
      check_content(collection, store, all);
      detail::BatchBuffer batch;
      for (int hundred = 0; hundred < 20; ++hundred) {
        const std::string key = test::golden_key(hundred * 100 + 7);
        const std::string value = test::golden_value(store.shape, hundred * 100 + 7, 7);
        batch.add({.key = Bytes(key), .value = Bytes(value)}, 0);
        all[key] = {value, 0};
      }
      REQUIRE(collection.write_batch(batch, {}).ok());
      check_content(collection, store, all);
      const Result<std::uint64_t> swept = collection.sweep_expired(~std::uint64_t{0});
      REQUIRE(swept.ok());
      CHECK(*swept == expired_of(store, all));
      REQUIRE(collection.compact().ok());
      check_content(collection, store, all, true);
      CHECK(state_of(copy.path).joint == (store.shards > 1));
      REQUIRE(collection.close().ok());
    }
    const format::State state = state_of(copy.path);
    CHECK_FALSE(state.joint);
    CHECK(state.clock_floor_ms >= store.clock_floor_ms);
    CHECK(state.data_version == store.data_version);
    Collection collection = test::open_golden(copy.path, store.shape, false, false);
    check_content(collection, store, all, true);
    CHECK(collection.stats().damaged_regions == 0);
  }
}

TEST_CASE("golden batches: a migration goes on where it was stopped", "[golden]") {
  const GoldenBatchStore& store = store_of("migrating_tree");
  const Copy copy(store);
  Collection collection = test::open_golden(copy.path, store.shape, false, true);
  Content all = content_of(store, collection);
  const Content before = all;
  std::string fresh;
  std::size_t asked = 0;
  const auto decide = [&](Collection::MigrateEntry& entry, MigrateVerdict& verdict) -> Status {
    const std::string key(entry.key.text());
    fresh = test::golden_value(store.shape, std::stoi(key), test::kGoldenMigrated);
    CHECK(entry.value.text() != fresh);
    CHECK(entry.value.text() == before.at(key).value);
    entry.fresh = Bytes(fresh);
    verdict = MigrateVerdict::update;
    all[key].value = fresh;
    ++asked;
    return {};
  };
  const auto report = [](const MigrationProgress&) { return true; };
  CHECK(collection.migrate(5, decide, report).is(Errc::invalid_argument));
  REQUIRE(collection.migrate(4, decide, report).ok());
  CHECK(asked == all.size() - expired_of(store, all) - test::kGoldenMigratedFirst);
  CHECK(collection.data_version() == 4);
  check_content(collection, store, all);
  REQUIRE(collection.close().ok());
  CHECK(state_of(copy.path).data_version == 4);
}

TEST_CASE("golden batches: the stores have what they are there for", "[golden]") {
  for (const GoldenBatchStore& store : test::golden_batch_stores()) {
    INFO(store.name);
    const format::State state = state_of(folder() / store.name);
    CHECK(state.joint == (store.killed && store.shards > 1));
    CHECK(state.clock_floor_ms == store.clock_floor_ms);
    CHECK(state.data_version == store.data_version);
    CHECK(state.migrating == (std::string_view(store.name) == "migrating_tree"));
    const Marks marks = marks_of(store);
    const std::set<std::uint64_t> expiries = {test::kGolden1995, test::kGolden2090,
                                              test::kGolden2200};
    CHECK(marks.expiries == expiries);
    // Rows reach every shard; a batch of one hundred and all batches of one shard have no mark.
    const std::size_t rows = store.shards == 1 ? 0 : store.shards;
    const bool flushed = !store.killed || state.migrating;
    CHECK(marks.in_segments == rows * (flushed ? 5 : 3));
    CHECK(marks.begins == (flushed ? 5 * store.shards + 3 : 3 * store.shards + 2));
    if (store.killed) {
      const bool lost = std::string_view(store.name) == "joint_tree";
      CHECK(marks.in_tails == rows * 2 + (lost ? 1 : 0));
    }
  }
  std::size_t bytes = 0;
  for (const auto& item : test::golden_bytes_of(folder())) bytes += item.second.size();
  CHECK(bytes < 360 * 1024);
}

// Fixed stores that released versions wrote must open for ever, with exactly what they held.
#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "format/slot.hpp"
#include "golden/golden_files.hpp"
#include "golden/golden_fixed.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace armdb;
namespace fs = std::filesystem;
using test::GoldenEntry;
using test::GoldenFixedStore;
using Content = std::map<std::string, GoldenEntry>;

fs::path folder() { return fs::path(__FILE__).parent_path() / "v1_fixed"; }

// A copy in a directory of its own.
struct Copy {
  explicit Copy(const GoldenFixedStore& store) : path(directory / "c") {
    fs::copy(folder() / store.name, path, fs::copy_options::recursive);
  }
  test::TempDir directory;
  fs::path path;
};

bool expired(const GoldenEntry& entry) { return entry.expiry_ms == test::kGolden1995; }

// `swept`: those that are over are not there any more.
void check_content(const Collection& collection, const Content& all, bool swept = false) {
  std::map<std::string, std::string> live;
  for (const auto& [key, entry] : all) {
    INFO(key);
    const auto read = collection.get(key);
    REQUIRE(read.ok());
    const Result<std::uint64_t> expiry = collection.expires_at(key);
    if (expired(entry)) {
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
  CHECK(live.size() < all.size());
  CHECK(collection.size() == (swept ? live.size() : all.size()));
  std::map<std::string, std::string> walked;
  const Status status = collection.for_each([&](Bytes key, Bytes value) {
    walked[std::string(key.text())] = std::string(value.text());
    return true;
  });
  INFO(status.message());
  CHECK(status.ok());
  CHECK(walked == live);
}

void check_whole(Collection& collection, const GoldenFixedStore& store) {
  CHECK(collection.shape() == store.shape);
  const Stats stats = collection.stats();
  CHECK(stats.shards == store.shards);
  CHECK(stats.damaged_regions == 0);
  const Result<VerifyReport> report = collection.verify();
  REQUIRE(report.ok());
  CHECK(report->damaged_regions == 0);
}

// What the files of a store are made of.
struct Marks {
  std::size_t clean_marks = 0;
  std::size_t torn = 0;
  std::size_t erased = 0;
  std::set<std::uint64_t> expiries;
  std::set<std::string> staged;  // keys of which the stage has the newest state
};

void add_marks(const std::string& bytes, const GoldenFixedStore& store, Marks& marks) {
  format::SlotsHeader header;
  REQUIRE(format::decode_slots_header(Bytes(bytes), header).ok());
  CHECK(header.copies == (store.single_copy ? 1 : 2));
  const format::SlotLayout layout(header.key_size, header.value_size, header.copies,
                                  header.stage_count);
  const Bytes file(bytes);
  const auto read = [&](std::uint64_t at, std::uint64_t number, format::Slot& slot) {
    return format::decode_slot(file.sub(at, layout.slot_bytes()), format::slot_seed(header), number,
                               header.key_size, header.value_size, slot);
  };
  format::CleanMark mark;
  const Bytes mark_bytes = file.sub(format::kCleanMarkAt, format::kCleanMarkBytes);
  marks.clean_marks += format::decode_clean_mark(mark_bytes, header, mark) ? 1 : 0;
  std::map<std::uint64_t, std::uint64_t> newest;
  for (std::uint64_t number = 0; number < layout.slots_in(bytes.size()); ++number) {
    for (std::uint32_t copy = 0; copy < header.copies; ++copy) {
      format::Slot slot;
      const format::SlotRead found = read(layout.offset(number, copy), number, slot);
      marks.torn += found == format::SlotRead::broken ? 1 : 0;
      marks.erased += slot.state == format::SlotState::erased ? 1 : 0;
      if (slot.expiry_ms != 0) marks.expiries.insert(slot.expiry_ms);
      newest[number] = std::max(newest[number], slot.version);
    }
  }
  for (std::uint32_t place = 0; place < header.stage_count; ++place) {
    const std::uint64_t at = layout.stage_at(place);
    const std::uint64_t number = format::staged_number(file.sub(at, layout.stage_bytes()));
    format::Slot slot;
    if (read(at + 8, number, slot) != format::SlotRead::whole) continue;
    if (slot.version > newest[number]) marks.staged.insert(std::string(slot.key.text()));
  }
}

}  // namespace

TEST_CASE("golden fixed: each store opens read-only and holds what it held", "[golden]") {
  for (const GoldenFixedStore& store : test::golden_fixed_stores()) {
    INFO(store.name);
    const Copy copy(store);
    const test::GoldenBytes before = test::golden_bytes_of(copy.path);
    {
      Collection collection = test::open_golden(copy.path, store.shape, true, true);
      check_content(collection, test::golden_fixed_content(store));
      check_whole(collection, store);
    }
    CHECK(test::golden_bytes_of(copy.path) == before);
  }
}

TEST_CASE("golden fixed: each store can be written, swept, compacted and closed", "[golden]") {
  for (const GoldenFixedStore& store : test::golden_fixed_stores()) {
    INFO(store.name);
    const Copy copy(store);
    Content all = test::golden_fixed_content(store);
    {
      Collection collection = test::open_golden(copy.path, store.shape, false, true);
      check_content(collection, all);
      check_whole(collection, store);
    }
    Collection collection = test::open_golden(copy.path, store.shape, false, true);
    check_content(collection, all);
    for (const int number : {1, 11, 13, 300}) {
      const std::string key = test::golden_key(number);
      all[key] = {test::golden_value(store.shape, number, 9), 0};
      const WriteOptions options{.ttl_ms = WriteOptions::kForever};
      REQUIRE(collection.put(key, all[key].value, options).ok());
    }
    REQUIRE(collection.erase(test::golden_key(14)).ok());
    all.erase(test::golden_key(14));
    check_content(collection, all);
    REQUIRE(collection.sweep_expired(~std::uint64_t{0}).ok());
    REQUIRE(collection.compact().ok());
    check_content(collection, all, true);
    check_whole(collection, store);
    REQUIRE(collection.close().ok());
    collection = test::open_golden(copy.path, store.shape, false, true);
    check_content(collection, all, true);
    check_whole(collection, store);
  }
}

TEST_CASE("golden fixed: the stores have what they are there for", "[golden]") {
  std::size_t bytes = 0;
  for (const GoldenFixedStore& store : test::golden_fixed_stores()) {
    INFO(store.name);
    Marks marks;
    std::size_t files = 0;
    for (const auto& [name, content] : test::golden_bytes_of(folder() / store.name)) {
      bytes += content.size();
      if (!name.ends_with("slots.dat")) continue;
      ++files;
      add_marks(content, store, marks);
    }
    CHECK(files == store.shards);
    CHECK(marks.clean_marks == (store.killed ? 0 : store.shards));
    CHECK(marks.torn == (store.killed ? 1 : 0));
    CHECK(marks.erased > 10);
    CHECK(marks.expiries == std::set<std::uint64_t>{test::kGolden1995, test::kGolden2200});
    std::set<std::string> staged;
    if (store.killed) staged.insert(test::golden_key(test::kGoldenHalf.number));
    if (store.killed && !store.single_copy) {
      staged.insert(test::golden_key(test::kGoldenStaged.number));
    }
    CHECK(marks.staged == staged);
  }
  CHECK(bytes < 450 * 1024);
}

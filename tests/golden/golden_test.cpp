// Stores that released versions wrote must open for ever, with exactly what they held.
#include <filesystem>
#include <map>
#include <string>

#include "api/collection.hpp"
#include "golden/golden_content.hpp"
#include "golden/golden_files.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace armdb;
namespace fs = std::filesystem;

using Content = test::GoldenBytes;

fs::path golden_folder() { return fs::path(__FILE__).parent_path() / "v1"; }

Content content_of(const Collection& collection) {
  Content all;
  const Status status = collection.for_each([&](Bytes key, Bytes value) {
    all[std::string(key.text())] = std::string(value.text());
    return true;
  });
  INFO(status.message());
  CHECK(status.ok());
  CHECK(all.size() == collection.size());
  for (const auto& [key, value] : all) {
    const auto read = collection.get(key);
    REQUIRE(read.ok());
    REQUIRE(read->has_value());
    CHECK((*read)->text() == value);
  }
  return all;
}

}  // namespace

TEST_CASE("golden: each store of version 1 opens read-only and holds what it held", "[golden]") {
  for (const test::GoldenStore& store : test::golden_stores()) {
    INFO(store.name);
    const test::TempDir directory;
    const fs::path path = directory / "c";
    fs::copy(golden_folder() / store.name, path, fs::copy_options::recursive);
    const Content before = test::golden_bytes_of(path);
    for (const bool mapped : {true, false}) {
      Collection collection = test::open_golden(path, store.shape, true, mapped);
      CHECK(content_of(collection) == test::golden_content(store));
      const Stats stats = collection.stats();
      CHECK(stats.shards == store.shards);
      CHECK(stats.damaged_regions == 0);
      CHECK(stats.segments_set_aside == 0);
      const Result<VerifyReport> report = collection.verify();
      REQUIRE(report.ok());
      CHECK(report->damaged_regions == 0);
    }
    CHECK(test::golden_bytes_of(path) == before);
  }
}

TEST_CASE("golden: each store of version 1 can be written on", "[golden]") {
  for (const test::GoldenStore& store : test::golden_stores()) {
    INFO(store.name);
    const test::TempDir directory;
    const fs::path path = directory / "c";
    fs::copy(golden_folder() / store.name, path, fs::copy_options::recursive);
    Content expected = test::golden_content(store);
    {
      Collection collection = test::open_golden(path, store.shape, false, true);
      CHECK(content_of(collection) == expected);
      CHECK(collection.stats().damaged_regions == 0);
      const std::string value = test::golden_value(store.shape, 7, 9);
      REQUIRE(collection.put(test::golden_key(7), value).ok());
      REQUIRE(collection.erase(test::golden_key(8)).ok());
      expected[test::golden_key(7)] = value;
      expected.erase(test::golden_key(8));
      REQUIRE(collection.compact().ok());
      CHECK(content_of(collection) == expected);
      REQUIRE(collection.close().ok());
    }
    Collection collection = test::open_golden(path, store.shape, false, false);
    CHECK(content_of(collection) == expected);
    CHECK(collection.stats().damaged_regions == 0);
  }
}

TEST_CASE("golden: the stores have what they are there for", "[golden]") {
  const Content all = test::golden_bytes_of(golden_folder());
  const auto count = [&](const std::string& store, const std::string& ending) {
    std::size_t found = 0;
    for (const auto& [name, bytes] : all) {
      found += name.starts_with(store + "/") && name.ends_with(ending) ? 1 : 0;
    }
    return found;
  };
  CHECK(count("const_tree", "/tail.buf") == 2);
  CHECK(count("const_tree", ".data") >= 4);
  CHECK(count("var_tree", ".hint") >= 1);
  CHECK(count("var_map", ".hint") >= 2);
  // Of var_tree the file's torn tail is completed by the buffer.
  const test::TempDir directory;
  const fs::path path = directory / "c";
  fs::copy(golden_folder() / "var_tree", path, fs::copy_options::recursive);
  CHECK(test::open_golden(path, test::golden_stores()[2].shape, true, true).stats().torn_bytes > 0);
  std::size_t bytes = 0;
  for (const auto& item : all) bytes += item.second.size();
  CHECK(bytes < 300 * 1024);
}

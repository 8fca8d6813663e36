// VarTree and VarMap: values of any length, on disk.
#include <string>
#include <vector>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace armdb;

namespace {

Config small(bool mapped) {
  Config config;
  config.shard_count = 2;
  config.write_buffer_size = 16u << 10;
  config.max_file_size = 64u << 10;
  config.mapped_reads = mapped;
  return config;
}

std::string value_of(std::uint32_t number, std::size_t size) {
  std::string value(size, static_cast<char>('a' + number % 26));
  const std::string text = std::to_string(number);
  return value.replace(0, std::min(size, text.size()), text, 0, std::min(size, text.size()));
}

template <class T> void check_all_calls(T& all) {
  REQUIRE(all.get(1).ok());
  CHECK_FALSE(all.get(1)->has_value());
  CHECK(all.get_or(1, ByteView::inlined("none"))->text() == "none");
  CHECK_FALSE(*all.read(1, [](Bytes) {}));
  CHECK(all.erase(1).is(Errc::not_found));
  CHECK(all.cas(1, "", "x").is(Errc::not_found));
  CHECK(all.compare_erase(1, "").is(Errc::not_found));
  REQUIRE(all.insert(1, "one").ok());
  CHECK(all.insert(1, "two").is(Errc::key_exists));
  CHECK((*all.get(1))->text() == "one");
  CHECK(all.get_or(1, {})->text() == "one");
  std::string seen;
  CHECK(*all.read(1, [&](Bytes bytes) { seen = bytes.text(); }));
  CHECK(seen == "one");
  CHECK(all.cas(1, "two", "three").is(Errc::value_mismatch));
  CHECK(all.cas(1, "one", std::string(5000, 'x')).ok());
  CHECK(all.compare_erase(1, std::string(4999, 'x')).is(Errc::value_mismatch));
  const auto old = all.exchange(1, "");
  REQUIRE(old.ok());
  CHECK((*old)->text() == std::string(5000, 'x'));
  REQUIRE(all.get(1).ok());
  CHECK((*all.get(1))->empty());  // there, and empty
  CHECK(all.contains(1));
  CHECK(all.compare_erase(1, "").ok());
  CHECK_FALSE(all.contains(1));
  CHECK_FALSE(all.exchange(2, "x")->has_value());
  REQUIRE(all.erase(2).ok());

  std::vector<std::pair<std::uint32_t, std::string>> many;
  for (std::uint32_t key = 0; key < 400; ++key) many.emplace_back(key, value_of(key, key));
  REQUIRE(all.put_many(std::span(std::as_const(many).data(), many.size())).ok());
  std::vector<std::uint32_t> keys;
  for (std::uint32_t key = 350; key < 450; ++key) keys.push_back(key);
  std::vector<std::optional<ByteView>> values(keys.size());
  REQUIRE(all.get_many(keys, values).ok());
  for (std::size_t at = 0; at < keys.size(); ++at) {
    CHECK(values[at].has_value() == (keys[at] < 400));
    if (values[at]) CHECK(values[at]->text() == value_of(keys[at], keys[at]));
  }
}

}  // namespace

TEST_CASE("var: every call of a VarTree and a VarMap") {
  for (const bool mapped : {true, false}) {
    test::TempDir directory;
    auto tree = *VarTree<std::uint32_t>::open(directory / "tree", small(mapped));
    check_all_calls(tree);
    auto map = *VarMap<std::uint32_t>::open(directory / "map", small(mapped));
    check_all_calls(map);
    std::size_t count = 0;
    REQUIRE(map.for_each([&](std::uint32_t key, Bytes value) {
                 CHECK(value.text() == value_of(key, key));
                 ++count;
               })
                .ok());
    CHECK(count == 400);
    count = 0;
    REQUIRE(map.for_each([&](std::uint32_t, Bytes) { return ++count < 5; }).ok());
    CHECK(count == 5);
    count = 0;
    REQUIRE(map.collection()
                .for_each(
                    [&](Bytes, Bytes value) {
                      CHECK(value.empty());
                      ++count;
                      return true;
                    },
                    false)
                .ok());
    CHECK(count == 400);
  }
}

TEST_CASE("var: values larger than the write buffer and than a segment") {
  for (const bool mapped : {true, false}) {
    test::TempDir directory;
    const std::size_t sizes[] = {0,     1,     20,    21,     4095,   4096,   16336,  16384,
                                 16385, 65000, 65536, 100000, 300000, 999999, 5000000};
    auto map = *VarMap<std::uint32_t>::open(directory / "c", small(mapped));
    for (int round = 0; round < 3; ++round) {
      std::uint32_t key = 0;
      for (const std::size_t size : sizes) {
        REQUIRE(map.put(key, value_of(key, size)).ok());
        CHECK((*map.get(key))->text() == value_of(key, size));
        ++key;
      }
      if (round == 0) REQUIRE(map.compact().ok());
      if (round == 1) {
        REQUIRE(map.close().ok());
        map = *VarMap<std::uint32_t>::open(directory / "c", small(mapped));
      }
      for (key = 0; key < std::size(sizes); ++key) {
        CHECK((*map.get(key))->text() == value_of(key, sizes[key]));
      }
    }
    CHECK(map.verify()->damaged_regions == 0);
  }
}

TEST_CASE("var: more than 1 GiB is refused before a byte of it is read") {
  test::TempDir directory;
  auto map = *VarMap<std::uint32_t>::open(directory / "c", small(true));
  std::uint8_t byte = 0;
  const Bytes huge(&byte, (std::size_t{1} << 30) + 1);  // never looked at
  CHECK(map.put(1, huge).is(Errc::too_large));
  CHECK(map.insert(1, huge).is(Errc::too_large));
  CHECK(map.exchange(1, huge).is(Errc::too_large));
  CHECK(map.cas(1, "", huge).is(Errc::too_large));
  CHECK(map.empty());
  CHECK(map.put(1, "fine").ok());
}

TEST_CASE("var: a view outlives its entry, its segment and its collection") {
  for (const bool mapped : {true, false}) {
    test::TempDir directory;
    std::vector<ByteView> views;
    {
      auto tree = *VarTree<std::uint32_t>::open(directory / "c", small(mapped));
      for (std::uint32_t key = 0; key < 100; ++key) {
        REQUIRE(tree.put(key, value_of(key, key * 100)).ok());
      }
      REQUIRE(tree.checkpoint().ok());
      for (std::uint32_t key = 0; key < 100; ++key) views.push_back(**tree.get(key));
      for (std::uint32_t key = 0; key < 100; ++key) REQUIRE(tree.erase(key).ok());
      REQUIRE(tree.compact().ok());
    }
    for (std::uint32_t key = 0; key < 100; ++key) {
      CHECK(views[key].text() == value_of(key, key * 100));
    }
  }
}

TEST_CASE("var: without mappings the cache answers, and warmup is legal") {
  test::TempDir directory;
  auto tree = *VarTree<std::uint32_t>::open(directory / "c", small(false));
  for (std::uint32_t key = 0; key < 3000; ++key) REQUIRE(tree.put(key, value_of(key, 100)).ok());
  REQUIRE(tree.checkpoint().ok());
  REQUIRE(tree.warmup().ok());
  for (int round = 0; round < 2; ++round) {
    for (std::uint32_t key = 0; key < 3000; ++key) REQUIRE(tree.get(key).ok());
  }
  CHECK(tree.stats().cache_hits > 3000);
  CHECK(tree.stats().cache_misses > 0);
}

// ConstTree and ConstMap, FixedTree and FixedMap: values of one size, in memory.
#include <string>
#include <vector>

#include "armdb.hpp"
#include "support/catch.hpp"

using namespace armdb;
using Value = ByteArray<24>;

namespace {

Config in_memory(FileSystem& files) {
  Config config;
  config.file_system = &files;
  config.shard_count = 3;
  config.write_buffer_size = 16u << 10;
  config.max_file_size = 64u << 10;
  return config;
}

Value value_of(std::uint8_t number) {
  Value value{};
  value.fill(number);
  return value;
}

template <class T> void check_all_calls(T& all) {
  CHECK_FALSE(all.get(1).has_value());
  CHECK(all.get_or(1, value_of(9)) == value_of(9));
  CHECK(all.erase(1).is(Errc::not_found));
  CHECK(all.cas(1, value_of(1), value_of(2)).is(Errc::not_found));
  CHECK(all.compare_erase(1, value_of(1)).is(Errc::not_found));
  REQUIRE(all.insert(1, value_of(1)).ok());
  CHECK(all.insert(1, value_of(2)).is(Errc::key_exists));
  CHECK(all.get(1) == value_of(1));
  REQUIRE(all.put(1, value_of(3)).ok());
  CHECK(all.get_or(1, value_of(9)) == value_of(3));
  CHECK(all.cas(1, value_of(1), value_of(4)).is(Errc::value_mismatch));
  CHECK(all.cas(1, value_of(3), value_of(4)).ok());
  CHECK(all.compare_erase(1, value_of(3)).is(Errc::value_mismatch));
  CHECK(all.contains(1));
  const auto old = all.exchange(1, value_of(5));
  REQUIRE(old.ok());
  CHECK(*old == value_of(4));
  const auto none = all.exchange(2, value_of(6));
  REQUIRE(none.ok());
  CHECK_FALSE(none->has_value());
  CHECK(all.compare_erase(1, value_of(5)).ok());
  CHECK_FALSE(all.contains(1));
  CHECK(all.erase(2).ok());
  CHECK(all.empty());

  std::vector<std::pair<std::uint16_t, Value>> many;
  for (std::uint16_t key = 0; key < 500; ++key) {
    many.emplace_back(key % 300, value_of(static_cast<std::uint8_t>(key / 2)));
  }
  REQUIRE(all.put_many(std::span<const std::pair<std::uint16_t, Value>>(many)).ok());
  CHECK(all.size() == 300);
  CHECK(all.get(100) == value_of(200));  // of two with one key the later one wins
  std::vector<std::uint16_t> keys;
  for (std::uint16_t key = 250; key < 400; ++key) keys.push_back(key);
  std::vector<std::optional<Value>> values(keys.size());
  all.get_many(keys, values);
  for (std::size_t at = 0; at < keys.size(); ++at) CHECK(values[at] == all.get(keys[at]));
  CHECK(values[49].has_value());
  CHECK_FALSE(values[50].has_value());
  values.resize(10);
  all.get_many(keys, values);  // no more than there is room for
  all.get_many({}, {});
  REQUIRE(all.put(7, value_of(7), {.sync = true}).ok());
  CHECK(all.durable_sequence(7) > 0);
}

}  // namespace

TEMPLATE_TEST_CASE("const: every call of a tree", "", (ConstTree<std::uint16_t, Value>),
                   (FixedTree<std::uint16_t, Value>)) {
  const auto files = make_memory_file_system();
  auto tree = *TestType::open("c", in_memory(*files));
  check_all_calls(tree);
}

TEMPLATE_TEST_CASE("const: every call of a map", "", (ConstMap<std::uint16_t, Value>),
                   (FixedMap<std::uint16_t, Value>)) {
  const auto files = make_memory_file_system();
  auto map = *TestType::open("c", in_memory(*files));
  check_all_calls(map);
  std::size_t seen = 0;
  REQUIRE(map.for_each([&](const std::uint16_t& key, const Value& value) {
               CHECK(map.get(key) == value);
               ++seen;
             })
              .ok());
  CHECK(seen == 300);
  seen = 0;
  REQUIRE(map.for_each([&](std::uint16_t, const Value&) { return ++seen < 10; }).ok());
  CHECK(seen == 10);
}

TEST_CASE("const: values of many sizes, also through the bytes below") {
  const auto files = make_memory_file_system();
  for (const std::uint32_t size : {0u, 1u, 7u, 20u, 21u, 300u, 20000u, 65536u}) {
    for (const bool fixed : {false, true}) {
      Config config = in_memory(*files);
      const std::string path = (fixed ? "f" : "c") + std::to_string(size);
      const Shape shape{4, size, size % 2 == 0, Payload::value, fixed};
      auto all = *Collection::open(path, shape, config);
      const std::string value(size, 'v');
      const std::string other(size, 'w');
      for (int round = 0; round < 20; ++round) {
        const std::string key = "k" + std::to_string(100 + round);
        REQUIRE(all.put(key, value).ok());
        const auto old = all.exchange(key, other);
        REQUIRE(old.ok());
        CHECK((*old)->text() == value);
        CHECK(all.cas(key, value, value).is(size == 0 ? Errc::ok : Errc::value_mismatch));
        CHECK((*all.get(Bytes(key)))->text() == other);
        bool called = false;
        CHECK(*all.read(key, [&](Bytes bytes) { called = bytes.text() == other; }));
        CHECK(called);
      }
      CHECK(all.put("k100", value + "x").is(Errc::invalid_argument));
      REQUIRE(all.close().ok());
      all = *Collection::open(path, shape, config);
      CHECK(all.size() == 20);
      CHECK((*all.get("k119"))->text() == other);
      CHECK_FALSE(*all.read("none", [](Bytes) {}));
    }
  }
}

TEMPLATE_TEST_CASE("const: after close() reads answer from memory", "",
                   (ConstMap<std::uint16_t, Value>), (FixedMap<std::uint16_t, Value>)) {
  const auto files = make_memory_file_system();
  auto map = *TestType::open("c", in_memory(*files));
  REQUIRE(map.put(1, value_of(1)).ok());
  REQUIRE(map.close().ok());
  CHECK(map.get(1) == value_of(1));
  CHECK_FALSE(map.get(2).has_value());
}

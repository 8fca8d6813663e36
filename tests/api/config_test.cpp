// Settings: what is refused, what contradicts a store, and what the presets do.
#include <limits>
#include <string>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace armdb;
using Map = ConstMap<std::uint32_t, ByteArray<8>>;

namespace {

bool says(const std::string& message, const std::string& part) {
  return message.find(part) != std::string::npos;
}

// Opens with a setting changed in a directory that must stay empty.
template <class F> void refused(const char* name, F&& change) {
  test::TempDir directory;
  Config config;
  change(config);
  const auto map = Map::open(directory / "c", config);
  INFO(name << ": " << map.message());
  CHECK(map.is(Errc::invalid_argument));
  CHECK(says(map.message(), name));
  CHECK_FALSE(std::filesystem::exists(directory / "c"));
}

}  // namespace

TEST_CASE("config: values out of range are refused by name, before anything is made") {
  refused("shard_count", [](Config& c) { c.shard_count = 257; });
  refused("shard_prefix_bits", [](Config& c) { c.shard_prefix_bits = 33; });
  refused("shard_prefix_bits", [](Config& c) { c.shard_prefix_bits = 100000; });
  refused("max_file_size", [](Config& c) { c.max_file_size = (64u << 10) - 1; });
  refused("max_file_size", [](Config& c) { c.max_file_size = std::uint64_t{65} << 30; });
  refused("write_buffer_size", [](Config& c) { c.write_buffer_size = (16u << 10) - 8; });
  refused("write_buffer_size", [](Config& c) { c.write_buffer_size = (64u << 20) + 8; });
  refused("compaction_threshold", [](Config& c) { c.compaction_threshold = 0; });
  refused("compaction_threshold", [](Config& c) { c.compaction_threshold = 1.01; });
  refused("compaction_threshold",
          [](Config& c) { c.compaction_threshold = std::numeric_limits<double>::quiet_NaN(); });
  refused("index_step_bytes", [](Config& c) { c.index_step_bytes = 4095; });
  refused("index_step_bytes", [](Config& c) { c.index_step_bytes = (64u << 20) + 1; });
}

TEST_CASE("config: encryption is refused where it is not built, never ignored") {
  test::TempDir directory;
  Config config;
  config.encryption_key = ByteArray<32>{};
  if (compile_options().find("OPENSSL") != std::string_view::npos) return;
  CHECK(Map::open(directory / "c", config).is(Errc::unsupported));
  CHECK_FALSE(std::filesystem::exists(directory / "c"));
}

TEST_CASE("config: settings that contradict the store are refused, and both are named") {
  test::TempDir directory;
  Config config;
  config.shard_count = 4;
  config.shard_prefix_bits = 8;
  REQUIRE(Map::open(directory / "c", config).ok());
  config.shard_count = 2;
  const auto shards = Map::open(directory / "c", config);
  CHECK(shards.is(Errc::format_mismatch));
  CHECK(says(shards.message(), "4"));
  CHECK(says(shards.message(), "2"));
  config.shard_count = 4;
  config.shard_prefix_bits = 16;
  const auto bits = Map::open(directory / "c", config);
  CHECK(bits.is(Errc::format_mismatch));
  CHECK(says(bits.message(), "8"));
  CHECK(says(bits.message(), "16"));
  config.shard_count = config.shard_prefix_bits = 0;
  CHECK(Map::open(directory / "c", config)->stats().shards == 4);
}

TEST_CASE("config: shapes that no collection has are refused before anything is made") {
  const Shape bad[] = {{0, 8, true, Payload::value},
                       {1025, 8, true, Payload::value},
                       {8, (64u << 10) + 1, false, Payload::value},
                       {8, 5, true, Payload::location}};
  for (const Shape& shape : bad) {
    test::TempDir directory;
    const auto opened = Collection::open(directory / "c", shape);
    INFO(shape.key_size << " " << shape.value_size << ": " << opened.message());
    CHECK(opened.is(Errc::invalid_argument));
    CHECK_FALSE(std::filesystem::exists(directory / "c"));
  }
}

TEST_CASE("config: the limits themselves work") {
  const auto files = make_memory_file_system();
  Config config;
  config.file_system = files.get();
  config.shard_count = 256;
  config.write_buffer_size = 16u << 10;
  config.max_file_size = 64u << 10;
  config.index_step_bytes = 4u << 10;
  {
    auto map = Map::open("many", config);
    REQUIRE(map.ok());
    for (std::uint32_t key = 0; key < 2000; ++key) REQUIRE(map->put(key, {}).ok());
  }
  CHECK(Map::open("many", config)->size() == 2000);
  config.shard_count = 1;
  const Shape largest{1024, 64u << 10, true, Payload::value};
  auto collection = Collection::open("large", largest, config);
  REQUIRE(collection.ok());
  const std::string key(1024, 'k');
  const std::string value(64u << 10, 'v');
  REQUIRE(collection->put(key, value).ok());
  CHECK((*collection->get(Bytes(key)))->text() == value);
  REQUIRE(collection->close().ok());
  collection = Collection::open("large", largest, config);
  REQUIRE(collection.ok());
  CHECK((*collection->get(Bytes(key)))->text() == value);
}

TEST_CASE("config: embedded() is small, and works") {
  test::TempDir directory;
  auto tree = VarTree<std::uint64_t>::open(directory / "c", Config::embedded());
  REQUIRE(tree.ok());
  for (std::uint64_t key = 0; key < 20000; ++key) {
    REQUIRE(tree->put(key, std::to_string(key)).ok());
  }
  const Stats stats = tree->stats();
  CHECK(stats.shards == 1);
  CHECK(stats.buffer_bytes <= 200u << 10);
  CHECK((*tree->get(777))->text() == "777");
  REQUIRE(tree->close().ok());
  CHECK(VarTree<std::uint64_t>::open(directory / "c", Config::embedded())->size() == 20000);
}

TEST_CASE("config: a prefix of the key chooses the shard") {
  const auto files = make_memory_file_system();
  for (const std::uint32_t bits : {1u, 7u, 8u, 13u, 32u, 64u}) {
    Config config;
    config.file_system = files.get();
    config.shard_count = 4;
    config.shard_prefix_bits = bits;
    config.reversed = false;
    const std::string path = "c" + std::to_string(bits);
    auto tree = *VarTree<std::uint64_t>::open(path, config);
    for (std::uint64_t at = 0; at < 3000; ++at) {
      REQUIRE(tree.put(at * 0x0123456789abcdu, std::to_string(at)).ok());
    }
    REQUIRE(tree.close().ok());
    tree = *VarTree<std::uint64_t>::open(path, config);
    CHECK(tree.size() == 3000);
    std::size_t total = 0;
    for (int first = 0; first < 256; ++first) {
      const std::uint8_t prefix[] = {static_cast<std::uint8_t>(first)};
      std::uint64_t last = 0;
      for (const auto& [key, value] : tree.prefix(Bytes(prefix))) {
        CHECK(key >> 56 == static_cast<std::uint64_t>(first));
        CHECK((total == 0 || key > last || last == 0));
        last = key;
        ++total;
      }
    }
    CHECK(total == 3000);
  }
}

TEST_CASE("config: enable_fsync syncs at each flush") {
  const auto files = make_memory_file_system();
  Config config;
  config.file_system = files.get();
  config.shard_count = 1;
  config.write_buffer_size = 16u << 10;
  config.enable_fsync = true;
  auto map = *Map::open("c", config);
  for (std::uint32_t key = 0; key < 5000; ++key) REQUIRE(map.put(key, {}).ok());
  CHECK(map.stats().syncs >= 5);
  REQUIRE(map.put(1, {}).ok());
  REQUIRE(map.flush_buffers().ok());
  CHECK(map.durable_sequence() == map.stats().last_sequence);
}

// Compactor: the background thread that the user asks for.
#include <chrono>
#include <string>
#include <thread>

#include "armdb.hpp"
#include "support/catch.hpp"

using namespace armdb;

#if !defined(ARMDB_OMIT_THREADS)

namespace {

Config small(FileSystem& files) {
  Config config;
  config.file_system = &files;
  config.shard_count = 2;
  config.write_buffer_size = 16u << 10;
  config.max_file_size = 64u << 10;
  return config;
}

}  // namespace

TEST_CASE("compactor: rewrites what is dead while others write and read") {
  const auto files = make_memory_file_system();
  auto map = *VarMap<std::uint32_t>::open("c", small(*files));
  auto compactor = Compactor::start(map.collection(), {.step_bytes = 20000, .idle_ms = 1});
  INFO(compactor.message());
  REQUIRE(compactor.ok());
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  std::uint32_t round = 0;
  do {
    for (std::uint32_t key = 0; key < 500; ++key) {
      REQUIRE(map.put(key, std::to_string(round) + std::string(60, 'x')).ok());
    }
    ++round;
  } while ((map.stats().compactions < 20 || round < 20) &&
           std::chrono::steady_clock::now() < until);
  CHECK(map.stats().compactions >= 20);
  CHECK(compactor->last_error().ok());
  for (std::uint32_t key = 0; key < 500; ++key) {
    CHECK((*map.get(key))->text() == std::to_string(round - 1) + std::string(60, 'x'));
  }
  compactor->stop();
  compactor->stop();  // again is fine
  CHECK(map.verify()->damaged_regions == 0);
}

TEST_CASE("compactor: moves, and the handle of its collection may move") {
  const auto files = make_memory_file_system();
  auto map = *VarMap<std::uint32_t>::open("c", small(*files));
  Compactor first = *Compactor::start(map.collection(), {.idle_ms = 1});
  Compactor second = std::move(first);
  first = std::move(second);
  VarMap<std::uint32_t> moved = std::move(map);
  for (std::uint32_t key = 0; key < 3000; ++key) REQUIRE(moved.put(key % 10, "value").ok());
  CHECK(first.last_error().ok());
  first = Compactor();  // what it was swapped with ends here at the latest
  CHECK(Compactor().last_error().ok());
}

TEST_CASE("compactor: a collection that closes beside it ends its work") {
  const auto files = make_memory_file_system();
  auto map = *VarMap<std::uint32_t>::open("c", small(*files));
  {
    const Compactor compactor = *Compactor::start(map.collection(), {.idle_ms = 1});
    REQUIRE(map.put(1, "x").ok());
    REQUIRE(map.close().ok());
  }
  CHECK(VarMap<std::uint32_t>::open("c", small(*files))->size() == 1);
}

#else

TEST_CASE("compactor: is refused in builds without threads") {
  const auto files = make_memory_file_system();
  Config config;
  config.file_system = files.get();
  auto map = *VarMap<std::uint32_t>::open("c", config);
  CHECK(Compactor::start(map.collection()).is(Errc::unsupported));
  CHECK(map.compact_step(1000).ok());
}

#endif

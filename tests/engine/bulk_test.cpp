// Writes of many keys that cannot be finished.
#include <sys/resource.h>

#include <string>
#include <utility>
#include <vector>

#include "api/collections.hpp"
#include "support/catch.hpp"
#include "support/fault_file_system.hpp"
#include "support/sanitized.hpp"

using namespace armdb;
using test::FaultFileSystem;
using Number = std::uint64_t;

// Not in tests/api, whose tests run on builds for size too: these do not sort.
TEST_CASE("bulk: a load of unsorted entries fills a tree's leaves, as puts do not") {
  const auto files = make_memory_file_system();
  Config config;
  config.file_system = files.get();
  config.shard_count = 1;
  auto put = *ZeroTree<Number, Number>::open("put", config);
  auto loaded = *ZeroTree<Number, Number>::open("loaded", config);
  std::vector<std::pair<Number, Number>> entries;
  for (Number n = 1; n <= 50000; ++n) entries.emplace_back(n * 0x9e3779b97f4a7c15u, n);
  for (const auto& [key, value] : entries) REQUIRE(put.put(key, value).ok());
  REQUIRE(loaded.load(entries).ok());
  CHECK(loaded.size() == put.size());
  CHECK(loaded.stats().index_bytes < put.stats().index_bytes * 9 / 10);
}

TEST_CASE("bulk: a load on a full disk what was written before stays, and the error says why") {
  FaultFileSystem files;
  Config config;
  config.file_system = &files;
  config.shard_count = 1;
  config.write_buffer_size = 16u << 10;
  config.max_file_size = 256u << 10;
  auto tree = *ZeroTree<Number, Number>::open("c", config);
  files.set_capacity(1u << 20);
  std::vector<std::pair<Number, Number>> entries;
  for (Number key = 0; key < 200000; ++key) entries.emplace_back(key, key * 3);
  const Status status = tree.load(entries);
  INFO(status.message());
  CHECK(status.is(Errc::no_space));
  const std::uint64_t count = tree.size();
  CHECK(count > 1000);
  std::size_t wrong = 0;
  for (Number key = 0; key < count; ++key) wrong += tree.get(key) == key * 3 ? 0 : 1;
  CHECK(wrong == 0);
  CHECK_FALSE(tree.contains(count));
  CHECK(tree.load(entries).is(Errc::no_space));
  CHECK(tree.size() == count);
  // The same after a restart: nothing was promised that is not there.
  REQUIRE(tree.close().ok());
  tree = *ZeroTree<Number, Number>::open("c", config);
  CHECK(tree.size() == count);
}

#if !ARMDB_TEST_SANITIZED

namespace {

// While it lives, the system gives no more memory; the heap gives what it has. Under an emulator
// it may do nothing.
class NoMorePages {
 public:
  NoMorePages() {
    REQUIRE(::getrlimit(RLIMIT_AS, &before_) == 0);
    rlimit none = before_;
    none.rlim_cur = 1;
    static_cast<void>(::setrlimit(RLIMIT_AS, &none));
  }
  ~NoMorePages() { static_cast<void>(::setrlimit(RLIMIT_AS, &before_)); }
  NoMorePages(const NoMorePages&) = delete;
  NoMorePages& operator=(const NoMorePages&) = delete;

 private:
  rlimit before_{};
};

}  // namespace

TEST_CASE("bulk: a load without memory for its expiries leaves no entry that stays for ever") {
  // The table of expiries holds 4095 entries in its first step, and the tree has room in its own.
  constexpr WriteOptions kHour{.ttl_ms = 3600000};
  FaultFileSystem files;
  Config config;
  config.file_system = &files;
  config.shard_count = 1;
  config.index_step_bytes = 64u << 10;
  std::vector<std::pair<Number, Number>> entries;
  for (Number key = 0; key < 64; ++key) entries.emplace_back((Number{1} << 40) + key, key);
  {
    // The stack and the heap have grown by then.
    auto other = *ZeroTree<Number, Number>::open("other", config);
    REQUIRE(other.load(entries, kHour).ok());
  }
  for (Number before = 4032; before <= 4096; before += 8) {
    CAPTURE(before);
    auto tree = *ZeroTree<Number, Number>::open(std::to_string(before), config);
    for (Number key = 0; key < before; ++key) {
      REQUIRE(tree.put(key * 2654435761u % 4294967296u, key, kHour).ok());
    }
    Status status;
    {
      const NoMorePages limit;
      status = tree.load(entries, kHour);
    }
    INFO(status.message());
    CHECK((status.ok() || status.is(Errc::out_of_memory)));
    std::size_t for_ever = 0;
    for (const auto& [key, value] : tree.iter()) {
      for_ever += *tree.expires_at(key) == WriteOptions::kForever ? 1 : 0;
    }
    CHECK(for_ever == 0);
    REQUIRE(tree.load(entries, kHour).ok());
    CHECK(tree.size() == before + 64);
  }
}

#endif  // !ARMDB_TEST_SANITIZED

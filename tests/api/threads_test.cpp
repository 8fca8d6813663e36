// Many threads on one handle: writers, readers, iterators, syncs and compaction beside each other.
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/model.hpp"
#include "support/scale.hpp"

using namespace armdb;

#if !defined(ARMDB_OMIT_THREADS)

namespace {

Config small(FileSystem& files, bool mapped) {
  Config config;
  config.file_system = &files;
  config.shard_count = 2;
  config.write_buffer_size = 16u << 10;
  config.max_file_size = 64u << 10;
  config.mapped_reads = mapped;
  return config;
}

// A value names its key and version: torn and foreign ones show.
std::string value_of(std::uint32_t key, std::uint32_t version) {
  return std::to_string(key) + ":" + std::to_string(version) + ":" + std::string(version % 90, 'x');
}
bool belongs(std::uint32_t key, std::string_view value) {
  const std::string text(value);
  if (text.rfind(std::to_string(key) + ":", 0) != 0) return false;
  const std::size_t colon = text.find(':', text.find(':') + 1);
  const auto version = static_cast<std::uint32_t>(std::stoul(text.substr(text.find(':') + 1)));
  return colon != std::string::npos && text.size() - colon - 1 == version % 90;
}

}  // namespace

TEST_CASE("threads: values are whole, whatever happens beside [pitfall-13]") {
  for (const bool mapped : {true, false}) {
    const auto files = make_memory_file_system();
    auto tree = *VarTree<std::uint32_t>::open("c", small(*files, mapped));
    constexpr std::uint32_t kKeys = 200;
    std::atomic<bool> stop{false};
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int reader = 0; reader < 2; ++reader) {
      threads.emplace_back([&, reader] {
        test::Dice dice(static_cast<std::uint64_t>(reader));
        while (!stop.load(std::memory_order_relaxed)) {
          const auto key = static_cast<std::uint32_t>(dice.below(kKeys));
          const auto value = tree.get(key);
          if (!value.ok() || (value->has_value() && !belongs(key, (*value)->text()))) ++wrong;
        }
      });
    }
    threads.emplace_back([&] {
      while (!stop.load(std::memory_order_relaxed)) {
        for (const auto& [key, value] : tree.iter()) {
          if (!value.ok() || !belongs(key, value->text())) ++wrong;
        }
      }
    });
    threads.emplace_back([&] {
      while (!stop.load(std::memory_order_relaxed)) {
        if (!tree.compact_step(30000).ok() || !tree.sync().ok()) ++wrong;
      }
    });
    std::vector<std::thread> writers;
    for (std::uint32_t writer = 0; writer < 2; ++writer) {
      writers.emplace_back([&, writer] {
        test::Dice dice(100 + writer);
        for (std::uint32_t version = 0; version < test::scaled(30000, 2000); ++version) {
          const auto key = static_cast<std::uint32_t>(dice.below(kKeys / 2)) * 2 + writer;
          const Status status =
              dice.one_in(5) ? tree.erase(key) : tree.put(key, value_of(key, version));
          if (!status.ok() && !status.is(Errc::not_found)) ++wrong;
        }
      });
    }
    for (std::thread& thread : writers) thread.join();
    stop = true;
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
    CHECK(tree.verify()->damaged_regions == 0);
    const std::size_t size = tree.size();
    REQUIRE(tree.close().ok());
    tree = *VarTree<std::uint32_t>::open("c", small(*files, mapped));
    CHECK(tree.size() == size);
  }
}

TEST_CASE("threads: cas adds up, on values in memory and on disk") {
  const auto files = make_memory_file_system();
  auto in_memory = *ConstMap<std::uint32_t, ByteArray<8>>::open("m", small(*files, true));
  auto on_disk = *VarMap<std::uint32_t>::open("d", small(*files, true));
  REQUIRE(in_memory.put(1, {}).ok());
  REQUIRE(on_disk.put(1, "0").ok());
  const std::size_t rounds = test::scaled(2000, 200);
  std::atomic<int> errors{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&] {
      for (std::size_t round = 0; round < rounds; ++round) {
        for (;;) {
          const ByteArray<8> old = *in_memory.get(1);
          std::uint64_t number = 0;
          std::memcpy(&number, old.data(), 8);
          ++number;
          ByteArray<8> next;
          std::memcpy(next.data(), &number, 8);
          if (in_memory.cas(1, old, next).ok()) break;
        }
        for (;;) {
          const auto old = on_disk.get(1);
          if (!old.ok()) {
            ++errors;
            break;
          }
          const std::string text((*old)->text());
          if (on_disk.cas(1, text, std::to_string(std::stoul(text) + 1)).ok()) break;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(errors == 0);
  std::uint64_t number = 0;
  std::memcpy(&number, in_memory.get(1)->data(), 8);
  CHECK(number == 3 * rounds);
  CHECK((*on_disk.get(1))->text() == std::to_string(3 * rounds));
}

TEST_CASE("threads: synced puts of many threads share syncs") {
  const auto files = make_memory_file_system();
  auto map = *VarMap<std::uint32_t>::open("c", small(*files, true));
  std::atomic<int> errors{0};
  std::vector<std::thread> threads;
  for (std::uint32_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (std::uint32_t round = 0; round < 300; ++round) {
        const std::uint32_t key = thread * 1000 + round;
        if (!map.put(key, "value", {.sync = true}).ok()) ++errors;
        if (map.durable_sequence(key) == 0) ++errors;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(errors == 0);
  CHECK(map.size() == 1200);
  CHECK(map.stats().unsynced_shards == 0);
}

TEST_CASE("threads: calls beside close() work or answer closed") {
  for (int round = 0; round < 20; ++round) {
    const auto files = make_memory_file_system();
    auto map = *VarMap<std::uint32_t>::open("c", small(*files, true));
    std::atomic<std::uint32_t> accepted{0};
    std::atomic<int> errors{0};
    std::thread writer([&] {
      for (std::uint32_t key = 0;; ++key) {
        const Status status = map.put(key, "value");
        if (status.is(Errc::closed)) return;
        if (!status.ok()) ++errors;
        accepted = key + 1;
      }
    });
    while (accepted < 50) std::this_thread::yield();
    REQUIRE(map.close().ok());
    writer.join();
    CHECK(errors == 0);
    map = *VarMap<std::uint32_t>::open("c", small(*files, true));
    CHECK(map.size() == accepted);
  }
}

#endif

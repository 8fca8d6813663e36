// Writes of many keys that cannot be finished, or that have others beside them.
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "api/collections.hpp"
#include "support/catch.hpp"
#include "support/fault_file_system.hpp"
#include "support/random.hpp"
#include "support/sanitized.hpp"

using namespace armdb;
using test::FaultFileSystem;
using Number = std::uint64_t;

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

TEST_CASE("bulk: a power cut amid a load leaves the first entries in the order of keys") {
  std::vector<std::pair<Number, Number>> entries;
  constexpr Number kCount = 10000;
  for (Number key = 0; key < kCount; ++key) {
    entries.emplace_back((key * 2654435761u) % kCount, key);
  }
  std::size_t most = 0;
  for (std::size_t nth = 1; nth <= 14; ++nth) {
    CAPTURE(nth);
    FaultFileSystem files;
    Config config;
    config.file_system = &files;
    config.shard_count = 1;
    config.write_buffer_size = 16u << 10;
    config.max_file_size = 64u << 10;
    {
      auto tree = *ZeroTree<Number, Number>::open("c", config);
      files.fail(test::Call::write, nth, 5, true);
      CHECK_FALSE(tree.load(entries).ok());
      files.power_cut_random(nth);
    }
    files.clear_faults();
    auto tree = *ZeroTree<Number, Number>::open("c", config);
    const std::size_t count = tree.size();
    CHECK(count < entries.size());
    most = std::max(most, count);
    std::size_t wrong = 0;
    for (const auto& [key, value] : entries) wrong += tree.contains(key) == (key < count) ? 0 : 1;
    CHECK(wrong == 0);
    REQUIRE(tree.load(entries).ok());
    CHECK(tree.size() == entries.size());
  }
  CHECK(most > 100);
}

#if !defined(ARMDB_OMIT_THREADS)

namespace {

// Keys below kEnd; the multiples of 4 are loaded from the lowest to the highest, `loaded` tells
// how far; those amid them and above them come and go.
class LoadedTree {
 public:
  static constexpr Number kEnd = 48000;

  explicit LoadedTree(FileSystem& files) {
    Config config;
    config.file_system = &files;
    config.shard_count = 2;
    config.write_buffer_size = 16u << 10;
    config.index_step_bytes = 64u << 10;
    tree_ = *ZeroTree<Number, Number>::open("c", config);
  }

  void load() {
    for (Number first = 0; first < kEnd; first += 400) {
      std::vector<std::pair<Number, Number>> entries;
      for (Number key = first; key < first + 400; key += 4) entries.emplace_back(key, key * 3);
      if (!tree_.load(entries).ok()) ++wrong;
      loaded.store(first + 400);
    }
  }
  void disturb(bool above) {
    base::Random random(above ? 1 : 2);
    while (loaded.load() < kEnd) {
      const Number from = above ? loaded.load() : 0;
      const Number key = (from + random.next() % (above ? 800 : kEnd)) | 1;
      static_cast<void>(random.next() % 3 == 0 ? tree_.erase(key) : tree_.put(key, key * 3));
    }
  }
  void read() {
    base::Random random(3);
    while (loaded.load() < kEnd) {
      const Number before = loaded.load();
      for (int i = 0; i < 100 && before != 0; ++i) {
        const Number key = random.next() % before / 4 * 4;
        if (tree_.get(key) != key * 3) ++wrong;
      }
      check(before);
    }
  }
  // All that was loaded by `before` is there, in order.
  void check(Number before) {
    Number count = 0;
    Number last = ~Number{0};
    for (const auto& [key, value] : tree_.iter()) {
      if (key >= last || value != key * 3) ++wrong;
      last = key;
      count += key % 4 == 0 && key < before ? 1 : 0;
    }
    if (count != before / 4) ++wrong;
  }

  std::atomic<Number> loaded{0};
  std::atomic<int> wrong{0};

 private:
  ZeroTree<Number, Number> tree_;
};

}  // namespace

TEST_CASE("bulk: readers, iterators and writers beside loads see what was loaded, in order") {
  const auto files = make_memory_file_system();
  LoadedTree tree(*files);
  std::vector<std::thread> threads;
  threads.emplace_back([&] { tree.disturb(true); });
  threads.emplace_back([&] { tree.disturb(false); });
  threads.emplace_back([&] { tree.read(); });
  tree.load();
  for (std::thread& thread : threads) thread.join();
  tree.check(LoadedTree::kEnd);
  CHECK(tree.wrong == 0);
}

#endif  // !ARMDB_OMIT_THREADS

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

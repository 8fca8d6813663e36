// Closing beside all kinds of calls, and calls that have to end although a writer never does.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/fault_file_system.hpp"
#include "support/scale.hpp"

#if !defined(ARMDB_OMIT_THREADS)

namespace {

using namespace armdb;

Config small_config(FileSystem& files) {
  Config config;
  config.file_system = &files;
  config.shard_count = 4;
  config.write_buffer_size = 16u << 10;
  config.max_file_size = 64u << 10;
  return config;
}

template <class C> C open(FileSystem& files) {
  Result<C> opened = C::open("c", small_config(files));
  INFO(opened.message());
  REQUIRE(opened.ok());
  return *std::move(opened);
}

// Keys of each writer lie in a range of their own.
constexpr std::uint32_t kKeysEach = 1u << 20;

struct Counts {
  std::atomic<std::uint32_t> single{0};  // keys that were put one by one
  std::atomic<std::uint32_t> batched{0};
  std::atomic<std::uint32_t> blocks{0};
  std::atomic<int> begun{0};
  std::atomic<int> errors{0};
};

// Calls it until it answers `closed`.
std::thread until_closed(Counts& counts, std::function<Status()> call) {
  return std::thread([&counts, call = std::move(call)] {
    for (bool first = true;; first = false) {
      const Status status = call();
      if (first) ++counts.begun;
      if (status.is(Errc::closed)) return;
      if (!status.ok()) ++counts.errors;
    }
  });
}

template <class C> std::vector<std::thread> callers(C& collection, Counts& counts) {
  std::vector<std::thread> threads;
  const auto value = typename C::In{};
  threads.push_back(until_closed(counts, [&, value]() -> Status {
    const std::uint32_t key = counts.single;
    const Status status = collection.put(key, value, {.sync = key % 64 == 0});
    // With a sync the write may be there, and only the sync came too late.
    if (status.ok()) counts.single = key + 1;
    return status;
  }));
  threads.push_back(until_closed(counts, [&, value]() -> Status {
    const std::uint32_t first = kKeysEach + counts.batched;
    WriteBatch batch(collection);
    Status status;
    for (std::uint32_t key = 0; status.ok() && key < 16; ++key) {
      status = batch.put(first + key, value, {.ttl_ms = 1u << 30});
    }
    if (status.ok()) status = batch.commit();
    if (status.ok()) counts.batched += 16;
    return status;
  }));
  threads.push_back(until_closed(counts, [&, value]() -> Status {
    const std::uint32_t key = 2 * kKeysEach + counts.blocks;
    const Status status =
        collection.atomic(key, [&](auto& handle) -> Status { return handle.put(key, value); });
    if (status.ok()) ++counts.blocks;
    return status;
  }));
  threads.push_back(until_closed(counts, [&] { return collection.sync(); }));
  threads.push_back(until_closed(counts, [&]() -> Status {
    const Status status = collection.compact();
    return status.ok() ? collection.checkpoint() : status;
  }));
  threads.push_back(until_closed(counts, [&]() -> Status {
    static_cast<void>(collection.contains(1));
    static_cast<void>(collection.stats());
    // Where reads are slower than the writers a walk to the end of the keys has none.
    std::uint32_t visits = 0;
    return collection.for_each([&](std::uint32_t, const auto&) { return ++visits < 10000; });
  }));
  return threads;
}

template <class C> std::size_t count_from(const C& collection, std::uint32_t first) {
  std::size_t count = 0;
  REQUIRE(collection
              .for_each([&](std::uint32_t key, const auto&) {
                count += key / kKeysEach == first / kKeysEach ? 1 : 0;
              })
              .ok());
  return count;
}

// A codec that closes the collection while it decodes: the call that asked for it has then found
// the collection open, and comes to the shard too late.
struct ClosingCodec {
  static inline const std::function<void()>* close = nullptr;
  static std::size_t size(const std::string& text) { return text.size(); }
  static Status encode(const std::string& text, MutableBytes out) {
    std::copy(text.begin(), text.end(), out.begin());
    return {};
  }
  static Status decode(Bytes in, std::string& out) {
    out = in.text();
    if (close != nullptr) (*close)();
    return {};
  }
};

using Words = VarTree<std::uint32_t>;
using Numbers = ZeroMap<std::uint32_t, std::uint64_t>;

}  // namespace

TEMPLATE_TEST_CASE("close stress: what was answered ok is there, all else answers closed", "",
                   Words, Numbers) {
  const std::size_t rounds = test::scaled(20, 5);
  for (std::size_t round = 0; round < rounds; ++round) {
    const auto files = make_memory_file_system();
    Counts counts;
    {
      TestType collection = open<TestType>(*files);
      std::vector<std::thread> threads = callers(collection, counts);
      while (counts.begun < static_cast<int>(threads.size()) || counts.batched < 160) {
        std::this_thread::yield();
      }
      const Status status = collection.close();
      for (std::thread& thread : threads) thread.join();
      INFO(status.message());
      REQUIRE(status.ok());
      CHECK(collection.close().is(Errc::closed));
      CHECK(counts.errors == 0);
    }
    const TestType again = open<TestType>(*files);
    CHECK(again.stats().damaged_regions == 0);
    const std::size_t single = count_from(again, 0);
    CHECK(single >= counts.single);
    CHECK(single <= counts.single + 1);
    CHECK(count_from(again, kKeysEach) == counts.batched);
    CHECK(count_from(again, 2 * kKeysEach) == counts.blocks);
  }
}

TEST_CASE("close stress: a write that was on its way when the collection closed is refused") {
  using Texts = TypedMap<std::uint32_t, std::string, ClosingCodec>;
  const auto files = make_memory_file_system();
  {
    auto texts = open<Texts>(*files);
    REQUIRE(texts.put(1, "one").ok());
    const std::function<void()> close = [&] { static_cast<void>(texts.close()); };
    ByteArray<4> key;
    key_traits<std::uint32_t>::encode(2, key.data());
    ClosingCodec::close = &close;
    const Status late = texts.collection().put(key, Bytes("two"));
    ClosingCodec::close = nullptr;
    CHECK(late.is(Errc::closed));
  }
  const auto texts = open<Texts>(*files);
  CHECK(texts.contains(1));
  CHECK_FALSE(texts.contains(2));
}

TEST_CASE("close stress: a checkpoint ends although a write follows each of its syncs") {
  test::FaultFileSystem files;
  Numbers numbers = open<Numbers>(files);
  for (std::uint32_t key = 0; key < 100; ++key) REQUIRE(numbers.put(key, 1).ok());
  // Two of the four threads that sync may be here at once; a batch reaches all shards.
  std::atomic<int> syncs{0};
  std::atomic<int> errors{0};
  files.set_observer([&](test::Call call, const std::string& path) {
    if (call != test::Call::sync || !path.ends_with(".data") || ++syncs > 500) return;
    WriteBatch batch(numbers);
    for (std::uint32_t key = 0; key < 32; ++key) {
      if (!batch.put(key, static_cast<std::uint64_t>(syncs)).ok()) ++errors;
    }
    if (!batch.commit().ok()) ++errors;
  });
  CHECK(numbers.checkpoint().ok());
  CHECK(numbers.sync().ok());
  files.set_observer({});
  CHECK(syncs > 0);
  CHECK(syncs < 100);
  CHECK(errors == 0);
}

TEST_CASE("close stress: checkpoint, sync and compact end beside writers that never stop") {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::seconds kLongest{60};
  const auto files = make_memory_file_system();
  Numbers numbers = open<Numbers>(*files);
  std::atomic<bool> stop{false};
  std::atomic<bool> gave_up{false};
  std::atomic<int> errors{0};
  std::atomic<std::uint64_t> writes{0};
  const auto writer = [&](std::uint32_t first) {
    const auto begin = Clock::now();
    for (std::uint32_t round = 0; !stop; ++round) {
      WriteBatch batch(numbers);
      for (std::uint32_t key = 0; key < 8; ++key) {
        if (!batch.put(first + key, round).ok()) ++errors;
      }
      const bool batched = round % 4 == 0;
      const Status status = batched ? batch.commit() : numbers.put(first + round % 100, round);
      if (!status.ok()) ++errors;
      ++writes;
      if (Clock::now() - begin < kLongest) continue;
      gave_up = true;
      return;
    }
  };
  std::thread one(writer, 0);
  std::thread two(writer, 1000);
  const std::size_t rounds = test::scaled(10, 3);
  for (std::size_t round = 0; round < rounds && !gave_up; ++round) {
    const std::uint64_t before = writes;
    while (writes < before + 100 && !gave_up) std::this_thread::yield();
    CHECK(numbers.checkpoint().ok());
    CHECK(numbers.sync().ok());
    CHECK(numbers.compact().ok());
  }
  CHECK_FALSE(gave_up);
  stop = true;
  one.join();
  two.join();
  CHECK(errors == 0);
}

#endif

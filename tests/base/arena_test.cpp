// Tests of the arena.
#include "base/arena.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "base/shared_bytes.hpp"
#include "support/catch.hpp"

namespace {

using armdb::base::Arena;
using armdb::base::PageSource;

// A source that counts, and that fails after `left` steps.
struct CountingSource {
  static inline std::size_t taken = 0;
  static inline std::size_t released = 0;
  static inline std::size_t left = 0;
  static inline std::vector<std::size_t> steps;

  static PageSource source(std::size_t steps_left) {
    taken = released = 0;
    left = steps_left;
    steps.clear();
    return {[](std::size_t bytes, std::size_t nth) -> void* {
              if (left == 0) return nullptr;
              left -= 1;
              taken += bytes;
              steps.push_back(nth);
              return PageSource::heap().allocate(bytes, nth);
            },
            [](void* memory, std::size_t bytes) {
              released += bytes;
              PageSource::heap().release(memory, bytes);
            }};
  }
};

}  // namespace

TEST_CASE("arena: nodes are zero, apart from each other and keep their bytes while it grows") {
  const std::size_t node_bytes = GENERATE(1, 8, 20, 64, 264, 5000);
  Arena arena(node_bytes, 4096, PageSource::heap());
  CHECK(arena.node_bytes() >= node_bytes);
  CHECK(arena.node_bytes() % 8 == 0);
  std::vector<Arena::NodeId> nodes;
  for (std::uint32_t i = 0; i < 3000; ++i) {
    const Arena::NodeId node = arena.allocate();
    REQUIRE(node != Arena::kNone);
    REQUIRE(node < arena.end());
    std::uint8_t* bytes = arena.at(node);
    REQUIRE(reinterpret_cast<std::uintptr_t>(bytes) % 8 == 0);
    REQUIRE(std::all_of(bytes, bytes + arena.node_bytes(), [](std::uint8_t b) { return b == 0; }));
    std::memset(bytes, static_cast<int>(i % 251), arena.node_bytes());
    nodes.push_back(node);
  }
  CHECK(std::set<Arena::NodeId>(nodes.begin(), nodes.end()).size() == nodes.size());
  CHECK(arena.nodes_in_use() == nodes.size());
  CHECK(arena.memory_bytes() >= nodes.size() * arena.node_bytes());
  for (std::uint32_t i = 0; i < nodes.size(); ++i) {
    const std::uint8_t* bytes = arena.at(nodes[i]);
    REQUIRE(bytes[0] == i % 251);
    REQUIRE(bytes[arena.node_bytes() - 1] == i % 251);
  }
}

TEST_CASE("arena: cache line nodes lie on cache lines") {
  Arena arena(70, 1 << 16, PageSource::heap(), true);
  CHECK(arena.node_bytes() == 128);
  CHECK(reinterpret_cast<std::uintptr_t>(arena.at(arena.allocate())) % 64 == 0);
  Arena small(40, 1 << 16, PageSource::heap(), true);
  CHECK(small.node_bytes() == 40);
}

TEST_CASE("arena: freed nodes are used again before new ones, and hold what they held") {
  Arena arena(32, 4096, PageSource::heap());
  const auto a = arena.allocate();
  const auto b = arena.allocate();
  std::memset(arena.at(a), 7, 32);
  const auto end = arena.end();
  arena.free(a);
  arena.free(b);
  CHECK(arena.nodes_in_use() == 0);
  CHECK(arena.allocate() == b);
  CHECK(arena.allocate() == a);
  CHECK(arena.end() == end);
  for (int at = 0; at < 28; ++at) CHECK(arena.at(a)[at] == 7);
}

TEST_CASE("arena: after reserve so many nodes can be had without the source") {
  Arena arena(64, 1024, CountingSource::source(1000));
  arena.free(arena.allocate());
  REQUIRE(arena.reserve(500));
  CountingSource::left = 0;
  for (int i = 0; i < 500; ++i) REQUIRE(arena.allocate() != Arena::kNone);
  // At most a step more than asked for.
  int more = 0;
  while (arena.allocate() != Arena::kNone) more += 1;
  CHECK(more <= 16);
  CHECK_FALSE(arena.reserve(1));
  CHECK(arena.reserve(0));
}

TEST_CASE("arena: out of memory is an answer, and all that was taken is released", "[pitfall-33]") {
  for (std::size_t steps = 0; steps < 20; ++steps) {
    {
      Arena arena(64, 1024, CountingSource::source(steps));
      std::size_t got = 0;
      while (arena.allocate() != Arena::kNone) got += 1;
      CHECK(got == (steps == 0 ? 0 : steps * 16 - 1));
      CHECK_FALSE(arena.reserve(1));
      CHECK(arena.nodes_in_use() == got);
      for (std::size_t nth = 0; nth < steps; ++nth) CHECK(CountingSource::steps[nth] == nth);
      // Memory that comes back is used.
      CountingSource::left = 1;
      CHECK(arena.allocate() != Arena::kNone);
    }
    CHECK(CountingSource::taken == CountingSource::released);
  }
}

TEST_CASE("arena: a step is a power of two of nodes, and tiny arenas count few bytes") {
  Arena arena(264, std::size_t{2} << 20, CountingSource::source(2));
  REQUIRE(arena.allocate() != Arena::kNone);
  CHECK(CountingSource::taken == 8192 * 264);
  CHECK(arena.memory_bytes() <= 8192);
  const Arena empty(264, std::size_t{2} << 20, PageSource::heap());
  CHECK(empty.memory_bytes() == 0);
}

TEST_CASE("arena: readers may look at any id below end while it grows", "[threads]") {
  const auto arena = std::make_unique<Arena>(16, 256, PageSource::heap());
  std::atomic<bool> stop{false};
  std::atomic<bool> wrong{false};
  std::thread reader([&] {
    std::uint32_t id = 1;
    while (!stop.load(std::memory_order_relaxed)) {
      const auto end = arena->end();
      id = id * 1664525u + 1013904223u;
      if (end < 2) continue;
      const auto node = 1 + id % (end - 1);
      const auto* word = reinterpret_cast<const std::uint64_t*>(arena->at(node));
      const std::uint64_t value = armdb::base::load_relaxed(word);
      if (value != 0 && value != node) wrong = true;
    }
  });
  std::vector<Arena::NodeId> nodes;
  for (int i = 0; i < 20000; ++i) {
    const auto node = arena->allocate();
    armdb::base::store_relaxed(reinterpret_cast<std::uint64_t*>(arena->at(node)),
                               std::uint64_t{node});
    nodes.push_back(node);
    if (i % 3 == 0) {
      arena->free(nodes.back());
      nodes.pop_back();
    }
  }
  stop = true;
  reader.join();
  CHECK_FALSE(wrong);
}

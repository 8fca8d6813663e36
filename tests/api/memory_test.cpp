// What happens when `new` fails: batches and hooks.
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/new_fails.hpp"

// A sanitizer's own `new` finds more than these tests do: it stays.
#if !ARMDB_TEST_SANITIZED

using namespace armdb;
using test::NewFails;

namespace {

using Number = std::uint64_t;

// A value that tells how many of its kind there are.
struct Note {
  std::string text;

  Note() noexcept { ++alive; }
  explicit Note(std::string from) noexcept : text(std::move(from)) { ++alive; }
  Note(const Note& other) : text(other.text) { ++alive; }
  Note(Note&& other) noexcept : text(std::move(other.text)) { ++alive; }
  Note& operator=(const Note&) = default;
  Note& operator=(Note&&) noexcept = default;
  ~Note() { --alive; }

  using armdb_codec = fields<&Note::text>;
  static inline int alive = 0;
};

struct CountingHook : TypedWriteHook<Number, Number> {
  void on_write(const Number&, const Number*, const Number*) override { ++told; }
  int told = 0;
};

struct Memory {
  Owned<FileSystem> files = make_memory_file_system();
  Config config;

  Memory() {
    config.file_system = files.get();
    config.shard_count = 2;
  }
};

// Short and long ones, so that a batch and an encoder grow with some and not with others.
template <class V> V value_of(Number key) {
  std::string text(key % 5 == 0 ? 300 + key : key % 40, static_cast<char>('a' + key % 26));
  if constexpr (std::is_same_v<V, Bytes>) {
    static std::string kept;
    kept = std::move(text);
    return Bytes(kept);
  } else {
    return V(std::move(text));
  }
}

// Tries with no `new` at all, with one, with two, until the write is in the batch. Returns how
// often bad_alloc came.
template <class Batch, class V> int put_at_last(Batch& batch, Number key, const V& value) {
  const std::size_t before = batch.size();
  int thrown = 0;
  for (long more = 0;; ++more) {
    Status status = Errc::out_of_memory;
    try {
      const NewFails limit(more);
      status = batch.put(key, value);
    } catch (const std::bad_alloc&) {
      ++thrown;
    }
    if (status.ok()) break;
    REQUIRE(status.is(Errc::out_of_memory));
    REQUIRE(batch.size() == before);
  }
  CHECK(batch.size() == before + 1);
  return thrown;
}

template <class Tree, class V> void batch_round() {
  Memory memory;
  Tree tree = *Tree::open("c", memory.config);
  REQUIRE(tree.put(7, value_of<V>(1)).ok());
  WriteBatch<Tree> batch(tree);
  int thrown = 0;
  for (Number key = 0; key < 100; ++key) {
    thrown += put_at_last(batch, key, value_of<V>(key));
    if (key == 50) REQUIRE(batch.erase(20).ok());
  }
  CHECK(thrown >= 5);
  REQUIRE(batch.commit().ok());
  CHECK(batch.empty());
  CHECK(tree.size() == 99);
  std::size_t wrong = 0;
  for (Number key = 0; key < 100; ++key) {
    const V expected = value_of<V>(key);
    const auto same = [&](const auto& value) {
      if constexpr (std::is_same_v<V, Bytes>) {
        wrong += value == expected ? 0 : 1;
      } else {
        wrong += value.text == expected.text ? 0 : 1;
      }
    };
    const Result<bool> found = tree.read(key, same);
    wrong += found.ok() && *found == (key != 20) ? 0 : 1;
  }
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("memory: a batch that cannot grow stays as it was, and takes the write later") {
  // Without exceptions it aborts.
  if (compile_options().find("no-exceptions") != std::string_view::npos) return;
  batch_round<VarTree<Number>, Bytes>();
  batch_round<TypedTree<Number, Note>, Note>();
  CHECK(Note::alive == 0);
}

TEST_CASE("memory: open_hooked says when there is none to hold the hook, and opens nothing") {
  using Tree = ZeroTree<Number, Number, CountingHook>;
  Memory memory;
  CountingHook hook;
  {
    const auto refused = [&] {
      const NewFails limit(0);
      return Tree::open_hooked("c", memory.config, hook);
    }();
    CHECK(refused.status().is(Errc::out_of_memory));
  }
  auto tree = *Tree::open_hooked("c", memory.config, hook);
  REQUIRE(tree.put(1, 2).ok());
  CHECK(hook.told == 1);
}

#endif  // !ARMDB_TEST_SANITIZED

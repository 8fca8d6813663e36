// Ranges over trees: bounds, directions, std::ranges, and writes beside them.
#include <algorithm>
#include <ranges>
#include <string>
#include <vector>

#include "armdb.hpp"
#include "support/catch.hpp"

using namespace armdb;
using Tree = ConstTree<std::int32_t, ByteArray<4>>;
using Slots = FixedTree<std::int32_t, ByteArray<4>>;
using Keys = std::vector<std::int32_t>;

static_assert(std::ranges::input_range<Tree::Range>);
static_assert(std::ranges::input_range<Tree::KeysRange>);
static_assert(std::ranges::input_range<VarTree<std::int32_t>::Range>);

namespace {

struct Fixture {
  explicit Fixture(std::uint32_t shards = 3, bool reversed = false) {
    config.file_system = files.get();
    config.shard_count = shards;
    config.reversed = reversed;
    config.write_buffer_size = 16u << 10;
    config.max_file_size = 64u << 10;
    config.index_step_bytes = 4u << 10;
  }
  // 0, 10, .. 990 without negative ones.
  template <class T = Tree> T tree() {
    T made = *T::open("tree", config);
    for (std::int32_t key = 0; key < 1000; key += 10) REQUIRE(made.put(key, {1}).ok());
    return made;
  }
  Owned<FileSystem> files = make_memory_file_system();
  Config config;
};

template <class Range> Keys keys_of(const Range& range) {
  Keys keys;
  for (const auto& entry : range) keys.push_back(entry.key);
  return keys;
}

}  // namespace

TEMPLATE_TEST_CASE("ranges: [first, last) in both directions, whatever Config::reversed", "", Tree,
                   Slots) {
  for (const bool reversed : {false, true}) {
    Fixture fixture(3, reversed);
    const TestType tree = fixture.tree<TestType>();
    Keys wanted{20, 30, 40};
    if (reversed) std::reverse(wanted.begin(), wanted.end());
    CHECK(keys_of(tree.range(20, 50)) == wanted);
    CHECK(keys_of(tree.range(15, 45)) == wanted);
    std::reverse(wanted.begin(), wanted.end());
    CHECK(keys_of(tree.range(20, 50).reversed()) == wanted);
    CHECK(keys_of(tree.range(20, 50).reversed().reversed()).size() == 3);
    CHECK(keys_of(tree.iter()).size() == 100);
    CHECK(keys_of(tree.iter()).front() == (reversed ? 990 : 0));
    CHECK(keys_of(tree.range(20, 20)).empty());
    CHECK(keys_of(tree.range(50, 20)).empty());
    CHECK(keys_of(tree.range(21, 29)).empty());
    CHECK(keys_of(tree.range(-50, 1)) == Keys{0});
    CHECK(keys_of(tree.range(990, 5000)) == Keys{990});
  }
}

TEMPLATE_TEST_CASE("ranges: bounds of each kind", "", Tree, Slots) {
  Fixture fixture;
  const TestType tree = fixture.tree<TestType>();
  using B = Bound<std::int32_t>;
  CHECK(keys_of(tree.range_bounds(B::inclusive(970), B::none())) == Keys{970, 980, 990});
  CHECK(keys_of(tree.range_bounds(B::exclusive(970), B::none())) == Keys{980, 990});
  CHECK(keys_of(tree.range_bounds(B::none(), B::inclusive(20))) == Keys{0, 10, 20});
  CHECK(keys_of(tree.range_bounds(B::none(), B::exclusive(20))) == Keys{0, 10});
  CHECK(keys_of(tree.range_bounds(B::exclusive(20), B::exclusive(30))).empty());
  CHECK(keys_of(tree.range_bounds(B::inclusive(20), B::inclusive(20))) == Keys{20});
  CHECK(keys_of(tree.range_bounds(B::exclusive(20), B::inclusive(20))).empty());
  CHECK(keys_of(tree.range_bounds(B::none(), B::none())).size() == 100);
  Keys keys;
  for (const std::int32_t key : tree.keys(B::inclusive(5), B::inclusive(25))) keys.push_back(key);
  CHECK(keys == Keys{10, 20});
}

TEST_CASE("ranges: prefixes of any length") {
  Fixture fixture;
  auto tree = *VarTree<ByteArray<4>>::open("names", fixture.config);
  for (const char* name : {"aaaa", "aaab", "aaba", "abaa", "b\xff\xff\xff", "baaa", "caaa"}) {
    ByteArray<4> key;
    std::copy_n(name, 4, key.begin());
    REQUIRE(tree.put(key, name).ok());
  }
  const auto names = [&](Bytes prefix) {
    std::string all;
    for (const auto& [key, value] : tree.prefix(prefix)) (all += value->text()) += ' ';
    return all;
  };
  CHECK(names("aa") == "aaaa aaab aaba ");
  CHECK(names("a") == "aaaa aaab aaba abaa ");
  CHECK(names("aaab") == "aaab ");
  CHECK(names("b") == "baaa b\xff\xff\xff ");
  CHECK(names("b\xff") == "b\xff\xff\xff ");
  CHECK(names("d") == "");
  CHECK(names("aaaax") == "");  // longer than a key
  CHECK(names(Bytes()).size() == 7 * 5);
  std::size_t keys = 0;
  for (const auto& key : tree.keys_with_prefix("aa")) keys += key[0] == 'a' ? 1 : 0;
  CHECK(keys == 3);
}

TEMPLATE_TEST_CASE("ranges: iterators step back, also from the end", "", Tree, Slots) {
  for (const std::uint32_t shards : {1u, 4u}) {
    Fixture fixture(shards);
    const TestType tree = fixture.tree<TestType>();
    const auto range = tree.range(100, 200);
    auto at = range.begin();
    CHECK(at->key == 100);
    ++at;
    ++at;
    CHECK((*at).key == 120);
    --at;
    CHECK(at->key == 110);
    ++at;
    CHECK(at->key == 120);
    for (int steps = 0; steps < 7; ++steps) at++;
    CHECK(at->key == 190);
    ++at;
    CHECK(at == range.end());
    CHECK(at.status().ok());
    --at;
    CHECK(at->key == 190);
    Keys back;
    for (; at != range.end(); --at) back.push_back(at->key);
    CHECK(back.size() == 10);
    CHECK(std::is_sorted(back.rbegin(), back.rend()));
  }
}

TEMPLATE_TEST_CASE("ranges: the algorithms of std::ranges work on them", "", Tree, Slots) {
  Fixture fixture;
  const TestType tree = fixture.tree<TestType>();
  CHECK(std::ranges::count_if(tree.iter(), [](const auto& e) { return e.key >= 500; }) == 50);
  const auto range = tree.iter();
  const auto found = std::ranges::find_if(range, [](const auto& e) { return e.key > 333; });
  REQUIRE(found != range.end());
  CHECK(found->key == 340);
  Keys keys;
  std::ranges::copy(tree.keys(), std::back_inserter(keys));
  CHECK(keys.size() == 100);
  CHECK(std::ranges::is_sorted(keys));
#if !defined(__clang__) || __clang_major__ >= 16  // older ones cannot compile libstdc++'s views
  std::int32_t sum = 0;
  for (const auto key : tree.keys() | std::views::take(4)) sum += key;
  CHECK(sum == 60);
  auto shifted = tree.iter() | std::views::transform([](const auto& e) { return e.key + 1; });
  CHECK(*shifted.begin() == 1);
#endif
  CHECK(std::ranges::distance(tree.range(0, 100).begin(), std::default_sentinel) == 10);
}

TEMPLATE_TEST_CASE("ranges: entries that stay are seen once, whatever is written beside", "", Tree,
                   Slots) {
  for (const bool reversed : {false, true}) {
    Fixture fixture(3, reversed);
    TestType tree = *TestType::open("busy", fixture.config);
    for (std::int32_t key = 0; key < 6000; ++key) REQUIRE(tree.put(key, {1}).ok());
    // Multiples of three stay; the others go, come and change while the walk is on its way.
    Keys seen;
    std::int32_t steps = 0;
    for (const auto& [key, value] : tree.iter()) {
      if (key % 3 == 0) seen.push_back(key);
      const std::int32_t other = steps * 7 % 6000;
      if (other % 3 == 1) static_cast<void>(tree.erase(other).ok());
      if (other % 3 == 2) REQUIRE(tree.put(other, {2}).ok());
      REQUIRE(tree.put(10000 + steps, {3}).ok());
      REQUIRE(tree.put(-1 - steps, {3}).ok());
      if (steps % 1000 == 999) REQUIRE(tree.compact().ok());
      if (++steps > 30000) break;
    }
    seen.erase(std::remove_if(seen.begin(), seen.end(),
                              [](std::int32_t key) { return key < 0 || key >= 6000; }),
               seen.end());
    if (reversed) std::reverse(seen.begin(), seen.end());
    Keys wanted;
    for (std::int32_t key = 0; key < 6000; key += 3) wanted.push_back(key);
    CHECK(seen == wanted);
  }
}

TEST_CASE("ranges: values on disk are skipped when erased, and found when compaction moved them") {
  Fixture fixture;
  auto tree = *VarTree<std::int32_t>::open("var", fixture.config);
  for (std::int32_t key = 0; key < 3000; ++key) {
    REQUIRE(tree.put(key, std::string(60, 'x') + std::to_string(key)).ok());
  }
  const auto range = tree.iter();
  auto at = range.begin();
  std::int32_t count = 0;
  for (; at != range.end(); ++at, ++count) {
    REQUIRE(at->value.ok());
    CHECK(at->value->text() == std::string(60, 'x') + std::to_string(at->key));
    if (count % 100 != 0) continue;
    for (std::int32_t key = at->key + 1; key < at->key + 50 && key < 3000; ++key) {
      static_cast<void>(tree.erase(key).ok());
    }
    REQUIRE(tree.compact().ok());
  }
  CHECK(at.status().ok());
  // A leaf is copied at a time: what was erased in that very leaf may still be met.
  CHECK(static_cast<std::size_t>(count) >= tree.size());
  CHECK(count < 3000);
}

TEMPLATE_TEST_CASE("ranges: a cursor reads, and says why it cannot be had", "", Tree, Slots) {
  Fixture fixture;
  TestType tree = fixture.tree<TestType>();
  Cursor cursor = tree.collection().cursor({}, {}, false);
  REQUIRE(cursor.valid());
  CHECK(cursor.read()->size() == 4);
  CHECK(cursor.value().size() == 4);
  CHECK(cursor.next());
  Cursor moved = std::move(cursor);
  CHECK(key_traits<std::int32_t>::decode(moved.key().data()) == 10);
  CHECK_FALSE(cursor.valid());  // NOLINT(bugprone-use-after-move)
  CHECK_FALSE(cursor.next());
  CHECK(Cursor().status().is(Errc::closed));
  // Bounds may be shorter than keys.
  const std::uint8_t half[] = {0x80, 0x00};
  cursor = tree.collection().cursor(Bound<Bytes>::inclusive(Bytes(half)), {}, false);
  CHECK(key_traits<std::int32_t>::decode(cursor.key().data()) == 0);
  auto map = *VarMap<std::int32_t>::open("map", fixture.config);
  cursor = map.collection().cursor({}, {}, false);
  CHECK_FALSE(cursor.valid());
  CHECK(cursor.status().is(Errc::unsupported));
  CHECK(tree.collection().prefix_cursor("12345", false).status().is(Errc::invalid_argument));
  // The typed calls take a prefix that no key can have for one that no key has.
  CHECK(tree.prefix("12345").begin() == tree.prefix("12345").end());
  CHECK(tree.erase_prefix("12345").value() == 0);
  // A scan that asks for nothing still gets on.
  for (int key = 0; key < 20; ++key) REQUIRE(map.put(key, "value").ok());
  int seen = 0;
  std::uint64_t at = 0;
  for (int calls = 0; calls < 1000; ++calls) {
    at = map.scan(at, 0, [&](std::int32_t, Bytes) { ++seen; }).value();
    if (at == 0) break;
  }
  CHECK(at == 0);
  CHECK(seen == 20);
}

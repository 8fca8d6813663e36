// Loads: what is in the collection afterwards, whatever was there, and when something fails.
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/model.hpp"
#include "support/temp_dir.hpp"

using namespace armdb;

namespace {

using Number = std::uint64_t;
template <class K> using Entries = std::vector<std::pair<K, std::uint64_t>>;

// Keys that tell themselves apart only behind their first 16 bytes.
using LongKey = ByteArray<24>;
LongKey long_key(Number number) {
  LongKey key;
  key.fill('k');
  for (std::size_t at = 0; at < 4; ++at) {
    key[23 - 5 * (at % 2) - at / 2] = static_cast<std::uint8_t>(number >> (8 * at));
  }
  return key;
}

template <class K> K key_of(Number number) {
  if constexpr (std::is_same_v<K, LongKey>) {
    return long_key(number);
  } else {
    return static_cast<K>(number);
  }
}

enum class Sorted { no, up, down };

// A third of them twice or more.
template <class K> Entries<K> random_entries(std::size_t count, Sorted sorted, test::Dice& dice) {
  Entries<K> entries(count);
  for (auto& [key, value] : entries) {
    key = key_of<K>(dice.below(3 * count));
    value = dice.below(~Number{0});
  }
  const auto less = [](const auto& a, const auto& b) { return a.first < b.first; };
  if (sorted != Sorted::no) std::stable_sort(entries.begin(), entries.end(), less);
  if (sorted == Sorted::down) std::reverse(entries.begin(), entries.end());
  return entries;
}

template <class K> void apply(std::map<K, Number>& model, const Entries<K>& entries) {
  for (const auto& [key, value] : entries) model[key] = value;
}

template <class Tree, class K> void check(const Tree& tree, const std::map<K, Number>& model) {
  REQUIRE(tree.size() == model.size());
  std::size_t wrong = 0;
  for (const auto& [key, value] : model) wrong += tree.get(key) == value ? 0 : 1;
  if constexpr (requires { tree.iter(); }) {
    auto expected = model.begin();
    for (const auto& [key, value] : tree.iter()) {
      if (expected == model.end()) break;
      wrong += expected->first == key && expected->second == value ? 0 : 1;
      ++expected;
    }
    CHECK(expected == model.end());
  }
  CHECK(wrong == 0);
}

Config config_of(FileSystem& files, std::uint32_t shards) {
  Config config;
  config.file_system = &files;
  config.shard_count = shards;
  config.reversed = false;
  config.write_buffer_size = 16u << 10;
  config.max_file_size = 256u << 10;
  return config;
}

// Loads on an empty and on a full collection, single writes between them, a close or not.
template <class C, class K> void load_round(Sorted sorted, std::uint32_t shards) {
  CAPTURE(static_cast<int>(sorted), shards, sizeof(K));
  const auto files = make_memory_file_system();
  const Config config = config_of(*files, shards);
  test::Dice dice(shards + static_cast<unsigned>(sorted));
  C collection = *C::open("c", config);
  std::map<K, Number> model;
  for (const std::size_t count : {1u, 2u, 3000u, 40u, 3000u, 500u}) {
    const Entries<K> entries = random_entries<K>(count, sorted, dice);
    REQUIRE(collection.load(entries).ok());
    apply(model, entries);
    CAPTURE(count);
    check(collection, model);
    for (int i = 0; i < 300; ++i) {
      const K key = key_of<K>(dice.below(9000));
      if (dice.one_in(2)) {
        REQUIRE(collection.put(key, Number(i)).ok());
        model[key] = Number(i);
      } else {
        CHECK(collection.erase(key).ok() == (model.erase(key) == 1));
      }
    }
    if (count == 40) {
      REQUIRE(collection.close().ok());
      collection = *C::open("c", config);
    }
    check(collection, model);
  }
  REQUIRE(collection.close().ok());
  collection = *C::open("c", config);
  check(collection, model);
  CHECK(collection.verify().ok());
}

}  // namespace

TEST_CASE("load: agrees with std::map, sorted or not, on empty and full collections", "[serial]") {
  for (const Sorted sorted : {Sorted::no, Sorted::up, Sorted::down}) {
    for (const std::uint32_t shards : {1u, 4u}) {
      load_round<ZeroTree<Number, Number>, Number>(sorted, shards);
      load_round<ZeroTree<LongKey, Number>, LongKey>(sorted, shards);
      load_round<ZeroTree<std::uint16_t, Number>, std::uint16_t>(sorted, shards);
      load_round<ZeroMap<Number, Number>, Number>(sorted, shards);
      load_round<ZeroTree<Number, Number, NoHook, Fixed>, Number>(sorted, shards);
      load_round<ZeroMap<Number, Number, NoHook, Fixed>, Number>(sorted, shards);
    }
  }
}

TEST_CASE("load: a load of unsorted entries fills a tree's leaves, as puts do not") {
  const auto files = make_memory_file_system();
  const Config config = config_of(*files, 1);
  auto put = *ZeroTree<Number, Number>::open("put", config);
  auto loaded = *ZeroTree<Number, Number>::open("loaded", config);
  Entries<Number> entries;
  for (Number n = 1; n <= 50000; ++n) entries.emplace_back(n * 0x9e3779b97f4a7c15u, n);
  for (const auto& [key, value] : entries) REQUIRE(put.put(key, value).ok());
  REQUIRE(loaded.load(entries).ok());
  CHECK(loaded.size() == put.size());
  CHECK(loaded.stats().index_bytes < put.stats().index_bytes * 9 / 10);
}

namespace {

template <class K> Entries<K> every(Number step, Number first, Number last) {
  Entries<K> entries;
  for (; first < last; first += step) entries.emplace_back(key_of<K>(first), first * 7);
  return entries;
}

template <class K> void pieces_round(bool reversed, std::uint32_t shards) {
  CAPTURE(reversed, shards, sizeof(K));
  const auto files = make_memory_file_system();
  Config config = config_of(*files, shards);
  config.reversed = reversed;
  auto tree = *ZeroTree<K, Number>::open("c", config);
  std::map<K, Number> model;
  const auto load = [&](const Entries<K>& entries) {
    REQUIRE(tree.load(entries).ok());
    apply(model, entries);
    REQUIRE(tree.size() == model.size());
  };
  load(every<K>(4, 40000, 42000));
  load(every<K>(4, 42000, 43000));  // above
  load(every<K>(3, 41000, 44000));  // between and above
  load(every<K>(5, 100, 2000));     // below
  load(every<K>(1, 43999, 44001));  // the last, and one more
  for (Number number = 43000; number < 44001; ++number) {
    CHECK(tree.erase(key_of<K>(number)).ok() == (model.erase(key_of<K>(number)) == 1));
  }
  load(every<K>(2, 42990, 45000));
  std::vector<K> walked;
  for (const auto& [key, value] : tree.iter()) walked.push_back(key);
  if (reversed) std::reverse(walked.begin(), walked.end());
  REQUIRE(walked.size() == model.size());
  std::size_t wrong = 0;
  auto expected = model.begin();
  for (const K& key : walked) {
    wrong += expected->first == key && tree.get(key) == expected->second ? 0 : 1;
    ++expected;
  }
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("load: above, between and below what is there, in trees of either direction") {
  for (const bool reversed : {false, true}) {
    for (const std::uint32_t shards : {1u, 3u}) {
      pieces_round<Number>(reversed, shards);
      pieces_round<LongKey>(reversed, shards);
      pieces_round<std::uint16_t>(reversed, shards);
    }
  }
}

TEST_CASE("load: nothing, and calls on a closed or read-only collection") {
  const auto files = make_memory_file_system();
  Config config = config_of(*files, 2);
  auto tree = *ZeroTree<Number, Number>::open("c", config);
  const Entries<Number> none;
  CHECK(tree.load(none).ok());
  const Entries<Number> some{{2, 2}, {1, 1}};
  CHECK(tree.load(some, {.sync = true}).ok());
  CHECK(tree.stats().syncs > 0);
  REQUIRE(tree.close().ok());
  CHECK(tree.load(some).is(Errc::closed));
  config.read_only = true;
  tree = *ZeroTree<Number, Number>::open("c", config);
  CHECK(tree.load(some).is(Errc::read_only));
  CHECK(tree.size() == 2);
}

TEST_CASE("load: entries expire as their options say") {
  const auto files = make_memory_file_system();
  auto tree = *ZeroTree<Number, Number>::open("c", config_of(*files, 2));
  Entries<Number> entries;
  for (Number key = 0; key < 500; ++key) entries.emplace_back(key, key);
  REQUIRE(tree.load(entries, {.ttl_ms = 3600000}).ok());
  for (Number key = 0; key < 500; ++key) {
    CHECK(*tree.expires_at(key) != WriteOptions::kForever);
  }
  REQUIRE(tree.load(entries).ok());
  CHECK(*tree.expires_at(7) == WriteOptions::kForever);
}

namespace {

// Has to hear of every entry, in a tree too.
struct Heard : TypedWriteHook<Number, std::string> {
  void on_write(const Number&, const std::string* before, const std::string* after) override {
    fresh += before == nullptr && after != nullptr ? 1 : 0;
    replaced += before != nullptr && after != nullptr ? 1 : 0;
  }
  int fresh = 0;
  int replaced = 0;
};

}  // namespace

TEST_CASE("load: values kept decoded are those that were given, and a hook hears of each") {
  const auto files = make_memory_file_system();
  std::vector<std::pair<Number, std::string>> entries;
  for (Number key = 0; key < 1000; ++key) entries.emplace_back(key % 900, std::to_string(key));
  {
    auto tree = *TypedTree<Number, std::string>::open("plain", config_of(*files, 3));
    REQUIRE(tree.load(entries).ok());
    const auto kept = tree.get(5);
    REQUIRE(tree.load(entries).ok());
    CHECK(tree.size() == 900);
    CHECK(*kept == "905");
    CHECK(*tree.get(899) == "899");
  }
  const auto tree = *TypedTree<Number, std::string>::open("plain", config_of(*files, 3));
  CHECK(*tree.get(99) == "999");

  using Hooked = TypedTree<Number, std::string, DefaultCodec<std::string>, Heard>;
  Heard heard;
  auto hooked = *Hooked::open_hooked("hooked", config_of(*files, 3), heard);
  REQUIRE(hooked.load(entries).ok());
  CHECK(heard.fresh == 900);
  CHECK(heard.replaced == 100);
}

// The B+-tree against std::map: every key width and value size, scans, faults.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "index/btree.hpp"
#include "index/index.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

namespace {

using armdb::base::Location;
using armdb::base::PageSource;
using armdb::base::Random;
using armdb::index::Block;
using armdb::index::Bound;
using armdb::index::Fresh;
using armdb::index::Index;
using armdb::index::IndexConfig;
using armdb::index::Lookup;
using armdb::index::Place;
using Key = std::string;

const std::uint8_t* bytes(const Key& key) {
  return reinterpret_cast<const std::uint8_t*>(key.data());
}

bool well_formed(const Index& tree) {
#if defined(ARMDB_CHECKS)
  return armdb::index::btree_check(tree);
#else
  static_cast<void>(tree);
  return true;
#endif
}

// A key whose last bytes hold `number`, big-endian; the bytes before are `fill`.
Key numbered(std::size_t size, std::uint64_t number, char fill = 'k') {
  Key key(size, fill);
  for (std::size_t at = 0; at < size && at < 8; ++at) {
    key[size - 1 - at] = static_cast<char>(number >> (8 * at));
  }
  return key;
}

// A tree and its twin.
class Pair {
 public:
  struct Entry {
    std::uint64_t location;
    std::string value;
  };

  Pair(std::uint32_t key_size, std::uint32_t value_size, std::uint32_t step_bytes = 1u << 16,
       PageSource pages = PageSource::heap()) {
    config_.key_size = key_size;
    config_.value_size = value_size;
    config_.ordered = true;
    config_.step_bytes = step_bytes;
    config_.pages = pages;
    tree_ = armdb::index::make_btree(config_);
  }

  [[nodiscard]] Index& tree() { return *tree_; }
  [[nodiscard]] std::map<Key, Entry>& model() { return model_; }
  [[nodiscard]] bool made() const { return tree_ != nullptr; }

  // False when out of memory.
  bool put(const Key& key) {
    Place place;
    tree_->locate(bytes(key), 0, place);
    if (!matches(place, key)) return fail();
    if (!place.found && !tree_->reserve()) return false;
    const Fresh fresh = make(key);
    tree_->publish(place, fresh.key, fresh.value, fresh.at);
    return true;
  }

  // Keys that do not descend; returns how many steps it took, 0 when out of memory.
  std::size_t put_run(const std::vector<Key>& keys) {
    std::vector<Fresh> run(keys.size());
    for (std::size_t at = 0; at < keys.size(); ++at) run[at].key = bytes(keys[at]);
    std::size_t steps = 0;
    for (std::size_t at = 0; at < keys.size(); ++steps) {
      Place place;
      tree_->locate(run[at].key, 0, place);
      if (!matches(place, keys[at])) fail();
      if (!place.found && !tree_->reserve()) return 0;
      const std::span<Fresh> rest(run.data() + at, run.size() - at);
      const std::size_t length = place.found ? 1 : tree_->run_length(place, rest);
      if (length == 0 || length > rest.size()) {
        fail();
        return 0;
      }
      for (std::size_t i = 0; i < length; ++i) rest[i] = make(keys[at + i]);
      if (place.found) {
        tree_->publish(place, run[at].key, run[at].value, run[at].at);
      } else {
        tree_->publish_run(place, rest.first(length));
      }
      at += length;
    }
    return steps;
  }

  void erase(const Key& key) {
    Place place;
    tree_->locate(bytes(key), 0, place);
    if (!matches(place, key)) fail();
    if (!place.found) return;
    tree_->erase(place);
    model_.erase(key);
  }

  void relocate(const Key& key) {
    Place place;
    tree_->locate(bytes(key), 0, place);
    if (!matches(place, key)) fail();
    if (!place.found) return;
    tree_->relocate(place, Location(++locations_));
    model_[key].location = locations_;
  }

  // Everything the tree says, against the model; false as well after any wrong answer before.
  [[nodiscard]] bool agrees(Random& random) {
    if (failed_ || tree_->size() != model_.size() || !well_formed(*tree_)) return false;
    if (!scan_agrees(nullptr, Bound::none, false) || !scan_agrees(nullptr, Bound::none, true)) {
      return false;
    }
    for (const auto& [key, entry] : model_) {
      if (!find_agrees(key)) return false;
    }
    for (int round = 0; round < 20; ++round) {
      Key key(config_.key_size, '\0');
      for (char& byte : key) byte = static_cast<char>(random.next());
      if (!model_.empty() && round % 2 == 0) {
        key = std::next(model_.begin(), static_cast<long>(random.next() % model_.size()))->first;
      }
      for (const bool descending : {false, true}) {
        if (!scan_agrees(&key, Bound::inclusive, descending)) return false;
        if (!scan_agrees(&key, Bound::exclusive, descending)) return false;
      }
      if (!find_agrees(key)) return false;
    }
    return many_agree(random);
  }

  [[nodiscard]] bool find_agrees(const Key& key) const {
    Location at;
    std::string value(config_.value_size + 1, '#');
    auto* data = reinterpret_cast<std::uint8_t*>(value.data());
    const bool found = tree_->find(bytes(key), 0, &at, data);
    const auto twin = model_.find(key);
    if (found != (twin != model_.end())) return false;
    if (value.back() != '#') return false;
    if (tree_->find(bytes(key), 0, nullptr, nullptr) != found) return false;
    if (!found) return true;
    value.pop_back();
    return at.packed() == twin->second.location && value == twin->second.value;
  }

  [[nodiscard]] bool scan_agrees(const Key* from, Bound bound, bool descending) const {
    std::vector<const std::pair<const Key, Entry>*> expected;
    for (const auto& item : model_) {
      if (from != nullptr) {
        if (item.first == *from && bound == Bound::exclusive) continue;
        if (descending ? item.first > *from : item.first < *from) continue;
      }
      expected.push_back(&item);
    }
    if (descending) std::reverse(expected.begin(), expected.end());

    Block block = tree_->make_block();
    if (!block.valid()) return false;
    std::size_t seen = 0;
    tree_->read_from(from == nullptr ? nullptr : bytes(*from), bound, descending, block);
    for (; block.count() != 0; tree_->read_next(descending, block)) {
      for (std::size_t at = 0; at < block.count(); ++at, ++seen) {
        if (seen >= expected.size()) return false;
        if (!block_entry_is(block, at, *expected[seen])) return false;
      }
      if (from != nullptr && seen > 400) return true;  // the rest was compared by full scans
    }
    return seen == expected.size();
  }

 private:
  // Takes the key into the model, under the next location.
  Fresh make(const Key& key) {
    Entry& entry = model_[key];
    entry.location = ++locations_;
    entry.value.resize(config_.value_size);
    for (std::size_t at = 0; at < entry.value.size(); ++at) {
      entry.value[at] = static_cast<char>(entry.location * 131 + at * 7);
    }
    const auto* data = reinterpret_cast<const std::uint8_t*>(entry.value.data());
    return {bytes(key), config_.value_size == 0 ? nullptr : data, Location(entry.location)};
  }

  bool fail() {
    failed_ = true;
    return false;
  }

  bool block_entry_is(const Block& block, std::size_t at,
                      const std::pair<const Key, Entry>& item) const {
    return std::memcmp(block.key(at), item.first.data(), config_.key_size) == 0 &&
           block.location(at).packed() == item.second.location &&
           std::memcmp(block.value(at), item.second.value.data(), config_.value_size) == 0;
  }

  bool matches(const Place& place, const Key& key) const {
    const auto twin = model_.find(key);
    if (place.found != (twin != model_.end())) return false;
    if (!place.found) return true;
    if (place.at.packed() != twin->second.location) return false;
    return config_.value_size == 0 ||
           std::memcmp(place.value, twin->second.value.data(), config_.value_size) == 0;
  }

  bool many_agree(Random& random) const {
    std::vector<Key> keys;
    for (const auto& item : model_) {
      if (random.next() % 4 == 0) keys.push_back(item.first);
      if (random.next() % 8 == 0) {
        keys.push_back(item.first);
        keys.back().back() = static_cast<char>(random.next());
      }
      if (keys.size() >= 100) break;
    }
    std::vector<Lookup> lookups(keys.size());
    std::vector<std::string> values(keys.size(), std::string(config_.value_size, '\0'));
    for (std::size_t i = 0; i < keys.size(); ++i) {
      lookups[i].key = bytes(keys[i]);
      if (i % 3 != 0) lookups[i].value = reinterpret_cast<std::uint8_t*>(values[i].data());
    }
    tree_->find_many(lookups);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      const auto twin = model_.find(keys[i]);
      if (lookups[i].found != (twin != model_.end())) return false;
      if (!lookups[i].found) continue;
      if (lookups[i].at.packed() != twin->second.location) return false;
      if (lookups[i].value != nullptr && values[i] != twin->second.value) return false;
    }
    return true;
  }

  IndexConfig config_;
  std::unique_ptr<Index> tree_;
  std::map<Key, Entry> model_;
  std::uint64_t locations_ = 0;
  bool failed_ = false;
};

// How the keys of a model test look.
enum class Keys { random, dense, same_front, same_tail };

Key make_key(Keys keys, std::size_t size, std::uint64_t space, Random& random) {
  const std::uint64_t number = random.next() % space;
  switch (keys) {
    case Keys::dense:
      return numbered(size, number, '\0');
    case Keys::same_front:  // the words tie, the rests decide
      return numbered(size, number, 'k');
    case Keys::same_tail: {
      Key key(size, '\xff');
      const Key front = numbered(std::min<std::size_t>(size, 3), number);
      std::copy(front.begin(), front.end(), key.begin());
      return key;
    }
    case Keys::random:
      break;
  }
  Random bits(number + 1);
  Key key(size, '\0');
  for (char& byte : key) byte = static_cast<char>(bits.next());
  return key;
}

void model_round(std::uint32_t key_size, std::uint32_t value_size, Keys keys) {
  CAPTURE(key_size, value_size, static_cast<int>(keys));
  Pair pair(key_size, value_size);
  REQUIRE(pair.made());
  Random random(key_size * 1000 + value_size);
  REQUIRE(pair.agrees(random));
  // Grow, churn, shrink to nothing, grow again.
  const unsigned put_of_8[] = {7, 4, 1, 0, 6};
  for (const unsigned puts : put_of_8) {
    for (int i = 0; i < 1200; ++i) {
      const Key key = make_key(keys, key_size, 1500, random);
      if (random.next() % 8 < puts) {
        REQUIRE(pair.put(key));
      } else {
        pair.erase(key);
      }
      if (i % 16 == 0) pair.relocate(make_key(keys, key_size, 1500, random));
    }
    if (puts == 0) {
      while (pair.model().size() > 1) pair.erase(pair.model().begin()->first);
      REQUIRE(pair.agrees(random));
      pair.erase(pair.model().begin()->first);
    }
    REQUIRE(pair.agrees(random));
  }
}

}  // namespace

TEST_CASE("btree: every key width agrees with std::map", "[serial]") {
  for (const std::uint32_t key_size : {1u, 4u, 8u, 9u, 12u, 16u, 20u, 32u, 33u, 40u, 64u, 255u}) {
    for (const Keys keys : {Keys::random, Keys::dense, Keys::same_front, Keys::same_tail}) {
      model_round(key_size, 8, keys);
    }
  }
}

TEST_CASE("btree: every value size agrees with std::map", "[serial]") {
  for (const std::uint32_t value_size : {0u, 1u, 7u, 64u, 300u, 1000u}) {
    for (const std::uint32_t key_size : {8u, 16u, 24u}) {
      model_round(key_size, value_size, Keys::random);
    }
  }
  model_round(8, 5000, Keys::random);
}

TEST_CASE("btree: the largest keys and values agree with std::map", "[serial]") {
  model_round(1024, 0, Keys::random);
  model_round(1024, 64, Keys::same_front);
  Pair pair(1024, 65536);
  REQUIRE(pair.made());
  Random random(7);
  for (std::uint64_t i = 0; i < 40; ++i) REQUIRE(pair.put(numbered(1024, random.next() % 64)));
  for (std::uint64_t i = 0; i < 20; ++i) pair.erase(numbered(1024, random.next() % 64));
  REQUIRE(pair.agrees(random));
}

TEST_CASE("btree: many levels agree with std::map", "[serial]") {
  // 1 KiB keys have the smallest fan-out.
  Pair pair(1024, 0, 1u << 20);
  REQUIRE(pair.made());
  Random random(3);
  for (int i = 0; i < 12000; ++i) REQUIRE(pair.put(numbered(1024, random.next() % 20000)));
  REQUIRE(pair.agrees(random));
  for (int i = 0; i < 60000; ++i) pair.erase(numbered(1024, random.next() % 20000));
  REQUIRE(pair.agrees(random));
  while (!pair.model().empty()) pair.erase(std::prev(pair.model().end())->first);
  REQUIRE(pair.agrees(random));
}

TEST_CASE("btree: sorted loads fill the leaves, in either direction", "[serial]") {
  for (const bool descending : {false, true}) {
    Pair pair(8, 64);
    REQUIRE(pair.made());
    Random random(1);
    const std::uint64_t count = 60000;
    for (std::uint64_t i = 0; i < count; ++i) {
      REQUIRE(pair.put(numbered(8, descending ? count - i : i, '\0')));
    }
    REQUIRE(pair.agrees(random));
    CHECK(pair.tree().memory_bytes() < count * 80 * 108 / 100);
  }
}

TEST_CASE("btree: runs of sorted keys agree with std::map", "[serial]") {
  for (const std::uint32_t key_size : {1u, 8u, 12u, 16u, 24u, 255u}) {
    for (const Keys keys : {Keys::random, Keys::dense, Keys::same_front, Keys::same_tail}) {
      CAPTURE(key_size, static_cast<int>(keys));
      Pair pair(key_size, key_size % 3 == 0 ? 0 : 40);
      REQUIRE(pair.made());
      Random random(key_size);
      for (int round = 0; round < 60; ++round) {
        // Few and far between, or many beside each other; some twice, some there already.
        const std::uint64_t space = round % 3 == 0 ? 100000 : 3000;
        std::vector<Key> run(1 + random.next() % (round % 4 == 0 ? 400 : 30));
        for (Key& key : run) key = make_key(keys, key_size, space, random);
        std::sort(run.begin(), run.end());
        REQUIRE(pair.put_run(run) != 0);
        for (int i = 0; i < 100; ++i) pair.erase(make_key(keys, key_size, 3000, random));
        if (round % 10 == 0) REQUIRE(pair.agrees(random));
      }
      REQUIRE(pair.agrees(random));
    }
  }
}

TEST_CASE("btree: a run fills leaves to the brim, a leaf in a few steps", "[serial]") {
  for (const bool amid : {false, true}) {
    Pair pair(8, 64);
    REQUIRE(pair.made());
    Random random(1);
    if (amid) REQUIRE(pair.put_run({numbered(8, 0, '\0'), numbered(8, 1u << 30, '\0')}) != 0);
    const std::uint64_t count = 60000;
    std::size_t steps = 0;
    for (std::uint64_t first = 1; first <= count; first += 30) {
      std::vector<Key> run;
      for (std::uint64_t i = first; i < first + 30; ++i) run.push_back(numbered(8, i, '\0'));
      steps += pair.put_run(run);
    }
    REQUIRE(pair.agrees(random));
    CHECK(pair.tree().memory_bytes() < count * 80 * (amid ? 118 : 106) / 100);
    CHECK(steps < count / 10);
  }
}

namespace {

std::vector<Key> ascending(std::uint32_t key_size, std::uint64_t first, std::uint64_t last) {
  std::vector<Key> keys;
  for (; first < last; ++first) keys.push_back(numbered(key_size, first));
  return keys;
}

}  // namespace

TEST_CASE("btree: ascending runs build whole trees of every size", "[serial]") {
  for (const std::uint32_t key_size : {8u, 12u, 24u, 1024u}) {
    const auto shape = armdb::index::BtreeShape::of(key_size, 8);
    const std::uint64_t leaf = shape.leaf_capacity;
    const std::uint64_t inner = leaf * (shape.inner_capacity + 1);  // below one full inner node
    std::vector<std::uint64_t> sizes{0, 1, 2, 31, 32, 33};
    for (const std::uint64_t near : {leaf, 2 * leaf}) {
      for (const std::uint64_t size : {near - 1, near, near + 1}) sizes.push_back(size);
    }
    sizes.push_back(inner + 1);
    if (key_size == 1024) {
      for (const std::uint64_t nodes : {2u, 16u, 17u}) sizes.push_back(inner * nodes);
      for (const std::uint64_t nodes : {1u, 16u}) sizes.push_back(inner * nodes + leaf + 1);
    }
    for (const std::uint64_t size : sizes) {
      CAPTURE(key_size, size);
      Pair pair(key_size, 8);
      REQUIRE(pair.made());
      for (std::uint64_t at = 0; at < size; at += 32) {
        const auto run = ascending(key_size, at, std::min<std::uint64_t>(at + 32, size));
        REQUIRE(pair.put_run(run) != 0);
        if (at % inner < 128) REQUIRE(well_formed(pair.tree()));
      }
      Random random(size);
      REQUIRE(pair.agrees(random));
      // As many leaves as it needs; pages are counted whole.
      const std::size_t leaves = (size + leaf - 1) / leaf;
      if (size > 4 * leaf) {
        CHECK(pair.tree().memory_bytes() < leaves * (shape.leaf_bytes + 64) * 9 / 8 + 65536);
      }
    }
  }
}

TEST_CASE("btree: what is put and erased between ascending runs is found by them", "[serial]") {
  for (const std::uint32_t key_size : {8u, 12u, 24u, 1024u}) {
    CAPTURE(key_size);
    Pair pair(key_size, 8);
    REQUIRE(pair.made());
    Random random(key_size);
    std::uint64_t next = 0;
    for (int round = 0; round < 400; ++round) {
      const std::uint64_t gap = random.next() % 4;
      switch (random.next() % 8) {
        case 0:  // amid what is there, some of it anew
          for (int i = 0; i < 20; ++i)
            REQUIRE(pair.put(numbered(key_size, random.next() % (next + 1))));
          break;
        case 1:  // the last leaf, and the one before it
          for (std::uint64_t i = random.next() % 90; i > 0 && !pair.model().empty(); --i) {
            pair.erase(std::prev(pair.model().end())->first);
          }
          break;
        case 2:
          for (int i = 0; i < 60; ++i) pair.erase(numbered(key_size, random.next() % (next + 1)));
          break;
        case 3:  // above all, one by one, and one below
          for (int i = 0; i < 10; ++i) REQUIRE(pair.put(numbered(key_size, next += 1 + gap)));
          REQUIRE(pair.put(numbered(key_size, next / 2)));
          break;
        case 4:  // from the middle to above all
          REQUIRE(pair.put_run(ascending(key_size, next - next % 50, next + 30)) != 0);
          next += 30;
          break;
        default:
          next += gap;
          REQUIRE(pair.put_run(ascending(key_size, next, next + 1 + random.next() % 64)) != 0);
          next += 64;
      }
      REQUIRE(well_formed(pair.tree()));
      if (round % 100 == 0) REQUIRE(pair.agrees(random));
    }
    REQUIRE(pair.agrees(random));
    while (!pair.model().empty()) pair.erase(std::prev(pair.model().end())->first);
    REQUIRE(pair.put_run(ascending(key_size, 0, 500)) != 0);
    REQUIRE(pair.agrees(random));
  }
}

TEST_CASE("btree: a key above all others is told from one that is not") {
  Pair pair(24, 8);
  REQUIRE(pair.made());
  // They differ in the first 8 bytes, in the second or behind them.
  const auto key = [](char first, char second, char rest) {
    return std::string(7, 'a') + first + std::string(7, 'b') + second + std::string(7, 'c') + rest;
  };
  REQUIRE(pair.put(key('m', 'm', 'm')));
  const auto last = [&](const Key& what) {
    Place place;
    pair.tree().locate(bytes(key('z', 'z', 'z')), 0, place);
    CHECK(place.last);  // from here on the edge is known
    pair.tree().locate(bytes(what), 0, place);
    return place.last;
  };
  CHECK(last(key('n', 'a', 'a')));
  CHECK(last(key('m', 'n', 'a')));
  CHECK(last(key('m', 'm', 'n')));
  CHECK_FALSE(last(key('m', 'm', 'm')));
  CHECK_FALSE(last(key('m', 'm', 'l')));
  CHECK_FALSE(last(key('m', 'l', 'z')));
  CHECK_FALSE(last(key('l', 'z', 'z')));
}

TEST_CASE("btree: sorted groups that come from the largest down do not waste leaves", "[serial]") {
  for (const std::uint64_t step : {2u, 8u, 32u, 64u}) {
    CAPTURE(step);
    Pair pair(8, 8);
    REQUIRE(pair.made());
    const std::uint64_t count = 38400;
    for (std::uint64_t first = count; first > 0;) {
      first -= step;
      std::vector<Key> run;
      for (std::uint64_t i = 0; i < step; ++i) run.push_back(numbered(8, first + i, '\0'));
      REQUIRE(pair.put_run(run) != 0);
    }
    Random random(1);
    REQUIRE(pair.agrees(random));
    CHECK(pair.tree().memory_bytes() < count * 25 * 3 / 2);
  }
}

TEST_CASE("btree: random inserts use at most 1.35 times their bytes", "[serial]") {
  Pair pair(8, 64);
  REQUIRE(pair.made());
  Random random(1);
  for (int i = 0; i < 60000; ++i) REQUIRE(pair.put(make_key(Keys::random, 8, 1u << 30, random)));
  CHECK(pair.tree().memory_bytes() < pair.tree().size() * 80 * 135 / 100);
  REQUIRE(pair.agrees(random));
}

TEST_CASE("btree: a queue's erased front is given back", "[serial]") {
  Pair pair(8, 8);
  REQUIRE(pair.made());
  Random random(1);
  std::uint64_t first = 0;
  std::uint64_t next = 0;
  while (next < 5000) REQUIRE(pair.put(numbered(8, next++, '\0')));
  while (next < 6000) {
    REQUIRE(pair.put(numbered(8, next++, '\0')));
    pair.erase(numbered(8, first++, '\0'));
  }
  const std::size_t before = pair.tree().memory_bytes();
  while (next < 60000) {
    REQUIRE(pair.put(numbered(8, next++, '\0')));
    pair.erase(numbered(8, first++, '\0'));
  }
  REQUIRE(pair.agrees(random));
  CHECK(pair.tree().memory_bytes() <= before + 16384);
}

TEST_CASE("btree: a scan goes on where it was after any change beside it") {
  Pair pair(12, 8);
  REQUIRE(pair.made());
  Random random(9);
  for (std::uint64_t i = 0; i < 3000; ++i) REQUIRE(pair.put(numbered(12, i * 2)));
  for (const bool descending : {false, true}) {
    Block block = pair.tree().make_block();
    std::uint64_t seen = 0;
    std::string last;
    pair.tree().read_from(nullptr, Bound::none, descending, block);
    for (; block.count() != 0; pair.tree().read_next(descending, block)) {
      for (std::size_t at = 0; at < block.count(); ++at) {
        const std::string key(reinterpret_cast<const char*>(block.key(at)), 12);
        if (!last.empty()) REQUIRE((descending ? key < last : key > last));
        last = key;
        if (static_cast<unsigned char>(key[11]) % 4 == 0) seen += 1;
      }
      // Odd keys come and go, and so do those that are 2 modulo 4.
      for (int i = 0; i < 300; ++i) {
        const std::uint64_t number = random.next() % 6000;
        if (number % 4 == 0) continue;
        const Key key = numbered(12, number);
        if (random.next() % 2 == 0) {
          REQUIRE(pair.put(key));
        } else {
          pair.erase(key);
        }
      }
    }
    CHECK(seen == 1500);
    REQUIRE(pair.agrees(random));
  }
}

TEST_CASE("btree: a block can be followed in the other direction") {
  Pair pair(8, 0);
  REQUIRE(pair.made());
  for (std::uint64_t i = 0; i < 1000; ++i) REQUIRE(pair.put(numbered(8, i, '\0')));
  Block block = pair.tree().make_block();
  const Key from = numbered(8, 500, '\0');
  pair.tree().read_from(bytes(from), Bound::inclusive, false, block);
  REQUIRE(block.count() != 0);
  const Key last(reinterpret_cast<const char*>(block.key(block.count() - 1)), 8);
  pair.tree().read_next(true, block);
  REQUIRE(block.count() != 0);
  const Key before(reinterpret_cast<const char*>(block.key(0)), 8);
  auto twin = pair.model().find(last);
  CHECK(before == std::prev(twin)->first);
}

namespace {

// A source that gives so many steps and no more.
std::size_t steps_left = 0;

void* stingy_allocate(std::size_t size, std::size_t nth) {
  if (steps_left == 0) return nullptr;
  steps_left -= 1;
  return PageSource::heap().allocate(size, nth);
}

void stingy_release(void* memory, std::size_t size) { PageSource::heap().release(memory, size); }

}  // namespace

TEST_CASE("btree: out of memory is told by reserve, and the tree stays good", "[serial]") {
  const PageSource stingy{stingy_allocate, stingy_release};
  for (std::size_t steps = 0; steps < 40; ++steps) {
    steps_left = steps;
    Pair pair(20, 64, 8192, stingy);
    if (!pair.made()) {
      CHECK(steps < 2);
      continue;
    }
    Random random(steps);
    bool full = false;
    for (int i = 0; i < 20000 && !full; ++i) {
      full = !pair.put(make_key(Keys::random, 20, 1u << 30, random));
    }
    REQUIRE(full);
    REQUIRE(pair.agrees(random));
    // Overwrites and erases need no memory; with it back, inserts go on.
    if (!pair.model().empty()) {
      const Key some = pair.model().begin()->first;
      REQUIRE(pair.put(some));
      pair.erase(some);
      REQUIRE(pair.agrees(random));
    }
    steps_left = 1000;
    for (int i = 0; i < 500; ++i) REQUIRE(pair.put(make_key(Keys::random, 20, 1u << 30, random)));
    REQUIRE(pair.agrees(random));
  }
}

TEST_CASE("btree: memory use grows with the tree and counts nodes in use again") {
  Pair pair(8, 8);
  REQUIRE(pair.made());
  CHECK(pair.tree().memory_bytes() < 64 * 1024);
  for (std::uint64_t i = 0; i < 20000; ++i) REQUIRE(pair.put(numbered(8, i * 7919 % 20000, '\0')));
  const std::size_t full = pair.tree().memory_bytes();
  CHECK(full > 20000 * 24);
  for (std::uint64_t i = 0; i < 20000; ++i) pair.erase(numbered(8, i, '\0'));
  for (std::uint64_t i = 0; i < 20000; ++i) REQUIRE(pair.put(numbered(8, i * 7919 % 20000, '\0')));
  CHECK(pair.tree().memory_bytes() <= full + full / 8);
}

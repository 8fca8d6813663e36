// The hash table against models: every key and value size, growth, erasing, scans, no memory.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/hash64.hpp"
#include "index/index.hpp"
#include "support/catch.hpp"

namespace {

using armdb::base::Location;
using armdb::index::Block;
using armdb::index::Index;
using armdb::index::IndexConfig;
using armdb::index::Lookup;
using armdb::index::Place;

constexpr std::uint64_t kSeed = 0x1234567890abcdefu;

struct Entry {
  std::string value;
  std::uint64_t at = 0;
};

using Model = std::unordered_map<std::string, Entry>;

const std::uint8_t* bytes_of(const std::string& text) {
  return reinterpret_cast<const std::uint8_t*>(text.data());
}

// A table and what the tests ask of it, in strings.
class Table {
 public:
  Table(std::uint32_t key_size, std::uint32_t value_size, std::uint32_t step_bytes = 64 << 10,
        armdb::base::PageSource pages = armdb::base::PageSource::heap())
      : value_size_(value_size) {
    IndexConfig config;
    config.key_size = key_size;
    config.value_size = value_size;
    config.hash_seed = kSeed;
    config.step_bytes = step_bytes;
    config.pages = pages;
    index_ = make_hash_table(config);
  }

  Index* operator->() { return index_.get(); }
  bool valid() const { return index_ != nullptr; }

  static std::uint64_t hash(const std::string& key) {
    return armdb::base::hash64(bytes_of(key), key.size(), kSeed);
  }

  // False when out of memory.
  bool put(const std::string& key, const std::string& value, std::uint64_t at) {
    Place place;
    index_->locate(bytes_of(key), hash(key), place);
    if (!place.found && !index_->reserve()) return false;
    index_->publish(place, bytes_of(key), value_size_ != 0 ? bytes_of(value) : nullptr,
                    Location(at));
    return true;
  }

  bool erase(const std::string& key) {
    Place place;
    index_->locate(bytes_of(key), hash(key), place);
    if (place.found) index_->erase(place);
    return place.found;
  }

  bool holds(const std::string& key, const Entry& entry) {
    Location at;
    std::string value(value_size_, '?');
    return index_->find(
               bytes_of(key), hash(key), &at,
               value_size_ != 0 ? reinterpret_cast<std::uint8_t*>(value.data()) : nullptr) &&
           at == Location(entry.at) && value == entry.value;
  }

  bool contains(const std::string& key) {
    return index_->find(bytes_of(key), hash(key), nullptr, nullptr);
  }

  // All entries by scan(); fails the test when a key comes twice.
  std::map<std::string, Entry> scan_all(std::size_t key_size) {
    std::map<std::string, Entry> all;
    Block block = index_->make_block();
    REQUIRE(block.valid());
    std::uint64_t cursor = 0;
    do {
      cursor = index_->scan(cursor, block);
      for (std::size_t i = 0; i < block.count(); ++i) {
        std::string key(reinterpret_cast<const char*>(block.key(i)), key_size);
        Entry entry{std::string(reinterpret_cast<const char*>(block.value(i)), value_size_),
                    block.location(i).packed()};
        REQUIRE(all.emplace(std::move(key), std::move(entry)).second);
      }
    } while (cursor != 0);
    return all;
  }

 private:
  std::uint32_t value_size_;
  std::unique_ptr<Index> index_;
};

// Key number `n` of `size` bytes; different for n below 256^size. The number stands at the end,
// so that keys share a long prefix and differ in the last word.
std::string key_of(std::uint64_t n, std::size_t size) {
  std::string key(size, 'k');
  for (std::size_t i = 0; i < std::min<std::size_t>(size, 8); ++i) {
    key[size - 1 - i] = static_cast<char>(n >> (8 * i));
  }
  return key;
}

std::string value_of(std::uint64_t n, std::size_t size) {
  std::string value(size, '\0');
  std::mt19937_64 random(n);
  for (char& byte : value) byte = static_cast<char>(random());
  return value;
}

void check_all(Table& table, const Model& model, std::size_t key_size, std::uint64_t keys) {
  REQUIRE(table->size() == model.size());
  std::size_t wrong = 0;
  for (std::uint64_t n = 0; n < keys; ++n) {
    const std::string key = key_of(n, key_size);
    const auto entry = model.find(key);
    const bool right =
        entry == model.end() ? !table.contains(key) : table.holds(key, entry->second);
    if (!right) wrong += 1;
  }
  REQUIRE(wrong == 0);
}

void check_scan(Table& table, const Model& model, std::size_t key_size) {
  const std::map<std::string, Entry> all = table.scan_all(key_size);
  REQUIRE(all.size() == model.size());
  std::size_t wrong = 0;
  for (const auto& [key, entry] : all) {
    const auto expected = model.find(key);
    if (expected == model.end() || expected->second.value != entry.value ||
        expected->second.at != entry.at) {
      wrong += 1;
    }
  }
  REQUIRE(wrong == 0);
}

// Random puts, overwrites, relocations and erasures of `keys` different keys.
void run_random(std::uint32_t key_size, std::uint32_t value_size, std::uint64_t keys,
                std::size_t operations, unsigned erase_percent) {
  Table table(key_size, value_size);
  REQUIRE(table.valid());
  Model model;
  std::mt19937_64 random(key_size * 1000 + value_size);
  for (std::size_t i = 1; i <= operations; ++i) {
    const std::string key = key_of(random() % keys, key_size);
    const auto dice = static_cast<unsigned>(random() % 100);
    if (dice < erase_percent) {
      REQUIRE(table.erase(key) == (model.erase(key) == 1));
    } else if (dice < erase_percent + 5) {
      Place place;
      table->locate(bytes_of(key), Table::hash(key), place);
      REQUIRE(place.found == model.contains(key));
      if (!place.found) continue;
      REQUIRE(place.at == Location(model[key].at));
      const bool same = value_size == 0
                            ? place.value == nullptr
                            : std::memcmp(place.value, model[key].value.data(), value_size) == 0;
      REQUIRE(same);
      table->relocate(place, Location(i));
      model[key].at = i;
    } else {
      Entry entry{value_of(random(), value_size), i};
      REQUIRE(table.put(key, entry.value, i));
      model[key] = std::move(entry);
    }
  }
  check_all(table, model, key_size, keys);
  check_scan(table, model, key_size);
}

// Memory that runs out.
std::size_t steps_left = 0;

armdb::base::PageSource failing_pages() {
  return {[](std::size_t bytes, std::size_t) -> void* {
            if (steps_left == 0) return nullptr;
            steps_left -= 1;
            void* memory = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
            if (memory != nullptr) std::memset(memory, 0, bytes);
            return memory;
          },
          [](void* memory, std::size_t) { std::free(memory); }};
}

}  // namespace

TEST_CASE("hash_table: agrees with a model for every key and value size", "[serial]") {
  for (const std::uint32_t key_size : {1u, 4u, 8u, 9u, 16u, 20u, 32u, 33u, 40u, 255u, 1024u}) {
    for (const std::uint32_t value_size : {0u, 1u, 8u, 64u, 300u}) {
      CAPTURE(key_size, value_size);
      run_random(key_size, value_size, key_size == 1 ? 256 : 1500, 5000, 30);
    }
  }
  run_random(8, 65536, 40, 200, 30);
}

TEST_CASE("hash_table: records and overflow buckets are reused when most is erased", "[serial]") {
  run_random(8, 64, 3000, 60000, 48);
  Table table(8, 64);
  for (std::uint64_t n = 0; n < 20000; ++n) {
    REQUIRE(table.put(key_of(n, 8), value_of(n, 64), n + 1));
  }
  const std::size_t full = table->memory_bytes();
  for (std::uint64_t round = 1; round <= 4; ++round) {
    for (std::uint64_t n = 0; n < 20000; ++n) REQUIRE(table.erase(key_of(n, 8)));
    REQUIRE(table->size() == 0);
    REQUIRE(table.scan_all(8).empty());
    for (std::uint64_t n = 0; n < 20000; ++n) {
      REQUIRE(table.put(key_of(n, 8), value_of(n + round, 64), n + round));
    }
    REQUIRE(table.holds(key_of(77, 8), {value_of(77 + round, 64), 77 + round}));
  }
  REQUIRE(table->memory_bytes() <= full + full / 50);
}

TEST_CASE("hash_table: every key is found at every moment of growth", "[serial]") {
  Table table(8, 8);
  std::size_t wrong = 0;
  for (std::uint64_t n = 0; n < 3000; ++n) {
    REQUIRE(table.put(key_of(n, 8), value_of(n, 8), n + 1));
    for (std::uint64_t m = 0; m <= n; ++m) wrong += table.contains(key_of(m, 8)) ? 0 : 1;
    wrong += table.contains(key_of(n + 1, 8)) ? 1 : 0;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("hash_table: grows to 300 000 keys and finds, scans and batches all of them",
          "[serial]") {
  constexpr std::uint64_t kKeys = 300000;
  Table table(16, 8, 1 << 20);
  Model model;
  for (std::uint64_t n = 0; n < kKeys; ++n) {
    Entry entry{value_of(n, 8), n + 1};
    REQUIRE(table.put(key_of(n, 16), entry.value, entry.at));
    model.emplace(key_of(n, 16), std::move(entry));
  }
  check_all(table, model, 16, kKeys + 1000);
  check_scan(table, model, 16);
}

TEST_CASE("hash_table: made at the size that is expected, it is the table that growing makes") {
  for (const std::uint64_t expected : {1u, 7u, 100u, 1000u, 5003u}) {
    CAPTURE(expected);
    Table made(8, 16);
    Table grown(8, 16);
    made->expect(expected);
    Model model;
    std::size_t wrong = 0;
    for (std::uint64_t n = 0; n < 6000; ++n) {  // and beyond
      Entry entry{value_of(n, 16), n + 1};
      REQUIRE(made.put(key_of(n, 8), entry.value, entry.at));
      REQUIRE(grown.put(key_of(n, 8), entry.value, entry.at));
      model.emplace(key_of(n, 8), std::move(entry));
      if (n == expected) CHECK(made->memory_bytes() <= grown->memory_bytes() + 4096);
      wrong += made.contains(key_of(n / 2, 8)) && !made.contains(key_of(n + 1, 8)) ? 0 : 1;
    }
    REQUIRE(wrong == 0);
    check_all(made, model, 8, 6100);
    check_scan(made, model, 8);
    CHECK(made->memory_bytes() <= grown->memory_bytes());
  }
}

TEST_CASE("hash_table: expecting more changes nothing where entries are, or without memory") {
  Table table(8, 16);
  REQUIRE(table.put(key_of(1, 8), value_of(1, 16), 1));
  const std::size_t before = table->memory_bytes();
  table->expect(1000000);
  CHECK(table->memory_bytes() == before);
  CHECK(table.contains(key_of(1, 8)));
  REQUIRE(table.erase(key_of(1, 8)));
  table->expect(4000);  // empty again, with overflow buckets and records of an earlier life
  CHECK(table->memory_bytes() > before);
  Model model;
  for (std::uint64_t n = 0; n < 4000; ++n) {
    model[key_of(n, 8)] = {value_of(n, 16), n + 1};
    REQUIRE(table.put(key_of(n, 8), value_of(n, 16), n + 1));
  }
  check_all(table, model, 8, 4100);

  steps_left = 3;
  Table poor(8, 16, 4096, failing_pages());
  REQUIRE(poor.valid());
  poor->expect(~std::size_t{0});
  poor->expect(1u << 20);
  steps_left = 20;
  REQUIRE(poor.put(key_of(1, 8), value_of(1, 16), 1));
  CHECK(poor.contains(key_of(1, 8)));
}

TEST_CASE("hash_table: keys whose buckets and tags are the same are told apart", "[serial]") {
  // Hashes are of keys, so the keys are searched for: equal low 12 bits and equal tag.
  std::vector<std::string> keys;
  const std::uint64_t wanted = 0x5a00000123u;
  for (std::uint64_t n = 0; keys.size() < 60; ++n) {
    const std::string key = key_of(n, 8);
    if ((Table::hash(key) & 0xff00000fffu) == wanted) keys.push_back(key);
  }
  Table table(8, 8);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    REQUIRE(table.put(keys[i], value_of(i, 8), i + 1));
    for (std::size_t j = 0; j < keys.size(); ++j) {
      REQUIRE((j <= i ? table.holds(keys[j], {value_of(j, 8), j + 1}) : !table.contains(keys[j])));
    }
  }
  REQUIRE(table.scan_all(8).size() == keys.size());
  // Growth splits around the long chain, and past its bits.
  for (std::uint64_t n = 0; n < 50000; ++n) {
    REQUIRE(table.put(key_of(n | 1ull << 60, 8), value_of(n, 8), n + 1));
  }
  std::mt19937_64 random(5);
  std::shuffle(keys.begin(), keys.end(), random);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    REQUIRE(table.erase(keys[i]));
    for (std::size_t j = 0; j < keys.size(); ++j) REQUIRE(table.contains(keys[j]) == (j > i));
  }
}

TEST_CASE("hash_table: find_many answers as find does", "[serial]") {
  for (const std::uint32_t key_size : {8u, 16u, 20u, 32u}) {
    Table table(key_size, 40);
    Model model;
    std::mt19937_64 random(key_size);
    for (std::uint64_t n = 0; n < 20000; n += 1 + random() % 2) {
      Entry entry{value_of(n, 40), n + 1};
      REQUIRE(table.put(key_of(n, key_size), entry.value, entry.at));
      model.emplace(key_of(n, key_size), std::move(entry));
    }
    for (const std::size_t count : {0u, 1u, 31u, 32u, 33u, 1000u}) {
      std::vector<std::string> keys(count);
      std::vector<std::string> values(count, std::string(40, '?'));
      std::vector<Lookup> lookups(count);
      for (std::size_t i = 0; i < count; ++i) {
        keys[i] = key_of(random() % 20000, key_size);
        lookups[i].key = bytes_of(keys[i]);
        lookups[i].hash = Table::hash(keys[i]);
        if (i % 5 != 0) lookups[i].value = reinterpret_cast<std::uint8_t*>(values[i].data());
        lookups[i].found = i % 2 == 0;  // whatever it was
      }
      table->find_many(lookups);
      for (std::size_t i = 0; i < count; ++i) {
        const auto entry = model.find(keys[i]);
        REQUIRE(lookups[i].found == (entry != model.end()));
        if (!lookups[i].found) continue;
        REQUIRE(lookups[i].at == Location(entry->second.at));
        if (i % 5 != 0) REQUIRE(values[i] == entry->second.value);
      }
    }
  }
}

TEST_CASE("hash_table: a scan sees once what stays, while other keys come and go") {
  Table table(8, 8);
  constexpr std::uint64_t kStay = 4000;
  std::mt19937_64 random(9);
  for (std::uint64_t n = 0; n < 2 * kStay; ++n) {
    REQUIRE(table.put(key_of(n, 8), value_of(n, 8), n + 1));  // even ones stay
  }
  std::vector<int> seen(kStay, 0);
  Block block = table->make_block();
  std::uint64_t cursor = 0;
  std::uint64_t fresh = 1u << 30;
  std::size_t calls = 0;
  do {
    cursor = table->scan(cursor, block);
    calls += 1;
    for (std::size_t i = 0; i < block.count(); ++i) {
      std::uint64_t n = 0;
      for (std::size_t b = 0; b < 8; ++b) n = n << 8 | block.key(i)[b];
      if (n < 2 * kStay && n % 2 == 0) seen[n / 2] += 1;
    }
    for (int i = 0; i < 300; ++i) {
      table.erase(key_of(random() % kStay * 2 + 1, 8));
      if (calls < 40) REQUIRE(table.put(key_of(fresh++, 8), value_of(1, 8), 1));
      REQUIRE(table.put(key_of(random() % kStay * 2, 8), value_of(2, 8), 2));  // overwrite
    }
  } while (cursor != 0);
  REQUIRE(std::count(seen.begin(), seen.end(), 1) == static_cast<std::ptrdiff_t>(kStay));
}

TEST_CASE("hash_table: without memory reserve() says so and all else goes on", "[serial]") {
  steps_left = 0;
  REQUIRE_FALSE(Table(8, 64, 4096, failing_pages()).valid());
  for (std::size_t steps = 1; steps < 40; ++steps) {
    steps_left = steps;
    Table table(8, 64, 4096, failing_pages());
    REQUIRE(table.valid());
    std::uint64_t count = 0;
    while (count < 5000 && table.put(key_of(count, 8), value_of(count, 64), count + 1)) count += 1;
    REQUIRE(count < 5000);
    REQUIRE_FALSE(table->reserve());
    REQUIRE(table->size() == count);
    std::size_t wrong = 0;
    for (std::uint64_t n = 0; n < count; ++n) {
      if (!table.holds(key_of(n, 8), {value_of(n, 64), n + 1})) wrong += 1;
    }
    REQUIRE(wrong == 0);
    REQUIRE(table.scan_all(8).size() == count);
    if (count == 0) continue;
    REQUIRE(table.put(key_of(0, 8), value_of(7, 64), 7));  // overwriting needs none
    REQUIRE(table.holds(key_of(0, 8), {value_of(7, 64), 7}));
    steps_left = 100;  // memory is back
    for (std::uint64_t n = count; n < count + 500; ++n) {
      REQUIRE(table.put(key_of(n, 8), value_of(n, 64), n + 1));
    }
    REQUIRE(table.scan_all(8).size() == count + 500);
    for (std::uint64_t n = 0; n < count + 500; ++n) REQUIRE(table.erase(key_of(n, 8)));
    REQUIRE(table->size() == 0);
  }
}

TEST_CASE("hash_table: a key of 8 bytes with a value of 64 takes at most 90 bytes at any size",
          "[serial]") {
  Table table(8, 64, 2 << 20);
  const std::string value(64, 'v');
  double worst = 0;
  for (std::uint64_t n = 0; n < 1000000; ++n) {
    const std::string key = key_of(n, 8);
    if (!table.put(key, value, n + 1)) FAIL("out of memory");
    const std::uint64_t count = n + 1;
    if (count >= 100000 && count % 10000 == 0) {
      worst =
          std::max(worst, static_cast<double>(table->memory_bytes()) / static_cast<double>(count));
    }
  }
  CAPTURE(worst);
  REQUIRE(worst <= 90.0);
}

TEST_CASE("hash_table: ordered reads find nothing, an empty table scans to its end") {
  Table table(8, 8);
  Block block = table->make_block();
  REQUIRE(block.valid());
  block.set_count(3);
  table->read_from(nullptr, armdb::index::Bound::none, false, block);
  REQUIRE(block.count() == 0);
  block.set_count(3);
  table->read_next(true, block);
  REQUIRE(block.count() == 0);
  REQUIRE(table->scan(0, block) == 0);
  REQUIRE(block.count() == 0);
  REQUIRE_FALSE(table.contains(key_of(1, 8)));
  REQUIRE(table->size() == 0);
}

// One writer and several readers of a B+-tree, at full speed and without a lock.
#include <atomic>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "base/little.hpp"
#include "index/btree.hpp"
#include "index/index.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

namespace {

using armdb::base::Location;
using armdb::base::Random;
using armdb::index::Block;
using armdb::index::Bound;
using armdb::index::Fresh;
using armdb::index::Index;
using armdb::index::IndexConfig;
using armdb::index::Lookup;
using armdb::index::Place;

constexpr std::uint64_t kNumbers = 4000;
constexpr std::size_t kKeyBytesMax = 64;
constexpr std::size_t kValueBytesMax = 320;

// Keys of one shape: those whose number is a multiple of 8 are never erased.
class Field {
 public:
  Field(std::uint32_t key_size, std::uint32_t value_size)
      : key_size_(key_size), value_size_(value_size) {
    IndexConfig config;
    config.key_size = key_size;
    config.value_size = value_size;
    config.ordered = true;
    config.step_bytes = 1u << 16;
    tree_ = armdb::index::make_btree(config);
    for (std::uint64_t number = 0; number < kNumbers; number += 8) put(number);
  }

  // The number in the key's last 4 bytes; what is before is the same in all keys.
  void make_key(std::uint64_t number, std::uint8_t* key) const {
    std::memset(key, 'k', key_size_);
    armdb::base::store_big<std::uint32_t>(key + key_size_ - 4, static_cast<std::uint32_t>(number));
  }
  std::uint64_t number_of(const std::uint8_t* key) const {
    return armdb::base::load_big<std::uint32_t>(key + key_size_ - 4);
  }

  void put(std::uint64_t number) {
    std::uint8_t key[kKeyBytesMax];
    std::uint8_t value[kValueBytesMax];
    make_key(number, key);
    counter_ += 1;
    for (std::size_t at = 0; at < value_size_; ++at) value[at] = byte(number, counter_, at);
    Place place;
    tree_->locate(key, 0, place);
    if (!place.found && !tree_->reserve()) std::abort();
    tree_->publish(place, key, value, Location(counter_));
  }

  // Up to 20 numbers that follow each other, as a load inserts them.
  void put_run(std::uint64_t first) {
    std::uint8_t keys[20][kKeyBytesMax];
    std::uint8_t values[20][kValueBytesMax];
    Fresh run[20];
    std::size_t count = 0;
    for (; count < 20 && first + count < kNumbers; ++count) {
      make_key(first + count, keys[count]);
      counter_ += 1;
      for (std::size_t at = 0; at < value_size_; ++at) {
        values[count][at] = byte(first + count, counter_, at);
      }
      run[count] = {keys[count], values[count], Location(counter_)};
    }
    for (std::size_t at = 0; at < count;) {
      Place place;
      tree_->locate(keys[at], 0, place);
      if (!tree_->reserve()) std::abort();
      const std::span<const Fresh> rest(run + at, count - at);
      const std::size_t length = place.found ? 1 : tree_->run_length(place, rest);
      if (place.found) {
        tree_->publish(place, keys[at], values[at], run[at].at);
      } else {
        tree_->publish_run(place, rest.first(length));
      }
      at += length;
    }
  }

  void erase(std::uint64_t number) {
    std::uint8_t key[kKeyBytesMax];
    make_key(number, key);
    Place place;
    tree_->locate(key, 0, place);
    if (place.found) tree_->erase(place);
  }

  // Inserts and erases in waves, so that nodes split, shift, merge and are reused.
  void write(std::uint64_t seed, int rounds) {
    Random random(seed);
    for (int round = 0; round < rounds; ++round) {
      const bool growing = round % 2 == 0;
      for (int i = 0; i < 3000; ++i) {
        const std::uint64_t number = random.next() % kNumbers;
        if (growing && i % 16 == 0) {
          put_run(number);
        } else if (number % 8 == 0 || random.next() % 8 < (growing ? 7u : 1u)) {
          put(number);
        } else {
          erase(number);
        }
      }
      if (!growing) {
        for (std::uint64_t n = 0; n < kNumbers; ++n) {
          if (n % 8 != 0) erase(n);
        }
      }
    }
  }

  // Whether a key's value and location belong together.
  bool whole(std::uint64_t number, std::uint64_t location, const std::uint8_t* value) const {
    for (std::size_t at = 0; at < value_size_; ++at) {
      if (value[at] != byte(number, location, at)) return false;
    }
    return location != 0;
  }

  // One reader's work: finds, batches and scans; counts what was wrong.
  void read(std::uint64_t seed, std::atomic<std::uint64_t>& wrong) const {
    Random random(seed);
    Block block = tree_->make_block();
    while (!done.load(std::memory_order_acquire)) {
      for (int i = 0; i < 200; ++i) wrong += find_one(random.next() % kNumbers);
      wrong += find_some(random);
      wrong += scan(random.next() % kNumbers, random.next() % 2 == 0, block);
    }
  }

  Index& tree() { return *tree_; }
  std::atomic<bool> done{false};

 private:
  static std::uint8_t byte(std::uint64_t number, std::uint64_t counter, std::size_t at) {
    return static_cast<std::uint8_t>(number * 31 + counter * 131 + at * (counter % 13));
  }

  std::uint64_t find_one(std::uint64_t number) const {
    std::uint8_t key[kKeyBytesMax];
    std::uint8_t value[kValueBytesMax];
    make_key(number, key);
    Location at;
    if (!tree_->find(key, 0, &at, value)) return number % 8 == 0 ? 1 : 0;
    return whole(number, at.packed(), value) ? 0 : 1;
  }

  std::uint64_t find_some(Random& random) const {
    constexpr std::size_t kCount = 24;
    std::vector<std::uint8_t> keys(kCount * kKeyBytesMax);
    std::vector<std::uint8_t> values(kCount * kValueBytesMax);
    Lookup lookups[kCount];
    std::uint64_t numbers[kCount];
    for (std::size_t i = 0; i < kCount; ++i) {
      numbers[i] = random.next() % kNumbers;
      make_key(numbers[i], &keys[i * kKeyBytesMax]);
      lookups[i].key = &keys[i * kKeyBytesMax];
      lookups[i].value = &values[i * kValueBytesMax];
    }
    tree_->find_many(lookups);
    std::uint64_t wrong = 0;
    for (std::size_t i = 0; i < kCount; ++i) {
      const Lookup& lookup = lookups[i];
      if (lookup.found) {
        wrong += whole(numbers[i], lookup.at.packed(), lookup.value) ? 0 : 1;
      } else {
        wrong += numbers[i] % 8 == 0 ? 1 : 0;
      }
    }
    return wrong;
  }

  // Order is strict, values are whole, and no permanent key is missed.
  std::uint64_t scan(std::uint64_t start, bool descending, Block& block) const {
    std::uint8_t key[kKeyBytesMax];
    make_key(start, key);
    std::uint64_t wrong = 0;
    std::uint64_t permanent = 0;
    std::uint64_t last = 0;
    bool first = true;
    tree_->read_from(key, Bound::inclusive, descending, block);
    for (; block.count() != 0; tree_->read_next(descending, block)) {
      for (std::size_t at = 0; at < block.count(); ++at) {
        const std::uint64_t number = number_of(block.key(at));
        if (descending ? number > start : number < start) wrong += 1;
        if (!first && (descending ? number >= last : number <= last)) wrong += 1;
        if (!whole(number, block.location(at).packed(), block.value(at))) wrong += 1;
        if (number % 8 == 0) permanent += 1;
        last = number;
        first = false;
      }
    }
    const std::uint64_t below = (start + 7) / 8;  // permanent keys below start
    const std::uint64_t expected = descending ? start / 8 + 1 : kNumbers / 8 - below;
    return wrong + (permanent == expected ? 0 : 1);
  }

  std::uint32_t key_size_;
  std::uint32_t value_size_;
  std::unique_ptr<Index> tree_;
  std::uint64_t counter_ = 0;
};

void stress(std::uint32_t key_size, std::uint32_t value_size) {
  CAPTURE(key_size, value_size);
  // On the heap: ThreadSanitizer misses some objects on the stack.
  const auto field = std::make_unique<Field>(key_size, value_size);
  std::atomic<std::uint64_t> wrong{0};
  std::vector<std::thread> readers;
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    readers.emplace_back([&field, &wrong, seed] { field->read(seed, wrong); });
  }
  field->write(99, 80);
  field->done.store(true, std::memory_order_release);
  for (std::thread& reader : readers) reader.join();
  CHECK(wrong.load() == 0);
#if defined(ARMDB_CHECKS)
  CHECK(armdb::index::btree_check(field->tree()));
#endif
}

}  // namespace

TEST_CASE("btree: a reader sees each publish whole, keys of 8 bytes") { stress(8, 64); }
TEST_CASE("btree: a reader sees each publish whole, keys of 16 bytes") { stress(16, 13); }
TEST_CASE("btree: a reader sees each publish whole, keys of 40 bytes") { stress(40, 24); }
TEST_CASE("btree: a reader sees each publish whole, values of 300 bytes") { stress(4, 300); }

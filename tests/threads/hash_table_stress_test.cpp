// One writer and several readers on one hash table: nothing torn, lost or mixed up.
#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
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

constexpr std::uint64_t kSeed = 77;
constexpr std::uint64_t kRelocated = std::uint64_t{1} << 62;
constexpr std::size_t kWords = 9;  // of a value: the counter and eight words made from it

struct Value {
  std::uint64_t words[kWords];
};

std::uint64_t mixed(std::uint64_t number, std::uint64_t counter, std::uint64_t at) {
  return (number * 0x9e3779b97f4a7c15u) ^ (counter * 0xd1b54a32d192ed03u) ^ (at << 56);
}

Value make_value(std::uint64_t number, std::uint64_t counter) {
  Value value;
  value.words[0] = counter;
  for (std::size_t i = 1; i < kWords; ++i) value.words[i] = mixed(number, counter, i);
  return value;
}

// The location tells the key, and unless compaction moved the entry, the counter of the value.
Location make_location(std::uint64_t number, std::uint64_t counter) {
  return Location((number << 40) | (counter + 1));
}

bool is_whole(std::uint64_t number, const Value& value, Location at) {
  const std::uint64_t counter = value.words[0];
  for (std::size_t i = 1; i < kWords; ++i) {
    if (value.words[i] != mixed(number, counter, i)) return false;
  }
  const std::uint64_t packed = at.packed();
  if ((packed & kRelocated) != 0) return ((packed & ~kRelocated) >> 40) == number;
  return at == make_location(number, counter);
}

template <std::size_t kKeySize> struct Key {
  explicit Key(std::uint64_t number) {
    std::memset(bytes, 'k', sizeof bytes);
    std::memcpy(bytes + kKeySize - 8, &number, 8);
    hash = armdb::base::hash64(bytes, kKeySize, kSeed);
  }
  std::uint8_t bytes[kKeySize];
  std::uint64_t hash;
};

template <std::size_t kKeySize> class Stress {
 public:
  // Keys numbered below `permanent` are always there, those from there to `keys` come and go.
  Stress(std::uint64_t permanent, std::uint64_t keys) : permanent_(permanent), keys_(keys) {
    IndexConfig config;
    config.key_size = kKeySize;
    config.value_size = sizeof(Value);
    config.hash_seed = kSeed;
    config.step_bytes = 16 << 10;
    index_ = make_hash_table(config);
    for (std::uint64_t number = 0; number < permanent_; ++number) put(number);
  }

  void run(std::size_t operations) {
    std::thread readers[] = {std::thread([this] { find_one_by_one(0); }),
                             std::thread([this] { find_in_batches(1); }),
                             std::thread([this] { scan_all(); })};
    // The writer goes on until each reader has done its share, on however few processors.
    do {
      write(operations);
    } while (std::min({done_[0].load(), done_[1].load(), done_[2].load()}) < operations / 4);
    stop_.store(true);
    for (std::thread& reader : readers) reader.join();
    REQUIRE(failures_.load() == 0);
    REQUIRE(index_->size() == expected_size_);
  }

 private:
  void fail_unless(bool right) {
    if (!right) failures_.fetch_add(1);
  }

  void put(std::uint64_t number) {
    const Key<kKeySize> key(number);
    const std::uint64_t counter = ++counter_;
    const Value value = make_value(number, counter);
    Place place;
    index_->locate(key.bytes, key.hash, place);
    if (!place.found) {
      fail_unless(index_->reserve());
      expected_size_ += 1;
    }
    std::uint8_t bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    index_->publish(place, key.bytes, bytes, make_location(number, counter));
  }

  void relocate_or_erase(std::uint64_t number, bool erase) {
    const Key<kKeySize> key(number);
    Place place;
    index_->locate(key.bytes, key.hash, place);
    if (!place.found) return;
    if (erase) {
      index_->erase(place);
      expected_size_ -= 1;
    } else {
      index_->relocate(place, Location(place.at.packed() | kRelocated));
    }
  }

  // Waves: transient keys come (and split buckets), then mostly go (and leave free records).
  void write(std::size_t operations) {
    std::mt19937_64 random(3);
    for (std::size_t i = 0; i < operations; ++i) {
      const bool shrinking = i * 6 / operations % 2 == 1;
      const std::uint64_t stays = random() % permanent_;
      const std::uint64_t transient = permanent_ + random() % (keys_ - permanent_);
      switch (random() % 8) {
        case 0:
          put(stays);
          break;
        case 1:
          relocate_or_erase(stays, false);
          break;
        case 2:
          relocate_or_erase(transient, true);
          break;
        case 3:
          put(transient);
          break;
        default:
          if (shrinking) {
            relocate_or_erase(transient, true);
          } else {
            put(transient);
          }
      }
    }
  }

  void find_one_by_one(unsigned seed) {
    std::mt19937_64 random(seed);
    while (!stop_.load(std::memory_order_relaxed)) {
      const std::uint64_t number =
          random() % 2 == 0 ? random() % permanent_ : random() % (keys_ + 100);
      const Key<kKeySize> key(number);
      Value value;
      Location at;
      std::uint8_t bytes[sizeof value];
      const bool found = index_->find(key.bytes, key.hash, &at, bytes);
      std::memcpy(&value, bytes, sizeof value);
      if (found) fail_unless(number < keys_ && is_whole(number, value, at));
      if (number < permanent_) fail_unless(found);
      done_[0].fetch_add(1, std::memory_order_relaxed);
    }
  }

  void find_in_batches(unsigned seed) {
    constexpr std::size_t kBatch = 48;
    std::mt19937_64 random(seed);
    while (!stop_.load(std::memory_order_relaxed)) {
      std::uint64_t numbers[kBatch];
      std::vector<Key<kKeySize>> keys;
      std::vector<std::uint8_t> bytes(kBatch * sizeof(Value));
      Lookup lookups[kBatch];
      keys.reserve(kBatch);
      for (std::size_t i = 0; i < kBatch; ++i) {
        numbers[i] = i % 2 == 0 ? random() % permanent_ : random() % keys_;
        keys.emplace_back(numbers[i]);
        lookups[i].key = keys[i].bytes;
        lookups[i].hash = keys[i].hash;
        lookups[i].value = bytes.data() + i * sizeof(Value);
      }
      index_->find_many(lookups);
      for (std::size_t i = 0; i < kBatch; ++i) {
        Value value;
        std::memcpy(&value, lookups[i].value, sizeof value);
        if (lookups[i].found) fail_unless(is_whole(numbers[i], value, lookups[i].at));
        if (numbers[i] < permanent_) fail_unless(lookups[i].found);
      }
      done_[1].fetch_add(kBatch, std::memory_order_relaxed);
    }
  }

  void scan_all() {
    Block block = index_->make_block();
    while (!stop_.load(std::memory_order_relaxed)) {
      std::vector<int> seen(permanent_, 0);
      std::uint64_t cursor = 0;
      do {
        cursor = index_->scan(cursor, block);
        for (std::size_t i = 0; i < block.count(); ++i) {
          std::uint64_t number;
          Value value;
          std::memcpy(&number, block.key(i) + kKeySize - 8, 8);
          std::memcpy(&value, block.value(i), sizeof value);
          fail_unless(number < keys_ && is_whole(number, value, block.location(i)));
          if (number < permanent_) seen[number] += 1;
        }
        done_[2].fetch_add(block.count(), std::memory_order_relaxed);
      } while (cursor != 0);
      for (const int times : seen) fail_unless(times == 1);
    }
  }

  const std::uint64_t permanent_;
  const std::uint64_t keys_;
  std::unique_ptr<Index> index_;
  std::uint64_t counter_ = 0;
  std::size_t expected_size_ = 0;
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> failures_{0};
  std::atomic<std::uint64_t> done_[3] = {};  // lookups and entries checked by each reader
};

std::uint64_t bits_reversed(std::uint64_t bits) {
  std::uint64_t reversed = 0;
  for (int i = 0; i < 64; ++i) reversed |= ((bits >> i) & 1) << (63 - i);
  return reversed;
}

// A table that grows from one bucket, while readers look for the keys of the bucket that the
// next split will take apart: in linear hashing its number follows from the number of buckets.
class Growth {
 public:
  Growth() {
    for (std::uint64_t number = 0; number < kCount; ++number) {
      keys_.emplace_back(number);
      by_bucket_.push_back({bits_reversed(keys_.back().hash), number});
    }
    // Keys whose hashes end in the same bits stand side by side.
    std::sort(by_bucket_.begin(), by_bucket_.end());
    IndexConfig config;
    config.key_size = 8;
    config.hash_seed = kSeed;
    index_ = make_hash_table(config);
  }

  void run() {
    std::thread readers[] = {std::thread([this] { chase(false); }),
                             std::thread([this] { chase(true); }),
                             std::thread([this] { scan_all(); })};
    for (std::uint64_t number = 0; number < kCount; ++number) {
      const Key<8>& key = keys_[number];
      Place place;
      index_->locate(key.bytes, key.hash, place);
      if (!index_->reserve()) missed_.fetch_add(1);
      index_->publish(place, key.bytes, nullptr, Location(number + 1));
      inserted_.store(number + 1, std::memory_order_release);
    }
    stop_.store(true);
    for (std::thread& reader : readers) reader.join();
    REQUIRE(missed_.load() == 0);
  }

 private:
  static constexpr std::uint64_t kCount = 100000;
  static constexpr std::uint64_t kPerBucket = 8;

  void chase(bool batches) {
    std::mt19937_64 random(batches ? 1 : 2);
    while (!stop_.load(std::memory_order_relaxed)) {
      const std::uint64_t inserted = inserted_.load(std::memory_order_acquire);
      // A few splits ahead: the writer does not wait for us.
      const std::uint64_t buckets = inserted / kPerBucket + 1 + random() % 8;
      const unsigned bits = static_cast<unsigned>(std::bit_width(buckets)) - 1;
      const std::uint64_t source = buckets - (std::uint64_t{1} << bits);
      auto at = std::lower_bound(by_bucket_.begin(), by_bucket_.end(),
                                 std::pair<std::uint64_t, std::uint64_t>{bits_reversed(source), 0});
      std::vector<std::uint64_t> wanted;
      const std::uint64_t mask = (std::uint64_t{1} << bits) - 1;
      for (; at != by_bucket_.end() && wanted.size() < 200; ++at) {
        if ((keys_[at->second].hash & mask) != source) break;
        if (at->second < inserted) wanted.push_back(at->second);
      }
      if (batches) {
        look_for_all(wanted);
      } else {
        for (const std::uint64_t number : wanted) {
          Location location;
          const Key<8>& key = keys_[number];
          const bool found = index_->find(key.bytes, key.hash, &location, nullptr);
          if (!found || location != Location(number + 1)) missed_.fetch_add(1);
        }
      }
    }
  }

  void scan_all() {
    Block block = index_->make_block();
    std::vector<unsigned char> seen(kCount);
    while (!stop_.load(std::memory_order_relaxed)) {
      const std::uint64_t inserted = inserted_.load(std::memory_order_acquire);
      std::fill(seen.begin(), seen.end(), static_cast<unsigned char>(0));
      std::uint64_t cursor = 0;
      do {
        cursor = index_->scan(cursor, block);
        for (std::size_t i = 0; i < block.count(); ++i) {
          const std::uint64_t number = block.location(i).packed() - 1;
          if (number >= kCount || ++seen[number] != 1) missed_.fetch_add(1);
        }
      } while (cursor != 0);
      for (std::uint64_t number = 0; number < inserted; ++number) {
        if (seen[number] != 1) missed_.fetch_add(1);
      }
    }
  }

  void look_for_all(const std::vector<std::uint64_t>& wanted) {
    std::vector<Lookup> lookups(wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      lookups[i].key = keys_[wanted[i]].bytes;
      lookups[i].hash = keys_[wanted[i]].hash;
    }
    index_->find_many(lookups);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (!lookups[i].found || lookups[i].at != Location(wanted[i] + 1)) missed_.fetch_add(1);
    }
  }

  std::vector<Key<8>> keys_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> by_bucket_;  // reversed hash, number
  std::unique_ptr<Index> index_;
  std::atomic<std::uint64_t> inserted_{0};
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> missed_{0};
};

}  // namespace

TEST_CASE("hash_table: readers beside a writer see whole entries, and all that stay") {
  auto narrow = std::make_unique<Stress<8>>(500, 12000);
  narrow->run(400000);
  auto odd = std::make_unique<Stress<21>>(500, 12000);
  odd->run(400000);
}

TEST_CASE("hash_table: readers of a few buckets that change all the time are not fooled") {
  auto hot = std::make_unique<Stress<8>>(30, 100);
  hot->run(600000);
}

TEST_CASE("hash_table: a key is found while the bucket it is in is split") {
  for (int round = 0; round < 8; ++round) std::make_unique<Growth>()->run();
}

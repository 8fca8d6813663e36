// The order in which load() writes, so that the leaves of a tree are filled one after the other.
#include <algorithm>
#include <cstring>

#include "api/collection.hpp"
#include "base/errors.hpp"
#include "base/little.hpp"
#include "base/merge_sort.hpp"
#include "engine/engine.hpp"

namespace armdb {

namespace {

using LoadKeyOf = FunctionRef<void(std::size_t at, std::uint8_t* out)>;

// An entry of the range: `word` is the part of its key that most likely tells it from others.
struct LoadItem {
  std::uint64_t word;
  std::uint32_t shard;
  std::uint32_t number;
};

class LoadOrder {
 public:
  LoadOrder(const engine::Engine& engine, std::size_t count, LoadKeyOf key_of)
      : router_(engine.router()),
        key_size_(engine.shape().key_size),
        count_(count),
        key_of_(key_of),
        keys_(2 * key_size_) {}

  // Empty when they are in order already; those of each shard then are too.
  std::u32string numbers() {
    if (in_order()) return {};
    std::vector<LoadItem> items = gather();
    {
      std::vector<LoadItem> spare(count_);
      base::merge_sort(items.data(), spare.data(), count_,
                       [&](const LoadItem& a, const LoadItem& b) { return before(a, b); });
    }
    std::u32string numbers(count_, 0);
    for (std::size_t at = 0; at < count_; ++at) numbers[at] = items[at].number;
    return numbers;
  }

 private:
  bool in_order() {
    std::uint8_t* last = keys_.data();
    std::uint8_t* key = last + key_size_;
    for (std::size_t at = 0; at < count_; ++at, std::swap(key, last)) {
      key_of_(at, key);
      if (at != 0 && std::memcmp(last, key, key_size_) > 0) return false;
    }
    return true;
  }

  std::vector<LoadItem> gather() {
    std::uint8_t* const first = keys_.data();
    std::uint8_t* const key = first + key_size_;
    std::size_t same = key_size_;  // bytes at the start that all keys share
    key_of_(0, first);
    for (std::size_t at = 1; at < count_; ++at) {
      key_of_(at, key);
      while (std::memcmp(key, first, same) != 0) --same;
    }
    constexpr std::size_t kWordBytes = sizeof(LoadItem::word);
    const std::size_t bytes = std::min(key_size_ - same, kWordBytes);
    complete_ = key_size_ - same <= kWordBytes;
    std::vector<LoadItem> items(count_);
    for (std::size_t at = 0; at < count_; ++at) {
      key_of_(at, key);
      std::uint8_t word[kWordBytes] = {};
      std::memcpy(word, key + same, bytes);
      items[at] = {base::load_big<std::uint64_t>(word),
                   router_.shard(key, key_size_, router_.hash(key, key_size_)),
                   static_cast<std::uint32_t>(at)};
    }
    return items;
  }

  // By shard, then by key. Without branches where the words decide: they would be mispredicted.
  bool before(const LoadItem& a, const LoadItem& b) {
    if (!complete_ && a.word == b.word && a.shard == b.shard) [[unlikely]] {
      std::uint8_t* const keys = keys_.data();
      key_of_(a.number, keys);
      key_of_(b.number, keys + key_size_);
      return std::memcmp(keys, keys + key_size_, key_size_) < 0;
    }
    const unsigned below = a.word < b.word ? 1 : 0;
    return (a.shard == b.shard ? below : unsigned{a.shard < b.shard}) != 0;
  }

  const engine::Router& router_;
  const std::size_t key_size_;
  const std::size_t count_;
  const LoadKeyOf key_of_;
  std::vector<std::uint8_t> keys_;  // room for two
  bool complete_ = false;           // the word tells all keys apart
};

}  // namespace

Result<std::u32string> Collection::begin_load(std::size_t count, LoadKeyOf key_of) {
  if (!is_open()) return base::not_open();
  constexpr std::size_t kCountMax = ~std::uint32_t{0};
  if (count > kCountMax) return Status(Errc::too_large, "load() takes 2^32 entries at most");
  engine_->expect(count);
  if (!engine_->shape().ordered) return std::u32string();
  return LoadOrder(*engine_, count, key_of).numbers();
}

}  // namespace armdb

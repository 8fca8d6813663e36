// The order in which load() writes, so that the leaves of a tree are filled one after the other.
#include <cstring>

#include "api/collection.hpp"
#include "base/build.hpp"
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
  std::uint32_t number;
};

class LoadOrder {
 public:
  LoadOrder(const engine::Engine& engine, std::size_t count, LoadKeyOf key_of)
      : router_(engine.router()),
        key_size_(engine.shape().key_size),
        count_(count),
        key_of_(key_of),
        key_(2 * key_size_),
        ends_(engine.shard_count() + 1) {}

  // Empty when they are in order already.
  std::u32string numbers() {
    if (survey()) return {};
    std::vector<LoadItem> items(count_);
    const std::size_t most = collect(items);
    std::vector<LoadItem> spare(most);
    const auto before = [&](const LoadItem& a, const LoadItem& b) {
      if (a.word == b.word && !complete_) [[unlikely]]
        return key_before(a, b);
      return a.word < b.word;
    };
    std::size_t first = 0;
    for (std::size_t shard = 0; shard + 1 < ends_.size(); ++shard) {
      base::merge_sort(items.data() + first, spare.data(), ends_[shard] - first, before);
      first = ends_[shard];
    }
    std::u32string numbers(count_, 0);
    for (std::size_t at = 0; at < count_; ++at) numbers[at] = items[at].number;
    return numbers;
  }

 private:
  std::uint32_t shard_of(const std::uint8_t* key) const {
    return router_.shard(key, key_size_, router_.hash(key, key_size_));
  }

  // Counts the entries of each shard, and the bytes that all keys begin with. True when nothing
  // has to move.
  bool survey() {
    std::uint8_t* const key = key_.data();
    std::uint8_t* const last = key + key_size_;
    bool in_order = true;
    same_ = key_size_;
    for (std::size_t at = 0; at < count_; ++at) {
      key_of_(at, key);
      ++ends_[shard_of(key) + 1];
      if (at != 0) {
        while (std::memcmp(key, last, same_) != 0) --same_;
        in_order = in_order && std::memcmp(last, key, key_size_) <= 0;
      }
      std::memcpy(last, key, key_size_);
    }
    complete_ = key_size_ - same_ <= sizeof(LoadItem::word);
    return in_order;
  }

  // Gathers the entries of each shard. ends_[n] is where shard n begins, and then where it ends.
  // Returns how many the largest one has.
  std::size_t collect(std::vector<LoadItem>& items) {
    std::size_t most = 0;
    for (std::size_t shard = 1; shard < ends_.size(); ++shard) {
      most = ends_[shard] > most ? ends_[shard] : most;
      ends_[shard] += ends_[shard - 1];
    }
    std::uint8_t* const key = key_.data();
    const std::size_t bytes = complete_ ? key_size_ - same_ : sizeof(LoadItem::word);
    for (std::size_t at = 0; at < count_; ++at) {
      key_of_(at, key);
      std::uint8_t word[sizeof(LoadItem::word)] = {};
      std::memcpy(word, key + same_, bytes);
      items[ends_[shard_of(key)]++] = {base::load_big<std::uint64_t>(word),
                                       static_cast<std::uint32_t>(at)};
    }
    return most;
  }

  bool key_before(const LoadItem& a, const LoadItem& b) {
    key_of_(a.number, key_.data());
    key_of_(b.number, key_.data() + key_size_);
    return std::memcmp(key_.data(), key_.data() + key_size_, key_size_) < 0;
  }

  const engine::Router& router_;
  const std::size_t key_size_;
  const std::size_t count_;
  const LoadKeyOf key_of_;
  std::vector<std::uint8_t> key_;
  std::vector<std::size_t> ends_;
  std::size_t same_ = 0;   // bytes at the start that all keys share
  bool complete_ = false;  // the word has all the others
};

}  // namespace

Result<std::u32string> Collection::begin_load(std::size_t count, LoadKeyOf key_of) {
  if (!is_open()) return base::not_open();
  constexpr std::size_t kCountMax = ~std::uint32_t{0};
  if (count > kCountMax) return Status(Errc::too_large, "load() takes 2^32 entries at most");
  engine_->expect(count);
  // A build for size writes them as they come.
  if (base::kSmallBuild || !engine_->shape().ordered) return std::u32string();
  return LoadOrder(*engine_, count, key_of).numbers();
}

}  // namespace armdb

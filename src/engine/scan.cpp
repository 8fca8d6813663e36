// Merging the shards' leaves in key order, and walking maps.
#include "engine/scan.hpp"

#include <cstring>

#include "base/little.hpp"

namespace armdb::engine {

OrderedScan::OrderedScan(const Engine& engine, ScanLimits limits, bool descending)
    : engine_(engine),
      limits_(std::move(limits)),
      descending_(descending),
      key_size_(engine.shape().key_size),
      walking_descending_(descending) {}

bool OrderedScan::first() {
  const bool from_upper = descending_;
  const std::vector<std::uint8_t>& from = from_upper ? limits_.upper : limits_.lower;
  const index::Bound bound = from_upper ? limits_.upper_bound : limits_.lower_bound;
  return start(from.data(), bound, descending_);
}

bool OrderedScan::start(const std::uint8_t* key, index::Bound bound, bool descending) {
  walking_descending_ = descending;
  heap_.clear();
  if (sources_.empty()) {
    const bool one = limits_.shard < engine_.shard_count();
    sources_.resize(one ? 1 : engine_.shard_count());
    for (std::size_t at = 0; at < sources_.size(); ++at) {
      sources_[at].shard = one ? limits_.shard : static_cast<std::uint32_t>(at);
      sources_[at].block = engine_.shard(sources_[at].shard).index().make_block();
      if (!sources_[at].block.valid()) {
        status_ = Status(Errc::out_of_memory, "no memory for a scan");
        return false;
      }
    }
  }
  for (std::uint32_t at = 0; at < sources_.size(); ++at) {
    Source& source = sources_[at];
    engine_.shard(source.shard).index().read_from(key, bound, descending, source.block);
    if (enter_block(source)) heap_.push_back(at);
  }
  for (std::size_t at = heap_.size() / 2; at-- > 0;) sift_down(at);
  return valid();
}

bool OrderedScan::next() {
  if (!valid()) return false;
  if (walking_descending_ != descending_) {
    const std::vector<std::uint8_t> here(key(), key() + key_size_);
    return start(here.data(), index::Bound::exclusive, descending_);
  }
  return advance(descending_);
}

bool OrderedScan::back() {
  const bool backward = !descending_;
  if (valid() && walking_descending_ == backward) return advance(backward);
  if (valid()) {
    const std::vector<std::uint8_t> here(key(), key() + key_size_);
    return start(here.data(), index::Bound::exclusive, backward);
  }
  const std::vector<std::uint8_t>& from = descending_ ? limits_.lower : limits_.upper;
  return start(from.data(), descending_ ? limits_.lower_bound : limits_.upper_bound, backward);
}

bool OrderedScan::advance(bool descending) {
  Source& source = sources_[heap_.front()];
  ++source.at;
  if (source.at < source.end) {
    if (heap_.size() == 1) return true;
    source.prefix = prefix_of(source.block.key(source.at));
  } else {
    bool more = source.end == source.block.count();
    if (more) {
      engine_.shard(source.shard).index().read_next(descending, source.block);
      more = enter_block(source);
    }
    if (!more) {
      heap_.front() = heap_.back();
      heap_.pop_back();
    }
  }
  if (heap_.size() > 1) sift_down(0);
  return valid();
}

bool OrderedScan::enter_block(Source& source) const noexcept {
  source.at = 0;
  source.end = source.block.count();
  if (source.end == 0) return false;
  if (!inside(source.block.key(source.end - 1))) {
    // The first entry outside; blocks are in the order of the walk.
    std::size_t low = 0;
    while (low < source.end) {
      const std::size_t middle = low + (source.end - low) / 2;
      if (inside(source.block.key(middle))) {
        low = middle + 1;
      } else {
        source.end = middle;
      }
    }
  }
  if (source.end == 0) return false;
  source.prefix = prefix_of(source.block.key(0));
  return true;
}

// True when the far limit does not exclude the key.
bool OrderedScan::inside(const std::uint8_t* key) const noexcept {
  const index::Bound bound = walking_descending_ ? limits_.lower_bound : limits_.upper_bound;
  if (bound == index::Bound::none) return true;
  const std::vector<std::uint8_t>& limit = walking_descending_ ? limits_.lower : limits_.upper;
  int order = std::memcmp(key, limit.data(), key_size_);
  if (walking_descending_) order = -order;
  return order < 0 || (order == 0 && bound == index::Bound::inclusive);
}

std::uint64_t OrderedScan::prefix_of(const std::uint8_t* key) const noexcept {
  if (key_size_ >= 8) [[likely]]
    return base::load_big<std::uint64_t>(key);
  std::uint8_t padded[8] = {};
  std::memcpy(padded, key, key_size_);
  return base::load_big<std::uint64_t>(padded);
}

bool OrderedScan::before(std::uint32_t a, std::uint32_t b) const noexcept {
  const Source& left = sources_[a];
  const Source& right = sources_[b];
  if (left.prefix != right.prefix) {
    return walking_descending_ ? left.prefix > right.prefix : left.prefix < right.prefix;
  }
  const int order = std::memcmp(left.block.key(left.at), right.block.key(right.at), key_size_);
  return walking_descending_ ? order > 0 : order < 0;
}

void OrderedScan::sift_down(std::size_t at) noexcept {
  for (;;) {
    std::size_t least = at;
    for (std::size_t child = 2 * at + 1; child <= 2 * at + 2 && child < heap_.size(); ++child) {
      if (before(heap_[child], heap_[least])) least = child;
    }
    if (least == at) return;
    std::swap(heap_[at], heap_[least]);
    at = least;
  }
}

const std::uint8_t* OrderedScan::key() const noexcept { return top().block.key(top().at); }

const std::uint8_t* OrderedScan::value() const noexcept { return top().block.value(top().at); }

Result<bool> OrderedScan::read(ByteView& out) const {
  return engine_.shard(top().shard)
      .read_at(Bytes(key(), key_size_), top().block.location(top().at), out);
}

// ---- Maps ----

Status UnorderedScan::run(bool with_values, FunctionRef<bool(Bytes key, Bytes value)> visit) {
  bool go_on = true;
  for (std::uint32_t at = 0; go_on && at < engine_.shard_count(); ++at) {
    const Shard& shard = engine_.shard(at);
    index::Block block = shard.index().make_block();
    if (!block.valid()) return Status(Errc::out_of_memory, "no memory for a scan");
    if (engine_.shape().ordered) {
      shard.index().read_from(nullptr, index::Bound::none, false, block);
      while (go_on && block.count() != 0) {
        Status status = visit_block(shard, block, with_values, visit, go_on);
        if (!status.ok()) return status;
        shard.index().read_next(false, block);
      }
      continue;
    }
    std::uint64_t cursor = 0;
    do {
      cursor = shard.index().scan(cursor, block);
      Status status = visit_block(shard, block, with_values, visit, go_on);
      if (!status.ok()) return status;
    } while (go_on && cursor != 0);
  }
  return {};
}

Status UnorderedScan::visit_block(const Shard& shard, const index::Block& block, bool with_values,
                                  FunctionRef<bool(Bytes key, Bytes value)> visit, bool& go_on) {
  const Shape& shape = engine_.shape();
  for (std::size_t at = 0; go_on && at < block.count(); ++at) {
    const Bytes key(block.key(at), shape.key_size);
    if (shape.payload == Payload::value) {
      go_on = visit(key, Bytes(block.value(at), shape.value_size));
      continue;
    }
    if (!with_values) {
      go_on = visit(key, {});
      continue;
    }
    ByteView view;
    const Result<bool> found = shard.read_at(key, block.location(at), view);
    if (!found.ok()) return found.status();
    if (*found) go_on = visit(key, view);
  }
  return {};
}

}  // namespace armdb::engine

// Merging the shards' leaves in key order, and walking maps.
#include "engine/scan.hpp"

#include <cstring>

#include "base/errors.hpp"
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
    sources_ = std::vector<Source>(one ? 1 : engine_.shard_count());
    for (std::size_t at = 0; at < sources_.size(); ++at) {
      sources_[at].shard = one ? limits_.shard : static_cast<std::uint32_t>(at);
      sources_[at].block = engine_.shard(sources_[at].shard).index().make_block();
      if (!sources_[at].block.valid()) {
        status_ = base::out_of_memory("no memory for a scan");
        return false;
      }
    }
  }
  for (std::uint32_t at = 0; at < sources_.size(); ++at) {
    Source& source = sources_[at];
    const index::Index& index = engine_.shard(source.shard).index();
    fill(source, [&](index::Block& block) { index.read_from(key, bound, descending, block); });
    if (enter_block(source)) heap_.push_back(at);
  }
  for (std::size_t at = heap_.size() / 2; at-- > 0;) sift_down(at);
  return valid();
}

OrderedScan::~OrderedScan() {
  for (const Source& source : sources_) drop_objects(engine_, source.block);
}

void OrderedScan::fill(Source& source, FunctionRef<void(index::Block&)> how) const {
  if (engine_.objects() == nullptr) return how(source.block);
  // How to go on stands in the block, so its objects are dropped behind the fill.
  std::vector<detail::Shared*> before(source.block.count());
  for (std::size_t at = 0; at < before.size(); ++at) before[at] = object_at(source.block.value(at));
  {
    const base::EpochDomain::Guard guard(engine_.epochs());
    how(source.block);
    share_objects(engine_, source.block);
  }
  for (detail::Shared* object : before) detail::unshare(object);
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
      const index::Index& index = engine_.shard(source.shard).index();
      fill(source, [&](index::Block& block) { index.read_next(descending, block); });
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

Status OrderedScan::describe(const Status& status) const {
  return engine_.shard(top().shard)
      .describe(key_status(status, Bytes(key(), key_size_)), top().block.location(top().at));
}

bool OrderedScan::still_there() noexcept {
  Source& source = sources_[heap_.front()];
  return engine_.shard(source.shard).still_there(source.block, source.at);
}

// ---- Decoded objects ----

void share_objects(const Engine& engine, const index::Block& block) noexcept {
  if (engine.objects() == nullptr) return;
  for (std::size_t at = 0; at < block.count(); ++at) detail::share(object_at(block.value(at)));
}

void drop_objects(const Engine& engine, const index::Block& block) noexcept {
  if (engine.objects() == nullptr) return;
  for (std::size_t at = 0; at < block.count(); ++at) detail::unshare(object_at(block.value(at)));
}

// ---- Maps ----

Status UnorderedScan::run(Visitor visit) {
  if (!engine_.shape().ordered) {
    std::uint64_t cursor = 0;
    return run_some(cursor, ~std::size_t{0}, visit);
  }
  // A tree has no cursor but its keys.
  OrderedScan scan(engine_, {}, false);
  const Shape& shape = engine_.shape();
  for (bool go_on = scan.first(); go_on; go_on = go_on && scan.next()) {
    if (!scan.still_there()) continue;
    const Bytes key(scan.key(), shape.key_size);
    if (shape.payload == Payload::value) {
      go_on = visit(key, Bytes(scan.value(), shape.value_size), nullptr);
    } else if (engine_.objects() != nullptr) {
      go_on = visit(key, {}, object_at(scan.value()));
    } else {
      ByteView view;
      const Result<bool> found = with_values_ ? scan.read(view) : true;
      if (!found.ok()) return found.status();
      if (*found) go_on = visit(key, view, nullptr);
    }
  }
  return scan.status();
}

Status UnorderedScan::run_some(std::uint64_t& cursor, std::size_t limit, Visitor visit) {
  // The shard stands in the upper bits, which no cursor of an index reaches.
  constexpr unsigned kShardShift = 54;
  auto at = static_cast<std::uint32_t>(cursor >> kShardShift);
  std::uint64_t within = cursor & ((std::uint64_t{1} << kShardShift) - 1);
  if (at >= engine_.shard_count()) {
    return Status(Errc::invalid_argument, "the cursor is not one that scan() returned");
  }
  index::Block block = engine_.shard(at).index().make_block();
  if (!block.valid()) return base::out_of_memory("no memory for a scan");
  std::size_t seen = 0;
  bool go_on = true;
  while (go_on && seen < limit && at < engine_.shard_count()) {
    const Shard& shard = engine_.shard(at);
    {
      const base::EpochDomain::Guard guard(engine_.epochs());
      within = shard.index().scan(within, block);
      share_objects(engine_, block);
    }
    if (within == 0) ++at;
    seen += block.count();
    Status status = visit_block(shard, block, visit, go_on);
    if (!status.ok()) return status;
  }
  cursor = at >= engine_.shard_count() ? 0 : (std::uint64_t{at} << kShardShift) | within;
  return {};
}

// Ends the block's shares of objects.
Status UnorderedScan::visit_block(const Shard& shard, index::Block& block, Visitor visit,
                                  bool& go_on) {
  const Shape& shape = engine_.shape();
  Status status;
  for (std::size_t at = 0; go_on && status.ok() && at < block.count(); ++at) {
    const Bytes key(block.key(at), shape.key_size);
    if (!shard.still_there(block, at)) continue;
    if (shape.payload == Payload::value) {
      go_on = visit(key, Bytes(block.value(at), shape.value_size), nullptr);
    } else if (engine_.objects() != nullptr) {
      go_on = visit(key, {}, object_at(block.value(at)));
    } else {
      ByteView view;
      const Result<bool> found = with_values_ ? shard.read_at(key, block.location(at), view) : true;
      status = found.status();
      if (found.ok() && *found) go_on = visit(key, view, nullptr);
    }
  }
  drop_objects(engine_, block);
  return status;
}

}  // namespace armdb::engine

// Blocks, and the choice between the two indexes.
#include "index/index.hpp"

#include <cstring>
#include <new>

namespace armdb::index {

Block::Block(std::uint32_t key_size, std::uint32_t value_size, std::size_t capacity) {
  const auto padded = [](std::size_t size) { return (size + 7) / 8 * 8; };
  const std::size_t payload_bytes = 8 + padded(value_size);
  const std::size_t stride = payload_bytes + padded(key_size);
  memory_.reset(new (std::nothrow) std::uint8_t[stride * capacity]);
  if (memory_ == nullptr) return;
  payload_bytes_ = payload_bytes;
  stride_ = stride;
  capacity_ = capacity;
}

base::Location Block::location(std::size_t at) const noexcept {
  std::uint64_t packed;
  std::memcpy(&packed, memory_.get() + at * stride_, sizeof packed);
  return base::Location(packed);
}

void Block::set_location(std::size_t at, base::Location location) noexcept {
  const std::uint64_t packed = location.packed();
  std::memcpy(memory_.get() + at * stride_, &packed, sizeof packed);
}

void Index::prefetch(std::uint64_t) const noexcept {}

void Index::find_many(std::span<Lookup> lookups) const noexcept {
  for (Lookup& lookup : lookups) {
    lookup.found = find(lookup.key, lookup.hash, &lookup.at, lookup.value);
  }
}

std::unique_ptr<Index> make_index(const IndexConfig& config) {
  return config.ordered ? make_btree(config) : make_hash_table(config);
}

}  // namespace armdb::index

// The table of expiries: a hash table beside the index, made when the first key needs it.
#include "engine/expiry.hpp"

#include <cstring>

namespace armdb::engine {

namespace {

index::IndexConfig expiry_config(index::IndexConfig like) noexcept {
  like.value_size = sizeof(std::uint64_t);
  like.ordered = false;
  return like;
}

}  // namespace

ExpiryTable::ExpiryTable(Clock& clock, index::IndexConfig like) noexcept
    : clock_(clock), config_(expiry_config(like)) {}

ExpiryTable::~ExpiryTable() { delete table_.load(std::memory_order_relaxed); }

std::uint64_t ExpiryTable::find(const std::uint8_t* key, std::uint64_t hash) const noexcept {
  const index::Index* table = this->table();
  std::uint8_t bytes[8];
  if (table == nullptr || !table->find(key, hash, nullptr, bytes)) return 0;
  std::uint64_t expiry_ms = 0;
  std::memcpy(&expiry_ms, bytes, sizeof expiry_ms);
  return expiry_ms;
}

bool ExpiryTable::over(std::uint64_t expiry_ms) const noexcept {
  if (expiry_ms == 0 || expiry_ms > clock_.now_ms()) return false;
  clock_.raise(expiry_ms);
  return true;
}

bool ExpiryTable::reserve(std::size_t count) noexcept {
  index::Index* table = table_.load(std::memory_order_relaxed);
  if (table == nullptr) {
    table = index::make_index(config_).release();
    if (table == nullptr) return false;
    table_.store(table, std::memory_order_release);
  }
  return table->reserve(count);
}

void ExpiryTable::set(const std::uint8_t* key, std::uint64_t hash,
                      std::uint64_t expiry_ms) noexcept {
  index::Index* table = table_.load(std::memory_order_relaxed);
  if (table == nullptr) return;
  index::Place place;
  table->locate(key, hash, place);
  if (expiry_ms == 0) {
    if (place.found) table->erase(place);
    return;
  }
  std::uint8_t bytes[8];
  std::memcpy(bytes, &expiry_ms, sizeof bytes);
  // The location means nothing here, but an index wants one.
  table->publish(place, key, bytes, base::Location(std::uint64_t{1} << 40));
}

}  // namespace armdb::engine

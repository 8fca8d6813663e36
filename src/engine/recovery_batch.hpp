// RecoveryBatch: recovered entries on their way into the index, some at a time, so that their
// cache misses overlap.
//
// Threads: one; nobody else has the shard yet.
#pragma once

#include <vector>

#include "engine/expiry.hpp"
#include "engine/shard.hpp"

namespace armdb::engine {

class RecoveryBatch {
 public:
  // `objects` is null where values are not kept decoded.
  RecoveryBatch(index::Index& index, ExpiryTable& expiries, const Shape& shape,
                const detail::ObjectOps* objects, std::uint64_t seed);
  ~RecoveryBatch();
  RecoveryBatch(const RecoveryBatch&) = delete;
  RecoveryBatch& operator=(const RecoveryBatch&) = delete;

  Status add(store::Store& store, const store::RecoveredEntry& entry);
  Status apply(store::Store& store);

  // Keys whose last value so far was rejected by the codec; their object is null in the index.
  [[nodiscard]] std::uint64_t undecoded() const noexcept { return undecoded_; }
  [[nodiscard]] const Status& decode_error() const noexcept { return decode_error_; }

 private:
  static constexpr std::size_t kEntries = 32;

  void drop_object(const std::uint8_t* kept) noexcept;

  index::Index& index_;
  ExpiryTable& expiries_;
  const std::uint32_t key_size_;
  const std::size_t kept_size_;  // bytes of a value that the index keeps
  const detail::ObjectOps* const objects_;
  const std::uint64_t seed_;
  std::vector<std::uint8_t> bytes_;  // keys, each followed by what is kept of its value
  index::Lookup lookups_[kEntries];
  base::Location at_[kEntries];
  std::uint64_t expiry_ms_[kEntries] = {};
  std::uint64_t sequence_[kEntries] = {};
  bool tombstone_[kEntries] = {};
  std::size_t first_ = 0;  // those before it have been applied
  std::size_t count_ = 0;
  std::uint64_t undecoded_ = 0;
  Status decode_error_;
};

}  // namespace armdb::engine

// Recovered entries on their way into the index; of two of one key the store says which counts.
#include "engine/recovery_batch.hpp"

#include "base/errors.hpp"
#include "base/hash64.hpp"

namespace armdb::engine {

namespace {

std::size_t recovered_kept_size(const Shape& shape, bool objects) noexcept {
  if (objects) return sizeof(detail::Shared*);
  return shape.payload == Payload::value ? shape.value_size : 0;
}

}  // namespace

RecoveryBatch::RecoveryBatch(index::Index& index, ExpiryTable& expiries, const Shape& shape,
                             const detail::ObjectOps* objects, std::uint64_t seed)
    : index_(index),
      expiries_(expiries),
      key_size_(shape.key_size),
      kept_size_(recovered_kept_size(shape, objects != nullptr)),
      objects_(objects),
      seed_(seed),
      bytes_(kEntries * (key_size_ + kept_size_)) {}

// Objects that the index did not get.
RecoveryBatch::~RecoveryBatch() {
  for (; objects_ != nullptr && first_ < count_; ++first_) {
    detail::Shared* object = object_at(lookups_[first_].key + key_size_);
    if (object != nullptr) detail::unshare(object);
  }
}

Status RecoveryBatch::add(store::Store& store, const store::RecoveredEntry& entry) {
  std::uint8_t* key = bytes_.data() + count_ * (key_size_ + kept_size_);
  std::memcpy(key, entry.key.data(), key_size_);
  if (objects_ != nullptr) {
    // Old values too: which one is the last is not known yet.
    detail::Shared* object = nullptr;
    Status status;
    if (!entry.tombstone) object = objects_->decode(entry.value, status);
    if (status.is(Errc::out_of_memory)) return status;
    if (!status.ok()) decode_error_ = std::move(status);
    std::memcpy(key + key_size_, &object, sizeof(void*));
  } else if (kept_size_ != 0 && !entry.tombstone) {
    std::memcpy(key + key_size_, entry.value.data(), kept_size_);
  }
  lookups_[count_] = {key, base::hash64(key, key_size_, seed_), nullptr, {}, false};
  at_[count_] = entry.at;
  expiry_ms_[count_] = entry.expiry_ms;
  sequence_[count_] = entry.sequence;
  tombstone_[count_] = entry.tombstone;
  ++count_;
  return count_ == kEntries ? apply(store) : Status();
}

void RecoveryBatch::drop_object(const std::uint8_t* kept) noexcept {
  detail::Shared* object = object_at(kept);
  object != nullptr ? detail::unshare(object) : static_cast<void>(--undecoded_);
}

Status RecoveryBatch::apply(store::Store& store) {
  // Only for the misses it takes: every entry is located again below, in order.
  index_.find_many({lookups_, count_});
  for (std::size_t& at = first_; at < count_; ++at) {
    const std::uint8_t* key = lookups_[at].key;
    const std::uint64_t hash = lookups_[at].hash;
    index::Place place;
    index_.locate(key, hash, place);
    if (place.found) {
      const Result<bool> newer = store.settle(
          place.at, {.key = {}, .value = {}, .sequence = sequence_[at], .at = at_[at]});
      if (!newer.ok()) return newer.status();
      if (!*newer) continue;
      if (objects_ != nullptr) drop_object(place.value);
    }
    if (expiry_ms_[at] != 0 && !expiries_.reserve(1)) {
      return base::out_of_memory("no memory for the table of expiries");
    }
    expiries_.set(key, hash, expiry_ms_[at]);
    if (tombstone_[at]) {
      if (place.found) index_.erase(place);
      continue;
    }
    if (!place.found && !index_.reserve()) {
      return base::out_of_memory("no memory for the index");
    }
    if (objects_ != nullptr && object_at(key + key_size_) == nullptr) ++undecoded_;
    index_.publish(place, key, key + key_size_, at_[at]);
  }
  first_ = count_ = 0;
  return {};
}

}  // namespace armdb::engine

// WriteBatch: writes to any keys of one collection that happen as a whole.
#pragma once

#include "api/face.hpp"

namespace armdb {

// Collects writes; commit() makes all of them happen or none, also after a crash, whatever shards
// they are in. Of two writes to one key the later one wins.
//
//   armdb::WriteBatch batch(accounts);
//   armdb::Status status = batch.put(from, a);
//   if (status.ok()) status = batch.put(to, b);
//   if (status.ok()) status = batch.commit({.sync = true});
//
// Isolation: other writers of these shards come before or after the whole; a reader, which takes
// no lock, may see the first keys changed and the last ones not yet. Synced, it costs one fdatasync
// per shard it touches; the first batch over several shards since the collection was opened syncs
// a small file beside that. Up to 1 GiB per shard. Hooks are told in the order of each shard.
// Threads: one per batch; many batches may commit at once. The collection must outlive it.
template <class C> class WriteBatch {
 public:
  static_assert(!C::kFixed, "a WriteBatch needs a log: use the Bitcask store");
  using K = typename C::key_type;
  using In = typename C::In;
  explicit WriteBatch(C& collection) noexcept : collection_(&collection) {}
  // Fails only when the value cannot be encoded. Of the options the time to live counts.
  Status put(const K& key, const In& value, WriteOptions options = {}) {
    detail::Encoded encoded;
    Status status = C::Values::encode(value, encoded);
    if (!status.ok()) return status;
    buffer_.add(encoded.in({}, detail::KeyBytes<K>(key)), options.ttl_ms);
    return {};
  }
  // A key that is not there is passed over.
  Status erase(const K& key) {
    buffer_.add({.key = detail::KeyBytes<K>(key), .kind = detail::WriteKind::erase}, 0);
    return {};
  }
  [[nodiscard]] std::size_t size() const noexcept { return buffer_.count(); }
  [[nodiscard]] bool empty() const noexcept { return buffer_.count() == 0; }
  void clear() noexcept { buffer_.clear(); }
  // When ok the batch is empty. On an error nothing has changed and the writes are still here; but
  // when only the sync failed they are visible, as those of put(), and the batch is empty. Times to
  // live count from here. Of the options sync counts.
  Status commit(WriteOptions options = {}) {
    return collection_->collection().write_batch(buffer_, options);
  }

 private:
  C* collection_;
  detail::BatchBuffer buffer_;
};

}  // namespace armdb

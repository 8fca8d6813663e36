// Shard: the only place where an index and a store meet.
//
// Invariants:
//   (1) The index never names an entry the store has not accepted.
//   (2) Under mutex_ nothing is synced and no value is read from disk.
//
// Threads: any thread may call any member. Writers hold mutex_; reads take no lock. sync_mutex_
// lets one thread sync for all that wait (group commit). maintenance_ is held by compaction,
// checkpoint and close. Order of locks: maintenance_, sync_mutex_, mutex_.
#pragma once

#include <memory>

#include "base/mutex.hpp"
#include "core/stats.hpp"
#include "index/index.hpp"
#include "store/log_compaction.hpp"
#include "store/log_store.hpp"

namespace armdb::engine {

// When a write may happen.
enum class When : std::uint8_t {
  always,
  absent,   // else key_exists
  present,  // else not_found
  equal,    // else not_found or value_mismatch
};

struct WriteRequest {
  Bytes key;
  std::uint64_t hash = 0;
  Bytes value;
  bool erase = false;
  When when = When::always;
  Bytes expected;                     // with When::equal
  std::uint8_t* old_value = nullptr;  // Payload::value: gets the value before, if there was one
  ByteView* old_view = nullptr;       // Payload::location: the same
  bool* had_old = nullptr;
};

class Shard {
 public:
  // Recovers the shard; `seed` is that of the router's hashes.
  static Result<std::unique_ptr<Shard>> open(const store::StoreContext& context,
                                             std::uint64_t seed);

  Status write(const WriteRequest& request);
  // Several plain puts under one lock; stops at the first that fails.
  Status put_group(std::span<const WriteRequest* const> requests);

  // Payload::value: copies the value. Payload::location: tells only whether the key is there.
  bool find(const std::uint8_t* key, std::uint64_t hash, std::uint8_t* value) const noexcept {
    return index_->find(key, hash, nullptr, value);
  }
  void find_many(std::span<index::Lookup> lookups) const noexcept { index_->find_many(lookups); }

  // Payload::location: calls `use` with the value, which ends with the call. False when the key
  // is not there.
  Result<bool> read(Bytes key, std::uint64_t hash, FunctionRef<void(Bytes)> use) const;
  Result<bool> read_view(Bytes key, std::uint64_t hash, ByteView& out) const;
  // The same for an entry that a scan found at `at`; asks the index when it has moved.
  Result<bool> read_at(Bytes key, base::Location at, ByteView& out) const;

  Status flush();
  // Everything accepted before the call is durable when it returns ok.
  Status sync();
  Status checkpoint();
  Status warmup();
  Status verify(VerifyReport& report);
  // One step of compaction; true when there is more to do. On a full disk it goes on with the
  // store's reserve.
  Result<bool> compact_step(std::uint64_t budget, double threshold);
  Status seal();
  Status close();

  [[nodiscard]] std::uint64_t durable_sequence() const noexcept {
    return store_->durable_sequence();
  }
  [[nodiscard]] bool unsynced() const noexcept;
  void add_stats(Stats& stats) const;
  [[nodiscard]] const index::Index& index() const noexcept { return *index_; }
  [[nodiscard]] std::size_t size() const noexcept { return index_->size(); }

 private:
  Shard(const store::StoreContext& context, std::uint64_t seed) : context_(context), seed_(seed) {}

  Status write_located(const WriteRequest& request, index::Place& place) ARMDB_REQUIRES(mutex_);
  Status write_comparing_values(const WriteRequest& request);
  Status refuse_if_closed() const ARMDB_REQUIRES(mutex_);
  Status after_write(bool sync_wanted);
  Status read_location(base::Location at, Bytes key, store::ReadBuffer& buffer, Bytes& value,
                       bool& moved) const;
  Result<bool> find_and_read(Bytes key, std::uint64_t hash, store::ReadBuffer& buffer,
                             Bytes& value) const;
  Result<bool> compact_once(std::uint64_t budget, double threshold, bool cheapest)
      ARMDB_REQUIRES(maintenance_);
  Status fail(Status cause);
  Status sync_all(bool files_too);
  Result<bool> finish_compaction() ARMDB_REQUIRES(maintenance_);
  Status relocate_all(store::LogCompaction& job) ARMDB_REQUIRES(maintenance_);

  const store::StoreContext context_;
  const std::uint64_t seed_;

  mutable base::Mutex maintenance_;
  std::unique_ptr<store::LogCompaction> compaction_ ARMDB_GUARDED_BY(maintenance_);

  base::Mutex sync_mutex_;

  // Written under mutex_, read without: both say themselves what readers may call.
  mutable base::Mutex mutex_;
  std::unique_ptr<index::Index> index_;
  std::unique_ptr<store::LogStore> store_;
  bool closed_ ARMDB_GUARDED_BY(mutex_) = false;
};

}  // namespace armdb::engine

// Transaction: what an atomic block sees of its shard: the shard's state and its own writes.
//
// Writes are kept aside and become one batch when the block ends well; until then neither the log
// nor the index has any of them, so rolling back is forgetting.
//
// Threads: the one that runs the block, which holds the shard's lock.
#pragma once

#include <vector>

#include "engine/shard.hpp"

namespace armdb::engine {

class Transaction {
 public:
  explicit Transaction(Shard& shard) noexcept : shard_(shard) {}
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  // The shard's lock is held by whoever made it.
  Status write(const WriteRequest& request) ARMDB_NO_THREAD_SAFETY_ANALYSIS;
  // Calls `use` with the value, or with the decoded object where such are kept; false when the key
  // is not there. A Var value is read from disk under the lock.
  Result<bool> read(Bytes key, std::uint64_t hash,
                    FunctionRef<void(Bytes value, detail::Shared* object)> use) const;
  [[nodiscard]] bool contains(Bytes key, std::uint64_t hash) const noexcept;

  [[nodiscard]] const Shard& shard() const noexcept { return shard_; }
  // All writes in their order; the views end with the next write.
  [[nodiscard]] std::vector<WriteRequest> requests() const;

 private:
  struct Pending {
    std::size_t bytes_at = 0;  // of the key, and the value behind it
    std::size_t value_size = 0;
    std::uint64_t hash = 0;
    std::uint64_t expiry_ms = 0;
    detail::Shared* object = nullptr;
    bool erase = false;
    std::uint32_t before = 0;  // the write before it in its chain, counted from 1; 0: none
  };

  // The last write of the key, or null.
  [[nodiscard]] const Pending* find(Bytes key, std::uint64_t hash) const noexcept;
  [[nodiscard]] Bytes key_of(const Pending& pending) const noexcept;
  [[nodiscard]] Bytes value_of(const Pending& pending) const noexcept;
  void chain(std::uint32_t number);

  Shard& shard_;
  std::vector<std::uint8_t> bytes_;
  std::vector<Pending> pending_;
  std::vector<std::uint32_t> heads_;  // by hash: the last write of each chain, counted from 1
};

}  // namespace armdb::engine

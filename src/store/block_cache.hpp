// Block cache: recently read 4 KiB pieces of segments, where segments are not mapped.
//
// Set-associative with a clock hand per set: a fixed number of blocks, no allocation after
// opening. Blocks are filled from files only below what is final there, so they never go stale;
// file ids are never used twice.
//
// Threads: any; a mutex is held while bytes are copied, not while the disk is read.
#pragma once

#include <cstdint>
#include <memory>

#include "base/mutex.hpp"
#include "core/file_system.hpp"
#include "core/status.hpp"

namespace armdb::store {

class BlockCache {
 public:
  static constexpr std::size_t kBlockBytes = 4096;

  // `bytes` of memory in all; 0 turns the cache off.
  explicit BlockCache(std::uint64_t bytes);

  // Reads [offset, offset + out.size()) of `file`, all of which lies below `readable`. Blocks
  // that lie wholly below it are kept.
  Status read(std::uint32_t file_id, File& file, std::uint64_t offset, std::uint64_t readable,
              MutableBytes out);

  [[nodiscard]] std::uint64_t memory_bytes() const noexcept;
  [[nodiscard]] std::uint64_t hits() const noexcept;
  [[nodiscard]] std::uint64_t misses() const noexcept;

 private:
  static constexpr std::size_t kWays = 4;
  struct Slot {
    std::uint64_t tag = 0;  // file id and block number; 0: empty
    bool used = false;      // since the hand last passed
  };

  bool look_up(std::uint64_t tag, std::size_t skip, MutableBytes out);
  void insert(std::uint64_t tag, const std::uint8_t* block);
  [[nodiscard]] std::size_t set_of(std::uint64_t tag) const noexcept;

  std::size_t sets_ = 0;
  mutable base::Mutex mutex_;
  std::unique_ptr<Slot[]> slots_ ARMDB_GUARDED_BY(mutex_);
  std::unique_ptr<std::uint8_t[]> blocks_ ARMDB_GUARDED_BY(mutex_);
  std::unique_ptr<std::uint8_t[]> hands_ ARMDB_GUARDED_BY(mutex_);
  std::uint64_t hits_ ARMDB_GUARDED_BY(mutex_) = 0;
  std::uint64_t misses_ ARMDB_GUARDED_BY(mutex_) = 0;
};

}  // namespace armdb::store

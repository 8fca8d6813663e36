// Tail buffer: a shard's write buffer, in a small file mapped shared where that can be had.
//
// What put() copies in here is in the page cache at once and survives the death of the process.
// When it is full it is written to the active segment in one piece and begun anew from the start.
// Of an encrypted shard the buffer is plain memory, and the file has the same sealed.
//
// Invariants:
//   (1) The entries from the start to `used` are those that follow the active segment's length.
//   (2) A byte below `used` changes only after reset() made the version odd.
//
// Threads: read() by anyone; the rest by the holder of the shard's lock. Where readers look
// (`shared_reads`), bytes are stored by relaxed atomics and read under base::Version.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "base/shared_bytes.hpp"
#include "format/entry.hpp"
#include "store/sealed_tail.hpp"
#include "store/store.hpp"

namespace armdb::store {

class TailBuffer {
 public:
  // Opens the buffer's file, making or resizing it as needed (what was in it is gone then); falls
  // back to plain memory where the file system has no shared mappings.
  Status open(const StoreContext& context, std::size_t capacity, bool shared_reads);
  // Plain memory holding `bytes`, which follow `segment` from `base` on: what a read-only open
  // found in the file.
  Status open_memory(Bytes bytes, std::uint32_t segment, std::uint64_t base);

  [[nodiscard]] bool survives_kill() const noexcept {
    return static_cast<bool>(mapping_) || (crypto::kHasCrypto && sealed_ != nullptr);
  }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::size_t used() const noexcept { return used_; }
  [[nodiscard]] std::size_t room() const noexcept { return capacity_ - used_; }
  [[nodiscard]] Bytes contents() const noexcept { return {data_, used_}; }
  // Where the next entry goes, as an offset in the segment's file.
  [[nodiscard]] std::uint64_t next_offset() const noexcept {
    return base_.load(std::memory_order_relaxed) + used_;
  }

  // Appends `entry`, whose `bytes` fit.
  void append(const format::Entry& entry, std::uint32_t seed, std::size_t bytes) noexcept;
  // Encrypted: seals what was appended since the last time; before the shard's lock is released.
  void seal() noexcept {
    if (crypto::kHasCrypto && sealed_ != nullptr && used_ != sealed_used_) seal_fresh();
  }
  // Forgets everything: what follows belongs to `segment` from `base` on.
  void reset(std::uint32_t segment, std::uint64_t base) noexcept;

  // Copies the entry at `at` out. False when the buffer no longer holds it.
  bool read(base::Location at, ReadBuffer& buffer, Bytes& entry, bool& out_of_memory) const;

 private:
  Status map_file(const StoreContext& context, const std::string& path, std::size_t bytes);
  void seal_fresh() noexcept;

  Owned<File> file_;
  Owned<Mapping> mapping_;
  std::unique_ptr<SealedTail> sealed_;  // of an encrypted shard; null: a kill takes the buffer
  std::size_t sealed_used_ = 0;
  std::unique_ptr<std::uint8_t[]> memory_;
  std::unique_ptr<std::uint8_t[]> scratch_;  // an entry before it is stored for readers
  std::uint8_t* data_ = nullptr;
  std::size_t capacity_ = 0;
  std::size_t used_ = 0;

  base::Version version_;
  std::atomic<std::uint32_t> segment_{0};
  std::atomic<std::uint64_t> base_{0};
};

// Reads a shard's tail file into memory: the entries after its header, empty when there is none.
struct TailContents {
  std::unique_ptr<std::uint8_t[]> memory;
  std::vector<std::uint8_t> unsealed;  // of an encrypted shard
  Bytes bytes;
};
Status read_tail_file(const StoreContext& context, TailContents& contents);

// Opens or makes the buffer's file, with real blocks for `bytes`.
Status open_buffer_file(const StoreContext& context, const std::string& path, std::size_t bytes,
                        Owned<File>& file);
void encode_tail_header(const StoreContext& context, MutableBytes out) noexcept;  // 40 bytes

}  // namespace armdb::store

// What all stores share: the context of a shard's files, recovered entries, reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/epoch.hpp"
#include "base/location.hpp"
#include "core/byte_view.hpp"
#include "core/bytes.hpp"
#include "core/config.hpp"
#include "core/file_system.hpp"
#include "core/status.hpp"
#include "format/file_name.hpp"

namespace armdb::store {

using StoreId = ByteArray<16>;

[[nodiscard]] std::string path_in(std::string_view directory, std::string_view name);
// What a file is called until it is whole.
[[nodiscard]] std::string temporary_path(std::string_view path);

// What a shard's store is made from. The references outlive it.
struct StoreContext {
  FileSystem& files;
  const Config& config;
  base::EpochDomain& epochs;
  std::string directory;  // "collection/shard_000"
  StoreId store_id{};
  std::uint32_t shard = 0;
  std::uint32_t shard_count = 1;
  Shape shape;
  bool needs_values = false;  // recovery has to tell values, which hints do not have

  // Where a file of the shard lies.
  [[nodiscard]] std::string path_of(std::string_view name) const;
  [[nodiscard]] std::string path_of(format::FileRole role, std::uint32_t file_id) const;

  // Bytes read or written at a time by scans and compaction: small where buffers are small.
  [[nodiscard]] std::size_t piece_bytes() const noexcept {
    constexpr std::size_t kPieceMax = std::size_t{1} << 20;
    return config.write_buffer_size < kPieceMax ? config.write_buffer_size : kPieceMax;
  }
};

// One accepted entry, told in the order of sequences. `value` is empty where it came from a hint
// file or is a tombstone. The views end with the call.
struct RecoveredEntry {
  Bytes key;
  Bytes value;
  bool tombstone = false;
  std::uint64_t sequence = 0;
  std::uint64_t expiry_ms = 0;
  base::Location at;
};

// One shard's part of a batch over several.
struct JointPart {
  std::uint32_t shard = 0;
  std::uint64_t last_sequence = 0;  // of the part's entries
};

// A batch over several shards as recovery found it in one of them: whole here; whether it counts
// depends on the others.
struct JointBatch {
  std::uint64_t first_sequence = 0;
  std::uint64_t last_sequence = 0;
  std::vector<JointPart> parts;
};

// What one shard would recover to, were all its joint batches whole.
struct Survey {
  std::uint64_t last_sequence = 0;
  std::uint64_t durable_sequence = 0;
  std::vector<JointBatch> joints;
};

class LogStore;

// Receives recovered entries, and the store that is being opened, to account dead entries in;
// an error ends the recovery.
using RecoveryVisitor = FunctionRef<Status(LogStore&, const RecoveredEntry&)>;

// What opening found; sums go to Stats.
struct RecoveryReport {
  std::uint64_t entries_by_hint = 0;
  std::uint64_t entries_by_scan = 0;
  std::uint64_t torn_bytes = 0;
  std::uint64_t damaged_regions = 0;
  std::uint64_t segments_set_aside = 0;
};

// One write. The views need to live only for the call.
struct Write {
  Bytes key;
  Bytes value;
  bool tombstone = false;
  std::uint64_t expiry_ms = 0;  // milliseconds since 1970; 0: never
};

// A heap block that ByteViews share.
struct SharedBlock : detail::Shared {
  [[nodiscard]] std::uint8_t* bytes() noexcept { return reinterpret_cast<std::uint8_t*>(this + 1); }
  // One reference for the caller; null when out of memory.
  static SharedBlock* make(std::size_t size) noexcept;
};

// Where a read puts bytes that do not lie in a mapping: a small array first, then a block.
class ReadBuffer {
 public:
  ReadBuffer() = default;
  ReadBuffer(const ReadBuffer&) = delete;
  ReadBuffer& operator=(const ReadBuffer&) = delete;
  ~ReadBuffer() { clear(); }

  // Room for `size` bytes; null when out of memory. Drops what was there.
  std::uint8_t* room(std::size_t size) noexcept;
  void clear() noexcept;

  // The owner of the bytes at the value, or null when they lie in the small array. `pin` gives a
  // mapping to hold instead of a copy.
  SharedBlock* block = nullptr;
  detail::Shared* pin = nullptr;  // a mapped region; borrowed, guarded by the epoch

 private:
  std::uint8_t small_[512];
};

// Outcome of reading at a location.
enum class ReadOutcome : std::uint8_t {
  ok,
  moved,   // the location is out of date: ask the index again
  failed,  // see the status
};

// Makes an owned view of `value`, which lies in `buffer` or, under a guard, in a mapping.
Result<ByteView> make_view(Bytes value, ReadBuffer& buffer);

}  // namespace armdb::store

// What all stores share: the context of a shard's files, recovered entries, reads.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/epoch.hpp"
#include "base/location.hpp"
#include "core/byte_view.hpp"
#include "core/bytes.hpp"
#include "core/config.hpp"
#include "core/file_system.hpp"
#include "core/stats.hpp"
#include "core/status.hpp"
#include "format/file_name.hpp"

namespace armdb::store {

using StoreId = ByteArray<16>;

class Keyring;

[[nodiscard]] std::string path_in(std::string_view directory, std::string_view name);
// What a file is called until it is whole.
[[nodiscard]] std::string temporary_path(std::string_view path);
[[nodiscard]] bool file_exists(FileSystem& files, const std::string& path);
// A file that does no harm where it stays.
void try_remove(FileSystem& files, const std::string& path);

#if !defined(ARMDB_OMIT_REPLICATION)
// Is told of a shard that lost entries to damage, before recovery mends anything that shows it.
// When it fails nothing is mended, and the shard does not open. Threads: any.
class LossListener {
 public:
  virtual Status on_loss(std::uint32_t shard) = 0;

 protected:
  ~LossListener() = default;
};
#endif

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
  bool needs_values = false;      // recovery has to tell values, which hints do not have
  const Keyring* keys = nullptr;  // of an encrypted collection, whose `files` are sealed ones
  bool follower = false;          // sequences are the leader's: recovery leaves no gap in them
  bool keep_replaced = false;     // what a copy has replaced is kept aside
#if !defined(ARMDB_OMIT_REPLICATION)
  LossListener* losses = nullptr;  // null: nobody needs to know
  Status tell_of_loss() const { return losses == nullptr ? Status() : losses->on_loss(shard); }
#endif

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

class Store;

// Receives recovered entries, and the store that is being opened, to settle() in it which of two
// of one key counts; an error ends the recovery.
using RecoveryVisitor = FunctionRef<Status(Store&, const RecoveredEntry&)>;

// What opening found; sums go to Stats.
struct RecoveryReport {
  std::uint64_t entries_by_hint = 0;
  std::uint64_t entries_by_scan = 0;
  std::uint64_t torn_bytes = 0;
  std::uint64_t damaged_regions = 0;
  std::uint64_t segments_set_aside = 0;
  bool rebuilt = false;  // there was no MANIFEST to tell which segments count
};

// One write. The views need to live only for the call.
struct Write {
  Bytes key;
  Bytes value;
  bool tombstone = false;
  std::uint64_t expiry_ms = 0;  // milliseconds since 1970; 0: never
};

class Segment;

// What one sync has to make durable, collected under the lock and worked off without it.
struct SyncTicket {
  std::vector<std::shared_ptr<Segment>> segments;  // of a log: oldest first
  std::shared_ptr<Segment> active;                 // of these, the one that was still growing
  std::uint64_t directory_changes = 0;
  bool sync_directory = false;
  std::uint64_t sequence = 0;  // durable when all is done
  bool wanted = true;
};

// What a shard asks of either store.
//
// Threads: run_sync() by one thread beside a writer, durable_sequence() by anyone; everything else
// by the holder of the shard's lock.
class Store {
 public:
  virtual ~Store() = default;

  // During recovery: the key of `entry` was told before, at `old`. True when `entry` is the newer
  // one; the other one is dead.
  virtual Result<bool> settle(base::Location old, const RecoveredEntry& entry) = 0;

  // Accepts one entry in place of the one at `old`, or of none when that is nowhere. On an error
  // nothing has changed; `aborted`: call again when the running sync has ended (the first
  // end_sync()).
  virtual Status write(const Write& write, base::Location old, base::Location& at) = 0;
  // The entry at `at` is superseded or erased.
  virtual void mark_dead(base::Location at) noexcept = 0;
  // To the operating system, not to the disk.
  virtual Status flush() = 0;

  virtual SyncTicket begin_sync(Status& status) = 0;
  virtual Status run_sync(const SyncTicket& ticket) = 0;
  // `aborted`: the sync has ended, and there is more to do: call again, with this outcome.
  virtual Status end_sync(const SyncTicket& ticket, Status outcome) = 0;
  // True once after a flush, or so many writes, under Config::enable_fsync: the caller should sync.
  bool take_sync_wanted() noexcept { return std::exchange(sync_wanted_, false); }

  // Of the last entry that was accepted.
  [[nodiscard]] std::uint64_t last_sequence() const noexcept { return last_sequence_; }
  [[nodiscard]] std::uint64_t durable_sequence() const noexcept {
    return durable_sequence_.load(std::memory_order_acquire);
  }
  // Something besides entries is not durable yet: what is sealed, or a name.
  [[nodiscard]] virtual bool has_unsynced() const noexcept { return false; }
  // A failure after which nothing more may be written.
  virtual Status fail(Status cause) = 0;
  [[nodiscard]] const Status& failed() const noexcept { return failed_; }
  virtual void add_stats(Stats& stats) const = 0;
  // `status` with the file and offset of `at`.
  [[nodiscard]] virtual Status describe(Status status, base::Location at) const = 0;

 protected:
  // The first failure: sticks, and says what to do.
  void set_failed(const Status& cause);
  std::uint64_t last_sequence_ = 0;
  std::atomic<std::uint64_t> durable_sequence_{0};
  std::uint64_t syncs_ = 0;
  bool sync_wanted_ = false;
  Status failed_;
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
  ReadBuffer() = default;  // cppcheck-suppress uninitMemberVar ; small_ is room
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

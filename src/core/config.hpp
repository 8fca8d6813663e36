// Config: the settings of a collection, and Shape: the plain numbers that describe its type.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/bytes.hpp"
#include "core/status.hpp"

namespace armdb {

class FileSystem;
enum class LogLevel : std::uint8_t { info, warning, error };

// Where the library reports what it noticed: recovery, damage, failed syncs. It never prints.
// Threads: called from any thread that uses the collection; must not call back into it.
struct Log {
  void (*callback)(void* context, LogLevel level, std::string_view text) = nullptr;
  void* context = nullptr;
};

// How an encrypted collection seals its files; fixed when it is created.
enum class Cipher : std::uint32_t {
  stored = 0,  // what it has; a new one: AES-256-GCM
  aes_256_gcm = 1,
  chacha20_poly1305 = 2,  // for processors without instructions for AES
};

// What locks an encrypted collection: 32 random bytes, or a passphrase, of which scrypt makes them
// (32 MiB of memory, 0.1 s) and whose text must outlive the call that gets it. Empty: none.
class EncryptionKey {
 public:
  constexpr EncryptionKey() noexcept = default;
  constexpr EncryptionKey(const ByteArray<32>& bytes) noexcept : bytes_(bytes), set_(true) {}
  static EncryptionKey passphrase(std::string_view text) noexcept;  // an empty one is refused
  [[nodiscard]] bool empty() const noexcept { return !set_; }
  [[nodiscard]] bool is_passphrase() const noexcept { return text_.data() != nullptr; }
  [[nodiscard]] const ByteArray<32>& bytes() const noexcept { return bytes_; }
  [[nodiscard]] std::string_view text() const noexcept { return text_; }
  void wipe() noexcept;  // makes it empty and overwrites the bytes; not the text

 private:
  ByteArray<32> bytes_{};
  std::string_view text_{};
  bool set_ = false;
};
// The key in an environment variable: 64 hexadecimal digits, such as `openssl rand -hex 32` gives.
// invalid_argument says what is wrong with it, and never what it is.
Result<ByteArray<32>> key_from_env(const char* name);

// Settings of a collection on the Bitcask store. Sizes are bytes.
struct Config {
  // Independent parts, each with its own lock and files; 1 to 256. 0: what the store has; for a
  // new store the core count, at most 8. Fixed when the store is created.
  std::uint32_t shard_count = 0;
  // Choose the shard by this many first bits of the key, at most all, so that keys which share them
  // lie in one and a scan of them needs no merge. 0: what the store has; a new store: the whole
  // key.
  std::uint32_t shard_prefix_bits = 0;
  std::uint64_t max_file_size = std::uint64_t{256} << 20;  // of a segment; 64 KiB to 16 GiB
  // Write buffer of each shard; 16 KiB to 64 MiB, a multiple of 8. Larger entries bypass it.
  std::uint32_t write_buffer_size = std::uint32_t{1} << 20;
  double compaction_threshold = 0.3;  // dead share from which compact() rewrites; 0.01 to 1
  bool enable_fsync = false;          // sync whenever a write buffer is written out
  bool hints = true;                  // write hint files, so that opening reads no values
  std::uint64_t cache_bytes = std::uint64_t{8} << 20;  // for Var reads that are not mapped; 0: none
  // Read sealed segments through mappings. An I/O error under a mapping is a signal (SIGBUS);
  // set false where the medium may fail, and it is an error. Always off in 32-bit builds.
  bool mapped_reads = true;
  bool reversed = true;  // iter() and range() of trees run from the largest key down
  // Encrypts all that a new collection stores, or opens one that is encrypted. `unsupported` in
  // builds without ARMDB_WITH_OPENSSL. See README, "Encryption".
  EncryptionKey encryption_key{};
  Cipher cipher = Cipher::stored;
  // Open without changing a byte on disk; several readers may share a store no writer has open.
  bool read_only = false;
  bool create = true;                 // the collection, when there is none at the path
  FileSystem* file_system = nullptr;  // null is the POSIX one; must outlive the collection
  Log log{};
  // Time to live of entries that are put without one of their own, in milliseconds; 0: they stay.
  std::uint64_t default_ttl_ms = 0;
  std::uint32_t index_step_bytes = 2u << 20;  // the index grows in such steps; 4 KiB to 64 MiB
  // For small devices: one shard, 64 KiB write buffer, 1 MiB segments, no mapped reads, 32 KiB of
  // cache, index steps of 16 KiB.
  static Config embedded() noexcept;
};

// Settings of a collection on the Fixed store. What Config says of segments, hints, caches and
// compaction means nothing here; new files have write_buffer_size bytes for writes beside a sync.
struct FixedConfig : Config {
  FixedConfig(const Config& config = {}) : Config(config) {}
  std::uint64_t grow_step = 0;  // bytes by which the file grows at most; 0: it doubles
  // One copy of each slot, which then has 512 bytes at most: half the space, on disks that write a
  // sector whole or not at all. Fixed when the store is created.
  bool single_copy = false;
  std::uint32_t sync_interval_ms = 50;   // between the syncs of tick(), or of a Compactor
  std::uint32_t sync_batch_size = 1024;  // writes after which enable_fsync has the writer sync
};

struct WriteOptions {
  // Return only when it survives a power cut. Concurrent syncs share one fdatasync.
  bool sync = false;
  // Time to live of this entry in milliseconds: reads do not find it any more from then on. 0:
  // Config::default_ttl_ms; kForever: it stays. Writes that change a value (update, fetch_update,
  // upsert) keep the time that the entry has, unless one is given.
  std::uint64_t ttl_ms = 0;
  static constexpr std::uint64_t kForever = ~std::uint64_t{0};
};

// How far a migration has come; counts are of this call.
struct MigrationProgress {
  std::uint64_t seen = 0;  // entries it asked about
  std::uint64_t updated = 0;
  std::uint64_t erased = 0;
  std::uint64_t entries = 0;  // about how many there are in all
};

// What the index keeps of a value: the bytes (Const*, Zero*), or where they lie (the others).
enum class Payload : std::uint8_t { value = 0, location = 1 };

// The type of a collection in plain numbers. Stored in db.meta; another one is refused.
struct Shape {
  std::uint32_t key_size = 0;    // bytes, 1 to 1024
  std::uint32_t value_size = 0;  // bytes of each value; 0 when payload is location
  bool ordered = false;          // tree or map
  Payload payload = Payload::value;
  bool fixed = false;  // on the Fixed store, not the log
  friend bool operator==(const Shape&, const Shape&) = default;
};

}  // namespace armdb

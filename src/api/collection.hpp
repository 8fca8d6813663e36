// Collection: the type-erased handle behind every tree and map, for tools that know no types.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "core/byte_view.hpp"
#include "core/bytes.hpp"
#include "core/config.hpp"
#include "core/function_ref.hpp"
#include "core/hook.hpp"
#include "core/owned.hpp"
#include "core/stats.hpp"
#include "core/status.hpp"

namespace armdb {

namespace engine {
class Engine;
}
class Collection;

// An owned copy of `bytes`; out_of_memory when there is none.
Result<ByteView> make_view(Bytes bytes);

enum class BoundKind : std::uint8_t { none, inclusive, exclusive };

// Which entry was read: every write of its key gives it another one. 0: the key was not there.
struct Stamp {
  std::uint64_t place = 0;
};

namespace detail {

enum class WriteKind : std::uint8_t {
  put,
  insert,              // key_exists
  erase,               // not_found
  cas,                 // not_found, value_mismatch
  compare_erase,       // the same
  if_unchanged,        // value_mismatch: somebody wrote since `seen`
  erase_if_unchanged,  // the same
};

// One write, as the typed faces give it on.
struct WriteCall {
  Bytes key{};
  Bytes value{};
  Shared* object = nullptr;  // the value decoded, where it is kept so; not taken over
  WriteKind kind = WriteKind::put;
  Bytes expected{};                 // cas, compare_erase
  Stamp seen{};                     // if_unchanged
  bool keep_expiry = false;         // unless the options have a time to live
  std::uint64_t expires_at_ms = 0;  // 0: as the options say
};

// Writes that are put aside for a WriteBatch: copies of keys and values, shares of objects.
class BatchBuffer {
 public:
  BatchBuffer() noexcept = default;
  BatchBuffer(BatchBuffer&& other) noexcept { *this = std::move(other); }
  BatchBuffer& operator=(BatchBuffer&& other) noexcept;
  ~BatchBuffer() { clear(); }
  void add(const WriteCall& call, std::uint64_t ttl_ms);
  void clear() noexcept;
  [[nodiscard]] std::size_t count() const noexcept { return count_; }

 private:
  friend class ::armdb::Collection;
  struct Item;
  // The item at `offset`, which moves behind it.
  [[nodiscard]] Item item(std::size_t& offset) const noexcept;
  std::string bytes_;
  std::size_t count_ = 0;
};

// What an atomic block may do; it ends with the block. A key of another shard is shard_mismatch.
class AtomicCalls {
 public:
  Status write(const WriteCall& call, WriteOptions options);  // put, insert or erase
  // Calls use(value, object); false when the key is not there.
  Result<bool> read(Bytes key, FunctionRef<void(Bytes value, Shared* object)> use) const;
  Result<bool> contains(Bytes key) const;
  Status describe(const Status& status, Bytes key) const;  // as Collection's

 private:
  friend class ::armdb::Collection;
  AtomicCalls(const Collection& collection, void* transaction) noexcept
      : collection_(collection), transaction_(transaction) {}
  Status check(Bytes key, std::uint64_t& hash) const;
  const Collection& collection_;
  void* transaction_;
};

}  // namespace detail

// What a migration does with an entry.
enum class MigrateVerdict : std::uint8_t { keep, update, erase };

// One end of a range.
template <class T> struct Bound {
  BoundKind kind = BoundKind::none;
  T key{};
  static Bound none() { return {}; }
  static Bound inclusive(T key) { return {BoundKind::inclusive, std::move(key)}; }
  static Bound exclusive(T key) { return {BoundKind::exclusive, std::move(key)}; }
};

// A place in an ordered collection. Holds copies and pins nothing: it may be kept for as long as
// one likes, and the collection may be written beside it. Ends with its collection.
// Threads: one per cursor.
class Cursor {
 public:
  Cursor() noexcept = default;
  Cursor(Cursor&&) noexcept;
  Cursor& operator=(Cursor&&) noexcept;
  ~Cursor();
  [[nodiscard]] bool valid() const noexcept { return valid_; }  // stands on an entry
  // Steps on in the direction it was made for, or back; false at the end. Amortised O(1).
  bool next();
  bool prev();
  // Valid until the next step; the value is empty in collections that keep none in memory.
  [[nodiscard]] Bytes key() const noexcept { return key_; }
  [[nodiscard]] Bytes value() const noexcept { return value_; }
  // Any collection: an owned copy of the value. An entry that was erased since the cursor came to
  // this part of the tree is not_found, or still gives its last value.
  Result<ByteView> read() const;
  Status describe(const Status& status) const;  // with key, file and offset
  // Collections that keep decoded values: a new reference.
  [[nodiscard]] detail::Shared* object() const noexcept;
  // Why the cursor could not be made or moved; ok at the plain end.
  Status status() const;

 private:
  friend class Collection;
  struct State;
  void begin();
  void settle(bool stands);
  State* state_ = nullptr;
  Bytes key_;
  Bytes value_;
  bool valid_ = false;
};

// A collection whose keys and values are plain bytes. All typed collections are faces of it.
//
// Errors common to all calls: `closed` after close(); writes also `read_only`, `failed` (an
// earlier write or sync failed: reopen), `no_space` (nothing acknowledged is lost; try again when
// there is space), `invalid_argument` (sizes that do not fit the shape).
//
// Threads: any number of threads may use one handle; moving and destroying it need it alone. Reads
// take no lock, but expires_at() does.
class Collection {
 public:
  Collection() noexcept = default;
  Collection(Collection&&) noexcept;
  Collection& operator=(Collection&&) noexcept;
  // Closes, when nobody has; what that fails at goes to Config::log.
  ~Collection();
  // Opens the collection in the directory `path`, or creates it (Config::create; the parent
  // directory must exist). Recovers what a crash left. `shape_mismatch` and `format_mismatch`
  // when it is another one, `locked` when somebody has it open.
  static Result<Collection> open(std::string_view path, const Shape& shape,
                                 const FixedConfig& config = {}, Owned<detail::Hook> hook = {},
                                 const detail::ObjectOps* objects = nullptr);
  // One that exists, whatever its shape.
  static Result<Collection> open_existing(std::string_view path, const Config& config = {});
  [[nodiscard]] Shape shape() const noexcept;
  [[nodiscard]] bool is_open() const noexcept;
  // Writes. A returned ok means "written": see README, "What a returned put() means". With
  // options.sync it means "synced". O(log n) in trees, O(1) in maps.
  Status put(Bytes key, Bytes value, WriteOptions options = {});
  Status insert(Bytes key, Bytes value, WriteOptions options = {});  // key_exists
  Status erase(Bytes key, WriteOptions options = {});                // not_found
  // Replaces or erases only when the stored value is `expected`: not_found, value_mismatch.
  Status cas(Bytes key, Bytes expected, Bytes desired, WriteOptions options = {});
  Status compare_erase(Bytes key, Bytes expected, WriteOptions options = {});
  // Puts and gives the value before, if there was one.
  Result<std::optional<ByteView>> exchange(Bytes key, Bytes value, WriteOptions options = {});
  // Many puts, fewer locks, overlapped cache misses. Not atomic: on an error a part of them is
  // written. With options.sync all shards with unsynced writes are synced together.
  Status put_many(std::span<const BytesPair> pairs, WriteOptions options = {});
  // The same for erases: keys that are not there are passed over.
  Result<std::uint64_t> erase_many(std::span<const BytesPair> keys);
  Status write(const detail::WriteCall& call, WriteOptions options);  // all of these
  // All of them or none, whatever their shards, also after a crash; empties the buffer when they
  // are written. Isolation: no other write of these shards comes in between; a reader without a
  // lock may see the first keys changed and the last not yet. One fdatasync per shard when synced.
  Status write_batch(detail::BatchBuffer& batch, WriteOptions options);
  // Calls `body` under the lock of the key's shard. Its writes happen, all of them, when it returns
  // ok, or none, also after a crash; it reads its own writes.
  Status atomic(Bytes key, FunctionRef<Status(detail::AtomicCalls&)> body, WriteOptions options);
  // Before put_many() of `count` entries, of which key_of(at, out) writes a key: makes an empty
  // index of a map as large as they need it. In trees, the order in which to write them: by shard
  // and key, so that leaves are filled one after the other; empty: as they are.
  Result<std::u32string> begin_load(std::size_t count,
                                    FunctionRef<void(std::size_t at, std::uint8_t* out)> key_of);
  // Trees: erases all keys between the bounds, or that begin with `prefix`; any collection: all.
  // Logged key by key: not atomic, but what it answered ok for stays gone. Keys that are put
  // meanwhile may stay. Returns how many were erased.
  Result<std::uint64_t> erase_range(const Bound<Bytes>& first, const Bound<Bytes>& last);
  Result<std::uint64_t> erase_prefix(Bytes prefix);
  Result<std::uint64_t> clear();
  // When the entry expires, in milliseconds since 1970, or WriteOptions::kForever; not_found.
  Result<std::uint64_t> expires_at(Bytes key) const;
  Status persist(Bytes key, WriteOptions options = {});  // takes an expiry away; not_found
  // Erases expired entries; looks at about `budget` of those that have an expiry, the next call at
  // the next. Returns how many were erased. compact() does it too.
  Result<std::uint64_t> sweep_expired(std::uint64_t budget);
  // Asks `decide` about every entry that is there when the migration begins, once; not about those
  // that are put meanwhile. For update it gives the new value as a view that lives until it is
  // called again. No memory grows with the number of entries. Stops at the first error, or when
  // `report` (called each 1024 entries) answers false: `aborted`. The next call, also after a
  // crash, goes on: what was updated is not asked about again, what was kept may be. `to_version`
  // is remembered when all is done, and a call for it or less then does nothing; 0: no version.
  struct MigrateEntry {
    Bytes key;
    Bytes value;
    Bytes fresh;                       // out: the new value
    detail::Shared* object = nullptr;  // out: decoded, where it is kept so; taken over
  };
  Status migrate(std::uint32_t to_version,
                 FunctionRef<Status(MigrateEntry&, MigrateVerdict&)> decide,
                 FunctionRef<bool(const MigrationProgress&)> report);
  [[nodiscard]] std::uint32_t data_version() const;  // of the last finished migration; 0: none
  // Reads. An error is never turned into "not there".
  Result<std::optional<ByteView>> get(Bytes key, Stamp* stamp = nullptr) const;
  [[nodiscard]] bool contains(Bytes key) const noexcept;
  // Calls fn with the value and copies nothing; false when the key is not there. The bytes end
  // with the call; fn must not block for long: it holds back the reclaiming of old segments.
  Result<bool> read(Bytes key, FunctionRef<void(Bytes)> fn) const;
  // Collections that keep values in memory: copies the value to `value`, or a new reference
  // (detail::Shared*) when they keep it decoded; false when the key is not there. Cannot fail:
  // after close() it answers from memory, with what was there then.
  [[nodiscard]] bool get_into(const std::uint8_t* key, std::uint8_t* value,
                              Stamp* stamp = nullptr) const noexcept;
  // The same for many keys, with their cache misses overlapped: several times the speed.
  void get_many(std::span<BytesLookup> lookups) const noexcept;
  // `status` with the key, and with the file and offset where its entry lies.
  Status describe(const Status& status, Bytes key) const;
  [[nodiscard]] std::size_t size() const noexcept;
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  // Trees: a cursor on the first entry between the bounds in the asked direction. A bound that is
  // shorter than a key stands for the smallest key it begins.
  [[nodiscard]] Cursor cursor(const Bound<Bytes>& first, const Bound<Bytes>& last,
                              bool descending) const;
  // Trees: all keys that begin with `prefix`, of any length up to the key size.
  [[nodiscard]] Cursor prefix_cursor(Bytes prefix, bool descending) const;
  // Any collection, in no order: calls fn for each entry until it answers false. Writing beside it
  // is legal; entries that stay are seen exactly once. `with_values` false reads none from disk.
  Status for_each(FunctionRef<bool(Bytes key, Bytes value)> fn, bool with_values = true) const;
  using ObjectVisitor = FunctionRef<bool(Bytes key, Bytes value, detail::Shared* object)>;
  Status for_each_object(ObjectVisitor fn) const;
  // Maps: the same in pieces. `cursor` is 0 at first; calls fn for about `limit` entries and
  // returns the cursor to go on with, 0 at the end. It pins nothing and lasts while the collection
  // is open.
  Result<std::uint64_t> scan(std::uint64_t cursor, std::size_t limit, ObjectVisitor fn) const;
  // Writes buffers to the operating system: a returned put then survives kill -9 everywhere (see
  // Stats::written_survives_kill).
  Status flush_buffers();
  // Makes everything written so far survive a power cut. Concurrent calls share one fdatasync.
  Status sync();
  // The shard of `key` keeps all writes up to this sequence through a power cut. Sequences count
  // the writes of one shard. Without a key: the smallest of all shards.
  [[nodiscard]] std::uint64_t durable_sequence(Bytes key) const noexcept;
  [[nodiscard]] std::uint64_t durable_sequence() const noexcept;
  // Syncs, ends the active segments and writes hints for all, so that the next open is fast.
  Status checkpoint();
  Status warmup();  // brings values that lie in mapped segments into memory
  [[nodiscard]] Stats stats() const;
  // Reads everything stored; damage is counted, and told to Config::log with file and offset.
  Result<VerifyReport> verify();
  // Rewrites those of today's segments with enough dead in them (Config::compaction_threshold), not
  // later ones; Fixed: moves slots together, gives the file's end back. Safe beside everything.
  Status compact();
  // A piece of that: reads about `budget_bytes`; true when there is more to do.
  Result<bool> compact_step(std::uint64_t budget_bytes);
  // Encrypted: locks the collection by `to` in place of `from`, at once and durably. wrong_key.
  Status rotate_key(const EncryptionKey& from, const EncryptionKey& to);
  // Encrypted: draws a new data key and seals everything stored anew, as compact() does it; then
  // forgets the old one. `key` is the one in use. After an error or a crash, call it again.
  Status reencrypt(const EncryptionKey& key);
  // Copies what is there at about this moment to the new directory `path`, encrypted by `key` or,
  // when that is empty, in the clear. Sequences and expiries stay. Writes go on meanwhile.
  Status backup_to(std::string_view path, const EncryptionKey& key, Cipher cipher = Cipher::stored);
  Status tick();  // Fixed: syncs every FixedConfig::sync_interval_ms; call it where no Compactor is
  // Flushes, syncs, writes hints and releases the lock. Terminal: every later call is `closed`.
  Status close();

 private:
  friend class Compactor;
  friend class ReplicationClient;
  friend class ReplicationServer;
  friend class detail::AtomicCalls;
  explicit Collection(engine::Engine* engine) noexcept : engine_(engine) {}
  [[nodiscard]] Cursor cursor_within(const Bound<Bytes>& first, const Bound<Bytes>& last,
                                     std::uint8_t fill, bool descending) const;
  Result<std::uint64_t> erase_from(Cursor cursor);
  Status write_if_equal(const detail::WriteCall& call, WriteOptions options);
  Status check(Bytes key) const;
  Status check(Bytes key, Bytes value) const;
  engine::Engine* engine_ = nullptr;
};

}  // namespace armdb

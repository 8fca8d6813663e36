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
#include "core/owned.hpp"
#include "core/stats.hpp"
#include "core/status.hpp"

namespace armdb {

namespace engine {
class Engine;
}

// An owned copy of `bytes`; out_of_memory when there is none.
[[nodiscard]] Result<ByteView> make_view(Bytes bytes);

enum class BoundKind : std::uint8_t { none, inclusive, exclusive };

// One end of a range.
template <class T>
struct Bound {
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
  Cursor(const Cursor&) = delete;
  Cursor& operator=(const Cursor&) = delete;
  ~Cursor();

  // True while it stands on an entry.
  [[nodiscard]] bool valid() const noexcept { return valid_; }
  // Steps on in the direction it was made for, or back; false at the end. Amortised O(1).
  bool next();
  bool prev();
  // Valid until the next step.
  [[nodiscard]] Bytes key() const noexcept { return key_; }
  // Collections that keep values in memory: the value, valid until the next step.
  [[nodiscard]] Bytes value() const noexcept { return value_; }
  // Any collection: an owned copy of the value. An entry that was erased since the cursor came to
  // this part of the tree is not_found, or still gives its last value.
  [[nodiscard]] Result<ByteView> read() const;
  // Why the cursor could not be made or moved; ok at the plain end.
  [[nodiscard]] Status status() const;

 private:
  friend class Collection;
  struct State;
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
// Threads: any number of threads may use one handle; moving, destroying and close() need it
// alone, or answer `closed` to calls that come later. Reads take no lock.
class Collection {
 public:
  Collection() noexcept = default;
  Collection(Collection&&) noexcept;
  Collection& operator=(Collection&&) noexcept;
  Collection(const Collection&) = delete;
  Collection& operator=(const Collection&) = delete;
  // Closes, when nobody has; what that fails at goes to Config::log.
  ~Collection();

  // Opens the collection in the directory `path`, or creates it (Config::create; the parent
  // directory must exist). Recovers what a crash left. `shape_mismatch` and `format_mismatch`
  // when it is another one, `locked` when somebody has it open.
  static Result<Collection> open(std::string_view path, const Shape& shape,
                                 const Config& config = {});
  // Opens an existing collection, whatever its shape.
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

  // Reads. An error is never turned into "not there".
  [[nodiscard]] Result<std::optional<ByteView>> get(Bytes key) const;
  [[nodiscard]] bool contains(Bytes key) const noexcept;
  // Calls fn with the value and copies nothing; false when the key is not there. The bytes end
  // with the call; fn must not block for long: it holds back the reclaiming of old segments.
  Result<bool> read(Bytes key, FunctionRef<void(Bytes)> fn) const;
  // Collections that keep values in memory: copies the value; false when the key is not there.
  // Cannot fail: after close() it answers from memory, with what was there then.
  [[nodiscard]] bool get_into(const std::uint8_t* key, std::uint8_t* value) const noexcept;
  // The same for many keys, with their cache misses overlapped: several times the speed.
  void get_many(std::span<BytesLookup> lookups) const noexcept;

  [[nodiscard]] std::size_t size() const noexcept;
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }

  // Trees: a cursor on the first entry between the bounds in the asked direction. Keys in bounds
  // may be shorter than the key size: then they stand for the smallest key they begin.
  [[nodiscard]] Cursor cursor(const Bound<Bytes>& first, const Bound<Bytes>& last,
                              bool descending) const;
  // Trees: all keys that begin with `prefix`, of any length up to the key size.
  [[nodiscard]] Cursor prefix_cursor(Bytes prefix, bool descending) const;
  // Any collection, in no order: calls fn for each entry until it answers false. Writing beside
  // it is legal; entries that stay are seen exactly once. `with_values` false leaves values that
  // lie on disk empty.
  Status for_each(FunctionRef<bool(Bytes key, Bytes value)> fn, bool with_values = true) const;

  // Writes buffers to the operating system: a returned put then survives kill -9 where it did not
  // before (see Stats::written_survives_kill).
  Status flush_buffers();
  // Makes everything written so far survive a power cut. Concurrent calls share one fdatasync.
  Status sync();
  // The shard of `key` keeps all writes up to this sequence through a power cut. Sequences count
  // the writes of one shard. Without a key: the smallest of all shards.
  [[nodiscard]] std::uint64_t durable_sequence(Bytes key) const noexcept;
  [[nodiscard]] std::uint64_t durable_sequence() const noexcept;
  // Syncs, ends the active segments and writes hints for all, so that the next open is fast.
  Status checkpoint();
  // Brings values that lie in mapped segments into memory.
  Status warmup();
  [[nodiscard]] Stats stats() const;
  // Reads everything stored; damage is counted, and told to Config::log with file and offset.
  Result<VerifyReport> verify();
  // Rewrites segments with enough dead in them (Config::compaction_threshold); safe beside
  // everything.
  Status compact();
  // A piece of that: reads about `budget_bytes`; true when there is more to do.
  Result<bool> compact_step(std::uint64_t budget_bytes);
  // Flushes, syncs, writes hints and releases the lock. Terminal: every later call is `closed`.
  Status close();

 private:
  friend class Compactor;
  explicit Collection(engine::Engine* engine) noexcept : engine_(engine) {}
  [[nodiscard]] Status check(Bytes key) const;
  [[nodiscard]] Status check(Bytes key, Bytes value) const;

  engine::Engine* engine_ = nullptr;
};

}  // namespace armdb

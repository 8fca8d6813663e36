// Index: which keys of one shard are live, in memory. A B+-tree or a hash table behind one face.
//
// An index maps a key of fixed width to a Location and, for Payload::value, to the value's bytes.
// It knows nothing of files: a Location is a word that it keeps.
//
// Threads: find, find_many and the read_* calls by any thread, at any time, with no lock and
// without writing shared memory. Everything under "Writer" by one thread at a time (the holder of
// the shard's lock). A reader sees each publish and erase whole, or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/arena.hpp"
#include "base/location.hpp"
#include "core/bytes.hpp"

namespace armdb::index {

struct IndexConfig {
  std::uint32_t key_size = 0;
  std::uint32_t value_size = 0;  // 0: locations only
  bool ordered = false;
  std::uint64_t hash_seed = 0;  // unordered: that of the hashes the callers give
  std::uint32_t step_bytes = 2u << 20;
  base::PageSource pages = base::PageSource::heap();
};

// One question of find_many. `value` may be null; it then is not copied.
struct Lookup {
  const std::uint8_t* key = nullptr;
  std::uint64_t hash = 0;
  std::uint8_t* value = nullptr;
  base::Location at;
  bool found = false;
};

// Where a key is or would go. Made by Index::locate, good until the next writer call.
struct Place {
  bool found = false;
  bool last = false;                    // B+-tree: it goes behind all others
  base::Location at;                    // when found
  const std::uint8_t* value = nullptr;  // when found and values are kept: the current bytes
  std::uint64_t hash = 0;
  std::uint32_t node = 0;  // private to the index
  std::uint32_t slot = 0;
  std::uint32_t path[16] = {};  // B+-tree: inner nodes from the root down
  std::uint8_t path_slot[16] = {};
  std::uint32_t depth = 0;
};

// An entry to publish.
struct Fresh {
  const std::uint8_t* key = nullptr;
  const std::uint8_t* value = nullptr;  // null where only locations are kept
  base::Location at;
};

// Where a range begins.
enum class Bound : std::uint8_t { none, inclusive, exclusive };

// A run of entries copied out of the index. One allocation, made with the block.
class Block {
 public:
  // Room for `capacity` entries of the index that made it (Index::make_block).
  Block() = default;
  Block(std::uint32_t key_size, std::uint32_t value_size, std::size_t capacity);

  [[nodiscard]] bool valid() const noexcept { return memory_ != nullptr; }
  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] const std::uint8_t* key(std::size_t at) const noexcept {
    return memory_.get() + at * stride_ + payload_bytes_;
  }
  [[nodiscard]] base::Location location(std::size_t at) const noexcept;
  [[nodiscard]] const std::uint8_t* value(std::size_t at) const noexcept {
    return memory_.get() + at * stride_ + 8;
  }

  // For indexes: an entry is location (8), value (padded to 8), key (padded to 8).
  [[nodiscard]] std::uint8_t* entry(std::size_t at) noexcept {
    return memory_.get() + at * stride_;
  }
  [[nodiscard]] std::size_t payload_bytes() const noexcept { return payload_bytes_; }
  void set_location(std::size_t at, base::Location location) noexcept;
  void set_count(std::size_t count) noexcept { count_ = count; }

  // For the B+-tree: the leaf the block was copied from, to go on without a descent.
  std::uint32_t leaf = 0;
  std::uint32_t leaf_version = 0;

 private:
  std::unique_ptr<std::uint8_t[]> memory_;
  std::size_t stride_ = 0;
  std::size_t payload_bytes_ = 0;  // 8 + value size padded to 8
  std::size_t capacity_ = 0;
  std::size_t count_ = 0;
};

class Index {
 public:
  virtual ~Index() = default;

  // ---- Readers ----

  // `hash` is base::hash64 of the key with the store's seed (B+-trees ignore it). `at` and
  // `value` may be null. False when the key is not there; outputs are then unchanged or junk.
  virtual bool find(const std::uint8_t* key, std::uint64_t hash, base::Location* at,
                    std::uint8_t* value) const noexcept = 0;
  // The same for many keys, with their cache misses overlapped. Here: one after the other, as
  // builds for size have it.
  virtual void find_many(std::span<Lookup> lookups) const noexcept;
  // Brings what locate() will look at into the cache, where that is worth it: a writer that waits
  // for memory before it locks does not make the others wait. Here: nothing.
  virtual void prefetch(std::uint64_t hash) const noexcept;

  [[nodiscard]] virtual std::size_t size() const noexcept = 0;
  [[nodiscard]] virtual std::size_t memory_bytes() const noexcept = 0;

  // A block that suits read_from and scan; !valid() when out of memory.
  [[nodiscard]] virtual Block make_block() const noexcept = 0;

  // Ordered indexes: fills `block` with the next entries, ascending from `key` (Bound::none:
  // from the smallest; `key` may then be null) or descending (from the largest). `descending`
  // blocks hold their entries in descending order. Empty when there are none. Each block is one
  // moment of one leaf; entries that stay in the index during a whole scan are seen exactly once.
  virtual void read_from(const std::uint8_t* key, Bound bound, bool descending,
                         Block& block) const noexcept = 0;
  // Goes on after the last entry of `block`, which must not be empty.
  virtual void read_next(bool descending, Block& block) const noexcept = 0;

  // Unordered indexes: fills `block` from `cursor` (0 at first) and returns where to go on; 0
  // when all was seen. A block may be empty although more follow. An entry that stays in the
  // index during the whole scan is seen exactly once, whatever is written beside it.
  virtual std::uint64_t scan(std::uint64_t cursor, Block& block) const noexcept = 0;

  // ---- Writer ----

  // Finds the place of a key.
  virtual void locate(const std::uint8_t* key, std::uint64_t hash, Place& place) noexcept = 0;
  // Makes sure that the next `count` times publish() cannot fail; false when out of memory. Keeps
  // Places good.
  [[nodiscard]] virtual bool reserve(std::size_t count = 1) noexcept = 0;
  // Inserts or replaces at `place` (reserve() first where it was not found). `value` is null
  // where only locations are kept.
  virtual void publish(Place& place, const std::uint8_t* key, const std::uint8_t* value,
                       base::Location at) noexcept = 0;
  // Bulk. How many of these entries, whose keys do not descend, one publish_run() may insert, the
  // first of them at `place`, where nothing was found; at least one. Their `at` may be unset yet.
  [[nodiscard]] virtual std::size_t run_length(const Place& place,
                                               std::span<const Fresh> run) const noexcept {
    static_cast<void>(place);
    static_cast<void>(run);
    return 1;
  }
  // Inserts that many (reserve() first, for one). Each is seen whole, not all at once.
  virtual void publish_run(Place& place, std::span<const Fresh> run) noexcept {
    publish(place, run[0].key, run[0].value, run[0].at);
  }
  // About `count` more entries will come: an empty index makes itself as large as they need it,
  // as far as there is memory.
  virtual void expect(std::size_t count) noexcept { static_cast<void>(count); }
  // Replaces the location alone: compaction moved the entry. `place` was found.
  virtual void relocate(Place& place, base::Location at) noexcept = 0;
  // Removes the key at `place`, which was found.
  virtual void erase(Place& place) noexcept = 0;
};

// The index that suits `config`, with kernels for its key width; null when out of memory.
[[nodiscard]] std::unique_ptr<Index> make_index(const IndexConfig& config);

// The two behind it: index/btree.cpp and index/hash_table.cpp.
[[nodiscard]] std::unique_ptr<Index> make_btree(const IndexConfig& config);
[[nodiscard]] std::unique_ptr<Index> make_hash_table(const IndexConfig& config);

}  // namespace armdb::index

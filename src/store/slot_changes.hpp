// SlotChanges: which keys of a slot store were written lately, for those who ship their states.
//
// Versions rise; one that is missing here changed nothing that anybody can read. Memory is taken as
// changes come, in chunks, up to a limit; then the oldest ones go, and with them the possibility to
// tell what a follower lacks that has nothing after them: see covers().
//
// Threads: the holder of the shard's lock.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/bytes.hpp"
#include "core/function_ref.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::store {

class SlotChanges {
 public:
  // Of what is written after the version `now`.
  SlotChanges(std::uint32_t key_size, std::uint64_t now, std::uint64_t bytes_max);

  void add(std::uint64_t version, Bytes key) noexcept;
  // All that was written after `version` is known.
  [[nodiscard]] bool covers(std::uint64_t version) const noexcept { return version >= forgotten_; }
  // In the order of versions, from the first one above `version`; until `visit` says false.
  void each_after(std::uint64_t version,
                  FunctionRef<bool(std::uint64_t version, const std::uint8_t* key)> visit) const;
  // Fewer bytes: the oldest changes go at once.
  void set_limit(std::uint64_t bytes_max) noexcept;
  [[nodiscard]] std::uint64_t memory_bytes() const noexcept {
    return chunks_.size() * chunk_entries_ * entry_bytes_;
  }

 private:
  // Entries: version (8), key.
  struct Chunk {
    std::unique_ptr<std::uint8_t[]> entries;
    std::size_t count = 0;
  };
  [[nodiscard]] std::uint64_t version_at(const Chunk& chunk, std::size_t at) const noexcept;
  bool make_room(std::uint64_t version) noexcept;
  void forget_chunk() noexcept;

  const std::size_t entry_bytes_;
  const std::size_t chunk_entries_;
  std::size_t chunks_max_ = 0;
  std::uint64_t forgotten_;    // the last version of which nothing is known any more
  std::vector<Chunk> chunks_;  // oldest first; all but the last are full
};

}  // namespace armdb::store

#endif  // !ARMDB_OMIT_REPLICATION

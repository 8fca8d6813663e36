// db.cursor: how far the slots of a Fixed collection are in the numbering of its leader.
//
//   offset  size  field
//        0    40  file header (kind cursor)
//       40     4  shard_count  1..256
//       44     4  crc          CRC-32C of bytes 40..43, continued from the crc at 36
//       48     .  zeros up to 4096
//     4096     .  two places, each a multiple of 4096 bytes long:
//
//        0     8  count        of writings, 1 or more: the larger one counts
//        8     .  per shard position, reached, joined, own_from (8 each)
//        .     4  crc          CRC-32C of everything before it, seeded with the crc at 44
//        .     4  zero, and zeros up to the end of the place
//
// The places are written in turn, in place, and one is synced before the other is written: a torn
// write, or one that a power cut takes, leaves the one before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/bytes.hpp"
#include "core/status.hpp"
#include "format/file_header.hpp"
#include "format/replica_state.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::format {

inline constexpr std::size_t kCursorPlaceAt = 4096;

// Of one shard. Versions of slots are each store's own: what a follower has is told by a number of
// its leader's. A leader that was a follower counts anew, above all it had heard of.
struct Cursor {
  // Follower: each key has the state it had at `position`, or a later one, none later than that at
  // `reached`. So where both are the same the content is that of one moment.
  std::uint64_t position = 0;
  std::uint64_t reached = 0;
  // Leader: the first number of its own; and where it took over in the numbering before, if its
  // content was that of this moment; else own_from. 0, 0: it began the collection.
  std::uint64_t joined = 0;
  std::uint64_t own_from = 0;
};

struct Cursors {
  StoreId store_id{};
  std::uint64_t count = 0;
  std::vector<Cursor> shards;
};

[[nodiscard]] std::size_t cursor_place_bytes(std::size_t shards) noexcept;
[[nodiscard]] constexpr std::size_t cursor_place_at(std::size_t place, std::size_t bytes) noexcept {
  return kCursorPlaceAt + place * bytes;
}
inline constexpr std::size_t kCursorBytesMax = kCursorPlaceAt + std::size_t{2} * 12288;

// The front of the file; one of the places, which continues that one's crc.
[[nodiscard]] std::vector<std::uint8_t> encode_cursor_front(const Cursors& cursors);
[[nodiscard]] std::vector<std::uint8_t> encode_cursor_place(const Cursors& cursors);
// `in` is the whole file; `place` is the one that counts. corrupt or format_mismatch.
Status decode_cursors(Bytes in, Cursors& cursors, std::size_t& place);

}  // namespace armdb::format

#endif  // !ARMDB_OMIT_REPLICATION

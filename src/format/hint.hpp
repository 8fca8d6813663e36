// Hint file: keys and locations of one sealed segment, so that opening it reads no values.
//
//   offset  size  field
//        0    40  file header (kind hint; file_id is the segment's)
//       40     8  salt        the segment's
//       48     4  crc         CRC-32C of bytes 40..47, continued from the header's crc
//       52     4  reserved    zero
//       56     .  blocks
//
// A block:
//        0     4  crc         CRC-32C of bytes 4..end of the block, seeded with the crc at 48
//        4     4  size        bytes of the items
//        8     4  count       items; 0 in a trailer
//       12     4  kind        0 items, 1 trailer (the last block)
//       16     .  items
//
// An item:
//        0     4  offset      of the entry, in units of 8 bytes
//        4     4  value_size
//        8     8  sequence
//       16     1  flags       of the entry, which is no mark
//       17     1  reserved    zero
//       18     2  key_size
//       20     8  expiry      only with the expiry flag
//        .     .  key
//
// A trailer's items are instead: segment length in bytes (8, footer included), last sequence
// (8), items in all blocks (8). A hint file without a whole trailer does not count. A hint is
// believed only for a segment with the same store, shard, file id, salt, length and last
// sequence.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/bytes.hpp"
#include "core/status.hpp"
#include "format/file_header.hpp"

namespace armdb::format {

inline constexpr std::size_t kHintHeaderBytes = 56;
inline constexpr std::size_t kHintBlockHeaderBytes = 16;
inline constexpr std::size_t kHintTrailerBytes = 24;
inline constexpr std::uint32_t kHintBlockBytesMax = std::uint32_t{64} << 20;

struct HintHeader {
  FileHeader file;
  std::uint64_t salt = 0;
};
struct HintItem {
  std::uint64_t offset = 0;  // in bytes
  std::uint32_t value_size = 0;
  std::uint64_t sequence = 0;
  std::uint8_t flags = 0;
  std::uint64_t expiry_ms = 0;
  Bytes key;
};
struct HintBlock {
  bool trailer = false;
  std::uint32_t count = 0;
  Bytes items;
};
struct HintTrailer {
  std::uint64_t segment_length = 0;
  std::uint64_t last_sequence = 0;
  std::uint64_t item_count = 0;
};

void encode_hint_header(const HintHeader& header, MutableBytes out) noexcept;  // 56 bytes
Status decode_hint_header(Bytes in, HintHeader& header);
[[nodiscard]] std::uint32_t hint_seed(const HintHeader& header) noexcept;

[[nodiscard]] std::size_t hint_item_bytes(const HintItem& item) noexcept;
std::size_t encode_hint_item(const HintItem& item, std::uint8_t* out) noexcept;
// Takes one item off the front of `items`; false when it is not whole or not possible.
bool decode_hint_item(Bytes& items, HintItem& item) noexcept;

// Fills in the 16 bytes in front of `items`, which the caller left free: block = header + items.
void seal_hint_block(std::uint32_t seed, bool trailer, std::uint32_t count,
                     MutableBytes block) noexcept;
// Judges sizes from the 16 header bytes; false when no writer produces them.
bool peek_hint_block(Bytes header, std::uint32_t& items_bytes) noexcept;
// `block` is header and items; false when the crc or a field is wrong.
bool decode_hint_block(Bytes block, std::uint32_t seed, HintBlock& out) noexcept;
void encode_hint_trailer(const HintTrailer& trailer, MutableBytes out) noexcept;  // 24 bytes
bool decode_hint_trailer(Bytes items, HintTrailer& trailer) noexcept;

}  // namespace armdb::format

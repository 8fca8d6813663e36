// One entry of a Bitcask log, self-describing, and the two marks that live among entries.
//
//   offset  size  field
//        0     4  crc         CRC-32C of bytes 4..end (padding excluded), seeded by the segment
//        4     1  flags       bit 0 tombstone, 1 expiry, 2 batch begin, 3 batch commit,
//                             4 watermark, 5 footer, 6 joint; others zero
//        5     1  reserved    zero
//        6     2  key_size    1..1024; zero in marks
//        8     4  value_size  zero in tombstones and watermarks
//       12     8  sequence    1 or more, below 2^63; may be 0 in marks
//       20     8  expiry      only with bit 1: milliseconds since 1970, UTC
//        .     .  key, value
//        .     .  padding     zeros up to a multiple of 8
//
// A batch is a run of entries, the first with bit 2, the last with bit 3 (a batch of one has
// both); it counts only when all of it is there. A joint mark stands before a batch that is one
// part of a larger one over several shards, which counts only when every part does; its sequence
// is the first one of that batch, and its value names each part by shard (4), zero (4), and the
// last sequence of that part in its shard (8). A watermark says that everything up to its
// sequence was durable when it was written. A footer is the last entry of a sealed segment; its
// value is count (8), length of the segment before the footer (8), number of sources (4), then
// that many file ids (4 each): the segments that a compacted one replaces; its sequence is the
// last one of the segment. Marks take no sequence of their own, and an empty segment's footer
// has its predecessor's.
//
// Entries start at multiples of 8. A run of zeros is never an entry.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/bytes.hpp"

namespace armdb::format {

inline constexpr std::size_t kEntryHeaderBytes = 20;
inline constexpr std::size_t kKeyBytesMax = 1024;
inline constexpr std::uint64_t kValueBytesMax = std::uint64_t{1} << 30;
inline constexpr std::uint64_t kSequenceMax = (std::uint64_t{1} << 63) - 1;

enum EntryFlag : std::uint8_t {
  kTombstone = 1,
  kExpiry = 2,
  kBatchBegin = 4,
  kBatchCommit = 8,
  kWatermark = 16,
  kFooter = 32,
  kJoint = 64,
};

struct Entry {
  std::uint8_t flags = 0;
  std::uint64_t sequence = 0;
  std::uint64_t expiry_ms = 0;  // with kExpiry
  Bytes key;
  Bytes value;

  [[nodiscard]] bool tombstone() const noexcept { return (flags & kTombstone) != 0; }
  [[nodiscard]] bool mark() const noexcept {
    return (flags & (kWatermark | kFooter | kJoint)) != 0;
  }
};

enum class EntryRead : std::uint8_t {
  whole,    // all bytes there and the crc matches
  torn,     // more bytes would be needed
  corrupt,  // no entry: wrong crc, or fields that no writer produces
};

// Bytes that an entry takes, padding included.
[[nodiscard]] std::uint64_t entry_bytes(std::size_t key_size, std::uint64_t value_size,
                                        bool expiry) noexcept;

// Reads the entry at the front of `in`; `size` is what it takes, padding included (set when
// whole). The views in `entry` point into `in`.
EntryRead decode_entry(Bytes in, std::uint32_t seed, Entry& entry, std::size_t& size) noexcept;

// Reads sizes only, for a reader that has the header and wants to know how much to fetch.
// False when the fields are such as no writer produces. No crc is checked.
bool peek_entry_bytes(Bytes header, std::uint64_t& size) noexcept;

// Writes `entry` to the front of `out`, which has room, and returns the bytes taken.
std::size_t encode_entry(const Entry& entry, std::uint32_t seed, std::uint8_t* out) noexcept;

struct Footer {
  std::uint64_t count = 0;   // entries that are not marks
  std::uint64_t length = 0;  // bytes of the segment before the footer
  std::uint32_t source_count = 0;
  Bytes sources;  // source_count file ids, little-endian
};

[[nodiscard]] constexpr std::size_t footer_value_bytes(std::size_t sources) noexcept {
  return 20 + 4 * sources;
}
// One part of a batch over several shards.
struct JointPart {
  std::uint32_t shard = 0;
  std::uint64_t last_sequence = 0;
};

inline constexpr std::size_t kJointPartBytes = 16;
void encode_joint_part(const JointPart& part, std::uint8_t* out) noexcept;
// `at` counts parts; the value comes from an entry that decode_entry() found whole.
[[nodiscard]] JointPart decode_joint_part(Bytes value, std::size_t at) noexcept;

void encode_footer_value(const Footer& footer, MutableBytes out) noexcept;
bool decode_footer_value(Bytes value, Footer& footer) noexcept;

}  // namespace armdb::format

// MANIFEST: which segments of a shard are live, in the order of their sequences.
//
//   offset  size  field
//        0    40  file header (kind manifest, file_id 0)
//       40     8  generation      rises with each replacement
//       48     4  next_file_id    no file has this id or a higher one; ids are never used twice
//       52     4  count
//       56     8  durable_sequence  everything up to it was synced when this was written
//       64     8  last_sequence     of any sealed segment, also of those that compaction dropped
//       72     4  active_file_id  the segment that is being written, not listed; 0: none
//       76     4  reserved        zero
//       80    56  one record per segment, count of them:
//                   0   4  file_id
//                   4   4  segment_kind
//                   8   4  flags       bit 0: known to be durable; others zero
//                  12   4  reserved    zero
//                  16   8  length      accepted bytes; what follows in the file does not count
//                  24   8  first_sequence
//                  32   8  last_sequence
//                  40   8  count       entries that are not marks
//                  48   8  salt
//        .     4  crc             CRC-32C of everything before it
//        .     4  reserved        zero
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/bytes.hpp"
#include "core/status.hpp"
#include "format/file_header.hpp"

namespace armdb::format {

inline constexpr std::uint32_t kManifestSegmentsMax = std::uint32_t{1} << 20;

struct ManifestSegment {
  std::uint32_t file_id = 0;
  SegmentKind kind = SegmentKind::log;
  bool durable = false;
  std::uint64_t length = 0;
  std::uint64_t first_sequence = 0;
  std::uint64_t last_sequence = 0;
  std::uint64_t count = 0;
  std::uint64_t salt = 0;
};

struct Manifest {
  StoreId store_id{};
  std::uint32_t shard = 0;
  std::uint64_t generation = 0;
  std::uint32_t next_file_id = 1;
  std::uint32_t active_file_id = 0;
  std::uint64_t durable_sequence = 0;
  std::uint64_t last_sequence = 0;
  std::vector<ManifestSegment> segments;
};

[[nodiscard]] std::vector<std::uint8_t> encode_manifest(const Manifest& manifest);
// `in` is the whole file. corrupt or format_mismatch; checks ids (1..kFileIdMax, below
// next_file_id, no duplicates), lengths (at least a segment header, multiples of 8, at most
// 2^36), counts (no more than the length has room for), that first <= last + 1, and that
// sequences are below 2^63.
Status decode_manifest(Bytes in, Manifest& manifest);

}  // namespace armdb::format

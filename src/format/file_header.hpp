// The header every file begins with, and the extension of segments.
//
//   offset  size  field
//        0     4  magic       "ARMD"
//        4     2  kind        1 segment, 2 hint, 3 manifest, 4 tail, 5 meta, 6 slots, 7 state,
//                          8 keys, 9 replica, 10 cursor
//        6     2  version     1
//        8    16  store_id    random, the same in all files of a collection
//       24     4  shard       0 in files of the whole collection (db.*)
//       28     4  file_id     0 where files are not numbered
//       32     4  sealing     0 plain, else the cipher: 1 AES-256-GCM, 2 ChaCha20-Poly1305
//       36     4  crc         CRC-32C of bytes 0..35
//
// Every version keeps these 40 bytes, so that an old reader can say that a file is too new.
//
// A segment goes on:
//
//       40     4  segment_kind          0 log, 1 compacted
//       44     4  predecessor_id        the log segment before this one; 0: none
//       48     8  predecessor_length    its accepted bytes, footer included
//       56     8  predecessor_sequence  its last sequence
//       64     8  first_sequence        of the first entry to come; compacted: of the sources
//       72     8  watermark             durable sequence when this file was created
//       80     8  salt                  random; part of the seed of every entry's crc
//       88     4  reserved              zero
//       92     4  crc                   CRC-32C of bytes 40..91, continued from the crc at 36
//
// Integers are little-endian. The crc is the usual CRC-32C: that of "123456789" is 0xe3069283.
// "Continued from c" or "seeded with c" means crc32c(c, bytes), so that crc32c(crc32c(0, a), b)
// is the crc of a and b in one. An entry's seed is the CRC-32C of 32 bytes: store_id, shard,
// file_id, salt.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/bytes.hpp"
#include "core/status.hpp"

namespace armdb::format {

using StoreId = ByteArray<16>;

enum class FileType : std::uint16_t {
  segment = 1,
  hint,
  manifest,
  tail,
  meta,
  slots,
  state,
  keys,
  replica,
  cursor,
};

struct FileHeader {
  FileType type = FileType::segment;
  std::uint16_t version = 1;
  StoreId store_id{};
  std::uint32_t shard = 0;
  std::uint32_t file_id = 0;
  std::uint32_t sealing = 0;
};

enum class SegmentKind : std::uint32_t { log = 0, compacted = 1 };

struct SegmentHeader {
  FileHeader file;
  SegmentKind kind = SegmentKind::log;
  std::uint32_t predecessor_id = 0;
  std::uint64_t predecessor_length = 0;
  std::uint64_t predecessor_sequence = 0;
  std::uint64_t first_sequence = 0;
  std::uint64_t watermark = 0;
  std::uint64_t salt = 0;
};

inline constexpr std::size_t kFileHeaderBytes = 40;
inline constexpr std::size_t kSegmentHeaderBytes = 96;

void encode_file_header(const FileHeader& header, MutableBytes out) noexcept;  // 40 bytes
// What holds for files of every kind, sealed or not: magic, crc and version.
Status check_file_header(Bytes in);
// corrupt: not such a header (magic, crc); format_mismatch: a newer version, another type than
// `expected`, or sealed. The texts say what to do.
// Bytes after the header are not looked at.
Status decode_file_header(Bytes in, FileType expected, FileHeader& header);

void encode_segment_header(const SegmentHeader& header, MutableBytes out) noexcept;  // 96 bytes
Status decode_segment_header(Bytes in, SegmentHeader& header);

// What the crc of every entry of this segment starts from: store, shard, file and salt, so that
// an entry of another file, or of a former use of these disk blocks, never passes.
[[nodiscard]] std::uint32_t entry_seed(const SegmentHeader& header) noexcept;

}  // namespace armdb::format

// File headers: read field by field, then judged once, from "not ours" to "not this one".
#include "format/file_header.hpp"

#include <string>
#include <string_view>

#include "base/byte_reader.hpp"
#include "base/byte_writer.hpp"
#include "base/check.hpp"
#include "base/crc32c.hpp"
#include "base/errors.hpp"
#include "base/little.hpp"
#include "base/location.hpp"
#include "format/entry.hpp"

namespace armdb::format {
namespace {

constexpr std::uint32_t kFileMagic = 0x444d5241;  // "ARMD" as little-endian bytes
constexpr std::uint16_t kFormatVersion = 1;
constexpr std::size_t kFileHeaderCrcAt = 36;
constexpr std::size_t kSegmentCrcAt = 92;

std::string_view file_type_name(std::uint16_t type) noexcept {
  switch (static_cast<FileType>(type)) {
    case FileType::segment:
      return "segment";
    case FileType::hint:
      return "hint file";
    case FileType::manifest:
      return "MANIFEST";
    case FileType::tail:
      return "tail buffer";
    case FileType::meta:
      return "db.meta";
    case FileType::slots:
      return "slot file";
    case FileType::state:
      return "db.state";
    case FileType::keys:
      return "db.keys";
    case FileType::replica:
      return "db.replica";
#if !defined(ARMDB_OMIT_REPLICATION)
    case FileType::cursor:
      return "db.cursor";
#else
    case FileType::cursor:
      break;
#endif
  }
  return "file of an unknown kind";
}

}  // namespace

void encode_file_header(const FileHeader& header, MutableBytes out) noexcept {
  ARMDB_ASSERT(out.size() >= kFileHeaderBytes);
  base::ByteWriter writer(out.first(kFileHeaderBytes));
  writer.little<std::uint32_t>(kFileMagic);
  writer.little<std::uint16_t>(static_cast<std::uint16_t>(header.type));
  writer.little<std::uint16_t>(header.version);
  writer.put(header.store_id);
  writer.little<std::uint32_t>(header.shard);
  writer.little<std::uint32_t>(header.file_id);
  writer.little<std::uint32_t>(header.sealing);
  writer.little<std::uint32_t>(base::crc32c(0, Bytes(out.data(), kFileHeaderCrcAt)));
}

Status check_file_header(Bytes in) {
  base::ByteReader reader(in);
  const auto magic = reader.little<std::uint32_t>();
  reader.skip(2);
  const auto version = reader.little<std::uint16_t>();
  reader.skip(kFileHeaderCrcAt - 8);
  const auto crc_stored = reader.little<std::uint32_t>();

  if (reader.failed()) return base::corrupt("the file ends inside its header of 40 bytes");
  if (magic != kFileMagic) return base::corrupt("no file of armdb: it does not begin with ARMD");
  const std::uint32_t crc_computed = base::crc32c(0, in.sub(0, kFileHeaderCrcAt));
  if (crc_stored != crc_computed) return base::corrupt("the checksum of the file header is wrong");
  // Every version keeps these 40 bytes as they are, so that the answer here is the true one.
  if (version > kFormatVersion) {
    return base::failure(
        Errc::format_mismatch,
        "written by a newer armdb (format %); this one reads up to %: update armdb",
        {version, kFormatVersion});
  }
  if (version == 0) return base::corrupt("the file header has format 0, which never existed");
  return {};
}

Status decode_file_header(Bytes in, FileType expected, FileHeader& header) {
  if (Status status = check_file_header(in); !status.ok()) return status;
  base::ByteReader reader(in.sub(4));
  const auto type = reader.little<std::uint16_t>();
  const auto version = reader.little<std::uint16_t>();
  const Bytes store_id = reader.take(16);
  const auto shard = reader.little<std::uint32_t>();
  const auto file_id = reader.little<std::uint32_t>();
  const auto sealing = reader.little<std::uint32_t>();
  if (type != static_cast<std::uint16_t>(expected)) {
    return base::failure(
        Errc::format_mismatch, "this is a % where a % belongs: put the right file back",
        {file_type_name(type), file_type_name(static_cast<std::uint16_t>(expected))});
  }
  // Slots are sealed one by one: who reads them asks what `sealing` says.
  if (sealing != 0 && expected != FileType::slots) {
    return {Errc::format_mismatch, "the file is encrypted, and the collection is not"};
  }

  header.sealing = sealing;
  header.type = expected;
  header.version = version;
  for (std::size_t i = 0; i < header.store_id.size(); ++i) header.store_id[i] = store_id[i];
  header.shard = shard;
  header.file_id = file_id;
  return {};
}

void encode_segment_header(const SegmentHeader& header, MutableBytes out) noexcept {
  ARMDB_ASSERT(out.size() >= kSegmentHeaderBytes);
  ARMDB_ASSERT(header.file.type == FileType::segment);
  encode_file_header(header.file, out);
  const auto file_crc = base::load_little<std::uint32_t>(out.data() + kFileHeaderCrcAt);
  base::ByteWriter writer(out.subspan(kFileHeaderBytes, kSegmentHeaderBytes - kFileHeaderBytes));
  writer.little<std::uint32_t>(static_cast<std::uint32_t>(header.kind));
  writer.little<std::uint32_t>(header.predecessor_id);
  writer.little<std::uint64_t>(header.predecessor_length);
  writer.little<std::uint64_t>(header.predecessor_sequence);
  writer.little<std::uint64_t>(header.first_sequence);
  writer.little<std::uint64_t>(header.watermark);
  writer.little<std::uint64_t>(header.salt);
  writer.zeros(4);
  writer.little<std::uint32_t>(base::crc32c(
      file_crc, Bytes(out.data() + kFileHeaderBytes, kSegmentCrcAt - kFileHeaderBytes)));
}

Status decode_segment_header(Bytes in, SegmentHeader& header) {
  SegmentHeader read;
  if (Status status = decode_file_header(in, FileType::segment, read.file); !status) return status;

  base::ByteReader reader(in.sub(kFileHeaderBytes));
  const auto kind = reader.little<std::uint32_t>();
  read.predecessor_id = reader.little<std::uint32_t>();
  read.predecessor_length = reader.little<std::uint64_t>();
  read.predecessor_sequence = reader.little<std::uint64_t>();
  read.first_sequence = reader.little<std::uint64_t>();
  read.watermark = reader.little<std::uint64_t>();
  read.salt = reader.little<std::uint64_t>();
  const auto reserved = reader.little<std::uint32_t>();
  const auto crc_stored = reader.little<std::uint32_t>();

  if (reader.failed()) return base::corrupt("the segment ends inside its header of 96 bytes");
  const auto file_crc = base::load_little<std::uint32_t>(in.data() + kFileHeaderCrcAt);
  const std::uint32_t crc_computed =
      base::crc32c(file_crc, in.sub(kFileHeaderBytes, kSegmentCrcAt - kFileHeaderBytes));
  if (crc_stored != crc_computed) {
    return base::corrupt("the checksum of the segment header is wrong");
  }
  if (kind > static_cast<std::uint32_t>(SegmentKind::compacted)) {
    return base::corrupt("the segment header names no known kind of segment");
  }
  if (reserved != 0) return base::corrupt("reserved bytes of the segment header are not zero");
  if (read.file.file_id == 0 || read.file.file_id > base::Location::kFileIdMax ||
      read.predecessor_id > base::Location::kFileIdMax) {
    return base::corrupt("the segment header has a file id out of range");
  }
  if (read.predecessor_sequence > kSequenceMax || read.first_sequence > kSequenceMax ||
      read.watermark > kSequenceMax) {
    return base::corrupt("the segment header has a sequence of 2^63 or more");
  }
  read.kind = static_cast<SegmentKind>(kind);
  header = read;
  return {};
}

std::uint32_t entry_seed(const SegmentHeader& header) noexcept {
  ByteArray<32> identity{};
  base::ByteWriter writer(identity);
  writer.put(header.file.store_id);
  writer.little<std::uint32_t>(header.file.shard);
  writer.little<std::uint32_t>(header.file.file_id);
  writer.little<std::uint64_t>(header.salt);
  return base::crc32c(0, identity);
}

}  // namespace armdb::format

// MANIFEST: the list of live segments, written and judged as a whole.
#include "format/manifest.hpp"

#include <algorithm>

#include "base/byte_reader.hpp"
#include "base/byte_writer.hpp"
#include "base/check.hpp"
#include "base/crc32c.hpp"
#include "base/errors.hpp"
#include "base/location.hpp"
#include "base/merge_sort.hpp"
#include "format/entry.hpp"

namespace armdb::format {
namespace {

constexpr std::size_t kManifestFixedBytes = 80;  // up to the records
constexpr std::size_t kManifestRecordBytes = 56;
constexpr std::size_t kManifestEndBytes = 8;
constexpr std::uint32_t kManifestDurable = 1;
// No entry begins past Location::kOffsetMax; this leaves room for the last one and the footer.
constexpr std::uint64_t kSegmentBytesMax = std::uint64_t{1} << 36;
constexpr std::uint64_t kSmallestEntryBytes = 24;

// Takes one record; false when no writer produces it.
bool read_manifest_segment(base::ByteReader& reader, ManifestSegment& segment) noexcept {
  segment.file_id = reader.little<std::uint32_t>();
  const auto kind = reader.little<std::uint32_t>();
  const auto flags = reader.little<std::uint32_t>();
  const auto reserved = reader.little<std::uint32_t>();
  segment.length = reader.little<std::uint64_t>();
  segment.first_sequence = reader.little<std::uint64_t>();
  segment.last_sequence = reader.little<std::uint64_t>();
  segment.count = reader.little<std::uint64_t>();
  segment.salt = reader.little<std::uint64_t>();

  if (kind > static_cast<std::uint32_t>(SegmentKind::compacted)) return false;
  if ((flags & ~kManifestDurable) != 0 || reserved != 0) return false;
  segment.kind = static_cast<SegmentKind>(kind);
  segment.durable = (flags & kManifestDurable) != 0;
  if (segment.length < kSegmentHeaderBytes || segment.length > kSegmentBytesMax ||
      segment.length % 8 != 0) {
    return false;
  }
  if (segment.count > (segment.length - kSegmentHeaderBytes) / kSmallestEntryBytes) return false;
  return segment.last_sequence <= kSequenceMax &&
         segment.first_sequence <= segment.last_sequence + 1;
}

// True when every id is from 1 to below `next` and none is there twice.
bool manifest_ids_possible(const std::vector<ManifestSegment>& segments, std::uint32_t next) {
  std::vector<std::uint32_t> ids;
  ids.reserve(segments.size());
  for (const ManifestSegment& segment : segments) {
    if (segment.file_id == 0 || segment.file_id >= next) return false;
    ids.push_back(segment.file_id);
  }
  base::sort_ascending(ids);
  return std::adjacent_find(ids.begin(), ids.end()) == ids.end();
}

}  // namespace

std::vector<std::uint8_t> encode_manifest(const Manifest& manifest) {
  ARMDB_ASSERT(manifest.segments.size() <= kManifestSegmentsMax);
  ARMDB_ASSERT(manifest_ids_possible(manifest.segments, manifest.next_file_id));
  std::vector<std::uint8_t> out(
      kManifestFixedBytes + manifest.segments.size() * kManifestRecordBytes + kManifestEndBytes);
  const MutableBytes bytes(out);
  encode_file_header({.type = FileType::manifest,
                      .version = 1,
                      .store_id = manifest.store_id,
                      .shard = manifest.shard,
                      .file_id = 0},
                     bytes);
  base::ByteWriter writer(bytes.subspan(kFileHeaderBytes));
  writer.little<std::uint64_t>(manifest.generation);
  writer.little<std::uint32_t>(manifest.next_file_id);
  writer.little<std::uint32_t>(static_cast<std::uint32_t>(manifest.segments.size()));
  writer.little<std::uint64_t>(manifest.durable_sequence);
  writer.little<std::uint64_t>(manifest.last_sequence);
  writer.little<std::uint32_t>(manifest.active_file_id);
  writer.zeros(4);
  for (const ManifestSegment& segment : manifest.segments) {
    writer.little<std::uint32_t>(segment.file_id);
    writer.little<std::uint32_t>(static_cast<std::uint32_t>(segment.kind));
    writer.little<std::uint32_t>(segment.durable ? kManifestDurable : 0);
    writer.zeros(4);
    writer.little<std::uint64_t>(segment.length);
    writer.little<std::uint64_t>(segment.first_sequence);
    writer.little<std::uint64_t>(segment.last_sequence);
    writer.little<std::uint64_t>(segment.count);
    writer.little<std::uint64_t>(segment.salt);
  }
  writer.little<std::uint32_t>(base::crc32c(0, Bytes(out.data(), out.size() - kManifestEndBytes)));
  writer.zeros(4);
  return out;
}

Status decode_manifest(Bytes in, Manifest& manifest) {
  FileHeader header;
  if (Status status = decode_file_header(in, FileType::manifest, header); !status) return status;

  base::ByteReader reader(in.sub(kFileHeaderBytes));
  Manifest read;
  read.store_id = header.store_id;
  read.shard = header.shard;
  read.generation = reader.little<std::uint64_t>();
  read.next_file_id = reader.little<std::uint32_t>();
  const auto count = reader.little<std::uint32_t>();
  read.durable_sequence = reader.little<std::uint64_t>();
  read.last_sequence = reader.little<std::uint64_t>();
  read.active_file_id = reader.little<std::uint32_t>();
  const auto gap = reader.little<std::uint32_t>();

  // The size is judged before anything is allocated for what it claims to hold.
  if (reader.failed() || count > kManifestSegmentsMax ||
      in.size() !=
          kManifestFixedBytes + std::uint64_t{count} * kManifestRecordBytes + kManifestEndBytes) {
    return base::corrupt("the MANIFEST's size does not match its count of segments");
  }
  base::ByteReader end(in.sub(in.size() - kManifestEndBytes));
  const auto crc_stored = end.little<std::uint32_t>();
  const auto reserved = end.little<std::uint32_t>();
  const std::uint32_t crc_computed = base::crc32c(0, in.sub(0, in.size() - kManifestEndBytes));
  if (crc_stored != crc_computed) return base::corrupt("the checksum of the MANIFEST is wrong");
  if (reserved != 0 || gap != 0 || header.file_id != 0) {
    return base::corrupt("reserved bytes of the MANIFEST are not zero");
  }
  if (read.next_file_id == 0 || read.next_file_id > base::Location::kFileIdMax + 1) {
    return base::corrupt("the MANIFEST's next file id is out of range");
  }
  if (read.active_file_id >= read.next_file_id) {
    return base::corrupt("the MANIFEST's active segment has an id it has not given");
  }
  if (read.durable_sequence > kSequenceMax || read.last_sequence > kSequenceMax) {
    return base::corrupt("the MANIFEST has a sequence of 2^63 or more");
  }
  read.segments = std::vector<ManifestSegment>(count);
  for (ManifestSegment& segment : read.segments) {
    if (!read_manifest_segment(reader, segment)) {
      return base::corrupt("the MANIFEST lists a segment that cannot be");
    }
  }
  if (!manifest_ids_possible(read.segments, read.next_file_id)) {
    return base::corrupt("the MANIFEST lists a segment twice, or with an id it has not given");
  }
  manifest = std::move(read);
  return {};
}

}  // namespace armdb::format

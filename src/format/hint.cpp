// Hint files: header, blocks and items.
#include "format/hint.hpp"

#include <cstring>

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

constexpr std::size_t kHintFileCrcAt = 36;  // the crc of the file header
constexpr std::size_t kHintCrcAt = 48;
constexpr std::size_t kHintItemFixedBytes = 20;
constexpr std::size_t kHintExpiryBytes = 8;
constexpr std::uint8_t kHintItemFlags = kTombstone | kExpiry | kBatchBegin | kBatchCommit;
constexpr std::uint32_t kHintItemsKind = 0;
constexpr std::uint32_t kHintTrailerKind = 1;
constexpr std::uint32_t kHintItemBytesMin = kHintItemFixedBytes + 1;
constexpr std::uint32_t kHintItemBytesMax = kHintItemFixedBytes + kHintExpiryBytes + kKeyBytesMax;

// The fields of a block's header after its crc.
struct HintBlockFields {
  std::uint32_t size;
  std::uint32_t count;
  std::uint32_t kind;
};

bool hint_block_possible(const HintBlockFields& fields) noexcept {
  if (fields.kind == kHintTrailerKind) {
    return fields.size == kHintTrailerBytes && fields.count == 0;
  }
  return fields.kind == kHintItemsKind && fields.size <= kHintBlockBytesMax &&
         fields.size >= std::uint64_t{fields.count} * kHintItemBytesMin &&
         fields.size <= std::uint64_t{fields.count} * kHintItemBytesMax;
}

bool hint_item_possible(const HintItem& item, std::uint8_t reserved,
                        std::size_t key_size) noexcept {
  if (reserved != 0 || (item.flags & ~kHintItemFlags) != 0) return false;
  if (key_size == 0 || key_size > kKeyBytesMax) return false;
  if (item.sequence == 0 || item.sequence > kSequenceMax) return false;
  if (item.value_size > kValueBytesMax || item.offset < kSegmentHeaderBytes) return false;
  return (item.flags & kTombstone) == 0 || (item.value_size == 0 && (item.flags & kExpiry) == 0);
}

}  // namespace

void encode_hint_header(const HintHeader& header, MutableBytes out) noexcept {
  ARMDB_ASSERT(out.size() >= kHintHeaderBytes);
  ARMDB_ASSERT(header.file.type == FileType::hint);
  encode_file_header(header.file, out);
  const auto file_crc = base::load_little<std::uint32_t>(out.data() + kHintFileCrcAt);
  base::ByteWriter writer(out.subspan(kFileHeaderBytes, kHintHeaderBytes - kFileHeaderBytes));
  writer.little<std::uint64_t>(header.salt);
  writer.little<std::uint32_t>(
      base::crc32c(file_crc, Bytes(out.data() + kFileHeaderBytes, kHintCrcAt - kFileHeaderBytes)));
  writer.zeros(4);
}

Status decode_hint_header(Bytes in, HintHeader& header) {
  HintHeader read;
  if (Status status = decode_file_header(in, FileType::hint, read.file); !status) return status;

  base::ByteReader reader(in.sub(kFileHeaderBytes));
  read.salt = reader.little<std::uint64_t>();
  const auto crc_stored = reader.little<std::uint32_t>();
  const auto reserved = reader.little<std::uint32_t>();

  if (reader.failed()) return base::corrupt("the hint file ends inside its header of 56 bytes");
  const auto file_crc = base::load_little<std::uint32_t>(in.data() + kHintFileCrcAt);
  const std::uint32_t crc_computed =
      base::crc32c(file_crc, in.sub(kFileHeaderBytes, kHintCrcAt - kFileHeaderBytes));
  if (crc_stored != crc_computed) {
    return base::corrupt("the checksum of the hint header is wrong");
  }
  if (reserved != 0) return base::corrupt("reserved bytes of the hint header are not zero");
  if (read.file.file_id == 0 || read.file.file_id > base::Location::kFileIdMax) {
    return base::corrupt("the hint header has a file id out of range");
  }
  header = read;
  return {};
}

std::uint32_t hint_seed(const HintHeader& header) noexcept {
  ByteArray<kHintHeaderBytes> bytes{};
  encode_hint_header(header, bytes);
  return base::load_little<std::uint32_t>(bytes.data() + kHintCrcAt);
}

std::size_t hint_item_bytes(const HintItem& item) noexcept {
  return kHintItemFixedBytes + ((item.flags & kExpiry) != 0 ? kHintExpiryBytes : 0) +
         item.key.size();
}

std::size_t encode_hint_item(const HintItem& item, std::uint8_t* out) noexcept {
  ARMDB_ASSERT(hint_item_possible(item, 0, item.key.size()));
  ARMDB_ASSERT(item.offset % 8 == 0 && item.offset / 8 <= 0xffffffffu);
  base::store_little<std::uint32_t>(out, static_cast<std::uint32_t>(item.offset / 8));
  base::store_little<std::uint32_t>(out + 4, item.value_size);
  base::store_little<std::uint64_t>(out + 8, item.sequence);
  out[16] = item.flags;
  out[17] = 0;
  base::store_little<std::uint16_t>(out + 18, static_cast<std::uint16_t>(item.key.size()));
  std::uint8_t* to = out + kHintItemFixedBytes;
  if ((item.flags & kExpiry) != 0) {
    base::store_little<std::uint64_t>(to, item.expiry_ms);
    to += kHintExpiryBytes;
  }
  if (!item.key.empty()) std::memcpy(to, item.key.data(), item.key.size());
  return hint_item_bytes(item);
}

bool decode_hint_item(Bytes& items, HintItem& item) noexcept {
  base::ByteReader reader(items);
  HintItem read;
  read.offset = std::uint64_t{reader.little<std::uint32_t>()} * 8;
  read.value_size = reader.little<std::uint32_t>();
  read.sequence = reader.little<std::uint64_t>();
  read.flags = reader.little<std::uint8_t>();
  const auto reserved = reader.little<std::uint8_t>();
  const auto key_size = reader.little<std::uint16_t>();
  read.expiry_ms = (read.flags & kExpiry) != 0 ? reader.little<std::uint64_t>() : 0;
  read.key = reader.take(key_size);

  if (reader.failed() || !hint_item_possible(read, reserved, key_size)) return false;
  items = reader.rest();
  item = read;
  return true;
}

void seal_hint_block(std::uint32_t seed, bool trailer, std::uint32_t count,
                     MutableBytes block) noexcept {
  ARMDB_ASSERT(block.size() >= kHintBlockHeaderBytes);
  const std::size_t items_bytes = block.size() - kHintBlockHeaderBytes;
  const HintBlockFields fields{static_cast<std::uint32_t>(items_bytes), trailer ? 0 : count,
                               trailer ? kHintTrailerKind : kHintItemsKind};
  ARMDB_ASSERT(items_bytes <= kHintBlockBytesMax && hint_block_possible(fields));
  std::uint8_t* const out = block.data();
  base::store_little<std::uint32_t>(out + 4, fields.size);
  base::store_little<std::uint32_t>(out + 8, fields.count);
  base::store_little<std::uint32_t>(out + 12, fields.kind);
  base::store_little<std::uint32_t>(out, base::crc32c(seed, Bytes(out + 4, block.size() - 4)));
}

bool peek_hint_block(Bytes header, std::uint32_t& items_bytes) noexcept {
  base::ByteReader reader(header);
  reader.skip(4);
  HintBlockFields fields;
  fields.size = reader.little<std::uint32_t>();
  fields.count = reader.little<std::uint32_t>();
  fields.kind = reader.little<std::uint32_t>();
  if (reader.failed() || !hint_block_possible(fields)) return false;
  items_bytes = fields.size;
  return true;
}

bool decode_hint_block(Bytes block, std::uint32_t seed, HintBlock& out) noexcept {
  base::ByteReader reader(block);
  const auto crc_stored = reader.little<std::uint32_t>();
  HintBlockFields fields;
  fields.size = reader.little<std::uint32_t>();
  fields.count = reader.little<std::uint32_t>();
  fields.kind = reader.little<std::uint32_t>();
  const Bytes items = reader.rest();

  if (reader.failed() || !hint_block_possible(fields)) return false;
  if (items.size() != fields.size) return false;
  const std::uint32_t crc_computed = base::crc32c(seed, block.sub(4));
  if (crc_stored != crc_computed) return false;
  out.trailer = fields.kind == kHintTrailerKind;
  out.count = fields.count;
  out.items = items;
  return true;
}

void encode_hint_trailer(const HintTrailer& trailer, MutableBytes out) noexcept {
  ARMDB_ASSERT(out.size() >= kHintTrailerBytes);
  base::ByteWriter writer(out.first(kHintTrailerBytes));
  writer.little<std::uint64_t>(trailer.segment_length);
  writer.little<std::uint64_t>(trailer.last_sequence);
  writer.little<std::uint64_t>(trailer.item_count);
}

bool decode_hint_trailer(Bytes items, HintTrailer& trailer) noexcept {
  base::ByteReader reader(items);
  HintTrailer read;
  read.segment_length = reader.little<std::uint64_t>();
  read.last_sequence = reader.little<std::uint64_t>();
  read.item_count = reader.little<std::uint64_t>();
  if (reader.failed() || !reader.rest().empty()) return false;
  if (read.segment_length < kSegmentHeaderBytes || read.segment_length % 8 != 0) return false;
  if (read.last_sequence > kSequenceMax) return false;
  trailer = read;
  return true;
}

}  // namespace armdb::format

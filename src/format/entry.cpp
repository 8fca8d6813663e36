// Entries: bytes to meaning and back. On the path of every put and every scan, hence direct loads
// after one size check instead of a reader.
#include "format/entry.hpp"

#include <cstring>

#include "base/byte_reader.hpp"
#include "base/byte_writer.hpp"
#include "base/check.hpp"
#include "base/crc32c.hpp"
#include "base/little.hpp"

namespace armdb::format {
namespace {

constexpr std::size_t kEntryFlagsAt = 4;
constexpr std::size_t kEntryReservedAt = 5;
constexpr std::size_t kEntryKeySizeAt = 6;
constexpr std::size_t kEntryValueSizeAt = 8;
constexpr std::size_t kEntrySequenceAt = 12;
constexpr std::size_t kEntryExpiryBytes = 8;
constexpr std::size_t kJointPartsMax = 256;
constexpr std::uint8_t kFlagsOfData = kTombstone | kExpiry | kBatchBegin | kBatchCommit;

// The fields that every entry has, as they stand in its header.
struct EntryFields {
  std::uint8_t flags;
  std::uint8_t reserved;
  std::uint16_t key_size;
  std::uint32_t value_size;
  std::uint64_t sequence;
};

inline EntryFields load_entry_fields(const std::uint8_t* from) noexcept {
  EntryFields fields;
  fields.flags = from[kEntryFlagsAt];
  fields.reserved = from[kEntryReservedAt];
  fields.key_size = base::load_little<std::uint16_t>(from + kEntryKeySizeAt);
  fields.value_size = base::load_little<std::uint32_t>(from + kEntryValueSizeAt);
  fields.sequence = base::load_little<std::uint64_t>(from + kEntrySequenceAt);
  return fields;
}

// True for what a writer may produce. Zeros are not: no mark, and no key.
inline bool entry_fields_possible(const EntryFields& fields) noexcept {
  if (fields.reserved != 0 || fields.sequence > kSequenceMax) return false;
  if (fields.value_size > kValueBytesMax) return false;
  if ((fields.flags & ~kFlagsOfData) == 0) {
    if (fields.key_size == 0 || fields.key_size > kKeyBytesMax || fields.sequence == 0) {
      return false;
    }
    return (fields.flags & kTombstone) == 0 ||
           (fields.value_size == 0 && (fields.flags & kExpiry) == 0);
  }
  if (fields.key_size != 0) return false;
  if (fields.flags == kWatermark) return fields.value_size == 0;
  if (fields.flags == kJoint) {
    return fields.value_size >= 2 * kJointPartBytes && fields.value_size % kJointPartBytes == 0 &&
           fields.value_size <= kJointPartsMax * kJointPartBytes && fields.sequence != 0;
  }
  if (fields.flags == kFooter) {
    return fields.value_size >= footer_value_bytes(0) && fields.value_size % 4 == 0;
  }
  return false;
}

// Header, expiry, key and value, without padding. At most 2^30 + 1052: no 32-bit size_t overflows.
inline std::uint64_t entry_content_bytes(std::uint64_t key_size, std::uint64_t value_size,
                                         bool expiry) noexcept {
  return kEntryHeaderBytes + (expiry ? kEntryExpiryBytes : 0) + key_size + value_size;
}

inline std::uint64_t entry_padded(std::uint64_t content) noexcept {
  return (content + 7) & ~std::uint64_t{7};
}

}  // namespace

std::uint64_t entry_bytes(std::size_t key_size, std::uint64_t value_size, bool expiry) noexcept {
  return entry_padded(entry_content_bytes(key_size, value_size, expiry));
}

EntryRead decode_entry(Bytes in, std::uint32_t seed, Entry& entry, std::size_t& size) noexcept {
  if (in.size() < kEntryHeaderBytes) return EntryRead::torn;
  const std::uint8_t* const from = in.data();
  const EntryFields fields = load_entry_fields(from);
  if (!entry_fields_possible(fields)) return EntryRead::corrupt;

  const bool expiry = (fields.flags & kExpiry) != 0;
  const std::uint64_t content = entry_content_bytes(fields.key_size, fields.value_size, expiry);
  const std::uint64_t total = entry_padded(content);
  if (in.size() < total) return EntryRead::torn;

  // One integer compare: a fuzzer learns the expected value from it.
  const auto stored = base::load_little<std::uint32_t>(from);
  const std::uint32_t computed = base::crc32c(
      seed, Bytes(from + kEntryFlagsAt, static_cast<std::size_t>(content) - kEntryFlagsAt));
  if (stored != computed) return EntryRead::corrupt;

  // The padding is the upper part of the last 8 bytes; an entry has 24 or more.
  const auto padding = static_cast<unsigned>(total - content);
  const auto last = base::load_little<std::uint64_t>(from + static_cast<std::size_t>(total) - 8);
  if (padding != 0 && (last >> (64 - 8 * padding)) != 0) return EntryRead::corrupt;

  const std::uint8_t* const key = from + kEntryHeaderBytes + (expiry ? kEntryExpiryBytes : 0);
  const Bytes value(key + fields.key_size, static_cast<std::size_t>(fields.value_size));
  if (fields.flags == kFooter) {
    Footer footer;
    if (!decode_footer_value(value, footer)) return EntryRead::corrupt;
  }
  for (std::size_t part = 4; fields.flags == kJoint && part < value.size();
       part += kJointPartBytes) {
    if (base::load_little<std::uint32_t>(value.data() + part) != 0) return EntryRead::corrupt;
  }
  entry.flags = fields.flags;
  entry.sequence = fields.sequence;
  entry.expiry_ms = expiry ? base::load_little<std::uint64_t>(from + kEntryHeaderBytes) : 0;
  entry.key = Bytes(key, fields.key_size);
  entry.value = value;
  size = static_cast<std::size_t>(total);
  return EntryRead::whole;
}

bool peek_entry_bytes(Bytes header, std::uint64_t& size) noexcept {
  if (header.size() < kEntryHeaderBytes) return false;
  const EntryFields fields = load_entry_fields(header.data());
  if (!entry_fields_possible(fields)) return false;
  size = entry_bytes(fields.key_size, fields.value_size, (fields.flags & kExpiry) != 0);
  return true;
}

std::size_t encode_entry(const Entry& entry, std::uint32_t seed, std::uint8_t* out) noexcept {
  ARMDB_ASSERT(entry.key.size() <= kKeyBytesMax && entry.value.size() <= kValueBytesMax);
  const bool expiry = (entry.flags & kExpiry) != 0;
  const std::uint64_t content = entry_content_bytes(entry.key.size(), entry.value.size(), expiry);
  const auto total = static_cast<std::size_t>(entry_padded(content));

  // The padding first, as part of eight zeros that the value then covers up to its end.
  base::store_little<std::uint64_t>(out + total - 8, 0);
  // Flags, reserved, key_size and value_size in one store: the crc loads these eight bytes at
  // once, and a load that spans smaller stores has to wait for them to leave the store buffer.
  base::store_little<std::uint64_t>(
      out + kEntryFlagsAt, entry.flags | (static_cast<std::uint64_t>(entry.key.size()) << 16) |
                               (static_cast<std::uint64_t>(entry.value.size()) << 32));
  base::store_little<std::uint64_t>(out + kEntrySequenceAt, entry.sequence);
  std::uint8_t* to = out + kEntryHeaderBytes;
  if (expiry) {
    base::store_little<std::uint64_t>(to, entry.expiry_ms);
    to += kEntryExpiryBytes;
  }
  if (!entry.key.empty()) std::memcpy(to, entry.key.data(), entry.key.size());
  to += entry.key.size();
  if (!entry.value.empty()) std::memcpy(to, entry.value.data(), entry.value.size());

  ARMDB_ASSERT(entry_fields_possible(load_entry_fields(out)));
  base::store_little<std::uint32_t>(
      out, base::crc32c(seed, Bytes(out + kEntryFlagsAt,
                                    static_cast<std::size_t>(content) - kEntryFlagsAt)));
  return total;
}

void encode_joint_part(const JointPart& part, std::uint8_t* out) noexcept {
  base::store_little<std::uint64_t>(out, part.shard);
  base::store_little<std::uint64_t>(out + 8, part.last_sequence);
}

JointPart decode_joint_part(Bytes value, std::size_t at) noexcept {
  const std::uint8_t* from = value.data() + at * kJointPartBytes;
  return {base::load_little<std::uint32_t>(from), base::load_little<std::uint64_t>(from + 8)};
}

void encode_footer_value(const Footer& footer, MutableBytes out) noexcept {
  ARMDB_ASSERT(footer.sources.size() == std::uint64_t{4} * footer.source_count);
  ARMDB_ASSERT(out.size() == footer_value_bytes(footer.source_count));
  base::ByteWriter writer(out);
  writer.little<std::uint64_t>(footer.count);
  writer.little<std::uint64_t>(footer.length);
  writer.little<std::uint32_t>(footer.source_count);
  writer.put(footer.sources);
}

bool decode_footer_value(Bytes value, Footer& footer) noexcept {
  base::ByteReader reader(value);
  Footer read;
  read.count = reader.little<std::uint64_t>();
  read.length = reader.little<std::uint64_t>();
  read.source_count = reader.little<std::uint32_t>();
  read.sources = reader.rest();
  if (reader.failed()) return false;
  if (read.sources.size() != std::uint64_t{4} * read.source_count) return false;
  footer = read;
  return true;
}

}  // namespace armdb::format

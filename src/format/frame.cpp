// Frames and messages: field by field, judged before anything is allocated for them.
#include "format/frame.hpp"

#include <algorithm>

#include "base/byte_reader.hpp"
#include "base/byte_writer.hpp"
#include "base/check.hpp"
#include "base/crc32c.hpp"
#include "base/errors.hpp"
#include "format/entry.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::format {
namespace {

constexpr std::uint32_t kFrameMagic = 0x524d5241;  // "ARMR" as little-endian bytes
constexpr std::uint8_t kProtocolVersion = 1;
constexpr std::size_t kFrameCrcAt = 28;

bool frame_possible(const FrameHeader& header) noexcept {
  if (header.type < FrameType::hello || header.type > FrameType::copy_keys) return false;
  const unsigned allowed =
      header.type == FrameType::data ? kFrameMore | kFrameJoint | kFrameLast : 0;
  const bool last_of_joint = (header.flags & kFrameLast) == 0 || (header.flags & kFrameJoint) != 0;
  return (header.flags & ~allowed) == 0 && last_of_joint && header.length <= kWirePayloadMax &&
         header.shard < kReplicaShardsMax && header.sequence <= kSequenceMax;
}

}  // namespace

void encode_frame_header(FrameHeader header, Bytes payload, std::uint8_t* out) noexcept {
  ARMDB_ASSERT(payload.size() <= kWirePayloadMax);
  base::ByteWriter writer(MutableBytes(out, kWireHeaderBytes));
  writer.little<std::uint32_t>(kFrameMagic);
  writer.little<std::uint8_t>(kProtocolVersion);
  writer.little<std::uint8_t>(static_cast<std::uint8_t>(header.type));
  writer.little<std::uint16_t>(header.flags);
  writer.little<std::uint32_t>(static_cast<std::uint32_t>(payload.size()));
  writer.little<std::uint32_t>(header.shard);
  writer.little<std::uint64_t>(header.sequence);
  writer.zeros(4);
  const std::uint32_t front = base::crc32c(0, Bytes(out, kFrameCrcAt));
  writer.little<std::uint32_t>(base::crc32c(front, payload));
}

Status decode_frame_header(Bytes in, FrameHeader& header) {
  base::ByteReader reader(in);
  const auto magic = reader.little<std::uint32_t>();
  const auto version = reader.little<std::uint8_t>();
  header.type = static_cast<FrameType>(reader.little<std::uint8_t>());
  header.flags = reader.little<std::uint16_t>();
  header.length = reader.little<std::uint32_t>();
  header.shard = reader.little<std::uint32_t>();
  header.sequence = reader.little<std::uint64_t>();
  const auto reserved = reader.little<std::uint32_t>();
  header.crc = reader.little<std::uint32_t>();
  if (reader.failed() || magic != kFrameMagic) {
    return base::corrupt(
        "the peer does not speak armdb's replication (is it another service, or "
        "is TLS on at one side only?)");
  }
  if (version != kProtocolVersion) {
    return base::failure(Errc::format_mismatch,
                         "the peer speaks version % of the replication protocol, this build "
                         "version %: update the older one",
                         {std::uint64_t{version}, std::uint64_t{kProtocolVersion}});
  }
  if (reserved != 0 || !frame_possible(header)) {
    return base::corrupt("a frame of the peer has fields that cannot be");
  }
  return {};
}

Status check_frame(Bytes header_bytes, const FrameHeader& header, Bytes payload) {
  const std::uint32_t front = base::crc32c(0, header_bytes.sub(0, kFrameCrcAt));
  const std::uint32_t crc_computed = base::crc32c(front, payload);
  if (header.crc != crc_computed) return base::corrupt("the checksum of a frame is wrong");
  return {};
}

// ---- Hello ----
//
//   offset  size  field
//        0    16  lineage
//       16    16  store id of who says it
//       32     8  hash_seed
//       40     4  key_size
//       44     4  value_size
//       48     4  shape flags: 1 ordered, 2 values on disk, 4 fixed; 8: asking
//       52     4  shard_prefix_bits
//       56     4  shard_count, 1..256
//       60     4  term_count, 0..64
//       64     4  name_size, 0..255
//       68     4  zero
//       72     .  terms as in db.replica, then per shard sequence (8), then per shard replace (1),
//                 then the name

std::vector<std::uint8_t> encode_hello(const Hello& hello) {
  ARMDB_ASSERT(hello.name.size() <= kCollectionNameMax &&
               hello.replace.size() == hello.sequences.size());
  std::vector<std::uint8_t> out(hello.lineage.begin(), hello.lineage.end());
  out.insert(out.end(), hello.self.begin(), hello.self.end());
  append_little<std::uint64_t>(out, hello.hash_seed);
  append_little<std::uint32_t>(out, hello.shape.key_size);
  append_little<std::uint32_t>(out, hello.shape.value_size);
  append_little<std::uint32_t>(out, (hello.shape.ordered ? 1u : 0u) |
                                        (hello.shape.payload == Payload::location ? 2u : 0u) |
                                        (hello.shape.fixed ? 4u : 0u) | (hello.asking ? 8u : 0u));
  append_little<std::uint32_t>(out, hello.shard_prefix_bits);
  append_little<std::uint32_t>(out, static_cast<std::uint32_t>(hello.sequences.size()));
  append_little<std::uint32_t>(out, static_cast<std::uint32_t>(hello.terms.size()));
  append_little<std::uint32_t>(out, static_cast<std::uint32_t>(hello.name.size()));
  append_little<std::uint32_t>(out, 0);
  append_terms(out, hello.terms);
  for (const std::uint64_t sequence : hello.sequences) append_little<std::uint64_t>(out, sequence);
  out.insert(out.end(), hello.replace.begin(), hello.replace.end());
  out.insert(out.end(), hello.name.begin(), hello.name.end());
  return out;
}

Status decode_hello(Bytes in, Hello& hello) {
  base::ByteReader reader(in);
  const Bytes lineage = reader.take(hello.lineage.size());
  std::copy(lineage.begin(), lineage.end(), hello.lineage.begin());
  const Bytes self = reader.take(hello.self.size());
  std::copy(self.begin(), self.end(), hello.self.begin());
  hello.hash_seed = reader.little<std::uint64_t>();
  hello.shape = {};
  hello.shape.key_size = reader.little<std::uint32_t>();
  hello.shape.value_size = reader.little<std::uint32_t>();
  const auto flags = reader.little<std::uint32_t>();
  hello.shard_prefix_bits = reader.little<std::uint32_t>();
  const auto shards = reader.little<std::uint32_t>();
  const auto terms = reader.little<std::uint32_t>();
  const auto name_size = reader.little<std::uint32_t>();
  const auto reserved = reader.little<std::uint32_t>();
  hello.shape.ordered = (flags & 1) != 0;
  hello.shape.payload = (flags & 2) != 0 ? Payload::location : Payload::value;
  hello.shape.fixed = (flags & 4) != 0;
  hello.asking = (flags & 8) != 0;
  bool good = !reader.failed() && flags < 16 && reserved == 0 && shards != 0 &&
              shards <= kReplicaShardsMax && name_size <= kCollectionNameMax &&
              take_terms(reader, terms, shards, hello.terms) &&
              reader.remaining() == std::size_t{9} * shards + name_size;
  if (good) {
    hello.sequences.resize(shards);
    for (std::uint64_t& sequence : hello.sequences) {
      sequence = reader.little<std::uint64_t>();
      good = good && sequence <= kSequenceMax;
    }
    const Bytes replace = reader.take(shards);
    good = good && std::all_of(replace.begin(), replace.end(),
                               [](std::uint8_t flag) { return flag <= kAhead; });
    hello.replace.assign(replace.begin(), replace.end());
    const Bytes name = reader.take(name_size);
    hello.name.assign(name.begin(), name.end());
  }
  return good ? Status() : base::corrupt("the greeting of the peer has fields that cannot be");
}

// ---- Marks and refusals ----

std::vector<std::uint8_t> encode_marks(std::span<const Mark> marks) {
  std::vector<std::uint8_t> out;
  out.reserve(16 * marks.size());
  for (const Mark& mark : marks) {
    append_little<std::uint64_t>(out, mark.first);
    append_little<std::uint64_t>(out, mark.second);
  }
  return out;
}

Status decode_marks(Bytes in, std::span<Mark> marks) {
  base::ByteReader reader(in);
  bool good = in.size() == 16 * marks.size();
  for (Mark& mark : marks) {
    mark.first = reader.little<std::uint64_t>();
    mark.second = reader.little<std::uint64_t>();
    good = good && mark.first <= kSequenceMax && mark.second <= kSequenceMax;
  }
  return good ? Status() : base::corrupt("a report of the peer has sequences that cannot be");
}

std::vector<std::uint8_t> encode_refusal(const Refusal& refusal) {
  std::vector<std::uint8_t> out;
  append_little<std::uint32_t>(out, static_cast<std::uint32_t>(refusal.code));
  const std::size_t size = std::min(refusal.text.size(), kErrorTextMax);
  out.insert(out.end(), refusal.text.begin(),
             refusal.text.begin() + static_cast<std::ptrdiff_t>(size));
  return out;
}

Status decode_refusal(Bytes in, Refusal& refusal) {
  base::ByteReader reader(in);
  const auto code = reader.little<std::uint32_t>();
  if (reader.failed() || reader.remaining() > kErrorTextMax || code == 0 ||
      code > static_cast<std::uint32_t>(Errc::fenced)) {
    return base::corrupt("a refusal of the peer has fields that cannot be");
  }
  refusal.code = static_cast<Errc>(code);
  // Shown to people: nothing in it may move a terminal's cursor.
  refusal.text.clear();
  for (const std::uint8_t byte : reader.rest()) {
    refusal.text += byte >= 0x20 && byte != 0x7f ? static_cast<char>(byte) : ' ';
  }
  return {};
}

}  // namespace armdb::format

#endif  // !ARMDB_OMIT_REPLICATION

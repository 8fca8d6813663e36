// Frames and messages: golden bytes, and what no peer sends.
#include "format/frame.hpp"

#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "format/entry.hpp"
#include "support/catch.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

using namespace armdb;
using namespace armdb::format;

namespace {

using Buffer = std::vector<std::uint8_t>;

// All were made by a program of its own, from the specification.
const Buffer kHello = {
    0x41, 0x52, 0x4d, 0x52, 0x01, 0x01, 0x00, 0x00, 0x9f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x5f, 0xa3, 0x3c, 0xc2,
    0xb0, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xbb, 0xbc, 0xbd, 0xbe, 0xbf,
    0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf,
    0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x03, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00,
    0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
    0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x64, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x78, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x75, 0x73, 0x65, 0x72, 0x73};
const Buffer kData = {0x41, 0x52, 0x4d, 0x52, 0x01, 0x02, 0x06, 0x00, 0x38, 0x00, 0x00, 0x00, 0x01,
                      0x00, 0x00, 0x00, 0x78, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                      0x00, 0x00, 0xed, 0x97, 0xd7, 0x7f, 0x44, 0xe5, 0xab, 0x84, 0x00, 0x00, 0x04,
                      0x00, 0x05, 0x00, 0x00, 0x00, 0x79, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                      0x6b, 0x65, 0x79, 0x31, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x00, 0x00, 0x00, 0xa0,
                      0x93, 0x24, 0x69, 0x01, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x7a, 0x00,
                      0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x6b, 0x65, 0x79, 0x32};
const Buffer kCopyBegin = {0x41, 0x52, 0x4d, 0x52, 0x01, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00,
                           0x00, 0x01, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00,
                           0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0c, 0xf4, 0xba, 0x0f};
const Buffer kCopyData = {0x41, 0x52, 0x4d, 0x52, 0x01, 0x04, 0x00, 0x00, 0x28, 0x00, 0x00, 0x00,
                          0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                          0x00, 0x00, 0x00, 0x00, 0x7d, 0xbd, 0xdd, 0xb0, 0x19, 0x02, 0x23, 0x3c,
                          0x02, 0x00, 0x04, 0x00, 0x02, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00,
                          0x00, 0x00, 0x00, 0x00, 0x0d, 0x0c, 0x0b, 0x0a, 0x8f, 0x01, 0x00, 0x00,
                          0x6b, 0x65, 0x79, 0x31, 0x68, 0x69, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};
const Buffer kCopyEnd = {0x41, 0x52, 0x4d, 0x52, 0x01, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00,
                         0x00, 0x01, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00,
                         0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x6d, 0xa2, 0xbe, 0x36};
const Buffer kAck = {0x41, 0x52, 0x4d, 0x52, 0x01, 0x06, 0x00, 0x00, 0x20, 0x00, 0x00, 0x00, 0x00,
                     0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                     0x00, 0x00, 0xcb, 0x82, 0x94, 0xbc, 0x78, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                     0x00, 0x64, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00,
                     0x00, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};
const Buffer kProgress = {
    0x41, 0x52, 0x4d, 0x52, 0x01, 0x07, 0x00, 0x00, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xeb, 0x38, 0x0a, 0x00,
    0x7a, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x79, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};
const Buffer kError = {0x41, 0x52, 0x4d, 0x52, 0x01, 0x08, 0x00, 0x00, 0x06, 0x00, 0x00, 0x00, 0x00,
                       0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                       0x00, 0x00, 0x40, 0x10, 0xef, 0x27, 0x0c, 0x00, 0x00, 0x00, 0x6e, 0x6f};

const Buffer kReach = {0x41, 0x52, 0x4d, 0x52, 0x01, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00,
                       0x00, 0x01, 0x00, 0x00, 0x00, 0xf4, 0x01, 0x00, 0x00, 0x00, 0x00,
                       0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0e, 0x62, 0x80, 0x2f};
const Buffer kCursor = {0x41, 0x52, 0x4d, 0x52, 0x01, 0x0a, 0x00, 0x00, 0x00, 0x00, 0x00,
                        0x00, 0x01, 0x00, 0x00, 0x00, 0x7b, 0x00, 0x00, 0x00, 0x00, 0x00,
                        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xfe, 0xbe, 0xfc, 0xf7};
const Buffer kCopyKeys = {0x41, 0x52, 0x4d, 0x52, 0x01, 0x0b, 0x00, 0x00, 0x08, 0x00,
                          0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                          0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xfb, 0x55,
                          0x5f, 0xd3, 0x6b, 0x65, 0x79, 0x31, 0x6b, 0x65, 0x79, 0x32};

const std::vector<Buffer> kAll = {kHello,    kData,  kCopyBegin, kCopyData, kCopyEnd, kAck,
                                  kProgress, kError, kReach,     kCursor,   kCopyKeys};

constexpr std::size_t kFlagsAt = 6;
constexpr std::size_t kLengthAt = 8;
constexpr std::size_t kShardAt = 12;
constexpr std::size_t kSequenceAt = 16;
// In a hello.
constexpr std::size_t kShapeFlagsAt = 48;
constexpr std::size_t kShardsAt = 56;
constexpr std::size_t kTermsAt = 60;
constexpr std::size_t kNameSizeAt = 64;
constexpr std::size_t kFirstTermAt = 72;
constexpr std::size_t kSequencesAt = 136;
constexpr std::size_t kReplaceAt = 152;

constexpr std::uint64_t kMax64 = std::numeric_limits<std::uint64_t>::max();

// From an exact copy on the heap, so that a step outside is seen by the sanitizer.
std::unique_ptr<std::uint8_t[]> exact(const Buffer& bytes, std::size_t count) {
  std::unique_ptr<std::uint8_t[]> copy(new std::uint8_t[count]);
  if (count != 0) std::memcpy(copy.get(), bytes.data(), count);
  return copy;
}

Buffer payload_of(const Buffer& frame) { return {frame.begin() + kWireHeaderBytes, frame.end()}; }

// As a channel reads it.
Status read(const Buffer& frame, std::size_t count, FrameHeader& header) {
  const auto bytes = exact(frame, count);
  const Bytes in(bytes.get(), count);
  Status status = decode_frame_header(in.sub(0, std::min(count, kWireHeaderBytes)), header);
  if (!status.ok()) return status;
  if (count != kWireHeaderBytes + header.length) return Status(Errc::corrupt, "cut");
  return check_frame(in, header, in.sub(kWireHeaderBytes, header.length));
}
Status read(const Buffer& frame) {
  FrameHeader header;
  return read(frame, frame.size(), header);
}

Buffer with(Buffer bytes, std::size_t at, std::uint64_t value, std::size_t width) {
  for (std::size_t i = 0; i < width; ++i) {
    bytes[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
  return bytes;
}

// `frame` with a field set, and a right crc.
Status read_with(const Buffer& frame, std::size_t at, std::uint64_t value, std::size_t width) {
  Buffer bytes = with(frame, at, value, width);
  const std::uint32_t front = base::crc32c(0, Bytes(bytes).sub(0, 28));
  base::store_little<std::uint32_t>(&bytes[28],
                                    base::crc32c(front, Bytes(bytes).sub(kWireHeaderBytes)));
  return read(bytes);
}

Buffer frame_of(FrameType type, std::uint16_t flags, std::uint32_t shard, std::uint64_t sequence,
                const Buffer& payload) {
  Buffer out(kWireHeaderBytes);
  FrameHeader header;
  header.type = type;
  header.flags = flags;
  header.shard = shard;
  header.sequence = sequence;
  encode_frame_header(header, payload, out.data());
  out.insert(out.end(), payload.begin(), payload.end());
  return out;
}

Hello golden_hello() {
  Hello hello;
  hello.name = "users";
  for (std::size_t at = 0; at < 16; ++at) {
    hello.lineage[at] = static_cast<std::uint8_t>(0xb0 + at);
    hello.self[at] = static_cast<std::uint8_t>(0xa0 + at);
  }
  hello.shape = {4, 0, true, Payload::location};
  hello.shard_prefix_bits = 8;
  hello.hash_seed = 0x0102030405060708;
  hello.terms = {{1, 0x1111111111111111, {0, 0}},
                 {std::uint64_t{1} << 32, 0x2222222222222222, {100, 7}}};
  hello.sequences = {120, 9};
  hello.replace = {0, 1};
  return hello;
}

Status read_hello(const Buffer& payload, std::size_t count, Hello& hello) {
  const auto bytes = exact(payload, count);
  return decode_hello(Bytes(bytes.get(), count), hello);
}
Status read_hello(const Buffer& payload) {
  Hello hello;
  return read_hello(payload, payload.size(), hello);
}

Buffer wire_entries(std::span<const Entry> entries) {
  Buffer out;
  for (const Entry& entry : entries) {
    const std::size_t at = out.size();
    out.resize(at + static_cast<std::size_t>(entry_bytes(entry.key.size(), entry.value.size(),
                                                         (entry.flags & kExpiry) != 0)));
    encode_entry(entry, kWireSeed, out.data() + at);
  }
  return out;
}

}  // namespace

TEST_CASE("frame: the bytes are those of the specification [pitfall-38]") {
  CHECK(frame_of(FrameType::hello, 0, 0, 0, encode_hello(golden_hello())) == kHello);
  const Entry entries[2] = {{0, 121, 0, Bytes("key1"), Bytes("hello")},
                            {kTombstone, 122, 0, Bytes("key2"), {}}};
  CHECK(frame_of(FrameType::data, kFrameJoint | kFrameLast, 1, 120, wire_entries(entries)) ==
        kData);
  const Entry copied[1] = {{kExpiry, 3, 0x18f0a0b0c0d, Bytes("key1"), Bytes("hi")}};
  CHECK(frame_of(FrameType::copy_begin, 0, 1, 9, {}) == kCopyBegin);
  CHECK(frame_of(FrameType::copy_data, 0, 1, 0, wire_entries(copied)) == kCopyData);
  CHECK(frame_of(FrameType::copy_end, 0, 1, 9, {}) == kCopyEnd);
  const Mark acks[2] = {{120, 100}, {9, 9}};
  CHECK(frame_of(FrameType::ack, 0, 0, 0, encode_marks(acks)) == kAck);
  const Mark progress[2] = {{122, 121}, {9, 9}};
  CHECK(frame_of(FrameType::progress, 0, 0, 0, encode_marks(progress)) == kProgress);
  CHECK(frame_of(FrameType::error, 0, 0, 0, encode_refusal({Errc::failed, "no"})) == kError);
  CHECK(frame_of(FrameType::reach, 0, 1, 500, {}) == kReach);
  CHECK(frame_of(FrameType::cursor, 0, 1, 123, {}) == kCursor);
  const Bytes keys("key1key2");
  CHECK(frame_of(FrameType::copy_keys, 0, 1, 0, {keys.begin(), keys.end()}) == kCopyKeys);
}

TEST_CASE("frame: a header gives back what was written") {
  FrameHeader header;
  REQUIRE(read(kData, kData.size(), header).ok());
  CHECK(header.type == FrameType::data);
  CHECK(header.flags == (kFrameJoint | kFrameLast));
  CHECK(header.length == kData.size() - kWireHeaderBytes);
  CHECK(header.shard == 1);
  CHECK(header.sequence == 120);
  for (std::size_t at = 0; at < kAll.size(); ++at) {
    REQUIRE(read(kAll[at], kAll[at].size(), header).ok());
    CHECK(static_cast<std::size_t>(header.type) == at + 1);
  }
}

TEST_CASE("frame: the largest fields go round [pitfall-22]") {
  const Buffer payload(kWirePayloadMax, 0xee);
  for (const unsigned flags : {0u, 1u, 2u, 3u, 6u, 7u}) {
    const Buffer frame = frame_of(FrameType::data, static_cast<std::uint16_t>(flags),
                                  kReplicaShardsMax - 1, kSequenceMax, payload);
    FrameHeader header;
    REQUIRE(read(frame, frame.size(), header).ok());
    CHECK(header.flags == flags);
    CHECK(header.length == kWirePayloadMax);
    CHECK(header.shard == kReplicaShardsMax - 1);
    CHECK(header.sequence == kSequenceMax);
  }
}

TEST_CASE("frame: one flipped bit anywhere is refused") {
  for (const Buffer& golden : kAll) {
    for (std::size_t bit = 0; bit < golden.size() * 8; ++bit) {
      Buffer bytes = golden;
      bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
      const Status status = read(bytes);
      INFO("bit " << bit);
      REQUIRE((status.is(Errc::corrupt) || status.is(Errc::format_mismatch)));
    }
  }
}

TEST_CASE("frame: cut anywhere it is refused") {
  for (const Buffer& golden : kAll) {
    for (std::size_t count = 0; count < golden.size(); ++count) {
      FrameHeader header;
      REQUIRE(read(golden, count, header).is(Errc::corrupt));
    }
  }
}

TEST_CASE("frame: fields that cannot be are refused, even with a right crc [pitfall-22]") {
  CHECK(read_with(kCopyEnd, 5, 0, 1).is(Errc::corrupt));
  CHECK(read_with(kCopyEnd, 5, 11, 1).ok());
  CHECK(read_with(kCopyEnd, 5, 12, 1).is(Errc::corrupt));
  CHECK(read_with(kCursor, kFlagsAt, 1, 2).is(Errc::corrupt));
  CHECK(read_with(kCopyEnd, 5, 255, 1).is(Errc::corrupt));
  CHECK(read_with(kCopyEnd, kShardAt, 255, 4).ok());
  CHECK(read_with(kCopyEnd, kShardAt, 256, 4).is(Errc::corrupt));
  CHECK(read_with(kCopyEnd, kShardAt, 0xffffffff, 4).is(Errc::corrupt));
  CHECK(read_with(kCopyEnd, kSequenceAt, kSequenceMax, 8).ok());
  CHECK(read_with(kCopyEnd, kSequenceAt, kSequenceMax + 1, 8).is(Errc::corrupt));
  CHECK(read_with(kCopyEnd, kSequenceAt, kMax64, 8).is(Errc::corrupt));
  for (std::uint64_t bit = 1; bit < 256; bit <<= 1) {
    for (std::size_t at = 24; at < 28; ++at) {
      CHECK(read_with(kCopyEnd, at, bit, 1).is(Errc::corrupt));
    }
  }
}

TEST_CASE("frame: only data has flags, and only a joint batch a last part [pitfall-36]") {
  for (std::uint64_t flags = 0; flags < 32; ++flags) {
    const bool good = flags < 8 && ((flags & kFrameLast) == 0 || (flags & kFrameJoint) != 0);
    INFO("flags " << flags);
    CHECK(read_with(kData, kFlagsAt, flags, 2).ok() == good);
  }
  CHECK(read_with(kData, kFlagsAt, 0x8000, 2).is(Errc::corrupt));
  for (const Buffer& golden : kAll) {
    if (golden == kData) continue;
    CHECK(read_with(golden, kFlagsAt, kFrameMore, 2).is(Errc::corrupt));
    CHECK(read_with(golden, kFlagsAt, kFrameJoint, 2).is(Errc::corrupt));
  }
}

TEST_CASE(
    "frame: a length is judged by the header alone, before any payload is there [pitfall-55]") {
  for (const std::uint64_t length : {std::uint64_t{0}, std::uint64_t{kWirePayloadMax}}) {
    FrameHeader header;
    const Buffer bytes = with(kData, kLengthAt, length, 4);
    CHECK(decode_frame_header(Bytes(bytes).sub(0, kWireHeaderBytes), header).ok());
    CHECK(header.length == length);
  }
  for (const std::uint64_t length :
       {std::uint64_t{kWirePayloadMax} + 1, std::uint64_t{0x80000000}, std::uint64_t{0xffffffff}}) {
    FrameHeader header;
    const Buffer bytes = with(kData, kLengthAt, length, 4);
    CHECK(decode_frame_header(Bytes(bytes).sub(0, kWireHeaderBytes), header).is(Errc::corrupt));
  }
}

TEST_CASE("frame: another service and another version are told as such") {
  FrameHeader header;
  Buffer other(kWireHeaderBytes, 'G');
  Status status = decode_frame_header(other, header);
  CHECK(status.is(Errc::corrupt));
  CHECK(status.message().find("another service") != std::string::npos);
  for (const std::uint64_t version : {0, 2, 255}) {
    status = read_with(kData, 4, version, 1);
    CHECK(status.is(Errc::format_mismatch));
    CHECK(status.message().find("version " + std::to_string(version)) != std::string::npos);
  }
}

// ---- Hello ----

TEST_CASE("frame: a hello gives back what was written") {
  Hello hello;
  REQUIRE(decode_hello(payload_of(kHello), hello).ok());
  const Hello golden = golden_hello();
  CHECK(hello.name == "users");
  CHECK(hello.lineage == golden.lineage);
  CHECK(hello.self == golden.self);
  CHECK(hello.shape == golden.shape);
  CHECK(hello.shard_prefix_bits == 8);
  CHECK(hello.hash_seed == golden.hash_seed);
  CHECK_FALSE(hello.asking);
  REQUIRE(hello.terms.size() == 2);
  CHECK(hello.terms[1].number == std::uint64_t{1} << 32);
  CHECK(hello.terms[1].id == 0x2222222222222222);
  CHECK(hello.terms[1].starts == std::vector<std::uint64_t>{100, 7});
  CHECK(hello.sequences == golden.sequences);
  CHECK(hello.replace == golden.replace);

  // Into one that held something else: nothing of it stays.
  Hello least;
  least.sequences.resize(1);
  least.replace.resize(1);
  REQUIRE(decode_hello(encode_hello(least), hello).ok());
  CHECK(encode_hello(hello) == encode_hello(least));
  CHECK(hello.terms.empty());
  CHECK(hello.name.empty());
}

TEST_CASE("frame: each flag of a shape goes round, and only those that there are") {
  for (std::uint64_t flags = 0; flags < 16; ++flags) {
    const Buffer bytes = with(payload_of(kHello), kShapeFlagsAt, flags, 4);
    Hello hello;
    REQUIRE(decode_hello(bytes, hello).ok());
    CHECK(hello.shape.ordered == ((flags & 1) != 0));
    CHECK((hello.shape.payload == Payload::location) == ((flags & 2) != 0));
    CHECK(hello.shape.fixed == ((flags & 4) != 0));
    CHECK(hello.asking == ((flags & 8) != 0));
    CHECK(encode_hello(hello) == bytes);
  }
  for (std::uint64_t bit = 16; bit <= 0x80000000; bit <<= 1) {
    CHECK(read_hello(with(payload_of(kHello), kShapeFlagsAt, bit, 4)).is(Errc::corrupt));
  }
}

TEST_CASE("frame: the largest hello goes round, and in a frame [pitfall-22]") {
  Hello hello = golden_hello();
  hello.name = std::string(kCollectionNameMax, '\xff');
  hello.shape = {0xffffffff, 0xffffffff, true, Payload::location, true};
  hello.shard_prefix_bits = 0xffffffff;
  hello.hash_seed = kMax64;
  hello.asking = true;
  hello.sequences.assign(kReplicaShardsMax, kSequenceMax);
  hello.replace.assign(kReplicaShardsMax, 2);
  hello.terms.clear();
  for (std::uint64_t at = kTermsMax; at-- != 0;) {
    hello.terms.push_back({kMax64 - at, kMax64, hello.sequences});
  }
  const Buffer bytes = encode_hello(hello);
  REQUIRE(bytes.size() <= kWirePayloadMax);
  Hello again;
  REQUIRE(decode_hello(bytes, again).ok());
  CHECK(encode_hello(again) == bytes);
}

TEST_CASE("frame: a hello cut at any byte, or longer, is corrupt") {
  const Buffer golden = payload_of(kHello);
  for (std::size_t count = 0; count < golden.size(); ++count) {
    Hello hello;
    REQUIRE(read_hello(golden, count, hello).is(Errc::corrupt));
  }
  Buffer longer = golden;
  for (int more = 0; more < 40; ++more) {
    longer.push_back(0);
    CHECK(read_hello(longer).is(Errc::corrupt));
  }
}

TEST_CASE("frame: a flipped byte of a hello is corrupt, or another hello with those very bytes") {
  const Buffer golden = payload_of(kHello);
  std::size_t read_back = 0;
  for (std::size_t bit = 0; bit < golden.size() * 8; ++bit) {
    Buffer bytes = golden;
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    Hello hello;
    const Status status = read_hello(bytes, bytes.size(), hello);
    INFO("bit " << bit);
    if (!status.ok()) {
      REQUIRE(status.is(Errc::corrupt));
      continue;
    }
    REQUIRE(encode_hello(hello) == bytes);
    ++read_back;
  }
  CHECK(read_back > 40 * 8);
}

TEST_CASE("frame: counts of a hello that its size has not are corrupt [pitfall-22]") {
  const Buffer golden = payload_of(kHello);
  for (const std::uint64_t count : {0ull, 1ull, 3ull, 255ull, 256ull, 257ull, 0x20000002ull,
                                    0x80000000ull, 0xfffffffeull, 0xffffffffull}) {
    CHECK(read_hello(with(golden, kShardsAt, count, 4)).is(Errc::corrupt));
    CHECK(read_hello(with(golden, kTermsAt, count, 4)).is(Errc::corrupt));
    CHECK(read_hello(with(golden, kNameSizeAt, count, 4)).is(Errc::corrupt));
    CHECK(
        read_hello(with(with(golden, kShardsAt, count, 4), kTermsAt, count, 4)).is(Errc::corrupt));
  }
  // One above each limit, with all the bytes for it.
  Hello most = golden_hello();
  most.terms.clear();
  most.sequences.resize(kReplicaShardsMax + 1);
  most.replace.resize(kReplicaShardsMax + 1);
  CHECK(read_hello(encode_hello(most)).is(Errc::corrupt));
  most = golden_hello();
  for (std::uint64_t at = 2; at < kTermsMax; ++at) {
    most.terms.push_back({(std::uint64_t{1} << 32) + at, 0, {0, 0}});
  }
  CHECK(read_hello(encode_hello(most)).ok());
  most.terms.push_back({std::uint64_t{1} << 40, 0, {0, 0}});
  CHECK(read_hello(encode_hello(most)).is(Errc::corrupt));
  Buffer named = with(golden, kNameSizeAt, kCollectionNameMax + 1, 4);
  named.resize(golden.size() + kCollectionNameMax + 1 - 5, 'x');
  CHECK(read_hello(named).is(Errc::corrupt));
}

TEST_CASE("frame: a hello with fields that cannot be is corrupt") {
  const Buffer golden = payload_of(kHello);
  const std::size_t second = kFirstTermAt + 32;
  CHECK(read_hello(with(golden, kFirstTermAt, 0, 8)).is(Errc::corrupt));
  CHECK(read_hello(with(golden, kFirstTermAt, std::uint64_t{1} << 32, 8)).is(Errc::corrupt));
  CHECK(read_hello(with(golden, second, 1, 8)).is(Errc::corrupt));
  CHECK(read_hello(with(golden, second, 2, 8)).ok());
  CHECK(read_hello(with(golden, second + 16, kSequenceMax, 8)).ok());
  CHECK(read_hello(with(golden, second + 16, kSequenceMax + 1, 8)).is(Errc::corrupt));
  for (const std::size_t at : {kSequencesAt, kSequencesAt + 8}) {
    CHECK(read_hello(with(golden, at, kSequenceMax, 8)).ok());
    CHECK(read_hello(with(golden, at, kSequenceMax + 1, 8)).is(Errc::corrupt));
  }
  for (const std::size_t at : {kReplaceAt, kReplaceAt + 1}) {
    CHECK(read_hello(with(golden, at, kAhead, 1)).ok());
    CHECK(read_hello(with(golden, at, 4, 1)).is(Errc::corrupt));
    CHECK(read_hello(with(golden, at, 255, 1)).is(Errc::corrupt));
  }
  for (std::size_t at = 68; at < 72; ++at) {
    CHECK(read_hello(with(golden, at, 1, 1)).is(Errc::corrupt));
    CHECK(read_hello(with(golden, at, 128, 1)).is(Errc::corrupt));
  }
}

// ---- Marks and refusals ----

TEST_CASE("frame: marks go round, and are of all shards or refused") {
  std::vector<Mark> marks(kReplicaShardsMax, {kSequenceMax, kSequenceMax});
  const Buffer bytes = encode_marks(marks);
  std::vector<Mark> again(marks.size());
  REQUIRE(decode_marks(bytes, again).ok());
  CHECK(again.back().second == kSequenceMax);
  CHECK(encode_marks(again) == bytes);

  const Buffer golden = payload_of(kAck);
  std::vector<Mark> two(2);
  REQUIRE(decode_marks(golden, two).ok());
  CHECK(two[0].first == 120);
  CHECK(two[0].second == 100);
  CHECK(two[1].first == 9);
  for (std::size_t count = 0; count < golden.size(); ++count) {
    const auto cut = exact(golden, count);
    REQUIRE(decode_marks(Bytes(cut.get(), count), two).is(Errc::corrupt));
  }
  CHECK(decode_marks(with(golden, 0, kSequenceMax + 1, 8), two).is(Errc::corrupt));
  CHECK(decode_marks(with(golden, 24, kMax64, 8), two).is(Errc::corrupt));
  std::vector<Mark> one(1);
  std::vector<Mark> three(3);
  CHECK(decode_marks(golden, one).is(Errc::corrupt));
  CHECK(decode_marks(golden, three).is(Errc::corrupt));
}

TEST_CASE("frame: a refusal goes round, and cannot move a terminal's cursor") {
  Refusal refusal;
  REQUIRE(decode_refusal(payload_of(kError), refusal).ok());
  CHECK(refusal.code == Errc::failed);
  CHECK(refusal.text == "no");
  for (std::uint32_t code = 1; code <= static_cast<std::uint32_t>(Errc::fenced); ++code) {
    const Buffer bytes = encode_refusal({static_cast<Errc>(code), std::string(1024, 'x')});
    REQUIRE(decode_refusal(bytes, refusal).ok());
    CHECK(refusal.code == static_cast<Errc>(code));
    CHECK(encode_refusal(refusal) == bytes);
  }
  REQUIRE(decode_refusal(encode_refusal({Errc::failed, ""}), refusal).ok());
  CHECK(refusal.text.empty());
  REQUIRE(decode_refusal(encode_refusal({Errc::failed, "a\x1b[2J\n\x7f\xc3\xa9"}), refusal).ok());
  CHECK(refusal.text == "a [2J  \xc3\xa9");
  // One that is too long is cut by who says it.
  CHECK(encode_refusal({Errc::failed, std::string(5000, 'x')}).size() == 4 + kErrorTextMax);
}

TEST_CASE("frame: a refusal with fields that cannot be is corrupt") {
  Refusal refusal;
  const Buffer golden = payload_of(kError);
  for (std::size_t count = 0; count < 4; ++count) {
    const auto cut = exact(golden, count);
    CHECK(decode_refusal(Bytes(cut.get(), count), refusal).is(Errc::corrupt));
  }
  const std::uint64_t last = static_cast<std::uint64_t>(Errc::fenced);
  CHECK(decode_refusal(with(golden, 0, last, 4), refusal).ok());
  for (const std::uint64_t code :
       {std::uint64_t{0}, last + 1, std::uint64_t{0x100} + last, std::uint64_t{0xffffffff}}) {
    CHECK(decode_refusal(with(golden, 0, code, 4), refusal).is(Errc::corrupt));
  }
  Buffer longest = encode_refusal({Errc::failed, std::string(kErrorTextMax, 'x')});
  longest.push_back('x');
  CHECK(decode_refusal(longest, refusal).is(Errc::corrupt));
}

#endif  // !ARMDB_OMIT_REPLICATION

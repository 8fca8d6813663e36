// Sealed files: golden bytes of headers and frames, and bytes that are neither.
#include "format/sealed.hpp"

#include <cstring>
#include <memory>
#include <vector>

#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "support/catch.hpp"

#if ARMDB_WITH_OPENSSL

using namespace armdb;
using namespace armdb::format;

namespace {

using Buffer = std::vector<std::uint8_t>;

const Buffer kHeaderGolden = {
    0x41, 0x52, 0x4d, 0x44, 0x01, 0x00, 0x01, 0x00, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
    0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0x03, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00,
    0x01, 0x00, 0x00, 0x00, 0xa5, 0xab, 0xe5, 0xfb, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f,
    0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x58, 0xc7, 0xa7, 0x75};

const Buffer kFrameGolden = {
    0x88, 0x1e, 0xef, 0xfd, 0x05, 0x00, 0x00, 0x00, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, 0x0b, 0x80,
    0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f,
    0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x00, 0x00, 0x00, 0x00, 0x00};

Buffer run(unsigned first, std::size_t count) {
  Buffer bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::uint8_t>(first + i);
  return bytes;
}

// The plain header of segment 7 of shard 3.
Buffer plain_header() {
  FileHeader file;
  file.type = FileType::segment;
  for (std::size_t i = 0; i < file.store_id.size(); ++i) {
    file.store_id[i] = static_cast<std::uint8_t>(0xa0 + i);
  }
  file.shard = 3;
  file.file_id = 7;
  Buffer out(kFileHeaderBytes);
  encode_file_header(file, out);
  return out;
}

SealedHeader golden_header() {
  SealedHeader header = sealed_header(plain_header(), 1);
  header.key_id = 2;
  for (std::size_t i = 0; i < header.salt.size(); ++i) {
    header.salt[i] = static_cast<std::uint8_t>(0x10 + i);
  }
  return header;
}

Buffer encoded(const SealedHeader& header) {
  Buffer out(kSealedHeaderBytes, 0xcc);
  encode_sealed_header(header, out);
  return out;
}

// From exact copies on the heap, so that a step outside is seen by the sanitizer.
Status read_header(const Buffer& bytes, std::size_t count) {
  const std::unique_ptr<std::uint8_t[]> exact(new std::uint8_t[count]);
  if (count != 0) std::memcpy(exact.get(), bytes.data(), count);
  SealedHeader header;
  return decode_sealed_header(Bytes(exact.get(), count), header);
}
Status read_header(const Buffer& bytes) { return read_header(bytes, bytes.size()); }

// Of the file's header; the golden frame is of none.
constexpr std::uint32_t kSeed = 0;

bool is_frame(const Buffer& bytes, std::size_t count) {
  const std::unique_ptr<std::uint8_t[]> exact(new std::uint8_t[count]);
  if (count != 0) std::memcpy(exact.get(), bytes.data(), count);
  Frame frame;
  return decode_frame(Bytes(exact.get(), count), kSeed, frame);
}
bool is_frame(const Buffer& bytes) { return is_frame(bytes, bytes.size()); }

// The golden header with `width` bytes at `at` set to `value`, and right crcs.
Status header_with(std::size_t at, std::uint64_t value, std::size_t width) {
  Buffer bytes = kHeaderGolden;
  for (std::size_t i = 0; i < width; ++i) {
    bytes[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
  const std::uint32_t first = base::crc32c(0, Bytes(bytes).sub(0, 36));
  base::store_little<std::uint32_t>(&bytes[36], first);
  base::store_little<std::uint32_t>(&bytes[92], base::crc32c(first, Bytes(bytes).sub(40, 52)));
  return read_header(bytes);
}

// A frame of `size` bytes, sealed by nobody.
Buffer frame_of(const Frame& fields) {
  Buffer out(frame_bytes(fields.size));
  encode_frame_header(fields, out.data());
  for (std::size_t i = 16; i < kFrameHeaderBytes + fields.size; ++i) {
    out[i] = static_cast<std::uint8_t>(i * 31 + fields.size);
  }
  finish_frame(kSeed, out.data(), fields.size);
  return out;
}

// The golden frame with these bytes instead, and a right crc over `size` bytes.
Buffer frame_with(std::size_t at, std::uint64_t value, std::size_t width, std::size_t size = 11) {
  Buffer bytes = kFrameGolden;
  bytes.resize(kSealedPageBytes + 64);
  for (std::size_t i = 0; i < width; ++i) {
    bytes[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
  const Bytes covered = Bytes(bytes).sub(4, frame_bytes(size) - 4);
  base::store_little<std::uint32_t>(bytes.data(), base::crc32c(kSeed, covered));
  return bytes;
}

}  // namespace

TEST_CASE("sealed: the header is made of the bytes of the specification [pitfall-38]") {
  CHECK(encoded(golden_header()) == kHeaderGolden);
}

TEST_CASE("sealed: a header gives back what was written") {
  SealedHeader header;
  REQUIRE(decode_sealed_header(kHeaderGolden, header).ok());
  CHECK(header.cipher == 1);
  CHECK(header.key_id == 2);
  CHECK(header.salt == golden_header().salt);
  CHECK(header.file == golden_header().file);
  CHECK(encoded(header) == kHeaderGolden);
  // The identity is that of the plain file, and the cipher.
  Buffer identity = plain_header();
  identity[32] = 1;
  CHECK(header.identity() == Bytes(identity).sub(0, 36));
}

TEST_CASE("sealed: the identity differs between stores, shards, files, kinds and ciphers") {
  const Buffer same = plain_header();
  const SealedHeader header = sealed_header(same, 1);
  for (std::size_t bit = 0; bit < 32 * 8; ++bit) {
    Buffer other = same;
    other[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    REQUIRE(sealed_header(other, 1).identity() != header.identity());
  }
  CHECK(sealed_header(same, 2).identity() != header.identity());
}

TEST_CASE("sealed: one flipped bit anywhere in the header is refused") {
  for (std::size_t bit = 0; bit < kHeaderGolden.size() * 8; ++bit) {
    Buffer bytes = kHeaderGolden;
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    REQUIRE(read_header(bytes).is(Errc::corrupt));
  }
}

TEST_CASE("sealed: a header cut at any byte is corrupt, what follows it is not looked at") {
  for (std::size_t count = 0; count < kHeaderGolden.size(); ++count) {
    REQUIRE(read_header(kHeaderGolden, count).is(Errc::corrupt));
  }
  CHECK(read_header(Buffer(96)).is(Errc::corrupt));
  Buffer longer = kHeaderGolden;
  longer.push_back(7);
  CHECK(read_header(longer).ok());
}

TEST_CASE("sealed: header fields that no writer produces are refused, even with a right crc") {
  CHECK(header_with(40, 2, 4).ok());
  CHECK(header_with(40, 0, 4).is(Errc::corrupt));  // key_id
  CHECK(header_with(40, 0xffffffff, 4).ok());
  CHECK(header_with(44, 1, 4).is(Errc::corrupt));  // reserved
  for (std::size_t at = 80; at < 92; ++at) CHECK(header_with(at, 128, 1).is(Errc::corrupt));
  CHECK(header_with(32, 0, 4).is(Errc::format_mismatch));  // in the clear
  CHECK(header_with(0, 0x44, 1).is(Errc::corrupt));        // no magic
}

TEST_CASE("sealed: a file of a newer version is told as such") {
  CHECK(header_with(6, 2, 2).is(Errc::format_mismatch));
  CHECK(header_with(6, 0xffff, 2).is(Errc::format_mismatch));
  CHECK(header_with(6, 0, 2).is(Errc::corrupt));
}

TEST_CASE("sealed: a file in the clear is told as such") {
  Buffer plain = plain_header();
  plain.resize(kSealedHeaderBytes);
  CHECK(read_header(plain).is(Errc::format_mismatch));
}

TEST_CASE("sealed: a frame is made of the bytes of the specification [pitfall-38] [pitfall-53]") {
  Frame frame;
  frame.counter = 5;
  frame.position = 0x010203040506;
  frame.size = 11;
  frame.follows_failure = true;
  Buffer out(frame_bytes(11));
  encode_frame_header(frame, out.data());
  std::memcpy(out.data() + 16, run(0x40, 16).data(), 16);
  std::memcpy(out.data() + 32, run(0x60, 11).data(), 11);
  finish_frame(kSeed, out.data(), 11);
  CHECK(out == kFrameGolden);
}

TEST_CASE("sealed: a frame gives back what was written") {
  Frame frame;
  REQUIRE(decode_frame(kFrameGolden, kSeed, frame));
  CHECK(frame.counter == 5);
  CHECK(frame.position == 0x010203040506);
  CHECK(frame.size == 11);
  CHECK(frame.follows_failure);
  CHECK(frame.tag == Bytes(run(0x40, 16)));
  CHECK(frame.sealed == Bytes(run(0x60, 11)));
  for (std::size_t size = 1; size <= kFramePayloadMax; size += size < 40 ? 1 : 503) {
    Frame fields;
    fields.counter = kSealCountMax;
    fields.position = kFramePositionMax;
    fields.size = size;
    const Buffer bytes = frame_of(fields);
    REQUIRE(bytes.size() % 8 == 0);
    REQUIRE(decode_frame(bytes, kSeed, frame));
    CHECK(frame.counter == kSealCountMax);
    CHECK(frame.position == kFramePositionMax);
    CHECK(frame.size == size);
    CHECK(!frame.follows_failure);
    CHECK(frame.sealed == Bytes(bytes).sub(32, size));
  }
}

TEST_CASE("sealed: one flipped bit anywhere makes a frame none") {
  for (std::size_t bit = 0; bit < kFrameGolden.size() * 8; ++bit) {
    Buffer bytes = kFrameGolden;
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    REQUIRE(!is_frame(bytes));
  }
}

TEST_CASE("sealed: a frame cut at any byte is none, what follows it is not looked at") {
  for (std::size_t count = 0; count < kFrameGolden.size(); ++count) {
    REQUIRE(!is_frame(kFrameGolden, count));
  }
  Buffer longer = kFrameGolden;
  longer.push_back(9);
  CHECK(is_frame(longer));
}

TEST_CASE("sealed: zeros and frames that no writer produces are none, even with a right crc") {
  CHECK(!is_frame(Buffer(kSealedPageBytes)));
  CHECK(is_frame(frame_with(14, 0x800b, 2)));
  CHECK(is_frame(frame_with(14, 0x000b, 2)));
  CHECK(!is_frame(frame_with(4, 0, 4)));  // counter
  for (unsigned bit = 13; bit < 15; ++bit) CHECK(!is_frame(frame_with(14, 11 | 1u << bit, 2)));
  CHECK(!is_frame(frame_with(14, 0, 2, 0)));  // an empty one
  CHECK(is_frame(frame_with(14, kFramePayloadMax, 2, kFramePayloadMax)));
  CHECK(!is_frame(frame_with(14, kFramePayloadMax + 1, 2, kFramePayloadMax + 1)));
  for (std::size_t at = 43; at < 48; ++at) CHECK(!is_frame(frame_with(at, 1, 1)));  // padding
}

TEST_CASE("sealed: each counter is another nonce") {
  CHECK(frame_nonce(1) == ByteArray<12>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
  CHECK(frame_nonce(0x01020304) == ByteArray<12>{0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4});
}

TEST_CASE("sealed: the largest frame fills a page") {
  CHECK(frame_bytes(kFramePayloadMax) == kSealedPageBytes);
  CHECK(frame_bytes(1) == kFrameBytesMin);
  CHECK(frame_bytes(8) == kFrameBytesMin);
  CHECK(frame_bytes(9) == kFrameBytesMin + 8);
}

#endif  // ARMDB_WITH_OPENSSL

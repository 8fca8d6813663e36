// Hint files: golden bytes, blocks and items that are refused.
#include "format/hint.hpp"

#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "format/entry.hpp"
#include "support/catch.hpp"

using namespace armdb;
using namespace armdb::format;

namespace {

using Buffer = std::vector<std::uint8_t>;

constexpr std::uint32_t kSeed = 0x18a9b392;  // the crc at 48 of kHeaderBytes

const Buffer kHeaderBytes = {0x41, 0x52, 0x4d, 0x44, 0x02, 0x00, 0x01, 0x00, 0xa0, 0xa1, 0xa2, 0xa3,
                             0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf,
                             0x03, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                             0x40, 0x70, 0x4b, 0x60, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
                             0x92, 0xb3, 0xa9, 0x18, 0x00, 0x00, 0x00, 0x00};
const Buffer kBlockBytes = {
    0x92, 0x36, 0x38, 0xaa, 0x4d, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x0c, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x64, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x04, 0x00, 0x6b, 0x65, 0x79, 0x31, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x65, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x00, 0x04, 0x00, 0x6b, 0x65, 0x79, 0x31,
    0x14, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x66, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x0a, 0x00, 0x01, 0x00, 0x00, 0x68, 0xe5, 0xcf, 0x8b, 0x01, 0x00, 0x00, 0x6b};
const Buffer kTrailerBytes = {0xd5, 0xd6, 0xb7, 0x87, 0x18, 0x00, 0x00, 0x00, 0x00, 0x00,
                              0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00,
                              0x00, 0x00, 0x00, 0x00, 0x66, 0x00, 0x00, 0x00, 0x00, 0x00,
                              0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};

HintHeader hint_header() {
  HintHeader header;
  header.file = {FileType::hint,
                 1,
                 {0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac,
                  0xad, 0xae, 0xaf},
                 3,
                 7};
  header.salt = 0x1122334455667788;
  return header;
}

HintItem hint_item(std::uint64_t offset, std::uint32_t value_size, std::uint64_t sequence,
                   std::uint8_t flags, Bytes key) {
  HintItem item;
  item.offset = offset;
  item.value_size = value_size;
  item.sequence = sequence;
  item.flags = flags;
  item.key = key;
  if ((flags & kExpiry) != 0) item.expiry_ms = 1700000000000;
  return item;
}

void append(Buffer& block, const HintItem& item) {
  const std::size_t at = block.size();
  block.resize(at + hint_item_bytes(item), 0xcc);
  REQUIRE(encode_hint_item(item, block.data() + at) == block.size() - at);
}

// From an exact copy on the heap, so that a step outside is seen by the sanitizer.
bool whole_block(const Buffer& bytes, std::size_t count, std::uint32_t seed = kSeed) {
  const std::unique_ptr<std::uint8_t[]> exact(new std::uint8_t[count]);
  if (count != 0) std::memcpy(exact.get(), bytes.data(), count);
  HintBlock block;
  return decode_hint_block(Bytes(exact.get(), count), seed, block);
}
bool whole_block(const Buffer& bytes) { return whole_block(bytes, bytes.size()); }

// A block header of loose fields with a right crc over `items`.
Buffer sealed(std::uint32_t size, std::uint32_t count, std::uint32_t kind, std::size_t items) {
  Buffer out(kHintBlockHeaderBytes + items);
  base::store_little<std::uint32_t>(&out[4], size);
  base::store_little<std::uint32_t>(&out[8], count);
  base::store_little<std::uint32_t>(&out[12], kind);
  base::store_little<std::uint32_t>(&out[0], base::crc32c(kSeed, Bytes(out).sub(4)));
  return out;
}

}  // namespace

TEST_CASE("hint: the bytes are those of the specification [pitfall-38]") {
  Buffer header(kHintHeaderBytes, 0xcc);
  encode_hint_header(hint_header(), header);
  CHECK(header == kHeaderBytes);
  CHECK(hint_seed(hint_header()) == kSeed);

  Buffer block(kHintBlockHeaderBytes, 0xcc);
  append(block, hint_item(96, 5, 100, 0, "key1"));
  append(block, hint_item(128, 0, 101, kTombstone | kBatchBegin, "key1"));
  append(block, hint_item(160, 1, 102, kExpiry | kBatchCommit, "k"));
  seal_hint_block(kSeed, false, 3, block);
  CHECK(block == kBlockBytes);

  Buffer trailer(kHintBlockHeaderBytes + kHintTrailerBytes, 0xcc);
  encode_hint_trailer({.segment_length = 256, .last_sequence = 102, .item_count = 3},
                      MutableBytes(trailer).subspan(kHintBlockHeaderBytes));
  seal_hint_block(kSeed, true, 0, trailer);
  CHECK(trailer == kTrailerBytes);
}

TEST_CASE("hint: header, items and trailer give back what was written") {
  HintHeader header;
  REQUIRE(decode_hint_header(kHeaderBytes, header).ok());
  CHECK(header.salt == 0x1122334455667788);
  CHECK(header.file.file_id == 7);
  CHECK(hint_seed(header) == kSeed);

  HintBlock block;
  REQUIRE(decode_hint_block(kBlockBytes, kSeed, block));
  CHECK_FALSE(block.trailer);
  REQUIRE(block.count == 3);
  HintItem item;
  Bytes items = block.items;
  REQUIRE(decode_hint_item(items, item));
  CHECK(item.offset == 96);
  CHECK(item.value_size == 5);
  CHECK(item.sequence == 100);
  CHECK(item.flags == 0);
  CHECK(item.key == Bytes("key1"));
  REQUIRE(decode_hint_item(items, item));
  CHECK(item.flags == (kTombstone | kBatchBegin));
  REQUIRE(decode_hint_item(items, item));
  CHECK(item.expiry_ms == 1700000000000);
  CHECK(item.key == Bytes("k"));
  CHECK(items.empty());
  CHECK_FALSE(decode_hint_item(items, item));

  REQUIRE(decode_hint_block(kTrailerBytes, kSeed, block));
  REQUIRE(block.trailer);
  HintTrailer trailer;
  REQUIRE(decode_hint_trailer(block.items, trailer));
  CHECK(trailer.segment_length == 256);
  CHECK(trailer.last_sequence == 102);
  CHECK(trailer.item_count == 3);
}

TEST_CASE("hint: one flipped bit anywhere is refused") {
  HintHeader header;
  for (std::size_t bit = 0; bit < kHeaderBytes.size() * 8; ++bit) {
    Buffer bytes = kHeaderBytes;
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    REQUIRE(decode_hint_header(bytes, header).is(Errc::corrupt));
  }
  for (const Buffer* golden : {&kBlockBytes, &kTrailerBytes}) {
    REQUIRE(whole_block(*golden));
    for (std::size_t bit = 0; bit < golden->size() * 8; ++bit) {
      Buffer bytes = *golden;
      bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
      REQUIRE_FALSE(whole_block(bytes));
    }
  }
}

TEST_CASE("hint: cut at any byte, or longer by one, it is refused") {
  HintHeader header;
  for (std::size_t count = 0; count < kHeaderBytes.size(); ++count) {
    REQUIRE(decode_hint_header(Bytes(kHeaderBytes).sub(0, count), header).is(Errc::corrupt));
  }
  for (const Buffer* golden : {&kBlockBytes, &kTrailerBytes}) {
    for (std::size_t count = 0; count < golden->size(); ++count) {
      REQUIRE_FALSE(whole_block(*golden, count));
    }
    Buffer longer = *golden;
    longer.push_back(0);
    CHECK_FALSE(whole_block(longer));
  }
}

TEST_CASE("hint: an item cut at any byte is refused and stays where it is") {
  Buffer bytes;
  append(bytes, hint_item(160, 1, 102, kExpiry, "some key"));
  for (std::size_t count = 0; count < bytes.size(); ++count) {
    const std::unique_ptr<std::uint8_t[]> exact(new std::uint8_t[count]);
    if (count != 0) std::memcpy(exact.get(), bytes.data(), count);
    Bytes items(exact.get(), count);
    HintItem item;
    REQUIRE_FALSE(decode_hint_item(items, item));
    REQUIRE(items.size() == count);
  }
}

TEST_CASE("hint: a block of another file is refused, and zeros are no block [pitfall-2]") {
  std::mt19937 random(5);
  HintHeader other = hint_header();
  other.salt += 1;
  CHECK_FALSE(whole_block(kBlockBytes, kBlockBytes.size(), hint_seed(other)));
  other = hint_header();
  other.file.file_id += 1;
  CHECK_FALSE(whole_block(kBlockBytes, kBlockBytes.size(), hint_seed(other)));
  for (int round = 0; round < 10000; ++round) {
    const Buffer zeros(static_cast<std::size_t>(round % 100) + 17);
    REQUIRE_FALSE(whole_block(zeros, zeros.size(), static_cast<std::uint32_t>(random())));
  }
}

TEST_CASE("hint: sizes and counts that no writer produces are refused [pitfall-22]") {
  constexpr auto kMax32 = std::numeric_limits<std::uint32_t>::max();
  std::uint32_t items_bytes = 0;
  const auto peek = [&](std::uint32_t size, std::uint32_t count, std::uint32_t kind) {
    return peek_hint_block(sealed(size, count, kind, 0), items_bytes);
  };
  REQUIRE(peek(77, 3, 0));
  CHECK(items_bytes == 77);
  CHECK(peek(24, 0, 1));
  CHECK(peek(kHintBlockBytesMax, kHintBlockBytesMax / 21, 0));
  CHECK_FALSE(peek(kHintBlockBytesMax + 1, kHintBlockBytesMax / 21, 0));
  CHECK_FALSE(peek(kHintBlockBytesMax, kHintBlockBytesMax / 21 + 1, 0));
  CHECK_FALSE(peek(kMax32, 1, 0));
  CHECK_FALSE(peek(100, kMax32, 0));
  CHECK_FALSE(peek(100, 0, 0));
  CHECK_FALSE(peek(1053, 1, 0));
  CHECK_FALSE(peek(77, 3, 2));
  CHECK_FALSE(peek(77, 3, kMax32));
  CHECK_FALSE(peek(24, 1, 1));
  CHECK_FALSE(peek(23, 0, 1));
  CHECK_FALSE(peek(32, 0, 1));
  for (std::size_t count = 0; count < kHintBlockHeaderBytes; ++count) {
    CHECK_FALSE(peek_hint_block(Bytes(kBlockBytes).sub(0, count), items_bytes));
  }
  CHECK(whole_block(sealed(42, 2, 0, 42)));
  CHECK_FALSE(whole_block(sealed(42, 3, 0, 42)));
  CHECK_FALSE(whole_block(sealed(42, 2, 2, 42)));
  CHECK_FALSE(whole_block(sealed(42, 2, 0, 41)));
  CHECK_FALSE(whole_block(sealed(42, 2, 0, 43)));
}

TEST_CASE("hint: items that no writer produces are refused") {
  Buffer good;
  append(good, hint_item(96, 0, 1, 0, "k"));
  const auto accepts = [&](std::size_t at, std::uint64_t value, std::size_t width) {
    Buffer bytes = good;
    bytes.resize(2048);
    for (std::size_t i = 0; i < width; ++i) {
      bytes[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
    }
    Bytes items(bytes);
    HintItem item;
    return decode_hint_item(items, item);
  };
  REQUIRE(accepts(16, 0, 1));
  CHECK(accepts(0, 12, 4));
  CHECK_FALSE(accepts(0, 11, 4));  // inside the segment header
  CHECK(accepts(0, 0xffffffff, 4));
  CHECK(accepts(4, kValueBytesMax, 4));
  CHECK_FALSE(accepts(4, kValueBytesMax + 1, 4));
  CHECK_FALSE(accepts(8, 0, 8));
  CHECK(accepts(8, kSequenceMax, 8));
  CHECK_FALSE(accepts(8, kSequenceMax + 1, 8));
  CHECK_FALSE(accepts(17, 1, 1));
  CHECK_FALSE(accepts(18, 0, 2));
  CHECK(accepts(18, 1024, 2));
  CHECK_FALSE(accepts(18, 1025, 2));
  CHECK_FALSE(accepts(18, 65535, 2));
  CHECK(accepts(16, kTombstone, 1));
  CHECK(accepts(16, kExpiry | kBatchBegin | kBatchCommit, 1));
  CHECK_FALSE(accepts(16, kTombstone | kExpiry, 1));
  CHECK_FALSE(accepts(16, kWatermark, 1));
  CHECK_FALSE(accepts(16, kFooter, 1));
  CHECK_FALSE(accepts(16, 64, 1));
  CHECK_FALSE(accepts(16, 128, 1));
  Buffer tombstone;
  append(tombstone, hint_item(96, 0, 1, kTombstone, "k"));
  tombstone[4] = 1;
  Bytes items(tombstone);
  HintItem item;
  CHECK_FALSE(decode_hint_item(items, item));
}

TEST_CASE("hint: reserved bytes of the header must be zero; a segment's header is no hint's") {
  HintHeader header;
  Buffer bytes = kHeaderBytes;
  bytes[53] = 1;
  CHECK(decode_hint_header(bytes, header).is(Errc::corrupt));
  Buffer segment(kSegmentHeaderBytes);
  SegmentHeader segment_header;
  segment_header.file = hint_header().file;
  segment_header.file.type = FileType::segment;
  encode_segment_header(segment_header, segment);
  CHECK(decode_hint_header(segment, header).is(Errc::format_mismatch));
}

TEST_CASE("hint: trailers of impossible segments are refused") {
  const auto accepts = [](const HintTrailer& trailer) {
    Buffer bytes(kHintTrailerBytes);
    encode_hint_trailer(trailer, bytes);
    HintTrailer again;
    return decode_hint_trailer(bytes, again);
  };
  CHECK(accepts({.segment_length = 96, .last_sequence = 0, .item_count = 0}));
  CHECK(accepts({.segment_length = 136, .last_sequence = kSequenceMax, .item_count = 0}));
  CHECK_FALSE(accepts({.segment_length = 88, .last_sequence = 1, .item_count = 0}));
  CHECK_FALSE(accepts({.segment_length = 137, .last_sequence = 1, .item_count = 0}));
  CHECK_FALSE(accepts({.segment_length = 136, .last_sequence = kSequenceMax + 1, .item_count = 0}));
  HintTrailer again;
  CHECK_FALSE(decode_hint_trailer(Buffer(23), again));
  CHECK_FALSE(decode_hint_trailer(Bytes(kTrailerBytes).sub(15, 25), again));
}

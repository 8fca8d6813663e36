// db.meta: golden bytes, and collections that cannot be.
#include "format/meta.hpp"

#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "format/entry.hpp"
#include "support/catch.hpp"

using namespace armdb;
using namespace armdb::format;

namespace {

using Buffer = std::vector<std::uint8_t>;

const Buffer kMetaGolden = {
    0x41, 0x52, 0x4d, 0x44, 0x05, 0x00, 0x01, 0x00, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
    0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x65, 0x3b, 0xf0, 0x79, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00,
    0x3c, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x0c, 0x00, 0x00, 0x00,
    0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x30, 0x8a, 0xb1, 0x28};

Meta golden_meta() {
  Meta meta;
  meta.store_id = {0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
                   0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};
  meta.shape = {.key_size = 16, .value_size = 60, .ordered = true, .payload = Payload::value};
  meta.shard_count = 8;
  meta.shard_prefix_bits = 12;
  meta.hash_seed = 0x8877665544332211;
  return meta;
}

Buffer encoded(const Meta& meta) {
  Buffer out(kMetaBytes, 0xcc);
  encode_meta(meta, out);
  return out;
}

// From an exact copy on the heap, so that a step outside is seen by the sanitizer.
Status read(const Buffer& bytes, std::size_t count) {
  const std::unique_ptr<std::uint8_t[]> exact(new std::uint8_t[count]);
  if (count != 0) std::memcpy(exact.get(), bytes.data(), count);
  Meta meta;
  return decode_meta(Bytes(exact.get(), count), meta);
}
Status read(const Buffer& bytes) { return read(bytes, bytes.size()); }

// The golden bytes with `width` bytes at `at` set to `value`, and right crcs.
Status read_with(std::size_t at, std::uint64_t value, std::size_t width) {
  Buffer bytes = kMetaGolden;
  for (std::size_t i = 0; i < width; ++i) {
    bytes[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
  base::store_little<std::uint32_t>(&bytes[36], base::crc32c(0, Bytes(bytes).sub(0, 36)));
  base::store_little<std::uint32_t>(&bytes[124], base::crc32c(0, Bytes(bytes).sub(0, 124)));
  return read(bytes);
}

}  // namespace

TEST_CASE("meta: the bytes are those of the specification [pitfall-38]") {
  CHECK(encoded(golden_meta()) == kMetaGolden);
}

TEST_CASE("meta: it gives back what was written") {
  Meta meta;
  REQUIRE(decode_meta(kMetaGolden, meta).ok());
  CHECK(meta.store_id == golden_meta().store_id);
  CHECK(meta.store == StoreKind::bitcask);
  CHECK(meta.shape == golden_meta().shape);
  CHECK(meta.shard_count == 8);
  CHECK(meta.shard_prefix_bits == 12);
  CHECK(meta.hash_seed == 0x8877665544332211);
  CHECK(meta.cipher == Cipher::stored);

  Meta locations = golden_meta();
  locations.shape = {
      .key_size = 1024, .value_size = 0, .ordered = false, .payload = Payload::location};
  locations.shard_count = 256;
  locations.shard_prefix_bits = 8192;
  locations.hash_seed = std::numeric_limits<std::uint64_t>::max();
  REQUIRE(decode_meta(encoded(locations), meta).ok());
  CHECK(meta.shape == locations.shape);
  CHECK(encoded(meta) == encoded(locations));

  Meta fixed = golden_meta();
  fixed.store = StoreKind::fixed;
  fixed.shape.value_size = static_cast<std::uint32_t>(kValueBytesMax);
  REQUIRE(decode_meta(encoded(fixed), meta).ok());
  CHECK(meta.store == StoreKind::fixed);
}

TEST_CASE("meta: one flipped bit anywhere is corrupt") {
  for (std::size_t bit = 0; bit < kMetaGolden.size() * 8; ++bit) {
    Buffer bytes = kMetaGolden;
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    REQUIRE(read(bytes).is(Errc::corrupt));
  }
}

TEST_CASE("meta: cut at any byte, or longer, it is corrupt") {
  for (std::size_t count = 0; count < kMetaGolden.size(); ++count) {
    REQUIRE(read(kMetaGolden, count).is(Errc::corrupt));
  }
  Buffer longer = kMetaGolden;
  longer.push_back(0);
  CHECK(read(longer).is(Errc::corrupt));
  CHECK(read(Buffer(kMetaBytes)).is(Errc::corrupt));
}

TEST_CASE("meta: collections that cannot be are corrupt, even with a right crc [pitfall-22]") {
  constexpr std::uint64_t kMax32 = 0xffffffff;
  CHECK(read_with(40, 1, 4).ok());
  CHECK(read_with(40, 2, 4).is(Errc::corrupt));
  CHECK(read_with(44, 0, 4).is(Errc::corrupt));
  CHECK(read_with(44, 1024, 4).ok());
  CHECK(read_with(44, 1025, 4).is(Errc::corrupt));
  CHECK(read_with(44, kMax32, 4).is(Errc::corrupt));
  CHECK(read_with(48, 0, 4).ok());
  CHECK(read_with(48, kValueBytesMax, 4).ok());
  CHECK(read_with(48, kValueBytesMax + 1, 4).is(Errc::corrupt));
  CHECK(read_with(48, kMax32, 4).is(Errc::corrupt));
  CHECK(read_with(52, 0, 1).ok());
  CHECK(read_with(52, 2, 1).is(Errc::corrupt));
  CHECK(read_with(53, 1, 1).is(Errc::corrupt));  // a location payload with a value size
  CHECK(read_with(53, 2, 1).is(Errc::corrupt));
  CHECK(read_with(56, 0, 4).is(Errc::corrupt));
  CHECK(read_with(56, 256, 4).ok());
  CHECK(read_with(56, 257, 4).is(Errc::corrupt));
  CHECK(read_with(56, kMax32, 4).is(Errc::corrupt));
  CHECK(read_with(60, 128, 4).ok());
  CHECK(read_with(60, 129, 4).is(Errc::corrupt));
  CHECK(read_with(60, kMax32, 4).is(Errc::corrupt));
  CHECK(read_with(24, 1, 4).is(Errc::corrupt));  // a shard
  CHECK(read_with(28, 1, 4).is(Errc::corrupt));  // a file id
}

TEST_CASE("meta: reserved bytes must be zero, even with a right crc [pitfall-36]") {
  CHECK(read_with(32, 1, 4).is(Errc::format_mismatch));  // encrypted
  CHECK(read_with(54, 1, 1).is(Errc::corrupt));
  CHECK(read_with(55, 1, 1).is(Errc::corrupt));
  for (std::size_t at = 76; at < 124; ++at) CHECK(read_with(at, 128, 1).is(Errc::corrupt));
}

TEST_CASE("meta: a newer version or another kind of file is told as such") {
  CHECK(read_with(6, 2, 2).is(Errc::format_mismatch));
  CHECK(read_with(4, 3, 2).is(Errc::format_mismatch));
  CHECK(read_with(72, 1, 4).ok());
  CHECK(read_with(72, 2, 4).ok());
  CHECK(read_with(72, 3, 4).is(Errc::corrupt));
}

// MANIFEST: golden bytes, and lists that are refused.
#include "format/manifest.hpp"

#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "base/location.hpp"
#include "format/entry.hpp"
#include "support/catch.hpp"

using namespace armdb;
using namespace armdb::format;

namespace {

using Buffer = std::vector<std::uint8_t>;

const Buffer kManifestBytes = {
    0x41, 0x52, 0x4d, 0x44, 0x03, 0x00, 0x01, 0x00, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
    0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x8f, 0xa5, 0xb4, 0xa7, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x09, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x30, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x34, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x04, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x32, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x28, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, 0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x60, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x33, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x32, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xf8, 0xf7, 0xf6, 0xf5, 0xf4, 0xf3, 0xf2, 0xf1,
    0x22, 0x2f, 0x39, 0xca, 0x00, 0x00, 0x00, 0x00};

Manifest golden_manifest() {
  Manifest manifest;
  manifest.store_id = {0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
                       0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};
  manifest.shard = 3;
  manifest.generation = 5;
  manifest.next_file_id = 9;
  manifest.durable_sequence = 48;
  manifest.last_sequence = 52;
  manifest.active_file_id = 8;
  manifest.segments = {
      {4, SegmentKind::compacted, true, 4096, 1, 50, 40, 0x0102030405060708},
      {7, SegmentKind::log, false, 96, 51, 50, 0, 0xf1f2f3f4f5f6f7f8},
  };
  return manifest;
}

// From an exact copy on the heap, so that a step outside is seen by the sanitizer.
Status read(const Buffer& bytes, std::size_t count) {
  const std::unique_ptr<std::uint8_t[]> exact(new std::uint8_t[count]);
  if (count != 0) std::memcpy(exact.get(), bytes.data(), count);
  Manifest manifest;
  return decode_manifest(Bytes(exact.get(), count), manifest);
}
Status read(const Buffer& bytes) { return read(bytes, bytes.size()); }

void reseal(Buffer& bytes) {
  base::store_little<std::uint32_t>(&bytes[36], base::crc32c(0, Bytes(bytes).sub(0, 36)));
  const std::size_t end = bytes.size() - 8;
  base::store_little<std::uint32_t>(&bytes[end], base::crc32c(0, Bytes(bytes).sub(0, end)));
}

// The golden bytes with `width` bytes at `at` set to `value`, and right crcs.
Status read_with(std::size_t at, std::uint64_t value, std::size_t width) {
  Buffer bytes = kManifestBytes;
  for (std::size_t i = 0; i < width; ++i) {
    bytes[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
  reseal(bytes);
  return read(bytes);
}

constexpr std::size_t kFirst = 80;    // the first record
constexpr std::size_t kSecond = 136;  // the second

}  // namespace

TEST_CASE("manifest: the bytes are those of the specification [pitfall-38]") {
  CHECK(encode_manifest(golden_manifest()) == kManifestBytes);
}

TEST_CASE("manifest: it gives back what was written") {
  Manifest manifest;
  manifest.segments.resize(7);
  REQUIRE(decode_manifest(kManifestBytes, manifest).ok());
  CHECK(manifest.shard == 3);
  CHECK(manifest.generation == 5);
  CHECK(manifest.next_file_id == 9);
  CHECK(manifest.durable_sequence == 48);
  CHECK(manifest.last_sequence == 52);
  CHECK(manifest.active_file_id == 8);
  REQUIRE(manifest.segments.size() == 2);
  CHECK(manifest.segments[0].file_id == 4);
  CHECK(manifest.segments[0].kind == SegmentKind::compacted);
  CHECK(manifest.segments[0].durable);
  CHECK(manifest.segments[0].length == 4096);
  CHECK(manifest.segments[0].first_sequence == 1);
  CHECK(manifest.segments[0].last_sequence == 50);
  CHECK(manifest.segments[0].count == 40);
  CHECK(manifest.segments[0].salt == 0x0102030405060708);
  CHECK_FALSE(manifest.segments[1].durable);
  CHECK(encode_manifest(manifest) == kManifestBytes);

  Manifest empty;
  REQUIRE(decode_manifest(encode_manifest({}), empty).ok());
  CHECK(empty.segments.empty());
  CHECK(empty.next_file_id == 1);
}

TEST_CASE("manifest: the largest values go round [pitfall-22]") {
  Manifest manifest = golden_manifest();
  manifest.generation = std::numeric_limits<std::uint64_t>::max();
  manifest.next_file_id = base::Location::kFileIdMax + 1;
  manifest.durable_sequence = kSequenceMax;
  manifest.last_sequence = kSequenceMax;
  manifest.segments[0].file_id = base::Location::kFileIdMax;
  manifest.segments[0].length = std::uint64_t{1} << 36;
  manifest.segments[0].last_sequence = kSequenceMax;
  manifest.segments[0].first_sequence = kSequenceMax;
  manifest.segments[0].salt = std::numeric_limits<std::uint64_t>::max();
  const Buffer bytes = encode_manifest(manifest);
  Manifest again;
  REQUIRE(decode_manifest(bytes, again).ok());
  CHECK(encode_manifest(again) == bytes);

  for (std::uint32_t id = 8; id < 5000; ++id) {
    manifest.segments.push_back({id, SegmentKind::log, false, 96, 1, 0, 0, id});
  }
  REQUIRE(decode_manifest(encode_manifest(manifest), again).ok());
  CHECK(again.segments.size() == manifest.segments.size());
}

TEST_CASE("manifest: one flipped bit anywhere is corrupt") {
  for (std::size_t bit = 0; bit < kManifestBytes.size() * 8; ++bit) {
    Buffer bytes = kManifestBytes;
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    REQUIRE(read(bytes).is(Errc::corrupt));
  }
}

TEST_CASE("manifest: cut at any byte, or longer, it is corrupt") {
  for (std::size_t count = 0; count < kManifestBytes.size(); ++count) {
    REQUIRE(read(kManifestBytes, count).is(Errc::corrupt));
  }
  Buffer longer = kManifestBytes;
  for (int i = 0; i < 120; ++i) {
    longer.push_back(0);
    REQUIRE(read(longer).is(Errc::corrupt));
  }
  CHECK(read(Buffer(192)).is(Errc::corrupt));
}

TEST_CASE(
    "manifest: a count that the size does not have is refused before memory is taken "
    "[pitfall-22]") {
  for (const std::uint32_t count :
       {0u, 1u, 3u, 1u << 20, (1u << 20) + 1, 0x04924925u, 0x24924925u, 0x7fffffffu, 0xffffffffu}) {
    CHECK(read_with(52, count, 4).is(Errc::corrupt));
  }
}

TEST_CASE("manifest: ids that were not given, or twice, are corrupt") {
  CHECK(read_with(48, 10, 4).ok());
  CHECK(read_with(48, 8, 4).is(Errc::corrupt));  // not above the active segment's
  CHECK(read_with(48, 0, 4).is(Errc::corrupt));
  CHECK(read_with(48, base::Location::kFileIdMax + 1, 4).ok());
  CHECK(read_with(48, base::Location::kFileIdMax + 2, 4).is(Errc::corrupt));
  CHECK(read_with(48, 0xffffffff, 4).is(Errc::corrupt));
  CHECK(read_with(kFirst, 0, 4).is(Errc::corrupt));
  CHECK(read_with(kFirst, 9, 4).is(Errc::corrupt));
  CHECK(read_with(kFirst, 7, 4).is(Errc::corrupt));
  CHECK(read_with(kSecond, 4, 4).is(Errc::corrupt));
  CHECK(read_with(kSecond, 8, 4).ok());
}

TEST_CASE("manifest: segments that no writer lists are corrupt, even with a right crc") {
  for (const std::size_t at : {56u, 64u}) {
    CHECK(read_with(at, kSequenceMax, 8).ok());
    CHECK(read_with(at, kSequenceMax + 1, 8).is(Errc::corrupt));
  }
  CHECK(read_with(kFirst + 4, 2, 4).is(Errc::corrupt));
  CHECK(read_with(kFirst + 8, 2, 4).is(Errc::corrupt));
  CHECK(read_with(kFirst + 8, 0, 4).ok());
  CHECK(read_with(kFirst + 12, 1, 4).is(Errc::corrupt));
  CHECK(read_with(kFirst + 16, 88, 8).is(Errc::corrupt));
  CHECK(read_with(kFirst + 16, 4097, 8).is(Errc::corrupt));
  CHECK(read_with(kFirst + 16, (std::uint64_t{1} << 36) + 8, 8).is(Errc::corrupt));
  CHECK(read_with(kFirst + 16, ~std::uint64_t{0}, 8).is(Errc::corrupt));
  CHECK(read_with(kFirst + 24, 51, 8).ok());
  CHECK(read_with(kFirst + 24, 52, 8).is(Errc::corrupt));
  CHECK(read_with(kFirst + 24, ~std::uint64_t{0}, 8).is(Errc::corrupt));
  CHECK(read_with(kFirst + 32, 0, 8).ok());
  CHECK(read_with(kFirst + 32, kSequenceMax, 8).ok());
  CHECK(read_with(kFirst + 32, kSequenceMax + 1, 8).is(Errc::corrupt));
  CHECK(read_with(kFirst + 32, ~std::uint64_t{0}, 8).is(Errc::corrupt));
  CHECK(read_with(kFirst + 40, (4096 - 96) / 24, 8).ok());
  CHECK(read_with(kFirst + 40, (4096 - 96) / 24 + 1, 8).is(Errc::corrupt));
  CHECK(read_with(kFirst + 40, ~std::uint64_t{0}, 8).is(Errc::corrupt));
}

TEST_CASE("manifest: reserved bytes must be zero, even with a right crc [pitfall-36]") {
  CHECK(read_with(28, 1, 4).is(Errc::corrupt));          // file_id
  CHECK(read_with(32, 1, 4).is(Errc::format_mismatch));  // encrypted
  CHECK(read_with(196, 1, 4).is(Errc::corrupt));
  CHECK(read_with(76, 1, 4).is(Errc::corrupt));
}

TEST_CASE("manifest: a newer version, or another kind of file, is told as such") {
  CHECK(read_with(6, 2, 2).is(Errc::format_mismatch));
  CHECK(read_with(4, 5, 2).is(Errc::format_mismatch));
}

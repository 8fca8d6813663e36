// db.keys: golden bytes, and files that no writer produces.
#include "format/keys.hpp"

#include <cstring>
#include <memory>
#include <vector>

#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "format/meta.hpp"
#include "support/catch.hpp"

#if ARMDB_WITH_OPENSSL

using namespace armdb;
using namespace armdb::format;

namespace {

using Buffer = std::vector<std::uint8_t>;

const Buffer kKeysGolden = {
    0x41, 0x52, 0x4d, 0x44, 0x08, 0x00, 0x01, 0x00, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
    0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x2b, 0x58, 0x17, 0x5a, 0x02, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00,
    0x00, 0x80, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
    0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f,
    0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f,
    0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f,
    0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f,
    0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57,
    0x58, 0x59, 0x5a, 0x5b, 0x5c, 0x5d, 0x5e, 0x5f, 0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67,
    0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77,
    0x78, 0x79, 0x7a, 0x7b, 0x7c, 0x7d, 0x7e, 0x7f, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
    0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x90, 0x91, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97,
    0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
    0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0xb0, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7,
    0xb8, 0xb9, 0xba, 0xbb, 0xbc, 0xbd, 0xbe, 0xbf, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7,
    0xc8, 0xc9, 0xca, 0xcb, 0xcc, 0xcd, 0xce, 0xcf, 0xd0, 0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7,
    0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7,
    0xe8, 0xe9, 0xea, 0xeb, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7,
    0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff, 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07,
    0x6d, 0x8b, 0xb7, 0x97, 0x00, 0x00, 0x00, 0x00};

void fill(MutableBytes out, unsigned first) {
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::uint8_t>(first + i);
}

KeysHeader golden_header() {
  KeysHeader header;
  fill(header.store_id, 0xa0);
  header.cipher = 2;
  header.source = KeySource::passphrase;
  header.scrypt_cost = 1 << 15;
  header.scrypt_block_size = 8;
  header.scrypt_parallel = 1;
  fill(header.salt, 0x10);
  fill(header.commitment, 0x30);
  header.count = 1;
  return header;
}

// From an exact copy on the heap, so that a step outside is seen by the sanitizer.
Status read(const Buffer& bytes, std::size_t count, KeysHeader* out = nullptr) {
  const std::unique_ptr<std::uint8_t[]> exact(new std::uint8_t[count]);
  if (count != 0) std::memcpy(exact.get(), bytes.data(), count);
  KeysHeader header;
  const Status status = decode_keys(Bytes(exact.get(), count), header);
  if (out != nullptr) *out = header;
  return status;
}
Status read(const Buffer& bytes) { return read(bytes, bytes.size()); }

void set(Buffer& bytes, std::size_t at, std::uint64_t value, std::size_t width) {
  for (std::size_t i = 0; i < width; ++i) {
    bytes[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
}

Status read_sealed(Buffer bytes) {
  base::store_little<std::uint32_t>(&bytes[36], base::crc32c(0, Bytes(bytes).sub(0, 36)));
  finish_keys(bytes);
  return read(bytes);
}

// The golden bytes with `width` bytes at `at` set to `value`, and right crcs.
Status read_with(std::size_t at, std::uint64_t value, std::size_t width) {
  Buffer bytes = kKeysGolden;
  set(bytes, at, value, width);
  return read_sealed(bytes);
}

Status read_with_scrypt(std::uint64_t cost, std::uint64_t block_size, std::uint64_t parallel) {
  Buffer bytes = kKeysGolden;
  set(bytes, 48, cost, 8);
  set(bytes, 56, block_size, 4);
  set(bytes, 60, parallel, 4);
  return read_sealed(bytes);
}

}  // namespace

TEST_CASE("keys: the bytes are those of the specification [pitfall-38]") {
  Buffer file = encode_keys(golden_header());
  REQUIRE(file.size() == kKeysGolden.size());
  fill(MutableBytes(file).subspan(kKeysAdditionalBytes, 16), 0x50);
  fill(MutableBytes(file).subspan(kKeysFixedBytes, keys_sealed_bytes(1)), 0x60);
  finish_keys(file);
  CHECK(file == kKeysGolden);
}

TEST_CASE("keys: it gives back what was written, for each count of keys") {
  for (std::uint32_t count = 1; count <= kDataKeysMax; ++count) {
    KeysHeader written = golden_header();
    written.count = count;
    if (count % 2 == 0) {
      written.source = KeySource::bytes;
      written.cipher = 1;
      written.scrypt_cost = written.scrypt_block_size = written.scrypt_parallel = 0;
    }
    Buffer file = encode_keys(written);
    finish_keys(file);
    CHECK(file.size() <= kKeysBytesMax);
    KeysHeader header;
    const Status status = read(file, file.size(), &header);
    INFO(status.message());
    REQUIRE(status.ok());
    CHECK(header.store_id == written.store_id);
    CHECK(header.cipher == written.cipher);
    CHECK(header.source == written.source);
    CHECK(header.scrypt_cost == written.scrypt_cost);
    CHECK(header.scrypt_block_size == written.scrypt_block_size);
    CHECK(header.scrypt_parallel == written.scrypt_parallel);
    CHECK(header.salt == written.salt);
    CHECK(header.commitment == written.commitment);
    CHECK(header.count == count);
  }
}

TEST_CASE("keys: one flipped bit anywhere is refused") {
  for (std::size_t bit = 0; bit < kKeysGolden.size() * 8; ++bit) {
    Buffer bytes = kKeysGolden;
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    REQUIRE(read(bytes).is(Errc::corrupt));
  }
}

TEST_CASE("keys: cut at any byte, or longer, it is corrupt") {
  for (std::size_t count = 0; count < kKeysGolden.size(); ++count) {
    REQUIRE(read(kKeysGolden, count).is(Errc::corrupt));
  }
  Buffer longer = kKeysGolden;
  longer.resize(longer.size() + 8);
  CHECK(read(longer).is(Errc::corrupt));
  CHECK(read_sealed(longer).is(Errc::corrupt));
  longer.resize(kKeysGolden.size() + kDataKeyBytes);
  CHECK(read_sealed(longer).is(Errc::corrupt));
  CHECK(read(Buffer(kKeysGolden.size())).is(Errc::corrupt));
}

TEST_CASE("keys: fields that no writer produces are refused, even with right crcs [pitfall-36]") {
  CHECK(read_with(40, 1, 4).ok());
  CHECK(read_with(40, 0, 4).is(Errc::corrupt));  // cipher
  CHECK(read_with(40, 3, 4).is(Errc::corrupt));
  CHECK(read_with(44, 0, 4).is(Errc::corrupt));  // key_source
  CHECK(read_with(44, 1, 4).is(Errc::corrupt));  // costs of scrypt, and no passphrase
  CHECK(read_with(44, 3, 4).is(Errc::corrupt));
  CHECK(read_with(44, 0x102, 4).is(Errc::corrupt));
  CHECK(read_with(128, 0, 4).is(Errc::corrupt));  // count
  CHECK(read_with(128, 2, 4).is(Errc::corrupt));
  CHECK(read_with(128, kDataKeysMax + 1, 4).is(Errc::corrupt));
  CHECK(read_with(128, 0xffffffff, 4).is(Errc::corrupt));
  CHECK(read_with(132, 1, 4).is(Errc::corrupt));  // reserved
  CHECK(read_with(kKeysGolden.size() - 4, 1, 4).is(Errc::corrupt));
  CHECK(read_with(24, 1, 4).is(Errc::corrupt));  // a shard
  CHECK(read_with(28, 1, 4).is(Errc::corrupt));  // a file id
}

TEST_CASE("keys: another kind of file, a newer version, a sealed one are told as such") {
  CHECK(read_with(4, 5, 2).is(Errc::format_mismatch));
  CHECK(read_with(6, 2, 2).is(Errc::format_mismatch));
  CHECK(read_with(32, 1, 4).is(Errc::format_mismatch));
}

TEST_CASE("keys: what a file asks of scrypt is at most 1 GiB [pitfall-22]") {
  constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
  CHECK(read_with_scrypt(1 << 20, 8, 1).ok());
  CHECK(read_with_scrypt(kGiB / 128 / 8, 8, 16).ok());
  CHECK(read_with_scrypt(kGiB / 128 / 8 * 2, 8, 1).is(Errc::corrupt));
  CHECK(read_with_scrypt(kGiB / 128, 1, 1).ok());
  CHECK(read_with_scrypt(kGiB / 128, 2, 1).is(Errc::corrupt));
  CHECK(read_with_scrypt(std::uint64_t{1} << 63, 1, 1).is(Errc::corrupt));
  CHECK(read_with_scrypt(std::uint64_t{1} << 57, 1, 1).is(Errc::corrupt));  // times 128: 0
  CHECK(read_with_scrypt(1 << 15, 0, 1).is(Errc::corrupt));
  CHECK(read_with_scrypt(1 << 15, 33, 1).is(Errc::corrupt));
  CHECK(read_with_scrypt(1 << 15, 0xffffffff, 1).is(Errc::corrupt));
  CHECK(read_with_scrypt(1 << 15, 8, 0).is(Errc::corrupt));
  CHECK(read_with_scrypt(1 << 15, 8, 17).is(Errc::corrupt));
  CHECK(read_with_scrypt(1 << 15, 8, 0xffffffff).is(Errc::corrupt));
  CHECK(read_with_scrypt(0, 8, 1).is(Errc::corrupt));
  CHECK(read_with_scrypt(1, 8, 1).is(Errc::corrupt));
  CHECK(read_with_scrypt(1000, 8, 1).is(Errc::corrupt));  // no power of two
}

TEST_CASE("keys: the sealed part is db.meta and the keys, as specified") {
  CHECK(kKeysMetaBytes == kMetaBytes);
  DataKey key;
  key.id = 0x04030201;
  fill(key.bytes, 0x80);
  Buffer bytes(kDataKeyBytes, 0xcc);
  encode_data_key(key, bytes.data());
  Buffer expected = {1, 2, 3, 4, 0, 0, 0, 0};
  expected.resize(kDataKeyBytes);
  fill(MutableBytes(expected).subspan(8), 0x80);
  CHECK(bytes == expected);
  const DataKey again = decode_data_key(bytes.data());
  CHECK(again.id == key.id);
  CHECK(again.bytes == key.bytes);
}

#endif  // ARMDB_WITH_OPENSSL

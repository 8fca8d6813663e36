// db.keys: the data keys of an encrypted collection, sealed by the user's key. Replaced atomically.
//
//   offset  size  field
//        0    40  file header (kind keys)
//       40     4  cipher      1 AES-256-GCM, 2 ChaCha20-Poly1305
//       44     4  key_source  1: 32 bytes, 2: a passphrase
//       48     8  scrypt cost (N), a power of two      zero unless a passphrase
//       56     4  scrypt block size (r)                zero unless a passphrase
//       60     4  scrypt parallelism (p)               zero unless a passphrase
//       64    32  salt        random, another one each time
//       96    32  commitment  see below
//      128     4  count       of data keys, 1..16
//      132     4  reserved    zero
//      136    16  tag
//      152     .  sealed: db.meta as it is (128 bytes), then for each data key, the newest last:
//                   0   4  key_id, from 1, rising
//                   4   4  reserved  zero
//                   8  32  the key
//        .     4  crc         CRC-32C of everything before it
//        .     4  reserved    zero
//
// The user's key is the 32 bytes, or what scrypt makes of the passphrase and the salt. From it come
// two others, by HKDF-SHA256 with the salt: "armdb v1 wrap" and the bytes 8..23 (store_id) give the
// one that seals, "armdb v1 commit" and the same bytes the commitment. A commitment that differs
// is a wrong key; only then is the tag looked at. (AES-GCM alone would open for more than one
// key.) Each salt seals once, so the nonce is 12 zero bytes. Additional data: bytes 0..135.
//
// Integers are little-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/bytes.hpp"
#include "core/status.hpp"
#include "format/file_header.hpp"

namespace armdb::format {

inline constexpr std::size_t kKeysFixedBytes = 152;
inline constexpr std::size_t kKeysAdditionalBytes = 136;
inline constexpr std::size_t kKeysEndBytes = 8;
inline constexpr std::size_t kDataKeyBytes = 40;
inline constexpr std::uint32_t kDataKeysMax = 16;
inline constexpr std::size_t kKeysMetaBytes = 128;
[[nodiscard]] constexpr std::size_t keys_sealed_bytes(std::uint32_t count) noexcept {
  return kKeysMetaBytes + count * kDataKeyBytes;
}
inline constexpr std::size_t kKeysBytesMax =
    kKeysFixedBytes + keys_sealed_bytes(kDataKeysMax) + kKeysEndBytes;

enum class KeySource : std::uint32_t { bytes = 1, passphrase = 2 };

struct KeysHeader {
  StoreId store_id{};
  std::uint32_t cipher = 1;
  KeySource source = KeySource::bytes;
  std::uint64_t scrypt_cost = 0;
  std::uint32_t scrypt_block_size = 0;
  std::uint32_t scrypt_parallel = 0;
  ByteArray<32> salt{};
  ByteArray<32> commitment{};
  std::uint32_t count = 1;
};

// The whole file with zeros where tag and sealed bytes belong; finish_keys() then sets the crc.
[[nodiscard]] std::vector<std::uint8_t> encode_keys(const KeysHeader& header);
void finish_keys(MutableBytes file) noexcept;
// `in` is the whole file. corrupt or format_mismatch; what it asks of scrypt is at most 1 GiB.
Status decode_keys(Bytes in, KeysHeader& header);

struct DataKey {
  std::uint32_t id = 0;
  ByteArray<32> bytes{};
};
// What stands in the sealed part behind db.meta.
void encode_data_key(const DataKey& key, std::uint8_t* out) noexcept;  // 40 bytes
DataKey decode_data_key(const std::uint8_t* from) noexcept;

}  // namespace armdb::format

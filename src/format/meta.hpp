// db.meta: what a collection is. Written once, when it is created.
//
//   offset  size  field
//        0    40  file header (kind meta)
//       40     4  store        0 Bitcask, 1 Fixed
//       44     4  key_size     1..1024
//       48     4  value_size   at most 2^30; 0 when payload is 1
//       52     1  ordered      0 or 1
//       53     1  payload      0 value, 1 location
//       54     2  reserved     zero
//       56     4  shard_count  1..256
//       60     4  shard_prefix_bits   at most 8 * key_size
//       64     8  hash_seed    random; chooses shards and buckets
//       72     4  encryption   0: none, 1 AES-256-GCM, 2 ChaCha20-Poly1305; then there is db.keys
//       76    48  reserved     zero
//      124     4  crc          CRC-32C of bytes 0..123
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/bytes.hpp"
#include "core/config.hpp"
#include "core/status.hpp"
#include "format/file_header.hpp"

namespace armdb::format {

inline constexpr std::size_t kMetaBytes = 128;

enum class StoreKind : std::uint32_t { bitcask = 0, fixed = 1 };

struct Meta {
  StoreId store_id{};
  StoreKind store = StoreKind::bitcask;
  Shape shape;
  std::uint32_t shard_count = 1;
  std::uint32_t shard_prefix_bits = 0;
  std::uint64_t hash_seed = 0;
  Cipher cipher = Cipher::stored;  // stored: not encrypted
};

void encode_meta(const Meta& meta, MutableBytes out) noexcept;  // 128 bytes
// `in` is the whole file. corrupt, or format_mismatch (a newer version, another type of file).
// Checks every range above, that a Fixed store has its values inline, and that shard_prefix_bits
// are at most 8 * key_size.
Status decode_meta(Bytes in, Meta& meta);

}  // namespace armdb::format

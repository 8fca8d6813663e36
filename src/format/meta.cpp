// db.meta: the identity and the fixed settings of a collection.
#include "format/meta.hpp"

#include <string>

#include "base/byte_reader.hpp"
#include "base/byte_writer.hpp"
#include "base/check.hpp"
#include "base/crc32c.hpp"
#include "base/errors.hpp"
#include "base/search.hpp"
#include "format/entry.hpp"

namespace armdb::format {
namespace {

constexpr std::size_t kMetaCrcAt = 124;
constexpr std::size_t kMetaReservedAt = 76;
constexpr std::uint32_t kShardCountMax = 256;

bool meta_possible(const Meta& meta) noexcept {
  const Shape& shape = meta.shape;
  if (shape.key_size == 0 || shape.key_size > kKeyBytesMax) return false;
  if (shape.value_size > kValueBytesMax) return false;
  if (shape.payload == Payload::location &&
      (shape.value_size != 0 || meta.store != StoreKind::bitcask)) {
    return false;
  }
  return meta.shard_count != 0 && meta.shard_count <= kShardCountMax &&
         meta.shard_prefix_bits <= 8 * shape.key_size;
}

}  // namespace

void encode_meta(const Meta& meta, MutableBytes out) noexcept {
  ARMDB_ASSERT(out.size() >= kMetaBytes && meta_possible(meta));
  encode_file_header(
      {.type = FileType::meta, .version = 1, .store_id = meta.store_id, .shard = 0, .file_id = 0},
      out);
  base::ByteWriter writer(out.subspan(kFileHeaderBytes, kMetaBytes - kFileHeaderBytes));
  writer.little<std::uint32_t>(static_cast<std::uint32_t>(meta.store));
  writer.little<std::uint32_t>(meta.shape.key_size);
  writer.little<std::uint32_t>(meta.shape.value_size);
  writer.little<std::uint8_t>(meta.shape.ordered ? 1 : 0);
  writer.little<std::uint8_t>(static_cast<std::uint8_t>(meta.shape.payload));
  writer.zeros(2);
  writer.little<std::uint32_t>(meta.shard_count);
  writer.little<std::uint32_t>(meta.shard_prefix_bits);
  writer.little<std::uint64_t>(meta.hash_seed);
  writer.little<std::uint32_t>(static_cast<std::uint32_t>(meta.cipher));
  writer.zeros(kMetaCrcAt - kMetaReservedAt);
  writer.little<std::uint32_t>(base::crc32c(0, Bytes(out.data(), kMetaCrcAt)));
}

Status decode_meta(Bytes in, Meta& meta) {
  FileHeader header;
  if (Status status = decode_file_header(in, FileType::meta, header); !status) return status;

  base::ByteReader reader(in.sub(kFileHeaderBytes));
  Meta read;
  read.store_id = header.store_id;
  const auto store = reader.little<std::uint32_t>();
  read.shape.key_size = reader.little<std::uint32_t>();
  read.shape.value_size = reader.little<std::uint32_t>();
  const auto ordered = reader.little<std::uint8_t>();
  const auto payload = reader.little<std::uint8_t>();
  const auto reserved = reader.little<std::uint16_t>();
  read.shard_count = reader.little<std::uint32_t>();
  read.shard_prefix_bits = reader.little<std::uint32_t>();
  read.hash_seed = reader.little<std::uint64_t>();
  const auto cipher = reader.little<std::uint32_t>();
  const Bytes reserved_more = reader.take(kMetaCrcAt - kMetaReservedAt);
  const auto crc_stored = reader.little<std::uint32_t>();

  if (reader.failed() || !reader.rest().empty()) {
    return base::corrupt("db.meta has another size than 128 bytes");
  }
  const std::uint32_t crc_computed = base::crc32c(0, in.sub(0, kMetaCrcAt));
  if (crc_stored != crc_computed) return base::corrupt("the checksum of db.meta is wrong");
  if (reserved != 0 || !base::all_zeros(reserved_more) || header.shard != 0 ||
      header.file_id != 0) {
    return base::corrupt("reserved bytes of db.meta are not zero");
  }
  if (store > static_cast<std::uint32_t>(StoreKind::fixed) || ordered > 1 ||
      payload > static_cast<std::uint8_t>(Payload::location) ||
      cipher > static_cast<std::uint32_t>(Cipher::chacha20_poly1305)) {
    return base::corrupt("db.meta names an unknown kind of store, payload or cipher");
  }
  read.store = static_cast<StoreKind>(store);
  read.shape.ordered = ordered != 0;
  read.shape.payload = static_cast<Payload>(payload);
  read.cipher = static_cast<Cipher>(cipher);
  if (!meta_possible(read)) return base::corrupt("db.meta has sizes that no collection has");
  meta = read;
  return {};
}

}  // namespace armdb::format

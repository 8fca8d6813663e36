// db.keys: written and judged as a whole; what is sealed in it is opened elsewhere.
#include "format/keys.hpp"

#include <bit>

#include "base/byte_reader.hpp"
#include "base/byte_writer.hpp"
#include "base/check.hpp"
#include "base/crc32c.hpp"
#include "base/errors.hpp"
#include "base/little.hpp"

#if ARMDB_WITH_OPENSSL

namespace armdb::format {
namespace {

// What a crafted file may have us spend.
bool scrypt_possible(const KeysHeader& header) noexcept {
  constexpr std::uint64_t kMemoryMax = std::uint64_t{1} << 30;
  if (header.source == KeySource::bytes) {
    return header.scrypt_cost == 0 && header.scrypt_block_size == 0 && header.scrypt_parallel == 0;
  }
  return header.scrypt_cost > 1 && std::has_single_bit(header.scrypt_cost) &&
         header.scrypt_block_size >= 1 && header.scrypt_block_size <= 32 &&
         header.scrypt_parallel >= 1 && header.scrypt_parallel <= 16 &&
         header.scrypt_cost <= kMemoryMax / 128 / header.scrypt_block_size;
}

}  // namespace

std::vector<std::uint8_t> encode_keys(const KeysHeader& header) {
  ARMDB_ASSERT(scrypt_possible(header) && header.count >= 1 && header.count <= kDataKeysMax);
  std::vector<std::uint8_t> out(kKeysFixedBytes + keys_sealed_bytes(header.count) + kKeysEndBytes);
  FileHeader file;
  file.type = FileType::keys;
  file.store_id = header.store_id;
  encode_file_header(file, out);
  base::ByteWriter writer(MutableBytes(out).subspan(kFileHeaderBytes));
  writer.little<std::uint32_t>(header.cipher);
  writer.little<std::uint32_t>(static_cast<std::uint32_t>(header.source));
  writer.little<std::uint64_t>(header.scrypt_cost);
  writer.little<std::uint32_t>(header.scrypt_block_size);
  writer.little<std::uint32_t>(header.scrypt_parallel);
  writer.put(header.salt);
  writer.put(header.commitment);
  writer.little<std::uint32_t>(header.count);
  return out;
}

void finish_keys(MutableBytes file) noexcept {
  const std::size_t at = file.size() - kKeysEndBytes;
  base::store_little<std::uint32_t>(file.data() + at, base::crc32c(0, Bytes(file.data(), at)));
}

Status decode_keys(Bytes in, KeysHeader& header) {
  FileHeader file;
  if (Status status = decode_file_header(in, FileType::keys, file); !status) return status;
  base::ByteReader reader(in.sub(kFileHeaderBytes));
  KeysHeader read;
  read.store_id = file.store_id;
  read.cipher = reader.little<std::uint32_t>();
  const auto source = reader.little<std::uint32_t>();
  read.scrypt_cost = reader.little<std::uint64_t>();
  read.scrypt_block_size = reader.little<std::uint32_t>();
  read.scrypt_parallel = reader.little<std::uint32_t>();
  const Bytes salt = reader.take(32);
  const Bytes commitment = reader.take(32);
  read.count = reader.little<std::uint32_t>();
  const auto reserved = reader.little<std::uint32_t>();
  if (reader.failed() || read.count < 1 || read.count > kDataKeysMax ||
      in.size() != kKeysFixedBytes + keys_sealed_bytes(read.count) + kKeysEndBytes) {
    return base::corrupt("the size of db.keys does not match its count of keys");
  }
  base::ByteReader end(in.sub(in.size() - kKeysEndBytes));
  const auto crc_stored = end.little<std::uint32_t>();
  const auto zeros = end.little<std::uint32_t>();
  if (crc_stored != base::crc32c(0, in.sub(0, in.size() - kKeysEndBytes))) {
    return base::corrupt("the checksum of db.keys is wrong; restore it from a backup");
  }
  read.source = static_cast<KeySource>(source);
  if (reserved != 0 || zeros != 0 || file.shard != 0 || file.file_id != 0 || read.cipher < 1 ||
      read.cipher > 2 || source < 1 || source > 2 || !scrypt_possible(read)) {
    return base::corrupt("db.keys has fields that no writer produces");
  }
  std::memcpy(read.salt.data(), salt.data(), salt.size());
  std::memcpy(read.commitment.data(), commitment.data(), commitment.size());
  header = read;
  return {};
}

void encode_data_key(const DataKey& key, std::uint8_t* out) noexcept {
  base::ByteWriter writer(MutableBytes(out, kDataKeyBytes));
  writer.little<std::uint32_t>(key.id);
  writer.zeros(4);
  writer.put(key.bytes);
}

DataKey decode_data_key(const std::uint8_t* from) noexcept {
  DataKey key;
  key.id = base::load_little<std::uint32_t>(from);
  std::memcpy(key.bytes.data(), from + 8, key.bytes.size());
  return key;
}

}  // namespace armdb::format

#endif  // ARMDB_WITH_OPENSSL

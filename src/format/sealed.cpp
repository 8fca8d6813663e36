// Sealed files: headers and frames. Without OpenSSL nothing reads them.
#include "format/sealed.hpp"

#include "base/byte_reader.hpp"
#include "base/byte_writer.hpp"
#include "base/check.hpp"
#include "base/crc32c.hpp"
#include "base/errors.hpp"
#include "base/little.hpp"
#include "base/search.hpp"

#if ARMDB_WITH_OPENSSL

namespace armdb::format {
namespace {

constexpr std::size_t kSealingAt = 32;
constexpr std::size_t kHeaderCrcAt = 36;
constexpr std::size_t kSealedCrcAt = 92;
constexpr unsigned kFollowsFailure = 0x8000;
constexpr unsigned kSizeMask = 0x1fff;

std::uint32_t header_crc(Bytes header) noexcept {
  return base::crc32c(0, header.sub(0, kHeaderCrcAt));
}

}  // namespace

SealedHeader sealed_header(Bytes plain, std::uint32_t cipher) noexcept {
  ARMDB_ASSERT(plain.size() >= kFileHeaderBytes);
  SealedHeader header;
  header.cipher = cipher;
  std::memcpy(header.file.data(), plain.data(), header.file.size());
  base::store_little<std::uint32_t>(header.file.data() + kSealingAt, cipher);
  base::store_little<std::uint32_t>(header.file.data() + kHeaderCrcAt, header_crc(header.file));
  return header;
}

void encode_sealed_header(const SealedHeader& header, MutableBytes out) noexcept {
  ARMDB_ASSERT(out.size() >= kSealedHeaderBytes);
  base::ByteWriter writer(out.first(kSealedHeaderBytes));
  writer.put(header.file);
  writer.little<std::uint32_t>(header.key_id);
  writer.zeros(4);
  writer.put(header.salt);
  writer.zeros(12);
  const auto file_crc = base::load_little<std::uint32_t>(header.file.data() + kHeaderCrcAt);
  writer.little<std::uint32_t>(base::crc32c(
      file_crc, Bytes(out.data() + kFileHeaderBytes, kSealedCrcAt - kFileHeaderBytes)));
}

Status decode_sealed_header(Bytes in, SealedHeader& header) {
  if (in.size() < kSealedHeaderBytes) {
    return base::corrupt("the file ends inside its header of 96 bytes");
  }
  // A newer version may lay out all that follows in another way.
  if (Status status = check_file_header(in); !status.ok()) return status;
  SealedHeader read;
  std::memcpy(read.file.data(), in.data(), read.file.size());
  base::ByteReader reader(in.sub(kSealingAt));
  read.cipher = reader.little<std::uint32_t>();
  const auto file_crc = reader.little<std::uint32_t>();
  read.key_id = reader.little<std::uint32_t>();
  const auto reserved = reader.little<std::uint32_t>();
  const Bytes salt = reader.take(read.salt.size());
  const Bytes zeros = reader.take(12);
  const auto crc_stored = reader.little<std::uint32_t>();
  if (read.cipher == 0) {
    return Status(Errc::format_mismatch,
                  "the file is not encrypted, and the collection is: was it "
                  "copied? put the right file back");
  }
  const std::uint32_t crc_computed =
      base::crc32c(file_crc, in.sub(kFileHeaderBytes, kSealedCrcAt - kFileHeaderBytes));
  if (crc_stored != crc_computed)
    return base::corrupt("the checksum of the sealed header is wrong");
  if (reserved != 0 || !base::all_zeros(zeros) || read.key_id == 0) {
    return base::corrupt("the sealed header has fields that no writer produces");
  }
  std::memcpy(read.salt.data(), salt.data(), salt.size());
  header = read;
  return {};
}

void encode_frame_header(const Frame& frame, std::uint8_t* out) noexcept {
  ARMDB_ASSERT(frame.size >= 1 && frame.size <= kFramePayloadMax);
  ARMDB_ASSERT(frame.position <= kFramePositionMax);
  const std::uint64_t size = frame.size | (frame.follows_failure ? kFollowsFailure : 0);
  base::store_little<std::uint32_t>(out + 4, frame.counter);
  base::store_little<std::uint64_t>(out + 8, frame.position | size << 48);
}

std::uint32_t frame_seed(const SealedHeader& header) noexcept {
  std::uint8_t bytes[kSealedHeaderBytes];
  encode_sealed_header(header, bytes);
  return base::load_little<std::uint32_t>(bytes + kSealedCrcAt);
}

void finish_frame(std::uint32_t seed, std::uint8_t* out, std::size_t size) noexcept {
  base::store_little<std::uint32_t>(out, base::crc32c(seed, Bytes(out + 4, frame_bytes(size) - 4)));
}

bool peek_frame(Bytes in, Frame& frame) noexcept {
  base::ByteReader reader(in);
  reader.skip(4);
  frame.counter = reader.little<std::uint32_t>();
  const auto placed = reader.little<std::uint64_t>();
  frame.tag = reader.take(16);
  frame.position = placed & kFramePositionMax;
  frame.size = placed >> 48 & kSizeMask;
  frame.follows_failure = (placed >> 48 & kFollowsFailure) != 0;
  frame.sealed = reader.take(frame.size);
  const Bytes padding = reader.take((8 - frame.size % 8) % 8);
  return !reader.failed() && frame.size != 0 && frame.size <= kFramePayloadMax &&
         frame.counter != 0 && base::all_zeros(padding) &&
         (placed >> 48 & ~std::uint64_t{kSizeMask | kFollowsFailure}) == 0;
}

bool decode_frame(Bytes in, std::uint32_t seed, Frame& frame) noexcept {
  return peek_frame(in, frame) && base::load_little<std::uint32_t>(in.data()) ==
                                      base::crc32c(seed, in.sub(4, frame_bytes(frame.size) - 4));
}

ByteArray<12> frame_nonce(std::uint32_t counter) noexcept {
  ByteArray<12> nonce{};
  base::store_big<std::uint32_t>(nonce.data() + 8, counter);
  return nonce;
}

}  // namespace armdb::format

#endif  // ARMDB_WITH_OPENSSL

// Any bytes as db.keys, as the header of a sealed file, and as a frame of one.
//
// Oracle: any bytes are read or refused with one of two codes, without a step outside; what is
// read obeys the limits and encodes back to the same bytes.
//
// The mutator seals checksums 3 times in 4, and gives every fourth input the size of a db.keys.
// Without OpenSSL there is nothing to try.
#include <cstddef>
#include <cstdint>

#if ARMDB_WITH_OPENSSL

#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "format/keys.hpp"
#include "format/sealed.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max);

namespace {

using namespace armdb;

void require(bool holds) {
  if (!holds) std::abort();
}

void check_refusal(const Status& status) {
  require(status.is(Errc::corrupt) || status.is(Errc::format_mismatch));
  require(!status.message().empty());
}

void check_keys(Bytes in) {
  format::KeysHeader header;
  const Status status = format::decode_keys(in, header);
  if (!status.ok()) return check_refusal(status);
  require(header.count >= 1 && header.count <= format::kDataKeysMax);
  require(in.size() <= format::kKeysBytesMax);
  if (header.source == format::KeySource::passphrase) {
    require(128 * header.scrypt_block_size * header.scrypt_cost <= std::uint64_t{1} << 30);
  }
  std::vector<std::uint8_t> again = format::encode_keys(header);
  require(again.size() == in.size());
  constexpr std::size_t kFrom = format::kKeysAdditionalBytes;
  std::memcpy(again.data() + kFrom, in.data() + kFrom,
              format::kKeysFixedBytes - kFrom + format::keys_sealed_bytes(header.count));
  format::finish_keys(again);
  require(Bytes(again) == in);
}

void check_sealed_header(Bytes in) {
  format::SealedHeader header;
  const Status status = format::decode_sealed_header(in, header);
  if (!status.ok()) return check_refusal(status);
  require(header.cipher != 0 && header.key_id != 0);
  std::uint8_t again[format::kSealedHeaderBytes];
  format::encode_sealed_header(header, again);
  require(Bytes(again) == in.sub(0, sizeof again));
}

void check_frame(Bytes in) {
  format::Frame frame;
  if (!format::decode_frame(in, 0, frame)) return;
  require(frame.size >= 1 && frame.size <= format::kFramePayloadMax && frame.counter != 0);
  require(frame.sealed.size() == frame.size && frame.tag.size() == 16);
  std::vector<std::uint8_t> again(format::frame_bytes(frame.size));
  format::encode_frame_header(frame, again.data());
  std::memcpy(again.data() + 16, frame.tag.data(), frame.tag.size());
  std::memcpy(again.data() + format::kFrameHeaderBytes, frame.sealed.data(), frame.size);
  format::finish_frame(0, again.data(), frame.size);
  require(Bytes(again) == in.sub(0, again.size()));
}

void seal_keys(std::uint8_t* data, std::size_t size) {
  if (size < format::kFileHeaderBytes + format::kKeysEndBytes) return;
  base::store_little<std::uint32_t>(data + 36, base::crc32c(0, Bytes(data, 36)));
  format::finish_keys({data, size});
}

void seal_header(std::uint8_t* data, std::size_t size) {
  if (size < format::kSealedHeaderBytes) return;
  const std::uint32_t first = base::crc32c(0, Bytes(data, 36));
  base::store_little<std::uint32_t>(data + 36, first);
  base::store_little<std::uint32_t>(data + 92, base::crc32c(first, Bytes(data + 40, 52)));
}

void seal_frame(std::uint8_t* data, std::size_t size) {
  if (size < format::kFrameBytesMin) return;
  const std::size_t whole =
      format::frame_bytes(base::load_little<std::uint16_t>(data + 14) & 0x1fff);
  if (whole <= size)
    base::store_little<std::uint32_t>(data, base::crc32c(0, {data + 4, whole - 4}));
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max, unsigned int seed) {
  size = LLVMFuzzerMutate(data, size, max);
  if (seed / 4 % 4 == 0 && size >= format::kKeysFixedBytes) {
    const std::uint32_t count = seed / 16 % 3 + 1;
    const std::size_t whole =
        format::kKeysFixedBytes + format::keys_sealed_bytes(count) + format::kKeysEndBytes;
    if (whole <= max) {
      if (size < whole) std::memset(data + size, 0, whole - size);
      size = whole;
      base::store_little<std::uint32_t>(data + 128, count);
      std::memset(data + size - 4, 0, 4);
    }
  }
  if (seed % 4 == 0) seal_keys(data, size);
  if (seed % 4 == 1) seal_header(data, size);
  if (seed % 4 == 2) seal_frame(data, size);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes in(data, size);
  check_keys(in);
  check_sealed_header(in);
  check_frame(in);
  return 0;
}

#else

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t*, std::size_t) { return 0; }

#endif  // ARMDB_WITH_OPENSSL

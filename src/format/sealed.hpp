// A sealed file: one of armdb's files, encrypted. Its plain bytes are those of the file in a
// collection without encryption; they lie in frames, each encrypted and authenticated on its own.
//
//   offset  size  field
//        0    40  file header, as of the plain file, with the cipher in `sealing`
//       40     4  key_id    of the data key in db.keys
//       44     4  reserved  zero
//       48    32  salt      random
//       80    12  reserved  zero
//       92     4  crc       CRC-32C of bytes 40..91, continued from the crc at 36
//       96     .  frames
//
// The file's key is HKDF-SHA256(data key, salt, "armdb v1 file" and the bytes 0..35): a file that
// is moved, renumbered or of another store has another key. The key seals nothing but this file,
// and one open only writes it, so that a counter is a nonce.
//
// A frame:
//
//        0     4  crc       CRC-32C of all that follows, the sealed bytes included, seeded with
//                           the crc at 92: no frame of another file passes, such as one that a
//                           former use of these blocks left there
//        4     4  counter   of seals under this file's key, from 1; never twice
//        8     6  position  of the first of its bytes in the plain file
//       14     2  size      of its bytes, 1..4064, in bits 0..12; bit 15: see `follows_failure`
//       16    16  tag
//       32     .  the bytes, sealed; then zeros up to a multiple of 8
//
// Nonce: 8 zero bytes and the counter, big-endian. Additional data: bytes 4..15.
//
// No frame crosses a multiple of 4096 bytes of the file, and at each of them a frame begins, up to
// the last one: so the frame of a position is found by looking at few pages. Where fewer than 40
// bytes are left before it, they are zero. The first frame whose bytes are all zero ends the file.
//
// Counters rise by one from frame to frame. A write that failed may have left frames behind, which
// the next write replaces: its first frame has a counter further on, and bit 15 to say so. A frame
// that was put back from such an earlier write therefore does not fit to the one after it; reads
// that reach both of them see that.
//
// Integers are little-endian.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/bytes.hpp"
#include "core/status.hpp"
#include "format/file_header.hpp"

namespace armdb::format {

inline constexpr std::size_t kSealedHeaderBytes = 96;
inline constexpr std::size_t kSealedPageBytes = 4096;
inline constexpr std::size_t kFrameHeaderBytes = 32;
inline constexpr std::size_t kFrameBytesMin = kFrameHeaderBytes + 8;
inline constexpr std::size_t kFramePayloadMax = kSealedPageBytes - kFrameHeaderBytes;
inline constexpr std::uint64_t kFramePositionMax = (std::uint64_t{1} << 48) - 1;
inline constexpr std::uint32_t kSealCountMax = 0xffffffff;

struct SealedHeader {
  ByteArray<kFileHeaderBytes> file{};  // with `sealing` set and its crc
  std::uint32_t cipher = 0;            // what `sealing` says
  std::uint32_t key_id = 0;
  ByteArray<32> salt{};
  // What goes into the file's key besides the data key and the salt.
  [[nodiscard]] Bytes identity() const noexcept { return Bytes(file).sub(0, 36); }
};

// Makes the header of a sealed file from that of the plain one (40 bytes), which must be whole.
[[nodiscard]] SealedHeader sealed_header(Bytes plain, std::uint32_t cipher) noexcept;
void encode_sealed_header(const SealedHeader& header, MutableBytes out) noexcept;  // 96 bytes
// corrupt; format_mismatch when the file is not encrypted.
Status decode_sealed_header(Bytes in, SealedHeader& header);

struct Frame {
  std::uint32_t counter = 0;
  std::uint64_t position = 0;
  std::size_t size = 0;
  bool follows_failure = false;
  Bytes tag;
  Bytes sealed;
};

// Bytes that a frame takes in the file.
[[nodiscard]] constexpr std::size_t frame_bytes(std::size_t size) noexcept {
  return kFrameHeaderBytes + (size + 7) / 8 * 8;
}
// The front of a frame: what stands at 4..15, the additional data, is at `out` + 4 then.
void encode_frame_header(const Frame& frame, std::uint8_t* out) noexcept;
// The seed of the frames of a file, from its sealed header.
[[nodiscard]] std::uint32_t frame_seed(const SealedHeader& header) noexcept;
// Sets the crc of a frame whose tag and sealed bytes are in place.
void finish_frame(std::uint32_t seed, std::uint8_t* out, std::size_t size) noexcept;
// The frame at the front of `in`, which ends with its page at most. False: bytes that are none.
[[nodiscard]] bool decode_frame(Bytes in, std::uint32_t seed, Frame& frame) noexcept;
// The same without a look at the crc, for those who open the frame at once: the tag tells more.
[[nodiscard]] bool peek_frame(Bytes in, Frame& frame) noexcept;
[[nodiscard]] ByteArray<12> frame_nonce(std::uint32_t counter) noexcept;

}  // namespace armdb::format

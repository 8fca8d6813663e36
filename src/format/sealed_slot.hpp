// A copy of a slot in an encrypted slots.dat, whose file header has the cipher in `sealing`.
//
//   offset  size  field
//        0     4  crc      CRC-32C of all that follows in the copy, seeded as in the clear
//        4     4  key_id   of the data key in db.keys, from 1
//        8     8  counter  of seals in this session, from 1; never twice
//       16    16  session  random, drawn anew by each open
//       32    16  tag
//       48     .  sealed: state (1), version (8), expiry_ms (8), key, value, as in the clear
//        .     .  zeros up to the next multiple of 8
//
// All zero: never used. The session's key is HKDF-SHA256(data key, session, "armdb v1 slots" and
// the bytes 0..35 and 40..63 of the file): it fits no other file. Nonce: 4 zero bytes and the
// counter, big-endian. Additional data: the slot's number (8 bytes), then bytes 4..31 of the copy.
//
// A copy is sealed once and then moved as it is, from the stage to its slot. That an old copy was
// put back in the same slot cannot be seen.
//
// Integers are little-endian.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/bytes.hpp"
#include "format/slot.hpp"

namespace armdb::format {

inline constexpr std::size_t kSlotStateBytes = 17;  // of what is sealed, before the key

struct SealedSlot {
  std::uint32_t key_id = 0;
  std::uint64_t counter = 0;
  ByteArray<16> session{};
  Bytes tag;
  Bytes sealed;
};

// The front of a copy, and zeros behind `sealed_bytes`; tag and sealed bytes are the caller's.
void encode_sealed_slot(const SealedSlot& slot, std::size_t sealed_bytes,
                        MutableBytes out) noexcept;
// Sets the crc when all is in place.
void finish_sealed_slot(std::uint32_t seed, std::uint64_t number, MutableBytes out) noexcept;
// `whole` says nothing about the seal.
[[nodiscard]] SlotRead decode_sealed_slot(Bytes in, std::uint32_t seed, std::uint64_t number,
                                          std::size_t sealed_bytes, SealedSlot& slot) noexcept;
// The additional data of a copy.
[[nodiscard]] ByteArray<36> sealed_slot_additional(Bytes copy, std::uint64_t number) noexcept;
[[nodiscard]] ByteArray<12> sealed_slot_nonce(std::uint64_t counter) noexcept;

// What is sealed: `out` has 17 bytes, the key's and the value's.
void encode_slot_plain(const Slot& slot, MutableBytes out) noexcept;
// False when it is nothing that encode_slot_plain() writes. The spans point into `in`.
[[nodiscard]] bool decode_slot_plain(Bytes in, std::uint32_t key_size, Slot& slot) noexcept;

}  // namespace armdb::format

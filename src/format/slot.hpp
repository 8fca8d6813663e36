// slots.dat of a Fixed store: slots of one size, updated in place.
//
// The first page (4096 bytes) is written once, when the file is created:
//
//   offset  size  field
//        0    40  file header (kind slots)
//       40     4  key_size     1..1024
//       44     4  value_size   at most 2^20
//       48     4  copies       1 or 2, of each slot
//       52     4  stage_count  places of the stage, 1 to 65536, of 64 MiB in all at most
//       56     8  salt         random; part of the seed of every slot's crc
//       64     4  crc          CRC-32C of bytes 40..63, continued from the crc at 36
//       68  4028  zero
//
// The second page is the clean mark, and zero while the store is open for writing:
//
//     4096     8  version_last  the largest version that was given away
//     4104     8  slot_count    slots that the file has room for
//     4112     8  live_count
//     4120     4  reserved      zero
//     4124     4  crc           CRC-32C of bytes 4096..4123, seeded with the crc at 64
//     4128  4064  zero
//
// From 8192 on, in whole pages, the stage: copies of slots that are on their way. Each place has
// 8 bytes with the number of a slot, then a copy of it. The first places take every copy before its
// slot does, in turn: a process that is killed halfway leaves one of the two whole. The others take
// slots that are written while a sync is at them. A copy here counts like one in the slot: by its
// version.
//
// Then the slots. A copy of a slot is a multiple of 8 bytes:
//
//        0     4  crc        CRC-32C of all that follows in the copy, seeded
//        4     1  state      1 live, 2 erased; 0 and all zero: never used
//        5     3  reserved   zero
//        8     8  version    1 .. 2^63 - 1, no multiple of 2^32; of two whole copies the larger
//                            one counts
//       16     8  expiry_ms  0: never; zero when erased
//       24     .  key, value (zeros when erased), zeros up to the next multiple of 8
//
// The seed is the CRC-32C of store_id, shard, salt and the slot's number (8 bytes): a copy that
// lies where another slot belongs, or is left over from a former use of these blocks, never passes.
//
// Where copies lie. With two, a unit of one or more pages holds the first copies of as many slots
// as fit, the next unit their second ones: no page has both. With one, a slot lies within a sector
// of 512 bytes, which disks write whole; larger slots need two copies.
//
// Of an encrypted collection copies have another form, see format/sealed_slot.hpp.
//
// Integers are little-endian.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/bytes.hpp"
#include "core/status.hpp"
#include "format/file_header.hpp"

namespace armdb::format {

inline constexpr std::size_t kSlotPageBytes = 4096;
inline constexpr std::size_t kSlotSectorBytes = 512;
inline constexpr std::size_t kSlotHeaderBytes = 24;        // of a copy, before the key
inline constexpr std::size_t kSealedSlotHeaderBytes = 48;  // of an encrypted one
inline constexpr std::size_t kSealedSlotBytes = 65;        // with state, version and expiry
inline constexpr std::size_t kSlotsHeaderBytes = 68;
inline constexpr std::size_t kCleanMarkBytes = 32;
inline constexpr std::uint64_t kCleanMarkAt = kSlotPageBytes;
inline constexpr std::uint64_t kStageAt = 2 * kSlotPageBytes;
inline constexpr std::uint32_t kSlotValueMax = std::uint32_t{1} << 20;
inline constexpr std::uint32_t kStageCountMax = 65536;
inline constexpr std::uint64_t kStageBytesMax = std::uint64_t{64} << 20;
inline constexpr std::uint64_t kSlotVersionMax = (std::uint64_t{1} << 63) - 1;
inline constexpr std::uint64_t kSlotCountMax = std::uint64_t{1} << 32;

struct SlotsHeader {
  FileHeader file;
  std::uint32_t key_size = 0;
  std::uint32_t value_size = 0;
  std::uint32_t copies = 2;
  std::uint32_t stage_count = 1;
  std::uint64_t salt = 0;
};

void encode_slots_header(const SlotsHeader& header, MutableBytes out) noexcept;  // 68 bytes
// corrupt or format_mismatch; bytes behind the 68 are not looked at. too_large when one copy is
// asked for and a slot does not fit into a sector.
Status decode_slots_header(Bytes in, SlotsHeader& header);

struct CleanMark {
  std::uint64_t version_last = 0;
  std::uint64_t slot_count = 0;
  std::uint64_t live_count = 0;
};

// 32 bytes; `header` is that of the file.
void encode_clean_mark(const CleanMark& mark, const SlotsHeader& header, MutableBytes out) noexcept;
// False when it is none, whatever the reason: then the file is read without it.
[[nodiscard]] bool decode_clean_mark(Bytes in, const SlotsHeader& header, CleanMark& mark) noexcept;

// Where the copies of each slot lie.
class SlotLayout {
 public:
  SlotLayout() noexcept = default;
  SlotLayout(std::uint32_t key_size, std::uint32_t value_size, std::uint32_t copies,
             std::uint32_t stage_count, bool sealed = false) noexcept;

  // Whether slots of this size can have a single copy.
  [[nodiscard]] static bool fits_single_copy(std::uint32_t key_size, std::uint32_t value_size,
                                             bool sealed = false) noexcept {
    return bytes_for(key_size, value_size, sealed) <= kSlotSectorBytes;
  }
  [[nodiscard]] std::size_t slot_bytes() const noexcept { return slot_bytes_; }  // of one copy
  [[nodiscard]] std::uint32_t copies() const noexcept { return copies_; }
  // Slots come in groups that lie together: a sector's, or the pages of first and second copies.
  [[nodiscard]] std::uint32_t group_slots() const noexcept { return group_slots_; }
  [[nodiscard]] std::uint64_t group_bytes() const noexcept { return unit_bytes_ * copies_; }
  [[nodiscard]] std::uint64_t offset(std::uint64_t slot, std::uint32_t copy) const noexcept {
    return slots_at_ + (slot / group_slots_ * copies_ + copy) * unit_bytes_ +
           slot % group_slots_ * slot_bytes_;
  }
  // A place of the stage, and where the slots begin behind it.
  [[nodiscard]] std::uint64_t stage_at(std::uint32_t place) const noexcept {
    return kStageAt + place * std::uint64_t{stage_bytes()};
  }
  [[nodiscard]] std::size_t stage_bytes() const noexcept { return 8 + slot_bytes_; }
  [[nodiscard]] std::uint64_t slots_at() const noexcept { return slots_at_; }
  // Groups in a file of this size, in slots, the last one perhaps cut; and back.
  [[nodiscard]] std::uint64_t slots_in(std::uint64_t file_bytes) const noexcept;
  [[nodiscard]] std::uint64_t file_bytes(std::uint64_t slots) const noexcept;

 private:
  static std::size_t bytes_for(std::uint32_t key_size, std::uint32_t value_size,
                               bool sealed) noexcept {
    const std::size_t header = sealed ? kSealedSlotBytes : kSlotHeaderBytes;
    return (header + std::size_t{key_size} + value_size + 7) / 8 * 8;
  }

  std::size_t slot_bytes_ = 0;
  std::uint32_t copies_ = 2;
  std::uint32_t group_slots_ = 1;
  std::uint64_t unit_bytes_ = kSlotPageBytes;
  std::uint64_t slots_at_ = kStageAt + kSlotPageBytes;
};

enum class SlotState : std::uint8_t { unused = 0, live = 1, erased = 2 };

struct Slot {
  SlotState state = SlotState::unused;
  std::uint64_t version = 0;
  std::uint64_t expiry_ms = 0;
  Bytes key;
  Bytes value;  // empty when erased
};

// What the crc of every copy in this file starts from, before the slot's number is added.
[[nodiscard]] std::uint32_t slot_seed(const SlotsHeader& header) noexcept;

// Fills `out`, a whole copy. `slot.value` may be shorter than the value size only when it is
// empty: then zeros are written.
void encode_slot(const Slot& slot, std::uint32_t seed, std::uint64_t number,
                 MutableBytes out) noexcept;

// A place of the stage: fills `out`, 8 bytes more than a copy. And the slot it is of; the copy is
// what follows.
void encode_staged(const Slot& slot, std::uint32_t seed, std::uint64_t number,
                   MutableBytes out) noexcept;
[[nodiscard]] std::uint64_t staged_number(Bytes in) noexcept;

// The crc of a copy in place, and whether what is read of one can be; a value of zeros becomes
// that of an erased one. For sealed copies too.
[[nodiscard]] std::uint32_t slot_crc(Bytes copy, std::uint32_t seed, std::uint64_t number) noexcept;
[[nodiscard]] bool slot_possible(Slot& slot, std::uint8_t state) noexcept;

enum class SlotRead : std::uint8_t { unused, whole, broken };

// Judges one copy of slot `number`. The spans of `slot` point into `in`.
[[nodiscard]] SlotRead decode_slot(Bytes in, std::uint32_t seed, std::uint64_t number,
                                   std::uint32_t key_size, std::uint32_t value_size,
                                   Slot& slot) noexcept;

}  // namespace armdb::format

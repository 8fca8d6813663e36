// Slots of a Fixed store: written in place, believed only whole.
#include "format/slot.hpp"

#include <algorithm>
#include <cstring>

#include "base/byte_reader.hpp"
#include "base/byte_writer.hpp"
#include "base/check.hpp"
#include "base/crc32c.hpp"
#include "base/errors.hpp"
#include "base/search.hpp"

namespace armdb::format {
namespace {

std::uint32_t slots_header_crc(const SlotsHeader& header) noexcept {
  std::uint8_t bytes[kSlotsHeaderBytes];
  encode_slots_header(header, bytes);
  return base::load_little<std::uint32_t>(bytes + 64);
}

}  // namespace

// ---- The file ----

void encode_slots_header(const SlotsHeader& header, MutableBytes out) noexcept {
  ARMDB_ASSERT(out.size() >= kSlotsHeaderBytes);
  encode_file_header(header.file, out);
  base::ByteWriter writer(out.subspan(kFileHeaderBytes, kSlotsHeaderBytes - kFileHeaderBytes));
  writer.little<std::uint32_t>(header.key_size);
  writer.little<std::uint32_t>(header.value_size);
  writer.little<std::uint32_t>(header.copies);
  writer.little<std::uint32_t>(header.stage_count);
  writer.little<std::uint64_t>(header.salt);
  const auto file_crc = base::load_little<std::uint32_t>(out.data() + 36);
  writer.little<std::uint32_t>(base::crc32c(file_crc, writer.written()));
}

Status decode_slots_header(Bytes in, SlotsHeader& header) {
  SlotsHeader read;
  if (Status status = decode_file_header(in, FileType::slots, read.file); !status) return status;
  base::ByteReader reader(in.sub(kFileHeaderBytes));
  read.key_size = reader.little<std::uint32_t>();
  read.value_size = reader.little<std::uint32_t>();
  read.copies = reader.little<std::uint32_t>();
  read.stage_count = reader.little<std::uint32_t>();
  read.salt = reader.little<std::uint64_t>();
  const auto crc_stored = reader.little<std::uint32_t>();
  const auto file_crc = base::load_little<std::uint32_t>(in.data() + 36);
  if (reader.failed() || crc_stored != base::crc32c(file_crc, in.sub(kFileHeaderBytes, 24))) {
    return base::corrupt("the checksum of the header of slots.dat is wrong");
  }
  if (read.key_size < 1 || read.key_size > 1024 || read.value_size > kSlotValueMax ||
      read.copies < 1 || read.copies > 2 || read.stage_count < 1 ||
      read.stage_count > kStageCountMax || read.file.file_id != 0) {
    return base::corrupt("the header of slots.dat has sizes that cannot be");
  }
  const bool sealed = read.file.sealing != 0;
  if (read.copies == 1 && !SlotLayout::fits_single_copy(read.key_size, read.value_size, sealed)) {
    return {Errc::too_large,
            "slots of one copy fit into 512 bytes: leave FixedConfig::single_copy false"};
  }
  const SlotLayout layout(read.key_size, read.value_size, read.copies, read.stage_count, sealed);
  if (std::uint64_t{read.stage_count} * layout.stage_bytes() > kStageBytesMax) {
    return base::corrupt("the header of slots.dat has sizes that cannot be");
  }
  header = read;
  return {};
}

void encode_clean_mark(const CleanMark& mark, const SlotsHeader& header,
                       MutableBytes out) noexcept {
  base::ByteWriter writer(out.first(kCleanMarkBytes));
  writer.little<std::uint64_t>(mark.version_last);
  writer.little<std::uint64_t>(mark.slot_count);
  writer.little<std::uint64_t>(mark.live_count);
  writer.zeros(4);
  writer.little<std::uint32_t>(base::crc32c(slots_header_crc(header), writer.written()));
}

bool decode_clean_mark(Bytes in, const SlotsHeader& header, CleanMark& mark) noexcept {
  base::ByteReader reader(in);
  CleanMark read;
  read.version_last = reader.little<std::uint64_t>();
  read.slot_count = reader.little<std::uint64_t>();
  read.live_count = reader.little<std::uint64_t>();
  const auto reserved = reader.little<std::uint32_t>();
  const auto crc_stored = reader.little<std::uint32_t>();
  if (reader.failed() || reserved != 0 || read.version_last > kSlotVersionMax ||
      read.slot_count > kSlotCountMax || read.live_count > read.slot_count ||
      crc_stored != base::crc32c(slots_header_crc(header), in.sub(0, kCleanMarkBytes - 4))) {
    return false;
  }
  mark = read;
  return true;
}

// ---- Where copies lie ----

SlotLayout::SlotLayout(std::uint32_t key_size, std::uint32_t value_size, std::uint32_t copies,
                       std::uint32_t stage_count, bool sealed) noexcept
    : slot_bytes_(bytes_for(key_size, value_size, sealed)), copies_(copies) {
  ARMDB_ASSERT(copies == 2 || fits_single_copy(key_size, value_size, sealed));
  const std::size_t unit = copies == 1 ? kSlotSectorBytes : kSlotPageBytes;
  unit_bytes_ = (slot_bytes_ + unit - 1) / unit * unit;
  group_slots_ = static_cast<std::uint32_t>(unit_bytes_ / slot_bytes_);
  slots_at_ = (stage_at(stage_count) + kSlotPageBytes - 1) / kSlotPageBytes * kSlotPageBytes;
}

std::uint64_t SlotLayout::slots_in(std::uint64_t file_bytes) const noexcept {
  if (file_bytes <= slots_at_) return 0;
  const std::uint64_t groups = (file_bytes - slots_at_ - 1) / group_bytes() + 1;
  return std::min(groups, kSlotCountMax / group_slots_) * group_slots_;
}

std::uint64_t SlotLayout::file_bytes(std::uint64_t slots) const noexcept {
  return slots_at_ + (slots + group_slots_ - 1) / group_slots_ * group_bytes();
}

// ---- One copy ----

std::uint32_t slot_crc(Bytes copy, std::uint32_t seed, std::uint64_t number) noexcept {
  std::uint8_t place[8];
  base::store_little<std::uint64_t>(place, number);
  // Its own is the first field.
  return base::crc32c(base::crc32c(seed, Bytes(place)), copy.sub(4));
}

bool slot_possible(Slot& slot, std::uint8_t state) noexcept {
  if ((state != 1 && state != 2) || (slot.version & 0xffffffff) == 0 ||
      slot.version > kSlotVersionMax) {
    return false;
  }
  slot.state = static_cast<SlotState>(state);
  if (slot.state != SlotState::erased) return true;
  const bool empty = slot.expiry_ms == 0 && base::all_zeros(slot.value);
  slot.value = {};
  return empty;
}

std::uint32_t slot_seed(const SlotsHeader& header) noexcept {
  std::uint8_t bytes[28];
  base::ByteWriter writer(bytes);
  writer.put(header.file.store_id);
  writer.little<std::uint32_t>(header.file.shard);
  writer.little<std::uint64_t>(header.salt);
  return base::crc32c(0, writer.written());
}

void encode_slot(const Slot& slot, std::uint32_t seed, std::uint64_t number,
                 MutableBytes out) noexcept {
  ARMDB_ASSERT(slot.version != 0 && slot.state != SlotState::unused);
  base::ByteWriter writer(out);
  writer.zeros(4);
  writer.little<std::uint8_t>(static_cast<std::uint8_t>(slot.state));
  writer.zeros(3);
  writer.little<std::uint64_t>(slot.version);
  writer.little<std::uint64_t>(slot.expiry_ms);
  writer.put(slot.key);
  writer.put(slot.value);
  writer.zeros(out.size() - writer.size());
  base::store_little<std::uint32_t>(out.data(), slot_crc(Bytes(out), seed, number));
}

void encode_staged(const Slot& slot, std::uint32_t seed, std::uint64_t number,
                   MutableBytes out) noexcept {
  base::store_little<std::uint64_t>(out.data(), number);
  encode_slot(slot, seed, number, out.subspan(8));
}

std::uint64_t staged_number(Bytes in) noexcept {
  return base::ByteReader(in).little<std::uint64_t>();
}

SlotRead decode_slot(Bytes in, std::uint32_t seed, std::uint64_t number, std::uint32_t key_size,
                     std::uint32_t value_size, Slot& slot) noexcept {
  base::ByteReader reader(in);
  const auto crc_stored = reader.little<std::uint32_t>();
  const auto state = reader.little<std::uint8_t>();
  const Bytes reserved = reader.take(3);
  Slot read;
  read.version = reader.little<std::uint64_t>();
  read.expiry_ms = reader.little<std::uint64_t>();
  read.key = reader.take(key_size);
  read.value = reader.take(value_size);
  if (reader.failed() || reader.remaining() >= 8 || in.size() % 8 != 0) return SlotRead::broken;
  if (state == 0 && base::all_zeros(in)) return SlotRead::unused;
  if (crc_stored != slot_crc(in, seed, number) || !base::all_zeros(reserved) ||
      !base::all_zeros(reader.rest()) || !slot_possible(read, state)) {
    return SlotRead::broken;
  }
  slot = read;
  return SlotRead::whole;
}

}  // namespace armdb::format

// Any bytes as slots.dat's header, clean mark and a place of its stage, one behind the other.
//
// Oracle: each is read or refused without a step outside; what is read obeys the limits and encodes
// back to the same bytes; where its copies lie never overlaps.
//
// The mutator seals half of what it makes.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "format/slot.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max);

namespace {

using namespace armdb;

constexpr std::size_t kMarkAt = format::kSlotsHeaderBytes;
constexpr std::size_t kStagedAt = kMarkAt + format::kCleanMarkBytes;

void require(bool holds) {
  if (!holds) std::abort();
}

void reseal(std::uint8_t* data, std::size_t size) {
  using base::crc32c;
  using base::load_little;
  using base::store_little;
  std::memcpy(data, "ARMD\6\0\1\0", 8);
  std::memset(data + 28, 0, 8);
  store_little<std::uint32_t>(data + 36, crc32c(0, Bytes(data, 36)));
  const auto file_crc = load_little<std::uint32_t>(data + 36);
  store_little<std::uint32_t>(data + 64, crc32c(file_crc, Bytes(data + 40, 24)));
  const auto header_crc = load_little<std::uint32_t>(data + 64);
  store_little<std::uint32_t>(data + kMarkAt + 28, crc32c(header_crc, Bytes(data + kMarkAt, 28)));
  format::SlotsHeader header;
  if (!format::decode_slots_header(Bytes(data, size), header).ok()) return;
  const format::SlotLayout layout(header.key_size, header.value_size, header.copies, 1);
  if (size < kStagedAt + layout.stage_bytes()) return;
  const std::uint32_t seed = crc32c(format::slot_seed(header), Bytes(data + kStagedAt, 8));
  store_little<std::uint32_t>(data + kStagedAt + 8,
                              crc32c(seed, Bytes(data + kStagedAt + 12, layout.slot_bytes() - 4)));
}

void check_layout(const format::SlotsHeader& header) {
  const format::SlotLayout layout(header.key_size, header.value_size, header.copies,
                                  header.stage_count);
  require(layout.slots_at() >= layout.stage_at(header.stage_count));
  const std::uint64_t group = layout.group_slots();
  for (const std::uint64_t slot : {std::uint64_t{0}, group - 1, group, 7 * group}) {
    for (std::uint32_t copy = 0; copy < header.copies; ++copy) {
      const std::uint64_t at = layout.offset(slot, copy);
      require(at >= layout.slots_at() && at + layout.slot_bytes() <= layout.file_bytes(slot + 1));
      if (slot % group != 0) require(at >= layout.offset(slot - 1, copy) + layout.slot_bytes());
      if (copy != 0) require(at / 4096 != layout.offset(slot, 0) / 4096);
    }
  }
  require(layout.slots_in(layout.file_bytes(group)) == group);
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max, unsigned int seed) {
  size = LLVMFuzzerMutate(data, size, max);
  if (seed % 2 == 0 && size >= kStagedAt) reseal(data, size);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes in(data, size);
  format::SlotsHeader header;
  const Status status = format::decode_slots_header(in, header);
  if (!status.ok()) {
    require(status.is(Errc::corrupt) || status.is(Errc::format_mismatch) ||
            status.is(Errc::too_large));
    return 0;
  }
  std::vector<std::uint8_t> again(format::kSlotsHeaderBytes);
  format::encode_slots_header(header, again);
  require(Bytes(again) == in.sub(0, again.size()));
  check_layout(header);

  format::CleanMark mark;
  if (format::decode_clean_mark(in.sub(kMarkAt), header, mark)) {
    require(mark.live_count <= mark.slot_count);
    again.resize(format::kCleanMarkBytes);
    format::encode_clean_mark(mark, header, again);
    require(Bytes(again) == in.sub(kMarkAt, again.size()));
  }

  const format::SlotLayout layout(header.key_size, header.value_size, header.copies, 1);
  const Bytes staged = in.sub(kStagedAt, layout.stage_bytes());
  const std::uint64_t number = format::staged_number(staged);
  format::Slot slot;
  const format::SlotRead read = format::decode_slot(
      staged.sub(8), format::slot_seed(header), number, header.key_size, header.value_size, slot);
  if (read != format::SlotRead::whole) return 0;
  require(staged.size() == layout.stage_bytes());
  require(slot.version != 0 && slot.version <= format::kSlotVersionMax);
  require(slot.key.size() == header.key_size);
  require(slot.value.size() == (slot.state == format::SlotState::live ? header.value_size : 0));
  again.resize(staged.size());
  format::encode_staged(slot, format::slot_seed(header), number, again);
  require(Bytes(again) == staged);
  return 0;
}

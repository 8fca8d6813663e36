// slots.dat: golden bytes, where copies lie, and what is never believed.
#include "format/slot.hpp"

#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "support/catch.hpp"

using namespace armdb;
using namespace armdb::format;

namespace {

using Buffer = std::vector<std::uint8_t>;

SlotsHeader some_header(std::uint32_t key_size = 4, std::uint32_t value_size = 6,
                        std::uint32_t copies = 2) {
  SlotsHeader header;
  header.file.type = FileType::slots;
  for (std::size_t at = 0; at < 16; ++at) {
    header.file.store_id[at] = static_cast<std::uint8_t>(0xa0 + at);
  }
  header.file.shard = 3;
  header.key_size = key_size;
  header.value_size = value_size;
  header.copies = copies;
  header.stage_count = 5;
  header.salt = 0x0807060504030201;
  return header;
}

Slot some_slot() {
  return {.state = SlotState::live,
          .version = 0x1122334455,
          .expiry_ms = 77,
          .key = Bytes("abcd"),
          .value = Bytes("valued")};
}

Buffer encoded(const Slot& slot, std::uint64_t number = 9) {
  Buffer out(SlotLayout(4, 6, 2, 5).slot_bytes(), 0xee);
  encode_slot(slot, slot_seed(some_header()), number, out);
  return out;
}

SlotRead read_copy(const Buffer& copy, Slot& slot, std::uint64_t number = 9) {
  return decode_slot(copy, slot_seed(some_header()), number, 4, 6, slot);
}

// The copy with its crc made right again, as somebody who knows the format would.
Buffer resealed(Buffer copy, std::uint64_t number = 9) {
  std::uint8_t place[8];
  base::store_little<std::uint64_t>(place, number);
  const std::uint32_t seed = base::crc32c(slot_seed(some_header()), Bytes(place));
  base::store_little<std::uint32_t>(copy.data(), base::crc32c(seed, Bytes(copy).sub(4)));
  return copy;
}

}  // namespace

TEST_CASE("slot: header, clean mark and copy have the bytes the format says") {
  // Made by a program of its own, from the tables in slot.hpp.
  CHECK(encoded(some_slot()) == Buffer{0x92, 0xd1, 0xff, 0xa5, 0x01, 0x00, 0x00, 0x00, 0x55, 0x44,
                                       0x33, 0x22, 0x11, 0x00, 0x00, 0x00, 0x4d, 0x00, 0x00, 0x00,
                                       0x00, 0x00, 0x00, 0x00, 0x61, 0x62, 0x63, 0x64, 0x76, 0x61,
                                       0x6c, 0x75, 0x65, 0x64, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00});
  Buffer bytes(kSlotsHeaderBytes);
  encode_slots_header(some_header(), bytes);
  CHECK(bytes == Buffer{0x41, 0x52, 0x4d, 0x44, 0x06, 0x00, 0x01, 0x00, 0xa0, 0xa1, 0xa2, 0xa3,
                        0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf,
                        0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                        0x68, 0x36, 0x89, 0x6c, 0x04, 0x00, 0x00, 0x00, 0x06, 0x00, 0x00, 0x00,
                        0x02, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x01, 0x02, 0x03, 0x04,
                        0x05, 0x06, 0x07, 0x08, 0x3e, 0x96, 0x33, 0xaa});
  bytes.resize(kCleanMarkBytes);
  encode_clean_mark({.version_last = 5, .slot_count = 84, .live_count = 7}, some_header(), bytes);
  CHECK(bytes == Buffer{0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x54, 0x00, 0x00,
                        0x00, 0x00, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00, 0x00, 0x00,
                        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x29, 0x6c, 0x2c, 0xc1});
}

TEST_CASE("slot: reads back what was written; erased ones keep their key and no value") {
  Slot slot;
  const Buffer live = encoded(some_slot());
  REQUIRE(read_copy(live, slot) == SlotRead::whole);
  CHECK(slot.state == SlotState::live);
  CHECK(slot.version == 0x1122334455);
  CHECK(slot.expiry_ms == 77);
  CHECK(slot.key == Bytes("abcd"));
  CHECK(slot.value == Bytes("valued"));

  Slot erased = some_slot();
  erased.state = SlotState::erased;
  erased.expiry_ms = 0;
  erased.value = {};
  const Buffer copy = encoded(erased);
  REQUIRE(read_copy(copy, slot) == SlotRead::whole);
  CHECK(slot.state == SlotState::erased);
  CHECK(slot.key == Bytes("abcd"));
  CHECK(slot.value.empty());
}

TEST_CASE("slot: zeros are unused; any other single byte changed is broken") {
  Slot slot;
  CHECK(read_copy(Buffer(40, 0), slot) == SlotRead::unused);
  const Buffer copy = encoded(some_slot());
  for (std::size_t at = 0; at < copy.size(); ++at) {
    for (const int flip : {1, 0x80, 0xff}) {
      Buffer damaged = copy;
      damaged[at] = static_cast<std::uint8_t>(damaged[at] ^ flip);
      INFO("byte " << at);
      CHECK(read_copy(damaged, slot) == SlotRead::broken);
      Buffer zeros(40, 0);
      zeros[at] = static_cast<std::uint8_t>(flip);
      CHECK(read_copy(zeros, slot) == SlotRead::broken);
    }
  }
  for (std::size_t size = 0; size < copy.size(); ++size) {
    CHECK(read_copy(Buffer(copy.begin(), copy.begin() + static_cast<std::ptrdiff_t>(size)), slot) ==
          SlotRead::broken);
  }
}

TEST_CASE("slot: a copy of another slot, shard, store or file is broken") {
  const Buffer copy = encoded(some_slot());
  Slot slot;
  CHECK(read_copy(copy, slot, 8) == SlotRead::broken);
  CHECK(read_copy(copy, slot, 9 + (std::uint64_t{1} << 32)) == SlotRead::broken);
  const auto other = [&](SlotsHeader header) {
    return decode_slot(copy, slot_seed(header), 9, 4, 6, slot);
  };
  SlotsHeader header = some_header();
  CHECK(other(header) == SlotRead::whole);
  header.file.shard += 1;
  CHECK(other(header) == SlotRead::broken);
  header = some_header();
  header.file.store_id[15] ^= 1;
  CHECK(other(header) == SlotRead::broken);
  header = some_header();
  header.salt += 1;
  CHECK(other(header) == SlotRead::broken);
}

TEST_CASE("slot: what no writer writes is broken though its checksum is right") {
  Slot slot;
  const Buffer copy = encoded(some_slot());
  CHECK(read_copy(resealed(copy), slot) == SlotRead::whole);
  const auto with = [&](std::size_t at, std::uint8_t byte) {
    Buffer changed = copy;
    changed[at] = byte;
    return read_copy(resealed(changed), slot);
  };
  CHECK(with(4, 0) == SlotRead::broken);  // state
  CHECK(with(4, 3) == SlotRead::broken);
  CHECK(with(4, 2) == SlotRead::broken);      // erased, with an expiry and a value
  CHECK(with(5, 1) == SlotRead::broken);      // reserved
  CHECK(with(39, 1) == SlotRead::broken);     // padding
  CHECK(with(15, 0x80) == SlotRead::broken);  // version
  Buffer changed = copy;
  std::memset(changed.data() + 8, 0, 4);  // with its number, it could mean nowhere
  CHECK(read_copy(resealed(changed), slot) == SlotRead::broken);
  std::memset(changed.data() + 8, 0, 8);
  CHECK(read_copy(resealed(changed), slot) == SlotRead::broken);
}

TEST_CASE("slot: the two copies never share a page, and no two copies overlap") {
  for (const std::uint32_t value :
       {0u, 1u, 8u, 64u, 480u, 1000u, 2030u, 4000u, 4068u, 4069u, 5000u, 9000u, 1u << 20}) {
    const SlotLayout layout(4, value, 2, 5);
    INFO("values of " << value << " bytes");
    CHECK(layout.slot_bytes() % 8 == 0);
    CHECK(layout.slot_bytes() >= kSlotHeaderBytes + 4 + value);
    std::uint64_t end[2] = {layout.slots_at(), layout.slots_at()};
    CHECK(layout.slots_at() % 4096 == 0);
    CHECK(layout.slots_at() >= kStageAt + 5 * (8 + layout.slot_bytes()));
    for (std::uint64_t slot = 0; slot < 3 * std::uint64_t{layout.group_slots()}; ++slot) {
      std::set<std::uint64_t> pages[2];
      for (std::uint32_t copy = 0; copy < 2; ++copy) {
        const std::uint64_t at = layout.offset(slot, copy);
        CHECK(at >= end[copy]);
        end[copy] = at + layout.slot_bytes();
        for (std::uint64_t page = at / 4096; page <= (end[copy] - 1) / 4096; ++page) {
          pages[copy].insert(page);
        }
        CHECK(end[copy] <= layout.file_bytes(slot + 1));
        if (layout.slot_bytes() <= 4096) CHECK(pages[copy].size() == 1);
      }
      for (const std::uint64_t page : pages[0]) CHECK(pages[1].count(page) == 0);
    }
  }
}

TEST_CASE("slot: a single copy never straddles a sector; larger slots are refused") {
  for (std::uint32_t value = 0; SlotLayout::fits_single_copy(4, value); ++value) {
    const SlotLayout layout(4, value, 1, 5);
    std::uint64_t end = layout.slots_at();
    for (std::uint64_t slot = 0; slot < 40; ++slot) {
      const std::uint64_t at = layout.offset(slot, 0);
      REQUIRE(at >= end);
      end = at + layout.slot_bytes();
      REQUIRE(at / 512 == (end - 1) / 512);
    }
  }
  CHECK(SlotLayout::fits_single_copy(4, 484));
  CHECK_FALSE(SlotLayout::fits_single_copy(4, 485));
  Buffer bytes(kSlotsHeaderBytes);
  encode_slots_header(some_header(4, 485, 1), bytes);
  SlotsHeader header;
  CHECK(decode_slots_header(bytes, header).is(Errc::too_large));
  encode_slots_header(some_header(4, 484, 1), bytes);
  CHECK(decode_slots_header(bytes, header).ok());
}

TEST_CASE("slot: a file of any size holds groups, the last one perhaps cut") {
  const SlotLayout layout(8, 64, 2, 5);  // 96 bytes: 42 a page
  CHECK(layout.group_slots() == 42);
  const std::uint64_t kSlotsAt = layout.slots_at();
  CHECK(kSlotsAt == 12288);
  CHECK(layout.slots_in(0) == 0);
  CHECK(layout.slots_in(kSlotsAt) == 0);
  CHECK(layout.slots_in(kSlotsAt + 1) == 42);
  CHECK(layout.slots_in(kSlotsAt + 8192) == 42);
  CHECK(layout.slots_in(kSlotsAt + 8193) == 84);
  CHECK(layout.slots_in(~std::uint64_t{0}) == kSlotCountMax / 42 * 42);
  CHECK(layout.file_bytes(0) == kSlotsAt);
  CHECK(layout.file_bytes(1) == kSlotsAt + 8192);
  CHECK(layout.file_bytes(42) == kSlotsAt + 8192);
  CHECK(layout.file_bytes(43) == kSlotsAt + 16384);
}

TEST_CASE("slot: a header reads back, and any byte changed in it is refused") {
  Buffer bytes(kSlotsHeaderBytes);
  encode_slots_header(some_header(), bytes);
  SlotsHeader header;
  REQUIRE(decode_slots_header(bytes, header).ok());
  CHECK(header.key_size == 4);
  CHECK(header.value_size == 6);
  CHECK(header.copies == 2);
  CHECK(header.stage_count == 5);
  CHECK(header.salt == 0x0807060504030201);
  CHECK(header.file.shard == 3);
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    Buffer damaged = bytes;
    damaged[at] ^= 0x10;
    const Status status = decode_slots_header(damaged, header);
    INFO("byte " << at);
    CHECK((status.is(Errc::corrupt) || status.is(Errc::format_mismatch)));
    CHECK_FALSE(decode_slots_header(Bytes(bytes).sub(0, at), header).ok());
  }
  for (const SlotsHeader& wrong :
       {some_header(0), some_header(1025), some_header(4, kSlotValueMax + 1), some_header(4, 6, 0),
        some_header(4, 6, 3)}) {
    encode_slots_header(wrong, bytes);
    CHECK(decode_slots_header(bytes, header).is(Errc::corrupt));
  }
  SlotsHeader large = some_header(4, 4000);
  large.stage_count = 16000;
  encode_slots_header(large, bytes);
  CHECK(decode_slots_header(bytes, header).ok());
  large.stage_count = 17000;  // more than 64 MiB
  encode_slots_header(large, bytes);
  CHECK(decode_slots_header(bytes, header).is(Errc::corrupt));
}

TEST_CASE("slot: a clean mark counts for its own file only, and only whole") {
  Buffer bytes(kCleanMarkBytes);
  encode_clean_mark({.version_last = 5, .slot_count = 84, .live_count = 7}, some_header(), bytes);
  CleanMark mark;
  REQUIRE(decode_clean_mark(bytes, some_header(), mark));
  CHECK(mark.version_last == 5);
  CHECK(mark.slot_count == 84);
  CHECK(mark.live_count == 7);
  SlotsHeader other = some_header();
  other.salt += 1;
  CHECK_FALSE(decode_clean_mark(bytes, other, mark));
  CHECK_FALSE(decode_clean_mark(Buffer(kCleanMarkBytes, 0), some_header(), mark));
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    Buffer damaged = bytes;
    damaged[at] ^= 1;
    CHECK_FALSE(decode_clean_mark(damaged, some_header(), mark));
    CHECK_FALSE(decode_clean_mark(Bytes(bytes).sub(0, at), some_header(), mark));
  }
  encode_clean_mark({.version_last = 5, .slot_count = 6, .live_count = 7}, some_header(), bytes);
  CHECK_FALSE(decode_clean_mark(bytes, some_header(), mark));
}

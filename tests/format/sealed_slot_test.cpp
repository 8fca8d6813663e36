// Sealed copies of slots: bytes by the specification, and no fields that no writer produces.
#include "format/sealed_slot.hpp"

#include <vector>

#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "support/catch.hpp"

#if ARMDB_WITH_OPENSSL

using namespace armdb;
using namespace armdb::format;

namespace {

using Buffer = std::vector<std::uint8_t>;

constexpr std::uint32_t kSeed = 0x12345678;
constexpr std::uint64_t kNumber = 9;
constexpr std::size_t kSealed = kSlotStateBytes + 4 + 6;  // keys of 4 bytes, values of 6
constexpr std::size_t kCopy = (kSealedSlotHeaderBytes + kSealed + 7) / 8 * 8;

Buffer run(std::uint8_t first, std::size_t count) {
  Buffer bytes(count);
  for (std::size_t at = 0; at < count; ++at) bytes[at] = static_cast<std::uint8_t>(first + at);
  return bytes;
}

// Sealed by nobody.
Buffer some_copy() {
  SealedSlot slot;
  slot.key_id = 3;
  slot.counter = 0x0102030405060708;
  for (std::size_t at = 0; at < 16; ++at) slot.session[at] = static_cast<std::uint8_t>(0x80 + at);
  Buffer out(kCopy, 0xee);
  encode_sealed_slot(slot, kSealed, out);
  std::memcpy(out.data() + 32, run(0x40, 16).data(), 16);
  std::memcpy(out.data() + 48, run(0x60, kSealed).data(), kSealed);
  finish_sealed_slot(kSeed, kNumber, out);
  return out;
}

SlotRead read(const Buffer& copy, SealedSlot& slot, std::uint64_t number = kNumber) {
  return decode_sealed_slot(copy, kSeed, number, kSealed, slot);
}
SlotRead read(const Buffer& copy) {
  SealedSlot slot;
  return read(copy, slot);
}

}  // namespace

TEST_CASE("sealed_slot: the bytes are those of the specification") {
  const Buffer copy = some_copy();
  REQUIRE(copy.size() == 80);
  Buffer expected(80);
  base::store_little<std::uint32_t>(&expected[4], 3);
  base::store_little<std::uint64_t>(&expected[8], 0x0102030405060708);
  for (std::size_t at = 0; at < 16; ++at) expected[16 + at] = static_cast<std::uint8_t>(0x80 + at);
  std::memcpy(&expected[32], run(0x40, 16).data(), 16);
  std::memcpy(&expected[48], run(0x60, kSealed).data(), kSealed);
  std::uint8_t number[8] = {9};
  base::store_little<std::uint32_t>(
      expected.data(), base::crc32c(base::crc32c(kSeed, Bytes(number)), Bytes(expected).sub(4)));
  CHECK(copy == expected);
  CHECK(sealed_slot_nonce(0x0102030405060708) == ByteArray<12>{0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8});
  const ByteArray<36> additional = sealed_slot_additional(copy, kNumber);
  CHECK(Bytes(additional).sub(0, 8) == Bytes(number));
  CHECK(Bytes(additional).sub(8) == Bytes(copy).sub(4, 28));
}

TEST_CASE("sealed_slot: it gives back what was written, and zeros are unused") {
  SealedSlot slot;
  const Buffer copy = some_copy();
  REQUIRE(read(copy, slot) == SlotRead::whole);
  CHECK(slot.key_id == 3);
  CHECK(slot.counter == 0x0102030405060708);
  CHECK(slot.session[15] == 0x8f);
  CHECK(slot.tag == Bytes(run(0x40, 16)));
  CHECK(slot.sealed == Bytes(run(0x60, kSealed)));
  CHECK(read(Buffer(kCopy)) == SlotRead::unused);
}

TEST_CASE("sealed_slot: a flipped bit, a cut and another slot's number are broken [pitfall-40]") {
  const Buffer copy = some_copy();
  for (std::size_t bit = 0; bit < copy.size() * 8; ++bit) {
    Buffer bytes = copy;
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    REQUIRE(read(bytes) == SlotRead::broken);
  }
  for (std::size_t size = 0; size < copy.size(); ++size) {
    REQUIRE(read(Buffer(copy.begin(), copy.begin() + static_cast<long>(size))) != SlotRead::whole);
  }
  SealedSlot slot;
  CHECK(read(copy, slot, kNumber + 1) == SlotRead::broken);
}

TEST_CASE("sealed_slot: fields that no writer produces are broken, even with a right crc") {
  const auto read_with = [](std::size_t at, std::size_t width, std::uint8_t value) {
    Buffer bytes = some_copy();
    std::memset(&bytes[at], value, width);
    finish_sealed_slot(kSeed, kNumber, bytes);
    return read(bytes);
  };
  CHECK(read_with(4, 4, 0) == SlotRead::broken);                                 // no key
  CHECK(read_with(8, 8, 0) == SlotRead::broken);                                 // no counter
  CHECK(read_with(kSealedSlotHeaderBytes + kSealed, 1, 1) == SlotRead::broken);  // padding
  CHECK(read_with(16, 16, 0) == SlotRead::whole);                                // any session
}

TEST_CASE("sealed_slot: what is sealed comes back, and nothing that cannot be") {
  const Buffer key = run(1, 4), value = run(9, 6);
  const Slot live{SlotState::live, 77, 5, Bytes(key), Bytes(value)};
  Buffer plain(kSealed, 0xee);
  encode_slot_plain(live, plain);
  Slot slot;
  REQUIRE(decode_slot_plain(plain, 4, slot));
  CHECK(slot.state == SlotState::live);
  CHECK(slot.version == 77);
  CHECK(slot.expiry_ms == 5);
  CHECK(slot.key == Bytes(key));
  CHECK(slot.value == Bytes(value));
  encode_slot_plain({SlotState::erased, 78, 0, Bytes(key), {}}, plain);
  REQUIRE(decode_slot_plain(plain, 4, slot));
  CHECK(slot.state == SlotState::erased);
  CHECK(slot.value.empty());
  const auto refused = [&](std::size_t at, std::uint8_t byte) {
    Buffer bytes = plain;
    bytes[at] = byte;
    return !decode_slot_plain(bytes, 4, slot);
  };
  CHECK(refused(0, 0));            // unused
  CHECK(refused(0, 3));            // no such state
  CHECK(refused(8, 0x80));         // a version of 2^63
  CHECK(refused(9, 1));            // erased with an expiry
  CHECK(refused(kSealed - 1, 1));  // erased with a value
  CHECK(!decode_slot_plain(Bytes(plain).sub(0, 20), 4, slot));
}

#endif  // ARMDB_WITH_OPENSSL

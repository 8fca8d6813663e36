// Copies of slots in an encrypted slots.dat. Without OpenSSL nothing reads them.
#include "format/sealed_slot.hpp"

#include "base/byte_reader.hpp"
#include "base/byte_writer.hpp"
#include "base/check.hpp"
#include "base/little.hpp"
#include "base/search.hpp"

#if ARMDB_WITH_OPENSSL

namespace armdb::format {

void encode_sealed_slot(const SealedSlot& slot, std::size_t sealed_bytes,
                        MutableBytes out) noexcept {
  ARMDB_ASSERT(out.size() >= kSealedSlotHeaderBytes + sealed_bytes);
  base::ByteWriter writer(out);
  writer.zeros(4);
  writer.little<std::uint32_t>(slot.key_id);
  writer.little<std::uint64_t>(slot.counter);
  writer.put(slot.session);
  const std::size_t used = kSealedSlotHeaderBytes + sealed_bytes;
  std::memset(out.data() + used, 0, out.size() - used);
}

void finish_sealed_slot(std::uint32_t seed, std::uint64_t number, MutableBytes out) noexcept {
  base::store_little<std::uint32_t>(out.data(), slot_crc(Bytes(out), seed, number));
}

SlotRead decode_sealed_slot(Bytes in, std::uint32_t seed, std::uint64_t number,
                            std::size_t sealed_bytes, SealedSlot& slot) noexcept {
  base::ByteReader reader(in);
  const auto crc_stored = reader.little<std::uint32_t>();
  SealedSlot read;
  read.key_id = reader.little<std::uint32_t>();
  read.counter = reader.little<std::uint64_t>();
  const Bytes session = reader.take(16);
  read.tag = reader.take(16);
  read.sealed = reader.take(sealed_bytes);
  if (reader.failed() || reader.remaining() >= 8 || in.size() % 8 != 0) return SlotRead::broken;
  if (read.key_id == 0 && base::all_zeros(in)) return SlotRead::unused;
  if (crc_stored != slot_crc(in, seed, number) || read.key_id == 0 || read.counter == 0 ||
      !base::all_zeros(reader.rest())) {
    return SlotRead::broken;
  }
  std::memcpy(read.session.data(), session.data(), session.size());
  slot = read;
  return SlotRead::whole;
}

ByteArray<36> sealed_slot_additional(Bytes copy, std::uint64_t number) noexcept {
  ByteArray<36> additional{};
  base::store_little<std::uint64_t>(additional.data(), number);
  std::memcpy(additional.data() + 8, copy.data() + 4, 28);
  return additional;
}

ByteArray<12> sealed_slot_nonce(std::uint64_t counter) noexcept {
  ByteArray<12> nonce{};
  base::store_big<std::uint64_t>(nonce.data() + 4, counter);
  return nonce;
}

void encode_slot_plain(const Slot& slot, MutableBytes out) noexcept {
  ARMDB_ASSERT(slot.version != 0 && slot.state != SlotState::unused);
  base::ByteWriter writer(out);
  writer.little<std::uint8_t>(static_cast<std::uint8_t>(slot.state));
  writer.little<std::uint64_t>(slot.version);
  writer.little<std::uint64_t>(slot.expiry_ms);
  writer.put(slot.key);
  writer.put(slot.value);
  writer.zeros(out.size() - writer.size());
}

bool decode_slot_plain(Bytes in, std::uint32_t key_size, Slot& slot) noexcept {
  base::ByteReader reader(in);
  const auto state = reader.little<std::uint8_t>();
  Slot read;
  read.version = reader.little<std::uint64_t>();
  read.expiry_ms = reader.little<std::uint64_t>();
  read.key = reader.take(key_size);
  read.value = reader.rest();
  if (reader.failed()) return false;
  return slot_possible(read, state) && (slot = read, true);
}

}  // namespace armdb::format

#endif  // ARMDB_WITH_OPENSSL

// Slots of encrypted collections: opened only where they were sealed, by nonces that never come
// twice, and nothing of them can be read on the disk.
#include "store/slot_sealer.hpp"

#include <set>

#include "support/nonce_ledger.hpp"
#include "support/one_shard.hpp"
#include "support/random.hpp"
#include "support/sealed_store.hpp"

#if ARMDB_WITH_OPENSSL

using namespace armdb;
using test::FaultFileSystem;
using test::SealedStore;

namespace {

format::SlotsHeader header_of(const SealedStore& store, std::uint32_t shard = 0) {
  format::SlotsHeader header;
  header.file.type = format::FileType::slots;
  header.file.store_id = store.description.store_id;
  header.file.shard = shard;
  header.file.sealing = 1;
  header.key_size = 4;
  header.value_size = 8;
  header.salt = 5;
  return header;
}

constexpr std::size_t kCopyBytes = (format::kSealedSlotBytes + 12 + 7) / 8 * 8;
using Copy = std::vector<std::uint8_t>;

Copy seal(store::SlotSealer& sealer, std::uint64_t number, std::uint64_t version) {
  Copy copy(kCopyBytes, 0xee);
  REQUIRE(
      sealer.seal({format::SlotState::live, version, 0, "key1", "value123"}, number, copy).ok());
  return copy;
}

format::SlotRead open(const store::SlotSealer& sealer, std::uint64_t number, const Copy& copy,
                      std::string* value = nullptr) {
  std::vector<std::uint8_t> room;
  format::Slot slot;
  Status status;
  const format::SlotRead read = sealer.open(copy, number, room, slot, status);
  INFO(status.message());
  REQUIRE(status.ok());
  if (read == format::SlotRead::whole && value != nullptr) *value = slot.value.text();
  return read;
}

// The crc of a copy made right for another place, as anybody can.
Copy with_crc(Copy copy, const format::SlotsHeader& header, std::uint64_t number) {
  format::finish_sealed_slot(format::slot_seed(header), number, copy);
  return copy;
}

}  // namespace

TEST_CASE("slot_sealer: a copy opens in its slot, its file and its store only [pitfall-46]") {
  SealedStore store, other(Cipher::aes_256_gcm, 2);
  store::SlotSealer sealer(*store.ring, header_of(store));
  const Copy copy = seal(sealer, 7, 1);
  std::string value;
  CHECK(open(sealer, 7, copy, &value) == format::SlotRead::whole);
  CHECK(value == "value123");
  // The next open has another session, and still knows this one.
  store::SlotSealer again(*store.ring, header_of(store));
  CHECK(open(again, 7, copy) == format::SlotRead::whole);
  CHECK(open(sealer, 8, copy) == format::SlotRead::broken);
  const std::uint64_t forged = store.ring->forged();
  CHECK(open(sealer, 8, with_crc(copy, header_of(store), 8)) == format::SlotRead::broken);
  CHECK(store.ring->forged() == forged + 1);
  store::SlotSealer shard(*store.ring, header_of(store, 1));
  CHECK(open(shard, 7, with_crc(copy, header_of(store, 1), 7)) == format::SlotRead::broken);
  store::SlotSealer elsewhere(*other.ring, header_of(other));
  CHECK(open(elsewhere, 7, with_crc(copy, header_of(other), 7)) == format::SlotRead::broken);
}

TEST_CASE("slot_sealer: any changed byte is forged, with a right checksum too") {
  SealedStore store(Cipher::chacha20_poly1305);
  format::SlotsHeader header = header_of(store);
  header.file.sealing = 2;
  store::SlotSealer sealer(*store.ring, header);
  const Copy copy = seal(sealer, 7, 1);
  const std::size_t used = format::kSealedSlotBytes + 12;
  for (std::size_t at = 4; at < used; ++at) {
    Copy bytes = copy;
    bytes[at] ^= 0x10;
    if (at < 8) continue;  // another data key: see below
    REQUIRE(open(sealer, 7, bytes) == format::SlotRead::broken);
    REQUIRE(open(sealer, 7, with_crc(bytes, header, 7)) == format::SlotRead::broken);
  }
  Copy bytes = copy;
  bytes[4] = 9;
  std::vector<std::uint8_t> room;
  format::Slot slot;
  Status status;
  CHECK(sealer.open(with_crc(bytes, header, 7), 7, room, slot, status) == format::SlotRead::broken);
  CHECK(status.is(Errc::wrong_key));
}

TEST_CASE("slot_sealer: no nonce comes twice, and nothing can be read [pitfall-45] [pitfall-51]") {
  const Shape shape{11, 9, true, Payload::value, true};
  const std::string value = "VALUEMARK";
  test::NonceLedger ledger;
  base::Random random(3);
  FaultFileSystem files;
  Config config = test::one_shard(files);
  config.encryption_key = ByteArray<32>{1, 2, 3};
  std::set<std::string> found;
  const auto look = [&] {
    for (const char* name : {"slots.dat", "MANIFEST"}) {
      const std::string path = test::in_shard(name);
      if (!test::exists(files, path)) continue;
      const std::string bytes = test::read_path(files, path);
      if (bytes.find("KEYMARK") != std::string::npos) found.insert(path);
      if (bytes.find("VALUE") != std::string::npos) found.insert(path);
    }
  };
  for (int opening = 0; opening < 12; ++opening) {
    Result<Collection> opened = Collection::open("/c", shape, config);
    INFO(opened.message());
    REQUIRE(opened.ok());
    for (int at = 0; at < 150; ++at) {
      const std::string key = "KEYMARK" + test::key_of(static_cast<int>(random.below(40)));
      Status status = random.one_in(5) ? opened->erase(key) : opened->put(key, value);
      if (random.one_in(30)) status = opened->sync();
      if (random.one_in(90)) status = opened->compact();
      if (random.one_in(150)) status = opened->reencrypt(ByteArray<32>{1, 2, 3});
      if (random.one_in(60)) files.fail(test::Call::write, 1, EIO);
      look();
    }
    files.clear_faults();
    if (opening % 3 == 0) static_cast<void>(opened->close());
    if (opening % 3 == 1) files.kill_process();
    if (opening % 3 == 2) files.power_cut_random(static_cast<std::uint64_t>(opening));
    look();
  }
  CHECK(ledger.seals() > 1000);
  CHECK(ledger.repeats() == 0);
  CHECK(found.empty());
}

#endif  // ARMDB_WITH_OPENSSL

// SlotSealer: seals and opens the copies of slots of an encrypted shard, format/sealed_slot.hpp.
//
// What it seals has a key of its own for each open, from a random session, and a counter: no nonce
// is used twice. Copies of earlier sessions are opened with theirs.
//
// Threads: seal() by the holder of the shard's lock; open() by any thread beside it.
#pragma once

#include <memory>
#include <vector>

#include "base/mutex.hpp"
#include "crypto/aead.hpp"
#include "format/sealed_slot.hpp"
#include "store/keyring.hpp"

namespace armdb::store {

#if ARMDB_WITH_OPENSSL

class SlotSealer {
 public:
  // For the slots.dat with this header.
  SlotSealer(const Keyring& keys, const format::SlotsHeader& header);

  // Fills `out`, a whole copy, with the slot.
  Status seal(const format::Slot& slot, std::uint64_t number, MutableBytes out);
  // Judges a copy; the spans of `slot` point into `room`.
  format::SlotRead open(Bytes copy, std::uint64_t number, std::vector<std::uint8_t>& room,
                        format::Slot& slot, Status& status) const;
  // The data key of the copies that are sealed from now on is the newest one again.
  void renew() noexcept { sealing_ = nullptr; }

 private:
  struct Session {
    std::uint32_t key_id = 0;
    ByteArray<16> id{};
    crypto::Aead aead;
  };
  Status derive(Session& session) const;
  std::shared_ptr<Session> find(const format::SealedSlot& slot, Status& status) const;
  [[nodiscard]] std::size_t plain_bytes() const noexcept {
    return format::kSlotStateBytes + header_.key_size + header_.value_size;
  }

  const Keyring& keys_;
  const format::SlotsHeader header_;
  const std::uint32_t seed_;
  std::vector<std::uint8_t> identity_;  // of the file, for its keys
  std::shared_ptr<Session> sealing_;    // of what this open seals; null before the first
  std::uint64_t counter_ = 0;
  std::vector<std::uint8_t> plain_;
  mutable base::Mutex mutex_;
  // Those that were met last.
  mutable std::vector<std::shared_ptr<Session>> sessions_ ARMDB_GUARDED_BY(mutex_);
  mutable std::size_t next_ ARMDB_GUARDED_BY(mutex_) = 0;
};

#else

// There never is one.
class SlotSealer {
 public:
  SlotSealer(const Keyring&, const format::SlotsHeader&) {}
  Status seal(const format::Slot&, std::uint64_t, MutableBytes) { return {}; }
  format::SlotRead open(Bytes, std::uint64_t, std::vector<std::uint8_t>&, format::Slot&,
                        Status&) const {
    return format::SlotRead::broken;
  }
  void renew() noexcept {}
};

#endif

}  // namespace armdb::store

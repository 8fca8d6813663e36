// Sealing and opening copies of slots.
#include "store/slot_sealer.hpp"

#include <new>

#include "base/errors.hpp"
#include "os/entropy.hpp"

#if ARMDB_WITH_OPENSSL

namespace armdb::store {

namespace {

// Sessions whose keys are kept; beyond that the one that came first is derived again.
constexpr std::size_t kSessionsKept = 64;

}  // namespace

SlotSealer::SlotSealer(const Keyring& keys, const format::SlotsHeader& header)
    : keys_(keys), header_(header), seed_(format::slot_seed(header)), plain_(plain_bytes()) {
  std::uint8_t bytes[format::kSlotsHeaderBytes];
  format::encode_slots_header(header, bytes);
  identity_.assign(bytes, bytes + 36);
  identity_.insert(identity_.end(), bytes + 40, bytes + 64);
}

Status SlotSealer::derive(Session& session) const {
  return keys_.derive(session.key_id, session.id, "armdb v1 slots", identity_, session.aead);
}

Status SlotSealer::seal(const format::Slot& slot, std::uint64_t number, MutableBytes out) {
  if (sealing_ == nullptr) {
    auto fresh = std::make_shared<Session>();
    fresh->key_id = keys_.newest_id();
    Status status = os::random_bytes(fresh->id);
    if (status.ok()) status = derive(*fresh);
    if (!status.ok()) return status;
    sealing_ = std::move(fresh);
    counter_ = 0;
  }
  format::SealedSlot sealed;
  sealed.key_id = sealing_->key_id;
  sealed.session = sealing_->id;
  sealed.counter = ++counter_;
  format::encode_sealed_slot(sealed, plain_.size(), out);
  format::encode_slot_plain(slot, plain_);
  std::uint8_t* const to = out.data() + format::kSealedSlotHeaderBytes;
  Status status = sealing_->aead.seal(format::sealed_slot_nonce(counter_),
                                      format::sealed_slot_additional(Bytes(out), number), plain_,
                                      to, to - crypto::kTagBytes);
  if (status.ok()) format::finish_sealed_slot(seed_, number, out);
  return status;
}

std::shared_ptr<SlotSealer::Session> SlotSealer::find(const format::SealedSlot& slot,
                                                      Status& status) const {
  const base::MutexLock lock(mutex_);
  for (const std::shared_ptr<Session>& session : sessions_) {
    if (session->key_id == slot.key_id && session->id == slot.session) return session;
  }
  auto session = std::make_shared<Session>();
  session->key_id = slot.key_id;
  session->id = slot.session;
  status = derive(*session);
  if (!status.ok()) return nullptr;
  if (sessions_.size() < kSessionsKept) {
    sessions_.push_back(session);
  } else {
    sessions_[next_] = session;
    next_ = (next_ + 1) % kSessionsKept;
  }
  return session;
}

format::SlotRead SlotSealer::open(Bytes copy, std::uint64_t number, std::vector<std::uint8_t>& room,
                                  format::Slot& slot, Status& status) const {
  format::SealedSlot sealed;
  const format::SlotRead read =
      format::decode_sealed_slot(copy, seed_, number, plain_bytes(), sealed);
  if (read != format::SlotRead::whole) return read;
  const std::shared_ptr<Session> session = find(sealed, status);
  if (session == nullptr) return format::SlotRead::broken;
  room.resize(plain_bytes());
  switch (session->aead.open(format::sealed_slot_nonce(sealed.counter),
                             format::sealed_slot_additional(copy, number), sealed.sealed,
                             sealed.tag, room.data())) {
    case crypto::OpenOutcome::ok:
      if (format::decode_slot_plain(room, header_.key_size, slot)) return format::SlotRead::whole;
      return format::SlotRead::broken;
    case crypto::OpenOutcome::forged:
      keys_.note_forged();
      return format::SlotRead::broken;
    case crypto::OpenOutcome::failed:
      break;
  }
  status = base::out_of_memory("no memory to decrypt a slot");
  return format::SlotRead::broken;
}

}  // namespace armdb::store

#endif  // ARMDB_WITH_OPENSSL

// Slots that are written once more as they are: sealed by another key, or in another file.
#include <algorithm>

#include "base/errors.hpp"
#include "base/search.hpp"
#include "store/slot_store.hpp"

namespace armdb::store {

#if ARMDB_WITH_OPENSSL

// As a write of the same version: to the copy that does not hold the last durable state. So two
// rounds with a sync behind each renew both copies, and a power cut finds one of them whole.
Status SlotStore::renew(std::uint64_t& number, std::uint64_t most) {
  if (!failed_.ok()) return failed_;
  finish_all();
  std::vector<std::uint8_t> copy;
  const std::uint64_t end = std::min(slot_count(), number + most);
  for (; number < end; ++number) {
    format::Slot slot;
    Status status = read_newest(number, copy, slot);
    if (status.is(Errc::corrupt)) {
      status = refuse_damaged(number);
      if (status.ok()) continue;
    }
    if (status.ok()) status = write_version(number, slot);
    if (!status.ok()) return status;
    rewritten_ = true;
  }
  return {};
}

// What is left of a damaged slot needs its key; nothing does of one that was never used.
Status SlotStore::refuse_damaged(std::uint64_t number) const {
  std::vector<std::uint8_t> copy(layout_.slot_bytes());
  for (std::uint32_t at = 0; at < layout_.copies(); ++at) {
    const std::uint64_t offset = layout_.offset(number, at);
    Status status = read_bytes(offset, copy);
    if (!status.ok()) return status;
    if (base::all_zeros(Bytes(copy))) continue;
    return base::corrupt("a damaged slot cannot be sealed anew; dump and load what is whole")
        .at(path_, offset);
  }
  return {};
}

Status SlotStore::wipe_stage() {
  if (!failed_.ok()) return failed_;
  rewritten_ = true;
  Status status = clear_stage();
  return status.ok() ? status : poison(status);
}

#endif  // ARMDB_WITH_OPENSSL

Status SlotStore::adopt(const RecoveredEntry& entry) {
  std::uint64_t number = 0;
  Status status = take_free(number);
  if (status.ok()) {
    status = write_version(
        number, {format::SlotState::live, entry.sequence, entry.expiry_ms, entry.key, entry.value});
  }
  if (status.ok()) ++live_;
  return std::move(status).at(path_);
}

}  // namespace armdb::store

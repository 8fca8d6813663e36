// Slots whose states go to followers, or come from a leader.
#include <algorithm>

#include "base/errors.hpp"
#include "store/slot_store.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::store {

// A place has the low half of the version: the latest one that ends like this. Who takes it for
// later than it is tells a state that need not have been told.
std::uint64_t SlotStore::version_of(base::Location at) const noexcept {
  constexpr std::uint64_t kLow = 0xffffffff;
  const std::uint64_t low = at.packed() >> 32;
  std::uint64_t version = (last_sequence_ & ~kLow) | low;
  if (version > last_sequence_ && version > kLow) version -= kLow + 1;
  return version;
}

void SlotStore::raise(std::uint64_t version) noexcept {
  if (version <= last_sequence_) return;
  const bool durable = durable_sequence() == last_sequence_;
  last_sequence_ = version;
  if (durable) durable_sequence_.store(version, std::memory_order_release);
}

Status SlotStore::clear_damaged() {
  if (!failed_.ok()) return failed_;
  for (const std::uint64_t number : damaged_) {
    Status status;
    for (std::uint32_t copy = 0; status.ok() && copy < layout_.copies(); ++copy) {
      status = write_zeros(layout_.offset(number, copy), layout_.slot_bytes());
    }
    if (!status.ok()) return poison(status);
    give_free(number);
    rewritten_ = true;
  }
  damaged_.clear();
  return {};
}

std::string SlotStore::aside_path(FileSystem& files) const {
  for (std::uint32_t id = 1;; ++id) {
    std::string path = context_.path_of(format::FileRole::aside, id);
    // What cannot be looked at cannot be written either.
    if (id == base::Location::kFileIdMax || !files.info(path).ok()) return path;
  }
}

Status SlotStore::read_raw(std::uint64_t offset, std::vector<std::uint8_t>& bytes) {
  if (!failed_.ok()) return failed_;
  finish_all();
  bytes.resize(static_cast<std::size_t>(
      std::min<std::uint64_t>(bytes.size(), offset < file_bytes_ ? file_bytes_ - offset : 0)));
  return read_bytes(offset, bytes);
}

}  // namespace armdb::store

#endif  // !ARMDB_OMIT_REPLICATION

// The buffer written to the segment while writers go on; see LogStore::Prewrite.
#include <utility>

#include "store/log_store.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::store {

bool LogStore::begin_prewrite(Prewrite& part) {
  // What is less takes no longer than the locks.
  const std::size_t least = tail_.capacity() / 16;
  const bool possible = failed_.ok() && active_ != nullptr && context_.keys == nullptr;
  if (!possible || tail_.used() < least || !prewrite_mutex_.try_lock()) return false;
  const std::size_t size = tail_.used() - prewritten_;
  // After a disk was full the buffer may reach beyond the blocks that the file has: allocating them
  // must not meet what was written there.
  const bool room = active_->length + tail_.used() <= active_->allocated;
  if (size < least || !room || !prewrite_error_.ok()) {
    prewrite_mutex_.unlock();
    return false;
  }
  part.segment = active_;
  part.offset = active_->length + prewritten_;
  part.bytes = tail_.contents().sub(prewritten_, size);
  return true;
}

// The bytes stay as they are until the buffer is begun anew, which is behind a flush.
void LogStore::end_prewrite(const Prewrite& part) {
  Status status = part.segment->file->write_at(part.offset, part.bytes);
  if (status.ok()) {
    prewritten_ += part.bytes.size();
  } else if (!status.is(Errc::no_space)) {
    prewrite_error_ = std::move(status);  // without space, all is as it was: the flush tries again
  }
  prewrite_mutex_.unlock();
}

Status LogStore::skip_prewritten(Bytes& image, std::uint64_t& offset) {
  const base::MutexLock wait(prewrite_mutex_);
  image = image.sub(prewritten_, image.size() - prewritten_);
  offset += prewritten_;
  prewritten_ = 0;
  return std::exchange(prewrite_error_, {});
}

}  // namespace armdb::store

#endif  // !ARMDB_OMIT_REPLICATION

// The last changes of a slot store, in chunks of memory.
#include "store/slot_changes.hpp"

#include <algorithm>
#include <cstring>
#include <new>

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::store {

namespace {

constexpr std::size_t kChangeChunkBytes = std::size_t{16} << 10;
constexpr std::size_t kChangeChunksMin = 2;

}  // namespace

SlotChanges::SlotChanges(std::uint32_t key_size, std::uint64_t now, std::uint64_t bytes_max)
    : entry_bytes_(sizeof(std::uint64_t) + key_size),
      chunk_entries_(kChangeChunkBytes / entry_bytes_),
      forgotten_(now) {
  set_limit(bytes_max);
}

void SlotChanges::set_limit(std::uint64_t bytes_max) noexcept {
  constexpr std::uint64_t kAll = std::uint64_t{1} << 20;
  const auto chunks = static_cast<std::size_t>(std::min(bytes_max / kChangeChunkBytes, kAll));
  chunks_max_ = std::max(chunks, kChangeChunksMin);
  while (chunks_.size() > chunks_max_) forget_chunk();
}

std::uint64_t SlotChanges::version_at(const Chunk& chunk, std::size_t at) const noexcept {
  std::uint64_t version;
  std::memcpy(&version, chunk.entries.get() + at * entry_bytes_, sizeof version);
  return version;
}

void SlotChanges::forget_chunk() noexcept {
  forgotten_ = version_at(chunks_.front(), chunks_.front().count - 1);
  chunks_.erase(chunks_.begin());
}

// Without memory for what is new nothing before it counts any more.
bool SlotChanges::make_room(std::uint64_t version) noexcept {
  if (!chunks_.empty() && chunks_.back().count < chunk_entries_) return true;
  Chunk next;
  if (chunks_.size() < chunks_max_) {
    next.entries.reset(new (std::nothrow) std::uint8_t[chunk_entries_ * entry_bytes_]);
  }
  if (next.entries == nullptr && !chunks_.empty()) {
    forgotten_ = version_at(chunks_.front(), chunks_.front().count - 1);
    next.entries = std::move(chunks_.front().entries);
    chunks_.erase(chunks_.begin());
  }
  if (next.entries == nullptr) {
    forgotten_ = version;
    return false;
  }
  chunks_.push_back(std::move(next));
  return true;
}

void SlotChanges::add(std::uint64_t version, Bytes key) noexcept {
  if (!make_room(version)) return;
  Chunk& chunk = chunks_.back();
  std::uint8_t* const entry = chunk.entries.get() + chunk.count * entry_bytes_;
  std::memcpy(entry, &version, sizeof version);
  std::memcpy(entry + sizeof version, key.data(), key.size());
  ++chunk.count;
}

void SlotChanges::each_after(
    std::uint64_t version,
    FunctionRef<bool(std::uint64_t version, const std::uint8_t* key)> visit) const {
  auto chunk = std::partition_point(chunks_.begin(), chunks_.end(), [&](const Chunk& one) {
    return version_at(one, one.count - 1) <= version;
  });
  if (chunk == chunks_.end()) return;
  std::size_t low = 0;
  for (std::size_t high = chunk->count; low < high;) {
    const std::size_t middle = (low + high) / 2;
    if (version_at(*chunk, middle) <= version) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  for (; chunk != chunks_.end(); ++chunk, low = 0) {
    for (; low < chunk->count; ++low) {
      const std::uint8_t* const entry = chunk->entries.get() + low * entry_bytes_;
      if (!visit(version_at(*chunk, low), entry + sizeof version)) return;
    }
  }
}

}  // namespace armdb::store

#endif  // !ARMDB_OMIT_REPLICATION

// The block cache: lookup, clock eviction, and reads that fill it.
#include "store/block_cache.hpp"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/errors.hpp"

namespace armdb::store {

BlockCache::BlockCache(std::uint64_t bytes) {
  // All of it must be addressable, on 32-bit machines too.
  constexpr std::uint64_t kBytesMax = static_cast<std::size_t>(-1) / 4;
  const auto sets = static_cast<std::size_t>(std::min(bytes, kBytesMax) / (kBlockBytes * kWays));
  if (sets == 0) return;
  slots_.reset(new (std::nothrow) Slot[sets * kWays]);
  blocks_.reset(new (std::nothrow) std::uint8_t[sets * kWays * kBlockBytes]);
  hands_.reset(new (std::nothrow) std::uint8_t[sets]());
  // Without memory there is no cache; reads still work.
  if (slots_ != nullptr && blocks_ != nullptr && hands_ != nullptr) sets_ = sets;
}

std::size_t BlockCache::set_of(std::uint64_t tag) const noexcept {
  return static_cast<std::size_t>((tag * 0x9e3779b97f4a7c15u) >> 20) % sets_;
}

bool BlockCache::look_up(std::uint64_t tag, std::size_t skip, MutableBytes out) {
  const base::MutexLock lock(mutex_);
  const std::size_t first = set_of(tag) * kWays;
  for (std::size_t at = first; at < first + kWays; ++at) {
    if (slots_[at].tag != tag) continue;
    slots_[at].used = true;
    std::memcpy(out.data(), blocks_.get() + at * kBlockBytes + skip, out.size());
    ++hits_;
    return true;
  }
  ++misses_;
  return false;
}

void BlockCache::insert(std::uint64_t tag, const std::uint8_t* block) {
  const base::MutexLock lock(mutex_);
  const std::size_t set = set_of(tag);
  for (std::size_t way = 0; way < kWays; ++way) {
    if (slots_[set * kWays + way].tag == tag) return;
  }
  std::size_t at = set * kWays + hands_[set];
  for (std::size_t tries = 0; slots_[at].used && tries < kWays; ++tries) {
    slots_[at].used = false;
    hands_[set] = static_cast<std::uint8_t>((hands_[set] + 1) % kWays);
    at = set * kWays + hands_[set];
  }
  hands_[set] = static_cast<std::uint8_t>((hands_[set] + 1) % kWays);
  slots_[at].tag = tag;
  slots_[at].used = false;
  std::memcpy(blocks_.get() + at * kBlockBytes, block, kBlockBytes);
}

Status BlockCache::read(std::uint32_t file_id, File& file, std::uint64_t offset,
                        std::uint64_t readable, MutableBytes out) {
  // Long reads would push everything else out.
  const bool cached = sets_ != 0 && out.size() <= 8 * kBlockBytes;
  std::uint8_t block[kBlockBytes];
  while (!out.empty()) {
    const std::uint64_t number = offset / kBlockBytes;
    const auto skip = static_cast<std::size_t>(offset % kBlockBytes);
    const std::size_t take = cached ? std::min(out.size(), kBlockBytes - skip) : out.size();
    const bool whole = cached && (number + 1) * kBlockBytes <= readable;
    const std::uint64_t tag = (static_cast<std::uint64_t>(file_id) << 40) | number;
    if (!whole || !look_up(tag, skip, out.first(take))) {
      const MutableBytes into = whole ? MutableBytes(block) : out.first(take);
      const Result<std::size_t> got = file.read_at(whole ? offset - skip : offset, into);
      if (!got.ok()) return got.status();
      if (*got < into.size()) {
        return base::corrupt("a segment ends before an entry that was in it; run verify");
      }
      if (whole) {
        insert(tag, block);
        std::memcpy(out.data(), block + skip, take);
      }
    }
    out = out.subspan(take);
    offset += take;
  }
  return {};
}

std::uint64_t BlockCache::memory_bytes() const noexcept {
  return static_cast<std::uint64_t>(sets_) * kWays * (kBlockBytes + sizeof(Slot));
}

std::uint64_t BlockCache::hits() const noexcept {
  const base::MutexLock lock(mutex_);
  return hits_;
}

std::uint64_t BlockCache::misses() const noexcept {
  const base::MutexLock lock(mutex_);
  return misses_;
}

}  // namespace armdb::store

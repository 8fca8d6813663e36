// The model of the crash simulator: histories of writes and their hashes.
#include "support/crash_model.hpp"

#include <algorithm>

#include "base/hash64.hpp"
#include "base/little.hpp"

namespace armdb::test {

std::array<std::uint8_t, kCrashKeyBytes> crash_key(std::size_t number) {
  std::array<std::uint8_t, kCrashKeyBytes> key{'k', 'e', 'y'};
  key[5] = static_cast<std::uint8_t>(number * 37);
  key[7] = static_cast<std::uint8_t>(number);
  return key;
}

std::size_t crash_key_number(Bytes key) {
  if (key.size() != kCrashKeyBytes || key[7] >= kCrashKeys) return kCrashKeys;
  return key == Bytes(crash_key(key[7])) ? key[7] : kCrashKeys;
}

std::uint64_t crash_value_hash(Bytes value, std::uint64_t expiry_ms) {
  static constexpr std::uint8_t kNothing = 0;
  const std::uint8_t* const from = value.empty() ? &kNothing : value.data();
  return base::hash64(from, value.size(), 77 + expiry_ms) | 1;
}

std::uint64_t CrashModel::contribution(std::size_t key, std::uint64_t value_hash) {
  if (value_hash == 0) return 0;
  return base::fold_multiply(value_hash ^ 0x9e3779b97f4a7c15u, (key + 1) * 0xbf58476d1ce4e5b9u);
}

void CrashModel::begin(std::array<std::size_t, kCrashKeys> shard_of, std::size_t shards) {
  shard_of_ = shard_of;
  shards_.assign(shards, {});
  joints_.clear();
  values_ = {};
  hashes_ = {};
  any_expired_ = false;
}

std::size_t CrashModel::key_of(std::size_t shard) const noexcept {
  const auto found = std::find(shard_of_.begin(), shard_of_.end(), shard);
  return static_cast<std::size_t>(found - shard_of_.begin());
}

void CrashModel::start(const CrashWrite& started) {
  Shard& shard = shards_[shard_of_[started.key]];
  Write write{started, shard.writes.empty() ? 0 : shard.writes.back().hash_after};
  const std::uint64_t hash = write.visible() ? crash_value_hash(*write.value, write.expiry_ms) : 0;
  write.hash_after += contribution(write.key, hash) - contribution(write.key, hashes_[write.key]);
  if (shard.sequence_known) write.sequence = ++shard.sequence_last;
  shard.written = true;
  any_expired_ = any_expired_ || (write.value && !write.visible());
  hashes_[write.key] = hash;
  values_[write.key] = write.visible() ? write.value : std::nullopt;
  shard.writes.push_back(std::move(write));
}

void CrashModel::start_batch(std::span<const CrashWrite> writes) {
  std::vector<Part> parts;
  for (std::size_t at = 0; at < shards_.size(); ++at) {
    parts.push_back({at, shards_[at].writes.size(), 0});
  }
  for (const CrashWrite& write : writes) {
    start(write);
    shards_[shard_of_[write.key]].writes.back().open = true;
  }
  for (Part& part : parts) {
    std::vector<Write>& all = shards_[part.shard].writes;
    part.to = all.size();
    if (part.to != part.from) all.back().open = false;
  }
  std::erase_if(parts, [](const Part& part) { return part.from == part.to; });
  if (parts.size() > 1) joints_.push_back(std::move(parts));
}

void CrashModel::complete() {
  for (Shard& shard : shards_) shard.completed = shard.writes.size();
}

void CrashModel::synced(std::size_t at, std::uint64_t sequence) {
  Shard& shard = shards_[at];
  for (std::size_t n = shard.writes.size(); n != 0 && shard.writes[n - 1].sequence == 0; --n) {
    shard.writes[n - 1].sequence = sequence;
  }
  // Before the first write after opening the next sequence may lie behind a gap.
  if (!shard.sequence_known && sequence != 0 && shard.written) {
    shard.sequence_known = true;
    shard.sequence_last = sequence;
  }
  shard.durable = shard.completed;
  shard.exposed = std::max(shard.exposed, sequence);
}

void CrashModel::durable_sequence(std::size_t at, std::uint64_t sequence) {
  Shard& shard = shards_[at];
  shard.durable = std::max(shard.durable, std::min(writes_up_to(at, sequence), shard.completed));
  shard.exposed = std::max(shard.exposed, sequence);
}

std::size_t CrashModel::writes_up_to(std::size_t at, std::uint64_t sequence) const {
  const std::vector<Write>& writes = shards_[at].writes;
  std::size_t count = 0;
  while (count < writes.size() && writes[count].sequence != 0 &&
         writes[count].sequence <= sequence) {
    ++count;
  }
  return count;
}

void CrashModel::swept() {
  if (!any_expired_) return;
  for (Shard& shard : shards_) shard.sequence_known = shard.written = false;
}

CrashMark CrashModel::mark(std::size_t at) const noexcept {
  const Shard& shard = shards_[at];
  return {shard.durable, shard.completed, shard.writes.size(), shard.exposed};
}

std::optional<std::size_t> CrashModel::find(std::size_t at, const CrashContents& contents,
                                            std::size_t from, std::size_t to) const {
  std::uint64_t sum = 0;
  for (std::size_t key = 0; key < kCrashKeys; ++key) {
    if (shard_of_[key] == at) sum += contribution(key, contents[key]);
  }
  const std::vector<Write>& writes = shards_[at].writes;
  for (std::size_t j = std::min(to, writes.size()) + 1; j-- > from;) {
    if (j != 0 && writes[j - 1].open) continue;
    if ((j == 0 ? 0 : writes[j - 1].hash_after) == sum) return j;
  }
  return std::nullopt;
}

// Where one shard lacks a batch, the others have to do without it too: down from the largest
// numbers until all agree. Two solutions have a common one above them, so none is missed.
std::optional<std::vector<std::size_t>> CrashModel::find_all(const CrashContents& contents,
                                                             std::span<const Range> ranges) const {
  std::vector<std::size_t> j;
  for (std::size_t at = 0; at < shards_.size(); ++at) {
    const auto found = find(at, contents, ranges[at].from, ranges[at].to);
    if (!found) return std::nullopt;
    j.push_back(*found);
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (const std::vector<Part>& parts : joints_) {
      const auto has = [&](const Part& part) { return j[part.shard] >= part.to; };
      if (std::all_of(parts.begin(), parts.end(), has)) continue;
      for (const Part& part : parts) {
        if (!has(part)) continue;
        const auto lower = find(part.shard, contents, ranges[part.shard].from, part.from);
        if (!lower) return std::nullopt;
        j[part.shard] = *lower;
        changed = true;
      }
    }
  }
  return j;
}

void CrashModel::cut(std::size_t at, std::size_t j) {
  Shard& shard = shards_[at];
  shard.writes.resize(j);
  shard.completed = j;
  shard.durable = std::min(shard.durable, j);
  shard.sequence_known = false;
  shard.written = false;
  std::erase_if(joints_, [&](const std::vector<Part>& parts) {
    return std::any_of(parts.begin(), parts.end(),
                       [&](const Part& part) { return part.shard == at && part.to > j; });
  });
  for (std::size_t key = 0; key < kCrashKeys; ++key) {
    if (shard_of_[key] != at) continue;
    values_[key].reset();
    hashes_[key] = 0;
  }
  for (const Write& write : shard.writes) {
    const bool visible = write.visible();
    values_[write.key] = visible ? write.value : std::nullopt;
    hashes_[write.key] = visible ? crash_value_hash(*write.value, write.expiry_ms) : 0;
  }
}

}  // namespace armdb::test

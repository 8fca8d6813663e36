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

std::uint64_t crash_value_hash(Bytes value) {
  static constexpr std::uint8_t kNothing = 0;
  const std::uint8_t* const from = value.empty() ? &kNothing : value.data();
  return base::hash64(from, value.size(), 77) | 1;
}

std::uint64_t CrashModel::contribution(std::size_t key, std::uint64_t value_hash) {
  if (value_hash == 0) return 0;
  return base::fold_multiply(value_hash ^ 0x9e3779b97f4a7c15u, (key + 1) * 0xbf58476d1ce4e5b9u);
}

void CrashModel::begin(std::array<std::size_t, kCrashKeys> shard_of, std::size_t shards) {
  shard_of_ = shard_of;
  shards_.assign(shards, {});
  values_ = {};
}

std::size_t CrashModel::key_of(std::size_t shard) const noexcept {
  const auto found = std::find(shard_of_.begin(), shard_of_.end(), shard);
  return static_cast<std::size_t>(found - shard_of_.begin());
}

void CrashModel::start(std::size_t key, const std::optional<std::string>& value) {
  Shard& shard = shards_[shard_of_[key]];
  const auto hash = [&](const std::optional<std::string>& of) {
    return contribution(key, of ? crash_value_hash(*of) : 0);
  };
  Write write{key, value, shard.writes.empty() ? 0 : shard.writes.back().hash_after, 0};
  write.hash_after += hash(value) - hash(values_[key]);
  if (shard.sequence_known) write.sequence = ++shard.sequence_last;
  shard.written = true;
  values_[key] = value;
  shard.writes.push_back(std::move(write));
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
  for (std::size_t j = to + 1; j-- > from;) {
    if ((j == 0 ? 0 : writes[j - 1].hash_after) == sum) return j;
  }
  return std::nullopt;
}

void CrashModel::cut(std::size_t at, std::size_t j) {
  Shard& shard = shards_[at];
  shard.writes.resize(j);
  shard.completed = j;
  shard.durable = std::min(shard.durable, j);
  shard.sequence_known = false;
  shard.written = false;
  for (std::size_t key = 0; key < kCrashKeys; ++key) {
    if (shard_of_[key] == at) values_[key].reset();
  }
  for (const Write& write : shard.writes) values_[write.key] = write.value;
}

}  // namespace armdb::test

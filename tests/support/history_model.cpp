#include "support/history_model.hpp"

#include <algorithm>

namespace armdb::test {

HistoryModel::HistoryModel(std::size_t shards) : trees_(shards) {
  for (std::size_t shard = 0; shard < shards; ++shard) {
    auto root = std::make_unique<SimEntry>();
    root->counted = root->durable = true;
    root->content.resize(kSimKeys);
    roots_.push_back(keep(shard, std::move(root)));
  }
}

std::uint64_t HistoryModel::hash(const SimContent& content) {
  std::uint64_t sum = 0;
  for (const std::uint64_t number : content) sum = (sum ^ number) * 0x9e3779b97f4a7c15u + 7;
  return sum;
}

SimEntry* HistoryModel::keep(std::size_t shard, std::unique_ptr<SimEntry> entry) {
  SimEntry* const kept = entry.get();
  trees_[shard].by_content.emplace(hash(kept->content), kept);
  trees_[shard].entries.push_back(std::move(entry));
  return kept;
}

SimEntry* HistoryModel::add(std::size_t shard, SimEntry* parent,
                            const std::vector<SimChange>& changes, std::uint64_t joint) {
  auto entry = std::make_unique<SimEntry>();
  entry->parent = parent;
  entry->depth = parent->depth + 1;
  entry->content = parent->content;
  for (const SimChange& change : changes) entry->content[change.key] = change.number;
  entry->joints = parent->joints;
  if (joint != 0) entry->joints.push_back(joint);
  return keep(shard, std::move(entry));
}

std::vector<SimEntry*> HistoryModel::find(std::size_t shard, const SimContent& content) const {
  std::vector<SimEntry*> found;
  const auto [first, last] = trees_[shard].by_content.equal_range(hash(content));
  for (auto at = first; at != last; ++at) {
    if (at->second->content == content) found.push_back(at->second);
  }
  // The order of a hash table is nobody's seed.
  std::sort(found.begin(), found.end(), [](const SimEntry* a, const SimEntry* b) {
    return a->depth != b->depth ? a->depth > b->depth : a->last > b->last;
  });
  return found;
}

std::vector<SimEntry*> HistoryModel::find(std::size_t shard, const SimContent& content,
                                          std::uint64_t last) const {
  std::vector<SimEntry*> found = find(shard, content);
  std::erase_if(found, [&](const SimEntry* entry) {
    return entry->counted && entry->last != last &&
           std::find(entry->gaps.begin(), entry->gaps.end(), last) == entry->gaps.end();
  });
  // One whose sequence is known before those that may never have been: writes that failed.
  std::stable_partition(found.begin(), found.end(),
                        [](const SimEntry* entry) { return entry->counted; });
  return found;
}

bool HistoryModel::leads_to(const SimEntry* above, const SimEntry* entry) {
  while (entry->depth > above->depth) entry = entry->parent;
  return entry == above;
}

SimEntry* HistoryModel::up_to(SimEntry* entry, std::uint64_t sequence) {
  while (!entry->counted || entry->last > sequence) entry = const_cast<SimEntry*>(entry->parent);
  return entry;
}

std::uint64_t HistoryModel::torn(const std::vector<SimEntry*>& states) const {
  constexpr std::size_t kLast = 4;  // of each shard: a part that is missing is at the end
  for (const SimEntry* state : states) {
    const std::size_t count = std::min(kLast, state->joints.size());
    for (std::size_t at = state->joints.size() - count; at < state->joints.size(); ++at) {
      const std::uint64_t joint = state->joints[at];
      // What was written over is nowhere to be seen: compaction may have dropped all that stood
      // before the first segment, and then it is shipped to nobody.
      const SimContent& there_is = state->content;
      if (std::find(there_is.begin(), there_is.end(), joint) == there_is.end()) continue;
      for (const std::size_t other : joints_.at(joint)) {
        const std::vector<std::uint64_t>& there = states[other]->joints;
        if (!std::binary_search(there.begin(), there.end(), joint)) return joint;
      }
    }
  }
  return 0;
}

const SimEntry* HistoryModel::writer(const SimEntry* entry, std::size_t key) {
  const std::uint64_t number = entry->content[key];
  while (entry->parent != nullptr && entry->parent->content[key] == number) entry = entry->parent;
  return entry;
}

}  // namespace armdb::test

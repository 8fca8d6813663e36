// The model's state, and the search for a history that explains what a power cut left.
#include "support/model_state.hpp"

#include <algorithm>
#include <cstring>

namespace armdb::test {

namespace {

bool inside(ModelKey key, const Bound<ModelKey>& first, const Bound<ModelKey>& last) {
  if (first.kind == BoundKind::inclusive && key < first.key) return false;
  if (first.kind == BoundKind::exclusive && key <= first.key) return false;
  if (last.kind == BoundKind::inclusive && key > last.key) return false;
  if (last.kind == BoundKind::exclusive && key >= last.key) return false;
  return true;
}

bool starts_with(ModelKey key, const std::string& prefix) {
  std::uint8_t encoded[sizeof key];
  key_traits<ModelKey>::encode(key, encoded);
  return prefix.size() <= sizeof key && std::memcmp(encoded, prefix.data(), prefix.size()) == 0;
}

std::size_t differs(const ModelMap& a, const ModelMap& b, ModelKey key) {
  const auto in_a = a.find(key);
  const auto in_b = b.find(key);
  if (in_a == a.end() || in_b == b.end()) return (in_a == a.end()) != (in_b == b.end()) ? 1 : 0;
  return same_entry(in_a->second, in_b->second) ? 0 : 1;
}

std::size_t differences(const ModelMap& a, const ModelMap& b) {
  std::size_t count = 0;
  for (const auto& [key, entry] : a) count += differs(a, b, key);
  for (const auto& [key, entry] : b) count += a.contains(key) ? 0 : 1;
  return count;
}

}  // namespace

Entries expected_walk(const ModelMap& model, const Walk& how, bool reversed) {
  Entries entries;
  for (const auto& [key, entry] : model) {
    bool in = true;
    if (how.over == Walk::Over::prefix) in = starts_with(key, how.prefix);
    if (how.over == Walk::Over::range) in = key >= how.first.key && key < how.last.key;
    if (how.over == Walk::Over::bounds) in = inside(key, how.first, how.last);
    if (in) entries.emplace_back(key, how.keys_only ? "" : entry.value);
  }
  if (reversed != (how.flipped != how.backwards)) std::reverse(entries.begin(), entries.end());
  return entries;
}

bool same_entry(const ModelEntry& a, const ModelEntry& b) {
  // Times to live are whole hours; a call takes less than a minute.
  constexpr std::uint64_t kMinuteMs = 60000;
  if ((a.expires_at == 0) != (b.expires_at == 0)) return false;
  const std::uint64_t later = std::max(a.expires_at, b.expires_at);
  return a.value == b.value && later - std::min(a.expires_at, b.expires_at) < kMinuteMs;
}

// ---- Writes ----

void ModelState::apply(ModelMap& state, const Mutation& mutation) {
  if (mutation.entry) {
    state[mutation.key] = *mutation.entry;
  } else {
    state.erase(mutation.key);
  }
}

void ModelState::set(ModelKey key, const std::string& value, std::uint64_t expires_at) {
  ++number_;
  note({key, ModelEntry{value, expires_at, number_}, number_});
}

void ModelState::erase(ModelKey key) {
  ++number_;
  note({key, std::nullopt, number_});
}

void ModelState::note(Mutation mutation) {
  apply(now_, mutation);
  if (!shard_of_) return;
  group_.push_back(std::move(mutation));
  if (!grouped_) end_group();
}

void ModelState::end_group() {
  grouped_ = false;
  std::map<std::uint32_t, Step> steps;
  for (Mutation& mutation : group_) {
    steps[history_of(mutation.key)].writes.push_back(std::move(mutation));
  }
  group_.clear();
  for (auto& [shard, step] : steps) {
    if (steps.size() > 1) step.group = number_;
    history_[shard].since.push_back(std::move(step));
  }
}

// ---- Syncs ----

ModelState::Places ModelState::places_of_groups() const {
  Places places;
  for (const auto& [shard, history] : history_) {
    for (std::size_t at = 0; at < history.since.size(); ++at) {
      const std::uint64_t group = history.since[at].group;
      if (group != 0) places[group].emplace_back(shard, at);
    }
  }
  return places;
}

void ModelState::all_synced() {
  for (auto& [shard, history] : history_) {
    for (const Step& step : history.since) {
      for (const Mutation& mutation : step.writes) apply(history.synced, mutation);
    }
    history.since.clear();
  }
}

void ModelState::synced(ModelKey key, std::uint64_t number) {
  if (!shard_of_) return;
  for (const auto& [own, history] : history_) {
    const bool same =
        by_key_ ? shard_of_(static_cast<ModelKey>(own)) == shard_of_(key) : own == shard_of_(key);
    if (!same) continue;
    const std::vector<Step>& since = history.since;
    const auto end = std::find_if(since.begin(), since.end(), [&](const Step& step) {
      return step.writes.front().number > number;
    });
    sync_to(own, static_cast<std::size_t>(end - since.begin()));
  }
}

// The first steps of the shard are durable; so is, in other shards, what their groups wrote, and
// all before that.
void ModelState::sync_to(std::uint32_t shard, std::size_t steps) {
  const Places places = places_of_groups();
  std::map<std::uint32_t, std::size_t> counts{{shard, steps}};
  for (bool changed = true; changed;) {
    changed = false;
    for (const auto& [group, parts] : places) {
      const bool durable = std::any_of(parts.begin(), parts.end(), [&](const auto& part) {
        return part.second < counts[part.first];
      });
      for (const auto& [other, at] : parts) {
        if (!durable || counts[other] > at) continue;
        counts[other] = at + 1;
        changed = true;
      }
    }
  }
  for (const auto& [other, count] : counts) {
    History& history = history_[other];
    for (std::size_t at = 0; at < count; ++at) {
      for (const Mutation& mutation : history.since[at].writes) apply(history.synced, mutation);
    }
    history.since.erase(history.since.begin(),
                        history.since.begin() + static_cast<std::ptrdiff_t>(count));
  }
}

// ---- Power cuts ----

// After how many of its steps the shard stood as it was found; rising.
std::vector<std::size_t> ModelState::fitting(const History& history, const ModelMap& found) {
  std::vector<std::size_t> fits;
  ModelMap state = history.synced;
  std::size_t different = differences(state, found);
  if (different == 0) fits.push_back(0);
  for (std::size_t at = 0; at < history.since.size(); ++at) {
    for (const Mutation& mutation : history.since[at].writes) {
      different -= differs(state, found, mutation.key);
      apply(state, mutation);
      different += differs(state, found, mutation.key);
    }
    if (different == 0) fits.push_back(at + 1);
  }
  return fits;
}

// Takes from the end of `fits` until every group is in all of its shards or in none: the last one
// of each is then the latest history that explains everything.
std::string ModelState::make_joint(std::map<std::uint32_t, std::vector<std::size_t>>& fits) const {
  const Places places = places_of_groups();
  for (bool changed = true; changed;) {
    changed = false;
    for (const auto& [group, parts] : places) {
      const bool whole = std::all_of(parts.begin(), parts.end(), [&](const auto& part) {
        return fits[part.first].back() > part.second;
      });
      for (const auto& [shard, at] : parts) {
        std::vector<std::size_t>& own = fits[shard];
        while (!whole && own.back() > at) {
          own.pop_back();
          changed = true;
          if (!own.empty()) continue;
          return "a batch (write " + std::to_string(group) + ") is in shard " +
                 std::to_string(shard) + " and not in all of its " + std::to_string(parts.size()) +
                 " shards";
        }
      }
    }
  }
  return {};
}

std::string ModelState::accept(const ModelMap& found) {
  std::map<std::uint32_t, ModelMap> recovered;
  for (const auto& [key, entry] : found) recovered[history_of(key)][key] = entry;
  for (const auto& [shard, state] : recovered) history_[shard];
  std::map<std::uint32_t, std::vector<std::size_t>> fits;
  for (const auto& [shard, history] : history_) {
    fits[shard] = fitting(history, recovered[shard]);
    if (!fits[shard].empty()) continue;
    return "shard " + std::to_string(shard) + " has " + std::to_string(recovered[shard].size()) +
           " keys: the state after none of the last " + std::to_string(history.since.size()) +
           " writes";
  }
  std::string wrong = make_joint(fits);
  if (!wrong.empty()) return wrong;
  now_.clear();
  for (auto& [shard, history] : history_) {
    history.since.resize(fits[shard].back());
    ModelMap state = history.synced;
    for (const Step& step : history.since) {
      for (const Mutation& mutation : step.writes) apply(state, mutation);
    }
    now_.merge(state);
  }
  return {};
}

}  // namespace armdb::test

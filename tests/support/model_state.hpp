// The model's state: what the collection should hold now, and what a power cut may leave of it.
//
// A power cut leaves, of each shard, the state after one of its writes at or past its last sync. A
// group of writes (a batch, an atomic block) counts as one write; one that went to several shards
// is in all of them or in none.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "support/model.hpp"

namespace armdb::test {

struct ModelEntry {
  std::string value;
  std::uint64_t expires_at = 0;  // milliseconds since 1970, roughly; 0: never
  std::uint64_t number = 0;      // of the write that made it; they rise
};
using ModelMap = std::map<ModelKey, ModelEntry>;

// What the model says of a walk.
Entries expected_walk(const ModelMap& model, const Walk& how, bool reversed);

// The same value, and about the same time to live.
bool same_entry(const ModelEntry& a, const ModelEntry& b);

class ModelState {
 public:
  // With `shard_of` it remembers what a power cut needs. `by_key`: each key has a history of its
  // own, as in slots; but a sync is of a whole shard.
  ModelState(std::function<std::uint32_t(ModelKey)> shard_of, bool by_key)
      : shard_of_(std::move(shard_of)), by_key_(by_key) {}

  const ModelMap& now() const { return now_; }
  const ModelEntry* find(ModelKey key) const {
    const auto found = now_.find(key);
    return found == now_.end() ? nullptr : &found->second;
  }
  std::uint64_t last_number() const { return number_; }

  void set(ModelKey key, const std::string& value, std::uint64_t expires_at);
  void erase(ModelKey key);
  // The writes in between count whole or not at all.
  void begin_group() { grouped_ = true; }
  void end_group();
  void all_synced();
  // The shard of the key, up to the write with this number.
  void synced(ModelKey key, std::uint64_t number = ~std::uint64_t{0});

  // Takes up what was found after a power cut. Empty when it may be so; else what is wrong.
  std::string accept(const ModelMap& found);

 private:
  struct Mutation {
    ModelKey key = 0;
    std::optional<ModelEntry> entry;  // without: an erase
    std::uint64_t number = 0;
  };
  struct Step {
    std::vector<Mutation> writes;
    std::uint64_t group = 0;  // of several shards; 0: of this one alone
  };
  struct History {
    ModelMap synced;
    std::vector<Step> since;
  };
  using Places = std::map<std::uint64_t, std::vector<std::pair<std::uint32_t, std::size_t>>>;

  std::uint32_t history_of(ModelKey key) const {
    return by_key_ ? static_cast<std::uint32_t>(key) : shard_of_(key);
  }
  void note(Mutation mutation);
  void sync_to(std::uint32_t shard, std::size_t steps);
  Places places_of_groups() const;
  static void apply(ModelMap& state, const Mutation& mutation);
  static std::vector<std::size_t> fitting(const History& history, const ModelMap& found);
  std::string make_joint(std::map<std::uint32_t, std::vector<std::size_t>>& fits) const;

  const std::function<std::uint32_t(ModelKey)> shard_of_;
  const bool by_key_;
  ModelMap now_;
  std::uint64_t number_ = 0;
  std::map<std::uint32_t, History> history_;
  bool grouped_ = false;
  std::vector<Mutation> group_;
};

}  // namespace armdb::test

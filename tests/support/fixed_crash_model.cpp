// The model of the crash simulator for the Fixed store: a history of states for each key.
#include "support/fixed_crash_model.hpp"

#include <algorithm>

namespace armdb::test {

void FixedCrashModel::start(const CrashWrite& write) {
  State state;
  if (write.value && write.expiry_ms != kCrashExpired) {
    state = {write.value, write.expiry_ms, crash_value_hash(*write.value, write.expiry_ms)};
  }
  any_expired_ = any_expired_ || (write.value && write.expiry_ms == kCrashExpired);
  keys_[write.key].states.push_back(std::move(state));
}

void FixedCrashModel::complete() {
  for (Key& key : keys_) key.completed = key.states.size() - 1;
}

void FixedCrashModel::synced(const FixedCrashMarks& from) {
  for (std::size_t key = 0; key < kCrashKeys; ++key) synced(from, key);
}

void FixedCrashModel::synced(const FixedCrashMarks& from, std::size_t key) {
  keys_[key].durable = std::max(keys_[key].durable, from[key].completed);
}

void FixedCrashModel::settle(const CrashContents& contents) {
  for (std::size_t number = 0; number < kCrashKeys; ++number) {
    std::vector<State>& states = keys_[number].states;
    const auto found = std::find_if(states.rbegin(), states.rend(), [&](const State& state) {
      return state.hash == contents[number];
    });
    keys_[number] = {{found == states.rend() ? State() : *found}, 0, 0};
  }
}

FixedCrashMarks FixedCrashModel::marks() const {
  FixedCrashMarks marks;
  for (std::size_t number = 0; number < kCrashKeys; ++number) {
    const Key& key = keys_[number];
    marks[number] = {key.durable, key.completed, key.states.size() - 1, 0};
  }
  return marks;
}

std::string FixedCrashModel::judge(const CrashContents& contents, const FixedCrashMarks& marks,
                                   bool all) const {
  const auto text = [](std::uint64_t hash) {
    return hash == 0 ? std::string("absent") : std::to_string(hash % 1'000'000);
  };
  for (std::size_t number = 0; number < kCrashKeys; ++number) {
    const std::vector<State>& states = keys_[number].states;
    const CrashMark& mark = marks[number];
    const std::size_t from = all ? mark.completed : mark.durable;
    bool allowed = false;
    std::string before = "none of its states";
    std::string expected;
    for (std::size_t at = 0; at <= mark.started; ++at) {
      const bool same = states[at].hash == contents[number];
      allowed = allowed || (same && at >= from);
      if (same) before = "its state " + std::to_string(at);
      if (at >= from) expected += " " + text(states[at].hash);
    }
    if (allowed) continue;
    return "key " + std::to_string(number) + " is " + text(contents[number]) + ", " + before +
           (all ? "; less than was completed" : "; less than was durable") + "; states " +
           std::to_string(from) + " to " + std::to_string(mark.started) +
           " are allowed:" + expected;
  }
  return {};
}

}  // namespace armdb::test

// FixedCrashModel: what each key of a collection on the Fixed store may hold after a crash.
//
// A key has a history of states, with its absence as one of them. After a power cut it has a state
// at or after the one that the last sync made durable; after a mere kill of the process one at or
// after the last completed write. Keys do not depend on each other.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "support/crash_model.hpp"

namespace armdb::test {

// By number of the key, counted in its own writes.
using FixedCrashMarks = std::array<CrashMark, kCrashKeys>;

// Threads: one.
class FixedCrashModel {
 public:
  void start(const CrashWrite& write);
  // All writes that began are done.
  void complete();
  // A sync that began at `from` ended well.
  void synced(const FixedCrashMarks& from);
  void synced(const FixedCrashMarks& from, std::size_t key);
  // A crash is over: each key has what was found, and that is durable.
  void settle(const CrashContents& contents);

  // What a reader finds after the last write.
  [[nodiscard]] const std::optional<std::string>& value(std::size_t key) const {
    return last(key).value;
  }
  [[nodiscard]] std::uint64_t expiry(std::size_t key) const { return last(key).expiry_ms; }
  // Whether any entry that is over was written.
  [[nodiscard]] bool any_expired() const noexcept { return any_expired_; }
  [[nodiscard]] FixedCrashMarks marks() const;
  // Which key has something else than it may have, and what; empty when none has. `all`:
  // everything that was completed has to be there, else what was durable.
  [[nodiscard]] std::string judge(const CrashContents& contents, const FixedCrashMarks& marks,
                                  bool all) const;

 private:
  struct State {
    std::optional<std::string> value{};  // nothing: no reader finds it
    std::uint64_t expiry_ms = 0;
    std::uint64_t hash = 0;
  };
  struct Key {
    std::vector<State> states{State()};
    std::size_t durable = 0;
    std::size_t completed = 0;
  };
  [[nodiscard]] const State& last(std::size_t key) const { return keys_[key].states.back(); }

  std::array<Key, kCrashKeys> keys_;
  bool any_expired_ = false;
};

}  // namespace armdb::test

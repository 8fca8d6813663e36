#include "support/linearizability.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace armdb::test {
namespace {

constexpr std::size_t kOpenMax = 64;
constexpr std::size_t kShownMax = 16;  // operations before the one that is refused

// One way in which it may stand at some moment.
struct Configuration {
  std::uint64_t value = 0;
  std::uint64_t past = 0;  // a bit for each open operation that had its moment
  friend auto operator<=>(const Configuration&, const Configuration&) = default;
};

class Walk {
 public:
  Walk(const History& history, std::uint64_t initial) : history_(history) {
    possible_.push_back({initial, 0});
  }

  void begin(std::size_t operation) {
    std::size_t slot = 0;
    while (slot < kOpenMax && open_[slot] != nullptr) ++slot;
    if (slot == kOpenMax) std::abort();  // more threads than any test here has
    open_[slot] = &history_[operation];
    open_count_ = std::max(open_count_, slot + 1);
  }

  // False when the operation cannot have had its moment.
  bool end(std::size_t operation) {
    std::size_t slot = 0;
    while (open_[slot] != &history_[operation]) ++slot;
    const std::uint64_t bit = std::uint64_t{1} << slot;
    std::vector<Configuration> next;
    seen_.clear();
    while (!possible_.empty()) {
      const Configuration at = possible_.back();
      possible_.pop_back();
      if (!seen_.insert(at).second) continue;
      if ((at.past & bit) != 0) {
        next.push_back({at.value, at.past & ~bit});
      } else {
        go_on(at);
      }
    }
    std::sort(next.begin(), next.end());
    next.erase(std::unique(next.begin(), next.end()), next.end());
    possible_ = std::move(next);
    open_[slot] = nullptr;
    return !possible_.empty();
  }

 private:
  // One more open operation has its moment.
  void go_on(const Configuration& at) {
    for (std::size_t slot = 0; slot < open_count_; ++slot) {
      const std::uint64_t bit = std::uint64_t{1} << slot;
      if (open_[slot] == nullptr || (at.past & bit) != 0) continue;
      const std::optional<std::uint64_t> value = applied(*open_[slot], at.value);
      if (value.has_value()) possible_.push_back({*value, at.past | bit});
    }
  }

  const History& history_;
  const Operation* open_[kOpenMax] = {};
  std::size_t open_count_ = 0;
  std::vector<Configuration> possible_;
  std::set<Configuration> seen_;
};

const char* name_of(Act act) {
  constexpr const char* kNames[] = {"get",           "put",      "insert", "erase", "cas",
                                    "compare_erase", "exchange", "update", "upsert"};
  return kNames[static_cast<std::size_t>(act)];
}
const char* name_of(Answer answer) {
  constexpr const char* kNames[] = {"ok", "not_found", "key_exists", "mismatch"};
  return kNames[static_cast<std::size_t>(answer)];
}

// The refused operation, what overlaps it, and what ended shortly before.
std::string told(const History& history, std::size_t refused) {
  const Operation& wrong = history[refused];
  std::vector<const Operation*> shown;
  for (const Operation& operation : history) {
    if (operation.begin < wrong.end) shown.push_back(&operation);
  }
  std::stable_sort(shown.begin(), shown.end(),
                   [](const auto* a, const auto* b) { return a->end < b->end; });
  const auto last = std::find(shown.begin(), shown.end(), &wrong);
  const auto before = static_cast<std::size_t>(last - shown.begin());
  std::string text = "no order explains: " + wrong.text() + "\nthe history around it:\n";
  for (std::size_t at = before > kShownMax ? before - kShownMax : 0; at < shown.size(); ++at) {
    text += "  " + shown[at]->text() + (shown[at] == &wrong ? "   <--\n" : "\n");
  }
  return text;
}

}  // namespace

std::string Operation::text() const {
  std::string text = "thread " + std::to_string(thread) + " [" + std::to_string(begin) + ", " +
                     std::to_string(end) + "] " + name_of(act);
  if (act == Act::cas || act == Act::compare_erase) text += " " + std::to_string(expected);
  if (wrote != 0) text += " -> " + std::to_string(wrote);
  text += std::string(": ") + name_of(answer);
  const bool sees =
      act == Act::get || act == Act::exchange || act == Act::update || act == Act::upsert;
  if (sees && answer == Answer::ok) text += ", saw " + std::to_string(saw);
  return text;
}

std::optional<std::uint64_t> applied(const Operation& operation, std::uint64_t value) {
  const auto when = [](bool right, std::uint64_t after) {
    return right ? std::optional<std::uint64_t>(after) : std::nullopt;
  };
  const bool compares = operation.act == Act::cas || operation.act == Act::compare_erase;
  switch (operation.answer) {
    case Answer::not_found:
      return when(value == 0, value);
    case Answer::key_exists:
      return when(value != 0 && operation.act == Act::insert, value);
    case Answer::mismatch:
      return when(value != 0 && compares && value != operation.expected, value);
    case Answer::ok:
      break;
  }
  switch (operation.act) {
    case Act::get:
      return when(value == operation.saw, value);
    case Act::put:
      return operation.wrote;
    case Act::insert:
      return when(value == 0, operation.wrote);
    case Act::erase:
      return when(value != 0, 0);
    case Act::cas:
      return when(value == operation.expected, operation.wrote);
    case Act::compare_erase:
      return when(value == operation.expected, 0);
    case Act::exchange:
    case Act::upsert:
      return when(value == operation.saw, operation.wrote);
    case Act::update:
      return when(value == operation.saw && value != 0, operation.wrote);
  }
  return std::nullopt;
}

std::string check_register(History history, std::uint64_t initial) {
  std::vector<std::pair<std::uint64_t, std::size_t>> events;  // begin of i: 2 i, end: 2 i + 1
  events.reserve(2 * history.size());
  for (std::size_t at = 0; at < history.size(); ++at) {
    events.push_back({history[at].begin, 2 * at});
    events.push_back({history[at].end, 2 * at + 1});
  }
  std::sort(events.begin(), events.end());
  Walk walk(history, initial);
  for (const auto& [stamp, event] : events) {
    if (event % 2 == 0) {
      walk.begin(event / 2);
    } else if (!walk.end(event / 2)) {
      return told(history, event / 2);
    }
  }
  return {};
}

std::string check_keys(const History& history) {
  std::map<std::uint64_t, History> of_key;
  for (const Operation& operation : history) of_key[operation.key].push_back(operation);
  for (const auto& [key, operations] : of_key) {
    const std::string fault = check_register(operations);
    if (!fault.empty()) return "key " + std::to_string(key) + ": " + fault;
  }
  return {};
}

}  // namespace armdb::test

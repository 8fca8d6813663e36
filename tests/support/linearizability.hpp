// Is what several threads saw of one register (a key) the work of one thread, in some order?
//
// A history is linearizable when each operation can be given a moment between its begin and its
// end such that all together, in the order of those moments, do what a single thread would see
// (M. Herlihy and J. Wing, TOPLAS 1990). The check walks through begins and ends in time and keeps
// all configurations that are still possible: the value, and which of the open operations have
// had their moment (G. Lowe, "Testing for linearizability", 2017, just-in-time; with the memory
// of Wing and Gong's search that he adds). An operation gets its moment at its end at the
// latest; when no configuration is left there, the history is refused.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace armdb::test {

// Values are numbers; 0 is "not there".
enum class Act : std::uint8_t {
  get,            // saw: what it returned
  put,            // wrote
  insert,         // wrote, unless there was something
  erase,          // unless there was nothing
  cas,            // wrote, if `expected` was there
  compare_erase,  // if `expected` was there
  exchange,       // wrote; saw: what was there
  update,         // wrote; saw: what its function was given; never 0
  upsert,         // wrote; saw: what its function was given
};
enum class Answer : std::uint8_t { ok, not_found, key_exists, mismatch };

struct Operation {
  std::uint64_t key = 0;
  std::uint64_t begin = 0;  // all begins and ends are different numbers
  std::uint64_t end = 0;
  Act act = Act::get;
  Answer answer = Answer::ok;
  std::uint32_t thread = 0;
  std::uint64_t wrote = 0;
  std::uint64_t expected = 0;
  std::uint64_t saw = 0;

  // "thread 2 [17, 25] cas 5 -> 9: mismatch"
  [[nodiscard]] std::string text() const;
};
using History = std::vector<Operation>;

// The value after `operation` when it was `value` before; none when it then had answered
// otherwise.
[[nodiscard]] std::optional<std::uint64_t> applied(const Operation& operation, std::uint64_t value);

// Checks operations on one key, which held `initial` before. Empty when they are linearizable;
// else the operation that no order explains, and those around it.
[[nodiscard]] std::string check_register(History history, std::uint64_t initial = 0);

// Checks each key for itself; all held nothing before. Names the key that is wrong.
[[nodiscard]] std::string check_keys(const History& history);

}  // namespace armdb::test

// The checker of histories itself: what it must refuse, and what it must let pass.
#include "support/linearizability.hpp"

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/scale.hpp"

namespace {

using namespace armdb::test;
using armdb::base::Random;

// From begin to end, by a thread of its own.
Operation at(std::uint64_t begin, std::uint64_t end, Act act, Answer answer = Answer::ok) {
  Operation operation;
  operation.begin = begin;
  operation.end = end;
  operation.act = act;
  operation.answer = answer;
  return operation;
}
Operation get(std::uint64_t begin, std::uint64_t end, std::uint64_t saw) {
  Operation operation = at(begin, end, Act::get);
  operation.saw = saw;
  return operation;
}
Operation put(std::uint64_t begin, std::uint64_t end, std::uint64_t wrote) {
  Operation operation = at(begin, end, Act::put);
  operation.wrote = wrote;
  return operation;
}
Operation cas(std::uint64_t begin, std::uint64_t end, std::uint64_t expected, std::uint64_t wrote,
              Answer answer = Answer::ok) {
  Operation operation = at(begin, end, Act::cas, answer);
  operation.expected = expected;
  operation.wrote = wrote;
  return operation;
}
Operation modify(Act act, std::uint64_t begin, std::uint64_t end, std::uint64_t saw,
                 std::uint64_t wrote) {
  Operation operation = at(begin, end, act);
  operation.saw = saw;
  operation.wrote = wrote;
  return operation;
}

bool refused(const History& history) { return !check_register(history).empty(); }

// All orders, one by one: slow and plainly right.
bool some_order_explains(const History& history) {
  std::vector<std::size_t> order(history.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  do {
    std::uint64_t value = 0;
    bool fits = true;
    for (std::size_t i = 0; fits && i < order.size(); ++i) {
      for (std::size_t j = i + 1; j < order.size(); ++j) {
        if (history[order[j]].end < history[order[i]].begin) fits = false;
      }
      const std::optional<std::uint64_t> after = applied(history[order[i]], value);
      fits = fits && after.has_value();
      value = after.value_or(0);
    }
    if (fits) return true;
  } while (std::next_permutation(order.begin(), order.end()));
  return false;
}

// Operations whose times and answers are dice: some fit together, some do not.
History random_history(Random& random, std::size_t count) {
  std::vector<std::uint64_t> stamps(2 * count);
  std::iota(stamps.begin(), stamps.end(), std::uint64_t{1});
  for (std::size_t i = stamps.size(); i > 1; --i) std::swap(stamps[i - 1], stamps[random.below(i)]);
  History history;
  for (std::size_t i = 0; i < count; ++i) {
    const auto [begin, end] = std::minmax(stamps[2 * i], stamps[2 * i + 1]);
    Operation operation = at(begin, end, static_cast<Act>(random.below(9)));
    operation.thread = static_cast<std::uint32_t>(i);
    if (operation.act != Act::get && operation.act != Act::put) {
      operation.answer = static_cast<Answer>(random.below(4));
    }
    operation.wrote = 1 + random.below(3);
    operation.expected = 1 + random.below(3);
    operation.saw = random.below(4);
    history.push_back(operation);
  }
  return history;
}

}  // namespace

TEST_CASE("linearizability: a stale read is refused") {
  CHECK(refused({put(1, 2, 5), put(3, 4, 6), get(5, 6, 5)}));
  CHECK(refused({put(1, 2, 5), get(3, 4, 0)}));
  CHECK(refused({put(1, 2, 5), at(3, 4, Act::erase), get(5, 6, 5)}));
  // Two reads, one after the other, that see one write and then no more of it.
  CHECK(refused({put(1, 2, 5), put(3, 20, 6), get(4, 5, 6), get(6, 7, 5)}));
  // While the write goes on both may be seen.
  CHECK_FALSE(refused({put(1, 2, 5), put(3, 20, 6), get(4, 5, 5), get(6, 7, 6)}));
  CHECK_FALSE(refused({put(1, 2, 5), put(3, 20, 6), get(4, 19, 5), get(6, 18, 6)}));
}

TEST_CASE("linearizability: a value out of nowhere, or too early, is refused") {
  CHECK(refused({put(1, 2, 5), get(3, 4, 7)}));
  CHECK(refused({get(1, 2, 5), put(3, 4, 5)}));
  CHECK_FALSE(refused({get(1, 4, 5), put(2, 3, 5)}));
}

TEST_CASE("linearizability: a lost update is refused") {
  // Both saw 5, so that one of them was lost.
  CHECK(refused({put(1, 2, 5), modify(Act::update, 3, 9, 5, 6), modify(Act::update, 4, 8, 5, 7)}));
  CHECK_FALSE(
      refused({put(1, 2, 5), modify(Act::update, 3, 9, 5, 6), modify(Act::update, 4, 8, 6, 7)}));
  CHECK(refused(
      {put(1, 2, 5), modify(Act::exchange, 3, 9, 5, 6), modify(Act::exchange, 4, 8, 5, 7)}));
  CHECK(refused({modify(Act::upsert, 3, 9, 0, 6), modify(Act::upsert, 4, 8, 0, 7)}));
  // The write between an update's read and its write.
  CHECK(refused({put(1, 2, 5), put(3, 4, 6), modify(Act::update, 5, 6, 5, 7)}));
}

TEST_CASE("linearizability: what only one can win, two do not") {
  CHECK(refused({put(1, 2, 5), cas(3, 9, 5, 6), cas(4, 8, 5, 7)}));
  CHECK_FALSE(refused({put(1, 2, 5), cas(3, 9, 5, 6), cas(4, 8, 5, 7, Answer::mismatch)}));
  CHECK_FALSE(refused({put(1, 2, 5), cas(3, 9, 5, 6), cas(4, 8, 6, 5)}));
  CHECK(refused({put(1, 2, 5), at(3, 9, Act::erase), at(4, 8, Act::erase)}));
  Operation one = at(1, 9, Act::insert);
  one.wrote = 5;
  Operation two = at(2, 8, Act::insert);
  two.wrote = 6;
  CHECK(refused({one, two}));
  two.answer = Answer::key_exists;
  CHECK_FALSE(refused({one, two}));
}

TEST_CASE("linearizability: answers that no state gives are refused") {
  CHECK(refused({put(1, 2, 5), at(3, 4, Act::erase, Answer::not_found)}));
  CHECK(refused({put(1, 2, 5), cas(3, 4, 5, 6, Answer::mismatch)}));
  CHECK(refused({put(1, 2, 5), cas(3, 4, 5, 6, Answer::not_found)}));
  CHECK(refused({cas(3, 4, 5, 6, Answer::mismatch)}));
  CHECK(refused({at(1, 2, Act::insert, Answer::key_exists)}));
  CHECK(refused({modify(Act::update, 1, 2, 0, 3)}));
}

TEST_CASE("linearizability: a refusal names the key, the operation and those around it") {
  History history = {put(1, 2, 5), put(3, 4, 6), get(5, 6, 5)};
  for (Operation& operation : history) operation.key = 42;
  history.push_back(put(1, 2, 9));  // another key, all right
  const std::string text = check_keys(history);
  INFO(text);
  CHECK(text.rfind("key 42: no order explains: thread 0 [5, 6] get: ok, saw 5", 0) == 0);
  CHECK(text.find("[3, 4] put -> 6") != std::string::npos);
}

TEST_CASE("linearizability: the search agrees with trying all orders") {
  Random random(20);
  std::size_t right = 0;
  const std::size_t rounds = armdb::test::scaled(20000, 1000);
  for (std::size_t round = 0; round < rounds; ++round) {
    const History history = random_history(random, 2 + random.below(5));
    const bool explained = some_order_explains(history);
    right += explained ? 1 : 0;
    if (refused(history) == !explained) continue;
    std::string text;
    for (const Operation& operation : history) text += operation.text() + "\n";
    FAIL("round " << round << "\n" << text);
  }
  CHECK(right > rounds / 20);
  CHECK(right < rounds);
}

// The scheduler itself: it finds what goes wrong in one interleaving of many, and tells which.
#include "support/interleaving.hpp"

#include <cstdint>
#include <functional>
#include <set>
#include <string>

#include "base/shared_bytes.hpp"
#include "support/catch.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS)

namespace {

using armdb::base::load_relaxed;
using armdb::base::store_relaxed;
using armdb::base::Version;
using namespace armdb::test;

// Memory of the threads: a version and some words.
struct Shared {
  Version version;
  std::uint64_t words[4];
};

class Toy : public Interleaved {
 public:
  using Work = std::function<void(Shared&, unsigned)>;
  Toy(Work work, std::function<std::string(const Shared&)> judge)
      : work_(std::move(work)), judge_(std::move(judge)) {}
  void set_up() override {
    shared_ = new (interleaved_pages().allocate(sizeof(Shared), 0)) Shared();
  }
  void run(unsigned thread) override { work_(*shared_, thread); }
  std::string check() override { return judge_(*shared_); }

 private:
  Work work_;
  std::function<std::string(const Shared&)> judge_;
  Shared* shared_ = nullptr;
};

void add_one(Shared& shared, unsigned) {
  store_relaxed(&shared.words[0], load_relaxed(&shared.words[0]) + 1);
}
std::string is_two(const Shared& shared) {
  return shared.words[0] == 2 ? "" : "count " + std::to_string(shared.words[0]);
}

}  // namespace

TEST_CASE("interleaving: an update is lost with one preemption, and not without") {
  Toy toy(add_one, is_two);
  const Explored none = explore(toy, {2, 0});
  CHECK(none.complete);
  CHECK(none.fault.empty());
  const Explored one = explore(toy, {2, 1});
  CHECK(one.fault == "count 1");
  CHECK(replay(toy, 2, one.schedule) == "count 1");
  CHECK(replay(toy, 2, "0*3 1*3").empty());
}

TEST_CASE("interleaving: all orders of two threads with two steps each are run, once") {
  std::multiset<std::string> orders;
  std::string order;
  Toy toy(
      [&](Shared& shared, unsigned thread) {
        for (int i = 0; i < 2; ++i) {
          store_relaxed(&shared.words[0], std::uint64_t{thread});
          order += static_cast<char>('a' + thread);
        }
      },
      [&](const Shared&) {
        orders.insert(order);
        order.clear();
        return std::string();
      });
  const Explored all = explore(toy, {2, 9});
  CHECK(all.complete);
  // "aabb" and "bbaa" were also run before it was known that the threads share a word.
  CHECK(all.schedules == 6 + 2);
  for (const char* each : {"aabb", "abab", "abba", "baab", "baba", "bbaa"}) {
    INFO(each);
    CHECK(orders.count(each) == (each[0] == each[1] ? 2 : 1));
  }
}

TEST_CASE("interleaving: steps on memory of one thread alone are no points of choice") {
  Toy toy(
      [](Shared& shared, unsigned thread) {
        for (std::uint64_t i = 0; i < 100; ++i) store_relaxed(&shared.words[thread], i);
        static_cast<void>(load_relaxed(&shared.words[2]));
      },
      [](const Shared&) { return std::string(); });
  const Explored all = explore(toy, {2, 2});
  CHECK(all.complete);
  CHECK(all.schedules == 2);
}

TEST_CASE("interleaving: who waits for a writer gives the others the processor") {
  std::uint64_t seen[2] = {};
  Toy toy(
      [&](Shared& shared, unsigned thread) {
        if (thread == 0) {
          shared.version.begin_write();
          store_relaxed(&shared.words[0], std::uint64_t{1});
          store_relaxed(&shared.words[1], std::uint64_t{1});
          shared.version.end_write();
          return;
        }
        std::uint32_t version = 0;
        do {
          version = shared.version.begin_read();
          for (int i = 0; i < 2; ++i) seen[i] = load_relaxed(&shared.words[i]);
        } while (!shared.version.still(version));
      },
      [&](const Shared&) { return seen[0] == seen[1] ? std::string() : std::string("torn"); });
  const Explored all = explore(toy, {2, 3});
  INFO(all.schedule);
  CHECK(all.complete);
  CHECK(all.fault.empty());
  CHECK(all.schedules > 30);
}

TEST_CASE("interleaving: a bound on schedules ends the search, which is then not complete") {
  Toy toy(add_one, [](const Shared&) { return std::string(); });
  const Explored some = explore(toy, {2, 2, 3});
  CHECK_FALSE(some.complete);
  CHECK(some.schedules == 3);
}

#endif

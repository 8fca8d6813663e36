// Tests of Thread and run_parallel.
#include "os/thread.hpp"

#include <atomic>
#include <set>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

#include "support/catch.hpp"

using namespace armdb;

TEST_CASE("thread: there is at least one processor") { CHECK(os::hardware_threads() >= 1); }

TEST_CASE("thread: each job runs once, whatever the number of threads") {
  for (const unsigned threads : {0u, 1u, 2u, 3u, 16u}) {
    for (const std::size_t jobs :
         {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{100}}) {
      std::vector<int> runs(jobs);  // not atomic: each job has its own, and the end is ordered
      os::run_parallel(jobs, threads, [&](std::size_t job) { runs[job] += 1; });
      for (const int count : runs) REQUIRE(count == 1);
    }
  }
}

#if defined(ARMDB_OMIT_THREADS)

TEST_CASE("thread: without threads starting one is unsupported") {
  os::Thread thread;
  CHECK(thread.start([](void*) {}, nullptr).is(Errc::unsupported));
}

#else

TEST_CASE("thread: a started thread runs, and join sees what it wrote", "[threads]") {
  int written = 0;
  os::Thread thread;
  thread.join();  // not started: nothing
  for (int round = 1; round <= 3; ++round) {
    REQUIRE(thread.start([](void* context) { *static_cast<int*>(context) += 1; }, &written).ok());
    CHECK(thread.running());
    thread.join();
    CHECK_FALSE(thread.running());
    CHECK(written == round);
  }
  {
    os::Thread joined_by_destructor;
    REQUIRE(joined_by_destructor
                .start([](void* context) { *static_cast<int*>(context) = 100; }, &written)
                .ok());
  }
  CHECK(written == 100);
}

#if defined(__linux__) && !defined(ARMDB_OMIT_REPLICATION)
TEST_CASE("thread: one that gives way has another policy, and so have those that it starts",
          "[threads]") {
  const int before = ::sched_getscheduler(0);
  if (before != SCHED_OTHER) return;  // the whole program gives way, or is real-time
  int policies[2] = {-1, -1};
  std::thread first([&] {
    os::give_way();
    policies[0] = ::sched_getscheduler(0);
    std::thread([&] { policies[1] = ::sched_getscheduler(0); }).join();
  });
  first.join();
  CHECK(policies[0] == SCHED_BATCH);
  CHECK(policies[1] == SCHED_BATCH);
  CHECK(::sched_getscheduler(0) == before);
}
#endif

TEST_CASE("thread: jobs run beside each other", "[threads]") {
  std::atomic<int> inside{0};
  std::atomic<bool> met{false};
  os::run_parallel(2, 2, [&](std::size_t) {
    inside += 1;
    // Both are inside at once, or this one waits in vain for at most 10 s.
    for (int i = 0; i < 10000 && !met; ++i) {
      if (inside == 2) met = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  CHECK(met);
}

#endif

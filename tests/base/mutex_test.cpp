// Tests of Mutex, MutexLock and ConditionVariable.
#include "base/mutex.hpp"

#include <memory>
#include <thread>
#include <vector>

#include "support/catch.hpp"

using armdb::base::ConditionVariable;
using armdb::base::Mutex;
using armdb::base::MutexLock;

namespace {

struct MutexCounter {
  Mutex mutex;
  ConditionVariable changed;
  int count ARMDB_GUARDED_BY(mutex) = 0;
};

bool free_for_others(Mutex& mutex) {
#if defined(ARMDB_OMIT_THREADS)
  return mutex.try_lock();
#else
  bool free = false;
  std::thread([&] {
    if (mutex.try_lock()) {
      free = true;
      mutex.unlock();
    }
  }).join();
  return free;
#endif
}

}  // namespace

TEST_CASE("mutex: a lock can be handed over and taken back") {
  const auto shared = std::make_unique<MutexCounter>();
  {
    const MutexLock lock(shared->mutex);
    shared->mutex.unlock();
    CHECK(free_for_others(shared->mutex));
    shared->mutex.lock();
    shared->count += 1;
  }
  CHECK(free_for_others(shared->mutex));
}

TEST_CASE("mutex: a wait ends by its time") {
  const auto shared = std::make_unique<MutexCounter>();
  const MutexLock lock(shared->mutex);
  CHECK_FALSE(shared->changed.wait_for_ms(shared->mutex, 1));
  CHECK_FALSE(shared->changed.wait_for_ms(shared->mutex, 0));
}

#if !defined(ARMDB_OMIT_THREADS)

TEST_CASE("mutex: what one thread wrote under it the next one sees", "[threads]") {
  for (const unsigned processors : {1u, 2u}) {  // who waits sleeps at once, or spins first
    Mutex::set_processors(processors);
    const auto shared = std::make_unique<MutexCounter>();
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int j = 0; j < 5000; ++j) {
          const MutexLock lock(shared->mutex);
          shared->count += 1;
        }
      });
    }
    for (auto& thread : threads) thread.join();
    const MutexLock lock(shared->mutex);
    CHECK(shared->count == 20000);
  }
}

TEST_CASE("mutex: a waiter is woken and holds the mutex again", "[threads]") {
  const auto shared = std::make_unique<MutexCounter>();
  std::thread other([&] {
    for (int i = 0; i < 100; ++i) {
      const MutexLock lock(shared->mutex);
      while (shared->count % 2 == 0) shared->changed.wait(shared->mutex);
      shared->count += 1;
      shared->changed.notify_one();
    }
  });
  for (int i = 0; i < 100; ++i) {
    const MutexLock lock(shared->mutex);
    while (shared->count % 2 == 1) shared->changed.wait_for_ms(shared->mutex, ~std::uint64_t{0});
    shared->count += 1;
    shared->changed.notify_all();
  }
  other.join();
  const MutexLock lock(shared->mutex);
  CHECK(shared->count == 200);
}

#endif

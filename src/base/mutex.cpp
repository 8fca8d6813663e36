// Waiting for a mutex: a short while awake, then asleep.
#include "base/mutex.hpp"

#include <atomic>

#include "base/relax.hpp"
#include "base/simulation.hpp"

namespace armdb::base {

#if !defined(ARMDB_OMIT_THREADS)

namespace {

// Relaxed: whoever has an old value waits awake, or does not, once more.
constinit std::atomic<std::uint32_t> processors{0};

}  // namespace

void Mutex::set_processors(unsigned count) noexcept {
  processors.store(count, std::memory_order_relaxed);
}

// A shard's mutex covers well under a microsecond of work most times, and 3 us where a store into a
// mapped page faults; to put a thread to sleep and to wake it takes tens of them. So it is asked
// for again, ever more rarely, for about 8 us.
void Mutex::lock() noexcept {
  if (Simulation* const instead = simulated()) {
    while (!native_.try_lock()) instead->wait(0);
    return;
  }
  constexpr int kRelaxMost = 32;
  constexpr int kRelaxInAll = 512;
  int all = processors.load(std::memory_order_relaxed) == 1 ? kRelaxInAll : 0;
  for (int count = 1; all < kRelaxInAll; all += count) {
    if (native_.try_lock()) return;
    for (int i = 0; i < count; ++i) relax();
    if (count < kRelaxMost) count *= 2;
  }
  native_.lock();
}

#endif

}  // namespace armdb::base

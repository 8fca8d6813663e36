// Waiting for a mutex: a short while awake, then asleep.
#include "base/mutex.hpp"

#include "base/relax.hpp"

namespace armdb::base {

#if !defined(ARMDB_OMIT_THREADS)

// A shard's mutex covers well under a microsecond of work most times; to put a thread to sleep and
// to wake it takes tens of them. So it is asked for again, ever more rarely, for about 2 us.
void Mutex::lock() noexcept {
  constexpr int kRelaxMax = 64;
  for (int count = 1; count <= kRelaxMax; count *= 2) {
    if (native_.try_lock()) return;
    for (int i = 0; i < count; ++i) relax();
  }
  native_.lock();
}

#endif

}  // namespace armdb::base

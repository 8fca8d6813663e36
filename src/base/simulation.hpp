// Simulation: what a test puts in the place of time, chance and waiting, so that what several
// threads do follows from a seed alone.
//
// In builds with ARMDB_CHECKS a test may install one (tests/support/sim_scheduler.hpp). In all
// other builds there is none, and nothing of this is compiled in.
#pragma once

#include <cstdint>

#include "core/bytes.hpp"

#if defined(ARMDB_CHECKS)
#include <atomic>
#endif

namespace armdb::base {

// Threads: any of those that the simulation runs; one runs at a time.
class Simulation {
 public:
  virtual std::uint64_t monotonic_ns() = 0;
  virtual std::uint64_t milliseconds_since_1970() = 0;
  virtual void random_bytes(MutableBytes out) = 0;
  // Lets the others go on, up to so long; may return early. It waits for what one of them holds.
  virtual void wait(std::uint64_t milliseconds) = 0;

 protected:
  ~Simulation() = default;
};

#if defined(ARMDB_CHECKS)

// Changed while no thread is inside the library.
inline std::atomic<Simulation*> simulation{nullptr};

inline Simulation* simulated() noexcept { return simulation.load(std::memory_order_acquire); }

#else

inline Simulation* simulated() noexcept { return nullptr; }

#endif

}  // namespace armdb::base

// Step points: where a test may hand the processor to another thread.
//
// Code that readers and a writer share without a lock names each access to shared memory just
// before it. In builds with ARMDB_CHECKS a test may install a hook there, and try one
// interleaving after the other (tests/support/interleaving.hpp). In all other builds a step point
// is nothing.
#pragma once

#include <cstdint>

#if defined(ARMDB_CHECKS)
#include <atomic>
#endif

namespace armdb::base {

// What the thread is about to do with the memory; blocked: nothing, until another thread writes
// there.
enum class Step : std::uint8_t { read, write, blocked };

#if defined(ARMDB_CHECKS)

using StepHook = void (*)(Step step, const void* memory);
// Changed while no thread is inside the code that asks it.
inline std::atomic<StepHook> step_hook{nullptr};

inline void step_point(Step step, const void* memory) noexcept {
  const StepHook hook = step_hook.load(std::memory_order_relaxed);
  if (hook != nullptr) hook(step, memory);
}

#else

inline void step_point(Step, const void*) noexcept {}

#endif

}  // namespace armdb::base

// ARMDB_ASSERT: states what our own code guarantees. Never used on bytes from disk or network.
#pragma once

#include <cstdlib>

#if defined(ARMDB_CHECKS)
#define ARMDB_ASSERT(condition) ((condition) ? static_cast<void>(0) : std::abort())
#else
// Compiled, never run: an assertion must not rot in release builds.
#define ARMDB_ASSERT(condition) static_cast<void>(sizeof((condition) ? 1 : 0))
#endif

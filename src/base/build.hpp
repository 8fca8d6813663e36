// build: whether the compiler was asked for small code rather than fast code (-Os).
//
// Where the two differ much the code asks kSmallBuild: shorter tables, one general kernel instead
// of one per key width, no prefetching. What is stored and what calls answer is the same.
#pragma once

namespace armdb::base {

#if defined(__OPTIMIZE_SIZE__)
inline constexpr bool kSmallBuild = true;
#else
inline constexpr bool kSmallBuild = false;
#endif

}  // namespace armdb::base

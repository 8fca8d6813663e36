// Version numbers, build switches, and the link check that keeps header and source in step.
//
// The switches below may be given on the command line, the same for every file that includes
// armdb.hpp and for armdb.cpp. A mismatch does not link: each combination has its own symbol.
//
//   ARMDB_OMIT_MMAP          no shared mappings: reads use pread, the tail buffer is plain memory
//   ARMDB_OMIT_THREADS       no threads and no mutexes: one thread uses the library
//   ARMDB_OMIT_REPLICATION   no leaders and followers, and no sockets
#pragma once

#include <string_view>

#define ARMDB_VERSION_MAJOR 0
#define ARMDB_VERSION_MINOR 1
#define ARMDB_VERSION_PATCH 0
#define ARMDB_VERSION_SUFFIX "-dev"

#define ARMDB_GLUE_INNER(a, b, c, d) a##b##c##d
#define ARMDB_GLUE(a, b, c, d) ARMDB_GLUE_INNER(a, b, c, d)
#if defined(ARMDB_OMIT_THREADS)
#define ARMDB_BUILD_THREADS _no_threads
#else
#define ARMDB_BUILD_THREADS _threads
#endif
#if defined(ARMDB_OMIT_MMAP)
#define ARMDB_BUILD_MMAP _no_mmap
#else
#define ARMDB_BUILD_MMAP _mmap
#endif
#if defined(ARMDB_OMIT_REPLICATION)
#define ARMDB_BUILD_REPLICATION _no_replication
#else
#define ARMDB_BUILD_REPLICATION _replication
#endif
#define ARMDB_BUILD_TAG \
  ARMDB_GLUE(build_0_1, ARMDB_BUILD_THREADS, ARMDB_BUILD_MMAP, ARMDB_BUILD_REPLICATION)

namespace armdb {

// The version of the source that was linked, such as "0.1.0-dev".
[[nodiscard]] std::string_view version() noexcept;
// The switches armdb.cpp was compiled with, separated by spaces; for bug reports.
[[nodiscard]] std::string_view compile_options() noexcept;

namespace detail {

// "undefined reference to armdb::detail::build_..." means that armdb.cpp has another version or
// other ARMDB_ switches than the file that includes armdb.hpp.
extern const char ARMDB_BUILD_TAG;
[[gnu::used]] static const char* const link_check = &ARMDB_BUILD_TAG;

}  // namespace detail
}  // namespace armdb

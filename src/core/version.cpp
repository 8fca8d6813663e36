// Version text and the symbol of the link check.
#include "core/version.hpp"

#define ARMDB_TEXT_INNER(x) #x
#define ARMDB_TEXT(x) ARMDB_TEXT_INNER(x)

namespace armdb {

std::string_view version() noexcept {
  return ARMDB_TEXT(ARMDB_VERSION_MAJOR) "." ARMDB_TEXT(ARMDB_VERSION_MINOR) "." ARMDB_TEXT(
      ARMDB_VERSION_PATCH) ARMDB_VERSION_SUFFIX;
}

std::string_view compile_options() noexcept {
  return ""
#if defined(ARMDB_OMIT_MMAP)
         "OMIT_MMAP "
#endif
#if defined(ARMDB_OMIT_THREADS)
         "OMIT_THREADS "
#endif
#if defined(ARMDB_OMIT_REPLICATION)
         "OMIT_REPLICATION "
#endif
#if ARMDB_WITH_OPENSSL
         "OPENSSL "
#endif
#if defined(ARMDB_CHECKS)
         "CHECKS "
#endif
#if defined(__cpp_exceptions)
         "exceptions "
#else
         "no-exceptions "
#endif
#if defined(__clang__)
         "clang " __clang_version__;
#else
         "gcc " __VERSION__;
#endif
}

namespace detail {
const char ARMDB_BUILD_TAG = 0;
}  // namespace detail
}  // namespace armdb

#undef ARMDB_TEXT
#undef ARMDB_TEXT_INNER

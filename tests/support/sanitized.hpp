// ARMDB_TEST_SANITIZED: 1 in builds whose address space and `new` belong to a sanitizer.
#pragma once

#if defined(ARMDB_TEST_SANITIZED)
// As the build says.
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ARMDB_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define ARMDB_TEST_SANITIZED 1
#endif
#endif
#if !defined(ARMDB_TEST_SANITIZED)
#define ARMDB_TEST_SANITIZED 0
#endif

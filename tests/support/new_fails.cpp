// The program's `new`, replaced so that it can fail.
#include "support/new_fails.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

#if defined(__linux__) && defined(__GLIBC__) && (defined(__x86_64__) || defined(__aarch64__))
#define TEST_MMAP_TOO 1
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#endif

namespace armdb::test {
namespace {

constexpr long kNoLimit = -1;

struct Limit {
  long left = kNoLimit;  // so many times more
  bool nothrow_only = false;
  bool once = false;
  bool met = false;
};
constinit thread_local Limit limit;
constinit std::atomic<long> alive{0};

#if !ARMDB_TEST_SANITIZED

bool refused(bool nothrow) noexcept {
  if (limit.left == kNoLimit || (limit.nothrow_only && !nothrow)) return false;
  if (limit.left > 0) {
    --limit.left;
    return false;
  }
  limit.met = true;
  if (limit.once) limit.left = kNoLimit;
  return true;
}

void* memory_or_null(std::size_t bytes, bool nothrow) noexcept {
  void* const memory = refused(nothrow) ? nullptr : std::malloc(bytes == 0 ? 1 : bytes);
  if (memory != nullptr) alive.fetch_add(1, std::memory_order_relaxed);
  return memory;
}

void* memory_or_throw(std::size_t bytes) {
  void* const memory = memory_or_null(bytes, false);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void give_back(void* memory) noexcept {
  if (memory != nullptr) alive.fetch_sub(1, std::memory_order_relaxed);
  std::free(memory);
}

#endif

}  // namespace

NewFails::NewFails(long more, News which, bool once) {
  limit = {more, which == News::nothrow, once, false};
}
NewFails::~NewFails() { limit = {}; }
bool NewFails::met() const noexcept { return limit.met; }
long news_alive() noexcept { return alive.load(std::memory_order_relaxed); }

}  // namespace armdb::test

#if !ARMDB_TEST_SANITIZED

using armdb::test::give_back;
using armdb::test::memory_or_null;
using armdb::test::memory_or_throw;

void* operator new(std::size_t bytes) { return memory_or_throw(bytes); }
void* operator new[](std::size_t bytes) { return memory_or_throw(bytes); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return memory_or_null(bytes, true);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return memory_or_null(bytes, true);
}
void operator delete(void* memory) noexcept { give_back(memory); }
void operator delete[](void* memory) noexcept { give_back(memory); }
void operator delete(void* memory, std::size_t) noexcept { give_back(memory); }
void operator delete[](void* memory, std::size_t) noexcept { give_back(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { give_back(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { give_back(memory); }

#if defined(TEST_MMAP_TOO)
// What the C library itself maps does not come this way.
extern "C" void* mmap(void* at, std::size_t bytes, int protection, int flags, int file,
                      off_t offset) noexcept {
  if (armdb::test::refused(true)) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  const long mapped = ::syscall(SYS_mmap, at, bytes, protection, flags, file, offset);
  return reinterpret_cast<void*>(mapped);  // MAP_FAILED is -1
}
#endif

#endif  // !ARMDB_TEST_SANITIZED
#undef TEST_MMAP_TOO

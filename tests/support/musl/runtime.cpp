// The few functions of a C++ runtime that armdb and its tests call, over musl's libc.
//
// Debian has musl for C alone, and its libstdc++ is built for glibc. Of that the headers serve
// musl too, with the files in bits/; what is not inline in them is here. Nothing throws: what
// would be an exception ends the program with a message.
#include <pthread.h>
#include <time.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>

namespace {

[[noreturn]] void stop(const char* what) {
  std::fprintf(stderr, "FAILED would have thrown: %s\n", what);
  std::abort();
}

void* allocate(std::size_t bytes) {
  void* const memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) stop("bad_alloc");
  return memory;
}

std::chrono::nanoseconds read(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

}  // namespace

const std::nothrow_t std::nothrow{};

void* operator new(std::size_t bytes) { return allocate(bytes); }
void* operator new[](std::size_t bytes) { return allocate(bytes); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return std::malloc(bytes); }
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return std::malloc(bytes);
}
void* operator new(std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  const auto unit = static_cast<std::size_t>(alignment);
  return std::aligned_alloc(unit, (bytes + unit - 1) / unit * unit);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }

extern "C" {
// One thread at a time makes function-local statics, all of them.
static pthread_mutex_t guards = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t guard_done = PTHREAD_COND_INITIALIZER;
int __cxa_guard_acquire(long long* guard) {
  char* const state = reinterpret_cast<char*>(guard);  // 0 done, 1 being made
  pthread_mutex_lock(&guards);
  while (state[1] != 0) pthread_cond_wait(&guard_done, &guards);
  const int mine = state[0] == 0 ? 1 : 0;
  if (mine != 0) state[1] = 1;
  pthread_mutex_unlock(&guards);
  return mine;
}
void __cxa_guard_release(long long* guard) {
  char* const state = reinterpret_cast<char*>(guard);
  pthread_mutex_lock(&guards);
  __atomic_store_n(state, 1, __ATOMIC_RELEASE);
  state[1] = 0;
  pthread_cond_broadcast(&guard_done);
  pthread_mutex_unlock(&guards);
}
void __cxa_pure_virtual() { stop("a pure virtual call"); }
}

namespace std {

void __throw_bad_alloc() { stop("bad_alloc"); }
void __throw_bad_array_new_length() { stop("bad_array_new_length"); }
void __throw_logic_error(const char* what) { stop(what); }
void __throw_length_error(const char* what) { stop(what); }
void __throw_system_error(int) { stop("system_error"); }
void __throw_out_of_range_fmt(const char* what, ...) { stop(what); }
void __throw_bad_optional_access() { stop("bad_optional_access"); }

bool _Sp_make_shared_tag::_S_eq(const type_info&) noexcept { return false; }

condition_variable::condition_variable() noexcept = default;
condition_variable::~condition_variable() noexcept = default;
void condition_variable::notify_all() noexcept { pthread_cond_broadcast(native_handle()); }
void condition_variable::notify_one() noexcept { pthread_cond_signal(native_handle()); }
void condition_variable::wait(unique_lock<mutex>& lock) {
  pthread_cond_wait(native_handle(), lock.mutex()->native_handle());
}

chrono::steady_clock::time_point chrono::steady_clock::now() noexcept {
  return time_point(read(CLOCK_MONOTONIC));
}
chrono::system_clock::time_point chrono::system_clock::now() noexcept {
  return time_point(read(CLOCK_REALTIME));
}

}  // namespace std

// Mutex, MutexLock and ConditionVariable, annotated so that clang checks who holds what.
//
// -Wthread-safety turns a forgotten lock into a compile error; other compilers see nothing of
// the annotations. With ARMDB_OMIT_THREADS all of it is empty: there is only one thread.
#pragma once

#include <cstdint>

#include "base/simulation.hpp"

#if !defined(ARMDB_OMIT_THREADS)
#include <chrono>
#include <condition_variable>
#include <mutex>
#endif

#if defined(__clang__)
#define ARMDB_THREAD_ANNOTATION(text) __attribute__((text))
#else
#define ARMDB_THREAD_ANNOTATION(text)
#endif

#define ARMDB_CAPABILITY(name) ARMDB_THREAD_ANNOTATION(capability(name))
#define ARMDB_SCOPED_CAPABILITY ARMDB_THREAD_ANNOTATION(scoped_lockable)
// The member may be touched only with the mutex held; PT_: what the member points at.
#define ARMDB_GUARDED_BY(mutex) ARMDB_THREAD_ANNOTATION(guarded_by(mutex))
#define ARMDB_PT_GUARDED_BY(mutex) ARMDB_THREAD_ANNOTATION(pt_guarded_by(mutex))
// The caller must hold, or must not hold, these.
#define ARMDB_REQUIRES(...) ARMDB_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define ARMDB_EXCLUDES(...) ARMDB_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define ARMDB_ACQUIRE(...) ARMDB_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define ARMDB_RELEASE(...) ARMDB_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define ARMDB_TRY_ACQUIRE(...) ARMDB_THREAD_ANNOTATION(try_acquire_capability(__VA_ARGS__))
#define ARMDB_RETURN_CAPABILITY(mutex) ARMDB_THREAD_ANNOTATION(lock_returned(mutex))
#define ARMDB_NO_THREAD_SAFETY_ANALYSIS ARMDB_THREAD_ANNOTATION(no_thread_safety_analysis)

namespace armdb::base {

// Threads: any. Not recursive; unlocked by the thread that locked it.
class ARMDB_CAPABILITY("mutex") Mutex {
 public:
  Mutex() noexcept = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

#if defined(ARMDB_OMIT_THREADS)
  void lock() noexcept ARMDB_ACQUIRE() {}
  void unlock() noexcept ARMDB_RELEASE() {}
  [[nodiscard]] bool try_lock() noexcept ARMDB_TRY_ACQUIRE(true) { return true; }
  static void set_processors(unsigned) noexcept {}
#else
  void lock() noexcept ARMDB_ACQUIRE();
  void unlock() noexcept ARMDB_RELEASE() { native_.unlock(); }
  [[nodiscard]] bool try_lock() noexcept ARMDB_TRY_ACQUIRE(true) { return native_.try_lock(); }
  // How many this process may run on: with one, lock() sleeps at once, so that the holder can run.
  static void set_processors(unsigned count) noexcept;

 private:
  friend class ConditionVariable;
  std::mutex native_;
#endif
};

// Holds a mutex while it lives.
// Threads: one, the one that made it.
class ARMDB_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) noexcept ARMDB_ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() ARMDB_RELEASE() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Waits end early now and then: always ask for the condition again, in a loop. With
// ARMDB_OMIT_THREADS waiting returns at once, since nobody else could change the condition.
// Threads: any.
class ConditionVariable {
 public:
  ConditionVariable() noexcept = default;
  ConditionVariable(const ConditionVariable&) = delete;
  ConditionVariable& operator=(const ConditionVariable&) = delete;

#if defined(ARMDB_OMIT_THREADS)
  void wait(Mutex& mutex) noexcept ARMDB_REQUIRES(mutex) { static_cast<void>(mutex); }
  bool wait_for_ms(Mutex& mutex, std::uint64_t) noexcept ARMDB_REQUIRES(mutex) {
    static_cast<void>(mutex);
    return false;
  }
  void notify_one() noexcept {}
  void notify_all() noexcept {}
#else
  // Gives `mutex` away while it waits, and holds it again when it returns.
  void wait(Mutex& mutex) noexcept ARMDB_REQUIRES(mutex) {
    if (simulated_wait(mutex, 1)) return;
    std::unique_lock<std::mutex> lock(mutex.native_, std::adopt_lock);
    native_.wait(lock);
    lock.release();
  }
  // False when the time was over.
  bool wait_for_ms(Mutex& mutex, std::uint64_t milliseconds) noexcept ARMDB_REQUIRES(mutex) {
    if (simulated_wait(mutex, milliseconds)) return true;
    constexpr std::uint64_t kLongest = std::uint64_t{1} << 40;  // the clock's sum must not overflow
    const auto time = static_cast<std::int64_t>(milliseconds < kLongest ? milliseconds : kLongest);
    std::unique_lock<std::mutex> lock(mutex.native_, std::adopt_lock);
    const auto outcome = native_.wait_for(lock, std::chrono::milliseconds(time));
    lock.release();
    return outcome == std::cv_status::no_timeout;
  }
  void notify_one() noexcept { native_.notify_one(); }
  void notify_all() noexcept { native_.notify_all(); }

 private:
  static bool simulated_wait(Mutex& mutex, std::uint64_t milliseconds) noexcept
      ARMDB_REQUIRES(mutex) {
    Simulation* const instead = simulated();
    if (instead == nullptr) return false;
    mutex.unlock();
    instead->wait(milliseconds);
    mutex.lock();
    return true;
  }

  std::condition_variable native_;
#endif
};

}  // namespace armdb::base

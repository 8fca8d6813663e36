// Thread and run_parallel: threads that report when they cannot be had.
#pragma once

#include <cstddef>

#if !defined(ARMDB_OMIT_THREADS)
#include <pthread.h>
#endif

#include "core/function_ref.hpp"
#include "core/status.hpp"

namespace armdb::os {

// Processors this process may run on, at least 1.
[[nodiscard]] unsigned hardware_threads() noexcept;

// One thread. Not std::thread, whose constructor throws. All signals are blocked in it, so that
// the program's handlers run on the program's threads.
//
// Threads: start, join and the destructor by one owner.
class Thread {
 public:
  Thread() noexcept = default;
  ~Thread() { join(); }
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;

  // Runs function(context) beside the caller. Not while it is running. Errc::unsupported with
  // ARMDB_OMIT_THREADS.
  Status start(void (*function)(void*), void* context);
  // Waits for the end; nothing when it was not started.
  void join() noexcept;
  [[nodiscard]] bool running() const noexcept { return running_; }

 private:
#if !defined(ARMDB_OMIT_THREADS)
  static void* enter(void* self) noexcept;

  void (*function_)(void*) = nullptr;
  void* context_ = nullptr;
  pthread_t handle_{};
#endif
  bool running_ = false;
};

// Runs job(0) to job(jobs - 1), each once, in any order, on at most `threads` threads, the caller
// being one of them; returns when all are done. Where threads cannot be had the caller does all.
// What the jobs wrote is seen by the caller afterwards.
void run_parallel(std::size_t jobs, unsigned threads, FunctionRef<void(std::size_t job)> job);

// The same for jobs that can fail. One that does keeps none of the others back; the error of the
// first of them is the answer.
Status run_all(std::size_t jobs, unsigned threads, FunctionRef<Status(std::size_t job)> job);

#if !defined(ARMDB_OMIT_REPLICATION)
// From here on the calling thread, and those that it starts, interrupt no other thread of the
// program where processors are short (on Linux, SCHED_BATCH). Nothing for a real-time thread.
void give_way() noexcept;
#endif

// As many threads as work for the processors is worth.
[[nodiscard]] unsigned busy_threads() noexcept;

}  // namespace armdb::os

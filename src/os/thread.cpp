// POSIX threads.
#include "os/thread.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sched.h>
#endif
#if !defined(ARMDB_OMIT_THREADS)
#include <signal.h>
#endif
#include <unistd.h>

#include "base/check.hpp"
#include "base/mutex.hpp"
#include "base/simulation.hpp"

namespace armdb::os {

unsigned hardware_threads() noexcept {
#if defined(ARMDB_OMIT_THREADS)
  return 1;
#else
#if defined(__linux__)
  // What the scheduler lets us use, which in containers is less than what the machine has.
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) {
    const int count = CPU_COUNT(&set);
    if (count > 0) return static_cast<unsigned>(count);
  }
#endif
  const long online = ::sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? static_cast<unsigned>(online) : 1;
#endif
}

#if defined(ARMDB_OMIT_THREADS)

Status Thread::start(void (*)(void*), void*) {
  return Status(Errc::unsupported, "built with ARMDB_OMIT_THREADS");
}

void Thread::join() noexcept {}

#else

void* Thread::enter(void* self) noexcept {
  auto* const thread = static_cast<Thread*>(self);
  thread->function_(thread->context_);
  return nullptr;
}

Status Thread::start(void (*function)(void*), void* context) {
  ARMDB_ASSERT(!running_);
  // A thread that the simulation does not know would run beside the one that has its turn.
  if (base::simulated() != nullptr) return Status(Errc::unsupported, "no threads in a simulation");
  function_ = function;
  context_ = context;
  // A new thread inherits the mask, so that there is no moment in which it takes a signal.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const int error = ::pthread_create(&handle_, nullptr, enter, this);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) {
    return Status::from_os(error, "cannot start a thread; raise the limit (ulimit -u)");
  }
  running_ = true;
  return {};
}

void Thread::join() noexcept {
  if (!running_) return;
  ::pthread_join(handle_, nullptr);
  running_ = false;
}

#endif

namespace {

struct ParallelRun {
  std::size_t jobs;
  FunctionRef<void(std::size_t job)> job;
  std::atomic<std::size_t> next{0};

  void work() {
    // Relaxed: the number alone is shared; starting and joining threads order all else.
    for (;;) {
      const std::size_t mine = next.fetch_add(1, std::memory_order_relaxed);
      if (mine >= jobs) return;
      job(mine);
    }
  }
};

}  // namespace

void run_parallel(std::size_t jobs, unsigned threads, FunctionRef<void(std::size_t job)> job) {
  ParallelRun run{jobs, job};
  std::size_t helpers = threads < jobs ? threads : jobs;
  helpers = helpers == 0 ? 0 : helpers - 1;
  std::unique_ptr<Thread[]> helper;
  if (helpers != 0) helper.reset(new (std::nothrow) Thread[helpers]);
  for (std::size_t at = 0; helper != nullptr && at < helpers; ++at) {
    const Status started =
        helper[at].start([](void* self) { static_cast<ParallelRun*>(self)->work(); }, &run);
    if (!started.ok()) break;  // the others and the caller do the work
  }
  run.work();
  helper.reset();  // joins
}

Status run_all(std::size_t jobs, unsigned threads, FunctionRef<Status(std::size_t job)> job) {
  // Nothing is allocated: a collection is closed when there is no memory, too.
  base::Mutex mutex;
  Status first;
  std::size_t first_at = jobs;
  run_parallel(jobs, threads, [&](std::size_t at) {
    Status outcome = job(at);
    if (outcome.ok()) return;
    const base::MutexLock lock(mutex);
    if (at >= first_at) return;
    first_at = at;
    first = std::move(outcome);
  });
  return first;
}

#if !defined(ARMDB_OMIT_REPLICATION)
void give_way() noexcept {
#if defined(SCHED_BATCH) && !defined(ARMDB_OMIT_THREADS)
  int policy = 0;
  sched_param param{};
  // Where this is not allowed, all is as it was.
  if (::pthread_getschedparam(::pthread_self(), &policy, &param) == 0 && policy == SCHED_OTHER) {
    static_cast<void>(::pthread_setschedparam(::pthread_self(), SCHED_BATCH, &param));
  }
#endif
}
#endif

unsigned busy_threads() noexcept { return std::min(hardware_threads(), 8u); }

}  // namespace armdb::os

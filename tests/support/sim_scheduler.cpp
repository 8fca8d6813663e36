#include "support/sim_scheduler.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS)

#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

namespace armdb::test {

struct SimScheduler::Thread {
  void take() {
    std::unique_lock lock(mutex);
    ready.wait(lock, [&] { return given; });
    given = false;
  }
  void give() {
    {
      const std::lock_guard lock(mutex);
      given = true;
    }
    ready.notify_one();
  }

  std::string name;
  std::uint64_t number = 0;
  std::function<void()> body;
  std::uint64_t weight = 1;
  std::uint64_t until_us = 0;                            // it can go on from then on
  const std::function<std::uint64_t()>* when = nullptr;  // or from then on
  bool ended = false;

  std::mutex mutex;
  std::condition_variable ready;
  bool given = false;
  std::thread thread;
};

namespace {

thread_local void* own = nullptr;

}  // namespace

// While it lives this thread, and those that it makes, stay on one processor: to wake a thread on
// another one takes ten times as long as all that most turns do.
struct SimScheduler::Processor {
#if defined(__linux__)
  Processor() {
    known = ::sched_getaffinity(0, sizeof before, &before) == 0;
    const int number = ::sched_getcpu();
    if (!known || number < 0 || number >= CPU_SETSIZE) return;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(number), &one);
    static_cast<void>(::sched_setaffinity(0, sizeof one, &one));
  }
  ~Processor() {
    if (known) static_cast<void>(::sched_setaffinity(0, sizeof before, &before));
  }
  Processor(const Processor&) = delete;
  Processor& operator=(const Processor&) = delete;

  cpu_set_t before;
  bool known = false;
#endif
};

SimScheduler::SimScheduler(std::uint64_t seed)
    : processor_(std::make_unique<Processor>()),
      random_(seed),
      main_(std::make_unique<Thread>()),
      trace_(seed) {
  base::simulation.store(this, std::memory_order_release);
}

SimScheduler::~SimScheduler() { base::simulation.store(nullptr, std::memory_order_release); }

void SimScheduler::die(const char* what) const {
  std::fprintf(stderr, "simulation: %s, after %zu steps and %llu us; waiting:", what, steps_,
               static_cast<unsigned long long>(now_us_));
  for (const auto& thread : threads_) std::fprintf(stderr, " %s", thread->name.c_str());
  std::fprintf(stderr, "\n");
  std::fflush(stderr);
  std::abort();
}

void SimScheduler::spawn(std::string name, std::function<void()> body) {
  auto made = std::make_unique<Thread>();
  made->name = std::move(name);
  made->number = ++number_next_;
  made->body = std::move(body);
  made->weight = 1 + random_.below(8);
  Thread& thread = *made;
  threads_.push_back(std::move(made));
  thread.thread = std::thread([this, &thread] { work(thread); });
}

void SimScheduler::work(Thread& self) {
  own = &self;
  self.take();
  self.body();
  self.ended = true;
  const auto at = std::find_if(threads_.begin(), threads_.end(),
                               [&](const auto& one) { return one.get() == &self; });
  ended_.push_back(std::move(*at));
  threads_.erase(at);
  // After this nothing here is its own.
  (threads_.empty() ? *main_ : choose()).give();
}

void SimScheduler::run(std::size_t steps_most) {
  steps_most_ = steps_most;
  while (!threads_.empty()) {
    choose().give();
    main_->take();
  }
  for (const auto& thread : ended_) thread->thread.join();
  ended_.clear();
}

SimScheduler::Thread& SimScheduler::choose() {
  if (++steps_ > steps_most_) die("more steps than ever needed");
  now_us_ += 1 + random_.below(16);
  if (now_us_ >= reweigh_us_) {
    reweigh_us_ = now_us_ + 1000 + random_.below(60000);
    for (const auto& thread : threads_) {
      thread->weight = random_.one_in(4) ? 1 : 2 + random_.below(30);
    }
  }
  for (;;) {
    Thread* able[64];
    std::size_t count = 0;
    std::uint64_t sum = 0;
    std::uint64_t next_us = kNever;
    for (const auto& thread : threads_) {
      std::uint64_t at_us = thread->until_us;
      if (at_us > now_us_ && thread->when != nullptr) at_us = std::min(at_us, (*thread->when)());
      next_us = std::min(next_us, at_us);
      if (at_us > now_us_ || count == std::size(able)) continue;
      able[count++] = thread.get();
      sum += thread->weight;
    }
    if (count == 0) {
      if (next_us == kNever) die("all threads wait for ever");
      now_us_ = next_us;
      continue;
    }
    std::uint64_t drawn = random_.below(sum);
    std::size_t at = 0;
    for (; drawn >= able[at]->weight; ++at) drawn -= able[at]->weight;
    note(able[at]->number);
    return *able[at];
  }
}

void SimScheduler::hand_over() {
  Thread& self = *static_cast<Thread*>(own);
  Thread& next = choose();
  if (&next == &self) return;
  next.give();
  self.take();
}

void SimScheduler::point() {
  if (own == nullptr) return;
  now_us_ += 1;
  if (random_.below(8) == 0) hand_over();
}

void SimScheduler::sleep_us(std::uint64_t microseconds) {
  if (own == nullptr) return;
  Thread& self = *static_cast<Thread*>(own);
  self.until_us = now_us_ + microseconds;
  hand_over();
  self.until_us = 0;
}

bool SimScheduler::wait_until(std::uint64_t until_us, const std::function<std::uint64_t()>& when) {
  Thread& self = *static_cast<Thread*>(own);
  if (when() > now_us_) {
    self.when = &when;
    self.until_us = until_us;
    hand_over();
    self.when = nullptr;
    self.until_us = 0;
  }
  return when() <= now_us_;
}

void SimScheduler::wait(std::uint64_t milliseconds) {
  // Who waits for a mutex asks again soon; who waits for a condition is told by nobody.
  sleep_us(milliseconds == 0 ? random_.below(20) : std::min<std::uint64_t>(milliseconds, 2) * 1000);
}

void SimScheduler::random_bytes(MutableBytes out) {
  for (std::uint8_t& byte : out) byte = static_cast<std::uint8_t>(random_.next());
}

void SimScheduler::note(const std::string& text) noexcept {
  for (const char c : text) note(static_cast<std::uint64_t>(static_cast<unsigned char>(c)));
}

}  // namespace armdb::test

#endif

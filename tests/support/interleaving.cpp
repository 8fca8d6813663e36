#include "support/interleaving.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS)

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <sstream>
#include <thread>

#include "base/step_point.hpp"

namespace armdb::test {
namespace {

constexpr unsigned kThreadsMax = 4;
constexpr std::size_t kPoolBytes = 4u << 20;
constexpr std::size_t kObjectBytes = 4096;
constexpr std::size_t kCellBytes = 8;
constexpr std::size_t kCells = (kPoolBytes + kObjectBytes) / kCellBytes + 1;
constexpr std::size_t kStepsMax = 5000000;  // of one execution: more is a livelock
constexpr unsigned kNobody = ~0u;

// ---- Memory ----

alignas(4096) std::uint8_t pool[kPoolBytes];
std::size_t pool_used = 0;
const std::uint8_t* shared_object = nullptr;

void* pool_allocate(std::size_t bytes, std::size_t) {
  const std::size_t at = (pool_used + 63) / 64 * 64;
  if (bytes > kPoolBytes - at) return nullptr;
  pool_used = at + bytes;
  std::memset(pool + at, 0, bytes);
  return pool + at;
}
void pool_release(void*, std::size_t) {}

// Numbers the cells of the pool, then those of the object; all other memory is one cell.
std::size_t cell_of(const void* memory) {
  const auto* at = static_cast<const std::uint8_t*>(memory);
  const auto in_pool =
      reinterpret_cast<std::uintptr_t>(at) - reinterpret_cast<std::uintptr_t>(pool);
  if (in_pool < kPoolBytes) return in_pool / kCellBytes;
  const auto in_object =
      reinterpret_cast<std::uintptr_t>(at) - reinterpret_cast<std::uintptr_t>(shared_object);
  return (kPoolBytes + (in_object < kObjectBytes ? in_object : kObjectBytes)) / kCellBytes;
}

// ---- The baton ----

// Waits shortly in a loop first: to sleep and be woken costs more than a whole execution.
class Baton {
 public:
  void give() {
    {
      const std::lock_guard lock(mutex_);
      given_.store(true, std::memory_order_release);
    }
    ready_.notify_one();
  }
  void take() {
    for (int i = 0; i < 500 && !given_.load(std::memory_order_acquire); ++i) {
    }
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [&] { return given_.load(std::memory_order_relaxed); });
    given_.store(false, std::memory_order_relaxed);
  }

 private:
  std::mutex mutex_;
  std::condition_variable ready_;
  std::atomic<bool> given_{false};
};

struct Choice {
  unsigned taken = 0;
  unsigned count = 0;
};
struct Run {
  unsigned thread = 0;
  std::size_t steps = 0;
};

class Scheduler {
 public:
  Scheduler(Interleaved& program, const ExploreOptions& options)
      : program_(program), options_(options), touched_(kCells), conflicts_(kCells) {
    for (unsigned thread = 0; thread < options_.threads; ++thread) {
      workers_.emplace_back([this, thread] { work(thread); });
    }
  }
  ~Scheduler() {
    ending_ = true;
    for (unsigned thread = 0; thread < options_.threads; ++thread) batons_[thread].give();
    for (std::thread& worker : workers_) worker.join();
  }

  Explored explore() {
    Explored result;
    for (bool again = true; again;) {
      again = false;
      path_.clear();
      do {
        execute();
        result.schedules += 1;
        result.points = std::max(result.points, path_.size());
        result.fault = program_.check();
        if (!result.fault.empty()) {
          result.schedule = schedule();
          return result;
        }
        if (result.schedules >= options_.schedules_max) return result;
      } while (next_path());
      again = learn();
    }
    result.complete = true;
    return result;
  }

  std::string replay(const std::string& text) {
    std::istringstream in(text);
    Run run;
    char star = 0;
    while (in >> run.thread >> star >> run.steps) replayed_.push_back(run);
    execute();
    return program_.check();
  }

  void step(unsigned self, base::Step step, const void* memory) {
    const std::size_t cell = cell_of(memory);
    runs_.back().steps += 1;
    if (++steps_ > kStepsMax) die("the threads go round in circles");
    const bool writes = step == base::Step::write;
    touched_[cell] = static_cast<std::uint8_t>(touched_[cell] | (1u << (writes ? self + 4 : self)));
    if (step == base::Step::blocked) blocked_[self] = memory;
    if (!replayed_.empty()) {
      if (runs_.back().steps >= replayed_[runs_.size() - 1].steps) pass(self, replayed_next());
    } else if (step == base::Step::blocked || (conflicts_[cell] != 0 && begun_[self])) {
      pass(self, choose(self));
    }
    // It was chosen for its first step of these: to take the baton away again there would repeat
    // the schedule in which another was chosen.
    begun_[self] = begun_[self] || conflicts_[cell] != 0;
    // The write follows now: who came to wait for it while this thread had no baton can go on.
    if (!writes) return;
    for (unsigned thread = 0; thread < options_.threads; ++thread) {
      if (blocked_[thread] == memory) blocked_[thread] = nullptr;
    }
  }

  std::uint64_t now() { return ++clock_; }

 private:
  void work(unsigned self);

  void execute() {
    pool_used = 0;
    shared_object = nullptr;
    base::step_hook.store(nullptr, std::memory_order_relaxed);
    program_.set_up();
    base::step_hook.store(hook, std::memory_order_relaxed);
    steps_ = 0;
    clock_ = 0;
    at_ = 0;
    preemptions_ = 0;
    runs_.clear();
    for (unsigned thread = 0; thread < kThreadsMax; ++thread) {
      blocked_[thread] = nullptr;
      done_[thread] = thread >= options_.threads;
      begun_[thread] = false;
    }
    const unsigned first = replayed_.empty() ? choose(kNobody) : replayed_[0].thread;
    pass(kNobody, first);
    all_done_.take();
    base::step_hook.store(nullptr, std::memory_order_relaxed);
    path_.resize(at_);
  }

  static void hook(base::Step step, const void* memory);

  // Who goes on, of those who can: `self` first.
  unsigned choose(unsigned self) {
    unsigned able[kThreadsMax];
    unsigned count = 0;
    const auto is_able = [&](unsigned thread) {
      return !done_[thread] && blocked_[thread] == nullptr;
    };
    const bool can_go_on = self != kNobody && is_able(self);
    if (can_go_on) able[count++] = self;
    if (!can_go_on || preemptions_ < options_.preemptions_max) {
      for (unsigned thread = 0; thread < options_.threads; ++thread) {
        if (thread != self && is_able(thread)) able[count++] = thread;
      }
    }
    if (count == 0) die("all threads wait");
    unsigned taken = 0;
    if (count > 1) {
      if (at_ == path_.size()) path_.push_back({0, count});
      if (path_[at_].count != count) die("an execution does not repeat");
      taken = path_[at_++].taken;
    }
    if (can_go_on && taken != 0) preemptions_ += 1;
    return able[taken];
  }

  unsigned replayed_next() {
    if (runs_.size() >= replayed_.size()) die("the schedule is of another program");
    return replayed_[runs_.size()].thread;
  }

  void pass(unsigned self, unsigned to) {
    if (to == self) return;
    if (to >= options_.threads || done_[to]) die("the schedule is of another program");
    runs_.push_back({to, 0});
    const bool waits = self != kNobody && !done_[self];  // after give() nothing here is ours
    batons_[to].give();
    if (waits) batons_[self].take();
  }

  void finish(unsigned self) {
    done_[self] = true;
    runs_.back().steps += 1;  // so that a replay does not take the baton at the last step
    for (unsigned thread = 0; thread < options_.threads; ++thread) {
      if (done_[thread]) continue;
      pass(self, replayed_.empty() ? choose(self) : replayed_next());
      return;
    }
    all_done_.give();
  }

  // The next path in depth-first order; false at the end.
  bool next_path() {
    while (!path_.empty() && path_.back().taken + 1 == path_.back().count) path_.pop_back();
    if (path_.empty()) return false;
    path_.back().taken += 1;
    return true;
  }

  // True when cells are in conflict that were not known to be.
  bool learn() {
    bool fresh = false;
    for (std::size_t cell = 0; cell < kCells; ++cell) {
      const unsigned readers = touched_[cell] & 15u;
      const unsigned writers = touched_[cell] >> 4;
      const unsigned all = readers | writers;
      if (conflicts_[cell] != 0 || writers == 0 || (all & (all - 1)) == 0) continue;
      conflicts_[cell] = 1;
      fresh = true;
    }
    return fresh;
  }

  std::string schedule() const {
    std::string text;
    for (const Run& run : runs_) {
      if (!text.empty()) text += ' ';
      text += std::to_string(run.thread) + '*' + std::to_string(run.steps);
    }
    return text;
  }

  // Inside the library there is no way out but this.
  [[noreturn]] void die(const char* what) const {
    std::fprintf(stderr, "interleaving: %s; schedule: %s\n", what, schedule().c_str());
    std::fflush(stderr);
    std::abort();
  }

  Interleaved& program_;
  const ExploreOptions options_;
  std::vector<std::thread> workers_;
  Baton batons_[kThreadsMax];
  Baton all_done_;
  bool ending_ = false;

  // All that follows is touched by the holder of the baton only.
  std::vector<Choice> path_;
  std::size_t at_ = 0;                 // in path_
  std::vector<std::uint8_t> touched_;  // low bits: who read, high bits: who wrote
  std::vector<std::uint8_t> conflicts_;
  std::vector<Run> replayed_;
  std::vector<Run> runs_;
  const void* blocked_[kThreadsMax] = {};  // what must be written before it can go on
  bool done_[kThreadsMax] = {};
  bool begun_[kThreadsMax] = {};  // it has touched what others touch
  unsigned preemptions_ = 0;
  std::size_t steps_ = 0;
  std::uint64_t clock_ = 0;
};

Scheduler* current = nullptr;
thread_local unsigned own_number = kNobody;

void Scheduler::hook(base::Step step, const void* memory) {
  if (own_number != kNobody) current->step(own_number, step, memory);
}

void Scheduler::work(unsigned self) {
  own_number = self;
  for (;;) {
    batons_[self].take();
    if (ending_) return;
    program_.run(self);
    finish(self);
  }
}

}  // namespace

Explored explore(Interleaved& program, const ExploreOptions& options) {
  Scheduler scheduler(program, options);
  current = &scheduler;
  Explored result = scheduler.explore();
  current = nullptr;
  return result;
}

std::string replay(Interleaved& program, unsigned threads, const std::string& schedule) {
  ExploreOptions options;
  options.threads = threads;
  Scheduler scheduler(program, options);
  current = &scheduler;
  std::string fault = scheduler.replay(schedule);
  current = nullptr;
  return fault;
}

std::uint64_t interleaved_now() { return current->now(); }

base::PageSource interleaved_pages() { return {pool_allocate, pool_release}; }

void interleaved_object(const void* object) {
  shared_object = static_cast<const std::uint8_t*>(object);
}

}  // namespace armdb::test

#endif

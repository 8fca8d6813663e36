// SimScheduler: threads that take turns, a clock that only they move, and chance from one seed.
//
// The threads are real, but only the one with the baton runs. It may lose it in point(), which the
// simulated disk and network call, where it waits, and where it finds a mutex taken. Who goes on
// is drawn, by weights that change now and then, so that some seeds let one thread starve. The
// clock moves a little with each step; when all wait it jumps to the next moment that somebody
// waits for. The same seed gives the same run, and trace() says so.
//
// Threads: those it spawned, one at a time; run() by the one that made it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/simulation.hpp"
#include "support/random.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS)

namespace armdb::test {

inline constexpr std::uint64_t kNever = ~std::uint64_t{0};

class SimScheduler final : public base::Simulation {
 public:
  explicit SimScheduler(std::uint64_t seed);
  ~SimScheduler();
  SimScheduler(const SimScheduler&) = delete;
  SimScheduler& operator=(const SimScheduler&) = delete;

  void spawn(std::string name, std::function<void()> body);
  // Until all threads have ended. More steps than `steps_most` are a livelock, which ends the
  // program: inside the library there is no other way out.
  void run(std::size_t steps_most);

  // Perhaps somebody else goes on first.
  void point();
  void sleep_us(std::uint64_t microseconds);
  // Until when() is not in the future, or `until_us`; false when that came first. when() is asked
  // by other threads too.
  bool wait_until(std::uint64_t until_us, const std::function<std::uint64_t()>& when);

  [[nodiscard]] std::uint64_t now_us() const noexcept { return now_us_; }
  [[nodiscard]] base::Random& random() noexcept { return random_; }
  [[nodiscard]] std::size_t steps() const noexcept { return steps_; }
  // Of all that was noted and of who went on when.
  void note(std::uint64_t what) noexcept { trace_ = (trace_ ^ what) * 0x9e3779b97f4a7c15u + 1; }
  void note(const std::string& text) noexcept;
  [[nodiscard]] std::uint64_t trace() const noexcept { return trace_; }

  std::uint64_t monotonic_ns() override { return (kEpochUs + now_us_) * 1000; }
  std::uint64_t milliseconds_since_1970() override { return kWallMs + now_us_ / 1000; }
  void random_bytes(MutableBytes out) override;
  void wait(std::uint64_t milliseconds) override;

 private:
  struct Thread;
  struct Processor;

  static constexpr std::uint64_t kEpochUs = 1000000;
  static constexpr std::uint64_t kWallMs = std::uint64_t{1750000000} * 1000;

  void work(Thread& self);
  Thread& choose();
  void hand_over();
  [[noreturn]] void die(const char* what) const;

  const std::unique_ptr<Processor> processor_;
  base::Random random_;
  std::vector<std::unique_ptr<Thread>> threads_;  // that have not ended
  std::vector<std::unique_ptr<Thread>> ended_;
  std::unique_ptr<Thread> main_;
  std::uint64_t number_next_ = 0;
  std::uint64_t now_us_ = 0;
  std::uint64_t reweigh_us_ = 0;
  std::uint64_t trace_ = 0;
  std::size_t steps_ = 0;
  std::size_t steps_most_ = 0;
};

}  // namespace armdb::test

#endif

// Oracle: what may be there after a power cut, given what was when the writer began.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "power/work.hpp"

namespace armdb::power {

// Threads: one.
class Oracle {
 public:
  explicit Oracle(const Subject& subject) : subject_(subject) {}

  // A writer begins, on what the last reading found.
  void begin(const Progress& progress);
  // The power is about to go: what has returned by now could be lost.
  void cut(const Progress& progress) noexcept;
  // Empty, or what is wrong with `found`, which the next writer begins on. `closed`: whoever read
  // it has closed it, which synced it; else it may yet go, as long as nobody syncs.
  [[nodiscard]] std::string judge(const Content& found, const Progress& progress, bool closed);
  // So many cuts took writes that had returned.
  [[nodiscard]] std::uint64_t costly() const noexcept { return costly_; }

 private:
  using Numbers = std::array<std::uint64_t, kThreads>;
  // From a writer's beginning to the cut: the numbers of writes of each thread.
  struct Era {
    Content base{};   // what it began on
    Numbers begun{};  // in `base`, as far as they are there
    Numbers returned{};
    Numbers durable{};  // not less than `begun`
    Numbers started{};
    Content synced{};  // of each key the last write that was synced by itself
  };
  [[nodiscard]] std::uint64_t after(const Era& era, unsigned thread, std::uint64_t place,
                                    std::uint64_t n) const;
  [[nodiscard]] bool fits(const Era& era, unsigned thread, std::uint64_t place,
                          std::uint64_t there) const;
  [[nodiscard]] bool is_prefix(const Era& era, const Content& found, unsigned thread,
                               std::uint64_t first) const;
  [[nodiscard]] std::string judge_key(const Content& found, unsigned thread,
                                      std::uint64_t place) const;
  [[nodiscard]] std::string judge_all(const Content& found) const;
  void end_era(const Progress& progress);

  const Subject subject_;
  Content base_{};
  std::vector<Era> eras_;  // the last one, and those before it of which nothing was synced since
  std::uint64_t costly_ = 0;
};

}  // namespace armdb::power

// Oracle: what may be there after a power cut, given what was when the writer began.
#pragma once

#include <cstdint>
#include <string>

#include "power/work.hpp"

namespace armdb::power {

// Threads: one.
class Oracle {
 public:
  explicit Oracle(const Subject& subject) : subject_(subject) {}

  // A writer begins, on what the last reading found.
  void begin(const Progress& progress) noexcept;
  // Empty, or what is wrong with `found`, which the next writer begins on.
  [[nodiscard]] std::string judge(const Content& found, const Progress& progress);
  // So many writes that had returned were not there.
  [[nodiscard]] std::uint64_t lost() const noexcept { return lost_; }

 private:
  [[nodiscard]] std::uint64_t after(unsigned thread, std::uint64_t place, std::uint64_t n) const;
  [[nodiscard]] std::string judge_key(const Content& found, unsigned thread, std::uint64_t place,
                                      const Progress::Thread& progress) const;
  [[nodiscard]] bool is_prefix(const Content& found, unsigned thread, std::uint64_t n) const;

  Subject subject_;
  Content base_{};
  std::uint64_t begun_[kThreads] = {};  // writes up to these are in base_, as far as they are there
  std::uint64_t lost_ = 0;
};

}  // namespace armdb::power

// NewFails: memory that runs out. While it lives, `new` and mmap() fail in its thread after so
// many times. Sanitizers keep their own `new`: there it limits nothing, see kNewCanFail.
#pragma once

#include "support/sanitized.hpp"

namespace armdb::test {

inline constexpr bool kNewCanFail = !ARMDB_TEST_SANITIZED;

// Which fail: all; or only those whose failing needs no exceptions, new (std::nothrow) and mmap().
enum class News : unsigned char { all, nothrow };

// Threads: one, whose memory it limits; one at a time.
class NewFails {
 public:
  explicit NewFails(long more, News which = News::all, bool once = false);
  ~NewFails();
  NewFails(const NewFails&) = delete;
  NewFails& operator=(const NewFails&) = delete;
  // Whether anybody was refused.
  [[nodiscard]] bool met() const noexcept;
};

// Blocks that `new` gave to any thread and nobody deleted.
[[nodiscard]] long news_alive() noexcept;

}  // namespace armdb::test

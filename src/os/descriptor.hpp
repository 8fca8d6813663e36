// Descriptor: owns a file descriptor; and how the operating system's failures become Status.
#pragma once

#include <string>
#include <utility>

#include "core/status.hpp"

namespace armdb::os {

// Closes what it owns. Threads: as an int.
class Descriptor {
 public:
  Descriptor() noexcept = default;
  explicit Descriptor(int number) noexcept : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() { reset(); }

  [[nodiscard]] int get() const noexcept { return number_; }
  [[nodiscard]] bool valid() const noexcept { return number_ >= 0; }
  // close() is never retried: after EINTR the number may belong to somebody else. Keeps errno.
  void reset() noexcept;

 private:
  int number_ = -1;
};

// open(2), again after EINTR; -1 and errno. Never gives 0, 1 or 2: a program that had closed
// them would print into our file. New files get mode 0600.
int open_no_interrupt(const char* path, int flags) noexcept;

// `number`, or, where that is 0, 1 or 2, a copy above them in its place; -1 and errno.
int above_standard(int number) noexcept;

// Opens a regular file, with O_CLOEXEC, and without following a symbolic link or waiting for the
// other end of a FIFO. Anything else at `path` is invalid_argument.
Result<Descriptor> open_regular_file(const std::string& path, int flags);

// "<doing>; <what to do about it>" with errno and path.
Status failure(int os_error, const char* doing, const std::string& path,
               std::uint64_t offset = Status::kNoOffset);

}  // namespace armdb::os

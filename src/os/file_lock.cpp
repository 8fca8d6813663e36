// Locks of open file descriptions (OFD), or flock where the system has none.
//
// Not fcntl's older process locks: those vanish when any descriptor of the file is closed by any
// part of the program, and two handles of one process never conflict.
#include "os/file_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "base/errors.hpp"
#include "base/text.hpp"
#include "os/clock.hpp"
#include "os/descriptor.hpp"

namespace armdb::os {
namespace {

constexpr std::size_t kHolderBytesMax = 128;

#if defined(F_OFD_SETLK)
// A lock on the whole file. OFD calls want l_pid 0.
struct flock whole_file(short type) noexcept {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;
}
#endif

// 0, or an errno; EAGAIN says that somebody else holds the lock.
int try_lock(int file, LockMode mode) noexcept {
#if defined(F_OFD_SETLK)
  struct flock lock = whole_file(mode == LockMode::exclusive ? F_WRLCK : F_RDLCK);
  if (::fcntl(file, F_OFD_SETLK, &lock) == 0) return 0;
  if (errno == EACCES) return EAGAIN;
  if (errno != EINVAL) return errno;  // EINVAL: a kernel before 3.15
#endif
  if (::flock(file, (mode == LockMode::exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0) return 0;
  return errno == EWOULDBLOCK ? EAGAIN : errno;
}

void unlock(int file) noexcept {
#if defined(F_OFD_SETLK)
  struct flock lock = whole_file(F_UNLCK);
  if (::fcntl(file, F_OFD_SETLK, &lock) == 0) return;
#endif
  ::flock(file, LOCK_UN);
}

// Whether those in the way only read; the line in the file is then an old one.
bool readers_in_the_way(int file) noexcept {
#if defined(F_OFD_GETLK)
  struct flock lock = whole_file(F_WRLCK);
  return ::fcntl(file, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_RDLCK;
#else
  static_cast<void>(file);
  return false;
#endif
}

// Field 22 of /proc/self/stat, or 0. The name in field 2 may hold anything, so count from the
// last ')'.
std::uint64_t process_start_ticks() noexcept {
  const Descriptor file(open_no_interrupt("/proc/self/stat", O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return 0;
  char text[1024];
  const ssize_t size = ::read(file.get(), text, sizeof text - 1);
  if (size <= 0) return 0;
  text[size] = 0;
  const char* at = std::strrchr(text, ')');
  for (int field = 3; at != nullptr && field <= 22; ++field) at = std::strchr(at + 1, ' ');
  return at == nullptr ? 0 : std::strtoull(at, nullptr, 10);
}

std::string own_pid_text() {
  return base::text("pid % ", {static_cast<std::uint64_t>(::getpid())});
}

// Best effort: the lock holds without the line, and a full disk must not keep a store closed.
void write_holder(int file) {
  const std::string text = lock_holder_text();
  if (::ftruncate(file, 0) != 0) return;
  if (::pwrite(file, text.data(), text.size(), 0) < 0) return;
}

Status conflict_of(int file, const std::string& path) {
  char line[kHolderBytesMax];
  const ssize_t size = ::pread(file, line, sizeof line, 0);
  const std::string_view holder(line, size > 0 ? static_cast<std::size_t>(size) : 0);
  return lock_conflict(path, holder, readers_in_the_way(file));
}

// Threads: as an int.
class PosixLock final : public FileLock {
 public:
  PosixLock(Descriptor file) noexcept : file_(std::move(file)), pid_(::getpid()) {}
  // A child after fork() shares the lock: it only closes its descriptor, and leaves the lock to
  // the parent. The parent unlocks, for the child's descriptor would hold the lock on.
  ~PosixLock() override {
    if (::getpid() == pid_) unlock(file_.get());
  }

 private:
  Descriptor file_;
  pid_t pid_;
};

}  // namespace

std::string lock_holder_text() {
  const std::uint64_t started = process_start_ticks();
  const std::string since = started != 0 ? base::text("started % ", {started}) : std::string();
  return base::text("%%locked %\n", {own_pid_text(), since, wall_text()});
}

Status lock_conflict(const std::string& path, std::string_view holder_line, bool held_by_readers) {
  if (held_by_readers) {
    return Status(Errc::locked, "is open elsewhere, for reading; close the readers first").at(path);
  }
  std::string holder;
  for (const char c : holder_line.substr(0, kHolderBytesMax)) {
    if (c == '\n') break;
    holder += c >= ' ' && c <= '~' ? c : '?';
  }
  if (holder.empty()) holder = "an unknown process";
  if (holder.starts_with(own_pid_text())) holder = base::text("this process (%)", {holder});
  return base::failure(Errc::locked,
                       "is open elsewhere, held by %: close it there or end that process", {holder})
      .at(path);
}

Result<Owned<FileLock>> lock_file(const std::string& path, LockMode mode) {
  const int flags = mode == LockMode::exclusive ? O_RDWR | O_CREAT : O_RDONLY;
  Result<Descriptor> file = open_regular_file(path, flags);
  if (!file.ok()) return file.status();
  const int error = try_lock(file->get(), mode);
  if (error == EAGAIN) return conflict_of(file->get(), path);
  if (error != 0) return failure(error, "cannot lock", path);
  if (mode == LockMode::exclusive) write_holder(file->get());
  Owned<FileLock> lock(new (std::nothrow) PosixLock(*std::move(file)));
  if (!lock) return Errc::out_of_memory;
  return lock;
}

}  // namespace armdb::os

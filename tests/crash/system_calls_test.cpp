// What the operating system may answer and seldom does: signals that interrupt calls on regular
// files, short writes, an fallocate() that keeps what it got. The calls of this program come here
// first: its own symbols go before those of the C library.
#include <cerrno>

#include "core/file_system.hpp"
#include "support/catch.hpp"
#include "support/sanitized.hpp"
#include "support/temp_dir.hpp"

#if defined(__linux__) && defined(__GLIBC__) && defined(__x86_64__) && !ARMDB_TEST_SANITIZED

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

// What the next calls of this thread answer.
struct Plan {
  int interrupts = 0;   // so many calls end with EINTR before they do anything
  int short_calls = 0;  // then so many do half of what they are asked for
  bool full = false;    // fallocate() does half, and then finds the disk full
  int sync_error = 0;   // of the next sync
  int calls = 0;
};
thread_local Plan plan;

bool interrupted() {
  ++plan.calls;
  if (plan.interrupts == 0) return false;
  --plan.interrupts;
  errno = EINTR;
  return true;
}

std::size_t allowed(std::size_t size) {
  if (plan.short_calls == 0 || size < 2) return size;
  --plan.short_calls;
  return size / 2;
}

}  // namespace

extern "C" ssize_t pwrite(int file, const void* bytes, size_t size, off_t offset) {
  if (interrupted()) return -1;
  return ::syscall(SYS_pwrite64, file, bytes, allowed(size), offset);
}
extern "C" ssize_t pread(int file, void* bytes, size_t size, off_t offset) {
  if (interrupted()) return -1;
  return ::syscall(SYS_pread64, file, bytes, allowed(size), offset);
}
extern "C" int ftruncate(int file, off_t size) noexcept {
  if (interrupted()) return -1;
  return static_cast<int>(::syscall(SYS_ftruncate, file, size));
}
extern "C" int fallocate(int file, int mode, off_t offset, off_t size) {
  if (interrupted()) return -1;
  if (plan.full) size /= 2;
  const int outcome = static_cast<int>(::syscall(SYS_fallocate, file, mode, offset, size));
  if (outcome != 0 || !plan.full) return outcome;
  plan.full = false;
  errno = ENOSPC;
  return -1;
}
extern "C" int fdatasync(int file) {
  ++plan.calls;
  if (plan.sync_error == 0) return static_cast<int>(::syscall(SYS_fdatasync, file));
  errno = std::exchange(plan.sync_error, 0);
  return -1;
}

using namespace armdb;

TEST_CASE(
    "system calls: interrupted and short ones go on where they were [pitfall-25] [pitfall-26]") {
  const test::TempDir directory;
  auto file = posix_file_system().open(directory / "file", OpenMode::create_new);
  REQUIRE(file.ok());
  const std::string bytes = "a signal may come at any time, a short write too";
  for (const int interrupts : {0, 1, 5}) {
    for (const int short_calls : {0, 1, 4}) {
      INFO(interrupts << " interrupts, " << short_calls << " short calls");
      plan = {.interrupts = interrupts, .short_calls = short_calls};
      REQUIRE((*file)->write_at(100, bytes).ok());
      CHECK(plan.calls == 1 + interrupts + short_calls);
      std::string read(bytes.size(), '\0');
      const MutableBytes into(reinterpret_cast<std::uint8_t*>(read.data()), read.size());
      plan = {.interrupts = interrupts, .short_calls = short_calls};
      REQUIRE((*file)->read_at(100, into).value() == bytes.size());
      CHECK(plan.calls == 1 + interrupts + short_calls);
      CHECK(read == bytes);
      plan = {.interrupts = interrupts};
      REQUIRE((*file)->truncate(100).ok());
      CHECK((*file)->size().value() == 100);
      plan = {.interrupts = interrupts};
      REQUIRE((*file)->allocate(100, 4096).ok());
      CHECK((*file)->size().value() == 4196);
    }
  }
  plan = {};
}

TEST_CASE("system calls: what a failed fallocate() got is given back [pitfall-29]") {
  const test::TempDir directory;
  const std::string path = directory / "file";
  auto file = posix_file_system().open(path, OpenMode::create_new);
  REQUIRE(file.ok());
  REQUIRE((*file)->write_at(0, "twelve bytes").ok());
  struct stat before {
  }, after{};
  REQUIRE(::stat(path.c_str(), &before) == 0);
  plan = {.full = true};
  CHECK((*file)->allocate(12, 1 << 20).is(Errc::no_space));
  plan = {};
  REQUIRE(::stat(path.c_str(), &after) == 0);
  CHECK(after.st_size == 12);
  CHECK(after.st_blocks == before.st_blocks);
}

TEST_CASE("system calls: a sync that fails is asked for once, whatever it says [pitfall-3]") {
  const test::TempDir directory;
  auto file = posix_file_system().open(directory / "file", OpenMode::create_new);
  REQUIRE(file.ok());
  for (const int error : {EINTR, EIO, ENOSPC, EDQUOT, EROFS}) {
    plan = {.sync_error = error};
    const Status status = (*file)->sync();
    CHECK_FALSE(status.ok());
    CHECK(status.os_error() == error);
    CHECK(plan.calls == 1);
  }
  plan = {};
}

#endif

// Opening regular files safely, and texts for what the operating system answers.
#include "os/descriptor.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "base/text.hpp"

namespace armdb::os {
namespace {

constexpr mode_t kFileMode = 0600;

const char* advice(int os_error) noexcept {
  switch (os_error) {
    case EACCES:
    case EPERM:
      return "check owner and mode of the file and of the directories above it";
    case EROFS:
      return "the file system is mounted read-only";
    case EMFILE:
      return "too many open files: raise the limit (ulimit -n)";
    case ENFILE:
      return "the system has too many open files: raise fs.file-max";
    case ENOSPC:
      return "the disk is full: make room";
    case EDQUOT:
      return "the disk quota is used up: make room or raise it";
    case EFBIG:
      return "the file would be too large: raise the limit (ulimit -f)";
    case EIO:
      return "the device failed: see the kernel's log (dmesg)";
    case ENOENT:
      return "check the path: every folder above it must exist";
    case ENOTDIR:
      return "a part of the path is not a directory";
    case EISDIR:
      return "it is a directory";
    case EEXIST:
      return "it exists already";
    case ENOTEMPTY:
      return "it is not empty";
    case ENAMETOOLONG:
      return "choose a shorter path";
    case ENOLCK:
      return "the file system has no locks (an NFS without lockd?): use a local one";
    case ENOMEM:
      return "give the process more memory or address space";
    default:
      return "";
  }
}

}  // namespace

void Descriptor::reset() noexcept {
  if (number_ < 0) return;
  const int error = errno;
  ::close(std::exchange(number_, -1));
  errno = error;
}

int open_no_interrupt(const char* path, int flags) noexcept {
  int number = -1;
  do {
    number = ::open(path, flags, kFileMode);
  } while (number < 0 && errno == EINTR);
  return above_standard(number);
}

int above_standard(int number) noexcept {
  if (number < 0 || number > 2) return number;
  const Descriptor low(number);
  return ::fcntl(number, F_DUPFD_CLOEXEC, 3);
}

Result<Descriptor> open_regular_file(const std::string& path, int flags) {
  Descriptor file(
      open_no_interrupt(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  if (!file.valid()) {
    if (errno == ELOOP) {
      return Status(Errc::invalid_argument,
                    "is a symbolic link, which is not followed: give the path it points to")
          .at(path);
    }
    if (errno != EISDIR && errno != ENXIO) return failure(errno, "cannot open", path);
  }
  struct stat info {};
  if (file.valid() && ::fstat(file.get(), &info) != 0) return failure(errno, "cannot open", path);
  // A directory cannot be opened for writing, nor a socket at all: these end here too.
  if (!file.valid() || !S_ISREG(info.st_mode)) {
    return Status(Errc::invalid_argument,
                  "is not a regular file: move it away, or give another path")
        .at(path);
  }
  // O_NONBLOCK was for the open() alone, against FIFOs.
  const int status_flags = ::fcntl(file.get(), F_GETFL);
  if (status_flags >= 0) ::fcntl(file.get(), F_SETFL, status_flags & ~O_NONBLOCK);
  return file;
}

Status failure(int os_error, const char* doing, const std::string& path, std::uint64_t offset) {
  const char* what_to_do = advice(os_error);
  return Status::from_os(os_error, *what_to_do == 0 ? std::string(doing)
                                                    : base::text("%; %", {doing, what_to_do}))
      .at(path, offset);
}

}  // namespace armdb::os

// The operating system's files behind the FileSystem interface.
//
// Every call reports what failed, where, and what can be done; errno stays in the Status.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#if !defined(ARMDB_OMIT_MMAP)
#include <sys/mman.h>
#endif

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <new>
#include <string>

#include "base/text.hpp"
#include "core/file_system.hpp"
#include "os/cpu.hpp"
#include "os/descriptor.hpp"
#include "os/file_lock.hpp"

namespace armdb::os {
namespace {

static_assert(sizeof(off_t) == 8,
              "files above 2 GiB: compile with -D_FILE_OFFSET_BITS=64 (and -D_TIME_BITS=64)");

constexpr mode_t kDirectoryMode = 0700;
constexpr std::uint64_t kOffsetEnd = std::uint64_t{1} << 63;  // off_t is signed
constexpr std::size_t kPieceBytes = std::size_t{1} << 30;     // macOS refuses 2 GiB and more

// Whether [offset, offset + size) can be named with an off_t.
bool in_range(std::uint64_t offset, std::uint64_t size) noexcept {
  return offset < kOffsetEnd && size < kOffsetEnd - offset;
}

FileKind kind_of(mode_t mode) noexcept {
  if (S_ISREG(mode)) return FileKind::regular;
  return S_ISDIR(mode) ? FileKind::directory : FileKind::other;
}

// 0 or an errno.
int sync_data(int file) noexcept {
#if defined(__APPLE__)
  // fsync leaves the data in the drive's cache there.
  if (::fcntl(file, F_FULLFSYNC) == 0) return 0;
  if (errno != ENOTSUP && errno != EINVAL) return errno;
  return ::fsync(file) == 0 ? 0 : errno;
#else
  // Any failure counts, EINTR too: the kernel may have told of a lost page, and tells only once.
  return ::fdatasync(file) == 0 ? 0 : errno;
#endif
}

#if !defined(ARMDB_OMIT_MMAP)
// Unmaps when it goes; the file may be closed before. Threads: the bytes are the caller's affair.
class PosixMapping final : public Mapping {
 public:
  PosixMapping(void* memory, std::size_t size) noexcept {
    data_ = static_cast<std::uint8_t*>(memory);
    size_ = size;
  }
  ~PosixMapping() override { ::munmap(data_, size_); }
};
#endif

// Threads: one writer, any readers beside it (positional calls share no file offset).
class PosixFile final : public File {
 public:
  PosixFile(Descriptor file, std::string path) noexcept
      : file_(std::move(file)), path_(std::move(path)) {}

  Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) override {
    if (!in_range(offset, out.size())) return failure(EINVAL, "cannot read", path_, offset);
    std::size_t done = 0;
    while (done < out.size()) {
      const std::size_t left = out.size() - done;
      const ssize_t got =
          ::pread(file_.get(), out.data() + done, left < kPieceBytes ? left : kPieceBytes,
                  static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return failure(errno, "cannot read", path_, offset + done);
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
    }
    return done;
  }

  // A short write goes on with the rest: the next call then says why it was short.
  Status write_at(std::uint64_t offset, Bytes data) override {
    if (!in_range(offset, data.size())) return failure(EFBIG, "cannot write", path_, offset);
    std::size_t done = 0;
    while (done < data.size()) {
      const std::size_t left = data.size() - done;
      const ssize_t put =
          ::pwrite(file_.get(), data.data() + done, left < kPieceBytes ? left : kPieceBytes,
                   static_cast<off_t>(offset + done));
      if (put < 0 && errno == EINTR) continue;
      // 0 bytes without an error would be asked for again for ever.
      if (put <= 0) return failure(put < 0 ? errno : EIO, "cannot write", path_, offset + done);
      done += static_cast<std::size_t>(put);
    }
    return {};
  }

  Status sync() override {
    const int error = sync_data(file_.get());
    return error == 0 ? Status() : failure(error, "cannot sync", path_);
  }

  Result<std::uint64_t> size() override {
    struct stat info {};
    if (::fstat(file_.get(), &info) != 0) return failure(errno, "cannot get the size", path_);
    return static_cast<std::uint64_t>(info.st_size);
  }

  Status truncate(std::uint64_t size) override {
    if (!in_range(size, 0)) return failure(EFBIG, "cannot truncate", path_);
    while (::ftruncate(file_.get(), static_cast<off_t>(size)) != 0) {
      if (errno != EINTR) return failure(errno, "cannot truncate", path_, size);
    }
    return {};
  }

  Status allocate(std::uint64_t offset, std::uint64_t length) override;

  Status drop_cache() override {
#if defined(POSIX_FADV_DONTNEED)
    const int error = ::posix_fadvise(file_.get(), 0, 0, POSIX_FADV_DONTNEED);
    if (error != 0) return failure(error, "cannot drop cached pages", path_);
#endif
    return {};
  }

  Result<Owned<Mapping>> map(std::size_t length, MapMode mode) override;

 private:
  Descriptor file_;
  std::string path_;
};

// fallocate(2), not posix_fallocate: glibc writes bytes where the file system has no such call.
Status PosixFile::allocate(std::uint64_t offset, std::uint64_t length) {
#if defined(__linux__)
  if (length == 0) return {};
  if (!in_range(offset, length)) return failure(EFBIG, "cannot allocate", path_, offset);
  struct stat before {};
  if (::fstat(file_.get(), &before) != 0) return failure(errno, "cannot allocate", path_);
  int error = 0;
  do {
    const int outcome =
        ::fallocate(file_.get(), 0, static_cast<off_t>(offset), static_cast<off_t>(length));
    error = outcome == 0 ? 0 : errno;
  } while (error == EINTR);
  if (error == 0) return {};
  // ext4 keeps what it got before the disk was full: give it back. Asked for even when the size
  // is the old one, for blocks past the end are given back too. A failure changes nothing here.
  if (::ftruncate(file_.get(), before.st_size) != 0) errno = error;
  if (error == EOPNOTSUPP || error == ENOSYS) {
    return Status(Errc::unsupported, "this file system cannot preallocate").at(path_);
  }
  return failure(error, "cannot allocate", path_, offset);
#else
  static_cast<void>(offset);
  static_cast<void>(length);
  return Status(Errc::unsupported, "preallocation is not in this build").at(path_);
#endif
}

Result<Owned<Mapping>> PosixFile::map(std::size_t length, MapMode mode) {
#if defined(ARMDB_OMIT_MMAP)
  static_cast<void>(length);
  static_cast<void>(mode);
  return Status(Errc::unsupported, "built with ARMDB_OMIT_MMAP").at(path_);
#else
  if (length == 0) return Status(Errc::invalid_argument, "cannot map 0 bytes").at(path_);
  const int protection = mode == MapMode::read ? PROT_READ : PROT_READ | PROT_WRITE;
  void* memory = ::mmap(nullptr, length, protection, MAP_SHARED, file_.get(), 0);
  if (memory == MAP_FAILED) {
    // EINVAL too: nothing is wrong with our arguments, some network file systems answer so.
    if (errno == ENODEV || errno == EOPNOTSUPP || errno == EINVAL || errno == ENOSYS) {
      return Status(Errc::unsupported, "this file system cannot map files").at(path_);
    }
    return failure(errno, "cannot map", path_);
  }
  // Single entries are read, here and there: reading ahead would fill memory with neighbours.
  ::madvise(memory, length, MADV_RANDOM);
  Owned<Mapping> mapping(new (std::nothrow) PosixMapping(memory, length));
  if (!mapping) {
    ::munmap(memory, length);
    return Errc::out_of_memory;
  }
  return mapping;
#endif
}

// Opens a directory itself, never what a link points to.
Result<Descriptor> open_directory(const std::string& path, const char* doing) {
  Descriptor directory(
      open_no_interrupt(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!directory.valid()) return failure(errno, doing, path);
  return directory;
}

// Threads: any; it has no state.
class PosixFileSystem final : public FileSystem {
 public:
  Result<Owned<File>> open(const std::string& path, OpenMode mode) override {
    int flags = O_RDONLY;
    if (mode == OpenMode::read_write) flags = O_RDWR;
    if (mode == OpenMode::create_new) flags = O_RDWR | O_CREAT | O_EXCL;
    Result<Descriptor> file = open_regular_file(path, flags);
    if (!file.ok()) return file.status();
#if defined(POSIX_FADV_RANDOM)
    // Reading ahead would bring in large folios, in which Linux makes each first store to a page
    // several times as slow.
    if (mode == OpenMode::read_write) ::posix_fadvise(file->get(), 0, 0, POSIX_FADV_RANDOM);
#endif
    Owned<File> opened(new (std::nothrow) PosixFile(*std::move(file), path));
    if (!opened) return Errc::out_of_memory;
    return opened;
  }

  Result<FileInfo> info(const std::string& path) override {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) return failure(errno, "cannot look at", path);
    return FileInfo{kind_of(info.st_mode), static_cast<std::uint64_t>(info.st_size)};
  }

  Status list(const std::string& path,
              FunctionRef<void(std::string_view name, FileKind kind)> visit) override;

  Status create_directory(const std::string& path) override {
    if (::mkdir(path.c_str(), kDirectoryMode) == 0) return {};
    const int error = errno;
    struct stat info {};
    if (error == EEXIST && ::lstat(path.c_str(), &info) == 0) {
      if (S_ISDIR(info.st_mode)) return {};
      return Status(Errc::invalid_argument,
                    "is not a directory: move it away, or give another path")
          .at(path);
    }
    return failure(error, "cannot create the directory", path);
  }

  Status remove(const std::string& path) override {
    if (::unlink(path.c_str()) == 0) return {};
    // EISDIR on Linux; POSIX and macOS say EPERM, which also means a file one may not remove.
    const int error = errno;
    if (error == EISDIR || error == EPERM) {
      if (::rmdir(path.c_str()) == 0) return {};
      if (errno != ENOTDIR) return failure(errno, "cannot remove the directory", path);
    }
    return failure(error, "cannot remove", path);
  }

  Status rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) == 0) return {};
    const int error = errno;
    return failure(error, base::text("cannot rename it to %", {to}).c_str(), from);
  }

  Status sync_directory(const std::string& path) override {
    Result<Descriptor> directory = open_directory(path, "cannot sync the directory");
    if (!directory.ok()) return directory.status();
    if (::fsync(directory->get()) == 0) return {};
    // Some file systems have no such call for directories, and write names through at once.
    if (errno == EINVAL || errno == EBADF) return {};
    return failure(errno, "cannot sync the directory", path);
  }

  Result<Owned<FileLock>> lock(const std::string& path, LockMode mode) override {
    return lock_file(path, mode);
  }
};

Status PosixFileSystem::list(const std::string& path,
                             FunctionRef<void(std::string_view name, FileKind kind)> visit) {
  Result<Descriptor> opened = open_directory(path, "cannot list");
  if (!opened.ok()) return opened.status();
  // fdopendir takes over a descriptor only when it succeeds.
  const int number = ::fcntl(opened->get(), F_DUPFD_CLOEXEC, 3);
  DIR* const directory = number < 0 ? nullptr : ::fdopendir(number);
  if (directory == nullptr) {
    const Descriptor unused(number);
    return failure(errno, "cannot list", path);
  }
  int error = 0;
  for (;;) {
    errno = 0;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is ours alone
    const dirent* const item = ::readdir(directory);
    if (item == nullptr) {
      error = errno;
      break;
    }
    const std::string_view name(item->d_name);
    if (name == "." || name == "..") continue;
    FileKind kind = FileKind::other;
    struct stat info {};
    if (item->d_type == DT_REG) {
      kind = FileKind::regular;
    } else if (item->d_type == DT_DIR) {
      kind = FileKind::directory;
    } else if (item->d_type == DT_UNKNOWN &&
               ::fstatat(opened->get(), item->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0) {
      kind = kind_of(info.st_mode);
    }
    visit(name, kind);
  }
  ::closedir(directory);
  return error == 0 ? Status() : failure(error, "cannot list", path);
}

}  // namespace
}  // namespace armdb::os

namespace armdb {

FileSystem& posix_file_system() noexcept {
  // In static memory and never destroyed: a collection may be closed by a static destructor.
  alignas(os::PosixFileSystem) static unsigned char memory[sizeof(os::PosixFileSystem)];
  static FileSystem* const files = [] {
    os::use_cpu_features();  // before the first checksum
    return new (memory) os::PosixFileSystem;
  }();
  return *files;
}

}  // namespace armdb

// FileSystem: the one seam between armdb and a disk.
//
// POSIX is the default, make_memory_file_system() another; a program may bring its own.
// Threads: a FileSystem may be called from any thread. A File is used by one writer at a time,
// and by readers beside it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/bytes.hpp"
#include "core/function_ref.hpp"
#include "core/owned.hpp"
#include "core/status.hpp"

namespace armdb {

// A view of a file's bytes in memory. Stores through a writable one are in the page cache at once:
// they survive the death of the process, and reach the disk with File::sync().
class Mapping {
 public:
  virtual ~Mapping() = default;
  [[nodiscard]] std::uint8_t* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 protected:
  std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

enum class MapMode : std::uint8_t { read, read_write };

class File {
 public:
  virtual ~File() = default;
  // Reads up to out.size() bytes; fewer only where the file ends.
  virtual Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) = 0;
  // Writes all of `data` or fails. After a failure any part of it may have been written.
  virtual Status write_at(std::uint64_t offset, Bytes data) = 0;
  // Makes content and size durable (fdatasync). After a failure the content since the last good
  // sync is unknown, and the caller must not retry.
  virtual Status sync() = 0;
  virtual Result<std::uint64_t> size() = 0;
  virtual Status truncate(std::uint64_t size) = 0;
  // Gives [offset, offset + length) real blocks, reading as zeros where new, and lets the file
  // grow to cover it; on failure the size is what it was. `unsupported` where there is no such
  // call.
  virtual Status allocate(std::uint64_t offset, std::uint64_t length) = 0;
  virtual Status drop_cache() = 0;  // so that the next read sees the disk; best effort
  // Maps the first `length` bytes, which may reach past the end of the file; only bytes below it
  // may be touched. `unsupported` where there are no mappings.
  virtual Result<Owned<Mapping>> map(std::size_t length, MapMode mode) = 0;
};

class FileLock {  // held while it lives
 public:
  virtual ~FileLock() = default;
};

// What create_new names must not exist, the others must.
enum class OpenMode : std::uint8_t { read, read_write, create_new };
enum class FileKind : std::uint8_t { regular, directory, other };
enum class LockMode : std::uint8_t { shared, exclusive };

struct FileInfo {
  FileKind kind = FileKind::other;
  std::uint64_t size = 0;
};

// Paths use '/'. A missing file is Errc::not_found. Symbolic links are not followed in the last
// component, and only regular files can be opened.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual Result<Owned<File>> open(const std::string& path, OpenMode mode) = 0;
  virtual Result<FileInfo> info(const std::string& path) = 0;
  // Calls `visit` for each name in the directory, "." and ".." left out, in no order.
  virtual Status list(const std::string& path,
                      FunctionRef<void(std::string_view name, FileKind kind)> visit) = 0;
  // Ok when it exists already; the parent must.
  virtual Status create_directory(const std::string& path) = 0;
  virtual Status remove(const std::string& path) = 0;  // a file, or an empty directory
  virtual Status rename(const std::string& from, const std::string& to) = 0;  // atomic
  // Makes created, renamed and removed names in the directory durable.
  virtual Status sync_directory(const std::string& path) = 0;
  // Locks the file at `path`: `exclusive` creates it and writes the holder into it (process id
  // and start time); `shared` leaves it as it is. `locked` names the holder. Released by the
  // operating system when the process dies.
  virtual Result<Owned<FileLock>> lock(const std::string& path, LockMode mode) = 0;
};

[[nodiscard]] FileSystem& posix_file_system() noexcept;  // the system's own; lives for ever
// Files in memory, gone with the object; for tests, caches and devices without a disk.
[[nodiscard]] Owned<FileSystem> make_memory_file_system();

}  // namespace armdb

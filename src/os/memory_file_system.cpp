// Files in memory: the same promises as the POSIX ones, gone with their handles.
//
// A file's bytes lie in one zeroed block, so that it can be mapped. The block is replaced when
// the file outgrows it; a mapping keeps the old one, so map() makes the block as large as the
// mapping first: a file that stays within the mapped length never moves away from under it.
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <string_view>

#include "base/mutex.hpp"
#include "base/text.hpp"
#include "core/file_system.hpp"
#include "os/cpu.hpp"
#include "os/descriptor.hpp"
#include "os/file_lock.hpp"

namespace armdb::os {
namespace {

// A mapping past the end of a file reserves its length, so it has a limit.
constexpr std::size_t kMappedReserveMax = std::size_t{64} << 20;
constexpr std::size_t kMemoryBlockMin = 4096;

// Bytes of a file, zero from the start. calloc: what is not written is not touched.
struct MemoryBlock {
  explicit MemoryBlock(std::size_t bytes) noexcept
      : data(static_cast<std::uint8_t*>(std::calloc(bytes, 1))), capacity(bytes) {}
  ~MemoryBlock() { std::free(data); }
  MemoryBlock(const MemoryBlock&) = delete;
  MemoryBlock& operator=(const MemoryBlock&) = delete;

  std::uint8_t* const data;  // null when out of memory
  const std::size_t capacity;
};

// A file, whatever names it has or had.
struct MemoryInode {
  base::Mutex mutex;
  std::shared_ptr<MemoryBlock> block ARMDB_GUARDED_BY(mutex);  // null: no bytes yet
  std::size_t size ARMDB_GUARDED_BY(mutex) = 0;     // bytes from here to the capacity are zero
  std::size_t readers ARMDB_GUARDED_BY(mutex) = 0;  // shared locks held
  bool writer ARMDB_GUARDED_BY(mutex) = false;      // exclusive lock held

  // Room for `bytes`; false when out of memory.
  bool reserve(std::size_t bytes) ARMDB_REQUIRES(mutex);
  // 0 or an errno; a longer file has zeros.
  int resize(std::uint64_t bytes) ARMDB_REQUIRES(mutex);
};

using MemoryInodePtr = std::shared_ptr<MemoryInode>;

bool MemoryInode::reserve(std::size_t bytes) {
  const std::size_t have = block == nullptr ? 0 : block->capacity;
  if (bytes <= have) return true;
  std::size_t wanted = bytes < kMemoryBlockMin ? kMemoryBlockMin : bytes;
  if (wanted / 2 < have) wanted = have * 2;
  auto larger = std::make_shared<MemoryBlock>(wanted);
  if (larger->data == nullptr) larger = std::make_shared<MemoryBlock>(bytes);
  if (larger->data == nullptr) return false;
  if (size != 0) std::memcpy(larger->data, block->data, size);
  block = std::move(larger);
  return true;
}

int MemoryInode::resize(std::uint64_t bytes) {
  if (bytes > static_cast<std::size_t>(-1) / 4) return EFBIG;
  const auto wanted = static_cast<std::size_t>(bytes);
  if (wanted > size && !reserve(wanted)) return ENOMEM;
  if (wanted < size) std::memset(block->data + wanted, 0, size - wanted);
  size = wanted;
  return 0;
}

// Threads: the bytes are the caller's affair.
class MemoryMapping final : public Mapping {
 public:
  MemoryMapping(std::shared_ptr<MemoryBlock> block, std::size_t size) noexcept
      : block_(std::move(block)) {
    data_ = block_->data;
    size_ = size;
  }

 private:
  std::shared_ptr<MemoryBlock> block_;
};

// Threads: any; the inode has the lock.
class MemoryFile final : public File {
 public:
  MemoryFile(MemoryInodePtr inode, std::string path, bool writable) noexcept
      : inode_(std::move(inode)), path_(std::move(path)), writable_(writable) {}

  Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) override {
    MemoryInode& inode = *inode_;
    const base::MutexLock lock(inode.mutex);
    if (offset >= inode.size || out.empty()) return std::size_t{0};
    const auto at = static_cast<std::size_t>(offset);
    const std::size_t count = out.size() < inode.size - at ? out.size() : inode.size - at;
    std::memcpy(out.data(), inode.block->data + at, count);
    return count;
  }

  Status write_at(std::uint64_t offset, Bytes data) override {
    if (writable_ && data.empty()) return {};
    MemoryInode& inode = *inode_;
    const base::MutexLock lock(inode.mutex);
    Status status = reach(inode, offset, data.size(), "cannot write");
    if (!status.ok()) return status;
    std::memcpy(inode.block->data + static_cast<std::size_t>(offset), data.data(), data.size());
    return status;
  }

  Status sync() override { return {}; }

  Result<std::uint64_t> size() override {
    MemoryInode& inode = *inode_;
    const base::MutexLock lock(inode.mutex);
    return std::uint64_t{inode.size};
  }

  Status truncate(std::uint64_t size) override {
    if (!writable_) return failure(EINVAL, "cannot truncate", path_);
    MemoryInode& inode = *inode_;
    const base::MutexLock lock(inode.mutex);
    const int error = inode.resize(size);
    return error == 0 ? Status() : failure(error, "cannot truncate", path_, size);
  }

  Status allocate(std::uint64_t offset, std::uint64_t length) override {
    MemoryInode& inode = *inode_;
    const base::MutexLock lock(inode.mutex);
    return reach(inode, offset, length, "cannot allocate");
  }

  Status drop_cache() override { return {}; }

  Result<Owned<Mapping>> map(std::size_t length, MapMode mode) override;

 private:
  // Makes the file `offset` + `length` bytes long, unless it is longer.
  Status reach(MemoryInode& inode, std::uint64_t offset, std::uint64_t length, const char* doing)
      ARMDB_REQUIRES(inode.mutex) {
    int error = 0;
    if (!writable_) {
      error = EBADF;
    } else if (offset > ~std::uint64_t{0} - length) {
      error = EFBIG;
    } else if (offset + length > inode.size) {
      error = inode.resize(offset + length);
    }
    return error == 0 ? Status() : failure(error, doing, path_, offset);
  }

  const MemoryInodePtr inode_;
  const std::string path_;
  const bool writable_;
};

Result<Owned<Mapping>> MemoryFile::map(std::size_t length, MapMode mode) {
  if (length == 0) return Status(Errc::invalid_argument, "cannot map 0 bytes").at(path_);
  if (mode == MapMode::read_write && !writable_) return failure(EACCES, "cannot map", path_);
  MemoryInode& inode = *inode_;
  const base::MutexLock lock(inode.mutex);
  if (inode.block == nullptr || length > inode.block->capacity) {
    if (length > inode.size && length > kMappedReserveMax) {
      return Status(Errc::unsupported, "too long a mapping past the end of a file in memory")
          .at(path_);
    }
    // A larger block would leave an earlier mapping behind with the old one.
    if (inode.block.use_count() > 1) {
      return Status(Errc::unsupported, "is mapped already, with a shorter length").at(path_);
    }
    if (!inode.reserve(length)) return failure(ENOMEM, "cannot map", path_);
  }
  Owned<Mapping> mapping(new (std::nothrow) MemoryMapping(inode.block, length));
  if (!mapping) return Errc::out_of_memory;
  return mapping;
}

// Threads: as an int.
class MemoryLock final : public FileLock {
 public:
  MemoryLock(MemoryInodePtr inode, LockMode mode) noexcept
      : inode_(std::move(inode)), mode_(mode) {}
  ~MemoryLock() override {
    MemoryInode& inode = *inode_;
    const base::MutexLock lock(inode.mutex);
    if (mode_ == LockMode::exclusive) {
      inode.writer = false;
    } else {
      inode.readers -= 1;
    }
  }

 private:
  const MemoryInodePtr inode_;
  const LockMode mode_;
};

// "/a/b" for any way to write it; the root is "". ".." is taken back by name.
std::string plain_path(std::string_view path) {
  std::string plain;
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      plain.resize(plain.empty() ? 0 : plain.rfind('/'));
    } else {
      plain += '/';
      plain += part;
    }
  }
  return plain;
}

// True for what lies in `directory`, or in one that does.
bool is_below(std::string_view path, std::string_view directory) noexcept {
  return path.starts_with(directory) && path.substr(directory.size()).starts_with('/');
}

// Threads: any. The names have one lock, each file's bytes another, taken after it if at all.
class MemoryFileSystem final : public FileSystem {
 public:
  ~MemoryFileSystem() override {
    while (names_ != nullptr) names_ = std::move(names_->next);  // not one inside the other
  }

  Result<Owned<File>> open(const std::string& path, OpenMode mode) override;
  Result<FileInfo> info(const std::string& path) override;
  Status list(const std::string& path,
              FunctionRef<void(std::string_view name, FileKind kind)> visit) override;
  Status create_directory(const std::string& path) override;
  Status remove(const std::string& path) override;
  Status rename(const std::string& from, const std::string& to) override;
  Status sync_directory(const std::string& path) override;
  Result<Owned<FileLock>> lock(const std::string& path, LockMode mode) override;

 private:
  // A file, or a directory: then without an inode. There are few of them: a list will do.
  struct Name {
    std::string path;  // plain
    MemoryInodePtr inode;
    std::unique_ptr<Name> next;
  };

  [[nodiscard]] Name* find(std::string_view plain) const ARMDB_REQUIRES(mutex_) {
    Name* name = names_.get();
    while (name != nullptr && name->path != plain) name = name->next.get();
    return name;
  }
  void add(std::string plain, MemoryInodePtr inode) ARMDB_REQUIRES(mutex_) {
    names_.reset(new Name{std::move(plain), std::move(inode), std::move(names_)});
  }
  void drop(const Name* name) ARMDB_REQUIRES(mutex_) {
    std::unique_ptr<Name>* link = &names_;
    while (link->get() != name) link = &(*link)->next;
    *link = std::move((*link)->next);
  }
  [[nodiscard]] bool is_directory(std::string_view plain) const ARMDB_REQUIRES(mutex_) {
    const Name* found = find(plain);
    return plain.empty() || (found != nullptr && found->inode == nullptr);
  }
  [[nodiscard]] bool has_children(std::string_view plain) const ARMDB_REQUIRES(mutex_) {
    const Name* name = names_.get();
    while (name != nullptr && !is_below(name->path, plain)) name = name->next.get();
    return name != nullptr;
  }
  // ENOTDIR or ENOENT, for what is no directory.
  [[nodiscard]] int directory_error(std::string_view plain) const ARMDB_REQUIRES(mutex_) {
    return find(plain) != nullptr ? ENOTDIR : ENOENT;
  }
  // 0, or why no name can be made there.
  [[nodiscard]] int parent_error(std::string_view plain) const ARMDB_REQUIRES(mutex_) {
    const std::string_view parent = plain.substr(0, plain.rfind('/'));
    return is_directory(parent) ? 0 : directory_error(parent);
  }
  int rename_error(const std::string& from, const std::string& to) ARMDB_REQUIRES(mutex_);
  // Finds or, with `create`, makes the file; null and an errno when it cannot be.
  MemoryInodePtr find_file(const std::string& plain, bool create, int& error)
      ARMDB_REQUIRES(mutex_);

  base::Mutex mutex_;
  std::unique_ptr<Name> names_ ARMDB_GUARDED_BY(mutex_);
};

MemoryInodePtr MemoryFileSystem::find_file(const std::string& plain, bool create, int& error) {
  error = 0;
  if (is_directory(plain)) {
    error = EISDIR;
    return nullptr;
  }
  if (const Name* found = find(plain)) return found->inode;
  error = create ? parent_error(plain) : ENOENT;
  if (error != 0) return nullptr;
  auto inode = std::make_shared<MemoryInode>();
  add(plain, inode);
  return inode;
}

Result<Owned<File>> MemoryFileSystem::open(const std::string& path, OpenMode mode) {
  const std::string plain = plain_path(path);
  const base::MutexLock lock(mutex_);
  int error = 0;
  const bool create = mode == OpenMode::create_new;
  if (create && (plain.empty() || find(plain) != nullptr)) {
    return failure(EEXIST, "cannot open", path);
  }
  MemoryInodePtr inode = find_file(plain, create, error);
  if (error == EISDIR) {
    return Status(Errc::invalid_argument,
                  "is not a regular file: move it away, or give another path")
        .at(path);
  }
  if (inode == nullptr) return failure(error, "cannot open", path);
  Owned<File> file(new (std::nothrow) MemoryFile(std::move(inode), path, mode != OpenMode::read));
  if (!file) return Errc::out_of_memory;
  return file;
}

Result<FileInfo> MemoryFileSystem::info(const std::string& path) {
  const std::string plain = plain_path(path);
  const base::MutexLock lock(mutex_);
  if (is_directory(plain)) return FileInfo{FileKind::directory, 0};
  const Name* found = find(plain);
  if (found == nullptr) return failure(ENOENT, "cannot look at", path);
  MemoryInode& inode = *found->inode;
  const base::MutexLock inode_lock(inode.mutex);
  return FileInfo{FileKind::regular, inode.size};
}

Status MemoryFileSystem::list(const std::string& path,
                              FunctionRef<void(std::string_view name, FileKind kind)> visit) {
  const std::string plain = plain_path(path);
  std::string children;  // "d/one" for a directory, "f/two" for a file, each with a '/' behind it
  {
    const base::MutexLock lock(mutex_);
    if (!is_directory(plain)) return failure(directory_error(plain), "cannot list", path);
    for (const Name* name = names_.get(); name != nullptr; name = name->next.get()) {
      const std::size_t slash = plain.size();
      if (!is_below(name->path, plain) || name->path.rfind('/') != slash) continue;
      children += name->inode == nullptr ? 'd' : 'f';
      children.append(name->path, slash).append("/");
    }
  }
  // Without the lock: the visitor may call back.
  std::string_view rest = children;
  while (!rest.empty()) {
    const std::string_view name = rest.substr(2, rest.find('/', 2) - 2);
    visit(name, rest.front() == 'd' ? FileKind::directory : FileKind::regular);
    rest.remove_prefix(name.size() + 3);
  }
  return {};
}

Status MemoryFileSystem::create_directory(const std::string& path) {
  const std::string plain = plain_path(path);
  const base::MutexLock lock(mutex_);
  if (is_directory(plain)) return {};
  if (find(plain) != nullptr) {
    return Status(Errc::invalid_argument, "is not a directory: move it away, or give another path")
        .at(path);
  }
  const int error = parent_error(plain);
  if (error != 0) return failure(error, "cannot create the directory", path);
  add(plain, nullptr);
  return {};
}

Status MemoryFileSystem::remove(const std::string& path) {
  const std::string plain = plain_path(path);
  const base::MutexLock lock(mutex_);
  const Name* found = find(plain);
  if (found == nullptr) return failure(plain.empty() ? EBUSY : ENOENT, "cannot remove", path);
  if (found->inode == nullptr && has_children(plain)) {
    return failure(ENOTEMPTY, "cannot remove the directory", path);
  }
  drop(found);  // handles keep the inode
  return {};
}

int MemoryFileSystem::rename_error(const std::string& from, const std::string& to) {
  const Name* source = find(from);
  if (source == nullptr) return from.empty() ? EBUSY : ENOENT;
  if (const int error = parent_error(to); error != 0) return error;
  const bool directory = source->inode == nullptr;
  if (directory && is_below(to, from)) return EINVAL;
  if (is_directory(to)) {
    if (!directory) return EISDIR;
    return has_children(to) && to != from ? ENOTEMPTY : 0;
  }
  return directory && find(to) != nullptr ? ENOTDIR : 0;
}

Status MemoryFileSystem::rename(const std::string& from, const std::string& to) {
  const std::string source = plain_path(from);
  const std::string target = plain_path(to);
  const base::MutexLock lock(mutex_);
  const int error = rename_error(source, target);
  if (error != 0) return failure(error, base::text("cannot rename it to %", {to}).c_str(), from);
  if (source == target) return {};
  if (const Name* replaced = find(target)) drop(replaced);
  // The item itself, and what lies below it when it is a directory.
  for (Name* name = names_.get(); name != nullptr; name = name->next.get()) {
    if (name->path == source || is_below(name->path, source)) {
      name->path.replace(0, source.size(), target);
    }
  }
  return {};
}

Status MemoryFileSystem::sync_directory(const std::string& path) {
  const std::string plain = plain_path(path);
  const base::MutexLock lock(mutex_);
  if (is_directory(plain)) return {};
  return failure(directory_error(plain), "cannot sync the directory", path);
}

Result<Owned<FileLock>> MemoryFileSystem::lock(const std::string& path, LockMode mode) {
  const std::string plain = plain_path(path);
  const bool exclusive = mode == LockMode::exclusive;
  const base::MutexLock names_lock(mutex_);
  int error = 0;
  const MemoryInodePtr file = find_file(plain, exclusive, error);
  if (file == nullptr) return failure(error, "cannot lock", path);
  MemoryInode& inode = *file;
  Owned<FileLock> held;  // outlives the lock, which its destructor takes when there is no memory
  const base::MutexLock lock(inode.mutex);
  if (inode.writer || (exclusive && inode.readers != 0)) {
    const std::size_t count = inode.size < 128 ? inode.size : 128;
    const Bytes line = count == 0 ? Bytes() : Bytes(inode.block->data, count);
    return lock_conflict(path, line.text(), !inode.writer);
  }
  held = Owned<FileLock>(new (std::nothrow) MemoryLock(file, mode));
  if (!held) return Errc::out_of_memory;
  // From here on the destructor of `held` undoes it.
  if (!exclusive) {
    inode.readers += 1;
    return held;
  }
  inode.writer = true;
  // Best effort, as with real files: the lock holds without the line.
  const std::string holder = lock_holder_text();
  if (inode.resize(0) == 0 && inode.resize(holder.size()) == 0) {
    std::memcpy(inode.block->data, holder.data(), holder.size());
  }
  return held;
}

}  // namespace
}  // namespace armdb::os

namespace armdb {

Owned<FileSystem> make_memory_file_system() {
  os::use_cpu_features();
  return Owned<FileSystem>(new (std::nothrow) os::MemoryFileSystem);
}

}  // namespace armdb

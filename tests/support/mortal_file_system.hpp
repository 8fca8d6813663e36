// MortalFileSystem: a file system whose programs can be killed without asking them.
//
// It passes everything on to another one (in memory, when none is given). kill() makes every
// handle, mapping and lock given out so far useless, as the death of a process does, and leaves
// the files as they are. Uses the public header only, so that tests/api can have it.
//
// Threads: kill() alone; the rest as the file system behind it.
#pragma once

#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "armdb.hpp"

namespace armdb::test {

class MortalFileSystem final : public FileSystem {
 public:
  MortalFileSystem() : own_(make_memory_file_system()), files_(*own_) {}
  explicit MortalFileSystem(FileSystem& files) : files_(files) {}

  void kill() {
    *alive_ = false;
    alive_ = std::make_shared<bool>(true);
    for (const auto& lock : locks_) lock->reset();
    locks_.clear();
  }

  Result<Owned<File>> open(const std::string& path, OpenMode mode) override {
    Result<Owned<File>> file = files_.open(path, mode);
    if (!file.ok()) return file;
    return Owned<File>(new Handle(alive_, std::move(*file)));
  }
  Result<FileInfo> info(const std::string& path) override { return files_.info(path); }
  Status list(const std::string& path,
              FunctionRef<void(std::string_view name, FileKind kind)> visit) override {
    return files_.list(path, visit);
  }
  Status create_directory(const std::string& path) override {
    return files_.create_directory(path);
  }
  Status remove(const std::string& path) override { return dying_ ? gone() : files_.remove(path); }
  Status rename(const std::string& from, const std::string& to) override {
    return dying_ ? gone() : files_.rename(from, to);
  }
  Status sync_directory(const std::string& path) override { return files_.sync_directory(path); }
  Result<Owned<FileLock>> lock(const std::string& path, LockMode mode) override {
    Result<Owned<FileLock>> lock = files_.lock(path, mode);
    if (!lock.ok()) return lock;
    auto kept = std::make_shared<Owned<FileLock>>(std::move(*lock));
    locks_.push_back(kept);
    return Owned<FileLock>(new Lock(std::move(kept)));
  }

  // Between kill() and the next open: the dead program's destructors must change no names.
  void set_dying(bool dying) { dying_ = dying; }

 private:
  static Status gone() { return Status::from_os(EIO, "this handle's process is gone"); }

  class Handle final : public File {
   public:
    Handle(std::shared_ptr<bool> alive, Owned<File> file)
        : alive_(std::move(alive)), file_(std::move(file)) {}
    Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) override {
      return *alive_ ? file_->read_at(offset, out) : Result<std::size_t>(gone());
    }
    Status write_at(std::uint64_t offset, Bytes data) override {
      return *alive_ ? file_->write_at(offset, data) : gone();
    }
    Status sync() override { return *alive_ ? file_->sync() : gone(); }
    Result<std::uint64_t> size() override {
      return *alive_ ? file_->size() : Result<std::uint64_t>(gone());
    }
    Status truncate(std::uint64_t size) override {
      return *alive_ ? file_->truncate(size) : gone();
    }
    Status allocate(std::uint64_t offset, std::uint64_t length) override {
      return *alive_ ? file_->allocate(offset, length) : gone();
    }
    Status drop_cache() override { return *alive_ ? file_->drop_cache() : gone(); }
    Result<Owned<Mapping>> map(std::size_t length, MapMode mode) override {
      return *alive_ ? file_->map(length, mode) : Result<Owned<Mapping>>(gone());
    }

   private:
    const std::shared_ptr<bool> alive_;
    const Owned<File> file_;
  };

  class Lock final : public FileLock {
   public:
    explicit Lock(std::shared_ptr<Owned<FileLock>> lock) : lock_(std::move(lock)) {}
    ~Lock() override { lock_->reset(); }

   private:
    const std::shared_ptr<Owned<FileLock>> lock_;
  };

  Owned<FileSystem> own_;
  FileSystem& files_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::vector<std::shared_ptr<Owned<FileLock>>> locks_;
  bool dying_ = false;
};

}  // namespace armdb::test

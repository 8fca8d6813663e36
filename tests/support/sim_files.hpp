// SimFiles: the disk of a node as one process of it sees it: each call may let others go first,
// and from the death of the process on none does anything.
//
// Threads: those of the scheduler.
#pragma once

#include <cerrno>
#include <functional>
#include <string>
#include <utility>

#include "support/fault_file_system.hpp"
#include "support/sim_scheduler.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS)

namespace armdb::test {

class SimFiles final : public FileSystem {
 public:
  SimFiles(SimScheduler& scheduler, FileSystem& disk) : scheduler_(scheduler), disk_(disk) {}
  void die() { dead_ = true; }
  // Told of each file or directory that was synced, before its caller goes on.
  void watch_syncs(std::function<void(const std::string& path)> told) { told_ = std::move(told); }

  Result<Owned<File>> open(const std::string& path, OpenMode mode) override {
    if (gone("open", path)) return eio();
    Result<Owned<File>> file = disk_.open(path, mode);
    if (!file.ok()) return file;
    return Owned<File>(new Handle(*this, std::move(*file), path));
  }
  Result<FileInfo> info(const std::string& path) override {
    return gone("info", path) ? Result<FileInfo>(eio()) : disk_.info(path);
  }
  Status list(const std::string& path,
              FunctionRef<void(std::string_view name, FileKind kind)> visit) override {
    return gone("list", path) ? eio() : disk_.list(path, visit);
  }
  Status create_directory(const std::string& path) override {
    return gone("mkdir", path) ? eio() : disk_.create_directory(path);
  }
  Status remove(const std::string& path) override {
    return gone("remove", path) ? eio() : disk_.remove(path);
  }
  Status rename(const std::string& from, const std::string& to) override {
    return gone("rename", to) ? eio() : disk_.rename(from, to);
  }
  Status sync_directory(const std::string& path) override {
    if (gone("sync", path)) return eio();
    Status status = disk_.sync_directory(path);
    if (status.ok() && told_) told_(path);
    return status;
  }
  Result<Owned<FileLock>> lock(const std::string& path, LockMode mode) override {
    return gone("lock", path) ? Result<Owned<FileLock>>(eio()) : disk_.lock(path, mode);
  }

 private:
  class Handle final : public File {
   public:
    Handle(SimFiles& files, Owned<File> file, std::string path)
        : files_(files), file_(std::move(file)), path_(std::move(path)) {}
    Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) override {
      return gone(1) ? Result<std::size_t>(eio()) : file_->read_at(offset, out);
    }
    Status write_at(std::uint64_t offset, Bytes data) override {
      return gone(2 + offset + data.size()) ? eio() : file_->write_at(offset, data);
    }
    Status sync() override {
      if (gone(3)) return eio();
      Status status = file_->sync();
      if (status.ok() && files_.told_) files_.told_(path_);
      return status;
    }
    Result<std::uint64_t> size() override {
      return gone(4) ? Result<std::uint64_t>(eio()) : file_->size();
    }
    Status truncate(std::uint64_t size) override { return gone(5) ? eio() : file_->truncate(size); }
    Status allocate(std::uint64_t offset, std::uint64_t length) override {
      return gone(6) ? eio() : file_->allocate(offset, length);
    }
    Status drop_cache() override { return gone(7) ? eio() : file_->drop_cache(); }
    Result<Owned<Mapping>> map(std::size_t length, MapMode mode) override {
      return gone(8) ? Result<Owned<Mapping>>(eio()) : file_->map(length, mode);
    }

   private:
    bool gone(std::uint64_t call) const {
      files_.scheduler_.note(call);
      files_.scheduler_.point();
      return files_.dead_;
    }

    SimFiles& files_;
    const Owned<File> file_;
    const std::string path_;
  };

  static Status eio() { return Status::from_os(EIO, "the process is dead"); }
  bool gone(const char* call, const std::string& path) {
    scheduler_.note(call + path);
    scheduler_.point();
    return dead_;
  }

  SimScheduler& scheduler_;
  FileSystem& disk_;
  bool dead_ = false;
  std::function<void(const std::string& path)> told_;
};

}  // namespace armdb::test

#endif

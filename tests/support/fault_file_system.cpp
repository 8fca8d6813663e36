// FaultFileSystem as programs see it: names, files, locks, faults. Crashes: fault_power_cut.cpp.
#include "support/fault_file_system.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace armdb::test {

namespace {

constexpr std::size_t kReserveMax = std::size_t{64} << 20;

const char* call_name(Call call) {
  static constexpr const char* kNames[] = {
      "any",        "read",   "write",          "sync", "truncate", "allocate",
      "drop_cache", "map",    "open",           "info", "list",     "create_directory",
      "remove",     "rename", "sync_directory", "lock"};
  return kNames[static_cast<std::size_t>(call)];
}

bool is_watched(Call call) {
  return call != Call::read && call != Call::info && call != Call::list &&
         call != Call::drop_cache && call != Call::any;
}

Status os_failure(int error, std::string_view doing, const std::string& path) {
  if (error == ENODEV || error == EOPNOTSUPP) {
    return Status(Errc::unsupported, doing).at(path);
  }
  return Status::from_os(error, doing).at(path);
}

std::string plain(std::string_view path) {
  std::string result;
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
    if (!part.empty() && part != ".") (result += '/') += part;
  }
  return result;
}

std::string parent_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

}  // namespace

// Threads: any.
class FaultFile final : public File {
 public:
  FaultFile(FaultFileSystem& files, std::uint64_t inode, std::string path, bool writable)
      : files_(files),
        inode_(inode),
        generation_(files.generation_),
        path_(std::move(path)),
        writable_(writable) {
    files_.open_[inode_] += 1;
  }
  ~FaultFile() override {
    const base::MutexLock lock(files_.mutex_);
    if (generation_ == files_.generation_ && --files_.open_[inode_] == 0) {
      files_.open_.erase(inode_);
    }
  }

  Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) override {
    const base::MutexLock lock(files_.mutex_);
    if (Status status = begin(Call::read, offset, out.size()); !status.ok()) return status;
    const FaultFileSystem::Image& live = state().live;
    if (offset >= live.size || out.empty()) return std::size_t{0};
    const auto count =
        static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), live.size - offset));
    std::memcpy(out.data(), live.buffer->data() + offset, count);
    return count;
  }

  Status write_at(std::uint64_t offset, Bytes data) override {
    files_.observe(Call::write, path_);
    const base::MutexLock lock(files_.mutex_);
    Status status = begin(Call::write, offset, data.size());
    if (!status.ok() && !fault_) return status;
    if (!writable_) return os_failure(EBADF, "cannot write", path_);
    if (fault_) data = data.sub(0, short_bytes(offset));
    const std::uint64_t fitting = files_.take_blocks(state(), offset, data.size(), false);
    const Bytes written = data.sub(0, static_cast<std::size_t>(fitting));
    if (!written.empty()) {
      auto copy = std::make_shared<FaultFileSystem::Buffer>(written.begin(), written.end());
      files_.change_live(inode_, {inode_, FaultFileSystem::Change::write, offset, std::move(copy)});
    }
    if (!fault_ && fitting < data.size()) return os_failure(ENOSPC, "cannot write", path_);
    return status;
  }

  Status sync() override {
    files_.observe(Call::sync, path_);
    const base::MutexLock lock(files_.mutex_);
    Status status = begin(Call::sync);
    if (!status.ok() && !fault_) return status;
    return files_.sync_file(inode_, path_, fault_);
  }

  Result<std::uint64_t> size() override {
    const base::MutexLock lock(files_.mutex_);
    if (Status status = begin(Call::info); !status.ok()) return status;
    return state().live.size;
  }

  Status truncate(std::uint64_t size) override {
    files_.observe(Call::truncate, path_);
    const base::MutexLock lock(files_.mutex_);
    if (Status status = begin(Call::truncate, size); !status.ok()) return status;
    if (!writable_) return os_failure(EINVAL, "cannot truncate", path_);
    const std::uint64_t blocks =
        (size + FaultFileSystem::kBlockBytes - 1) / FaultFileSystem::kBlockBytes;
    if (blocks < state().blocks.size()) state().blocks.resize(static_cast<std::size_t>(blocks));
    files_.change_live(inode_, {inode_, FaultFileSystem::Change::resize, size, nullptr});
    return {};
  }

  Status allocate(std::uint64_t offset, std::uint64_t length) override {
    files_.observe(Call::allocate, path_);
    const base::MutexLock lock(files_.mutex_);
    if (Status status = begin(Call::allocate, offset, length); !status.ok()) return status;
    if (!writable_) return os_failure(EBADF, "cannot allocate", path_);
    if (files_.take_blocks(state(), offset, length, true) < length) {
      return os_failure(ENOSPC, "cannot allocate", path_);
    }
    if (offset + length > state().live.size) {
      files_.change_live(inode_,
                         {inode_, FaultFileSystem::Change::extend, offset + length, nullptr});
    }
    return {};
  }

  Status drop_cache() override {
    const base::MutexLock lock(files_.mutex_);
    if (Status status = begin(Call::drop_cache); !status.ok()) return status;
    files_.drop_cache_of(inode_);
    return {};
  }

  Result<Owned<Mapping>> map(std::size_t length, MapMode mode) override;

 private:
  FaultFileSystem::FileState& state() { return files_.state_.files[inode_]; }

  // Counts the call; not ok when it must fail. fault_ is then set, if a fault is why.
  Status begin(Call call, std::uint64_t offset = 0, std::uint64_t size = 0) {
    fault_.reset();
    if (generation_ != files_.generation_) {
      return Status::from_os(EIO, "this handle's process or machine is gone").at(path_);
    }
    fault_ = files_.count(call, path_, offset, size);
    if (!fault_) return {};
    return os_failure(fault_->os_error, std::string("injected fault: ") + call_name(call), path_);
  }

  // How much the write under way does before it fails.
  [[nodiscard]] std::size_t short_bytes(std::uint64_t offset) const {
    if (!files_.whole_sectors_ || !path_.ends_with("/slots.dat")) return fault_->short_bytes;
    const std::uint64_t end = offset + fault_->short_bytes;
    const std::uint64_t whole = end - end % FaultFileSystem::kAtomBytes;
    return whole < offset ? 0 : static_cast<std::size_t>(whole - offset);
  }

  FaultFileSystem& files_;
  const std::uint64_t inode_;
  const std::uint64_t generation_;
  const std::string path_;
  const bool writable_;
  std::optional<FaultFileSystem::Fault> fault_;  // of the call under way
};

// Threads: the bytes are the caller's affair.
class FaultMapping final : public Mapping {
 public:
  FaultMapping(FaultFileSystem& files, std::uint64_t inode,
               std::shared_ptr<FaultFileSystem::Buffer> buffer, std::size_t size)
      : files_(files), inode_(inode), generation_(files.generation_), buffer_(std::move(buffer)) {
    data_ = buffer_->data();
    size_ = size;
  }
  ~FaultMapping() override {
    const base::MutexLock lock(files_.mutex_);
    if (generation_ != files_.generation_) return;
    const auto file = files_.state_.files.find(inode_);
    if (file == files_.state_.files.end() || --file->second.mappings != 0) return;
    FaultFileSystem::absorb(files_.state_, inode_);
    file->second.mapped_writable = false;
    file->second.shadow = {};
  }

 private:
  FaultFileSystem& files_;
  const std::uint64_t inode_;
  const std::uint64_t generation_;
  const std::shared_ptr<FaultFileSystem::Buffer> buffer_;
};

Result<Owned<Mapping>> FaultFile::map(std::size_t length, MapMode mode) {
  files_.observe(Call::map, path_);
  const base::MutexLock lock(files_.mutex_);
  if (Status status = begin(Call::map, 0, length); !status.ok()) return status;
  if (!files_.mappable_) return Status(Errc::unsupported, "nothing is mapped here").at(path_);
  if (length == 0) return Status(Errc::invalid_argument, "cannot map 0 bytes").at(path_);
  if (mode == MapMode::read_write && !writable_) return os_failure(EACCES, "cannot map", path_);
  FaultFileSystem::FileState& file = state();
  if (length > file.live.buffer->size()) {
    if ((length > file.live.size && length > kReserveMax) || file.mappings != 0) {
      return Status(Errc::unsupported, "cannot map beyond the end").at(path_);
    }
  }
  file.live.own(length, file.mappings != 0);
  file.mappings += 1;
  if (mode == MapMode::read_write && !file.mapped_writable) {
    file.mapped_writable = true;
    file.shadow.assign(file.live.buffer->begin(),
                       file.live.buffer->begin() + static_cast<std::ptrdiff_t>(file.live.size));
  }
  return Owned<Mapping>(new FaultMapping(files_, inode_, file.live.buffer, length));
}

// Threads: as an int.
class FaultLock final : public FileLock {
 public:
  FaultLock(FaultFileSystem& files, std::uint64_t inode, LockMode mode)
      : files_(files), inode_(inode), generation_(files.generation_), mode_(mode) {}
  ~FaultLock() override {
    const base::MutexLock lock(files_.mutex_);
    if (generation_ != files_.generation_) return;
    FaultFileSystem::LockState& state = files_.locks_[inode_];
    if (mode_ == LockMode::exclusive) {
      state.writer = false;
    } else {
      state.readers -= 1;
    }
  }

 private:
  FaultFileSystem& files_;
  const std::uint64_t inode_;
  const std::uint64_t generation_;
  const LockMode mode_;
};

FaultFileSystem::FaultFileSystem(Model model) : model_(model) {}
FaultFileSystem::~FaultFileSystem() = default;

// ---- Names ----

bool FaultFileSystem::is_directory(const Names& names, const std::string& path) {
  const auto found = names.find(path);
  return path.empty() || (found != names.end() && found->second == 0);
}

bool FaultFileSystem::has_children(const Names& names, const std::string& path) {
  const auto next = names.lower_bound(path + "/");
  return next != names.end() && next->first.starts_with(path + "/");
}

int FaultFileSystem::parent_error(const Names& names, const std::string& path) {
  const std::string parent = parent_of(path);
  if (is_directory(names, parent)) return 0;
  return names.contains(parent) ? ENOTDIR : ENOENT;
}

// Directories with something in them are not renamed: nothing here needs it, and the durable
// names could not follow one by one.
int FaultFileSystem::rename_error(const Names& names, const std::string& from,
                                  const std::string& to) {
  const auto source = names.find(from);
  if (source == names.end()) return ENOENT;
  if (const int error = parent_error(names, to); error != 0) return error;
  const bool directory = source->second == 0;
  if (directory && has_children(names, from)) return ENOTEMPTY;
  if (is_directory(names, to)) {
    if (!directory) return EISDIR;
    return has_children(names, to) ? ENOTEMPTY : 0;
  }
  return directory && names.contains(to) ? ENOTDIR : 0;
}

void FaultFileSystem::apply(Names& names, const DirectoryOperation& operation) {
  if (!operation.removed.empty()) {
    const auto found = names.find(operation.removed);
    // The name may stand for another file by now, where an operation in between was lost.
    if (found != names.end() && found->second == operation.inode) names.erase(found);
  }
  if (!operation.added.empty()) names[operation.added] = operation.inode;
}

Result<Owned<File>> FaultFileSystem::open(const std::string& path, OpenMode mode) {
  observe(Call::open, path);
  const base::MutexLock lock(mutex_);
  if (const auto fault = count(Call::open, path)) {
    return os_failure(fault->os_error, "injected fault: open", path);
  }
  const std::string name = plain(path);
  if (mode == OpenMode::create_new) {
    if (name.empty() || state_.live.contains(name)) return os_failure(EEXIST, "open", path);
    if (const int error = parent_error(state_.live, name); error != 0) {
      return os_failure(error, "cannot open", path);
    }
    const Inode inode = state_.inode_next++;
    state_.files[inode];
    const DirectoryOperation operation{{}, name, inode};
    apply(state_.live, operation);
    state_.operations.push_back(operation);
  } else if (is_directory(state_.live, name)) {
    return Status(Errc::invalid_argument, "is not a regular file").at(path);
  }
  const auto found = state_.live.find(name);
  if (found == state_.live.end()) return os_failure(ENOENT, "cannot open", path);
  return Owned<File>(new FaultFile(*this, found->second, path, mode != OpenMode::read));
}

Result<FileInfo> FaultFileSystem::info(const std::string& path) {
  const base::MutexLock lock(mutex_);
  if (const auto fault = count(Call::info, path)) {
    return os_failure(fault->os_error, "injected fault: info", path);
  }
  const std::string name = plain(path);
  if (is_directory(state_.live, name)) return FileInfo{FileKind::directory, 0};
  const auto found = state_.live.find(name);
  if (found == state_.live.end()) return os_failure(ENOENT, "cannot look at", path);
  return FileInfo{FileKind::regular, state_.files[found->second].live.size};
}

Status FaultFileSystem::list(const std::string& path,
                             FunctionRef<void(std::string_view name, FileKind kind)> visit) {
  std::vector<std::pair<std::string, FileKind>> children;
  {
    const base::MutexLock lock(mutex_);
    if (const auto fault = count(Call::list, path)) {
      return os_failure(fault->os_error, "injected fault: list", path);
    }
    const std::string name = plain(path);
    if (!is_directory(state_.live, name)) {
      return os_failure(state_.live.contains(name) ? ENOTDIR : ENOENT, "cannot list", path);
    }
    for (const auto& [child, inode] : state_.live) {
      if (parent_of(child) != name) continue;
      children.emplace_back(child.substr(name.size() + 1),
                            inode == 0 ? FileKind::directory : FileKind::regular);
    }
  }
  for (const auto& [name, kind] : children) visit(name, kind);
  return {};
}

Status FaultFileSystem::create_directory(const std::string& path) {
  observe(Call::create_directory, path);
  const base::MutexLock lock(mutex_);
  if (const auto fault = count(Call::create_directory, path)) {
    return os_failure(fault->os_error, "injected fault: create_directory", path);
  }
  const std::string name = plain(path);
  if (is_directory(state_.live, name)) return {};
  if (state_.live.contains(name)) {
    return Status(Errc::invalid_argument, "is not a directory").at(path);
  }
  if (const int error = parent_error(state_.live, name); error != 0) {
    return os_failure(error, "cannot create the directory", path);
  }
  const DirectoryOperation operation{{}, name, 0};
  apply(state_.live, operation);
  state_.operations.push_back(operation);
  return {};
}

Status FaultFileSystem::remove(const std::string& path) {
  observe(Call::remove, path);
  const base::MutexLock lock(mutex_);
  if (const auto fault = count(Call::remove, path)) {
    return os_failure(fault->os_error, "injected fault: remove", path);
  }
  const std::string name = plain(path);
  const auto found = state_.live.find(name);
  if (found == state_.live.end()) return os_failure(ENOENT, "cannot remove", path);
  if (found->second == 0 && has_children(state_.live, name)) {
    return os_failure(ENOTEMPTY, "cannot remove", path);
  }
  const DirectoryOperation operation{name, {}, found->second};
  apply(state_.live, operation);
  state_.operations.push_back(operation);
  return {};
}

Status FaultFileSystem::rename(const std::string& from, const std::string& to) {
  observe(Call::rename, from);
  const base::MutexLock lock(mutex_);
  if (const auto fault = count(Call::rename, from)) {
    return os_failure(fault->os_error, "injected fault: rename", from);
  }
  const std::string source = plain(from);
  const std::string target = plain(to);
  if (const int error = rename_error(state_.live, source, target); error != 0) {
    return os_failure(error, "cannot rename it to " + to, from);
  }
  if (source == target) return {};
  const DirectoryOperation operation{source, target, state_.live.find(source)->second};
  apply(state_.live, operation);
  state_.operations.push_back(operation);
  return {};
}

Status FaultFileSystem::sync_directory(const std::string& path) {
  observe(Call::sync_directory, path);
  const base::MutexLock lock(mutex_);
  if (const auto fault = count(Call::sync_directory, path)) {
    return os_failure(fault->os_error, "injected fault: sync_directory", path);
  }
  const std::string name = plain(path);
  if (!is_directory(state_.live, name)) return os_failure(ENOENT, "cannot sync", path);
  commit_operations([&](const DirectoryOperation& operation) {
    return model_ == Model::ext4 ||
           (!operation.added.empty() && parent_of(operation.added) == name) ||
           (!operation.removed.empty() && parent_of(operation.removed) == name);
  });
  return {};
}

Result<Owned<FileLock>> FaultFileSystem::lock(const std::string& path, LockMode mode) {
  observe(Call::lock, path);
  const base::MutexLock mutex_lock(mutex_);
  if (const auto fault = count(Call::lock, path)) {
    return os_failure(fault->os_error, "injected fault: lock", path);
  }
  const std::string name = plain(path);
  if (is_directory(state_.live, name)) {
    return Status(Errc::invalid_argument, "is not a regular file").at(path);
  }
  if (mode == LockMode::exclusive && !state_.live.contains(name)) {
    if (const int error = parent_error(state_.live, name); error != 0) {
      return os_failure(error, "cannot lock", path);
    }
    const DirectoryOperation operation{{}, name, state_.inode_next++};
    state_.files[operation.inode];
    apply(state_.live, operation);
    state_.operations.push_back(operation);
  }
  const auto found = state_.live.find(name);
  if (found == state_.live.end()) return os_failure(ENOENT, "cannot lock", path);
  LockState& lock = locks_[found->second];
  if (lock.writer || (mode == LockMode::exclusive && lock.readers != 0)) {
    return Status(Errc::locked, "held by pid 1 of the test").at(path);
  }
  if (mode == LockMode::shared) {
    lock.readers += 1;
  } else {
    lock.writer = true;
    // In both states at once, and always the same: no atoms and no hash differ for its sake.
    FileState& file = state_.files[found->second];
    for (Image* image : {&file.live, &file.durable}) image->write(0, "pid 1 of the test\n");
  }
  return Owned<FileLock>(new FaultLock(*this, found->second, mode));
}

// ---- Faults and watching ----

std::optional<FaultFileSystem::Fault> FaultFileSystem::count(Call call, const std::string& path,
                                                             std::uint64_t offset,
                                                             std::uint64_t size) {
  calls_[static_cast<std::size_t>(Call::any)] += 1;
  calls_[static_cast<std::size_t>(call)] += 1;
  if (trace_on_ && is_watched(call)) {
    std::string line = std::string(call_name(call)) + " " + path;
    if (offset != 0 || size != 0) {
      line += " " + std::to_string(offset) + " " + std::to_string(size);
    }
    trace_.push_back(std::move(line));
  }
  std::optional<Fault> met;
  for (std::size_t at = 0; at < faults_.size();) {
    Fault& fault = faults_[at];
    if ((fault.call != call && fault.call != Call::any) || (fault.left > 1 && --fault.left > 0)) {
      ++at;
      continue;
    }
    met = fault;
    if (fault.sticky) {
      ++at;
    } else {
      faults_.erase(faults_.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }
  if (met && !fault_met_) first_fault_ = call;
  if (met) fault_met_ = true;
  return met;
}

void FaultFileSystem::observe(Call call, const std::string& path) {
  std::function<void(Call call, const std::string& path)> observer;
  {
    const base::MutexLock lock(mutex_);
    observer = observer_;
  }
  if (observer) observer(call, path);
}

void FaultFileSystem::fail(Call call, std::size_t nth, int os_error, bool sticky,
                           std::size_t short_bytes) {
  const base::MutexLock lock(mutex_);
  faults_.push_back({call, nth, os_error, sticky, short_bytes});
}

void FaultFileSystem::set_whole_sectors(bool whole) {
  const base::MutexLock lock(mutex_);
  whole_sectors_ = whole;
}

void FaultFileSystem::clear_faults() {
  const base::MutexLock lock(mutex_);
  faults_.clear();
  fault_met_ = false;
  first_fault_ = Call::any;
}

Call FaultFileSystem::first_fault() const {
  const base::MutexLock lock(mutex_);
  return first_fault_;
}

std::size_t FaultFileSystem::open_handles() const {
  const base::MutexLock lock(mutex_);
  std::size_t count = 0;
  for (const auto& [inode, handles] : open_) count += handles;
  for (const auto& [inode, file] : state_.files) count += file.mappings;
  for (const auto& [inode, held] : locks_) count += held.readers + (held.writer ? 1 : 0);
  return count;
}

bool FaultFileSystem::fault_met() const {
  const base::MutexLock lock(mutex_);
  return fault_met_;
}

std::size_t FaultFileSystem::calls(Call call) const {
  const base::MutexLock lock(mutex_);
  return calls_[static_cast<std::size_t>(call)];
}

void FaultFileSystem::set_trace(bool on) {
  const base::MutexLock lock(mutex_);
  trace_on_ = on;
  if (on) trace_.clear();
}

std::vector<std::string> FaultFileSystem::trace() const {
  const base::MutexLock lock(mutex_);
  return trace_;
}

void FaultFileSystem::set_observer(
    std::function<void(Call call, const std::string& path)> observer) {
  const base::MutexLock lock(mutex_);
  observer_ = std::move(observer);
}

}  // namespace armdb::test

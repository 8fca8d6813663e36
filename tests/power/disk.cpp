#include "power/disk.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <system_error>

namespace armdb::power {

namespace {

// Most headers do not have it; the number and its flags are those of fs/xfs/libxfs/xfs_fs.h.
constexpr unsigned long kShutDown = _IOR('X', 125, std::uint32_t);
constexpr std::uint32_t kWithJournal = 1;
constexpr std::uint32_t kAtOnce = 2;

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

void run(const std::string& command) {
  if (std::system((command + " >/dev/null").c_str()) == 0) return;
  throw std::runtime_error("failed: " + command +
                           "\n  fix: what it says above; it needs root, loop devices and the file "
                           "system in the kernel");
}

std::string in_quotes(const std::string& path) { return "'" + path + "'"; }

}  // namespace

void own_mounts() {
  if (::geteuid() != 0) throw std::runtime_error("mounting needs root: run it as root");
  if (::unshare(CLONE_NEWNS) != 0) fail("mounts of one's own");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) fail("private mounts");
}

Disk::Disk(const std::string& directory, FileSystemKind kind)
    : image_(directory + "/image"), path_(directory + "/disk") {
  // mkfs.xfs takes no less than 300 MiB; holes take no space.
  const bool xfs = kind == FileSystemKind::xfs;
  std::filesystem::create_directory(path_);
  const int file = ::open(image_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0 || ::ftruncate(file, (xfs ? 320 : 64) << 20) != 0) fail(image_);
  ::close(file);
  const bool small_blocks = kind == FileSystemKind::ext4_writeback;
  const std::string ext4 = small_blocks ? "mkfs.ext4 -q -F -b 1024 " : "mkfs.ext4 -q -F -b 4096 ";
  run((xfs ? "mkfs.xfs -q " : ext4) + in_quotes(image_));
  options_ = small_blocks ? "loop,data=writeback" : "loop";
  mount();
}

Disk::~Disk() {
  if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
}

void Disk::mount() {
  run("mount -o " + options_ + " " + in_quotes(image_) + " " + in_quotes(path_));
  mounted_ = true;
}

void Disk::unmount() {
  // What a killed process had open goes a moment after it.
  for (int tries = 0; ::umount2(path_.c_str(), 0) != 0; ++tries) {
    if (errno != EBUSY || tries == 2000) fail("umount " + path_);
    ::usleep(1000);
  }
  mounted_ = false;
}

void Disk::keep(const std::string& path) const {
  run("cp --sparse=always " + in_quotes(image_) + " " + in_quotes(path));
}

void Disk::write_some(const std::string& path, base::Random& random) {
  // Files come and go meanwhile: an error ends the walk, which is as good.
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator at(path, error), end; !error && at != end;
       at.increment(error)) {
    if (random.one_in(2)) continue;
    const int file = ::open(at->path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0) continue;
    struct stat info {};
    if (::fstat(file, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
      const auto size = static_cast<std::uint64_t>(info.st_size);
      const std::uint64_t first = random.below(size) & ~std::uint64_t{4095};
      static_cast<void>(::sync_file_range(
          file, static_cast<off_t>(first), static_cast<off_t>(1 + random.below(size)),
          SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
    }
    ::close(file);
  }
}

void Disk::cut(bool with_journal) {
  const int directory = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) fail(path_);
  std::uint32_t how = with_journal ? kWithJournal : kAtOnce;
  const int result = ::ioctl(directory, kShutDown, &how);
  ::close(directory);
  if (result != 0) fail("shutting the file system down");
}

}  // namespace armdb::power

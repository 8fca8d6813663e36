// Disk: a real file system on an image file, whose power can be cut.
//
// The kernel's own request to shut a file system down does it (FS_IOC_SHUTDOWN, by its older names
// XFS_IOC_GOINGDOWN and EXT4_IOC_SHUTDOWN): nothing that begins later reaches the image, calls
// fail, and what was only in memory is gone with the unmounting. The next mount replays the
// journal, as after a real cut. The image's own pages are the disk: what a drive's volatile cache
// would lose, or a sector that it tears, is not played here.
//
// Threads: one. Errors are thrown as std::runtime_error.
#pragma once

#include <cstdint>
#include <string>

#include "support/random.hpp"

namespace armdb::power {

// With data=writeback ext4 may show sizes before bytes; that one has blocks of 1 KiB, as small
// disks get, the others 4 KiB.
enum class FileSystemKind : std::uint8_t { ext4, ext4_writeback, xfs };

// This process and its children have mounts of their own from here on, which end with them. Needs
// root.
void own_mounts();

class Disk {
 public:
  // Makes an empty one in an image in `directory`, and mounts it there.
  Disk(const std::string& directory, FileSystemKind kind);
  ~Disk();
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  // Writes parts of the files below `path` out, as the kernel does when it likes.
  static void write_some(const std::string& path, base::Random& random);
  // With the journal's last transactions or without them: both are possible moments.
  void cut(bool with_journal);
  void unmount();
  void mount();
  // A copy of the image as it is, at `path`.
  void keep(const std::string& path) const;

 private:
  std::string image_, path_, options_;
  bool mounted_ = false;
};

}  // namespace armdb::power

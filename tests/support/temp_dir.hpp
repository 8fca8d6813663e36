// TempDir: a directory of its own for one test, removed with all in it.
#pragma once

#include <stdlib.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>

namespace armdb::test {

// Under $TMPDIR, or /tmp. Threads: as an int.
class TempDir {
 public:
  TempDir() {
    const char* const parent = std::getenv("TMPDIR");
    path_ = parent != nullptr && *parent != 0 ? parent : "/tmp";
    path_ += "/armdb-test-XXXXXX";
    if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("cannot make " + path_);
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  // The path of something in it.
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace armdb::test

// Output: buffered text to standard output, or to a file that appears only when it is whole.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "armdb.hpp"

namespace armdb::cli {

// Nothing here throws before finish(): output is written from inside the library's callbacks.
// Threads: one.
class Output {
 public:
  // To standard output.
  Output() : stream_(stdout), name_("standard output") {}
  // To `path`: written to path.tmp, synced and renamed by finish(). A pipe or device is written
  // as it is. Ends with `failed` when it cannot be begun.
  explicit Output(const std::string& path);
  // Deletes an unfinished path.tmp.
  ~Output();
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  // False when writing has failed; finish() says why.
  bool write(std::string_view text) {
    buffer_ += text;
    return buffer_.size() < kBufferBytes ? !failed() : flush();
  }
  [[nodiscard]] bool failed() const { return !status_.ok(); }
  // Writes out what is left; ends with `failed` when any write went wrong, and quietly so when
  // the reader of a pipe is gone.
  void finish();

 private:
  static constexpr std::size_t kBufferBytes = std::size_t{256} << 10;
  bool flush();
  Status put_in_place();

  std::FILE* stream_ = nullptr;  // or
  Owned<File> file_;
  std::uint64_t offset_ = 0;
  std::string name_, temporary_, path_;
  std::string buffer_;
  Status status_;
};

// One text to standard output.
void print(std::string_view text);

}  // namespace armdb::cli

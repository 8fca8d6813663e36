// Writing, and putting a finished file in its place.
#include "cli/output.hpp"

#include <cerrno>
#include <filesystem>
#include <utility>

#include "cli/arguments.hpp"
#include "cli/open_collection.hpp"

namespace armdb::cli {

Output::Output(const std::string& path) : name_("\"" + path + "\""), path_(path) {
  std::error_code error;
  // A link stays a link: what it names is replaced.
  if (std::filesystem::is_symlink(path, error)) {
    path_ = std::filesystem::weakly_canonical(path, error).string();
  }
  const std::filesystem::file_status there = std::filesystem::status(path_, error);
  if (std::filesystem::is_directory(there)) {
    throw Stop{kFailed, "cannot write " + name_ + ": it is a directory; name a file"};
  }
  if (std::filesystem::exists(there) && !std::filesystem::is_regular_file(there)) {
    stream_ = std::fopen(path_.c_str(), "wb");
    if (stream_ == nullptr) fail(Status::from_os(errno, "cannot open"), "cannot write " + name_);
    return;
  }
  temporary_ = path_ + ".tmp";
  if (std::filesystem::exists(temporary_, error)) {
    const std::string name = std::exchange(temporary_, "");
    throw Stop{kFailed, "cannot write " + name_ + ": \"" + name +
                            "\" is there already; delete it when no other dump writes it"};
  }
  Result<Owned<File>> file = posix_file_system().open(temporary_, OpenMode::create_new);
  if (!file.ok()) {
    temporary_.clear();
    fail(file.status(), "cannot write " + name_);
  }
  file_ = std::move(*file);
}

Output::~Output() {
  if (stream_ != nullptr && stream_ != stdout) static_cast<void>(std::fclose(stream_));
  file_.reset();
  if (!temporary_.empty()) static_cast<void>(posix_file_system().remove(temporary_));
}

bool Output::flush() {
  if (status_.ok() && file_) {
    status_ = file_->write_at(offset_, Bytes(buffer_));
    offset_ += buffer_.size();
  } else if (status_.ok()) {
    errno = 0;
    if (std::fwrite(buffer_.data(), 1, buffer_.size(), stream_) != buffer_.size() ||
        std::fflush(stream_) != 0) {
      status_ = Status::from_os(errno, "the write failed");
    }
  }
  buffer_.clear();
  return status_.ok();
}

void Output::finish() {
  if (flush() && file_) status_ = put_in_place();
  if (status_.ok()) return;
  if (status_.os_error() == EPIPE) throw Stop{kFailed, ""};
  fail(status_, "cannot write " + name_);
}

Status Output::put_in_place() {
  FileSystem& files = posix_file_system();
  Status status = file_->sync();
  file_.reset();
  if (status.ok()) status = files.rename(temporary_, path_);
  if (!status.ok()) return status;
  temporary_.clear();
  const std::size_t slash = path_.find_last_of('/');
  const std::string folder = slash == std::string::npos ? "." : path_.substr(0, slash);
  return files.sync_directory(folder.empty() ? "/" : folder);
}

void print(std::string_view text) {
  Output output;
  output.write(text);
  output.finish();
}

}  // namespace armdb::cli

// Status texts: built only when something failed.
#include "core/status.hpp"

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

namespace armdb {

// Shared by nobody: a copy of a Status copies it. Where even this cannot be had the code alone
// has to do.
struct Status::Detail {
  std::string what;
  std::string file;
  std::uint64_t offset = kNoOffset;
};

std::string_view errc_name(Errc code) noexcept {
  switch (code) {
    case Errc::ok:
      return "ok";
    case Errc::not_found:
      return "not_found";
    case Errc::key_exists:
      return "key_exists";
    case Errc::value_mismatch:
      return "value_mismatch";
    case Errc::invalid_argument:
      return "invalid_argument";
    case Errc::closed:
      return "closed";
    case Errc::read_only:
      return "read_only";
    case Errc::locked:
      return "locked";
    case Errc::shape_mismatch:
      return "shape_mismatch";
    case Errc::format_mismatch:
      return "format_mismatch";
    case Errc::corrupt:
      return "corrupt";
    case Errc::io_error:
      return "io_error";
    case Errc::failed:
      return "failed";
    case Errc::no_space:
      return "no_space";
    case Errc::out_of_memory:
      return "out_of_memory";
    case Errc::too_large:
      return "too_large";
    case Errc::unsupported:
      return "unsupported";
    case Errc::shard_mismatch:
      return "shard_mismatch";
    case Errc::wrong_key:
      return "wrong_key";
    case Errc::aborted:
      return "aborted";
    case Errc::timed_out:
      return "timed_out";
    case Errc::fenced:
      return "fenced";
  }
  return "unknown";
}

Status::Status(Errc code, std::string_view what) : code_(code) {
  detail_ = new (std::nothrow) Detail;
  if (detail_ != nullptr) detail_->what = what;
}

// Most texts are literals: their length is asked for here, not by each caller.
Status::Status(Errc code, const char* what) : Status(code, std::string_view(what)) {}

Status::Status(Status&& other) noexcept
    : code_(other.code_),
      os_error_(other.os_error_),
      detail_(std::exchange(other.detail_, nullptr)) {}

Status::Status(const Status& other) : code_(other.code_), os_error_(other.os_error_) {
  if (other.detail_ != nullptr) detail_ = new (std::nothrow) Detail(*other.detail_);
}

Status& Status::operator=(Status&& other) noexcept {
  if (this == &other) return *this;
  drop();
  code_ = other.code_;
  os_error_ = other.os_error_;
  detail_ = std::exchange(other.detail_, nullptr);
  return *this;
}

Status& Status::operator=(const Status& other) {
  if (this != &other) *this = Status(other);
  return *this;
}

void Status::drop() noexcept { delete std::exchange(detail_, nullptr); }

void Status::take_error(Status&& other) noexcept {
  *this = std::move(other);
  if (ok()) *this = Status(Errc::invalid_argument);
}

Status Status::from_os(int os_error, std::string_view what) {
  Errc code = Errc::io_error;
  if (os_error == ENOSPC || os_error == EDQUOT || os_error == EFBIG) code = Errc::no_space;
  if (os_error == ENOMEM) code = Errc::out_of_memory;
  if (os_error == ENOENT) code = Errc::not_found;
  Status status(code, what);
  status.os_error_ = os_error;
  return status;
}

Status Status::at(const std::string& file, std::uint64_t offset) && {
  if (ok()) return std::move(*this);
  if (detail_ == nullptr) detail_ = new (std::nothrow) Detail;
  if (detail_ != nullptr && detail_->file.empty()) {
    detail_->file = file;
    detail_->offset = offset;
  }
  return std::move(*this);
}

Status Status::at(const std::string& file) && { return std::move(*this).at(file, kNoOffset); }

std::string_view Status::file() const noexcept {
  return detail_ == nullptr ? std::string_view() : std::string_view(detail_->file);
}

std::uint64_t Status::offset() const noexcept {
  return detail_ == nullptr ? kNoOffset : detail_->offset;
}

std::string Status::message() const {
  std::string text(errc_name(code_));
  if (detail_ != nullptr && !detail_->what.empty()) text.append(": ").append(detail_->what);
  char number[48];
  if (detail_ != nullptr && !detail_->file.empty()) {
    text.append(" [").append(detail_->file);
    if (detail_->offset != kNoOffset) {
      std::snprintf(number, sizeof number, " at offset %" PRIu64, detail_->offset);
      text.append(number);
    }
    text += ']';
  }
  if (os_error_ != 0) {
    std::snprintf(number, sizeof number, ", errno %d)", os_error_);
    // NOLINTNEXTLINE(concurrency-mt-unsafe): a table or memory of the thread in glibc, musl, macOS
    text.append(" (").append(std::strerror(os_error_)).append(number);
  }
  return text;
}

void BadResult::raise(const Status& status) {
#if defined(__cpp_exceptions)
  throw BadResult(status);
#else
  static_cast<void>(status);
  std::abort();
#endif
}

}  // namespace armdb

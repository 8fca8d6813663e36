// Status and Result<T>: how every call says what went wrong. Nothing in the library throws.
//
// Success and the plain answers (not_found, key_exists, value_mismatch) allocate nothing; an error
// from the world carries a text that says what, where and what to do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace armdb {

enum class Errc : std::uint8_t {
  ok = 0,
  not_found,         // no such key (or no collection at that path)
  key_exists,        // insert: the key is there already
  value_mismatch,    // cas, compare_erase: the stored value is not the expected one
  invalid_argument,  // the call is wrong; the text says how
  closed,            // the collection was closed
  read_only,         // a write to a collection that was opened read_only
  locked,            // another process or handle has the collection open
  shape_mismatch,    // opened with other key or value sizes, or another kind of collection
  format_mismatch,   // a setting contradicts the stored one, or a newer format version
  corrupt,           // bytes on disk are wrong and no crash explains them
  io_error,          // the operating system failed; see os_error()
  failed,            // an earlier write or sync failed: the shard is read-only until reopened
  no_space,          // disk full: nothing acknowledged is lost, writes resume when space is back
  out_of_memory,
  too_large,       // a key, value or store exceeds a limit; the text names it
  unsupported,     // not in this build, or not by this file system
  shard_mismatch,  // a key of another shard inside an atomic block
  wrong_key,       // the encryption key does not open this store
  aborted,         // a callback asked to stop
  timed_out,       // the time was over: what was waited for may still happen
  fenced,          // there is a newer leader: this one may not write any more
};

[[nodiscard]] std::string_view errc_name(Errc code) noexcept;  // such as "not_found"

// The outcome of a call. True when ok. Threads: as an int.
class [[nodiscard]] Status {
 public:
  constexpr Status() noexcept = default;
  constexpr Status(Errc code) noexcept : code_(code) {}  // NOLINT(google-explicit-constructor)
  Status(Errc code, std::string_view what);
  Status(Errc code, const char* what);
  Status(Status&& other) noexcept;
  Status(const Status& other);
  Status& operator=(Status&& other) noexcept;
  Status& operator=(const Status& other);
  ~Status() {
    if (detail_ != nullptr) drop();
  }
  // An error of the operating system: ENOSPC, EDQUOT and EFBIG become no_space, ENOMEM
  // out_of_memory, everything else io_error.
  static Status from_os(int os_error, std::string_view what);
  // Adds where it happened, unless somebody has.
  Status at(const std::string& file) &&;
  Status at(const std::string& file, std::uint64_t offset) &&;
  [[nodiscard]] bool ok() const noexcept { return code_ == Errc::ok; }
  explicit operator bool() const noexcept { return ok(); }
  [[nodiscard]] bool is(Errc code) const noexcept { return code_ == code; }
  [[nodiscard]] Errc code() const noexcept { return code_; }
  [[nodiscard]] int os_error() const noexcept { return os_error_; }  // errno, or 0
  // The file concerned, or empty, and the offset in it, or kNoOffset.
  [[nodiscard]] std::string_view file() const noexcept;
  [[nodiscard]] std::uint64_t offset() const noexcept;
  [[nodiscard]] std::string message() const;  // one line: code, what, file, offset, errno
  static constexpr std::uint64_t kNoOffset = ~std::uint64_t{0};

 private:
  struct Detail;
  template <class T> friend class Result;
  void drop() noexcept;
  void take_error(Status&& other) noexcept;  // `ok` is no error: invalid_argument
  Errc code_ = Errc::ok;
  int os_error_ = 0;
  Detail* detail_ = nullptr;
};

// What value() of a failed Result throws, where exceptions exist.
class BadResult : public std::exception {
 public:
  explicit BadResult(const Status& status) : status_(status), message_(status.message()) {}
  [[nodiscard]] const char* what() const noexcept override { return message_.c_str(); }
  [[nodiscard]] const Status& status() const noexcept { return status_; }
  // Throws one where armdb.cpp was built with exceptions, else aborts.
  [[noreturn]] static void raise(const Status& status);

 private:
  Status status_;
  std::string message_;
};

// A value or the error that took its place. True when ok.
template <class T> class [[nodiscard]] Result {
 public:
  // Holds neither: not_found, until something is assigned.
  Result() : status_(Errc::not_found) {}
  Result(T value) : value_(std::move(value)) {}  // NOLINT(google-explicit-constructor)
  // NOLINTNEXTLINE(google-explicit-constructor)
  Result(Status&& status) { status_.take_error(std::move(status)); }
  Result(const Status& status) : Result(Status(status)) {}  // NOLINT(google-explicit-constructor)
  Result(Errc code) : Result(Status(code)) {}               // NOLINT(google-explicit-constructor)
  [[nodiscard]] bool ok() const noexcept { return value_.has_value(); }
  explicit operator bool() const noexcept { return ok(); }
  [[nodiscard]] bool is(Errc code) const noexcept { return status_.is(code); }
  [[nodiscard]] Errc code() const noexcept { return status_.code(); }
  [[nodiscard]] const Status& status() const& noexcept { return status_; }
  Status status() && noexcept { return std::move(status_); }
  [[nodiscard]] std::string message() const { return status_.message(); }
  // The value; on an error throws BadResult, or aborts in builds without exceptions.
  [[nodiscard]] T& value() & { return check(), *value_; }
  [[nodiscard]] const T& value() const& { return check(), *value_; }
  [[nodiscard]] T&& value() && { return check(), std::move(*value_); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  template <class U> [[nodiscard]] T value_or(U&& fallback) const& {
    return ok() ? *value_ : static_cast<T>(std::forward<U>(fallback));
  }

 private:
  [[gnu::always_inline]] void check() const {
    if (!value_) BadResult::raise(status_);
  }
  std::optional<T> value_;
  Status status_;
};

}  // namespace armdb

// Lines on standard error, and the progress line among them.
#include "cli/console.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "cli/text_format.hpp"

namespace armdb::cli {

namespace {

// The standard library has no isatty(); a character device that is not /dev/null is one to us.
bool error_side_is_terminal() {
  std::error_code error;
  const std::filesystem::path path = "/dev/stderr";
  if (!std::filesystem::is_character_file(path, error)) return false;
  return std::filesystem::canonical(path, error) != "/dev/null" && !error;
}

void write_error_side(std::string_view text) {
  static_cast<void>(std::fwrite(text.data(), 1, text.size(), stderr));
  static_cast<void>(std::fflush(stderr));
}

}  // namespace

Console::Console() : is_terminal_(error_side_is_terminal()) {}

void Console::note(std::string_view text) {
  if (verbose_) line("armdb: info: ", text);
}

void Console::take_log(void* context, LogLevel level, std::string_view text) {
  Console& self = *static_cast<Console*>(context);
  if (level == LogLevel::info) return self.note(text);
  bool hold = false;
  if (level == LogLevel::error) {
    const std::lock_guard<std::mutex> lock(self.mutex_);
    hold = self.hold_damage_;
    std::string kept = one_line(text);
    const auto known = std::find(self.damage_.begin(), self.damage_.end(), kept);
    if (known == self.damage_.end()) self.damage_.push_back(std::move(kept));
  }
  if (!hold) self.warn(text);
}

std::vector<std::string> Console::damage() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return damage_;
}

void Console::line(std::string_view prefix, std::string_view text) {
  const std::lock_guard<std::mutex> lock(mutex_);
  clear_progress();
  write_error_side(std::string(prefix) + one_line(text) + "\n");
}

void Console::progress(std::string_view text) {
  const std::lock_guard<std::mutex> lock(mutex_);
  clear_progress();
  if (text.empty() || !is_terminal_) return;
  write_error_side(text);
  progress_shown_ = true;
}

void Console::clear_progress() {
  // Back to the first column, and erase to the end of the line.
  if (progress_shown_) write_error_side("\r\x1b[K");
  progress_shown_ = false;
}

Progress::Progress(Console& console, std::string_view what)
    : console_(console),
      what_(what),
      shown_(console.is_terminal()),
      start_(Clock::now()),
      drawn_(start_) {}

void Progress::look() {
  // The clock is asked once per 256 entries: it costs more than a small entry.
  look_again_at_ = done_ + 256;
  const Clock::time_point now = Clock::now();
  if (now - drawn_ < std::chrono::milliseconds(200)) return;
  drawn_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const auto rate = static_cast<std::uint64_t>(static_cast<double>(done_) / seconds);
  console_.progress(what_ + ": " + counted(done_, "entry", "entries") + ", " + grouped(rate) +
                    " per second");
}

}  // namespace armdb::cli

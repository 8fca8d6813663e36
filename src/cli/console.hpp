// Console: what goes to the terminal's error side: errors, the library's log lines, progress.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "armdb.hpp"

namespace armdb::cli {

// Threads: any; the library logs from several while it opens a collection.
class Console {
 public:
  Console();

  void set_verbose(bool verbose) { verbose_ = verbose; }
  void error(std::string_view text) { line("armdb: error: ", text); }
  void warn(std::string_view text) { line("armdb: warning: ", text); }
  void note(std::string_view text);  // only when verbose

  // For Config::log. Lines about damage are kept as well.
  [[nodiscard]] Log log() { return {&Console::take_log, this}; }
  // What every collection is opened with: the log, and the key when one was given.
  void settle(Config& config) {
    config.log = log();
    config.encryption_key = key_;
  }
  void set_key(const EncryptionKey& key) { key_ = key; }
  [[nodiscard]] const EncryptionKey& key() const { return key_; }
  // Holds damage lines back from the terminal: the command lists them itself.
  void hold_damage(bool hold) { hold_damage_ = hold; }
  // The damage lines so far, each once, in order.
  [[nodiscard]] std::vector<std::string> damage();

  [[nodiscard]] bool is_terminal() const { return is_terminal_; }
  // Replaces the progress line; an empty text takes it away.
  void progress(std::string_view text);

 private:
  static void take_log(void* context, LogLevel level, std::string_view text);
  void line(std::string_view prefix, std::string_view text);
  void clear_progress();

  std::mutex mutex_;
  std::vector<std::string> damage_;
  EncryptionKey key_;
  bool is_terminal_ = false;
  bool verbose_ = false;
  bool hold_damage_ = false;
  bool progress_shown_ = false;
};

// Counts entries, and shows count and rate on a terminal a few times a second.
// Threads: one.
class Progress {
 public:
  Progress(Console& console, std::string_view what);
  ~Progress() { console_.progress(""); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void add(std::uint64_t entries) {
    done_ += entries;
    if (shown_ && done_ >= look_again_at_) look();
  }
  [[nodiscard]] std::uint64_t done() const { return done_; }

 private:
  using Clock = std::chrono::steady_clock;
  void look();

  Console& console_;
  const std::string what_;
  const bool shown_;
  const Clock::time_point start_;
  Clock::time_point drawn_;
  std::uint64_t done_ = 0;
  std::uint64_t look_again_at_ = 0;
};

}  // namespace armdb::cli

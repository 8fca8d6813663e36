// serve: lets followers have a collection, and takes writes from standard input meanwhile.
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <iostream>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cli/commands.hpp"
#include "cli/notation.hpp"
#include "cli/open_collection.hpp"
#include "cli/output.hpp"
#include "cli/replication_options.hpp"
#include "cli/text_format.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::cli {

namespace {

constexpr std::uint64_t kServeEveryMsMax = 86'400'000;
constexpr std::uint32_t kLookEveryMs = 50;  // for signals and followers
constexpr std::size_t kLinesAhead = 1024;

// Lines of standard input, read by a thread of its own: no standard call reads with a time limit.
class Lines {
 public:
  ~Lines() {
    if (shared_ == nullptr) return;
    const std::lock_guard<std::mutex> lock(shared_->mutex);
    shared_->closed = true;
    shared_->changed.notify_all();
  }
  Lines() = default;
  Lines(const Lines&) = delete;
  Lines& operator=(const Lines&) = delete;

  void start() {
    shared_ = std::make_shared<Shared>();
    std::thread([shared = shared_] { read_all(*shared); }).detach();
  }

  // Waits a little; nothing when none has come.
  std::optional<std::string> take() {
    if (shared_ == nullptr) {
      std::this_thread::sleep_for(std::chrono::milliseconds(kLookEveryMs));
      return std::nullopt;
    }
    std::unique_lock<std::mutex> lock(shared_->mutex);
    shared_->changed.wait_for(lock, std::chrono::milliseconds(kLookEveryMs),
                              [this] { return !shared_->lines.empty(); });
    if (shared_->lines.empty()) return std::nullopt;
    std::string line = std::move(shared_->lines.front());
    shared_->lines.pop_front();
    shared_->changed.notify_all();
    return line;
  }

 private:
  struct Shared {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::string> lines;
    bool closed = false;
  };
  static void read_all(Shared& shared) {
    for (std::string line; std::getline(std::cin, line);) {
      std::unique_lock<std::mutex> lock(shared.mutex);
      shared.changed.wait(lock, [&] { return shared.closed || shared.lines.size() < kLinesAhead; });
      if (shared.closed) return;
      shared.lines.push_back(std::move(line));
      shared.changed.notify_all();
    }
  }

  std::shared_ptr<Shared> shared_;
};

bool input_is_terminal() {
  std::error_code error;
  const std::filesystem::path path = "/dev/stdin";
  return std::filesystem::is_character_file(path, error) &&
         std::filesystem::canonical(path, error) != "/dev/null" && !error;
}

// The first word of `rest`, which loses it and the space behind it.
std::string take_word(std::string& rest) {
  const std::size_t end = rest.find(' ');
  std::string word = rest.substr(0, end);
  rest.erase(0, end == std::string::npos ? end : end + 1);
  return word;
}

class Service {
 public:
  Service(const Arguments& arguments, Console& console, Collection& collection,
          ReplicationServer& server)
      : notation_(arguments), console_(console), collection_(collection), server_(server) {}

  // A line that is wrong, or fails, is told and ends nothing.
  void do_line(const std::string& line) {
    ++line_number_;
    try {
      do_words(line);
    } catch (const Stop& stop) {
      console_.warn("line " + std::to_string(line_number_) + ": " + stop.text);
    }
  }

  // Each follower that has come, gone, or is in another state than before.
  void tell_followers() {
    std::vector<std::string> states;
    server_.replication_stats(
        [&](std::string_view peer, bool connected, const ReplicationStats& stats) {
          states.push_back("follower " + one_line(peer) + ": " +
                           (connected ? std::string(replication_state_name(stats.state)) : "gone"));
        });
    states_.resize(states.size());
    for (std::size_t at = 0; at < states.size(); ++at) {
      if (states_[at] != states[at]) print(states[at] + "\n");
    }
    states_ = std::move(states);
    const Status error = server_.last_error();
    // One that tries again and again is told once a minute.
    const auto now = std::chrono::steady_clock::now();
    const bool again = error.is(error_) && now - error_at_ < std::chrono::minutes(1);
    if (error.ok() || error.is(Errc::closed) || again) return;
    error_ = error.code();
    error_at_ = now;
    console_.warn("a connection ended: " + error.message());
  }

  void tell_lag() {
    std::string text;
    server_.replication_stats(
        [&](std::string_view peer, bool connected, const ReplicationStats& stats) {
          text += "lag of " + one_line(peer) + (connected ? ": " : ", which is gone: ") +
                  lag_text(stats) + "\n";
        });
    print(text.empty() ? "lag: no follower has come yet\n" : text);
  }

  // No number of followers is enough: the answer is `fenced`, or that the time is over.
  [[nodiscard]] bool is_fenced() {
    return server_.wait_for_followers(UINT32_MAX, 0, 0).is(Errc::fenced);
  }

 private:
  void do_words(const std::string& line) {
    std::string rest = line;
    const std::string verb = take_word(rest);
    if (verb.empty()) return;
    if (verb == "sync" && rest.empty()) {
      check(collection_.sync(), "cannot sync");
      return print("synced\n");
    }
    const std::size_t space = rest.find(' ');
    if (verb == "wait" && !rest.empty() && rest.find_first_not_of("0123456789") == rest.npos) {
      return wait(rest);
    }
    if (verb == "put" && space != std::string::npos) {
      const std::string key = notation_.key(take_word(rest), collection_.shape());
      check(collection_.put(key, notation_.value(rest, collection_.shape())), "cannot put");
    } else if (verb == "erase" && !rest.empty() && space == std::string::npos) {
      check(collection_.erase(notation_.key(rest, collection_.shape())), "cannot erase");
    } else {
      wrong_use(
          "not \"put KEY VALUE\", \"erase KEY\", \"sync\" or \"wait COUNT\"; --escapes lets "
          "keys have spaces, as \\x20");
    }
  }

  void wait(const std::string& count) {
    const auto wanted = static_cast<std::uint32_t>(std::strtoul(count.c_str(), nullptr, 10));
    Status status(Errc::timed_out);
    while (status.is(Errc::timed_out) && !asked_to_end()) {
      status = server_.wait_for_followers(wanted, UINT64_MAX, kLookEveryMs);
      tell_followers();
    }
    if (!status.ok()) fail_with_peer(status, "cannot wait");
    print(counted(wanted, "follower has", "followers have") + " it all\n");
  }

  const Notation notation_;
  Console& console_;
  Collection& collection_;
  ReplicationServer& server_;
  std::vector<std::string> states_;
  Errc error_ = Errc::ok;
  std::chrono::steady_clock::time_point error_at_;
  std::uint64_t line_number_ = 0;
};

int run_serve(const Arguments& arguments, Console& console) {
  const std::string& path = arguments.operands()[0];
  const Peer peer(arguments);
  const std::chrono::milliseconds every(arguments.number("every", 0, 1, kServeEveryMsMax));
  ReplicationConfig config = peer.config();
  config.ship_early = arguments.has("ship-early");
  config.retain_bytes = arguments.number("retain", config.retain_bytes, 0, UINT64_MAX);
  Collection collection = open_collection(path, Access::write, console);
  end_on_signals();
  Result<ReplicationServer> server =
      ReplicationServer::start(collection, arguments.operands()[1], config);
  if (!server.ok()) fail_with_peer(server.status(), "cannot serve " + one_line(path));
  print("serving " + one_line(path) + " at " + server->address() + "\n");
  Service service(arguments, console, collection, *server);
  Lines lines;
  if (arguments.has("stdin") || !input_is_terminal()) lines.start();
  auto told = std::chrono::steady_clock::now();
  bool fenced = false;
  while (!asked_to_end() && !fenced) {
    if (const std::optional<std::string> line = lines.take()) service.do_line(*line);
    service.tell_followers();
    fenced = service.is_fenced();
    const auto now = std::chrono::steady_clock::now();
    if (every.count() == 0 || now - told < every) continue;
    told = now;
    service.tell_lag();
  }
  server->stop();
  close_collection(collection);
  if (fenced) {
    throw Stop{kFailed, "a newer leader has taken over, so " + one_line(path) +
                            " takes no more writes; \"armdb follow\" makes it a follower of it"};
  }
  print("stopped\n");
  return kWell;
}

}  // namespace

Command serve_command() {
  Command command;
  command.name = "serve";
  command.operands = "PATH ADDRESS";
  command.summary = "let followers have a collection, and write to it";
  command.details =
      "ADDRESS is unix:/path, 127.0.0.1:7000, [::1]:7000 or host:7000; port 0 takes a free one.\n"
      "While it runs, no other process can open PATH. So it takes writes itself, when standard\n"
      "input is no terminal, or with --stdin: lines \"put KEY VALUE\", \"erase KEY\", \"sync\", "
      "and\n"
      "\"wait COUNT\", which waits until that many followers have it all, durably. It goes on at\n"
      "their end. Prints a line when a follower comes, changes its state, or goes. SIGINT or\n"
      "SIGTERM ends it. Exit code 3 when a newer leader has taken over.";
  command.operands_min = command.operands_max = 2;
  command.options.push_back({0, "stdin", "", "read lines also from a terminal"});
  command.options.push_back({0, "every", "MS", "also print how far followers are behind"});
  command.options.push_back({0, "ship-early", "",
                             "ship what a power cut here could still take; it is set\n"
                             "aside at the followers then"});
  command.options.push_back({0, "retain", "BYTES",
                             "of log per shard kept for followers that are behind\n"
                             "(default 1 GiB)"});
  add_peer_options(command);
  add_notation_options(command);
  command.options.push_back({0, "pad", "", "fill short values up with NUL bytes"});
  add_common_options(command);
  command.run = run_serve;
  return command;
}

}  // namespace armdb::cli

#endif  // !ARMDB_OMIT_REPLICATION

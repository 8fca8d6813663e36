// follow, promote and lag: a follower from its making to its taking over.
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

#include "cli/commands.hpp"
#include "cli/open_collection.hpp"
#include "cli/output.hpp"
#include "cli/replication_options.hpp"
#include "cli/text_format.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::cli {

namespace {

constexpr std::uint64_t kEveryMsMax = 86'400'000;
constexpr auto kLookEvery = std::chrono::milliseconds(50);  // for signals

// Lines about changes of state, handed from the follower's thread to the one that prints.
class Changes {
 public:
  static void note(void* self, const ReplicationStats& stats) {
    Changes& changes = *static_cast<Changes*>(self);
    const std::lock_guard<std::mutex> lock(changes.mutex_);
    const bool again =
        stats.state == ReplicationState::connecting && changes.state_ == ReplicationState::refused;
    std::string line = state_text(stats);
    // It tries again and again: what is refused for the same reason is told once.
    if (again || line == changes.last_) return;
    changes.state_ = stats.state;
    changes.last_ = line;
    changes.lines_.push_back(std::move(line));
    changes.came_.notify_one();
  }

  std::deque<std::string> take() {
    std::unique_lock<std::mutex> lock(mutex_);
    came_.wait_for(lock, kLookEvery, [this] { return !lines_.empty(); });
    return std::exchange(lines_, {});
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  std::deque<std::string> lines_;
  ReplicationState state_ = ReplicationState::stopped;
  std::string last_;
};

void make_follower(const std::string& path, const std::string& address, const Peer& peer,
                   Console& console) {
  Config config;
  console.settle(config);
  const Status status = ReplicationClient::create(path, address, config, peer.config());
  if (!status.ok()) fail_with_peer(status, "cannot make a follower of " + one_line(address));
  print("created " + one_line(path) + ", a follower of " + one_line(address) + "\n");
}

int run_follow(const Arguments& arguments, Console& console) {
  const std::string& path = arguments.operands()[0];
  const std::string& address = arguments.operands()[1];
  const Peer peer(arguments);
  const std::chrono::milliseconds every(arguments.number("every", 0, 1, kEveryMsMax));
  if (!has_collection(path)) make_follower(path, address, peer, console);
  Collection collection = open_collection(path, Access::write, console);
  Changes changes;
  ReplicationConfig config = peer.config();
  config.on_state = &Changes::note;
  config.context = &changes;
  end_on_signals();
  Result<ReplicationClient> client = ReplicationClient::start(collection, address, config);
  if (!client.ok()) fail_with_peer(client.status(), "cannot follow " + one_line(address));
  print("following " + one_line(address) + "\n");
  auto told = std::chrono::steady_clock::now();
  while (!asked_to_end()) {
    for (const std::string& line : changes.take()) print(line + "\n");
    const auto now = std::chrono::steady_clock::now();
    if (every.count() == 0 || now - told < every) continue;
    told = now;
    print("lag: " + lag_text(client->replication_stats()) + "\n");
  }
  client->stop();
  close_collection(collection);
  print("stopped\n");
  return kWell;
}

int run_promote(const Arguments& arguments, Console& console) {
  const std::string& path = arguments.operands()[0];
  Collection collection = open_collection(path, Access::write, console);
  check(ReplicationClient::promote(collection), "cannot promote the collection");
  close_collection(collection);
  print("promoted " + one_line(path) +
        ": it takes writes; \"armdb serve\" lets others follow it\n");
  return kWell;
}

int run_lag(const Arguments& arguments, Console& console) {
  const std::string& address = arguments.operands()[1];
  const Peer peer(arguments);
  Collection collection = open_collection(arguments.operands()[0], Access::read, console);
  const Result<ReplicationStats> stats =
      ReplicationClient::compare(collection, address, peer.config());
  if (!stats.ok()) fail_with_peer(stats.status(), "cannot compare with " + one_line(address));
  std::string text =
      "lag: " + lag_text(*stats) + "; the leader is in term " + std::to_string(stats->term) + "\n";
  if (stats->resyncs != 0) {
    text += counted(stats->resyncs, "shard", "shards") +
            " will be copied anew, since the leader never had all that is there\n";
  }
  print(text);
  return kWell;
}

}  // namespace

Command follow_command() {
  Command command;
  command.name = "follow";
  command.operands = "PATH ADDRESS";
  command.summary = "keep a collection a copy of one that is served";
  command.details =
      "Makes the follower when nothing is at PATH, else goes on where it was; a former leader\n"
      "becomes a follower. Prints a line at each change of state. Connects again when the leader\n"
      "is away. SIGINT or SIGTERM ends it. While it runs, no other process can open PATH.\n"
      "ADDRESS is unix:/path, 127.0.0.1:7000, [::1]:7000 or host:7000.";
  command.operands_min = command.operands_max = 2;
  command.options.push_back({0, "every", "MS", "also print how far it is behind, this often"});
  add_peer_options(command);
  add_common_options(command);
  command.run = run_follow;
  return command;
}

Command promote_command() {
  Command command;
  command.name = "promote";
  command.operands = "PATH";
  command.summary = "make a follower the leader: it takes writes from then on";
  command.details =
      "End \"armdb follow\" before. What the old leader had and this one never got is not there:\n"
      "\"armdb lag\" tells, while the old leader still answers. An old leader that hears of the\n"
      "new one takes no more writes; run \"armdb follow\" on it.";
  command.operands_min = command.operands_max = 1;
  add_common_options(command);
  command.run = run_promote;
  return command;
}

Command lag_command() {
  Command command;
  command.name = "lag";
  command.operands = "PATH ADDRESS";
  command.summary = "tell how far a follower at rest is behind a leader";
  command.details =
      "Asks the leader, and changes nothing. While a follower runs, \"armdb follow --every MS\"\n"
      "and \"armdb serve --every MS\" tell.";
  command.operands_min = command.operands_max = 2;
  add_peer_options(command);
  add_common_options(command);
  command.run = run_lag;
  return command;
}

}  // namespace armdb::cli

#endif  // !ARMDB_OMIT_REPLICATION

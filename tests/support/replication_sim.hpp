// ReplicationSim: a leader and two followers as they are, over a simulated network, on simulated
// disks, under a simulated clock; all that goes wrong follows from a seed.
//
// Each node runs the sessions of src/replica on its own engine; what the ReplicationServer and the
// ReplicationClient do around them (sockets, threads, trying again) is done here. An operator
// kills processes, cuts the power, cuts and stalls connections, lets calls of the disk fail, has
// segments compacted, promotes followers, and makes old leaders follow. What must hold:
//   (1) a follower has, in each shard, what its leader had after some write, no part of a batch,
//       and nothing that was not durable there (unless shipped early);
//   (2) that only moves forward, until a copy replaces what its leader never had;
//   (3) what it acked as durable, or greeted with, outlasts its own power cuts;
//   (4) what a leader was told that a follower has is there when that one is promoted;
//   (5) in the end all have what the leader has, within a bounded time;
//   (6) no two leaders have followers confirm writes under the same number of a term;
//   (7) what a copy takes away that the leader never had is in .aside files;
//   (8) a batch over several shards is there in all of them or none, once no copy is on its way.
// Leaders recover as CrashSimulator asks of a store alone: between what was durable and the last
// write.
//
// Threads: run() by one; the rest are the simulation's, one at a time.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "replica/follower.hpp"
#include "replica/leader.hpp"
#include "support/fault_file_system.hpp"
#include "support/history_model.hpp"
#include "support/sim_files.hpp"
#include "support/sim_network.hpp"
#include "support/sim_scheduler.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS) && !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::test {

class FixedReplicationOracle;
struct SlotReign;

struct ReplicationSimSettings {
  std::uint64_t seed = 1;
  std::size_t events = 12;  // of the operator, at most about twice as many
  bool encrypted = false;
  bool fixed = false;  // the Fixed store, for which fixed_replication_oracle.hpp tells what holds
  bool disk_faults = true;  // in some seeds
  bool loud = false;        // says on stderr what happens
};

struct ReplicationSimCounts {
  std::size_t seeds = 0, steps = 0, writes = 0, kills = 0, power_cuts = 0, cuts = 0, stalls = 0,
              faults = 0, promotions = 0, fences = 0, copies = 0, set_aside = 0, confirmed = 0,
              checks = 0;
  std::uint64_t trace = 0;  // of the last seed
  [[nodiscard]] std::string text() const;
};

class ReplicationSim {
 public:
  ReplicationSim(const ReplicationSimSettings& settings, ReplicationSimCounts& counts);
  ~ReplicationSim();

  // False when something promised did not hold; failure() tells what.
  bool run();
  [[nodiscard]] const std::string& failure() const noexcept { return failure_; }

 private:
  friend class WatchedStream;
  friend class FixedReplicationOracle;
  struct Process;
  using ProcessPtr = std::shared_ptr<Process>;

  // From when a process begins to lead until it ends that.
  struct Reign {
    std::vector<SimEntry*> tips;  // its last writes
    std::shared_ptr<SlotReign> slots = nullptr;
  };
  using ReignPtr = std::shared_ptr<Reign>;
  // What outlives the processes of a node.
  struct Node {
    explicit Node(std::size_t among) : number(among) {}
    const std::size_t number;
    FaultFileSystem disk{FaultFileSystem::Model::strict};
    std::vector<SimEntry*> at;          // per shard: what it has, as last seen
    std::vector<SimEntry*> floor;       // what no crash may take
    std::vector<SimEntry*> promised;    // what a leader was told that it has
    std::vector<ReignPtr> copied_from;  // a copy of that leader's shard is on its way, or came
    bool lossy = false;  // the last process ended in a way that may take what was not durable
    store::StoreId id{};
    std::string ambush;           // a crash comes right behind a sync of a file that ends like this
    std::size_t ambush_left = 0;  // so many syncs of it from now
  };
  enum class Wish : std::uint8_t { none, follow, promote, close };
  // One process on a node, from its start to its death.
  struct Process {
    explicit Process(Node& on, SimScheduler& scheduler) : node(on), files(scheduler, on.disk) {}
    Node& node;
    SimFiles files;
    replica::Options options;
    std::unique_ptr<engine::Engine> engine;
    std::unique_ptr<replica::Source> source;
    ReignPtr reign;  // of a leader
    std::vector<os::Waker*> wakers;
    std::atomic<bool> stopping{false};
    std::size_t threads = 0;  // besides its first
    bool dead = false;
    bool ended = false;
    bool serving = false;
    bool idle = false;  // the leader writes nothing any more
    Wish wish = Wish::none;
    std::string error;  // of the last conversation
  };
  // A conversation from the follower's side.
  struct Talk {
    ProcessPtr follower, leader;
    ReignPtr reign;  // of the leader
    bool greeted = false;
    std::vector<bool> copying;   // a copy is on its way, or announced
    std::vector<bool> replaced;  // one was, in this conversation
    std::vector<bool> ending;    // all of it has been read
  };

  // ---- The nodes ----
  void choose_options();
  FixedConfig config_for(Process& process);
  ProcessPtr start(std::size_t node);
  void run_process(const ProcessPtr& process);
  bool open(const ProcessPtr& process);
  Status create(const ProcessPtr& process);
  void lead(const ProcessPtr& process);
  void follow(const ProcessPtr& process);
  void follow_once(const ProcessPtr& process, os::Waker& waker);
  std::unique_ptr<os::Stream> dial(const ProcessPtr& process, ProcessPtr& leader);
  void serve(const ProcessPtr& process, std::unique_ptr<os::Stream> stream);
  void spawn(const ProcessPtr& process, const char* what, std::function<void()> body);
  void stop(Process& process, Wish wish);
  void wait_ended(const ProcessPtr& process);
  static void wake(Process& process);

  // ---- The work of a leader ----
  void write_some(const ProcessPtr& process);
  void write_once(const ProcessPtr& process);
  void write_batch(const ProcessPtr& process, bool joint);
  void write_key(const ProcessPtr& process);
  void care_once(const ProcessPtr& process);
  void wait_for_followers(const ProcessPtr& process);
  // Followers have confirmed what this leader wrote.
  bool confirm(Process& process);
  void settle_write(const ProcessPtr& process, const std::vector<SimEntry*>& after,
                    const Status& status);
  void request_of(engine::WriteRequest& request, std::size_t key, std::uint64_t number,
                  std::vector<std::uint8_t>& value);
  [[nodiscard]] std::vector<std::uint8_t> value_of(std::uint64_t number) const;
  [[nodiscard]] std::size_t shard_of(const engine::Engine& engine, std::size_t key) const;

  // ---- The operator ----
  void operate();
  void event();
  void crash(std::size_t node, bool power);
  void set_ambush();
  void cut_one();
  void stall();
  void fault();
  void promote();
  void restart_down();
  void settle_down();
  bool level();
  void end_all();
  std::string where() const;

  // ---- What must hold ----
  void fail(const std::string& what);  // the first one counts
  void tell(const std::string& what);
  // Of an event, for a failure.
  void remember(const std::string& what);
  SimContent content_of(Process& process, std::size_t shard);
  // Finds what is there now in the model; it may have lost what was not durable when it is `lossy`.
  void check_states(Process& process, bool lossy, const char* when, bool opened = false);
  void note_gap(Process& process, std::size_t shard);
  bool gives_up(Process& process, std::size_t shard);
  SimEntry* locate(Process& process, std::size_t shard, bool lossy, const SimEntry* tip = nullptr);
  void check_shown(Talk& talk);
  void check_shard(Talk& talk, std::size_t shard);
  void note_copies(Process& process);
  void check_torn(Process& process, const char* when);
  void settle_floor(Process& process, std::size_t shard, SimEntry* now);
  void note_replaced(Node& node, std::size_t shard, const SimEntry* old, const SimEntry* now);
  void check_aside(Node& node, std::size_t shard, const SimEntry* old, const SimEntry* now);
  void check_promoted(Process& process);
  void check_equal(Process& leader, Process& follower);
  void note_durable(Process& leader);
  void begin_copy(Talk& talk, std::size_t shard);
  // The follower says that it has so much durably, per shard.
  void note_claims(Talk& talk, const std::vector<std::uint64_t>& sequences);
  [[nodiscard]] static std::string describe(const SimContent& content);

  const ReplicationSimSettings settings_;
  ReplicationSimCounts& counts_;
  SimScheduler scheduler_;
  base::Random& random_;
  SimWeather weather_;
  SimNetwork network_;

  Shape shape_;
  FixedConfig config_;
  std::uint32_t shards_ = 1;
  std::uint64_t retain_bytes_ = 0;
  bool ship_early_ = false;
  bool faults_ = false;
  std::uint64_t write_pause_us_ = 0;

  std::unique_ptr<FixedReplicationOracle> slots_;  // null where the store is a log
  HistoryModel model_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<ProcessPtr> processes_;  // per node; null: down
  std::size_t leader_ = 0;             // whom the others are told to follow
  std::uint64_t promotions_ = 0;       // in its terms
  std::size_t promoting_ = kSimNodes;  // whose promotion may have happened, or may still
  std::uint64_t number_ = 0;           // of the last write
  std::set<std::pair<std::uint64_t, std::uint64_t>> confirmed_;  // terms: number and id
  std::uint64_t seen_ = 0;                                       // values
  bool calm_ = false;                                            // nothing goes wrong any more
  bool over_ = false;
  std::string events_;
  std::string failure_;
};

}  // namespace armdb::test

#endif

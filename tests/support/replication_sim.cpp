// The nodes of a ReplicationSim, from start to death, and their operator.
#include "support/replication_sim.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS) && !defined(ARMDB_OMIT_REPLICATION)

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "replica/client.hpp"
#include "support/fixed_replication_oracle.hpp"
#include "support/watched_stream.hpp"

namespace armdb::test {

namespace {

constexpr const char* kPath = "/db";
constexpr const char* kName = "c";
constexpr std::uint64_t kPromotion = std::uint64_t{1} << 32;
constexpr std::size_t kStepsMost = 3000000;
constexpr std::uint64_t kCalmUs = 60000000;

template <class T> T any_of(base::Random& random, std::initializer_list<T> values) {
  return values.begin()[random.below(values.size())];
}

}  // namespace

std::string ReplicationSimCounts::text() const {
  return std::to_string(seeds) + " seeds, " + std::to_string(steps) + " steps, " +
         std::to_string(writes) + " writes, " + std::to_string(kills) + " kills, " +
         std::to_string(power_cuts) + " power cuts, " + std::to_string(cuts) + " cuts, " +
         std::to_string(stalls) + " stalls, " + std::to_string(faults) + " faults, " +
         std::to_string(promotions) + " promotions, " + std::to_string(fences) + " fences, " +
         std::to_string(copies) + " copies, " + std::to_string(set_aside) + " set aside, " +
         std::to_string(confirmed) + " confirmed, " + std::to_string(checks) + " checks";
}

ReplicationSim::ReplicationSim(const ReplicationSimSettings& settings, ReplicationSimCounts& counts)
    : settings_(settings),
      counts_(counts),
      scheduler_(settings.seed),
      random_(scheduler_.random()),
      network_(scheduler_, weather_),
      shards_(1 + static_cast<std::uint32_t>(random_.below(3))),
      model_(shards_),
      processes_(kSimNodes) {
  choose_options();
  for (std::size_t at = 0; at < kSimNodes; ++at) {
    nodes_.push_back(std::make_unique<Node>(at));
    Node& node = *nodes_.back();
    for (std::size_t shard = 0; shard < shards_; ++shard) node.at.push_back(model_.root(shard));
    node.floor = node.promised = node.at;
    node.copied_from.resize(shards_);
  }
  if (!settings.fixed) return;
  ship_early_ = false;
  slots_ = std::make_unique<FixedReplicationOracle>(*this);
  slots_->choose_options(config_, shape_);
}

ReplicationSim::~ReplicationSim() = default;

void ReplicationSim::choose_options() {
  shape_.key_size = 4;
  shape_.value_size = any_of<std::uint32_t>(random_, {16, 300, 1000, 3000});
  shape_.ordered = random_.one_in(2);
  shape_.payload = Payload::value;
  config_.shard_count = shards_;
  config_.write_buffer_size = 16u << 10;
  config_.max_file_size = 64u << 10;
  config_.index_step_bytes = 4u << 10;
  config_.mapped_reads = false;
  config_.hints = random_.one_in(2);
  config_.compaction_threshold = any_of<double>(random_, {0.01, 0.3, 0.6});
  retain_bytes_ = any_of<std::uint64_t>(random_, {0, 20000, 200000, std::uint64_t{1} << 30});
  ship_early_ = random_.one_in(5);
  faults_ = settings_.disk_faults && random_.one_in(3);
  write_pause_us_ = any_of<std::uint64_t>(random_, {1000, 4000, 15000});
  weather_.delay_us = any_of<std::uint64_t>(random_, {50, 500, 3000});
  weather_.loss_percent = any_of<std::uint32_t>(random_, {0, 0, 5, 30});
  weather_.room_bytes = any_of<std::size_t>(random_, {2000, 16384, 65536});
  weather_.small_pieces = random_.one_in(3);
  network_.set_weather(weather_);
}

FixedConfig ReplicationSim::config_for(Process& process) {
  FixedConfig config = config_;
  config.log.context = this;
  config.log.callback = [](void* self, LogLevel level, std::string_view text) {
    if (level != LogLevel::info) static_cast<ReplicationSim*>(self)->tell(std::string(text));
  };
  config.file_system = &process.files;
  if (settings_.encrypted) {
    config.encryption_key = ByteArray<32>{static_cast<std::uint8_t>(process.node.number + 1)};
  }
  if (process.node.number != 0) {
    config.create = false;
    config.shard_count = 0;
  }
  return config;
}

// ---- The nodes ----

ReplicationSim::ProcessPtr ReplicationSim::start(std::size_t node) {
  auto process = std::make_shared<Process>(*nodes_[node], scheduler_);
  process->options.name = kName;
  process->options.ship_early = ship_early_;
  process->options.retain_bytes = retain_bytes_;
  if (slots_ != nullptr) process->options.slot_bytes = slots_->told_at_once();
  process->options.heartbeat_ms = 40;
  process->options.timeout_ms = 600;
  process->options.retry_ms = 15;
  process->idle = calm_;
  processes_[node] = process;
  scheduler_.spawn("node " + std::to_string(node), [this, process] { run_process(process); });
  return process;
}

void ReplicationSim::spawn(const ProcessPtr& process, const char* what,
                           std::function<void()> body) {
  process->threads += 1;
  scheduler_.spawn(what + std::to_string(process->node.number), [process, body = std::move(body)] {
    body();
    process->threads -= 1;
  });
}

void ReplicationSim::wake(Process& process) {
  for (os::Waker* const waker : process.wakers) waker->wake();
  if (process.source != nullptr) process.source->stop();
}

void ReplicationSim::stop(Process& process, Wish wish) {
  process.wish = wish;
  process.stopping = true;
  wake(process);
}

void ReplicationSim::wait_ended(const ProcessPtr& process) {
  while (!process->ended) scheduler_.sleep_us(200);
}

void ReplicationSim::run_process(const ProcessPtr& process) {
  Node& node = process->node;
  if (open(process)) {
    while (!process->dead && process->wish != Wish::close && failure_.empty()) {
      process->stopping = false;
      const Wish wish = std::exchange(process->wish, Wish::none);
      const bool follows = process->engine->follower() || wish == Wish::follow;
      if (follows) {
        follow(process);
      } else {
        lead(process);
      }
    }
    if (!process->dead && failure_.empty()) {
      check_states(*process, false, "before it is closed");
      const Status status = process->engine->close();
      if (!process->dead) {
        const bool whole = status.ok() && !node.disk.fault_met();
        if (whole) node.floor = node.at;
        if (whole && slots_ != nullptr) slots_->closed(node.number);
        node.lossy = node.disk.fault_met();
        network_.bury(node.number, true);
      }
    }
  }
  process->engine.reset();
  process->ended = true;
}

bool ReplicationSim::open(const ProcessPtr& process) {
  Node& node = process->node;
  Status status = node.number == 0 ? Status() : create(process);
  if (status.ok()) {
    auto opened =
        engine::Engine::open(kPath, node.number == 0 ? &shape_ : nullptr, config_for(*process), {});
    status = opened.status();
    if (opened.ok()) process->engine = std::move(*opened);
  }
  tell("node " + std::to_string(node.number) + " is opened: " + status.message());
  if (settings_.loud) {
    for (const std::string& line : node.disk.trace())
      std::fprintf(stderr, "    %s\n", line.c_str());
    node.disk.set_trace(true);
  }
  if (process->dead) return false;
  if (!status.ok()) {
    const bool excused = node.disk.fault_met() || (!calm_ && status.is(Errc::timed_out));
    if (!excused) fail("it does not open: " + status.message());
    node.lossy = true;
    return false;
  }
  node.id = process->engine->replica_state().store_id;
  check_states(*process, node.lossy, "after it was opened", true);
  node.lossy = node.disk.fault_met();
  return failure_.empty();
}

// Asks the leader for what a new follower has to be like, when there is none yet.
Status ReplicationSim::create(const ProcessPtr& process) {
  if (process->node.disk.info(std::string(kPath) + "/db.meta").ok()) return {};
  for (int tries = 0; tries < 200 && !process->dead; ++tries) {
    ProcessPtr leader;
    std::unique_ptr<os::Stream> stream = dial(process, leader);
    format::Hello hello;
    Status status(Errc::timed_out, "nobody is there");
    if (stream != nullptr) {
      replica::Channel channel(std::move(stream), process->options.timeout_ms);
      status = replica::ask_leader(channel, kName, hello);
    }
    if (!status.ok()) {
      scheduler_.sleep_us(10000);
      continue;
    }
    engine::Engine::Origin origin;
    origin.shape = hello.shape;
    origin.shard_count = static_cast<std::uint32_t>(hello.sequences.size());
    origin.shard_prefix_bits = hello.shard_prefix_bits;
    origin.hash_seed = hello.hash_seed;
    origin.lineage = hello.lineage;
    FixedConfig config = config_for(*process);
    config.create = true;
    status = engine::Engine::create_follower(kPath, config, origin);
    return status.is(Errc::key_exists) ? Status() : status;
  }
  return Status(Errc::timed_out, "no leader told what it has");
}

void ReplicationSim::lead(const ProcessPtr& process) {
  Node& node = process->node;
  process->reign = std::make_shared<Reign>(Reign{node.at});
  if (slots_ != nullptr) slots_->begin_reign(*process);
  // Some write before they serve.
  if (random_.one_in(4)) {
    for (std::uint64_t left = random_.below(5); left != 0 && !process->dead; --left) {
      write_once(process);
    }
  }
  process->source = std::make_unique<replica::Source>(*process->engine, kName, process->options);
  Status status = process->source->begin();
  const format::ReplicaState state = process->engine->replica_state();
  const std::uint64_t promotions = state.terms.empty() ? 0 : state.terms.back().number / kPromotion;
  if (status.ok() && promoting_ == node.number) promoting_ = kSimNodes;
  if (status.ok() && promotions > promotions_) {
    promotions_ = promotions;
    leader_ = node.number;
  }
  if (status.ok() && slots_ != nullptr) slots_->begin_serving(*process);
  process->serving = status.ok() && !process->dead;
  while (process->serving && !process->stopping && !process->source->fenced()) {
    if (process->idle) {
      scheduler_.sleep_us(5000);
    } else {
      write_some(process);
    }
  }
  if (process->source->fenced() && !process->dead) {
    counts_.fences += 1;
    remember("fenced(" + std::to_string(node.number) + ")");
  }
  process->serving = false;
  process->stopping = true;
  wake(*process);
  while (process->threads != 0) scheduler_.sleep_us(100);
  if (!process->dead) note_durable(*process);
  process->source.reset();
  const bool steps_down = slots_ != nullptr && status.ok() && process->wish == Wish::follow;
  if (steps_down && !process->dead) slots_->step_down(process);
  process->reign = nullptr;
  if (!status.ok() && !process->dead) scheduler_.sleep_us(20000);
}

void ReplicationSim::serve(const ProcessPtr& process, std::unique_ptr<os::Stream> stream) {
  const auto held = std::make_shared<std::unique_ptr<os::Stream>>(std::move(stream));
  spawn(process, "session ", [process, held] {
    replica::Channel channel(std::move(*held), process->options.timeout_ms);
    std::unique_ptr<os::Waker> waker;
    if (!os::Waker::make(waker).ok()) return;
    process->wakers.push_back(waker.get());
    {
      replica::LeaderSession session(channel, process->options, *waker);
      const auto find = [&](const std::string&) { return process->source.get(); };
      const Status status = session.run(find, process->stopping);
      if (!status.ok()) process->error = status.message();
    }
    std::erase(process->wakers, waker.get());
  });
}

// A connection to whom the operator names, or now and then to another one that serves.
std::unique_ptr<os::Stream> ReplicationSim::dial(const ProcessPtr& process, ProcessPtr& leader) {
  const std::size_t from = process->node.number;
  std::size_t to = leader_;
  if (!calm_ && random_.one_in(6)) to = random_.below(kSimNodes);
  leader = processes_[to];
  scheduler_.point();
  if (process->dead || to == from || leader == nullptr || !leader->serving || leader->stopping) {
    return nullptr;
  }
  SimNetwork::Ends ends = network_.connect(from, to);
  if (ends.near == nullptr) return nullptr;
  serve(leader, std::move(ends.far));
  return std::move(ends.near);
}

void ReplicationSim::follow(const ProcessPtr& process) {
  engine::Engine& engine = *process->engine;
  if (!engine.begin_following()) return fail("somebody else follows");
  store::ReplicaState state = engine.replica_state();
  state.follower = true;
  Status status = engine.save_replica_state(std::move(state));
  if (status.ok() && promoting_ == process->node.number) promoting_ = kSimNodes;
  std::unique_ptr<os::Waker> waker;
  if (status.ok()) status = os::Waker::make(waker);
  if (status.ok()) {
    process->wakers.push_back(waker.get());
    while (!process->stopping) {
      follow_once(process, *waker);
      if (!process->stopping) scheduler_.sleep_us(process->options.retry_ms * 1000);
    }
    process->wakers.clear();
  } else if (!process->dead) {
    scheduler_.sleep_us(20000);
  }
  engine.end_following();
  if (process->dead || process->wish != Wish::promote) return;
  process->wish = Wish::none;
  status = replica::promote(engine);
  if (process->dead || !status.ok()) return;
  counts_.promotions += 1;
  remember("leads(" + std::to_string(process->node.number) + ")");
  check_promoted(*process);
}

void ReplicationSim::follow_once(const ProcessPtr& process, os::Waker& waker) {
  Talk talk;
  talk.follower = process;
  talk.copying.resize(shards_);
  talk.replaced.resize(shards_);
  talk.ending.resize(shards_);
  std::unique_ptr<os::Stream> stream = dial(process, talk.leader);
  if (stream == nullptr) return;
  talk.reign = talk.leader->reign;
  if (slots_ != nullptr) {
    check_states(*process, false, "between two conversations");
  } else {
    note_copies(*process);
  }
  replica::Channel channel(std::make_unique<WatchedStream>(*this, talk, std::move(stream)),
                           process->options.timeout_ms);
  replica::Progress progress;
  const auto told = [](const replica::Progress&) {};
  replica::FollowerSession session(channel, *process->engine, process->options, waker, told);
  const Status status = session.run(progress, process->stopping);
  process->error = status.message();
  tell("node " + std::to_string(process->node.number) + " talked with " +
       std::to_string(talk.leader->node.number) + ": " + process->error);
  scheduler_.note(process->error);
}

// ---- The operator ----

bool ReplicationSim::run() {
  counts_.seeds += 1;
  scheduler_.spawn("operator", [this] { operate(); });
  scheduler_.run(kStepsMost);
  counts_.steps += scheduler_.steps();
  counts_.writes += number_;
  counts_.trace = scheduler_.trace();
  return failure_.empty();
}

void ReplicationSim::operate() {
  for (std::size_t node = 0; node < kSimNodes; ++node) start(node);
  const std::uint64_t events = settings_.events + random_.below(settings_.events + 1);
  for (std::uint64_t left = events; left != 0 && failure_.empty(); --left) {
    scheduler_.sleep_us(random_.below(any_of<std::uint64_t>(random_, {3000, 30000, 100000})));
    event();
  }
  if (failure_.empty()) settle_down();
  over_ = true;
  end_all();
}

void ReplicationSim::event() {
  restart_down();
  if (slots_ != nullptr && random_.one_in(3)) set_ambush();
  std::size_t node = random_.below(kSimNodes);
  switch (random_.below(11)) {
    case 0:
      return crash(node, false);
    case 1:
      return crash(node, true);
    case 2:
    case 3:
    case 4:
      return cut_one();
    case 5:
      return stall();
    case 6:
      return fault();
    case 7:
    case 8:
      return promote();
    default:
      break;
  }
  for (std::size_t other = 0; other < kSimNodes && slots_ != nullptr; ++other) {
    const bool leads = processes_[other] != nullptr && processes_[other]->serving;
    if (leads && other != leader_) node = other;  // more is to be seen there
  }
  const ProcessPtr process = processes_[node];
  if (process == nullptr || process->ended) return;
  // An old leader is told that it is one, or somebody closes the collection.
  const bool stale = process->serving && node != leader_;
  remember((stale ? "follow(" : "close(") + std::to_string(node) + ")");
  stop(*process, stale ? Wish::follow : Wish::close);
}

// Those that are down come back, sooner or later; those whose disk failed a call are restarted.
void ReplicationSim::restart_down() {
  for (std::size_t node = 0; node < kSimNodes; ++node) {
    const ProcessPtr process = processes_[node];
    const bool down = process == nullptr || process->ended;
    if (!down && nodes_[node]->disk.fault_met() && random_.one_in(2)) crash(node, false);
    if (down && (calm_ || random_.below(4) != 0)) start(node);
  }
}

void ReplicationSim::crash(std::size_t number, bool power) {
  Node& node = *nodes_[number];
  const ProcessPtr process = std::exchange(processes_[number], nullptr);
  if (process == nullptr) return;
  if (process->ended && !power) return;
  // Where a sync failed and the mark that tells of it could not be written, a new process would
  // read what the disk does not have.
  for (const std::string& path : node.disk.stale_files()) {
    const bool marked =
        path.ends_with(".data") && node.disk.info(path.substr(0, path.size() - 5) + ".failed").ok();
    power = power || !marked;
  }
  remember((power ? "power(" : "kill(") + std::to_string(number) + ")");
  (power ? counts_.power_cuts : counts_.kills) += 1;
  if (!process->ended && (process->serving || slots_ != nullptr)) note_durable(*process);
  process->dead = true;
  process->files.die();
  network_.bury(number, !power || random_.one_in(3));
  node.lossy = node.lossy || power || node.disk.fault_met();
  if (power && slots_ != nullptr) {
    slots_->cut_power(node.disk, random_.next());
  } else if (power) {
    node.disk.power_cut_random(random_.next());
  } else {
    node.disk.kill_process();
  }
  node.disk.clear_faults();
  process->stopping = true;
  wake(*process);
  // Its threads still unwind, but change nothing: the next one may start beside that.
}

// The moments behind a sync are short, and what was written in the wrong order is seen in them.
void ReplicationSim::set_ambush() {
  Node& node = *nodes_[random_.below(kSimNodes)];
  node.ambush =
      any_of<const char*>(random_, {"db.cursor", "db.cursor", "db.replica.tmp", "/db", ".dat"});
  node.ambush_left = 1 + random_.below(6);
  const ProcessPtr process = processes_[node.number];
  if (process == nullptr) return;
  process->files.watch_syncs([this, self = process.get()](const std::string& path) {
    Node& there = self->node;
    const bool armed = there.ambush_left != 0 && !calm_ && !over_ && !self->dead;
    if (!armed || processes_[there.number].get() != self || !path.ends_with(there.ambush)) return;
    if (--there.ambush_left != 0) return;
    remember("ambush");
    crash(there.number, !random_.one_in(4));
  });
}

void ReplicationSim::cut_one() {
  const auto alive = network_.connections(random_.below(kSimNodes));
  if (alive.empty()) return;
  counts_.cuts += 1;
  remember("cut");
  SimNetwork::Connection& one = *alive[random_.below(alive.size())];
  if (random_.one_in(3)) {
    network_.silence(one);
  } else {
    network_.cut(one);
  }
}

void ReplicationSim::stall() {
  counts_.stalls += 1;
  const std::size_t from = random_.below(kSimNodes);
  const std::size_t to = (from + 1 + random_.below(kSimNodes - 1)) % kSimNodes;
  const bool both = random_.one_in(2);
  remember("stall(" + std::to_string(from) + "," + std::to_string(to) + ")");
  network_.block(from, to, true);
  if (both) network_.block(to, from, true);
  const std::uint64_t for_us = random_.below(1500000);
  scheduler_.spawn("calm", [this, from, to, for_us] {
    const std::uint64_t end_us = scheduler_.now_us() + for_us;
    while (scheduler_.now_us() < end_us && !over_ && !calm_) scheduler_.sleep_us(5000);
    network_.block(from, to, false);
    network_.block(to, from, false);
  });
}

void ReplicationSim::fault() {
  if (!faults_) return;
  Node& node = *nodes_[random_.below(kSimNodes)];
  const Call call = any_of<Call>(random_, {Call::any, Call::write, Call::sync, Call::sync,
                                           Call::open, Call::rename, Call::remove, Call::read});
  counts_.faults += 1;
  remember("fault(" + std::to_string(node.number) + ")");
  node.disk.fail(call, 1 + random_.below(20), any_of<int>(random_, {EIO, ENOSPC}),
                 random_.one_in(4), random_.below(600));
}

// Never two followers of one leader beside each other: that makes rivals, which the README says to
// make anew.
void ReplicationSim::promote() {
  const std::size_t node = random_.below(kSimNodes);
  const ProcessPtr process = processes_[node];
  if (promoting_ != kSimNodes || process == nullptr || process->ended ||
      process->engine == nullptr || process->serving || process->stopping ||
      !process->engine->follower()) {
    return;
  }
  const format::ReplicaState state = process->engine->replica_state();
  if (state.terms.empty() || state.terms.back().number / kPromotion != promotions_) return;
  remember("promote(" + std::to_string(node) + ")");
  if (random_.one_in(3)) crash(leader_, random_.one_in(2));
  promoting_ = node;
  stop(*process, Wish::promote);
  for (int tries = 0; tries < 100 && leader_ != node && !process->dead; ++tries) {
    scheduler_.sleep_us(2000);
    if (tries > 10 && random_.one_in(20)) crash(random_.below(kSimNodes), random_.one_in(2));
    if (process->wish == Wish::none && process->engine != nullptr && process->engine->follower()) {
      return;  // it was refused
    }
  }
  if (process->wish == Wish::promote) process->wish = Wish::none;  // then it follows again
}

void ReplicationSim::settle_down() {
  calm_ = true;
  remember("calm");
  network_.heal();
  for (std::size_t node = 0; node < kSimNodes; ++node) {
    if (nodes_[node]->disk.fault_met()) crash(node, false);
    nodes_[node]->disk.clear_faults();
  }
  const std::uint64_t end_us = scheduler_.now_us() + kCalmUs;
  while (failure_.empty() && !level()) {
    if (scheduler_.now_us() > end_us) return fail("(5) it does not come to rest:" + where());
    restart_down();
    for (std::size_t node = 0; node < kSimNodes; ++node) {
      const ProcessPtr process = processes_[node];
      if (process == nullptr) continue;
      process->idle = true;
      if (process->serving && node != leader_) stop(*process, Wish::follow);
    }
    scheduler_.sleep_us(30000);
  }
  for (std::size_t node = 0; node < kSimNodes && failure_.empty(); ++node) {
    if (node != leader_) check_equal(*processes_[leader_], *processes_[node]);
  }
}

bool ReplicationSim::level() {
  const ProcessPtr leader = processes_[leader_];
  if (leader == nullptr || leader->ended || !leader->serving) return false;
  for (const ProcessPtr& process : processes_) {
    if (process == leader) continue;
    if (process == nullptr || process->ended || process->engine == nullptr ||
        !process->engine->follower()) {
      return false;
    }
    const format::ReplicaState state = process->engine->replica_state();
    for (std::uint32_t shard = 0; shard < shards_; ++shard) {
      if (state.replacing[shard] != 0) return false;
      if (process->engine->position(shard) != leader->engine->position(shard)) return false;
    }
    if (state.terms.empty() ||
        state.terms.back().id != leader->engine->replica_state().terms.back().id) {
      return false;
    }
  }
  return true;
}

std::string ReplicationSim::where() const {
  std::string text;
  for (const ProcessPtr& process : processes_) {
    text += "\n    ";
    if (process == nullptr || process->ended) {
      text += "down";
      continue;
    }
    text += "node " + std::to_string(process->node.number) +
            (process->serving ? "serves" : " does not serve") + ", " + process->error;
    if (process->engine == nullptr) continue;
    const format::ReplicaState state = process->engine->replica_state();
    for (std::uint32_t shard = 0; shard < shards_; ++shard) {
      text += "; " + std::to_string(process->engine->position(shard)) + " (" +
              std::to_string(state.replacing[shard]) + ")";
    }
  }
  return text;
}

void ReplicationSim::end_all() {
  const std::vector<ProcessPtr> all = processes_;
  for (std::size_t node = 0; node < kSimNodes; ++node) {
    if (processes_[node] != nullptr && !processes_[node]->ended) crash(node, false);
  }
  for (const ProcessPtr& process : all) {
    if (process != nullptr) wait_ended(process);
  }
}

}  // namespace armdb::test

#endif

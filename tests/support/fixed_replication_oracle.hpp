// FixedReplicationOracle: what the leaders of a ReplicationSim on the Fixed store write, and what
// must hold there, key by key.
//
//   (1) A follower has of each key a state that its leader had, durably, while no copy that is to
//       take it away is on its way; and none that is later than its db.cursor says is reached.
//   (2) That only moves forward, until a copy replaces what its leader never had.
//   (3) What it greeted with, or acked as durable, outlasts its power cuts. A position is as true:
//       each key has the state that it had there at the leader, or a later one.
//   (4) What a leader was told that a follower has is there when that one is promoted.
//   (5) In the end all have what the leader has.
//   (7) What a copy takes away that the leader never had is in .aside files.
// After a crash a leader has of each key what was durable or a later state, each key for itself;
// after a kill its last one. The numbers are those of ReplicationSim.
//
// Of an erased key nobody can say since when. Where several states may be meant, the first one that
// is not before what was seen is taken; but of a follower that is promoted the last one that it may
// have, because that becomes a part of the line of leaders by which others are judged. Either way
// less is found than could be, and nothing that is not there.
//
// Threads: those of the simulation, one at a time.
#pragma once

#include <array>

#include "support/replication_sim.hpp"
#include "support/slot_histories.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS) && !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::test {

// Versions of a leader, from where it took over.
struct SlotNumbers {
  std::vector<store::Cursor> begin;  // per shard
  std::vector<SlotState*> base;      // per key: what it had then
};
// From when a process begins to lead until it ends that.
struct SlotReign {
  std::shared_ptr<SlotNumbers> numbers;
  std::vector<SlotState*> tips;   // per key: its last write
  SlotState* pending = nullptr;   // one that is under way, or was when it died
  std::vector<SlotState*> fresh;  // not known to be durable yet
};

class FixedReplicationOracle {
 public:
  explicit FixedReplicationOracle(ReplicationSim& sim);

  // ---- The nodes ----

  void choose_options(FixedConfig& config, Shape& shape);
  [[nodiscard]] std::size_t told_at_once() const noexcept { return told_at_once_; }
  // Slots are changed in place, so not all is promised of their sectors; of other files it is.
  void cut_power(FaultFileSystem& disk, std::uint64_t seed) const {
    disk.power_cut_random(seed, single_copy_ ? Tearing::none : Tearing::half, "/slots.dat");
  }

  // ---- Leaders ----

  void begin_reign(ReplicationSim::Process& process);
  // Its numbers are known now.
  void begin_serving(ReplicationSim::Process& process);
  void write_key(const ReplicationSim::ProcessPtr& process);
  void wait_for_followers(const ReplicationSim::ProcessPtr& process);
  void note_durable(ReplicationSim::Process& process);
  void closed(std::size_t node);
  // Becomes a follower, while somebody still writes and somebody syncs.
  void step_down(const ReplicationSim::ProcessPtr& process);

  // ---- Followers ----

  // The follower's greeting, and the leader's.
  void greets(ReplicationSim::Talk& talk, const std::vector<std::uint64_t>& positions);
  void greeted(ReplicationSim::Talk& talk, const std::vector<std::uint8_t>& replace);
  void acks(ReplicationSim::Talk& talk, const std::vector<format::Mark>& marks);
  void begin_copy(ReplicationSim::Talk& talk, std::size_t shard);
  void check_shown(ReplicationSim::Talk& talk);

  // ---- Whoever it is ----

  void check_states(ReplicationSim::Process& process, bool lossy, const char* when, bool opened);
  void check_promoted(ReplicationSim::Process& process);
  void check_equal(ReplicationSim::Process& leader, ReplicationSim::Process& follower);

 private:
  using Process = ReplicationSim::Process;
  using Talk = ReplicationSim::Talk;
  using Key = std::vector<std::uint8_t>;
  using Look = std::vector<std::uint64_t>;  // per key: the write whose value it has, or 0

  using Numbers = SlotNumbers;
  using Reign = SlotReign;
  using ReignPtr = std::shared_ptr<SlotReign>;
  struct Node {
    std::vector<SlotState*> at, floor, promised;  // as in ReplicationSim::Node
    std::vector<std::vector<SlotState*>> maybe;   // writes that a recovery may find
    // What a copy took away, and a power cut may bring back.
    std::vector<std::vector<SlotState*>> taken;
    std::shared_ptr<Numbers> numbers;     // of its last time as a leader
    ReignPtr talked;                      // of the leader that it follows
    std::vector<ReignPtr> copied_from;    // per shard: a copy of that is, or was, on its way
    std::vector<std::uint64_t> greeting;  // positions
  };

  [[nodiscard]] Node& of(const Process& process) { return nodes_[process.node.number]; }
  // All that a node has is on its disk.
  static void settle_floor(Node& node);
  [[nodiscard]] Bytes key(std::size_t number) const { return Bytes(keys_[number]); }
  [[nodiscard]] std::size_t shard_of(std::size_t key) const { return shard_of_[key]; }
  void learn_shards(Process& process);
  Look look(Process& process);
  [[nodiscard]] static SlotState* tip(const Reign& reign, std::size_t key);
  [[nodiscard]] static SlotState* later(SlotState* a, SlotState* b);
  // What the leader had at a version; null where its numbers do not tell.
  [[nodiscard]] SlotState* state_at(const Reign& reign, std::size_t key,
                                    std::uint64_t version) const;
  [[nodiscard]] SlotState* locate(const Node& node, std::size_t key, std::uint64_t number,
                                  bool lossy) const;
  bool check_key(Talk& talk, std::size_t key, std::uint64_t number);
  bool check_position(Talk& talk, std::size_t shard, std::uint64_t position, const Look& look,
                      const char* when);
  void note_claim(Talk& talk, std::size_t shard, std::uint64_t position);
  void give_up(Process& process, SlotState* old, SlotState* now, const char* when);
  void check_aside(Process& process, const SlotState* old, const char* when);
  std::string asides(Process& process, std::size_t shard, std::size_t& count) const;
  void settle_promotion(Process& process);
  void settle(const ReplicationSim::ProcessPtr& process, const Status& status);
  void write(const ReplicationSim::ProcessPtr& process, std::size_t key, bool erase, bool sync);
  [[nodiscard]] std::string describe(const Node& node, std::size_t key) const;

  ReplicationSim& sim_;
  std::size_t key_size_ = 4;
  bool single_copy_ = false;
  bool fills_ = false;
  std::size_t told_at_once_ = 0;
  std::vector<Key> keys_;
  std::vector<std::size_t> shard_of_;  // of each key; empty until one was opened
  std::unique_ptr<SlotHistories> histories_;
  std::vector<SlotState*> by_number_;  // of each write
  std::array<Node, kSimNodes> nodes_;
};

}  // namespace armdb::test

#endif

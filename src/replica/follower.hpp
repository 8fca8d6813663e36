// FollowerSession: the conversation with the leader, and what it says on its way into the shards.
//
// The cursor of a shard is the sequence of the last entry in its log: it is written with what it
// speaks for, and never ahead of it. What came is shown at once, synced as soon as no further
// frame has arrived, and acked as durable after that. A Fixed store has no log: there the cursor is
// kept in db.cursor, and what comes goes to a SlotTaker.
//
// Threads: one.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "engine/engine.hpp"
#include "replica/applier.hpp"
#include "replica/channel.hpp"
#include "replica/options.hpp"
#include "replica/slot_taker.hpp"
#include "replica/syncer.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::replica {

class FollowerSession {
 public:
  FollowerSession(Channel& channel, engine::Engine& engine, const Options& options,
                  os::Waker& waker, FunctionRef<void(const Progress&)> told);
  ~FollowerSession();

  // Follows until the channel ends, `stopping` is set, or an error.
  Status run(Progress& progress, const std::atomic<bool>& stopping);

 private:
  static constexpr std::uint32_t kNoShard = ~std::uint32_t{0};
  Status greet();
  void make_room(std::uint64_t entries, const format::Hello& leader);
  Status adopt(const format::Hello& leader);
  Status take(const format::FrameHeader& header, Bytes payload);
  [[nodiscard]] bool in_turn(const format::FrameHeader& header) const noexcept;
  Status take_slots(const format::FrameHeader& header, Bytes payload);
  Status take_data(const format::FrameHeader& header, Bytes payload);
  Status take_copy(const format::FrameHeader& header, Bytes payload);
  Status end_copy(std::uint32_t shard, std::uint64_t sequence);
  Status apply_joint();
  Status mark(std::uint32_t shard, std::uint8_t from, std::uint8_t to);
  Status level_out();
  Status keep_up();
  Status rest();
  [[nodiscard]] bool ack_due() const;
  [[nodiscard]] bool begin_sync();
  Status settle();
  Status settled();
  Status send_ack();
  void note();

  Channel& channel_;
  engine::Engine& engine_;
  const Options& options_;
  os::Waker& waker_;
  FunctionRef<void(const Progress&)> told_;
  Progress* progress_ = nullptr;
  std::vector<Part> coming_;               // per shard: frames of a piece, and what is cut
  std::uint32_t coming_shard_ = kNoShard;  // the one whose piece has come in part
  std::vector<Part> joint_;                // whole parts of a joint batch
  using Copy = CopyPhase;
  std::vector<Copy> copying_;               // per shard
  std::vector<std::uint64_t> aside_above_;  // per shard: what stands above it is kept aside
  std::vector<format::Mark> leader_;        // per shard: last, durable
  std::vector<std::size_t> expected_;       // per shard: about how many entries it will have
  std::vector<format::Mark> level_;         // the first of these behind the last copy; or empty
  bool uneven_ = false;                     // a copy came, and the other shards may not be as far
  std::unique_ptr<SlotTaker> slots_;        // of a Fixed store
  std::uint64_t unsynced_bytes_ = 0;
  bool applied_ = false;      // something since the last ack
  bool more_likely_ = false;  // the last piece was a large one
  bool heard_ = false;        // from the leader how far it is
  std::uint64_t behind_since_ms_ = 0;
  std::uint64_t acked_ms_ = 0;
  Applier applier_;
  Syncer syncer_;
};

// Asks a server what it serves by that name.
Status ask_leader(Channel& channel, const std::string& name, format::Hello& leader);
// Whether a collection with this origin and these terms may follow such a leader.
Status check_leader(const engine::Engine::Origin& origin, const store::ReplicaState& state,
                    const format::Hello& leader);

}  // namespace armdb::replica

#endif  // !ARMDB_OMIT_REPLICATION

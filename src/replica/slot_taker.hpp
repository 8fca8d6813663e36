// SlotTaker: what a leader of a Fixed store says, on its way into the shards of a follower.
//
// A state is applied as it comes. What was applied up to a position is synced before db.cursor says
// so; how late a state may be is in db.cursor before it is applied. See engine/numbering.cpp.
//
// Threads: one, that of the session.
#pragma once

#include <span>
#include <vector>

#include "engine/engine.hpp"
#include "format/entry.hpp"
#include "format/frame.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::replica {

// Of a shard: whether a copy of it is on its way. What it has until then may be what the leader
// never had: none of it is acked from the greeting on.
enum class CopyPhase : std::uint8_t { none, awaited, running };

class SlotTaker {
 public:
  // The phases outlive it.
  SlotTaker(engine::Engine& engine, std::span<CopyPhase> copying)
      : engine_(engine), copying_(copying), shards_(engine.shard_count()) {}

  // Before the greeting: what damage took nobody would send again.
  Status prepare();
  // Marks in `state`, which is saved next, what a copy will come for.
  Status adopt(const format::Hello& leader, store::ReplicaState& state);
  [[nodiscard]] static bool takes(format::FrameType type) noexcept;
  // `pulse` is called now and then where it takes long.
  Status take(const format::FrameHeader& header, Bytes payload, FunctionRef<void()> pulse);
  // The shards were synced. `quiet`: nothing more is on its way.
  Status synced(bool quiet);
  [[nodiscard]] std::uint64_t durable(std::uint32_t shard) const { return shards_[shard].durable; }

 private:
  struct One {
    std::uint64_t announced = 0;  // no state is later
    std::uint64_t last = 0;       // sequence of the last entry, or the position behind it
    std::uint64_t copy_at = 0;
    std::uint64_t durable = 0;  // position
  };

  Status take_cursor(const format::FrameHeader& header);
  Status take_states(const format::FrameHeader& header, Bytes payload);
  Status begin_copy(const format::FrameHeader& header);
  Status take_keys(const format::FrameHeader& header, Bytes payload);
  Status end_copy(const format::FrameHeader& header, FunctionRef<void()> pulse);
  Status mark(std::uint32_t shard, std::uint8_t replacing);

  engine::Engine& engine_;
  std::span<CopyPhase> copying_;
  std::vector<One> shards_;
  std::uint64_t saved_ms_ = 0;
};

}  // namespace armdb::replica

#endif  // !ARMDB_OMIT_REPLICATION

// SlotLane: what one follower gets of a shard of a Fixed store: states of keys, not a log.
//
// The stream follows the list of keys that were written last, and tells each as it is when its turn
// comes: so what was told up to a position has each key as it was there, or later. Where the list
// no longer knows what the follower lacks it gets a copy: all keys, and the states that changed
// since its position. Whatever is told is durable here first; the session syncs once for all lanes.
//
// Threads: one, that of the session.
#pragma once

#include <vector>

#include "engine/engine.hpp"
#include "replica/channel.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::replica {

// How a follower can go on that says that it stands at a position.
struct SlotStart {
  std::uint8_t replace = 0;  // as in a leader's greeting: kWhole, kAwaitsCopy or kFromNothing
  std::uint64_t known = 0;   // what it has, by this leader's numbers
};
// `cursor`: the leader's own; `common`: where the histories part; `replace`: what the follower
// says.
[[nodiscard]] SlotStart judge_position(const store::Cursor& cursor, std::uint64_t last,
                                       std::uint64_t common, std::uint64_t position,
                                       std::uint8_t replace) noexcept;

class SlotLane {
 public:
  // `holes`: damage took some of the shard, now or at an opening before.
  SlotLane(Channel& channel, engine::Shard& shard, std::uint32_t number, std::size_t piece_bytes,
           bool holes = false)
      : channel_(channel),
        shard_(shard),
        number_(number),
        piece_bytes_(piece_bytes),
        holes_(holes || shard.has_holes()) {}
  ~SlotLane();

  // Where it begins; kAwaitsCopy when what it lacks is not known any more.
  Status begin(const SlotStart& start, std::uint64_t position, std::uint8_t& replace);
  Status begin_copy();
  // Takes the next piece, unless one is held already.
  Status collect();
  [[nodiscard]] bool wants_sync() const noexcept {
    return held_ && needed_ > shard_.durable_sequence();
  }
  // Sends what is held, once that is durable.
  Status send(bool& shipped);

  // There is more to tell than what was collected last.
  [[nodiscard]] bool waits() const noexcept {
    return copying_ || states_.position < states_.latest;
  }
  [[nodiscard]] bool copying() const noexcept { return copying_; }
  // What the follower has when it has applied all that was sent.
  [[nodiscard]] std::uint64_t position() const noexcept { return copying_ ? 0 : told_; }
  [[nodiscard]] bool behind() const { return copying_ || held_ || told_ < shard_.last_sequence(); }

 private:
  Status refuse_copy() const;
  Status send_states();
  Status send_states(format::FrameType type, std::vector<std::uint8_t>& payload);
  Status send_mark(format::FrameType type, std::uint64_t sequence);

  Channel& channel_;
  engine::Shard& shard_;
  const std::uint32_t number_;
  const std::size_t piece_bytes_;
  const bool holes_;
  std::uint64_t position_ = 0;  // by the numbers of this leader
  std::uint64_t told_ = 0;      // the same as the follower knows it
  std::uint64_t reached_ = 0;   // that the follower was told of
  bool copying_ = false;
  bool keeps_ = false;  // more changes than else: from a copy on until the stream has told them
  std::uint64_t copy_at_ = 0;  // the copy is as of this version, or later
  engine::SlotWalk walk_;
  engine::SlotStates states_;
  bool held_ = false;
  std::uint64_t needed_ = 0;  // has to be durable before they are sent
};

}  // namespace armdb::replica

#endif  // !ARMDB_OMIT_REPLICATION

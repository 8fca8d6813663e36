// The follower's side of Fixed shards.
#include "replica/slot_taker.hpp"

#include <algorithm>

#include "base/errors.hpp"
#include "base/log.hpp"
#include "os/clock.hpp"
#include "replica/applier.hpp"
#include "replica/history.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::replica {

namespace {

// Between two syncs of db.cursor: a power cut takes what it was told since, and all that is told
// again.
constexpr std::uint64_t kCursorSyncMs = 1000;
constexpr std::size_t kStatesAtOnce = 64;

}  // namespace

Status SlotTaker::prepare() {
  const std::vector<std::uint8_t> holes = engine_.replica_state().replacing;
  Status status;
  for (std::uint32_t at = 0; status.ok() && at < shards_.size(); ++at) {
    if (holes[at] == format::kHoles) status = engine_.forget(at, false);
  }
  return status;
}

// Positions of another history must not look as if they were of this one: forgotten before the
// leader's terms are adopted.
Status SlotTaker::adopt(const format::Hello& leader, store::ReplicaState& state) {
  for (std::uint32_t at = 0; at < shards_.size(); ++at) {
    shards_[at].durable = engine_.position(at);
    shards_[at].last = shards_[at].durable;
    if (leader.replace[at] == format::kWhole) continue;
    copying_[at] = CopyPhase::awaited;
    std::uint8_t& replacing = state.replacing[at];
    const std::uint8_t before = std::exchange(replacing, std::uint8_t{format::kAwaitsCopy});
    if (leader.replace[at] != format::kFromNothing) {
      if (before == format::kAwaitsCopyAside) replacing = before;
      continue;
    }
    const std::uint64_t end = common_end(state.terms, leader.terms, at);
    if (before == format::kAwaitsCopyAside ||
        (engine_.cursor(at).reached > end && engine_.shard(at).size() != 0)) {
      replacing = format::kAwaitsCopyAside;
      base::log(engine_.config().log, LogLevel::warning,
                base::text("shard % has, or may have, states later than % that its leader never "
                           "had: all it has is kept in an .aside file, and it is copied anew",
                           {std::uint64_t{at}, end}));
    }
    Status status = engine_.forget(at, false);
    if (!status.ok()) return status;
    shards_[at].durable = shards_[at].last = 0;
  }
  return {};
}

bool SlotTaker::takes(format::FrameType type) noexcept {
  switch (type) {
    case format::FrameType::data:
    case format::FrameType::copy_begin:
    case format::FrameType::copy_data:
    case format::FrameType::copy_end:
    case format::FrameType::reach:
    case format::FrameType::cursor:
    case format::FrameType::copy_keys:
      return true;
    default:
      return false;
  }
}

Status SlotTaker::take(const format::FrameHeader& header, Bytes payload,
                       FunctionRef<void()> pulse) {
  const CopyPhase phase = copying_[header.shard];
  const bool of_copy = header.type == format::FrameType::copy_data ||
                       header.type == format::FrameType::copy_keys ||
                       header.type == format::FrameType::copy_end;
  if (of_copy && phase != CopyPhase::running) {
    return base::corrupt("the leader sent a copy it did not begin");
  }
  const bool of_stream =
      header.type == format::FrameType::data || header.type == format::FrameType::cursor;
  if (of_stream && phase != CopyPhase::none) {
    return base::corrupt("the leader sent entries in the middle of a copy");
  }
  const bool with_payload = header.type == format::FrameType::data ||
                            header.type == format::FrameType::copy_data ||
                            header.type == format::FrameType::copy_keys;
  if (payload.empty() == with_payload || header.flags != 0) {
    return base::corrupt("the leader sent a frame that no Fixed store sends");
  }
  One& one = shards_[header.shard];
  switch (header.type) {
    case format::FrameType::reach:
      one.announced = std::max(one.announced, header.sequence);
      return engine_.reach(header.shard, one.announced);
    case format::FrameType::cursor:
      return take_cursor(header);
    case format::FrameType::copy_begin:
      return begin_copy(header);
    case format::FrameType::copy_keys:
      return take_keys(header, payload);
    case format::FrameType::copy_end:
      return end_copy(header, pulse);
    default:
      return take_states(header, payload);
  }
}

// ---- The stream ----

Status SlotTaker::take_cursor(const format::FrameHeader& header) {
  One& one = shards_[header.shard];
  if (header.sequence < one.last) {
    return base::failure(Errc::corrupt, "the leader goes back to sequence % from %",
                         {header.sequence, one.last});
  }
  one.last = header.sequence;
  engine_.move_cursor(header.shard, header.sequence, engine_.cursor(header.shard).reached);
  return {};
}

Status SlotTaker::take_states(const format::FrameHeader& header, Bytes payload) {
  One& one = shards_[header.shard];
  const bool copy = header.type == format::FrameType::copy_data;
  const std::uint64_t position = engine_.position(header.shard);
  if (!copy && header.sequence != position) {
    return base::failure(Errc::corrupt, "the leader goes on behind sequence %, this shard is at %",
                         {header.sequence, position});
  }
  std::vector<engine::WriteRequest> requests;
  while (!payload.empty()) {
    requests.clear();
    while (!payload.empty() && requests.size() < kStatesAtOnce) {
      format::Entry entry;
      std::size_t size = 0;
      const format::EntryRead read = format::decode_entry(payload, format::kWireSeed, entry, size);
      const unsigned allowed = copy ? format::kExpiry : format::kExpiry | format::kTombstone;
      if (read != format::EntryRead::whole || (entry.flags & ~allowed) != 0) {
        return base::corrupt("the leader sent bytes that are no states");
      }
      if (entry.sequence > one.announced || (!copy && entry.sequence <= one.last)) {
        return base::corrupt("the leader sent a state that it did not announce, or out of turn");
      }
      if (!copy) one.last = entry.sequence;
      engine::WriteRequest request;
      Status status = request_of(engine_, header.shard, entry, request);
      if (!status.ok()) return status;
      requests.push_back(request);
      payload = payload.sub(size);
    }
    Status status = engine_.shard(header.shard).apply_states(requests);
    if (!status.ok()) return status;
  }
  return {};
}

// ---- Copies ----

Status SlotTaker::mark(std::uint32_t shard, std::uint8_t replacing) {
  store::ReplicaState state = engine_.replica_state();
  if (state.replacing[shard] == replacing) return {};
  state.replacing[shard] = replacing;
  return engine_.save_replica_state(std::move(state));
}

// From here on the shard has some of the old and some of the new: db.replica says so first. What
// no leader has is kept aside before that.
Status SlotTaker::begin_copy(const format::FrameHeader& header) {
  const std::uint32_t at = header.shard;
  if (header.sequence < engine_.position(at)) {
    return base::failure(Errc::corrupt,
                         "the leader sent a copy as of sequence %, which is older than what this "
                         "follower has of the same history: shard % stays as it was",
                         {header.sequence, std::uint64_t{at}});
  }
  Status status;
  if (engine_.replica_state().replacing[at] == format::kAwaitsCopyAside) {
    status = engine_.keep_aside(at);
    if (status.ok()) status = engine_.forget(at, true);
  }
  if (status.ok()) status = mark(at, format::kAwaitsCopy);
  if (status.ok()) status = engine_.shard(at).begin_taking_copy();
  if (!status.ok()) return status;
  copying_[at] = CopyPhase::running;
  shards_[at].copy_at = header.sequence;
  shards_[at].announced = 0;
  return {};
}

Status SlotTaker::take_keys(const format::FrameHeader& header, Bytes payload) {
  if (payload.size() % engine_.shape().key_size != 0 || engine_.position(header.shard) == 0) {
    return base::corrupt("the leader sent keys to a follower that has nothing");
  }
  Status status = engine_.shard(header.shard).mention_keys(payload);
  if (!status.is(Errc::not_found)) return status;
  // Then nothing counts that it is said to have.
  status = engine_.forget(header.shard, false);
  if (!status.ok()) return status;
  return base::corrupt(
      "the leader takes for unchanged what this follower does not have: all of "
      "the shard is asked for anew");
}

Status SlotTaker::end_copy(const format::FrameHeader& header, FunctionRef<void()> pulse) {
  const std::uint32_t at = header.shard;
  One& one = shards_[at];
  if (header.sequence != one.copy_at) {
    return base::corrupt("the leader ended another copy than it began");
  }
  Status status = engine_.shard(at).finish_copy(pulse);
  // The other shards too: their positions are written with this one's.
  if (status.ok()) status = engine_.sync();
  if (!status.ok()) return status;
  one.last = one.copy_at;
  engine_.move_cursor(at, one.copy_at, one.announced);
  status = synced(true);
  if (status.ok()) status = mark(at, format::kWhole);
  if (!status.ok()) return status;
  copying_[at] = CopyPhase::none;
  one.durable = one.copy_at;
  return {};
}

Status SlotTaker::synced(bool quiet) {
  const std::uint64_t now = os::monotonic_ms();
  const bool durably = quiet || now - saved_ms_ >= kCursorSyncMs;
  Status status = engine_.save_positions(durably);
  if (!status.ok()) return status;
  if (durably) saved_ms_ = now;
  for (std::uint32_t at = 0; at < shards_.size(); ++at) {
    if (copying_[at] == CopyPhase::none) shards_[at].durable = engine_.position(at);
  }
  return {};
}

}  // namespace armdb::replica

#endif  // !ARMDB_OMIT_REPLICATION

// The leader's side of a Fixed shard.
#include "replica/slot_lane.hpp"

#include <algorithm>

#include "base/append.hpp"
#include "base/errors.hpp"
#include "format/entry.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::replica {

SlotStart judge_position(const store::Cursor& cursor, std::uint64_t last, std::uint64_t common,
                         std::uint64_t position, std::uint8_t replace) noexcept {
  const bool whole = replace == format::kWhole || replace == format::kAhead;
  const std::uint8_t how = whole ? format::kWhole : format::kAwaitsCopy;
  if (position > common || position > last) return {format::kFromNothing, 0};
  if (position >= cursor.own_from) return {how, position};
  // Where this leader took over, with the content of just that moment; so has the follower.
  const bool joins = position == cursor.joined && replace == format::kWhole;
  return joins ? SlotStart{how, cursor.own_from} : SlotStart{format::kFromNothing, 0};
}

SlotLane::~SlotLane() {
  if (keeps_) shard_.end_telling_all();
}

Status SlotLane::begin(const SlotStart& start, std::uint64_t position, std::uint8_t& replace) {
  replace = start.replace;
  position_ = start.known;
  told_ = start.replace == format::kFromNothing ? 0 : position;
  if (replace == format::kWhole) {
    bool covered = false;
    Status status = shard_.tell_changes(position_, 0, states_, covered);
    if (!status.ok()) return status;
    if (!covered) replace = format::kAwaitsCopy;
  }
  // Before the follower hears of a copy: it could not be promoted until one has come.
  return replace == format::kWhole ? Status() : refuse_copy();
}

// What damage took would be erased at the follower.
Status SlotLane::refuse_copy() const {
  if (!holes_) return {};
  return base::corrupt(
      "the leader lost slots of this shard to damage, and gives no copy of it: promote a follower "
      "that has them, restore a backup, or dump what is left and load it into a new collection");
}

Status SlotLane::begin_copy() {
  Status status = refuse_copy();
  if (!status.ok()) return status;
  if (!keeps_) {
    keeps_ = true;
    copy_at_ = shard_.begin_telling_all();
  } else if (!copying_) {
    copy_at_ = shard_.last_sequence();
  }
  copying_ = true;
  walk_ = {};
  reached_ = 0;
  return send_mark(format::FrameType::copy_begin, copy_at_);
}

Status SlotLane::collect() {
  if (held_) return {};
  if (copying_) {
    Status status = shard_.tell_all(walk_, position_, piece_bytes_, states_);
    held_ = status.ok();
    needed_ = std::max(states_.latest, walk_.over ? copy_at_ : 0);
    return status;
  }
  bool covered = false;
  Status status = shard_.tell_changes(position_, piece_bytes_, states_, covered);
  if (!status.ok()) return status;
  // The follower was too slow for what is kept in memory.
  if (!covered) return begin_copy();
  held_ = states_.position != told_;
  needed_ = states_.latest;
  if (keeps_ && states_.position == states_.latest) {
    keeps_ = false;
    shard_.end_telling_all();
  }
  return {};
}

Status SlotLane::send(bool& shipped) {
  if (!held_ || needed_ > shard_.durable_sequence()) return {};
  shipped = true;
  Status status = send_states();
  if (!status.ok()) return status;
  held_ = false;
  if (!copying_) {
    position_ = told_ = states_.position;
    return send_mark(format::FrameType::cursor, told_);
  }
  if (!walk_.over) return {};
  position_ = told_ = copy_at_;
  copying_ = false;
  return send_mark(format::FrameType::copy_end, copy_at_);
}

Status SlotLane::send_states() {
  const engine::SlotStates& states = states_;
  if (states.all.empty()) return {};
  const std::size_t key_size = states.keys.size() / states.all.size();
  std::size_t told = 0;
  std::size_t values = 0;
  for (const engine::SlotStates::One& one : states.all) {
    told += one.unchanged ? 0 : 1;
    values += one.unchanged || one.erased ? 0 : 1;
  }
  const std::size_t value_size = values == 0 ? 0 : states.values.size() / values;
  // So that the follower knows, whatever comes between, how late a state it may have.
  if (told != 0 && states.latest > reached_) {
    reached_ = states.latest;
    Status status = send_mark(format::FrameType::reach, reached_);
    if (!status.ok()) return status;
  }
  const format::FrameType type = copying_ ? format::FrameType::copy_data : format::FrameType::data;
  std::vector<std::uint8_t> entries;
  std::vector<std::uint8_t> keys;
  std::size_t value_at = 0;
  Status status;
  for (std::size_t at = 0; status.ok() && at < states.all.size(); ++at) {
    const engine::SlotStates::One& one = states.all[at];
    format::Entry entry;
    entry.key = Bytes(states.keys).sub(at * key_size, key_size);
    if (one.unchanged) {
      if (keys.size() + key_size > format::kWirePayloadMax) {
        status = send_states(format::FrameType::copy_keys, keys);
      }
      base::append(keys, entry.key);
      continue;
    }
    entry.sequence = one.version;
    entry.expiry_ms = one.expiry_ms;
    if (one.erased) entry.flags |= format::kTombstone;
    if (one.expiry_ms != 0) entry.flags |= format::kExpiry;
    if (!one.erased) entry.value = Bytes(states.values).sub(value_at, value_size);
    value_at += entry.value.size();
    const auto bytes = static_cast<std::size_t>(
        format::entry_bytes(key_size, entry.value.size(), one.expiry_ms != 0));
    if (entries.size() + bytes > format::kWirePayloadMax) status = send_states(type, entries);
    const std::size_t before = entries.size();
    entries.resize(before + bytes);
    format::encode_entry(entry, format::kWireSeed, entries.data() + before);
  }
  if (status.ok()) status = send_states(type, entries);
  if (status.ok()) status = send_states(format::FrameType::copy_keys, keys);
  return status;
}

// And makes room for more.
Status SlotLane::send_states(format::FrameType type, std::vector<std::uint8_t>& payload) {
  if (payload.empty()) return {};
  format::FrameHeader header;
  header.type = type;
  header.shard = number_;
  if (type == format::FrameType::data) header.sequence = told_;
  Status status = channel_.send(header, payload);
  payload.clear();
  return status;
}

Status SlotLane::send_mark(format::FrameType type, std::uint64_t sequence) {
  format::FrameHeader header;
  header.type = type;
  header.shard = number_;
  header.sequence = sequence;
  return channel_.send(header, {});
}

}  // namespace armdb::replica

#endif  // !ARMDB_OMIT_REPLICATION

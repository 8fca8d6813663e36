// What slots.dat holds when it is opened, and what verify and migrate see of it later.
#include <algorithm>

#include "base/errors.hpp"
#include "base/log.hpp"
#include "base/merge_sort.hpp"
#include "store/slot_store.hpp"

namespace armdb::store {

Status SlotStore::recover(RecoveryVisitor visit) {
  std::uint8_t mark_bytes[format::kCleanMarkBytes];
  Status status = read_bytes(format::kCleanMarkAt, mark_bytes);
  if (!status.ok()) return status;
  format::CleanMark mark;
  was_clean_ = format::decode_clean_mark(Bytes(mark_bytes), header_, mark);
  if (was_clean_) {
    last_sequence_ = mark.version_last;
    durable_sequence_.store(last_sequence_, std::memory_order_relaxed);
  }
  if (was_clean_ && mark.slot_count > layout_.slots_in(size_at_open_)) {
    return base::corrupt(kSlotsLost);
  }
  status = read_stage();
  if (!status.ok()) return status;

  SlotPiece piece;
  const auto group = static_cast<std::size_t>(layout_.group_bytes());
  for (std::uint64_t number = 0; number < slot_count();) {
    status = read_piece(number, piece);
    if (!status.ok()) return status;
    for (const std::uint8_t* from = piece.bytes.data(); number < piece.first + piece.count;
         from += group) {
      for (std::uint32_t i = 0; i < layout_.group_slots(); ++i, ++number) {
        status = recover_slot(number, from, visit);
        if (!status.ok()) return status;
      }
    }
  }
  // A slot whose copies are zeros looks like one that was never used. A damaged one is not free.
  const std::uint64_t used = slot_count() - free_count_;
  if (was_clean_ && used < mark.live_count) {
    base::log(context_.config.log, LogLevel::error, "slots that had entries",
              base::corrupt(kSlotsLost).at(path_));
    missing_slots_ = mark.live_count - used;
    damaged_slots_ += missing_slots_;
  }
  return {};
}

Status SlotStore::read_piece(std::uint64_t first, SlotPiece& piece) {
  const std::uint32_t group_slots = layout_.group_slots();
  piece.first = first / group_slots * group_slots;
  piece.count = 0;
  if (piece.first >= slot_count()) return {};
  finish_all();
  const std::uint64_t groups =
      std::clamp<std::uint64_t>(context_.piece_bytes() / layout_.group_bytes(), 1,
                                (slot_count() - piece.first) / group_slots);
  piece.bytes.resize(static_cast<std::size_t>(groups * layout_.group_bytes()));
  Status status = read_bytes(layout_.offset(piece.first, 0), piece.bytes);
  if (!status.ok()) return status;
  piece.count = groups * group_slots;
  piece.in_use.resize(static_cast<std::size_t>(piece.count));
  for (std::uint64_t i = 0; i < piece.count; ++i)
    piece.in_use[static_cast<std::size_t>(i)] = !is_free(piece.first + i);
  return {};
}

Status SlotStore::visit_piece(const SlotPiece& piece, VerifyReport& report,
                              FunctionRef<Status(const RecoveredEntry&)> visit) const {
  const std::uint32_t group_slots = layout_.group_slots();
  SlotRoom room;
  for (std::uint64_t at = 0; at < piece.count; ++at) {
    const std::uint64_t number = piece.first + at;
    const std::uint8_t* group = piece.bytes.data() + at / group_slots * layout_.group_bytes();
    format::Slot slot;
    std::uint32_t copy = 0;
    const std::uint32_t broken = judge_copies(number, group, room, slot, copy);
    // Where nothing may be written, the stage still has what a crash left there.
    static_cast<void>(judge_stage(number, room, slot));
    if (room.failed()) return std::exchange(room.status, {}).at(path_, layout_.offset(number, 0));
    // What a crash tore stays so where nothing may be written. Of a free slot it means nothing.
    const bool torn =
        slot.state != format::SlotState::unused && context_.config.read_only && !was_clean_;
    if (broken != 0 && !torn && piece.in_use[static_cast<std::size_t>(at)] != 0) {
      ++report.damaged_regions;
      log_damage(number);
    }
    if (slot.state != format::SlotState::live) continue;
    ++report.entries;
    Status status = visit(entry_of(number, slot));
    if (!status.ok()) return status;
  }
  report.bytes += piece.bytes.size();
  return {};
}

void SlotStore::log_damage(std::uint64_t number) const {
  base::log(context_.config.log, LogLevel::error, "a damaged slot",
            describe(base::corrupt("a copy of it is broken"), location_of(number, 0)));
}

Status SlotStore::read_stage() {
  stage_.resize(header_.stage_count * layout_.stage_bytes());
  Status status = read_bytes(format::kStageAt, stage_);
  if (!status.ok()) return status;
  for (std::uint32_t place = 0; place < header_.stage_count; ++place) {
    const Bytes staged = staged_at(place);
    format::Slot slot;
    const std::uint64_t number = format::staged_number(staged);
    const format::SlotRead outcome = read_copy(number, staged.sub(8), room_, slot);
    if (outcome == format::SlotRead::whole && number < slot_count()) {
      stage_order_.push_back(place);
    } else if (outcome != format::SlotRead::unused) {
      // A slot that the file lost with its end will be another one when it has grown again.
      torn_.push_back(layout_.stage_at(place) + 8);
    }
    if (room_.failed()) return std::exchange(room_.status, {}).at(path_, layout_.stage_at(place));
  }
  base::sort_numbers(stage_order_, [&](std::uint32_t a, std::uint32_t b) {
    return format::staged_number(staged_at(a)) < format::staged_number(staged_at(b));
  });
  return {};
}

// The spans of `slot` point into the copy or, of a sealed one, into the room.
format::SlotRead SlotStore::read_copy(std::uint64_t number, Bytes copy, SlotRoom& room,
                                      format::Slot& slot) const {
  if (crypto::kHasCrypto && sealer_ != nullptr) {
    return sealer_->open(copy, number, room.rooms[room.next], slot, room.status);
  }
  return format::decode_slot(copy, seed_, number, header_.key_size, header_.value_size, slot);
}

// Takes a copy over when it is whole and newer than the best one so far. Returns 1 for a broken
// one.
std::uint32_t SlotStore::judge(std::uint64_t number, Bytes copy, SlotRoom& room, format::Slot& best,
                               bool& won) const {
  format::Slot slot;
  const format::SlotRead outcome = read_copy(number, copy, room, slot);
  won = outcome == format::SlotRead::whole && slot.version > best.version;
  if (won) {
    best = slot;
    room.next ^= 1;
  }
  return outcome == format::SlotRead::broken ? 1 : 0;
}

// `group` has all copies of the slots around this one. Returns which of its own are broken: a bit
// for each.
std::uint32_t SlotStore::judge_copies(std::uint64_t number, const std::uint8_t* group,
                                      SlotRoom& room, format::Slot& best,
                                      std::uint32_t& copy) const {
  const std::uint64_t group_at =
      layout_.offset(number / layout_.group_slots() * layout_.group_slots(), 0);
  std::uint32_t broken = 0;
  for (std::uint32_t at = 0; at < layout_.copies(); ++at) {
    const std::uint8_t* from = group + (layout_.offset(number, at) - group_at);
    bool won = false;
    broken |= judge(number, Bytes(from, layout_.slot_bytes()), room, best, won) << at;
    if (won) copy = at;
  }
  return broken;
}

// The same for the stage as it was. Returns the place that is newer than `best` was, or how many
// there are.
std::uint32_t SlotStore::judge_stage(std::uint64_t number, SlotRoom& room,
                                     format::Slot& best) const {
  std::uint32_t winner = header_.stage_count;
  const auto first = std::lower_bound(stage_order_.begin(), stage_order_.end(), number,
                                      [&](std::uint32_t place, std::uint64_t of) {
                                        return format::staged_number(staged_at(place)) < of;
                                      });
  for (auto at = first; at != stage_order_.end(); ++at) {
    if (format::staged_number(staged_at(*at)) != number) break;
    bool won = false;
    judge(number, staged_at(*at).sub(8), room, best, won);
    if (won) winner = *at;
  }
  return winner;
}

RecoveredEntry SlotStore::entry_of(std::uint64_t number, const format::Slot& slot) noexcept {
  return {.key = slot.key,
          .value = slot.value,
          .sequence = slot.version,
          .expiry_ms = slot.expiry_ms,
          .at = location_of(number, slot.version)};
}

Status SlotStore::recover_slot(std::uint64_t number, const std::uint8_t* group,
                               RecoveryVisitor visit) {
  format::Slot best;
  std::uint32_t copy = 0;
  const std::uint32_t broken = judge_copies(number, group, room_, best, copy);
  stamp_of(number) = static_cast<std::uint8_t>(copy << 7);
  const std::uint32_t winner = judge_stage(number, room_, best);
  if (room_.failed()) return std::exchange(room_.status, {}).at(path_, layout_.offset(number, 0));
  if (winner != header_.stage_count) stage_wins_.push_back(winner);
  last_sequence_ = std::max(last_sequence_, best.version);
  // After a crash the first write of a fresh slot may be torn: then the other copy is unused, and
  // there was nothing to lose. Beside a clean mark nothing is torn, and a copy that is whole may be
  // the older one. A slot that lost what it had is left alone for repair.
  const bool all_broken = broken == (1u << layout_.copies()) - 1;
  const bool unused = best.state == format::SlotState::unused;
  const bool damaged = broken != 0 && (was_clean_ || (unused && all_broken));
  if (damaged) {
    ++damaged_slots_;
    log_damage(number);
  }
  for (std::uint32_t at = 0; at < layout_.copies() && !damaged; ++at) {
    if ((broken >> at & 1) == 0) continue;
    torn_.push_back(layout_.offset(number, at));
    ++torn_copies_;
  }
  if (best.state == format::SlotState::live) {
    ++live_;
    ++opened_;
    return visit(*this, entry_of(number, best));
  }
  if (!damaged || !unused) give_free(number);
#if !defined(ARMDB_OMIT_REPLICATION)
  if (damaged && unused) damaged_.push_back(number);
#endif
  return {};
}

Status SlotStore::read_newest(std::uint64_t number, std::vector<std::uint8_t>& copy,
                              format::Slot& slot) {
  for (const std::uint32_t place : stage_wins_) {
    const Bytes staged = staged_at(place);
    if (format::staged_number(staged) != number) continue;
    static_cast<void>(read_copy(number, staged.sub(8), room_, slot));
    return {};
  }
  finish_all();
  copy.resize(layout_.slot_bytes());
  const std::uint64_t at = layout_.offset(number, stamp_of(number) >> 7);
  Status status = read_bytes(at, copy);
  if (!status.ok()) return status;
  const format::SlotRead outcome = read_copy(number, Bytes(copy), room_, slot);
  if (room_.failed()) return std::exchange(room_.status, {}).at(path_, at);
  if (outcome == format::SlotRead::whole) return {};
  return base::corrupt("a slot changed while it was read").at(path_, at);
}

Result<bool> SlotStore::settle(base::Location old, const RecoveredEntry& entry) {
  std::uint64_t loser = number_of(old);
  std::vector<std::uint8_t> copy;
  format::Slot slot;
  Status status = read_newest(loser, copy, slot);
  if (!status.ok()) return status;
  const bool newer = entry.sequence > slot.version;
  if (!newer) loser = number_of(entry.at);
  losers_.push_back(loser);
  --live_;
  return newer;
}

Status SlotStore::start() {
  if (context_.config.read_only) return {};
  Status status;
#if !defined(ARMDB_OMIT_REPLICATION)
  if (damaged_slots_ != 0) status = context_.tell_of_loss();
  if (!status.ok()) return status;
#endif
  if (size_at_open_ < file_bytes_) status = allocate(size_at_open_, file_bytes_ - size_at_open_);
  if (status.is(Errc::no_space)) {
    status = {Errc::no_space,
              "slots.dat was cut off, and its end needs room: free some, or open it read_only"};
  }
  if (!status.ok()) return std::move(status).at(path_);
  status = finish_recovery();
  // The next open must not take cached pages for what the disk has.
  if (!status.ok()) static_cast<void>(poison(status));
  return std::move(status).at(path_);
}

// What was read becomes durable before anything changes: from then on the copy that counts is the
// one that has to be kept. Then what the crash left half done is finished, and made durable before
// the first write, which a later power cut must not find beside it.
Status SlotStore::finish_recovery() {
  Status status;
  if (!was_clean_) {
    status = file_->sync();
    // The file may have been given its name just before a kill.
    if (status.ok()) status = context_.files.sync_directory(context_.directory);
  }
  if (!status.ok()) return status;
  map_file();
  // Or a write to the same place, torn in its turn, could make them whole: of a copy that spans
  // sectors the end is often the same. And after a clean close they would count as damaged.
  for (const std::uint64_t at : torn_) {
    if (status.ok()) status = write_zeros(at, layout_.slot_bytes());
  }
  for (std::size_t at = 0; status.ok() && at < stage_wins_.size(); ++at) {
    const Bytes staged = staged_at(stage_wins_[at]);
    // Not by the first places: they may have the only whole copies of other slots.
    status = bring_home(format::staged_number(staged), staged.sub(8));
  }
  // Before those places are written.
  if (status.ok() && !stage_wins_.empty() && !losers_.empty()) status = file_->sync();
  std::vector<std::uint8_t> copy;
  for (std::size_t at = 0; status.ok() && at < losers_.size(); ++at) {
    format::Slot slot;
    status = read_newest(losers_[at], copy, slot);
    if (!status.ok()) return status;
    status = write_erased(losers_[at], slot.key);
    give_free(losers_[at]);
  }
  torn_.clear();
  losers_.clear();
  stage_ = std::vector<std::uint8_t>();
  stage_order_.clear();
  stage_wins_.clear();
  finish_all();
  if (status.ok()) status = write_zeros(format::kCleanMarkAt, format::kCleanMarkBytes);
  if (status.ok()) status = file_->sync();
  if (!status.ok()) return status;
  for (std::uint64_t number = 0; number < slot_count_; ++number) stamp_of(number) &= kSlotCopyBit;
  durable_sequence_.store(last_sequence_, std::memory_order_relaxed);
  sync_wanted_from_ = last_sequence_ + sync_batch_;
  const std::string mark = context_.path_of(format::FileRole::failed, kFailedMarkId);
  if (file_exists(context_.files, mark)) try_remove(context_.files, mark);
  return {};
}

}  // namespace armdb::store

// Recovery of segments: what a scan accepts, what is torn, what is damage.
#include <algorithm>

#include "base/log.hpp"
#include "base/text.hpp"
#include "format/file_name.hpp"
#include "store/log_recovery.hpp"

namespace armdb::store {

Status LogRecovery::load_all() {
  for (std::size_t at = 0; at < candidates_.size(); ++at) {
    const Candidate& candidate = candidates_[at];
    judge_missing(at);
#if !defined(ARMDB_OMIT_REPLICATION)
    // The gap of a leader is not one of the follower that it became, which goes on below its end.
    const std::uint64_t first = candidate.segment->first_sequence;
    if (!candidate.listed && first != 0) listed_last_ = std::min(listed_last_, first - 1);
#endif
    // Sequences that compaction dropped at the end of the listed segments are not missing.
    if (!candidate.listed && !cut_) last_ = std::max(last_, listed_last_);
    if (follows_hole(candidate)) {
      raise_durable(at);
      // Without the MANIFEST nobody can tell a hole from what compaction dropped: reported, and
      // what follows is served. A crash never takes the MANIFEST.
      const bool crashed = cut_ || !rebuilt_;
      if (crashed && candidate.segment->header.predecessor_sequence > durable_) {
        Status status = set_aside(at);
        if (!status.ok()) return status;
        break;
      }
      damage("synced entries before this segment are missing", candidate.segment->path, 0);
    }
    Status status = load(candidates_[at]);
    if (!status.ok()) return status;
  }
  judge_missing(candidates_.size());
  // What was durable and is in no segment was dropped by compaction, fell into a gap, or is damage
  // that was reported; what was not may have been cut off.
  last_ = std::max(last_, cut_ ? std::min(listed_last_, durable_) : listed_last_);
  return {};
}

// Judges the listed segments that stood before candidate `at` and cannot be read: what was synced
// is damage, anything else was taken by a crash, and then nothing that follows counts.
void LogRecovery::judge_missing(std::size_t at) {
  for (Missing& missing : missing_) {
    const format::ManifestSegment& record = missing.record;
    if (missing.judged || (at < candidates_.size() &&
                           record.first_sequence > candidates_[at].segment->first_sequence)) {
      continue;
    }
    missing.judged = true;
    const std::string path = store_.context_.path_of(format::FileRole::segment, record.file_id);
    if (!record.durable && record.count != 0 && record.first_sequence > durable_) {
      raise_durable(at);
    }
    if (record.durable || (record.count != 0 && record.first_sequence <= durable_)) {
      damage(base::text("a segment that the MANIFEST names cannot be read: %", {missing.what}),
             path, 0);
    } else if (record.count != 0) {
      // What stands before it is there; a gap in the sequences is not a loss.
      if (!cut_) last_ = std::max(last_, record.first_sequence - 1);
      torn(path, 0, record.length);
    }
  }
}

// Takes the watermarks in the segments from `from` on and in the tail: what stood before them was
// synced, and if it is gone, then not by a crash. Looks once: it covers all that is to come.
void LogRecovery::raise_durable(std::size_t from) {
  if (std::exchange(raised_, true)) return;
  format::Entry entry;
  std::size_t size = 0;
  const Candidate* owner = segment_of_tail();
  for (Bytes rest = tail_.bytes;
       owner != nullptr &&
       format::decode_entry(rest, owner->segment->seed, entry, size) == format::EntryRead::whole;
       rest = rest.sub(size)) {
    if ((entry.flags & format::kWatermark) != 0) durable_ = std::max(durable_, entry.sequence);
  }
  for (std::size_t at = from; at < candidates_.size(); ++at) {
    const Candidate& candidate = candidates_[at];
    durable_ =
        std::max(durable_, watermark_behind(*candidate.segment, format::kSegmentHeaderBytes - 8,
                                            candidate.file_bytes));
  }
}

// True when entries between the last accepted one and this segment are missing.
bool LogRecovery::follows_hole(const Candidate& candidate) const noexcept {
  const format::SegmentHeader& header = candidate.segment->header;
  return header.kind == format::SegmentKind::log && header.predecessor_sequence > last_ &&
         (!candidate.listed || cut_);
}

Status LogRecovery::load(Candidate& candidate) {
  Segment& segment = *candidate.segment;
  const bool known = candidate.listed || read_footer(candidate, nullptr);
  segment.sealed = true;
  segment.hinted = false;
  // A hint tells what was written, not what a crash left of it: believed only where a sync came
  // between, and never for a file whose sync failed.
  const bool synced = candidate.listed ? candidate.record.durable
                                       : known && candidate.record.last_sequence <= durable_;
  if (synced && candidate.record.length <= candidate.file_bytes && store_.values_on_disk() &&
      !store_.context_.needs_values && !sync_failed(segment.id())) {
    Status status;
    if (load_by_hint(candidate, status)) {
      segment.length = candidate.record.length;
      segment.last_sequence = candidate.record.last_sequence;
      segment.hinted = true;
      last_ = std::max(last_, segment.last_sequence);
      last_entry_ = std::max(last_entry_, segment.last_sequence);
    } else if (!status.ok()) {
      return status;
    }
  }
  if (!segment.hinted) {
    segment.count = segment.total = segment.tombstones = segment.tombstone_bytes = 0;
    segment.dead = 0;
    Status status = scan(candidate);
    if (!status.ok()) return status;
  }
  // Durable entries alone do not make it so: a footer may have come after they were synced.
  segment.durable = candidate.listed && candidate.record.durable;
  segment.readable.store(segment.length, std::memory_order_release);
  if (store_.values_on_disk() && store_.context_.config.mapped_reads) {
    segment.map(segment.length, segment.length);
  }
  return {};
}

bool LogRecovery::load_by_hint(Candidate& candidate, Status& status) {
  Segment& segment = *candidate.segment;
  const format::ManifestSegment& record = candidate.record;
  std::uint64_t items = 0;
  const bool whole = read_hint(
      store_.context_, segment, record.length, record.last_sequence,
      [&](const format::HintItem& item) -> Status {
        format::Entry entry;
        entry.flags = item.flags;
        entry.sequence = item.sequence;
        entry.expiry_ms = item.expiry_ms;
        entry.key = item.key;
        const std::uint64_t bytes = format::entry_bytes(item.key.size(), item.value_size,
                                                        (item.flags & format::kExpiry) != 0);
        if (item.offset < format::kSegmentHeaderBytes || bytes > record.length ||
            item.offset > record.length - bytes) {
          return {};  // cannot be: the scan that follows will tell
        }
        ++items;
        return deliver(segment, entry, base::Location(segment.id(), item.offset, bytes));
      },
      status);
  if (whole) store_.recovery_.entries_by_hint += items;
  return whole;
}

bool LogRecovery::fits_shape(const format::Entry& entry) const noexcept {
  const Shape& shape = store_.context_.shape;
  return entry.key.size() == shape.key_size &&
         (entry.tombstone() || shape.payload == Payload::location ||
          entry.value.size() == shape.value_size);
}

Status LogRecovery::deliver(Segment& segment, const format::Entry& entry, base::Location at) {
  store_.account(segment, entry, at);
  return tell(entry, at);
}

Status LogRecovery::tell(const format::Entry& entry, base::Location at) {
  RecoveredEntry recovered;
  recovered.key = entry.key;
  recovered.value = entry.value;
  recovered.tombstone = entry.tombstone();
  recovered.sequence = entry.sequence;
  recovered.expiry_ms = entry.expiry_ms;
  recovered.at = at;
  return visit_(store_, recovered);
}

Status LogRecovery::scan(Candidate& candidate) {
  Segment& segment = *candidate.segment;
  const std::uint64_t limit = candidate.listed
                                  ? std::min(candidate.record.length, candidate.file_bytes)
                                  : candidate.file_bytes;
  SegmentScanner scanner(segment, format::kSegmentHeaderBytes, limit);
  Scan state;
  state.expected = segment.header.first_sequence;
  state.accepted = format::kSegmentHeaderBytes;
  segment.last_sequence = state.expected == 0 ? 0 : state.expected - 1;
  const std::uint64_t counted = segment.count;
  const bool cut_before = cut_;
  for (bool go_on = true; go_on;) {
    const ScanStep step = scanner.next();
    if (step == ScanStep::failed) return scanner.status;
    if (step == ScanStep::end) break;
    Status status;
    if (step == ScanStep::entry) {
      status = scan_entry(scanner, segment, state);
      go_on = !state.footer;
      if (state.torn) status = handle_broken(scanner, candidate, state, go_on);
    } else {
      status = handle_broken(scanner, candidate, state, go_on);
    }
    if (!status.ok()) return status;
  }
  if (state.batch_offset != 0) {
    // Begun and never committed: none of it counts. The tail buffer may still complete it.
    torn(segment.path, state.batch_offset, scanner.position() - state.batch_offset);
  }
  if (candidate.listed && !state.torn && state.accepted < candidate.record.length) {
    // Cut at the boundary of an entry: only the MANIFEST knows that there was more. A footer that
    // is gone and was never synced takes nothing with it.
    const std::uint64_t synced = std::min(candidate.record.last_sequence, durable_);
    if (candidate.record.durable || segment.last_sequence < synced) {
      damage("the segment is shorter than it was", segment.path, state.accepted);
      state.damaged = true;
    } else if (segment.last_sequence < candidate.record.last_sequence) {
      torn(segment.path, state.accepted, candidate.record.length - state.accepted);
    }
  }
  if (cut_ && !cut_before) torn_id_ = segment.id();
  store_.recovery_.entries_by_scan += segment.count - counted;
  segment.length = state.accepted;
  if (candidate.listed && segment.header.kind == format::SegmentKind::compacted) {
    segment.last_sequence = std::max(segment.last_sequence, candidate.record.last_sequence);
  }
  segment.damaged = state.damaged;
  last_ = std::max(last_, segment.last_sequence);
  if (segment.count != 0) last_entry_ = std::max(last_entry_, segment.last_sequence);
  changed_ = changed_ || (candidate.listed && segment.length != candidate.record.length);
  if (!store_.context_.config.read_only && store_.wants_hint(segment)) {
    segment.hinted = LogStore::write_hint(store_.context_, segment);
  }
  return {};
}

// Accepts the entry the scanner stands on, or sets `torn` when it does not continue the log.
Status LogRecovery::scan_entry(SegmentScanner& scanner, Segment& segment, Scan& state) {
  const format::Entry& entry = scanner.entry;
  state.torn = false;
  if ((entry.flags & format::kWatermark) != 0) {
    durable_ = std::max(durable_, std::min(entry.sequence, state.expected));
    // Not inside a batch: it would take entries with it that do not count before the commit.
    if (state.batch_offset == 0) state.accepted = scanner.position();
    return {};
  }
  if ((entry.flags & format::kFooter) != 0) {
    state.footer = true;
    state.accepted = scanner.position();
    return {};
  }
  if ((entry.flags & format::kJoint) != 0) {
    note_joint(entry);  // accepted with the batch it stands before
    return {};
  }
  const bool log = segment.header.kind == format::SegmentKind::log;
  const bool next =
      state.resumed ? entry.sequence >= state.expected : entry.sequence == state.expected;
  const bool in_order = log ? next : entry.sequence > segment.last_sequence || segment.count == 0;
  if (!fits_shape(entry) || !in_order || entry.sequence > kSequenceLimit ||
      entry.sequence >= limit_) {
    state.torn = true;
    return {};
  }
  state.expected = entry.sequence + 1;
  state.resumed = false;
  if ((entry.flags & format::kBatchBegin) != 0 && state.batch_offset == 0) {
    state.batch_offset = scanner.offset;
  }
  if (state.batch_offset == 0) {
    state.accepted = scanner.position();
    return deliver(segment, entry, base::Location(segment.id(), scanner.offset, scanner.size));
  }
  if ((entry.flags & format::kBatchCommit) == 0) return {};
  note_joint(entry);
  state.accepted = scanner.position();
  return deliver_batch(segment, std::exchange(state.batch_offset, 0), scanner.position());
}

// Takes a joint mark, and then the last entry of the batch behind it.
void LogRecovery::note_joint(const format::Entry& entry) {
  if (survey_ == nullptr) return;
  if ((entry.flags & format::kJoint) == 0) {
    const bool whole = joint_.last_sequence == entry.sequence;
    if (whole) survey_->joints.push_back(std::move(joint_));
    joint_ = {};
    return;
  }
  joint_ = {};
  joint_.first_sequence = entry.sequence;
  joint_.parts = std::vector<JointPart>(entry.value.size() / format::kJointPartBytes);
  for (std::size_t at = 0; at < joint_.parts.size(); ++at) {
    const format::JointPart part = format::decode_joint_part(entry.value, at);
    joint_.parts[at] = {part.shard, part.last_sequence};
    if (part.shard == store_.context_.shard) joint_.last_sequence = part.last_sequence;
  }
}

Status LogRecovery::deliver_batch(Segment& segment, std::uint64_t from, std::uint64_t to) {
  SegmentScanner again(segment, from, to);
  ScanStep step = again.next();
  for (; step == ScanStep::entry; step = again.next()) {
    if (again.entry.mark()) continue;
    Status status =
        deliver(segment, again.entry, base::Location(segment.id(), again.offset, again.size));
    if (!status.ok()) return status;
  }
  return again.status;
}

// Damage below the watermark is skipped; above it the log ends here.
Status LogRecovery::handle_broken(SegmentScanner& scanner, Candidate& candidate, Scan& state,
                                  bool& go_on) {
  Segment& segment = *candidate.segment;
  const std::uint64_t broken_at = scanner.offset;
  const std::uint64_t limit = candidate.listed
                                  ? std::min(candidate.record.length, candidate.file_bytes)
                                  : candidate.file_bytes;
  bool synced = segment.header.kind == format::SegmentKind::compacted ||
                (candidate.listed && candidate.record.durable) || state.expected <= durable_;
  if (!synced) {
    raise_durable(static_cast<std::size_t>(&candidate - candidates_.data()));
    synced = state.expected <= durable_;
  }
  state.torn = !synced;
  if (!synced) {
    go_on = false;
    torn(segment.path, state.accepted, limit - state.accepted);
    state.batch_offset = 0;
    return {};
  }
  damage("bytes that were synced once are no entry", segment.path, broken_at);
  state.damaged = true;
  state.batch_offset = 0;  // a batch that lost an entry is void
  const std::uint64_t before = state.expected == 0 ? 0 : state.expected - 1;
  const ScanStep step =
      scanner.resync(before, format::kSequenceMax, store_.context_.shape.key_size);
  if (step == ScanStep::failed) return scanner.status;
  if (step == ScanStep::end) {
    go_on = false;
    state.accepted = limit / 8 * 8;  // nothing whole follows; the bytes stay for repair
    return {};
  }
  // A mark has no sequence of its own: the entry behind it tells how many were lost.
  state.resumed = true;
  Status status = scan_entry(scanner, segment, state);
  go_on = !state.footer;
  state.torn = false;
  return status;
}

// The largest watermark that stands behind a broken place.
std::uint64_t LogRecovery::watermark_behind(const Segment& segment, std::uint64_t from,
                                            std::uint64_t limit) {
  SegmentScanner scanner(segment, from, limit);
  scanner.offset = from;
  std::uint64_t watermark = 0;
  ScanStep step = scanner.resync(0, format::kSequenceMax, store_.context_.shape.key_size);
  while (step == ScanStep::entry) {
    if ((scanner.entry.flags & format::kWatermark) != 0) {
      watermark = std::max(watermark, scanner.entry.sequence);
    }
    step = scanner.next();
    if (step == ScanStep::broken) {
      step = scanner.resync(0, format::kSequenceMax, store_.context_.shape.key_size);
    }
  }
  return watermark;
}

Status LogRecovery::set_aside(std::size_t from) {
  const StoreContext& context = store_.context_;
  changed_ = true;
  cut_ = true;
  for (std::size_t at = from; at < candidates_.size(); ++at) {
    const Segment& segment = *candidates_[at].segment;
    ++store_.recovery_.segments_set_aside;
    base::log(context.config.log, LogLevel::error,
              base::text("unsynced entries before % were lost in a crash; the segment is set aside",
                         {segment.path}));
    leave_aside(segment.id());
  }
  candidates_.erase(candidates_.begin() + static_cast<std::ptrdiff_t>(from), candidates_.end());
  store_.segments_.erase(store_.segments_.begin() + static_cast<std::ptrdiff_t>(from),
                         store_.segments_.end());
  return store_.publish_map();
}

// Renamed at the end: another recovery has to judge by it when this one fails before that.
void LogRecovery::leave_aside(std::uint32_t id) { aside_ids_.push_back(id); }

Status LogRecovery::rename_aside(std::uint32_t id) {
  const StoreContext& context = store_.context_;
  const std::string path = context.path_of(format::FileRole::segment, id);
  Status status = context.files.rename(path, context.path_of(format::FileRole::aside, id));
  if (status.is(Errc::not_found)) return {};
  ++store_.directory_changes_;
  return std::move(status).at(path);
}

}  // namespace armdb::store

// Reading a log for a follower: the next entries behind a position, or a copy of all there is.
#include "store/log_feed.hpp"

#include <algorithm>

#include "base/errors.hpp"
#include "base/little.hpp"
#include "format/frame.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::store {

// ---- What the log itself does for leaders and followers ----

// Behind a gap a segment of its own begins: inside one sequences are consecutive.
Status LogStore::continue_at(std::uint64_t sequence) {
  if (sequence == sequence_next_) return {};
  if (sequence <= last_sequence_ || sequence >= kSequenceLimit) {
    return base::failure(Errc::invalid_argument, "sequence % does not follow %",
                         {sequence, last_sequence_});
  }
  Status status = seal_active();
  if (status.ok()) sequence_next_ = sequence;
  return status;
}

std::uint64_t LogStore::pinned() const noexcept {
  std::uint64_t kept = 0;
  for (const SegmentPtr& segment : segments_) {
    if (segment->last_sequence > pin_ && !segment->retired) kept += segment->length;
  }
  return kept > retain_bytes_ ? ~std::uint64_t{0} : pin_;
}

std::uint64_t LogStore::bytes_above(std::uint64_t sequence) const noexcept {
  double bytes = 0;
  for (const SegmentPtr& segment : segments_) {
    if (segment->retired || segment->last_sequence <= sequence || segment->count == 0) continue;
    const std::uint64_t before = segment->first_sequence - 1;
    const double above = sequence <= before
                             ? 1
                             : static_cast<double>(segment->last_sequence - sequence) /
                                   static_cast<double>(segment->last_sequence - before);
    bytes += above * static_cast<double>(segment->total);
  }
  return static_cast<std::uint64_t>(bytes);
}

// ---- The feed ----

// The entry is whole, and differs from the one on the wire in its checksum alone. Of checksums the
// seeds' difference depends on the length and nothing else: it is learnt once for each.
void LogFeed::append_scanned(std::vector<std::uint8_t>& out) {
  const format::Entry& entry = scanner_->entry;
  const bool expiry = (entry.flags & format::kExpiry) != 0;
  const std::size_t content = entry.key.size() + entry.value.size() + (expiry ? 8 : 0);
  const std::size_t at = out.size();
  const std::uint8_t* const from = entry.key.data() - format::kEntryHeaderBytes - (expiry ? 8 : 0);
  out.insert(out.end(), from, from + scanner_->size);
  Reseeding& known = reseedings_[content % kReseedings];
  const auto crc = base::load_little<std::uint32_t>(from);
  if (known.content != content || known.seed != segment_->seed) {
    format::encode_entry(entry, format::kWireSeed, out.data() + at);
    known = {content, segment_->seed, crc ^ base::load_little<std::uint32_t>(out.data() + at)};
  }
  base::store_little<std::uint32_t>(out.data() + at, crc ^ known.difference);
}

void LogFeed::enter(SegmentPtr segment) noexcept {
  segment_ = std::move(segment);
  scanner_.reset();
  offset_ = format::kSegmentHeaderBytes;
  readable_ = segment_ == nullptr ? 0 : segment_->readable.load(std::memory_order_acquire);
}

// A segment that is being read stays readable when compaction has replaced it.
FeedStep LogFeed::locate(const LogStore& log) {
  if (segment_ != nullptr && position_ < segment_->last_sequence) {
    readable_ = segment_->readable.load(std::memory_order_acquire);
    return FeedStep::ready;
  }
  if (segment_ != nullptr && segment_->sealed) enter(nullptr);
  for (const SegmentPtr& segment : log.segments()) {
    if (segment->retired || segment->last_sequence <= position_ || segment->count == 0) continue;
    if (segment == segment_) return FeedStep::ready;
    const format::SegmentHeader& header = segment->header;
    if (header.kind == format::SegmentKind::compacted) return FeedStep::overtaken;
    // Without a predecessor compaction has left nothing before it. That lacks even who has nothing:
    // of a batch over several shards the other parts may be told still.
    const bool follows = header.predecessor_id != 0 && header.predecessor_sequence == position_;
    if (position_ + 1 < header.first_sequence && !follows) {
      // Between the last entry of one open and the first of the next there is none: whoever stands
      // there has entries that this log has lost.
      const bool between = header.predecessor_id != 0 && header.predecessor_sequence < position_;
      return between ? FeedStep::foreign : FeedStep::overtaken;
    }
    enter(segment);
    return FeedStep::ready;
  }
  const std::uint64_t last = log.last_sequence();
  if (position_ == last) return FeedStep::end;
  return position_ > last ? FeedStep::foreign : FeedStep::overtaken;
}

Status LogFeed::damaged() const {
  return base::corrupt(
             "the log is damaged here, and damage is not passed on to followers; run verify, then "
             "restore or repair")
      .at(segment_->path, scanner_->offset);
}

Status LogFeed::read(std::uint64_t limit, std::size_t bytes_max, FeedPiece& piece) {
  piece.before = piece.last = position_;
  piece.entries.clear();
  piece.joint.clear();
  if (copying_) return read_copy(bytes_max, piece);
  if (segment_ == nullptr) return {};
  if (scanner_ == nullptr) {
    scanner_ = std::make_unique<SegmentScanner>(*segment_, offset_, readable_);
  }
  scanner_->go_on(offset_, readable_);  // it has read ahead of what it gave
  in_batch_ = false;
  std::size_t whole = 0;  // bytes up to the end of the last entry or batch that is all there
  Status status;
  for (;;) {
    const ScanStep step = scanner_->next();
    if (step == ScanStep::failed) return scanner_->status;
    if (step == ScanStep::broken) return damaged();
    if (step == ScanStep::end || !take(scanner_->entry, limit, piece, status)) break;
    if (in_batch_) continue;
    whole = piece.entries.size();
    offset_ = scanner_->position();
    if (!piece.joint.empty() && whole != 0) break;
    if (whole >= bytes_max) break;
  }
  // The rest of a batch is not there yet, or above the limit.
  piece.entries.resize(whole);
  if (whole == 0) piece.joint.clear();
  position_ = piece.last;
  return status;
}

// False: not this one, and nothing behind it.
bool LogFeed::take(const format::Entry& entry, std::uint64_t limit, FeedPiece& piece,
                   Status& status) {
  if ((entry.flags & (format::kWatermark | format::kFooter)) != 0) return true;
  if ((entry.flags & format::kJoint) != 0) {
    if (entry.sequence <= piece.last) return true;
    if (!piece.entries.empty()) return false;  // a piece of its own
    piece.joint.resize(entry.value.size() / format::kJointPartBytes);
    for (std::size_t at = 0; at < piece.joint.size(); ++at) {
      const format::JointPart part = format::decode_joint_part(entry.value, at);
      piece.joint[at] = {part.shard, part.last_sequence};
    }
    in_batch_ = true;  // until its commit
    return true;
  }
  const bool opens = (entry.flags & format::kBatchBegin) != 0;
  const bool commits = (entry.flags & format::kBatchCommit) != 0;
  if (entry.sequence <= position_) return true;
  if (entry.sequence > limit) return false;
  const std::uint64_t next = in_batch_ && !piece.entries.empty() ? batch_next_ : piece.last + 1;
  if (entry.sequence != next && entry.sequence != segment_->header.first_sequence) {
    status = damaged();
    return false;
  }
  append_scanned(piece.entries);
  batch_next_ = entry.sequence + 1;
  in_batch_ = (in_batch_ || opens) && !commits;
  if (!in_batch_) piece.last = entry.sequence;
  return true;
}

void LogFeed::begin_copy(const LogStore& log, std::uint64_t limit) {
  copying_ = true;
  copy_limit_ = limit;
  enter(nullptr);
  copied_.clear();
  for (const SegmentPtr& segment : log.segments()) {
    if (!segment->retired && segment->first_sequence <= limit) copied_.push_back(segment);
  }
  std::reverse(copied_.begin(), copied_.end());
}

Status LogFeed::read_copy(std::size_t bytes_max, FeedPiece& piece) {
  while (piece.entries.size() < bytes_max) {
    if (segment_ == nullptr) {
      if (copied_.empty()) break;
      enter(copied_.back());
      copied_.pop_back();
      scanner_ = std::make_unique<SegmentScanner>(*segment_, offset_, readable_);
    }
    const ScanStep step = scanner_->next();
    if (step == ScanStep::failed) return scanner_->status;
    if (step == ScanStep::broken) return damaged();
    if (step == ScanStep::end) {
      enter(nullptr);
      continue;
    }
    format::Entry& entry = scanner_->entry;
    if (entry.mark() || entry.sequence > copy_limit_) continue;
    constexpr std::uint8_t kKept = format::kTombstone | format::kExpiry;
    if ((entry.flags & ~kKept) == 0) {
      append_scanned(piece.entries);
    } else {
      entry.flags &= kKept;
      const std::size_t at = piece.entries.size();
      piece.entries.resize(at + scanner_->size);
      format::encode_entry(entry, format::kWireSeed, piece.entries.data() + at);
    }
    piece.last = entry.sequence;
  }
  if (piece.entries.empty()) {
    copying_ = false;
    position_ = copy_limit_;
  }
  return {};
}

}  // namespace armdb::store

#endif  // !ARMDB_OMIT_REPLICATION

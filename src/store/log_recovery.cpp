// Recovery of a shard: which segments are live, what stands in the tail, what stays on disk.
#include "store/log_recovery.hpp"

#include <algorithm>

#include "base/append.hpp"
#include "base/errors.hpp"
#include "base/insertion_sort.hpp"
#include "base/little.hpp"
#include "base/log.hpp"
#include "base/merge_sort.hpp"
#include "base/search.hpp"
#include "base/text.hpp"
#include "format/file_name.hpp"
#include "format/sealed.hpp"
#include "store/manifest_file.hpp"

namespace armdb::store {

namespace {

// After a torn tail sequences go on behind a gap, so that none of a lost entry is used again.
constexpr std::uint64_t kSequenceGap = std::uint64_t{1} << 32;
constexpr std::uint64_t kFooterEntryBytes = 40;

// True when a file is wrong for good. Any other failure (no memory, no descriptors, a newer
// format) may pass: then nothing is opened, rather than something left out.
bool wrong_file(const Status& status) {
  return status.is(Errc::corrupt) || status.is(Errc::not_found) ||
         status.is(Errc::invalid_argument);
}

}  // namespace

Status LogRecovery::run() {
  Status status = list_directory();
  if (status.ok()) status = collect_segments();
  if (status.ok()) status = read_tail_file(store_.context_, tail_);
  if (status.ok()) status = load_all();
  if (status.ok()) status = load_tail();
  if (status.ok()) status = finish();
  return status;
}

void LogRecovery::damage(std::string_view what, const std::string& path, std::uint64_t offset) {
  ++store_.recovery_.damaged_regions;
  base::log(store_.context_.config.log, LogLevel::error,
            Status(Errc::corrupt, what).at(path, offset).message());
}

void LogRecovery::torn(std::string_view path, std::uint64_t offset, std::uint64_t bytes) {
  store_.recovery_.torn_bytes += bytes;
  cut_ = true;
  base::log(
      store_.context_.config.log, LogLevel::info,
      base::text("recovery cut a torn tail of % bytes at offset % of %", {bytes, offset, path}));
}

// ---- Which files there are ----

Status LogRecovery::list_directory() {
  const StoreContext& context = store_.context_;
  Status status = context.files.list(context.directory, [&](std::string_view name, FileKind kind) {
    const format::FileName parsed = format::parse_file_name(name);
    id_max_ = std::max(id_max_, parsed.file_id);  // nor can a new file take a directory's name
    if (kind != FileKind::regular) return;
    if (parsed.role == format::FileRole::segment) data_ids_.push_back(parsed.file_id);
    if (parsed.role == format::FileRole::hint) hint_ids_.push_back(parsed.file_id);
    if (parsed.role == format::FileRole::failed) failed_ids_.push_back(parsed.file_id);
    if (parsed.role == format::FileRole::temporary) temporary_names_.append(name).append("/");
  });
  if (status.is(Errc::not_found)) {
    status = base::corrupt("the directory of a shard is missing; restore it from a backup");
  }
  base::sort_ascending(data_ids_);
  return std::move(status).at(context.directory);
}

bool LogRecovery::sync_failed(std::uint32_t id) const noexcept {
  return base::contains(failed_ids_, id);
}

Status LogRecovery::open_segment(std::uint32_t id, Candidate& out) {
  const StoreContext& context = store_.context_;
  const std::string path = context.path_of(format::FileRole::segment, id);
  Owned<File> file;
  Status status = open_file(context.files, path, OpenMode::read, file, out.file_bytes);
  if (!status.ok()) return status;
  // A sync of this file failed: cached pages may differ from the disk, and the disk counts.
  if (sync_failed(id)) static_cast<void>(file->drop_cache());
  std::uint8_t bytes[format::kSegmentHeaderBytes];
  const Result<std::size_t> got = file->read_at(0, bytes);
  if (!got.ok()) return Status(got.status()).at(path, 0);
  format::SegmentHeader header;
  status = format::decode_segment_header(Bytes(bytes, *got), header);
  if (!status.ok()) return std::move(status).at(path, 0);
  if (header.first_sequence > kSequenceLimit || header.watermark > kSequenceLimit ||
      header.predecessor_sequence > kSequenceLimit) {
    return base::corrupt("the segment's header has a sequence that no store reaches").at(path, 0);
  }
  if (header.file.store_id != context.store_id || header.file.shard != context.shard ||
      header.file.file_id != id) {
    return base::corrupt("the file belongs to another store or shard, or was renamed").at(path, 0);
  }
  out.segment = std::make_shared<Segment>(path, header, std::move(file));
  out.segment->scan_bytes = context.piece_bytes();
  durable_ = std::max(durable_, header.watermark);
  return {};
}

Status LogRecovery::collect_segments() {
  format::Manifest manifest;
  Status status = read_manifest(store_.context_, manifest);
  if (status.ok() &&
      (manifest.last_sequence > kSequenceLimit || manifest.durable_sequence > kSequenceLimit)) {
    status = base::corrupt("the MANIFEST has a sequence that no store reaches");
  }
  if (status.ok()) {
    // Not closed, even if the segment that was being written is gone: set aside by a recovery that
    // was killed.
    changed_ = manifest.active_file_id != 0 || id_max_ >= manifest.next_file_id;
    id_max_ = std::max(id_max_, manifest.next_file_id - 1);
    store_.manifest_generation_ = manifest.generation;
    status = collect_listed(manifest);
    if (status.ok()) status = collect_unlisted(manifest);
  } else if (status.is(Errc::not_found) || status.is(Errc::corrupt)) {
    changed_ = true;
    if (status.is(Errc::corrupt))
      damage("the MANIFEST is damaged", store_.context_.path_of(format::kManifestName));
    rebuilt_ = true;
    status = rebuild_list();
  }
  if (!status.ok()) return status;
  base::insertion_sort(candidates_.begin(), candidates_.end(),
                       [](const Candidate& a, const Candidate& b) {
                         return a.segment->first_sequence < b.segment->first_sequence;
                       });
  if (rebuilt_) limit_to_accepted();
  store_.recovery_.rebuilt = rebuilt_ && !candidates_.empty();
  for (const Candidate& candidate : candidates_) store_.segments_.push_back(candidate.segment);
  store_.next_file_id_ = id_max_ + 1;
  return store_.publish_map();
}

// Without a MANIFEST only a successor's header tells how much of a segment counted: what an earlier
// recovery cut off must not come back.
void LogRecovery::limit_to_accepted() {
  for (Candidate& candidate : candidates_) {
    for (const Candidate& later : candidates_) {
      const format::SegmentHeader& header = later.segment->header;
      if (header.kind == format::SegmentKind::log &&
          header.predecessor_id == candidate.segment->id()) {
        candidate.file_bytes = std::min(candidate.file_bytes, header.predecessor_length);
      }
    }
  }
}

Status LogRecovery::collect_listed(const format::Manifest& manifest) {
  durable_ = std::max(durable_, manifest.durable_sequence);
  listed_last_ = manifest.last_sequence;
  for (const format::ManifestSegment& record : manifest.segments) {
    Candidate candidate;
    Status status = open_segment(record.file_id, candidate);
    if (!status.ok() && !wrong_file(status)) return status;
    if (status.ok() && (candidate.segment->header.salt != record.salt ||
                        candidate.segment->first_sequence != record.first_sequence)) {
      status = base::corrupt("the file is not the one that the MANIFEST names")
                   .at(candidate.segment->path, 0);
    }
    if (!status.ok()) {
      missing_.push_back({record, status.message()});
      leave_aside(record.file_id);
      changed_ = true;
      continue;
    }
    candidate.listed = true;
    candidate.record = record;
    if (record.durable) durable_ = std::max(durable_, record.last_sequence);
    candidates_.push_back(std::move(candidate));
  }
  return {};
}

// Segments that were begun after the MANIFEST was written. Log segments count; a compacted one
// was never published.
Status LogRecovery::collect_unlisted(const format::Manifest& manifest) {
  std::vector<std::uint32_t> listed;
  for (const format::ManifestSegment& record : manifest.segments) listed.push_back(record.file_id);
  base::sort_ascending(listed);
  for (const std::uint32_t id : data_ids_) {
    if (std::binary_search(listed.begin(), listed.end(), id)) continue;
    if (id < manifest.next_file_id && id != manifest.active_file_id) {
      dead_ids_.push_back(id);
      continue;
    }
    changed_ = true;
    Candidate candidate;
    Status status = open_segment(id, candidate);
    if (!status.ok() && !wrong_file(status)) return status;
    if (!status.ok()) {
      // Cut short while it was being created, or damaged: a successor's header tells whether any
      // entries are missing.
      base::log(store_.context_.config.log, LogLevel::warning, status.message());
      // Nobody can tell whether it had synced entries. (Of a sealed one whose header is damaged
      // only the directory knows a size.)
      const Result<FileInfo> info =
          store_.context_.files.info(store_.context_.path_of(format::FileRole::segment, id));
      std::size_t front = format::kSegmentHeaderBytes;
      if (store_.context_.keys != nullptr) {
        front += format::kSealedHeaderBytes + format::kFrameHeaderBytes;
      }
      const bool empty = info.ok() && info->size <= front;
      if (!empty) ++store_.recovery_.segments_set_aside;
      leave_aside(id);
      continue;
    }
    if (candidate.segment->header.kind == format::SegmentKind::compacted) {
      dead_ids_.push_back(id);
      continue;
    }
    candidates_.push_back(std::move(candidate));
  }
  return {};
}

// Without a MANIFEST: every segment counts but those that a whole compacted one replaces.
Status LogRecovery::rebuild_list() {
  for (const std::uint32_t id : data_ids_) {
    Candidate candidate;
    Status status = open_segment(id, candidate);
    if (!status.ok() && !wrong_file(status)) return status;
    if (!status.ok()) {
      damage(base::text("a segment cannot be read: %", {status.message()}),
             store_.context_.path_of(format::FileRole::segment, id));
      leave_aside(id);
      continue;
    }
    if (candidate.segment->header.kind == format::SegmentKind::compacted) {
      if (!read_footer(candidate, &dead_ids_)) {
        leave_aside(id);  // never finished, or damaged: kept, not served
        continue;
      }
      candidate.listed = true;
      candidate.record.durable = true;
      durable_ = std::max(durable_, candidate.record.last_sequence);
    }
    candidates_.push_back(std::move(candidate));
  }
  base::sort_ascending(dead_ids_);
  base::erase_if(candidates_, [&](const Candidate& candidate) {
    return std::binary_search(dead_ids_.begin(), dead_ids_.end(), candidate.segment->id());
  });
  if (!candidates_.empty()) {
    base::log(store_.context_.config.log, LogLevel::warning,
              base::text("the MANIFEST was missing or damaged and has been rebuilt from the "
                         "segments of %",
                         {store_.context_.directory}));
    // What stood before the first segment was compacted away, or is lost; nobody can tell.
    const Segment* first = candidates_.front().segment.get();
    for (const Candidate& candidate : candidates_) {
      if (candidate.segment->first_sequence < first->first_sequence) {
        first = candidate.segment.get();
      }
    }
    last_ = first->header.predecessor_sequence;
  }
  return {};
}

// A sealed segment was cut to its length, so that its footer ends the file.
bool LogRecovery::read_footer(Candidate& candidate, std::vector<std::uint32_t>* sources) {
  Segment& segment = *candidate.segment;
  // A compacted segment's footer grows with its sources: try the sizes from the smallest up.
  std::uint8_t bytes[8192];
  const std::uint64_t room = candidate.file_bytes - format::kSegmentHeaderBytes;
  const auto take = static_cast<std::size_t>(std::min<std::uint64_t>(sizeof bytes, room));
  const Result<std::size_t> got =
      segment.file->read_at(candidate.file_bytes - take, MutableBytes(bytes, take));
  if (!got.ok() || *got != take) return false;
  for (std::size_t size = kFooterEntryBytes; size <= take; size += 8) {
    format::Entry entry;
    std::size_t entry_size = 0;
    format::Footer footer;
    const Bytes at(bytes + take - size, size);
    if ((at[4] & format::kFooter) == 0 ||
        format::decode_entry(at, segment.seed, entry, entry_size) != format::EntryRead::whole ||
        entry_size != size || !format::decode_footer_value(entry.value, footer) ||
        footer.length != candidate.file_bytes - size) {
      continue;
    }
    candidate.record = segment.manifest_record();
    candidate.record.length = candidate.file_bytes;
    candidate.record.last_sequence = entry.sequence;
    candidate.record.count = footer.count;
    for (std::uint32_t n = 0; sources != nullptr && n < footer.source_count; ++n) {
      const auto id = base::load_little<std::uint32_t>(footer.sources.data() + std::size_t{4} * n);
      sources->push_back(id);
    }
    return true;
  }
  return false;
}

// ---- The tail buffer ----

// The tail's entries follow the last log segment's. After a crash while an earlier recovery moved
// them to a new segment they still have the seed of the one before, and part of them is there.
// A segment that the MANIFEST lists was flushed when it was sealed, or recovered with its tail:
// what the buffer's file has of it is an older state.
const LogRecovery::Candidate* LogRecovery::segment_of_tail() const {
  for (auto at = candidates_.rbegin(); at != candidates_.rend(); ++at) {
    if (at->segment->header.kind != format::SegmentKind::log) continue;
    format::Entry entry;
    std::size_t size = 0;
    if (format::decode_entry(tail_.bytes, at->segment->seed, entry, size) ==
        format::EntryRead::whole) {
      return at->listed ? nullptr : &*at;
    }
  }
  return nullptr;
}

Status LogRecovery::load_tail() {
  store_.sequence_next_ = last_ + 1;
  const Candidate* owner = segment_of_tail();
  if (owner == nullptr) return {};
  // What followed a segment that is gone does not follow what is left.
  if (cut_ && torn_id_ != candidates_.back().segment->id()) return {};
  carried_seed_ = owner->segment->seed;
  std::uint64_t next = last_ + 1;
  std::size_t committed = 0;
  bool in_batch = false;
  const auto take = [&](const format::Entry& entry, Bytes raw) {
    if ((entry.flags & format::kWatermark) != 0) {
      durable_ = std::max(durable_, std::min(entry.sequence, next - 1));
      return true;
    }
    const bool joint = (entry.flags & format::kJoint) != 0;  // carried with the batch behind it
    if (entry.sequence != next || next >= limit_) return false;
    if (!joint && (entry.mark() || !fits_shape(entry))) return false;
    base::append(carried_, raw);
    const bool commit = (entry.flags & format::kBatchCommit) != 0;
    if (joint || commit) note_joint(entry);
    if (joint) return true;
    ++next;
    in_batch = (in_batch || (entry.flags & format::kBatchBegin) != 0) && !commit;
    if (!in_batch) {
      committed = carried_.size();
      carried_last_ = entry.sequence;
    }
    return true;
  };
  // A batch that the file left open may be completed by the tail: it moves as a whole.
  SegmentScanner scanner(*owner->segment, owner->segment->length, owner->file_bytes);
  std::vector<std::uint8_t> raw;
  while (scanner.next() == ScanStep::entry &&
         (!scanner.entry.mark() || (scanner.entry.flags & format::kJoint) != 0)) {
    raw.resize(scanner.size);
    format::encode_entry(scanner.entry, carried_seed_, raw.data());
    if (!take(scanner.entry, raw)) break;
  }
  format::Entry entry;
  std::size_t size = 0;
  for (Bytes rest = tail_.bytes;
       format::decode_entry(rest, carried_seed_, entry, size) == format::EntryRead::whole;
       rest = rest.sub(size)) {
    const bool numbered = (entry.flags & (format::kWatermark | format::kFooter)) == 0;
    if (numbered && entry.sequence < next) continue;  // the file has it already
    if (!take(entry, rest.sub(0, size))) break;
  }
  carried_.resize(committed);
  return {};
}

Status LogRecovery::visit_carried() {
  if (carried_.empty()) return {};
  // Read-only the entries stay where they are: behind the last segment, in memory.
  const bool writing = store_.active_ != nullptr;
  const SegmentPtr segment = writing ? store_.active_ : store_.segments_.back();
  std::uint64_t offset = writing ? format::kSegmentHeaderBytes : segment->length;
  format::Entry entry;
  std::size_t size = 0;
  for (Bytes rest(carried_); !rest.empty(); rest = rest.sub(size), offset += size) {
    if (format::decode_entry(rest, carried_seed_, entry, size) != format::EntryRead::whole) break;
    if (entry.mark()) continue;
    Status status = tell(entry, base::Location(segment->id(), offset, size));
    if (!status.ok()) return status;
    last_ = last_entry_ = entry.sequence;
    ++store_.recovery_.entries_by_scan;
  }
  store_.sequence_next_ = last_ + 1;
  return {};
}

// ---- What stays behind on disk ----

// What follows goes on behind a gap, in a segment of its own.
Status LogRecovery::leave_gap() {
  Status status = store_.seal_active();
  if (!status.ok()) return status;
  // A follower's entries come again from the leader, under the same sequences.
  if (store_.context_.follower) return {};
  const std::uint64_t highest = std::max({last_, listed_last_, durable_});
  store_.sequence_next_ = highest + 1 + kSequenceGap;
  store_.sealed_last_ = store_.sequence_next_ - 1;
  return {};
}

#if !defined(ARMDB_OMIT_REPLICATION)
// Of segments that do not count any more those that a copy has replaced: all that are older than
// it, and what was written entry by entry. What a copy wrote that was cut off is neither.
bool LogRecovery::is_replaced(std::uint32_t id) {
  const auto newer = [&](const Candidate& counts) { return counts.segment->id() > id; };
  if (candidates_.empty() || base::any_of(candidates_, newer)) return true;
  Candidate candidate;
  return open_segment(id, candidate).ok() &&
         candidate.segment->header.kind == format::SegmentKind::log;
}
#endif

// Read-only nothing is moved and nothing written: the tail's entries stay behind the last segment.
Status LogRecovery::finish_reading() {
  if (!carried_.empty()) {
    const Segment& last = *store_.segments_.back();
    Status status = store_.tail_.open_memory(carried_, last.id(), last.length);
    if (!status.ok()) return status;
  }
  Status status = visit_carried();
  store_.last_sequence_ = std::max(last_entry_, std::min(durable_, last_));
  if (survey_ != nullptr) {
    survey_->durable_sequence = durable_;
    // Not last_, which may lie in the gap that a recovery left: no part of a batch is there.
    survey_->last_sequence = last_entry_;
  }
  return status;
}

Status LogRecovery::finish() {
  const StoreContext& context = store_.context_;
  store_.durable_sequence_.store(std::min(durable_, last_), std::memory_order_release);
  store_.sealed_last_ = last_;
  if (store_.values_on_disk() && !context.config.mapped_reads) {
    store_.cache_ = std::make_unique<BlockCache>(store_.cache_share());
  }
  if (std::max(last_, carried_last_) < durable_) {
    damage("synced entries are missing at the end of the log", context.directory, 0);
  }
  if (context.config.read_only) return finish_reading();
  // Not after a plain close: the tail file may hold entries that no longer follow anything, and
  // must never be taken for those that a new history gives the same numbers.
  const bool interrupted = cut_ || (changed_ && !candidates_.empty());
  changed_ = changed_ || !carried_.empty();
  // A crash may have come of a full disk, and what follows needs some space to leave it.
  if (changed_) static_cast<void>(LogStore::release_reserve(context));
  Status status;
#if !defined(ARMDB_OMIT_REPLICATION)
  if (store_.recovery_.damaged_regions != 0 || store_.recovery_.rebuilt) {
    static_cast<void>(LogStore::release_reserve(context));
    status = context.tell_of_loss();
  }
#endif
  // Files that are no segments stay for people to look at: what is not listed is deleted.
  for (const std::uint32_t id : aside_ids_) {
    if (status.ok()) status = rename_aside(id);
  }
  if (status.ok()) status = store_.open_writer(carried_, carried_seed_);
  if (status.ok()) status = visit_carried();
  // What compaction dropped at the end was durable.
  store_.last_sequence_ = std::max(last_entry_, std::min(durable_, last_));
  if (status.ok() && interrupted) status = leave_gap();
  if (status.ok() && changed_) {
    status = store_.save_manifest();
  } else if (status.ok()) {
    // The names that were found may have been given just before a kill. They have to be durable
    // before anything is deleted or called durable: an older MANIFEST tells another story. Costs
    // nothing after a plain close.
    status = context.files.sync_directory(context.directory).at(context.directory);
  }
  if (!status.ok()) return status;
  LogStore::keep_reserve(context);
  const auto drop = [&](format::FileRole role, std::uint32_t id) {
    try_remove(context.files, context.path_of(role, id));
  };
  for (const std::uint32_t id : dead_ids_) {
#if !defined(ARMDB_OMIT_REPLICATION)
    if (context.keep_replaced && is_replaced(id)) status = rename_aside(id);
    if (!status.ok()) return status;
#endif
    drop(format::FileRole::segment, id);
  }
  for (const std::uint32_t id : hint_ids_) {
    if (store_.find_segment(id) == nullptr) drop(format::FileRole::hint, id);
  }
  for (const std::uint32_t id : failed_ids_) drop(format::FileRole::failed, id);
  for (std::size_t from = 0, to = 0; from < temporary_names_.size(); from = to + 1) {
    to = temporary_names_.find('/', from);
    const std::string name = temporary_names_.substr(from, to - from);
    if (store_.hint_ != nullptr &&
        name == temporary_path(format::file_name(format::FileRole::hint, store_.active_->id()))) {
      continue;
    }
    try_remove(context.files, context.path_of(name));
  }
  return {};
}

}  // namespace armdb::store

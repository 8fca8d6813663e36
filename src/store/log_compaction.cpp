// Compaction of a shard's log: choosing, copying, publishing and removing segments.
#include "store/log_compaction.hpp"

#include <algorithm>
#include <new>

#include "base/append.hpp"
#include "base/errors.hpp"
#include "base/little.hpp"
#include "base/search.hpp"
#include "format/file_name.hpp"
#include "store/manifest_file.hpp"

namespace armdb::store {

namespace {

constexpr std::size_t kSourcesMax = 1000;  // their ids stand in the footer
constexpr std::size_t kSmallRun = 4;       // so many small neighbours are worth merging

}  // namespace

LogCompaction::~LogCompaction() {
  if (output_ != nullptr && !published_) {
    hint_.reset();
    try_remove(store_.context_.files, output_->path);
  }
}

// The segment with the largest dead share, with its neighbours as long as they qualify too.
bool LogCompaction::choose(double threshold, bool cheapest, std::uint64_t end) {
  const std::vector<SegmentPtr>& all = store_.segments_;
  // What followers still ask for stays, but not on a full disk.
  const std::uint64_t pinned = cheapest ? ~std::uint64_t{0} : store_.pinned();
  const auto share = [&](std::size_t at) {
    const Segment& segment = *all[at];
    if (!segment.sealed || segment.damaged || segment.retired) return -1.0;
    if (segment.first_sequence > end || segment.last_sequence > pinned) return -1.0;
    if (segment.count == 0 || segment.renew) return 1.0;
    return static_cast<double>(segment.dead_bytes(at == 0)) / static_cast<double>(segment.total);
  };
  const auto better = [&](std::size_t a, std::size_t b) {
    return cheapest ? all[a]->live_bytes(a == 0) < all[b]->live_bytes(b == 0) : share(a) > share(b);
  };
  std::size_t best = all.size();
  for (std::size_t at = 0; at < all.size(); ++at) {
    const bool worth = cheapest ? share(at) > 0 : share(at) >= threshold;
    if (worth && (best == all.size() || better(at, best))) best = at;
  }
  if (cheapest && best == all.size()) return false;
  if (best == all.size()) {
    choose_small_run(end);
  } else {
    std::uint64_t live = all[best]->live_bytes(best == 0);
    sources_.push_back(all[best]);
    oldest_ = best == 0;
    const std::size_t most = cheapest ? 1 : kSourcesMax;
    for (std::size_t at = best + 1; at < all.size() && sources_.size() < most; ++at) {
      live += all[at]->live_bytes(oldest_);
      if (share(at) < threshold || live > store_.context_.config.max_file_size) break;
      sources_.push_back(all[at]);
    }
  }
  return !sources_.empty();
}

// Every opening begins a segment, so that small ones gather; a run of them becomes one.
void LogCompaction::choose_small_run(std::uint64_t end) {
  const std::vector<SegmentPtr>& all = store_.segments_;
  const std::uint64_t small = store_.context_.config.max_file_size / 4;
  const std::uint64_t pinned = store_.pinned();
  std::uint64_t bytes = 0;
  for (std::size_t at = 0; at < all.size(); ++at) {
    const Segment& segment = *all[at];
    const bool fits = segment.sealed && !segment.damaged && !segment.retired &&
                      segment.first_sequence <= end && segment.last_sequence <= pinned &&
                      segment.length < small && bytes + segment.length < 2 * small &&
                      sources_.size() < kSourcesMax;
    if (fits) {
      if (sources_.empty()) oldest_ = at == 0;
      sources_.push_back(all[at]);
      bytes += segment.length;
      continue;
    }
    if (sources_.size() >= kSmallRun) return;
    sources_.clear();
    bytes = 0;
  }
  if (sources_.size() < kSmallRun) sources_.clear();
}

Status LogCompaction::begin_output() {
  format::SegmentHeader header;
  header.kind = format::SegmentKind::compacted;
  header.first_sequence = sources_.front()->first_sequence;
  header.file.file_id = store_.next_file_id_.fetch_add(1, std::memory_order_relaxed);
  header.watermark = store_.durable_sequence();
  Owned<File> file;
  std::string path;
  bool spent = true;
  Status status = LogStore::new_segment_file(store_.context_, header, file, path, spent);
  if (!status.ok()) {
    if (!spent) store_.give_back_id(header.file.file_id);
    return status;
  }
  output_ = std::make_shared<Segment>(path, header, std::move(file));
  output_->scan_bytes = store_.context_.piece_bytes();
  output_length_ = format::kSegmentHeaderBytes;
  if (store_.values_on_disk() && store_.context_.config.hints) {
    hint_ = HintWriter::start(store_.context_, *output_);
  }
  return {};
}

Result<bool> LogCompaction::copy(std::uint64_t budget,
                                 FunctionRef<void(std::span<Candidate>)> judge) {
  std::uint64_t read = 0;
  while (source_at_ < sources_.size()) {
    const Segment& source = *sources_[source_at_];
    if (scanner_ == nullptr) {
      scanner_ =
          std::make_unique<SegmentScanner>(source, format::kSegmentHeaderBytes, source.length);
    }
    ScanStep step = ScanStep::entry;
    while (step == ScanStep::entry) {
      step = gather(source, read);
      Status status = copy_batch(judge);
      if (!status.ok()) return status;
      if (step == ScanStep::entry && read >= budget) return false;
    }
    if (step == ScanStep::failed) return scanner_->status;
    if (step == ScanStep::broken) {
      // Kept as it is, so that repair can still look at it.
      sources_[source_at_]->damaged = true;
      return base::corrupt("a segment is damaged and is not compacted; run repair")
          .at(source.path, scanner_->offset);
    }
    scanner_.reset();
    ++source_at_;
  }
  return true;
}

// Copies the next entries out of the scanner's window, which moves on.
ScanStep LogCompaction::gather(const Segment& source, std::uint64_t& read) {
  batch_count_ = 0;
  batch_bytes_.clear();
  constexpr std::size_t kBatchBytes = std::size_t{64} << 10;
  while (batch_count_ < kBatch && batch_bytes_.size() < kBatchBytes) {
    const ScanStep step = scanner_->next();
    if (step != ScanStep::entry) return step;
    read += scanner_->size;
    const format::Entry& entry = scanner_->entry;
    if (entry.mark() || (entry.tombstone() && oldest_)) continue;
    base::append(batch_bytes_, entry.key);
    base::append(batch_bytes_, entry.value);
    batch_[batch_count_++] = {entry, base::Location(source.id(), scanner_->offset, scanner_->size),
                              false};
  }
  return ScanStep::entry;
}

Status LogCompaction::copy_batch(FunctionRef<void(std::span<Candidate>)> judge) {
  std::size_t offset = 0;
  const std::span<Candidate> batch = std::span(batch_).first(batch_count_);
  for (Candidate& candidate : batch) {
    format::Entry& entry = candidate.entry;
    entry.key = Bytes(batch_bytes_).sub(offset, entry.key.size());
    offset += entry.key.size();
    entry.value = Bytes(batch_bytes_).sub(offset, entry.value.size());
    offset += entry.value.size();
  }
  judge(batch);
  for (const Candidate& candidate : batch) {
    if (!candidate.entry.tombstone() && !candidate.live) continue;
    Status status = copy_entry(candidate.entry, candidate.at);
    if (!status.ok()) return status;
  }
  return {};
}

Status LogCompaction::copy_entry(const format::Entry& entry, base::Location from) {
  if (output_ == nullptr) {
    Status status = begin_output();
    if (!status.ok()) return status;
  }
  format::Entry copied = entry;
  // A batch that was committed is plain entries now.
  copied.flags &= static_cast<std::uint8_t>(~(format::kBatchBegin | format::kBatchCommit));
  const auto size = static_cast<std::size_t>(format::entry_bytes(
      entry.key.size(), entry.value.size(), (entry.flags & format::kExpiry) != 0));
  const std::size_t at = buffer_.size();
  const base::Location to(output_->id(), output_length_ + at, size);
  buffer_.resize(at + size);
  format::encode_entry(copied, output_->seed, buffer_.data() + at);
  if (hint_ != nullptr) hint_->add(copied, to.offset());
  store_.account(*output_, copied, to);
  const std::uint64_t origin = from.packed();
  origins_.push_back(origin);
  return buffer_.size() >= store_.context_.piece_bytes() ? write_out() : Status();
}

Status LogCompaction::write_out() {
  Status status = output_->file->write_at(output_length_, buffer_);
  if (!status.ok()) return std::move(status).at(output_->path, output_length_);
  output_length_ += buffer_.size();
  buffer_.clear();
  return {};
}

Status LogCompaction::seal() {
  if (output_ == nullptr) return {};  // everything was dead
  const Segment& last = *sources_.back();
  output_->last_sequence = std::max(output_->last_sequence, last.last_sequence);
  std::vector<std::uint8_t> ids(4 * sources_.size());
  for (std::size_t at = 0; at < sources_.size(); ++at) {
    base::store_little<std::uint32_t>(ids.data() + 4 * at, sources_[at]->id());
  }
  format::Footer footer;
  footer.count = output_->count;
  footer.length = output_length_ + buffer_.size();
  footer.source_count = static_cast<std::uint32_t>(sources_.size());
  footer.sources = Bytes(ids);
  std::vector<std::uint8_t> value(format::footer_value_bytes(sources_.size()));
  format::encode_footer_value(footer, value);
  format::Entry entry;
  entry.flags = format::kFooter;
  entry.sequence = output_->last_sequence;
  entry.value = Bytes(value);
  const std::size_t at = buffer_.size();
  buffer_.resize(at + static_cast<std::size_t>(format::entry_bytes(0, value.size(), false)));
  format::encode_entry(entry, output_->seed, buffer_.data() + at);
  Status status = write_out();
  if (status.ok()) status = output_->file->sync().at(output_->path);
  if (status.ok()) status = sync_directory();
  if (!status.ok()) return status;
  output_->length = output_length_;
  output_->readable.store(output_length_, std::memory_order_release);
  output_->sealed = true;
  output_->durable = true;
  if (hint_ != nullptr) output_->hinted = hint_->finish(output_->length, output_->last_sequence);
  hint_.reset();
  if (store_.values_on_disk() && store_.context_.config.mapped_reads) {
    output_->map(output_length_, output_length_);
  }
  return {};
}

Status LogCompaction::publish(std::vector<std::uint8_t>& manifest) {
  if (output_ != nullptr) {
    // To the place before its first source.
    std::vector<SegmentPtr>& all = store_.segments_;
    all.push_back(output_);
    std::size_t at = all.size() - 1;
    for (bool passed = false; !passed; --at) {
      ARMDB_ASSERT(at != 0);
      passed = all[at - 1] == sources_.front();
      all[at].swap(all[at - 1]);
    }
    Status status = store_.publish_map();
    if (!status.ok()) {
      all.erase(all.begin() + static_cast<std::ptrdiff_t>(at));
      return status;
    }
  }
  for (const SegmentPtr& source : sources_) source->retired = true;
  published_ = true;
  store_.manifest_stale_ = true;
  manifest = store_.manifest_now();
  return {};
}

// Names of the log may have been lost with a failed one, and a retry would not bring them back.
Status LogCompaction::sync_directory() {
  const StoreContext& context = store_.context_;
  Status status = context.files.sync_directory(context.directory);
  if (status.ok()) return status;
  return base::failure(Errc::failed, "new names could not be made durable: %", {status.message()})
      .at(context.directory);
}

Status LogCompaction::withdraw() {
  for (const SegmentPtr& source : sources_) source->retired = false;
  store_.manifest_stale_ = true;
  if (output_ == nullptr) return {};
  // No index entry names it, but a reader may stand in a table that does.
  Status status = store_.leave({&output_, 1});
  if (status.ok()) published_ = false;  // the destructor removes the file
  return status;
}

Result<bool> LogCompaction::next_moves(std::size_t most, FunctionRef<void(const Move&)> relocate) {
  if (output_ == nullptr) return false;
  if (moves_ == nullptr) {
    moves_ =
        std::make_unique<SegmentScanner>(*output_, format::kSegmentHeaderBytes, output_->length);
  }
  for (std::size_t count = 0; count < most; ++count) {
    const ScanStep step = moves_->next();
    if (step == ScanStep::failed) return moves_->status;
    if (step != ScanStep::entry || moves_->entry.mark()) {
      if (moved_ == origins_.size()) return false;
      return base::corrupt("a compacted segment does not read back as it was written")
          .at(output_->path, moves_->offset);
    }
    if (!moves_->entry.tombstone()) {
      relocate({moves_->entry.key, base::Location(origins_[moved_]),
                base::Location(output_->id(), moves_->offset, moves_->size)});
    }
    ++moved_;
  }
  return true;
}

Status LogCompaction::retire() {
  store_.compactions_ += sources_.size();
  return store_.leave(sources_);
}

Status LogCompaction::remove() {
  const StoreContext& context = store_.context_;
  for (const SegmentPtr& source : sources_) {
    try_remove(context.files, context.path_of(format::FileRole::hint, source->id()));
    Status status = context.files.remove(source->path);
    if (!status.ok() && !status.is(Errc::not_found)) return std::move(status).at(source->path);
    // Oldest first and durably so: were the MANIFEST lost, an old entry must not outlive the
    // tombstone that stood in a younger source.
    if (oldest_) status = sync_directory();
    if (status.is(Errc::failed)) return status;
  }
  sources_.clear();
  return sync_directory();
}

}  // namespace armdb::store

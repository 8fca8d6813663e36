// Replacing a log: compacted segments written aside, then one MANIFEST that names only them.
#include "store/log_replacement.hpp"

#include <algorithm>

#include "base/errors.hpp"
#include "format/file_name.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::store {

LogReplacement::~LogReplacement() {
  if (published_) return;
  for (const SegmentPtr& output : outputs_) try_remove(store_.context_.files, output->path);
}

Status LogReplacement::begin_output(std::uint64_t sequence) {
  format::SegmentHeader header;
  header.kind = format::SegmentKind::compacted;
  header.first_sequence = sequence;
  header.file.file_id = store_.next_file_id_.fetch_add(1, std::memory_order_relaxed);
  Owned<File> file;
  std::string path;
  bool spent = true;
  Status status = LogStore::new_segment_file(store_.context_, header, file, path, spent);
  if (!status.ok()) {
    if (!spent) store_.give_back_id(header.file.file_id);
    return status;
  }
  outputs_.push_back(std::make_shared<Segment>(path, header, std::move(file)));
  Segment& output = *outputs_.back();
  output.scan_bytes = store_.context_.piece_bytes();
  output.length = format::kSegmentHeaderBytes;
  open_ = true;
  return {};
}

Status LogReplacement::add(const Write& write, std::uint64_t sequence, base::Location& at) {
  if (sequence <= sequence_ || sequence >= kSequenceLimit) {
    return base::failure(Errc::invalid_argument, "sequence % does not follow % in a copy",
                         {sequence, sequence_});
  }
  const std::uint64_t bytes =
      format::entry_bytes(write.key.size(), write.value.size(), write.expiry_ms != 0);
  const auto full = [&](const Segment& output) {
    return output.count != 0 &&
           output.length + buffer_.size() + bytes > store_.context_.config.max_file_size;
  };
  Status status;
  if (open_ && full(*outputs_.back())) status = end_output(sequence_);
  if (status.ok() && !open_) status = begin_output(sequence);
  if (!status.ok()) return status;
  Segment& output = *outputs_.back();
  format::Entry entry;
  entry.key = write.key;
  entry.value = write.value;
  entry.sequence = sequence;
  if (write.tombstone) entry.flags = format::kTombstone;
  if (write.expiry_ms != 0) {
    entry.flags = format::kExpiry;
    entry.expiry_ms = write.expiry_ms;
  }
  const std::size_t offset = buffer_.size();
  at = base::Location(output.id(), output.length + offset, bytes);
  buffer_.resize(offset + static_cast<std::size_t>(bytes));
  format::encode_entry(entry, output.seed, buffer_.data() + offset);
  store_.account(output, entry, at);
  sequence_ = sequence;
  return buffer_.size() >= store_.context_.piece_bytes() ? write_out() : Status();
}

Status LogReplacement::write_out() {
  Segment& output = *outputs_.back();
  Status status = output.file->write_at(output.length, buffer_);
  if (!status.ok()) return std::move(status).at(output.path, output.length);
  output.length += buffer_.size();
  buffer_.clear();
  return {};
}

Status LogReplacement::end_output(std::uint64_t last_sequence) {
  Segment& output = *outputs_.back();
  output.last_sequence = last_sequence;
  format::Footer footer;
  footer.count = output.count;
  footer.length = output.length + buffer_.size();
  std::uint8_t value[format::footer_value_bytes(0)];
  format::encode_footer_value(footer, value);
  format::Entry entry;
  entry.flags = format::kFooter;
  entry.sequence = last_sequence;
  entry.value = Bytes(value);
  const std::size_t at = buffer_.size();
  buffer_.resize(at + static_cast<std::size_t>(format::entry_bytes(0, sizeof value, false)));
  format::encode_entry(entry, output.seed, buffer_.data() + at);
  Status status = write_out();
  if (status.ok()) status = output.file->sync().at(output.path);
  if (!status.ok()) return status;
  output.readable.store(output.length, std::memory_order_release);
  output.sealed = true;
  output.durable = true;
  if (store_.values_on_disk() && store_.context_.config.mapped_reads) {
    output.map(output.length, output.length);
  }
  open_ = false;
  return {};
}

Status LogReplacement::seal(std::uint64_t sequence) {
  if (sequence < sequence_ || sequence >= kSequenceLimit) {
    return base::failure(Errc::invalid_argument, "a copy as of sequence % has entry %",
                         {sequence, sequence_});
  }
  Status status = open_ ? end_output(sequence) : Status();
  if (!status.ok()) return status;
  sequence_ = sequence;
  const StoreContext& context = store_.context_;
  return context.files.sync_directory(context.directory).at(context.directory);
}

Status LogReplacement::publish(std::vector<std::uint8_t>& manifest) {
  if (!store_.failed_.ok()) return store_.failed_;
  Status status = store_.seal_active();
  if (!status.ok()) return status;
  std::vector<SegmentPtr>& all = store_.segments_;
  sources_ = all;
  all.insert(all.end(), outputs_.begin(), outputs_.end());
  status = store_.publish_map();
  if (!status.ok()) {
    all.resize(sources_.size());
    return status;
  }
  for (const SegmentPtr& source : sources_) source->retired = true;
  sealed_last_before_ = std::exchange(store_.sealed_last_, sequence_);
  published_ = true;
  // It says what will be so once it is written.
  manifest = store_.manifest_image(sequence_);
  store_.manifest_stale_ = true;
  return {};
}

Status LogReplacement::withdraw() {
  for (const SegmentPtr& source : sources_) source->retired = false;
  store_.sealed_last_ = sealed_last_before_;
  store_.manifest_stale_ = true;
  published_ = false;  // the destructor removes the files
  return store_.leave(outputs_);
}

Status LogReplacement::each(FunctionRef<Status(const RecoveredEntry&)> visit) {
  for (const SegmentPtr& output : outputs_) {
    Status status = visit_segment(*output, visit);
    if (!status.ok()) return status;
  }
  return {};
}

bool LogReplacement::has(base::Location at) const noexcept {
  const auto found = std::lower_bound(
      outputs_.begin(), outputs_.end(), at.file_id(),
      [](const SegmentPtr& output, std::uint32_t id) { return output->id() < id; });
  return found != outputs_.end() && (*found)->id() == at.file_id();
}

Status LogReplacement::retire() {
  store_.last_sequence_ = sequence_;
  store_.sequence_next_ = sequence_ + 1;
  store_.durable_sequence_.store(sequence_, std::memory_order_release);
  store_.watermark_written_ = sequence_;
  store_.directory_synced_ = store_.directory_changes_;
  return store_.leave(sources_);
}

Status LogReplacement::remove(std::uint64_t aside_above) {
  const StoreContext& context = store_.context_;
  for (const SegmentPtr& source : sources_) {
    try_remove(context.files, context.path_of(format::FileRole::hint, source->id()));
    if (source->last_sequence <= aside_above) {
      try_remove(context.files, source->path);
      continue;
    }
    Status status =
        context.files.rename(source->path, context.path_of(format::FileRole::aside, source->id()));
    if (!status.ok()) return std::move(status).at(source->path);
  }
  sources_.clear();
  // Were the names to come back, the MANIFEST does not list them: the next open removes them.
  return context.files.sync_directory(context.directory).at(context.directory);
}

}  // namespace armdb::store

#endif  // !ARMDB_OMIT_REPLICATION

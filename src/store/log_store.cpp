// The write side of the log: append, flush, rotation, sync, and what happens when they fail.
#include "store/log_store.hpp"

#include <algorithm>
#include <cerrno>
#include <new>

#include "base/errors.hpp"
#include "base/log.hpp"
#include "base/search.hpp"
#include "base/text.hpp"
#include "format/file_name.hpp"
#include "os/entropy.hpp"
#include "store/keyring.hpp"
#include "store/log_recovery.hpp"
#include "store/manifest_file.hpp"
#include "store/sealed_file.hpp"

namespace armdb::store {

namespace {

constexpr std::uint64_t kAllocateStepMax = std::uint64_t{16} << 20;
constexpr std::uint64_t kFooterBytes = 48;
constexpr std::uint64_t kWatermarkBytes = 24;
constexpr std::uint64_t kMarksBytes = kFooterBytes + kWatermarkBytes;

// What compaction may use when the disk is full.
std::uint64_t compaction_reserve(const Config& config) {
  // At least a segment, a hint and a MANIFEST of some blocks each.
  constexpr std::uint64_t kReserveMin = std::uint64_t{32} << 10;
  return std::max(kReserveMin,
                  std::min<std::uint64_t>(config.write_buffer_size, config.max_file_size / 8));
}

// What puts leave to deletes when the disk is full.
std::uint64_t delete_reserve(const Config& config) { return config.write_buffer_size / 4; }

Status log_used_up() {
  return Status(Errc::too_large,
                "this shard's file numbers or sequences are used up: dump it, load a new one");
}

}  // namespace

// ---- Segments by id ----

SegmentMap* SegmentMap::make(std::span<const SegmentPtr> segments) {
  std::uint32_t slots = 4;
  while (slots < segments.size() * 2) slots *= 2;
  auto* map = new (std::nothrow) SegmentMap;
  if (map == nullptr) return nullptr;
  map->mask = slots - 1;
  map->slots.reset(new (std::nothrow) Segment* [slots] {});
  if (map->slots == nullptr) {
    delete map;
    return nullptr;
  }
  for (const SegmentPtr& segment : segments) {
    std::uint32_t at = segment->id() & map->mask;
    while (map->slots[at] != nullptr) at = (at + 1) & map->mask;
    map->slots[at] = segment.get();
  }
  return map;
}

Segment* SegmentMap::find(std::uint32_t file_id) const noexcept {
  for (std::uint32_t at = file_id & mask; slots[at] != nullptr; at = (at + 1) & mask) {
    if (slots[at]->id() == file_id) return slots[at];
  }
  return nullptr;
}

Status LogStore::publish_map() {
  const SegmentMap* fresh = SegmentMap::make(segments_);
  if (fresh == nullptr) return base::out_of_memory("no memory for the segment table");
  // Release pairs with the acquire in read(): the segments it names are complete.
  const SegmentMap* old = map_.exchange(fresh, std::memory_order_acq_rel);
  if (old != nullptr) {
    context_.epochs.retire(const_cast<SegmentMap*>(old),
                           [](void* map) { delete static_cast<SegmentMap*>(map); });
  }
  return {};
}

// Readers that still look at one keep it; the last owner unmaps and closes it.
Status LogStore::leave(std::span<const SegmentPtr> leaving) {
  using Segments = std::vector<SegmentPtr>;  // all there were: those that leave are among them
  auto before = std::make_unique<Segments>(segments_);
  base::erase_if(segments_,
                 [&](const SegmentPtr& segment) { return base::contains(leaving, segment); });
  Status status = publish_map();
  if (!status.ok()) {
    segments_.swap(*before);
    return status;
  }
  context_.epochs.retire(before.release(), [](void* own) { delete static_cast<Segments*>(own); });
  return status;
}

SegmentPtr LogStore::find_segment(std::uint32_t file_id) const {
  for (auto at = segments_.rbegin(); at != segments_.rend(); ++at) {
    if ((*at)->id() == file_id) return *at;
  }
  return nullptr;
}

// ---- Opening and closing ----

Status LogStore::open(const StoreContext& context, RecoveryVisitor visit,
                      std::uint64_t sequence_limit, std::unique_ptr<LogStore>& opened) {
  return recover(context, visit, sequence_limit, nullptr, opened);
}

Status LogStore::recover(const StoreContext& context, RecoveryVisitor visit, std::uint64_t limit,
                         Survey* joints, std::unique_ptr<LogStore>& opened) {
  std::unique_ptr<LogStore> store(new (std::nothrow) LogStore(context));
  if (store == nullptr) return base::out_of_memory("no memory to open a shard");
  Status status = LogRecovery(*store, visit, limit, joints).run();
  if (status.ok()) opened = std::move(store);
  return status;
}

Status LogStore::survey(const StoreContext& context, Survey& survey) {
  Config config = context.config;
  config.read_only = true;
  config.log = {};  // the recovery that follows tells it all
  StoreContext reading{context.files,        config,        context.epochs,      context.directory,
                       context.store_id,     context.shard, context.shard_count, context.shape,
                       context.needs_values, context.keys};
  std::unique_ptr<LogStore> opened;
  return recover(
      reading, [](Store&, const RecoveredEntry&) { return Status(); }, ~std::uint64_t{0}, &survey,
      opened);
}

LogStore::~LogStore() { delete map_.load(std::memory_order_relaxed); }

// `carried` holds entries that stood in the tail buffer: they move to a new segment before the
// buffer is used again, so that the old copy is whole until the new one is in the page cache.
Status LogStore::open_writer(Bytes carried, std::uint32_t carried_seed) {
  if (!carried.empty()) {
    Status status = begin_segment();
    if (!status.ok()) return status;
    // Longer than a segment of this configuration: the file outgrows its mapping at once.
    if (carried.size() > context_.config.max_file_size - active_->length) active_->mapped = 0;
    std::vector<std::uint8_t> moved(carried.size());
    std::size_t moved_size = 0;
    format::Entry entry;
    std::size_t size = 0;
    for (Bytes rest = carried; !rest.empty(); rest = rest.sub(size)) {
      if (format::decode_entry(rest, carried_seed, entry, size) != format::EntryRead::whole) break;
      const base::Location at(active_->id(), active_->length + moved_size, size);
      format::encode_entry(entry, active_->seed, moved.data() + moved_size);
      account(*active_, entry, at);
      if (hint_ != nullptr) hint_->add(entry, at.offset());
      moved_size += size;
    }
    status = allocate_ahead(moved_size, true);
    if (status.ok()) {
      status = active_->file->write_at(active_->length, Bytes(moved.data(), moved_size));
    }
    if (!status.ok()) return std::move(status).at(active_->path, active_->length);
    active_->length += moved_size;
    active_->readable.store(active_->length, std::memory_order_release);
  }
  Status status = tail_.open(context_, context_.config.write_buffer_size, values_on_disk());
  if (!status.ok()) return status;
  tail_open_ = true;
  if (!tail_.survives_kill()) {
    base::log(context_.config.log, LogLevel::info,
              "no mapped write buffer: puts survive kill -9 only after flush_buffers()");
  }
  if (active_ != nullptr) tail_.reset(active_->id(), active_->length);
  set_put_limit();
  return {};
}

std::vector<std::uint8_t> LogStore::manifest_now() {
  if (!std::exchange(manifest_stale_, false)) return {};
  return manifest_image(durable_sequence());
}

std::vector<std::uint8_t> LogStore::manifest_image(std::uint64_t durable) {
  format::Manifest manifest;
  manifest.store_id = context_.store_id;
  manifest.shard = context_.shard;
  manifest.generation = ++manifest_generation_;
  manifest.next_file_id = next_file_id_.load(std::memory_order_relaxed);
  manifest.active_file_id = active_ != nullptr ? active_->id() : 0;
  manifest.durable_sequence = durable;
  manifest.last_sequence = sealed_last_;
  const auto listed = [](const Segment& segment) { return segment.sealed && !segment.retired; };
  std::size_t count = 0;
  for (const SegmentPtr& segment : segments_) count += listed(*segment) ? 1 : 0;
  manifest.segments = std::vector<format::ManifestSegment>(count);
  format::ManifestSegment* record = manifest.segments.data();
  for (const SegmentPtr& segment : segments_) {
    if (listed(*segment)) *record++ = segment->manifest_record();
  }
  return format::encode_manifest(manifest);
}

Status LogStore::write_manifest(const StoreContext& context,
                                const std::vector<std::uint8_t>& image) {
  return image.empty() ? Status() : replace_manifest(context, image);
}

Status LogStore::save_manifest() {
  manifest_stale_ = true;
  return replace_manifest(context_, manifest_now());
}

// ---- Segments ----

Status LogStore::new_segment_file(const StoreContext& context, format::SegmentHeader& header,
                                  Owned<File>& file, std::string& path, bool& spent) {
  spent = false;
  if (header.file.file_id > base::Location::kFileIdMax) {
    return log_used_up();
  }
  header.file.type = format::FileType::segment;
  header.file.store_id = context.store_id;
  header.file.shard = context.shard;
  std::uint8_t salt[8];
  Status status = os::random_bytes(salt);
  if (!status.ok()) return status;
  std::memcpy(&header.salt, salt, sizeof salt);

  path = context.path_of(format::FileRole::segment, header.file.file_id);
  Result<Owned<File>> made = context.files.open(path, OpenMode::create_new);
  // A name that is there already is somebody's: the next number is tried then. Where there was no
  // memory for a handle the name may be there by now.
  spent = made.status().os_error() == EEXIST || made.is(Errc::out_of_memory);
  if (!made.ok()) return std::move(made).status().at(path);
  std::uint8_t bytes[format::kSegmentHeaderBytes];
  format::encode_segment_header(header, bytes);
  status = (*made)->write_at(0, Bytes(bytes));
  if (!status.ok()) {
    spent = !context.files.remove(path).ok();
    return std::move(status).at(path, 0);
  }
  spent = true;
  file = std::move(*made);
  return {};
}

// Failed creations must not use up the numbers. Nothing when another one was given out since.
void LogStore::give_back_id(std::uint32_t id) noexcept {
  std::uint32_t next = id + 1;
  next_file_id_.compare_exchange_strong(next, id, std::memory_order_relaxed);
}

Status LogStore::begin_segment() {
  ARMDB_ASSERT(active_ == nullptr);
  format::SegmentHeader header;
  header.first_sequence = sequence_next_;
  if (!segments_.empty()) {
    const Segment& last = *segments_.back();
    header.predecessor_id = last.id();
    header.predecessor_length = last.length;
    header.predecessor_sequence = last.last_sequence;
  }
  constexpr std::uint64_t kRoom = std::uint64_t{1} << 40;  // for the entries of this segment
  if (sequence_next_ > kSequenceLimit - kRoom) {
    return log_used_up();
  }
  header.file.file_id = next_file_id_.fetch_add(1, std::memory_order_relaxed);
  header.watermark = durable_sequence();
  ++directory_changes_;
  Owned<File> file;
  std::string path;
  bool spent = true;
  Status status = new_segment_file(context_, header, file, path, spent);
  if (!status.ok()) {
    if (!spent) give_back_id(header.file.file_id);
    return status;
  }
  context_.epochs.collect();
  auto segment = std::make_shared<Segment>(path, header, std::move(file));
  segment->scan_bytes = context_.piece_bytes();
  segment->length = format::kSegmentHeaderBytes;
  segment->last_sequence = sequence_next_ - 1;
  segment->readable.store(segment->length, std::memory_order_relaxed);
  if (values_on_disk() && context_.config.mapped_reads) {
    // Room for all that allocate_ahead() may add to a file whose entries end at max_file_size.
    const std::uint64_t usable = context_.config.max_file_size;
    segment->map(usable + delete_reserve(context_.config) + kMarksBytes, usable);
  }
  segments_.push_back(segment);
  status = publish_map();
  if (!status.ok()) {
    segments_.pop_back();
    try_remove(context_.files, path);
    return status;
  }
  active_ = std::move(segment);
  if (values_on_disk() && context_.config.hints) hint_ = HintWriter::start(context_, *active_);
  if (tail_open_) tail_.reset(active_->id(), active_->length);
  watermark_written_ = header.watermark;
  set_put_limit();
  return {};
}

Status LogStore::seal_active() {
  if (active_ == nullptr) return {};
  Status status = flush();
  if (!status.ok()) return status;
  format::Footer footer;
  footer.count = active_->count;
  footer.length = active_->length;
  std::uint8_t value[format::footer_value_bytes(0)];
  format::encode_footer_value(footer, value);
  format::Entry entry;
  entry.flags = format::kFooter;
  entry.sequence = active_->last_sequence;
  entry.value = Bytes(value);
  std::uint8_t bytes[kFooterBytes];
  const std::size_t size = format::encode_entry(entry, active_->seed, bytes);
  status = active_->file->write_at(active_->length, Bytes(bytes, size));
  if (status.is(Errc::no_space) && active_->file->truncate(active_->length).ok()) {
    active_->allocated = active_->length;
    set_put_limit();
    return std::move(status).at(active_->path, active_->length);
  }
  if (status.ok()) status = active_->file->truncate(active_->length + size);
  if (!status.ok()) return poison_active(std::move(status));
  active_->length += size;
  active_->readable.store(active_->length, std::memory_order_release);
  active_->sealed = true;
  manifest_stale_ = true;
  sealed_last_ = std::max(sealed_last_, active_->last_sequence);
  tail_.reset(0, 0);
  put_limit_ = 0;
  // Nothing is appended to it from here on, also when the hint throws for want of memory.
  const SegmentPtr sealed = std::move(active_);
  if (hint_ != nullptr) {
    sealed->hinted = hint_->finish(sealed->length, sealed->last_sequence);
    hint_.reset();
  }
  return {};
}

#if ARMDB_WITH_OPENSSL
std::size_t LogStore::mark_old_keys() noexcept {
  std::size_t marked = 0;
  if (context_.keys == nullptr) return 0;
  const std::uint32_t newest = context_.keys->newest_id();
  for (const SegmentPtr& segment : segments_) {
    segment->renew = segment->sealed && sealed_key_id(*segment->file) != newest;
    marked += segment->renew ? 1 : 0;
  }
  manifest_stale_ = true;
  if (active_ == nullptr) tail_.reset(0, 0);
  return marked;
}
#endif

void LogStore::set_put_limit() noexcept {
  put_limit_ = 0;
  if (active_ == nullptr || !failed_.ok()) return;
  const std::uint64_t keep = delete_reserve(context_.config) + kFooterBytes;
  const std::uint64_t space = active_->allocated > keep ? active_->allocated - keep : 0;
  put_limit_ = std::min(space, context_.config.max_file_size);
}

// Gets real blocks for `bytes` more, so that a full disk is noticed before anything is accepted.
Status LogStore::allocate_ahead(std::uint64_t bytes, bool tombstone) {
  const std::uint64_t end =
      (tail_open_ ? tail_.next_offset() : active_->length) + bytes + kFooterBytes;
  const std::uint64_t keep = delete_reserve(context_.config);
  if (end + keep <= active_->allocated) return {};
  await_prewrite();
  const std::uint64_t step = std::clamp<std::uint64_t>(
      active_->allocated / 2, context_.config.write_buffer_size, kAllocateStepMax);
  const std::uint64_t enough = context_.config.max_file_size + kMarksBytes + keep;
  std::uint64_t want = std::max(end + keep, std::min(active_->allocated + step, enough));
  Status status = active_->file->allocate(active_->allocated, want - active_->allocated);
  if (status.is(Errc::no_space) && want > end + keep) {
    want = end + keep;
    status = active_->file->allocate(active_->allocated, want - active_->allocated);
  }
  if (status.is(Errc::no_space) && tombstone && end > active_->allocated) {
    want = end;  // a delete may use the last block there is
    status = active_->file->allocate(active_->allocated, want - active_->allocated);
  }
  if (status.is(Errc::unsupported)) {
    // Nothing can be promised ahead: a write that finds the disk full is undone (see flush).
    want = base::Location::kOffsetMax;
    status = {};
  }
  if (!status.ok() && !(tombstone && end <= active_->allocated)) {
    full_ = status.is(Errc::no_space);
    return std::move(status).at(active_->path, active_->allocated);
  }
  if (status.ok()) active_->allocated = want;
  set_put_limit();
  return {};
}

// ---- Appending ----

Status LogStore::append(const Write& write, base::Location& at) {
  format::Entry entry;
  entry.key = write.key;
  entry.value = write.value;
  if (write.tombstone) entry.flags = format::kTombstone;
  if (write.expiry_ms != 0) {
    entry.flags = format::kExpiry;
    entry.expiry_ms = write.expiry_ms;
  }
  const std::uint64_t bytes =
      format::entry_bytes(write.key.size(), write.value.size(), write.expiry_ms != 0);
  if (bytes > tail_.room() || tail_.next_offset() + bytes > put_limit_ ||
      watermark_written_ != durable_sequence()) [[unlikely]] {
    Status status = make_room(bytes, write.tombstone);
    if (!status.ok()) return status;
  }
  entry.sequence = sequence_next_;
  at = base::Location(active_->id(), tail_.next_offset(), bytes);
  if (bytes <= tail_.room()) [[likely]] {
    tail_.append(entry, active_->seed, static_cast<std::size_t>(bytes));
  } else {
    Status status = append_large(entry, bytes);
    if (!status.ok()) return status;
  }
  account(*active_, entry, at);
  if (hint_ != nullptr) hint_->add(entry, at.offset());
  last_sequence_ = sequence_next_++;
  if (!holding_) tail_.seal();
  return {};
}

void LogStore::account(Segment& segment, const format::Entry& entry, base::Location at) noexcept {
  if (entry.mark()) return;
  segment.last_sequence = std::max(segment.last_sequence, entry.sequence);
  ++segment.count;
  segment.total += at.bytes_max();
  if (entry.tombstone()) {
    ++segment.tombstones;
    segment.tombstone_bytes += at.bytes_max();
  }
}

// Entries are told in the order of their sequences. The same one may be told twice: by a segment,
// and by the tail that continued it.
Result<bool> LogStore::settle(base::Location old, const RecoveredEntry& entry) {
  if (old != entry.at) mark_dead(old);
  return true;
}

void LogStore::mark_dead(base::Location at) noexcept {
  if (active_ != nullptr && active_->id() == at.file_id()) {
    active_->dead += at.bytes_max();
    return;
  }
  const SegmentMap* map = map_.load(std::memory_order_relaxed);
  Segment* segment = map == nullptr ? nullptr : map->find(at.file_id());
  if (segment != nullptr) segment->dead += at.bytes_max();
}

// The slow half of append(): a segment, space on the disk, room in the buffer, a watermark.
Status LogStore::make_room(std::uint64_t bytes, bool tombstone) {
  if (!failed_.ok()) return failed_;
  if (active_ != nullptr && active_->count != 0 &&
      tail_.next_offset() + bytes + kFooterBytes > context_.config.max_file_size) {
    Status status = seal_active();
    if (!status.ok()) return status;
  }
  if (active_ == nullptr) {
    Status status = begin_segment();
    if (!status.ok()) {
      full_ = status.is(Errc::no_space);
      return status;
    }
  }
  Status status = allocate_ahead(bytes + kWatermarkBytes, tombstone);
  if (!status.ok()) return status;
  full_ = false;
  append_watermark();
  if (bytes > tail_.room()) {
    status = flush();
    if (!status.ok()) return status;
  }
  if (tail_.next_offset() + bytes > base::Location::kOffsetMax) {
    return Status(Errc::too_large, "the entry does not fit into a segment");
  }
  return {};
}

// Tells a later recovery what was durable by now. Worth nothing if it is lost.
void LogStore::append_watermark() noexcept {
  const std::uint64_t durable = durable_sequence();
  if (watermark_written_ == durable || tail_.room() < kWatermarkBytes) return;
  format::Entry entry;
  entry.flags = format::kWatermark;
  entry.sequence = durable;
  tail_.append(entry, active_->seed, kWatermarkBytes);
  watermark_written_ = durable;
}

// An entry longer than the buffer goes to the file at once; make_room() has emptied the buffer.
Status LogStore::append_large(const format::Entry& entry, std::uint64_t bytes) {
  Status status = flush();
  if (!status.ok()) return status;
  const std::unique_ptr<std::uint8_t[]> whole(new (std::nothrow)
                                                  std::uint8_t[static_cast<std::size_t>(bytes)]);
  if (whole == nullptr) return base::out_of_memory("no memory to write a large value");
  format::encode_entry(entry, active_->seed, whole.get());
  status = write_behind({whole.get(), static_cast<std::size_t>(bytes)});
  if (status.ok()) accept_behind(bytes);
  return status;
}

// Behind what the file has. On an error nothing was accepted, and a write that was refused for
// want of space left nothing behind.
Status LogStore::write_behind(Bytes image) {
#if defined(ARMDB_OMIT_REPLICATION)
  Status status = active_->file->write_at(active_->length, image);
#else
  std::uint64_t offset = active_->length;
  Status status = skip_prewritten(image, offset);
  if (status.ok() && !image.empty()) status = active_->file->write_at(offset, image);
#endif
  if (status.is(Errc::no_space) && active_->file->truncate(active_->length).ok()) {
    active_->allocated = active_->length;
    set_put_limit();
    full_ = true;
    return std::move(status).at(active_->path, active_->length);
  }
  return status.ok() ? status : poison_active(std::move(status));
}

void LogStore::accept_behind(std::uint64_t bytes) noexcept {
  active_->length += bytes;
  // Readable before the buffer is begun anew: a reader that misses it there finds it here.
  active_->readable.store(active_->length, std::memory_order_release);
  tail_.reset(active_->id(), active_->length);
  sync_wanted_ = sync_wanted_ || context_.config.enable_fsync;
}

Status LogStore::flush() {
  if (!failed_.ok()) return failed_;
  if (active_ == nullptr || tail_.used() == 0) return {};
  // Where there is no space the entries still stand in the buffer, and go out when there is again.
  Status status = write_behind(tail_.contents());
  if (status.ok()) accept_behind(tail_.used());
  return status;
}

// ---- Sync ----

SyncTicket LogStore::begin_sync(Status& status) {
  SyncTicket ticket;
  status = flush();
  if (!status.ok()) return ticket;
  for (const SegmentPtr& segment : segments_) {
    if (!segment->durable) ticket.segments.push_back(segment);
  }
  ticket.active = active_;
  ticket.directory_changes = directory_changes_;
  ticket.sync_directory = directory_changes_ != directory_synced_;
  ticket.sequence = last_sequence();
  return ticket;
}

bool LogStore::has_unsynced() const noexcept {
  return directory_changes_ != directory_synced_ ||
         base::any_of(segments_, [](const SegmentPtr& segment) { return !segment->durable; });
}

Status LogStore::run_sync(const SyncTicket& ticket) {
  // Oldest first: what a power cut leaves is a prefix.
  for (const SegmentPtr& segment : ticket.segments) {
    Status status = segment->file->sync();
    if (status.ok()) continue;
    // At once: while other shards still sync, a kill would leave pages that the next process takes
    // for what the disk has.
    for (const SegmentPtr& all : ticket.segments) static_cast<void>(all->file->drop_cache());
    return std::move(status).at(segment->path);
  }
  if (!ticket.sync_directory) return {};
  return context_.files.sync_directory(context_.directory).at(context_.directory);
}

Status LogStore::end_sync(const SyncTicket& ticket, Status outcome) {
  if (!outcome.ok()) return poison(outcome, ticket.segments);
  if (!failed_.ok()) return failed_;
  for (const SegmentPtr& segment : ticket.segments) {
    // One that was sealed meanwhile has a footer which this sync may have missed.
    if (segment == ticket.active) continue;
    segment->durable = true;
    manifest_stale_ = true;
  }
  directory_synced_ = std::max(directory_synced_, ticket.directory_changes);
  ++syncs_;
  if (ticket.sequence > durable_sequence()) {
    durable_sequence_.store(ticket.sequence, std::memory_order_release);
  }
  return {};
}

// A failed write or sync: the cached pages may differ from the disk, and a retry could succeed
// without writing them. So nothing is retried, the pages are dropped, and a mark makes the next
// open drop them again.
Status LogStore::poison(const Status& cause, std::span<const SegmentPtr> segments) {
  if (!failed_.ok()) return failed_;
  await_prewrite();  // or its pages would be dropped before it has written them
  set_failed(cause);
  put_limit_ = 0;
  // All pages before any mark: who is killed in between leaves none that differ from the disk.
  for (const SegmentPtr& segment : segments) static_cast<void>(segment->file->drop_cache());
  for (const SegmentPtr& segment : segments) {
    const Result<Owned<File>> mark = context_.files.open(
        context_.path_of(format::FileRole::failed, segment->id()), OpenMode::create_new);
    static_cast<void>(mark);
  }
  static_cast<void>(context_.files.sync_directory(context_.directory));
  base::log(context_.config.log, LogLevel::error, failed_.message());
  return failed_;
}

Status LogStore::poison_active(Status cause) {
  return poison(std::move(cause).at(active_->path, active_->length), {&active_, 1});
}

// ---- Checkpoint and figures ----

void LogStore::keep_reserve(const StoreContext& context) {
  const std::string path = context.path_of(format::kReserveName);
  Result<Owned<File>> file = context.files.open(path, OpenMode::create_new);
  if (!file.ok()) return;  // most often because it is there
  const std::uint64_t bytes = compaction_reserve(context.config);
  Status status = (*file)->allocate(0, bytes);
  if (status.is(Errc::unsupported)) status = fill_with_zeros(**file, 0, bytes);
  if (!status.ok()) try_remove(context.files, path);
}

bool LogStore::release_reserve(const StoreContext& context) {
  return context.files.remove(context.path_of(format::kReserveName)).ok();
}

bool LogStore::wants_hint(const Segment& segment) const noexcept {
  // Where the index keeps values, opening needs them all: a hint would be a second copy.
  return values_on_disk() && context_.config.hints && segment.sealed && !segment.hinted &&
         !segment.damaged && !segment.retired;
}

bool LogStore::write_hint(const StoreContext& context, const Segment& segment) {
  std::unique_ptr<HintWriter> writer = HintWriter::start(context, segment);
  if (writer == nullptr) return false;
  SegmentScanner scanner(segment, format::kSegmentHeaderBytes, segment.length);
  ScanStep step = scanner.next();
  for (; step == ScanStep::entry; step = scanner.next()) {
    writer->add(scanner.entry, scanner.offset);
  }
  return step == ScanStep::end && writer->finish(segment.length, segment.last_sequence);
}

void LogStore::add_stats(Stats& stats) const {
  stats.segments += segments_.size();
  for (const SegmentPtr& segment : segments_) {
    const bool oldest = segment == segments_.front();
    stats.data_bytes += segment->total;
    stats.dead_bytes += segment->dead_bytes(oldest);
    stats.tombstones += segment->tombstones;
    stats.file_bytes += std::max(segment->length, segment == active_ ? segment->allocated : 0);
  }
  if (active_ != nullptr && active_->allocated == base::Location::kOffsetMax) {
    stats.file_bytes -= active_->allocated - active_->length;
  }
  stats.file_bytes += tail_open_ && tail_.survives_kill() ? tail_.capacity() : 0;
  stats.buffer_bytes += tail_.capacity() + (cache_ == nullptr ? 0 : cache_->memory_bytes());
  stats.last_sequence = std::max(stats.last_sequence, last_sequence());
  stats.unsynced_shards += durable_sequence() < last_sequence() ? 1 : 0;
  stats.written_survives_kill =
      stats.written_survives_kill && (!tail_open_ || tail_.survives_kill());
  stats.failed_shards += failed_.ok() ? 0 : 1;
  stats.full_shards += full_ ? 1 : 0;
  stats.opened_by_hint += recovery_.entries_by_hint;
  stats.opened_by_scan += recovery_.entries_by_scan;
  stats.torn_bytes += recovery_.torn_bytes;
  stats.damaged_regions += recovery_.damaged_regions;
  stats.segments_set_aside += recovery_.segments_set_aside;
  stats.cache_hits += cache_ == nullptr ? 0 : cache_->hits();
  stats.cache_misses += cache_ == nullptr ? 0 : cache_->misses();
  stats.compactions += compactions_;
  stats.syncs += syncs_;
}

}  // namespace armdb::store

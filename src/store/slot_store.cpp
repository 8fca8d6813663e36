// The Fixed store of a shard: creating and opening its file, writing in place, syncing.
#include "store/slot_store.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <new>

#include "base/append.hpp"
#include "base/build.hpp"
#include "base/check.hpp"
#include "base/errors.hpp"
#include "base/little.hpp"
#include "base/log.hpp"
#include "base/search.hpp"
#include "os/entropy.hpp"
#include "store/manifest_file.hpp"

namespace armdb::store {

namespace {

constexpr std::uint64_t kSlotGrowFirst = std::uint64_t{64} << 10;
constexpr std::uint32_t kStageCountMin = 8;
constexpr std::size_t kSlotPrefetchMax = 512;  // bytes of a copy; the machine guesses the rest
constexpr std::uint8_t kSlotGenerationMax = 127;

inline void slot_prefetch_to_write(const void* at) noexcept {
  if constexpr (!base::kSmallBuild) __builtin_prefetch(at, 1);
}

Status slot_store_memory() { return base::out_of_memory("no memory for a slot store"); }

}  // namespace

SlotStore::SlotStore(const StoreContext& context)
    : context_(context), path_(context.path_of(format::kSlotsName)) {}

// ---- Opening ----

Result<std::unique_ptr<SlotStore>> SlotStore::open(const StoreContext& context,
                                                   const SlotOptions& options,
                                                   RecoveryVisitor visit) {
  std::unique_ptr<SlotStore> store(new (std::nothrow) SlotStore(context));
  if (store == nullptr) return slot_store_memory();
  Status status = store->open_file(options);
  if (status.ok()) status = store->recover(visit);
  if (!status.ok()) return std::move(status).at(store->path_);
  return store;
}

Status SlotStore::create_file(const SlotOptions& options) {
  header_.file.type = format::FileType::slots;
  header_.file.store_id = context_.store_id;
  header_.file.shard = context_.shard;
  header_.key_size = context_.shape.key_size;
  header_.value_size = context_.shape.value_size;
  header_.copies = options.copies;
  const bool sealed = context_.keys != nullptr;
  if (sealed) header_.file.sealing = static_cast<std::uint32_t>(context_.keys->cipher());
  // Whether the sizes can be is asked of the reader.
  std::uint8_t bytes[format::kSlotsHeaderBytes];
  format::encode_slots_header(header_, bytes);
  Status status = format::decode_slots_header(Bytes(bytes), header_);
  if (!status.ok()) return status;
  const std::size_t place =
      format::SlotLayout(header_.key_size, header_.value_size, options.copies, 1, sealed)
          .stage_bytes();
  header_.stage_count = static_cast<std::uint32_t>(
      std::clamp<std::size_t>(options.stage_bytes / place, kStageCountMin, format::kStageCountMax));
  std::uint8_t random[8];
  status = os::random_bytes(random);
  if (!status.ok()) return status;
  std::memcpy(&header_.salt, random, sizeof random);
  const format::SlotLayout layout(header_.key_size, header_.value_size, header_.copies,
                                  header_.stage_count, sealed);
  std::vector<std::uint8_t> head(static_cast<std::size_t>(layout.slots_at()));
  format::encode_slots_header(header_, head);
  return replace_file(context_.files, context_.directory, format::kSlotsName, head);
}

Status SlotStore::open_file(const SlotOptions& options) {
  grow_step_bytes_ = options.grow_step_bytes;
  sync_batch_ = options.sync_batch;
  unstage_step_ = options.unstage_step;
  const OpenMode mode = context_.config.read_only ? OpenMode::read : OpenMode::read_write;
  Status status = store::open_file(context_.files, path_, mode, file_, size_at_open_);
  if (status.is(Errc::not_found)) {
    const bool lost =
        !options.create || file_exists(context_.files, context_.path_of(format::kManifestName));
    if (lost) return base::corrupt("slots.dat is missing: restore it from a backup");
    // A crash while the collection was created: read-only there is none yet.
    if (!context_.config.read_only) status = create_file(options);
    if (status.ok()) {
      status = store::open_file(context_.files, path_, mode, file_, size_at_open_);
    }
  }
  if (!status.ok()) return status;
  // A sync of this file failed: cached pages may differ from the disk, and the disk counts.
  const std::string mark = context_.path_of(format::FileRole::failed, kFailedMarkId);
  if (file_exists(context_.files, mark)) static_cast<void>(file_->drop_cache());

  std::uint8_t head[format::kSlotsHeaderBytes];
  status = read_bytes(0, head);
  if (status.ok()) status = format::decode_slots_header(Bytes(head), header_);
  if (!status.ok()) return status;
  if (header_.file.store_id != context_.store_id || header_.file.shard != context_.shard) {
    return base::corrupt("the file belongs to another store or shard, or was renamed");
  }
  if (header_.key_size != context_.shape.key_size ||
      header_.value_size != context_.shape.value_size) {
    return {Errc::shape_mismatch, "slots.dat has keys or values of other sizes than db.meta says"};
  }
  if (options.copies == 1 && header_.copies == 2) {
    return {Errc::format_mismatch,
            "the store has two copies of each slot, FixedConfig::single_copy asks for one: leave "
            "it false"};
  }
  const std::uint32_t cipher =
      context_.keys == nullptr ? 0 : static_cast<std::uint32_t>(context_.keys->cipher());
  if (header_.file.sealing != cipher) {
    return {Errc::format_mismatch,
            "slots.dat is not encrypted as db.meta says: put the right one back"};
  }
  layout_ = format::SlotLayout(header_.key_size, header_.value_size, header_.copies,
                               header_.stage_count, cipher != 0);
  if (crypto::kHasCrypto && cipher != 0)
    sealer_ = std::make_unique<SlotSealer>(*context_.keys, header_);
  if (size_at_open_ < layout_.slots_at()) {
    return base::corrupt(kSlotsLost);
  }
  seed_ = format::slot_seed(header_);
  image_.resize(layout_.stage_bytes());
  if (header_.stage_count >= kStageCountMin) on_way_count_ = kOnWayMax;
  staged_ = std::vector<std::uint32_t>(header_.stage_count);
  staged_find_ = std::vector<std::uint32_t>(std::bit_ceil(std::size_t{2} * header_.stage_count));
  return count_slots(options.unseen_slots);
}

// A file of holes claims any size. Of the groups at its end that were never used, so many count as
// a growth may have left, and not the one that it was cut off in.
Status SlotStore::count_slots(std::uint64_t unseen) {
  const std::uint32_t group_slots = layout_.group_slots();
  std::uint64_t slots = layout_.slots_in(size_at_open_);
  std::uint64_t whole = slots;
  if (layout_.file_bytes(slots) > size_at_open_) whole -= group_slots;
  std::vector<std::uint8_t> group(static_cast<std::size_t>(layout_.group_bytes()));
  while (slots > std::min(whole, unseen)) {
    const std::uint64_t before = slots - group_slots;
    // Where it cannot be read, recover() tells.
    if (!read_bytes(layout_.file_bytes(before), group).ok()) break;
    if (!base::all_zeros(Bytes(group))) break;
    slots = before;
  }
  return set_slot_count(std::max(slots, std::min(whole, 2 * slots)));
}

Status SlotStore::set_slot_count(std::uint64_t slots) {
  const auto words = static_cast<std::size_t>((slots + 63) / 64);
  if (words > free_words_) {
    const std::size_t room = std::max(words, 2 * free_words_);
    // Nine: a word, and the stamps of its slots.
    std::unique_ptr<std::uint64_t[]> grown(new (std::nothrow) std::uint64_t[9 * room]());
    if (grown == nullptr) return slot_store_memory();
    auto* const stamps = reinterpret_cast<std::uint8_t*>(grown.get() + room);
    if (slot_count_ != 0) {
      std::memcpy(grown.get(), free_.get(), free_words_ * 8);
      std::memcpy(stamps, stamps_, free_words_ * 64);
    }
    free_ = std::move(grown);
    stamps_ = stamps;
    free_words_ = room;
  }
  // Those that go must not be there when they come back.
  while (slot_count_ > slots) {
    stamp_of(--slot_count_) = 0;
    word_of(slot_count_) &= ~bit_of(slot_count_);
  }
  slot_count_ = slots;
  file_bytes_ = layout_.file_bytes(slots);
  return {};
}

void SlotStore::map_file() {
  mapping_.reset();
  if (static_cast<std::size_t>(file_bytes_) != file_bytes_) return;  // beyond a 32-bit process
  Result<Owned<Mapping>> mapping =
      file_->map(static_cast<std::size_t>(file_bytes_), MapMode::read_write);
  if (mapping.ok()) {
    mapping_ = std::move(*mapping);
  } else if (!mapping.is(Errc::unsupported)) {
    base::log(context_.config.log, LogLevel::warning,
              "slots are written by system calls, as they cannot be mapped", mapping.status());
  }
}

// ---- Writing ----

std::uint64_t SlotStore::next_version() const noexcept {
  // A location whose bits are all zero means nowhere.
  const std::uint64_t next = last_sequence_ + 1;
  return (next & 0xffffffff) == 0 ? next + 1 : next;
}

bool SlotStore::is_syncing(std::uint8_t stamp) const noexcept {
  return layout_.copies() == 2 && syncing_ != 0 && (stamp & ~kSlotCopyBit) == syncing_;
}

bool SlotStore::is_durable(std::uint8_t stamp) const noexcept {
  const auto generation = static_cast<std::uint8_t>(stamp & ~kSlotCopyBit);
  return generation == 0 || (generation != generation_ && (generation != syncing_ || draining_));
}

Status SlotStore::write(const Write& write, base::Location old, base::Location& at) {
  ARMDB_ASSERT(write.key.size() == header_.key_size);
  ARMDB_ASSERT(write.tombstone || write.value.size() == header_.value_size);
  if (!failed_.ok()) return failed_;
  if (write.tombstone && old.nowhere()) return {};
  std::uint64_t number = number_of(old);
  Status status = old.nowhere() ? take_free(number) : Status();
  if (!status.ok()) return std::move(status).at(path_);
  const auto state = write.tombstone ? format::SlotState::erased : format::SlotState::live;
  const Bytes value = write.tombstone ? Bytes() : write.value;
  status = write_slot(number, {state, 0, write.expiry_ms, write.key, value});
  if (status.is(Errc::aborted)) {
    if (old.nowhere()) give_free(number);
    return status;
  }
  if (!status.ok()) return poison(status);
  if (write.tombstone) {
    give_free(number);
    --live_;
  } else if (old.nowhere()) {
    ++live_;
  }
  at = location_of(number, last_sequence_);
#if !defined(ARMDB_OMIT_REPLICATION)
  if (changes_ != nullptr) changes_->add(last_sequence_, write.key);
#endif
  if (sync_batch_ != 0 && last_sequence_ >= sync_wanted_from_) {
    sync_wanted_ = true;
    sync_wanted_from_ = last_sequence_ + sync_batch_;
  }
  return {};
}

Status SlotStore::write_erased(std::uint64_t number, Bytes key) {
  return write_slot(number, {format::SlotState::erased, 0, 0, key, {}});
}

Status SlotStore::write_slot(std::uint64_t number, format::Slot slot) {
  slot.version = next_version();
  return write_version(number, slot);
}

Status SlotStore::encode(std::uint64_t number, const format::Slot& slot, MutableBytes place) {
  if (!crypto::kHasCrypto || sealer_ == nullptr) {
    format::encode_staged(slot, seed_, number, place);
    return {};
  }
  base::store_little<std::uint64_t>(place.data(), number);
  return sealer_->seal(slot, number, place.subspan(8));
}

Status SlotStore::write_version(std::uint64_t number, const format::Slot& slot) {
  if (slot.version > format::kSlotVersionMax) return {Errc::too_large, "slots.dat is used up"};
  OnWay way{.number = number, .to = 0, .bytes = layout_.slot_bytes()};
  if (syncing_ != 0 && is_syncing(stamp_of(number))) {
    const std::uint32_t place = stage_place(number);
    if (place == kNowhere && !draining_) return Errc::aborted;
    if (place != kNowhere) way = {number, staged_place(place), layout_.stage_bytes()};
  }
  last_sequence_ = std::max(last_sequence_, slot.version);
  const std::size_t bytes = layout_.stage_bytes();
  if (mapping_) {
    finish(on_way_next_);
    std::uint8_t* const stage = mapping_->data() + layout_.stage_at(on_way_next_);
    Status status = encode(number, slot, {stage, bytes});
    if (!status.ok()) return status;
    on_way_[on_way_next_] = way;
    on_way_next_ = after(on_way_next_);
    slot_prefetch_to_write(&stamp_of(number));
    return {};
  }
  Status status = encode(number, slot, image_);
  if (!status.ok()) return status;
  aim(way);
  // One write into one page happens before the process dies, or does not.
  const std::uint64_t last = way.to + way.bytes - 1;
  const bool one_page = way.to / format::kSlotPageBytes == last / format::kSlotPageBytes;
  if (!one_page) status = file_->write_at(layout_.stage_at(0), Bytes(image_));
  if (status.ok()) status = file_->write_at(way.to, Bytes(image_).sub(bytes - way.bytes));
  return std::move(status).at(path_, way.to);
}

// Where a slot is written: the copy that counts stays when the last sync has it, and is overwritten
// when it has not; then the other one is the state of the last sync.
void SlotStore::aim(OnWay& way) noexcept {
  if (way.to != 0) return;
  std::uint8_t& stamped = stamp_of(way.number);
  std::uint32_t copy = stamped >> 7;
  if (layout_.copies() == 2 && is_durable(stamped)) copy ^= 1;
  stamped = static_cast<std::uint8_t>((copy << 7) | generation_);
  way.to = layout_.offset(way.number, copy);
}

void SlotStore::look_ahead() noexcept {
  if (base::kSmallBuild || !mapping_) return;
  OnWay& last = on_way_[(on_way_next_ - 1) & (on_way_count_ - 1)];
  if (last.bytes == 0) return;
  aim(last);
  const std::size_t bytes = std::min(layout_.stage_bytes(), kSlotPrefetchMax);
  for (std::size_t line = 0; line < bytes; line += 64) {
    slot_prefetch_to_write(mapping_->data() + last.to + line);
  }
}

// Stores reach the page cache in the order of the program; the fences keep the compiler to it.
void SlotStore::finish(std::uint32_t place) noexcept {
  OnWay& way = on_way_[place];
  if (way.bytes == 0) return;
  aim(way);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  std::memcpy(mapping_->data() + way.to, mapping_->data() + layout_.stage_at(place + 1) - way.bytes,
              way.bytes);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  way.bytes = 0;
}

void SlotStore::finish_all() noexcept {
  std::uint32_t place = on_way_next_;
  for (std::uint32_t i = 0; mapping_ && i < on_way_count_; ++i, place = after(place)) {
    finish(place);
  }
}

// The place where `number`, which a sync is at, is staged, or the next free one while it runs;
// kNowhere when there is none. What has gone home from the stage is of a later generation.
std::uint32_t SlotStore::stage_place(std::uint64_t number) noexcept {
  const std::size_t mask = staged_find_.size() - 1;
  std::size_t at = static_cast<std::size_t>(number * 0x9e3779b97f4a7c15 >> 32) & mask;
  for (; staged_find_[at] != 0; at = (at + 1) & mask) {
    const std::uint32_t place = staged_find_[at] - 1;
    if (staged_[place] == number) return place;
  }
  if (draining_ || staged_count_ + on_way_count_ >= header_.stage_count) return kNowhere;
  staged_[staged_count_] = static_cast<std::uint32_t>(number);
  staged_find_[at] = ++staged_count_;
  return staged_count_ - 1;
}

// From a place of the stage, which keeps it until it is whole here.
Status SlotStore::bring_home(std::uint64_t number, Bytes copy) {
  const std::uint32_t to = layout_.copies() == 2 ? (stamp_of(number) >> 7) ^ 1u : 0;
  stamp_of(number) = static_cast<std::uint8_t>((to << 7) | generation_);
  return write_bytes(layout_.offset(number, to), copy);
}

// After a sync: what waited for its end goes to the slots, the last ones first, some at a time.
// `aborted` when there are more. What is still staged meanwhile is written there, all else in its
// slot: in the copy that the sync did not make durable.
Status SlotStore::unstage() {
  finish_all();
  Status status;
  for (std::uint32_t count = 0; status.ok() && staged_count_ != 0; ++count) {
    if (count == unstage_step_) return Errc::aborted;
    const std::uint64_t number = staged_[--staged_count_];
    const std::uint64_t from = staged_place(staged_count_);
    if (mapping_) {
      status = bring_home(number, {mapping_->data() + from + 8, layout_.slot_bytes()});
    } else {
      status = read_bytes(from, image_);
      if (status.ok()) status = bring_home(number, Bytes(image_).sub(8));
    }
  }
  std::fill(staged_find_.begin(), staged_find_.end(), 0u);
  return std::move(status).at(path_);
}

// What the file does not have is zeros: the end of its last group may never have been written.
Status SlotStore::read_bytes(std::uint64_t at, MutableBytes bytes) const {
  const Result<std::size_t> got = file_->read_at(at, bytes);
  if (!got.ok()) return Status(got.status()).at(path_, at);
  std::memset(bytes.data() + *got, 0, bytes.size() - *got);
  return {};
}

Status SlotStore::write_bytes(std::uint64_t at, Bytes bytes) {
  if (!mapping_) return file_->write_at(at, bytes).at(path_, at);
  std::memcpy(mapping_->data() + at, bytes.data(), bytes.size());
  return {};
}

Status SlotStore::write_zeros(std::uint64_t at, std::size_t bytes) {
  const std::vector<std::uint8_t> zeros(bytes);
  return write_bytes(at, Bytes(zeros));
}

Status SlotStore::clear_stage() {
  finish_all();
  return write_zeros(format::kStageAt, header_.stage_count * layout_.stage_bytes());
}

void SlotStore::add_stats(Stats& stats) const {
  stats.file_bytes += file_bytes_;
  stats.data_bytes += slot_count() * layout_.slot_bytes() * layout_.copies();
  stats.dead_bytes += free_count_ * layout_.slot_bytes() * layout_.copies();
  stats.last_sequence = std::max(stats.last_sequence, last_sequence());
  stats.unsynced_shards += durable_sequence() < last_sequence() ? 1 : 0;
  stats.failed_shards += failed_.ok() ? 0 : 1;
  stats.full_shards += full_ && free_count_ == 0 ? 1 : 0;
  stats.opened_by_scan += opened_;
  stats.torn_bytes += torn_copies_ * layout_.slot_bytes();
  stats.damaged_regions += damaged_slots_;
  stats.syncs += syncs_;
}

Status SlotStore::describe(Status status, base::Location at) const {
  const std::uint64_t number = number_of(at);
  return std::move(status).at(path_, layout_.offset(number, 0));
}

// ---- Free slots ----

void SlotStore::give_free(std::uint64_t number) noexcept {
  word_of(number) |= bit_of(number);
  free_first_ = std::min(free_first_, static_cast<std::size_t>(number / 64));
  ++free_count_;
}

// The lowest one: what is free gathers at the end of the file.
Status SlotStore::take_free(std::uint64_t& number) {
  if (free_count_ == 0) {
    Status status = grow();
    full_ = status.is(Errc::no_space);
    if (!status.ok()) return status;
  }
  while (free_[free_first_] == 0) ++free_first_;
  std::uint64_t& word = free_[free_first_];
  number = free_first_ * 64 + static_cast<unsigned>(std::countr_zero(word));
  word &= word - 1;
  --free_count_;
  return {};
}

// Twice the size, in steps; a single group when the disk has no more than that.
Status SlotStore::grow() {
  const std::uint64_t group = layout_.group_bytes();
  const std::uint64_t now = file_bytes_ - layout_.slots_at();
  std::uint64_t step = std::max(now, kSlotGrowFirst);
  if (grow_step_bytes_ != 0) step = std::min(step, std::max(grow_step_bytes_, group));
  step = (step + group - 1) / group * group;
  if (slot_count() + step / group * layout_.group_slots() > format::kSlotCountMax) {
    return {Errc::too_large, "a shard has 2^32 slots at most: use more shards"};
  }
  finish_all();  // nobody would, where the file cannot be mapped again
  Status status = allocate(file_bytes_, step);
  if (status.is(Errc::no_space) && step > group) status = allocate(file_bytes_, step = group);
  if (!status.ok()) return status;
  const std::uint64_t first = slot_count();
  status = set_slot_count(layout_.slots_in(file_bytes_ + step));
  if (!status.ok()) return status;
  for (std::uint64_t number = first; number < slot_count(); ++number) give_free(number);
  if (mapping_) map_file();
  return {};
}

// Behind the last slot before `end` that is not free; 0 when all are.
std::uint64_t SlotStore::end_of_used(std::uint64_t end) const noexcept {
  while (end > 0 && is_free(end - 1)) {
    end -= end % 64 == 0 && free_[static_cast<std::size_t>(end / 64 - 1)] == ~std::uint64_t{0} ? 64
                                                                                               : 1;
  }
  return end;
}

Status SlotStore::last_live(std::uint64_t newest, std::uint64_t& end,
                            std::vector<std::uint8_t>& key, base::Location& at) {
  const std::uint64_t used = end_of_used(std::min(end, slot_count()));
  if (used == 0 || free_count_ == 0) return Errc::not_found;
  while (free_[free_first_] == 0) ++free_first_;
  end = used - 1;
  if (free_first_ * 64 + static_cast<unsigned>(std::countr_zero(free_[free_first_])) > end) {
    return Errc::not_found;
  }
  std::vector<std::uint8_t> copy;
  format::Slot slot;
  Status status = read_newest(end, copy, slot);
  if (status.is(Errc::corrupt)) return Errc::not_found;  // a damaged one stays where it is
  if (!status.ok()) return status;
  if (slot.state != format::SlotState::live || slot.version > newest) return Errc::not_found;
  key.clear();
  base::append(key, slot.key);
  at = location_of(end, slot.version);
  return {};
}

// Whole groups, with room for the slot that begin_trim() writes.
std::uint64_t SlotStore::slots_to_keep() const noexcept {
  std::uint64_t slots = end_of_used(slot_count());
  const std::uint32_t group = layout_.group_slots();
  if (free_count_ == slot_count() - slots) ++slots;
  return std::min((slots + group - 1) / group * group, slot_count());
}

Status SlotStore::begin_trim() {
  if (!failed_.ok()) return failed_;
  ARMDB_ASSERT(syncing_ == 0);
  if (slots_to_keep() == slot_count()) return Errc::not_found;
  // Slots of these numbers come back when the file grows again.
  Status status = clear_stage();
  std::uint64_t number = 0;
  if (status.ok()) status = take_free(number);
  const std::vector<std::uint8_t> no_key(header_.key_size);
  if (status.ok()) status = write_erased(number, Bytes(no_key));
  if (!status.ok()) return poison(status);
  give_free(number);
  kept_version_ = last_sequence_;
  return {};
}

Status SlotStore::end_trim() {
  if (!failed_.ok()) return failed_;
  if (kept_version_ != last_sequence_ || durable_sequence() != last_sequence_) return Errc::aborted;
  const std::uint64_t slots = slots_to_keep();
  if (slots == slot_count()) return {};
  mapping_.reset();
  Status status = file_->truncate(layout_.file_bytes(slots));
  // Or a power cut could find old copies of a slot beside the first one that is written anew.
  if (status.ok()) status = file_->sync();
  if (!status.ok()) return poison(std::move(status).at(path_));
  free_count_ -= slot_count() - slots;
  static_cast<void>(set_slot_count(slots));
  free_first_ = 0;
  map_file();
  return {};
}

// Real blocks, so that a full disk is noticed here and not by a store into the mapping.
Status SlotStore::allocate(std::uint64_t from, std::uint64_t bytes) {
  Status status = file_->allocate(from, bytes);
  if (!status.is(Errc::unsupported)) return status;
  status = fill_with_zeros(*file_, from, bytes);
  if (status.is(Errc::no_space)) static_cast<void>(file_->truncate(from));
  return status;
}

// ---- Syncing ----

SyncTicket SlotStore::begin_sync(Status& status) {
  status = failed_;
  SyncTicket ticket;
  ticket.sequence = last_sequence_;
  ticket.wanted = status.ok() && (last_sequence_ != durable_sequence() || rewritten_);
  if (!ticket.wanted) return ticket;
  sync_wanted_from_ = last_sequence_ + sync_batch_;
  finish_all();
  rewritten_ = false;
  syncing_ = generation_;
  generation_ = static_cast<std::uint8_t>(generation_ % kSlotGenerationMax + 1);
  return ticket;
}

Status SlotStore::run_sync(const SyncTicket& ticket) {
  if (!ticket.wanted) return {};
  return file_->sync().at(path_);
}

Status SlotStore::end_sync(const SyncTicket& ticket, Status outcome) {
  if (!outcome.ok() && !outcome.is(Errc::aborted)) return poison(outcome);
  if (!failed_.ok()) return failed_;
  if (!ticket.wanted) return {};
  if (!draining_) {
    draining_ = true;
    ++syncs_;
    durable_sequence_.store(ticket.sequence, std::memory_order_release);
  }
  Status status = unstage();
  if (status.is(Errc::aborted)) return status;
  if (!status.ok()) return poison(status);
  syncing_ = 0;
  draining_ = false;
  forget_old_generations();
  return {};
}

// Generations come round again after 127 syncs: before that every stamp is looked at.
void SlotStore::forget_old_generations() noexcept {
  const std::uint64_t stripe = slot_count_ / 32 + 1;
  for (std::uint64_t done = 0; done < stripe && slot_count_ != 0; ++done) {
    if (forget_at_ >= slot_count_) forget_at_ = 0;
    std::uint8_t& stamp = stamp_of(forget_at_++);
    if (is_durable(stamp)) stamp &= kSlotCopyBit;
  }
}

Status SlotStore::sync() {
  Status status;
  const SyncTicket ticket = begin_sync(status);
  if (!status.ok()) return status;
  status = run_sync(ticket);
  do {
    status = end_sync(ticket, std::move(status));
  } while (status.is(Errc::aborted));
  return status;
}

Status SlotStore::close() {
  Status status = sync();
  if (!status.ok()) return status;
  std::uint8_t mark[format::kCleanMarkBytes];
  format::encode_clean_mark(
      {.version_last = last_sequence_, .slot_count = slot_count(), .live_count = live_}, header_,
      mark);
  status = write_bytes(format::kCleanMarkAt, Bytes(mark));
  if (status.ok()) status = file_->sync().at(path_);
  return status.ok() ? status : poison(status);
}

// The cached pages may differ from the disk now, and a retry could succeed without writing them:
// they are dropped, and a mark makes the next open drop them again.
Status SlotStore::poison(const Status& cause) {
  if (!failed_.ok()) return failed_;
  set_failed(cause);
  mapping_.reset();  // mapped pages are not dropped
  static_cast<void>(file_->drop_cache());
  static_cast<void>(context_.files.open(context_.path_of(format::FileRole::failed, kFailedMarkId),
                                        OpenMode::create_new));
  static_cast<void>(context_.files.sync_directory(context_.directory));
  base::log(context_.config.log, LogLevel::error, failed_.message());
  return failed_;
}

}  // namespace armdb::store

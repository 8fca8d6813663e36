// The work of the crash simulator: random operations on a collection, and its places.
#include <algorithm>
#include <utility>

#include "support/crash_simulator.hpp"

namespace armdb::test {

CrashSimulator::CrashSimulator(const CrashSettings& settings, CrashCounts& counts)
    : CrashLab(settings, counts) {
  choose_options();
}

void CrashSimulator::choose_options() {
  const std::uint64_t kind = settings_.seed % 4;
  heavy_ = random_.one_in(3);
  shape_.key_size = kCrashKeyBytes;
  shape_.ordered = kind % 2 == 0;
  shape_.payload = kind < 2 ? Payload::value : Payload::location;
  if (shape_.payload == Payload::value) shape_.value_size = heavy_ ? 2000 : 24;
  config_.shard_count = random_.one_in(3) ? (random_.one_in(3) ? 3 : 2) : 1;
  expiring_ = random_.one_in(3);
  config_.max_file_size = 64 << 10;
  config_.write_buffer_size = 16 << 10;
  config_.index_step_bytes = 4 << 10;
  config_.cache_bytes = 16 << 10;
  config_.mapped_reads = random_.one_in(2);
  config_.hints = !random_.one_in(4);
  config_.enable_fsync = random_.one_in(6);
  config_.compaction_threshold = random_.one_in(2) ? 0.01 : 0.3;
}

std::string CrashSimulator::random_value() {
  std::size_t size = shape_.value_size;
  if (shape_.payload == Payload::location) {
    size = random_.below(heavy_ ? 6000 : 60);
    if (heavy_ && random_.one_in(8)) size = 16000 + random_.below(4000);
  }
  return random_bytes(size);
}

// ---- Places ----

void CrashSimulator::update_marks() {
  marks_.clear();
  for (std::size_t shard = 0; shard < model_.shards(); ++shard) {
    marks_.push_back(model_.mark(shard));
  }
}

void CrashSimulator::add_place(const std::string& call) {
  const base::MutexLock lock(places_mutex_);
  places_.push_back({place_now(call), marks_});
}

void CrashSimulator::watch(bool on) {
  if (!on) return disk_.set_observer(nullptr);
  disk_.set_observer([this](Call call, const std::string& path) {
    add_place("call " + std::to_string(static_cast<int>(call)) + " of " + path);
  });
}

// ---- Opening and ending ----

// `promised`: what was completed must be there, else only what was durable.
bool CrashSimulator::open_main(bool promised) {
  watch(true);
  log_.clear();
  std::uint64_t key = key_first_;
  Result<Collection> opened = open_with(config_for(disk_), key, key_last_);
  if (!opened.ok() && disk_.fault_met()) {
    disk_.clear_faults();
    key = key_first_;
    opened = open_with(config_for(disk_), key, key_last_);
  }
  watch(false);
  disk_.clear_faults();
  plan_ = "in the work itself";
  if (!opened.ok()) return fail("does not open: " + opened.message());
  main_ = std::move(*opened);
  if (!model_.begun() && !begin_model()) return false;
  if (main_.stats().damaged_regions != 0) return fail("damage is reported in the work");
  CrashContents contents;
  if (!read_now(main_, contents)) return false;
  update_marks();
  const auto j = find_all(contents, marks_, promised);
  if (!j) {
    std::string text = "reopening in the work went to " + states_text(contents, marks_, promised) +
                       "\n  calls since the operation began:";
    for (const std::string& call : disk_.trace()) text += "\n    " + call;
    return fail(text);
  }
  // The places so far are judged by what the model is about to forget.
  if (!examine_places()) return false;
  for (std::size_t shard = 0; shard < j->size(); ++shard) model_.cut(shard, (*j)[shard]);
  sync_failed_ = false;
  key_first_ = key_last_ = key;
  update_marks();
  return true;
}

bool CrashSimulator::begin_model() {
  std::array<std::size_t, kCrashKeys> shard_of{};
  const std::size_t shards = find_shards(shard_of);
  if (shards == 0) return false;
  model_.begin(shard_of, shards);
  return true;
}

bool CrashSimulator::end_main(Ending ending) {
  bool promised = ending != Ending::power_cut && !sync_failed_;
  if (ending == Ending::close) {
    watch(true);
    const Status status = main_.close();
    watch(false);
    main_ = Collection();
    promised = promised && (status.ok() || !disk_.fault_met());
    if (!status.ok() && promised) return fail("does not close: " + status.message());
    sync_failed_ = sync_failed_ || !status.ok();
    if (status.ok()) {
      for (std::size_t shard = 0; shard < model_.shards(); ++shard) model_.synced(shard, 0);
    }
    update_marks();
  } else {
    const Snapshot disk = disk_.snapshot();
    main_ = Collection();
    if (ending == Ending::kill) {
      disk_.restore(disk);
    } else {
      const auto plans = crash_plans(lab_, disk, strict_, random_, 1);
      crash_as_planned(disk_, disk, plans.front());
      sync_failed_ = true;  // what was completed may be gone
    }
  }
  return open_main(promised);
}

// ---- Operations ----

Status CrashSimulator::do_write() {
  const std::size_t number = random_.below(kCrashKeys);
  const auto key = crash_key(number);
  const std::optional<std::string> old = model_.value(number);
  const std::uint64_t choice = random_.below(10);
  const WriteOptions options{random_.one_in(12)};
  if (choice < 3 && old) {  // an erase
    model_.start({number});
    update_marks();
    return choice == 0 ? main_.compare_erase(key, *old, options) : main_.erase(key, options);
  }
  const std::string value = random_value();
  if (choice == 3 && old && value != *old) {
    // Refused: nothing may change.
    const Status status = main_.cas(key, value, value, options);
    return status.is(Errc::value_mismatch) ? Status() : status;
  }
  const std::uint64_t expiry_ms = choice > 6 ? random_expiry(false) : 0;
  model_.start({number, value, expiry_ms});
  update_marks();
  if (expiry_ms != 0) {
    return main_.write({.key = Bytes(key), .value = Bytes(value), .expires_at_ms = expiry_ms},
                       options);
  }
  if (choice == 4 && old) return main_.cas(key, *old, value, options);
  if (choice == 5 && !old) return main_.insert(key, value, options);
  if (choice == 6) {
    const Result<std::optional<ByteView>> before = main_.exchange(key, value, options);
    return before.ok() ? Status() : before.status();
  }
  return main_.put(key, value, options);
}

Status CrashSimulator::do_put_many() {
  std::array<std::array<std::uint8_t, kCrashKeyBytes>, 24> keys;
  std::vector<std::string> values(1 + random_.below(keys.size()));
  std::vector<BytesPair> pairs;
  for (std::size_t at = 0; at < values.size(); ++at) {
    const std::size_t number = random_.below(kCrashKeys);
    keys[at] = crash_key(number);
    values[at] = random_value();
    pairs.push_back({Bytes(keys[at]), Bytes(values[at])});
    model_.start({number, values[at]});
  }
  update_marks();
  return main_.put_many(pairs, {random_.one_in(6)});
}

// In a batch only the end of time: it comes of a time to live that is long enough.
std::uint64_t CrashSimulator::random_expiry(bool batch) {
  if (!expiring_ || random_.one_in(2)) return 0;
  return batch || random_.one_in(2) ? kCrashFar : kCrashExpired;
}

std::vector<CrashWrite> CrashSimulator::random_batch(bool one_shard) {
  std::vector<CrashWrite> writes;
  const std::size_t shard = model_.shard_of(random_.below(kCrashKeys));
  const std::size_t count = 1 + random_.below(8);
  while (writes.size() < count) {
    const std::size_t number = random_.below(kCrashKeys);
    if (one_shard && model_.shard_of(number) != shard) continue;
    CrashWrite write{number};
    if (!random_.one_in(4)) write.value = random_value();
    if (write.value) write.expiry_ms = random_expiry(true);
    writes.push_back(std::move(write));
  }
  return writes;
}

Status CrashSimulator::do_batch() {
  const bool one_shard = random_.one_in(3);
  const bool atomic = one_shard && random_.one_in(2);
  std::vector<CrashWrite> writes = random_batch(one_shard);
  if (atomic) {
    // A block is told when there is nothing to erase.
    std::array<bool, kCrashKeys> there{};
    for (std::size_t key = 0; key < kCrashKeys; ++key) there[key] = model_.value(key).has_value();
    std::erase_if(writes, [&](const CrashWrite& write) {
      const bool before = std::exchange(there[write.key], write.value.has_value());
      return !write.value && !before;
    });
    if (writes.empty()) return do_write();
  }
  model_.start_batch(writes);
  update_marks();
  if (atomic) return do_atomic(writes);
  detail::BatchBuffer batch;
  for (const CrashWrite& write : writes) {
    const auto key = crash_key(write.key);
    const auto kind = write.value ? detail::WriteKind::put : detail::WriteKind::erase;
    const Bytes value = write.value ? Bytes(*write.value) : Bytes();
    batch.add({.key = Bytes(key), .value = value, .kind = kind}, write.expiry_ms);
  }
  return main_.write_batch(batch, {random_.one_in(6)});
}

Status CrashSimulator::do_atomic(std::span<const CrashWrite> writes) {
  const auto key = crash_key(writes.front().key);
  return main_.atomic(
      Bytes(key),
      [&](detail::AtomicCalls& calls) -> Status {
        for (const CrashWrite& write : writes) {
          const auto at = crash_key(write.key);
          const auto kind = write.value ? detail::WriteKind::put : detail::WriteKind::erase;
          const Bytes value = write.value ? Bytes(*write.value) : Bytes();
          const Status status = calls.write({.key = Bytes(at), .value = value, .kind = kind},
                                            {.ttl_ms = write.expiry_ms});
          if (!status.ok()) return status;
        }
        return {};
      },
      {random_.one_in(6)});
}

Status CrashSimulator::do_care(bool& synced) {
  const std::uint64_t choice = random_.below(9);
  static constexpr const char* kNames[] = {"sync",    "sync",         "sync",
                                           "flush",   "checkpoint",   "compact",
                                           "compact", "compact step", "compact step"};
  step_ += std::string(", ") + kNames[choice];
  switch (choice) {
    case 0:
    case 1:
    case 2:
      synced = true;
      return main_.sync();
    case 3:
      return main_.flush_buffers();
    case 4:
      synced = true;
      return main_.checkpoint();
    case 5:
    case 6:
      model_.swept();
      return main_.compact();
    default:
      model_.swept();
      const Result<bool> more = main_.compact_step(1 + random_.below(4000));
      return more.ok() ? Status() : more.status();
  }
}

Status CrashSimulator::do_keys() {
  if (!random_.one_in(2)) return rotate_key(main_);
  model_.swept();
  return reencrypt(main_);
}

// After an operation: completes the writes, or reopens when it failed.
bool CrashSimulator::settle(const Status& status, bool synced) {
  plan_ = "in the work itself";
  if (disk_.fault_met()) counts_.faults += 1;
  const bool failed = main_.stats().failed_shards != 0;
  if (!status.ok() || failed) {
    if (!disk_.fault_met()) return fail("an operation failed: " + status.message());
    if (status.ok()) model_.complete();
    // Which pages a failed sync took nobody can know; other failures take nothing completed.
    sync_failed_ = true;
    disk_.clear_faults();
    if (!examine_places()) return false;
    return end_main(random_.one_in(2) ? Ending::kill : Ending::close);
  }
  model_.complete();
  for (std::size_t shard = 0; shard < model_.shards(); ++shard) {
    const std::size_t key = model_.key_of(shard);
    if (key == kCrashKeys) continue;
    const std::uint64_t sequence = main_.durable_sequence(crash_key(key));
    if (synced) {
      model_.synced(shard, sequence);
    } else {
      model_.durable_sequence(shard, sequence);
    }
  }
  update_marks();
  return true;
}

bool CrashSimulator::work_once() {
  disk_.set_trace(true);
  arm_fault();
  const std::uint64_t choice = random_.below(100);
  if (choice < 8) {
    const Ending ending = choice < 4   ? Ending::close
                          : choice < 7 ? Ending::kill
                                       : Ending::power_cut;
    step_ += ", ending " + std::to_string(static_cast<int>(ending));
    if (ending != Ending::close) disk_.clear_faults();
    return end_main(ending);
  }
  bool synced = false;
  watch(true);
  Status status;
  if (choice < 54) {
    step_ += ", write";
    status = do_write();
  } else if (choice < 68) {
    const bool batch = random_.one_in(2);
    step_ += batch ? ", batch" : ", many writes";
    status = batch ? do_batch() : do_put_many();
  } else if (settings_.keys && choice > 93) {
    status = do_keys();
  } else {
    status = do_care(synced);
  }
  watch(false);
  return settle(status, synced);
}

bool CrashSimulator::run() {
  counts_.works += 1;
  step_ = "opening";
  if (!open_main(true) || !examine_places()) return false;
  const std::size_t most = settings_.states_most;
  for (std::size_t at = 0; at < settings_.operations && counts_.all() < most; ++at) {
    past_ += "  " + step_;
    for (const CrashMark& mark : marks_) {
      past_ += " (" + std::to_string(mark.durable) + " of " + std::to_string(mark.completed) + ")";
    }
    past_ += "\n";
    step_ = "operation " + std::to_string(at);
    if (!work_once() || !examine_places()) return false;
    // Between operations too, for stores through a mapping are no calls.
    if (random_.one_in(4)) {
      add_place("the next operation");
      if (!examine_places()) return false;
    }
  }
  step_ = "closing";
  return end_main(Ending::close) && examine_places();
}

}  // namespace armdb::test

// The work of the crash simulator for the Fixed store: random operations, and its places.
#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "support/fixed_crash_simulator.hpp"

namespace armdb::test {

FixedCrashSimulator::FixedCrashSimulator(const CrashSettings& settings, CrashCounts& counts)
    : CrashLab(settings, counts) {
  choose_options();
}

void FixedCrashSimulator::choose_options() {
  // Of the larger ones a few fill a group, so that compact() has ends to give back.
  static constexpr std::uint32_t kSizes[] = {8, 24, 100, 300, 600, 600, 1500, 5000};
  shape_.key_size = kCrashKeyBytes;
  shape_.ordered = random_.one_in(2);
  shape_.payload = Payload::value;
  shape_.fixed = true;
  config_.single_copy = random_.one_in(4);
  shape_.value_size = kSizes[random_.below(config_.single_copy ? 4 : std::size(kSizes))];
  config_.shard_count = random_.one_in(5) ? (random_.one_in(3) ? 3 : 2) : 1;
  // So many places for slots that are written while a sync runs that none has to wait.
  config_.write_buffer_size = 16 << 10;
  static constexpr std::uint64_t kSteps[] = {1, 16 << 10, 0};
  config_.grow_step = kSteps[random_.below(std::size(kSteps))];
  config_.index_step_bytes = 4 << 10;
  config_.enable_fsync = random_.one_in(6);
  config_.sync_batch_size = static_cast<std::uint32_t>(1 + random_.below(8));
  config_.reversed = random_.one_in(2);
  expiring_ = random_.one_in(2);
  tearing_ = config_.single_copy ? Tearing::none : Tearing::half;
  const bool mapped = !random_.one_in(3);
  // Several shards are synced by several threads: while one copies a slot to its place in a
  // mapping, a snapshot for another's call would see half of a sector.
  if (config_.single_copy && mapped) config_.shard_count = 1;
  for (FaultFileSystem* files : {&disk_, &lab_, &second_lab_}) files->set_mappable(mapped);
  disk_.set_whole_sectors(config_.single_copy);
  options_ =
      std::string(config_.single_copy ? ", one copy" : ", two copies") +
      (mapped ? ", mapped" : ", not mapped") + ", grow step " + std::to_string(config_.grow_step) +
      (config_.enable_fsync ? ", sync after " + std::to_string(config_.sync_batch_size) : "");
}

// ---- Places ----

void FixedCrashSimulator::add_place(const std::string& call) {
  const base::MutexLock lock(places_mutex_);
  places_.push_back({place_now(call), model_.marks(), exposed_});
}

void FixedCrashSimulator::watch(bool on) {
  if (!on) return disk_.set_observer(nullptr);
  disk_.set_observer([this](Call call, const std::string& path) {
    const std::string name = "call " + std::to_string(static_cast<int>(call)) + " of " + path;
    add_place(name);
    if (call != Call::sync || beside_ == 0) return;
    write_beside();
    add_place(name + ", with writes beside it");
  });
}

// What a sync that runs just now does not cover; up to the first that fails, as one that is
// completed completes all before it.
void FixedCrashSimulator::write_beside() {
  for (std::size_t left = std::exchange(beside_, 0); left != 0 && beside_status_.ok(); --left) {
    beside_status_ = do_write({main_, model_}, false);
  }
}

// ---- Opening and ending ----

// `promised`: what was completed must be there, else only what was durable.
bool FixedCrashSimulator::open_main(bool promised) {
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
  if (find_shards(shard_of_) == 0) return false;
  if (main_.stats().damaged_regions != 0) return fail("damage is reported in the work");
  CrashContents contents;
  if (!read_contents(main_, model_.any_expired(), contents)) return false;
  const std::string wrong = model_.judge(contents, model_.marks(), promised);
  if (!wrong.empty()) {
    std::string text = "reopening in the work: " + wrong + "\n  calls since the operation began:";
    for (const std::string& call : disk_.trace()) text += "\n    " + call;
    return fail(text);
  }
  // The places so far are judged by what the model is about to forget.
  if (!examine_places()) return false;
  model_.settle(contents);
  exposed_ = std::max(exposed_, main_.durable_sequence());
  sync_failed_ = false;
  key_first_ = key_last_ = key;
  return true;
}

bool FixedCrashSimulator::end_main(Ending ending) {
  bool promised = ending != Ending::power_cut && !sync_failed_;
  if (ending == Ending::close) {
    watch(true);
    const Status status = main_.close();
    watch(false);
    main_ = Collection();
    promised = promised && (status.ok() || !disk_.fault_met());
    if (!status.ok() && promised) return fail("does not close: " + status.message());
    sync_failed_ = sync_failed_ || !status.ok();
    if (status.ok()) model_.synced(model_.marks());
  } else {
    const Snapshot disk = disk_.snapshot();
    main_ = Collection();
    if (ending == Ending::kill) {
      disk_.restore(disk);
    } else {
      const auto plans = crash_plans(lab_, disk, strict_, random_, 1, tearing_);
      crash_as_planned(disk_, disk, plans.front());
      sync_failed_ = true;  // what was completed may be gone
    }
  }
  return open_main(promised);
}

// ---- Operations ----

std::uint64_t FixedCrashSimulator::random_expiry() {
  if (!expiring_ || random_.one_in(2)) return 0;
  return random_.one_in(2) ? kCrashFar : kCrashExpired;
}

// One write of one key, which completes it. With a sync it covers the key's shard; which keys are
// in it is known of the work's own collection only.
Status FixedCrashSimulator::do_write(const Subject& to, bool may_sync) {
  const std::size_t number = random_.below(kCrashKeys);
  WriteOptions options{may_sync && random_.one_in(10)};
  const Status status =
      to.model.value(number) ? write_old(to, number, options) : write_new(to, number, options);
  if (!status.ok()) return status;
  to.model.complete();
  const FixedCrashMarks now = to.model.marks();
  for (std::size_t key = 0; options.sync && key < kCrashKeys; ++key) {
    const bool same = &to.model == &model_ && shard_of_[key] == shard_of_[number];
    if (same || key == number) to.model.synced(now, key);
  }
  return status;
}

// Of a key that is there.
Status FixedCrashSimulator::write_old(const Subject& to, std::size_t number,
                                      WriteOptions& options) {
  const auto key = crash_key(number);
  const std::string old = *to.model.value(number);
  const std::uint64_t choice = random_.below(12);
  if (choice < 3) {
    to.model.start({number});
    return choice == 0 ? to.collection.compare_erase(key, old, options)
                       : to.collection.erase(key, options);
  }
  if (choice == 3 && expiring_) {
    to.model.start({number, old, 0});
    return to.collection.persist(key, options);
  }
  const std::string value = random_value();
  if (choice == 4) {  // refused: nothing may change, and nothing is synced
    options.sync = false;
    const Status status = to.collection.cas(key, value, value, options);
    if (status.is(Errc::value_mismatch)) return {};
    return status.ok() ? Status(Errc::corrupt, "a value was taken for another one") : status;
  }
  if (choice == 5) {
    to.model.start({number, value});
    return to.collection.cas(key, old, value, options);
  }
  if (choice == 6) {
    to.model.start({number, value, to.model.expiry(number)});
    Stamp seen;
    const auto read = to.collection.get(key, &seen);
    if (!read.ok()) return read.status();
    return to.collection.write({.key = Bytes(key),
                                .value = Bytes(value),
                                .kind = detail::WriteKind::if_unchanged,
                                .seen = seen,
                                .keep_expiry = true},
                               options);
  }
  if (choice == 7) {
    to.model.start({number, value});
    const auto before = to.collection.exchange(key, value, options);
    return before.ok() ? Status() : before.status();
  }
  const std::uint64_t expiry_ms = choice == 8 ? random_expiry() : 0;
  to.model.start({number, value, expiry_ms});
  if (expiry_ms == 0) return to.collection.put(key, value, options);
  return to.collection.write({.key = Bytes(key), .value = Bytes(value), .expires_at_ms = expiry_ms},
                             options);
}

Status FixedCrashSimulator::write_new(const Subject& to, std::size_t number,
                                      WriteOptions& options) {
  const auto key = crash_key(number);
  const std::string value = random_value();
  const std::uint64_t choice = random_.below(6);
  if (choice == 0) {  // refused too
    options.sync = false;
    const Status status = to.collection.erase(key, options);
    if (status.is(Errc::not_found)) return {};
    return status.ok() ? Status(Errc::corrupt, "what is not there was erased") : status;
  }
  if (choice == 1) {
    to.model.start({number, value});
    return to.collection.insert(key, value, options);
  }
  const std::uint64_t expiry_ms = random_expiry();
  to.model.start({number, value, expiry_ms});
  if (expiry_ms == kCrashFar && choice == 2) {
    options.ttl_ms = kCrashFar;
    return to.collection.put(key, value, options);
  }
  return to.collection.write({.key = Bytes(key), .value = Bytes(value), .expires_at_ms = expiry_ms},
                             options);
}

Status FixedCrashSimulator::do_put_many() {
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
  const bool sync = random_.one_in(6);
  Status status = main_.put_many(pairs, {sync});
  if (!status.ok()) return status;
  model_.complete();
  if (sync) model_.synced(model_.marks());
  return status;
}

// Most keys: what is left lies behind free slots.
Status FixedCrashSimulator::do_erase_many() {
  std::array<std::array<std::uint8_t, kCrashKeyBytes>, kCrashKeys> keys;
  std::vector<BytesPair> pairs;
  const std::uint64_t first = random_.below(kCrashKeys);
  for (std::size_t number = 0; number < kCrashKeys; ++number) {
    keys[number] = crash_key(number);
    if (number < first && !random_.one_in(4)) continue;
    pairs.push_back({Bytes(keys[number]), {}});
    if (model_.value(number)) model_.start({number});
  }
  const auto erased = main_.erase_many(pairs);
  return erased.ok() ? Status() : erased.status();
}

Status FixedCrashSimulator::do_sync() {
  const FixedCrashMarks before = model_.marks();
  // Several shards are synced by several threads, none of which may write; and a write that syncs
  // would wait for this one.
  const bool may_write = config_.shard_count == 1 && !config_.enable_fsync;
  if (may_write) beside_ = random_.below(4);
  step_ += ", sync with " + std::to_string(beside_) + " writes beside it";
  Status status = random_.one_in(5) ? main_.checkpoint() : main_.sync();
  beside_ = 0;
  if (status.ok()) model_.synced(before);
  if (status.ok()) std::swap(status, beside_status_);
  beside_status_ = Status();
  return status;
}

Status FixedCrashSimulator::do_care() {
  const std::uint64_t choice = random_.below(10);
  if (choice < 5) return do_sync();
  if (choice == 5) {
    step_ += ", flush";
    return main_.flush_buffers();
  }
  if (choice > 6) {
    step_ += ", compact";
    return main_.compact();
  }
  step_ += ", sweep";
  const auto swept = main_.sweep_expired(1000);
  return swept.ok() ? Status() : swept.status();
}

// After an operation: completes the writes, or reopens when it failed.
bool FixedCrashSimulator::settle(const Status& status) {
  plan_ = "in the work itself";
  if (disk_.fault_met()) counts_.faults += 1;
  const Stats stats = main_.stats();
  if (!status.ok() || stats.failed_shards != 0) {
    if (!disk_.fault_met()) return fail("an operation failed: " + status.message());
    if (status.ok()) model_.complete();
    // Which pages a failed sync took nobody can know; other failures take nothing completed.
    sync_failed_ = true;
    disk_.clear_faults();
    if (!examine_places()) return false;
    return end_main(random_.one_in(2) ? Ending::kill : Ending::close);
  }
  model_.complete();
  exposed_ = std::max(exposed_, main_.durable_sequence());
  if (stats.unsynced_shards == 0) model_.synced(model_.marks());
  return true;
}

bool FixedCrashSimulator::work_once() {
  disk_.set_trace(true);
  arm_fault();
  const std::uint64_t choice = random_.below(100);
  if (choice < 8) {
    const Ending ending = choice < 4   ? Ending::close
                          : choice < 6 ? Ending::kill
                                       : Ending::power_cut;
    step_ += ", ending " + std::to_string(static_cast<int>(ending));
    if (ending != Ending::close) disk_.clear_faults();
    return end_main(ending);
  }
  watch(true);
  Status status;
  if (choice < 50) {
    step_ += ", writes";
    for (std::uint64_t left = 1 + random_.below(4); status.ok() && left != 0; --left) {
      status = do_write({main_, model_}, true);
    }
  } else if (choice < 60) {
    step_ += ", many writes";
    status = do_put_many();
  } else if (choice < 66) {
    step_ += ", many erased";
    status = do_erase_many();
    // The end of the slots is cut off, and comes back at once.
    if (status.ok() && random_.one_in(2)) {
      model_.complete();
      step_ += ", compact, many writes";
      status = main_.compact();
      // What it made durable may not return with the slots that were cut off.
      if (status.ok() && main_.stats().unsynced_shards == 0) model_.synced(model_.marks());
      if (status.ok()) status = do_put_many();
    }
  } else if (settings_.keys && choice > 93) {
    status = random_.one_in(2) ? reencrypt(main_) : rotate_key(main_);
  } else {
    status = do_care();
  }
  watch(false);
  return settle(status);
}

bool FixedCrashSimulator::run() {
  counts_.works += 1;
  step_ = "opening";
  if (!open_main(true) || !examine_places()) return false;
  const std::size_t most = settings_.states_most;
  for (std::size_t at = 0; at < settings_.operations && counts_.all() < most; ++at) {
    past_ += "  " + step_ + "\n";
    step_ = "operation " + std::to_string(at);
    if (!work_once() || !examine_places()) return false;
    // Between operations too, for stores through a mapping are no calls.
    if (random_.one_in(2)) {
      add_place("the next operation");
      if (!examine_places()) return false;
    }
  }
  step_ = "closing";
  return end_main(Ending::close) && examine_places();
}

}  // namespace armdb::test

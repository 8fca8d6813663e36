// The crashes of the crash simulator for the Fixed store: recovering each state and judging it.
#include "support/fixed_crash_simulator.hpp"

#include <utility>

namespace armdb::test {

namespace {

// How often the dearer questions are asked.
constexpr std::size_t kReadOnlyOneIn = 5;
constexpr std::size_t kNewWritesOneIn = 2;
constexpr std::size_t kNestedOneIn = 8;
constexpr std::size_t kNestedPlaces = 6;

}  // namespace

// What is found key by key is what the walk found.
bool FixedCrashSimulator::check_gets(const Collection& collection, const CrashContents& contents) {
  for (std::size_t number = 0; number < kCrashKeys; ++number) {
    const auto key = crash_key(number);
    const auto value = collection.get(key);
    if (!value.ok()) return fail("a key cannot be read: " + value.message());
    std::uint64_t hash = 0;
    if (value->has_value()) {
      const Result<std::uint64_t> expiry = collection.expires_at(key);
      if (!expiry.ok()) return fail("an expiry cannot be read: " + expiry.message());
      hash = crash_value_hash(**value, *expiry == WriteOptions::kForever ? 0 : *expiry);
    }
    if (hash != contents[number]) return fail("get() and for_each() differ");
  }
  return true;
}

bool FixedCrashSimulator::open_again(FaultFileSystem& files, const CrashPlace& place,
                                     bool any_expired, Collection& collection,
                                     CrashContents& contents) {
  log_.clear();
  std::uint64_t key = place.key_first;
  Result<Collection> opened = open_with(config_for(files), key, place.key_last);
  if (!opened.ok()) return fail("does not open: " + opened.message());
  collection = std::move(*opened);
  const Stats stats = collection.stats();
  if (stats.damaged_regions != 0) return fail("damage is reported after a mere crash");
  if (stats.unsynced_shards != 0) return fail("what was recovered is not durable");
  if (!read_contents(collection, any_expired, contents)) return false;
  if (!check_gets(collection, contents)) return false;
  const Result<VerifyReport> report = collection.verify();
  if (!report.ok()) return fail("verify() fails: " + report.message());
  if (report->damaged_regions != 0) return fail("verify() finds damage after a mere crash");
  return report->entries == collection.size() || fail("a key is in two slots of the file");
}

// After a kill all completed writes must be there.
bool FixedCrashSimulator::recover(FaultFileSystem& files, const Place& place, bool killed,
                                  Collection& collection, CrashContents& contents) {
  if (!open_again(files, place, model_.any_expired(), collection, contents)) return false;
  if (collection.durable_sequence() < place.exposed) return fail("sequences are used again");
  const std::string wrong = model_.judge(contents, place.marks, killed && !place.sync_failed);
  return wrong.empty() || fail(wrong);
}

bool FixedCrashSimulator::examine_places() {
  std::vector<Place> places;
  {
    const base::MutexLock lock(places_mutex_);
    places.swap(places_);
  }
  for (const Place& place : places) {
    if (!examine(place)) return false;
  }
  return true;
}

bool FixedCrashSimulator::examine(const Place& place) {
  counts_.places += 1;
  const auto plans =
      crash_plans(lab_, place.disk, strict_, random_, settings_.states_per_place, tearing_);
  for (const CrashPlan& plan : plans) {
    plan_ = "power cut before " + place.call + ": " + plan.text();
    if (!examine_state(place, plan)) return false;
  }
  return random_.one_in(2) ? examine_kill(place) : true;
}

bool FixedCrashSimulator::examine_state(const Place& place, const CrashPlan& plan) {
  crash_as_planned(lab_, place.disk, plan);
  std::uint64_t key = lab_.hash();
  for (const CrashMark& mark : place.marks) key = key * 31 + mark.durable * 7919 + mark.started;
  if (!seen_.insert(key).second) return true;
  counts_.states += 1;

  const bool read_only_too = random_.one_in(kReadOnlyOneIn);
  const bool nested = random_.one_in(kNestedOneIn);
  const Snapshot before = lab_.snapshot();
  std::vector<Snapshot> inside;
  if (nested) record(&inside);
  Collection collection;
  CrashContents contents;
  const bool good = recover(lab_, place, false, collection, contents);
  if (nested) record(nullptr);
  if (!good) return false;

  if (random_.one_in(kNewWritesOneIn)) {
    if (!examine_new_writes(collection, place, contents)) return false;
  } else {
    const Status closed = collection.close();
    if (!closed.ok()) return fail("a recovered collection does not close: " + closed.message());
    CrashContents again;
    if (!open_again(lab_, place, model_.any_expired(), collection, again)) return false;
    if (again != contents) return fail("other contents after a clean close");
  }
  collection = Collection();
  if (nested && !examine_nested(inside, place)) return false;
  if (!read_only_too) return true;
  plan_ += ", read only";
  lab_.restore(before);
  return examine_read_only(place, model_.any_expired(), contents);
}

// Writes to a recovered collection, then cuts the power: what was recovered is durable, and the new
// writes are from their sync on.
bool FixedCrashSimulator::examine_new_writes(Collection& collection, const Place& place,
                                             const CrashContents& contents) {
  FixedCrashModel model = model_;
  model.settle(contents);
  std::string work = ", then";
  for (std::uint64_t left = random_.below(8); left != 0; --left) {
    const bool sync = random_.one_in(4);
    work += sync ? " sync" : " write";
    const Status status = sync ? collection.sync() : do_write({collection, model}, true);
    if (!status.ok()) return fail("cannot be written: " + status.message());
    if (sync) model.synced(model.marks());
  }
  const Snapshot after = lab_.snapshot();
  collection = Collection();
  const std::string plan = plan_;
  for (std::uint64_t way = 0; way < 2; ++way) {
    lab_.restore(after);
    cut_again(lab_, random_.below(4));
    plan_ = plan + work + " and another power cut";
    counts_.second_states += 1;
    CrashContents again;
    if (!open_again(lab_, place, model.any_expired(), collection, again)) return false;
    const std::string wrong = model.judge(again, model.marks(), false);
    if (!wrong.empty()) return fail(wrong);
    collection = Collection();
  }
  plan_ = plan;
  return true;
}

void FixedCrashSimulator::cut_again(FaultFileSystem& files, std::uint64_t way) {
  const std::uint64_t seed = random_.next();
  if (way == 0) return files.power_cut_lose_all();
  if (way == 1) return files.power_cut_keep_all();
  files.power_cut_random(seed, tearing_);
}

bool FixedCrashSimulator::examine_nested(const std::vector<Snapshot>& inside, const Place& place) {
  const std::string plan = plan_;
  const std::size_t skip = 1 + inside.size() / kNestedPlaces;
  for (std::size_t at = 0; at < inside.size(); at += 1 + random_.below(2 * skip)) {
    for (std::uint64_t way = 0; way < 4; ++way) {
      second_lab_.restore(inside[at]);
      cut_again(second_lab_, way);
      plan_ = plan + "\n  then, recovering, at change " + std::to_string(at) + " of " +
              std::to_string(inside.size()) + ", power cut way " + std::to_string(way);
      counts_.second_states += 1;
      Collection collection;
      CrashContents contents;
      if (!recover(second_lab_, place, false, collection, contents)) return false;
      // And again: what was found now is durable.
      const Snapshot after = second_lab_.snapshot();
      collection = Collection();
      second_lab_.restore(after);
      cut_again(second_lab_, 2);
      CrashContents again;
      if (!open_again(second_lab_, place, model_.any_expired(), collection, again)) return false;
      if (again != contents) return fail("what was recovered is lost after another power cut");
    }
  }
  plan_ = plan;
  return true;
}

// kill -9, reopen, power cut: what was there when it was opened must still be there; amid opening
// too, what was durable.
bool FixedCrashSimulator::examine_kill(const Place& place) {
  plan_ = "kill before " + place.call;
  lab_.restore(place.disk);
  // One shard's sync has just failed and its pages are being dropped, while another shard makes a
  // call: a kill in between cannot be told from one after a sync.
  if (config_.shard_count > 1 && !lab_.stale_files().empty()) return true;
  counts_.kills += 1;
  const bool nested = random_.one_in(kNestedOneIn);
  std::vector<Snapshot> inside;
  if (nested) record(&inside);
  Collection collection;
  CrashContents contents;
  const bool good = recover(lab_, place, true, collection, contents);
  if (nested) record(nullptr);
  if (!good || (nested && !examine_nested(inside, place))) return false;
  return examine_new_writes(collection, place, contents);
}

}  // namespace armdb::test

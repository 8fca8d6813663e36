// The crashes of the crash simulator: recovering each state and judging it.
#include "support/crash_simulator.hpp"

#include <algorithm>
#include <utility>

namespace armdb::test {

namespace {

// How often the dearer questions are asked.
constexpr std::size_t kReadOnlyOneIn = 6;
constexpr std::size_t kNewWriteOneIn = 4;
constexpr std::size_t kNestedOneIn = 12;
constexpr std::size_t kCloseOneIn = 8;
constexpr std::size_t kNestedPlaces = 6;

}  // namespace

bool CrashSimulator::read_now(const Collection& collection, CrashContents& contents) {
  return read_contents(collection, model_.any_expired(), contents);
}

// `all`: everything that was completed has to be there, else what was durable.
std::optional<std::vector<std::size_t>> CrashSimulator::find_all(
    const CrashContents& contents, const std::vector<CrashMark>& marks, bool all) const {
  std::vector<CrashModel::Range> ranges;
  for (const CrashMark& mark : marks) {
    ranges.push_back({all ? mark.completed : mark.durable, mark.started});
  }
  return model_.find_all(contents, ranges);
}

// Opens what is on `files`; after a kill all completed writes must be there.
bool CrashSimulator::recover(FaultFileSystem& files, const Place& place, bool killed,
                             Opened& opened) {
  log_.clear();
  std::uint64_t key = place.key_first;
  Result<Collection> collection = open_with(config_for(files), key, place.key_last);
  if (!collection.ok()) return fail("does not open: " + collection.message());
  opened.collection = std::move(*collection);
  const Stats stats = opened.collection.stats();
  if (stats.damaged_regions != 0) return fail("damage is reported after a mere crash");
  if (!read_now(opened.collection, opened.contents)) return false;
  opened.j.clear();
  if (place.marks.empty()) {
    return opened.contents == CrashContents() || fail("something is there before any write");
  }
  const bool all = killed && !place.sync_failed;
  auto j = find_all(opened.contents, place.marks, all);
  if (!j) return fail("recovered to " + states_text(opened.contents, place.marks, all));
  opened.j = std::move(*j);
  return true;
}

// What each shard went back to, for a failure.
std::string CrashSimulator::states_text(const CrashContents& contents,
                                        const std::vector<CrashMark>& marks, bool all) const {
  std::string text = all ? "less than was completed:" : "less than was durable, or half a batch:";
  for (std::size_t shard = 0; shard < marks.size(); ++shard) {
    const CrashMark& mark = marks[shard];
    const auto any = model_.find(shard, contents, 0, model_.mark(shard).started);
    text += "\n  shard " + std::to_string(shard) + ": " +
            (any ? "write " + std::to_string(*any) : std::string("no state it ever had")) +
            "; durable " + std::to_string(mark.durable) + ", completed " +
            std::to_string(mark.completed) + ", started " + std::to_string(mark.started);
  }
  return text;
}

// Lets go of a collection whose disk is about to be restored: what closing does is not looked at.
void CrashSimulator::leave(Opened& opened) { opened.collection = Collection(); }

bool CrashSimulator::examine_places() {
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

bool CrashSimulator::examine(const Place& place) {
  counts_.places += 1;
  const auto plans = crash_plans(lab_, place.disk, strict_, random_, settings_.states_per_place);
  for (const CrashPlan& plan : plans) {
    plan_ = "power cut before " + place.call + ": " + plan.text();
    if (!examine_state(place, plan)) return false;
  }
  if (random_.one_in(2)) return examine_kill(place);
  return true;
}

bool CrashSimulator::examine_state(const Place& place, const CrashPlan& plan) {
  crash_as_planned(lab_, place.disk, plan);
  std::uint64_t key = lab_.hash();
  for (const CrashMark& mark : place.marks) key = key * 31 + mark.durable * 7919 + mark.started;
  if (!seen_.insert(key).second) return true;
  counts_.states += 1;

  const bool read_only_too = random_.one_in(kReadOnlyOneIn);
  const bool nested = random_.one_in(kNestedOneIn);
  Snapshot before;
  if (read_only_too || nested) before = lab_.snapshot();
  std::vector<Snapshot> inside;
  if (nested) record(&inside);
  Opened opened;
  const bool good = recover(lab_, place, false, opened);
  if (nested) record(nullptr);
  if (!good) return leave(opened), false;
  const CrashContents contents = opened.contents;

  if (random_.one_in(kNewWriteOneIn)) {
    if (!examine_new_write(std::move(opened), place)) return false;
  } else if (random_.one_in(kCloseOneIn)) {
    const Status closed = opened.collection.close();
    if (!closed.ok()) return fail("a recovered collection does not close: " + closed.message());
    if (!recover(lab_, place, false, opened)) return leave(opened), false;
    if (opened.contents != contents) return fail("other contents after a clean close");
  }
  leave(opened);
  if (nested && !examine_nested(inside, place)) return false;
  if (!read_only_too) return true;
  lab_.restore(before);
  return examine_read_only(place, model_.any_expired(), contents);
}

bool CrashSimulator::examine_new_write(Opened opened, const Place& place) {
  const std::size_t number = static_cast<std::size_t>(random_.below(kCrashKeys));
  const std::string value = random_value();
  const auto key = crash_key(number);
  // All that was recovered is synced with it, or only its shard and what batches bind to that.
  const bool all = place.marks.empty() || random_.one_in(2);
  Status status = opened.collection.put(key, value, {.sync = !all});
  if (status.ok() && all) status = opened.collection.sync();
  if (!status.ok()) {
    return fail("a recovered collection cannot be written: " + status.message());
  }
  if (!place.marks.empty() && place.marks[model_.shard_of(number)].durable != 0) {
    const std::size_t shard = model_.shard_of(number);
    const std::uint64_t sequence = opened.collection.durable_sequence(key);
    if (sequence <= place.marks[shard].exposed) {
      return fail("sequence " + std::to_string(sequence) + " was durable once and is used again; " +
                  std::to_string(place.marks[shard].exposed) + " is the largest");
    }
  }
  const Snapshot after = lab_.snapshot();
  leave(opened);
  lab_.restore(after);
  if (random_.one_in(2)) {
    lab_.power_cut_lose_all();
  } else {
    lab_.power_cut_random(random_.next());
  }
  counts_.second_states += 1;
  log_.clear();
  std::uint64_t key_now = place.key_first;
  Result<Collection> again = open_with(config_for(lab_), key_now, place.key_last);
  if (!again.ok()) return fail("does not open after a new write: " + again.message());
  CrashContents contents;
  if (!read_now(*again, contents)) return false;
  if (again->stats().damaged_regions != 0) return fail("damage is reported after a new write");
  if (contents[number] != crash_value_hash(value)) return fail("a new write is lost after a sync");
  contents[number] = opened.contents[number];
  std::vector<CrashModel::Range> ranges;
  for (std::size_t shard = 0; !all && shard < opened.j.size(); ++shard) {
    const bool synced = shard == model_.shard_of(number);
    ranges.push_back({synced ? opened.j[shard] : place.marks[shard].durable, opened.j[shard]});
  }
  return (all ? contents == opened.contents : model_.find_all(contents, ranges).has_value()) ||
         fail("recovered entries are lost after a sync" + std::string(all ? "" : " of one shard"));
}

bool CrashSimulator::examine_nested(const std::vector<Snapshot>& inside, const Place& place) {
  const std::string plan = plan_;
  const std::size_t skip = 1 + inside.size() / kNestedPlaces;
  for (std::size_t at = 0; at < inside.size(); at += 1 + random_.below(2 * skip)) {
    for (int way = 0; way < 4; ++way) {
      second_lab_.restore(inside[at]);
      const std::uint64_t seed = random_.next();
      if (way == 0) second_lab_.power_cut_lose_all();
      if (way == 1) second_lab_.power_cut_keep_all();
      if (way >= 2) second_lab_.power_cut_random(seed);
      plan_ = plan + "\n  then, recovering, at change " + std::to_string(at) + " of " +
              std::to_string(inside.size()) + ", power cut way " + std::to_string(way);
      counts_.second_states += 1;
      Opened opened;
      if (!recover(second_lab_, place, false, opened)) return leave(opened), false;
      leave(opened);
    }
  }
  return true;
}

// kill -9, reopen, power cut: what the reopened collection called durable must still be there.
bool CrashSimulator::examine_kill(const Place& place) {
  plan_ = "kill before " + place.call;
  lab_.restore(place.disk);
  // One shard's sync has just failed and its pages are being dropped, while another shard makes a
  // call: a kill in between cannot be told from one after a sync.
  const std::vector<std::string> stale = lab_.stale_files();
  const auto log = [](const std::string& path) { return path.ends_with(".data"); };
  if (config_.shard_count > 1 && std::any_of(stale.begin(), stale.end(), log)) return true;
  counts_.kills += 1;
  Opened opened;
  if (!recover(lab_, place, true, opened)) return leave(opened), false;
  Place later = place;
  const bool sync = random_.one_in(2);
  if (sync) {
    const Status status = opened.collection.sync();
    if (!status.ok()) return fail("no sync after a kill: " + status.message());
  }
  for (std::size_t shard = 0; shard < later.marks.size(); ++shard) {
    const std::size_t key = model_.key_of(shard);
    CrashMark& mark = later.marks[shard];
    mark.started = opened.j[shard];
    if (sync) mark.durable = opened.j[shard];
    if (sync || key == kCrashKeys) continue;
    const std::uint64_t durable = opened.collection.durable_sequence(crash_key(key));
    const std::size_t writes = model_.writes_up_to(shard, durable);
    mark.durable = std::max(mark.durable, std::min(writes, opened.j[shard]));
  }
  later.disk = lab_.snapshot();
  leave(opened);
  const std::string plan = plan_ + (sync ? ", sync" : "") + ", then power cut ";
  for (int way = 0; way < 3; ++way) {
    lab_.restore(later.disk);
    const std::uint64_t seed = random_.next();
    if (way == 0) lab_.power_cut_lose_all();
    if (way != 0) lab_.power_cut_random(seed);
    plan_ = plan + std::to_string(way);
    counts_.second_states += 1;
    if (!recover(lab_, later, false, opened)) return leave(opened), false;
    leave(opened);
  }
  return true;
}

}  // namespace armdb::test

// Random programs: writes of many keys, and migrations.
#include <algorithm>

#include "support/model_program.hpp"

namespace armdb::test {

// ---- Atomic blocks ----

AtomicStep Program::random_atomic_step(std::uint32_t shard, bool foreign) {
  AtomicStep step;
  step.kind = static_cast<AtomicStep::Kind>(dice_.below(6));
  step.key = foreign ? random_key() : random_key_of(shard);
  step.value = random_value();
  step.ttl_ms = random_options().ttl_ms;
  step.change = random_change(Change::Call::update);
  step.change.throws = false;  // blocks throw at their end
  return step;
}

void Program::atomic() {
  if (subject_->fixed()) {
    const auto body = [](detail::AtomicCalls&) { return Status(); };
    return check_code(subject_->raw().atomic(Bytes("abcd"), body, {}), Errc::unsupported, "atomic");
  }
  const ModelKey key = random_key();
  Block block;
  block.shard = shard_of(key);
  std::vector<AtomicStep> steps;
  for (std::size_t left = dice_.below(10); left > 0; --left) {
    steps.push_back(random_atomic_step(block.shard, dice_.one_in(10)));
    // Often again what the block has touched.
    if (steps.size() > 1 && dice_.one_in(2)) {
      steps.back().key = steps[dice_.below(steps.size() - 1)].key;
    }
  }
  const auto end = static_cast<AtomicEnd>(dice_.one_in(3) ? dice_.below(4) : dice_.below(2));
  WriteOptions options = random_options();
  options.ttl_ms = 0;
  Status status;
  bool thrown = false;
  try {
    status = subject_->atomic(key, steps, end, options);
  } catch (const Thrown&) {
    thrown = true;
  }
  check(thrown == (end == AtomicEnd::throws), "atomic let an exception out, or kept it");
  check_code(status, end == AtomicEnd::error ? kBlockError : Errc::ok, "atomic");
  for (const AtomicStep& step : steps) check_atomic_step(step, block);
  if (end == AtomicEnd::ok || end == AtomicEnd::nothing) {
    state_.begin_group();
    for (const auto& [written, entry] : block.writes) {
      entry ? state_.set(written, entry->value, entry->expires_at) : state_.erase(written);
    }
    state_.end_group();
    if (options.sync) state_.synced(key);
  }
  for (const AtomicStep& step : steps) check_one(step.key, "after an atomic block");
  maybe_crash();
}

void Program::check_atomic_step(const AtomicStep& step, Block& block) {
  const std::string what = "a call in atomic, on " + std::to_string(step.key) + ",";
  if (shard_of(step.key) != block.shard) {
    check(step.change.calls == 0, what + " called its function for another shard's key");
    return check_code(step.status, Errc::shard_mismatch, what);
  }
  const auto own = block.own.find(step.key);
  const ModelEntry* old = state_.find(step.key);
  if (own != block.own.end()) old = own->second ? &*own->second : nullptr;
  if (step.kind == AtomicStep::Kind::get) {
    check_code(step.status, Errc::ok, "get: " + what);
    return check(step.got == (old != nullptr ? std::optional(old->value) : std::nullopt),
                 "get: " + what + " gave another value");
  }
  if (step.kind == AtomicStep::Kind::contains) {
    check_code(step.status, Errc::ok, "contains: " + what);
    return check(step.got.has_value() == (old != nullptr), "contains: " + what + " was wrong");
  }
  check_atomic_write(step, old, block);
}

void Program::check_atomic_write(const AtomicStep& step, const ModelEntry* old, Block& block) {
  const std::string what = " in atomic, on " + std::to_string(step.key) + ",";
  const bool there = old != nullptr;
  switch (step.kind) {
    case AtomicStep::Kind::put:
      check_code(step.status, Errc::ok, "put" + what);
      return block.write(step.key, ModelEntry{step.value, expiry_of(step.ttl_ms), 0});
    case AtomicStep::Kind::insert:
      check_code(step.status, there ? Errc::key_exists : Errc::ok, "insert" + what);
      if (!there) block.write(step.key, ModelEntry{step.value, expiry_of(step.ttl_ms), 0});
      return;
    case AtomicStep::Kind::erase:
      check_code(step.status, there ? Errc::ok : Errc::not_found, "erase" + what);
      if (there) block.write(step.key, std::nullopt);
      return;
    default:
      break;
  }
  check(step.change.calls == (there ? 1 : 0), "update" + what + " called its function, or did not");
  check(step.change.seen == (there ? std::optional(old->value) : std::nullopt),
        "update" + what + " showed another value");
  const Errc wanted = there ? outcome(step.change) : Errc::not_found;
  check_code(step.status, wanted, "update" + what);
  if (wanted != Errc::ok) return;
  block.write(step.key, ModelEntry{step.change.fresh, expiry_of(step.ttl_ms, old), 0});
}

void Program::check_one(ModelKey key, const std::string& when) {
  const Result<Subject::Found> value = subject_->get(key);
  need(value.status(), "get");
  const ModelEntry* found = state_.find(key);
  check(*value == (found != nullptr ? std::optional(found->value) : std::nullopt),
        "get(" + std::to_string(key) + ") " + when);
  check_expiry(key);
}

// ---- Batches ----

void Program::batch() {
  if (subject_->fixed()) return;
  std::vector<BatchItem> items;
  for (std::size_t left = dice_.below(dice_.one_in(5) ? 200 : 12); left > 0; --left) {
    BatchItem item;
    item.key =
        !items.empty() && dice_.one_in(5) ? items[dice_.below(items.size())].key : random_key();
    if (!dice_.one_in(3)) item.value = random_value();
    item.ttl_ms = random_options().ttl_ms;
    items.push_back(std::move(item));
  }
  WriteOptions options = random_options();
  options.ttl_ms = 0;
  need(subject_->batch(items, options), "a batch");
  state_.begin_group();
  for (const BatchItem& item : items) {
    if (item.value) state_.set(item.key, *item.value, expiry_of(item.ttl_ms));
    if (!item.value && state_.find(item.key) != nullptr) state_.erase(item.key);
  }
  state_.end_group();
  for (const BatchItem& item : items) {
    if (options.sync) state_.synced(item.key);
    check_one(item.key, "after a batch");
  }
  maybe_crash();
}

// ---- In bulk ----

void Program::put_many() {
  const Entries entries = random_entries(150);
  WriteOptions options = random_options();
  need(subject_->put_many(entries, options), "put_many");
  const bool sync = std::exchange(options.sync, false);
  for (const auto& [key, value] : entries) set(key, value, options);
  if (sync) state_.all_synced();
}

// Trees take them in the order of keys.
void Program::load() {
  Entries entries = random_entries(dice_.one_in(5) ? static_cast<std::size_t>(options_.keys) : 200);
  const auto by_key = [](const auto& a, const auto& b) { return a.first < b.first; };
  if (dice_.one_in(3)) std::stable_sort(entries.begin(), entries.end(), by_key);
  if (dice_.one_in(6)) std::reverse(entries.begin(), entries.end());
  WriteOptions options = random_options();
  need(subject_->load(entries, options), "load");
  const bool sync = std::exchange(options.sync, false);
  if (subject_->ordered()) std::stable_sort(entries.begin(), entries.end(), by_key);
  for (const auto& [key, value] : entries) set(key, value, options);
  if (sync) state_.all_synced();
}

// Of trees: a range or a prefix.
void Program::erase_some() {
  if (!subject_->ordered()) {
    const Bytes prefix;
    return check_code(subject_->raw().erase_prefix(prefix).status(), Errc::unsupported,
                      "erase_prefix of a map");
  }
  Walk how;
  how.over = dice_.one_in(2) ? Walk::Over::range : Walk::Over::prefix;
  how.first = Bound<ModelKey>::inclusive(random_key());
  how.last = Bound<ModelKey>::exclusive(how.first.key + static_cast<ModelKey>(dice_.below(40)) - 5);
  how.prefix = random_prefix(dice_.one_in(10) ? 3 : 4);
  const Entries gone = expected_walk(state_.now(), how, false);
  const bool range = how.over == Walk::Over::range;
  const Result<std::uint64_t> erased_count =
      range ? subject_->erase_range(how.first.key, how.last.key)
            : subject_->erase_prefix(how.prefix);
  const std::string what = range ? "erase_range" : "erase_prefix";
  need(erased_count.status(), what);
  check(*erased_count == gone.size(),
        what + " erased " + std::to_string(*erased_count) + ", not " + std::to_string(gone.size()));
  for (const auto& [key, value] : gone) state_.erase(key);
  check_walk({});
}

void Program::clear() {
  const Entries gone = expected_walk(state_.now(), {}, false);
  const Result<std::uint64_t> cleared = subject_->clear();
  need(cleared.status(), "clear");
  check(*cleared == gone.size(),
        "clear() erased " + std::to_string(*cleared) + ", not " + std::to_string(gone.size()));
  for (const auto& [key, value] : gone) state_.erase(key);
  check_all();
  // Maps erase in an order that the model does not know.
  if (subject_->ordered() || !options_.power_cut) return;
  need(subject_->raw().sync(), "sync");
  state_.all_synced();
}

// ---- Migrations ----

void Program::migrate() {
  const bool open = migration_.open;
  std::uint32_t version = migration_.to_version;
  if (!open)
    version = dice_.one_in(2) ? 0 : data_version_ + static_cast<std::uint32_t>(dice_.below(3));
  MigrateCall refused;
  refused.may_ask = false;
  if (open && dice_.one_in(3)) {
    check_code(run_migration(refused, version + 1), Errc::invalid_argument,
               "a migration beside another one that is not finished");
  }
  MigrateCall call;
  call.may_ask = open || version == 0 || version > data_version_;
  if (dice_.one_in(2)) call.stop_at = 1 + dice_.below(3);
  if (!open && call.may_ask) {
    migration_ = {};
    migration_.open = true;
    migration_.to_version = version;
    migration_.begun_at = state_.last_number();
  }
  const Status status = run_migration(call, version);
  check_code(status, call.stopped ? Errc::aborted : Errc::ok, "migrate");
  if (!call.stopped && call.may_ask) finish_migration();
  check(subject_->raw().data_version() == data_version_, "data_version() after a migration");
  check_all();
  maybe_crash();
}

Status Program::run_migration(MigrateCall& call, std::uint32_t to_version) {
  MigrateOptions options{to_version, &Program::take_report, &call};
  if (call.stop_at == 0 && dice_.one_in(3)) options.progress = nullptr;
  Status status = subject_->migrate(
      [&](ModelKey key, const std::string& value) { return answer_migration(call, key, value); },
      options);
  check(call.wrong.empty(), "a migration " + call.wrong);
  const bool reports = options.progress != nullptr && call.may_ask;
  check(!reports || call.reports > 0, "a migration reported nothing");
  return status;
}

// The write happens as soon as this returns.
MigrateAnswer Program::answer_migration(MigrateCall& call, ModelKey key, const std::string& value) {
  const ModelEntry* entry = state_.find(key);
  const std::string name = std::to_string(key);
  if (!call.may_ask) call.wrong = "that does nothing asked about " + name;
  if (!call.asked.insert(key).second) call.wrong = "asked twice about " + name;
  if (entry == nullptr) {
    call.wrong = "asked about " + name + ", which is not there";
  } else if (entry->value != value) {
    call.wrong = "showed another value of " + name;
  } else if (entry->number > migration_.begun_at) {
    call.wrong = "asked about " + name + ", written since it began";
  }
  MigrateAnswer answer;
  if (!call.wrong.empty()) return answer;
  answer.verdict = static_cast<MigrateVerdict>(dice_.below(3));
  if (dice_.one_in(2)) answer.verdict = MigrateVerdict::keep;
  if (answer.verdict == MigrateVerdict::keep) {
    migration_.kept[key] = entry->number;
    return answer;
  }
  if (options_.power_cut) migration_.changed[shard_of(key)] = {key, state_.last_number() + 1};
  if (answer.verdict == MigrateVerdict::erase) {
    ++call.erased;
    state_.erase(key);
    return answer;
  }
  ++call.updated;
  answer.fresh = random_value();
  state_.set(key, answer.fresh, entry->expires_at);
  return answer;
}

bool Program::take_report(void* context, const MigrationProgress& progress) {
  auto* call = static_cast<MigrateCall*>(context);
  if (progress.seen != call->asked.size() || progress.updated != call->updated ||
      progress.erased != call->erased) {
    call->wrong = "reported other numbers than those of its calls";
  }
  if (call->stopped) call->wrong = "went on after it was stopped";
  // The report at the end stops nothing.
  const bool middle = progress.seen == 1024 * ++call->reports;
  call->stopped = middle && call->reports == call->stop_at;
  return !call->stopped;
}

// All that was there when it began has been asked about, and what it changed is durable.
void Program::finish_migration() {
  for (const auto& [key, entry] : state_.now()) {
    const auto kept = migration_.kept.find(key);
    check(entry.number > migration_.begun_at ||
              (kept != migration_.kept.end() && kept->second == entry.number),
          "a migration did not ask about " + std::to_string(key));
  }
  for (const auto& [shard, last] : migration_.changed) state_.synced(last.first, last.second);
  data_version_ = std::max(data_version_, migration_.to_version);
  migration_.open = false;
}

}  // namespace armdb::test

// The driver of random programs: opening and crashing, choosing, and reads.
#include "support/model_program.hpp"

#include <algorithm>
#include <chrono>

namespace armdb::test {

std::string Dice::text(std::size_t size) {
  std::string text(size, ' ');
  std::uint64_t word = 0;
  for (std::size_t at = 0; at < size; ++at, word >>= 8) {
    if (at % 8 == 0) word = next();
    text[at] = static_cast<char>('a' + (word & 0xff) % 26);
  }
  return text;
}

Program::Program(const ProgramOptions& options)
    : options_(options),
      dice_(options.seed),
      subject_(Subject::make(options.kind)),
      state_(options.power_cut ? [this](ModelKey key) { return shard_of(key); }
                               : std::function<std::uint32_t(ModelKey)>(),
             subject_->fixed()) {
  config_ = options.config;
  config_.log = {&Program::take_log, this};
}

void Program::run() {
  open();
  for (step_ = 0; step_ < options_.operations; ++step_) step();
  check_all();
  need(subject_->raw().close(), "close");
  check_code(subject_->raw().put(Bytes("abcd"), Bytes("")), Errc::closed, "a put after close");
  open();
  check_all();
}

// Opening logs from several threads, the shards' ones.
void Program::take_log(void* self, LogLevel level, std::string_view text) {
  auto* const program = static_cast<Program*>(self);
  if (level != LogLevel::error) return;
  const std::lock_guard lock(program->log_mutex_);
  program->log_ += "\n  log: " + std::string(text);
}

void Program::check_code(const Status& status, Errc wanted, const std::string& what) {
  if (status.is(wanted)) return;
  throw std::runtime_error(what + " answered \"" + status.message() + "\", not " +
                           std::string(errc_name(wanted)));
}

// ---- Opening, closing, crashing ----

void Program::open() {
  log_.clear();
  need(subject_->open(options_.path, config_), "open");
  const Stats stats = subject_->raw().stats();
  check(stats.damaged_regions == 0, "damage was reported");
  check(stats.failed_shards == 0 && stats.full_shards == 0, "shards are not well");
  check(subject_->raw().data_version() == data_version_,
        "the data version is " + std::to_string(subject_->raw().data_version()) + ", not " +
            std::to_string(data_version_));
  survives_kill_ = stats.written_survives_kill;
}

void Program::reopen() {
  if (dice_.one_in(2)) {
    need(subject_->raw().close(), "close");
  } else {
    subject_->drop();
  }
  state_.all_synced();
  subject_->drop();
  open();
  // What a power cut tore of a slot stays so until the slot is written again.
  const bool torn = subject_->raw().stats().torn_bytes != 0;
  check(!torn || (subject_->fixed() && options_.power_cut), "torn after a plain close");
  check_all();
}

void Program::kill() {
  if (!survives_kill_) need(subject_->raw().flush_buffers(), "flush_buffers");
  options_.kill();
  subject_->drop();
  open();
  check(subject_->raw().stats().segments_set_aside == 0, "set aside after a kill");
  check_all();
}

void Program::power_cut() {
  options_.power_cut(dice_.next());
  subject_->drop();
  open();
  const Result<Entries> entries = subject_->walk({});
  need(entries.status(), "reading what was recovered");
  ModelMap found;
  for (const auto& [key, value] : *entries) {
    const Result<std::uint64_t> expiry = subject_->expires_at(key);
    need(expiry.status(), "expires_at of what was recovered");
    check(found.emplace(key, ModelEntry{value, *expiry == WriteOptions::kForever ? 0 : *expiry, 0})
              .second,
          "a walk gave a key twice");
  }
  const std::string wrong = state_.accept(found);
  check(wrong.empty(), "after a power cut: " + wrong);
  migration_.changed.clear();  // or lost
  check_all();
}

// Now and then behind a group of writes, which must then be there whole.
void Program::maybe_crash() {
  if (!dice_.one_in(options_.power_cut ? 4 : 30)) return;
  if (options_.power_cut && dice_.one_in(2)) return power_cut();
  if (options_.kill) kill();
}

// A block that may ask about the key is in its shard.
std::uint32_t Program::shard_of(ModelKey key) {
  if (options_.shard_of) return options_.shard_of(key);
  const auto known = shards_.find(key);
  if (known != shards_.end()) return known->second;
  std::uint32_t shard = 0;
  for (; shard < shard_keys_.size(); ++shard) {
    std::vector<AtomicStep> steps(1);
    steps[0].kind = AtomicStep::Kind::contains;
    steps[0].key = key;
    need(subject_->atomic(shard_keys_[shard], steps, AtomicEnd::ok, {}), "asking for a shard");
    if (steps[0].status.ok()) break;
    check_code(steps[0].status, Errc::shard_mismatch, "asking for a shard");
  }
  if (shard == shard_keys_.size()) shard_keys_.push_back(key);
  check(shard_keys_.size() <= subject_->raw().stats().shards, "more shards than there are");
  return shards_[key] = shard;
}

// ---- Checks ----

void Program::check_all() {
  const Collection& raw = subject_->raw();
  const ModelMap& model = state_.now();
  check(raw.size() == model.size(),
        "size() is " + std::to_string(raw.size()) + ", not " + std::to_string(model.size()));
  check(raw.stats().entries == model.size(), "stats().entries");
  check_walk({});
  for (const auto& [key, entry] : model) check_expiry(key);
}

void Program::check_walk(const Walk& how) {
  Result<Entries> entries = subject_->walk(how);
  need(entries.status(), "walk");
  if (!subject_->ordered()) std::sort(entries->begin(), entries->end());
  const bool reversed = subject_->ordered() && options_.config.reversed;
  const Entries wanted = expected_walk(state_.now(), how, reversed);
  check(*entries == wanted, "a walk gave " + std::to_string(entries->size()) +
                                " entries, or others, than the " + std::to_string(wanted.size()) +
                                " of the model");
}

void Program::check_expiry(ModelKey key) {
  const std::string what = "expires_at(" + std::to_string(key) + ")";
  const Result<std::uint64_t> expiry = subject_->expires_at(key);
  const ModelEntry* entry = state_.find(key);
  check_code(expiry.status(), entry == nullptr ? Errc::not_found : Errc::ok, what);
  if (entry == nullptr) return;
  const ModelEntry found{entry->value, *expiry == WriteOptions::kForever ? 0 : *expiry, 0};
  check(same_entry(found, *entry), what + " is " + std::to_string(found.expires_at) + ", not " +
                                       std::to_string(entry->expires_at));
}

void Program::random_walk() {
  Walk how;
  how.over = static_cast<Walk::Over>(dice_.below(4));
  how.flipped = dice_.one_in(2);
  how.backwards = dice_.one_in(2);
  how.keys_only = dice_.one_in(4);
  const auto bound = [&] {
    return Bound<ModelKey>{static_cast<BoundKind>(dice_.below(3)), random_key()};
  };
  how.first = bound();
  how.last = bound();
  if (how.over == Walk::Over::range) {
    how.first.kind = BoundKind::inclusive;
    how.last.kind = BoundKind::exclusive;
  }
  how.prefix = random_prefix(0);
  if (!subject_->ordered()) how = {};
  check_walk(how);
}

// With a visitor that stops.
void Program::random_for_each() {
  const std::size_t most = 1 + dice_.below(state_.now().size() + 10);
  std::map<ModelKey, std::string> seen;
  std::size_t calls = 0;
  need(subject_->for_each([&](ModelKey key, const std::string& value) {
    seen[key] = value;
    return ++calls < most;
  }),
       "for_each");
  check(calls == std::min(most, state_.now().size()) && seen.size() == calls,
        "for_each made " + std::to_string(calls) + " calls for " + std::to_string(seen.size()) +
            " keys of " + std::to_string(state_.now().size()) + ", to stop after " +
            std::to_string(most));
  for (const auto& [key, value] : seen) {
    const ModelEntry* entry = state_.find(key);
    check(entry != nullptr && entry->value == value, "for_each at " + std::to_string(key));
  }
}

// ---- What programs are made of ----

ModelKey Program::random_key() {
  return static_cast<ModelKey>(dice_.below(static_cast<std::uint64_t>(options_.keys))) -
         options_.keys / 2;
}

ModelKey Program::random_key_of(std::uint32_t shard) {
  ModelKey key = random_key();
  for (int tries = 0; tries < 100 && shard_of(key) != shard; ++tries) key = random_key();
  return key;
}

std::string Program::random_prefix(std::size_t least) {
  std::uint8_t encoded[sizeof(ModelKey)];
  key_traits<ModelKey>::encode(random_key(), encoded);
  const std::size_t size = least + dice_.below(sizeof encoded + 1 - least);
  return std::string(Bytes(encoded, size).text());
}

std::string Program::random_value() {
  if (subject_->value_size() != 0) return dice_.text(subject_->value_size());
  std::size_t most = options_.value_bytes;
  if (options_.long_values && dice_.one_in(100)) most = 5000;
  if (options_.long_values && dice_.one_in(3000)) most = 100000;
  return dice_.text(dice_.below(most));
}

// The stored value, or another one.
std::string Program::random_expected(ModelKey key) {
  const ModelEntry* found = state_.find(key);
  return found == nullptr || dice_.one_in(3) ? random_value() : found->value;
}

WriteOptions Program::random_options() {
  constexpr std::uint64_t kHourMs = 3600000;
  WriteOptions options;
  options.sync = options_.power_cut && dice_.one_in(50);
  if (options_.expiries && dice_.one_in(6)) options.ttl_ms = (1 + dice_.below(60)) * kHourMs;
  if (options_.expiries && dice_.one_in(12)) options.ttl_ms = WriteOptions::kForever;
  return options;
}

Entries Program::random_entries(std::size_t most) {
  Entries entries;
  for (std::size_t left = dice_.below(most); left > 0; --left) {
    entries.emplace_back(random_key(), random_value());
  }
  return entries;
}

std::uint64_t Program::expiry_of(std::uint64_t ttl_ms) const {
  if (ttl_ms == 0) ttl_ms = config_.default_ttl_ms;
  if (ttl_ms == 0 || ttl_ms == WriteOptions::kForever) return 0;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return ttl_ms + static_cast<std::uint64_t>(
                      std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

std::uint64_t Program::expiry_of(std::uint64_t ttl_ms, const ModelEntry* old) const {
  return ttl_ms == 0 && old != nullptr ? old->expires_at : expiry_of(ttl_ms);
}

// What a put does to the model.
void Program::set(ModelKey key, const std::string& value, WriteOptions options) {
  state_.set(key, value, expiry_of(options.ttl_ms));
  if (options.sync) state_.synced(key);
}

void Program::erased(ModelKey key, WriteOptions options) {
  state_.erase(key);
  if (options.sync) state_.synced(key);
}

// ---- Steps ----

void Program::step() {
  if (options_.bulky && !dice_.one_in(3)) return step_bulky(dice_.below(20));
  const std::uint64_t what = dice_.below(10000);
  if (what < 4000) return write_one(what);
  if (what < 4700) return change();
  if (what < 5000) return atomic();
  if (what < 5150) return batch();
  if (what < 5250) return persist();
  if (what < 9400) return read_one(what);
  if (what < 9480) return put_many();
  if (what < 9520) return load();
  if (what < 9620) return get_many();
  if (what < 9650) return random_walk();
  if (what < 9670) return random_for_each();
  if (what < 9690) return subject_->ordered() ? random_walk() : scan_in_pieces();
  if (what < 9720) return erase_some();
  care(what);
}

void Program::step_bulky(std::uint64_t what) {
  if (what < 7) return load();
  if (what < 8) return put_many();
  if (what < 10) return batch();
  if (what < 17) return migrate();
  if (what == 17 && dice_.one_in(3)) return clear();
  if (what == 18) return need(subject_->raw().compact(), "compact");
  step_rare(dice_.below(24));
}

void Program::care(std::uint64_t what) {
  if (what < 9850) return need(subject_->raw().flush_buffers(), "flush_buffers");
  if (what < 9920) {
    need(subject_->raw().sync(), "sync");
    return state_.all_synced();
  }
  if (what < 9950) return need(subject_->raw().compact_step(20000).status(), "compact_step");
  if (what < 9970) {
    const Result<std::uint64_t> swept = subject_->sweep_expired(dice_.below(1000));
    need(swept.status(), "sweep_expired");
    return check(*swept == 0, "sweep_expired() erased what had not expired");
  }
  step_rare(dice_.below(24));
}

void Program::step_rare(std::uint64_t what) {
  if (what < 3) {
    need(subject_->raw().checkpoint(), "checkpoint");
    return state_.all_synced();
  }
  if (what < 6) return need(subject_->raw().compact(), "compact");
  if (what < 8) {
    const Result<VerifyReport> report = subject_->raw().verify();
    need(report.status(), "verify");
    return check(report->damaged_regions == 0, "verify() found damage");
  }
  if (what < 9) return need(subject_->raw().warmup(), "warmup");
  if (what < 12) return reopen();
  if (what < 13) return clear();
  if (what < 17) return migrate();
  if (options_.power_cut && what < 21) return power_cut();
  if (options_.kill) kill();
}

void Program::read_one(std::uint64_t what) {
  const ModelKey key = random_key();
  const ModelEntry* found = state_.find(key);
  const bool there = found != nullptr;
  const Subject::Found wanted = there ? std::optional(found->value) : std::nullopt;
  const std::string name = "(" + std::to_string(key) + ")";
  if (what < 8400) {
    const bool get = what < 7800;
    const Result<Subject::Found> value = get ? subject_->get(key) : subject_->read(key);
    need(value.status(), get ? "get" : "read");
    check(*value == wanted, (get ? "get" : "read") + name);
  } else if (what < 8800) {
    const std::string fallback = random_value();
    const Result<std::string> value = subject_->get_or(key, fallback);
    need(value.status(), "get_or");
    check(*value == (there ? found->value : fallback), "get_or" + name);
  } else if (what < 9100) {
    check(subject_->contains(key) == there, "contains" + name);
  } else {
    check_expiry(key);
  }
}

void Program::get_many() {
  std::vector<ModelKey> keys;
  for (std::size_t left = dice_.below(100); left > 0; --left) keys.push_back(random_key());
  std::vector<Subject::Found> values;
  need(subject_->get_many(keys, values), "get_many");
  check(values.size() == keys.size(), "get_many gave too few");
  for (std::size_t at = 0; at < keys.size(); ++at) {
    const ModelEntry* found = state_.find(keys[at]);
    check(values[at] == (found == nullptr ? std::nullopt : std::optional(found->value)),
          "get_many of " + std::to_string(keys[at]));
  }
}

// Beside writes, entries that stay are seen exactly once.
void Program::scan_in_pieces() {
  std::set<ModelKey> stay;  // keys that were there all the time
  std::set<ModelKey> gone;  // keys that were erased meanwhile, and perhaps put again
  for (const auto& [key, entry] : state_.now()) stay.insert(key);
  std::map<ModelKey, int> seen;
  std::string wrong;
  std::uint64_t cursor = 0;
  do {
    const Result<std::uint64_t> next =
        subject_->scan(cursor, 1 + dice_.below(60), [&](ModelKey key, const std::string& value) {
          const ModelEntry* entry = state_.find(key);
          if (entry == nullptr || entry->value != value) wrong = std::to_string(key);
          if (++seen[key] > 1 && !gone.contains(key)) wrong = std::to_string(key) + " twice";
          return true;
        });
    need(next.status(), "scan");
    check(wrong.empty(), "scan gave " + wrong);
    cursor = *next;
    for (std::size_t left = dice_.below(40); left > 0; --left) {
      const ModelKey key = random_key();
      if (dice_.one_in(2)) {
        const std::string value = random_value();
        need(subject_->put(key, value, {}), "put");
        set(key, value, {});
      } else if (state_.find(key) != nullptr) {
        need(subject_->erase(key, {}), "erase");
        state_.erase(key);
        stay.erase(key);
        gone.insert(key);
      }
    }
  } while (cursor != 0);
  for (const ModelKey key : stay) {
    check(seen[key] == 1, "scan in pieces did not give " + std::to_string(key));
  }
}

// ---- Running ----

std::string program_name(const ProgramOptions& options) {
  return std::string(subject_name(options.kind)) + ", " +
         std::to_string(options.config.shard_count) + " shards, " +
         (options.config.reversed ? "reversed, " : "") + "seed " + std::to_string(options.seed);
}

std::string run_program(const ProgramOptions& options) {
  Program program(options);
  try {
    program.run();
  } catch (const std::exception& failure) {
    return program_name(options) + ": " + failure.what() + " at " + program.where();
  } catch (const Thrown&) {
    return program_name(options) + ": an exception came out of a call at " + program.where();
  }
  return {};
}

}  // namespace armdb::test

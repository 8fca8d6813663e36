// Random programs: writes of one key.
#include "support/model_program.hpp"

namespace armdb::test {

void Program::write_one(std::uint64_t what) {
  const ModelKey key = random_key();
  const ModelEntry* found = state_.find(key);
  const bool there = found != nullptr;
  const WriteOptions options = random_options();
  if (what >= 3200) return compare(key, what < 3700);
  if (what >= 2000 && what < 2900) {
    check_code(subject_->erase(key, options), there ? Errc::ok : Errc::not_found, "erase");
    if (there) erased(key, options);
    return;
  }
  const std::string value = random_value();
  if (what < 1400) {
    need(subject_->put(key, value, options), "put");
    set(key, value, options);
  } else if (what < 2000) {
    check_code(subject_->insert(key, value, options), there ? Errc::key_exists : Errc::ok,
               "insert");
    if (!there) set(key, value, options);
  } else {
    const Result<Subject::Found> old = subject_->exchange(key, value, options);
    need(old.status(), "exchange");
    check(*old == (there ? std::optional(found->value) : std::nullopt), "exchange's old value");
    set(key, value, options);
  }
}

void Program::compare(ModelKey key, bool cas) {
  const ModelEntry* found = state_.find(key);
  const std::string expected = random_expected(key);
  const std::string value = random_value();
  const WriteOptions options = random_options();
  const Errc wanted = found == nullptr           ? Errc::not_found
                      : found->value == expected ? Errc::ok
                                                 : Errc::value_mismatch;
  check_code(cas ? subject_->cas(key, expected, value, options)
                 : subject_->compare_erase(key, expected, options),
             wanted, cas ? "cas" : "compare_erase");
  if (wanted != Errc::ok) return;
  cas ? set(key, value, options) : erased(key, options);
}

Change Program::random_change(Change::Call call) {
  Change change;
  change.call = call;
  change.answer = static_cast<Change::Answer>(dice_.below(3));
  change.throws = dice_.one_in(12);
  if (change.answer != Change::Answer::value && dice_.one_in(3)) change.refuse = Errc::too_large;
  change.fresh = random_value();
  return change;
}

void Program::change() {
  const ModelKey key = random_key();
  Change change = random_change(static_cast<Change::Call>(dice_.below(3)));
  const WriteOptions options = random_options();
  static constexpr const char* kNames[] = {"update", "fetch_update", "upsert"};
  const std::string what = kNames[static_cast<int>(change.call)];
  const ModelEntry* found = state_.find(key);
  const bool called = found != nullptr || change.call == Change::Call::upsert;
  const Subject::Found old = found != nullptr ? std::optional(found->value) : std::nullopt;
  Result<std::string> result;
  bool thrown = false;
  try {
    result = subject_->change(key, change, options);
  } catch (const Thrown&) {
    thrown = true;
  }
  check(change.calls == (called ? 1 : 0), what + " called its function, or did not");
  check(change.seen == (called ? old : std::nullopt), what + " showed another value");
  check(thrown == (called && change.throws), what + " let an exception out, or kept it");
  if (thrown) return;
  check_code(result.status(), called ? outcome(change) : Errc::not_found, what);
  if (!result.ok()) return;
  check(*result == (change.call == Change::Call::fetch_update ? *old : change.fresh),
        what + " returned another value");
  state_.set(key, change.fresh, expiry_of(options.ttl_ms, found));
  if (options.sync) state_.synced(key);
}

// Of a function that was called and did not throw.
Errc Program::outcome(const Change& change) {
  if (change.refuse == Errc::ok) return Errc::ok;
  return change.answer == Change::Answer::optional ? Errc::aborted : change.refuse;
}

void Program::persist() {
  const ModelKey key = random_key();
  WriteOptions options = random_options();
  const ModelEntry* found = state_.find(key);
  check_code(subject_->persist(key, options), found != nullptr ? Errc::ok : Errc::not_found,
             "persist");
  if (found == nullptr) return;
  options.ttl_ms = WriteOptions::kForever;
  set(key, std::string(found->value), options);
}

}  // namespace armdb::test

// Entries that expire while a program watches. No time is measured: what lives long has hours, what
// lives short is waited for until contains() says that it is gone.
#include <algorithm>
#include <chrono>
#include <set>
#include <stdexcept>
#include <thread>

#include "support/model.hpp"

namespace armdb::test {

namespace {

constexpr std::uint64_t kHourMs = 3600000;

class ExpiryProgram {
 public:
  explicit ExpiryProgram(const ProgramOptions& options)
      : options_(options), dice_(options.seed), subject_(Subject::make(options.kind)) {}

  void run() {
    open();
    put_all();
    wait();
    check_gone();
    // An expired entry is gone for good, before anybody swept it.
    reopen(dice_.one_in(2));
    check_gone();
    check_migration();
    put_some_again();
    check_gone();
    sweep();
    check_gone();
    reopen(true);
    need(subject_->raw().compact(), "compact");
    check_gone();
    check_default();
  }
  std::string stage;

 private:
  void check(bool good, const std::string& what) {
    if (!good) throw std::runtime_error(what);
  }
  void need(const Status& status, const std::string& what) { code(status, Errc::ok, what); }
  void code(const Status& status, Errc wanted, const std::string& what) {
    check(status.is(wanted),
          what + " answered \"" + status.message() + "\", not " + std::string(errc_name(wanted)));
  }
  std::string value() {
    const std::size_t size = subject_->value_size();
    return dice_.text(size != 0 ? size : 5 + dice_.below(60));
  }

  void open() { need(subject_->open(options_.path, options_.config), "open"); }
  void reopen(bool plainly) {
    stage = plainly ? "after a close" : "after a kill";
    if (plainly) need(subject_->raw().close(), "close");
    if (!plainly) options_.kill();
    subject_->drop();
    open();
  }

  // ---- Writes with a short life, by every call that takes one ----

  static constexpr int kWays = 12;
  void put_all() {
    stage = "while putting";
    for (ModelKey key = 0; key < 40 * kWays; ++key) {
      // Some are there before, for long.
      const bool before = dice_.one_in(2);
      const std::string old = value();
      if (before) need(subject_->put(key, old, {false, kHourMs}), "put");
      const bool brief = !dice_.one_in(3);
      const WriteOptions options{false, brief ? 1 : 2 * kHourMs};
      write(key % kWays, key, before ? &old : nullptr, options);
      if (brief) {
        gone_.insert(key);
        stay_.erase(key);
      }
    }
    swept_ = gone_.size();
  }

  void write(int way, ModelKey key, const std::string* old, WriteOptions options) {
    const std::string fresh = value();
    stay_[key] = fresh;
    Change change;
    change.fresh = fresh;
    change.call = static_cast<Change::Call>(way % 3);
    switch (way) {
      case 0:
      case 1:
      case 2:
        if (old == nullptr) change.call = Change::Call::upsert;
        return need(subject_->change(key, change, options).status(), "a change");
      case 3:
        if (old == nullptr) return need(subject_->insert(key, fresh, options), "insert");
        return need(subject_->cas(key, *old, fresh, options), "cas");
      case 4:
        return need(subject_->exchange(key, fresh, options).status(), "exchange");
      case 5:
      case 6:
        if (subject_->fixed()) return need(subject_->put(key, fresh, options), "put");
        return write_atomic(way == 5, key, old, fresh, options);
      case 7:
        return need(subject_->batch({{key, value(), kHourMs}, {key, fresh, options.ttl_ms}}, {}),
                    "batch");
      case 8:
        return need(subject_->put_many({{key, fresh}}, options), "put_many");
      case 9:
        return need(subject_->load({{key, fresh}}, options), "load");
      case 10:
        // Taken away, and given again.
        need(subject_->put(key, fresh, {false, 50 * kHourMs}), "put");
        need(subject_->persist(key, {}), "persist");
        return need(subject_->put(key, fresh, options), "put");
      default:
        return need(subject_->put(key, fresh, options), "put");
    }
  }
  void write_atomic(bool update, ModelKey key, const std::string* old, const std::string& fresh,
                    WriteOptions options) {
    std::vector<AtomicStep> steps(1);
    steps[0].kind = update && old != nullptr ? AtomicStep::Kind::update : AtomicStep::Kind::put;
    steps[0].key = key;
    steps[0].value = steps[0].change.fresh = fresh;
    steps[0].ttl_ms = options.ttl_ms;
    need(subject_->atomic(key, steps, AtomicEnd::ok, {}), "atomic");
    need(steps[0].status, "a write in atomic");
  }

  void wait() {
    stage = "while waiting";
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    for (const ModelKey key : gone_) {
      while (subject_->contains(key)) {
        check(std::chrono::steady_clock::now() < end, std::to_string(key) + " does not expire");
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    }
    stage = "when expired";
  }

  // ---- Checks ----

  void check_gone() {
    check(subject_->raw().size() == stay_.size() + swept_, "size() is not that of all keys");
    check_reads();
    check_walks();
    for (const ModelKey key : gone_) {
      const std::string name = " of the expired " + std::to_string(key);
      code(subject_->erase(key, {}), Errc::not_found, "erase" + name);
      code(subject_->cas(key, value(), value(), {}), Errc::not_found, "cas" + name);
      code(subject_->compare_erase(key, value(), {}), Errc::not_found, "compare_erase" + name);
      code(subject_->persist(key, {}), Errc::not_found, "persist" + name);
      code(subject_->expires_at(key).status(), Errc::not_found, "expires_at" + name);
      Change change;
      change.call = dice_.one_in(2) ? Change::Call::update : Change::Call::fetch_update;
      code(subject_->change(key, change, {}).status(), Errc::not_found, "an update" + name);
      check(change.calls == 0, "an update" + name + " called its function");
      check_atomic(key, name);
    }
  }
  // A block that fails, so that nothing changes.
  void check_atomic(ModelKey key, const std::string& name) {
    if (subject_->fixed()) return;
    using Kind = AtomicStep::Kind;
    std::vector<AtomicStep> steps;
    for (const Kind kind : {Kind::get, Kind::contains, Kind::erase, Kind::update, Kind::insert}) {
      steps.push_back({kind, key, value(), 0, {}, {}, {}});
    }
    code(subject_->atomic(key, steps, AtomicEnd::error, {}), kBlockError, "atomic" + name);
    check(steps[0].status.ok() && !steps[0].got, "get in atomic" + name);
    check(steps[1].status.ok() && !steps[1].got, "contains in atomic" + name);
    code(steps[2].status, Errc::not_found, "erase in atomic" + name);
    code(steps[3].status, Errc::not_found, "update in atomic" + name);
    code(steps[4].status, Errc::ok, "insert in atomic" + name);
  }
  void check_reads() {
    std::vector<ModelKey> keys;
    for (ModelKey key = 0; key < 40 * kWays; ++key) keys.push_back(key);
    std::vector<Subject::Found> many;
    need(subject_->get_many(keys, many), "get_many");
    for (const ModelKey key : keys) {
      const auto found = stay_.find(key);
      const Subject::Found wanted =
          found == stay_.end() ? std::nullopt : std::optional(found->second);
      const std::string name = "(" + std::to_string(key) + ")";
      for (const bool whole : {true, false}) {
        const Result<Subject::Found> got = whole ? subject_->get(key) : subject_->read(key);
        need(got.status(), "get");
        check(*got == wanted, (whole ? "get" : "read") + name);
      }
      check(many[static_cast<std::size_t>(key)] == wanted, "get_many" + name);
      check(subject_->contains(key) == wanted.has_value(), "contains" + name);
      const std::string fallback = value();
      const Result<std::string> sure = subject_->get_or(key, fallback);
      need(sure.status(), "get_or");
      check(*sure == wanted.value_or(fallback), "get_or" + name);
    }
  }
  void check_walks() {
    const Entries wanted(stay_.begin(), stay_.end());
    for (const bool keys_only : {false, true}) {
      for (const bool backwards : {false, true}) {
        Walk how;
        how.keys_only = keys_only && subject_->ordered();
        how.backwards = backwards;
        Result<Entries> found = subject_->walk(how);
        need(found.status(), "walk");
        std::sort(found->begin(), found->end());
        if (how.keys_only) {
          check(std::equal(found->begin(), found->end(), wanted.begin(), wanted.end(),
                           [](const auto& a, const auto& b) { return a.first == b.first; }),
                "a walk over keys gave others");
        } else {
          check(*found == wanted, "a walk gave other entries");
        }
      }
    }
    Entries each;
    const auto visit = [&](ModelKey key, const std::string& text) {
      each.emplace_back(key, text);
      return true;
    };
    need(subject_->for_each(visit), "for_each");
    std::sort(each.begin(), each.end());
    check(each == wanted, "for_each gave other entries");
    if (subject_->ordered()) return;
    each.clear();
    std::uint64_t cursor = 0;
    do {
      const Result<std::uint64_t> next = subject_->scan(cursor, 50, visit);
      need(next.status(), "scan");
      cursor = *next;
    } while (cursor != 0);
    std::sort(each.begin(), each.end());
    check(each == wanted, "scan gave other entries");
  }
  void check_migration() {
    std::set<ModelKey> asked;
    need(subject_->migrate(
             [&](ModelKey key, const std::string&) {
               asked.insert(key);
               return MigrateAnswer{};
             },
             {}),
         "migrate");
    std::set<ModelKey> wanted;
    for (const auto& [key, text] : stay_) wanted.insert(key);
    check(asked == wanted, "a migration asked about other entries than those that are there");
  }

  // ---- The place of an expired key is free ----

  void put_some_again() {
    stage = "while putting again";
    const std::vector<ModelKey> expired(gone_.begin(), gone_.end());
    for (std::size_t at = 0; at < expired.size(); at += 4) {
      const ModelKey key = expired[at];
      const std::string fresh = value();
      Change change;
      change.call = Change::Call::upsert;
      change.fresh = fresh;
      switch (dice_.below(4)) {
        case 0:
          need(subject_->insert(key, fresh, {}), "insert");
          break;
        case 1:
          need(subject_->change(key, change, {}).status(), "upsert");
          check(!change.seen, "upsert saw an expired value");
          break;
        case 2: {
          const Result<Subject::Found> old = subject_->exchange(key, fresh, {});
          need(old.status(), "exchange");
          check(!*old, "exchange gave an expired value");
          break;
        }
        default:
          need(subject_->batch({{key, fresh, 0}}, {}), "batch");
          break;
      }
      const Result<std::uint64_t> expiry = subject_->expires_at(key);
      need(expiry.status(), "expires_at");
      check(*expiry == WriteOptions::kForever, "an entry inherited an expired one's end");
      stay_[key] = fresh;
      gone_.erase(key);
      --swept_;
    }
  }

  void sweep() {
    stage = "when swept";
    std::uint64_t sum = 0;
    for (int round = 0; sum < swept_ && round < 2000; ++round) {
      const Result<std::uint64_t> some = subject_->sweep_expired(1 + dice_.below(40));
      need(some.status(), "sweep_expired");
      sum += *some;
    }
    const Result<std::uint64_t> rest = subject_->sweep_expired(~std::uint64_t{0});
    need(rest.status(), "sweep_expired");
    check(sum == swept_ && *rest == 0, "swept " + std::to_string(sum) + " and " +
                                           std::to_string(*rest) + " entries of " +
                                           std::to_string(swept_));
    swept_ = 0;
  }

  // Config::default_ttl_ms is for puts without a time of their own.
  void check_default() {
    stage = "with default_ttl_ms";
    need(subject_->raw().close(), "close");
    Config config = options_.config;
    config.default_ttl_ms = 1;
    subject_->drop();
    need(subject_->open(options_.path, config), "open");
    for (const ModelKey key : {1000, 1001, 1002}) {
      gone_.insert(key);
      ++swept_;
    }
    need(subject_->put(1000, value(), {}), "put");
    need(subject_->batch({{1001, value(), 0}}, {}), "batch");
    need(subject_->load({{1002, value()}}, {}), "load");
    for (const ModelKey key : {1003, 1004}) stay_[key] = value();
    need(subject_->put(1003, stay_[1003], {false, WriteOptions::kForever}), "put");
    need(subject_->put(1004, stay_[1004], {false, kHourMs}), "put");
    Change change;
    change.fresh = stay_[1004] = value();
    need(subject_->change(1004, change, {}).status(), "update");  // keeps its hour
    wait();
    check_gone();
    sweep();
    check_gone();
  }

  const ProgramOptions& options_;
  Dice dice_;
  std::unique_ptr<Subject> subject_;
  std::map<ModelKey, std::string> stay_;
  std::set<ModelKey> gone_;  // expired
  std::size_t swept_ = 0;    // of these, how many are not swept yet
};

}  // namespace

std::string run_expiry_program(const ProgramOptions& options) {
  ExpiryProgram program(options);
  try {
    program.run();
  } catch (const std::exception& failure) {
    return program_name(options) + ": " + failure.what() + " " + program.stage;
  }
  return {};
}

}  // namespace armdb::test

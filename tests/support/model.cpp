// The typed adapters and the driver of random programs.
#include "support/model.hpp"

#include <algorithm>
#include <mutex>
#include <stdexcept>

namespace armdb::test {

namespace {

std::string text_of(Bytes bytes) { return std::string(bytes.text()); }

template <std::size_t N>
std::string text_of(const ByteArray<N>& array) {
  return text_of(Bytes(array));
}

template <std::size_t N>
ByteArray<N> array_of(const std::string& text) {
  ByteArray<N> array{};
  std::copy_n(text.begin(), std::min(text.size(), N), array.begin());
  return array;
}

template <class T>
struct Traits;
template <std::size_t N>
struct Traits<ConstTree<ModelKey, ByteArray<N>>> {
  static constexpr std::size_t kValueSize = N;
  static constexpr bool kOrdered = true;
};
template <std::size_t N>
struct Traits<ConstMap<ModelKey, ByteArray<N>>> {
  static constexpr std::size_t kValueSize = N;
  static constexpr bool kOrdered = false;
};
template <>
struct Traits<VarTree<ModelKey>> {
  static constexpr std::size_t kValueSize = 0;
  static constexpr bool kOrdered = true;
};
template <>
struct Traits<VarMap<ModelKey>> {
  static constexpr std::size_t kValueSize = 0;
  static constexpr bool kOrdered = false;
};

template <class T>
class Typed final : public Subject {
  static constexpr std::size_t kSize = Traits<T>::kValueSize;

 public:
  bool ordered() const override { return Traits<T>::kOrdered; }
  std::size_t value_size() const override { return kSize; }
  Status open(const std::string& path, const Config& config) override {
    Result<T> opened = T::open(path, config);
    if (!opened.ok()) return opened.status();
    collection_ = std::move(*opened);
    return {};
  }
  void drop() override { collection_ = T(); }
  Collection& raw() override { return collection_.collection(); }

  Status put(ModelKey key, const std::string& value, bool sync) override {
    return collection_.put(key, typed(value), {sync});
  }
  Status insert(ModelKey key, const std::string& value) override {
    return collection_.insert(key, typed(value));
  }
  Status erase(ModelKey key) override { return collection_.erase(key); }
  Status cas(ModelKey key, const std::string& expected, const std::string& desired) override {
    return collection_.cas(key, typed(expected), typed(desired));
  }
  Status compare_erase(ModelKey key, const std::string& expected) override {
    return collection_.compare_erase(key, typed(expected));
  }
  Result<std::optional<std::string>> exchange(ModelKey key, const std::string& value) override {
    return plain(collection_.exchange(key, typed(value)));
  }
  Status put_many(const Entries& entries) override {
    return collection_.put_many(std::span<const std::pair<ModelKey, Value>>(typed_all(entries)));
  }
  Result<std::optional<std::string>> get(ModelKey key) override {
    if constexpr (kSize == 0) {
      return plain(collection_.get(key));
    } else {
      return plain(Result(collection_.get(key)));
    }
  }
  Result<std::string> get_or(ModelKey key, const std::string& fallback) override {
    if constexpr (kSize == 0) {
      const Result<ByteView> view =
          collection_.get_or(key, ByteView::inlined(Bytes(fallback).sub(0, 20)));
      if (!view.ok()) return view.status();
      return text_of(Bytes(*view));
    } else {
      return text_of(collection_.get_or(key, typed(fallback)));
    }
  }
  bool contains(ModelKey key) override { return collection_.contains(key); }
  Status get_many(const std::vector<ModelKey>& keys,
                  std::vector<std::optional<std::string>>& out) override {
    std::vector<std::optional<typename T::value_type>> values(keys.size());
    if constexpr (kSize == 0) {
      Status status = collection_.get_many(keys, values);
      if (!status.ok()) return status;
    } else {
      collection_.get_many(keys, values);
    }
    for (const auto& value : values) {
      out.push_back(value ? std::optional(text_of(*value)) : std::nullopt);
    }
    return {};
  }

  Result<Entries> walk(const Walk& how) override {
    if constexpr (Traits<T>::kOrdered) {
      if (how.keys_only) return walk_range(key_range(how), how);
      switch (how.over) {
        case Walk::Over::all:
          return walk_range(collection_.iter(), how);
        case Walk::Over::range:
          return walk_range(collection_.range(how.first.key, how.last.key), how);
        case Walk::Over::bounds:
          return walk_range(collection_.range_bounds(how.first, how.last), how);
        case Walk::Over::prefix:
          return walk_range(collection_.prefix(how.prefix), how);
      }
      return Status(Errc::invalid_argument);
    } else {
      Entries entries;
      Status status = collection_.for_each([&](const ModelKey& key, const auto& value) {
        entries.emplace_back(key, text_of(value));
      });
      if (!status.ok()) return status;
      return entries;
    }
  }

 private:
  // What put_many takes.
  using Value = std::conditional_t<kSize == 0, std::string, ByteArray<kSize == 0 ? 1 : kSize>>;

  static auto typed(const std::string& value) {
    if constexpr (kSize == 0) {
      return Bytes(value);
    } else {
      return array_of<kSize>(value);
    }
  }
  std::span<const std::pair<ModelKey, Value>> typed_all(const Entries& entries) {
    many_.clear();
    for (const auto& [key, value] : entries) {
      if constexpr (kSize == 0) {
        many_.emplace_back(key, value);
      } else {
        many_.emplace_back(key, typed(value));
      }
    }
    return many_;
  }
  template <class V>
  static Result<std::optional<std::string>> plain(const Result<std::optional<V>>& value) {
    if (!value.ok()) return value.status();
    std::optional<std::string> result;
    if (value->has_value()) result = text_of(**value);
    return result;
  }

  auto key_range(const Walk& how) {
    if (how.over == Walk::Over::prefix) return collection_.keys_with_prefix(how.prefix);
    if (how.over == Walk::Over::all) return collection_.keys();
    return collection_.keys(how.first, how.last);
  }
  template <class Element>
  static Status add(const Element& element, Entries& out) {
    if constexpr (std::is_same_v<Element, ModelKey>) {
      out.emplace_back(element, "");
    } else if constexpr (kSize == 0) {
      if (!element.value.ok()) return element.value.status();
      out.emplace_back(element.key, text_of(Bytes(*element.value)));
    } else {
      out.emplace_back(element.key, text_of(element.value));
    }
    return {};
  }
  template <class Range>
  static Result<Entries> walk_range(const Range& given, const Walk& how) {
    const Range range = how.flipped ? given.reversed() : given;
    Entries forward;
    auto at = range.begin();
    for (; at != range.end(); ++at) {
      Status status = add(*at, forward);
      if (!status.ok()) return status;
    }
    if (!at.status().ok()) return at.status();
    if (!how.backwards) return forward;
    Entries back;
    for (--at; at != range.end(); --at) {
      Status status = add(*at, back);
      if (!status.ok()) return status;
    }
    if (!at.status().ok()) return at.status();
    return back;
  }

  T collection_;
  std::vector<std::pair<ModelKey, Value>> many_;
};

bool inside(ModelKey key, const Bound<ModelKey>& first, const Bound<ModelKey>& last) {
  if (first.kind == BoundKind::inclusive && key < first.key) return false;
  if (first.kind == BoundKind::exclusive && key <= first.key) return false;
  if (last.kind == BoundKind::inclusive && key > last.key) return false;
  if (last.kind == BoundKind::exclusive && key >= last.key) return false;
  return true;
}

bool starts_with(ModelKey key, const std::string& prefix) {
  std::uint8_t encoded[sizeof key];
  key_traits<ModelKey>::encode(key, encoded);
  return prefix.size() <= sizeof key && std::memcmp(encoded, prefix.data(), prefix.size()) == 0;
}

}  // namespace

const char* subject_name(SubjectKind kind) {
  static constexpr const char* kNames[] = {"ConstTree", "ConstMap", "VarTree", "VarMap"};
  return kNames[static_cast<int>(kind)];
}

std::unique_ptr<Subject> Subject::make(SubjectKind kind) {
  switch (kind) {
    case SubjectKind::const_tree:
      return std::make_unique<Typed<ConstTree<ModelKey, ByteArray<12>>>>();
    case SubjectKind::const_map:
      return std::make_unique<Typed<ConstMap<ModelKey, ByteArray<40>>>>();
    case SubjectKind::var_tree:
      return std::make_unique<Typed<VarTree<ModelKey>>>();
    case SubjectKind::var_map:
      return std::make_unique<Typed<VarMap<ModelKey>>>();
  }
  return nullptr;
}

std::string Dice::text(std::size_t size) {
  std::string text(size, ' ');
  std::uint64_t word = 0;
  for (std::size_t at = 0; at < size; ++at, word >>= 8) {
    if (at % 8 == 0) word = next();
    text[at] = static_cast<char>('a' + (word & 0xff) % 26);
  }
  return text;
}

Entries expected_walk(const ModelMap& model, const Walk& how, bool reversed) {
  Entries entries;
  for (const auto& [key, value] : model) {
    bool in = true;
    if (how.over == Walk::Over::prefix) in = starts_with(key, how.prefix);
    if (how.over == Walk::Over::range) in = key >= how.first.key && key < how.last.key;
    if (how.over == Walk::Over::bounds) in = inside(key, how.first, how.last);
    if (in) entries.emplace_back(key, how.keys_only ? "" : value);
  }
  if (reversed != (how.flipped != how.backwards)) std::reverse(entries.begin(), entries.end());
  return entries;
}

namespace {

// Runs one program. Throws what went wrong.
class Program {
 public:
  explicit Program(const ProgramOptions& options)
      : options_(options), dice_(options.seed), subject_(Subject::make(options.kind)) {
    config_ = options.config;
    config_.log = {&Program::take_log, this};
  }

  void run() {
    open();
    for (step_ = 0; step_ < options_.operations; ++step_) step();
    check_all();
    need(subject_->raw().close(), "close");
    check(subject_->raw().put(Bytes("abcd"), Bytes("")).is(Errc::closed), "a put after close");
    open();
    check_all();
  }
  [[nodiscard]] std::string where() const { return "step " + std::to_string(step_) + log_; }

 private:
  struct Mutation {
    ModelKey key;
    std::optional<std::string> value;
  };
  // What a power cut may leave of a shard: `synced`, and any prefix of `since` on top.
  struct History {
    ModelMap synced;
    std::vector<Mutation> since;
  };

  // Opening logs from several threads, the shards' ones.
  static void take_log(void* self, LogLevel level, std::string_view text) {
    auto* const program = static_cast<Program*>(self);
    if (level != LogLevel::error) return;
    const std::lock_guard lock(program->log_mutex_);
    program->log_ += "\n  log: " + std::string(text);
  }

  void check(bool good, const std::string& what) {
    if (!good) throw std::runtime_error(what);
  }
  void need(const Status& status, const std::string& what) {
    if (!status.ok()) throw std::runtime_error(what + ": " + status.message());
  }

  // ---- Opening, closing, crashing ----

  void open() {
    log_.clear();
    need(subject_->open(options_.path, config_), "open");
    const Stats stats = subject_->raw().stats();
    check(stats.damaged_regions == 0, "damage was reported");
    check(stats.failed_shards == 0 && stats.full_shards == 0, "shards are not well");
    survives_kill_ = stats.written_survives_kill;
  }
  void reopen() {
    if (dice_.one_in(2)) {
      need(subject_->raw().close(), "close");
    } else {
      subject_->drop();
    }
    all_synced();
    subject_->drop();
    open();
    check(subject_->raw().stats().torn_bytes == 0, "torn after a plain close");
    check_all();
  }
  void kill() {
    if (!survives_kill_) need(subject_->raw().flush_buffers(), "flush_buffers");
    options_.kill();
    subject_->drop();
    open();
    check(subject_->raw().stats().segments_set_aside == 0, "set aside after a kill");
    check_all();
  }
  void power_cut() {
    options_.power_cut(dice_.next());
    subject_->drop();
    open();
    accept_recovered();
    check_all();
  }

  // Finds, for each shard, the operation after which it stood as it was recovered.
  void accept_recovered() {
    std::map<std::uint32_t, ModelMap> recovered;
    const Result<Entries> entries = subject_->walk({});
    need(entries.status(), "reading what was recovered");
    for (const auto& [key, value] : *entries) recovered[options_.shard_of(key)][key] = value;
    model_.clear();
    for (auto& [shard, state] : recovered) history_[shard];
    for (auto& [shard, history] : history_) {
      const ModelMap& found = recovered[shard];
      model_.insert(found.begin(), found.end());
      ModelMap state = history.synced;
      std::size_t different = differences(state, found);
      std::optional<std::size_t> fits;
      if (different == 0) fits = 0;
      for (std::size_t at = 0; at < history.since.size(); ++at) {
        const Mutation& mutation = history.since[at];
        different -= differs(state, found, mutation.key);
        if (mutation.value) {
          state[mutation.key] = *mutation.value;
        } else {
          state.erase(mutation.key);
        }
        different += differs(state, found, mutation.key);
        if (different == 0) fits = at + 1;
      }
      check(fits.has_value(), "shard " + std::to_string(shard) + " has " +
                                  std::to_string(found.size()) +
                                  " keys: the state after none of the last " +
                                  std::to_string(history.since.size()) + " writes");
      history.since.resize(*fits);
    }
  }
  static std::size_t differs(const ModelMap& a, const ModelMap& b, ModelKey key) {
    const auto in_a = a.find(key);
    const auto in_b = b.find(key);
    if (in_a == a.end() || in_b == b.end()) return (in_a == a.end()) != (in_b == b.end()) ? 1 : 0;
    return in_a->second != in_b->second ? 1 : 0;
  }
  static std::size_t differences(const ModelMap& a, const ModelMap& b) {
    std::size_t count = 0;
    for (const auto& [key, value] : a) count += differs(a, b, key);
    for (const auto& [key, value] : b) count += a.contains(key) ? 0 : 1;
    return count;
  }

  void sync_history(History& history) {
    for (Mutation& mutation : history.since) {
      if (mutation.value) {
        history.synced[mutation.key] = std::move(*mutation.value);
      } else {
        history.synced.erase(mutation.key);
      }
    }
    history.since.clear();
  }
  void all_synced() {
    for (auto& [shard, history] : history_) sync_history(history);
  }
  void set(ModelKey key, std::optional<std::string> value) {
    if (options_.power_cut) history_[options_.shard_of(key)].since.push_back({key, value});
    if (value) {
      model_[key] = std::move(*value);
    } else {
      model_.erase(key);
    }
  }

  // ---- Checks ----

  void check_all() {
    const Collection& raw = subject_->raw();
    check(raw.size() == model_.size(), "size() is " + std::to_string(raw.size()) + ", not " +
                                           std::to_string(model_.size()));
    check(raw.stats().entries == model_.size(), "stats().entries");
    check_walk({});
  }
  void check_walk(const Walk& how) {
    Result<Entries> entries = subject_->walk(how);
    need(entries.status(), "walk");
    if (!subject_->ordered()) {
      std::sort(entries->begin(), entries->end());
      check(*entries == Entries(model_.begin(), model_.end()), "for_each gave other entries");
      return;
    }
    const Entries wanted = expected_walk(model_, how, options_.config.reversed);
    check(*entries == wanted, "a walk gave " + std::to_string(entries->size()) +
                                  " entries, or others, than the " +
                                  std::to_string(wanted.size()) + " of the model");
  }
  void random_walk() {
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
    std::uint8_t encoded[sizeof(ModelKey)];
    key_traits<ModelKey>::encode(random_key(), encoded);
    how.prefix = text_of(Bytes(encoded, dice_.below(sizeof encoded + 1)));
    if (!subject_->ordered()) how = {};
    check_walk(how);
  }

  // ---- Steps ----

  ModelKey random_key() {
    return static_cast<ModelKey>(dice_.below(static_cast<std::uint64_t>(options_.keys))) -
           options_.keys / 2;
  }
  std::string random_value() {
    if (subject_->value_size() != 0) return dice_.text(subject_->value_size());
    std::size_t most = options_.value_bytes;
    if (options_.long_values && dice_.one_in(100)) most = 5000;
    if (options_.long_values && dice_.one_in(3000)) most = 100000;
    return dice_.text(dice_.below(most));
  }
  // The stored value, or another one.
  std::string random_expected(ModelKey key) {
    const auto found = model_.find(key);
    return found == model_.end() || dice_.one_in(3) ? random_value() : found->second;
  }

  void step() {
    const std::uint64_t what = dice_.below(10000);
    if (what < 6000) return write_one(what);
    if (what < 9600) return read_one(what);
    if (what < 9700) return put_many();
    if (what < 9800) return get_many();
    if (what < 9830) return random_walk();
    if (what < 9900) return need(subject_->raw().flush_buffers(), "flush_buffers");
    if (what < 9940) {
      need(subject_->raw().sync(), "sync");
      return all_synced();
    }
    if (what < 9970) return need(subject_->raw().compact_step(20000).status(), "compact_step");
    step_rare(dice_.below(20));
  }
  void step_rare(std::uint64_t what) {
    if (what < 3) {
      need(subject_->raw().checkpoint(), "checkpoint");
      return all_synced();
    }
    if (what < 6) return need(subject_->raw().compact(), "compact");
    if (what < 8) {
      const Result<VerifyReport> report = subject_->raw().verify();
      need(report.status(), "verify");
      return check(report->damaged_regions == 0, "verify() found damage");
    }
    if (what < 9) return need(subject_->raw().warmup(), "warmup");
    if (what < 12) return reopen();
    if (options_.power_cut && what < 17) return power_cut();
    if (options_.kill) kill();
  }

  void write_one(std::uint64_t what) {
    const ModelKey key = random_key();
    const auto found = model_.find(key);
    const bool there = found != model_.end();
    const std::string value = random_value();
    if (what < 2500) {
      const bool sync = options_.power_cut && dice_.one_in(50);
      need(subject_->put(key, value, sync), "put");
      set(key, value);
      if (sync) sync_history(history_[options_.shard_of(key)]);
    } else if (what < 3300) {
      const Status status = subject_->insert(key, value);
      check(there ? status.is(Errc::key_exists) : status.ok(), "insert: " + status.message());
      if (!there) set(key, value);
    } else if (what < 4600) {
      const Status status = subject_->erase(key);
      check(there ? status.ok() : status.is(Errc::not_found), "erase: " + status.message());
      if (there) set(key, std::nullopt);
    } else if (what < 5000) {
      const Result<std::optional<std::string>> old = subject_->exchange(key, value);
      need(old.status(), "exchange");
      check(*old == (there ? std::optional(found->second) : std::nullopt), "exchange's old value");
      set(key, value);
    } else {
      const std::string expected = random_expected(key);
      const bool cas = what < 5600;
      const Status status =
          cas ? subject_->cas(key, expected, value) : subject_->compare_erase(key, expected);
      const Errc wanted = !there ? Errc::not_found
                          : found->second == expected ? Errc::ok : Errc::value_mismatch;
      check(status.is(wanted), std::string(cas ? "cas: " : "compare_erase: ") + status.message());
      if (wanted == Errc::ok) set(key, cas ? std::optional(value) : std::nullopt);
    }
  }
  void read_one(std::uint64_t what) {
    const ModelKey key = random_key();
    const auto found = model_.find(key);
    const bool there = found != model_.end();
    if (what < 8500) {
      const Result<std::optional<std::string>> value = subject_->get(key);
      need(value.status(), "get");
      check(*value == (there ? std::optional(found->second) : std::nullopt),
            "get(" + std::to_string(key) + ")");
    } else if (what < 9000) {
      const std::string fallback = dice_.text(std::max<std::size_t>(subject_->value_size(), 10));
      const Result<std::string> value = subject_->get_or(key, fallback);
      need(value.status(), "get_or");
      check(*value == (there ? found->second : fallback), "get_or(" + std::to_string(key) + ")");
    } else {
      check(subject_->contains(key) == there, "contains(" + std::to_string(key) + ")");
    }
  }
  void put_many() {
    Entries entries;
    for (std::size_t left = dice_.below(150); left > 0; --left) {
      entries.emplace_back(random_key(), random_value());
    }
    need(subject_->put_many(entries), "put_many");
    for (auto& [key, value] : entries) set(key, std::move(value));
  }
  void get_many() {
    std::vector<ModelKey> keys;
    for (std::size_t left = dice_.below(100); left > 0; --left) keys.push_back(random_key());
    std::vector<std::optional<std::string>> values;
    need(subject_->get_many(keys, values), "get_many");
    check(values.size() == keys.size(), "get_many gave too few");
    for (std::size_t at = 0; at < keys.size(); ++at) {
      const auto found = model_.find(keys[at]);
      check(values[at] == (found == model_.end() ? std::nullopt : std::optional(found->second)),
            "get_many of " + std::to_string(keys[at]));
    }
  }

  const ProgramOptions& options_;
  Config config_;
  std::mutex log_mutex_;
  std::string log_;  // errors since the last open
  Dice dice_;
  std::unique_ptr<Subject> subject_;
  ModelMap model_;
  std::map<std::uint32_t, History> history_;
  bool survives_kill_ = false;
  std::size_t step_ = 0;
};

}  // namespace

std::string run_program(const ProgramOptions& options) {
  Program program(options);
  try {
    program.run();
  } catch (const std::exception& failure) {
    return std::string(subject_name(options.kind)) + ", " +
           std::to_string(options.config.shard_count) + " shards, seed " +
           std::to_string(options.seed) + ": " + failure.what() + " at " + program.where();
  }
  return {};
}

}  // namespace armdb::test

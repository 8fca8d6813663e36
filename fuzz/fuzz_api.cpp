// Random calls of the public face, right and wrong ones, against a std::map.
//
// Oracle: after every call the answer is the one of the model; a wrong call says so, changes
// nothing and steps nowhere outside; a closed or moved-from handle answers `closed` or `nothing`.
// No call fails for another reason: the files are in memory and nothing is damaged.
//
// The first two bytes choose the type and the settings; the rest are calls with their operands.
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api_operands.hpp"
#include "armdb.hpp"

namespace {

using namespace fuzz;

template <class C> class Session {
 public:
  using K = typename C::key_type;
  using V = Own<C>;
  using In = typename C::In;
  using Model = std::map<std::size_t, Entry<V>>;
  static constexpr bool kTree = C::kShape.ordered;

  Session(Input& input, std::uint8_t options)
      : input_(input), files_(make_memory_file_system()), config_(config_for(options)) {
    config_.file_system = files_.get();
    reopen();
  }

  void run() {
    for (int steps = 0; steps < 200 && !input_.empty(); ++steps) step();
    check_all();
    require(collection_.close().ok(), "closes");
    reopen();
    check_all();
  }

 private:
  static FixedConfig config_for(std::uint8_t options) {
    FixedConfig config((options & 1) != 0 ? Config::embedded() : Config());
    config.shard_count = (options & 2) != 0 ? 3 : 1;
    config.shard_prefix_bits = (options & 4) != 0 ? 8 : 0;
    config.max_file_size = 64 << 10;
    config.write_buffer_size = 16 << 10;
    config.index_step_bytes = 4 << 10;
    config.reversed = (options & 8) != 0;
    config.mapped_reads = (options & 16) != 0;
    config.cache_bytes = (options & 32) != 0 ? 0 : 64 << 10;
    config.single_copy = (options & 64) != 0;
    if ((options & 128) != 0) config.default_ttl_ms = std::uint64_t{1} << 41;
    return config;
  }

  void reopen() {
    collection_ = C();
    auto opened = C::open("/c", settings());
    require(opened.ok(), "opens", opened.status());
    collection_ = std::move(*opened);
  }
  // As the store takes them.
  auto settings() const {
    if constexpr (C::kFixed) return config_;
    if constexpr (!C::kFixed) return static_cast<const Config&>(config_);
  }

  // ---- Operands ----
  std::size_t number() { return input_.byte() % kKeys; }
  V value() {
    ++stamp_;
    const std::uint8_t choice = input_.byte();
    if constexpr (std::is_same_v<V, Point>) {
      return {stamp_, choice};
    } else {
      const std::size_t size = choice < 240 ? choice : (choice - 239) * std::size_t{2000};
      std::string text = std::to_string(stamp_);
      text.resize(size, static_cast<char>(choice));
      return text;
    }
  }
  WriteOptions options(Entry<V>& entry) {
    const std::uint8_t choice = input_.byte();
    WriteOptions made{.sync = choice % 16 == 0};
    if (choice % 8 == 1) made.ttl_ms = std::uint64_t{1} << 40;
    if (choice % 8 == 2) made.ttl_ms = WriteOptions::kForever;
    if (choice % 8 == 3) made.ttl_ms = WriteOptions::kForever - 1;
    const std::uint64_t ttl_ms = made.ttl_ms != 0 ? made.ttl_ms : config_.default_ttl_ms;
    entry.forever = ttl_ms == 0 || ttl_ms == WriteOptions::kForever;
    return made;
  }
  Entry<V>* live(std::size_t at) {
    const auto found = model_.find(at);
    return found == model_.end() || found->second.expired ? nullptr : &found->second;
  }
  std::optional<V> expected(std::size_t at) {
    const Entry<V>* entry = live(at);
    return entry == nullptr ? std::nullopt : std::optional<V>(entry->value);
  }
  void check(std::size_t at) {
    const K key = key_of<K>(at);
    require(got<V>(collection_.get(key)) == expected(at), "get() is as the model");
    require(collection_.contains(key) == (live(at) != nullptr), "contains() is as the model");
  }

  // ---- One key ----
  void write_one() {
    const std::size_t at = number();
    const K key = key_of<K>(at);
    Entry<V> fresh{value()};
    const WriteOptions with = options(fresh);
    const bool there = live(at) != nullptr;
    if (input_.byte() % 4 == 0) {
      same(collection_.insert(key, In(fresh.value), with), there ? Errc::key_exists : Errc::ok,
           "insert");
      if (!there) model_[at] = fresh;
    } else {
      same(collection_.put(key, In(fresh.value), with), Errc::ok, "put");
      model_[at] = fresh;
    }
    check(at);
  }
  void erase_one() {
    const std::size_t at = number();
    const bool there = live(at) != nullptr;
    same(collection_.erase(key_of<K>(at)), there ? Errc::ok : Errc::not_found, "erase");
    if (there) model_.erase(at);
    check(at);
  }
  void compare_one() {
    const std::size_t at = number();
    const K key = key_of<K>(at);
    const std::uint8_t choice = input_.byte();
    const V other = value();
    const Entry<V>* old = live(at);
    const V wanted = old != nullptr && choice % 4 != 0 ? old->value : other;
    const Errc answer = old == nullptr         ? Errc::not_found
                        : old->value == wanted ? Errc::ok
                                               : Errc::value_mismatch;
    if ((choice & 64) != 0) {
      same(collection_.compare_erase(key, In(wanted)), answer, "compare_erase");
      if (answer == Errc::ok) model_.erase(at);
    } else {
      Entry<V> fresh{value()};
      same(collection_.cas(key, In(wanted), In(fresh.value), options(fresh)), answer, "cas");
      if (answer == Errc::ok) model_[at] = fresh;
    }
    check(at);
  }
  void change_one() {
    const std::size_t at = number();
    const K key = key_of<K>(at);
    const std::uint8_t choice = input_.byte();
    const V fresh = value();
    const std::optional<V> old = expected(at);
    const bool refuse = choice % 8 == 7;
    using Answer = std::optional<In>;
    const auto change = [&](const auto& shown) -> Answer {
      require(old.has_value() && own(shown) == *old, "update() shows the old value");
      return refuse ? Answer() : Answer(In(fresh));
    };
    const auto set = [&](const auto& shown) -> Answer {
      require(shown.has_value() == old.has_value(), "upsert() shows what is there");
      return refuse ? Answer() : Answer(In(fresh));
    };
    const bool upsert = choice % 4 == 2;
    if (choice % 4 == 3) return exchange_one(at, fresh);
    const auto result = upsert            ? collection_.upsert(key, set)
                        : choice % 4 == 1 ? collection_.fetch_update(key, change)
                                          : collection_.update(key, change);
    const Errc answer = !upsert && !old ? Errc::not_found : refuse ? Errc::aborted : Errc::ok;
    same(result.status(), answer, "update");
    if (answer != Errc::ok) return check(at);
    require(own(*result) == (choice % 4 == 1 ? *old : fresh), "update() gives the value");
    const bool kept = old && model_[at].forever;
    model_[at] = {fresh, false, old ? kept : config_.default_ttl_ms == 0};
    check(at);
  }
  void exchange_one(std::size_t at, const V& fresh) {
    const auto before = collection_.exchange(key_of<K>(at), In(fresh));
    require(got<V>(before) == expected(at), "exchange() gives the value before");
    model_[at] = {fresh, false, config_.default_ttl_ms == 0};
    check(at);
  }
  // An entry that is over, and what a single key answers about its time.
  void expire_one() {
    const std::size_t at = number();
    const K key = key_of<K>(at);
    const std::uint8_t choice = input_.byte();
    if (choice % 4 == 0 && live(at) != nullptr) {
      const auto bytes = collection_.collection().get(detail::KeyBytes<K>(key));
      require(got<std::string>(bytes).has_value(), "bytes of what is there");
      if constexpr (std::is_same_v<typename C::Out, ByteView>) {
        const ByteView text = **bytes;
        same(collection_.collection().write(
                 {.key = detail::KeyBytes<K>(key), .value = text, .expires_at_ms = kPast}, {}),
             Errc::ok, "a write that is over");
        model_[at].expired = true;
        model_[at].forever = false;
      }
    }
    const Entry<V>* entry = live(at);
    if (choice % 4 == 1) {
      same(collection_.persist(key), entry == nullptr ? Errc::not_found : Errc::ok, "persist");
      if (entry != nullptr) model_[at].forever = true;
    }
    const Result<std::uint64_t> expiry = collection_.expires_at(key);
    same(expiry.status(), entry == nullptr ? Errc::not_found : Errc::ok, "expires_at");
    if (entry == nullptr) return check(at);
    require((*expiry == WriteOptions::kForever) == entry->forever, "expires_at() is as the model");
    check(at);
  }

  // ---- Groups ----
  void put_group() {
    const std::size_t count = input_.byte() % 40;
    const std::uint8_t choice = input_.byte();
    std::vector<std::pair<K, V>> entries;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t at = number();
      Entry<V> fresh{value(), false, config_.default_ttl_ms == 0};
      entries.emplace_back(key_of<K>(at), fresh.value);
      model_[at] = fresh;
    }
    same(choice % 2 == 0 ? collection_.put_many(entries) : collection_.load(entries), Errc::ok,
         "put_many");
    std::vector<K> keys;
    for (std::size_t at = 0; at < kKeys; ++at) keys.push_back(key_of<K>(at));
    std::vector<typename C::Values::Slot> slots(choice % kKeys);
    static_cast<void>(collection_.get_many(keys, slots));
    for (std::size_t at = 0; at < slots.size(); ++at) {
      require(got<V>(slots[at]) == expected(at), "get_many() is as the model");
    }
  }
  void batch() {
    if constexpr (!C::kFixed) {
      Model after = model_;
      WriteBatch<C> first(collection_);
      for (int count = input_.byte() % 12; count-- > 0;) {
        const std::size_t at = number();
        if (input_.byte() % 3 == 0) {
          same(first.erase(key_of<K>(at)), Errc::ok, "batch erase");
          const auto found = after.find(at);
          if (found != after.end() && !found->second.expired) after.erase(found);
          continue;
        }
        Entry<V> fresh{value()};
        const WriteOptions with = options(fresh);
        same(first.put(key_of<K>(at), In(fresh.value), with), Errc::ok, "batch put");
        after[at] = fresh;
      }
      WriteBatch<C> moved(std::move(first));
      const std::uint8_t choice = input_.byte();
      if (choice % 8 == 0) {
        moved.clear();
        after = model_;
      }
      same(moved.commit({.sync = choice > 200}), Errc::ok, "commit");
      require(moved.empty(), "a batch that was written is empty");
      model_ = std::move(after);
      check_all();
    }
  }
  void atomic_block() {
    if constexpr (!C::kFixed) {
      const std::size_t home = number();
      const bool refuse = input_.byte() % 4 == 0;
      const Model before = model_;
      const Status status = collection_.atomic(key_of<K>(home), [&](auto& handle) -> Status {
        for (int count = input_.byte() % 10; count-- > 0;) block_write(handle);
        return refuse ? Status(Errc::aborted) : Status();
      });
      same(status, refuse ? Errc::aborted : Errc::ok, "atomic");
      if (refuse) model_ = before;
      check_all();
    }
  }
  template <class Handle> void block_write(Handle& handle) {
    const std::size_t at = number();
    const K key = key_of<K>(at);
    const std::uint8_t choice = input_.byte();
    Entry<V> fresh{value(), false, config_.default_ttl_ms == 0};
    const auto old = handle.get(key);
    if (old.is(Errc::shard_mismatch)) {
      require(config_.shard_count > 1, "one shard has all keys");
      same(handle.put(key, In(fresh.value)), Errc::shard_mismatch, "a key of another shard");
      return same(handle.erase(key), Errc::shard_mismatch, "a key of another shard");
    }
    require(got<V>(old) == expected(at), "a block reads its own writes");
    const bool there = live(at) != nullptr;
    const auto contains = handle.contains(key);
    require(contains.ok() && *contains == there, "a block sees its own keys");
    if (choice % 4 == 0) {
      same(handle.erase(key), there ? Errc::ok : Errc::not_found, "erase in a block");
      if (there) model_.erase(at);
    } else if (choice % 4 == 1) {
      same(handle.insert(key, In(fresh.value)), there ? Errc::key_exists : Errc::ok,
           "insert in a block");
      if (!there) model_[at] = fresh;
    } else if (choice % 4 == 2) {
      same(handle.update(key, [&](const auto&) { return In(fresh.value); }),
           there ? Errc::ok : Errc::not_found, "update in a block");
      if (there) model_[at].value = fresh.value;
    } else {
      same(handle.put(key, In(fresh.value)), Errc::ok, "put in a block");
      model_[at] = fresh;
    }
  }

  // ---- Many keys ----
  std::vector<std::size_t> live_between(std::size_t first, std::size_t last, bool descending) {
    std::vector<std::size_t> keys;
    for (std::size_t at = first; at < last && at < kKeys; ++at) {
      if (live(at) != nullptr) keys.push_back(at);
    }
    if (descending) keys = {keys.rbegin(), keys.rend()};
    return keys;
  }
  // The whole range, then one step back from its end and one from its middle.
  template <class Range, class KeyAt>
  void walk(const Range& range, const std::vector<std::size_t>& keys, KeyAt key_at) {
    std::size_t seen = 0;
    auto at = range.begin();
    for (; at != range.end(); ++at, ++seen) {
      require(seen < keys.size() && number_of(key_at(*at)) == keys[seen], "ranges are in order");
    }
    require(seen == keys.size() && at.status().ok(), "ranges are whole", at.status());
    if (keys.empty()) return;
    --at;
    require(at != range.end() && number_of(key_at(*at)) == keys.back(), "steps back from the end");
    at = range.begin();
    ++at;
    if (keys.size() > 1) --at;
    if (keys.size() > 1) require(number_of(key_at(*at)) == keys.front(), "steps back");
  }
  void ranges() {
    if constexpr (kTree) {
      const std::size_t first = number();
      const std::size_t last = number();
      const std::uint8_t choice = input_.byte();
      const bool down = config_.reversed != ((choice & 1) != 0);
      const auto key_of_entry = [](const auto& entry) { return entry.key; };
      const auto turned = [&](const auto& range) {
        return (choice & 1) != 0 ? range.reversed() : range;
      };
      const std::size_t from = first + ((choice & 2) != 0 ? 1 : 0);
      const std::size_t to = last + ((choice & 4) != 0 ? 1 : 0);
      const Bound<K> low{(choice & 2) != 0 ? BoundKind::exclusive : BoundKind::inclusive,
                         key_of<K>(first)};
      const Bound<K> high{(choice & 4) != 0 ? BoundKind::inclusive : BoundKind::exclusive,
                          key_of<K>(last)};
      walk(turned(collection_.range_bounds(low, high)), live_between(from, to, down), key_of_entry);
      walk(turned(collection_.keys(low, high)), live_between(from, to, down),
           [](const K& key) { return key; });
      walk(turned(collection_.iter()), live_between(0, kKeys, down), key_of_entry);
      const auto [prefix, begin, end] = prefix_operand(first, choice);
      walk(turned(collection_.prefix(prefix)), live_between(begin, end, down), key_of_entry);
      walk(turned(collection_.keys_with_prefix(prefix)), live_between(begin, end, down),
           [](const K& key) { return key; });
    } else {
      scan();
    }
  }
  struct Prefix {
    std::string bytes;
    std::size_t begin, end;
  };
  // Of 0 to 3 bytes, or longer than a key.
  static Prefix prefix_operand(std::size_t number, std::uint8_t choice) {
    const auto head = head_of(number);
    const std::size_t size = choice / 8 % 5;
    if (size == 4) return {std::string(key_traits<K>::size + 1 + choice, '\0'), 0, 0};
    static constexpr std::size_t kWidth[] = {kKeys, 16, 4, 1};
    const std::size_t begin = number / kWidth[size] * kWidth[size];
    return {std::string(head.begin(), head.begin() + static_cast<std::ptrdiff_t>(size)), begin,
            begin + kWidth[size]};
  }
  void scan() {
    if constexpr (!kTree) {
      const std::uint64_t limit = input_.number();
      std::map<std::size_t, int> seen;
      std::uint64_t cursor = 0;
      for (int rounds = 0; rounds < 1000; ++rounds) {
        const Result<std::uint64_t> next = collection_.scan(
            cursor, static_cast<std::size_t>(limit), [&](const K& key, const auto& shown) {
              const std::size_t at = number_of(key);
              require(own(shown) == expected(at), "scan() shows what is there");
              seen[at] += 1;
            });
        require(next.ok(), "scans", next.status());
        cursor = *next;
        if (cursor == 0) break;
      }
      if (limit != 0) require(cursor == 0, "scans end");
      if (limit != 0)
        require(seen.size() == live_between(0, kKeys, false).size(), "scans are whole");
      static_cast<void>(collection_.scan(input_.number(), 3, [](const K&, const auto&) {}));
    }
  }
  void erase_group() {
    const std::size_t first = number();
    const std::size_t last = number();
    const std::uint8_t choice = input_.byte();
    std::size_t begin = 0;
    std::size_t end = kKeys;
    Result<std::uint64_t> erased(Errc::aborted);
    if constexpr (kTree) {
      if (choice % 4 < 2) {
        begin = first;
        end = last;
        erased = collection_.erase_range(key_of<K>(first), key_of<K>(last));
      } else if (choice % 4 == 2) {
        const Prefix prefix = prefix_operand(first, choice);
        begin = prefix.begin;
        end = prefix.end;
        erased = collection_.erase_prefix(prefix.bytes);
      }
    }
    if (!kTree || choice % 4 == 3) erased = collection_.clear();
    require(erased.ok(), "erases", erased.status());
    const auto gone = live_between(begin, end, false);
    require(*erased == gone.size(), "what was there is erased");
    for (const std::size_t at : gone) model_.erase(at);
    check_all();
  }
  void migrate() {
    const std::uint8_t choice = input_.byte();
    const auto version = static_cast<std::uint32_t>(input_.number());
    const bool nothing = version != 0 && version <= collection_.data_version();
    using Action = MigrateAction<typename C::Values::Changed>;
    std::size_t asked = 0;
    Model after = model_;
    const Status status = collection_.migrate(
        [&](const K& key, const auto& shown) -> Action {
          const std::size_t at = number_of(key);
          require(own(shown) == expected(at), "migrate() shows what is there");
          ++asked;
          if ((choice + at) % 3 == 0) return Action::keep();
          if ((choice + at) % 3 == 1) {
            after.erase(at);
            return Action::erase();
          }
          after[at].value = value();
          return Action::update(after[at].value);
        },
        {.to_version = version});
    same(status, Errc::ok, "migrate");
    require(asked == (nothing ? 0 : live_between(0, kKeys, false).size()), "each is asked once");
    require(nothing || version == 0 || collection_.data_version() == version, "the version");
    model_ = std::move(after);
    check_all();
  }

  // Everything, by all ways.
  void check_all() {
    std::size_t seen = 0;
    const Status status = collection_.for_each([&](const K& key, const auto& shown) {
      require(own(shown) == expected(number_of(key)), "for_each() shows what is there");
      ++seen;
    });
    require(status.ok() && seen == live_between(0, kKeys, false).size(), "for_each() is whole",
            status);
    for (std::size_t at = 0; at < kKeys; ++at) check(at);
    require(collection_.size() >= seen && collection_.size() <= model_.size(), "size()");
  }

  // ---- The whole collection ----
  void swept() {
    for (auto at = model_.begin(); at != model_.end();) {
      at = at->second.expired ? model_.erase(at) : std::next(at);
    }
  }
  void care() {
    const std::uint8_t choice = input_.byte();
    const std::uint64_t budget = input_.number();
    Status status;
    if (choice % 10 == 0) status = collection_.sync();
    if (choice % 10 == 1) status = collection_.flush_buffers();
    if (choice % 10 == 2) status = collection_.checkpoint();
    if (choice % 10 == 3) status = collection_.warmup();
    if (choice % 10 == 4) status = collection_.compact();
    if (choice % 10 == 5) status = collection_.compact_step(budget).status();
    if (choice % 10 == 6) status = collection_.tick();
    if (choice % 10 == 7) {
      const auto report = collection_.verify();
      require(report.ok() && report->damaged_regions == 0, "verifies", report.status());
    }
    if (choice % 10 == 8) {
      const auto count = collection_.sweep_expired(budget);
      require(count.ok() && *count <= model_.size(), "sweeps", count.status());
      if (budget > 1000 * kKeys) swept();
    }
    if (choice % 10 == 9) status = backup();
    same(status, Errc::ok, "care");
    const Stats stats = collection_.stats();
    require(stats.damaged_regions == 0 && stats.failed_shards == 0, "nothing is damaged");
    require(stats.entries == collection_.size(), "stats() counts entries");
    check_all();
  }
  Status backup() {
    const std::string path = "/b" + std::to_string(++backups_);
    Status status = collection_.collection().backup_to(path, {});
    if (!status.ok()) return status;
    require(!collection_.collection().backup_to(path, {}).ok(), "a backup replaces nothing");
    require(!collection_.collection().backup_to("", {}).ok(), "a backup has a name");
    auto copy = C::open(path, settings());
    require(copy.ok(), "a backup opens", copy.status());
    for (std::size_t at = 0; at < kKeys; ++at) {
      require(got<V>(copy->get(key_of<K>(at))) == expected(at), "a backup has what there was");
    }
    return copy->close();
  }

  // ---- Wrong calls ----
  void wrong_sizes() {
    Collection& raw = collection_.collection();
    const K key = key_of<K>(number());
    const detail::KeyBytes<K> right(key);
    const std::string text(key_traits<K>::size + 1 + input_.byte(), 'k');
    const Bytes keys[] = {Bytes(), Bytes(text), Bytes(right).sub(0, Bytes(right).size() - 1)};
    std::uint8_t bytes[8] = {};
    Bytes fits(bytes, C::kShape.value_size);
    for (const Bytes bad : keys) {
      same(raw.put(bad, fits), Errc::invalid_argument, "a key of a wrong size");
      same(raw.insert(bad, fits), Errc::invalid_argument, "a key of a wrong size");
      same(raw.erase(bad), Errc::invalid_argument, "a key of a wrong size");
      same(raw.cas(bad, fits, fits), Errc::invalid_argument, "a key of a wrong size");
      same(raw.compare_erase(bad, fits), Errc::invalid_argument, "a key of a wrong size");
      same(raw.persist(bad), Errc::invalid_argument, "a key of a wrong size");
      same(raw.get(bad).status(), Errc::invalid_argument, "a key of a wrong size");
      same(raw.expires_at(bad).status(), Errc::invalid_argument, "a key of a wrong size");
      same(raw.exchange(bad, fits).status(), Errc::invalid_argument, "a key of a wrong size");
      same(raw.read(bad, [](Bytes) {}).status(), Errc::invalid_argument, "a key of a wrong size");
      require(!raw.contains(bad), "no key of a wrong size is there");
      static_cast<void>(raw.durable_sequence(bad));
      const BytesPair pair{bad, fits};
      same(raw.put_many({&pair, 1}), Errc::invalid_argument, "a key of a wrong size");
      same(raw.erase_many({&pair, 1}).status(), Errc::invalid_argument, "a key of a wrong size");
      static_cast<void>(
          raw.cursor(Bound<Bytes>::exclusive(bad), Bound<Bytes>::inclusive(bad), true));
    }
    if (C::kShape.payload == Payload::value) {
      for (const std::size_t size : {std::size_t{0}, std::size_t{7}, text.size() + 4}) {
        const std::string value(size, 'v');
        same(raw.put(right, value), Errc::invalid_argument, "a value of a wrong size");
        same(raw.exchange(right, value).status(), Errc::invalid_argument, "a wrong size");
      }
    }
    if (!kTree) require(!raw.cursor({}, {}, false).valid(), "maps have no cursor");
    if (kTree) {
      const auto unused = raw.scan(0, 1, [](Bytes, Bytes, detail::Shared*) { return true; });
      static_cast<void>(unused);
    }
    check_all();
  }
  void wrong_opens() {
    require(C::open("/c", settings()).is(Errc::locked), "one has it open");
    require(!C::open("", settings()).ok() && !C::open("/no/where", settings()).ok(), "no place");
    same(collection_.close(), Errc::ok, "closes");
    all_closed(collection_);
    Shape shape = C::kShape;
    shape.fixed = C::kFixed;
    shape.key_size += 1;
    const auto other = Collection::open("/c", shape, config_);
    require(other.is(Errc::shape_mismatch), "another shape", other.status());
    auto config = settings();
    config.write_buffer_size = static_cast<std::uint32_t>(input_.number());
    config.max_file_size = input_.number();
    config.index_step_bytes = static_cast<std::uint32_t>(input_.number());
    config.compaction_threshold = static_cast<double>(input_.byte()) / 16 - 1;
    config.shard_count = static_cast<std::uint32_t>(input_.number());
    auto opened = C::open("/c", config);
    if (opened.ok()) same(opened->close(), Errc::ok, "closes");
    config = settings();
    config.read_only = true;
    auto reader = C::open("/c", config);
    require(reader.ok(), "opens read-only", reader.status());
    const V fresh = value();
    same(reader->put(key_of<K>(0), In(fresh)), Errc::read_only, "a write to a reader");
    const bool nothing = live_between(0, kKeys, false).empty();
    same(reader->clear().status(), nothing ? Errc::ok : Errc::read_only, "a write to a reader");
    same(reader->compact(), Errc::read_only, "a write to a reader");
    auto second = C::open("/c", config);
    require(second.ok(), "two may read", second.status());
    require(C::open("/c", settings()).is(Errc::locked), "nobody writes beside readers");
    same(second->close(), Errc::ok, "closes");
    same(reader->close(), Errc::ok, "closes");
    reopen();
    check_all();
  }
  void move_handle() {
    C moved(std::move(collection_));
    all_closed(collection_);  // NOLINT(bugprone-use-after-move): that is what is asked
    if (input_.byte() % 2 == 0) std::swap(moved, collection_);
    if (moved.is_open()) collection_ = std::move(moved);
    check_all();
  }

  void step() {
    switch (input_.byte() % 20) {
      case 0:
        return erase_one();
      case 1:
      case 2:
        return compare_one();
      case 3:
      case 4:
        return change_one();
      case 5:
        return expire_one();
      case 6:
        return put_group();
      case 7:
      case 8:
        return batch();
      case 9:
      case 10:
        return atomic_block();
      case 11:
        return ranges();
      case 12:
        return erase_group();
      case 13:
        return migrate();
      case 14:
        return care();
      case 15:
        return wrong_sizes();
      case 16:
        return input_.byte() % 4 == 0 ? wrong_opens() : move_handle();
      default:
        return write_one();
    }
  }

  Input& input_;
  Owned<FileSystem> files_;
  FixedConfig config_;
  C collection_;
  Model model_;
  std::uint32_t stamp_ = 0;
  int backups_ = 0;
};

template <class C> void run(Input& input) {
  const std::uint8_t options = input.byte();
  Session<C>(input, options).run();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  switch (input.byte() % 10) {
    case 0:
      run<ZeroTree<std::uint32_t, Point>>(input);
      break;
    case 1:
      run<ZeroMap<ByteArray<20>, Point>>(input);
      break;
    case 2:
      run<VarMap<std::uint32_t>>(input);
      break;
    case 3:
      run<VarTree<ByteArray<20>>>(input);
      break;
    case 4:
      run<TypedTree<std::uint32_t, std::string>>(input);
      break;
    case 5:
      run<TypedMap<std::uint64_t, std::string>>(input);
      break;
    case 6:
      run<VarTypedTree<std::uint64_t, std::string>>(input);
      break;
    case 7:
      run<VarTypedMap<ByteArray<9>, std::string>>(input);
      break;
    case 8:
      run<ZeroTree<ByteArray<9>, Point, NoHook, Fixed>>(input);
      break;
    default:
      run<ZeroMap<std::uint32_t, Point, NoHook, Fixed>>(input);
      break;
  }
  return 0;
}

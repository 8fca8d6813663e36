// The typed adapter: makes a collection of any type look like Subject.
//
// A Form says how a string becomes a value of the type and back, without loss.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "support/model.hpp"

namespace armdb::test {

// A trivially copyable type without padding, of 24 bytes.
struct Record {
  std::uint64_t first = 0;
  std::uint32_t second = 0;
  std::uint8_t third[12] = {};
};

// A type with fields. It has no ==: values are compared as encoded.
struct Person {
  std::string name;
  std::uint32_t age = 0;
};
using PersonCodec = fields<&Person::name, &Person::age>;

// ---- Strings from values ----

inline std::string text_of(Bytes bytes) { return std::string(bytes.text()); }
inline std::string text_of(const ByteView& view) { return std::string(view.text()); }
inline std::string text_of(const std::string& text) { return text; }
template <std::size_t N> std::string text_of(const ByteArray<N>& array) {
  return text_of(Bytes(array));
}
inline std::string text_of(const Record& record) {
  std::string text(sizeof record, '\0');
  std::memcpy(text.data(), &record, sizeof record);
  return text;
}
// Its age follows from its name; where it does not, the text is another one.
inline std::uint32_t age_of(const std::string& name) {
  std::uint32_t age = static_cast<std::uint32_t>(name.size());
  for (const char letter : name) age = age * 31 + static_cast<std::uint8_t>(letter);
  return age;
}
inline std::string text_of(const Person& person) {
  return person.age == age_of(person.name) ? person.name : person.name + " of another age";
}
template <class T> std::string text_of(const TypedRef<T>& ref) { return text_of(*ref); }

// A value that may be missing, in the ways that collections say so.
template <class V> std::optional<std::string> found_text(const std::optional<V>& value) {
  return value.has_value() ? std::optional(text_of(*value)) : std::nullopt;
}
template <class T> std::optional<std::string> found_text(const TypedRef<T>& ref) {
  return ref ? std::optional(text_of(*ref)) : std::nullopt;
}
template <class V> Result<std::optional<std::string>> found_result(const Result<V>& value) {
  if (!value.ok()) return value.status();
  return found_text(*value);
}
template <class V> Result<std::optional<std::string>> found_result(const V& value) {
  return found_text(value);
}
// A value that is there, or the error that took its place.
template <class V> Result<std::string> text_result(const Result<V>& value) {
  if (!value.ok()) return value.status();
  return text_of(*value);
}
template <class V> Result<std::string> text_result(const V& value) { return text_of(value); }
// What the function of update() gets, or that of upsert().
template <class V> std::optional<std::string> seen_text(const V& value) { return text_of(value); }
template <class V> std::optional<std::string> seen_text(const std::optional<V>& value) {
  return found_text(value);
}

// ---- Values from strings ----

// kSize: of all values, or 0. Owned: a value that needs nobody else's memory.
template <class In> struct Form;
template <std::size_t N> struct Form<ByteArray<N>> {
  static constexpr std::size_t kSize = N;
  using Owned = ByteArray<N>;
  static ByteArray<N> make(const std::string& text) {
    ByteArray<N> array{};
    std::copy_n(text.begin(), std::min(text.size(), N), array.begin());
    return array;
  }
};
template <> struct Form<Record> {
  static constexpr std::size_t kSize = sizeof(Record);
  using Owned = Record;
  static Record make(const std::string& text) {
    Record record;
    std::memcpy(&record, text.data(), std::min(text.size(), sizeof record));
    return record;
  }
};
template <> struct Form<Person> {
  static constexpr std::size_t kSize = 0;
  using Owned = Person;
  static Person make(const std::string& text) { return {text, age_of(text)}; }
};
template <> struct Form<std::string> {
  static constexpr std::size_t kSize = 0;
  using Owned = std::string;
  static std::string make(const std::string& text) { return text; }
};
template <> struct Form<Bytes> {
  static constexpr std::size_t kSize = 0;
  using Owned = std::string;
  static Bytes make(const std::string& text) { return text; }
};

// ---- The adapter ----

template <class C, bool kOrdered, bool kSingleCopy = false> class Adapter final : public Subject {
  using In = typename C::In;
  using Values = Form<In>;
  using Owned = typename Values::Owned;
  using Handle = typename C::Handle;

 public:
  bool ordered() const override { return kOrdered; }
  bool fixed() const override { return C::kFixed; }
  std::size_t value_size() const override { return Values::kSize; }
  Status open(const std::string& path, const Config& config) override {
    typename C::Config own(config);
    if constexpr (C::kFixed) {
      own.single_copy = kSingleCopy;
      own.sync_batch_size = 50;
    }
    Result<C> opened = C::open(path, own);
    if (!opened.ok()) return opened.status();
    collection_ = std::move(*opened);
    return {};
  }
  void drop() override { collection_ = C(); }
  Collection& raw() override { return collection_.collection(); }

  // ---- Writes ----

  Status put(ModelKey key, const std::string& value, WriteOptions options) override {
    return collection_.put(key, Values::make(value), options);
  }
  Status insert(ModelKey key, const std::string& value, WriteOptions options) override {
    return collection_.insert(key, Values::make(value), options);
  }
  Status erase(ModelKey key, WriteOptions options) override {
    return collection_.erase(key, options);
  }
  Status cas(ModelKey key, const std::string& expected, const std::string& desired,
             WriteOptions options) override {
    return collection_.cas(key, Values::make(expected), Values::make(desired), options);
  }
  Status compare_erase(ModelKey key, const std::string& expected, WriteOptions options) override {
    return collection_.compare_erase(key, Values::make(expected), options);
  }
  Result<Found> exchange(ModelKey key, const std::string& value, WriteOptions options) override {
    return found_result(collection_.exchange(key, Values::make(value), options));
  }
  Result<std::string> change(ModelKey key, Change& change, WriteOptions options) override {
    return changed(change, [&](auto fn) -> Result<std::string> {
      switch (change.call) {
        case Change::Call::update:
          return text_result(collection_.update(key, fn, options));
        case Change::Call::fetch_update:
          return text_result(collection_.fetch_update(key, fn, options));
        case Change::Call::upsert:
          return text_result(collection_.upsert(key, fn, options));
      }
      return Errc::invalid_argument;
    });
  }
  Status persist(ModelKey key, WriteOptions options) override {
    return collection_.persist(key, options);
  }

  // ---- Groups ----

  Status atomic(ModelKey key, std::vector<AtomicStep>& steps, AtomicEnd end,
                WriteOptions options) override {
    if constexpr (C::kFixed)
      return Errc::unsupported;
    else
      return atomic_with_log(key, steps, end, options);
  }
  Status batch(const std::vector<BatchItem>& items, WriteOptions options) override {
    if constexpr (C::kFixed) {
      Status status;
      for (const BatchItem& item : items) {
        const WriteOptions own{options.sync, item.ttl_ms};
        if (status.ok())
          status = item.value ? put(item.key, *item.value, own) : erase(item.key, own);
        if (status.is(Errc::not_found)) status = {};
      }
      return status;
    } else {
      return batch_with_log(items, options);
    }
  }
  Status put_many(const Entries& entries, WriteOptions options) override {
    return collection_.put_many(owned(entries), options);
  }
  Status load(const Entries& entries, WriteOptions options) override {
    return collection_.load(owned(entries), options);
  }
  Status migrate(const Decide& decide, MigrateOptions options) override {
    using Action = MigrateAction<Owned>;
    return collection_.migrate(
        [&](ModelKey key, const auto& value) {
          const MigrateAnswer answer = decide(key, text_of(value));
          if (answer.verdict == MigrateVerdict::keep) return Action::keep();
          if (answer.verdict == MigrateVerdict::erase) return Action::erase();
          return Action::update(owned(answer.fresh));
        },
        options);
  }
  Result<std::uint64_t> clear() override { return collection_.clear(); }
  Result<std::uint64_t> sweep_expired(std::uint64_t budget) override {
    return collection_.sweep_expired(budget);
  }
  Result<std::uint64_t> erase_range(ModelKey first, ModelKey last) override {
    if constexpr (kOrdered) {
      return collection_.erase_range(first, last);
    } else {
      return Errc::unsupported;
    }
  }
  Result<std::uint64_t> erase_prefix(const std::string& prefix) override {
    if constexpr (kOrdered) {
      return collection_.erase_prefix(prefix);
    } else {
      return Errc::unsupported;
    }
  }

  // ---- Reads ----

  Result<Found> get(ModelKey key) override { return found_result(collection_.get(key)); }
  Result<Found> read(ModelKey key) override {
    Found value;
    const Result<bool> found =
        collection_.read(key, [&](const auto& stored) { value = text_of(stored); });
    if (!found.ok()) return found.status();
    if (*found != value.has_value()) return Status(Errc::failed, "read() says other than it does");
    return value;
  }
  Result<std::string> get_or(ModelKey key, const std::string& fallback) override {
    return text_result(collection_.get_or(key, Values::make(fallback)));
  }
  bool contains(ModelKey key) override { return collection_.contains(key); }
  Status get_many(const std::vector<ModelKey>& keys, std::vector<Found>& out) override {
    using Slot = typename C::Values::Slot;
    std::vector<Slot> slots(keys.size());
    // First in another order: what is in the slots before must not matter.
    for (const bool reversed : {true, false}) {
      std::vector<ModelKey> asked = keys;
      if (reversed) std::reverse(asked.begin(), asked.end());
      const std::span<const ModelKey> span(asked);
      if constexpr (std::is_void_v<decltype(collection_.get_many(span, std::span<Slot>(slots)))>) {
        collection_.get_many(span, std::span<Slot>(slots));
      } else {
        Status status = collection_.get_many(span, std::span<Slot>(slots));
        if (!status.ok()) return status;
      }
    }
    for (const Slot& slot : slots) out.push_back(found_text(slot));
    return {};
  }
  Result<std::uint64_t> expires_at(ModelKey key) override { return collection_.expires_at(key); }
  Result<Entries> walk(const Walk& how) override {
    if constexpr (kOrdered) {
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
  Status for_each(const Visit& visit) override {
    return collection_.for_each(
        [&](const ModelKey& key, const auto& value) { return visit(key, text_of(value)); });
  }
  Result<std::uint64_t> scan(std::uint64_t cursor, std::size_t limit, const Visit& visit) override {
    if constexpr (!kOrdered) {
      return collection_.scan(cursor, limit, [&](const ModelKey& key, const auto& value) {
        return visit(key, text_of(value));
      });
    } else {
      return Errc::unsupported;
    }
  }

 private:
  Status atomic_with_log(ModelKey key, std::vector<AtomicStep>& steps, AtomicEnd end,
                         WriteOptions options) {
    if (end == AtomicEnd::nothing) {
      const auto body = [&](Handle& handle) {
        for (AtomicStep& step : steps) run(handle, step);
      };
      return collection_.atomic(key, body, options);
    }
    const auto body = [&](Handle& handle) -> Status {
      for (AtomicStep& step : steps) run(handle, step);
      if (end == AtomicEnd::throws) throw Thrown();
      return end == AtomicEnd::error ? kBlockError : Errc::ok;
    };
    return collection_.atomic(key, body, options);
  }
  Status batch_with_log(const std::vector<BatchItem>& items, WriteOptions options) {
    WriteBatch<C> batch(collection_);
    // What is cleared is not committed.
    for (const BatchItem& item : items) {
      Status status = batch.erase(item.key);
      if (!status.ok()) return status;
    }
    batch.clear();
    for (const BatchItem& item : items) {
      Status status = item.value ? batch.put(item.key, Values::make(*item.value),
                                             {.sync = false, .ttl_ms = item.ttl_ms})
                                 : batch.erase(item.key);
      if (!status.ok()) return status;
    }
    if (batch.size() != items.size() || batch.empty() != items.empty()) {
      return Status(Errc::failed, "the batch does not hold what it was given");
    }
    Status status = batch.commit(options);
    if (status.ok() && !batch.empty()) return Status(Errc::failed, "the batch is not empty");
    return status;
  }

  static Owned owned(const std::string& value) {
    if constexpr (std::is_same_v<Owned, std::string>) {
      return value;
    } else {
      return Values::make(value);
    }
  }
  static std::vector<std::pair<ModelKey, Owned>> owned(const Entries& entries) {
    std::vector<std::pair<ModelKey, Owned>> many;
    many.reserve(entries.size());
    for (const auto& [key, value] : entries) many.emplace_back(key, owned(value));
    return many;
  }

  // Calls use(fn), where fn does what `change` says.
  template <class Use> static auto changed(Change& change, Use use) {
    const auto look = [&](const auto& old) {
      ++change.calls;
      change.seen = seen_text(old);
      if (change.throws) throw Thrown();
    };
    if (change.answer == Change::Answer::value) {
      return use([&](const auto& old) {
        look(old);
        return owned(change.fresh);
      });
    }
    if (change.answer == Change::Answer::optional) {
      return use([&](const auto& old) -> std::optional<Owned> {
        look(old);
        if (change.refuse != Errc::ok) return std::nullopt;
        return owned(change.fresh);
      });
    }
    return use([&](const auto& old) -> Result<Owned> {
      look(old);
      if (change.refuse != Errc::ok) return change.refuse;
      return owned(change.fresh);
    });
  }

  static void run(Handle& handle, AtomicStep& step) {
    const WriteOptions options{.sync = false, .ttl_ms = step.ttl_ms};
    switch (step.kind) {
      case AtomicStep::Kind::put:
        step.status = handle.put(step.key, Values::make(step.value), options);
        return;
      case AtomicStep::Kind::insert:
        step.status = handle.insert(step.key, Values::make(step.value), options);
        return;
      case AtomicStep::Kind::erase:
        step.status = handle.erase(step.key);
        return;
      case AtomicStep::Kind::get: {
        const Result<Found> found = found_result(handle.get(step.key));
        step.status = found.status();
        if (found.ok()) step.got = *found;
        return;
      }
      case AtomicStep::Kind::contains: {
        const Result<bool> found = handle.contains(step.key);
        step.status = found.status();
        if (found.ok() && *found) step.got = "";
        return;
      }
      case AtomicStep::Kind::update:
        step.status =
            changed(step.change, [&](auto fn) { return handle.update(step.key, fn, options); });
        return;
    }
  }

  auto key_range(const Walk& how) {
    if (how.over == Walk::Over::prefix) return collection_.keys_with_prefix(how.prefix);
    if (how.over == Walk::Over::all) return collection_.keys();
    return collection_.keys(how.first, how.last);
  }
  template <class Element> static Status add(const Element& element, Entries& out) {
    if constexpr (std::is_same_v<Element, ModelKey>) {
      out.emplace_back(element, "");
    } else {
      Result<std::string> text = text_result(element.value);
      if (!text.ok()) return text.status();
      out.emplace_back(element.key, std::move(*text));
    }
    return {};
  }
  template <class Range> static Result<Entries> walk_range(const Range& given, const Walk& how) {
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

  C collection_;
};

}  // namespace armdb::test

// The calls beyond put and get, each beside a plain put or get of the same collection in the same
// run: what changing a value, groups, hooks, expiry and decoded values cost.
#include <filesystem>
#include <optional>
#include <utility>

#include "bench/store.hpp"

namespace bench {
namespace {

using armdb::Status;
using Number = std::uint64_t;

struct Person {
  std::string name;
  std::uint32_t age = 0;
  using armdb_codec = armdb::fields<&Person::name, &Person::age>;
};

struct CountingHook : armdb::WriteHook<Number> {
  std::uint64_t told = 0;
  void on_write(const Number&, const Bytes*, const Bytes*) override { ++told; }
};

using Value = armdb::ByteArray<64>;
using Map = armdb::ConstMap<Number, Value>;
using Tree = armdb::ConstTree<Number, Value>;
using Hooked = armdb::ConstMap<Number, Value, CountingHook>;

// A collection in a fresh folder, and rows that all have its name in front.
class Bench {
 public:
  Bench(const Options& options, Report& report, std::string name)
      : options_(options), report_(report), name_(std::move(name)) {
    folder_ = options.folder + "/calls";
    std::filesystem::remove_all(folder_);
    numbers_ = uniform_numbers(options.keys, options.operations, 11);
  }
  ~Bench() { std::filesystem::remove_all(folder_); }

  // `work(key)` for many keys that are there, several times.
  template <class F> void row(const char* what, F&& work) {
    group(what, numbers_.size(), [&] {
      for (const std::uint32_t number : numbers_) work(mix64(number + 1));
    });
  }
  // `work()` does `count` operations.
  template <class F> void group(const char* what, std::uint64_t count, F&& work) {
    const std::string row = name_ + "." + what;
    if (!report_.wanted(row)) return;
    for (int repeat = 0; repeat < options_.repeats; ++repeat) {
      report_.add(row, "armdb", per_operation(count, work));
    }
    report_.finish(row, "ns/op");
  }
  template <class C, class V> void fill(C& collection, const V& value) {
    for (std::uint64_t at = 0; at < options_.keys; ++at) {
      check(collection.put(mix64(at + 1), value));
    }
  }
  [[nodiscard]] const std::string& folder() const { return folder_; }
  [[nodiscard]] std::uint64_t keys() const { return options_.keys; }

 private:
  const Options& options_;
  Report& report_;
  const std::string name_;
  std::string folder_;
  std::vector<std::uint32_t> numbers_;
};

template <class C> C opened(const Bench& bench) {
  auto result = C::open(bench.folder());
  check(result.status());
  return *std::move(result);
}

void map_rows(const Options& options, Report& report) {
  Bench bench(options, report, "calls.map");
  Map map = opened<Map>(bench);
  const Value value{1};
  bench.fill(map, value);
  bench.row("put", [&](Number key) { check(map.put(key, value)); });
  bench.row("get", [&](Number key) { keep(map.get(key).has_value()); });
  bench.row("cas", [&](Number key) { keep(map.cas(key, value, value).ok()); });
  bench.row("exchange", [&](Number key) { check(map.exchange(key, value).status()); });
  const auto same = [](const Value& old) { return old; };
  bench.row("update", [&](Number key) { check(map.update(key, same).status()); });
  bench.row("fetch_update", [&](Number key) { check(map.fetch_update(key, same).status()); });
  bench.row("upsert", [&](Number key) {
    check(map.upsert(key, [&](const std::optional<Value>& old) { return old.value_or(value); })
              .status());
  });
  bench.row("atomic_of_2", [&](Number key) {
    check(map.atomic(key, [&](auto& handle) -> Status {
      const Status status = handle.put(key, value);
      return status.ok() ? handle.put(key, value) : status;
    }));
  });
  std::size_t collected = 0;
  armdb::WriteBatch batch(map);
  bench.row("batch_of_16_per_write", [&](Number key) {
    check(batch.put(key, value));
    if (++collected % 16 == 0) check(batch.commit());
  });
  check(batch.commit());
  bench.group("for_each_per_entry", bench.keys(), [&] {
    std::uint64_t sum = 0;
    check(map.for_each([&](Number key, const Value&) { sum += key; }));
    keep(sum);
  });
  bench.group("scan_of_100_per_entry", bench.keys(), [&] {
    std::uint64_t sum = 0;
    for (std::uint64_t cursor = 0;;) {
      auto next = map.scan(cursor, 100, [&](Number key, const Value&) { sum += key; });
      check(next.status());
      cursor = *next;
      if (cursor == 0) break;
    }
    keep(sum);
  });
  bench.group("migrate_keep_per_entry", bench.keys(), [&] {
    check(map.migrate([](Number, const Value&) { return armdb::MigrateAction<Value>::keep(); }));
  });
  bench.row("put_with_ttl", [&](Number key) { check(map.put(key, value, {.ttl_ms = 1u << 30})); });
  bench.row("get_with_ttl", [&](Number key) { keep(map.get(key).has_value()); });
  bench.row("expires_at", [&](Number key) { check(map.expires_at(key).status()); });
  bench.group("clear_and_put_per_entry", bench.keys(), [&] {
    check(map.clear().status());
    bench.fill(map, value);
  });
}

void hook_rows(const Options& options, Report& report) {
  Bench bench(options, report, "calls.hook");
  CountingHook hook;
  auto result = Hooked::open_hooked(bench.folder(), {}, hook);
  check(result.status());
  const Value value{1};
  bench.fill(*result, value);
  bench.row("put", [&](Number key) { check(result->put(key, value)); });
  keep(hook.told);
}

template <class T> void got(const armdb::TypedRef<T>& value) { keep(value->age); }
template <class T> void got(const armdb::Result<std::optional<T>>& value) { keep((*value)->age); }

// Of decoded values in memory, and of those that are decoded when read.
template <class C> void typed_rows(const Options& options, Report& report, const char* name) {
  Bench bench(options, report, name);
  C people = opened<C>(bench);
  const Person person{"a name of twenty-four byte", 42};
  bench.fill(people, person);
  bench.row("put", [&](Number key) { check(people.put(key, person)); });
  bench.row("contains", [&](Number key) { keep(people.contains(key)); });
  bench.row("get", [&](Number key) { got(people.get(key)); });
  bench.row("read", [&](Number key) {
    check(people.read(key, [](const Person& found) { keep(found.age); }).status());
  });
  bench.row("update", [&](Number key) {
    check(people.update(key, [](const Person& old) { return old; }).status());
  });
}

void tree_rows(const Options& options, Report& report) {
  std::vector<std::pair<Number, Value>> entries(options.keys);
  for (std::uint64_t at = 0; at < options.keys; ++at) entries[at].first = mix64(at + 1);
  const auto loaded = [&](const char* name, const char* row, auto how) {
    Bench bench(options, report, name);
    Tree tree = opened<Tree>(bench);
    bench.group(row, options.keys, [&] {
      how(tree);
      check(tree.close());
      std::filesystem::remove_all(bench.folder());
      tree = opened<Tree>(bench);
    });
  };
  const auto put_all = [&](Tree& tree) {
    for (const auto& [key, value] : entries) check(tree.put(key, value));
  };
  loaded("calls.tree", "put_unsorted", put_all);
  loaded("calls.tree", "put_many_unsorted", [&](Tree& tree) { check(tree.put_many(entries)); });
  loaded("calls.tree", "load_unsorted", [&](Tree& tree) { check(tree.load(entries)); });
  std::sort(entries.begin(), entries.end());
  loaded("calls.tree", "put_sorted", put_all);
  loaded("calls.tree", "load_sorted", [&](Tree& tree) { check(tree.load(entries)); });
  loaded("calls.tree", "load_then_erase_range", [&](Tree& tree) {
    check(tree.load(entries));
    check(tree.erase_range(0, ~Number{0}).status());
  });
}

}  // namespace

void run_calls(const Options& options, Report& report) {
  map_rows(options, report);
  hook_rows(options, report);
  typed_rows<armdb::TypedMap<Number, Person>>(options, report, "calls.typed");
  typed_rows<armdb::VarTypedMap<Number, Person>>(options, report, "calls.var_typed");
  tree_rows(options, report);
}

}  // namespace bench

// What many threads see of a few keys, while everything else goes on beside them, is what one
// thread could have seen: recorded histories, checked key by key.
#include <atomic>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/linearizability.hpp"
#include "support/model.hpp"
#include "support/numbered_values.hpp"
#include "support/scale.hpp"
#include "support/temp_dir.hpp"

#if !defined(ARMDB_OMIT_THREADS)

namespace {

using namespace armdb;
using test::Act;
using test::Answer;
using test::Dice;
using test::History;
using test::Operation;

using test::kTorn;
using test::make;
using test::number_in;
using test::number_of;
using test::NumberArray;
using test::TextCodec;

// ---- The threads ----

constexpr std::uint32_t kKeys = 4;
constexpr std::uint32_t kFillers = 2000;  // keys around them, so that they move in the index
// Between the fillers, and in different shards.
std::uint32_t key_at(std::uint64_t at) { return static_cast<std::uint32_t>(at) * 501 + 250; }
bool is_filler(std::uint32_t key) { return key % 501 != 250; }

template <class C> class Trial {
 public:
  using In = typename C::In;
  using Value = std::conditional_t<std::is_same_v<In, Bytes>, std::string, In>;

  Trial(C& collection, std::uint64_t seed) : collection_(collection), seed_(seed) {}

  History run(std::size_t operations) {
    std::vector<std::thread> others;
    others.emplace_back([this] {
      while (!stop_) care();
    });
    others.emplace_back([this] { grow_and_shrink(); });
    others.emplace_back([this] { walk(); });
    std::vector<std::thread> workers;
    for (std::uint32_t thread = 0; thread < 3; ++thread) {
      workers.emplace_back([this, thread, operations] { work(thread, operations); });
    }
    for (std::thread& worker : workers) worker.join();
    stop_ = true;
    for (std::thread& other : others) other.join();
    read_all(collection_);
    INFO(error_);
    CHECK(error_.empty());
    return std::move(history_);
  }

  // Goes on with the history, after everything else.
  void read_all(const C& collection) {
    for (std::uint64_t at = 0; at < kKeys; ++at) {
      Operation operation = begun(Act::get, key_at(at), 99);
      operation.saw = number_in(collection.get(key_at(at)));
      ended(operation);
      history_.push_back(operation);
    }
  }
  History take_history() { return std::move(history_); }

 private:
  Operation begun(Act act, std::uint32_t key, std::uint32_t thread) {
    Operation operation;
    operation.act = act;
    operation.key = key;
    operation.thread = thread;
    operation.begin = ++clock_;
    return operation;
  }
  void ended(Operation& operation) { operation.end = ++clock_; }
  void expect_ok(const Status& status, const char* what) {
    if (status.ok() || status.is(Errc::unsupported)) return;
    const std::lock_guard lock(mutex_);
    if (error_.empty()) error_ = std::string(what) + ": " + status.message();
  }
  void answer(Operation& operation, const Status& status) {
    if (status.ok()) return;
    if (status.is(Errc::not_found)) {
      operation.answer = Answer::not_found;
    } else if (status.is(Errc::key_exists)) {
      operation.answer = Answer::key_exists;
    } else if (status.is(Errc::value_mismatch)) {
      operation.answer = Answer::mismatch;
    } else {
      expect_ok(status, "an operation");
    }
  }

  // One write of a value that nobody else ever writes. `known` is what this thread saw last.
  Operation write(Dice& dice, std::uint32_t thread, std::uint32_t key, std::uint64_t known) {
    const std::uint64_t number = ++numbers_;
    Value value;
    make(number, value);
    Value expected;
    make(known == 0 ? numbers_ / 2 + 1 : known, expected);
    Operation operation = begun(static_cast<Act>(1 + dice.below(8)), key, thread);
    operation.wrote = number;
    operation.expected = number_of(expected);
    // Leaves time between the read and the write for others.
    const auto given = [&](std::uint64_t seen) {
      operation.saw = seen;
      if (dice.one_in(4)) std::this_thread::yield();
      return value;
    };
    switch (operation.act) {
      case Act::get:
      case Act::put:
        answer(operation, put(dice, key, value));
        break;
      case Act::insert:
        answer(operation, collection_.insert(key, value));
        break;
      case Act::erase:
        operation.wrote = 0;
        answer(operation, collection_.erase(key));
        break;
      case Act::cas:
        answer(operation, collection_.cas(key, expected, value));
        break;
      case Act::compare_erase:
        operation.wrote = 0;
        answer(operation, collection_.compare_erase(key, expected));
        break;
      case Act::exchange: {
        const auto before = collection_.exchange(key, value);
        if (!before.ok()) expect_ok(before.status(), "exchange");
        if (before.ok()) operation.saw = number_in(*before);
        break;
      }
      case Act::update:
        answer(
            operation,
            collection_.update(key, [&](const In& old) { return given(number_of(old)); }).status());
        break;
      case Act::upsert:
        answer(operation, upsert(dice, key, given));
        break;
    }
    ended(operation);
    return operation;
  }

  Status put(Dice& dice, std::uint32_t key, const Value& value) {
    if constexpr (!C::kFixed) {
      if (dice.one_in(4)) {
        WriteBatch batch(collection_);
        Status status = batch.put(key, value);
        return status.ok() ? batch.commit() : status;
      }
    }
    return collection_.put(key, value, {.sync = dice.one_in(50)});
  }

  // As a block under the shard's lock now and then.
  template <class Given> Status upsert(Dice& dice, std::uint32_t key, const Given& given) {
    if constexpr (!C::kFixed) {
      if (dice.one_in(2)) {
        return collection_.atomic(key, [&](auto& handle) -> Status {
          const auto old = handle.get(key);
          if (!old.ok()) return old.status();
          const Value value = given(number_in(*old));
          return handle.put(key, value);
        });
      }
    }
    const auto change = [&](const std::optional<In>& old) { return given(number_of(old)); };
    return collection_.upsert(key, change).status();
  }

  void work(std::uint32_t thread, std::size_t operations) {
    Dice dice(seed_ * 100 + thread);
    History own;
    std::uint64_t known[kKeys] = {};
    for (std::size_t i = 0; i < operations; ++i) {
      const std::uint64_t at = dice.below(kKeys);
      if (dice.one_in(2)) {
        Operation operation = begun(Act::get, key_at(at), thread);
        operation.saw = number_in(collection_.get(key_at(at)));
        ended(operation);
        known[at] = operation.saw;
        own.push_back(operation);
      } else if (dice.one_in(8)) {
        get_many(thread, own);
      } else {
        own.push_back(write(dice, thread, key_at(at), known[at]));
      }
    }
    const std::lock_guard lock(mutex_);
    history_.insert(history_.end(), own.begin(), own.end());
  }

  void get_many(std::uint32_t thread, History& own) {
    std::uint32_t keys[kKeys];
    typename C::Values::Slot found[kKeys];
    Operation operations[kKeys];
    for (std::uint32_t at = 0; at < kKeys; ++at) {
      keys[at] = key_at(at);
      operations[at] = begun(Act::get, keys[at], thread);
    }
    if constexpr (std::is_void_v<decltype(collection_.get_many(keys, found))>) {
      collection_.get_many(keys, found);
    } else {
      expect_ok(collection_.get_many(keys, found), "get_many");
    }
    for (std::uint32_t at = 0; at < kKeys; ++at) {
      ended(operations[at]);
      operations[at].saw = number_in(found[at]);
      own.push_back(operations[at]);
    }
  }

  // Goes through all entries: each is read at some moment since the walk began, and a key that is
  // not met was not there at one.
  void walk() {
    History own;
    while (!stop_) {
      std::set<std::uint32_t> met;
      const Operation whole = begun(Act::get, 0, 50);
      const auto visit = [&](std::uint32_t key, const auto& value) {
        const std::uint64_t saw = number_in(value);
        if (saw == kTorn) expect_ok(Errc::corrupt, "a walk");
        if (is_filler(key)) return;
        // Maps may: a key that was erased and put again stands somewhere else.
        if (!met.insert(key).second && C::kShape.ordered) expect_ok(Errc::corrupt, "a key twice");
        Operation operation = whole;
        operation.key = key;
        operation.saw = saw;
        ended(operation);
        own.push_back(operation);
      };
      if constexpr (C::kShape.ordered) {
        for (const auto& [key, value] : collection_.iter()) visit(key, value);
      } else {
        expect_ok(collection_.for_each(visit), "for_each");
      }
      for (std::uint64_t at = 0; at < kKeys; ++at) {
        if (met.count(key_at(at)) != 0) continue;
        Operation operation = whole;
        operation.key = key_at(at);
        ended(operation);
        own.push_back(operation);
      }
    }
    const std::lock_guard lock(mutex_);
    history_.insert(history_.end(), own.begin(), own.end());
  }

  void care() {
    expect_ok(collection_.compact_step(20000).status(), "compact_step");
    expect_ok(collection_.sync(), "sync");
    expect_ok(collection_.compact(), "compact");
    expect_ok(collection_.checkpoint(), "checkpoint");
    expect_ok(collection_.flush_buffers(), "flush_buffers");
    static_cast<void>(collection_.stats());
  }

  // Nodes and buckets split and merge, records and slots are freed and taken again.
  void grow_and_shrink() {
    Dice dice(seed_);
    Value value;
    for (std::uint64_t round = 0; !stop_; ++round) {
      for (std::uint32_t i = 0; i < kFillers && !stop_; ++i) {
        const auto key = static_cast<std::uint32_t>(dice.below(kFillers));
        if (!is_filler(key)) continue;
        make(key + 1, value);
        const bool growing = round % 2 == 0;
        const Status status = growing ? collection_.put(key, value) : collection_.erase(key);
        if (!status.is(Errc::not_found)) expect_ok(status, "a filler");
      }
    }
  }

  C& collection_;
  const std::uint64_t seed_;
  std::atomic<std::uint64_t> clock_{0};
  std::atomic<std::uint64_t> numbers_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  History history_;
  std::string error_;
};

// ---- The collections ----

template <class C> typename C::Config config_of(FileSystem* files, unsigned shards) {
  typename C::Config config;
  config.file_system = files;
  config.shard_count = shards;
  config.write_buffer_size = 16u << 10;
  config.max_file_size = 64u << 10;
  config.index_step_bytes = 4u << 10;
  config.mapped_reads = shards != 1;
  if constexpr (C::kFixed) config.grow_step = 16u << 10;
  return config;
}

template <class C>
void try_history(FileSystem* files, const std::string& path, unsigned shards, std::uint64_t seed) {
  const std::size_t operations = test::scaled(1500, 150);
  INFO("seed " << seed << ", " << shards << " shards");
  Result<C> opened = C::open(path, config_of<C>(files, shards));
  INFO(opened.message());
  REQUIRE(opened.ok());
  C collection = *std::move(opened);
  Trial<C> trial(collection, seed);
  History history = trial.run(operations);
  REQUIRE(collection.close().ok());
  // What was there at the end is there after reopening.
  opened = C::open(path, config_of<C>(files, shards));
  REQUIRE(opened.ok());
  trial.read_all(*opened);
  const History last = trial.take_history();
  history.insert(history.end(), last.begin(), last.end());
  const std::string fault = test::check_keys(history);
  INFO(fault);
  REQUIRE(fault.empty());
}

template <class C> void try_histories(std::uint64_t seed) {
  for (const unsigned shards : {1u, 3u}) {
    const auto files = make_memory_file_system();
    try_history<C>(files.get(), "c", shards, seed + shards);
  }
}

using Key = std::uint32_t;
using InlineTree = ConstTree<Key, NumberArray>;
using InlineMap = ConstMap<Key, NumberArray>;
using ObjectTree = TypedTree<Key, std::string, TextCodec>;
using DecodedMap = VarTypedMap<Key, std::string, TextCodec>;
using SlotTree = FixedTree<Key, NumberArray>;
using SlotMap = FixedMap<Key, NumberArray>;

}  // namespace

TEMPLATE_TEST_CASE("histories: of few keys, beside all else, are linearizable", "", InlineTree,
                   InlineMap, VarTree<Key>, VarMap<Key>, ObjectTree, DecodedMap, SlotTree,
                   SlotMap) {
  try_histories<TestType>(1000);
}

TEMPLATE_TEST_CASE("histories: on the disk of this machine", "", VarMap<Key>, SlotTree) {
  const test::TempDir folder;
  try_history<TestType>(nullptr, folder / "c", 2, 77);
}

TEMPLATE_TEST_CASE("histories: many seeds", "[slow]", InlineTree, InlineMap, VarTree<Key>,
                   VarMap<Key>, ObjectTree, DecodedMap, SlotTree, SlotMap) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) try_histories<TestType>(seed * 10000);
}

#endif

// Everything at once, until somebody closes the collection: writers, readers, walks in both
// directions, compaction, checkpoints, syncs and growth. Then it is opened again.
#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/model.hpp"
#include "support/numbered_values.hpp"
#include "support/scale.hpp"
#include "support/temp_dir.hpp"

#if !defined(ARMDB_OMIT_THREADS)

namespace {

using namespace armdb;
using test::Dice;
using test::kTorn;
using test::make;
using test::number_in;

using Key = std::uint32_t;

constexpr Key kWriters = 2;
constexpr Key kStaying = 500;   // keys below are never erased
constexpr Key kKeysMax = 6000;  // keys up to here come and go

std::uint64_t number_for(Key key, std::uint32_t version) {
  return (std::uint64_t{key} << 24) | version;
}
Key key_of(std::uint64_t number) { return static_cast<Key>(number >> 24); }
std::uint32_t version_of(std::uint64_t number) {
  return static_cast<std::uint32_t>(number & 0xffffff);
}

template <class C> class Stress {
 public:
  using In = typename C::In;
  using Value = std::conditional_t<std::is_same_v<In, Bytes>, std::string, In>;

  Stress(C& collection, std::uint64_t seed)
      : collection_(collection), seed_(seed), known_(kKeysMax), begun_(kKeysMax) {
    for (Key key = 0; key < kStaying; ++key) put(key, 1);
  }

  // Goes on until `operations` writes were done and every thread has done something; then closes.
  void run(std::size_t operations) {
    std::vector<std::thread> threads;
    const auto forever = [&](auto call) {
      const std::size_t own = threads.size();
      threads.emplace_back([this, call, own] {
        Dice dice(seed_ * 100 + own);
        while (call(dice)) ++rounds_[own];
      });
    };
    for (Key writer = 0; writer < kWriters; ++writer) {
      forever([this, writer](Dice& dice) { return write(dice, writer); });
    }
    forever([this](Dice& dice) { return get(dice); });
    forever([this](Dice& dice) { return get_many(dice); });
    forever([this](Dice&) { return walk(); });
    forever([this](Dice&) {
      return goes_on(collection_.compact_step(30000).status()) && goes_on(collection_.sync());
    });
    forever([this](Dice&) {
      return goes_on(collection_.checkpoint()) && goes_on(collection_.compact()) &&
             goes_on(collection_.flush_buffers()) && collection_.stats().entries < kKeysMax * 2;
    });
    for (std::size_t thread = 0; thread < threads.size(); ++thread) {
      while (rounds_[thread] == 0 || rounds_[0] + rounds_[1] < operations) {
        if (!collection_.is_open()) break;
        std::this_thread::yield();
      }
    }
    const Status status = collection_.close();
    for (std::thread& thread : threads) thread.join();
    INFO(status.message());
    CHECK(status.ok());
    INFO(fault_);
    CHECK(fault_.empty());
  }

  // What was acknowledged is there, or what was on its way when the collection closed.
  void compare(C& again) const {
    std::size_t wrong = 0;
    for (Key key = 0; key < kKeysMax; ++key) {
      const std::uint64_t found = number_in(again.get(key));
      wrong += found != known_[key] && found != begun_[key] ? 1 : 0;
    }
    CHECK(wrong == 0);
    const auto report = again.verify();
    REQUIRE(report.ok());
    CHECK(report->damaged_regions == 0);
  }

 private:
  // False when the collection was closed.
  bool goes_on(const Status& status) {
    if (status.is(Errc::closed)) return false;
    if (!status.ok() && !status.is(Errc::unsupported)) wrong("status", status.message());
    return true;
  }
  void wrong(const char* what, const std::string& more) {
    const std::lock_guard lock(mutex_);
    if (fault_.empty()) fault_ = std::string(what) + ": " + more;
  }

  bool put(Key key, std::uint32_t version) {
    Value value;
    make(number_for(key, version), value);
    begun_[key] = number_for(key, version);
    const Status status = collection_.put(key, value);
    if (status.ok()) known_[key] = number_for(key, version);
    return goes_on(status);
  }

  // Each key has one writer, which alone knows what must be there. Waves of keys come and go, so
  // that the index, the log and the slots grow and shrink.
  bool write(Dice& dice, Key writer) {
    const bool growing = rounds_[writer] / 2000 % 2 == 0;
    const bool staying = dice.one_in(4);
    const Key range = staying ? kStaying : kKeysMax - kStaying;
    const Key key = (staying ? 0 : kStaying) +
                    static_cast<Key>(dice.below(range / kWriters)) * kWriters + writer;
    const std::uint32_t version = ++versions_[writer];
    if (!staying && (growing ? dice.one_in(8) : !dice.one_in(8))) {
      begun_[key] = 0;
      const Status status = collection_.erase(key);
      if (status.is(Errc::not_found) != (known_[key] == 0) && !status.is(Errc::closed)) {
        wrong("erase", std::to_string(key));
      }
      if (!status.is(Errc::closed)) known_[key] = 0;
      return status.is(Errc::not_found) || goes_on(status);
    }
    if (known_[key] == 0 || !dice.one_in(4)) return put(key, version);
    Value value;
    make(number_for(key, version), value);
    begun_[key] = number_for(key, version);
    const auto updated = collection_.update(key, [&](const In& old) {
      if (test::number_of(old) != known_[key]) wrong("update", std::to_string(key));
      return value;
    });
    if (updated.ok()) known_[key] = number_for(key, version);
    return goes_on(updated.status());
  }

  // `before`: the version that was known before the read. None was read rightly only from a
  // collection that is closed by now, or for a key that comes and goes.
  void judge(Key key, std::uint64_t before, std::uint64_t found) {
    if (found == 0 || found == kTorn) {
      if ((key < kStaying || found == kTorn) && collection_.is_open()) {
        wrong(found == 0 ? "missing" : "torn, or an error", std::to_string(key));
      }
      return;
    }
    if (key_of(found) != key) wrong("of another key", std::to_string(key));
    if (version_of(found) < version_of(before)) wrong("stale", std::to_string(key));
  }

  bool get(Dice& dice) {
    const auto key = static_cast<Key>(dice.below(dice.one_in(2) ? kStaying : kKeysMax));
    const std::uint64_t before = key < kStaying ? known_[key].load() : 0;
    judge(key, before, number_in(collection_.get(key)));
    return collection_.is_open();
  }

  bool get_many(Dice& dice) {
    constexpr std::size_t kMany = 40;
    Key keys[kMany];
    std::uint64_t before[kMany];
    typename C::Values::Slot found[kMany];
    for (std::size_t at = 0; at < kMany; ++at) {
      keys[at] = static_cast<Key>(dice.below(at % 2 == 0 ? kStaying : kKeysMax));
      before[at] = keys[at] < kStaying ? known_[keys[at]].load() : 0;
    }
    if constexpr (std::is_void_v<decltype(collection_.get_many(keys, found))>) {
      collection_.get_many(keys, found);
    } else if (!goes_on(collection_.get_many(keys, found))) {
      return false;
    }
    for (std::size_t at = 0; at < kMany; ++at) judge(keys[at], before[at], number_in(found[at]));
    return collection_.is_open();
  }

  // Every key that stays is met, once; in trees in order, in both directions.
  bool walk() {
    std::vector<std::uint8_t> met(kStaying);
    const auto visit = [&](Key key, const auto& value) {
      judge(key, 0, number_in(value));
      if (key < kStaying) met[key] += 1;
    };
    if constexpr (C::kShape.ordered) {
      std::optional<Key> last;
      for (const auto& [key, value] : collection_.iter().reversed()) {
        if (last.has_value() && key <= *last) wrong("out of order", std::to_string(key));
        last = key;
        judge(key, 0, number_in(value));
      }
      for (const auto& [key, value] : collection_.iter()) visit(key, value);
    } else if (!goes_on(collection_.for_each(visit))) {
      return false;
    }
    if (!collection_.is_open()) return false;
    for (Key key = 0; key < kStaying; ++key) {
      if (met[key] != 1) wrong("a walk misses or repeats", std::to_string(key));
    }
    return true;
  }

  C& collection_;
  const std::uint64_t seed_;
  std::vector<std::atomic<std::uint64_t>> known_;  // acknowledged; 0: not there
  std::vector<std::atomic<std::uint64_t>> begun_;
  std::uint32_t versions_[kWriters] = {1, 1};
  std::atomic<std::size_t> rounds_[8] = {};
  std::mutex mutex_;
  std::string fault_;
};

template <class C> C open_small(FileSystem* files, const std::string& path) {
  typename C::Config config;
  config.file_system = files;
  config.shard_count = 2;
  config.write_buffer_size = 16u << 10;
  // On a disk each segment is a sync, and the writers never stop.
  config.max_file_size = files != nullptr ? 64u << 10 : 1u << 20;
  config.index_step_bytes = 4u << 10;
  if constexpr (C::kFixed) config.grow_step = 64u << 10;
  Result<C> opened = C::open(path, config);
  INFO(opened.message());
  REQUIRE(opened.ok());
  return *std::move(opened);
}

template <class C> void stress_and_reopen(FileSystem* files, const std::string& path) {
  C collection = open_small<C>(files, path);
  Stress<C> stress(collection, 5);
  stress.run(files != nullptr ? test::scaled(100000, 3000) : test::scaled(20000, 1000));
  collection = open_small<C>(files, path);
  stress.compare(collection);
}

using InlineTree = ConstTree<Key, test::NumberArray>;
using InlineMap = ConstMap<Key, test::NumberArray>;
using ObjectMap = TypedMap<Key, std::string, test::TextCodec>;
using SlotTree = FixedTree<Key, test::NumberArray>;
using SlotMap = FixedMap<Key, test::NumberArray>;

}  // namespace

TEMPLATE_TEST_CASE("whole stress: all kinds of calls, until it is closed", "", InlineTree,
                   InlineMap, VarTree<Key>, VarMap<Key>, ObjectMap, SlotTree, SlotMap) {
  const auto files = make_memory_file_system();
  stress_and_reopen<TestType>(files.get(), "c");
}

TEMPLATE_TEST_CASE("whole stress: on the disk of this machine", "", VarTree<Key>, SlotMap) {
  const test::TempDir folder;
  stress_and_reopen<TestType>(nullptr, folder / "c");
}

#endif

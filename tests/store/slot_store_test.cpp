// The Fixed store of a shard: what every crash leaves of each key.
#include "store/slot_store.hpp"

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/fault_file_system.hpp"
#include "support/random.hpp"
#include "support/scale.hpp"

using namespace armdb;
using namespace armdb::store;
using armdb::test::AtomFate;
using armdb::test::FaultFileSystem;

namespace {

struct Kind {
  std::uint32_t value_size = 64;
  std::uint32_t copies = 2;
  bool mapped = true;  // else written by system calls
};

// A value, or nothing where the key is not there.
using Value = std::optional<std::string>;

// A slot store with an index of its own, and what it may hold after a power cut.
class Subject {
 public:
  Subject(FaultFileSystem& files, const Kind& kind) : files_(files), kind_(kind) {
    config_.file_system = &files;
    static_cast<void>(files.create_directory("/s"));
    static_cast<void>(files.sync_directory("/"));
    open();
  }

  void open() {
    INFO(try_open().message());
    REQUIRE(store_ != nullptr);
  }
  Status try_open() {
    at_.clear();
    held_.clear();
    const StoreContext context{.files = files_,
                               .config = config_,
                               .epochs = epochs_,
                               .directory = "/s",
                               .shape = {.key_size = 8, .value_size = kind_.value_size}};
    const auto visit = [&](Store& store, const RecoveredEntry& entry) -> Status {
      const std::string key(entry.key.text());
      if (const auto old = at_.find(key); old != at_.end()) {
        const Result<bool> newer = store.settle(old->second, entry);
        if (!newer.ok()) return newer.status();
        if (!*newer) return {};
      }
      at_[key] = entry.at;
      held_[key] = std::string(entry.value.text());
      return {};
    };
    store_.reset();
    // Every mapping is refused.
    if (!kind_.mapped) files_.fail(test::Call::map, 1, ENODEV, true);
    Result<std::unique_ptr<SlotStore>> opened = SlotStore::open(
        context, {.copies = kind_.copies, .stage_bytes = 1024, .grow_step_bytes = 64 << 10}, visit);
    if (!opened.ok()) return opened.status();
    const Status status = (*opened)->finish_recovery();
    if (!status.ok()) return status;
    store_ = std::move(*opened);
    CHECK(store_->live_count() == at_.size());
    return {};
  }

  // What it writes is remembered as possible, until a sync that began later has ended.
  Status put(const std::string& key, const std::string& value) {
    return write(key, value, {.key = Bytes(key), .value = Bytes(value)});
  }
  Status erase(const std::string& key) {
    return write(key, {}, {.key = Bytes(key), .value = {}, .tombstone = true});
  }

  void begin_sync() {
    Status status;
    ticket_ = store_->begin_sync(status);
    for (auto& [key, history] : possible_) {
      history.covered = history.states.empty() ? 0 : history.states.size() - 1;
    }
  }
  Status run_sync() { return store_->run_sync(ticket_); }
  Status end_sync(Status outcome = {}) {
    Status status = store_->end_sync(ticket_, std::move(outcome));
    if (!status.ok()) return status;
    for (auto& [key, history] : possible_) {
      history.states.erase(history.states.begin(),
                           history.states.begin() + static_cast<std::ptrdiff_t>(history.covered));
      history.covered = 0;
    }
    return status;
  }
  void sync() {
    begin_sync();
    REQUIRE(run_sync().ok());
    REQUIRE(end_sync().ok());
  }

  // After a power cut and open(): each key has a state at or after its last sync.
  void check_possible() {
    for (const auto& [key, history] : possible_) {
      const Value held = value_of(key);
      const std::set<Value> states(history.states.begin(), history.states.end());
      INFO("key " << key << " has " << held.value_or("nothing") << ", last synced was "
                  << history.states.front().value_or("nothing"));
      CHECK(states.count(held) == 1);
    }
    for (const auto& [key, value] : held_) CHECK(possible_.count(key) == 1);
  }
  // After a kill and open(): each key has its last state.
  void check_last() {
    for (const auto& [key, history] : possible_) {
      INFO("key " << key << " has " << value_of(key).value_or("nothing") << ", last was "
                  << history.states.back().value_or("nothing"));
      CHECK(value_of(key) == history.states.back());
    }
  }
  // What was recovered is durable.
  void settle() {
    for (auto& [key, history] : possible_) history = {{value_of(key)}, 0};
  }
  [[nodiscard]] Value value_of(const std::string& key) const {
    const auto held = held_.find(key);
    return held == held_.end() ? Value() : Value(held->second);
  }
  [[nodiscard]] std::string value(std::uint64_t number) const {
    std::string text = "v" + std::to_string(number);
    text.resize(kind_.value_size, static_cast<char>('a' + number % 26));
    return text;
  }
  [[nodiscard]] const std::map<std::string, std::string>& held() const { return held_; }
  [[nodiscard]] std::uint32_t stage_count() const {
    const std::size_t place =
        format::SlotLayout(8, kind_.value_size, kind_.copies, 1).stage_bytes();
    return std::max<std::uint32_t>(8, static_cast<std::uint32_t>(1024 / place));
  }
  SlotStore& store() { return *store_; }
  Config& config() { return config_; }

 private:
  struct History {
    std::vector<Value> states{Value()};  // the last durable one first
    std::size_t covered = 0;             // states before it end with the running sync
  };

  Status write(const std::string& key, const Value& value, const Write& write) {
    const auto known = at_.find(key);
    base::Location at;
    Status status = store_->write(write, known == at_.end() ? base::Location() : known->second, at);
    if (!status.ok()) return status;
    CHECK((known == at_.end() || at != known->second));
    possible_[key].states.push_back(value);
    if (value) {
      at_[key] = at;
      held_[key] = *value;
    } else {
      at_.erase(key);
      held_.erase(key);
    }
    return status;
  }

  FaultFileSystem& files_;
  const Kind kind_;
  Config config_;
  base::EpochDomain epochs_;
  std::unique_ptr<SlotStore> store_;
  SyncTicket ticket_;
  std::map<std::string, base::Location> at_;
  std::map<std::string, std::string> held_;
  std::map<std::string, History> possible_;
};

std::string key_of(std::uint64_t number) {
  std::string key = std::to_string(number);
  return std::string(8 - key.size(), '0') + key;
}

// Any subset of the sectors; torn within one too, where there are two copies.
void cut_power(FaultFileSystem& files, base::Random& dice, bool torn) {
  const auto fate = [&](const test::PendingAtom&) {
    const std::uint64_t chosen = dice.below(torn ? 5 : 4);
    return chosen < 2 ? AtomFate::absent : chosen < 4 ? AtomFate::present : AtomFate::half;
  };
  files.power_cut(fate, [](std::size_t) { return true; });
}

const Kind kKinds[] = {{64, 2, true},  {8, 2, true},  {5000, 2, true},  {64, 1, true},
                       {64, 2, false}, {8, 2, false}, {5000, 2, false}, {64, 1, false}};

const std::string kFile = "/s/slots.dat";

// Bytes of slots.dat, read and written beside the store.
std::string bytes_at(FaultFileSystem& files, std::uint64_t at, std::size_t size) {
  std::string bytes(size, '\0');
  auto file = files.open(kFile, OpenMode::read);
  REQUIRE(file.ok());
  const auto got = (*file)->read_at(at, {reinterpret_cast<std::uint8_t*>(bytes.data()), size});
  REQUIRE((got.ok() && *got == size));
  return bytes;
}
void put_bytes(FaultFileSystem& files, std::uint64_t at, const std::string& bytes) {
  auto file = files.open(kFile, OpenMode::read_write);
  REQUIRE(file.ok());
  REQUIRE((*file)->write_at(at, Bytes(bytes)).ok());
}

}  // namespace

TEST_CASE("slot_store: what was written is there after a kill, each time") {
  for (const Kind& kind : kKinds) {
    FaultFileSystem files;
    Subject subject(files, kind);
    for (std::uint64_t number = 0; number < 60; ++number) {
      REQUIRE(subject.put(key_of(number % 17), subject.value(number)).ok());
      if (number % 5 == 0) REQUIRE(subject.erase(key_of(number % 17)).ok());
      if (number % 7 == 0) subject.sync();
      files.kill_process();
      files.clear_faults();
      subject.open();
      subject.check_last();
      subject.settle();
    }
  }
}

TEST_CASE("slot_store: a kill halfway through a slot leaves the value before or the new one") {
  for (const Kind& kind : {Kind{64, 2, true}, Kind{5000, 2, true}, Kind{64, 1, true}}) {
    FaultFileSystem files;
    Subject subject(files, kind);
    const format::SlotLayout layout(8, kind.value_size, kind.copies, subject.stage_count());
    REQUIRE(subject.put(key_of(1), subject.value(1)).ok());
    REQUIRE(subject.put(key_of(1), subject.value(2)).ok());  // not synced: over the same copy
    files.kill_process();
    const auto before = files.snapshot();
    subject.open();
    REQUIRE(subject.value_of(key_of(1)) == subject.value(2));
    // What the next write makes of the stage and the slot.
    files.restore(before);
    const std::size_t stage_bytes = layout.stage_bytes();
    std::vector<std::pair<std::uint64_t, std::string>> old_bytes;
    const std::uint64_t places[] = {layout.stage_at(0), layout.offset(0, 0),
                                    layout.offset(0, kind.copies - 1)};
    for (const std::uint64_t place : places) {
      old_bytes.emplace_back(place, bytes_at(files, place, stage_bytes));
    }
    // Halfway through the stage: it holds the front of something else.
    for (std::size_t cut = 0; cut < stage_bytes; cut += 1 + stage_bytes / 50) {
      files.restore(before);
      put_bytes(files, layout.stage_at(0), std::string(cut, '\x5a'));
      subject.open();
      CHECK(subject.value_of(key_of(1)) == subject.value(2));
    }
    // Halfway through the slot: the stage is whole.
    for (std::size_t cut = 1; cut < layout.slot_bytes(); cut += 1 + stage_bytes / 50) {
      for (const std::uint64_t place : {places[1], places[2]}) {
        files.restore(before);
        put_bytes(files, place, std::string(cut, '\x5a'));
        subject.open();
        CHECK(subject.value_of(key_of(1)) == subject.value(2));
        // And once more, from what that recovery made of it.
        files.power_cut_lose_all();
        subject.open();
        CHECK(subject.value_of(key_of(1)) == subject.value(2));
      }
    }
  }
}

TEST_CASE("slot_store: a crash at any call of the recovery ends the same") {
  for (const Kind& kind : {Kind{64, 2, true}, Kind{64, 2, false}}) {
    for (std::uint64_t seed = 1; seed <= 24; ++seed) {
      base::Random dice(seed);
      FaultFileSystem files;
      Subject subject(files, kind);
      for (int round = 0; round < 40; ++round) {
        const std::string key = key_of(dice.below(8));
        if (dice.below(3) == 0 && subject.value_of(key)) {
          static_cast<void>(subject.erase(key));
        } else {
          static_cast<void>(subject.put(key, subject.value(dice.below(1000))));
        }
        if (dice.below(8) == 0) subject.sync();
        static_cast<void>(files.pending_atoms());
      }
      subject.begin_sync();
      REQUIRE(subject.run_sync().ok());
      for (int more = 0; more < 4; ++more) {
        static_cast<void>(subject.put(key_of(dice.below(8)), subject.value(1000 + seed)));
      }
      const bool killed = seed % 2 == 0;  // then little of it is durable yet
      if (killed) {
        files.kill_process();
      } else {
        cut_power(files, dice, true);
      }
      const auto after = files.snapshot();
      files.clear_faults();
      subject.open();
      subject.check_possible();
      std::map<std::string, std::string> wanted = subject.held();
      for (std::size_t nth = 1; nth < 60; ++nth) {
        for (const bool power : {false, true}) {
          files.restore(after);
          files.clear_faults();
          files.fail(test::Call::any, nth, EIO, true);
          const Status status = subject.try_open();
          if (power) {
            cut_power(files, dice, true);
          } else {
            files.kill_process();
          }
          files.clear_faults();
          subject.open();
          INFO("seed " << seed << ", call " << nth << ", " << status.message());
          if (killed && power) {
            subject.check_possible();
          } else {
            CHECK(subject.held() == wanted);
          }
        }
      }
    }
  }
}

TEST_CASE("slot_store: a full disk refuses new keys, and nothing else") {
  FaultFileSystem files;
  Subject subject(files, {1000, 2, true});
  REQUIRE(subject.put(key_of(0), subject.value(0)).ok());
  files.set_capacity(files.used_bytes());
  std::uint64_t number = 1;
  Status status;
  while (status.ok()) status = subject.put(key_of(number), subject.value(number)), ++number;
  CHECK(status.is(Errc::no_space));
  const std::uint64_t refused = number - 1;
  for (std::uint64_t key = 0; key < refused; ++key) {
    REQUIRE(subject.put(key_of(key), subject.value(key + 1)).ok());
  }
  REQUIRE(subject.erase(key_of(3)).ok());
  REQUIRE(subject.put(key_of(refused), subject.value(7)).ok());
  CHECK(subject.put(key_of(refused + 1), subject.value(7)).is(Errc::no_space));
  subject.sync();
  // A single group when there is no more.
  files.set_capacity(files.used_bytes() + 3 * 4096);
  REQUIRE(subject.put(key_of(refused + 1), subject.value(7)).ok());
  files.set_capacity(std::uint64_t{1} << 30);
  for (std::uint64_t key = 100; key < 400; ++key) {
    REQUIRE(subject.put(key_of(key), subject.value(key)).ok());
  }
  files.kill_process();
  subject.open();
  subject.check_last();
}

TEST_CASE("slot_store: a failed sync is sticky, and reopening has what was durable") {
  for (const Kind& kind : {Kind{64, 2, true}, Kind{64, 2, false}}) {
    FaultFileSystem files;
    Subject subject(files, kind);
    REQUIRE(subject.put(key_of(1), subject.value(1)).ok());
    subject.sync();
    REQUIRE(subject.put(key_of(1), subject.value(2)).ok());
    REQUIRE(subject.put(key_of(2), subject.value(3)).ok());
    subject.begin_sync();
    files.clear_faults();
    files.fail(test::Call::sync, 1, EIO);
    CHECK(subject.end_sync(subject.run_sync()).is(Errc::failed));
    files.clear_faults();
    CHECK(subject.put(key_of(1), subject.value(4)).is(Errc::failed));
    CHECK(subject.erase(key_of(1)).is(Errc::failed));
    files.kill_process();
    subject.open();
    CHECK(subject.value_of(key_of(1)) == subject.value(1));
    CHECK_FALSE(subject.value_of(key_of(2)));
    REQUIRE(subject.put(key_of(1), subject.value(5)).ok());
  }
}

TEST_CASE("slot_store: only a whole close leaves a clean mark, and the next open takes it away") {
  FaultFileSystem files;
  Subject subject(files, {64, 2, true});
  CHECK_FALSE(subject.store().was_clean());
  REQUIRE(subject.put(key_of(1), subject.value(1)).ok());
  REQUIRE(subject.store().close().ok());
  files.power_cut_lose_all();
  const auto closed = files.snapshot();
  subject.open();
  CHECK(subject.store().was_clean());
  CHECK(subject.value_of(key_of(1)) == subject.value(1));
  files.power_cut_lose_all();
  subject.open();
  CHECK_FALSE(subject.store().was_clean());
  // Read only: the mark stays.
  files.restore(closed);
  subject.config().read_only = true;
  for (int time = 0; time < 2; ++time) {
    subject.open();
    CHECK(subject.store().was_clean());
    Stats stats;
    subject.store().add_stats(stats);
    CHECK(stats.unsynced_shards == 0);
    CHECK(subject.value_of(key_of(1)) == subject.value(1));
    files.kill_process();
  }
  subject.config().read_only = false;
  // A close whose second sync fails leaves none.
  files.restore(closed);
  subject.open();
  REQUIRE(subject.put(key_of(1), subject.value(2)).ok());
  files.fail(test::Call::sync, 2, EIO);
  CHECK_FALSE(subject.store().close().ok());
  files.clear_faults();
  files.power_cut_lose_all();
  subject.open();
  CHECK_FALSE(subject.store().was_clean());
  CHECK(subject.value_of(key_of(1)) == subject.value(2));
}

TEST_CASE("slot_store: damage is counted and not used again; another store's file is refused") {
  FaultFileSystem files;
  Subject subject(files, {64, 2, true});
  REQUIRE(subject.put(key_of(1), subject.value(1)).ok());
  subject.sync();
  REQUIRE(subject.put(key_of(1), subject.value(2)).ok());
  REQUIRE(subject.put(key_of(2), subject.value(3)).ok());
  REQUIRE(subject.store().close().ok());
  files.kill_process();
  const auto closed = files.snapshot();
  const format::SlotLayout layout(8, 64, 2, subject.stage_count());
  put_bytes(files, layout.stage_at(0), std::string(layout.stage_bytes(), '\0'));
  put_bytes(files, layout.offset(0, 0) + 30, "!!");
  put_bytes(files, layout.offset(0, 1) + 30, "!!");
  subject.open();
  CHECK(subject.store().damaged_slots() == 1);
  CHECK(subject.store().torn_copies() == 2);
  CHECK_FALSE(subject.value_of(key_of(1)));
  CHECK(subject.value_of(key_of(2)) == subject.value(3));
  REQUIRE(subject.put(key_of(1), subject.value(4)).ok());
  CHECK(bytes_at(files, layout.offset(0, 0) + 30, 2) == "!!");

  files.restore(closed);
  put_bytes(files, 10, "?");
  CHECK(subject.try_open().is(Errc::corrupt));
  files.restore(closed);
  auto file = files.open(kFile, OpenMode::read_write);
  REQUIRE((*file)->truncate(layout.slots_at()).ok());
  CHECK(subject.try_open().is(Errc::corrupt));  // it was longer when it was closed
  put_bytes(files, format::kCleanMarkAt, std::string(format::kCleanMarkBytes, '\0'));
  CHECK(subject.try_open().ok());
  REQUIRE((*file)->truncate(layout.slots_at() - 1).ok());
  CHECK(subject.try_open().is(Errc::corrupt));
}

TEST_CASE("slot_store: no power cut takes what was synced, or brings back what was erased") {
  for (const Kind& kind : kKinds) {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
      INFO("values of " << kind.value_size << " bytes, copies " << kind.copies << ", seed "
                        << seed);
      base::Random dice(seed);
      FaultFileSystem files;
      Subject subject(files, kind);
      bool syncing = false;
      for (std::uint64_t step = 0; step < 300; ++step) {
        const std::string key = key_of(dice.below(12));
        const std::uint64_t what = dice.below(100);
        if (what < 60) {
          const Status status = subject.put(key, subject.value(step));
          CHECK((status.ok() || (syncing && status.is(Errc::aborted))));
        } else if (what < 80 && subject.value_of(key)) {
          const Status status = subject.erase(key);
          CHECK((status.ok() || (syncing && status.is(Errc::aborted))));
        } else if (what < 86 && !syncing) {
          subject.begin_sync();
          syncing = true;
        } else if (what < 92 && syncing) {
          REQUIRE(subject.run_sync().ok());
          // Writes between the disk's part of the sync and its end.
          for (int more = 0; more < 3; ++more) {
            static_cast<void>(subject.put(key_of(dice.below(12)), subject.value(step + 1000)));
          }
          REQUIRE(subject.end_sync().ok());
          syncing = false;
        } else if (what >= 98) {
          const bool kill = dice.below(3) == 0;
          if (kill) {
            files.kill_process();
          } else {
            cut_power(files, dice, kind.copies == 2);
          }
          syncing = false;
          files.clear_faults();
          subject.open();
          kill ? subject.check_last() : subject.check_possible();
          subject.settle();
        }
        static_cast<void>(files.pending_atoms());  // stores become visible to the disk one by one
      }
    }
  }
}

TEST_CASE("slot_store: what is staged of a slot that goes does not come back with the slot") {
  for (const bool cut_off : {false, true}) {
    for (const bool mapped : {true, false}) {
      INFO((cut_off ? "cut off" : "trimmed") << (mapped ? ", mapped" : ""));
      FaultFileSystem files;
      Subject subject(files, {64, 2, mapped});
      for (std::uint64_t key = 0; key < 200; ++key) {
        REQUIRE(subject.put(key_of(key), subject.value(key)).ok());
      }
      subject.begin_sync();
      REQUIRE(subject.put(key_of(199), subject.value(999)).ok());
      REQUIRE(subject.run_sync().ok());
      REQUIRE(subject.end_sync().ok());
      const format::SlotLayout layout(8, 64, 2, subject.stage_count());
      if (cut_off) {  // as when a power cut leaves the stage, and not the size of the file
        files.kill_process();
        auto file = files.open(kFile, OpenMode::read_write);
        REQUIRE((*file)->truncate(layout.file_bytes(1)).ok());
        subject.open();
      } else {
        for (std::uint64_t key = 1; key < 200; ++key) REQUIRE(subject.erase(key_of(key)).ok());
        const Result<bool> begun = subject.store().begin_trim();
        REQUIRE((begun.ok() && *begun));
        subject.sync();
        const Result<bool> trimmed = subject.store().end_trim();
        REQUIRE((trimmed.ok() && *trimmed));
      }
      REQUIRE(subject.store().slot_count() < 199);
      for (std::uint64_t key = 300; key < 360; ++key) {
        REQUIRE(subject.put(key_of(key), subject.value(key)).ok());
      }
      REQUIRE(subject.store().slot_count() > 199);
      const std::map<std::string, std::string> held = subject.held();
      REQUIRE(subject.store().close().ok());
      files.kill_process();
      files.clear_faults();
      subject.open();
      CHECK(subject.held() == held);
    }
  }
}

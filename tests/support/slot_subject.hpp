// A slot store with an index of its own, and what each of its keys may hold after a crash.
#pragma once

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "store/keyring.hpp"
#include "store/slot_store.hpp"
#include "support/catch.hpp"
#include "support/fault_file_system.hpp"
#include "support/random.hpp"

namespace armdb::test {

using namespace armdb::store;

struct SlotKind {
  std::uint32_t value_size = 64;
  std::uint32_t copies = 2;
  bool mapped = true;  // else written by system calls
};

// A value, or nothing where the key is not there.
using SlotValue = std::optional<std::string>;

// A slot store with an index of its own, and what it may hold after a power
// cut.
class SlotSubject {
 public:
  SlotSubject(FaultFileSystem& files, const SlotKind& kind) : files_(files), kind_(kind) {
    config_.file_system = &files;
    static_cast<void>(files.create_directory("/s"));
    static_cast<void>(files.sync_directory("/"));
    description_.shape = shape();
    // Encrypted when all tests are to be.
    const Status status =
        Keyring::settle(files, "/s", {}, Cipher::stored, true, description_, ring_);
    INFO(status.message());
    REQUIRE(status.ok());
    open();
  }

  void open() {
    INFO(try_open().message());
    REQUIRE(store_ != nullptr);
  }
  Status try_open() {
    at_.clear();
    held_.clear();
    const StoreContext context{.files = ring_ == nullptr ? files_ : ring_->sealed_files(),
                               .config = config_,
                               .epochs = epochs_,
                               .directory = "/s",
                               .shape = shape(),
                               .keys = ring_.get()};
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
    Result<std::unique_ptr<SlotStore>> opened = SlotStore::open(context,
                                                                {.copies = kind_.copies,
                                                                 .stage_bytes = 1024,
                                                                 .unstage_step = 2,
                                                                 .unseen_slots = unseen_slots,
                                                                 .grow_step_bytes = 64 << 10},
                                                                visit);
    if (!opened.ok()) return opened.status();
    Status status = (*opened)->start();
    if (!status.ok()) return status;
    store_ = std::move(*opened);
    CHECK(store_->live_count() == at_.size());
    return {};
  }

  // What it writes is remembered as possible, until a sync that began later has
  // ended.
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
  // One step; `aborted` when there are more. What the sync covers is durable after the first.
  Status end_sync_once(Status outcome = {}) {
    Status status = store_->end_sync(ticket_, std::move(outcome));
    if (!status.ok() && !status.is(Errc::aborted)) return status;
    for (auto& [key, history] : possible_) {
      history.states.erase(history.states.begin(),
                           history.states.begin() + static_cast<std::ptrdiff_t>(history.covered));
      history.covered = 0;
    }
    return status;
  }
  Status end_sync(Status outcome = {}) {
    Status status = end_sync_once(std::move(outcome));
    while (status.is(Errc::aborted)) status = end_sync_once();
    return status;
  }
  void sync() {
    begin_sync();
    REQUIRE(run_sync().ok());
    REQUIRE(end_sync().ok());
  }

  // After a power cut and open(): each key has a state at or after its last
  // sync.
  void check_possible() {
    for (const auto& [key, history] : possible_) {
      const SlotValue held = value_of(key);
      const std::set<SlotValue> states(history.states.begin(), history.states.end());
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
  [[nodiscard]] SlotValue value_of(const std::string& key) const {
    const auto held = held_.find(key);
    return held == held_.end() ? SlotValue() : SlotValue(held->second);
  }
  [[nodiscard]] std::string value(std::uint64_t number) const {
    std::string text = "v" + std::to_string(number);
    text.resize(kind_.value_size, static_cast<char>('a' + number % 26));
    return text;
  }
  [[nodiscard]] const std::map<std::string, std::string>& held() const { return held_; }
  // Where everything lies in slots.dat.
  [[nodiscard]] format::SlotLayout layout() const {
    const bool sealed = ring_ != nullptr;
    const std::size_t place =
        format::SlotLayout(8, kind_.value_size, kind_.copies, 1, sealed).stage_bytes();
    const auto stages = std::max<std::uint32_t>(8, static_cast<std::uint32_t>(1024 / place));
    return {8, kind_.value_size, kind_.copies, stages, sealed};
  }
  SlotStore& store() { return *store_; }
  [[nodiscard]] const Keyring* keys() const { return ring_.get(); }  // null: not encrypted
  std::uint64_t unseen_slots = 16 << 20;
  Config& config() { return config_; }

 private:
  struct History {
    std::vector<SlotValue> states{SlotValue()};  // the last durable one first
    std::size_t covered = 0;                     // states before it end with the running sync
  };

  Status write(const std::string& key, const SlotValue& value, const Write& write) {
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

  [[nodiscard]] Shape shape() const { return {.key_size = 8, .value_size = kind_.value_size}; }

  FaultFileSystem& files_;
  const SlotKind kind_;
  Config config_;
  Description description_;
  std::unique_ptr<Keyring> ring_;
  base::EpochDomain epochs_;
  std::unique_ptr<SlotStore> store_;
  SyncTicket ticket_;
  std::map<std::string, base::Location> at_;
  std::map<std::string, std::string> held_;
  std::map<std::string, History> possible_;
};

inline std::string key_of(std::uint64_t number) {
  std::string key = std::to_string(number);
  return std::string(8 - key.size(), '0') + key;
}

// Any subset of the sectors; torn within one too, where there are two copies.
inline void cut_power(FaultFileSystem& files, base::Random& dice, bool torn) {
  const auto fate = [&](const test::PendingAtom&) {
    const std::uint64_t chosen = dice.below(torn ? 5 : 4);
    return chosen < 2 ? AtomFate::absent : chosen < 4 ? AtomFate::present : AtomFate::half;
  };
  files.power_cut(fate, [](std::size_t) { return true; });
}

inline const SlotKind kKinds[] = {{64, 2, true},  {8, 2, true},  {5000, 2, true},  {64, 1, true},
                                  {64, 2, false}, {8, 2, false}, {5000, 2, false}, {64, 1, false}};

// Of the stage: all writes go by them.
inline constexpr std::uint32_t kFirstPlaces = 4;

inline const std::string kFile = "/s/slots.dat";

// Bytes of slots.dat, read and written beside the store.
inline std::string bytes_at(FaultFileSystem& files, std::uint64_t at, std::size_t size) {
  std::string bytes(size, '\0');
  auto file = files.open(kFile, OpenMode::read);
  REQUIRE(file.ok());
  const auto got = (*file)->read_at(at, {reinterpret_cast<std::uint8_t*>(bytes.data()), size});
  REQUIRE((got.ok() && *got == size));
  return bytes;
}
inline void put_bytes(FaultFileSystem& files, std::uint64_t at, const std::string& bytes) {
  auto file = files.open(kFile, OpenMode::read_write);
  REQUIRE(file.ok());
  REQUIRE((*file)->write_at(at, Bytes(bytes)).ok());
}

}  // namespace armdb::test

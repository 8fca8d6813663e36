// The Fixed store of a shard: what every crash leaves of each key.
#include "store/slot_store.hpp"

#include <algorithm>
#include <cerrno>
#include <map>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/scale.hpp"
#include "support/slot_subject.hpp"

using namespace armdb;
using namespace armdb::store;
using namespace armdb::test;

TEST_CASE("slot_store: what was written is there after a kill, each time") {
  for (const SlotKind& kind : kKinds) {
    FaultFileSystem files;
    SlotSubject subject(files, kind);
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

// What was on its way home through the old mapping is brought there before that goes.
TEST_CASE("slot_store: a file that cannot be mapped again as it grows keeps what was written") {
  for (const SlotKind& kind : {SlotKind{64, 2, true}, SlotKind{5000, 2, true}}) {
    FaultFileSystem files;
    SlotSubject subject(files, kind);
    std::uint64_t number = 0;
    REQUIRE(subject.put(key_of(number), subject.value(number)).ok());
    const std::uint64_t slots = subject.store().slot_count();
    files.fail(test::Call::map, 1, ENOMEM, true);
    while (subject.store().slot_count() == slots) {
      ++number;
      REQUIRE(subject.put(key_of(number), subject.value(number)).ok());
    }
    REQUIRE(files.fault_met());
    subject.sync();
    files.clear_faults();
    REQUIRE(subject.store().begin_trim().ok());  // which clears the stage
    files.kill_process();
    subject.open();
    subject.check_last();
  }
}

TEST_CASE(
    "slot_store: a kill halfway through a slot leaves the value before "
    "or the new one [pitfall-39]") {
  for (const SlotKind& kind :
       {SlotKind{64, 2, true}, SlotKind{5000, 2, true}, SlotKind{64, 1, true}}) {
    FaultFileSystem files;
    SlotSubject subject(files, kind);
    const format::SlotLayout layout = subject.layout();
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

TEST_CASE("slot_store: a kill between any two stores of a write leaves all keys whole",
          "[serial]") {
  for (const SlotKind& kind : {SlotKind{64, 2, true}, SlotKind{5000, 2, true},
                               SlotKind{64, 1, true}, SlotKind{8, 2, true}}) {
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
      base::Random dice(seed);
      FaultFileSystem files;
      SlotSubject subject(files, kind);
      const format::SlotLayout layout = subject.layout();
      const auto write = [&](std::uint64_t number) {
        const std::string key = key_of(dice.below(6));
        const bool erase = dice.below(4) == 0 && subject.value_of(key);
        return erase ? subject.erase(key) : subject.put(key, subject.value(number));
      };
      bool drains = false;
      const std::uint64_t writes = dice.below(30);
      for (std::uint64_t number = 0; number < writes; ++number) {
        static_cast<void>(write(number));
        if (dice.below(6) == 0) subject.sync();
      }
      if (dice.below(2) == 0) {
        subject.begin_sync();
        REQUIRE(subject.run_sync().ok());
        for (int more = 0; more < 4; ++more) static_cast<void>(write(100));
        // Or halfway through what comes after it.
        if (dice.below(2) == 0 && subject.end_sync_once().is(Errc::aborted)) drains = true;
      }
      const std::map<std::string, std::string> before = subject.held();
      const auto size = static_cast<std::size_t>(subject.store().file_bytes());
      const std::string old_bytes = bytes_at(files, 0, size);
      if (drains && dice.below(2) == 0) {
        static_cast<void>(subject.end_sync_once());
      } else if (!write(200).ok()) {
        continue;
      }
      const std::map<std::string, std::string> after = subject.held();
      if (subject.store().file_bytes() != size) continue;
      const std::string new_bytes = bytes_at(files, 0, size);
      // The oldest copy on its way goes home, then the new one takes its place.
      std::vector<std::size_t> stores;
      const std::size_t first_end = layout.stage_at(kFirstPlaces);
      for (const bool first : {false, true}) {
        for (std::size_t at = layout.stage_at(0); at < size; ++at) {
          if (old_bytes[at] != new_bytes[at] && (at < first_end) == first) stores.push_back(at);
        }
      }
      files.kill_process();
      const auto state = files.snapshot();
      const std::size_t step = 1 + stores.size() / 40;
      for (std::size_t done = 0; done <= stores.size(); done += step) {
        std::string bytes = new_bytes;
        for (std::size_t at = done; at < stores.size(); ++at) {
          bytes[stores[at]] = old_bytes[stores[at]];
        }
        files.restore(state);
        put_bytes(files, 0, bytes);
        subject.open();
        INFO("seed " << seed << ", " << done << " of " << stores.size());
        CHECK((subject.held() == before || subject.held() == after));
        if (done == stores.size()) CHECK(subject.held() == after);
      }
    }
  }
}

TEST_CASE("slot_store: a crash at any call of the recovery ends the same", "[serial]") {
  for (const SlotKind& kind : {SlotKind{64, 2, true}, SlotKind{64, 2, false}}) {
    for (std::uint64_t seed = 1; seed <= 24; ++seed) {
      base::Random dice(seed);
      FaultFileSystem files;
      SlotSubject subject(files, kind);
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
      if (seed % 3 == 0) static_cast<void>(subject.end_sync_once());
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

TEST_CASE("slot_store: writes while the stage empties after a sync are kept, staged or not") {
  for (const bool mapped : {true, false}) {
    FaultFileSystem files;
    SlotSubject subject(files, {64, 2, mapped});
    const auto put = [&](std::uint64_t key, std::uint64_t value) {
      REQUIRE(subject.put(key_of(key), subject.value(value)).ok());
    };
    for (std::uint64_t key = 0; key < 4; ++key) put(key, key);
    subject.begin_sync();
    REQUIRE(subject.run_sync().ok());
    for (std::uint64_t key = 0; key < 4; ++key) put(key, 10 + key);
    CHECK(subject.end_sync_once().is(Errc::aborted));
    Stats stats;
    subject.store().add_stats(stats);
    CHECK(stats.syncs == 1);  // it counts from here on
    for (const std::uint64_t key : {3u, 0u, 3u}) put(key, 20 + key);
    const auto halfway = files.snapshot();
    CHECK(subject.end_sync().ok());
    put(4, 24);
    // The places of all that was staged are used again.
    subject.begin_sync();
    REQUIRE(subject.run_sync().ok());
    for (const std::uint64_t key : {0u, 1u, 2u, 4u}) put(key, 30 + key);
    files.kill_process();
    subject.open();
    subject.check_last();

    files.restore(halfway);
    files.kill_process();
    subject.open();
    for (std::uint64_t key = 0; key < 4; ++key) {
      CHECK(subject.value_of(key_of(key)) == subject.value((key == 0 || key == 3 ? 20 : 10) + key));
    }
    files.restore(halfway);
    files.power_cut_lose_all();
    subject.open();
    for (std::uint64_t key = 0; key < 4; ++key) {
      CHECK(subject.value_of(key_of(key)) == subject.value(key));
    }
  }
}

TEST_CASE("slot_store: a full disk refuses new keys, and nothing else") {
  FaultFileSystem files;
  SlotSubject subject(files, {1000, 2, true});
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

TEST_CASE("slot_store: a failed sync is sticky, and reopening has what was durable [pitfall-43]") {
  for (const SlotKind& kind : {SlotKind{64, 2, true}, SlotKind{64, 2, false}}) {
    FaultFileSystem files;
    SlotSubject subject(files, kind);
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

TEST_CASE(
    "slot_store: only a whole close leaves a clean mark, and the next "
    "open takes it away [pitfall-42]") {
  FaultFileSystem files;
  SlotSubject subject(files, {64, 2, true});
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

TEST_CASE(
    "slot_store: damage is counted and not used again; another store's "
    "file is refused") {
  FaultFileSystem files;
  SlotSubject subject(files, {64, 2, true});
  REQUIRE(subject.put(key_of(1), subject.value(1)).ok());
  subject.sync();
  REQUIRE(subject.put(key_of(1), subject.value(2)).ok());
  REQUIRE(subject.put(key_of(2), subject.value(3)).ok());
  REQUIRE(subject.store().close().ok());
  files.kill_process();
  const auto closed = files.snapshot();
  const format::SlotLayout layout = subject.layout();
  put_bytes(files, layout.stage_at(0), std::string(kFirstPlaces * layout.stage_bytes(), '\0'));
  put_bytes(files, layout.offset(0, 0) + 30, "!!");
  put_bytes(files, layout.offset(0, 1) + 30, "!!");
  subject.open();
  CHECK(subject.store().damaged_slots() == 1);
  CHECK(subject.store().torn_copies() == 0);
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

TEST_CASE(
    "slot_store: no power cut takes what was synced, or brings back what "
    "was erased [pitfall-39] [pitfall-41]",
    "[serial]") {
  for (const SlotKind& kind : kKinds) {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
      INFO("values of " << kind.value_size << " bytes, copies " << kind.copies << ", seed "
                        << seed);
      base::Random dice(seed);
      FaultFileSystem files;
      SlotSubject subject(files, kind);
      bool syncing = false;
      bool drains = false;
      for (std::uint64_t step = 0; step < 300; ++step) {
        const std::string key = key_of(dice.below(12));
        const std::uint64_t what = dice.below(100);
        if (what < 60) {
          const Status status = subject.put(key, subject.value(step));
          CHECK((status.ok() || (syncing && !drains && status.is(Errc::aborted))));
        } else if (what < 80 && subject.value_of(key)) {
          const Status status = subject.erase(key);
          CHECK((status.ok() || (syncing && !drains && status.is(Errc::aborted))));
        } else if (what < 86 && !syncing) {
          subject.begin_sync();
          syncing = true;
        } else if (what < 92 && drains) {
          drains = subject.end_sync_once().is(Errc::aborted);
          syncing = drains;
        } else if (what < 92 && syncing) {
          REQUIRE(subject.run_sync().ok());
          // Writes between the disk's part of the sync and its end.
          for (int more = 0; more < 3; ++more) {
            static_cast<void>(subject.put(key_of(dice.below(12)), subject.value(step + 1000)));
          }
          drains = subject.end_sync_once().is(Errc::aborted);
          syncing = drains;
        } else if (what >= 98) {
          const bool kill = dice.below(3) == 0;
          if (kill) {
            files.kill_process();
          } else {
            cut_power(files, dice, kind.copies == 2);
          }
          syncing = drains = false;
          files.clear_faults();
          subject.open();
          kill ? subject.check_last() : subject.check_possible();
          subject.settle();
        }
        static_cast<void>(files.pending_atoms());  // stores become visible to
                                                   // the disk one by one
      }
    }
  }
}

// What recovery and trimming must not bring back.

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

TEST_CASE("slot_store: what a trim cut off does not come back from the stage") {
  for (const bool mapped : {true, false}) {
    FaultFileSystem files;
    SlotSubject subject(files, {64, 2, mapped});
    constexpr std::uint64_t kKeys = 1200;
    const std::string last = key_of(kKeys - 1);
    for (std::uint64_t key = 0; key < kKeys; ++key) {
      REQUIRE(subject.put(key_of(key), subject.value(key)).ok());
    }
    subject.begin_sync();
    REQUIRE(subject.put(last, subject.value(1)).ok());  // to the stage
    REQUIRE(subject.end_sync(subject.run_sync()).ok());
    for (std::uint64_t key = 1; key < kKeys; ++key) REQUIRE(subject.erase(key_of(key)).ok());
    subject.sync();
    const std::uint64_t before = subject.store().slot_count();
    REQUIRE(subject.store().begin_trim().ok());
    subject.sync();
    REQUIRE(subject.store().end_trim().ok());
    CHECK(subject.store().slot_count() < before / 8);
    // Until its slot is there again, and free.
    for (std::uint64_t key = 2000; subject.store().slot_count() < kKeys; ++key) {
      REQUIRE(subject.put(key_of(key), subject.value(key)).ok());
    }
    REQUIRE(subject.store().close().ok());
    files.kill_process();
    files.clear_faults();
    subject.open();
    subject.check_last();
  }
}

TEST_CASE(
    "slot_store: old copies do not come back where the file was cut and "
    "grew again [pitfall-41]") {
  FaultFileSystem files;
  const SlotKind kind{480, 2, true};
  SlotSubject subject(files, kind);
  constexpr std::uint64_t kKeys = 300;
  for (std::uint64_t round = 0; round < 2; ++round) {
    for (std::uint64_t key = 0; key < kKeys; ++key) {
      REQUIRE(subject.put(key_of(key), subject.value(key)).ok());
    }
    subject.sync();
  }
  for (std::uint64_t key = 1; key < kKeys; ++key) REQUIRE(subject.erase(key_of(key)).ok());
  subject.sync();
  REQUIRE(subject.store().begin_trim().ok());
  subject.sync();
  REQUIRE(subject.store().end_trim().ok());
  const format::SlotLayout layout = subject.layout();
  const std::uint64_t end = layout.file_bytes(subject.store().slot_count());
  for (std::uint64_t key = 1000; key < 1000 + kKeys / 4; ++key) {
    REQUIRE(subject.put(key_of(key), subject.value(key)).ok());
  }
  // No change of size reaches the disk, but half of each sector behind what was
  // kept.
  const auto fate = [&](const test::PendingAtom& atom) {
    return atom.size != 0 && atom.offset >= end ? AtomFate::half : AtomFate::absent;
  };
  files.power_cut(fate, [](std::size_t) { return true; });
  subject.open();
  subject.check_possible();
}

TEST_CASE(
    "slot_store: a staged slot that the file lost with its end does not "
    "win later") {
  FaultFileSystem files;
  const SlotKind kind{64, 2, true};
  SlotSubject subject(files, kind);
  REQUIRE(subject.put(key_of(0), subject.value(0)).ok());
  subject.sync();
  const std::uint64_t before = subject.store().slot_count();
  std::uint64_t key = 1;
  for (; subject.store().slot_count() == before; ++key) {
    REQUIRE(subject.put(key_of(key), subject.value(key)).ok());
  }
  for (std::uint64_t more = 0; more < 2000; ++more) {
    REQUIRE(subject.put(key_of(0), subject.value(more)).ok());  // versions that will be lost
  }
  subject.begin_sync();
  REQUIRE(subject.put(key_of(key - 1), subject.value(key)).ok());
  const format::SlotLayout layout = subject.layout();
  const auto fate = [&](const test::PendingAtom& atom) {
    const bool staged = atom.offset + atom.size > layout.stage_at(1) &&
                        atom.offset < layout.stage_at(2) && atom.size != 0;
    return staged ? AtomFate::present : AtomFate::absent;
  };
  files.power_cut(fate, [](std::size_t) { return true; });
  subject.open();
  REQUIRE(subject.store().slot_count() == before);
  subject.check_possible();
  subject.settle();
  for (key = 3000; subject.store().slot_count() == before; ++key) {
    REQUIRE(subject.put(key_of(key), subject.value(key)).ok());
  }
  subject.sync();
  files.power_cut_lose_all();
  subject.open();
  subject.check_last();
}

TEST_CASE(
    "slot_store: recovery takes nothing from the stage before it is in "
    "its slot") {
  FaultFileSystem files;
  const SlotKind kind{64, 2, true};
  SlotSubject subject(files, kind);
  for (std::uint64_t key = 0; key < 10; ++key) {
    REQUIRE(subject.put(key_of(key), subject.value(key)).ok());
  }
  subject.sync();
  REQUIRE(subject.put(key_of(2), subject.value(20)).ok());
  subject.begin_sync();
  REQUIRE(subject.put(key_of(2), subject.value(21)).ok());  // to the second place of the stage
  REQUIRE(subject.put(key_of(7), subject.value(70)).ok());  // by the first one
  files.kill_process();
  // Killed within the last one: its slot is torn, the stage has it.
  const format::SlotLayout layout = subject.layout();
  for (std::uint32_t copy = 0; copy < 2; ++copy) {
    const std::string now = bytes_at(files, layout.offset(7, copy), layout.slot_bytes());
    if (now.find(subject.value(70)) == std::string::npos) continue;
    put_bytes(files, layout.offset(7, copy) + 40, "torn");
  }
  const std::string staged = bytes_at(files, layout.stage_at(0), layout.stage_bytes());
  subject.open();
  CHECK(subject.value_of(key_of(2)) == subject.value(21));
  CHECK(subject.value_of(key_of(7)) == subject.value(70));
  CHECK(bytes_at(files, layout.stage_at(0), layout.stage_bytes()) == staged);
}

TEST_CASE(
    "slot_store: when the sync of a recovery fails, the next one asks "
    "the disk") {
  FaultFileSystem files;
  const SlotKind kind{480, 2, true};
  SlotSubject subject(files, kind);
  REQUIRE(subject.put(key_of(1), subject.value(0)).ok());
  subject.sync();
  REQUIRE(subject.put(key_of(1), subject.value(1)).ok());
  REQUIRE(subject.put(key_of(2), subject.value(2)).ok());
  subject.sync();
  REQUIRE(subject.put(key_of(1), subject.value(3)).ok());
  files.kill_process();
  files.fail(test::Call::sync, 1, EIO);
  CHECK(subject.try_open().is(Errc::io_error));
  files.clear_faults();
  CHECK(files.stale_files().empty());
  subject.open();
  subject.settle();
  REQUIRE(subject.put(key_of(1), subject.value(4)).ok());
  const auto fate = [](const test::PendingAtom&) { return AtomFate::half; };
  files.power_cut(fate, [](std::size_t) { return true; });
  subject.open();
  subject.check_possible();
}

TEST_CASE("slot_store: a broken copy is torn after a crash, and damage after a close") {
  for (const bool mapped : {true, false}) {
    FaultFileSystem files;
    SlotSubject subject(files, {64, 2, mapped});
    const format::SlotLayout layout = subject.layout();
    for (std::uint64_t version = 1; version <= 2; ++version) {
      REQUIRE(subject.put(key_of(1), subject.value(version)).ok());
      subject.sync();
    }
    REQUIRE(subject.store().close().ok());
    files.kill_process();
    const auto closed = files.snapshot();
    // Each copy in turn: the newer one, then the older one.
    std::size_t old_values = 0;
    for (std::uint32_t copy = 0; copy < 2; ++copy) {
      for (const bool clean : {true, false}) {
        INFO("copy " << copy << (clean ? " closed" : " crashed"));
        files.restore(closed);
        put_bytes(files, layout.stage_at(0), std::string(kFirstPlaces * layout.stage_bytes(), 0));
        put_bytes(files, layout.offset(0, copy) + 30, "!!");
        if (!clean) put_bytes(files, format::kCleanMarkAt, std::string(format::kCleanMarkBytes, 0));
        for (int open = 0; open < 2; ++open) {
          subject.open();
          // Made zeros by the first open: then a close makes nothing out of it.
          CHECK(subject.store().damaged_slots() == (clean ? 1 : 0));
          CHECK(subject.store().torn_copies() == (clean || open != 0 ? 0 : 1));
          const auto value = subject.value_of(key_of(1));
          CHECK((value == subject.value(1) || value == subject.value(2)));
          if (value == subject.value(1)) ++old_values;
          REQUIRE(subject.store().close().ok());
          files.kill_process();
          files.clear_faults();
        }
      }
    }
    CHECK(old_values == 4);
  }
}

TEST_CASE("slot_store: a file that ends before its slots is damaged, not empty") {
  FaultFileSystem files;
  SlotSubject subject(files, {64, 2, true});
  REQUIRE(subject.put(key_of(1), subject.value(1)).ok());
  REQUIRE(subject.store().close().ok());
  files.kill_process();
  const format::SlotLayout layout = subject.layout();
  auto file = files.open(kFile, OpenMode::read_write);
  for (const std::uint64_t bytes :
       {layout.slots_at() - 1, std::uint64_t{4096}, std::uint64_t{68}}) {
    REQUIRE((*file)->truncate(bytes).ok());
    CHECK(subject.try_open().is(Errc::corrupt));
  }
}

TEST_CASE("slot_store: what is staged of a slot that goes does not come back with the slot") {
  for (const bool cut_off : {false, true}) {
    for (const bool mapped : {true, false}) {
      INFO((cut_off ? "cut off" : "trimmed") << (mapped ? ", mapped" : ""));
      FaultFileSystem files;
      SlotSubject subject(files, {64, 2, mapped});
      for (std::uint64_t key = 0; key < 200; ++key) {
        REQUIRE(subject.put(key_of(key), subject.value(key)).ok());
      }
      subject.begin_sync();
      REQUIRE(subject.put(key_of(199), subject.value(999)).ok());
      REQUIRE(subject.run_sync().ok());
      REQUIRE(subject.end_sync().ok());
      const format::SlotLayout layout = subject.layout();
      if (cut_off) {  // as when a power cut leaves the stage, and not the size of the file
        files.kill_process();
        auto file = files.open(kFile, OpenMode::read_write);
        REQUIRE((*file)->truncate(layout.file_bytes(1)).ok());
        subject.open();
      } else {
        for (std::uint64_t key = 1; key < 200; ++key) REQUIRE(subject.erase(key_of(key)).ok());
        REQUIRE(subject.store().begin_trim().ok());
        subject.sync();
        REQUIRE(subject.store().end_trim().ok());
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

TEST_CASE(
    "slot_store: of two slots with one key and one version the same one wins, always "
    "[pitfall-44]") {
  FaultFileSystem files;
  SlotSubject subject(files, {64, 2, true});
  const std::string key = key_of(1);
  REQUIRE(subject.put(key, subject.value(1)).ok());
  REQUIRE(subject.store().close().ok());
  files.kill_process();
  // No writer does this: another slot has the first one's key and version, and another value.
  const format::SlotLayout layout = subject.layout();
  std::uint8_t head[format::kSlotsHeaderBytes];
  REQUIRE((*files.open(kFile, OpenMode::read))->read_at(0, head).ok());
  format::SlotsHeader header;
  REQUIRE(format::decode_slots_header(Bytes(head), header).ok());
  const std::string value = subject.value(3);
  std::string bytes(layout.slot_bytes(), '\0');
  for (std::uint32_t copy = 0; copy < 2; ++copy) {
    const format::Slot slot{format::SlotState::live, 1, 0, Bytes(key), Bytes(value)};
    const MutableBytes out(reinterpret_cast<std::uint8_t*>(bytes.data()), bytes.size());
    if (subject.keys() == nullptr) {
      format::encode_slot(slot, format::slot_seed(header), 2, out);
    } else {
      REQUIRE(SlotSealer(*subject.keys(), header).seal(slot, 2, out).ok());
    }
    put_bytes(files, layout.offset(2, copy), bytes);
  }
  put_bytes(files, format::kCleanMarkAt, std::string(format::kCleanMarkBytes, '\0'));
  for (int round = 0; round < 3; ++round) {
    subject.open();
    CHECK(subject.held() == std::map<std::string, std::string>{{key, subject.value(1)}});
    CHECK(subject.store().torn_copies() == 0);  // the other one was read, and lost
    files.kill_process();
  }
  subject.open();
  REQUIRE(subject.erase(key).ok());
  subject.sync();
  files.power_cut_lose_all();
  subject.open();
  CHECK(subject.held().empty());
}

TEST_CASE("slot_store: zeros behind the last slot count as far as a growth could have left them") {
  for (const bool mapped : {true, false}) {
    FaultFileSystem files;
    SlotSubject subject(files, {64, 2, mapped});
    constexpr std::uint64_t kKeys = 700;
    for (std::uint64_t key = 0; key < kKeys; ++key) {
      REQUIRE(subject.put(key_of(key), subject.value(key)).ok());
    }
    const std::uint64_t counted = subject.store().slot_count();
    REQUIRE(counted < 2 * kKeys);
    REQUIRE(subject.store().close().ok());
    files.kill_process();
    files.clear_faults();
    const format::SlotLayout layout = subject.layout();
    const auto closed = files.snapshot();
    // A hole that claims a hundred thousand slots, behind a file that was closed.
    REQUIRE((*files.open(kFile, OpenMode::read_write))->truncate(16 << 20).ok());
    REQUIRE(layout.slots_in(16 << 20) > 50 * counted);
    subject.unseen_slots = 1;
    subject.open();
    const std::uint64_t used = (kKeys + layout.group_slots() - 1) / layout.group_slots();
    CHECK(subject.store().slot_count() == 2 * used * layout.group_slots());
    CHECK(subject.held().size() == kKeys);
    CHECK(subject.store().damaged_slots() == 0);
    for (std::uint64_t key = kKeys; key < 4 * kKeys; ++key) {
      REQUIRE(subject.put(key_of(key), subject.value(key)).ok());
    }
    REQUIRE(subject.store().close().ok());
    files.kill_process();
    files.clear_faults();
    subject.open();
    subject.check_last();
    // A part of a group was never used.
    files.restore(closed);
    files.clear_faults();
    const std::uint64_t whole = layout.file_bytes(counted);
    REQUIRE((*files.open(kFile, OpenMode::read_write))->truncate(whole + 100).ok());
    subject.unseen_slots = 16 << 20;
    files.set_capacity(files.used_bytes());
    subject.open();
    CHECK(subject.store().slot_count() == counted);
    CHECK(subject.held().size() == kKeys);
  }
}

TEST_CASE("slot_store: slots that come back after a trim are free, and counted once") {
  FaultFileSystem files;
  SlotSubject subject(files, {64, 2, true});
  for (std::uint64_t round = 0; round < 3; ++round) {
    for (std::uint64_t key = 0; key < 1000; ++key) {
      REQUIRE(subject.put(key_of(key), subject.value(key + round)).ok());
    }
    CHECK(subject.store().live_count() == 1000);
    for (std::uint64_t key = 10; key < 1000; ++key) REQUIRE(subject.erase(key_of(key)).ok());
    subject.sync();
    REQUIRE(subject.store().begin_trim().ok());
    subject.sync();
    REQUIRE(subject.store().end_trim().ok());
    CHECK(subject.store().slot_count() < 100);
    CHECK(subject.store().begin_trim().is(Errc::not_found));
  }
  files.kill_process();
  subject.open();
  subject.check_last();
}

TEST_CASE("slot_store: last_live() stops at what was written after the version it is given") {
  FaultFileSystem files;
  SlotSubject subject(files, {64, 2, true});
  for (std::uint64_t key = 0; key < 5; ++key) {
    REQUIRE(subject.put(key_of(key), subject.value(key)).ok());
  }
  REQUIRE(subject.erase(key_of(1)).ok());
  const std::uint64_t newest = subject.store().last_sequence();
  std::vector<std::uint8_t> key;
  base::Location at;
  std::uint64_t end = ~std::uint64_t{0};
  REQUIRE(subject.store().last_live(newest, end, key, at).ok());
  CHECK(Bytes(key).text() == key_of(4));
  CHECK(end == 4);
  REQUIRE(subject.store().last_live(newest, end, key, at).ok());
  CHECK(end == 3);
  REQUIRE(subject.put(key_of(4), subject.value(9)).ok());
  end = ~std::uint64_t{0};
  CHECK(subject.store().last_live(newest, end, key, at).is(Errc::not_found));
}

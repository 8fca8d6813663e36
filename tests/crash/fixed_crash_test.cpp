// Collections on the Fixed store and crashes that need the index to be seen:
// entries that move, and keys that a crash left in two slots.
#include <cerrno>
#include <optional>
#include <string>
#include <vector>

#include "api/collection.hpp"
#include "format/slot.hpp"
#include "support/catch.hpp"
#include "support/fault_file_system.hpp"
#include "support/plain_files.hpp"

using namespace armdb;
using test::AtomFate;
using test::FaultFileSystem;

namespace {

// A copy then has a sector of its own.
std::uint32_t value_bytes() {
  const std::size_t header =
      test::runs_encrypted() ? format::kSealedSlotBytes : format::kSlotHeaderBytes;
  return static_cast<std::uint32_t>(format::kSlotSectorBytes - header - 8);
}

Collection open_fixed(FaultFileSystem& files) {
  FixedConfig config;
  config.file_system = &files;
  config.shard_count = 1;
  config.write_buffer_size = 64 << 10;
  Result<Collection> opened =
      Collection::open("/c", {8, value_bytes(), true, Payload::value, true}, config);
  INFO(opened.message());
  REQUIRE(opened.ok());
  return *std::move(opened);
}

std::string key_of(int number) {
  const std::string digits = std::to_string(number);
  return std::string(8 - digits.size(), '0') + digits;
}

std::string value_of(int number) {
  std::string text = std::to_string(number);
  text.resize(value_bytes(), '.');
  return text;
}

std::optional<std::string> get(const Collection& collection, int number) {
  const auto value = collection.get(key_of(number));
  REQUIRE(value.ok());
  if (!value->has_value()) return std::nullopt;
  return std::string(Bytes(**value).text());
}

}  // namespace

TEST_CASE(
    "fixed: of a key that a crash left in two slots, the older one does "
    "not come back") {
  FaultFileSystem files;
  {
    Collection collection = open_fixed(files);
    REQUIRE(collection.put(key_of(0), value_of(1)).ok());
    REQUIRE(collection.put(key_of(1), value_of(2)).ok());
    REQUIRE(collection.sync().ok());
    REQUIRE(collection.erase(key_of(0)).ok());
    REQUIRE(collection.erase(key_of(1)).ok());
    REQUIRE(collection.put(key_of(1), value_of(3)).ok());  // where the other key was
    REQUIRE(collection.verify().ok());                     // what is on its way goes to its slot
    // The disk gets only what was written to that slot.
    const bool sealed = test::runs_encrypted();
    const format::SlotLayout two(8, value_bytes(), 2, 1, sealed);
    const auto stages = static_cast<std::uint32_t>((64u << 10) / two.stage_bytes());
    const format::SlotLayout layout(8, value_bytes(), 2, stages, sealed);
    const auto in_first_slot = [&](std::uint64_t offset) {
      const auto in = [&](std::uint32_t copy) {
        return offset >= layout.offset(0, copy) &&
               offset < layout.offset(0, copy) + layout.slot_bytes();
      };
      return in(0) || in(1);
    };
    const auto fate = [&](const test::PendingAtom& atom) {
      const bool first = in_first_slot(atom.offset);
      return first && atom.size != 0 ? AtomFate::present : AtomFate::absent;
    };
    files.power_cut(fate, [](std::size_t) { return true; });
  }
  {
    Collection collection = open_fixed(files);
    REQUIRE(get(collection, 1) == value_of(3));
    CHECK(collection.size() == 1);
    CHECK(collection.verify()->entries == 1);
    CHECK(collection.compact().ok());
    REQUIRE(collection.erase(key_of(1)).ok());
    REQUIRE(collection.sync().ok());
    REQUIRE(collection.close().ok());
  }
  CHECK(open_fixed(files).empty());
}

TEST_CASE(
    "fixed: a power cut while compact moves entries takes none that was "
    "synced") {
  constexpr int kKeys = 200;
  FaultFileSystem files;
  std::vector<FaultFileSystem::Snapshot> states;
  {
    Collection collection = open_fixed(files);
    for (int key = 0; key < kKeys; ++key) {
      REQUIRE(collection.put(key_of(key), value_of(key)).ok());
    }
    for (int key = 0; key < kKeys; ++key) {
      if (key % 4 != 0) REQUIRE(collection.erase(key_of(key)).ok());
    }
    REQUIRE(collection.sync().ok());
    files.set_observer([&](test::Call, const std::string&) { states.push_back(files.snapshot()); });
    REQUIRE(collection.compact().ok());
    files.set_observer(nullptr);
    states.push_back(files.snapshot());
  }
  REQUIRE(states.size() > 3);
  for (const FaultFileSystem::Snapshot& state : states) {
    for (std::uint64_t seed = 0; seed < 8; ++seed) {
      FaultFileSystem after;
      after.restore(state);
      seed == 0 ? after.kill_process() : after.power_cut_random(seed, test::Tearing::half);
      Collection collection = open_fixed(after);
      CHECK(collection.size() == kKeys / 4);
      int wrong = 0;
      for (int key = 0; key < kKeys; key += 4)
        wrong += get(collection, key) == value_of(key) ? 0 : 1;
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("fixed: a compact() that cannot read on leaves no key in two slots") {
  bool met = true;
  for (std::size_t nth = 1; met; ++nth) {
    REQUIRE(nth < 100);
    FaultFileSystem files;
    {
      Collection collection = open_fixed(files);
      for (int key = 0; key < 40; ++key) REQUIRE(collection.put(key_of(key), value_of(key)).ok());
      for (int key = 0; key < 25; ++key) REQUIRE(collection.erase(key_of(key)).ok());
      REQUIRE(collection.sync().ok());
      files.fail(test::Call::read, nth, EIO);
      const Status status = collection.compact();
      met = files.fault_met();
      files.clear_faults();
      INFO("read " << nth << ": " << status.message());
      CHECK(status.ok() == !met);
      CHECK(collection.stats().failed_shards == 0);
      for (int key = 25; key < 40; ++key) {
        REQUIRE(get(collection, key) == value_of(key));
        REQUIRE(collection.erase(key_of(key)).ok());
      }
      REQUIRE(collection.close().ok());
    }
    const Collection again = open_fixed(files);
    CHECK(again.empty());
    CHECK(again.stats().damaged_regions == 0);
  }
}

TEST_CASE("fixed: a collection whose creation was killed keeps what is synced later") {
  FaultFileSystem files;
  std::vector<FaultFileSystem::Snapshot> states;
  files.set_observer([&](test::Call, const std::string&) { states.push_back(files.snapshot()); });
  static_cast<void>(open_fixed(files));
  files.set_observer(nullptr);
  REQUIRE(states.size() > 10);
  for (std::size_t at = 0; at < states.size(); ++at) {
    INFO("killed before call " << at);
    files.restore(states[at]);
    files.kill_process();
    {
      Collection collection = open_fixed(files);
      REQUIRE(collection.put(key_of(1), value_of(1)).ok());
      REQUIRE(collection.sync().ok());
      const FaultFileSystem::Snapshot synced = files.snapshot();
      collection = Collection();
      files.restore(synced);
    }
    files.power_cut_lose_all();
    CHECK(get(open_fixed(files), 1) == value_of(1));
  }
}

TEST_CASE("fixed: read only, what a crash left of a creation is no collection yet") {
  FaultFileSystem files;
  std::vector<FaultFileSystem::Snapshot> states;
  files.set_observer([&](test::Call, const std::string&) { states.push_back(files.snapshot()); });
  static_cast<void>(open_fixed(files));
  files.set_observer(nullptr);
  FixedConfig config;
  config.file_system = &files;
  config.read_only = true;
  std::size_t found = 0;
  for (std::size_t at = 0; at < states.size(); ++at) {
    files.restore(states[at]);
    files.power_cut_keep_all();
    const std::uint64_t hash = files.hash();
    {
      const Result<Collection> opened = Collection::open_existing("/c", config);
      INFO("cut before call " << at << ": " << opened.message());
      CHECK((opened.ok() || opened.is(Errc::not_found)));
      found += opened.ok() ? 1 : 0;
    }
    CHECK(files.hash() == hash);
  }
  CHECK(found > 0);
  CHECK(found < states.size());
}

// Copies of erased entries end alike, and on their way they span sectors.
TEST_CASE("fixed: what a power cut tore does not become whole by a later write that is torn, too") {
  constexpr int kKeys = 8;
  FaultFileSystem files;
  const auto erase_some = [](Collection& collection, int first, int last) {
    for (int key = first; key < last; ++key) REQUIRE(collection.erase(key_of(key)).ok());
  };
  // Of what was not synced the disk gets one sector.
  const auto cut = [&](std::size_t kept) {
    const auto fate = [&](const test::PendingAtom& atom) {
      return atom.index == kept ? AtomFate::present : AtomFate::absent;
    };
    files.power_cut(fate, [](std::size_t) { return true; });
  };
  {
    Collection collection = open_fixed(files);
    for (int key = 0; key < kKeys; ++key) REQUIRE(collection.put(key_of(key), value_of(key)).ok());
    REQUIRE(collection.close().ok());
  }
  Collection collection = open_fixed(files);
  erase_some(collection, 0, 4);
  const FaultFileSystem::Snapshot erased = files.snapshot();
  const std::size_t atoms = files.pending_atoms();
  REQUIRE(atoms > 4);
  collection = Collection();
  for (std::size_t first = 0; first < atoms; ++first) {
    files.restore(erased);
    cut(first);
    collection = open_fixed(files);
    std::vector<std::optional<std::string>> found;
    for (int key = 0; key < 4; ++key) found.push_back(get(collection, key));
    erase_some(collection, 4, kKeys);
    const FaultFileSystem::Snapshot again = files.snapshot();
    const std::size_t atoms_again = files.pending_atoms();
    collection = Collection();
    for (std::size_t second = 0; second < atoms_again; ++second) {
      files.restore(again);
      cut(second);
      collection = open_fixed(files);
      INFO("sector " << first << " of " << atoms << ", then " << second << " of " << atoms_again);
      for (int key = 0; key < 4; ++key) {
        CHECK(get(collection, key) == found[static_cast<std::size_t>(key)]);
      }
      collection = Collection();
    }
  }
}

TEST_CASE("fixed: read only, what a crash tore is no damage, and is told as not synced") {
  FaultFileSystem files;
  {
    Collection collection = open_fixed(files);
    for (int key = 0; key < 20; ++key) REQUIRE(collection.put(key_of(key), value_of(key)).ok());
    REQUIRE(collection.sync().ok());
    for (int key = 0; key < 20; ++key) {
      REQUIRE(collection.put(key_of(key), value_of(key + 100)).ok());
    }
    REQUIRE(collection.verify().ok());  // what is on its way goes to its slot
    const auto fate = [](const test::PendingAtom& atom) {
      return atom.size != 0 ? AtomFate::half : AtomFate::present;
    };
    files.power_cut(fate, [](std::size_t) { return true; });
  }
  FixedConfig config;
  config.file_system = &files;
  config.read_only = true;
  const std::uint64_t hash = files.hash();
  {
    Result<Collection> opened = Collection::open_existing("/c", config);
    REQUIRE(opened.ok());
    const Stats stats = opened->stats();
    CHECK(stats.torn_bytes > 0);
    CHECK(stats.damaged_regions == 0);
    CHECK(stats.unsynced_shards == 1);
    const Result<VerifyReport> report = opened->verify();
    REQUIRE(report.ok());
    CHECK(report->damaged_regions == 0);
    CHECK(report->entries == 20);
    for (int key = 0; key < 20; ++key) {
      const auto value = get(*opened, key);  // the newer one where the stage has it whole
      CHECK((value == value_of(key) || (key >= 16 && value == value_of(key + 100))));
    }
  }
  CHECK(files.hash() == hash);
  REQUIRE(open_fixed(files).close().ok());
  const Result<Collection> clean = Collection::open_existing("/c", config);
  REQUIRE(clean.ok());
  CHECK(clean->stats().torn_bytes == 0);
  CHECK(clean->stats().unsynced_shards == 0);
}

TEST_CASE("fixed: on a full disk a file that was cut off says what it needs, and can be read") {
  constexpr const char* kSlots = "/c/shard_000/slots.dat";
  FaultFileSystem files;
  {
    Collection collection = open_fixed(files);
    // To the last slot.
    const std::uint64_t first = collection.stats().file_bytes;
    int key = 0;
    while (collection.stats().file_bytes == first || collection.stats().dead_bytes != 0) {
      REQUIRE(collection.put(key_of(key), value_of(key)).ok());
      ++key;
    }
    REQUIRE(collection.sync().ok());
    while (key-- != 0)
      REQUIRE(collection.put(key_of(key), value_of(key)).ok());  // the other copies
    REQUIRE(collection.sync().ok());
    files.kill_process();
  }
  const std::uint64_t bytes = files.info(kSlots)->size;
  REQUIRE((*files.open(kSlots, OpenMode::read_write))->truncate(bytes - 4096).ok());
  files.set_capacity(files.used_bytes());
  FixedConfig config;
  config.file_system = &files;
  {
    const Result<Collection> refused = Collection::open_existing("/c", config);
    INFO(refused.message());
    CHECK(refused.is(Errc::no_space));
    CHECK(refused.message().find("read_only") != std::string::npos);
  }
  config.read_only = true;
  {
    const Result<Collection> opened = Collection::open_existing("/c", config);
    REQUIRE(opened.ok());
    CHECK(get(*opened, 0) == value_of(0));
    CHECK(opened->size() > 8);
  }
  files.set_capacity(files.used_bytes() + 8192);
  Collection collection = open_fixed(files);
  CHECK(collection.put(key_of(0), value_of(1)).ok());
  CHECK(files.info(kSlots)->size == bytes);
}

TEST_CASE("a creation that fails, wherever it does, is undone or can be gone on with", "[serial]") {
  const Shape kShapes[] = {{8, 100, true, Payload::value, true},
                           {8, 100, true, Payload::value, false}};
  for (const Shape& shape : kShapes) {
    std::size_t undone = 0;
    bool met = true;
    for (std::size_t nth = 1; met; ++nth) {
      REQUIRE(nth < 200);
      INFO((shape.fixed ? "Fixed" : "Bitcask") << ", call " << nth);
      FaultFileSystem files;
      FixedConfig config;
      config.file_system = &files;
      config.shard_count = 2;
      config.write_buffer_size = 64 << 10;
      files.fail(test::Call::any, nth, ENOSPC);
      bool synced = false;
      {
        Result<Collection> opened = Collection::open("/c", shape, config);
        met = files.fault_met();
        files.clear_faults();
        if (!opened.ok()) undone += files.info("/c").ok() ? 0 : 1;
        if (opened.ok()) {
          REQUIRE(opened->put(key_of(2), std::string(100, 'y')).ok());
          synced = opened->sync().ok();
        }
      }
      // Whatever a power cut makes of that.
      const FaultFileSystem::Snapshot state = files.snapshot();
      for (std::uint64_t seed = 0; seed < 6; ++seed) {
        files.restore(state);
        if (seed != 0) files.power_cut_random(seed);
        Result<Collection> again = Collection::open("/c", shape, config);
        INFO(again.message());
        REQUIRE(again.ok());
        if (synced) CHECK(again->contains(key_of(2)));
        CHECK(again->put(key_of(1), std::string(100, 'x')).ok());
        CHECK(again->stats().damaged_regions == 0);
      }
    }
    CHECK(undone > 10);
  }
  // And a disk that stays full.
  for (const Shape& shape : kShapes) {
    FaultFileSystem files;
    files.set_capacity(5 * FaultFileSystem::kBlockBytes);
    FixedConfig config;
    config.file_system = &files;
    CHECK(Collection::open("/c", shape, config).is(Errc::no_space));
    CHECK_FALSE(files.info("/c").ok());
    CHECK(files.used_bytes() == 0);
  }
}

TEST_CASE("fixed: compact() leaves what is written meanwhile where it is") {
  FaultFileSystem files;
  Collection collection = open_fixed(files);
  for (int key = 0; key < 100; ++key) REQUIRE(collection.put(key_of(key), value_of(key)).ok());
  for (int key = 0; key < 90; ++key) REQUIRE(collection.erase(key_of(key)).ok());
  REQUIRE(collection.sync().ok());
  // Entries were moved by the first sync; nobody has the shard's lock at the second.
  int syncs = 0;
  files.set_observer([&](test::Call call, const std::string&) {
    if (call != test::Call::sync || ++syncs != 2) return;
    for (int key = 200; key < 300; ++key) CHECK(collection.put(key_of(key), value_of(key)).ok());
    for (int key = 200; key < 250; ++key) CHECK(collection.erase(key_of(key)).ok());
  });
  REQUIRE(collection.compact().ok());
  files.set_observer(nullptr);
  CHECK(syncs == 4);  // the second trim, and the new size; none for entries that moved
  CHECK(collection.size() == 60);
  REQUIRE(collection.compact().ok());
  for (int key = 250; key < 300; ++key) CHECK(get(collection, key) == value_of(key));
}

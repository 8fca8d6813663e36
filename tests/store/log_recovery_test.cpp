// Recovery from whatever bytes are there: torn tails, damage, holes, crashes while recovering.
#include "store/log_recovery.hpp"

#include <cerrno>

#include "support/one_shard.hpp"
#include "support/plain_files.hpp"
#include "support/scale.hpp"

using namespace armdb;
using test::AtomFate;
using test::Call;
using test::FaultFileSystem;

namespace {

// 8 entries synced, 8 more only flushed, then the process died: `1.data` is not sealed, and has a
// watermark between the two halves. tail.buf is emptied, so that the file alone tells.
FaultFileSystem::Snapshot half_synced(const Shape& shape, std::string& bytes) {
  FaultFileSystem files;
  Collection collection = test::open_shard(test::one_shard(files), shape);
  test::put_range(collection, 0, 8);
  REQUIRE(collection.sync().ok());
  test::put_range(collection, 8, 16);
  REQUIRE(collection.flush_buffers().ok());
  files.kill_process();
  collection = Collection();
  bytes = test::PlainFiles(files).read(test::segment_path(1));
  bytes.resize(test::used_length(bytes));
  REQUIRE(files.remove(test::in_shard("tail.buf")).ok());
  files.power_cut_keep_all();
  return files.snapshot();
}

// Where the watermark of half_synced() ends: header, 8 entries of 40 bytes, the mark.
constexpr std::size_t kEntryBytes = 32;
constexpr std::size_t kMarkAt = 96 + 8 * kEntryBytes;
constexpr std::size_t kMarkEnd = kMarkAt + 24;

// What is served after opening, twice: a recovery must agree with the one before.
int served(FaultFileSystem& files, const Shape& shape, Stats* stats = nullptr) {
  int first = 0;
  {
    const Collection collection = test::open_shard(test::one_shard(files), shape);
    first = test::prefix_length(test::contents(collection));
    if (stats != nullptr) *stats = collection.stats();
    files.kill_process();
  }
  const Collection again = test::open_shard(test::one_shard(files), shape);
  CHECK(test::prefix_length(test::contents(again)) == first);
  return first;
}

int whole_entries(std::size_t length) {
  if (length < 96) return 0;
  const auto entries = static_cast<int>((length - 96) / kEntryBytes);
  if (length < kMarkEnd) return std::min(entries, 8);
  return 8 + static_cast<int>((length - kMarkEnd) / kEntryBytes);
}

}  // namespace

TEST_CASE("log_recovery: a torn tail is cut at the last whole entry, at every byte [pitfall-1]") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    std::string bytes;
    const auto snapshot = half_synced(shape, bytes);
    REQUIRE(bytes.size() == kMarkEnd + 8 * kEntryBytes);
    FaultFileSystem files;
    for (std::size_t length = kMarkEnd; length <= bytes.size(); ++length) {
      files.restore(snapshot);
      test::PlainFiles(files).cut(test::segment_path(1), length);
      Stats stats;
      INFO("cut to " << length);
      CHECK(served(files, shape, &stats) == whole_entries(length));
      CHECK(stats.damaged_regions == 0);
      // Only zeros are the end of a file, and the first byte of an entry, its CRC, may be zero.
      const std::size_t torn = (length - kMarkEnd) % kEntryBytes;
      const std::string tail = bytes.substr(length - torn, torn);
      CHECK(stats.torn_bytes == (tail.find_first_not_of('\0') == std::string::npos ? 0 : torn));
    }
  }
}

TEST_CASE("log_recovery: zeros and garbage behind the last whole entry [pitfall-1] [pitfall-2]") {
  std::string bytes;
  const auto snapshot = half_synced(test::kVarTree, bytes);
  FaultFileSystem files;
  for (std::size_t from = kMarkEnd; from < bytes.size(); ++from) {
    for (const bool zeros : {true, false}) {
      files.restore(snapshot);
      std::string tail(bytes.size() - from + 3000, '\0');
      if (!zeros) {
        for (std::size_t at = 0; at < tail.size(); ++at) tail[at] = static_cast<char>(at * 7 + 1);
      }
      test::PlainFiles(files).patch(test::segment_path(1), from, tail);
      INFO("from " << from << (zeros ? " zeros" : " garbage"));
      Stats stats;
      const int count = served(files, test::kVarTree, &stats);
      // The last bytes of an entry may be padding, which is zero anyway.
      const int least = whole_entries(from);
      CHECK((count == least || (zeros && count == whole_entries(from + 7))));
      CHECK(stats.damaged_regions == 0);
    }
  }
}

TEST_CASE("log_recovery: a flipped bit below the watermark is damage, above it torn [pitfall-17]") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    std::string bytes;
    const auto snapshot = half_synced(shape, bytes);
    FaultFileSystem files;
    for (std::size_t at = 96; at < bytes.size(); ++at) {
      files.restore(snapshot);
      test::PlainFiles(files).flip(test::segment_path(1), at, static_cast<int>(at % 8));
      const Collection collection = test::open_shard(test::one_shard(files), shape);
      const Stats stats = collection.stats();
      const auto all = test::contents(collection);
      INFO("byte " << at);
      if (at < kMarkAt) {
        auto rest = test::numbers(0, 16);
        rest.erase(test::key_of(static_cast<int>((at - 96) / kEntryBytes)));
        CHECK(all == rest);
        CHECK(stats.damaged_regions == 1);
      } else if (at < kMarkEnd) {
        // The mark itself: nothing else says that the entries before it were synced.
        CHECK(test::prefix_length(all) >= 8);
      } else {
        CHECK(test::prefix_length(all) == whole_entries(at));
        CHECK(stats.damaged_regions == 0);
        CHECK(stats.torn_bytes != 0);
      }
      CHECK(collection.size() == all.size());
    }
  }
}

TEST_CASE("log_recovery: a segment with a wrong header is kept aside, not deleted [pitfall-17]") {
  std::string bytes;
  const auto snapshot = half_synced(test::kVarTree, bytes);
  FaultFileSystem files;
  for (std::size_t at = 0; at < 96; ++at) {
    files.restore(snapshot);
    // A newer version is no damage: it is refused.
    test::flip(files, test::segment_path(1), at, 1);
    for (int open = 0; open < 3; ++open) {
      INFO("byte " << at << " open " << open);
      Result<Collection> opened = Collection::open("/c", test::kVarTree, test::one_shard(files));
      REQUIRE(opened.ok());
      CHECK(test::contents(*opened).empty());
      // It may have had synced entries: that is told, and not in the log alone.
      if (open == 0) CHECK(opened->stats().segments_set_aside == 1);
      CHECK(opened->close().ok());
      CHECK(test::exists(files, test::segment_path(1, "aside")));
    }
  }
}

TEST_CASE("log_recovery: damage in a sealed segment costs one entry and is told [pitfall-19]") {
  FaultFileSystem original;
  {
    Collection collection = test::open_shard(test::one_shard(original), test::kConstMap);
    test::put_range(collection, 0, 12);
    REQUIRE(collection.close().ok());
  }
  const auto snapshot = original.snapshot();
  const std::size_t length = test::PlainFiles(original).read(test::segment_path(1)).size();
  REQUIRE(length == 96 + 12 * kEntryBytes + 40);
  FaultFileSystem files;
  for (std::size_t at = 96; at < length; ++at) {
    files.restore(snapshot);
    test::PlainFiles(files).flip(test::segment_path(1), at, static_cast<int>(at % 8));
    for (int open = 0; open < 2; ++open) {
      Collection collection = test::open_shard(test::one_shard(files), test::kConstMap);
      INFO("byte " << at << " open " << open);
      auto rest = test::numbers(0, 12);
      if (at < 96 + 12 * kEntryBytes) {
        rest.erase(test::key_of(static_cast<int>((at - 96) / kEntryBytes)));
      }
      CHECK(test::contents(collection) == rest);
      CHECK(collection.stats().damaged_regions == 1);
      const Result<VerifyReport> report = collection.verify();
      REQUIRE(report.ok());
      CHECK(report->damaged_regions == 1);
      CHECK(collection.close().ok());
    }
  }
}

TEST_CASE("log_recovery: a damaged value behind a hint is an error when read [pitfall-19]") {
  FaultFileSystem original;
  {
    Collection collection = test::open_shard(test::one_shard(original));
    test::put_range(collection, 0, 12);
    REQUIRE(collection.close().ok());
  }
  const auto snapshot = original.snapshot();
  FaultFileSystem files;
  for (const bool mapped : {true, false}) {
    for (std::size_t at = 96; at < 96 + 12 * kEntryBytes; ++at) {
      files.restore(snapshot);
      test::PlainFiles(files).flip(test::segment_path(1), at, 3);
      Config config = test::one_shard(files);
      config.mapped_reads = mapped;
      Collection collection = test::open_shard(config);
      const int damaged = static_cast<int>((at - 96) / kEntryBytes);
      INFO("byte " << at << " mapped " << mapped);
      CHECK(collection.stats().opened_by_hint == 12);
      for (int number = 0; number < 12; ++number) {
        const auto value = collection.get(test::key_of(number));
        if (number == damaged) {
          CHECK(value.is(Errc::corrupt));
          CHECK(value.status().file() == test::segment_path(1));
        } else {
          REQUIRE(value.ok());
          CHECK((*value)->text() == test::value_of(number));
        }
      }
      const Result<VerifyReport> report = collection.verify();
      REQUIRE(report.ok());
      CHECK(report->damaged_regions == 1);
    }
  }
}

TEST_CASE("log_recovery: a sealed segment cut short is damage at every byte [pitfall-18]") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    FaultFileSystem original;
    {
      Collection collection = test::open_shard(test::one_shard(original), shape);
      test::put_range(collection, 0, 8);
      REQUIRE(collection.close().ok());
      collection = test::open_shard(test::one_shard(original), shape);
      test::put_range(collection, 100, 108);
      REQUIRE(collection.close().ok());
    }
    const auto snapshot = original.snapshot();
    const std::size_t length = test::PlainFiles(original).read(test::segment_path(1)).size();
    FaultFileSystem files;
    for (std::size_t size = 0; size < length; ++size) {
      files.restore(snapshot);
      test::PlainFiles(files).cut(test::segment_path(1), size);
      const Collection collection = test::open_shard(test::one_shard(files), shape);
      INFO("cut to " << size);
      auto wanted = test::numbers(100, 108);
      wanted.merge(test::numbers(0, whole_entries(std::min(size, kMarkAt))));
      CHECK(test::contents(collection) == wanted);
      CHECK(collection.stats().damaged_regions >= 1);
    }
  }
}

TEST_CASE("log_recovery: files of other shards, segments and stores are refused [pitfall-20]") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    FaultFileSystem files;
    Config config = test::one_shard(files);
    config.shard_count = 2;
    {
      Collection collection = test::open_shard(config, shape);
      for (int round = 0; round < 3; ++round) {
        test::put_range(collection, 100 * round, 100 * round + 20);
        REQUIRE(collection.checkpoint().ok());
      }
    }
    const auto snapshot = files.snapshot();
    const std::string a = test::segment_path(1);
    const std::string others[] = {test::segment_path(2), "/c/shard_001/0000000001.data",
                                  "/c/shard_001/0000000002.data"};
    for (const std::string& b : others) {
      for (const bool listed : {true, false}) {
        files.restore(snapshot);
        for (const char* shard : {"/c/shard_000/MANIFEST", "/c/shard_001/MANIFEST"}) {
          if (!listed) REQUIRE(files.remove(shard).ok());
        }
        const std::string bytes_a = test::read_path(files, a);
        const std::string bytes_b = test::read_path(files, b);
        test::replace(files, a, bytes_b);
        test::replace(files, b, bytes_a);
        const Collection collection = test::open_shard(config, shape);
        CHECK(collection.stats().damaged_regions >= 2);
        const auto all = test::contents(collection);
        CHECK(all.size() >= 10);
        for (const auto& [key, value] : all) CHECK(value == "v" + key + "000");
      }
    }
  }
}

TEST_CASE("log_recovery: huge sizes and sequences in a header are survived [pitfall-22]") {
  std::string bytes;
  const auto snapshot = half_synced(test::kVarTree, bytes);
  FaultFileSystem files;
  const std::string huge(8, '\xff');
  for (std::size_t entry = 0; entry < 16; ++entry) {
    const std::size_t at = 96 + entry * kEntryBytes + (entry < 8 ? 0 : kMarkEnd - kMarkAt);
    for (const auto& [offset, size] : {std::pair(6, 2), std::pair(8, 4), std::pair(12, 8)}) {
      files.restore(snapshot);
      test::PlainFiles(files).patch(test::segment_path(1), at + static_cast<std::size_t>(offset),
                                    huge.substr(0, static_cast<std::size_t>(size)));
      const Collection collection = test::open_shard(test::one_shard(files));
      INFO("entry " << entry << " field at " << offset);
      const auto all = test::contents(collection);
      if (entry < 8) {
        CHECK(all.size() == 15);
      } else {
        CHECK(test::prefix_length(all) == static_cast<int>(entry));
      }
    }
  }
}

TEST_CASE("log_recovery: a kill at any call of a recovery changes nothing [pitfall-21]",
          "[serial]") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    FaultFileSystem files;
    Config config = test::one_shard(files);
    Collection collection = test::open_shard(config, shape);
    test::put_range(collection, 0, 300);
    REQUIRE(collection.checkpoint().ok());
    test::put_range(collection, 300, 500);
    REQUIRE(collection.flush_buffers().ok());
    test::put_range(collection, 500, 600);  // in the tail buffer only
    files.kill_process();
    collection = Collection();
    // What stood when each call of two recoveries and closes began.
    std::vector<FaultFileSystem::Snapshot> snapshots;
    files.set_observer([&](Call, const std::string&) { snapshots.push_back(files.snapshot()); });
    for (int open = 0; open < 2; ++open) {
      collection = test::open_shard(config, shape);
      REQUIRE(collection.close().ok());
    }
    files.set_observer(nullptr);
    REQUIRE(snapshots.size() > 20);
    for (std::size_t at = 0; at < snapshots.size(); ++at) {
      for (int crash = 0; crash < 3; ++crash) {
        files.restore(snapshots[at]);
        // 1: the page cache had not reached the disk; 2: only some of it. The first 300 had.
        if (crash == 1) files.power_cut_lose_all();
        if (crash == 2) files.power_cut_random(at);
        collection = test::open_shard(config, shape);
        INFO("stopped at call " << at << " crash " << crash);
        const int count = test::prefix_length(test::contents(collection));
        CHECK(count >= 300);
        if (crash == 0) CHECK(count == 600);
        CHECK(collection.stats().damaged_regions == 0);
        if (crash == 0) CHECK(collection.stats().segments_set_aside == 0);
        collection = Collection();
      }
    }
  }
}

TEST_CASE("log_recovery: one failing call means opened in full or not at all [pitfall-31]",
          "[serial]") {
  for (const int error : {EIO, EMFILE, ENOMEM, EACCES}) {
    FaultFileSystem files;
    const Config config = test::one_shard(files);
    Collection collection = test::open_shard(config);
    test::put_range(collection, 0, 100);
    REQUIRE(collection.checkpoint().ok());
    test::put_range(collection, 100, 200);
    REQUIRE(collection.flush_buffers().ok());
    files.kill_process();
    collection = Collection();
    const auto snapshot = files.snapshot();
    bool ended = false;
    for (std::size_t nth = 1; !ended; ++nth) {
      files.restore(snapshot);
      files.clear_faults();
      files.fail(Call::any, nth, error);
      {
        const Result<Collection> opened = Collection::open("/c", test::kVarTree, config);
        ended = !files.fault_met();
        files.clear_faults();
        INFO("errno " << error << " at call " << nth);
        if (opened.ok()) {
          CHECK(test::prefix_length(test::contents(*opened)) == 200);
          CHECK(opened->stats().damaged_regions == 0);
        }
      }
      const Collection again = test::open_shard(config);
      CHECK(test::prefix_length(test::contents(again)) == 200);
      REQUIRE(nth < 1000);
    }
  }
}

TEST_CASE("log_recovery: what follows a hole is set aside, and never served [pitfall-8]") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    FaultFileSystem files;
    const Config config = test::one_shard(files);
    Collection collection = test::open_shard(config, shape);
    test::put_range(collection, 0, 10);
    REQUIRE(collection.sync().ok());
    test::put_range(collection, 10, 5000);
    REQUIRE(collection.flush_buffers().ok());
    REQUIRE(test::names_with(files, ".data").size() >= 3);
    // The end of the first segment is lost, all of the later ones is there.
    files.power_cut(
        [&](const test::PendingAtom& atom) {
          return atom.path == test::segment_path(1) && atom.offset >= 20480 ? AtomFate::absent
                                                                            : AtomFate::present;
        },
        [](std::size_t) { return true; });
    int first = -1;
    for (int open = 0; open < 4; ++open) {
      collection = test::open_shard(config, shape);
      const int count = test::prefix_length(test::contents(collection));
      CHECK(count >= 10);
      CHECK(count < 2000);
      if (first < 0) first = count;
      CHECK(count == first);
      CHECK(collection.stats().damaged_regions == 0);
      CHECK((collection.stats().segments_set_aside > 0) == (open == 0));
      CHECK(test::exists(files, test::segment_path(2, "aside")));
      CHECK(test::exists(files, test::segment_path(3, "aside")));
      if (open == 1) files.kill_process();
      if (open == 2) REQUIRE(collection.close().ok());
      collection = Collection();
    }
    collection = test::open_shard(config, shape);
    // New writes go on behind, under numbers that were never used.
    test::put_range(collection, first, 3000);
    REQUIRE(collection.close().ok());
    collection = test::open_shard(config, shape);
    CHECK(test::prefix_length(test::contents(collection)) == 3000);
    CHECK(test::exists(files, test::segment_path(2, "aside")));
  }
}

TEST_CASE("log_recovery: read-only sees the same and changes nothing [pitfall-21]", "[serial]") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    for (std::uint64_t seed = 0; seed < 25; ++seed) {
      FaultFileSystem files;
      Config config = test::one_shard(files);
      Collection collection = test::open_shard(config, shape);
      test::put_range(collection, 0, 50);
      REQUIRE(collection.sync().ok());
      test::put_range(collection, 50, 5000);
      files.power_cut_random(seed);
      collection = Collection();
      config.read_only = true;
      const std::uint64_t hash = files.hash();
      INFO("seed " << seed);
      collection = test::open_shard(config, shape);
      const int read_only = test::prefix_length(test::contents(collection));
      collection = Collection();
      CHECK(files.hash() == hash);
      config.read_only = false;
      CHECK(read_only >= 50);
      collection = test::open_shard(config, shape);
      CHECK(test::prefix_length(test::contents(collection)) == read_only);
    }
  }
}

// The write side of the log when the disk fails, fills up or forgets.
#include "store/log_store.hpp"

#include <cerrno>
#include <set>

#include "support/one_shard.hpp"
#include "support/scale.hpp"

using namespace armdb;
using test::AtomFate;
using test::Call;
using test::FaultFileSystem;

namespace {

// Puts numbers from `from` on, syncing after each tenth, until a call fails or `to` is reached.
struct Progress {
  int issued = 0;  // puts that returned ok, or may have done something
  int synced = 0;  // entries that a sync reported safe
  Status failure;
};
Progress work(Collection& collection, int from, int to) {
  Progress progress{from, 0, {}};
  for (int number = from; number < to; ++number) {
    progress.failure = collection.put(test::key_of(number), test::value_of(number));
    if (!progress.failure.ok()) return progress;
    progress.issued = number + 1;
    if (number % 10 != 9) continue;
    progress.failure = collection.sync();
    if (!progress.failure.ok()) return progress;
    progress.synced = number + 1;
  }
  return progress;
}

// Segments that a call of the trace changed, out of `names`.
std::vector<std::string> changed_of(const std::vector<std::string>& trace,
                                    const std::vector<std::string>& names) {
  std::vector<std::string> changed;
  for (const std::string& line : trace) {
    const bool writes = line.starts_with("write ") || line.starts_with("truncate ") ||
                        line.starts_with("allocate ");
    for (const std::string& name : names) {
      if (writes && line.find("/" + name) != std::string::npos) changed.push_back(line);
    }
  }
  return changed;
}

}  // namespace

TEST_CASE("log_store: a failed sync poisons the shard, for each errno [pitfall-3] [pitfall-4]") {
  for (const int error : {EIO, ENOSPC, EDQUOT, EROFS}) {
    for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
      FaultFileSystem files;
      const Config config = test::one_shard(files);
      Collection collection = test::open_shard(config, shape);
      test::put_range(collection, 0, 10);
      REQUIRE(collection.sync().ok());
      test::put_range(collection, 10, 20);
      files.fail(Call::sync, 1, error);
      INFO("errno " << error);
      CHECK(collection.sync().is(Errc::failed));
      // A retry would succeed without writing a byte: it is never made.
      const std::size_t syncs = files.calls(Call::sync);
      files.set_trace(true);
      CHECK(collection.sync().is(Errc::failed));
      CHECK(collection.put("0099", test::value_of(99)).is(Errc::failed));
      CHECK(collection.erase("0001").is(Errc::failed));
      CHECK(collection.flush_buffers().is(Errc::failed));
      CHECK(collection.checkpoint().is(Errc::failed));
      CHECK(collection.compact().is(Errc::failed));
      CHECK(files.calls(Call::sync) == syncs);
      CHECK(changed_of(files.trace(), test::names_with(files, ".data")).empty());
      CHECK(collection.stats().failed_shards == 1);
      CHECK(collection.durable_sequence() == 10);
      for (int number = 0; number < 10; ++number) {
        const auto value = collection.get(test::key_of(number));
        REQUIRE(value.ok());
        CHECK((*value)->text() == test::value_of(number));
      }
      for (int number = 10; number < 20; ++number) {
        const auto value = collection.get(test::key_of(number));  // never "not there"
        CHECK((!value.ok() || (*value)->text() == test::value_of(number)));
      }
      CHECK_FALSE(collection.close().ok());
      collection = test::open_shard(config, shape);
      const int count = test::prefix_length(test::contents(collection));
      CHECK(count >= 10);
      CHECK(collection.stats().damaged_regions == 0);
      test::put_range(collection, count, 30);
      REQUIRE(collection.sync().ok());
      files.power_cut_lose_all();
      collection = test::open_shard(config, shape);
      CHECK(test::prefix_length(test::contents(collection)) == 30);
    }
  }
}

TEST_CASE("log_store: after a failed sync the next open believes the disk [pitfall-3]") {
  FaultFileSystem files;
  const Config config = test::one_shard(files);
  Collection collection = test::open_shard(config);
  test::put_range(collection, 0, 10);
  REQUIRE(collection.sync().ok());
  test::put_range(collection, 10, 20);
  REQUIRE(collection.flush_buffers().ok());
  test::put_range(collection, 20, 30);  // overwrites the start of the tail buffer
  files.fail(Call::sync, 1, EIO);
  CHECK_FALSE(collection.sync().ok());
  // The process dies before it can tell anybody; the mark of the failure stays.
  files.kill_process();
  collection = test::open_shard(config);
  const int count = test::prefix_length(test::contents(collection));
  CHECK(count >= 10);
  REQUIRE(collection.sync().ok());
  files.power_cut_lose_all();
  collection = test::open_shard(config);
  CHECK(test::prefix_length(test::contents(collection)) == count);
}

TEST_CASE("log_store: nothing is appended to a file whose sync failed [pitfall-5]") {
  FaultFileSystem files;
  const Config config = test::one_shard(files);
  Collection collection = test::open_shard(config);
  test::put_range(collection, 0, 20);
  files.fail(Call::sync, 1, EIO);
  CHECK_FALSE(collection.sync().ok());
  const auto names = test::names_with(files, ".data");
  files.set_trace(true);
  static_cast<void>(collection.close());
  collection = test::open_shard(config);
  test::put_range(collection, 100, 200);
  REQUIRE(collection.close().ok());
  CHECK(changed_of(files.trace(), names).empty());
}

TEST_CASE("log_store: only segments that this open made are written [pitfall-16] [pitfall-10]") {
  FaultFileSystem files;
  const Config config = test::one_shard(files);
  std::set<std::string> seen;
  for (int round = 0; round < 12; ++round) {
    const bool first = round == 0;
    const auto names = first ? std::vector<std::string>() : test::names_with(files, ".data");
    files.set_trace(true);
    Collection collection = test::open_shard(config);
    test::put_range(collection, 100 * round, 100 * round + 50);
    REQUIRE(collection.flush_buffers().ok());
    if (round % 3 == 1) REQUIRE(collection.sync().ok());
    if (round % 4 == 2) REQUIRE(collection.compact().ok());
    for (const std::string& line : files.trace()) {
      INFO(line);
      // A number that was used once is never used again.
      const bool removes = line.starts_with("remove ") && line.ends_with(".data");
      if (removes) seen.insert(line.substr(line.rfind('/') + 1));
    }
    CHECK(changed_of(files.trace(), names).empty());
    for (const std::string& name : test::names_with(files, ".data")) CHECK(!seen.contains(name));
    if (round % 2 == 0) files.kill_process();
    collection = Collection();
  }
}

TEST_CASE("log_store: a synced put survives, names and all [pitfall-6] [pitfall-7]") {
  for (const auto model : {FaultFileSystem::Model::strict, FaultFileSystem::Model::ext4}) {
    for (const char* path : {"/c", "/c/", "c"}) {
      FaultFileSystem files(model);
      const Config config = test::one_shard(files);
      auto collection = Collection::open(path, test::kVarTree, config);
      REQUIRE(collection.ok());
      REQUIRE(collection->put("0000", test::value_of(0), {.sync = true}).ok());
      files.power_cut_lose_all();
      INFO("path " << path);
      collection = Collection::open("/c", test::kVarTree, config);
      REQUIRE(collection.ok());
      CHECK(test::prefix_length(test::contents(*collection)) == 1);
    }
  }
}

TEST_CASE("log_store: creating a collection can be stopped at any call [pitfall-7]") {
  bool ended = false;
  for (std::size_t nth = 1; !ended; ++nth) {
    for (const bool power : {false, true}) {
      FaultFileSystem files;
      const Config config = test::one_shard(files);
      files.fail(Call::any, nth, EIO, true);
      static_cast<void>(Collection::open("/c", test::kVarTree, config).ok());
      ended = !files.fault_met();
      files.clear_faults();
      if (power) {
        files.power_cut_random(nth);
      } else {
        files.kill_process();
      }
      Collection collection = test::open_shard(config);
      INFO("stopped at call " << nth);
      CHECK(collection.empty());
      test::put_range(collection, 0, 5);
      REQUIRE(collection.sync().ok());
      files.power_cut_lose_all();
      collection = test::open_shard(config);
      CHECK(test::prefix_length(test::contents(collection)) == 5);
    }
    REQUIRE(nth < 300);
  }
}

TEST_CASE("log_store: short writes lose nothing that was acknowledged [pitfall-25]") {
  for (const int error : {EIO, ENOSPC}) {
    for (const std::size_t bytes : {0u, 1u, 7u, 100u, 511u}) {
      FaultFileSystem files;
      const Config config = test::one_shard(files);
      Collection collection = test::open_shard(config);
      test::put_range(collection, 0, 20);
      REQUIRE(collection.sync().ok());
      test::put_range(collection, 20, 40);
      files.fail(Call::write, 1, error, false, bytes);
      INFO("errno " << error << " after " << bytes);
      CHECK_FALSE(collection.flush_buffers().ok());
      CHECK(test::prefix_length(test::contents(collection)) == 40);
      if (error == ENOSPC) {
        // Undone; the entries still stand in the buffer and go out now.
        REQUIRE(collection.sync().ok());
        files.power_cut_lose_all();
      } else {
        CHECK(collection.stats().failed_shards == 1);
        files.kill_process();
      }
      collection = test::open_shard(config);
      CHECK(test::prefix_length(test::contents(collection)) == 40);
      CHECK(collection.stats().damaged_regions == 0);
    }
  }
}

TEST_CASE("log_store: any call that fails leaves a prefix with all that was synced [pitfall-30]",
          "[serial]") {
  for (const int error : {EIO, EROFS, ENOSPC}) {
    for (const bool sticky : {false, true}) {
      bool ended = false;
      for (std::size_t nth = 1; !ended; nth += sticky ? 9 : 7) {
        FaultFileSystem files;
        Config config = test::one_shard(files);
        config.hints = nth % 2 == 0;
        Collection collection = test::open_shard(config);
        files.fail(Call::any, nth, error, sticky);
        Progress progress = work(collection, 0, 4000);
        if (progress.failure.ok()) progress.failure = collection.checkpoint();
        ended = !files.fault_met();
        files.clear_faults();
        INFO("errno " << error << " at call " << nth << (sticky ? " and all after it" : ""));
        const int alive = test::prefix_length(test::contents(collection));
        if (!progress.failure.is(Errc::failed)) CHECK(alive == progress.issued);
        files.power_cut_lose_all();
        collection = test::open_shard(config);
        const int count = test::prefix_length(test::contents(collection));
        CHECK(count >= progress.synced);
        CHECK(count <= progress.issued + 1);
        CHECK(collection.stats().damaged_regions == 0);
        REQUIRE(nth < 5000);
      }
    }
  }
}

TEST_CASE("log_store: a write that failed fails the shard until it is opened again [pitfall-30]") {
  for (const int error : {EIO, EROFS}) {
    FaultFileSystem files;
    Collection collection = test::open_shard(test::one_shard(files));
    test::put_range(collection, 0, 10);
    REQUIRE(collection.sync().ok());
    test::put_range(collection, 10, 20);
    files.fail(Call::write, 1, error);
    CHECK(collection.flush_buffers().is(Errc::failed));
    CHECK(files.fault_met());
    files.clear_faults();
    CHECK(collection.put(test::key_of(30), "x").is(Errc::failed));
    CHECK(collection.sync().is(Errc::failed));
    CHECK(collection.stats().failed_shards == 1);
    CHECK((*collection.get(test::key_of(15)))->text() == test::value_of(15));
    collection = {};
    files.kill_process();
    collection = test::open_shard(test::one_shard(files));
    CHECK(test::prefix_length(test::contents(collection)) >= 10);
    CHECK(collection.stats().damaged_regions == 0);
    REQUIRE(collection.put(test::key_of(30), "x").ok());
    REQUIRE(collection.sync().ok());
  }
}

TEST_CASE("log_store: without descriptors rotation fails softly, and goes on later [pitfall-31]") {
  FaultFileSystem files;
  const Config config = test::one_shard(files);
  Collection collection = test::open_shard(config);
  files.fail(Call::open, 3, EMFILE, true);
  Progress progress = work(collection, 0, 9000);
  REQUIRE(files.fault_met());
  CHECK(progress.failure.is(Errc::io_error));
  CHECK(progress.failure.os_error() == EMFILE);
  CHECK(collection.stats().failed_shards == 0);
  CHECK(test::prefix_length(test::contents(collection)) == progress.issued);
  files.clear_faults();
  progress = work(collection, progress.issued, 9000);
  CHECK(progress.failure.ok());
  files.power_cut_lose_all();
  collection = test::open_shard(config);
  CHECK(test::prefix_length(test::contents(collection)) == 9000);
}

TEST_CASE("log_store: a full disk loses nothing, and writes resume with space [pitfall-27]") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    FaultFileSystem files;
    const Config config = test::one_shard(files);
    Collection collection = test::open_shard(config, shape);
    files.set_capacity(250u << 10);
    Progress progress = work(collection, 0, 9999);
    INFO(progress.failure.message());
    REQUIRE(progress.failure.is(Errc::no_space));
    CHECK(collection.stats().full_shards == 1);
    CHECK(collection.stats().failed_shards == 0);
    CHECK(test::prefix_length(test::contents(collection)) == progress.issued);
    // Deletes go on from a reserve, and overwritten entries give room to compaction.
    for (int number = 0; number < 100; ++number) {
      const Status status = collection.erase(test::key_of(number));
      INFO("erase " << number << ": " << status.message());
      REQUIRE(status.ok());
    }
    files.set_capacity((250u << 10) + (100u << 10));
    for (int number = 100; number < progress.issued; ++number) {
      const Status status = collection.erase(test::key_of(number));
      if (status.ok()) continue;
      REQUIRE(status.is(Errc::no_space));
      const Status compacted = collection.compact();
      INFO("at " << number << ": " << compacted.message());
      REQUIRE(compacted.ok());
      REQUIRE(collection.erase(test::key_of(number)).ok());
    }
    REQUIRE(collection.compact().ok());
    CHECK(collection.empty());
    progress = work(collection, 0, 3000);
    INFO(progress.failure.message());
    CHECK(progress.issued == 3000);
    CHECK(collection.stats().full_shards == 0);
    files.power_cut_lose_all();
    collection = test::open_shard(config, shape);
    CHECK(test::prefix_length(test::contents(collection)) == 3000);
  }
}

TEST_CASE("log_store: a disk full of overwritten entries is freed by compaction [pitfall-27]",
          "[serial]") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    for (std::uint64_t capacity = 200; capacity < 420; capacity += 12) {
      FaultFileSystem files;
      const Config config = test::one_shard(files);
      Collection collection = test::open_shard(config, shape);
      files.set_capacity(capacity << 10);
      int version = 0;
      Status status;
      for (int round = 0; round < 5; ++round) {
        INFO("capacity " << capacity << " KiB, round " << round);
        do {
          ++version;
          status = collection.put(test::key_of(version % 60), test::value_of(version % 60));
        } while (status.ok());
        INFO(status.message());
        REQUIRE(status.is(Errc::no_space));
        const Status compacted = collection.compact();
        INFO(compacted.message());
        REQUIRE(compacted.ok());
        CHECK(test::prefix_length(test::contents(collection)) == 60);
      }
    }
  }
}

TEST_CASE("log_store: what a full disk refused is there after a kill [pitfall-27] [pitfall-28]",
          "[serial]") {
  for (int blocks = 30; blocks < 60; ++blocks) {
    FaultFileSystem files;
    const Config config = test::one_shard(files);
    Collection collection = test::open_shard(config);
    files.set_capacity(static_cast<std::uint64_t>(blocks) * 4096);
    const Progress progress = work(collection, 0, 9999);
    REQUIRE(progress.failure.is(Errc::no_space));
    files.kill_process();
    INFO("blocks " << blocks);
    {
      // Still full: reading is possible at least.
      Config reader = config;
      reader.read_only = true;
      const Collection readable = test::open_shard(reader);
      CHECK(test::prefix_length(test::contents(readable)) == progress.issued);
    }
    {
      Result<Collection> writer = Collection::open("/c", test::kVarTree, config);
      CHECK((writer.ok() || writer.is(Errc::no_space)));
      if (writer.ok()) CHECK(test::prefix_length(test::contents(*writer)) == progress.issued);
      files.kill_process();
    }
    files.set_capacity(~std::uint64_t{0});
    collection = test::open_shard(config);
    CHECK(test::prefix_length(test::contents(collection)) == progress.issued);
  }
}

TEST_CASE("log_store: concurrent holders see sequences that only rise [pitfall-15]") {
  FaultFileSystem files;
  const Config config = test::one_shard(files);
  std::uint64_t durable = 0;
  int issued = 0;
  for (int round = 0; round < 40; ++round) {
    Collection collection = test::open_shard(config);
    CHECK(collection.stats().last_sequence >= durable);
    for (int count = 0; count < 30; ++count, ++issued) test::put(collection, issued % 2000);
    if (round % 3 != 0) REQUIRE(collection.sync().ok());
    durable = collection.durable_sequence();
    CHECK(collection.durable_sequence("0001") == durable);
    test::put(collection, issued % 2000);
    CHECK(collection.stats().last_sequence > durable);
    CHECK(collection.stats().unsynced_shards == 1);
    if (round % 2 == 0) {
      files.kill_process();
    } else {
      files.power_cut_random(static_cast<std::uint64_t>(round));
    }
  }
}

TEST_CASE("log_store: a sequence that was seen is not given to another write [pitfall-15]") {
  // Process 1 writes on after a sync; the power goes. What process 2 writes has new numbers.
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    FaultFileSystem files;
    const Config config = test::one_shard(files);
    Collection collection = test::open_shard(config);
    test::put_range(collection, 0, 10);
    REQUIRE(collection.sync().ok());
    test::put_range(collection, 10, 900);
    const std::uint64_t seen = collection.stats().last_sequence;
    files.power_cut_random(seed);
    collection = test::open_shard(config);
    const int count = test::prefix_length(test::contents(collection));
    REQUIRE(count >= 10);
    test::put(collection, 5000);
    INFO("seed " << seed << " recovered " << count);
    if (collection.stats().torn_bytes != 0 && count < 900) {
      CHECK(collection.stats().last_sequence > seen);
    }
  }
}

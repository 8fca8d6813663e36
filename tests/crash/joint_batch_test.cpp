// Batches over several shards: whole or absent as one, whatever a crash leaves of each shard.
#include <atomic>
#include <cerrno>
#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "api/collection.hpp"
#include "support/catch.hpp"
#include "support/fault_file_system.hpp"
#include "support/one_shard.hpp"
#include "support/scale.hpp"

namespace {

using namespace armdb;
using armdb::test::FaultFileSystem;

// Keys that every batch writes: so many that one lies in each of the four shards, whatever the seed
// of the hash (all but once in 10^11 stores).
constexpr int kGroup = 96;

Config four_shards(FileSystem& files) {
  Config config = test::one_shard(files);
  config.shard_count = 4;
  return config;
}

std::string shard_file(int shard, const std::string& name) {
  return "/c/shard_00" + std::to_string(shard) + "/" + name;
}

Status write_group(Collection& collection, int version, bool sync = false) {
  detail::BatchBuffer batch;
  for (int key = 0; key < kGroup; ++key) {
    const std::string name = test::key_of(key);
    const std::string value = test::value_of(0, version);
    batch.add({.key = Bytes(name), .value = Bytes(value)}, 0);
  }
  return collection.write_batch(batch, {.sync = sync});
}

// The version that all keys of the group have; 0 when none is there; -1 when they differ.
int group_version(const Collection& collection) {
  const auto all = test::contents(collection);
  int version = -2;
  for (int key = 0; key < kGroup; ++key) {
    const auto at = all.find(test::key_of(key));
    const int here = at == all.end() ? 0 : std::stoi(at->second.substr(5));
    if (version == -2) version = here;
    if (here != version) return -1;
  }
  return version;
}

int reopened_version(FaultFileSystem& files, const Shape& shape) {
  int version = 0;
  {
    const Collection collection = test::open_shard(four_shards(files), shape);
    version = group_version(collection);
    files.kill_process();
  }
  const Collection again = test::open_shard(four_shards(files), shape);
  CHECK(group_version(again) == version);
  return version;
}

}  // namespace

TEST_CASE("joint batch: after a kill it is there; without one shard's part it is nowhere") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    FaultFileSystem files;
    {
      Collection collection = test::open_shard(four_shards(files), shape);
      REQUIRE(write_group(collection, 1).ok());
      REQUIRE(collection.sync().ok());
      REQUIRE(write_group(collection, 2).ok());
      test::put_range(collection, 100, 140);
      files.kill_process();
    }
    const auto snapshot = files.snapshot();
    CHECK(reopened_version(files, shape) == 2);
    for (int shard = 0; shard < 4; ++shard) {
      files.restore(snapshot);
      REQUIRE(files.remove(shard_file(shard, "tail.buf")).ok());
      INFO("without the tail of shard " << shard);
      CHECK(reopened_version(files, shape) == 1);
      Collection collection = test::open_shard(four_shards(files), shape);
      REQUIRE(write_group(collection, 3).ok());
      REQUIRE(collection.close().ok());
      CHECK(reopened_version(files, shape) == 3);
    }
  }
}

TEST_CASE("joint batch: a sync of one shard covers the parts in the others") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    for (int key = 100; key < 116; ++key) {
      FaultFileSystem files;
      {
        Collection collection = test::open_shard(four_shards(files), shape);
        REQUIRE(write_group(collection, 1).ok());
        const std::string name = test::key_of(key);
        REQUIRE(collection.put(Bytes(name), test::value_of(key), {.sync = true}).ok());
        files.power_cut_lose_all();
      }
      CHECK(reopened_version(files, shape) == 1);
    }
  }
}

TEST_CASE("joint batch: synced, no power cut takes any of it; one fdatasync per shard") {
  FaultFileSystem files;
  {
    Collection collection = test::open_shard(four_shards(files), test::kVarTree);
    REQUIRE(write_group(collection, 1, true).ok());
    const std::uint64_t before = collection.stats().syncs;
    REQUIRE(write_group(collection, 2, true).ok());
    CHECK(collection.stats().syncs == before + 4);
    files.power_cut_lose_all();
  }
  CHECK(reopened_version(files, test::kVarTree) == 2);
}

TEST_CASE("joint batch: what a recovery found and did not sync is looked at again") {
  for (int shard = 0; shard < 4; ++shard) {
    FaultFileSystem files;
    {
      Collection collection = test::open_shard(four_shards(files), test::kVarTree);
      REQUIRE(write_group(collection, 1, true).ok());
      REQUIRE(write_group(collection, 2).ok());
      REQUIRE(collection.flush_buffers().ok());
      files.kill_process();
    }
    {
      // Recovered from the page cache, and nothing of it is durable yet.
      const Collection collection = test::open_shard(four_shards(files), test::kVarTree);
      CHECK(group_version(collection) == 2);
      files.kill_process();
    }
    const std::string lost = "shard_00" + std::to_string(shard) + "/";
    files.power_cut(
        [&](const test::PendingAtom& atom) {
          return atom.path.find(lost) != std::string::npos ? test::AtomFate::absent
                                                           : test::AtomFate::present;
        },
        [](std::size_t) { return true; });
    const int version = reopened_version(files, test::kVarTree);
    INFO("shard " << shard << " has version " << version);
    CHECK((version == 1 || version == 2));
  }
}

TEST_CASE(
    "joint batch: after a recovery a sync of one shard still covers the parts in the others") {
  for (int key = 100; key < 116; ++key) {
    FaultFileSystem files;
    {
      Collection collection = test::open_shard(four_shards(files), test::kVarTree);
      REQUIRE(write_group(collection, 1, true).ok());
      REQUIRE(write_group(collection, 2).ok());
      files.kill_process();
    }
    {
      Collection collection = test::open_shard(four_shards(files), test::kVarTree);
      const std::string name = test::key_of(key);
      REQUIRE(collection.put(Bytes(name), test::value_of(key), {.sync = true}).ok());
      files.power_cut_lose_all();
    }
    INFO("synced key " << key);
    CHECK(reopened_version(files, test::kVarTree) == 2);
  }
}

TEST_CASE("joint batch: while one shard cannot sync, none of the others calls it durable") {
  FaultFileSystem files;
  {
    Collection collection = test::open_shard(four_shards(files), test::kVarTree);
    REQUIRE(write_group(collection, 1, true).ok());
    REQUIRE(write_group(collection, 2).ok());
    std::vector<std::uint64_t> before;
    for (int key = 0; key < kGroup; ++key) {
      before.push_back(collection.durable_sequence(Bytes(test::key_of(key))));
    }
    files.fail(test::Call::sync, 2, EIO);
    CHECK_FALSE(collection.sync().ok());
    for (int key = 0; key < kGroup; ++key) {
      const std::string name = test::key_of(key);
      CHECK(collection.durable_sequence(Bytes(name)) == before[static_cast<std::size_t>(key)]);
      CHECK_FALSE(collection.put(Bytes(name), test::value_of(0, 3), {.sync = true}).ok());
    }
    files.power_cut_lose_all();
  }
  CHECK(reopened_version(files, test::kVarTree) == 1);
}

TEST_CASE("joint batch: pages of a failed sync are dropped while other shards still sync") {
  FaultFileSystem files;
  Collection collection = test::open_shard(four_shards(files), test::kVarTree);
  REQUIRE(write_group(collection, 1, true).ok());
  REQUIRE(write_group(collection, 2).ok());
  REQUIRE(collection.flush_buffers().ok());
  // The other shards stay in their calls until the pages are dropped, or for a second.
  std::atomic<int> syncs{0};
  std::atomic<bool> dropped{true};
  const auto waiting = [&] { return !files.fault_met() || !files.stale_files().empty(); };
  files.set_observer([&](test::Call call, const std::string&) {
    if (call != test::Call::sync || syncs++ == 0) return;
    for (int wait = 0; wait < 1000 && waiting(); ++wait) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (waiting()) dropped = false;
  });
  files.fail(test::Call::sync, 1, EIO);
  CHECK_FALSE(collection.sync().ok());
  files.set_observer({});
  CHECK(syncs == 4);
  CHECK(dropped);
}

TEST_CASE("joint batch: with enable_fsync a batch that fills the buffers syncs them all") {
  FaultFileSystem files;
  Config config = four_shards(files);
  config.enable_fsync = true;
  {
    Collection collection = test::open_shard(config, test::kVarTree);
    for (int version = 1; version < 200; ++version) REQUIRE(write_group(collection, version).ok());
    CHECK(collection.stats().syncs > 0);
    files.power_cut_lose_all();
  }
  CHECK(reopened_version(files, test::kVarTree) > 0);
}

TEST_CASE("joint batch: one that a full disk refuses in one shard is nowhere") {
  for (const std::uint64_t more : {0u, 4096u, 16384u, 40000u, 90000u, 150000u}) {
    FaultFileSystem files;
    {
      Collection collection = test::open_shard(four_shards(files), test::kVarTree);
      REQUIRE(write_group(collection, 1, true).ok());
      detail::BatchBuffer batch;
      const std::string large(10000, 'x');
      for (int key = 0; key < kGroup; ++key) {
        const std::string name = test::key_of(key);
        batch.add({.key = Bytes(name), .value = Bytes(large)}, 0);
      }
      files.set_capacity(files.used_bytes() + more);
      const Status status = collection.write_batch(batch, {});
      if (status.ok()) continue;
      CHECK(status.is(Errc::no_space));
      CHECK(batch.count() == kGroup);
      CHECK(group_version(collection) == 1);
      files.set_capacity(~std::uint64_t{0});
      REQUIRE(write_group(collection, 2).ok());
      files.kill_process();
    }
    CHECK(reopened_version(files, test::kVarTree) == 2);
  }
}

TEST_CASE("joint batch: a kill at any call of the recovery that drops it leaves no part of it",
          "[serial]") {
  FaultFileSystem files;
  {
    Collection collection = test::open_shard(four_shards(files), test::kVarTree);
    REQUIRE(write_group(collection, 1, true).ok());
    REQUIRE(write_group(collection, 2).ok());
    files.kill_process();
  }
  const auto base = files.snapshot();
  for (int shard = 0; shard < 4; ++shard) {
    files.restore(base);
    REQUIRE(files.remove(shard_file(shard, "tail.buf")).ok());
    std::mutex mutex;
    std::vector<FaultFileSystem::Snapshot> moments;
    files.set_observer([&](test::Call, const std::string&) {
      const std::lock_guard lock(mutex);
      moments.push_back(files.snapshot());
    });
    {
      const Collection collection = test::open_shard(four_shards(files), test::kVarTree);
      files.set_observer({});
      CHECK(group_version(collection) == 1);
      files.kill_process();
    }
    REQUIRE(moments.size() > 10);
    for (std::size_t moment = 0; moment < moments.size(); ++moment) {
      files.restore(moments[moment]);
      INFO("shard " << shard << " moment " << moment);
      REQUIRE(reopened_version(files, test::kVarTree) == 1);
    }
  }
}

TEST_CASE("joint batch: one that was refused stays away through a power cut") {
  for (std::size_t nth = 1; nth <= 4; ++nth) {
    FaultFileSystem files;
    {
      Collection collection = test::open_shard(four_shards(files), test::kVarTree);
      REQUIRE(write_group(collection, 1, true).ok());
      detail::BatchBuffer batch;
      const std::string large = test::value_of(0, 2) + std::string(10000, 'x');
      for (int key = 0; key < kGroup; ++key) {
        batch.add({.key = Bytes(test::key_of(key)), .value = Bytes(large)}, 0);
      }
      files.fail(test::Call::write, nth, ENOSPC);
      const Status refused = collection.write_batch(batch, {});
      files.clear_faults();
      if (refused.ok()) continue;
      // Other shards go past the sequences that the part which was written names as theirs.
      for (int key = 100; key < 180; ++key) {
        static_cast<void>(collection.put(Bytes(test::key_of(key)), test::value_of(key)));
      }
      for (int key = 200; key < 216; ++key) {
        const std::string name = test::key_of(key);
        static_cast<void>(collection.put(Bytes(name), test::value_of(key), {.sync = true}));
      }
      // What was written stays on the disk, what was cut off comes back.
      files.power_cut(
          [](const test::PendingAtom& atom) {
            return atom.size == 0 ? test::AtomFate::absent : test::AtomFate::present;
          },
          [](std::size_t) { return true; });
    }
    INFO("write " << nth << " failed");
    CHECK(reopened_version(files, test::kVarTree) == 1);
  }
}

TEST_CASE("joint batch: longer than a segment it reads back, in the buffer or in the file") {
  for (const std::uint32_t buffer : {16u << 10, 1u << 20}) {
    FaultFileSystem files;
    Config config = four_shards(files);
    config.write_buffer_size = buffer;
    const auto check_all = [&](const Collection& collection) {
      for (int key = 0; key < 300; ++key) {
        const auto value = collection.get(Bytes(test::key_of(key)));
        REQUIRE(value.ok());
        REQUIRE(value->has_value());
        REQUIRE((*value)->size() == 3000);
      }
    };
    {
      Collection collection = test::open_shard(config, test::kVarTree);
      detail::BatchBuffer batch;
      const std::string large(3000, 'x');
      for (int key = 0; key < 300; ++key) {
        batch.add({.key = Bytes(test::key_of(key)), .value = Bytes(large)}, 0);
      }
      REQUIRE(collection.write_batch(batch, {}).ok());
      check_all(collection);
      REQUIRE(collection.flush_buffers().ok());
      check_all(collection);
      files.kill_process();
    }
    check_all(test::open_shard(config, test::kVarTree));
  }
}

TEST_CASE("joint batch: random power cuts leave it whole or absent, at or past the last sync",
          "[serial]") {
  const int rounds = static_cast<int>(test::scaled(150));
  for (int seed = 1; seed <= rounds; ++seed) {
    const Shape& shape = seed % 2 == 0 ? test::kVarTree : test::kConstMap;
    FaultFileSystem files;
    int written = 0;
    int synced = 0;
    for (int life = 0; life < 3; ++life) {
      {
        Collection collection = test::open_shard(four_shards(files), shape);
        std::uint64_t state = static_cast<std::uint64_t>(seed) * 977 + static_cast<unsigned>(life);
        const auto dice = [&](std::uint64_t below) {
          state = state * 6364136223846793005u + 1442695040888963407u;
          return (state >> 33) % below;
        };
        for (int step = 0; step < 40; ++step) {
          const std::uint64_t what = dice(10);
          if (what < 5) {
            const bool sync = dice(8) == 0;
            REQUIRE(write_group(collection, ++written, sync).ok());
            if (sync) synced = written;
          } else if (what < 8) {
            test::put(collection, 100 + static_cast<int>(dice(200)), step);
          } else if (what == 8) {
            const std::string name = test::key_of(100 + static_cast<int>(dice(200)));
            const Status status =
                collection.put(Bytes(name), test::value_of(1, step), {.sync = true});
            REQUIRE(status.ok());
          } else {
            if (dice(3) == 0) REQUIRE(collection.compact().ok());
            if (dice(3) == 0) REQUIRE(collection.checkpoint().ok());
            if (dice(2) == 0) REQUIRE(collection.flush_buffers().ok());
          }
        }
        files.power_cut_random(static_cast<std::uint64_t>(seed) * 31 + static_cast<unsigned>(life));
      }
      INFO("seed " << seed << " life " << life);
      const int version = reopened_version(files, shape);
      REQUIRE(version >= synced);
      REQUIRE(version <= written);
      synced = 0;  // what a recovery found is not durable until the next sync
      written = std::max(written, version);
    }
  }
}

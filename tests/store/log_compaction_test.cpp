// Compaction: nothing comes back, nothing is lost, whenever it is stopped.
#include "store/log_compaction.hpp"

#include <cerrno>
#include <optional>

#include "support/model.hpp"
#include "support/one_shard.hpp"
#include "support/plain_files.hpp"
#include "support/scale.hpp"

using namespace armdb;
using test::Call;
using test::FaultFileSystem;

namespace {

using Model = std::map<std::string, std::string>;

// Some segments with much dead in them; returns what is alive.
Model fill_with_dead(Collection& collection) {
  Model alive;
  for (int round = 0; round < 6; ++round) {
    for (int number = 0; number < 200; ++number) {
      const std::string key = test::key_of(number * 7 % 200 + (number % 3) * round);
      const std::string value = test::value_of(number, round);
      if (number % 5 == round % 5) {
        const Status status = collection.erase(key);
        REQUIRE((status.ok() || status.is(Errc::not_found)));
        alive.erase(key);
      } else {
        REQUIRE(collection.put(key, value).ok());
        alive[key] = value;
      }
    }
    REQUIRE(collection.checkpoint().ok());
  }
  return alive;
}

}  // namespace

TEST_CASE("log_compaction: deleted keys stay deleted under partial compactions [pitfall-14]") {
  for (std::uint64_t seed = 0; seed < test::scaled(60, 4); ++seed) {
    const Shape& shape = seed % 2 == 0 ? test::kVarTree : test::kConstMap;
    FaultFileSystem files;
    Config config = test::one_shard(files);
    config.compaction_threshold = 0.01 + 0.2 * static_cast<double>(seed % 5);
    test::Dice dice(seed);
    Model model;
    Collection collection = test::open_shard(config, shape);
    for (int step = 0; step < 1500; ++step) {
      const std::string key = test::key_of(static_cast<int>(dice.below(25)));
      const std::uint64_t what = dice.below(100);
      if (what < 45) {
        model[key] = test::value_of(step);
        REQUIRE(collection.put(key, model[key]).ok());
      } else if (what < 85) {
        CHECK(collection.erase(key).is(model.erase(key) != 0 ? Errc::ok : Errc::not_found));
      } else if (what < 90) {
        REQUIRE(collection.checkpoint().ok());
      } else if (what < 96) {
        REQUIRE(collection.compact_step(dice.below(3000)).ok());
      } else if (what < 97) {
        REQUIRE(collection.compact().ok());
      } else {
        bool listed = true;
        if (dice.one_in(2)) {
          files.kill_process();
        } else {
          REQUIRE(collection.close().ok());
          // Whoever loses the MANIFEST as well must get the same.
          listed = dice.one_in(2);
          if (!listed) REQUIRE(files.remove(test::in_shard("MANIFEST")).ok());
        }
        collection = test::open_shard(config, shape);
        INFO("seed " << seed << " step " << step);
        REQUIRE(test::contents(collection) == model);
        if (listed) CHECK(collection.stats().damaged_regions == 0);
        CHECK(collection.stats().segments_set_aside == 0);
      }
    }
    INFO("seed " << seed);
    CHECK(test::contents(collection) == model);
  }
}

TEST_CASE("log_compaction: tombstones go with the oldest segments, and all space with them") {
  FaultFileSystem files;
  const Config config = test::one_shard(files);
  Collection collection = test::open_shard(config);
  test::put_range(collection, 0, 500);
  REQUIRE(collection.checkpoint().ok());
  for (int number = 0; number < 500; ++number) {
    REQUIRE(collection.erase(test::key_of(number)).ok());
  }
  CHECK(collection.stats().tombstones == 500);
  CHECK(collection.stats().dead_bytes > 0);
  REQUIRE(collection.compact().ok());
  CHECK(collection.stats().tombstones == 0);
  CHECK(collection.stats().dead_bytes == 0);
  CHECK(collection.stats().data_bytes == 0);
  CHECK(collection.stats().compactions >= 2);
  CHECK(test::names_with(files, ".data").empty());
  REQUIRE(collection.close().ok());
  collection = test::open_shard(config);
  CHECK(collection.empty());
}

TEST_CASE("log_compaction: sources go when the copy is durable and listed [pitfall-12]") {
  FaultFileSystem files;
  const Config config = test::one_shard(files);
  Collection collection = test::open_shard(config);
  static_cast<void>(fill_with_dead(collection));
  const auto sources = test::names_with(files, ".data");
  files.set_trace(true);
  REQUIRE(collection.compact().ok());
  bool synced = false;
  bool listed = false;
  std::size_t removed = 0;
  for (const std::string& line : files.trace()) {
    const bool segment = line.ends_with(".data");
    if (line.starts_with("sync ") && segment) synced = true;
    if (line.starts_with("rename ") && line.ends_with("MANIFEST.tmp")) listed = synced;
    if (line.starts_with("remove ") && segment) {
      CHECK(listed);
      ++removed;
    }
  }
  CHECK(removed == sources.size());
}

TEST_CASE("log_compaction: the power goes at any call, and all synced is there [pitfall-12]") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    FaultFileSystem files;
    Config config = test::one_shard(files);
    Collection collection = test::open_shard(config, shape);
    const Model alive = fill_with_dead(collection);
    std::vector<FaultFileSystem::Snapshot> snapshots;
    files.set_observer([&](Call, const std::string&) { snapshots.push_back(files.snapshot()); });
    REQUIRE(collection.compact().ok());
    files.set_observer(nullptr);
    CHECK(test::contents(collection) == alive);
    REQUIRE(snapshots.size() > 10);
    FaultFileSystem later;
    config.file_system = &later;
    for (std::size_t at = 0; at < snapshots.size(); ++at) {
      for (int kind = 0; kind < 4; ++kind) {
        later.restore(snapshots[at]);
        if (kind == 0) later.power_cut_lose_all();
        if (kind == 1) later.power_cut_keep_all();
        if (kind >= 2) later.power_cut_random(at * 4 + static_cast<std::size_t>(kind));
        const Collection recovered = test::open_shard(config, shape);
        INFO("call " << at << " kind " << kind);
        CHECK(test::contents(recovered) == alive);
        CHECK(recovered.stats().damaged_regions == 0);
      }
    }
  }
}

TEST_CASE("log_compaction: a write beside it wins over the copy [pitfall-13]") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    FaultFileSystem files;
    const Config config = test::one_shard(files);
    Collection collection = test::open_shard(config, shape);
    Model model = fill_with_dead(collection);
    bool more = true;
    for (int step = 0; more; ++step) {
      const std::string key = test::key_of(step * 13 % 200);
      if (step % 3 == 0) {
        static_cast<void>(collection.erase(key).ok());
        model.erase(key);
      } else {
        model[key] = test::value_of(step, 9);
        REQUIRE(collection.put(key, model[key]).ok());
      }
      const Result<bool> step_more = collection.compact_step(200);
      REQUIRE(step_more.ok());
      more = *step_more;
      REQUIRE(step < 10000);
    }
    CHECK(test::contents(collection) == model);
    files.kill_process();
    collection = test::open_shard(config, shape);
    CHECK(test::contents(collection) == model);
  }
}

TEST_CASE("log_compaction: any failing call leaves everything readable [pitfall-27] [pitfall-31]",
          "[serial]") {
  for (const int error : {EIO, ENOSPC, EMFILE}) {
    bool ended = false;
    for (std::size_t nth = 1; !ended; ++nth) {
      FaultFileSystem files;
      const Config config = test::one_shard(files);
      Collection collection = test::open_shard(config);
      const Model alive = fill_with_dead(collection);
      files.fail(Call::any, nth, error);
      const Status status = collection.compact();
      ended = !files.fault_met();
      files.clear_faults();
      INFO("errno " << error << " at call " << nth << ": " << status.message());
      CHECK(test::contents(collection) == alive);
      if (status.is(Errc::no_space) || status.ok()) {
        CHECK(collection.stats().failed_shards == 0);
        CHECK(collection.compact().ok());
        CHECK(test::contents(collection) == alive);
      }
      files.power_cut_lose_all();
      collection = test::open_shard(config);
      CHECK(test::contents(collection) == alive);
      CHECK(collection.stats().damaged_regions == 0);
      REQUIRE(nth < 500);
    }
  }
}

TEST_CASE("log_compaction: a damaged segment is kept for repair, and the rest goes on") {
  FaultFileSystem files;
  const Config config = test::one_shard(files);
  Collection collection = test::open_shard(config);
  static_cast<void>(fill_with_dead(collection));
  REQUIRE(collection.close().ok());
  test::PlainFiles(files).flip(test::segment_path(2), 96 + 40, 1);
  collection = test::open_shard(config);
  const std::size_t before = test::names_with(files, ".data").size();
  CHECK(collection.compact().is(Errc::corrupt));
  CHECK(test::exists(files, test::segment_path(2)));
  CHECK(collection.compact().ok());
  CHECK(test::exists(files, test::segment_path(2)));
  CHECK(test::names_with(files, ".data").size() < before);
}

TEST_CASE("log_compaction: small segments of many opens are merged") {
  FaultFileSystem files;
  const Config config = test::one_shard(files);
  for (int open = 0; open < 20; ++open) {
    Collection collection = test::open_shard(config);
    test::put(collection, open);
    if (open % 2 == 0) files.kill_process();
  }
  Collection collection = test::open_shard(config);
  CHECK(test::names_with(files, ".data").size() >= 19);
  REQUIRE(collection.compact().ok());
  CHECK(test::names_with(files, ".data").size() <= 4);
  CHECK(test::prefix_length(test::contents(collection)) == 20);
}

TEST_CASE("log_compaction: compact() ends beside writers that never do") {
  FaultFileSystem files;
  Collection collection = test::open_shard(test::one_shard(files));
  const Model alive = fill_with_dead(collection);
  constexpr int kTimes = 40;
  int times = 0;
  bool writing = false;
  files.set_observer([&](Call call, const std::string& path) {
    if (call != Call::open || writing || times == kTimes) return;
    if (!path.starts_with("/c/shard_000/")) return;
    writing = true;
    ++times;
    // More dead segments, before the copies of the last ones are there.
    for (int round = 0; round < 20; ++round) test::put_range(collection, 5000, 5300, round);
    writing = false;
  });
  REQUIRE(collection.compact().ok());
  files.set_observer({});
  INFO(times);
  CHECK(times > 0);
  CHECK(times < kTimes);
  for (const auto& [key, value] : alive) CHECK((*collection.get(key))->text() == value);
  const std::uint64_t before = collection.stats().compactions;
  REQUIRE(collection.compact().ok());
  CHECK(collection.stats().compactions > before);
}

// What a refused or half failed group leaves, and what callers of the untyped handle may do.
#include <cerrno>
#include <optional>
#include <string>
#include <vector>

#include "armdb.hpp"
#include "engine/engine.hpp"
#include "support/catch.hpp"
#include "support/fault_file_system.hpp"
#include "support/one_shard.hpp"

namespace {

using namespace armdb;
using armdb::test::FaultFileSystem;
using Numbers = ZeroMap<std::uint32_t, std::uint64_t>;
using Names = TypedTree<std::uint32_t, std::string>;

struct CountHook : TypedWriteHook<std::uint32_t, std::uint64_t> {
  static constexpr bool needs_init = true;
  int live = 0;
  int calls = 0;
  void on_write(const std::uint32_t&, const std::uint64_t* old_value,
                const std::uint64_t* new_value) override {
    live += (new_value != nullptr ? 1 : 0) - (old_value != nullptr ? 1 : 0);
    ++calls;
  }
  void on_init(const std::uint32_t&, const std::uint64_t&) override { ++live; }
};

template <class C> C open(FileSystem& files, std::uint32_t shards = 2, bool fsync = false) {
  Config config = test::one_shard(files);
  config.shard_count = shards;
  config.enable_fsync = fsync;
  Result<C> opened = C::open("/c", config);
  INFO(opened.message());
  REQUIRE(opened.ok());
  return *std::move(opened);
}

}  // namespace

TEST_CASE("batch: bulk erases pass over keys that are not there, and count the others") {
  FaultFileSystem files;
  Numbers numbers = open<Numbers>(files);
  for (std::uint32_t key = 0; key < 10; ++key) REQUIRE(numbers.put(key, key).ok());
  std::vector<ByteArray<4>> keys(4);
  std::vector<BytesPair> pairs(4);
  for (std::uint32_t at = 0; at < 4; ++at) {
    key_traits<std::uint32_t>::encode(8 + at, keys[at].data());
    pairs[at].key = Bytes(keys[at]);
  }
  const auto erased = numbers.collection().erase_many(pairs);
  REQUIRE(erased.ok());
  CHECK(*erased == 2);
  CHECK(numbers.size() == 8);
  CHECK(numbers.clear().value() == 8);
  CHECK(numbers.clear().value() == 0);
}

TEST_CASE("batch: a hook counts what expired until it is swept, and no erase of nothing") {
  FaultFileSystem files;
  using Hooked = ZeroMap<std::uint32_t, std::uint64_t, CountHook>;
  Config config = test::one_shard(files);
  {
    CountHook hook;
    Hooked numbers = Hooked::open_hooked("/c", config, hook).value();
    for (std::uint32_t key = 0; key < 10; ++key) {
      REQUIRE(numbers.put(key, key, {.ttl_ms = 1}).ok());
    }
    while (numbers.contains(9)) {
    }
    CHECK(hook.live == 10);
    WriteBatch batch(numbers);
    REQUIRE(batch.erase(77).ok());
    REQUIRE(batch.commit().ok());
    CHECK(hook.calls == 10);
    REQUIRE(numbers.close().ok());
  }
  CountHook hook;
  Hooked numbers = Hooked::open_hooked("/c", config, hook).value();
  CHECK(hook.live == 10);
  REQUIRE(numbers.put(1, 5).ok());
  CHECK(hook.live == 10);
  CHECK(numbers.sweep_expired(1000).value() == 9);
  CHECK(hook.live == 1);
}

TEST_CASE("batch: when only its sync fails its writes are there once, and the batch is empty") {
  for (const bool fsync : {false, true}) {
    for (const std::uint32_t shards : {1u, 4u}) {
      FaultFileSystem files;
      Numbers numbers = open<Numbers>(files, shards, fsync);
      Status status;
      std::size_t left = 0;
      files.fail(test::Call::sync, fsync ? 1 : (shards == 1 ? 1 : 3), EIO, true);
      for (std::uint32_t round = 0; status.ok() && round < 2000; ++round) {
        WriteBatch batch(numbers);
        for (std::uint32_t key = 0; key < 16; ++key) REQUIRE(batch.put(key, round).ok());
        status = batch.commit({.sync = !fsync});
        left = batch.size();
        if (!status.ok() && left == 0) CHECK(numbers.get(3) == round);
      }
      INFO("fsync " << fsync << ", shards " << shards << ": " << status.message());
      CHECK_FALSE(status.ok());
    }
  }
}

// Of a batch that is larger than the write buffers each part goes to its file at once, before it is
// known whether the others can: what is in the files has to go again.
TEST_CASE("batch: a large one that one shard cannot take is in none, now and after a crash") {
  constexpr std::uint32_t kOld = 100, kLarge = 3000;
  for (const int error : {EIO, ENOSPC}) {
    for (const bool cut : {false, true}) {
      bool refused = true;
      std::size_t nth = 0, half = 0;
      while (refused) {
        INFO("error " << error << ", cut " << cut << ", write " << ++nth);
        REQUIRE(nth < 20);
        FaultFileSystem files;
        Numbers numbers = open<Numbers>(files);
        for (std::uint32_t key = 0; key < kOld; ++key) REQUIRE(numbers.put(key, 1).ok());
        REQUIRE(numbers.sync().ok());
        {
          WriteBatch batch(numbers);
          for (std::uint32_t key = 0; key < kLarge; ++key) REQUIRE(batch.put(key, 2).ok());
          files.fail(test::Call::write, nth, error);
          const Status status = batch.commit();
          refused = !status.ok();
          CHECK(refused == files.fault_met());
          files.clear_faults();
          CHECK(numbers.size() == (refused ? kOld : kLarge));
        }
        // Where it was the disk's space, or the other shard, writes go on behind it.
        std::uint32_t later = 0;
        for (std::uint32_t key = kLarge; key < kLarge + 50; ++key) {
          later += numbers.put(key, 3).ok() ? 1 : 0;
        }
        const bool one_failed = numbers.stats().failed_shards == 1;
        half += one_failed ? 1 : 0;
        CHECK((!one_failed || (refused && error == EIO)));
        CHECK((later > 0 && (later == 50) == !one_failed));
        CHECK(numbers.sync().ok());  // what a shard that failed has was synced before
        if (cut) {
          files.power_cut_lose_all();
        } else {
          files.kill_process();
        }
        numbers = open<Numbers>(files);
        CHECK(numbers.stats().damaged_regions == 0);
        std::uint32_t found_later = 0, found = 0;
        for (std::uint32_t key = 0; key < kLarge + 50; ++key) {
          const std::optional<std::uint64_t> value = numbers.get(key);
          if (!value) continue;
          (key < kLarge ? found : found_later) += 1;
          CHECK(*value == (key >= kLarge ? 3u : refused ? 1u : 2u));
        }
        CHECK(found == (refused ? kOld : kLarge));
        CHECK((one_failed || found_later == 50));
      }
      CHECK(nth > 2);
      CHECK((half > 0) == (error == EIO));
    }
  }
}

// Its part names how far the other shard has to be. That shard gets there with other writes.
TEST_CASE("batch: a large one that one shard refused does not come when that one goes on") {
  constexpr int kOld = 100, kLarge = 1000, kLater = 4000, kEnd = 9000;
  Config config;
  const auto put = [](engine::Engine& engine, int number) {
    const std::string key = test::key_of(number), value = test::value_of(number);
    engine::WriteRequest request;
    request.key = Bytes(key);
    request.value = Bytes(value);
    REQUIRE(engine.write(request, false).ok());
  };
  for (std::uint64_t run = 0; run < 8; ++run) {  // which shard goes on, and how it ends
    bool refused = true;
    for (std::size_t nth = 1; refused; ++nth) {
      INFO("run " << run << ", write " << nth);
      REQUIRE(nth < 20);
      FaultFileSystem files;
      config = test::one_shard(files);
      config.shard_count = 2;
      int later = 0;
      {
        auto engine = std::move(*engine::Engine::open("/c", &test::kVarTree, config, {}));
        for (int number = 0; number < kOld; ++number) put(*engine, number);
        REQUIRE(engine->sync().ok());
        std::vector<std::string> texts;
        for (int number = kLarge; number < kLater; ++number) texts.push_back(test::key_of(number));
        std::vector<engine::WriteRequest> requests(texts.size());
        for (std::size_t at = 0; at < texts.size(); ++at) {
          requests[at].key = requests[at].value = Bytes(texts[at]);
        }
        files.fail(test::Call::write, nth, ENOSPC);
        bool written = false;
        refused = !engine->write_batch(requests, false, written).ok();
        files.clear_faults();
        if (!refused) break;
        for (int number = kLater; number < kEnd; ++number) {
          const std::string key = test::key_of(number);
          const auto* const bytes = reinterpret_cast<const std::uint8_t*>(key.data());
          const std::uint64_t hash = engine->router().hash(bytes, key.size());
          if (engine->router().shard(bytes, key.size(), hash) != run % 2) continue;
          put(*engine, number);
          ++later;
        }
        REQUIRE(later > (kLater - kLarge) / 2 + 100);
        REQUIRE(engine->sync().ok());
        if (run < 2) {
          files.kill_process();
        } else if (run < 4) {  // writes came to the disk, changes of sizes did not
          const auto fate = [](const test::PendingAtom& atom) {
            return atom.size == 0 ? test::AtomFate::absent : test::AtomFate::present;
          };
          files.power_cut(fate, [](std::size_t) { return true; });
        } else {
          files.power_cut_random(run);
        }
      }
      const Collection collection = test::open_shard(config);
      CHECK(collection.stats().damaged_regions == 0);
      int found[3] = {};
      for (const auto& [key, value] : test::contents(collection)) {
        const int number = std::stoi(key);
        ++found[number < kOld ? 0 : number < kLater ? 1 : 2];
      }
      CHECK(found[0] == kOld);
      CHECK(found[1] == 0);
      CHECK(found[2] == later);
    }
  }
}

TEST_CASE("batch: a function that refuses with value_mismatch is asked once") {
  FaultFileSystem files;
  Numbers numbers = open<Numbers>(files);
  REQUIRE(numbers.put(1, 1).ok());
  int calls = 0;
  const auto refuse = [&](const auto&) -> Result<std::uint64_t> {
    ++calls;
    return Errc::value_mismatch;
  };
  CHECK(numbers.update(1, refuse).is(Errc::value_mismatch));
  CHECK(numbers.upsert(1, refuse).is(Errc::value_mismatch));
  CHECK(calls == 2);
}

TEST_CASE("batch: bytes written in groups through the untyped handle are decoded") {
  FaultFileSystem files;
  Names names = open<Names>(files);
  Collection& raw = names.collection();
  ByteArray<4> key{};
  key_traits<std::uint32_t>::encode(5, key.data());
  detail::BatchBuffer batch;
  batch.add({.key = Bytes(key), .value = "ann"}, 0);
  REQUIRE(raw.write_batch(batch, {}).ok());
  CHECK(*names.get(5) == "ann");
  REQUIRE(raw.atomic(key,
                     [&](detail::AtomicCalls& calls) {
                       return calls.write({.key = Bytes(key), .value = "bob"}, {});
                     },
                     {})
              .ok());
  CHECK(*names.get(5) == "bob");
  const BytesPair pair{Bytes(key), "eve", nullptr, 1};
  REQUIRE(raw.put_many({&pair, 1}).ok());
  CHECK_FALSE(names.contains(5));
}

#if defined(__cpp_exceptions)
TEST_CASE("batch: an exception from a function leaves no lock, guard or reference behind") {
  FaultFileSystem files;
  {
    Names names = open<Names>(files);
    for (std::uint32_t key = 0; key < 100; ++key) REQUIRE(names.put(key, "ann").ok());
    CHECK_THROWS_AS(names.for_each([](std::uint32_t, const std::string&) { throw 7; }), int);
    CHECK_THROWS_AS(
        names.migrate(
            [](std::uint32_t, const std::string&) -> MigrateAction<std::string> { throw 7; }),
        int);
    CHECK_THROWS_AS(names.atomic(1, [](auto&) { throw 7; }), int);
    CHECK_THROWS_AS(names.update(1, [](const std::string&) -> std::string { throw 7; }), int);
    CHECK_THROWS_AS(names.read(1, [](const std::string&) { throw 7; }), int);
    REQUIRE(names.put(1, "bob").ok());
    std::size_t asked = 0;
    REQUIRE(names
                .migrate([&](std::uint32_t, const std::string&) {
                  ++asked;
                  return MigrateAction<std::string>::keep();
                })
                .ok());
    CHECK(asked == 99);  // the one that was put meanwhile is new
    REQUIRE(names.compact().ok());
    REQUIRE(names.close().ok());
  }
  VarMap<std::uint32_t> text;
  Config config = test::one_shard(files);
  text = VarMap<std::uint32_t>::open("/d", config).value();
  REQUIRE(text.put(1, "ann").ok());
  CHECK_THROWS_AS(text.read(1, [](Bytes) { throw 7; }), int);
  CHECK_THROWS_AS(text.scan(0, 10, [](std::uint32_t, Bytes) { throw 7; }), int);
  REQUIRE(text.close().ok());
}
#endif

TEST_CASE("migration: what is put after a power cut took all is new") {
  FaultFileSystem files;
  {
    Numbers numbers = open<Numbers>(files, 1);
    for (std::uint32_t key = 0; key < 10; ++key) REQUIRE(numbers.put(key, key).ok());
    std::uint64_t seen = 0;
    const Status stopped = numbers.migrate(
        [&](std::uint32_t, std::uint64_t) {
          ++seen;
          files.power_cut_lose_all();
          return MigrateAction<std::uint64_t>::update(1000);
        },
        {.to_version = 2});
    CHECK(seen > 0);
    static_cast<void>(stopped);
  }
  Numbers numbers = open<Numbers>(files, 1);
  CHECK(numbers.size() == 10);  // the migration synced what it began with
  for (std::uint32_t key = 100; key < 110; ++key) REQUIRE(numbers.put(key, 7).ok());
  REQUIRE(numbers
              .migrate(
                  [&](std::uint32_t key, std::uint64_t) {
                    CHECK(key < 100);
                    return MigrateAction<std::uint64_t>::update(1000);
                  },
                  {.to_version = 2})
              .ok());
  CHECK(numbers.get(5) == 1000);
  CHECK(numbers.get(105) == 7);
  CHECK(numbers.data_version() == 2);
}

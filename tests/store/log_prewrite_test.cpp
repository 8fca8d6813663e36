// LogStore::Prewrite: most of the buffer goes to the file while writers go on.
#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "engine/engine.hpp"
#include "support/one_shard.hpp"
#include "support/random.hpp"
#include "support/scale.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

using namespace armdb;
using test::Call;
using test::FaultFileSystem;

namespace {

// An engine with one shard, whose writes are numbered.
class Prewriter {
 public:
  explicit Prewriter(const Shape& shape) : shape_(shape) { open(); }

  void open() {
    Result<std::unique_ptr<engine::Engine>> opened =
        engine::Engine::open("/c", &shape_, test::one_shard(files), {});
    INFO(opened.status().message());
    REQUIRE(opened.ok());
    engine = std::move(*opened);
  }
  void put(int count) {
    for (const int end = issued + count; issued < end; ++issued) {
      const std::string key = test::key_of(issued);
      const std::string value = test::value_of(issued);
      engine::WriteRequest request;
      request.key = Bytes(key);
      request.value = Bytes(value);
      if (!engine->write(request, false).ok()) return;
    }
  }
  // So many puts that are there together or not at all.
  void batch(int count) {
    std::vector<std::string> texts;
    for (int at = 0; at < count; ++at) {
      texts.push_back(test::key_of(issued + at));
      texts.push_back(test::value_of(issued + at));
    }
    std::vector<engine::WriteRequest> requests(static_cast<std::size_t>(count));
    for (std::size_t at = 0; at < requests.size(); ++at) {
      requests[at].key = Bytes(texts[2 * at]);
      requests[at].value = Bytes(texts[2 * at + 1]);
    }
    bool written = false;
    if (!engine->write_batch(requests, false, written).ok()) return;
    for (int at = issued + 1; at < issued + count; ++at) halves.insert(at);
    issued += count;
  }
  // The writes that it made, as "offset size".
  std::vector<std::string> writes_of_prewrite() {
    files.set_trace(true);
    engine->shard(0).prewrite();
    return writes();
  }
  std::vector<std::string> writes() {
    std::vector<std::string> found;
    const std::string front = "write " + test::in_shard("0000000001.data") + " ";
    for (const std::string& line : files.trace()) {
      if (line.starts_with(front)) found.push_back(line.substr(front.size()));
    }
    files.set_trace(false);
    return found;
  }
  // How many there are after the next opening, of 0, 1, 2 and so on.
  int left(bool killed = true) {
    files.clear_faults();
    if (killed) files.kill_process();
    engine.reset();
    Collection collection = test::open_shard(test::one_shard(files), shape_);
    CHECK(collection.stats().damaged_regions == 0);
    return test::prefix_length(test::contents(collection));
  }

  FaultFileSystem files;
  std::unique_ptr<engine::Engine> engine;
  int issued = 0;
  std::set<int> halves;  // so many are there only if a batch is there in part

 private:
  const Shape shape_;
};

std::uint64_t number_at(const std::string& text, std::size_t place) {
  return std::stoull(place == 0 ? text : text.substr(text.find(' ') + 1));
}

}  // namespace

TEST_CASE("log_prewrite: writers go on meanwhile, and the flush has the rest", "[clear]") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    Prewriter store(shape);
    store.put(1);
    REQUIRE(store.engine->sync().ok());  // there is a segment
    store.put(100);
    store.files.set_observer([&](Call call, const std::string&) {
      if (call != Call::write) return;
      store.files.set_observer({});
      store.put(10);
    });
    const auto before = store.writes_of_prewrite();
    REQUIRE(before.size() == 1);
    CHECK(store.issued == 111);
    store.files.set_trace(true);
    REQUIRE(store.engine->flush().ok());
    const auto after = store.writes();
    REQUIRE(after.size() == 1);
    CHECK(number_at(after[0], 0) == number_at(before[0], 0) + number_at(before[0], 1));
    CHECK(number_at(after[0], 1) < number_at(before[0], 1) / 5);
    CHECK(store.writes_of_prewrite().empty());  // nothing is left
    store.put(20);
    CHECK(store.left() == 131);
  }
}

TEST_CASE("log_prewrite: again from where it ended, and not for a little", "[clear]") {
  Prewriter store(test::kVarTree);
  store.put(1);
  CHECK(store.writes_of_prewrite().empty());
  store.put(60);
  const auto first = store.writes_of_prewrite();
  store.put(1);
  CHECK(store.writes_of_prewrite().empty());
  store.put(60);
  const auto second = store.writes_of_prewrite();
  REQUIRE(first.size() == 1);
  REQUIRE(second.size() == 1);
  CHECK(number_at(second[0], 0) == number_at(first[0], 0) + number_at(first[0], 1));
  store.put(1000);  // the buffer is begun anew several times
  REQUIRE(store.engine->sync().ok());
  CHECK(store.left() == store.issued);
}

TEST_CASE("log_prewrite: a kill amid it, or behind it, leaves each entry once") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    for (const std::size_t part : {0u, 1u, 500u, 999999u}) {
      Prewriter store(shape);
      store.put(50);
      REQUIRE(store.engine->sync().ok());
      store.put(100);
      if (part < 1000) store.files.fail(Call::write, 1, ENOSPC, false, part);
      store.engine->shard(0).prewrite();
      store.put(7);
      CHECK(store.left() == 157);
    }
  }
}

TEST_CASE("log_prewrite: where it finds no space, the flush tries again", "[clear]") {
  Prewriter store(test::kVarTree);
  store.put(100);
  store.files.fail(Call::write, 1, ENOSPC, false, 700);
  store.engine->shard(0).prewrite();
  REQUIRE(store.files.fault_met());
  store.put(10);
  REQUIRE(store.engine->sync().ok());
  CHECK(store.engine->stats().failed_shards == 0);
  store.files.power_cut_lose_all();
  CHECK(store.left() == 110);
}

TEST_CASE("log_prewrite: never beyond the blocks that the file has", "[clear]") {
  Prewriter store(test::kVarTree);
  store.put(100);
  store.files.fail(Call::write, 1, ENOSPC);
  CHECK(store.engine->flush().is(Errc::no_space));
  CHECK(store.writes_of_prewrite().empty());
  store.put(1);  // gets blocks
  CHECK(store.writes_of_prewrite().size() == 1);
  store.put(10);
  REQUIRE(store.engine->sync().ok());
  store.files.power_cut_lose_all();
  CHECK(store.left(false) == 111);
}

TEST_CASE("log_prewrite: the flush behind it may fail, for good or for want of space", "[clear]") {
  for (const int error : {EIO, ENOSPC}) {
    Prewriter store(test::kVarTree);
    store.put(10);
    REQUIRE(store.engine->sync().ok());
    store.put(100);
    CHECK(store.writes_of_prewrite().size() == 1);
    store.put(20);
    store.files.fail(Call::write, 1, error, false, 100);
    CHECK(store.engine->flush().is(error == EIO ? Errc::failed : Errc::no_space));
    const bool again = store.engine->sync().ok();
    CHECK(again == (error == ENOSPC));
    store.files.power_cut_lose_all();
    CHECK(store.left(false) == (again ? 130 : 10));
  }
}

TEST_CASE("log_prewrite: what it met fails the next flush, and the shard [pitfall-30]", "[clear]") {
  for (const int error : {EIO, EROFS}) {
    Prewriter store(test::kVarTree);
    store.put(40);
    REQUIRE(store.engine->sync().ok());
    store.put(100);
    store.files.fail(Call::write, 1, error, false, 700);
    store.engine->shard(0).prewrite();
    REQUIRE(store.files.fault_met());
    store.files.clear_faults();
    const std::size_t writes = store.files.calls(Call::write);
    store.engine->shard(0).prewrite();
    CHECK(store.engine->sync().is(Errc::failed));
    CHECK(store.files.calls(Call::write) == writes);
    CHECK(store.engine->stats().failed_shards == 1);
    const int left = store.left();
    CHECK(left >= 40);
    CHECK(left <= 140);
  }
}

#if !defined(ARMDB_OMIT_THREADS)
// Runs `work` in another thread while a prewrite is at its write; whether the work waited for it.
bool waits(Prewriter& store, const std::function<void()>& work) {
  std::atomic<bool> ended{false};
  bool waited = false;
  std::thread other;
  store.files.set_observer([&](Call call, const std::string&) {
    if (call != Call::write) return;
    store.files.set_observer({});
    other = std::thread([&] {
      work();
      ended.store(true);
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    waited = !ended.load();
  });
  store.engine->shard(0).prewrite();
  REQUIRE(other.joinable());
  other.join();
  return waited;
}

TEST_CASE("log_prewrite: a flush waits for it, and a close", "[clear]") {
  Prewriter store(test::kVarTree);
  store.put(100);
  CHECK(waits(store, [&] { static_cast<void>(store.engine->flush()); }));
  store.put(100);
  CHECK(waits(store, [&] { static_cast<void>(store.engine->close()); }));
  CHECK(store.left(false) == 200);
}

TEST_CASE("log_prewrite: blocks are not allocated while it writes", "[clear]") {
  Prewriter store(test::kVarTree);
  store.put(1);
  REQUIRE(store.engine->sync().ok());
  // Behind how many puts does the next one allocate, and not flush?
  int enough = 0;
  {
    Prewriter probe(test::kVarTree);
    probe.put(1);
    REQUIRE(probe.engine->sync().ok());
    for (std::size_t writes = 0, blocks = 0; enough == 0;) {
      writes = probe.files.calls(Call::write);
      blocks = probe.files.calls(Call::allocate);
      probe.put(1);
      REQUIRE(probe.issued < 5000);
      const bool found = probe.issued > 60 && probe.files.calls(Call::write) == writes &&
                         probe.files.calls(Call::allocate) > blocks;
      if (found) enough = probe.issued - 1;
    }
  }
  store.put(enough - 1);
  CHECK(waits(store, [&] { store.put(1); }));
  CHECK(store.left() == enough + 1);
}

TEST_CASE("log_prewrite: a close whose checkpoint fails waits for it too", "[clear]") {
  Prewriter store(test::kVarTree);
  store.put(1);
  std::atomic<bool> begun{false}, writing{false}, closed{false};
  bool waited = false;
  std::thread other;
  store.files.set_observer([&](Call call, const std::string& path) {
    if (call == Call::open && path.ends_with("MANIFEST.tmp") && !begun.load()) {
      store.put(100);  // behind the checkpoint's flush
      begun.store(true);
      other = std::thread([&] { store.engine->shard(0).prewrite(); });
      while (!writing.load()) std::this_thread::yield();
      store.files.fail(Call::open, 1, ENOSPC);
    } else if (call == Call::write && begun.load() && path.ends_with(".data")) {
      writing.store(true);
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      waited = !closed.load();
    }
  });
  const Status outcome = store.engine->shard(0).close();
  INFO(outcome.message());
  CHECK(outcome.is(Errc::no_space));
  CHECK(store.files.fault_met());
  closed.store(true);
  REQUIRE(other.joinable());
  other.join();
  store.files.set_observer({});
  CHECK(waited);
  CHECK(store.left(false) == 101);
}

TEST_CASE("log_prewrite: a sync that fails meanwhile drops no pages before it has ended",
          "[clear]") {
  Prewriter store(test::kVarTree);
  store.put(100);
  std::atomic<bool> syncing{false}, writing{false}, failed{false};
  bool waited = false;
  store.files.fail(Call::sync, 1, EIO);
  store.files.set_observer([&](Call call, const std::string&) {
    if (call == Call::sync && !writing.load()) {
      syncing.store(true);
      while (!writing.load()) std::this_thread::yield();
    } else if (call == Call::write && syncing.load() && !writing.load()) {
      writing.store(true);
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      waited = !failed.load();
    }
  });
  Status outcome;
  std::thread other([&] {
    outcome = store.engine->sync();
    failed.store(true);
  });
  while (!syncing.load()) std::this_thread::yield();
  store.put(100);
  store.engine->shard(0).prewrite();
  other.join();
  CHECK(outcome.is(Errc::failed));
  CHECK(waited);
  store.files.set_observer({});
  CHECK(store.left() <= 200);
}

TEST_CASE("log_prewrite: beside writers, syncs and rotations nothing is lost") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    Prewriter store(shape);
    std::atomic<bool> ended{false};
    const auto care = [&](bool syncs) {
      while (!ended.load()) {
        store.engine->shard(0).prewrite();
        if (syncs) static_cast<void>(store.engine->sync());
      }
    };
    std::thread first(care, true), second(care, false);
    store.put(9999);
    ended.store(true);
    first.join();
    second.join();
    CHECK(store.issued == 9999);
    CHECK(store.left() == 9999);
  }
}
#endif

TEST_CASE(
    "log_prewrite: cuts and kills among all that may follow it leave a prefix with what was "
    "synced") {
  const auto rounds = test::scaled(400);
  for (std::uint64_t seed = 1; seed <= rounds; ++seed) {
    INFO("seed " << seed);
    base::Random random(seed);
    Prewriter store(random.one_in(2) ? test::kVarTree : test::kConstMap);
    int synced = 0;
    if (random.one_in(3)) {
      constexpr int kErrors[] = {EIO, ENOSPC};
      store.files.fail(Call::write, 1 + random.below(6), kErrors[random.below(2)], false,
                       random.below(3000));
    }
    for (std::uint64_t step = 4 + random.below(12); step != 0; --step) {
      store.put(static_cast<int>(random.below(150)));
      if (random.one_in(2)) store.batch(static_cast<int>(2 + random.below(60)));
      store.engine->shard(0).prewrite();
      if (random.one_in(2)) store.put(static_cast<int>(random.below(30)));
      if (random.one_in(3) && store.engine->sync().ok()) synced = store.issued;
    }
    const bool cut = random.one_in(2);
    if (cut) store.files.power_cut_random(seed);
    const bool failed = store.engine->stats().failed_shards != 0;
    const int left = store.left(!cut);
    CHECK(left >= (cut || failed ? synced : store.issued));
    CHECK(left <= store.issued + 60);
    CHECK(!store.halves.contains(left));
  }
}

#endif  // !ARMDB_OMIT_REPLICATION

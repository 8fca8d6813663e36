// Collections on the Fixed store: what is theirs alone. The model tests run on them too.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/model.hpp"
#include "support/temp_dir.hpp"

using namespace armdb;

namespace {

using Number = std::uint64_t;
using Counters = ZeroTree<Number, Number, NoHook, Fixed>;
using LogCounters = ZeroTree<Number, Number>;
using Sessions = FixedMap<std::uint32_t, ByteArray<100>>;

FixedConfig small(std::uint32_t shards = 2) {
  FixedConfig config;
  config.shard_count = shards;
  config.write_buffer_size = 64 << 10;
  config.reversed = false;
  return config;
}

template <class C> C open(const std::string& path, const FixedConfig& config) {
  Result<C> opened = C::open(path, config);
  INFO(opened.message());
  REQUIRE(opened.ok());
  return *std::move(opened);
}

std::string slots_of(const std::string& path, int shard) {
  return path + "/shard_00" + std::to_string(shard) + "/slots.dat";
}
constexpr std::size_t kBehindMark = 8192;  // of slots.dat: the stage and the slots

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace

TEST_CASE("fixed: the store is part of a collection's shape, and the error names both") {
  const test::TempDir directory;
  const std::string path = directory.path() + "/c";
  open<Counters>(path, small());
  const auto wrong = LogCounters::open(path);
  INFO(wrong.message());
  CHECK(wrong.is(Errc::shape_mismatch));
  CHECK(wrong.message().find("Fixed") != std::string::npos);
  CHECK(wrong.message().find("Bitcask") != std::string::npos);
  const auto any = Collection::open_existing(path);
  REQUIRE(any.ok());
  CHECK(any->shape().fixed);
}

TEST_CASE("fixed: one copy or two is settled at creation") {
  const test::TempDir directory;
  FixedConfig single = small();
  single.single_copy = true;
  open<Counters>(directory.path() + "/two", small());
  CHECK(Counters::open(directory.path() + "/two", single).is(Errc::format_mismatch));
  open<Counters>(directory.path() + "/one", single);
  CHECK(open<Counters>(directory.path() + "/one", small()).empty());

  // A slot of one copy never straddles a sector; nothing is left of what was refused.
  const auto large = FixedTree<Number, ByteArray<600>>::open(directory.path() + "/large", single);
  INFO(large.message());
  CHECK(large.is(Errc::too_large));
  CHECK(large.message().find("single_copy") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(directory.path() + "/large"));
  CHECK(FixedTree<Number, ByteArray<600>>::open(directory.path() + "/large", small()).ok());
  if (std::filesystem::exists(directory.path() + "/two/db.keys")) {
    CHECK(FixedTree<Number, ByteArray<439>>::open(directory.path() + "/largest", single).ok());
  } else {
    CHECK(FixedTree<Number, ByteArray<472>>::open(directory.path() + "/largest", single).ok());
  }
}

TEST_CASE("fixed: batches and atomic blocks are refused, on the handle without types too") {
  const test::TempDir directory;
  Counters counters = open<Counters>(directory.path() + "/c", small());
  const auto body = [](detail::AtomicCalls&) { return Status(); };
  const ByteArray<8> key{};
  CHECK(counters.collection().atomic(key, body, {}).is(Errc::unsupported));
  detail::BatchBuffer batch;
  const ByteArray<8> value{};
  batch.add({.key = key, .value = value}, 0);
  CHECK(counters.collection().write_batch(batch, {}).is(Errc::unsupported));
  CHECK(counters.empty());
}

TEST_CASE("fixed: overwriting takes no more space, and compact gives space back") {
  const test::TempDir directory;
  const std::string path = directory.path() + "/c";
  Counters counters = open<Counters>(path, small());
  for (Number key = 0; key < 20000; ++key) REQUIRE(counters.put(key, key).ok());
  const std::uint64_t full = counters.stats().file_bytes;
  for (Number round = 0; round < 5; ++round) {
    for (Number key = 0; key < 20000; ++key) REQUIRE(counters.put(key, round * key).ok());
  }
  CHECK(counters.stats().file_bytes == full);
  // What stays lies all over the file.
  for (Number key = 0; key < 20000; ++key) {
    if (key % 50 != 0) REQUIRE(counters.erase(key).ok());
  }
  CHECK(counters.stats().file_bytes == full);
  REQUIRE(counters.put(7, 7, {.sync = false, .ttl_ms = 3600000}).ok());
  REQUIRE(counters.compact().ok());
  CHECK(counters.stats().file_bytes < full / 10);
  std::uint64_t on_disk = 0;
  for (int shard = 0; shard < 2; ++shard) {
    on_disk += std::filesystem::file_size(slots_of(path, shard));
  }
  CHECK(on_disk == counters.stats().file_bytes);
  CHECK(*counters.expires_at(7) != WriteOptions::kForever);
  CHECK(counters.verify()->entries == 401);
  for (const bool reopened : {false, true}) {
    if (reopened) {
      REQUIRE(counters.close().ok());
      counters = open<Counters>(path, small());
    }
    CHECK(counters.size() == 401);
    for (Number key = 0; key < 20000; key += 50) CHECK(counters.get(key) == 4 * key);
  }
  // And it grows again.
  for (Number key = 0; key < 20000; ++key) REQUIRE(counters.put(key, key).ok());
  CHECK(counters.size() == 20000);
  CHECK(counters.verify()->damaged_regions == 0);
}

TEST_CASE("fixed: the file grows in steps no larger than grow_step") {
  const test::TempDir directory;
  FixedConfig config = small(1);
  config.grow_step = 64 << 10;
  Sessions sessions = open<Sessions>(directory.path() + "/c", config);
  std::uint64_t before = sessions.stats().file_bytes;
  for (std::uint32_t key = 0; key < 20000; ++key) {
    REQUIRE(sessions.put(key, {}).ok());
    const std::uint64_t now = sessions.stats().file_bytes;
    CHECK(now - before <= 64 << 10);
    before = now;
  }
}

TEST_CASE("fixed: tick() makes an idle tail durable, and only after its interval") {
  const test::TempDir directory;
  FixedConfig config = small(1);
  config.sync_interval_ms = 20;
  Counters counters = open<Counters>(directory.path() + "/c", config);
  REQUIRE(counters.put(1, 1).ok());
  CHECK(counters.stats().unsynced_shards == 1);
  while (counters.stats().unsynced_shards != 0) REQUIRE(counters.tick().ok());
  const std::uint64_t syncs = counters.stats().syncs;
  config.sync_interval_ms = 3600000;
  REQUIRE(counters.close().ok());
  CHECK(counters.tick().is(Errc::closed));
  counters = open<Counters>(directory.path() + "/c", config);
  REQUIRE(counters.tick().ok());
  REQUIRE(counters.put(2, 2).ok());
  for (int i = 0; i < 1000; ++i) REQUIRE(counters.tick().ok());
  CHECK(counters.stats().unsynced_shards == 1);
  CHECK(syncs >= 1);
}

TEST_CASE("fixed: with enable_fsync so many writes are followed by a sync") {
  const test::TempDir directory;
  FixedConfig config = small(1);
  config.sync_batch_size = 100;
  Counters counters = open<Counters>(directory.path() + "/c", config);
  for (Number key = 0; key < 1000; ++key) REQUIRE(counters.put(key, key).ok());
  CHECK(counters.stats().syncs == 0);
  REQUIRE(counters.close().ok());
  config.enable_fsync = true;
  config.sync_batch_size = 0;
  CHECK(Counters::open(directory.path() + "/c", config).is(Errc::invalid_argument));
  config.sync_batch_size = 100;
  counters = open<Counters>(directory.path() + "/c", config);
  for (Number key = 0; key < 1000; ++key) REQUIRE(counters.put(key, key).ok());
  CHECK(counters.stats().syncs == 10);
}

TEST_CASE("fixed: a creation that is refused leaves what was there, and nothing else") {
  const test::TempDir directory;
  const std::string path = directory.path() + "/c";
  FixedConfig single = small();
  single.single_copy = true;
  using Large = FixedTree<Number, ByteArray<600>>;
  const auto names = [&] {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      found.push_back(entry.path().filename().string());
    }
    return found;
  };
  std::filesystem::create_directory(path);
  CHECK(Large::open(path, single).is(Errc::too_large));
  CHECK(names().empty());
  // Where there was something it is not for us to say what may go.
  write_file(path + "/notes", "mine");
  CHECK(Large::open(path, single).is(Errc::too_large));
  CHECK(read_file(path + "/notes") == "mine");
  CHECK(open<Large>(path, small()).put(1, {}).ok());
  // Nor of a collection.
  CHECK(Large::open(path, single).is(Errc::format_mismatch));
  CHECK(open<Large>(path, small()).size() == 1);
}

// The groups in which many are written have a limit that these are around.
TEMPLATE_TEST_CASE("fixed: put_many() does what single puts do", "",
                   (FixedTree<Number, ByteArray<100>>), (FixedMap<Number, ByteArray<100>>)) {
  using Value = ByteArray<100>;
  const test::TempDir directory;
  test::Dice dice(7);
  for (const std::size_t count : {1u, 2u, 31u, 32u, 33u, 63u, 64u, 65u, 127u, 128u, 129u, 1000u}) {
    INFO(count << " at once");
    const std::string path = directory.path() + "/" + std::to_string(count);
    auto many = open<TestType>(path + "many", small(1));
    auto single = open<TestType>(path + "single", small(1));
    for (int round = 0; round < 3; ++round) {
      std::vector<std::pair<Number, Value>> pairs;
      for (std::size_t at = 0; at < count; ++at) {
        const Number key = round == 0 ? at : dice.below(2 * count);  // in order; some twice
        Value value{};
        value[0] = static_cast<std::uint8_t>(dice.below(256));
        value[99] = static_cast<std::uint8_t>(round);
        pairs.emplace_back(key, value);
        REQUIRE(single.put(key, value).ok());
      }
      REQUIRE(many.put_many(pairs).ok());
      if (round == 1) {
        REQUIRE(many.sync().ok());
        REQUIRE(many.close().ok());
        many = open<TestType>(path + "many", small(1));
      }
      CHECK(many.size() == single.size());
      CHECK(many.stats().last_sequence == single.stats().last_sequence);
      std::size_t wrong = 0;
      for (Number key = 0; key < 2 * count; ++key) {
        wrong += many.get(key) == single.get(key) ? 0 : 1;
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("fixed: a slots.dat that was lost is told, and not made anew") {
  const test::TempDir directory;
  const std::string path = directory.path() + "/c";
  {
    Counters counters = open<Counters>(path, small());
    for (Number key = 0; key < 100; ++key) REQUIRE(counters.put(key, key).ok());
  }
  const std::string kept = directory.path() + "/kept";
  std::filesystem::rename(slots_of(path, 1), kept);
  const auto opened = Counters::open(path, small());
  INFO(opened.message());
  CHECK(opened.is(Errc::corrupt));
  CHECK(opened.message().find("slots.dat is missing") != std::string::npos);
  std::filesystem::rename(kept, slots_of(path, 1));
  CHECK(open<Counters>(path, small()).size() == 100);
  // And so is a db.meta.
  std::filesystem::remove(path + "/db.meta");
  CHECK(Counters::open(path, small()).is(Errc::corrupt));
}

TEST_CASE("fixed: a slot that is zeros where a close left an entry is damage, for verify() too") {
  const test::TempDir directory;
  const std::string path = directory.path() + "/c";
  const Number lost = 5000;
  {
    Counters counters = open<Counters>(path, small(1));
    for (Number key = 0; key < 99; ++key) REQUIRE(counters.put(key, key).ok());
  }
  const std::string before = read_file(slots_of(path, 0));
  {
    Counters counters = open<Counters>(path, small(1));
    REQUIRE(counters.put(lost, 7).ok());
  }
  std::string bytes = read_file(slots_of(path, 0));
  REQUIRE(bytes.size() == before.size());
  REQUIRE(bytes.substr(kBehindMark) != before.substr(kBehindMark));
  // All but the clean mark is as if the last write never was.
  write_file(slots_of(path, 0), bytes.substr(0, kBehindMark) + before.substr(kBehindMark));
  Counters counters = open<Counters>(path, small(1));
  CHECK_FALSE(counters.contains(lost));
  CHECK(counters.size() == 99);
  CHECK(counters.stats().damaged_regions == 1);
  const Result<VerifyReport> report = counters.verify();
  REQUIRE(report.ok());
  CHECK(report->damaged_regions == 1);
  CHECK(report->entries == 99);
}

TEST_CASE("fixed: damage to both copies of a slot is counted and told, the others are served") {
  const test::TempDir directory;
  const std::string path = directory.path() + "/c";
  const Number marked = 5000;
  {
    Counters counters = open<Counters>(path, small(1));
    for (Number key = 0; key < 999; ++key) REQUIRE(counters.put(key, key).ok());
    REQUIRE(counters.put(marked, 1).ok());
  }
  const std::string before = read_file(slots_of(path, 0));
  {
    Counters counters = open<Counters>(path, small(1));
    for (Number value = 2; value < 6; ++value) {  // both copies, where the file is not mapped, too
      REQUIRE(counters.put(marked, value).ok());
      REQUIRE(counters.sync().ok());
    }
  }
  std::string bytes = read_file(slots_of(path, 0));
  REQUIRE(bytes.size() == before.size());
  std::size_t changed = 0;
  for (std::size_t at = kBehindMark; at < bytes.size(); ++at) {
    if (bytes[at] == before[at]) continue;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x55);
    ++changed;
  }
  REQUIRE(changed > 0);
  write_file(slots_of(path, 0), bytes);
  struct Heard {
    static void take(void* self, LogLevel level, std::string_view text) {
      if (level == LogLevel::error) static_cast<Heard*>(self)->text += text;
    }
    std::string text;
  } heard;
  FixedConfig config = small(1);
  config.log = {&Heard::take, &heard};
  Counters counters = open<Counters>(path, config);
  CHECK(counters.stats().damaged_regions == 1);
  CHECK(heard.text.find("slots.dat at offset") != std::string::npos);
  CHECK(counters.size() == 999);
  CHECK_FALSE(counters.contains(marked));
  CHECK(counters.get(501) == 501u);
  CHECK(counters.verify()->damaged_regions == 1);
  REQUIRE(counters.compact().ok());
}

TEST_CASE("fixed: a migration asks about each entry once, and writes in place") {
  const test::TempDir directory;
  const std::string path = directory.path() + "/c";
  Counters counters = open<Counters>(path, small());
  for (Number key = 0; key < 5000; ++key) REQUIRE(counters.put(key, key).ok());
  const std::uint64_t bytes = counters.stats().file_bytes;
  using Action = MigrateAction<Number>;
  std::vector<int> asked(5000);
  const auto decide = [&](Number key, const Number& value) {
    asked[key] += 1;
    if (key % 3 == 0) return Action::erase();
    return key % 3 == 1 ? Action::update(value * 2) : Action::keep();
  };
  REQUIRE(counters.migrate(decide, {.to_version = 2}).ok());
  CHECK(counters.data_version() == 2);
  CHECK(counters.stats().file_bytes == bytes);
  std::size_t wrong = 0;
  for (Number key = 0; key < 5000; ++key) {
    wrong += asked[key] == 1 ? 0 : 1;
    if (key % 3 == 0) wrong += counters.contains(key) ? 1 : 0;
    if (key % 3 == 1) wrong += counters.get(key) == 2 * key ? 0 : 1;
    if (key % 3 == 2) wrong += counters.get(key) == key ? 0 : 1;
  }
  CHECK(wrong == 0);
}

#if !defined(ARMDB_OMIT_THREADS)

TEST_CASE("fixed: writers beside syncs, ticks, verify and compact", "[threads]") {
  const auto files = make_memory_file_system();
  FixedConfig config = small();
  config.file_system = files.get();
  config.sync_interval_ms = 1;
  Counters counters = open<Counters>("c", config);
  Result<Compactor> compactor = Compactor::start(counters.collection());
  REQUIRE(compactor.ok());
  std::atomic<int> wrong{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (Number thread = 0; thread < 2; ++thread) {
    threads.emplace_back([&, thread] {
      test::Dice dice(thread);
      for (Number step = 1; step < 4000; ++step) {
        const Number key = dice.below(300) * 2 + thread;
        const bool erases = dice.one_in(5);
        const Status status =
            erases ? counters.erase(key) : counters.put(key, step, {.sync = dice.one_in(500)});
        if (!status.ok() && !(erases && status.is(Errc::not_found))) ++wrong;
        if (counters.contains(key) == erases) ++wrong;
      }
    });
  }
  threads.emplace_back([&] {
    while (!stop) {
      const Result<VerifyReport> report = counters.verify();
      if (!report.ok() || report->damaged_regions != 0) ++wrong;
      if (!counters.compact().ok() || !counters.sync().ok()) ++wrong;
    }
  });
  threads[0].join();
  threads[1].join();
  stop = true;
  threads[2].join();
  compactor->stop();
  CHECK(compactor->last_error().ok());
  CHECK(wrong == 0);
  const std::size_t size = counters.size();
  REQUIRE(counters.close().ok());
  CHECK(open<Counters>("c", config).size() == size);
}

#endif

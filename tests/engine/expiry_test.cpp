// Time to live. The clock is moved by the floor that db.state keeps: nothing waits.
#include "engine/expiry.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "armdb.hpp"
#include "store/keyring.hpp"
#include "store/manifest_file.hpp"
#include "support/catch.hpp"
#include "support/fault_file_system.hpp"
#include "support/one_shard.hpp"

namespace {

using namespace armdb;
using armdb::test::FaultFileSystem;

constexpr std::uint64_t kHour = 3'600'000;

// From the next open on it is at least `ahead_ms` later than now.
void set_clock_ahead(FileSystem& files, std::uint64_t ahead_ms) {
  store::Description description;
  REQUIRE(store::read_description(files, "/c", description).ok());
  std::unique_ptr<store::Keyring> ring;  // when all tests are to run encrypted
  REQUIRE(store::Keyring::settle(files, "/c", {}, Cipher::stored, false, description, ring).ok());
  FileSystem& own = ring == nullptr ? files : ring->sealed_files();
  store::CollectionState state;
  REQUIRE(store::read_state(own, "/c", description.store_id, state).ok());
  state.clock_floor_ms = os::wall_ms() + ahead_ms;
  REQUIRE(store::replace_state(own, "/c", state).ok());
}

Config config_of(FileSystem& files, std::uint32_t shards = 2) {
  Config config = test::one_shard(files);
  config.shard_count = shards;
  return config;
}

template <class C> C open(const Config& config) {
  Result<C> opened = C::open("/c", config);
  INFO(opened.message());
  REQUIRE(opened.ok());
  return *std::move(opened);
}

using Value = ByteArray<8>;
using Map = ConstMap<std::uint32_t, Value>;
using Tree = ConstTree<std::uint32_t, Value>;
using Text = VarTree<std::uint32_t>;

template <class C> typename C::In value_of(const std::string& text) {
  if constexpr (std::is_same_v<typename C::In, Bytes>) {
    return Bytes(text);
  } else {
    Value value{};
    std::copy(text.begin(), text.end(), value.begin());
    return value;
  }
}

// Entries 1 (an hour), 2 (ten hours) and 3 (for ever), seen two hours later.
template <class C> C two_hours_later(FaultFileSystem& files, const std::string& text) {
  {
    C collection = open<C>(config_of(files));
    const auto value = value_of<C>(text);
    REQUIRE(collection.put(1, value, {.ttl_ms = kHour}).ok());
    REQUIRE(collection.put(2, value, {.ttl_ms = 10 * kHour}).ok());
    REQUIRE(collection.put(3, value).ok());
    REQUIRE(collection.contains(1));
    REQUIRE(collection.close().ok());
  }
  set_clock_ahead(files, 2 * kHour);
  return open<C>(config_of(files));
}

template <class C> std::size_t walked(const C& collection) {
  std::size_t count = 0;
  REQUIRE(collection.for_each([&](std::uint32_t key, const auto&) { count += key; }).ok());
  return count;
}

}  // namespace

TEMPLATE_TEST_CASE("expiry: an expired entry is there for no call", "", Map, Tree, Text) {
  FaultFileSystem files;
  const std::string text = "12345678";
  const auto value = value_of<TestType>(text);
  const auto another = [&](auto test) {
    FaultFileSystem fresh;
    TestType collection = two_hours_later<TestType>(fresh, text);
    test(collection);
    CHECK(collection.contains(2));
    CHECK(collection.contains(3));
  };
  TestType collection = two_hours_later<TestType>(files, text);
  CHECK_FALSE(collection.contains(1));
  CHECK(collection.erase(1).is(Errc::not_found));
  CHECK(collection.cas(1, value, value).is(Errc::not_found));
  CHECK(collection.compare_erase(1, value).is(Errc::not_found));
  CHECK(collection.update(1, [&](const auto&) { return value; }).is(Errc::not_found));
  CHECK(collection.expires_at(1).is(Errc::not_found));
  CHECK(collection.persist(1).is(Errc::not_found));
  CHECK(walked(collection) == 5);
  CHECK(collection.size() == 3);  // until it is swept
  CHECK(collection.sweep_expired(100).value() == 1);
  CHECK(collection.sweep_expired(100).value() == 0);
  CHECK(collection.size() == 2);

  another([&](TestType& again) {
    CHECK(again.insert(1, value).ok());
    CHECK(again.expires_at(1).value() == WriteOptions::kForever);
    CHECK(again.contains(1));
  });
  another([&](TestType& again) {
    const auto before = again.exchange(1, value);
    REQUIRE(before.ok());
    CHECK_FALSE(before->has_value());
    CHECK(again.contains(1));
  });
  another([&](TestType& again) {
    CHECK(again.upsert(1, [&](auto old) { return old.has_value() ? *old : value; }).ok());
    CHECK(again.contains(1));
  });
  another([&](TestType& again) {
    CHECK(again
              .atomic(1,
                      [&](auto& handle) -> Status {
                        CHECK_FALSE(handle.contains(1).value());
                        CHECK_FALSE(handle.get(1).value().has_value());
                        CHECK(handle.erase(1).is(Errc::not_found));
                        return handle.insert(1, value);
                      })
              .ok());
    CHECK(again.contains(1));
  });
}

TEST_CASE("expiry: many reads and ranges leave expired entries out") {
  FaultFileSystem files;
  const Tree tree = two_hours_later<Tree>(files, "12345678");
  std::vector<std::uint32_t> keys{3, 2, 1};
  std::vector<std::optional<Value>> out(3);
  tree.get_many(keys, out);
  CHECK(out[0].has_value());
  CHECK(out[1].has_value());
  CHECK_FALSE(out[2].has_value());
  std::vector<std::uint32_t> seen;
  for (const auto& [key, value] : tree.iter()) seen.push_back(key);
  CHECK(seen == std::vector<std::uint32_t>{2, 3});
  seen.clear();
  for (const std::uint32_t key : tree.keys()) seen.push_back(key);
  CHECK(seen == std::vector<std::uint32_t>{2, 3});
}

TEMPLATE_TEST_CASE("expiry: what has expired once stays so with the clock set back [pitfall-24]",
                   "", Map, Text) {
  FaultFileSystem files;
  {
    TestType collection = two_hours_later<TestType>(files, "12345678");
    CHECK_FALSE(collection.contains(1));
    REQUIRE(collection.close().ok());
  }
  // The machine's clock never was two hours ahead: only the stored floor says so.
  const TestType again = open<TestType>(config_of(files));
  CHECK_FALSE(again.contains(1));
  CHECK(again.contains(2));
}

TEMPLATE_TEST_CASE("expiry: a swept entry stays gone after any reopen, an old value too", "", Map,
                   Text) {
  FaultFileSystem files;
  {
    TestType collection = open<TestType>(config_of(files));
    REQUIRE(collection.put(1, value_of<TestType>("00000000")).ok());
    REQUIRE(collection.checkpoint().ok());
    REQUIRE(collection.put(1, value_of<TestType>("11111111"), {.ttl_ms = kHour}).ok());
    REQUIRE(collection.close().ok());
  }
  set_clock_ahead(files, 2 * kHour);
  {
    TestType collection = open<TestType>(config_of(files));
    REQUIRE(collection.compact().ok());
    CHECK(collection.size() == 0);
    REQUIRE(collection.compact().ok());
    files.kill_process();
  }
  set_clock_ahead(files, 0);
  const TestType again = open<TestType>(config_of(files));
  CHECK(again.size() == 0);
  CHECK_FALSE(again.contains(1));
}

TEMPLATE_TEST_CASE("expiry: the time is the same after a hint, a scan and the tail", "", Map,
                   Text) {
  FaultFileSystem files;
  std::uint64_t at = 0;
  {
    TestType collection = open<TestType>(config_of(files));
    REQUIRE(collection.put(1, value_of<TestType>("12345678"), {.ttl_ms = kHour}).ok());
    at = collection.expires_at(1).value();
    CHECK(at > os::wall_ms());
    CHECK(at <= os::wall_ms() + kHour);
    files.kill_process();
  }
  for (int reopen = 0; reopen < 4; ++reopen) {
    TestType collection = open<TestType>(config_of(files));
    CHECK(collection.expires_at(1).value() == at);
    if (reopen % 2 == 0) {
      REQUIRE(collection.close().ok());
    } else {
      REQUIRE(collection.compact().ok());
      files.kill_process();
    }
  }
}

TEST_CASE("expiry: a whole new value takes a new time, a changed one keeps its own") {
  FaultFileSystem files;
  Config config = config_of(files);
  Map map = open<Map>(config);
  const Value value{1};
  REQUIRE(map.put(1, value, {.ttl_ms = kHour}).ok());
  const std::uint64_t at = map.expires_at(1).value();
  REQUIRE(map.update(1, [](const Value&) { return Value{2}; }).ok());
  CHECK(map.expires_at(1).value() == at);
  REQUIRE(map.upsert(1, [](std::optional<Value>) { return Value{3}; }).ok());
  CHECK(map.expires_at(1).value() == at);
  REQUIRE(map.atomic(1,
                     [](auto& handle) {
                       return handle.update(1, [](const Value&) { return Value{4}; });
                     })
              .ok());
  CHECK(map.expires_at(1).value() == at);
  REQUIRE(map.update(1, [](const Value&) { return Value{5}; }, {.ttl_ms = 5 * kHour}).ok());
  CHECK(map.expires_at(1).value() > at);
  REQUIRE(map.persist(1).ok());
  CHECK(map.expires_at(1).value() == WriteOptions::kForever);
  CHECK(map.get(1) == Value{5});
  REQUIRE(map.put(1, value, {.ttl_ms = kHour}).ok());
  REQUIRE(map.put(1, value).ok());
  CHECK(map.expires_at(1).value() == WriteOptions::kForever);
  REQUIRE(map.put(1, value, {.ttl_ms = ~std::uint64_t{0} - 1}).ok());
  CHECK(map.expires_at(1).value() == std::uint64_t{1} << 62);
}

TEST_CASE("expiry: default_ttl_ms is for writes that name no time; batches expire too") {
  FaultFileSystem files;
  Config config = config_of(files);
  config.default_ttl_ms = kHour;
  {
    Map map = open<Map>(config);
    REQUIRE(map.put(1, Value{}).ok());
    REQUIRE(map.put(2, Value{}, {.ttl_ms = WriteOptions::kForever}).ok());
    WriteBatch batch(map);
    for (std::uint32_t key = 10; key < 20; ++key) REQUIRE(batch.put(key, Value{}).ok());
    REQUIRE(batch.commit().ok());
    const std::vector<std::pair<std::uint32_t, Value>> more{{30, Value{}}, {31, Value{}}};
    REQUIRE(map.put_many(more).ok());
    CHECK(map.expires_at(1).value() < WriteOptions::kForever);
    CHECK(map.expires_at(2).value() == WriteOptions::kForever);
    CHECK(map.expires_at(15).value() < WriteOptions::kForever);
    CHECK(map.expires_at(31).value() < WriteOptions::kForever);
    REQUIRE(map.close().ok());
  }
  set_clock_ahead(files, 2 * kHour);
  Map map = open<Map>(config);
  CHECK(map.size() == 14);
  std::uint64_t swept = 0;
  // Piece by piece: each call goes on where the last one stopped.
  for (int calls = 0; calls < 1000 && swept < 13; ++calls) swept += map.sweep_expired(1).value();
  CHECK(swept == 13);
  CHECK(map.size() == 1);
}

TEST_CASE("expiry: a collection without it has no table, and none is made by looking") {
  FaultFileSystem files;
  base::EpochDomain epochs;
  Map map = open<Map>(config_of(files, 1));
  const std::uint64_t before = map.stats().index_bytes;
  for (std::uint32_t key = 0; key < 100; ++key) CHECK_FALSE(map.contains(key));
  CHECK(map.sweep_expired(1000).value() == 0);
  CHECK(map.stats().index_bytes == before);
  CHECK_FALSE(files.info("/c/db.state").ok());
}

TEST_CASE("expiry: the clock never goes behind what it has decided") {
  engine::Clock clock;
  const std::uint64_t now = clock.now_ms();
  clock.raise(now + kHour);
  CHECK(clock.now_ms() >= now + kHour);
  clock.raise(1);
  CHECK(clock.floor_ms() == now + kHour);
}

// Replication of collections on the Fixed store through the public face.
#if !defined(ARMDB_OMIT_THREADS) && !defined(ARMDB_OMIT_REPLICATION)

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/replicated_couple.hpp"
#include "support/temp_dir.hpp"

namespace armdb {
namespace {

using test::comes;
using test::quick;
using Value = ByteArray<24>;
using Tree = FixedTree<std::uint32_t, Value>;
using Map = FixedMap<std::uint32_t, Value>;
template <class Collection> using Couple = test::Couple<Collection, FixedConfig>;

FixedConfig two_shards() {
  FixedConfig config;
  config.shard_count = 2;
  config.write_buffer_size = 16u << 10;
  config.reversed = false;
  return config;
}

Value value_of(std::uint64_t number) {
  Value value{};
  for (std::size_t at = 0; at < value.size(); ++at) {
    value[at] = static_cast<std::uint8_t>((number >> (8 * (at % 8))) + at);
  }
  return value;
}

template <class Collection>
std::map<std::uint32_t, Value> content_of(const Collection& all, std::uint32_t keys = 4000) {
  std::map<std::uint32_t, Value> content;
  for (std::uint32_t key = 0; key < keys; ++key) {
    if (const auto value = all.get(key)) content[key] = *value;
  }
  return content;
}

std::size_t asides_in(const std::string& path) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
    count += entry.path().extension() == ".aside" ? 1 : 0;
  }
  return count;
}

template <class Pair> void reopen_follower(Pair& pair) {
  pair.stop_follower();
  REQUIRE(pair.follower.close().ok());
  pair.follower = {};
  pair.open_follower();
}

template <class Pair> void reopen_leader(Pair& pair) {
  pair.stop_serving();
  REQUIRE(pair.leader.close().ok());
  pair.leader = {};
  pair.open_leader();
  pair.serve();
}

template <class Collection> void check_stream() {
  Couple<Collection> pair(two_shards());
  Collection& leader = pair.leader;
  for (std::uint32_t key = 0; key < 2000; ++key) REQUIRE(leader.put(key, value_of(key)).ok());
  pair.follow();
  for (std::uint32_t key = 1000; key < 3000; ++key) {
    REQUIRE(leader.put(key, value_of(key * std::uint64_t{7})).ok());
    if (key % 3 == 0) REQUIRE(leader.erase(key - 1000).ok());
  }
  REQUIRE(leader.put(3500, value_of(1), {.ttl_ms = 1}).ok());
  REQUIRE(leader.put(3501, value_of(2), {.ttl_ms = 1000000}).ok());
  CHECK(pair.follower.put(1, value_of(1)).is(Errc::read_only));
  pair.wait();
  CHECK(comes([&] { return !leader.contains(3500) && !pair.follower.contains(3500); }));
  CHECK(content_of(pair.follower) == content_of(leader));
  CHECK(*pair.follower.expires_at(3501) == *leader.expires_at(3501));
  CHECK(comes([&] {
    return pair.client().replication_stats().state == ReplicationState::streaming &&
           pair.client().replication_stats().lag_entries == 0;
  }));
  const std::uint64_t copies = pair.client().replication_stats().resyncs;
  // It goes on where it was, and has all when it is opened again.
  reopen_follower(pair);
  CHECK(content_of(pair.follower) == content_of(leader));
  for (std::uint32_t key = 0; key < 500; ++key) REQUIRE(leader.put(key, value_of(key + 9)).ok());
  pair.follow();
  pair.wait();
  CHECK(content_of(pair.follower) == content_of(leader));
  CHECK(pair.client().replication_stats().resyncs == 0);
  CHECK(copies <= 2);
}

TEST_CASE("fixed replication: a follower gets what was there and what comes",
          "[replication][fixed]") {
  SECTION("tree") { check_stream<Tree>(); }
  SECTION("map") { check_stream<Map>(); }
}

TEST_CASE("fixed replication: both sides go on where they were, however they end",
          "[replication][fixed][pitfall-64]") {
  Couple<Tree> pair(two_shards());
  base::Random random(7);
  for (int round = 0; round < 30; ++round) {
    pair.follow();
    for (int n = 0; n < 100; ++n) {
      const auto key = static_cast<std::uint32_t>(random.below(500));
      if (random.below(4) == 0) {
        REQUIRE_FALSE(pair.leader.erase(key).is(Errc::failed));
      } else {
        REQUIRE(pair.leader.put(key, value_of(random.next())).ok());
      }
    }
    if (round % 3 == 0) pair.wait();
    if (round % 2 == 0) reopen_follower(pair);
    if (round % 5 == 0) reopen_leader(pair);
    if (round % 7 == 0) REQUIRE(pair.leader.compact().ok());
    pair.stop_follower();
  }
  pair.follow();
  pair.wait();
  CHECK(content_of(pair.follower) == content_of(pair.leader));
  CHECK(pair.follower.size() == pair.leader.size());
  CHECK(asides_in(pair.directory() / "follower") == 0);
}

TEST_CASE(
    "fixed replication: what the leader no longer knows comes in a copy, and no key goes back",
    "[replication][fixed][pitfall-62]") {
  ReplicationConfig replication = quick();
  replication.retain_bytes = 0;  // little is kept all the same
  Couple<Map> pair(two_shards(), replication);
  Map& leader = pair.leader;
  const auto round_of = [](int round) {
    Value value{};
    value[0] = static_cast<std::uint8_t>(round);
    return value;
  };
  for (std::uint32_t key = 0; key < 400; ++key) REQUIRE(leader.put(key, round_of(0)).ok());
  pair.follow();
  pair.wait();
  pair.stop_follower();
  for (int round = 1; round <= 40; ++round) {
    for (std::uint32_t key = 0; key < 400; key += 2) REQUIRE(leader.put(key, round_of(round)).ok());
  }
  for (std::uint32_t key = 0; key < 100; ++key) REQUIRE(leader.erase(key).ok());
  std::atomic<bool> done{false};
  std::atomic<bool> back{false};
  std::thread reader([&] {
    std::vector<int> seen(400, 0);
    while (!done) {
      for (std::uint32_t key = 100; key < 400; ++key) {
        const auto value = pair.follower.get(key);
        const int now = value ? (*value)[0] : -1;
        if (now < seen[key]) back = true;
        seen[key] = now;
      }
    }
  });
  pair.follow();
  pair.wait();
  done = true;
  reader.join();
  CHECK_FALSE(back);
  CHECK(content_of(pair.follower) == content_of(leader));
  CHECK(pair.follower.size() == 300);
  CHECK(pair.client().replication_stats().resyncs == 2);  // one per shard
  CHECK(asides_in(pair.directory() / "follower") == 0);
  reopen_follower(pair);
  CHECK(content_of(pair.follower) == content_of(leader));
  REQUIRE(leader.put(1, round_of(1)).ok());
  pair.follow();
  pair.wait();
  CHECK(content_of(pair.follower) == content_of(leader));
  CHECK(pair.client().replication_stats().resyncs == 0);
}

TEST_CASE("fixed replication: a leader that was started again tells what changed",
          "[replication][fixed]") {
  Couple<Tree> pair(two_shards());
  for (std::uint32_t key = 0; key < 1000; ++key) {
    REQUIRE(pair.leader.put(key, value_of(key)).ok());
  }
  pair.follow();
  pair.wait();
  // What nobody missed needs no copy.
  reopen_leader(pair);
  REQUIRE(pair.leader.put(1, value_of(77)).ok());
  pair.wait();
  CHECK(pair.follower.get(1) == value_of(77));
  pair.stop_follower();
  REQUIRE(pair.leader.put(2, value_of(78)).ok());
  REQUIRE(pair.leader.erase(3).ok());
  reopen_leader(pair);
  pair.follow();
  pair.wait();
  CHECK(content_of(pair.follower) == content_of(pair.leader));
  CHECK(pair.client().replication_stats().resyncs >= 1);
  CHECK(asides_in(pair.directory() / "follower") == 0);
}

TEST_CASE("fixed replication: the end of the leader's file that was given back changes nothing",
          "[replication][fixed]") {
  Couple<Map> pair(two_shards());
  for (std::uint32_t key = 0; key < 4000; ++key) {
    REQUIRE(pair.leader.put(key, value_of(key)).ok());
  }
  pair.follow();
  for (std::uint32_t key = 0; key < 3500; ++key) REQUIRE(pair.leader.erase(key).ok());
  REQUIRE(pair.leader.compact().ok());
  pair.wait();
  CHECK(content_of(pair.follower) == content_of(pair.leader));
  REQUIRE(pair.follower.compact().ok());
  REQUIRE(pair.leader.put(1, value_of(5)).ok());
  pair.wait();
  CHECK(content_of(pair.follower) == content_of(pair.leader));
}

TEST_CASE(
    "fixed replication: a promoted follower fences its old leader, which becomes its follower",
    "[replication][fixed]") {
  Couple<Tree> pair(two_shards());
  Tree& leader = pair.leader;
  for (std::uint32_t key = 0; key < 200; ++key) REQUIRE(leader.put(key, value_of(1)).ok());
  CHECK(ReplicationClient::promote(leader.collection()).is(Errc::invalid_argument));
  pair.follow();
  pair.wait();
  pair.stop_follower();
  // The old leader goes on for a while, with nobody to hear it.
  for (std::uint32_t key = 100; key < 300; ++key) REQUIRE(leader.put(key, value_of(2)).ok());
  REQUIRE(ReplicationClient::promote(pair.follower.collection()).ok());
  for (std::uint32_t key = 150; key < 400; ++key) {
    REQUIRE(pair.follower.put(key, value_of(3)).ok());
  }
  const std::string address = "unix:" + (pair.directory() / "second");
  auto second = ReplicationServer::start(pair.follower.collection(), address, quick());
  REQUIRE(second.ok());
  pair.stop_serving();
  auto back = ReplicationClient::start(leader.collection(), address, quick());
  REQUIRE(back.ok());
  CHECK(leader.put(1, value_of(4)).is(Errc::read_only));
  const Status waited = second->wait_for_followers(1, ~std::uint64_t{0}, 30000);
  INFO(waited.message() << back->replication_stats().last_error.message());
  REQUIRE(waited.ok());
  CHECK(content_of(leader) == content_of(pair.follower));
  CHECK(leader.size() == 400);
  CHECK(asides_in(pair.directory() / "leader") == 2);

  // What was kept aside is what it had, in the place of slots.dat.
  back->stop();
  REQUIRE(leader.close().ok());
  const std::filesystem::path copy = pair.directory() / "copy";
  std::filesystem::create_directory(copy);
  for (const char* name : {"db.meta", "db.keys"}) {
    const auto from = std::filesystem::path(pair.directory() / "leader") / name;
    if (std::filesystem::exists(from)) std::filesystem::copy_file(from, copy / name);
  }
  for (const char* shard : {"shard_000", "shard_001"}) {
    std::filesystem::create_directory(copy / shard);
    std::filesystem::copy_file(
        std::filesystem::path(pair.directory() / "leader") / shard / "0000000001.aside",
        copy / shard / "slots.dat");
  }
  auto aside = Tree::open(copy.string(), two_shards());
  INFO(aside.message());
  REQUIRE(aside.ok());
  CHECK(aside->size() == 300);
  CHECK(aside->get(100) == value_of(2));
  CHECK(aside->get(99) == value_of(1));
}

TEST_CASE("fixed replication: three stores lead in turn, and nothing is copied without need",
          "[replication][fixed]") {
  const test::TempDir directory;
  const char* const names[] = {"a", "b", "c"};
  std::vector<Map> stores;
  std::vector<ReplicationServer> servers(3);
  std::vector<ReplicationClient> clients(3);
  const auto address = [&](std::size_t at) { return "unix:" + (directory / "s") + names[at]; };
  const auto serve = [&](std::size_t at) {
    auto server = ReplicationServer::start(stores[at].collection(), address(at), quick());
    INFO(server.message());
    REQUIRE(server.ok());
    servers[at] = std::move(*server);
  };
  const auto follow = [&](std::size_t at, std::size_t whom) {
    auto client = ReplicationClient::start(stores[at].collection(), address(whom), quick());
    INFO(client.message());
    REQUIRE(client.ok());
    clients[at] = std::move(*client);
  };
  FixedConfig config = two_shards();
  stores.push_back(*Map::open(directory / "a", config));
  for (std::uint32_t key = 0; key < 1000; ++key) REQUIRE(stores[0].put(key, value_of(key)).ok());
  serve(0);
  config.shard_count = 0;
  for (std::size_t at : {1, 2}) {
    REQUIRE(ReplicationClient::create(directory / names[at], address(0), config, quick()).ok());
    stores.push_back(*Map::open(directory / names[at], config));
    follow(at, 0);
  }
  std::size_t leads = 0;
  for (std::uint32_t turn = 1; turn <= 6; ++turn) {
    INFO("turn " << turn);
    for (std::uint32_t key = turn; key < 1000; key += 7) {
      REQUIRE(stores[leads].put(key, value_of(turn * std::uint64_t{1000} + key)).ok());
    }
    REQUIRE(stores[leads].erase(turn).ok());
    const Status waited = servers[leads].wait_for_followers(2, ~std::uint64_t{0}, 30000);
    INFO(waited.message());
    REQUIRE(waited.ok());
    const std::size_t next = (leads + 1) % 3;
    const std::size_t third = (leads + 2) % 3;
    for (const std::size_t at : {next, third}) {
      clients[at] = ReplicationClient();
      CHECK(content_of(stores[at]) == content_of(stores[leads]));
    }
    servers[leads] = ReplicationServer();
    REQUIRE(ReplicationClient::promote(stores[next].collection()).ok());
    serve(next);
    follow(third, next);
    follow(leads, next);
    REQUIRE(servers[next].wait_for_followers(2, ~std::uint64_t{0}, 30000).ok());
    // The content of all three was that of one moment.
    CHECK(clients[third].replication_stats().resyncs == 0);
    CHECK(clients[leads].replication_stats().resyncs == 0);
    leads = next;
  }
  CHECK(content_of(stores[0]) == content_of(stores[1]));
  CHECK(content_of(stores[1]) == content_of(stores[2]));
  CHECK(asides_in(directory.path()) == 0);
}

// Damages all slots with this value.
void hurt_slots(const std::string& folder, const Value& value) {
  const std::string needle(value.begin(), value.end());
  std::size_t changed = 0;
  for (const char* shard : {"shard_000", "shard_001"}) {
    std::fstream file(folder + shard + "/slots.dat",
                      std::ios::in | std::ios::out | std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    file.clear();
    for (std::size_t at = bytes.find(needle); at != std::string::npos;
         at = bytes.find(needle, at + 1)) {
      file.seekp(static_cast<std::streamoff>(at));
      file.put('V');
      ++changed;
    }
  }
  REQUIRE(changed != 0);
}

TEST_CASE("fixed replication: a leader that lost slots gives no copy, and says so",
          "[replication][fixed][clear]") {
  Couple<Map> pair(two_shards());
  Value marked{};
  std::fill(marked.begin(), marked.end(), std::uint8_t{0xa7});
  for (std::uint32_t key = 0; key < 100; ++key) {
    REQUIRE(pair.leader.put(key, key == 50 ? marked : value_of(key)).ok());
  }
  pair.stop_serving();
  REQUIRE(pair.leader.close().ok());
  pair.leader = {};
  hurt_slots(pair.directory() / "leader/", marked);
  pair.open_leader();
  CHECK(pair.leader.size() == 99);
  pair.serve();
  for (const bool reopened : {false, true}) {
    if (reopened) reopen_leader(pair);
    // It can be asked, and says why it gives no copy.
    const auto compared =
        ReplicationClient::compare(pair.follower.collection(), pair.server().address(), quick());
    INFO(compared.message());
    CHECK(compared.ok());
    pair.follow();
    CHECK(comes([&] {
      return pair.client().replication_stats().last_error.message().find("lost slots") !=
             std::string::npos;
    }));
    CHECK(pair.follower.size() <= 99);
    pair.stop_follower();
  }
}

TEST_CASE("fixed replication: a follower whose slots are damaged gets a copy, once",
          "[replication][fixed][clear]") {
  const bool reopened = GENERATE(false, true);
  for (const bool single : {false, true}) {
    FixedConfig config = two_shards();
    config.single_copy = single;
    Couple<Map> pair(config);
    Value marked{};
    std::fill(marked.begin(), marked.end(), std::uint8_t{0xa7});
    for (std::uint32_t key = 0; key < 100; ++key) {
      REQUIRE(pair.leader.put(key, key == 50 ? marked : value_of(key)).ok());
    }
    pair.follow();
    pair.wait();
    pair.stop_follower();
    REQUIRE(pair.follower.close().ok());
    pair.follower = {};
    hurt_slots(pair.directory() / "follower/", marked);
    pair.open_follower();
    CHECK(pair.follower.stats().damaged_regions != 0);
    CHECK_FALSE(pair.follower.contains(50));
    // The next open finds nothing wrong any more.
    if (reopened) reopen_follower(pair);
    REQUIRE(pair.leader.put(1000, value_of(4)).ok());
    pair.follow();
    CHECK(comes([&] { return pair.follower.size() == 101; }));
    pair.wait();
    CHECK(content_of(pair.follower) == content_of(pair.leader));
    CHECK(pair.client().replication_stats().resyncs == 1);
    // One is enough, also over a restart.
    reopen_follower(pair);
    CHECK(pair.follower.stats().damaged_regions == 0);
    pair.follow();
    pair.wait();
    CHECK(pair.client().replication_stats().resyncs == 0);
  }
}

TEST_CASE("fixed replication: a position that was lost costs a copy, and no more",
          "[replication][fixed]") {
  Couple<Map> pair(two_shards());
  for (std::uint32_t key = 0; key < 300; ++key) REQUIRE(pair.leader.put(key, value_of(key)).ok());
  pair.follow();
  pair.wait();
  pair.stop_follower();
  REQUIRE(pair.follower.close().ok());
  pair.follower = {};
  REQUIRE(std::filesystem::remove(pair.directory() / "follower/db.cursor"));
  pair.open_follower();
  REQUIRE(pair.leader.put(1000, value_of(1)).ok());
  pair.follow();
  pair.wait();
  CHECK(content_of(pair.follower) == content_of(pair.leader));
  CHECK(pair.client().replication_stats().resyncs == 2);
  CHECK(asides_in(pair.directory() / "follower") == 0);
  // A leader that does not know where its numbers begin copies to everybody.
  pair.stop_follower();
  pair.stop_serving();
  REQUIRE(pair.leader.close().ok());
  pair.leader = {};
  REQUIRE(std::filesystem::remove(pair.directory() / "leader/db.cursor"));
  pair.open_leader();
  pair.serve();
  REQUIRE(pair.leader.put(1001, value_of(2)).ok());
  pair.follow();
  pair.wait();
  CHECK(content_of(pair.follower) == content_of(pair.leader));
  CHECK(pair.client().replication_stats().resyncs == 2);
}

#if ARMDB_WITH_OPENSSL
TEST_CASE("fixed replication: each side seals under its own key",
          "[replication][fixed][pitfall-66]") {
  FixedConfig config = two_shards();
  config.encryption_key = ByteArray<32>{1};
  Couple<Tree> pair(config);
  for (std::uint32_t key = 0; key < 300; ++key) REQUIRE(pair.leader.put(key, value_of(key)).ok());
  pair.follow();
  pair.wait();
  REQUIRE(pair.leader.put(1000, value_of(5)).ok());
  pair.wait();
  CHECK(content_of(pair.follower) == content_of(pair.leader));
  reopen_follower(pair);
  CHECK(content_of(pair.follower) == content_of(pair.leader));
  FixedConfig own = config;
  own.shard_count = 0;
  own.encryption_key = ByteArray<32>{2};
  const std::string path = pair.directory() / "other";
  REQUIRE(ReplicationClient::create(path, pair.server().address(), own, quick()).ok());
  auto other = Tree::open(path, own);
  INFO(other.message());
  REQUIRE(other.ok());
  auto client = ReplicationClient::start(other->collection(), pair.server().address(), quick());
  REQUIRE(client.ok());
  CHECK(comes([&] { return other->size() == pair.leader.size(); }));
}
#endif

TEST_CASE("fixed replication: how far a follower is behind is told", "[replication][fixed]") {
  Couple<Map> pair(two_shards());
  for (std::uint32_t key = 0; key < 10; ++key) REQUIRE(pair.leader.put(key, value_of(1)).ok());
  CHECK(pair.server().wait_for_followers(1, ~std::uint64_t{0}, 5).is(Errc::timed_out));
  pair.follow();
  pair.wait();
  pair.stop_follower();
  for (std::uint32_t key = 0; key < 7; ++key) REQUIRE(pair.leader.put(key, value_of(2)).ok());
  const auto compare = [&] {
    return ReplicationClient::compare(pair.follower.collection(), pair.server().address(), quick());
  };
  const auto behind = compare();
  INFO(behind.message());
  REQUIRE(behind.ok());
  CHECK(behind->lag_entries == 7);
  CHECK(behind->resyncs == 0);
  CHECK(comes([&] {
    std::uint64_t entries = 0;
    pair.server().replication_stats([&](std::string_view, bool there, const ReplicationStats& one) {
      entries += there ? 0 : one.lag_entries;
      if (!there) CHECK((one.lag_entries == 0 || one.lag_bytes > 0));
    });
    return entries == 7;
  }));
  REQUIRE(ReplicationClient::promote(pair.follower.collection()).ok());
  CHECK(compare().is(Errc::fenced));
}

TEST_CASE("fixed replication: states that a crash may take back are not shipped",
          "[replication][fixed]") {
  const test::TempDir directory;
  auto fixed = Map::open(directory / "fixed", two_shards());
  REQUIRE(fixed.ok());
  ReplicationConfig early = quick();
  early.ship_early = true;
  CHECK(ReplicationServer::start(fixed->collection(), "127.0.0.1:0", early)
            .is(Errc::invalid_argument));
  CHECK(ReplicationServer::start(fixed->collection(), "127.0.0.1:0").ok());
}

TEST_CASE("fixed replication: values that fill many frames", "[replication][fixed]") {
  FixedConfig config = two_shards();
  using Large = ByteArray<30000>;
  Couple<FixedTree<std::uint32_t, Large>> pair(config);
  const auto large_of = [](std::uint32_t number) {
    Large value;
    value.fill(static_cast<std::uint8_t>(number));
    return value;
  };
  for (std::uint32_t key = 0; key < 150; ++key) {
    REQUIRE(pair.leader.put(key, large_of(key)).ok());
  }
  reopen_leader(pair);  // all of it comes in a copy
  pair.follow();
  pair.wait();
  for (std::uint32_t key = 100; key < 200; ++key) {
    REQUIRE(pair.leader.put(key, large_of(key + 1)).ok());
  }
  pair.wait();
  CHECK(pair.follower.size() == 200);
  for (std::uint32_t key = 0; key < 200; ++key) {
    REQUIRE(pair.follower.get(key) == large_of(key < 100 ? key : key + 1));
  }
}

TEST_CASE("fixed replication: two followers of a busy leader end with its content",
          "[replication][fixed][threads]") {
  for (const std::uint64_t retained : {std::uint64_t{0}, std::uint64_t{1} << 30}) {
    ReplicationConfig replication = quick();
    replication.retain_bytes = retained;
    Couple<Map> pair(two_shards(), replication);
    std::atomic<bool> done{false};
    std::thread writer([&] {
      base::Random random(3);
      while (!done) {
        const auto key = static_cast<std::uint32_t>(random.below(2000));
        if (random.below(5) == 0) {
          static_cast<void>(pair.leader.erase(key));
        } else {
          static_cast<void>(pair.leader.put(key, value_of(random.next())));
        }
      }
    });
    FixedConfig config = two_shards();
    config.shard_count = 0;
    const std::string path = pair.directory() / "other";
    REQUIRE(ReplicationClient::create(path, pair.server().address(), config, replication).ok());
    auto other = Map::open(path, config);
    REQUIRE(other.ok());
    pair.follow();
    for (int round = 0; round < 3; ++round) {
      auto client =
          ReplicationClient::start(other->collection(), pair.server().address(), replication);
      REQUIRE(client.ok());
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      if (round == 1) REQUIRE(pair.leader.sync().ok());
    }
    done = true;
    writer.join();
    auto client =
        ReplicationClient::start(other->collection(), pair.server().address(), replication);
    REQUIRE(client.ok());
    REQUIRE(pair.server().wait_for_followers(2, ~std::uint64_t{0}, 60000).ok());
    CHECK(content_of(pair.follower) == content_of(pair.leader));
    CHECK(content_of(*other) == content_of(pair.leader));
  }
}

TEST_CASE("fixed replication: what is erased and expires beside a copy does not cut it off",
          "[replication][fixed]") {
  FixedConfig config = two_shards();
  config.write_buffer_size = 16 << 10;
  Couple<Map> pair(config);
  constexpr std::uint32_t kKeys = 40000;
  for (std::uint32_t key = 0; key < kKeys; ++key) REQUIRE(pair.leader.put(key, Value{}).ok());
  REQUIRE(pair.leader.put(kKeys, Value{}, {.ttl_ms = 100000000}).ok());
  std::atomic<bool> done{false};
  std::thread writer([&] {
    base::Random random(1);
    while (!done.load()) {
      const auto key = static_cast<std::uint32_t>(random.below(kKeys));
      static_cast<void>(pair.leader.erase(key));
      static_cast<void>(pair.leader.put(key, Value{}));
    }
  });
  pair.follow();
  const bool copied = comes([&] {
    return pair.client().replication_stats().state == ReplicationState::streaming ||
           pair.follower.size() >= kKeys - 2;
  });
  done = true;
  writer.join();
  CHECK(copied);
  pair.wait();
  CHECK(pair.follower.size() == kKeys + 1);
  // One for each shard, and for what the writer overtook; no conversation ended in an error.
  CHECK(pair.client().replication_stats().last_error.ok());
  CHECK(pair.server().last_error().ok());
}

}  // namespace
}  // namespace armdb

#endif

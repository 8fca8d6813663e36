// Replication through the public face: followers get what the leader has, and nothing else.
#if !defined(ARMDB_OMIT_THREADS) && !defined(ARMDB_OMIT_REPLICATION)

#if defined(__linux__)
#include <sched.h>
#endif

#include <atomic>
#include <chrono>
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

using Tree = VarTree<std::uint64_t>;
using test::comes;
using test::Couple;
using test::quick;

Config small_files() {
  Config config;
  config.shard_count = 3;
  config.write_buffer_size = 16u << 10;
  config.max_file_size = 64u << 10;
  config.reversed = false;
  return config;
}

template <class Collection> std::map<std::uint64_t, std::string> content_of(Collection& tree) {
  std::map<std::uint64_t, std::string> content;
  for (auto&& [key, value] : tree.iter()) {
    REQUIRE(value.ok());
    content[key] = std::string(value->begin(), value->end());
  }
  return content;
}

struct Pair {
  explicit Pair(const std::string& directory)
      : leader_path(directory + "/leader"),
        follower_path(directory + "/follower"),
        socket("unix:" + directory + "/socket") {}
  std::string leader_path, follower_path, socket;
};

TEST_CASE("replication: a follower gets what was there and what comes", "[replication]") {
  const test::TempDir directory;
  const Pair at(directory.path());
  auto leader = Tree::open(at.leader_path, small_files());
  REQUIRE(leader.ok());
  for (std::uint64_t key = 0; key < 2000; ++key) {
    REQUIRE(leader->put(key, "first " + std::to_string(key)).ok());
  }
  auto server = ReplicationServer::start(leader->collection(), at.socket, quick());
  INFO(server.message());
  REQUIRE(server.ok());
  Config config = small_files();
  config.shard_count = 0;
  const Status created =
      ReplicationClient::create(at.follower_path, server->address(), config, quick());
  INFO(created.message());
  REQUIRE(created.ok());
  auto follower = Tree::open(at.follower_path, config);
  INFO(follower.message());
  REQUIRE(follower.ok());
  CHECK(follower->put(1, "no").is(Errc::read_only));
  auto client = ReplicationClient::start(follower->collection(), server->address(), quick());
  REQUIRE(client.ok());
  for (std::uint64_t key = 1000; key < 3000; ++key) {
    REQUIRE(leader->put(key, "second " + std::to_string(key)).ok());
    if (key % 3 == 0) REQUIRE(leader->erase(key - 1000).ok());
  }
  const Status waited = server->wait_for_followers(1, ~std::uint64_t{0}, 20000);
  INFO(waited.message() << client->replication_stats().last_error.message());
  REQUIRE(waited.ok());
  CHECK(content_of(*follower) == content_of(*leader));
  CHECK(comes([&] {
    return client->replication_stats().state == ReplicationState::streaming &&
           client->replication_stats().lag_entries == 0;
  }));
}

TEST_CASE("replication: every write of the leader arrives, batches and expiries too",
          "[replication]") {
  Couple<Tree> pair(small_files());
  pair.follow();
  Tree& leader = pair.leader;
  for (std::uint64_t key = 0; key < 300; ++key) {
    REQUIRE(leader.put(key, std::string(key * 7 % 5000, 'x')).ok());
  }
  for (std::uint64_t round = 0; round < 50; ++round) {
    WriteBatch<Tree> batch(leader);
    for (std::uint64_t key = 0; key < 20; ++key) {
      REQUIRE(batch.put(1000 + key, std::to_string(round)).ok());
    }
    REQUIRE(batch.erase(round).ok());
    REQUIRE(batch.commit().ok());
    REQUIRE(
        leader.atomic(5000 + round, [&](auto& shard) { return shard.put(5000 + round, "atomic"); })
            .ok());
  }
  REQUIRE(leader.put(7000, "soon gone", {.ttl_ms = 1}).ok());
  REQUIRE(leader.put(7001, "stays a while", {.ttl_ms = 1000000}).ok());
  REQUIRE(leader.put(8000, std::string(300000, 'l')).ok());  // longer than a segment
  pair.wait();
  CHECK(content_of(pair.follower) == content_of(leader));
  CHECK(comes([&] { return !pair.follower.contains(7000); }));
  CHECK(*pair.follower.expires_at(7001) == *leader.expires_at(7001));
}

TEST_CASE("replication: both sides go on where they were, however they end",
          "[replication][pitfall-64]") {
  Couple<Tree> pair(small_files());
  base::Random random(7);
  for (int round = 0; round < 30; ++round) {
    pair.follow();
    for (int n = 0; n < 100; ++n) {
      const std::uint64_t key = random.below(500);
      if (random.below(4) == 0) {
        REQUIRE_FALSE(pair.leader.erase(key).is(Errc::failed));
      } else {
        REQUIRE(pair.leader.put(key, std::string(random.below(400), 'a' + round % 26)).ok());
      }
    }
    if (round % 3 == 0) pair.wait();
    if (round % 2 == 0) {
      pair.stop_follower();
      REQUIRE(pair.follower.close().ok());
      pair.follower = Tree();
      pair.open_follower();
    }
    if (round % 5 == 0) {
      pair.stop_serving();
      REQUIRE(pair.leader.close().ok());
      pair.leader = Tree();
      pair.open_leader();
      pair.serve();
    }
    pair.stop_follower();
  }
  pair.follow();
  pair.wait();
  CHECK(content_of(pair.follower) == content_of(pair.leader));
  CHECK(pair.client().replication_stats().resyncs == 0);
}

TEST_CASE("replication: what compaction has taken comes in a copy, and no reader goes back",
          "[replication][pitfall-62]") {
  ReplicationConfig replication = quick();
  replication.retain_bytes = 0;
  Couple<Tree> pair(small_files(), replication);
  Tree& leader = pair.leader;
  for (std::uint64_t key = 0; key < 400; ++key) REQUIRE(leader.put(key, "0").ok());
  pair.follow();
  pair.wait();
  pair.stop_follower();
  for (int round = 1; round <= 40; ++round) {
    for (std::uint64_t key = 0; key < 400; ++key) {
      REQUIRE(leader.put(key, std::to_string(round)).ok());
    }
  }
  for (std::uint64_t key = 0; key < 100; ++key) REQUIRE(leader.erase(key).ok());
  REQUIRE(leader.compact().ok());
  std::atomic<bool> done{false};
  std::atomic<bool> back{false};
  std::thread reader([&] {
    std::vector<int> seen(400, 0);
    while (!done) {
      for (std::uint64_t key = 100; key < 400; ++key) {
        const auto value = pair.follower.get(key);
        const int now = value.ok() && *value ? std::stoi(std::string((*value)->text())) : -1;
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
  CHECK(pair.client().replication_stats().resyncs >= 3);  // one per shard
  // The copy is what a reopened follower has, too, and it goes on from there.
  pair.stop_follower();
  REQUIRE(pair.follower.close().ok());
  pair.follower = Tree();
  pair.open_follower();
  CHECK(content_of(pair.follower) == content_of(leader));
  REQUIRE(leader.put(1, "again").ok());
  pair.follow();
  pair.wait();
  CHECK(content_of(pair.follower) == content_of(leader));
  CHECK(pair.client().replication_stats().resyncs == 0);
}

TEST_CASE("replication: compaction waits for a follower that is behind", "[replication]") {
  Couple<Tree> pair(small_files());
  Tree& leader = pair.leader;
  REQUIRE(leader.put(1, "one").ok());
  pair.follow();
  pair.wait();
  pair.stop_follower();
  for (int round = 1; round <= 40; ++round) {
    for (std::uint64_t key = 0; key < 400; ++key) REQUIRE(leader.put(key, "x").ok());
  }
  REQUIRE(leader.compact().ok());
  pair.follow();
  pair.wait();
  CHECK(content_of(pair.follower) == content_of(leader));
  CHECK(pair.client().replication_stats().resyncs == 0);
  // It has caught up: nothing holds compaction back any more.
  const std::uint64_t before = leader.stats().compactions;
  REQUIRE(leader.compact().ok());
  CHECK(leader.stats().compactions > before);
}

TEST_CASE("replication: a promoted follower fences its old leader, which becomes its follower",
          "[replication]") {
  Couple<Tree> pair(small_files());
  Tree& leader = pair.leader;
  for (std::uint64_t key = 0; key < 200; ++key) REQUIRE(leader.put(key, "both").ok());
  CHECK(ReplicationClient::promote(leader.collection()).is(Errc::invalid_argument));
  pair.follow();
  pair.wait();
  pair.stop_follower();
  // The old leader goes on for a while, with nobody to hear it.
  for (std::uint64_t key = 100; key < 300; ++key) REQUIRE(leader.put(key, "lost").ok());
  REQUIRE(ReplicationClient::promote(pair.follower.collection()).ok());
  for (std::uint64_t key = 150; key < 400; ++key) REQUIRE(pair.follower.put(key, "kept").ok());

  const std::string address = "unix:" + (pair.directory() / "second");
  auto second = ReplicationServer::start(pair.follower.collection(), address, quick());
  REQUIRE(second.ok());
  // One that follows the new leader tells the old one.
  pair.stop_serving();
  auto back = ReplicationClient::start(leader.collection(), address, quick());
  REQUIRE(back.ok());
  CHECK(leader.put(1, "no").is(Errc::read_only));
  const Status waited = second->wait_for_followers(1, ~std::uint64_t{0}, 30000);
  INFO(waited.message() << back->replication_stats().last_error.message());
  REQUIRE(waited.ok());
  CHECK(content_of(leader) == content_of(pair.follower));
  CHECK(leader.stats().entries == 400);
  std::size_t aside = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(pair.directory() / "leader")) {
    aside += entry.path().extension() == ".aside" ? 1 : 0;
  }
  CHECK(aside >= 1);
  // The follower of the new leader leads nobody of an older term.
  REQUIRE(back->replication_stats().term > 1);
}

TEST_CASE("replication: a leader learns from a follower that it was replaced",
          "[replication][pitfall-59]") {
  Couple<Tree> pair(small_files());
  REQUIRE(pair.leader.put(1, "one").ok());
  pair.follow();
  pair.wait();
  pair.stop_follower();
  REQUIRE(ReplicationClient::promote(pair.follower.collection()).ok());
  REQUIRE(pair.follower.put(2, "two").ok());
  // Wrongly sent back to its old leader: that one must stop, and nothing is taken over.
  pair.follow();
  CHECK(comes([&] { return pair.leader.put(3, "three").is(Errc::read_only); }));
  CHECK(
      comes([&] { return pair.client().replication_stats().state == ReplicationState::refused; }));
  CHECK(pair.client().replication_stats().last_error.is(Errc::fenced));
  CHECK(pair.server().wait_for_followers(1, ~std::uint64_t{0}, 1).is(Errc::fenced));
  CHECK((*pair.follower.get(2))->text() == "two");
}

TEST_CASE("replication: another collection is refused, not merged", "[replication]") {
  Couple<Tree> pair(small_files());
  Couple<Tree> other(small_files());
  REQUIRE(pair.leader.put(1, "mine").ok());
  REQUIRE(other.leader.put(1, "other").ok());
  auto client =
      ReplicationClient::start(pair.follower.collection(), other.server().address(), quick());
  REQUIRE(client.ok());
  CHECK(comes([&] { return client->replication_stats().state == ReplicationState::refused; }));
  CHECK(client->replication_stats().last_error.is(Errc::format_mismatch));
  CHECK(pair.follower.empty());
  // One with entries of its own is not overwritten by mistake.
  const auto own = ReplicationClient::start(other.leader.collection(), pair.server().address());
  CHECK(own.is(Errc::invalid_argument) == false);  // it has a history: it may become a follower
  const test::TempDir apart;
  auto plain = Tree::open(apart / "plain", small_files());
  REQUIRE(plain->put(1, "own").ok());
  CHECK(ReplicationClient::start(plain->collection(), pair.server().address())
            .is(Errc::invalid_argument));
  CHECK(plain->put(2, "still writable").ok());
}

TEST_CASE("replication: a follower of another collection fences nobody",
          "[replication][pitfall-65]") {
  Couple<Tree> pair(small_files());
  Couple<Tree> other(small_files());
  // A later term than the first of the pair.
  other.stop_serving();
  other.serve();
  REQUIRE(other.leader.put(1, "other").ok());
  other.follow();
  other.wait();
  other.stop_follower();
  auto lost =
      ReplicationClient::start(other.follower.collection(), pair.server().address(), quick());
  REQUIRE(lost.ok());
  REQUIRE(comes([&] { return lost->replication_stats().state == ReplicationState::refused; }));
  CHECK(lost->replication_stats().last_error.is(Errc::format_mismatch));
  CHECK(pair.leader.put(1, "still the leader").ok());
  pair.follow();
  pair.wait();
}

TEST_CASE("replication: one client at a time, and none while a follower is promoted",
          "[replication]") {
  Couple<Tree> pair(small_files());
  REQUIRE(pair.leader.put(1, "one").ok());
  pair.follow();
  pair.wait();
  CHECK(ReplicationClient::start(pair.follower.collection(), pair.server().address(), quick())
            .is(Errc::locked));
  CHECK(ReplicationClient::promote(pair.follower.collection()).is(Errc::invalid_argument));
  CHECK(pair.follower.put(2, "no").is(Errc::read_only));
  pair.client().stop();
  REQUIRE(ReplicationClient::promote(pair.follower.collection()).ok());
  CHECK(pair.follower.put(2, "yes").ok());
}

TEST_CASE("replication: who becomes a follower ships nothing any more", "[replication]") {
  Couple<Tree> pair(small_files());
  REQUIRE(pair.leader.put(1, "one").ok());
  pair.follow();
  pair.wait();
  // Its server still runs.
  auto back = ReplicationClient::start(pair.leader.collection(), "unix:" + (pair.directory() / "x"),
                                       quick());
  REQUIRE(back.ok());
  CHECK(
      comes([&] { return pair.client().replication_stats().state == ReplicationState::refused; }));
  CHECK(pair.client().replication_stats().last_error.is(Errc::fenced));
}

TEST_CASE("replication: a follower whose files are damaged gets a copy", "[replication][clear]") {
  Config config = small_files();
  config.hints = false;  // or nobody looks at the values
  Couple<Tree> pair(config);
  for (std::uint64_t key = 0; key < 100; ++key) {
    REQUIRE(pair.leader.put(key, "value " + std::to_string(key)).ok());
  }
  pair.follow();
  pair.wait();
  pair.stop_follower();
  REQUIRE(pair.follower.close().ok());
  pair.follower = Tree();
  std::size_t changed = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(pair.directory() / "follower")) {
    if (!entry.is_regular_file()) continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    const std::size_t at = bytes.find("value 50");
    if (at == std::string::npos || entry.path().filename().string().find("tail") == 0) continue;
    file.clear();
    file.seekp(static_cast<std::streamoff>(at));
    file.put('V');
    ++changed;
  }
  REQUIRE(changed != 0);
  pair.open_follower();
  CHECK(pair.follower.size() < 100);
  CHECK(pair.follower.stats().damaged_regions != 0);
  REQUIRE(pair.leader.put(1000, "more").ok());
  pair.follow();
  CHECK(comes([&] { return pair.follower.size() == 101; }));
  CHECK(content_of(pair.follower) == content_of(pair.leader));
  // One is enough.
  pair.stop_follower();
  pair.follow();
  pair.wait();
  CHECK(pair.client().replication_stats().resyncs == 0);
}

TEST_CASE("replication: a follower that lost files gets a copy, also if it is opened in between",
          "[replication]") {
  Couple<Tree> pair(small_files());
  for (std::uint64_t key = 0; key < 3000; ++key) {
    REQUIRE(pair.leader.put(key, std::string(100, 'x')).ok());
  }
  pair.follow();
  pair.wait();
  pair.stop_follower();
  REQUIRE(pair.follower.close().ok());
  pair.follower = Tree();
  // Its list of segments, and the oldest one: what is left looks whole once it is listed anew.
  namespace fs = std::filesystem;
  fs::path oldest;
  for (const auto& entry : fs::directory_iterator(pair.directory() / "follower/shard_000")) {
    const fs::path path = entry.path();
    if (path.extension() == ".data" && (oldest.empty() || path < oldest)) oldest = path;
  }
  REQUIRE_FALSE(oldest.empty());
  REQUIRE(fs::remove(oldest.parent_path() / "MANIFEST"));
  REQUIRE(fs::remove(oldest));
  fs::remove(oldest.replace_extension(".hint"));
  pair.open_follower();
  CHECK(pair.follower.size() < 3000);
  REQUIRE(pair.follower.close().ok());
  pair.follower = Tree();
  pair.open_follower();
  pair.follow();
  CHECK(comes([&] { return pair.follower.size() == 3000; }));
  pair.wait();
  CHECK(pair.client().replication_stats().resyncs == 1);
}

#if ARMDB_WITH_OPENSSL
TEST_CASE("replication: each side seals under its own key", "[replication][pitfall-66]") {
  Config config = small_files();
  config.encryption_key = ByteArray<32>{1};
  Couple<Tree> pair(config);
  for (std::uint64_t key = 0; key < 300; ++key) {
    REQUIRE(pair.leader.put(key, std::string(key, 'x')).ok());
  }
  pair.follow();
  pair.wait();
  REQUIRE(pair.leader.put(1000, "while it follows").ok());
  pair.wait();
  CHECK(content_of(pair.follower) == content_of(pair.leader));
  pair.stop_follower();
  REQUIRE(pair.follower.close().ok());
  pair.follower = Tree();
  pair.open_follower();
  CHECK(content_of(pair.follower) == content_of(pair.leader));
  // The key of a follower is its own.
  Config own = config;
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

#if defined(__linux__)
// Threads of this process that give way to others.
int giving_way() {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    const int id = std::stoi(entry.path().filename().string());
    count += ::sched_getscheduler(id) == SCHED_BATCH ? 1 : 0;
  }
  return count;
}

TEST_CASE("replication: its threads give way to the program's", "[replication]") {
  if (::sched_getscheduler(0) != SCHED_OTHER) return;  // the whole program gives way
  CHECK(giving_way() == 0);
  Couple<Tree> pair(small_files());
  pair.follow();
  pair.wait();
  // The server's for this follower, and the client's.
  CHECK(giving_way() >= 2);
  pair.stop_follower();
  pair.stop_serving();
  CHECK(giving_way() == 0);
}
#endif

TEST_CASE("replication: waiting says when it is not so", "[replication]") {
  Couple<Tree> pair(small_files());
  REQUIRE(pair.leader.put(1, "one").ok());
  CHECK(pair.server().wait_for_followers(0, ~std::uint64_t{0}, 0).ok());
  CHECK(pair.server().wait_for_followers(1, ~std::uint64_t{0}, 5).is(Errc::timed_out));
  CHECK(pair.server().wait_for_followers(1, ~std::uint64_t{0}, 5, "who").is(Errc::not_found));
  pair.follow();
  pair.wait();
  CHECK(pair.server().wait_for_followers(2, ~std::uint64_t{0}, 5).is(Errc::timed_out));
}

// What it syncs beside the conversation may end when that has ended.
TEST_CASE("replication: a follower that is behind comes back whenever its leader does",
          "[replication]") {
  Config config;
  config.shard_count = 2;
  Couple<Tree> couple(config);
  couple.follow();
  const std::string value(4000, 'x');
  std::uint64_t key = 0;
  for (int round = 0; round < 6; ++round) {
    for (int count = 0; count < 4000; ++count) {
      REQUIRE(couple.leader.put(key++ % 8000, value).ok());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20 + 13 * round));
    couple.stop_serving();
    couple.serve();
  }
  couple.wait();
  CHECK(couple.follower.size() == 8000);
}

TEST_CASE("replication: how far a follower is behind is told while it is away", "[replication]") {
  Couple<Tree> pair(small_files());
  for (std::uint64_t key = 0; key < 10; ++key) REQUIRE(pair.leader.put(key, "there").ok());
  pair.follow();
  pair.wait();
  pair.stop_follower();
  for (std::uint64_t key = 0; key < 7; ++key) REQUIRE(pair.leader.put(key, "later").ok());
  const auto compare = [&] {
    return ReplicationClient::compare(pair.follower.collection(), pair.server().address(), quick());
  };
  const auto behind = compare();
  INFO(behind.message());
  REQUIRE(behind.ok());
  CHECK(behind->lag_entries == 7);
  CHECK(behind->term == 1);
  CHECK(behind->resyncs == 0);
  CHECK(comes([&] {
    std::uint64_t entries = 0;
    pair.server().replication_stats([&](std::string_view, bool there, const ReplicationStats& one) {
      entries += there ? 0 : one.lag_entries;
      if (!there) CHECK((one.lag_entries == 0 || one.lag_bytes > 0));
    });
    return entries == 7;
  }));
  CHECK(pair.follower.contains(9));  // nothing was followed
  CHECK((*pair.follower.get(1))->text() == "there");
  // What is written after a promotion is of another history.
  REQUIRE(ReplicationClient::promote(pair.follower.collection()).ok());
  CHECK(compare().is(Errc::fenced));
  Couple<Tree> other(small_files());
  CHECK(ReplicationClient::compare(pair.follower.collection(), other.server().address(), quick())
            .is(Errc::format_mismatch));
}

TEST_CASE("replication: addresses that others reach need a key", "[replication][pitfall-54]") {
  const test::TempDir directory;
  auto tree = Tree::open(directory / "tree", small_files());
  REQUIRE(tree.ok());
  const auto open = ReplicationServer::start(tree->collection(), "0.0.0.0:0");
  CHECK(open.is(Errc::invalid_argument));
  CHECK(open.message().find("pre_shared_key") != std::string::npos);
  CHECK(ReplicationServer::start(tree->collection(), "nonsense").is(Errc::invalid_argument));
  ReplicationConfig allowed;
  allowed.allow_insecure = true;
  CHECK(ReplicationServer::start(tree->collection(), "0.0.0.0:0", allowed).ok());
  CHECK(ReplicationServer::start(tree->collection(), "127.0.0.1:0").ok());
  ReplicationConfig both;
  both.pre_shared_key = ByteArray<32>{1};
  both.ca_file = "x";
  CHECK(
      ReplicationServer::start(tree->collection(), "127.0.0.1:0", both).is(Errc::invalid_argument));
}

TEST_CASE("replication: several collections over one server, several followers", "[replication]") {
  const test::TempDir directory;
  auto first = Tree::open(directory / "first", small_files());
  auto second = ConstMap<std::uint32_t, ByteArray<8>>::open(directory / "second", small_files());
  REQUIRE(first.ok());
  REQUIRE(second.ok());
  ReplicationConfig config = quick();
  config.name = "first";
  auto server = ReplicationServer::start(first->collection(), "127.0.0.1:0", config);
  REQUIRE(server.ok());
  REQUIRE(server->add(second->collection(), "second").ok());
  CHECK(server->add(second->collection(), "second").is(Errc::key_exists));
  ReplicationConfig to_second = quick();
  to_second.name = "second";
  Config empty = small_files();
  empty.shard_count = 0;
  std::vector<ConstMap<std::uint32_t, ByteArray<8>>> copies;
  std::vector<ReplicationClient> clients;
  for (const char* name : {"a", "b", "c"}) {
    REQUIRE(ReplicationClient::create(directory / name, server->address(), empty, to_second).ok());
    CHECK(ReplicationClient::create(directory / name, server->address(), empty, to_second)
              .is(Errc::key_exists));
    copies.push_back(*ConstMap<std::uint32_t, ByteArray<8>>::open(directory / name, empty));
    clients.push_back(
        *ReplicationClient::start(copies.back().collection(), server->address(), to_second));
  }
  for (std::uint32_t key = 0; key < 1000; ++key) {
    REQUIRE(second->put(key, ByteArray<8>{static_cast<std::uint8_t>(key)}).ok());
  }
  REQUIRE(server->wait_for_followers(3, ~std::uint64_t{0}, 30000, "second").ok());
  for (auto& copy : copies) {
    CHECK(copy.size() == 1000);
    for (std::uint32_t key = 0; key < 1000; ++key) {
      CHECK(copy.get(key) == ByteArray<8>{static_cast<std::uint8_t>(key)});
    }
  }
  std::size_t connected = 0;
  server->replication_stats(
      [&](std::string_view, bool there, const ReplicationStats&) { connected += there ? 1 : 0; },
      "second");
  CHECK(connected == 3);
  ReplicationConfig to_nobody = quick();
  to_nobody.name = "third";
  CHECK(ReplicationClient::create(directory / "d", server->address(), empty, to_nobody)
            .is(Errc::not_found));
}

TEST_CASE("replication: a server that cannot start leaves no trace; a full one says so",
          "[replication]") {
  const test::TempDir directory;
  auto tree = Tree::open(directory / "tree", small_files());
  REQUIRE(tree.ok());
  CHECK(ReplicationServer::start(tree->collection(), "0.0.0.0:0").is(Errc::invalid_argument));
  CHECK_FALSE(std::filesystem::exists(directory / "tree/db.replica"));
  ReplicationConfig one = quick();
  one.followers_max = 1;
  auto server = ReplicationServer::start(tree->collection(), "unix:" + (directory / "s"), one);
  REQUIRE(server.ok());
  CHECK(std::filesystem::exists(directory / "tree/db.replica"));
  CHECK(ReplicationServer::start(tree->collection(), "127.0.0.1:0").is(Errc::locked));
  CHECK(server->add(tree->collection(), "again").is(Errc::locked));
  Config config = small_files();
  config.shard_count = 0;
  std::vector<Tree> followers;
  std::vector<ReplicationClient> clients;
  for (const char* name : {"a", "b"}) {
    REQUIRE(comes([&] {
      return ReplicationClient::create(directory / name, server->address(), config, one).ok();
    }));
    followers.push_back(*Tree::open(directory / name, config));
  }
  clients.push_back(*ReplicationClient::start(followers[0].collection(), server->address(), one));
  REQUIRE(server->wait_for_followers(1, ~std::uint64_t{0}, 30000).ok());
  clients.push_back(*ReplicationClient::start(followers[1].collection(), server->address(), one));
  CHECK(comes([&] {
    return clients[1].replication_stats().last_error.message().find("followers_max") !=
           std::string::npos;
  }));
  clients[0].stop();  // its place is free now
  REQUIRE(tree->put(1, "one").ok());
  CHECK(server->wait_for_followers(1, ~std::uint64_t{0}, 30000).ok());
  CHECK(followers[1].contains(1));
}

}  // namespace
}  // namespace armdb

#endif

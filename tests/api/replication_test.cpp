// Replication through the public face: followers get what the leader has, and nothing else.
#if !defined(ARMDB_OMIT_THREADS) && !defined(ARMDB_OMIT_REPLICATION)

#include <atomic>
#include <chrono>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/temp_dir.hpp"

namespace armdb {
namespace {

using Tree = VarTree<std::uint64_t>;

ReplicationConfig quick() {
  ReplicationConfig config;
  config.heartbeat_ms = 20;
  config.timeout_ms = 5000;
  config.retry_ms = 10;
  return config;
}

Config small_files() {
  Config config;
  config.shard_count = 3;
  config.write_buffer_size = 16u << 10;
  config.max_file_size = 64u << 10;
  config.reversed = false;
  return config;
}

// Waits for something that comes soon; the limit is only for a test that fails.
template <class Condition> bool comes(Condition condition) {
  for (int tries = 0; tries < 20000; ++tries) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
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

}  // namespace
}  // namespace armdb

#endif

// Server and Client over sockets: peers that say nothing, or take nothing, and what is told of
// those that are behind.
#include "replica/server.hpp"

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"

#if !defined(ARMDB_OMIT_THREADS) && !defined(ARMDB_OMIT_REPLICATION)

#include "api/collections.hpp"
#include "api/replication.hpp"
#include "format/entry.hpp"
#include "format/file_header.hpp"
#include "replica/client.hpp"
#include "support/temp_dir.hpp"

using namespace armdb;

namespace {

using Tree = VarTree<std::uint64_t>;
constexpr std::uint32_t kNever = 3600000;  // longer than any test may take

ReplicationConfig patient() {
  ReplicationConfig config;
  config.heartbeat_ms = 20;
  config.timeout_ms = kNever;
  config.retry_ms = 10;
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

Config one_shard() {
  Config config;
  config.shard_count = 1;
  return config;
}

Tree open(const std::string& path, const Config& config = {}) {
  Result<Tree> tree = Tree::open(path, config);
  INFO(tree.message());
  REQUIRE(tree.ok());
  return *std::move(tree);
}

ReplicationServer serve(Tree& tree, const std::string& address, const ReplicationConfig& config) {
  Result<ReplicationServer> server = ReplicationServer::start(tree.collection(), address, config);
  INFO(server.message());
  REQUIRE(server.ok());
  return *std::move(server);
}

std::unique_ptr<os::Stream> connected(const std::string& address) {
  Result<std::unique_ptr<os::Stream>> stream = os::connect(*os::parse_address(address), 10000);
  INFO(stream.message());
  REQUIRE(stream.ok());
  return *std::move(stream);
}

// A peer that greets as a new follower, and hears the answer.
struct GreetingPeer {
  explicit GreetingPeer(const std::string& address) : channel(connected(address), 10000) {
    format::Hello hello;
    replica::Channel first(connected(address), 10000);
    REQUIRE(replica::ask_leader(first, "", hello).ok());
    hello.self = {1};
    hello.terms.clear();
    for (std::size_t at = 0; at < hello.sequences.size(); ++at) {
      hello.sequences[at] = 0;
      hello.replace[at] = 0;
    }
    format::FrameHeader header;
    header.type = format::FrameType::hello;
    REQUIRE(channel.send(header, format::encode_hello(hello)).ok());
    Bytes payload;
    REQUIRE(channel.expect(format::FrameType::hello, header, payload).ok());
  }
  replica::Channel channel;
};

}  // namespace

TEST_CASE(
    "server: stop() waits neither for a peer that says nothing nor for one that takes nothing",
    "[replication]") {
  const test::TempDir directory;
  Tree tree = open(directory / "leader", one_shard());
  const std::string value(100000, 'v');
  for (std::uint64_t key = 0; key < 100; ++key) REQUIRE(tree.put(key, value).ok());
  ReplicationServer server = serve(tree, "unix:" + (directory / "s"), patient());
  const std::unique_ptr<os::Stream> silent = connected(server.address());
  const GreetingPeer full(server.address());
  // Ten megabytes are on their way to it, and no socket takes so much.
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  server.stop();
  CHECK(server.last_error().is(Errc::closed));
}

#if ARMDB_WITH_OPENSSL
TEST_CASE("server: stop() waits for no handshake; who has not proved himself takes nobody's place",
          "[replication]") {
  const test::TempDir directory;
  Tree tree = open(directory / "leader", one_shard());
  REQUIRE(tree.put(1, "one").ok());
  ReplicationConfig secured = patient();
  secured.pre_shared_key = ByteArray<32>{7};
  secured.followers_max = 1;
  ReplicationServer server = serve(tree, "127.0.0.1:0", secured);
  std::vector<std::unique_ptr<os::Stream>> silent;
  for (int at = 0; at < 8; ++at) silent.push_back(connected(server.address()));
  REQUIRE(ReplicationClient::create(directory / "follower", server.address(), {}, secured).ok());
  Tree follower = open(directory / "follower");
  auto client = ReplicationClient::start(follower.collection(), server.address(), secured);
  REQUIRE(client.ok());
  CHECK(server.wait_for_followers(1, ~std::uint64_t{0}, 60000).ok());
  CHECK(follower.contains(1));
  for (int at = 0; at < 8; ++at) silent.push_back(connected(server.address()));
  REQUIRE(tree.put(2, "two").ok());
  CHECK(server.wait_for_followers(1, ~std::uint64_t{0}, 60000).ok());
  client->stop();
  server.stop();
}
#endif

TEST_CASE("client: stop() waits for no server", "[replication]") {
  const test::TempDir directory;
  Tree leader = open(directory / "leader", one_shard());
  {
    ReplicationServer server = serve(leader, "unix:" + (directory / "s"), patient());
    REQUIRE(ReplicationClient::create(directory / "follower", server.address()).ok());
  }
  Tree follower = open(directory / "follower");
  const std::string address = "unix:" + (directory / "silent");
  auto listener = os::Listener::listen(*os::parse_address(address));
  REQUIRE(listener.ok());
  {
    auto client = ReplicationClient::start(follower.collection(), address, patient());
    REQUIRE(client.ok());
    const auto accepted = (*listener)->accept(60000, nullptr);
    REQUIRE((accepted.ok() && *accepted != nullptr));
    client->stop();
    CHECK(client->replication_stats().state == ReplicationState::stopped);
    CHECK(client->replication_stats().last_error.is(Errc::closed));
  }
  // Where the queue of a Unix socket is full, connecting waits.
  std::vector<std::unique_ptr<os::Stream>> queued;
  for (bool full = false; !full;) {
    REQUIRE(queued.size() < 1000);
    auto stream = os::connect((*listener)->address(), 30);
    full = !stream.ok();
    if (!full) queued.push_back(*std::move(stream));
  }
  auto client = ReplicationClient::start(follower.collection(), address, patient());
  REQUIRE(client.ok());
  CHECK(comes([&] { return client->replication_stats().state == ReplicationState::connecting; }));
  client->stop();
}

TEST_CASE("server: lag_bytes is what the log has behind a follower", "[replication]") {
  const test::TempDir directory;
  Tree leader = open(directory / "leader", one_shard());
  ReplicationServer server = serve(leader, "unix:" + (directory / "s"), patient());
  REQUIRE(ReplicationClient::create(directory / "follower", server.address()).ok());
  Tree follower = open(directory / "follower");
  constexpr std::uint64_t kThere = 300, kLater = 100, kValue = 50;
  const std::string value(kValue, 'v');
  for (std::uint64_t key = 0; key < kThere; ++key) REQUIRE(leader.put(key, value).ok());
  {
    auto client = ReplicationClient::start(follower.collection(), server.address(), patient());
    REQUIRE(client.ok());
    REQUIRE(server.wait_for_followers(1, ~std::uint64_t{0}, 60000).ok());
  }
  ReplicationStats told;
  const auto ask = [&](std::uint64_t entries) {
    return comes([&] {
      bool away = false;
      server.replication_stats([&](std::string_view, bool connected, const ReplicationStats& one) {
        away = !connected;
        told = one;
      });
      return away && told.lag_entries == entries;
    });
  };
  REQUIRE(ask(0));
  CHECK(told.lag_bytes == 0);
  for (std::uint64_t key = 0; key < kLater; ++key) REQUIRE(leader.put(key, value).ok());
  REQUIRE(ask(kLater));
  // All entries are of one size; of the file's header it counts a share.
  const std::uint64_t bytes = kLater * format::entry_bytes(sizeof(std::uint64_t), kValue, false);
  const std::uint64_t header = format::kSegmentHeaderBytes;
  CHECK(told.lag_bytes >= bytes);
  CHECK(told.lag_bytes <= bytes + header * kLater / (kThere + kLater));
}

#endif  // !ARMDB_OMIT_THREADS && !ARMDB_OMIT_REPLICATION

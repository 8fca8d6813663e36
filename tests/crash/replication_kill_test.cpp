// kill -9 of leaders and followers: a follower never shows what the leader never had, never goes
// back, and ends with the same content.
//
// Two children, a leader that writes and a follower that reads, run over a Unix socket and are
// killed at random moments, one or both; the same directories live through all cycles. What the
// follower has shown stands in shared memory, so that it counts over its death. Now and then a
// third child lets both come to rest and compares all they have. Little is retained, so that some
// followers come too late and get copies. On either store: Fixed has no batches.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <type_traits>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/scale.hpp"
#include "support/shared_memory.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace armdb;

constexpr std::uint64_t kKeys = 97;
constexpr std::uint32_t kShards = 3;

// Lies in memory that survives the children.
struct Play {
  std::atomic<std::uint64_t> started;       // write 1 to this one may have happened
  std::atomic<std::uint64_t> shown[kKeys];  // by the follower: the highest write of each key
  std::atomic<std::uint64_t> batch_shown;   // the highest write of those that go to two keys
  std::atomic<std::uint64_t> reads, rests;
  std::atomic<bool> leading, following;
};

// What runs, and how it is secured.
struct Stage {
  std::string directory;
  bool encrypted = false;
  bool secured = false;
  [[nodiscard]] std::string address() const { return "unix:" + directory + "/socket"; }
  [[nodiscard]] std::string leader() const { return directory + "/leader"; }
  [[nodiscard]] std::string follower() const { return directory + "/follower"; }

  [[nodiscard]] FixedConfig config(bool leads) const {
    FixedConfig config;
    if (encrypted) config.encryption_key = ByteArray<32>{static_cast<std::uint8_t>(leads ? 1 : 2)};
    config.shard_count = leads ? kShards : 0;
    config.max_file_size = 64 << 10;
    config.write_buffer_size = 16 << 10;
    return config;
  }
  [[nodiscard]] ReplicationConfig replication() const {
    ReplicationConfig config;
    if (secured) config.pre_shared_key = ByteArray<32>{7};
    config.heartbeat_ms = 10;
    config.timeout_ms = 20000;
    config.retry_ms = 2;
    config.retain_bytes = 200 << 10;
    return config;
  }
};

// Leaves the child at once; the parent sees the number.
void require_in_child(bool holds, int number) {
  if (!holds) ::_exit(number);
}

using LogTree = VarTree<std::uint64_t>;
using SlotMap = FixedMap<std::uint64_t, ByteArray<48>>;

std::string value_of(const LogTree&, std::uint64_t n) {
  std::string value(8 + n * n % 500, static_cast<char>('a' + n % 26));
  std::memcpy(value.data(), &n, sizeof n);
  return value;
}

ByteArray<48> value_of(const SlotMap&, std::uint64_t n) {
  ByteArray<48> value;
  value.fill(static_cast<std::uint8_t>('a' + n % 26));
  std::memcpy(value.data(), &n, sizeof n);
  return value;
}

template <class Tree> std::uint64_t number_in(const Tree& tree, Bytes value) {
  std::uint64_t n = 0;
  require_in_child(value.size() >= sizeof n, 20);
  std::memcpy(&n, value.data(), sizeof n);
  require_in_child(value == Bytes(value_of(tree, n)), 21);
  return n;
}

// The number of the write that a key has its value from; 0 when it is not there.
std::uint64_t number_at(const LogTree& tree, std::uint64_t key) {
  const auto value = tree.get(key);
  require_in_child(value.ok(), 22);
  return *value ? number_in(tree, **value) : 0;
}
std::uint64_t number_at(const SlotMap& tree, std::uint64_t key) {
  const auto value = tree.get(key);
  return value ? number_in(tree, Bytes(*value)) : 0;
}

// Write `n` and, where it is a batch, the same at key kKeys and kKeys + 1, in shards of their own.
template <class Tree> Status write_one(Tree& tree, std::uint64_t n) {
  const std::uint64_t key = n % kKeys;
  if constexpr (std::is_same_v<Tree, LogTree>) {
    if (n % 7 == 0) {
      WriteBatch<Tree> batch(tree);
      for (const std::uint64_t at : {kKeys, kKeys + 1, kKeys + 2}) {
        Status status = batch.put(at, value_of(tree, n));
        if (!status.ok()) return status;
      }
      return batch.commit();
    }
  }
  if (n % 11 == 0) {
    Status status = tree.erase(key);
    return status.is(Errc::not_found) ? Status() : status;
  }
  return tree.put(key, value_of(tree, n));
}

template <class Tree> [[noreturn]] void lead(const Stage& stage, std::uint64_t cycle, Play& play) {
  auto tree = Tree::open(stage.leader(), stage.config(true));
  require_in_child(tree.ok(), 10);
  auto server = ReplicationServer::start(tree->collection(), stage.address(), stage.replication());
  require_in_child(server.ok(), 11);
  play.leading.store(true);
  base::Random random(cycle);
  for (;;) {
    const std::uint64_t n = play.started.fetch_add(1) + 1;
    require_in_child(write_one(*tree, n).ok(), 12);
    if (random.one_in(300)) require_in_child(tree->compact().ok(), 13);
    if (random.one_in(20)) ::usleep(static_cast<useconds_t>(random.below(2000)));
  }
}

// Reads everything again and again: forward only, and never ahead of the leader.
template <class Tree> [[noreturn]] void follow(const Stage& stage, Play& play) {
  auto tree = Tree::open(stage.follower(), stage.config(false));
  require_in_child(tree.ok(), 15);
  auto client = ReplicationClient::start(tree->collection(), stage.address(), stage.replication());
  require_in_child(client.ok(), 16);
  play.following.store(true);
  for (;;) {
    for (std::uint64_t key = 0; key < kKeys; ++key) {
      const std::uint64_t n = number_at(*tree, key);
      if (n == 0) continue;
      require_in_child(n <= play.started.load(), 23);
      require_in_child(n >= play.shown[key].load(), 24);
      play.shown[key].store(n);
    }
    play.reads.fetch_add(1);
  }
}

// Both in one process, until the follower has all; then they are compared.
template <class Tree> [[noreturn]] void rest(const Stage& stage, Play& play) {
  auto leader = Tree::open(stage.leader(), stage.config(true));
  require_in_child(leader.ok(), 30);
  auto server =
      ReplicationServer::start(leader->collection(), stage.address(), stage.replication());
  require_in_child(server.ok(), 31);
  auto follower = Tree::open(stage.follower(), stage.config(false));
  require_in_child(follower.ok(), 32);
  require_in_child(follower->stats().damaged_regions == 0, 33);
  auto client =
      ReplicationClient::start(follower->collection(), stage.address(), stage.replication());
  require_in_child(client.ok(), 34);
  require_in_child(server->wait_for_followers(1, ~std::uint64_t{0}, 60000).ok(), 35);
  require_in_child(leader->size() == follower->size(), 36);
  for (std::uint64_t key = 0; key < kKeys + 3; ++key) {
    require_in_child(number_at(*leader, key) == number_at(*follower, key), 39);
  }
  require_in_child(follower->verify()->damaged_regions == 0, 40);
  play.rests.fetch_add(1);
  client->stop();
  server->stop();
  require_in_child(leader->close().ok() && follower->close().ok(), 41);
  ::_exit(0);
}

// Whether a copy has come to some shards of the follower and not yet to all: its bytes "replacing"
// stand before the checksum of db.replica (src/FORMAT.md, 19).
bool is_uneven(const Stage& stage) {
  std::ifstream file(stage.follower() + "/db.replica", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  require_in_child(bytes.size() > 16, 55);
  const std::string replacing = bytes.substr(bytes.size() - 16, kShards);
  return replacing != std::string(kShards, 0);
}

// A follower that stands still has a batch over several shards whole or not at all.
[[noreturn]] void look_at_batches(const Stage& stage, Play& play) {
  if (is_uneven(stage)) ::_exit(0);
  auto tree = LogTree::open(stage.follower(), stage.config(false));
  require_in_child(tree.ok(), 50);
  std::uint64_t numbers[3] = {};
  for (std::uint64_t at = 0; at < 3; ++at) {
    numbers[at] = number_at(*tree, kKeys + at);
  }
  require_in_child(numbers[0] == numbers[1] && numbers[1] == numbers[2], 52);
  require_in_child(numbers[0] >= play.batch_shown.load(), 53);
  play.batch_shown.store(numbers[0]);
  require_in_child(tree->close().ok(), 54);
  ::_exit(0);
}

template <class Body> pid_t spawn(Body body) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) body();
  return child;
}

void require_end(pid_t child, bool killed) {
  int ending = 0;
  REQUIRE(::waitpid(child, &ending, 0) == child);
  INFO("ended with " << (WIFEXITED(ending) ? WEXITSTATUS(ending) : -WTERMSIG(ending)));
  REQUIRE((killed ? WIFSIGNALED(ending) && WTERMSIG(ending) == SIGKILL
                  : WIFEXITED(ending) && WEXITSTATUS(ending) == 0));
}

void kill_child(pid_t child) {
  ::kill(child, SIGKILL);
  require_end(child, true);
}

void await(const std::atomic<bool>& flag) {
  for (int tries = 0; tries < 100000 && !flag.load(); ++tries) ::usleep(100);
}

template <class Tree> void kill_many_times(bool encrypted, bool secured, std::uint64_t cycles) {
  const test::TempDir directory;
  const Stage stage{directory.path(), encrypted, secured};
  const test::SharedMemory<Play> play;
  require_end(spawn([&] {
                auto tree = Tree::open(stage.leader(), stage.config(true));
                auto server = ReplicationServer::start(tree->collection(), stage.address(),
                                                       stage.replication());
                require_in_child(server.ok(), 60);
                require_in_child(ReplicationClient::create(stage.follower(), stage.address(),
                                                           stage.config(false), stage.replication())
                                     .ok(),
                                 61);
                server->stop();
                require_in_child(tree->close().ok(), 62);
                ::_exit(0);
              }),
              false);
  base::Random random(cycles);
  pid_t leader = 0;
  pid_t follower = 0;
  for (std::uint64_t cycle = 1; cycle <= cycles; ++cycle) {
    INFO("cycle " << cycle);
    if (leader == 0) {
      play->leading.store(false);
      leader = spawn([&] { lead<Tree>(stage, cycle, *play); });
    }
    if (follower == 0 && random.below(6) != 0) {
      play->following.store(false);
      follower = spawn([&] { follow<Tree>(stage, *play); });
      if (cycle % 4 != 0) await(play->following);
    }
    if (cycle % 3 != 0) await(play->leading);
    ::usleep(static_cast<useconds_t>(random.below(40000)));
    const std::uint64_t which = random.below(3);
    if (which != 0) {
      kill_child(leader);
      leader = 0;
    }
    if (which != 1 && follower != 0) {
      kill_child(follower);
      follower = 0;
    }
    if (cycle % 8 != 0) continue;
    if (leader != 0) kill_child(leader);
    if (follower != 0) kill_child(follower);
    leader = follower = 0;
    if (std::is_same_v<Tree, LogTree>) {
      require_end(spawn([&] { look_at_batches(stage, *play); }), false);
    }
    require_end(spawn([&] { rest<Tree>(stage, *play); }), false);
  }
  if (leader != 0) kill_child(leader);
  if (follower != 0) kill_child(follower);
  require_end(spawn([&] { rest<Tree>(stage, *play); }), false);
  CHECK(play->started.load() > cycles);
  CHECK(play->reads.load() > 0);
  CHECK(play->rests.load() >= 1);
}

}  // namespace

TEST_CASE("kill -9: leaders and followers end with the same content",
          "[crash][kill][replication]") {
  SECTION("clear") { kill_many_times<LogTree>(false, false, test::scaled(24, 4)); }
#if ARMDB_WITH_OPENSSL
  SECTION("TLS, encrypted") { kill_many_times<LogTree>(true, true, test::scaled(16, 4)); }
#endif
}

TEST_CASE("kill -9: leaders and followers on the Fixed store end with the same content",
          "[crash][kill][replication][fixed]") {
  SECTION("clear") { kill_many_times<SlotMap>(false, false, test::scaled(24, 4)); }
#if ARMDB_WITH_OPENSSL
  SECTION("TLS, encrypted") { kill_many_times<SlotMap>(true, true, test::scaled(16, 4)); }
#endif
}

TEST_CASE("kill -9: leaders and followers, many cycles (long)",
          "[crash][kill][replication][slow]") {
  SECTION("clear") { kill_many_times<LogTree>(false, false, test::scaled(400, 4)); }
#if ARMDB_WITH_OPENSSL
  SECTION("TLS") { kill_many_times<LogTree>(false, true, test::scaled(200, 4)); }
  SECTION("TLS, encrypted") { kill_many_times<LogTree>(true, true, test::scaled(200, 4)); }
#endif
}

TEST_CASE("kill -9: leaders and followers on the Fixed store, many cycles (long)",
          "[crash][kill][replication][fixed][slow]") {
  SECTION("clear") { kill_many_times<SlotMap>(false, false, test::scaled(400, 4)); }
#if ARMDB_WITH_OPENSSL
  SECTION("TLS, encrypted") { kill_many_times<SlotMap>(true, true, test::scaled(200, 4)); }
#endif
}

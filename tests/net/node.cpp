// The lives of children.
#include "net/node.hpp"

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <thread>

#include "armdb.hpp"
#include "support/random.hpp"

namespace armdb::net {

namespace {

constexpr std::uint32_t kRestMs = 60000;  // to come to rest, on a good network

// ---- The two stores ----

void fill(std::uint8_t* value, std::size_t size, std::uint64_t n) {
  std::memset(value, static_cast<int>('a' + n % 26), size);
  std::memcpy(value, &n, sizeof n);
}

// On the log: values of many sizes.
struct OnLog {
  using Tree = VarTree<std::uint64_t>;
  using Settings = Config;
  static constexpr bool kLog = true;
  static std::string value_of(std::uint64_t n) {
    std::string value(sizeof n + n * n % 500, 0);
    fill(reinterpret_cast<std::uint8_t*>(value.data()), value.size(), n);
    return value;
  }
  static Result<std::optional<ByteView>> get(Tree& tree, std::uint64_t key) {
    return tree.get(key);
  }
  // Of a value of iter().
  static Bytes bytes_of(const Result<ByteView>& value) { return Bytes(*value); }
  static Status write_batch(Tree& tree, std::uint64_t n) {
    WriteBatch<Tree> batch(tree);
    for (std::uint64_t place = kSingles; place < kPlaces; ++place) {
      Status status = batch.put(key_of(place), value_of(n));
      if (!status.ok()) return status;
    }
    return batch.commit();
  }
};

struct OnSlots {
  using Tree = FixedTree<std::uint64_t, ByteArray<40>>;
  using Settings = FixedConfig;
  static constexpr bool kLog = false;
  static ByteArray<40> value_of(std::uint64_t n) {
    ByteArray<40> value{};
    fill(value.data(), value.size(), n);
    return value;
  }
  static Result<std::optional<ByteArray<40>>> get(Tree& tree, std::uint64_t key) {
    return tree.get(key);
  }
  static Bytes bytes_of(const ByteArray<40>& value) { return Bytes(value); }
  static Status write_batch(Tree&, std::uint64_t) {
    return Status(Errc::unsupported, "no batches there");
  }
};

// ---- A child's life, for either store ----

template <class Store> class Node {
 public:
  using Tree = typename Store::Tree;
  Node(const Stage& stage, unsigned host)
      : stage_(stage), host_(host), play_(*stage.play), history_(stage.play->history) {}

  [[noreturn]] void lead(std::uint64_t run);
  [[noreturn]] void follow();
  [[noreturn]] void create();
  [[noreturn]] void promote(bool at_rest);
  [[noreturn]] void look();

 private:
  typename Store::Settings settings() const;
  ReplicationConfig replication() const;
  void require(bool holds, const std::string& what) const;
  void require(const std::string& wrong) const { require(wrong.empty(), wrong); }
  void require(const Status& status, const char* doing) const {
    require(status.ok(), std::string(doing) + ": " + std::string(status.message()));
  }
  void say(std::string_view text) const;

  Tree open();
  std::string leader_address() const { return Network::address_of(play_.leader.load()); }
  Status write(Tree& tree, std::uint64_t n);
  std::uint64_t number_at(Tree& tree, std::uint64_t place) const;
  std::uint64_t number_in(Bytes value) const;
  void read_all(Tree& tree, Content& content) const;
  void read_in_order(Tree& tree, Content& content) const;
  void show_all(Tree& tree, bool in_order);
  void wait_for_followers(ReplicationServer& server, std::uint64_t run);
  void rest_leader(Tree& tree, ReplicationServer& server);
  void rest_follower(Tree& tree, ReplicationClient& client);

  const Stage& stage_;
  const unsigned host_;
  Play& play_;
  History& history_;
};

template <class Store> typename Store::Settings Node<Store>::settings() const {
  Config config;
  if (stage_.played.encrypted) {
    config.encryption_key = ByteArray<32>{static_cast<std::uint8_t>(host_ + 1)};
  }
  const bool first = host_ == 0 && history_.started.load() == 0;
  config.shard_count = first ? 3 : 0;
  config.shard_prefix_bits = first ? 8 : 0;
  config.max_file_size = 64 << 10;
  config.write_buffer_size = 16 << 10;
  config.reversed = false;
  config.log.callback = [](void* self, LogLevel, std::string_view text) {
    static_cast<const Node*>(self)->say(text);
  };
  config.log.context = const_cast<Node*>(this);
  return config;
}

template <class Store> ReplicationConfig Node<Store>::replication() const {
  ReplicationConfig config;
  if (stage_.played.secured) config.pre_shared_key = ByteArray<32>{7};
  config.allow_insecure = !stage_.played.secured;
  config.heartbeat_ms = 50;
  config.timeout_ms = 2000;
  config.retry_ms = 20;
  config.retain_bytes = std::uint64_t{100 << 10} << 4 * (history_.started.load() % 3);
  config.on_state = [](void* self, const ReplicationStats& stats) {
    const Node& node = *static_cast<const Node*>(self);
    Play::Host& host = node.play_.hosts[node.host_];
    if (stats.state == ReplicationState::copying) {
      node.history_.uneven[node.host_].store(true);  // before any of the copy is there
      host.copies.fetch_add(1);
    }
    if (stats.state == ReplicationState::streaming) host.heard.store(true);
    if (stats.state == ReplicationState::connecting) host.conversations.fetch_add(1);
    node.say(std::string(replication_state_name(stats.state)) + " " +
             std::string(stats.last_error.message()));
  };
  config.context = const_cast<Node*>(this);
  return config;
}

template <class Store> void Node<Store>::say(std::string_view text) const {
  std::ofstream log(stage_.path_of(host_) + ".log", std::ios::app);
  log << std::chrono::steady_clock::now().time_since_epoch() / std::chrono::milliseconds(1) << ' '
      << ::getpid() << ' ' << text << '\n';
}

template <class Store> void Node<Store>::require(bool holds, const std::string& what) const {
  if (holds) return;
  say(what);
  std::fprintf(stderr, "FAILED host %u: %s\n", host_, what.c_str());
  ::_exit(1);
}

template <class Store> typename Store::Tree Node<Store>::open() {
  auto tree = Tree::open(stage_.path_of(host_), settings());
  require(tree.status(), "open");
  require(tree->stats().damaged_regions == 0, "damage was found by opening");
  say("opened, after write " + std::to_string(history_.started.load()));
  return *std::move(tree);
}

// ---- Reading and writing ----

template <class Store> Status Node<Store>::write(Tree& tree, std::uint64_t n) {
  if (history_.is_batch(n)) return Store::write_batch(tree, n);
  const std::uint64_t key = key_of(n % kSingles);
  if (!history_.erases(n)) return tree.put(key, Store::value_of(n));
  Status status = tree.erase(key);
  return status.is(Errc::not_found) ? Status() : status;
}

template <class Store> std::uint64_t Node<Store>::number_in(Bytes value) const {
  std::uint64_t n = 0;
  require(value.size() >= sizeof n, "a value is cut");
  std::memcpy(&n, value.data(), sizeof n);
  const auto whole = Store::value_of(n);
  require(n != 0 && value.size() == whole.size() &&
              std::memcmp(value.data(), whole.data(), whole.size()) == 0,
          "a value is none that was written");
  return n;
}

template <class Store> std::uint64_t Node<Store>::number_at(Tree& tree, std::uint64_t place) const {
  const auto value = Store::get(tree, key_of(place));
  require(value.status(), "get");
  return *value ? number_in(Bytes(**value)) : 0;
}

template <class Store> void Node<Store>::read_all(Tree& tree, Content& content) const {
  for (std::uint64_t place = 0; place < kPlaces; ++place) content[place] = number_at(tree, place);
}

template <class Store> void Node<Store>::read_in_order(Tree& tree, Content& content) const {
  std::memset(content, 0, sizeof content);
  std::uint64_t before = 0;
  for (auto&& [key, value] : tree.iter()) {
    const std::uint64_t place = key & ~(std::uint64_t{255} << 56);
    require(place < kPlaces && key == key_of(place), "a key that nobody wrote");
    require(place == 0 || key > before, "a scan that is out of order");
    before = key;
    content[place] = number_in(Store::bytes_of(value));
  }
}

template <class Store> void Node<Store>::show_all(Tree& tree, bool in_order) {
  Content content;
  if (in_order) read_in_order(tree, content);
  bool news = false;
  for (std::uint64_t place = 0; place < kPlaces; ++place) {
    const std::atomic<std::uint64_t>& shown = history_.shown[host_][place];
    const std::uint64_t before = shown.load();
    require(history_.show(host_, place, in_order ? content[place] : number_at(tree, place)));
    news = news || shown.load() != before;
  }
  play_.hosts[host_].news.fetch_add(news ? 1 : 0);
  play_.hosts[host_].reads.fetch_add(1);
}

// ---- The leader ----

template <class Store> void Node<Store>::lead(std::uint64_t run) {
  Tree tree = open();
  Content content;
  read_all(tree, content);
  require(history_.settle_leader(content, tree.stats().written_survives_kill));
  auto server = ReplicationServer::start(tree.collection(), leader_address(), replication());
  require(server.status(), "serve");
  play_.hosts[host_].up.store(true);
  std::thread waiter([&] { wait_for_followers(*server, run); });
  base::Random random(stage_.seed + run);
  // Some leaders write faster than the network carries, and than is kept for followers.
  const std::uint64_t pause_every = random.one_in(4) ? 200 : 20;
  for (;;) {
    if (play_.rest.load() != play_.hosts[host_].rested.load() && play_.rest.load() != 0) {
      rest_leader(tree, *server);
      continue;
    }
    if (play_.rest.load() != 0) {
      ::usleep(1000);
      continue;
    }
    const std::uint64_t n = history_.started.fetch_add(1) + 1;
    require(n < kWritesMax, "more writes than the history holds");
    require(write(tree, n), "write");
    history_.completed.store(n);
    if (random.one_in(1000)) require(tree.compact(), "compact");
    if (random.one_in(pause_every)) ::usleep(static_cast<useconds_t>(random.below(60000)));
  }
}

// A promise is kept for good, and is written down as soon as it is given.
template <class Store>
void Node<Store>::wait_for_followers(ReplicationServer& server, std::uint64_t run) {
  base::Random random(stage_.seed + run + 1);
  for (;;) {
    const std::uint64_t all = history_.completed.load();
    const auto count = static_cast<std::uint32_t>(1 + random.below(kHosts - 1));
    const Status status = server.wait_for_followers(count, ~std::uint64_t{0},
                                                    static_cast<std::uint32_t>(random.below(500)));
    require(status.ok() || status.is(Errc::timed_out),
            "wait_for_followers: " + std::string(status.message()));
    (status.ok() ? play_.promises : play_.refusals).fetch_add(1);
    if (status.ok() && all > history_.promised[count].load()) history_.promised[count].store(all);
    ::usleep(5000);
  }
}

template <class Store> void Node<Store>::rest_leader(Tree& tree, ReplicationServer& server) {
  const std::uint64_t rest = play_.rest.load();
  require(server.wait_for_followers(kHosts - 1, ~std::uint64_t{0}, kRestMs), "come to rest");
  read_all(tree, play_.hosts[host_].content);
  play_.hosts[host_].rested.store(rest);
}

// ---- A follower ----

template <class Store> void Node<Store>::follow() {
  Tree tree = open();
  auto client = ReplicationClient::start(tree.collection(), leader_address(), replication());
  require(client.status(), "follow");
  play_.hosts[host_].up.store(true);
  for (std::uint64_t round = 0;; ++round) {
    show_all(tree, round % 4 == 0);
    const std::uint64_t rest = play_.rest.load();
    if (rest == 0 || rest == play_.hosts[host_].rested.load() ||
        rest != play_.hosts[play_.leader.load()].rested.load()) {
      ::usleep(1000);  // the processors have more to do than to read
      continue;
    }
    rest_follower(tree, *client);
    play_.hosts[host_].rested.store(rest);
  }
}

// The leader has been told that all of it is here.
template <class Store> void Node<Store>::rest_follower(Tree& tree, ReplicationClient& client) {
  const Content& wanted = play_.hosts[play_.leader.load()].content;
  Content& content = play_.hosts[host_].content;
  read_in_order(tree, content);
  require(std::memcmp(content, wanted, sizeof wanted) == 0, "a scan at rest shows other content");
  read_all(tree, content);
  require(std::memcmp(content, wanted, sizeof wanted) == 0, "reads at rest show other content");
  std::uint64_t count = 0;
  for (const std::uint64_t n : content) count += n != 0 ? 1 : 0;
  require(tree.size() == count, "size() is not what is there");
  ReplicationStats stats;
  for (std::uint32_t waited = 0; waited < kRestMs; ++waited) {
    stats = client.replication_stats();
    if (stats.state == ReplicationState::streaming && stats.lag_entries == 0) break;
    ::usleep(1000);
  }
  require(stats.state == ReplicationState::streaming, "it is level, and does not stream");
  history_.uneven[host_].store(false);
  history_.parted[host_].store(false);
  const auto behind =
      ReplicationClient::compare(tree.collection(), leader_address(), replication());
  require(behind.status(), "compare");
  require(behind->lag_entries == 0 && behind->resyncs == 0, "compare() finds a difference");
}

template <class Store> void Node<Store>::create() {
  require(
      ReplicationClient::create(stage_.path_of(host_), leader_address(), settings(), replication()),
      "create a follower");
  ::_exit(0);
}

template <class Store> void Node<Store>::promote(bool at_rest) {
  Tree tree = open();
  const Status status = ReplicationClient::promote(tree.collection());
  if (!at_rest && status.is(Errc::failed)) ::_exit(kUnable);  // amid a copy
  require(status, "promote");
  if (!at_rest) {
    Content content;
    read_all(tree, content);
    require(history_.judge_standing(host_, content));
    require(history_.take_over(host_, content));
  }
  require(tree.close(), "close");
  ::_exit(0);
}

template <class Store> void Node<Store>::look() {
  Tree tree = open();
  Content& content = play_.hosts[host_].content;
  read_in_order(tree, content);
  if (host_ != play_.leader.load()) require(history_.judge_standing(host_, content));
  const auto report = tree.verify();
  require(report.status(), "verify");
  require(report->damaged_regions == 0, "verify() finds damage");
  require(tree.close(), "close");
  ::_exit(0);
}

// Calls `body` with a Node of the store that is played.
template <class Body> [[noreturn]] void on_stage(const Stage& stage, unsigned host, Body body) {
  if (stage.played.fixed) {
    Node<OnSlots> node(stage, host);
    body(node);
  } else {
    Node<OnLog> node(stage, host);
    body(node);
  }
  ::_exit(1);
}

}  // namespace

void lead(const Stage& stage, unsigned host, std::uint64_t run) {
  stage.network->enter(host);
  on_stage(stage, host, [&](auto& node) { node.lead(run); });
}

void follow(const Stage& stage, unsigned host) {
  stage.network->enter(host);
  on_stage(stage, host, [](auto& node) { node.follow(); });
}

void create(const Stage& stage, unsigned host) {
  stage.network->enter(host);
  on_stage(stage, host, [](auto& node) { node.create(); });
}

void promote(const Stage& stage, unsigned host, bool at_rest) {
  on_stage(stage, host, [&](auto& node) { node.promote(at_rest); });
}

void look(const Stage& stage, unsigned host) {
  on_stage(stage, host, [](auto& node) { node.look(); });
}

}  // namespace armdb::net

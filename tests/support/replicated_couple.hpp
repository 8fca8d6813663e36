// A leader and a follower of one shape over a Unix socket, which can be stopped and started again.
#pragma once

#include <chrono>
#include <string>
#include <thread>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace armdb::test {

inline ReplicationConfig quick() {
  ReplicationConfig config;
  config.heartbeat_ms = 20;
  config.timeout_ms = 5000;
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

template <class Collection, class Settings = Config> class Couple {
 public:
  explicit Couple(const Settings& config, const ReplicationConfig& replication = quick())
      : config_(config), replication_(replication) {
    follower_config_ = config;
    follower_config_.shard_count = 0;
    open_leader();
    serve();
    const Status created = ReplicationClient::create(directory_ / "follower", server_.address(),
                                                     follower_config_, replication_);
    INFO(created.message());
    REQUIRE(created.ok());
    open_follower();
  }

  void open_leader() {
    auto opened = Collection::open(directory_ / "leader", config_);
    INFO(opened.message());
    REQUIRE(opened.ok());
    leader = std::move(*opened);
  }
  void serve() {
    auto server = ReplicationServer::start(leader.collection(), "unix:" + (directory_ / "socket"),
                                           replication_);
    INFO(server.message());
    REQUIRE(server.ok());
    server_ = std::move(*server);
  }
  void open_follower() {
    auto opened = Collection::open(directory_ / "follower", follower_config_);
    INFO(opened.message());
    REQUIRE(opened.ok());
    follower = std::move(*opened);
  }
  void follow() {
    auto client = ReplicationClient::start(follower.collection(), "unix:" + (directory_ / "socket"),
                                           replication_);
    INFO(client.message());
    REQUIRE(client.ok());
    client_ = std::move(*client);
  }
  void stop_follower() { client_ = ReplicationClient(); }
  void stop_serving() { server_ = ReplicationServer(); }
  void wait() {
    const Status waited = server_.wait_for_followers(1, ~std::uint64_t{0}, 30000);
    INFO(waited.message());
    INFO(client_.replication_stats().last_error.message());
    INFO(server_.last_error().message());
    REQUIRE(waited.ok());
  }
  ReplicationServer& server() { return server_; }
  ReplicationClient& client() { return client_; }
  const TempDir& directory() const { return directory_; }

  Collection leader, follower;

 private:
  const TempDir directory_;
  Settings config_, follower_config_;
  ReplicationConfig replication_;
  ReplicationServer server_;
  ReplicationClient client_;
};

}  // namespace armdb::test

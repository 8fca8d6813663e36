// The handles of replication.
#include "api/replication.hpp"

#include <new>

#include "base/errors.hpp"
#include "replica/client.hpp"
#include "replica/server.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb {

namespace {

static_assert(static_cast<int>(ReplicationState::refused) ==
              static_cast<int>(replica::Phase::refused));

ReplicationStats stats_of(const replica::Progress& progress) {
  ReplicationStats stats;
  stats.state = static_cast<ReplicationState>(progress.phase);
  stats.term = progress.term;
  stats.lag_entries = progress.lag_entries;
  stats.lag_bytes = progress.lag_bytes;
  stats.lag_ms = progress.lag_ms;
  stats.resyncs = progress.resyncs;
  stats.last_error = progress.last_error;
  return stats;
}

Status options_of(const ReplicationConfig& config, replica::Options& options) {
  if (config.name.size() > replica::kNameBytesMax) {
    return Status(Errc::invalid_argument, "ReplicationConfig::name has 255 bytes at most");
  }
  if (config.heartbeat_ms == 0 || config.timeout_ms < 2 * config.heartbeat_ms) {
    return Status(Errc::invalid_argument,
                  "ReplicationConfig::heartbeat_ms must be 1 at least, timeout_ms twice as long");
  }
  if (config.retry_ms == 0 || config.followers_max == 0) {
    return Status(Errc::invalid_argument,
                  "ReplicationConfig::retry_ms and followers_max must be 1 at least");
  }
  options.name = config.name;
  options.allow_insecure = config.allow_insecure;
  options.ship_early = config.ship_early;
  options.retain_bytes = config.retain_bytes;
  options.followers_max = config.followers_max;
  options.heartbeat_ms = config.heartbeat_ms;
  options.timeout_ms = config.timeout_ms;
  options.retry_ms = config.retry_ms;
  const bool files = !config.certificate_file.empty() || !config.private_key_file.empty() ||
                     !config.ca_file.empty();
  if (files && !config.pre_shared_key.empty()) {
    return Status(Errc::invalid_argument,
                  "give ReplicationConfig a pre_shared_key or certificates, not both");
  }
  if (config.pre_shared_key.is_passphrase()) {
    return Status(Errc::invalid_argument,
                  "ReplicationConfig::pre_shared_key must be 32 random bytes: a passphrase could "
                  "be guessed by whoever answers");
  }
  options.secured = files || !config.pre_shared_key.empty();
  options.tls.use_psk = !config.pre_shared_key.empty();
  options.tls.psk = config.pre_shared_key.bytes();
  options.tls.identity = "armdb";
  options.tls.certificate_file = config.certificate_file;
  options.tls.key_file = config.private_key_file;
  options.tls.ca_file = config.ca_file;
  options.tls.peer_name = config.peer_name;
  return {};
}

}  // namespace

std::string_view replication_state_name(ReplicationState state) noexcept {
  constexpr std::string_view kNames[] = {"stopped",     "connecting", "copying",
                                         "catching_up", "streaming",  "refused"};
  return kNames[static_cast<std::size_t>(state)];
}

// ---- The leader ----

struct ReplicationServer::State {
  explicit State(replica::Options options) : server(std::move(options)) {}
  replica::Server server;
};

ReplicationServer::ReplicationServer(ReplicationServer&& other) noexcept
    : state_(std::exchange(other.state_, nullptr)) {}

ReplicationServer& ReplicationServer::operator=(ReplicationServer&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}

ReplicationServer::~ReplicationServer() { delete state_; }

Result<ReplicationServer> ReplicationServer::start(Collection& collection, std::string_view address,
                                                   const ReplicationConfig& config) {
  replica::Options options;
  Status status = options_of(config, options);
  if (!status.ok()) return status;
  ReplicationServer server;
  server.state_ = new (std::nothrow) State(std::move(options));
  if (server.state_ == nullptr) return base::out_of_memory("no memory for a server");
  status = server.state_->server.open(address);
  if (status.ok()) status = server.add(collection, config.name);
  if (status.ok()) status = server.state_->server.start();
  if (!status.ok()) return status;
  return server;
}

Status ReplicationServer::add(Collection& collection, std::string_view name) {
  if (state_ == nullptr || !collection.is_open()) return base::not_open();
  return state_->server.add(*collection.engine_, std::string(name));
}

std::string ReplicationServer::address() const {
  return state_ == nullptr ? std::string() : state_->server.address();
}

Status ReplicationServer::wait_for_followers(std::uint32_t count, std::uint64_t sequence,
                                             std::uint32_t timeout_ms, std::string_view name) {
  if (state_ == nullptr) return base::not_open();
  replica::Source* source = state_->server.find(std::string(name));
  if (source == nullptr) {
    return base::failure(Errc::not_found, "no collection is served by the name \"%\"", {name});
  }
  return source->wait_for(count, sequence, timeout_ms);
}

void ReplicationServer::replication_stats(
    FunctionRef<void(std::string_view, bool, const ReplicationStats&)> visit,
    std::string_view name) const {
  if (state_ == nullptr) return;
  replica::Source* const source = state_->server.find(std::string(name));
  if (source == nullptr) return;
  source->visit([&](const replica::Source::Follower& follower) {
    visit(follower.peer, follower.connected, stats_of(follower.progress));
  });
}

Status ReplicationServer::last_error() const {
  return state_ == nullptr ? Status() : state_->server.last_error();
}

void ReplicationServer::stop() {
  if (state_ != nullptr) state_->server.stop();
}

// ---- The follower ----

struct ReplicationClient::State {
  State(engine::Engine& engine, replica::Options options, const ReplicationConfig& config)
      : on_state(config.on_state),
        context(config.context),
        client(
            engine, std::move(options),
            [](void* self, const replica::Progress& progress) {
              const State& state = *static_cast<State*>(self);
              if (state.on_state != nullptr) state.on_state(state.context, stats_of(progress));
            },
            this) {}
  void (*const on_state)(void*, const ReplicationStats&);
  void* const context;
  replica::Client client;
};

ReplicationClient::ReplicationClient(ReplicationClient&& other) noexcept
    : state_(std::exchange(other.state_, nullptr)) {}

ReplicationClient& ReplicationClient::operator=(ReplicationClient&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}

ReplicationClient::~ReplicationClient() { delete state_; }

Status ReplicationClient::create(std::string_view path, std::string_view address,
                                 const FixedConfig& config, const ReplicationConfig& replication) {
  replica::Options options;
  Status status = options_of(replication, options);
  if (!status.ok()) return status;
  return replica::create_follower(std::string(path), address, config, options);
}

Result<ReplicationClient> ReplicationClient::start(Collection& collection, std::string_view address,
                                                   const ReplicationConfig& config) {
  if (!collection.is_open()) return base::not_open();
  replica::Options options;
  Status status = options_of(config, options);
  if (!status.ok()) return status;
  ReplicationClient client;
  client.state_ = new (std::nothrow) State(*collection.engine_, std::move(options), config);
  if (client.state_ == nullptr) return base::out_of_memory("no memory for a follower");
  status = client.state_->client.start(address);
  if (!status.ok()) return status;
  return client;
}

Status ReplicationClient::promote(Collection& collection) {
  if (!collection.is_open()) return base::not_open();
  return replica::promote(*collection.engine_);
}

Result<ReplicationStats> ReplicationClient::compare(Collection& collection,
                                                    std::string_view address,
                                                    const ReplicationConfig& config) {
  if (!collection.is_open()) return base::not_open();
  replica::Options options;
  Status status = options_of(config, options);
  replica::Progress progress;
  if (status.ok()) status = replica::compare(*collection.engine_, address, options, progress);
  if (!status.ok()) return status;
  return stats_of(progress);
}

ReplicationStats ReplicationClient::replication_stats() const {
  return state_ == nullptr ? ReplicationStats() : stats_of(state_->client.progress());
}

void ReplicationClient::stop() {
  if (state_ != nullptr) state_->client.stop();
}

}  // namespace armdb

#endif  // !ARMDB_OMIT_REPLICATION

// Following: one conversation after the other, with a pause between them.
#include "replica/client.hpp"

#include <algorithm>
#include "base/errors.hpp"
#include "replica/history.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::replica {

namespace {

Status make_tls(const Options& options, std::unique_ptr<crypto::TlsContext>& tls) {
  if (!options.secured) return {};
  Result<std::unique_ptr<crypto::TlsContext>> made = crypto::TlsContext::make(options.tls, false);
  if (!made.ok()) return std::move(made).status();
  tls = std::move(*made);
  return {};
}

// Connects and, where there is a key, proves who is who.
Result<std::unique_ptr<os::Stream>> connect_to(const os::Address& address, const Options& options,
                                               crypto::TlsContext* tls,
                                               os::Waker* ending = nullptr) {
  Result<std::unique_ptr<os::Stream>> stream = os::connect(address, options.timeout_ms, ending);
  if (!stream.ok() || tls == nullptr) return stream;
  return crypto::tls_handshake(*tls, std::move(*stream), options.timeout_ms, ending);
}

// Asks what is served there, in a conversation of its own.
Status ask(std::string_view address, const Options& options, format::Hello& leader) {
  const Result<os::Address> parsed = address_of(address, options);
  if (!parsed.ok()) return parsed.status();
  std::unique_ptr<crypto::TlsContext> tls;
  Status status = make_tls(options, tls);
  if (!status.ok()) return status;
  Result<std::unique_ptr<os::Stream>> stream = connect_to(*parsed, options, tls.get());
  if (!stream.ok()) return std::move(stream).status();
  Channel channel(std::move(*stream), options.timeout_ms);
  return ask_leader(channel, options.name, leader);
}

// What a leader ships must not come in between.
Status promote_alone(engine::Engine& engine) {
  store::ReplicaState state = engine.replica_state();
  if (!state.follower) {
    return Status(Errc::invalid_argument, "the collection is no follower").at(engine.path());
  }
  for (const std::uint8_t replacing : state.replacing) {
    // Damage may have left nobody who has more.
    if (replacing == format::kWhole || replacing == format::kHoles) continue;
    return Status(Errc::failed,
                  "a copy of the leader is not complete in all shards: this follower cannot take "
                  "its place; promote another one, or let this one finish")
        .at(engine.path());
  }
  // What is there counts from here on: no power cut may take any of it.
  Status status = engine.sync();
  std::replace(state.replacing.begin(), state.replacing.end(), std::uint8_t{format::kHoles},
               std::uint8_t{format::kWhole});
  if (status.ok()) status = engine.begin_own_numbering();
  return status.ok() ? enter_term(engine, std::move(state), true) : status;
}

}  // namespace

Status create_follower(const std::string& path, std::string_view address, const FixedConfig& config,
                       const Options& options) {
  format::Hello leader;
  Status status = ask(address, options, leader);
  if (!status.ok()) return status;
  engine::Engine::Origin origin;
  origin.shape = leader.shape;
  origin.shard_count = static_cast<std::uint32_t>(leader.sequences.size());
  origin.shard_prefix_bits = leader.shard_prefix_bits;
  origin.hash_seed = leader.hash_seed;
  origin.lineage = leader.lineage;
  return engine::Engine::create_follower(path, config, origin);
}

Status compare(engine::Engine& engine, std::string_view address, const Options& options,
               Progress& progress) {
  format::Hello leader;
  Status status = ask(address, options, leader);
  const store::ReplicaState state = engine.replica_state();
  if (status.ok()) status = check_leader(engine.origin(), state, leader);
  if (!status.ok()) return status;
  progress.term = leader.terms.empty() ? 0 : leader.terms.back().number;
  for (std::uint32_t at = 0; at < engine.shard_count(); ++at) {
    const std::uint64_t last = engine.position(at);
    const std::uint64_t common = std::min(last, common_end(state.terms, leader.terms, at));
    const std::uint8_t replacing = state.replacing[at];
    const bool awaits = replacing != format::kWhole && replacing != format::kUneven;
    if (common < last || awaits) ++progress.resyncs;
    if (leader.sequences[at] > common) progress.lag_entries += leader.sequences[at] - common;
  }
  return {};
}

Status promote(engine::Engine& engine) {
  if (!engine.begin_following()) {
    return Status(Errc::invalid_argument,
                  "a ReplicationClient still follows with this collection: stop it, then promote()")
        .at(engine.path());
  }
  Status status = promote_alone(engine);
  engine.end_following();
  return status;
}

Status Client::start(std::string_view text) {
  following_ = engine_.begin_following();
  if (!following_) {
    return Status(Errc::locked, "another ReplicationClient follows with this collection: stop it")
        .at(engine_.path());
  }
  const Result<os::Address> address = address_of(text, options_);
  Status status = address.status();
  store::ReplicaState state = engine_.replica_state();
  if (status.ok() && !state.follower && state.terms.empty() && engine_.size() != 0) {
    status = Status(Errc::invalid_argument,
                    "the collection has entries of its own, and is no follower: make one with "
                    "ReplicationClient::create()")
                 .at(engine_.path());
  }
  if (status.ok()) status = make_tls(options_, tls_);
  if (status.ok()) status = os::Waker::make(waker_);
  if (status.ok()) status = os::Waker::make(ending_);
  // A former leader that is started as a follower takes no writes from here on.
  state.follower = true;
  if (status.ok()) status = engine_.save_replica_state(std::move(state));
  if (!status.ok()) return status;
  address_ = *address;
  return thread_.start([](void* self) { static_cast<Client*>(self)->run(); }, this);
}

void Client::stop() {
  stopping_.store(true, std::memory_order_release);
  if (ending_ != nullptr) ending_->wake();
  if (waker_ != nullptr) waker_->wake();
  {
    const base::MutexLock lock(pause_mutex_);
    pause_.notify_all();
  }
  thread_.join();
  if (std::exchange(following_, false)) engine_.end_following();
}

Progress Client::progress() const {
  const base::MutexLock lock(mutex_);
  return progress_;
}

void Client::tell(const Progress& progress) {
  bool changed = false;
  {
    const base::MutexLock lock(mutex_);
    changed = progress_.phase != progress.phase || progress_.resyncs != progress.resyncs;
    progress_ = progress;
  }
  if (changed && changed_ != nullptr) changed_(context_, progress);
}

void Client::run() {
  os::give_way();
  while (!stopping_.load(std::memory_order_acquire)) {
    own_.phase = Phase::connecting;
    tell(own_);
    const Status status = follow_once();
    own_.last_error = status;
    const bool refused = status.is(Errc::fenced) || status.is(Errc::format_mismatch) ||
                         status.is(Errc::shape_mismatch) || status.is(Errc::wrong_key);
    own_.phase = refused ? Phase::refused : Phase::connecting;
    if (status.is(Errc::closed) && engine_.closed()) break;
    tell(own_);
    const base::MutexLock lock(pause_mutex_);
    if (!stopping_.load(std::memory_order_acquire)) {
      static_cast<void>(pause_.wait_for_ms(pause_mutex_, options_.retry_ms));
    }
  }
  own_.phase = Phase::stopped;
  tell(own_);
}

Status Client::follow_once() {
  Result<std::unique_ptr<os::Stream>> stream =
      connect_to(address_, options_, tls_.get(), ending_.get());
  if (!stream.ok()) return std::move(stream).status();
  Channel channel(std::move(*stream), options_.timeout_ms, ending_.get());
  const auto told = [&](const Progress& progress) { tell(progress); };
  FollowerSession session(channel, engine_, options_, *waker_, told);
  return session.run(own_, stopping_);
}

}  // namespace armdb::replica

#endif  // !ARMDB_OMIT_REPLICATION

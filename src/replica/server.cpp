// Taking connections: whom to believe, how many, and when to end.
#include "replica/server.hpp"

#include <algorithm>

#include "base/errors.hpp"
#include "base/log.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::replica {

namespace {

constexpr std::uint32_t kAcceptPauseMs = 100;  // when the system has no descriptor left
// Of connections that have not proved who they are: those take no follower's place.
constexpr std::size_t kHandshakesMax = 16;
constexpr std::uint32_t kHandshakeMs = 5000;

}  // namespace

Result<os::Address> address_of(std::string_view text, const Options& options) {
  Result<os::Address> address = os::parse_address(text);
  if (!address.ok() || options.secured || options.allow_insecure || os::is_local(*address)) {
    return address;
  }
  return base::failure(Errc::invalid_argument,
                       "% is reached from other machines: give a pre_shared_key or certificates, "
                       "or set allow_insecure",
                       {text});
}

Status Server::add(engine::Engine& engine, const std::string& name) {
  if (find(name) != nullptr) {
    return base::failure(Errc::key_exists, "a collection is served by the name \"%\" already",
                         {name});
  }
  auto source = std::make_unique<Source>(engine, name, options_);
  Status status = source->begin();
  if (!status.ok()) return status;
  const base::MutexLock lock(mutex_);
  sources_.push_back(std::move(source));
  return {};
}

Source* Server::find(const std::string& name) const {
  const base::MutexLock lock(mutex_);
  for (const auto& source : sources_) {
    if (source->name() == name) return source.get();
  }
  return nullptr;
}

Status Server::open(std::string_view text) {
  const Result<os::Address> address = address_of(text, options_);
  if (!address.ok()) return address.status();
  if (options_.secured) {
    Result<std::unique_ptr<crypto::TlsContext>> tls = crypto::TlsContext::make(options_.tls, true);
    if (!tls.ok()) return std::move(tls).status();
    tls_ = std::move(*tls);
  }
  Result<std::unique_ptr<os::Listener>> listener = os::Listener::listen(*address);
  if (!listener.ok()) return std::move(listener).status();
  listener_ = std::move(*listener);
  return os::Waker::make(ending_);
}

Status Server::start() {
  return thread_.start([](void* self) { static_cast<Server*>(self)->accept_all(); }, this);
}

void Server::stop() {
  stopping_.store(true, std::memory_order_release);
  if (ending_ != nullptr) ending_->wake();
  if (listener_ != nullptr) listener_->close();
  thread_.join();
  {
    const base::MutexLock lock(mutex_);
    for (const auto& source : sources_) source->stop();
    for (const auto& session : sessions_) session->waker->wake();
  }
  reap(true);
}

Status Server::last_error() const {
  const base::MutexLock lock(mutex_);
  return error_;
}

void Server::note(const Status& status) {
  const base::MutexLock lock(mutex_);
  error_ = status;
}

void Server::accept_all() {
  while (!stopping_.load(std::memory_order_acquire)) {
    constexpr std::uint32_t kReapMs = 1000;
    Result<std::unique_ptr<os::Stream>> stream = listener_->accept(kReapMs, nullptr);
    reap(false);
    if (stream.is(Errc::closed)) return;
    if (!stream.ok()) {
      note(stream.status());
      base::Mutex pause;
      const base::MutexLock lock(pause);
      base::ConditionVariable never;
      static_cast<void>(never.wait_for_ms(pause, kAcceptPauseMs));
      continue;
    }
    if (*stream == nullptr) continue;
    auto session = std::make_unique<Session>();
    session->server = this;
    session->stream = std::move(*stream);
    Status status = os::Waker::make(session->waker);
    const base::MutexLock lock(mutex_);
    if (status.ok() && count(false) >= kHandshakesMax) {
      status = base::failure(Errc::too_large, "% peers are proving who they are: % was turned away",
                             {std::uint64_t{kHandshakesMax}, session->stream->peer()});
    }
    if (status.ok()) {
      status = session->thread.start(
          [](void* own) {
            auto& running = *static_cast<Session*>(own);
            os::give_way();
            running.server->serve(running);
            running.ended.store(true, std::memory_order_release);
          },
          session.get());
    }
    if (status.ok()) {
      sessions_.push_back(std::move(session));
    } else {
      error_ = std::move(status);
    }
  }
}

void Server::reap(bool all) {
  std::vector<std::unique_ptr<Session>> ended;
  {
    const base::MutexLock lock(mutex_);
    for (auto& session : sessions_) {
      if (all || session->ended.load(std::memory_order_acquire))
        ended.push_back(std::move(session));
    }
    std::erase(sessions_, nullptr);
  }
  // Their threads are joined outside the lock, which they may still take.
}

std::size_t Server::count(bool proven) const {
  std::size_t sessions = 0;
  for (const auto& session : sessions_) {
    const bool running = !session->ended.load(std::memory_order_acquire);
    sessions += running && session->proven.load(std::memory_order_acquire) == proven ? 1 : 0;
  }
  return sessions;
}

Status Server::admit(Session& session) {
  const base::MutexLock lock(mutex_);
  if (count(true) < options_.followers_max) {
    session.proven.store(true, std::memory_order_release);
    return {};
  }
  return base::failure(Errc::too_large,
                       "the server has % followers already: raise ReplicationConfig::followers_max",
                       {std::uint64_t{options_.followers_max}});
}

// Nothing but the handshake happens for a peer that has not proved who it is.
void Server::serve(Session& session) {
  std::unique_ptr<os::Stream> stream = std::move(session.stream);
  if (tls_ != nullptr) {
    Result<std::unique_ptr<os::Stream>> secured = crypto::tls_handshake(
        *tls_, std::move(stream), std::min(options_.timeout_ms, kHandshakeMs), ending_.get());
    if (!secured.ok()) return note(secured.status());
    stream = std::move(*secured);
  }
  Channel channel(std::move(stream), options_.timeout_ms, ending_.get());
  Status admitted = admit(session);
  if (!admitted.ok()) {
    static_cast<void>(channel.send_refusal(admitted.code(), admitted.message()));
    return note(admitted);
  }
  LeaderSession conversation(channel, options_, *session.waker);
  const Status status =
      conversation.run([&](const std::string& name) { return find(name); }, stopping_);
  if (!status.ok()) note(status);
}

}  // namespace armdb::replica

#endif  // !ARMDB_OMIT_REPLICATION

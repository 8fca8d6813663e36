// Server: takes connections and runs a session, with a thread of its own, for each.
//
// Threads: start(), stop() and the destructor by one owner; add(), find() and the rest by any.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/mutex.hpp"
#include "os/thread.hpp"
#include "replica/leader.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::replica {

class Server {
 public:
  explicit Server(Options options) : options_(std::move(options)) {}
  ~Server() { stop(); }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  Status add(engine::Engine& engine, const std::string& name);
  // Takes the address; nobody is served before start(), and nothing is stored.
  Status open(std::string_view address);
  Status start();
  void stop();
  [[nodiscard]] std::string address() const { return listener_->address().text(); }
  // Null when there is none of that name.
  [[nodiscard]] Source* find(const std::string& name) const;
  [[nodiscard]] Status last_error() const;

 private:
  struct Session {
    Server* server = nullptr;
    std::unique_ptr<os::Stream> stream;  // until the session has it
    std::unique_ptr<os::Waker> waker;
    os::Thread thread;
    std::atomic<bool> proven{false};  // who it is, where that is asked for
    std::atomic<bool> ended{false};
  };
  void accept_all();
  [[nodiscard]] std::size_t count(bool proven) const ARMDB_REQUIRES(mutex_);
  Status admit(Session& session);
  void serve(Session& session);
  void reap(bool all);
  void note(const Status& status);

  const Options options_;
  std::unique_ptr<os::Listener> listener_;
  std::unique_ptr<crypto::TlsContext> tls_;
  std::atomic<bool> stopping_{false};
  std::unique_ptr<os::Waker> ending_;  // of all sessions; woken by stop(), for good
  os::Thread thread_;
  mutable base::Mutex mutex_;
  std::vector<std::unique_ptr<Source>> sources_ ARMDB_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<Session>> sessions_ ARMDB_GUARDED_BY(mutex_);
  Status error_ ARMDB_GUARDED_BY(mutex_);
};

}  // namespace armdb::replica

#endif  // !ARMDB_OMIT_REPLICATION

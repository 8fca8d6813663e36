// Client: keeps a collection a follower: connects, follows, and tries again when that ends.
//
// Threads: start(), stop() and the destructor by one owner; progress() by any.
#pragma once

#include <atomic>
#include <memory>

#include "base/mutex.hpp"
#include "os/thread.hpp"
#include "replica/follower.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::replica {

class Client {
 public:
  // Calls `changed` at each change of phase.
  using Changed = void (*)(void* context, const Progress&);
  Client(engine::Engine& engine, Options options, Changed changed, void* context)
      : engine_(engine), options_(std::move(options)), changed_(changed), context_(context) {}
  ~Client() { stop(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  Status start(std::string_view address);  // once
  void stop();
  [[nodiscard]] Progress progress() const;

 private:
  void run();
  Status follow_once();
  void tell(const Progress& progress);

  engine::Engine& engine_;
  const Options options_;
  const Changed changed_;
  void* const context_;
  os::Address address_;
  std::unique_ptr<crypto::TlsContext> tls_;
  std::unique_ptr<os::Waker> waker_;   // of the conversation, for what goes on beside it too
  std::unique_ptr<os::Waker> ending_;  // woken by stop() alone, for good
  std::atomic<bool> stopping_{false};
  bool following_ = false;  // nobody else follows with this collection
  os::Thread thread_;
  mutable base::Mutex mutex_;
  Progress progress_ ARMDB_GUARDED_BY(mutex_);
  Progress own_;  // the thread's
  base::Mutex pause_mutex_;
  base::ConditionVariable pause_;
};

// Makes an empty follower of what is served there.
Status create_follower(const std::string& path, std::string_view address, const FixedConfig& config,
                       const Options& options);
// How far the collection is behind what is served there.
Status compare(engine::Engine& engine, std::string_view address, const Options& options,
               Progress& progress);
// Ends being a follower, durably: the collection takes writes, in a term above all that were seen.
Status promote(engine::Engine& engine);

}  // namespace armdb::replica

#endif  // !ARMDB_OMIT_REPLICATION

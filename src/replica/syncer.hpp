// Syncer: makes durable what a follower has applied, beside the thread that receives.
//
// Threads: the members by one; its own begins with the first call of begin(), and ends with it.
#pragma once

#include "base/mutex.hpp"
#include "engine/engine.hpp"
#include "os/socket.hpp"
#include "os/thread.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::replica {

class Syncer {
 public:
  // Wakes `waker` when a sync is over.
  Syncer(engine::Engine& engine, os::Waker& waker) : engine_(engine), waker_(waker) {}
  ~Syncer();
  Syncer(const Syncer&) = delete;
  Syncer& operator=(const Syncer&) = delete;

  // Begins a sync of what is applied now. False: there is no thread for it.
  [[nodiscard]] bool begin();
  [[nodiscard]] bool running() const noexcept { return running_; }
  // True when the one that runs is over, once; how it went.
  [[nodiscard]] bool ended(Status& status);

 private:
  enum class Stage : std::uint8_t { idle, asked, over, ending };

  void work();

  engine::Engine& engine_;
  os::Waker& waker_;
  bool running_ = false;
  base::Mutex mutex_;
  base::ConditionVariable asked_;
  Stage stage_ ARMDB_GUARDED_BY(mutex_) = Stage::idle;
  Status outcome_ ARMDB_GUARDED_BY(mutex_);
  os::Thread thread_;
};

}  // namespace armdb::replica

#endif  // !ARMDB_OMIT_REPLICATION

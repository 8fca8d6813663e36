// CompactionThread: runs an engine's compaction in steps beside everything else.
//
// Threads: one owner; last_error() by anyone.
#pragma once

#include "base/mutex.hpp"
#include "core/status.hpp"
#include "engine/engine.hpp"
#include "os/thread.hpp"

namespace armdb::engine {

class CompactionThread {
 public:
  CompactionThread(Engine& engine, std::uint64_t step_bytes, std::uint32_t pause_ms,
                   std::uint32_t idle_ms)
      : engine_(engine), step_bytes_(step_bytes), pause_ms_(pause_ms), idle_ms_(idle_ms) {}
  ~CompactionThread() { stop(); }

  Status start();
  // Waits for the running step.
  void stop();
  [[nodiscard]] Status last_error() const;

 private:
  void run();

  Engine& engine_;
  const std::uint64_t step_bytes_;
  const std::uint32_t pause_ms_;
  const std::uint32_t idle_ms_;
  mutable base::Mutex mutex_;
  base::ConditionVariable wake_;
  bool stopping_ ARMDB_GUARDED_BY(mutex_) = false;
  Status error_ ARMDB_GUARDED_BY(mutex_);
  os::Thread thread_;
};

}  // namespace armdb::engine

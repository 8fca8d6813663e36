// CompactionThread: runs an engine's compaction in steps beside everything else.
//
// Threads: one owner; last_error() by anyone.
#pragma once

#include <algorithm>

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
  // The slots of a Fixed store are synced by the same steps.
  [[nodiscard]] std::uint32_t idle_ms() const noexcept {
    if (!engine_.shape().fixed) return idle_ms_;
    return std::min(idle_ms_, engine_.config().sync_interval_ms);
  }

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

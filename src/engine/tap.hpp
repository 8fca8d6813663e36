// TapList: wakes those who ship what is written, without a cost while nobody does.
//
// Who is about to wait arms the list, looks for work once more, and only then waits; the first
// write after that wakes all, and disarms. So a write that wakes nobody costs one load. Others
// than writers may wake all at any time.
//
// Threads: any.
#pragma once

#include <atomic>
#include <vector>

#include "base/mutex.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::engine {

class WriteTap {
 public:
  virtual void wrote() noexcept = 0;

 protected:
  ~WriteTap() = default;
};

class TapList {
 public:
  void add(WriteTap* tap) {
    const base::MutexLock lock(mutex_);
    taps_.push_back(tap);
  }
  // Nobody calls it any more when this returns.
  void remove(WriteTap* tap) {
    const base::MutexLock lock(mutex_);
    std::erase(taps_, tap);
  }
  // The look for work that follows takes each shard's lock, which orders it with the writers.
  void arm() noexcept { armed_.store(true, std::memory_order_seq_cst); }
  // As a write does.
  void wake_all() {
    const base::MutexLock lock(mutex_);
    for (WriteTap* tap : taps_) tap->wrote();
  }
  // After a write, behind its shard's lock.
  void tell() noexcept {
    if (armed_.load(std::memory_order_relaxed)) [[unlikely]]
      wake();
  }

 private:
  void wake() noexcept {
    if (!armed_.exchange(false, std::memory_order_acq_rel)) return;
    const base::MutexLock lock(mutex_);
    for (WriteTap* tap : taps_) tap->wrote();
  }

  std::atomic<bool> armed_{false};
  base::Mutex mutex_;
  std::vector<WriteTap*> taps_ ARMDB_GUARDED_BY(mutex_);
};

}  // namespace armdb::engine

#endif  // !ARMDB_OMIT_REPLICATION

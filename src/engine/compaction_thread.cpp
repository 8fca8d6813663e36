// The background compaction's loop.
#include "engine/compaction_thread.hpp"

namespace armdb::engine {

Status CompactionThread::start() {
  return thread_.start([](void* self) { static_cast<CompactionThread*>(self)->run(); }, this);
}

void CompactionThread::run() {
  const base::MutexLock lock(mutex_);
  while (!stopping_) {
    mutex_.unlock();
    const Result<bool> more = engine_.compact_step(step_bytes_);
    mutex_.lock();
    error_ = more.status();
    if (more.is(Errc::closed)) return;
    const bool busy = more.ok() && *more;
    if (!stopping_) static_cast<void>(wake_.wait_for_ms(mutex_, busy ? pause_ms_ : idle_ms()));
  }
}

void CompactionThread::stop() {
  {
    const base::MutexLock lock(mutex_);
    stopping_ = true;
    wake_.notify_all();
  }
  thread_.join();
}

Status CompactionThread::last_error() const {
  const base::MutexLock lock(mutex_);
  return error_;
}

}  // namespace armdb::engine

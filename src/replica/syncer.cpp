// A sync beside the conversation.
#include "replica/syncer.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::replica {

Syncer::~Syncer() {
  {
    const base::MutexLock lock(mutex_);
    stage_ = Stage::ending;
    asked_.notify_one();
  }
  thread_.join();
}

bool Syncer::begin() {
  if (!thread_.running() &&
      !thread_.start([](void* self) { static_cast<Syncer*>(self)->work(); }, this).ok()) {
    return false;
  }
  running_ = true;
  const base::MutexLock lock(mutex_);
  stage_ = Stage::asked;
  asked_.notify_one();
  return true;
}

bool Syncer::ended(Status& status) {
  if (!running_) return false;
  const base::MutexLock lock(mutex_);
  if (stage_ != Stage::over) return false;
  stage_ = Stage::idle;
  status = std::move(outcome_);
  running_ = false;
  return true;
}

void Syncer::work() {
  for (;;) {
    {
      const base::MutexLock lock(mutex_);
      while (stage_ != Stage::asked && stage_ != Stage::ending) asked_.wait(mutex_);
      if (stage_ == Stage::ending) return;
    }
    Status outcome = engine_.sync();
    {
      const base::MutexLock lock(mutex_);
      if (stage_ == Stage::ending) return;
      outcome_ = std::move(outcome);
      stage_ = Stage::over;
    }
    waker_.wake();
  }
}

}  // namespace armdb::replica

#endif  // !ARMDB_OMIT_REPLICATION

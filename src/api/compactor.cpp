// The handle of a background compaction.
#include "api/compactor.hpp"

#include <new>

#include "base/errors.hpp"
#include "engine/compaction_thread.hpp"

namespace armdb {

struct Compactor::State : engine::CompactionThread {
  using CompactionThread::CompactionThread;
};

Compactor::Compactor(Compactor&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}

Compactor& Compactor::operator=(Compactor&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}

Compactor::~Compactor() { delete state_; }

Result<Compactor> Compactor::start(Collection& collection, CompactorOptions options) {
  if (!collection.is_open()) return Status(Errc::closed, "the collection is not open");
  Compactor compactor(new (std::nothrow) State(*collection.engine_, options.step_bytes,
                                               options.pause_ms, options.idle_ms));
  if (compactor.state_ == nullptr) return base::out_of_memory("no memory for a thread");
  Status status = compactor.state_->start();
  if (!status.ok()) return status;
  return compactor;
}

Status Compactor::last_error() const { return state_ == nullptr ? Status() : state_->last_error(); }

void Compactor::stop() {
  if (state_ != nullptr) state_->stop();
}

}  // namespace armdb

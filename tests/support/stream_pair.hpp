// StreamPair: the two ends of a stream inside one process, for tests of what runs over streams.
#pragma once

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

#include "os/socket.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::test {

struct StreamPairOptions {
  std::size_t room_bytes = 65536;  // what is under way in each direction, at most
  std::size_t chunk_bytes = 0;     // what one read() or write() moves at most; 0: no limit
};

// One end. The other may live in another thread; when one goes, the other reads what is left and
// then `closed`.
//
// Threads: as every Stream.
class PairedStream final : public os::Stream {
 public:
  // What both ends share; end 0 reads queue 0.
  struct Shared {
    explicit Shared(const StreamPairOptions& with) : options(with) {
      for (auto& waker : wakers) {
        if (!os::Waker::make(waker).ok()) throw std::runtime_error("cannot make a waker");
      }
    }

    const StreamPairOptions options;
    std::mutex mutex;
    std::deque<std::uint8_t> queues[2];
    bool ended[2] = {};  // by that end: it writes no more
    bool shut[2] = {};   // it reads and writes no more
    std::unique_ptr<os::Waker> wakers[2];
  };

  PairedStream(std::shared_ptr<Shared> shared, int end) : shared_(std::move(shared)), end_(end) {}
  ~PairedStream() override { finish(false); }

  Result<std::size_t> read(MutableBytes out) override {
    const std::lock_guard lock(shared_->mutex);
    std::deque<std::uint8_t>& queue = shared_->queues[end_];
    if (shared_->shut[end_]) return closed("this end was shut");
    if (queue.empty()) {
      if (shared_->ended[1 - end_]) return closed("the other end is gone");
      return std::size_t{0};
    }
    const auto count = static_cast<std::ptrdiff_t>(chunk(std::min(out.size(), queue.size())));
    std::copy_n(queue.begin(), count, out.begin());
    queue.erase(queue.begin(), queue.begin() + count);
    shared_->wakers[1 - end_]->wake();
    return static_cast<std::size_t>(count);
  }

  Result<std::size_t> write(Bytes data) override {
    const std::lock_guard lock(shared_->mutex);
    if (shared_->shut[end_]) return closed("this end was shut");
    if (shared_->ended[1 - end_]) return closed("the other end is gone");
    std::deque<std::uint8_t>& queue = shared_->queues[1 - end_];
    const std::size_t room = shared_->options.room_bytes - queue.size();
    const std::size_t count = chunk(std::min(data.size(), room));
    queue.insert(queue.end(), data.begin(), data.begin() + count);
    if (count > 0) shared_->wakers[1 - end_]->wake();
    return count;
  }

  Result<bool> wait(bool to_write, std::uint32_t timeout_ms, os::Waker* waker) override {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    for (;;) {
      shared_->wakers[end_]->reset();
      if (ready(to_write)) return true;
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          deadline - std::chrono::steady_clock::now());
      const auto most = std::clamp<std::int64_t>(left.count() + 1, 0, 1000000);
      pollfd waits[2] = {{shared_->wakers[end_]->descriptor(), POLLIN, 0},
                         {waker == nullptr ? -1 : waker->descriptor(), POLLIN, 0}};
      ::poll(waits, 2, static_cast<int>(most));
      if (waits[1].revents != 0) return true;
      if (waits[0].revents == 0 && std::chrono::steady_clock::now() >= deadline) return false;
    }
  }

  void shut() noexcept override { finish(true); }
  [[nodiscard]] std::string peer() const override { return "the other end"; }

  // What the other end wrote and this one has not read.
  [[nodiscard]] std::size_t waiting_bytes() const {
    const std::lock_guard lock(shared_->mutex);
    return shared_->queues[end_].size();
  }

 private:
  static Status closed(const char* why) { return Status(Errc::closed, why); }

  [[nodiscard]] std::size_t chunk(std::size_t size) const {
    const std::size_t most = shared_->options.chunk_bytes;
    return most == 0 ? size : std::min(size, most);
  }

  bool ready(bool to_write) {
    const std::lock_guard lock(shared_->mutex);
    if (shared_->shut[end_] || shared_->ended[1 - end_]) return true;
    if (!shared_->queues[end_].empty()) return true;
    return to_write && shared_->queues[1 - end_].size() < shared_->options.room_bytes;
  }

  void finish(bool by_shut) noexcept {
    const std::lock_guard lock(shared_->mutex);
    shared_->ended[end_] = true;
    if (by_shut) shared_->shut[end_] = true;
    for (auto& waker : shared_->wakers) waker->wake();
  }

  const std::shared_ptr<Shared> shared_;
  const int end_;
};

struct StreamPair {
  explicit StreamPair(const StreamPairOptions& options = {}) {
    auto shared = std::make_shared<PairedStream::Shared>(options);
    first = std::make_unique<PairedStream>(shared, 0);
    second = std::make_unique<PairedStream>(shared, 1);
  }
  std::unique_ptr<os::Stream> first, second;
};

}  // namespace armdb::test

#endif  // !ARMDB_OMIT_REPLICATION

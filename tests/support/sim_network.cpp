#include "support/sim_network.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS) && !defined(ARMDB_OMIT_REPLICATION)

#include <poll.h>

#include <algorithm>

namespace armdb::test {

namespace {

Status closed(const char* why) { return Status(Errc::closed, why); }

bool is_woken(const os::Waker& waker) {
  pollfd one = {waker.descriptor(), POLLIN, 0};
  return ::poll(&one, 1, 0) > 0;
}

}  // namespace

class SimStream final : public os::Stream {
 public:
  SimStream(SimNetwork& network, std::shared_ptr<SimNetwork::Connection> connection, int end)
      : network_(network),
        connection_(std::move(connection)),
        dead_(connection_->dead[end]),
        in_(connection_->ways[1 - end]),
        out_(connection_->ways[end]) {}
  ~SimStream() override { finish(); }

  Result<std::size_t> read(MutableBytes out) override {
    SimScheduler& scheduler = network_.scheduler_;
    scheduler.point();
    if (shut_ || dead_) return closed("this end was shut");
    std::size_t most = out.size();
    if (network_.weather_.small_pieces && scheduler.random().one_in(3)) {
      most = std::min<std::size_t>(most, 1 + scheduler.random().below(60));
    }
    std::size_t done = 0;
    while (done < most && network_.readable_us(in_) <= scheduler.now_us() && !in_.pieces.empty()) {
      std::vector<std::uint8_t>& piece = in_.pieces.front().bytes;
      const std::size_t count = std::min(most - done, piece.size());
      std::copy_n(piece.begin(), count, out.begin() + static_cast<std::ptrdiff_t>(done));
      piece.erase(piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(count));
      in_.bytes -= count;
      done += count;
      if (piece.empty()) in_.pieces.pop_front();
    }
    scheduler.note(done);
    const bool over = in_.pieces.empty() && in_.end_us <= scheduler.now_us();
    if (done == 0 && over) return closed("the other end is gone");
    return done;
  }

  Result<std::size_t> write(Bytes data) override {
    SimScheduler& scheduler = network_.scheduler_;
    scheduler.point();
    if (shut_ || dead_) return closed("this end was shut");
    if (out_.unread || out_.end_us != kNever) return closed("the other end is gone");
    const std::size_t room = network_.weather_.room_bytes - std::min(out_.bytes, room_most());
    std::size_t count = std::min(data.size(), room);
    if (network_.weather_.small_pieces && count != 0 && scheduler.random().one_in(3)) {
      count = 1 + scheduler.random().below(std::min<std::size_t>(count, 60));
    }
    if (count != 0) network_.send(out_, data.sub(0, count));
    scheduler.note(count);
    return count;
  }

  Result<bool> wait(bool to_write, std::uint32_t timeout_ms, os::Waker* waker) override {
    SimScheduler& scheduler = network_.scheduler_;
    scheduler.point();
    const std::function<std::uint64_t()> when = [&]() -> std::uint64_t {
      const bool broken = out_.unread || out_.end_us != kNever;
      if (shut_ || dead_ || (to_write && broken)) return 0;
      if (to_write && out_.bytes < room_most()) return 0;
      if (waker != nullptr && is_woken(*waker)) return 0;
      return network_.readable_us(in_);
    };
    return scheduler.wait_until(scheduler.now_us() + std::uint64_t{timeout_ms} * 1000, when);
  }

  void shut() noexcept override {
    shut_ = true;
    finish();
  }
  [[nodiscard]] std::string peer() const override { return "node " + std::to_string(in_.from); }

 private:
  [[nodiscard]] std::size_t room_most() const { return network_.weather_.room_bytes; }
  void finish() {
    if (dead_) return;
    const std::uint64_t now_us = network_.scheduler_.now_us();
    if (!out_.lost && out_.end_us == kNever) out_.end_us = now_us;
    if (!in_.lost) in_.unread = true;
  }

  SimNetwork& network_;
  const std::shared_ptr<SimNetwork::Connection> connection_;
  const bool& dead_;
  SimNetwork::Way& in_;
  SimNetwork::Way& out_;
  bool shut_ = false;
};

// From when on there is something to read, the end included.
std::uint64_t SimNetwork::readable_us(const Way& way) const {
  if (way.pieces.empty()) return way.end_us;
  if (blocked_[way.from][way.to]) return kNever;
  return way.pieces.front().at_us;
}

void SimNetwork::send(Way& way, Bytes data) {
  if (way.lost) {
    way.bytes += data.size();  // until there is no room any more
    return;
  }
  base::Random& random = scheduler_.random();
  std::uint64_t at_us = scheduler_.now_us() + 1 + random.below(weather_.delay_us);
  // What was lost is sent again after a while, and then perhaps again.
  for (std::uint64_t again_us = 20000; random.below(100) < weather_.loss_percent; again_us *= 2) {
    at_us += again_us;
  }
  if (!way.pieces.empty()) at_us = std::max(at_us, way.pieces.back().at_us);
  way.pieces.push_back({at_us, {data.begin(), data.end()}});
  way.bytes += data.size();
}

SimNetwork::Ends SimNetwork::connect(std::size_t from, std::size_t to) {
  if (!reaches(from, to)) return {};
  auto connection = std::make_shared<Connection>();
  connection->ways[0].from = connection->ways[1].to = from;
  connection->ways[0].to = connection->ways[1].from = to;
  std::erase_if(all_, [](const auto& one) { return one.expired(); });
  all_.push_back(connection);
  return {std::make_unique<SimStream>(*this, connection, 0),
          std::make_unique<SimStream>(*this, connection, 1)};
}

void SimNetwork::cut(Connection& connection) {
  for (Way& way : connection.ways) {
    std::size_t kept = scheduler_.random().below(way.bytes + 1);
    way.bytes = 0;
    for (Way::Piece& piece : way.pieces) {
      piece.bytes.resize(std::min(piece.bytes.size(), kept));
      kept -= piece.bytes.size();
      way.bytes += piece.bytes.size();
    }
    while (!way.pieces.empty() && way.pieces.back().bytes.empty()) way.pieces.pop_back();
    if (way.end_us == kNever) way.end_us = scheduler_.now_us();
  }
}

void SimNetwork::silence(Connection& connection) {
  for (Way& way : connection.ways) {
    way.lost = true;
    way.pieces.clear();
  }
}

void SimNetwork::bury(std::size_t node, bool tell) {
  for (const auto& connection : connections(node)) {
    connection->dead[connection->ways[0].from == node ? 0 : 1] = true;
    if (tell) {
      cut(*connection);
    } else {
      silence(*connection);
    }
  }
}

std::vector<std::shared_ptr<SimNetwork::Connection>> SimNetwork::connections(std::size_t node) {
  std::vector<std::shared_ptr<Connection>> alive;
  for (const auto& weak : all_) {
    const std::shared_ptr<Connection> one = weak.lock();
    if (one != nullptr && (one->ways[0].from == node || one->ways[0].to == node)) {
      alive.push_back(one);
    }
  }
  return alive;
}

void SimNetwork::heal() {
  for (auto& row : blocked_) std::fill(std::begin(row), std::end(row), false);
  weather_.loss_percent = 0;
}

}  // namespace armdb::test

#endif

// Sink: a follower that takes everything and applies nothing, as one on another machine looks to
// the leader's processors. What it says is laid out in src/FORMAT.md, sections 20 and 21.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace bench {

class Sink {
 public:
  // Follows the collection that is served at this Unix socket, from its last entries on.
  // `number` tells sinks of one leader from each other.
  Sink(const std::string& socket, std::uint8_t number);
  ~Sink();
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;

 private:
  using Payload = std::vector<std::uint8_t>;
  struct Frame {
    std::uint8_t type = 0;
    std::uint32_t shard = 0;
    std::uint64_t sequence = 0;
  };

  void connect(const std::string& socket);
  void send(std::uint8_t type, const Payload& payload);
  void receive(Frame& frame, Payload& payload);
  void receive_all(std::uint8_t* to, std::size_t size);
  void acknowledge();
  void run();

  int socket_ = -1;
  std::vector<std::uint64_t> told_;  // per shard: up to here
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace bench

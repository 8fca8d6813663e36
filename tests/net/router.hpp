// Router: carries packets between the TUN devices of a Network, as its links are at that moment.
//
// What happens to a packet is drawn by a seed, but when packets come is the kernel's and the
// scheduler's affair: a seed gives the same kinds of trouble again, not the same run.
#pragma once

#include <array>
#include <queue>
#include <vector>

#include "net/network.hpp"
#include "support/random.hpp"

namespace armdb::net {

class Router {
 public:
  Router(Wires& wires, const std::array<int, kHosts>& tuns, std::uint64_t seed)
      : wires_(wires), tuns_(tuns), random_(seed) {}

  [[noreturn]] void run();

 private:
  struct Packet {
    std::uint64_t due_us = 0;
    std::uint64_t ordinal = 0;  // among those of its way, as they came
    unsigned from = 0, to = 0;
    std::vector<std::uint8_t> bytes;
    bool operator>(const Packet& other) const {
      return due_us != other.due_us ? due_us > other.due_us : ordinal > other.ordinal;
    }
  };
  struct Way {
    std::uint64_t free_us = 0;  // when its line has sent what it took
    std::uint64_t came = 0, left = 0;
  };
  void take_all(unsigned from);
  void route(unsigned from, std::vector<std::uint8_t> bytes);
  void send_due();
  void damage(std::vector<std::uint8_t>& bytes);
  [[nodiscard]] bool happens(std::uint32_t of_a_million) {
    return random_.below(kMillion) < of_a_million;
  }

  Wires& wires_;
  const std::array<int, kHosts> tuns_;
  base::Random random_;
  Way ways_[kHosts][kHosts];
  std::priority_queue<Packet, std::vector<Packet>, std::greater<>> waiting_;
};

}  // namespace armdb::net

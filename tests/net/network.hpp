// Network: hosts in network namespaces of their own, and a router between them that loses, delays,
// reorders, doubles and damages packets, is slow, and is cut off, each way by itself.
//
// The namespaces have no names: they live in descriptors, and go with the last process that has
// them, however that ends. Each has one TUN device, whose other end the router has.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "support/shared_memory.hpp"

namespace armdb::net {

inline constexpr unsigned kHosts = 3;
inline constexpr std::uint32_t kMillion = 1000000;

// One way from one host to another; changes hold from the next packet on.
struct Link {
  std::atomic<std::uint32_t> loss, twice, damaged;  // packets of a million
  std::atomic<std::uint32_t> delay_us, jitter_us;   // jitter reorders
  std::atomic<std::uint32_t> bytes_per_second;      // 0: as fast as it goes
  std::atomic<bool> cut;
};

// What the router did with packets, since it began.
struct Traffic {
  std::atomic<std::uint64_t> carried, lost, overflowed, cut, twice, damaged, reordered;
};

struct Wires {
  Link links[kHosts][kHosts];  // from, to
  Traffic traffic;
};

// Threads: one; none may have been started before.
class Network {
 public:
  // Fails by an exception that says what this machine does not allow.
  explicit Network(std::uint64_t seed);
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  // Puts the calling process, a child that has one thread, into the namespace of that host.
  void enter(unsigned host) const;
  [[nodiscard]] static std::string address_of(unsigned host);
  [[nodiscard]] Link& link(unsigned from, unsigned to) { return wires_->links[from][to]; }
  [[nodiscard]] const Traffic& traffic() const { return wires_->traffic; }
  void set_mtu(unsigned bytes);
  // Of all links: nothing is lost, delayed or cut any more.
  void make_good();
  [[nodiscard]] bool router_runs();

 private:
  struct Host {
    int name_space = -1, tun = -1, control = -1;  // control: a socket in there, for its device
  };
  void add_host(unsigned number);

  test::SharedMemory<Wires> wires_;
  std::array<Host, kHosts> hosts_;
  pid_t router_ = -1;
};

// The child ends with this process, also when that is killed. Call it first in a child.
void end_with_parent(pid_t parent);

}  // namespace armdb::net

// Making namespaces, their devices, and the router's process.
#include "net/network.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "net/router.hpp"

namespace armdb::net {

namespace {

constexpr char kDevice[] = "armdb0";
constexpr char kPort[] = ":7000";
constexpr unsigned kMtu = 1500;

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error("cannot " + what + " (" + std::strerror(errno) + ")");
}

std::string host_name(unsigned host) { return "10.77.0." + std::to_string(host + 1); }

void write_file(const char* path, const std::string& text) {
  std::ofstream file(path);
  file << text << std::flush;
  if (!file) fail(std::string("write ") + path);
}

// Root has what it takes; anybody else is root within a user namespace, where that is allowed.
void take_rights() {
  if (::unshare(CLONE_NEWNET) == 0) return;
  if (errno != EPERM) fail("make a network namespace");
  const std::string user = std::to_string(::geteuid());
  const std::string group = std::to_string(::getegid());
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
    fail(
        "make a network namespace, nor one for users to do it in; run this as root, or on a "
        "machine that allows user namespaces");
  }
  write_file("/proc/self/setgroups", "deny");
  write_file("/proc/self/uid_map", "0 " + user + " 1");
  write_file("/proc/self/gid_map", "0 " + group + " 1");
}

ifreq request(const char* device) {
  ifreq request{};
  std::strncpy(request.ifr_name, device, sizeof request.ifr_name - 1);
  return request;
}

void change(int control, unsigned long what, ifreq& request, const char* doing) {
  if (::ioctl(control, what, &request) != 0) fail(doing);
}

void set_address(int control, unsigned long what, const std::string& text) {
  ifreq wanted = request(kDevice);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  ::inet_pton(AF_INET, text.c_str(), &address.sin_addr);
  std::memcpy(&wanted.ifr_addr, &address, sizeof address);
  change(control, what, wanted, "give a TUN device its address");
}

void bring_up(int control, const char* device) {
  ifreq wanted = request(device);
  wanted.ifr_flags = IFF_UP | IFF_RUNNING;
  change(control, SIOCSIFFLAGS, wanted, "bring a network device up");
}

int open_tun() {
  const int tun = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (tun < 0) fail("open /dev/net/tun, which this needs: run it as root, or let its user do that");
  ifreq wanted = request(kDevice);
  wanted.ifr_flags = IFF_TUN | IFF_NO_PI;
  change(tun, TUNSETIFF, wanted, "make a TUN device");
  return tun;
}

}  // namespace

void end_with_parent(pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);  // it was gone before the call
}

Network::Network(std::uint64_t seed) {
  take_rights();
  for (unsigned host = 0; host < kHosts; ++host) add_host(host);
  // This process itself is on none of the hosts.
  if (::unshare(CLONE_NEWNET) != 0) fail("make a network namespace");
  set_mtu(kMtu);
  make_good();
  const pid_t parent = ::getpid();
  router_ = ::fork();
  if (router_ < 0) fail("make a process");
  std::array<int, kHosts> tuns{};
  for (unsigned host = 0; host < kHosts; ++host) tuns[host] = hosts_[host].tun;
  if (router_ == 0) {
    end_with_parent(parent);
    Router(*wires_, tuns, seed).run();
  }
  for (const int tun : tuns) ::close(tun);
}

Network::~Network() {
  if (router_ > 0) {
    ::kill(router_, SIGKILL);
    ::waitpid(router_, nullptr, 0);
  }
  for (const Host& host : hosts_) {
    ::close(host.control);
    ::close(host.name_space);
  }
}

void Network::add_host(unsigned number) {
  if (::unshare(CLONE_NEWNET) != 0) fail("make a network namespace");
  Host& host = hosts_[number];
  host.name_space = ::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  host.control = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (host.name_space < 0 || host.control < 0) fail("hold a network namespace");
  host.tun = open_tun();
  set_address(host.control, SIOCSIFADDR, host_name(number));
  set_address(host.control, SIOCSIFNETMASK, "255.255.255.0");
  bring_up(host.control, "lo");
  bring_up(host.control, kDevice);
}

void Network::enter(unsigned host) const {
  if (::setns(hosts_[host].name_space, CLONE_NEWNET) != 0) fail("enter a network namespace");
}

std::string Network::address_of(unsigned host) { return host_name(host) + kPort; }

void Network::set_mtu(unsigned bytes) {
  for (const Host& host : hosts_) {
    ifreq wanted = request(kDevice);
    wanted.ifr_mtu = static_cast<int>(bytes);
    change(host.control, SIOCSIFMTU, wanted, "change the MTU of a TUN device");
  }
}

void Network::make_good() {
  for (auto& row : wires_->links) {
    for (Link& link : row) {
      for (auto* value : {&link.loss, &link.twice, &link.damaged, &link.delay_us, &link.jitter_us,
                          &link.bytes_per_second}) {
        value->store(0);
      }
      link.cut.store(false);
    }
  }
}

bool Network::router_runs() { return ::waitpid(router_, nullptr, WNOHANG) == 0; }

}  // namespace armdb::net

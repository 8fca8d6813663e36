// Carrying packets: when each one leaves, if it does.
#include "net/router.hpp"

#include <netinet/in.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <utility>

namespace armdb::net {

namespace {

constexpr std::size_t kPacketBytesMax = 65536;
constexpr std::uint64_t kQueueUs = 400000;  // a slow line's queue; what comes on top is lost
constexpr unsigned kTakenAtOnce = 64;

std::uint64_t now_us() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kMillion +
         static_cast<std::uint64_t>(now.tv_nsec) / 1000;
}

}  // namespace

void Router::run() {
  for (;;) {
    pollfd waits[kHosts] = {};
    for (unsigned host = 0; host < kHosts; ++host) waits[host] = {tuns_[host], POLLIN, 0};
    timespec pause = {1, 0};
    if (!waiting_.empty()) {
      const std::uint64_t now = now_us();
      const std::uint64_t left = waiting_.top().due_us > now ? waiting_.top().due_us - now : 0;
      if (left < kMillion) pause = {0, static_cast<long>(left * 1000)};
    }
    ::ppoll(waits, kHosts, &pause, nullptr);
    for (unsigned host = 0; host < kHosts; ++host) {
      if ((waits[host].revents & POLLIN) != 0) take_all(host);
    }
    send_due();
  }
}

void Router::take_all(unsigned from) {
  std::uint8_t buffer[kPacketBytesMax];
  for (unsigned taken = 0; taken < kTakenAtOnce; ++taken) {
    const ssize_t got = ::read(tuns_[from], buffer, sizeof buffer);
    if (got <= 0) return;
    route(from, {buffer, buffer + got});
  }
}

void Router::route(unsigned from, std::vector<std::uint8_t> bytes) {
  // IPv4 only, and the last number of the address names the host.
  if (bytes.size() < 20 || bytes[0] >> 4 != 4) return;
  const unsigned to = bytes[19] - 1u;
  if (to >= kHosts || to == from) return;
  Link& link = wires_.links[from][to];
  Traffic& traffic = wires_.traffic;
  Way& way = ways_[from][to];
  if (link.cut.load()) {
    traffic.cut.fetch_add(1);
    return;
  }
  if (happens(link.loss.load())) {
    traffic.lost.fetch_add(1);
    return;
  }
  const std::uint64_t now = now_us();
  std::uint64_t sent = now;
  if (const std::uint64_t speed = link.bytes_per_second.load(); speed != 0) {
    sent = std::max(now, way.free_us) + bytes.size() * kMillion / speed;
    if (sent - now > kQueueUs) {
      traffic.overflowed.fetch_add(1);
      return;
    }
    way.free_us = sent;
  }
  if (happens(link.damaged.load())) damage(bytes);
  const unsigned copies = happens(link.twice.load()) ? 2 : 1;
  traffic.twice.fetch_add(copies - 1);
  for (unsigned copy = 0; copy < copies; ++copy) {
    const std::uint64_t jitter = random_.below(std::uint64_t{link.jitter_us.load()} + 1);
    waiting_.push({sent + link.delay_us.load() + jitter, ++way.came, from, to, bytes});
  }
}

// Exchanges two words of what TCP carries: the checksum of TCP stays right.
void Router::damage(std::vector<std::uint8_t>& bytes) {
  const std::size_t ip = (bytes[0] & 15u) * 4u;
  if (bytes[9] != IPPROTO_TCP || bytes.size() < ip + 20) return;
  const std::size_t begin = ip + (bytes[ip + 12] >> 4) * 4u;
  if (bytes.size() < begin + 4) return;
  const std::size_t words = (bytes.size() - begin) / 2;
  std::uint8_t* const one = bytes.data() + begin + 2 * random_.below(words);
  std::uint8_t* const other = bytes.data() + begin + 2 * random_.below(words);
  if (std::memcmp(one, other, 2) == 0) return;
  std::swap(one[0], other[0]);
  std::swap(one[1], other[1]);
  wires_.traffic.damaged.fetch_add(1);
}

void Router::send_due() {
  const std::uint64_t now = now_us();
  while (!waiting_.empty() && waiting_.top().due_us <= now) {
    const Packet& packet = waiting_.top();
    // A way that was cut off takes with it what was on its way.
    if (wires_.links[packet.from][packet.to].cut.load()) {
      wires_.traffic.cut.fetch_add(1);
    } else {
      Way& way = ways_[packet.from][packet.to];
      if (packet.ordinal < way.left) wires_.traffic.reordered.fetch_add(1);
      way.left = std::max(way.left, packet.ordinal);
      // A device whose queue is full loses it, as any would.
      const ssize_t put = ::write(tuns_[packet.to], packet.bytes.data(), packet.bytes.size());
      (put < 0 ? wires_.traffic.overflowed : wires_.traffic.carried).fetch_add(1);
    }
    waiting_.pop();
  }
}

}  // namespace armdb::net

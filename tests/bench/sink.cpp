// Frames by hand: the bench sees nothing of armdb but armdb.hpp.
#include "bench/sink.hpp"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "bench/bench.hpp"

namespace bench {
namespace {

constexpr std::uint8_t kHello = 1;
constexpr std::uint8_t kData = 2;
constexpr std::uint8_t kAck = 6;
constexpr std::uint8_t kProgress = 7;
constexpr std::size_t kHeaderBytes = 32;
constexpr std::size_t kGreetingBytes = 72;

std::uint32_t crc32c(std::uint32_t crc, const std::uint8_t* bytes, std::size_t size) {
  crc = ~crc;
  for (std::size_t at = 0; at < size; ++at) {
    crc ^= bytes[at];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (0x82f63b78u & (0u - (crc & 1)));
  }
  return ~crc;
}

template <class T> T get(const std::uint8_t* from) {
  T value = 0;
  for (std::size_t at = 0; at < sizeof value; ++at)
    value |= static_cast<T>(T{from[at]} << (8 * at));
  return value;
}

template <class T> void put(std::uint8_t* to, T value) {
  for (std::size_t at = 0; at < sizeof value; ++at) {
    to[at] = static_cast<std::uint8_t>(value >> (8 * at));
  }
}

}  // namespace

Sink::Sink(const std::string& socket, std::uint8_t number) {
  // First it asks, to greet as the leader does.
  connect(socket);
  Payload question(kGreetingBytes + 8 + 1);
  put<std::uint32_t>(&question[48], 8);  // asking
  put<std::uint32_t>(&question[56], 1);  // of one shard
  send(kHello, question);
  Frame frame;
  Payload greeting;
  receive(frame, greeting);
  if (frame.type != kHello) fail("the leader refuses a sink");
  ::close(socket_);
  connect(socket);
  const auto shards = get<std::uint32_t>(&greeting[56]);
  const auto terms = get<std::uint32_t>(&greeting[60]);
  greeting[16] = static_cast<std::uint8_t>(greeting[16] + number + 1);  // another store
  const std::size_t sequences = kGreetingBytes + terms * (16 + std::size_t{8} * shards);
  for (std::uint32_t at = 0; at < shards; ++at) {
    told_.push_back(get<std::uint64_t>(&greeting[sequences + std::size_t{8} * at]));
  }
  send(kHello, greeting);
  receive(frame, greeting);
  if (frame.type != kHello) fail("the leader refuses a sink");
  acknowledge();
  thread_ = std::thread([this] { run(); });
}

Sink::~Sink() {
  stopping_.store(true);
  ::shutdown(socket_, SHUT_RDWR);
  thread_.join();
  ::close(socket_);
}

void Sink::connect(const std::string& socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.size() >= sizeof address.sun_path) fail("a socket's path is too long");
  std::memcpy(address.sun_path, socket.c_str(), socket.size() + 1);
  socket_ = ::socket(AF_UNIX, SOCK_STREAM, 0);
  if (::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    fail("a sink cannot connect to " + socket);
  }
}

void Sink::send(std::uint8_t type, const Payload& payload) {
  Payload frame(kHeaderBytes);
  std::memcpy(frame.data(), "ARMR", 4);
  frame[4] = 1;
  frame[5] = type;
  put<std::uint32_t>(&frame[8], static_cast<std::uint32_t>(payload.size()));
  const std::uint32_t front = crc32c(0, frame.data(), 28);
  put<std::uint32_t>(&frame[28], crc32c(front, payload.data(), payload.size()));
  frame.insert(frame.end(), payload.begin(), payload.end());
  const ssize_t sent = ::send(socket_, frame.data(), frame.size(), MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(frame.size()) && !stopping_.load()) fail("a sink cannot send");
}

void Sink::receive_all(std::uint8_t* to, std::size_t size) {
  for (std::size_t done = 0; done < size;) {
    const ssize_t got = ::recv(socket_, to + done, size - done, 0);
    if (got <= 0) {
      stopping_.store(true);
      return;
    }
    done += static_cast<std::size_t>(got);
  }
}

void Sink::receive(Frame& frame, Payload& payload) {
  std::uint8_t header[kHeaderBytes] = {};
  receive_all(header, sizeof header);
  frame = {header[5], get<std::uint32_t>(header + 12), get<std::uint64_t>(header + 16)};
  payload.resize(get<std::uint32_t>(header + 8));
  receive_all(payload.data(), payload.size());
}

// Of what is told it says that it is applied and durable.
void Sink::acknowledge() {
  Payload marks(16 * told_.size());
  for (std::size_t at = 0; at < told_.size(); ++at) {
    put<std::uint64_t>(&marks[16 * at], told_[at]);
    put<std::uint64_t>(&marks[16 * at + 8], told_[at]);
  }
  send(kAck, marks);
}

void Sink::run() {
  // It stands for another machine: it runs when the leader's threads leave a processor to it.
#if defined(SCHED_IDLE)
  const sched_param param{};
  ::pthread_setschedparam(::pthread_self(), SCHED_IDLE, &param);
#endif
  Frame frame;
  Payload payload;
  while (!stopping_.load()) {
    receive(frame, payload);
    if (stopping_.load()) return;
    // What stands before a piece was told; of the last piece the progress behind it says so.
    if (frame.type == kData) told_[frame.shard] = frame.sequence;
    for (std::size_t at = 0; frame.type == kProgress && at < told_.size(); ++at) {
      told_[at] = get<std::uint64_t>(&payload[16 * at + 8]);
    }
    pollfd waits{socket_, POLLIN, 0};
    if (frame.type == kProgress || ::poll(&waits, 1, 0) == 0) acknowledge();
  }
}

}  // namespace bench

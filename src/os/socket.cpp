// Sockets of the operating system behind Stream and Listener.
#include "os/socket.hpp"

#include <cerrno>
#include <climits>
#include <cstring>
#include <new>

#include "base/errors.hpp"
#include "base/text.hpp"
#include "os/clock.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace armdb::os {
namespace {

constexpr std::size_t kTransferBytesMax = std::size_t{1} << 30;
constexpr int kWaitingConnections = 64;
constexpr mode_t kSocketMode = 0600;
constexpr int kNapMs = 10;

#if defined(__APPLE__)
constexpr int kSocketFlags = 0;  // made_ready() does by other means what these ask for
constexpr int kSendFlags = 0;
#else
constexpr int kSocketFlags = SOCK_CLOEXEC | SOCK_NONBLOCK;
constexpr int kSendFlags = MSG_NOSIGNAL;
#endif

// ---- Errors and waiting ----

const char* advice_of(int os_error) noexcept {
  switch (os_error) {
    case ECONNREFUSED:
      return "nobody listens there: start the other side, or check the address";
    case ETIMEDOUT:
      return "the other side does not answer: check the address, its machine and firewalls";
    case EHOSTUNREACH:
    case ENETUNREACH:
      return "no way leads there: check the address and the network";
    case EADDRINUSE:
      return "another program listens there: stop it, or choose another port";
    case EADDRNOTAVAIL:
      return "this machine does not have that address";
    default:
      return nullptr;
  }
}

Status socket_failure(int os_error, const char* doing, const std::string& where) {
  const char* const advice = advice_of(os_error);
  if (advice == nullptr) return failure(os_error, doing, where);
  return Status::from_os(os_error, base::text("%; %", {doing, advice})).at(where);
}

std::uint64_t deadline_in(std::uint32_t timeout_ms) noexcept { return monotonic_ms() + timeout_ms; }

// Waits until one of `count` is ready; false when the deadline is over. At least one look.
Result<bool> poll_until(pollfd* waits, unsigned count, std::uint64_t deadline_ms,
                        const std::string& where) {
  for (;;) {
    const std::uint64_t now = monotonic_ms();
    const std::uint64_t left = deadline_ms > now ? deadline_ms - now : 0;
    const int ready = ::poll(waits, static_cast<nfds_t>(count),
                             left < INT_MAX ? static_cast<int>(left) : INT_MAX);
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return socket_failure(errno, "cannot wait for", where);
    if (monotonic_ms() >= deadline_ms) return false;
  }
}

void nap() noexcept { ::poll(nullptr, 0, kNapMs); }

pollfd reading(int descriptor) noexcept { return {descriptor, POLLIN, 0}; }

// poll() passes over -1.
pollfd reading(const Waker* waker) noexcept {
  return reading(waker == nullptr ? -1 : waker->descriptor());
}

// ---- Descriptors ----

#if defined(__APPLE__)
bool set_flag(int number, int get, int set, int flag) noexcept {
  const int flags = ::fcntl(number, get);
  return flags >= 0 && ::fcntl(number, set, flags | flag) == 0;
}
#endif

// Owns a new descriptor, which is neither inherited nor blocking from here on. Not valid when
// there is none, or when that failed: see errno.
Descriptor made_ready(int number) noexcept {
  Descriptor owned(above_standard(number));
  if (!owned.valid()) return owned;
#if defined(__APPLE__)
  const int on = 1;
  ::setsockopt(owned.get(), SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);  // fails for a pipe
  if (!set_flag(owned.get(), F_GETFD, F_SETFD, FD_CLOEXEC) ||
      !set_flag(owned.get(), F_GETFL, F_SETFL, O_NONBLOCK)) {
    owned.reset();
  }
#endif
  return owned;
}

Descriptor new_socket(int family) noexcept {
  return made_ready(::socket(family, SOCK_STREAM | kSocketFlags, 0));
}

Descriptor accept_from(int listener) noexcept {
#if defined(__APPLE__)
  return made_ready(::accept(listener, nullptr, nullptr));
#else
  return made_ready(::accept4(listener, nullptr, nullptr, kSocketFlags));
#endif
}

void turn_on(int socket, int level, int option) noexcept {
  const int on = 1;
  ::setsockopt(socket, level, option, &on, sizeof on);
}

// Small frames go out at once, and a peer that is gone without a word is noticed in the end.
void tune_tcp(int socket) noexcept {
  turn_on(socket, IPPROTO_TCP, TCP_NODELAY);
  turn_on(socket, SOL_SOCKET, SO_KEEPALIVE);
}

// TCP's room grows by itself, a Unix socket's does not: as much of it as the system allows.
void tune_unix(int socket) noexcept {
  const int bytes = 1 << 20;
  ::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

// Whether the process at the other end of a Unix socket runs as `allowed` or as root.
bool peer_is(int socket, uid_t allowed) noexcept {
#if defined(__linux__)
  struct ucred peer {};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == allowed || peer.uid == 0;
#else
  uid_t user = 0;
  gid_t group = 0;
  if (::getpeereid(socket, &user, &group) != 0) return false;
  return user == allowed || user == 0;
#endif
}

// "127.0.0.1:7000" or "[::1]:7000"; empty for what has no such name.
std::string endpoint_text(const sockaddr* name, socklen_t size) {
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  if (::getnameinfo(name, size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return {};
  }
  return base::text(name->sa_family == AF_INET6 ? "[%]:%" : "%:%", {host, port});
}

using NameOf = int (*)(int, sockaddr*, socklen_t*);

std::string endpoint_of(int socket, NameOf name_of) {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  auto* const plain = reinterpret_cast<sockaddr*>(&name);
  return name_of(socket, plain, &size) == 0 ? endpoint_text(plain, size) : std::string();
}

}  // namespace

// ---- Waker ----

Status Waker::make(std::unique_ptr<Waker>& out) {
  int ends[2] = {-1, -1};
#if defined(__APPLE__)
  const int made = ::pipe(ends);
#else
  const int made = ::pipe2(ends, O_CLOEXEC | O_NONBLOCK);
#endif
  if (made != 0) return failure(errno, "cannot make a pipe", {});
  // Both are owned before either can fail.
  Descriptor first = made_ready(ends[0]);
  Descriptor second = made_ready(ends[1]);
  if (!first.valid() || !second.valid()) return failure(errno, "cannot make a pipe", {});
  out.reset(new (std::nothrow) Waker(std::move(first), std::move(second)));
  return out ? Status() : base::out_of_memory("cannot make a waker");
}

void Waker::wake() noexcept {
  // Release: reset() acquires what was handed over before.
  if (woken_.exchange(true, std::memory_order_acq_rel)) return;
  const char byte = 0;
  // A pipe that is full wakes as well as one with a byte more.
  while (::write(in_.get(), &byte, 1) < 0 && errno == EINTR) {
  }
}

void Waker::reset() noexcept {
  // The pipe first: after the flag, it could swallow the byte of a wake() whose flag stays, and
  // then nothing would wake any more.
  char bytes[64];
  for (;;) {
    const ssize_t got = ::read(out_.get(), bytes, sizeof bytes);
    if (got <= 0 && !(got < 0 && errno == EINTR)) break;
  }
  woken_.exchange(false, std::memory_order_acq_rel);
}

// ---- Streams ----

namespace {

class SocketStream final : public Stream {
 public:
  SocketStream(Descriptor socket, std::string peer) noexcept
      : socket_(std::move(socket)), peer_(std::move(peer)) {}

  Result<std::size_t> read(MutableBytes out) override {
    if (out.empty()) return std::size_t{0};  // recv() would answer as at an end
    for (;;) {
      if (is_shut()) return was_shut();
      const ssize_t got = ::recv(socket_.get(), out.data(), most(out.size()), 0);
      if (got > 0) return static_cast<std::size_t>(got);
      if (got == 0) return Status(Errc::closed, "the other side ended the connection").at(peer_);
      if (errno == EAGAIN || errno == EWOULDBLOCK) return std::size_t{0};
      if (errno != EINTR) return broken("cannot receive");
    }
  }

  Result<std::size_t> write(Bytes data) override {
    if (data.empty()) return std::size_t{0};
    for (;;) {
      if (is_shut()) return was_shut();
      const ssize_t put = ::send(socket_.get(), data.data(), most(data.size()), kSendFlags);
      if (put >= 0) return static_cast<std::size_t>(put);
      if (errno == EAGAIN || errno == EWOULDBLOCK) return std::size_t{0};
      if (errno != EINTR) return broken("cannot send");
    }
  }

  Result<bool> wait(bool to_write, std::uint32_t timeout_ms, Waker* waker) override {
    pollfd waits[2] = {reading(socket_.get()), reading(waker)};
    if (to_write) waits[0].events = POLLIN | POLLOUT;
    if (is_shut()) return true;
    return poll_until(waits, 2, deadline_in(timeout_ms), peer_);
  }

  void shut() noexcept override {
    // The flag first: who is woken by the second looks at it.
    shut_.store(true, std::memory_order_release);
    ::shutdown(socket_.get(), SHUT_RDWR);
  }

  [[nodiscard]] std::string peer() const override { return peer_; }

 private:
  static std::size_t most(std::size_t size) noexcept {
    return size < kTransferBytesMax ? size : kTransferBytesMax;
  }
  [[nodiscard]] bool is_shut() const noexcept { return shut_.load(std::memory_order_acquire); }
  [[nodiscard]] Status was_shut() const {
    return Status(Errc::closed, "the connection was ended on this side").at(peer_);
  }
  [[nodiscard]] Status broken(const char* doing) const {
    if (is_shut()) return was_shut();
    if (errno == ECONNRESET || errno == EPIPE || errno == ENOTCONN) {
      return Status(Errc::closed, "the other side broke the connection off").at(peer_);
    }
    return socket_failure(errno, doing, peer_);
  }

  const Descriptor socket_;
  const std::string peer_;
  std::atomic<bool> shut_{false};
};

Result<std::unique_ptr<Stream>> stream_of(Descriptor socket, std::string peer) {
  std::unique_ptr<Stream> stream(new (std::nothrow)
                                     SocketStream(std::move(socket), std::move(peer)));
  if (!stream) return base::out_of_memory("cannot hold a connection");
  return stream;
}

// check_path() has judged the path.
sockaddr_un unix_name(const std::string& path) noexcept {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  constexpr std::size_t kMost = sizeof name.sun_path - 1;
  std::memcpy(name.sun_path, path.data(), path.size() < kMost ? path.size() : kMost);
  return name;
}

bool is_woken(const Waker* waker) noexcept { return waker != nullptr && waker->woken(); }

// 0, or an errno; ETIMEDOUT too when the deadline is over, ECANCELED when `ending` is woken.
int connect_to(int socket, const sockaddr* name, socklen_t size, std::uint64_t deadline_ms,
               const Waker* ending) {
  for (;;) {
    if (::connect(socket, name, size) == 0) return 0;
    // A Unix socket whose queue is full says EAGAIN, and poll() does not tell when it is not.
    if (errno != EAGAIN || name->sa_family != AF_UNIX) break;
    if (is_woken(ending)) return ECANCELED;
    if (monotonic_ms() >= deadline_ms) return ETIMEDOUT;
    nap();
  }
  if (errno != EINPROGRESS && errno != EINTR) return errno;  // after EINTR it goes on by itself
  pollfd waits[2] = {{socket, POLLOUT, 0}, reading(ending)};
  const Result<bool> ready = poll_until(waits, 2, deadline_ms, {});
  if (!ready.ok()) return ready.status().os_error();
  if (waits[0].revents == 0 && is_woken(ending)) return ECANCELED;
  if (!*ready) return ETIMEDOUT;
  int error = 0;
  socklen_t error_size = sizeof error;
  if (::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &error_size) != 0) return errno;
  return error;
}

Status not_connected(int error, const std::string& text) {
  if (error == ECANCELED) return Status(Errc::closed, "stopped while connecting").at(text);
  return socket_failure(error, "cannot connect", text);
}

Result<std::unique_ptr<Stream>> connect_unix(const Address& address, std::uint64_t deadline_ms,
                                             const Waker* ending) {
  const std::string text = address.text();
  if (Status good = check_path(address); !good.ok()) return good;
  Descriptor socket = new_socket(AF_UNIX);
  if (!socket.valid()) return socket_failure(errno, "cannot make a socket", text);
  const sockaddr_un name = unix_name(address.path);
  const int error = connect_to(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name,
                               deadline_ms, ending);
  if (error != 0) return not_connected(error, text);
  // Whoever may write to the directory could have put a socket of his own there.
  const uid_t user = ::geteuid();
  if (user != 0 && !peer_is(socket.get(), user)) {
    return Status(Errc::invalid_argument,
                  "the server there runs as another user: run both as the same")
        .at(text);
  }
  return stream_of(std::move(socket), text);
}

}  // namespace

Result<std::unique_ptr<Stream>> connect(const Address& address, std::uint32_t timeout_ms,
                                        const Waker* ending) {
  const std::uint64_t deadline = deadline_in(timeout_ms);
  if (address.is_unix()) return connect_unix(address, deadline, ending);
  const std::string text = address.text();
  if (address.port == 0) return bad_address(text, "nobody can be reached at port 0");
  Resolved found;
  Status outcome = found.find(address, 0);
  std::uint64_t left = 0;
  for (const addrinfo* one = found.first(); one != nullptr; one = one->ai_next) ++left;
  for (const addrinfo* one = found.first(); one != nullptr; one = one->ai_next, --left) {
    // A share of the time for each, so that a silent one leaves some for those behind it.
    const std::uint64_t now = monotonic_ms();
    const std::uint64_t share = now + (deadline > now ? (deadline - now) / left : 0);
    Descriptor socket = new_socket(one->ai_family);
    int error = socket.valid() ? 0 : errno;
    if (error == 0) error = connect_to(socket.get(), one->ai_addr, one->ai_addrlen, share, ending);
    if (error == 0) {
      std::string peer = endpoint_of(socket.get(), ::getpeername);
      // A socket that the system gave the very port it asks for can connect to itself.
      if (peer != endpoint_of(socket.get(), ::getsockname)) {
        tune_tcp(socket.get());
        return stream_of(std::move(socket), std::move(peer));
      }
      error = ECONNREFUSED;
    }
    outcome = not_connected(error, text);
    if (error == ECANCELED) break;
  }
  return outcome;
}

// ---- Listener ----

namespace {

Status not_listening(int os_error, const std::string& where) {
  return socket_failure(os_error, "cannot listen", where);
}

Result<Descriptor> listen_at(const addrinfo& at, const std::string& where) {
  Descriptor socket = new_socket(at.ai_family);
  if (!socket.valid()) return not_listening(errno, where);
  turn_on(socket.get(), SOL_SOCKET, SO_REUSEADDR);  // else a restart waits for old connections
  if (at.ai_family == AF_INET6) {
    const int off = 0;  // [::] takes IPv4 as well, whatever the system's default is
    ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  }
  if (::bind(socket.get(), at.ai_addr, at.ai_addrlen) != 0 ||
      ::listen(socket.get(), kWaitingConnections) != 0) {
    return not_listening(errno, where);
  }
  return socket;
}

// At the first of the host's addresses where that can be done.
Result<Descriptor> listen_tcp(const Address& address) {
  Resolved found;
  Status outcome = found.find(address, AI_PASSIVE);
  for (const addrinfo* one = found.first(); one != nullptr; one = one->ai_next) {
    Result<Descriptor> socket = listen_at(*one, address.text());
    if (socket.ok()) return socket;
    outcome = socket.status();
  }
  return outcome;
}

std::uint16_t port_of(int socket) noexcept {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&name), &size) != 0) return 0;
  sockaddr_in four{};
  sockaddr_in6 six{};
  std::memcpy(&four, &name, sizeof four);
  std::memcpy(&six, &name, sizeof six);
  return ntohs(name.ss_family == AF_INET6 ? six.sin6_port : four.sin_port);
}

// Keeps the folder of `path` to this process while it is held, against a second one that starts
// at the same time and finds the same stale socket. Not valid when it cannot be had soon: anybody
// may hold this lock, and nobody shall keep us from starting with it.
Descriptor lock_folder(const std::string& path) {
  constexpr int kTries = 100;
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == path.npos ? "." : path.substr(0, slash + 1);
  Descriptor opened(open_no_interrupt(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int i = 0; opened.valid() && i < kTries; ++i) {
    if (::flock(opened.get(), LOCK_EX | LOCK_NB) == 0) return opened;
    if (errno != EWOULDBLOCK && errno != EINTR) break;
    nap();
  }
  return Descriptor();
}

Status in_use(const std::string& path) {
  return Status(Errc::locked, "another process listens there: stop it, or give another path")
      .at(path);
}

// Makes room at `path`: a socket at which nobody listens goes, all else stays and is an error.
Status remove_stale(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0)
    return errno == ENOENT ? Status() : not_listening(errno, path);
  if (!S_ISSOCK(info.st_mode)) {
    return Status(Errc::invalid_argument, "is not a socket: move it away, or give another path")
        .at(path);
  }
  const Descriptor probe = new_socket(AF_UNIX);
  if (!probe.valid()) return not_listening(errno, path);
  const sockaddr_un name = unix_name(path);
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0 ||
      errno == EAGAIN || errno == EINPROGRESS || errno == EINTR) {
    return in_use(path);
  }
  if (errno == ENOENT) return {};
  if (errno != ECONNREFUSED) return not_listening(errno, path);
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  return failure(errno, "cannot remove the socket that nobody listens at", path);
}

// The mode is set before listen(), and nobody can connect before that.
Result<Descriptor> listen_unix(const Address& address, struct stat& info) {
  const std::string& path = address.path;
  Status outcome = check_path(address);
  if (!outcome.ok()) return outcome;
  const Descriptor lock = lock_folder(path);
  outcome = remove_stale(path);
  if (!outcome.ok()) return outcome;
  Descriptor socket = new_socket(AF_UNIX);
  if (!socket.valid()) return not_listening(errno, path);
  ::fchmod(socket.get(), kSocketMode);  // Linux makes the file with it; others leave it undone
  const sockaddr_un name = unix_name(path);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0) {
    return errno == EADDRINUSE ? in_use(path) : not_listening(errno, path);
  }
  if (::lstat(path.c_str(), &info) != 0) return not_listening(errno, path);
  const bool right =
      (info.st_mode & 07777) == kSocketMode || ::chmod(path.c_str(), kSocketMode) == 0;
  if (right && ::listen(socket.get(), kWaitingConnections) == 0) return socket;
  outcome = not_listening(errno, path);
  ::unlink(path.c_str());
  return outcome;
}

// Errors of a single connection, which Linux hands to accept(); the next one may be well.
bool is_of_one_connection(int os_error) noexcept {
  switch (os_error) {
    case EAGAIN:
    case EINTR:
    case ECONNABORTED:
    case ECONNRESET:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ETIMEDOUT:
      return true;
    default:
      return os_error == EWOULDBLOCK;
  }
}

}  // namespace

Result<std::unique_ptr<Listener>> Listener::listen(const Address& address) {
  std::unique_ptr<Waker> closing;
  if (Status made = Waker::make(closing); !made.ok()) return made;
  struct stat info {};
  Result<Descriptor> socket = address.is_unix() ? listen_unix(address, info) : listen_tcp(address);
  if (!socket.ok()) return socket.status();
  std::unique_ptr<Listener> listener(new (std::nothrow) Listener(*std::move(socket), address));
  if (!listener) return base::out_of_memory("cannot hold a listener");
  listener->closing_ = std::move(closing);
  listener->owns_file_ = address.is_unix();
  listener->file_device_ = static_cast<std::uint64_t>(info.st_dev);
  listener->file_number_ = static_cast<std::uint64_t>(info.st_ino);
  if (!address.is_unix()) listener->address_.port = port_of(listener->socket_.get());
  return listener;
}

Listener::~Listener() {
  // Before the descriptor goes: until then nobody takes the file for a stale one.
  struct stat info {};
  if (owns_file_ && ::lstat(address_.path.c_str(), &info) == 0 &&
      static_cast<std::uint64_t>(info.st_dev) == file_device_ &&
      static_cast<std::uint64_t>(info.st_ino) == file_number_) {
    ::unlink(address_.path.c_str());
  }
}

Result<std::unique_ptr<Stream>> Listener::accept(std::uint32_t timeout_ms, Waker* waker) {
  const std::uint64_t deadline = deadline_in(timeout_ms);
  const std::string where = address_.text();
  for (;;) {
    pollfd waits[3] = {reading(socket_.get()), reading(closing_.get()), reading(waker)};
    const Result<bool> ready = poll_until(waits, 3, deadline, where);
    if (!ready.ok()) return ready.status();
    if (waits[1].revents != 0) return Status(Errc::closed, "the listener was closed").at(where);
    if (!*ready || waits[2].revents != 0) return std::unique_ptr<Stream>();
    Descriptor socket = accept_from(socket_.get());
    if (!socket.valid()) {
      if (is_of_one_connection(errno)) continue;
      return socket_failure(errno, "cannot take a connection", where);
    }
    if (address_.is_unix()) {
      tune_unix(socket.get());
      if (peer_is(socket.get(), ::geteuid())) return stream_of(std::move(socket), where);
      continue;
    }
    tune_tcp(socket.get());
    std::string peer = endpoint_of(socket.get(), ::getpeername);
    return stream_of(std::move(socket), std::move(peer));
  }
}

void Listener::close() noexcept { closing_->wake(); }

}  // namespace armdb::os

#endif  // !ARMDB_OMIT_REPLICATION

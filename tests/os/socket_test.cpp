// Streams over TCP and Unix sockets: what is read and written, ends, wakers, listeners and files.
#include "os/socket.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/stream_pair.hpp"
#include "support/temp_dir.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

using namespace armdb;
using namespace armdb::os;

namespace {

constexpr std::uint32_t kLong = 60000;

Address at(const std::string& text) {
  Result<Address> address = parse_address(text);
  INFO(address.message());
  REQUIRE(address.ok());
  return *address;
}

std::unique_ptr<Listener> listening(const std::string& text) {
  Result<std::unique_ptr<Listener>> listener = Listener::listen(at(text));
  INFO(listener.message());
  REQUIRE(listener.ok());
  return *std::move(listener);
}

std::unique_ptr<Stream> connected(const Listener& to) {
  Result<std::unique_ptr<Stream>> stream = os::connect(to.address(), kLong);
  INFO(stream.message());
  REQUIRE(stream.ok());
  return *std::move(stream);
}

std::unique_ptr<Stream> accepted(Listener& by) {
  Result<std::unique_ptr<Stream>> stream = by.accept(kLong, nullptr);
  INFO(stream.message());
  REQUIRE(stream.ok());
  REQUIRE(*stream != nullptr);
  return *std::move(stream);
}

std::unique_ptr<Waker> new_waker() {
  std::unique_ptr<Waker> waker;
  REQUIRE(Waker::make(waker).ok());
  return waker;
}

// A connection with both of its ends here.
struct Connection {
  explicit Connection(const std::string& address) : listener(listening(address)) {
    client = connected(*listener);
    server = accepted(*listener);
  }
  std::unique_ptr<Listener> listener;
  std::unique_ptr<Stream> client, server;
};

void write_all(Stream& stream, Bytes data) {
  while (!data.empty()) {
    REQUIRE(*stream.wait(true, kLong, nullptr));
    data = data.sub(*stream.write(data));
  }
}

std::string read_all(Stream& stream, std::size_t size) {
  std::string text(size, 0);
  std::size_t done = 0;
  while (done < size) {
    REQUIRE(*stream.wait(false, kLong, nullptr));
    done += *stream.read({reinterpret_cast<std::uint8_t*>(text.data()) + done, size - done});
  }
  return text;
}

// What read() says when it no longer says "nothing now".
Result<std::size_t> next(Stream& stream) {
  std::uint8_t bytes[100];
  for (;;) {
    REQUIRE(*stream.wait(false, kLong, nullptr));
    Result<std::size_t> got = stream.read(bytes);
    if (!got.ok() || *got > 0) return got;
  }
}

// Until write() takes nothing and wait() sees no room for it: the system may find some more in
// between.
std::size_t fill(Stream& stream) {
  const std::vector<std::uint8_t> bytes(100000, 7);
  for (std::size_t total = 0;;) {
    Result<std::size_t> put = stream.write(bytes);
    REQUIRE(put.ok());
    total += *put;
    if (*put == 0 && !*stream.wait(true, 50, nullptr)) return total;
  }
}

std::set<int> open_descriptors() {
  std::set<int> numbers;
  for (int number = 0; number < 1024; ++number) {
    if (::fcntl(number, F_GETFD) >= 0) numbers.insert(number);
  }
  return numbers;
}

mode_t mode_of(const std::string& path) {
  struct stat info {};
  REQUIRE(::lstat(path.c_str(), &info) == 0);
  return info.st_mode;
}

// A socket file at which nobody listens, as a killed server leaves it.
void leave_stale(const std::string& path) {
  const int number = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  REQUIRE(path.size() < sizeof name.sun_path);
  std::memcpy(name.sun_path, path.data(), path.size());
  REQUIRE(::bind(number, reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0);
  ::close(number);
}

bool has_ipv6() {
  Result<std::unique_ptr<Listener>> listener = Listener::listen(at("[::1]:0"));
  return listener.ok();
}

// Each kind of connection that this machine has.
std::vector<std::string> every_kind(const test::TempDir& dir) {
  std::vector<std::string> kinds = {"127.0.0.1:0", "unix:" + dir / "s"};
  if (has_ipv6()) kinds.emplace_back("[::1]:0");
  return kinds;
}

}  // namespace

TEST_CASE("socket: bytes go both ways over TCP and over Unix sockets, and ends know their peers") {
  const test::TempDir dir;
  for (const std::string& kind : every_kind(dir)) {
    INFO(kind);
    Connection both(kind);
    std::uint8_t byte = 0;
    CHECK(*both.server->read({&byte, 1}) == 0);
    write_all(*both.client, "from the client");
    CHECK(read_all(*both.server, 15) == "from the client");
    write_all(*both.server, "from the server");
    CHECK(read_all(*both.client, 15) == "from the server");
    CHECK(both.client->peer() == both.listener->address().text());
    CHECK_FALSE(both.server->peer().empty());
  }
}

TEST_CASE("socket: the listener names the port that the system chose") {
  const std::unique_ptr<Listener> one = listening("127.0.0.1:0");
  const std::unique_ptr<Listener> two = listening("127.0.0.1:0");
  CHECK(one->address().port != 0);
  CHECK(two->address().port != one->address().port);
  CHECK(one->address().host == "127.0.0.1");
}

TEST_CASE("socket: localhost is connected to by whichever of its addresses answers") {
  const std::unique_ptr<Listener> listener = listening("127.0.0.1:0");
  Address name = at("localhost:1");
  if (!is_local(name)) return;
  name.port = listener->address().port;
  Result<std::unique_ptr<Stream>> stream = os::connect(name, kLong);
  INFO(stream.message());
  CHECK(stream.ok());
}

TEST_CASE("socket: [::] takes connections over IPv4 as well") {
  if (!has_ipv6()) return;
  const std::unique_ptr<Listener> listener = listening("[::]:0");
  Address four = at("127.0.0.1:1");
  four.port = listener->address().port;
  CHECK(os::connect(four, kLong).ok());
}

TEST_CASE("socket: where nobody listens connecting fails, and says what to look at") {
  const test::TempDir dir;
  Address gone;
  {
    const std::unique_ptr<Listener> listener = listening("127.0.0.1:0");
    gone = listener->address();
  }
  const Result<std::unique_ptr<Stream>> refused = os::connect(gone, kLong);
  CHECK(refused.status().os_error() == ECONNREFUSED);
  CHECK(refused.message().find("nobody listens there") != std::string::npos);
  CHECK(refused.message().find(gone.text()) != std::string::npos);
  CHECK(os::connect(at("unix:" + dir / "none"), kLong).status().os_error() == ENOENT);
  leave_stale(dir / "stale");
  CHECK(os::connect(at("unix:" + dir / "stale"), kLong).status().os_error() == ECONNREFUSED);
  CHECK(os::connect(at("127.0.0.1:0"), kLong).is(Errc::invalid_argument));
}

TEST_CASE("socket: connecting to a Unix socket whose queue is full ends at the deadline") {
  const test::TempDir dir;
  const std::unique_ptr<Listener> listener = listening("unix:" + dir / "s");
  std::vector<std::unique_ptr<Stream>> queued;
  for (int i = 0; i < 1000; ++i) {
    Result<std::unique_ptr<Stream>> stream = os::connect(listener->address(), 30);
    if (!stream.ok()) {
      CHECK(stream.status().os_error() == ETIMEDOUT);
      return;
    }
    queued.push_back(*std::move(stream));
  }
  FAIL("the queue of the listener has no end");
}

TEST_CASE("socket: a port that is taken is an error that says so") {
  const std::unique_ptr<Listener> listener = listening("127.0.0.1:0");
  const Result<std::unique_ptr<Listener>> second = Listener::listen(listener->address());
  CHECK(second.status().os_error() == EADDRINUSE);
  CHECK(second.message().find("choose another port") != std::string::npos);
}

TEST_CASE("socket: a server that ended its connections listens at the same port again at once") {
  Address address;
  {
    Connection both("127.0.0.1:0");
    address = both.listener->address();
    both.server.reset();  // who ends first keeps the port busy for a while
    CHECK(next(*both.client).is(Errc::closed));
  }
  const Result<std::unique_ptr<Listener>> again = Listener::listen(address);
  INFO(again.message());
  CHECK(again.ok());
}

TEST_CASE("socket: against a full buffer write takes nothing, and goes on when there is room") {
  const test::TempDir dir;
  for (const std::string& kind : every_kind(dir)) {
    INFO(kind);
    Connection both(kind);
    const std::size_t full = fill(*both.client);
    CHECK(full > 0);
    CHECK(read_all(*both.server, full) == std::string(full, 7));
    write_all(*both.client, "and on");
    CHECK(read_all(*both.server, 6) == "and on");
  }
}

TEST_CASE("socket: megabytes arrive whole and in order, both ways at once") {
  const test::TempDir dir;
  std::string text(3000000, 0);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 31 + i / 251);
  for (const std::string& kind : every_kind(dir)) {
    INFO(kind);
    Connection both(kind);
    Stream* const ends[2] = {both.client.get(), both.server.get()};
    std::size_t written[2] = {}, seen[2] = {};
    std::vector<std::uint8_t> piece(70000);
    bool same = true;
    while (seen[0] < text.size() || seen[1] < text.size()) {
      for (int end = 0; end < 2; ++end) {
        written[end] += *ends[end]->write(Bytes(text).sub(written[end]));
        const std::size_t got = *ends[end]->read(piece);
        same = same && Bytes(piece).sub(0, got) == Bytes(text).sub(seen[end], got);
        seen[end] += got;
      }
    }
    CHECK(same);
  }
}

TEST_CASE("socket: what a peer wrote before it went is read, then the end, again and again") {
  const test::TempDir dir;
  for (const std::string& kind : every_kind(dir)) {
    INFO(kind);
    Connection both(kind);
    write_all(*both.client, "last");
    both.client.reset();
    CHECK(read_all(*both.server, 4) == "last");
    for (int i = 0; i < 3; ++i) {
      const Result<std::size_t> got = next(*both.server);
      CHECK(got.is(Errc::closed));
      CHECK(got.message().find(both.server->peer()) != std::string::npos);
    }
  }
}

TEST_CASE("socket: writing to a peer that is gone is closed, and raises no SIGPIPE [pitfall-37]") {
  const test::TempDir dir;
  struct sigaction fatal {};
  struct sigaction before {};
  fatal.sa_handler = SIG_DFL;  // would end this program
  REQUIRE(::sigaction(SIGPIPE, &fatal, &before) == 0);
  for (const std::string& kind : every_kind(dir)) {
    INFO(kind);
    Connection both(kind);
    write_all(*both.client, "never read: the end is a reset");
    both.server.reset();
    Result<std::size_t> put = both.client->write("x");
    for (int i = 0; put.ok() && i < 1000; ++i) {
      static_cast<void>(both.client->wait(true, 10, nullptr));
      put = both.client->write("x");
    }
    CHECK(put.is(Errc::closed));
    CHECK(both.client->write("x").is(Errc::closed));
    CHECK(next(*both.client).is(Errc::closed));
  }
  ::sigaction(SIGPIPE, &before, nullptr);
}

TEST_CASE("socket: shut from another thread ends a wait, reading and writing") {
  const test::TempDir dir;
  for (const std::string& kind : every_kind(dir)) {
    INFO(kind);
    Connection both(kind);
    write_all(*both.server, "not read any more");
    CHECK(*both.client->wait(false, kLong, nullptr));
    Stream* const other = both.server.get();
    std::thread thread([other] { other->shut(); });
    const Result<bool> woken = both.server->wait(false, kLong, nullptr);
    const Result<std::size_t> got = next(*both.server);
    thread.join();
    CHECK(*woken);
    CHECK(got.is(Errc::closed));
    CHECK(both.server->write("x").is(Errc::closed));
    CHECK(*both.server->wait(false, kLong, nullptr));
    // What was on its way arrives; then the peer sees an end.
    CHECK(read_all(*both.client, 17) == "not read any more");
    CHECK(next(*both.client).is(Errc::closed));
    both.client->shut();
    std::uint8_t byte = 0;
    CHECK(both.client->read({&byte, 1}).is(Errc::closed));
  }
}

TEST_CASE("socket: after shut nothing more is read, even what had come already") {
  Connection both("127.0.0.1:0");
  write_all(*both.client, "too late");
  CHECK(*both.server->wait(false, kLong, nullptr));
  both.server->shut();
  CHECK(next(*both.server).is(Errc::closed));
}

TEST_CASE("socket: a wait without anything to see ends at its deadline") {
  Connection both("127.0.0.1:0");
  CHECK_FALSE(*both.client->wait(false, 0, nullptr));
  CHECK_FALSE(*both.client->wait(false, 20, nullptr));
  CHECK(*both.client->wait(true, kLong, nullptr));
}

TEST_CASE("socket: a waker ends a wait until it is reset, however often it was woken") {
  Connection both("127.0.0.1:0");
  const std::unique_ptr<Waker> waker = new_waker();
  CHECK_FALSE(*both.client->wait(false, 0, waker.get()));
  for (int i = 0; i < 100000; ++i) waker->wake();  // more than a pipe holds
  CHECK(*both.client->wait(false, kLong, waker.get()));
  CHECK(*both.client->wait(false, kLong, waker.get()));
  waker->reset();
  CHECK_FALSE(*both.client->wait(false, 0, waker.get()));
  waker->wake();
  CHECK(*both.client->wait(false, kLong, waker.get()));
}

TEST_CASE("socket: no wake of another thread is lost between a reset and the next wait") {
  Connection both("127.0.0.1:0");
  const std::unique_ptr<Waker> waker = new_waker();
  const auto work = std::make_unique<std::atomic<int>>(0);
  constexpr int kRounds = 100000;
  std::thread thread([&] {
    for (int i = 0; i < kRounds; ++i) {
      if (i % 8 == 0) std::this_thread::yield();
      work->fetch_add(1, std::memory_order_relaxed);
      waker->wake();
    }
  });
  bool all_in_time = true;
  while (work->load(std::memory_order_relaxed) < kRounds && all_in_time) {
    waker->reset();
    if (work->load(std::memory_order_relaxed) == kRounds) break;
    all_in_time = *both.client->wait(false, kLong, waker.get());
  }
  thread.join();
  CHECK(all_in_time);
}

TEST_CASE("socket: accept ends without a connection at its deadline and by a waker") {
  const test::TempDir dir;
  for (const std::string& kind : every_kind(dir)) {
    INFO(kind);
    const std::unique_ptr<Listener> listener = listening(kind);
    const std::unique_ptr<Waker> waker = new_waker();
    Result<std::unique_ptr<Stream>> none = listener->accept(1, waker.get());
    CHECK(*none == nullptr);
    std::thread thread([&] { waker->wake(); });
    none = listener->accept(kLong, waker.get());
    thread.join();
    CHECK(*none == nullptr);
  }
}

TEST_CASE("socket: close from another thread ends accept, for good") {
  const std::unique_ptr<Listener> listener = listening("127.0.0.1:0");
  std::thread thread([&] { listener->close(); });
  const Result<std::unique_ptr<Stream>> ended = listener->accept(kLong, nullptr);
  thread.join();
  CHECK(ended.is(Errc::closed));
  CHECK(listener->accept(kLong, nullptr).is(Errc::closed));
}

TEST_CASE("socket: connections that wait are taken one after the other") {
  const test::TempDir dir;
  for (const std::string& kind : every_kind(dir)) {
    INFO(kind);
    const std::unique_ptr<Listener> listener = listening(kind);
    const std::unique_ptr<Stream> one = connected(*listener);
    write_all(*one, "one");
    const std::unique_ptr<Stream> two = connected(*listener);
    write_all(*two, "two");
    const std::unique_ptr<Stream> first = accepted(*listener);
    const std::unique_ptr<Stream> second = accepted(*listener);
    CHECK(read_all(*first, 3) == "one");
    CHECK(read_all(*second, 3) == "two");
  }
}

TEST_CASE("socket: a connection that was broken before it is taken does not harm the next") {
  const std::unique_ptr<Listener> listener = listening("127.0.0.1:0");
  {
    const std::unique_ptr<Stream> gone = connected(*listener);
    write_all(*gone, "x");
  }
  const std::unique_ptr<Stream> next_one = connected(*listener);
  write_all(*next_one, "here");
  std::unique_ptr<Stream> taken = accepted(*listener);
  if (read_all(*taken, 1) == "x") {
    CHECK(next(*taken).is(Errc::closed));
    taken = accepted(*listener);
    CHECK(read_all(*taken, 1) == "h");
  }
  CHECK(read_all(*taken, 3) == "ere");
}

TEST_CASE("socket: without a descriptor left accept says so, and takes the connection later") {
  const std::unique_ptr<Listener> listener = listening("127.0.0.1:0");
  const std::unique_ptr<Stream> client = connected(*listener);
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit none{static_cast<rlim_t>(*open_descriptors().rbegin() + 1), before.rlim_max};
  std::vector<int> fillers;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  for (int number = ::dup(0); number >= 0; number = ::dup(0)) fillers.push_back(number);
  const Result<std::unique_ptr<Stream>> failed = listener->accept(kLong, nullptr);
  for (const int number : fillers) ::close(number);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(failed.status().os_error() == EMFILE);
  CHECK(failed.message().find("too many open files") != std::string::npos);
  CHECK(accepted(*listener) != nullptr);
}

TEST_CASE("socket: the file of a Unix socket is its user's alone, whatever the umask") {
  const test::TempDir dir;
  for (const mode_t mask : {mode_t{0}, mode_t{022}, mode_t{0777}}) {
    const mode_t before = ::umask(mask);
    const std::unique_ptr<Listener> listener = listening("unix:" + dir / "s");
    ::umask(before);
    CHECK(S_ISSOCK(mode_of(dir / "s")));
    CHECK((mode_of(dir / "s") & 07777) == 0600);
    CHECK(connected(*listener) != nullptr);
  }
}

TEST_CASE("socket: a stale socket file is replaced, one in use is locked") {
  const test::TempDir dir;
  leave_stale(dir / "s");
  const std::unique_ptr<Listener> listener = listening("unix:" + dir / "s");
  CHECK(connected(*listener) != nullptr);
  const Result<std::unique_ptr<Listener>> second = Listener::listen(listener->address());
  CHECK(second.is(Errc::locked));
  CHECK(second.message().find(dir / "s") != std::string::npos);
  CHECK(connected(*listener) != nullptr);
}

TEST_CASE("socket: of many that start at one stale socket file exactly one listens") {
  const test::TempDir dir;
  for (int round = 0; round < 100; ++round) {
    leave_stale(dir / "s");
    constexpr int kStarters = 4;
    std::vector<Result<std::unique_ptr<Listener>>> outcomes(kStarters);
    std::vector<std::thread> threads;
    std::atomic<int> here{0};
    const Address address = at("unix:" + dir / "s");
    for (int i = 0; i < kStarters; ++i) {
      threads.emplace_back([&outcomes, &address, &here, i] {
        here.fetch_add(1);
        while (here.load() < kStarters) std::this_thread::yield();
        outcomes[static_cast<std::size_t>(i)] = Listener::listen(address);
      });
    }
    for (std::thread& thread : threads) thread.join();
    int listeners = 0;
    for (const auto& outcome : outcomes) {
      INFO(outcome.message());
      if (outcome.ok()) {
        ++listeners;
        CHECK(connected(**outcome) != nullptr);
      } else {
        CHECK(outcome.is(Errc::locked));
      }
    }
    CHECK(listeners == 1);
  }
}

TEST_CASE("socket: a file of another kind is refused and left as it was") {
  const test::TempDir dir;
  { std::ofstream(dir / "file") << "precious"; }
  REQUIRE(::symlink((dir / "nowhere").c_str(), (dir / "link").c_str()) == 0);
  for (const std::string& name : {dir / "file", dir / "link", dir.path()}) {
    const Result<std::unique_ptr<Listener>> refused = Listener::listen(at("unix:" + name));
    INFO(refused.message());
    CHECK(refused.is(Errc::invalid_argument));
    CHECK(refused.message().find("is not a socket") != std::string::npos);
  }
  std::string text;
  std::ifstream(dir / "file") >> text;
  CHECK(text == "precious");
  CHECK(S_ISLNK(mode_of(dir / "link")));
  CHECK(Listener::listen(at("unix:" + dir / "none/s")).status().os_error() == ENOENT);
}

TEST_CASE("socket: a listener that goes takes its file along, but not that of another") {
  const test::TempDir dir;
  const std::string path = dir / "s";
  std::unique_ptr<Listener> listener = listening("unix:" + path);
  CHECK(::access(path.c_str(), F_OK) == 0);
  listener.reset();
  CHECK(::access(path.c_str(), F_OK) != 0);

  listener = listening("unix:" + path);
  REQUIRE(::unlink(path.c_str()) == 0);
  const std::unique_ptr<Listener> other = listening("unix:" + path);
  listener.reset();
  CHECK(connected(*other) != nullptr);
}

TEST_CASE("socket: no descriptor is inherited, blocks, or is one of the standard three") {
  const test::TempDir dir;
  const std::set<int> before = open_descriptors();
  const std::unique_ptr<Waker> waker = new_waker();
  const Connection tcp("127.0.0.1:0");
  const Connection unix("unix:" + dir / "s");
  int found = 0;
  for (const int number : open_descriptors()) {
    if (before.count(number) != 0) continue;
    INFO(number);
    ++found;
    CHECK(number > 2);
    CHECK((::fcntl(number, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK((::fcntl(number, F_GETFL) & O_NONBLOCK) != 0);
  }
  CHECK(found == 12);  // three pipes, two listeners, two connections of two ends
}

TEST_CASE("socket: a program that closed its standard three does not get them as sockets") {
  const test::TempDir dir;
  const Address address = at("unix:" + dir / "s");
  const pid_t child = ::fork();
  if (child == 0) {
    for (int number = 0; number < 3; ++number) ::close(number);
    std::unique_ptr<Waker> waker;
    bool good = Waker::make(waker).ok();
    Result<std::unique_ptr<Listener>> listener = Listener::listen(address);
    good = good && listener.ok();
    Result<std::unique_ptr<Stream>> client = os::connect(address, kLong);
    good = good && client.ok();
    Result<std::unique_ptr<Stream>> server = (*listener)->accept(kLong, nullptr);
    good = good && server.ok();
    for (int number = 0; number < 3; ++number) good = good && ::fcntl(number, F_GETFD) < 0;
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

// Only root can be somebody else; the check of the connecting side needs that too.
TEST_CASE("socket: another user's process is refused at both ends, root is not") {
  if (::geteuid() != 0) return;
  const test::TempDir dir;
  REQUIRE(::chmod(dir.path().c_str(), 0755) == 0);
  const std::unique_ptr<Listener> listener = listening("unix:" + dir / "s");
  // The mode alone would keep the other user out.
  REQUIRE(::chmod((dir / "s").c_str(), 0666) == 0);
  const Address address = listener->address();
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setuid(12345) != 0) ::_exit(2);
    // Root's server is good enough; but it ends the connection.
    Result<std::unique_ptr<Stream>> stream = os::connect(address, kLong);
    std::uint8_t byte = 0;
    if (!stream.ok() || !*(*stream)->wait(false, kLong, nullptr)) ::_exit(3);
    ::_exit((*stream)->read({&byte, 1}).is(Errc::closed) ? 0 : 4);
  }
  // The refused one is none: accept goes on waiting until its deadline.
  int status = -1;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    CHECK(*listener->accept(10, nullptr) == nullptr);
  }
  CHECK(status == 0);
  const std::unique_ptr<Stream> own = connected(*listener);
  CHECK(accepted(*listener) != nullptr);
}

TEST_CASE("socket: a server of another user is refused, but not by root") {
  if (::geteuid() != 0) return;
  const test::TempDir dir;
  REQUIRE(::chmod(dir.path().c_str(), 0777) == 0);
  const Address address = at("unix:" + dir / "s");
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  const pid_t server = ::fork();
  if (server == 0) {
    if (::setuid(12345) != 0) ::_exit(2);
    Result<std::unique_ptr<Listener>> listener = Listener::listen(address);
    if (!listener.ok() || ::write(ready[1], "x", 1) != 1) ::_exit(3);
    ::_exit((*listener)->accept(kLong, nullptr).ok() ? 0 : 4);
  }
  char byte = 0;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  ::close(ready[0]);
  ::close(ready[1]);
  REQUIRE(::chmod(address.path.c_str(), 0666) == 0);
  const pid_t client = ::fork();
  if (client == 0) {
    if (::setuid(12346) != 0) ::_exit(2);
    ::_exit(os::connect(address, kLong).is(Errc::invalid_argument) ? 0 : 3);
  }
  int status = -1;
  REQUIRE(::waitpid(client, &status, 0) == client);
  CHECK(status == 0);
  CHECK(os::connect(address, kLong).ok());  // the server takes root's, after it refused the other
  REQUIRE(::waitpid(server, &status, 0) == server);
  CHECK(status == 0);
}

TEST_CASE("stream_pair: two ends in one process keep the contract of a stream") {
  test::StreamPair pair({.room_bytes = 10, .chunk_bytes = 3});
  CHECK(*pair.first->write("0123456789ABCDEF") == 3);
  write_all(*pair.first, "3456789");
  CHECK(*pair.first->write("A") == 0);
  CHECK_FALSE(*pair.first->wait(true, 1, nullptr));
  CHECK(read_all(*pair.second, 10) == "0123456789");
  CHECK(*pair.first->wait(true, kLong, nullptr));
  const std::unique_ptr<Waker> waker = new_waker();
  CHECK_FALSE(*pair.first->wait(false, 1, waker.get()));
  waker->wake();
  CHECK(*pair.first->wait(false, kLong, waker.get()));

  std::thread thread([&] {
    Stream& stream = *pair.second;
    for (std::size_t done = 0; done < 1000;) {
      if (*stream.wait(true, kLong, nullptr)) done += *stream.write("x");
    }
    pair.second.reset();
  });
  const std::string all = read_all(*pair.first, 1000);
  const Result<std::size_t> end = next(*pair.first);
  thread.join();
  CHECK(all == std::string(1000, 'x'));
  CHECK(end.is(Errc::closed));
  CHECK(pair.first->write("x").is(Errc::closed));

  test::StreamPair other;
  std::thread shutter([&] { other.first->shut(); });
  const Result<bool> woken = other.first->wait(false, kLong, nullptr);
  shutter.join();
  CHECK(*woken);
  CHECK(next(*other.first).is(Errc::closed));
  CHECK(next(*other.second).is(Errc::closed));
}

#endif  // !ARMDB_OMIT_REPLICATION

// Rows on replication: what it costs the writers, how fast a new follower gets everything, and how
// late a follower shows a write. All in one process over a Unix socket, so that leader and
// followers share the machine's processors and its disk.
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "bench/bench.hpp"
#include "bench/sink.hpp"
#include "bench/store.hpp"

namespace bench {
namespace {

namespace fs = std::filesystem;
using Map = armdb::ConstMap<armdb::ByteArray<8>, armdb::ByteArray<64>>;

armdb::ByteArray<8> key_at(std::uint64_t at) {
  armdb::ByteArray<8> key;
  KeyBuffer buffer(8);
  const Bytes bytes = buffer.make(at);
  std::copy(bytes.begin(), bytes.end(), key.begin());
  return key;
}

armdb::ByteArray<64> value_at(std::uint64_t at) {
  armdb::ByteArray<64> value{};
  std::memcpy(value.data(), &at, sizeof at);
  return value;
}

// Memory that nobody has used for a while a virtual machine fetches from its host first, which can
// take longer than all that is measured here. What is used and given back is there for the next.
// Huge pages are what an index asks for next, the others the cache of files.
enum class Pages : std::uint8_t { huge, small };
void warm_memory(std::size_t bytes, Pages pages) {
  void* const memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail("no memory to warm");
  if (pages == Pages::huge) ::madvise(memory, bytes, MADV_HUGEPAGE);
  std::memset(memory, 1, bytes);
  ::munmap(memory, bytes);
}

// A leader with entries, its server, and followers.
class Group {
 public:
  Group(const Options& options, std::uint64_t keys) : folder_(options.folder + "/replication") {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    auto opened = Map::open(folder_ + "/leader");
    check(opened.status());
    leader = std::move(*opened);
    for (std::uint64_t at = 0; at < keys; ++at) check(leader.put(key_at(at), value_at(at)));
    check(leader.sync());
  }
  ~Group() {
    sinks_.clear();
    clients_.clear();
    server = {};
    followers.clear();
    leader = Map();
    fs::remove_all(folder_);
  }
  void serve() {
    auto started = armdb::ReplicationServer::start(leader.collection(), address());
    check(started.status());
    server = std::move(*started);
  }
  void add_follower() {
    const std::string path = folder_ + "/follower" + std::to_string(made_++);
    check(armdb::ReplicationClient::create(path, address()));
    auto opened = Map::open(path);
    check(opened.status());
    followers.push_back(std::move(*opened));
    auto client = armdb::ReplicationClient::start(followers.back().collection(), address());
    check(client.status());
    clients_.push_back(std::move(*client));
  }
  void add_sink() {
    const auto number = static_cast<std::uint8_t>(sinks_.size());
    sinks_.push_back(std::make_unique<Sink>(folder_ + "/socket", number));
  }
  void remove_sinks() { sinks_.clear(); }
  void remove_followers() {
    clients_.clear();
    followers.clear();
  }
  // Nothing is known of followers any more.
  void stop_serving() {
    remove_followers();
    server = {};
    for (; made_ != 0; --made_) fs::remove_all(folder_ + "/follower" + std::to_string(made_ - 1));
  }
  void settle() {
    // Those that have gone are still known, with what they had.
    const std::uint32_t count = made_ + static_cast<std::uint32_t>(sinks_.size());
    check(server.wait_for_followers(count, ~std::uint64_t{0}, 600000));
  }
  [[nodiscard]] std::string address() const { return "unix:" + folder_ + "/socket"; }
  [[nodiscard]] const std::string& folder() const { return folder_; }

  Map leader;
  armdb::ReplicationServer server;
  std::vector<Map> followers;

 private:
  const std::string folder_;
  std::uint32_t made_ = 0;  // followers
  std::vector<armdb::ReplicationClient> clients_;
  std::vector<std::unique_ptr<Sink>> sinks_;
};

// Rounds of puts to a group's leader, the stores in turn: a machine that others use too is not the
// same all the time.
class PutRounds {
 public:
  PutRounds(Group& group, const Options& options, std::string name, Report& report)
      : group_(group),
        numbers_(uniform_numbers(options.keys, options.operations * 4, 9)),
        name_(std::move(name)),
        report_(report) {}
  void operator()(const std::string& store) {
    warm_memory(std::size_t{2} << 30, Pages::small);  // for what all of them write in a round
    report_.add(name_, store, per_operation(numbers_.size(), [&] {
                  for (const std::uint32_t at : numbers_) {
                    check(group_.leader.put(key_at(at), value_at(at + 1)));
                  }
                }));
    check(group_.leader.sync());
  }

 private:
  Group& group_;
  const std::vector<std::uint32_t> numbers_;
  const std::string name_;
  Report& report_;
};

void rows_put(const Options& options, Report& report) {
  const std::string name = "replication.put";
  if (!report.wanted(name)) return;
  Group group(options, options.keys);
  PutRounds round(group, options, name, report);
  for (int n = 0; n < options.repeats; ++n) {
    round("alone");
    group.serve();
    round("served");
    group.add_follower();
    group.settle();
    round("1 follower");
    group.add_follower();
    group.settle();
    round("2 followers");
    group.settle();
    group.stop_serving();
  }
  report.finish(name, "ns/op", "served: nobody follows; the followers run in this process");
}

// The same with followers that only receive and ack: what the leader alone has to do.
void rows_put_sinks(const Options& options, Report& report) {
  const std::string name = "replication.put_sinks";
  if (!report.wanted(name)) return;
  Group group(options, options.keys);
  group.serve();
  PutRounds round(group, options, name, report);
  for (int n = 0; n < options.repeats; ++n) {
    round("alone");
    group.add_sink();
    round("1 sink");
    group.settle();
    group.add_sink();
    round("2 sinks");
    group.settle();
    group.remove_sinks();
  }
  report.finish(name, "ns/op", "sinks receive and ack, in this process, and apply nothing");
}

// A process of its own that gets one of the processors when nobody else wants it: another machine,
// as far as the leader's processors go. Its memory and its disk are the leader's. It follows, or
// writes to a store that has nothing to do with the leader. Made before this process has any
// threads.
class Apart {
 public:
  Apart(std::string path, std::string address)
      : path_(std::move(path)), address_(std::move(address)) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) fail("socketpair");
    child_ = ::fork();
    if (child_ < 0) fail("fork");
    socket_ = ends[child_ == 0 ? 1 : 0];
    ::close(ends[child_ == 0 ? 0 : 1]);
    if (child_ == 0) run();
  }
  ~Apart() {
    ::close(socket_);
    ::waitpid(child_, nullptr, 0);
  }
  Apart(const Apart&) = delete;
  Apart& operator=(const Apart&) = delete;
  // Returns when it has begun, with what it did before ended.
  void follow() { tell('f'); }
  void write() { tell('w'); }
  void stop() { tell('s'); }

 private:
  void tell(char what) {
    char done = 0;
    if (::send(socket_, &what, 1, MSG_NOSIGNAL) != 1 || ::recv(socket_, &done, 1, 0) != 1) {
      fail("the process beside the leader has ended");
    }
  }
  [[noreturn]] void run() {
    const sched_param parameters{};
    if (::sched_setscheduler(0, SCHED_IDLE, &parameters) != 0) fail("sched_setscheduler");
    // On any processor, even so, the kernel lets it interrupt a writer there for up to 4 ms.
    cpu_set_t last;
    CPU_ZERO(&last);
    CPU_SET(std::thread::hardware_concurrency() - 1, &last);
    static_cast<void>(::sched_setaffinity(0, sizeof last, &last));
    Map follower, own;
    for (char what = 0; ::recv(socket_, &what, 1, 0) == 1;) {
      client_ = {};
      if (what == 'f') follow_with(follower);
      if (what == 'w' && !own.is_open()) open(own, path_ + "_own");
      if (::send(socket_, &what, 1, MSG_NOSIGNAL) != 1) break;
      if (what == 'w') write_to(own);
    }
    client_ = {};
    ::_exit(0);
  }
  void follow_with(Map& follower) {
    if (!fs::exists(path_)) {
      check(armdb::ReplicationClient::create(path_, address_));
      open(follower, path_);
    }
    auto started = armdb::ReplicationClient::start(follower.collection(), address_);
    check(started.status());
    client_ = std::move(*started);
  }
  static void open(Map& store, const std::string& path) {
    auto opened = Map::open(path);
    check(opened.status());
    store = std::move(*opened);
  }
  // Until it is told something else.
  void write_to(Map& own) const {
    char next = 0;
    for (std::uint64_t at = 0; ::recv(socket_, &next, 1, MSG_PEEK | MSG_DONTWAIT) < 0; ++at) {
      for (std::uint64_t end = at + 1000; at < end; ++at) {
        check(own.put(key_at(at * 7919 % (1u << 22)), value_at(at)));
      }
    }
  }

  const std::string path_, address_;
  pid_t child_ = 0;
  int socket_ = -1;
  armdb::ReplicationClient client_;
};

// With followers that apply, on other machines as far as that can be had here. What they take of
// the leader's memory and disk, two stores that are written beside it without following take too.
void rows_put_apart(const Options& options, Report& report) {
  const std::string name = "replication.put_apart";
  if (!report.wanted(name)) return;
  const std::string folder = options.folder + "/replication";
  fs::remove_all(folder);
  {
    Apart first(folder + "/first", "unix:" + folder + "/socket");
    Apart second(folder + "/second", "unix:" + folder + "/socket");
    Group group(options, options.keys);
    group.serve();
    PutRounds round(group, options, name, report);
    for (int n = 0; n < options.repeats; ++n) {
      round("alone");
      first.write();
      second.write();
      round("2 stores beside");
      first.follow();
      second.follow();
      check(group.server.wait_for_followers(2, ~std::uint64_t{0}, 600000));
      round("2 followers");
      check(group.server.wait_for_followers(2, ~std::uint64_t{0}, 600000));
      first.stop();
      second.stop();
    }
  }
  fs::remove_all(folder);
  report.finish(
      name, "ns/op",
      "the others in processes that run when no one else does; stores beside follow nobody");
}

// The leader's files through a socket into files, as the least that a follower could do.
void copy_files(const std::string& from, const std::string& to) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) fail("socketpair");
  std::thread sender([&] {
    std::vector<char> piece(256 << 10);
    for (const auto& entry : fs::recursive_directory_iterator(from)) {
      if (entry.path().extension() != ".data") continue;
      std::ifstream in(entry.path(), std::ios::binary);
      while (in.read(piece.data(), static_cast<std::streamsize>(piece.size())), in.gcount() > 0) {
        const char* at = piece.data();
        for (auto left = static_cast<std::size_t>(in.gcount()); left > 0;) {
          const ssize_t sent = ::send(ends[0], at, left, MSG_NOSIGNAL);
          if (sent <= 0) fail("send");
          at += sent;
          left -= static_cast<std::size_t>(sent);
        }
      }
    }
    ::close(ends[0]);
  });
  std::ofstream out(to, std::ios::binary);
  std::vector<char> piece(256 << 10);
  for (ssize_t got = 0; (got = ::recv(ends[1], piece.data(), piece.size(), 0)) > 0;) {
    out.write(piece.data(), got);
  }
  out.flush();
  sender.join();
  ::close(ends[1]);
}

void rows_catch_up(const Options& options, Report& report) {
  const std::string name = "replication.catch_up";
  if (!report.wanted(name)) return;
  Group group(options, options.keys * 5);
  group.serve();
  const double bytes = static_cast<double>(group.leader.stats().data_bytes);
  const auto warm = static_cast<std::size_t>(3 * bytes);
  for (int n = 0; n < options.repeats; ++n) {
    warm_memory(warm, Pages::huge);
    const std::uint64_t begin = now_ns();
    group.add_follower();
    group.settle();
    report.add(name, "armdb", bytes * 1000 / static_cast<double>(now_ns() - begin));
    group.remove_followers();
    warm_memory(warm, Pages::huge);
    const std::uint64_t copied = now_ns();
    copy_files(group.folder() + "/leader", group.folder() + "/copy");
    report.add(name, "file copy", bytes * 1000 / static_cast<double>(now_ns() - copied));
  }
  report.finish(name, "MB/s", "until durable at the follower; the copy is not synced");
}

// The log has lost what was overwritten: a new follower gets a copy.
void rows_copy(const Options& options, Report& report) {
  const std::string name = "replication.copy";
  if (!report.wanted(name)) return;
  Group group(options, options.keys * 5);
  for (std::uint64_t at = 0; at < options.keys * 3; ++at) {
    check(group.leader.put(key_at(at), value_at(at + 1)));
  }
  check(group.leader.compact());
  group.serve();
  const double bytes = static_cast<double>(group.leader.stats().data_bytes);
  for (int n = 0; n < options.repeats; ++n) {
    warm_memory(static_cast<std::size_t>(3 * bytes), Pages::huge);
    const std::uint64_t begin = now_ns();
    group.add_follower();
    group.settle();
    report.add(name, "armdb", bytes * 1000 / static_cast<double>(now_ns() - begin));
    group.remove_followers();
  }
  report.finish(name, "MB/s", "of a log that was compacted, until durable at the follower");
}

void rows_latency(const Options& options, Report& report) {
  const std::string name = "replication.latency_p50";
  if (!report.wanted(name)) return;
  Group group(options, 1000);
  group.serve();
  group.add_follower();
  group.settle();
  for (int n = 0; n < options.repeats; ++n) {
    std::vector<double> times;
    for (std::uint64_t at = 0; at < 300; ++at) {
      const auto value = value_at(1000000 * static_cast<std::uint64_t>(n + 1) + at);
      const std::uint64_t begin = now_ns();
      check(group.leader.put(key_at(at), value));
      while (group.followers[0].get(key_at(at)) != value) std::this_thread::yield();
      times.push_back(static_cast<double>(now_ns() - begin) / 1000);
    }
    report.add(name, "armdb", median(times));
  }
  report.finish(name, "us", "put() to get() at the follower, with the leader's sync between");
}

}  // namespace

void run_replication(const Options& options, Report& report) {
  rows_put(options, report);
  rows_put_sinks(options, report);
  rows_put_apart(options, report);
  rows_catch_up(options, report);
  rows_copy(options, report);
  rows_latency(options, report);
}

}  // namespace bench

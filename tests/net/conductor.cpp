// Cycles of trouble: kills, freezes, partitions, changes of the network; rests, and looks.
#include "net/conductor.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <stdexcept>

namespace armdb::net {

namespace {

constexpr int kPatienceMs = 120000;  // with children that come to rest, or end by themselves
constexpr unsigned kMtus[] = {296, 576, 1280, 1500, 9000};
constexpr int kAwaitNews = 1000, kPatienceNews = 40000;
constexpr useconds_t kPauseUs = 50;
constexpr std::uint64_t kRestEvery = 6, kLookEvery = 5, kTakeOverEvery = 8;

std::uint64_t now_ms() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                        std::chrono::steady_clock::now().time_since_epoch())
                                        .count());
}

template <class Condition> bool comes(Condition condition) {
  for (const std::uint64_t end = now_ms() + kPatienceMs; now_ms() < end;) {
    if (condition()) return true;
    ::usleep(1000);
  }
  return false;
}

}  // namespace

Conductor::Conductor(const Stage& stage, bool verbose)
    : stage_(stage),
      verbose_(verbose),
      network_(*stage.network),
      play_(*stage.play),
      random_(stage.seed) {}

Conductor::~Conductor() { kill_all(); }

void Conductor::note(const std::string& what) {
  log_.push_back(std::to_string(now_ms()) + " cycle " + std::to_string(cycle_) + ": " + what);
  if (verbose_) std::fprintf(stderr, "%s\n", log_.back().c_str());
}

// ---- Children ----

template <class Life> pid_t Conductor::spawn(Life life) {
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("cannot make a process");
  if (child != 0) return child;
  end_with_parent(parent);
  try {
    life();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "FAILED in a child: %s\n", error.what());
  }
  ::_exit(1);
}

void Conductor::start(unsigned host) {
  ++runs_;
  play_.hosts[host].up.store(false);
  const bool leads = host == play_.leader.load();
  note((leads ? "start leader " : "start follower ") + std::to_string(host));
  children_[host] = {spawn([&] { leads ? lead(stage_, host, runs_) : follow(stage_, host); })};
}

void Conductor::start_all() {
  for (unsigned host = 0; host < kHosts; ++host) {
    if (children_[host].pid == 0) start(host);
  }
}

void Conductor::kill(unsigned host) {
  Child& child = children_[host];
  if (child.pid == 0) return;
  // At any moment, or when a follower has just shown what it may not have made durable yet.
  const std::uint64_t news = play_.hosts[host].news.load();
  for (int left = random_.one_in(2) ? kAwaitNews : 0; left != 0; --left) {
    if (child.frozen || play_.hosts[host].news.load() != news) break;
    ::usleep(kPauseUs);
  }
  ::kill(child.pid, SIGKILL);
  int ending = 0;
  ::waitpid(child.pid, &ending, 0);
  child = {};
  if (!WIFSIGNALED(ending)) throw std::runtime_error("a child had ended by itself");
  ++kills_;
  note("killed " + std::to_string(host));
}

// On a good network. Who leads no more has numbers of its own behind those that it is sent.
void Conductor::kill_at_first_news(unsigned host) {
  start_all();
  const std::uint64_t news = play_.hosts[host].news.load();
  for (int left = kPatienceNews; left != 0; --left) {
    if (play_.hosts[host].news.load() != news) break;
    ::usleep(kPauseUs);
  }
  kill(host);
}

void Conductor::kill_all() {
  for (Child& child : children_) {
    if (child.pid == 0) continue;
    ::kill(child.pid, SIGKILL);
    ::waitpid(child.pid, nullptr, 0);
    child = {};
  }
}

void Conductor::freeze(unsigned host) {
  Child& child = children_[host];
  if (child.pid == 0 || child.frozen) return;
  ::kill(child.pid, SIGSTOP);
  child.frozen = true;
  ++freezes_;
  note("froze " + std::to_string(host));
}

void Conductor::thaw_all() {
  for (Child& child : children_) {
    if (child.frozen) ::kill(child.pid, SIGCONT);
    child.frozen = false;
  }
}

void Conductor::look_for_the_dead() {
  for (unsigned host = 0; host < kHosts; ++host) {
    Child& child = children_[host];
    if (child.pid == 0 || ::waitpid(child.pid, nullptr, WNOHANG) == 0) continue;
    child = {};
    throw std::runtime_error("host " + std::to_string(host) + " ended by itself");
  }
  if (!network_.router_runs()) throw std::runtime_error("the router ended by itself");
}

// The code of a child that ends by itself, and soon.
int Conductor::end_of(pid_t child, const std::string& what) {
  int ending = 0;
  const bool ended = comes([&] { return ::waitpid(child, &ending, WNOHANG) == child; });
  if (!ended) {
    ::kill(child, SIGKILL);
    ::waitpid(child, &ending, 0);
    throw std::runtime_error(what + ": it did not end");
  }
  return WIFEXITED(ending) ? WEXITSTATUS(ending) : -1;
}

void Conductor::require_end(pid_t child, const std::string& what) {
  if (end_of(child, what) != 0) throw std::runtime_error(what + " failed");
}

// ---- The play ----

void Conductor::play(std::uint64_t cycles) {
  found();
  for (cycle_ = 1; cycle_ <= cycles; ++cycle_) {
    cycle();
    if (cycle_ % kRestEvery == 0) {
      rest();
      if (random_.one_in(3)) {
        const unsigned former = play_.leader.load();
        change_leader(true);
        if (random_.one_in(2)) kill_at_first_news(former);
      }
      change_network();
    } else if (play_.history.prefixes && random_.one_in(kTakeOverEvery)) {
      change_leader(false);
    } else if (random_.one_in(kLookEvery)) {
      look();
    }
    start_all();
  }
  rest();
  kill_all();
  look();
}

// On a good network the leader makes its collection, and the followers theirs from that.
void Conductor::found() {
  network_.make_good();
  start(play_.leader.load());
  if (!comes([&] { return play_.hosts[play_.leader.load()].up.load(); })) {
    throw std::runtime_error("the first leader does not come up");
  }
  for (unsigned host = 0; host < kHosts; ++host) {
    if (host == play_.leader.load()) continue;
    require_end(spawn([&] { create(stage_, host); }), "making a follower");
  }
  start_all();
}

// One to three troubles, in any order, and some time between them.
void Conductor::cycle() {
  for (std::uint64_t left = 1 + random_.below(3); left != 0; --left) {
    const auto host = static_cast<unsigned>(random_.below(kHosts));
    switch (random_.below(9)) {
      case 0:
        kill(play_.leader.load());
        break;
      case 1:
      case 2:
        kill(host);
        break;
      case 3:
        freeze(host);
        break;
      case 4:
        part();
        break;
      case 5:
        heal();
        break;
      case 6:
        thaw_all();
        break;
      default:
        change_network();
    }
    // Now and then long enough for a conversation that is silent to be given up.
    ::usleep(static_cast<useconds_t>(random_.below(random_.one_in(8) ? 4000000 : 400000)));
    if (random_.one_in(2)) start_all();
    look_for_the_dead();
  }
}

void Conductor::change_network() {
  spoil_links();
  if (!random_.one_in(3)) return;
  const unsigned mtu = kMtus[random_.below(std::size(kMtus))];
  network_.set_mtu(mtu);
  note("mtu " + std::to_string(mtu));
}

// Each way by itself; a third of the changes leave the links rather good.
void Conductor::spoil_links() {
  const bool mild = random_.one_in(3);
  const auto up_to = [&](std::uint32_t most) {
    return static_cast<std::uint32_t>(random_.below(std::uint64_t{mild ? most / 10 : most} + 1));
  };
  const bool damages = random_.one_in(3);
  for (unsigned from = 0; from < kHosts; ++from) {
    for (unsigned to = 0; to < kHosts; ++to) {
      Link& link = network_.link(from, to);
      link.loss.store(up_to(300000));
      link.twice.store(up_to(100000));
      link.damaged.store(damages ? up_to(200000) : 0);
      link.delay_us.store(up_to(100000));
      link.jitter_us.store(up_to(50000));
      link.bytes_per_second.store(random_.one_in(2) ? 0 : 20000 + up_to(2000000));
    }
  }
  note(mild ? "mild links" : damages ? "bad links, and they damage" : "bad links");
}

// One way, both ways, or a host from all others.
void Conductor::part() {
  const auto from = static_cast<unsigned>(random_.below(kHosts));
  const auto to = static_cast<unsigned>((from + 1 + random_.below(kHosts - 1)) % kHosts);
  const std::uint64_t how = random_.below(3);
  network_.link(from, to).cut.store(true);
  if (how != 0) network_.link(to, from).cut.store(true);
  for (unsigned other = 0; other < kHosts && how == 2; ++other) {
    network_.link(from, other).cut.store(true);
    network_.link(other, from).cut.store(true);
  }
  ++partings_;
  note("parted " + std::to_string(from) +
       (how == 2   ? " from all"
        : how == 1 ? " and "
                   : " > ") +
       (how == 2 ? "" : std::to_string(to)));
}

void Conductor::heal() {
  for (unsigned from = 0; from < kHosts; ++from) {
    for (unsigned to = 0; to < kHosts; ++to) network_.link(from, to).cut.store(false);
  }
  note("healed");
}

// The network is good and nothing is written, until all have the same.
void Conductor::rest() {
  network_.make_good();
  thaw_all();
  start_all();
  const std::uint64_t begun = now_ms();
  const std::uint64_t number = ++rests_;
  play_.rest.store(number);
  const bool came = comes([&] {
    look_for_the_dead();
    return std::all_of(std::begin(play_.hosts), std::end(play_.hosts),
                       [&](const Play::Host& host) { return host.rested.load() == number; });
  });
  const std::uint64_t took = now_ms() - begun;
  slowest_rest_ms_ = std::max(slowest_rest_ms_, took);
  if (!came) throw std::runtime_error("they do not come to rest");
  note("rested after " + std::to_string(took) + " ms");
  play_.rest.store(0);
}

// Everything is killed, amid whatever it does, and what stands there is judged.
void Conductor::look() {
  for (unsigned host = 0; host < kHosts; ++host) kill(host);
  for (unsigned host = 0; host < kHosts; ++host) {
    require_end(spawn([&] { net::look(stage_, host); }),
                "the look at host " + std::to_string(host));
  }
  Content contents[kHosts];
  for (unsigned host = 0; host < kHosts; ++host) {
    std::copy(std::begin(play_.hosts[host].content), std::end(play_.hosts[host].content),
              contents[host]);
  }
  const std::string wrong = play_.history.judge_promises(play_.leader.load(), contents);
  if (!wrong.empty()) throw std::runtime_error(wrong);
  ++looks_;
  note("looked");
}

// At rest, where nobody has more than another, or amid everything: then what the new leader does
// not have is lost, and nothing else.
void Conductor::change_leader(bool at_rest) {
  const unsigned next = (play_.leader.load() + 1) % kHosts;
  // One that has not heard of its leader's term would begin a term of the same number.
  if (!play_.hosts[next].heard.load()) return note("no new leader: it may not know the old one");
  if (at_rest) play_.rest.store(rests_);
  for (unsigned host = 0; host < kHosts; ++host) kill(host);
  const int code = end_of(spawn([&] { promote(stage_, next, at_rest); }), "promoting");
  play_.rest.store(0);
  if (code != 0 && (code != kUnable || at_rest)) throw std::runtime_error("promoting failed");
  if (code != 0) return note("no new leader: there is half a copy");
  play_.leader.store(next);
  for (Play::Host& host : play_.hosts) host.heard.store(false);
  (at_rest ? promotions_ : takeovers_) += 1;
  note((at_rest ? "leader " : "taken over by ") + std::to_string(next));
}

std::string Conductor::summary() const {
  std::uint64_t reads = 0, copies = 0, conversations = 0;
  for (const Play::Host& host : play_.hosts) {
    reads += host.reads.load();
    copies += host.copies.load();
    conversations += host.conversations.load();
  }
  const Traffic& traffic = network_.traffic();
  const auto text = [](auto number) { return std::to_string(number); };
  return text(play_.history.completed.load()) + " writes, " + text(reads) + " readings of all, " +
         text(kills_) + " kills, " + text(freezes_) + " freezes, " + text(partings_) +
         " partings, " + text(promotions_) + " promotions, " + text(takeovers_) + " takeovers, " +
         text(rests_) + " rests (slowest " + text(slowest_rest_ms_) + " ms), " + text(looks_) +
         " looks, " + text(conversations) + " conversations, " + text(copies) + " copies, " +
         text(play_.promises.load()) + " waits kept, " + text(play_.refusals.load()) +
         " timed out; packets: " + text(traffic.carried.load()) + " carried, " +
         text(traffic.lost.load()) + " lost, " + text(traffic.cut.load()) + " cut, " +
         text(traffic.overflowed.load()) + " overflowed, " + text(traffic.twice.load()) +
         " twice, " + text(traffic.damaged.load()) + " damaged, " + text(traffic.reordered.load()) +
         " reordered";
}

}  // namespace armdb::net

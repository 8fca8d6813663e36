// Node: what the processes of the hosts do, on either store: lead, follow, or look what is there.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "net/history.hpp"
#include "net/network.hpp"

namespace armdb::net {

struct Case {
  const char* name;
  bool fixed, encrypted, secured;
};

// What the processes tell each other; lies in memory that survives them.
struct Play {
  History history;
  std::atomic<std::uint64_t> rest;  // its number while all are to come to rest; 0: they are not
  std::atomic<unsigned> leader;     // which host
  std::atomic<std::uint64_t> promises, refusals;  // what waits for followers ended with
  struct Host {
    std::atomic<bool> up;
    std::atomic<bool> heard;            // of the leader that leads now, and so of its term
    std::atomic<std::uint64_t> rested;  // the number of the last rest it came to
    std::atomic<std::uint64_t> reads, copies, conversations;
    std::atomic<std::uint64_t> news;  // how often it has shown what it had not shown before
    Content content;                  // as of the last rest, or look
  } hosts[kHosts];
};

struct Stage {
  std::string directory;
  Case played;
  std::uint64_t seed = 0;
  Network* network = nullptr;
  Play* play = nullptr;
  [[nodiscard]] std::string path_of(unsigned host) const {
    return directory + "/host" + std::to_string(host);
  }
};

inline constexpr int kUnable = 2;  // the code of a child that was asked for what cannot be

// Each of these is the whole life of a child, and ends it with code 0, kUnable, or 1 and a line
// on standard error. lead() and follow() end by a kill alone.
[[noreturn]] void lead(const Stage& stage, unsigned host, std::uint64_t run);
[[noreturn]] void follow(const Stage& stage, unsigned host);
[[noreturn]] void create(const Stage& stage, unsigned host);  // a follower, while its leader runs
// The follower there; unless all are level, with what it has, if that is whole.
[[noreturn]] void promote(const Stage& stage, unsigned host, bool at_rest);
// Puts what stands there into Play.
[[noreturn]] void look(const Stage& stage, unsigned host);

}  // namespace armdb::net

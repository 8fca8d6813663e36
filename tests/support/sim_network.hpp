// SimNetwork: connections between the machines of a simulation, over which bytes come late, in
// pieces, or not at all.
//
// What TCP hides is not played: a byte that was lost is sent again, one that came out of turn waits
// for those before it, and one that came twice is dropped. So loss, reordering and repetition are
// delays and stalls here; and connections are cut at any byte, on one side first, or on one side
// alone until the other's patience is over, while a new one is there already.
//
// Threads: those of the scheduler.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "os/socket.hpp"
#include "support/sim_scheduler.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS) && !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::test {

inline constexpr std::size_t kSimNodes = 3;

struct SimWeather {
  std::uint64_t delay_us = 300;  // of most pieces, at most
  std::uint32_t loss_percent = 0;
  std::size_t room_bytes = 65536;  // under way in each direction
  bool small_pieces = false;       // reads and writes often move a few bytes only
};

class SimNetwork {
 public:
  SimNetwork(SimScheduler& scheduler, const SimWeather& weather)
      : scheduler_(scheduler), weather_(weather) {}

  // One direction of a connection.
  struct Way {
    struct Piece {
      std::uint64_t at_us = 0;
      std::vector<std::uint8_t> bytes;
    };
    std::size_t from = 0, to = 0;
    std::deque<Piece> pieces;
    std::size_t bytes = 0;          // in them
    std::uint64_t end_us = kNever;  // the writer is gone: from then on, behind the pieces
    bool unread = false;            // the reader is gone
    bool lost = false;              // what is written goes nowhere
  };
  struct Connection {
    Way ways[2];        // the first is that of who connected
    bool dead[2] = {};  // the process at that end is
  };

  // Two ends of a new connection; none when the one cannot reach the other.
  struct Ends {
    std::unique_ptr<os::Stream> near, far;
  };
  Ends connect(std::size_t from, std::size_t to);
  // Some of what is under way arrives, and nothing more.
  void cut(Connection& connection);
  // Nothing more arrives, and nobody is told.
  void silence(Connection& connection);
  // The process at this node dies: its ends do nothing any more.
  void bury(std::size_t node, bool tell);
  [[nodiscard]] std::vector<std::shared_ptr<Connection>> connections(std::size_t node);
  // Which direction is blocked: what is under way stalls.
  void block(std::size_t from, std::size_t to, bool blocked) { blocked_[from][to] = blocked; }
  [[nodiscard]] bool reaches(std::size_t a, std::size_t b) const {
    return !blocked_[a][b] && !blocked_[b][a];
  }
  void set_weather(const SimWeather& weather) { weather_ = weather; }
  void heal();

 private:
  friend class SimStream;
  void send(Way& way, Bytes data);
  [[nodiscard]] std::uint64_t readable_us(const Way& way) const;

  SimScheduler& scheduler_;
  SimWeather weather_;
  bool blocked_[kSimNodes][kSimNodes] = {};
  std::vector<std::weak_ptr<Connection>> all_;
};

}  // namespace armdb::test

#endif

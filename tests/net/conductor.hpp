// Conductor: plays one case: a leader and its followers over a bad network, in cycles.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "net/node.hpp"
#include "support/random.hpp"

namespace armdb::net {

// Fails by an exception that says what was wrong. Threads: one.
class Conductor {
 public:
  Conductor(const Stage& stage, bool verbose);
  ~Conductor();
  Conductor(const Conductor&) = delete;
  Conductor& operator=(const Conductor&) = delete;

  void play(std::uint64_t cycles);
  // What has happened, for people.
  [[nodiscard]] std::string summary() const;
  [[nodiscard]] const std::vector<std::string>& log() const { return log_; }

 private:
  struct Child {
    pid_t pid = 0;  // 0: it does not run
    bool frozen = false;
  };
  template <class Life> pid_t spawn(Life life);
  void start(unsigned host);
  void start_all();
  void kill(unsigned host);
  void kill_at_first_news(unsigned host);
  void kill_all();
  void freeze(unsigned host);
  void thaw_all();
  void look_for_the_dead();
  int end_of(pid_t child, const std::string& what);
  void require_end(pid_t child, const std::string& what);

  void found();
  void cycle();
  void change_network();
  void spoil_links();
  void part();
  void heal();
  void rest();
  void look();
  void change_leader(bool at_rest);
  void note(const std::string& what);

  const Stage& stage_;
  const bool verbose_;
  Network& network_;
  Play& play_;
  base::Random random_;
  Child children_[kHosts];
  std::uint64_t cycle_ = 0, runs_ = 0;
  std::uint64_t kills_ = 0, freezes_ = 0, partings_ = 0, rests_ = 0, looks_ = 0, promotions_ = 0,
                takeovers_ = 0;
  std::uint64_t slowest_rest_ms_ = 0;
  std::vector<std::string> log_;
};

}  // namespace armdb::net

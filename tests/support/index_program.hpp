// A program for interleaving.hpp: a writer and readers of one index, and what readers may see.
//
// Each put gives a key a state of its own: a number that is its location, and from which the
// bytes of the value follow. So a read that mixes two states shows at once. All else is asked of
// the checker of histories: for one writer it says that a read gives a state which was current
// between its begin and its end, and that no later read gives an older one.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "index/index.hpp"
#include "support/interleaving.hpp"
#include "support/linearizability.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS)

namespace armdb::test {

class IndexProgram final : public Interleaved {
 public:
  using Work = std::function<void(IndexProgram&)>;

  // `fill` works alone, before each execution; works[0] is the writer.
  IndexProgram(const index::IndexConfig& config, Work fill, std::vector<Work> works)
      : config_(config), fill_(std::move(fill)), works_(std::move(works)) {
    config_.pages = interleaved_pages();
  }

  // Keys are named by numbers, in their order. Writer:
  void put(std::uint64_t number);
  void put_run(std::uint64_t first, std::size_t count, std::uint64_t stride);
  void erase(std::uint64_t number);
  void relocate(std::uint64_t number);  // as compaction does: the same value elsewhere
  void expect(std::size_t count) { index_->expect(count); }
  // Readers:
  void find(std::uint64_t number);
  void find_many(const std::vector<std::uint64_t>& numbers);
  void scan(bool descending = false);

  [[nodiscard]] std::size_t size() const { return index_->size(); }
  [[nodiscard]] std::uint64_t hash_of(std::uint64_t number) const;

  void set_up() override;
  void run(unsigned thread) override;
  std::string check() override;

 private:
  using Bytes = std::vector<std::uint8_t>;
  struct Seen {
    std::uint64_t number;
    std::uint64_t state;
    std::uint64_t begin;
    std::uint64_t end;
  };
  struct Scan {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    std::vector<Seen> entries;
  };

  [[nodiscard]] Bytes key_of(std::uint64_t number) const;
  [[nodiscard]] std::uint64_t number_of(const std::uint8_t* key);
  void make_value(std::uint64_t number, std::uint64_t state, std::uint8_t* value) const;
  std::uint64_t new_state();
  // The state that a read saw; tells of one that is not whole.
  std::uint64_t state_of(std::uint64_t number, base::Location at, const std::uint8_t* value);
  void record(Act act, std::uint64_t number, std::uint64_t state, std::uint64_t begin,
              std::uint64_t end);
  void wrong(const std::string& what) {
    if (fault_.empty()) fault_ = what;
  }
  void look_at(const Scan& scan);

  index::IndexConfig config_;
  Work fill_;
  std::vector<Work> works_;

  std::unique_ptr<index::Index> index_;
  bool filling_ = false;
  std::vector<std::uint64_t> bytes_of_;  // of each state: the one its value was made of
  std::map<std::uint64_t, std::uint64_t> initial_;
  std::map<std::uint64_t, History> histories_;
  std::vector<Scan> scans_;
  std::string fault_;
};

// Explores; FAILs with the schedule when something is wrong, and where a bound was too small.
// ARMDB_SCHEDULE="..." in the environment replays that schedule instead.
void explore_all(Interleaved& program, unsigned threads, unsigned preemptions_max);

}  // namespace armdb::test

#endif

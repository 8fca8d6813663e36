// HistoryModel: all that any leader of a simulation ever wrote, as a tree for each shard.
//
// A write is a child of what its leader had before; two leaders that write at the same time, and
// one that lost its end in a power cut and goes on, make branches. A node of the tree is a state
// of the shard: what a store shows must be one, and only move along branches.
//
// Threads: one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

namespace armdb::test {

inline constexpr std::size_t kSimKeys = 20;
// The number of the write that each key has its value from; 0: it is not there.
using SimContent = std::vector<std::uint64_t>;

struct SimEntry {
  const SimEntry* parent = nullptr;
  std::size_t depth = 0;
  std::uint64_t last = 0;  // the sequence of its last entry in the log
  bool counted = false;    // `last` is known
  // Where a recovery may say that it stands, in the gap behind it.
  std::vector<std::uint64_t> gaps;
  bool durable = false;  // its leader had it on disk
  SimContent content;
  std::vector<std::uint64_t> joints;  // of batches over several shards, on the way here
};

struct SimChange {
  std::size_t key = 0;
  std::uint64_t number = 0;  // 0: erased
};

class HistoryModel {
 public:
  explicit HistoryModel(std::size_t shards);

  [[nodiscard]] SimEntry* root(std::size_t shard) { return roots_[shard]; }
  // `joint`: the number of the batch over several shards that it is a part of, or 0.
  SimEntry* add(std::size_t shard, SimEntry* parent, const std::vector<SimChange>& changes,
                std::uint64_t joint);
  // All states that look like this; with `last`, those that may stand there.
  [[nodiscard]] std::vector<SimEntry*> find(std::size_t shard, const SimContent& content) const;
  [[nodiscard]] std::vector<SimEntry*> find(std::size_t shard, const SimContent& content,
                                            std::uint64_t last) const;
  // `above` is below or at `entry`: nothing of it was taken back.
  [[nodiscard]] static bool leads_to(const SimEntry* above, const SimEntry* entry);
  // One leads to the other.
  [[nodiscard]] static bool on_line(const SimEntry* a, const SimEntry* b) {
    return leads_to(a, b) || leads_to(b, a);
  }
  // What of this one's history had been written up to a sequence, as far as it is known.
  [[nodiscard]] static SimEntry* up_to(SimEntry* entry, std::uint64_t sequence);
  // The shards that a batch over several has parts in.
  void join(std::uint64_t joint, std::vector<std::size_t> shards) {
    joints_[joint] = std::move(shards);
  }
  // A batch over several shards that these states have in part; 0: none.
  [[nodiscard]] std::uint64_t torn(const std::vector<SimEntry*>& states) const;
  // Which state the value of a key that it has was written in.
  [[nodiscard]] static const SimEntry* writer(const SimEntry* entry, std::size_t key);

 private:
  struct Tree {
    std::vector<std::unique_ptr<SimEntry>> entries;
    std::unordered_multimap<std::uint64_t, SimEntry*> by_content;
  };
  static std::uint64_t hash(const SimContent& content);
  SimEntry* keep(std::size_t shard, std::unique_ptr<SimEntry> entry);

  std::vector<Tree> trees_;
  std::vector<SimEntry*> roots_;
  std::unordered_map<std::uint64_t, std::vector<std::size_t>> joints_;
};

}  // namespace armdb::test

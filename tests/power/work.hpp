// What the program of `make power` writes: up to two threads, each its own keys, in a known order.
//
// The writes of a thread are numbered. Write n goes to the key at place n % kKeys, and the value
// tells n, so a key's value shows which write it is from; some writes erase. On the log every 16th
// is a batch of three further keys.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

namespace armdb::power {

constexpr unsigned kThreads = 2;
constexpr std::uint64_t kKeys = 61;     // of each thread
constexpr std::uint64_t kTogether = 3;  // behind them: the keys of batches
constexpr std::uint64_t kPlaces = kKeys + kTogether;

enum class Store : std::uint8_t { var_tree, const_map, fixed_tree, fixed_map };

struct Subject {
  Store store = Store::var_tree;
  std::uint32_t shards = 1;
  bool encrypted = false;
  bool single_copy = false;
  unsigned threads = kThreads;
  [[nodiscard]] bool log() const noexcept { return store <= Store::const_map; }
};

// Lies in memory that outlives the writer.
struct Progress {
  struct Thread {
    std::atomic<std::uint64_t> started;   // write 1 to this one may be there
    std::atomic<std::uint64_t> returned;  // so many are done
    std::atomic<std::uint64_t> durable;   // a sync of all that began behind this one has returned
    std::atomic<std::uint64_t> synced[kPlaces];  // of each key, the last write with a sync
  };
  Thread threads[kThreads];
  std::atomic<std::uint64_t> syncs, compactions;
  std::atomic<bool> open, cut;
};

// For each key the write that its value is from; 0 for a key that is not there.
using Content = std::array<std::array<std::uint64_t, kPlaces>, kThreads>;

// Where write n goes, whether it erases, and whether it is a batch.
[[nodiscard]] bool is_batch(const Subject& subject, std::uint64_t n) noexcept;
[[nodiscard]] bool is_erase(const Subject& subject, std::uint64_t n) noexcept;
[[nodiscard]] inline std::uint64_t place_of(std::uint64_t n) noexcept { return n % kKeys; }

// Writes until an error ends it, which only a cut may bring, or the process is killed. The process
// is one for just this: an exception ends it too.
[[noreturn]] void write_for_ever(const Subject& subject, const std::string& path,
                                 std::uint64_t seed, Progress& progress) noexcept;

// Reads all of it; an error is thrown as std::runtime_error, and so is damage.
void read_all(const Subject& subject, const std::string& path, bool read_only, Content& content);

}  // namespace armdb::power

// CrashLab: what the crash simulators of both stores share: settings and counts, the disks, opening
// with the keys that may be right, faults, and reading what a crash left.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include "api/collection.hpp"
#include "base/mutex.hpp"
#include "support/crash_model.hpp"
#include "support/crash_states.hpp"
#include "support/fault_file_system.hpp"

namespace armdb::test {

struct CrashSettings {
  // What may go wrong in the work itself.
  enum class Faults : std::uint8_t { none, syncs, calls };

  std::uint64_t seed = 1;  // chooses type, sizes, options and work
  std::size_t operations = 60;
  std::size_t states_per_place = 24;
  std::size_t states_most = ~std::size_t{0};  // ends the work early
  Faults faults = Faults::none;
  bool keys = false;  // encrypted, and the work changes the keys
};

struct CrashCounts {
  std::size_t works = 0;
  std::size_t places = 0;
  std::size_t states = 0;         // different ones after a power cut
  std::size_t second_states = 0;  // after a second crash
  std::size_t kills = 0;
  std::size_t faults = 0;

  [[nodiscard]] std::size_t all() const noexcept { return states + second_states + kills; }
  [[nodiscard]] std::string text() const;
};

// A place in the work where a crash is tried.
struct CrashPlace {
  FaultFileSystem::Snapshot disk;
  std::string call;
  bool sync_failed = false;     // a kill may lose what no sync covered
  std::uint64_t key_first = 0;  // the keys of which one opens it
  std::uint64_t key_last = 0;
};

// Threads: one, but the engine under test may use several.
class CrashLab {
 public:
  CrashLab(const CrashLab&) = delete;
  CrashLab& operator=(const CrashLab&) = delete;
  // What was promised and did not hold, and how to see it again.
  [[nodiscard]] const std::string& failure() const noexcept { return failure_; }

 protected:
  using Snapshot = FaultFileSystem::Snapshot;
  enum class Ending : std::uint8_t { close, kill, power_cut };
  static constexpr const char* kPath = "/db";

  CrashLab(const CrashSettings& settings, CrashCounts& counts);
  ~CrashLab() = default;

  bool fail(const std::string& what);  // false
  [[nodiscard]] FixedConfig config_for(FileSystem& files);
  // With the first of these keys that fits, which then is the first.
  Result<Collection> open_with(FixedConfig config, std::uint64_t& key_first,
                               std::uint64_t key_last);
  // The shard of each key, as db.meta has it; how many there are, 0 when it cannot be read.
  std::size_t find_shards(std::array<std::size_t, kCrashKeys>& shard_of);
  // `any_expired`: entries that are over count until they are swept.
  bool read_contents(const Collection& collection, bool any_expired, CrashContents& contents);
  // Opens what is in lab_ for reading alone: it has `expected`, and no byte changes.
  bool examine_read_only(const CrashPlace& place, bool any_expired, const CrashContents& expected);
  [[nodiscard]] CrashPlace place_now(const std::string& call) const;
  // Keeps a snapshot of each call of lab_ from now on; null ends that.
  void record(std::vector<Snapshot>* inside);
  [[nodiscard]] std::string random_bytes(std::size_t size);
  void arm_fault();
  // A new data key for the collection, or a new key that locks it.
  Status reencrypt(Collection& collection);
  Status rotate_key(Collection& collection);

  const CrashSettings settings_;
  CrashCounts& counts_;
  base::Random random_;
  bool strict_;
  Shape shape_;
  FixedConfig config_;
  std::string options_;    // the others, for a failure
  bool expiring_ = false;  // some entries have an expiry

  FaultFileSystem disk_;
  FaultFileSystem lab_;
  FaultFileSystem second_lab_;
  bool sync_failed_ = false;
  std::uint64_t key_first_ = 1;  // as of CrashPlace
  std::uint64_t key_last_ = 1;

  base::Mutex places_mutex_;
  std::unordered_set<std::uint64_t> seen_;

  std::string step_;  // what the work does just now
  std::string plan_;  // what the crash under examination is
  std::string past_;  // what the work did before
  std::string failure_;
  std::string log_;  // what the last recovery said

 private:
  base::Mutex inside_mutex_;
};

}  // namespace armdb::test

// CrashSimulator: runs random work on a FaultFileSystem and, at every call that changes the disk,
// cuts the power in many ways, recovers with the real engine and compares with the model.
//
// What must hold after each crash (per shard, see CrashModel):
//   * the collection opens, and holds its state after some write j, durable <= j <= started;
//     after a kill of the process completed <= j;
//   * batches, in one shard or over several, are whole or absent;
//   * no damage is reported, for a crash makes none; a read-only open sees the same and writes
//     nothing;
//   * a new write is there after a sync and another power cut, with all that was recovered, under
//     a sequence larger than any that was ever called durable;
//   * a crash while recovering changes none of this;
//   * what a recovery after a kill calls durable survives the power cut that follows;
//   * the key that the last rotate_key() set opens it, or amid one the key before.
// After a failed sync, or another failed call, reopening recovers by the same rules.
//
// Threads: one, but the engine under test may use several.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
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

class CrashSimulator {
 public:
  CrashSimulator(const CrashSettings& settings, CrashCounts& counts);

  // False when something promised did not hold; failure() tells what and how to see it again.
  bool run();
  [[nodiscard]] const std::string& failure() const noexcept { return failure_; }

 private:
  using Snapshot = FaultFileSystem::Snapshot;
  enum class Ending : std::uint8_t { close, kill, power_cut };

  // A place in the work where a crash is tried.
  struct Place {
    Snapshot disk;
    std::string call;
    std::vector<CrashMark> marks;  // empty before the first write
    bool sync_failed = false;      // a kill may lose what no sync covered
    std::uint64_t key_first = 0;   // the keys of which one opens it
    std::uint64_t key_last = 0;
  };
  // What opening gave.
  struct Opened {
    Collection collection;
    CrashContents contents{};
    std::vector<std::size_t> j;  // by shard
  };

  void choose_options();
  [[nodiscard]] std::string random_value();
  bool fail(const std::string& what);

  // The work.
  bool open_main(bool promised);
  bool begin_model();
  bool end_main(Ending ending);
  bool work_once();
  Status do_keys();
  Status do_write();
  Status do_put_many();
  Status do_batch();
  Status do_atomic(std::span<const CrashWrite> writes);
  std::vector<CrashWrite> random_batch(bool one_shard);
  std::uint64_t random_expiry(bool batch);
  Status do_care(bool& synced);
  bool settle(const Status& status, bool synced);
  void arm_fault();
  void update_marks();
  void watch(bool on);
  void add_place(const std::string& call);
  bool examine_places();

  // Crashes.
  bool examine(const Place& place);
  bool examine_state(const Place& place, const CrashPlan& plan);
  bool examine_kill(const Place& place);
  bool examine_read_only(const Place& place, const CrashContents& expected);
  bool examine_new_write(Opened opened, const Place& place);
  bool examine_nested(const std::vector<Snapshot>& inside, const Place& place);
  bool recover(FaultFileSystem& files, const Place& place, bool killed, Opened& opened);
  [[nodiscard]] std::optional<std::vector<std::size_t>> find_all(
      const CrashContents& contents, const std::vector<CrashMark>& marks, bool all) const;
  [[nodiscard]] std::string states_text(const CrashContents& contents,
                                        const std::vector<CrashMark>& marks, bool all) const;
  bool read_contents(const Collection& collection, CrashContents& contents);
  void leave(Opened& opened);
  [[nodiscard]] Config config_for(FileSystem& files);
  // With the first of these keys that fits, which then is the first.
  Result<Collection> open_with(Config config, std::uint64_t& key_first, std::uint64_t key_last);

  const CrashSettings settings_;
  CrashCounts& counts_;
  base::Random random_;
  bool strict_;
  Shape shape_;
  Config config_;
  bool heavy_ = false;
  bool expiring_ = false;  // some entries have an expiry

  FaultFileSystem disk_;
  FaultFileSystem lab_;
  FaultFileSystem second_lab_;
  CrashModel model_;
  bool sync_failed_ = false;
  std::uint64_t key_first_ = 1;  // as of Place
  std::uint64_t key_last_ = 1;

  base::Mutex places_mutex_;
  std::vector<Place> places_;
  std::vector<CrashMark> marks_;
  std::unordered_set<std::uint64_t> seen_;

  std::string step_;  // what the work does just now
  std::string plan_;  // what the crash under examination is
  std::string past_;  // what the work did before
  std::string failure_;
  std::string log_;  // what the last recovery said
  Collection main_;  // last: it logs, and its observer adds places, while it closes
};

}  // namespace armdb::test

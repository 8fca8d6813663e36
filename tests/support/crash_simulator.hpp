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
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "api/collection.hpp"
#include "support/crash_lab.hpp"

namespace armdb::test {

class CrashSimulator : public CrashLab {
 public:
  CrashSimulator(const CrashSettings& settings, CrashCounts& counts);

  // False when something promised did not hold; failure() tells what and how to see it again.
  bool run();

 private:
  struct Place : CrashPlace {
    std::vector<CrashMark> marks;  // empty before the first write
  };
  // What opening gave.
  struct Opened {
    Collection collection;
    CrashContents contents{};
    std::vector<std::size_t> j;  // by shard
  };

  void choose_options();
  [[nodiscard]] std::string random_value();

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
  void update_marks();
  void watch(bool on);
  void add_place(const std::string& call);
  bool examine_places();

  // Crashes.
  bool examine(const Place& place);
  bool examine_state(const Place& place, const CrashPlan& plan);
  bool examine_kill(const Place& place);
  bool examine_new_write(Opened opened, const Place& place);
  bool examine_nested(const std::vector<Snapshot>& inside, const Place& place);
  bool recover(FaultFileSystem& files, const Place& place, bool killed, Opened& opened);
  [[nodiscard]] std::optional<std::vector<std::size_t>> find_all(
      const CrashContents& contents, const std::vector<CrashMark>& marks, bool all) const;
  [[nodiscard]] std::string states_text(const CrashContents& contents,
                                        const std::vector<CrashMark>& marks, bool all) const;
  bool read_now(const Collection& collection, CrashContents& contents);
  void leave(Opened& opened);

  bool heavy_ = false;
  CrashModel model_;
  std::vector<Place> places_;
  std::vector<CrashMark> marks_;
  Collection main_;  // last: it logs, and its observer adds places, while it closes
};

}  // namespace armdb::test

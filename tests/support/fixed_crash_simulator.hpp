// FixedCrashSimulator: as CrashSimulator, for collections on the Fixed store.
//
// What must hold after each crash:
//   * the collection opens; each key has a state at or after its last synced one, after a kill of
//     the process at or after the last completed one (see FixedCrashModel); no other keys are
//     there, and none twice, in the index or in the file;
//   * no damage is reported, for a crash makes none, and verify() finds none; a read-only open sees
//     the same and writes nothing;
//   * all that was recovered is durable, and stays through new writes, a sync and another power
//     cut; the new writes keep to the same rules;
//   * sequences go on behind the largest one that was ever called durable;
//   * closed and opened again, it has the same;
//   * a crash while recovering changes none of this;
//   * the key that the last rotate_key() set opens it, or amid one the key before.
// After a failed sync, or another failed call, reopening recovers by the same rules.
//
// Slots are changed in place, so not all that a power cut can do to a file is promised for them:
// see Tearing. With a single copy a sector is written whole or not at all; with two it may be torn,
// but what is beside a written slot stays.
//
// Threads: one, but the engine under test may use several.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "support/crash_lab.hpp"
#include "support/fixed_crash_model.hpp"

namespace armdb::test {

class FixedCrashSimulator : public CrashLab {
 public:
  FixedCrashSimulator(const CrashSettings& settings, CrashCounts& counts);

  // False when something promised did not hold; failure() tells what and how to see it again.
  bool run();

 private:
  struct Place : CrashPlace {
    FixedCrashMarks marks;
    std::uint64_t exposed = 0;  // the largest sequence that was ever called durable
  };
  // A collection that is written, and its model.
  struct Subject {
    Collection& collection;
    FixedCrashModel& model;
  };

  void choose_options();
  [[nodiscard]] std::string random_value() { return random_bytes(shape_.value_size); }
  std::uint64_t random_expiry();

  // The work.
  bool open_main(bool promised);
  bool end_main(Ending ending);
  bool work_once();
  Status do_write(const Subject& to, bool may_sync);
  Status write_old(const Subject& to, std::size_t number, WriteOptions& options);
  Status write_new(const Subject& to, std::size_t number, WriteOptions& options);
  Status do_put_many();
  Status do_erase_many();
  Status do_sync();
  Status do_care();
  void write_beside();
  bool settle(const Status& status);
  void watch(bool on);
  void add_place(const std::string& call);
  bool examine_places();

  // Crashes.
  bool examine(const Place& place);
  bool examine_state(const Place& place, const CrashPlan& plan);
  bool examine_kill(const Place& place);
  bool examine_new_writes(Collection& collection, const Place& place,
                          const CrashContents& contents);
  bool examine_nested(const std::vector<Snapshot>& inside, const Place& place);
  void cut_again(FaultFileSystem& files, std::uint64_t way);
  // Opens what is on `files`, and looks at all of it; the model is not asked.
  bool open_again(FaultFileSystem& files, const CrashPlace& place, bool any_expired,
                  Collection& collection, CrashContents& contents);
  bool recover(FaultFileSystem& files, const Place& place, bool killed, Collection& collection,
               CrashContents& contents);
  bool check_gets(const Collection& collection, const CrashContents& contents);

  Tearing tearing_ = Tearing::half;
  FixedCrashModel model_;
  std::array<std::size_t, kCrashKeys> shard_of_{};
  std::uint64_t exposed_ = 0;
  std::size_t beside_ = 0;  // so many writes while the next sync runs
  Status beside_status_;
  std::vector<Place> places_;
  Collection main_;  // last: it logs, and its observer adds places, while it closes
};

}  // namespace armdb::test

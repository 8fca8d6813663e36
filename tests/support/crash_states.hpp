// CrashPlan: one way in which a power cut may leave a disk; and the list of those worth trying.
//
// Atoms: none, all, every prefix with its last atom whole, zero, garbage or half; each one missing,
// zero, garbage or half, or the only one, whole or half; all subsets of a few; random mixes. Over
// all atoms, all but the tail buffers', or those of one file. Directory operations: prefixes, and
// under Model::strict any subset. See section 2 of test-tools.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "support/fault_file_system.hpp"
#include "support/random.hpp"

namespace armdb::test {

struct CrashPlan {
  enum class Data : std::uint8_t { none, all, prefix, but_one, alone, subset, mix };
  enum class Others : std::uint8_t { absent, present, mix };

  Data data = Data::none;
  std::size_t at = 0;                 // among the atoms of the group; the prefix's last
  AtomFate fate = AtomFate::present;  // of that atom
  std::uint64_t bits = 0;             // of a subset, or the seed of a mix
  std::uint64_t inode = 0;            // the group is this file; 0: all files
  bool without_tail = false;          // the group has no atoms of tail buffers
  Others others = Others::present;    // what is not in the group
  std::uint64_t operations_prefix = 0;
  bool operations_subset = false;
  std::uint64_t operations_bits = 0;  // of the subset
  Tearing tearing = Tearing::any;     // of slots, which are changed in place

  [[nodiscard]] std::string text() const;
};

// Restores `snapshot` in `lab` and cuts its power as planned.
void crash_as_planned(FaultFileSystem& lab, const FaultFileSystem::Snapshot& snapshot,
                      const CrashPlan& plan);

// At most `budget` plans for the snapshot, in random order; all of them where they are few.
[[nodiscard]] std::vector<CrashPlan> crash_plans(FaultFileSystem& lab,
                                                 const FaultFileSystem::Snapshot& snapshot,
                                                 bool strict, base::Random& random,
                                                 std::size_t budget,
                                                 Tearing tearing = Tearing::any);

}  // namespace armdb::test

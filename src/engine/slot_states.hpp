// States of keys of a Fixed shard at a moment, on their way to a follower.
#pragma once

#include <cstdint>
#include <vector>

#include "index/index.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::engine {

struct SlotStates {
  struct One {
    std::uint64_t version = 0;
    std::uint64_t expiry_ms = 0;
    std::uint64_t as_of = 0;  // of a change: the last version of the shard when it was added
    bool erased = false;
    bool unchanged = false;  // only its key is told
  };
  std::vector<One> all;
  std::vector<std::uint8_t> keys;    // of all, back to back
  std::vector<std::uint8_t> values;  // of those that are neither erased nor unchanged
  std::uint64_t position = 0;        // each key that was written up to it is told, or was before
  std::uint64_t latest = 0;          // no state is later than that
  std::vector<std::uint16_t> seen;   // a hash table: 1 + where in `all` a key is

  void clear() noexcept {
    all.clear();
    keys.clear();
    values.clear();
    position = latest = 0;
  }
};

// Where a copy of all states is.
struct SlotWalk {
  index::Block block;
  std::uint64_t cursor = 0;
  bool begun = false;
  bool over = false;
};

}  // namespace armdb::engine

#endif  // !ARMDB_OMIT_REPLICATION

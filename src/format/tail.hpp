// tail.buf: the write buffer of a shard, a file mapped shared.
//
//   offset  size  field
//        0    40  file header (kind tail, file_id 0)
//       40    24  reserved    zero
//       64     .  entries, whose crcs are seeded by the active segment's identity
//
// The entries are those that follow the last one in the active segment's file; their sequences
// rise by one. What stands behind them is older: it has a lower sequence or another seed.
#pragma once

#include <cstddef>

namespace armdb::format {

inline constexpr std::size_t kTailHeaderBytes = 64;

}  // namespace armdb::format

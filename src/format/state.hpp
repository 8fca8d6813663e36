// db.state: what changes now and then about a collection as a whole. Replaced atomically; a
// collection without this file has the state of all zeros.
//
//   offset  size  field
//        0    40  file header (kind state)
//       40     8  clock_floor_ms  the latest wall clock that decided an expiry, ms since 1970
//       48     4  flags           bit 0: joint, bit 1: migrating; others zero
//       52     4  data_version    of the last finished migration
//       56     4  migrating_to    0 unless migrating
//       60     4  shard_count     1..256 while migrating, else 0
//       64    16  one record per shard, shard_count of them:
//                   0   8  start_sequence  below 2^63
//                   8   8  done_sequence   at most start_sequence
//        .     4  crc             CRC-32C of everything before it
//        .     4  reserved        zero
//
// Joint: batches that span shards were written since the last plain close. While migrating, the
// entries of a shard above start_sequence were written after the migration began, in the new
// form; those up to done_sequence have been migrated; those in between are still to be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/bytes.hpp"
#include "core/status.hpp"
#include "format/file_header.hpp"

namespace armdb::format {

inline constexpr std::uint32_t kStateShardsMax = 256;
inline constexpr std::size_t kStateFixedBytes = 64;  // up to the records
inline constexpr std::size_t kStateShardBytes = 16;
inline constexpr std::size_t kStateEndBytes = 8;
inline constexpr std::size_t kStateBytesMax =
    kStateFixedBytes + kStateShardsMax * kStateShardBytes + kStateEndBytes;

struct MigrationShard {
  std::uint64_t start_sequence = 0;
  std::uint64_t done_sequence = 0;
};

struct State {
  StoreId store_id{};
  std::uint64_t clock_floor_ms = 0;
  bool joint = false;
  std::uint32_t data_version = 0;
  std::uint32_t migrating_to = 0;
  bool migrating = false;
  std::vector<MigrationShard> shards;  // while migrating: one per shard
};

[[nodiscard]] std::vector<std::uint8_t> encode_state(const State& state);
// `in` is the whole file. corrupt or format_mismatch; checks all ranges above and that the size
// is the one that shard_count asks for. How many shards the collection has is for the caller.
Status decode_state(Bytes in, State& state);

}  // namespace armdb::format

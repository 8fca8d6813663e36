// db.state: written and judged as a whole.
#include "format/state.hpp"

#include <utility>

#include "base/byte_reader.hpp"
#include "base/byte_writer.hpp"
#include "base/check.hpp"
#include "base/crc32c.hpp"
#include "base/errors.hpp"
#include "format/entry.hpp"

namespace armdb::format {
namespace {

constexpr std::uint32_t kStateJoint = 1;
constexpr std::uint32_t kStateMigrating = 2;

constexpr std::size_t state_bytes(std::size_t shards) noexcept {
  return kStateFixedBytes + shards * kStateShardBytes + kStateEndBytes;
}

bool state_possible(const State& state) noexcept {
  if (state.migrating == state.shards.empty()) return false;
  if (!state.migrating && state.migrating_to != 0) return false;
  for (const MigrationShard& shard : state.shards) {
    if (shard.start_sequence > kSequenceMax || shard.done_sequence > shard.start_sequence) {
      return false;
    }
  }
  return state.shards.size() <= kStateShardsMax;
}

}  // namespace

std::vector<std::uint8_t> encode_state(const State& state) {
  ARMDB_ASSERT(state_possible(state));
  std::vector<std::uint8_t> out(state_bytes(state.shards.size()));
  const MutableBytes bytes(out);
  encode_file_header(
      {.type = FileType::state, .version = 1, .store_id = state.store_id, .shard = 0, .file_id = 0},
      bytes);
  base::ByteWriter writer(bytes.subspan(kFileHeaderBytes));
  writer.little<std::uint64_t>(state.clock_floor_ms);
  writer.little<std::uint32_t>((state.joint ? kStateJoint : 0) |
                               (state.migrating ? kStateMigrating : 0));
  writer.little<std::uint32_t>(state.data_version);
  writer.little<std::uint32_t>(state.migrating_to);
  writer.little<std::uint32_t>(static_cast<std::uint32_t>(state.shards.size()));
  for (const MigrationShard& shard : state.shards) {
    writer.little<std::uint64_t>(shard.start_sequence);
    writer.little<std::uint64_t>(shard.done_sequence);
  }
  writer.little<std::uint32_t>(base::crc32c(0, Bytes(out.data(), out.size() - kStateEndBytes)));
  writer.zeros(4);
  return out;
}

Status decode_state(Bytes in, State& state) {
  FileHeader header;
  if (Status status = decode_file_header(in, FileType::state, header); !status) return status;

  base::ByteReader reader(in.sub(kFileHeaderBytes));
  State read;
  read.store_id = header.store_id;
  read.clock_floor_ms = reader.little<std::uint64_t>();
  const auto flags = reader.little<std::uint32_t>();
  read.data_version = reader.little<std::uint32_t>();
  read.migrating_to = reader.little<std::uint32_t>();
  const auto count = reader.little<std::uint32_t>();

  // The size is judged before anything is allocated for what it claims to hold.
  if (reader.failed() || count > kStateShardsMax || in.size() != state_bytes(count)) {
    return base::corrupt("the size of db.state does not match its count of shards");
  }
  read.shards = std::vector<MigrationShard>(count);
  for (MigrationShard& shard : read.shards) {
    shard.start_sequence = reader.little<std::uint64_t>();
    shard.done_sequence = reader.little<std::uint64_t>();
  }
  const auto crc_stored = reader.little<std::uint32_t>();
  const auto reserved = reader.little<std::uint32_t>();
  const std::uint32_t crc_computed = base::crc32c(0, in.sub(0, in.size() - kStateEndBytes));
  if (crc_stored != crc_computed) return base::corrupt("the checksum of db.state is wrong");
  if (reserved != 0 || (flags & ~(kStateJoint | kStateMigrating)) != 0 || header.shard != 0 ||
      header.file_id != 0) {
    return base::corrupt("reserved bytes of db.state are not zero");
  }
  read.joint = (flags & kStateJoint) != 0;
  read.migrating = (flags & kStateMigrating) != 0;
  if (!state_possible(read)) return base::corrupt("db.state has a migration that cannot be");
  state = std::move(read);
  return {};
}

}  // namespace armdb::format

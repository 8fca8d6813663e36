// What leader and follower say to each other: frames, and the messages in them.
//
// A frame:
//
//   offset  size  field
//        0     4  magic     "ARMR"
//        4     1  version   1
//        5     1  type      see FrameType
//        6     2  flags     see FrameFlag; others zero
//        8     4  length    of the payload, at most 1 MiB
//       12     4  shard     0 where a frame is about all of them
//       16     8  sequence  see FrameType
//       24     4  zero
//       28     4  crc       CRC-32C of bytes 0..27 and the payload
//       32     .  payload
//
// The follower begins with a hello, the leader answers with one. Then the leader sends data,
// copies and progress, the follower acks; either may end with an error. src/FORMAT.md has the
// whole conversation.
//
// Entries are encoded as in a log (format/entry.hpp) with kWireSeed in place of a segment's. They
// keep their sequences and batch flags; marks are not sent. Of a Fixed store they are states of
// keys, whole in each frame.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/bytes.hpp"
#include "core/config.hpp"
#include "core/status.hpp"
#include "format/replica_state.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::format {

inline constexpr std::size_t kWireHeaderBytes = 32;
inline constexpr std::size_t kWirePayloadMax = std::size_t{1} << 20;
inline constexpr std::uint32_t kWireSeed = 0x41524d52;
inline constexpr std::size_t kCollectionNameMax = 255;
inline constexpr std::size_t kErrorTextMax = 1024;

enum class FrameType : std::uint8_t {
  hello = 1,   // payload: Hello; sequence, of the leader: how many entries it has
  data,        // whole entries of a shard; sequence: all up to it was sent before
  copy_begin,  // the shard's content is replaced, by a copy as of `sequence`
  copy_data,   // whole entries of a copy
  copy_end,    // it is complete
  ack,         // payload: Marks: applied, durable
  progress,    // payload: Marks: last sequence, durable sequence of the leader
  error,       // payload: Refusal; nothing follows
  // Of a Fixed store only:
  reach,      // no state that follows is later than the one at `sequence`
  cursor,     // the shard's states are now at `sequence`, or later
  copy_keys,  // keys of a copy, back to back, whose state has not changed since the cursor
};

enum FrameFlag : std::uint16_t {
  kFrameMore = 1,   // data: these entries go on in the next frame of this shard
  kFrameJoint = 2,  // data: one part of a batch over several shards
  kFrameLast = 4,   // with kFrameJoint: the last part
};

struct FrameHeader {
  FrameType type = FrameType::error;
  std::uint16_t flags = 0;
  std::uint32_t length = 0;
  std::uint32_t shard = 0;
  std::uint64_t sequence = 0;
  std::uint32_t crc = 0;  // as it was read
};

// Fills in length and crc.
void encode_frame_header(FrameHeader header, Bytes payload, std::uint8_t* out) noexcept;
// `in` has the 32 bytes. corrupt when no peer of this version sends such a header: before the
// payload is waited for, and before its length is believed.
Status decode_frame_header(Bytes in, FrameHeader& header);
// Header and payload together; corrupt when the checksum is wrong.
Status check_frame(Bytes header_bytes, const FrameHeader& header, Bytes payload);

// Both sides' first message: who they are, what they have, and up to where.
enum HelloReplace : std::uint8_t { kFromNothing = 2, kAhead = 3 };
struct Hello {
  std::string name;  // of the collection at the leader
  StoreId lineage{};
  StoreId self{};  // the store id of who says it
  Shape shape;
  std::uint32_t shard_prefix_bits = 0;
  std::uint64_t hash_seed = 0;
  bool asking = false;  // follower: only wants to know what is served
  std::vector<Term> terms;
  // Per shard. Follower: what it has applied, and kAwaitsCopy or kAwaitsCopyAside where its content
  // has to be replaced anyway; of a Fixed store its position, and kAhead where nothing has to be
  // replaced, and some keys are later than that.
  // Leader: its last sequence, and 1 where it will send a copy; 2 where its log never had what the
  // follower stands at, and of a Fixed store (kFromNothing) where the follower's position tells
  // nothing about what it lacks.
  std::vector<std::uint64_t> sequences;
  std::vector<std::uint8_t> replace;
};
[[nodiscard]] std::vector<std::uint8_t> encode_hello(const Hello& hello);
Status decode_hello(Bytes in, Hello& hello);

// Two sequences per shard.
struct Mark {
  std::uint64_t first = 0;
  std::uint64_t second = 0;
};
[[nodiscard]] std::vector<std::uint8_t> encode_marks(std::span<const Mark> marks);
Status decode_marks(Bytes in, std::span<Mark> marks);

// Why a side ends the conversation.
struct Refusal {
  Errc code = Errc::failed;
  std::string text;
};
[[nodiscard]] std::vector<std::uint8_t> encode_refusal(const Refusal& refusal);
Status decode_refusal(Bytes in, Refusal& refusal);

}  // namespace armdb::format

#endif  // !ARMDB_OMIT_REPLICATION

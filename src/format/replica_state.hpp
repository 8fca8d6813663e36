// db.replica: which history a collection has part in, and as what. Replaced atomically; a
// collection without this file was never replicated.
//
//   offset  size  field
//        0    40  file header (kind replica)
//       40    16  lineage      store id of the collection that this content began in
//       56     4  role         0 leader, 1 follower
//       60     4  shard_count  1..256
//       64     4  term_count   0..64
//       68     4  zero
//       72     .  terms, oldest first: number (8), id (8), then per shard the last sequence before
//                 the term began (8 each)
//        .     .  replacing    per shard, see Replacing; zeros up to a multiple of 8
//        .     4  crc          CRC-32C of everything before it
//        .     4  zero
//
// A term is one leader's time of writing. Two terms are the same when number and id are; numbers
// grow along the list. What a shard has above the start of a term, and up to the start of the
// next one, was written in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/byte_reader.hpp"
#include "core/bytes.hpp"
#include "core/status.hpp"
#include "format/file_header.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::format {

inline constexpr std::size_t kTermsMax = 64;
inline constexpr std::size_t kReplicaShardsMax = 256;
inline constexpr std::size_t kReplicaBytesMax =
    72 + kTermsMax * (16 + 8 * kReplicaShardsMax) + kReplicaShardsMax + 8;

struct Term {
  std::uint64_t number = 0;
  std::uint64_t id = 0;               // random: two leaders that take one number differ in it
  std::vector<std::uint64_t> starts;  // per shard: the last sequence before it
};

// What a shard of a follower still waits for. Uneven: its copy is in, and may have one part of a
// batch whose other parts the other shards do not have yet. Holes: damage took some of it; known of
// a leader too, which may follow later.
enum Replacing : std::uint8_t {
  kWhole = 0,
  kAwaitsCopy = 1,
  kAwaitsCopyAside = 2,
  kUneven = 3,
  kHoles = 4,
};

struct ReplicaState {
  StoreId store_id{};
  StoreId lineage{};
  bool follower = false;
  std::vector<Term> terms;
  std::vector<std::uint8_t> replacing;  // per shard; its size is the number of shards
};

[[nodiscard]] std::vector<std::uint8_t> encode_replica_state(const ReplicaState& state);
// `in` is the whole file; corrupt or format_mismatch.
Status decode_replica_state(Bytes in, ReplicaState& state);

// The list of terms, as db.replica and the handshake have it.
void append_terms(std::vector<std::uint8_t>& out, std::span<const Term> terms);
// False when no such list stands there, or `count` and `shards` pass their limits.
bool take_terms(base::ByteReader& reader, std::size_t count, std::size_t shards,
                std::vector<Term>& terms);

// A number at the end of a message that grows.
template <class T>
void append_little(std::vector<std::uint8_t>& out, std::type_identity_t<T> value) {
  const std::size_t at = out.size();
  out.resize(at + sizeof(T));
  base::store_little<T>(out.data() + at, value);
}

}  // namespace armdb::format

#endif  // !ARMDB_OMIT_REPLICATION

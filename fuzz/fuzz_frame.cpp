// Any bytes as a frame of the replication, as each message in one, as db.replica, and as db.cursor:
// as the whole file, and as a place of one, which is sealed here.
//
// Oracle: any bytes are read or refused with one of two codes, without a step outside and without
// memory for counts that the size does not have; what is read obeys the limits and encodes back
// to the same bytes (of a refusal: but for what would move a terminal's cursor).
//
// The mutator seals 3 of 4: as a frame, mostly with its reserved bytes as they must be, or as a
// db.replica whose size its counts are made to fit.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "format/cursor.hpp"
#include "format/frame.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "format/entry.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max);

namespace {

using namespace armdb;
using format::kWireHeaderBytes;

constexpr std::size_t kReplicaLeast = 88;  // no terms, up to eight shards

void require(bool holds) {
  if (!holds) std::abort();
}

bool refused(const Status& status) {
  if (status.ok()) return false;
  require(status.is(Errc::corrupt) || status.is(Errc::format_mismatch));
  require(!status.message().empty());
  return true;
}

void check_terms(const std::vector<format::Term>& terms, std::size_t shards) {
  require(terms.size() <= format::kTermsMax);
  for (const format::Term& term : terms) {
    require(term.number != 0 && term.starts.size() == shards);
    for (const std::uint64_t start : term.starts) require(start <= format::kSequenceMax);
  }
}

void check_hello(Bytes in) {
  format::Hello hello;
  if (refused(format::decode_hello(in, hello))) return;
  require(!hello.sequences.empty() && hello.sequences.size() <= format::kReplicaShardsMax);
  require(hello.name.size() <= format::kCollectionNameMax);
  check_terms(hello.terms, hello.sequences.size());
  require(Bytes(format::encode_hello(hello)) == in);
}

void check_marks(Bytes in) {
  std::vector<format::Mark> marks(in.size() / 16);
  if (refused(format::decode_marks(in, marks))) return;
  for (const format::Mark& mark : marks) {
    require(mark.first <= format::kSequenceMax && mark.second <= format::kSequenceMax);
  }
  require(Bytes(format::encode_marks(marks)) == in);
}

void check_refusal(Bytes in) {
  format::Refusal refusal;
  if (refused(format::decode_refusal(in, refusal))) return;
  require(refusal.code != Errc::ok && refusal.text.size() == in.size() - 4);
  const std::vector<std::uint8_t> again = format::encode_refusal(refusal);
  require(again.size() == in.size() && Bytes(again).sub(0, 4) == in.sub(0, 4));
  for (std::size_t at = 4; at < in.size(); ++at) {
    require(again[at] == (in[at] >= 0x20 && in[at] != 0x7f ? in[at] : ' '));
  }
}

void check_frame(Bytes in) {
  if (in.size() < kWireHeaderBytes) return;
  format::FrameHeader header;
  if (refused(format::decode_frame_header(in.sub(0, kWireHeaderBytes), header))) return;
  require(header.length <= format::kWirePayloadMax && header.shard < format::kReplicaShardsMax);
  require(header.sequence <= format::kSequenceMax);
  if (in.size() - kWireHeaderBytes < header.length) return;
  const Bytes payload = in.sub(kWireHeaderBytes, header.length);
  if (refused(format::check_frame(in, header, payload))) return;
  std::uint8_t again[kWireHeaderBytes];
  format::encode_frame_header(header, payload, again);
  require(Bytes(again) == in.sub(0, kWireHeaderBytes));
  if (header.type == format::FrameType::hello) check_hello(payload);
  if (header.type == format::FrameType::error) check_refusal(payload);
  check_marks(payload);
}

void check_replica_state(Bytes in) {
  format::ReplicaState state;
  if (refused(format::decode_replica_state(in, state))) return;
  require(!state.replacing.empty() && state.replacing.size() <= format::kReplicaShardsMax);
  require(in.size() <= format::kReplicaBytesMax);
  check_terms(state.terms, state.replacing.size());
  require(Bytes(format::encode_replica_state(state)) == in);
}

void check_cursor_file(Bytes in) {
  format::Cursors cursors;
  std::size_t place = 2;
  if (refused(format::decode_cursors(in, cursors, place))) return;
  require(!cursors.shards.empty() && cursors.shards.size() <= format::kReplicaShardsMax);
  require(in.size() <= format::kCursorBytesMax && place < 2 && cursors.count != 0);
  for (const format::Cursor& cursor : cursors.shards) {
    require(cursor.position <= cursor.reached && cursor.reached <= format::kSequenceMax);
    require(cursor.joined <= cursor.own_from && cursor.own_from <= format::kSequenceMax);
  }
  const std::size_t bytes = format::cursor_place_bytes(cursors.shards.size());
  require(Bytes(format::encode_cursor_front(cursors)) == in.sub(0, format::kCursorPlaceAt));
  require(Bytes(format::encode_cursor_place(cursors)) ==
          in.sub(format::cursor_place_at(place, bytes), bytes));
}

void check_cursor_place(Bytes in) {
  const std::size_t shards = in.size() < 40 ? 0 : (in.size() - 8) / 32;
  if (shards == 0 || shards > format::kReplicaShardsMax) return;
  format::Cursors cursors;
  cursors.shards.resize(shards);
  std::vector<std::uint8_t> file = format::encode_cursor_front(cursors);
  const auto seed = base::load_little<std::uint32_t>(file.data() + 44);
  const Bytes used = in.sub(0, 8 + 32 * shards);
  file.insert(file.end(), used.begin(), used.end());
  format::append_little<std::uint32_t>(file, base::crc32c(seed, used));
  file.resize(format::cursor_place_at(2, format::cursor_place_bytes(shards)));
  check_cursor_file(file);
}

void seal_frame(std::uint8_t* data, std::size_t size, bool clear) {
  if (size < kWireHeaderBytes) return;
  std::memcpy(data, "ARMR\1", 5);
  if (clear) std::memset(data + 24, 0, 4);
  base::store_little<std::uint32_t>(data + 8, static_cast<std::uint32_t>(size - kWireHeaderBytes));
  const std::uint32_t front = base::crc32c(0, Bytes(data, 28));
  base::store_little<std::uint32_t>(
      data + 28, base::crc32c(front, Bytes(data + kWireHeaderBytes, size - kWireHeaderBytes)));
}

std::size_t seal_replica_state(std::uint8_t* data, std::size_t size, unsigned seed, bool fit) {
  if (size < kReplicaLeast) return size;
  std::memcpy(data, "ARMD\11\0\1\0", 8);
  std::memset(data + 24, 0, 12);
  base::store_little<std::uint32_t>(data + 36, base::crc32c(0, Bytes(data, 36)));
  if (fit) {
    const std::size_t shards = 1 + seed % 8;
    const std::size_t terms = (size - kReplicaLeast) / (16 + 8 * shards);
    size = kReplicaLeast + terms * (16 + 8 * shards);
    data[56] &= 1;
    std::memset(data + 57, 0, 3);
    base::store_little<std::uint32_t>(data + 60, static_cast<std::uint32_t>(shards));
    base::store_little<std::uint32_t>(data + 64, static_cast<std::uint32_t>(terms));
    std::memset(data + 68, 0, 4);
    for (std::size_t at = 0; at < 8; ++at) {
      data[size - 16 + at] = at < shards ? data[size - 16 + at] % 3 : std::uint8_t{0};
    }
    std::memset(data + size - 4, 0, 4);
  }
  base::store_little<std::uint32_t>(data + size - 8, base::crc32c(0, Bytes(data, size - 8)));
  return size;
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max, unsigned int seed) {
  size = LLVMFuzzerMutate(data, size, max);
  if (seed % 4 < 2) seal_frame(data, size, seed / 4 % 8 != 0);
  if (seed % 4 == 2) size = seal_replica_state(data, size, seed / 8, seed / 4 % 2 == 0);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes in(data, size);
  check_frame(in);
  check_hello(in);
  check_marks(in);
  check_refusal(in);
  check_replica_state(in);
  check_cursor_file(in);
  check_cursor_place(in);
  return 0;
}

#else

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t*, std::size_t) { return 0; }

#endif  // !ARMDB_OMIT_REPLICATION

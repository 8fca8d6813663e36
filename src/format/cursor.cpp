// db.cursor: two places, of which the newest whole one counts.
#include "format/cursor.hpp"

#include <algorithm>

#include "base/byte_reader.hpp"
#include "base/check.hpp"
#include "base/crc32c.hpp"
#include "base/errors.hpp"
#include "base/little.hpp"
#include "base/search.hpp"
#include "format/entry.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::format {
namespace {

constexpr std::size_t kCursorCountAt = 40;
constexpr std::size_t kCursorFrontCrcAt = 44;
constexpr std::size_t kCursorFrontBytes = 48;
constexpr std::size_t kCursorShardBytes = 32;

constexpr std::size_t used_bytes(std::size_t shards) noexcept {
  return 8 + shards * kCursorShardBytes + 8;
}

bool cursor_possible(const Cursor& cursor) noexcept {
  return cursor.position <= cursor.reached && cursor.reached <= kSequenceMax &&
         cursor.joined <= cursor.own_from && cursor.own_from <= kSequenceMax;
}

std::uint32_t front_crc(const std::uint8_t* front) noexcept {
  const auto header = base::load_little<std::uint32_t>(front + kFileHeaderBytes - 4);
  return base::crc32c(header, Bytes(front + kCursorCountAt, 4));
}

// Into `cursors`, when the place is whole and newer than what they have.
bool take_cursor_place(Bytes place, std::uint32_t seed, Cursors& cursors) {
  const std::size_t used = used_bytes(cursors.shards.size());
  const std::uint32_t crc_computed = base::crc32c(seed, place.sub(0, used - 8));
  if (base::load_little<std::uint32_t>(place.data() + used - 8) != crc_computed) return false;
  base::ByteReader reader(place);
  const auto count = reader.little<std::uint64_t>();
  std::vector<Cursor> shards(cursors.shards.size());
  bool possible = count > cursors.count && base::all_zeros(place.sub(used - 4));
  for (Cursor& cursor : shards) {
    cursor.position = reader.little<std::uint64_t>();
    cursor.reached = reader.little<std::uint64_t>();
    cursor.joined = reader.little<std::uint64_t>();
    cursor.own_from = reader.little<std::uint64_t>();
    possible = possible && cursor_possible(cursor);
  }
  if (!possible) return false;
  cursors.count = count;
  cursors.shards = std::move(shards);
  return true;
}

}  // namespace

std::size_t cursor_place_bytes(std::size_t shards) noexcept {
  return (used_bytes(shards) + 4095) / 4096 * 4096;
}

std::vector<std::uint8_t> encode_cursor_front(const Cursors& cursors) {
  std::vector<std::uint8_t> out(kCursorPlaceAt);
  encode_file_header({.type = FileType::cursor, .version = 1, .store_id = cursors.store_id}, out);
  base::store_little<std::uint32_t>(&out[kCursorCountAt],
                                    static_cast<std::uint32_t>(cursors.shards.size()));
  base::store_little<std::uint32_t>(&out[kCursorFrontCrcAt], front_crc(out.data()));
  return out;
}

std::vector<std::uint8_t> encode_cursor_place(const Cursors& cursors) {
  std::vector<std::uint8_t> out;
  append_little<std::uint64_t>(out, cursors.count);
  for (const Cursor& cursor : cursors.shards) {
    ARMDB_ASSERT(cursor_possible(cursor));
    append_little<std::uint64_t>(out, cursor.position);
    append_little<std::uint64_t>(out, cursor.reached);
    append_little<std::uint64_t>(out, cursor.joined);
    append_little<std::uint64_t>(out, cursor.own_from);
  }
  const std::vector<std::uint8_t> front = encode_cursor_front(cursors);
  append_little<std::uint32_t>(out, base::crc32c(front_crc(front.data()), out));
  out.resize(cursor_place_bytes(cursors.shards.size()));
  return out;
}

Status decode_cursors(Bytes in, Cursors& cursors, std::size_t& place) {
  FileHeader header;
  if (Status status = decode_file_header(in, FileType::cursor, header); !status) return status;
  if (in.size() < kCursorPlaceAt) return base::corrupt("db.cursor ends inside its front");
  const auto shards = base::load_little<std::uint32_t>(in.data() + kCursorCountAt);
  const bool sealed =
      base::load_little<std::uint32_t>(in.data() + kCursorFrontCrcAt) == front_crc(in.data());
  // Judged before anything is allocated for what it claims to hold.
  if (!sealed || shards == 0 || shards > kReplicaShardsMax || header.shard != 0 ||
      header.file_id != 0 ||
      !base::all_zeros(in.sub(kCursorFrontBytes, kCursorPlaceAt - kCursorFrontBytes)) ||
      in.size() != cursor_place_at(2, cursor_place_bytes(shards))) {
    return base::corrupt("the front of db.cursor has fields that cannot be");
  }
  Cursors read;
  read.store_id = header.store_id;
  read.shards.resize(shards);
  const std::size_t bytes = cursor_place_bytes(shards);
  bool whole = false;
  for (std::size_t at = 0; at < 2; ++at) {
    if (!take_cursor_place(in.sub(cursor_place_at(at, bytes), bytes), front_crc(in.data()), read)) {
      continue;
    }
    whole = true;
    place = at;
  }
  if (!whole) return base::corrupt("both places of db.cursor are damaged");
  cursors = std::move(read);
  return {};
}

}  // namespace armdb::format

#endif  // !ARMDB_OMIT_REPLICATION

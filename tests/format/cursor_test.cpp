// db.cursor: golden bytes, and which of its two places counts.
#include "format/cursor.hpp"

#include <cstring>
#include <memory>
#include <vector>

#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "format/entry.hpp"
#include "support/catch.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

using namespace armdb;
using namespace armdb::format;

namespace {

using Buffer = std::vector<std::uint8_t>;

// Made by a program of its own, from the specification.
const Buffer kFront = {0x41, 0x52, 0x4d, 0x44, 0x0a, 0x00, 0x01, 0x00, 0xa0, 0xa1, 0xa2, 0xa3,
                       0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf,
                       0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                       0xbd, 0xf9, 0x5a, 0x21, 0x02, 0x00, 0x00, 0x00, 0xd3, 0xe8, 0x23, 0x23};
const Buffer kPlace = {
    0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x64, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x78, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x50, 0x96, 0x02, 0x6d, 0x00, 0x00, 0x00, 0x00};

constexpr std::size_t kPlaceBytes = 4096;

Cursors golden_cursors() {
  Cursors cursors;
  for (std::size_t at = 0; at < 16; ++at) {
    cursors.store_id[at] = static_cast<std::uint8_t>(0xa0 + at);
  }
  cursors.count = 7;
  cursors.shards = {{100, 120, 0, 0}, {9, 9, 4, 5}};
  return cursors;
}

// The front and two places, zeros where there is none.
Buffer file_of(const Buffer& first, const Buffer& second) {
  Buffer out = kFront;
  out.resize(kCursorPlaceAt);
  for (const Buffer& place : {first, second}) {
    const std::size_t at = out.size();
    out.insert(out.end(), place.begin(), place.end());
    out.resize(at + kPlaceBytes);
  }
  return out;
}

// From an exact copy on the heap, so that a step outside is seen by the sanitizer.
Status read(const Buffer& bytes, std::size_t count, Cursors& cursors, std::size_t& place) {
  const std::unique_ptr<std::uint8_t[]> exact(new std::uint8_t[count]);
  if (count != 0) std::memcpy(exact.get(), bytes.data(), count);
  return decode_cursors(Bytes(exact.get(), count), cursors, place);
}
Status read(const Buffer& bytes) {
  Cursors cursors;
  std::size_t place = 0;
  return read(bytes, bytes.size(), cursors, place);
}

// A place with a field set, and a right crc.
Buffer place_with(std::size_t at, std::uint64_t value) {
  Buffer place = kPlace;
  base::store_little<std::uint64_t>(&place[at], value);
  const auto seed = base::load_little<std::uint32_t>(&kFront[44]);
  base::store_little<std::uint32_t>(&place[72], base::crc32c(seed, Bytes(place).sub(0, 72)));
  return place;
}

}  // namespace

TEST_CASE("cursor: the bytes are those of the specification") {
  Buffer front = kFront;
  front.resize(kCursorPlaceAt);
  CHECK(encode_cursor_front(golden_cursors()) == front);
  Buffer place = kPlace;
  place.resize(kPlaceBytes);
  CHECK(encode_cursor_place(golden_cursors()) == place);
  CHECK(cursor_place_bytes(2) == kPlaceBytes);
  CHECK(cursor_place_bytes(kReplicaShardsMax) == 12288);
  CHECK(cursor_place_at(2, 12288) == kCursorBytesMax);

  Cursors cursors;
  std::size_t at = 9;
  REQUIRE(read(file_of({}, kPlace), kCursorPlaceAt + 2 * kPlaceBytes, cursors, at).ok());
  CHECK(at == 1);
  CHECK(cursors.count == 7);
  CHECK(cursors.store_id == golden_cursors().store_id);
  REQUIRE(cursors.shards.size() == 2);
  CHECK(cursors.shards[0].position == 100);
  CHECK(cursors.shards[0].reached == 120);
  CHECK(cursors.shards[1].joined == 4);
  CHECK(cursors.shards[1].own_from == 5);
}

TEST_CASE("cursor: the newer whole place counts") {
  for (const bool newer_first : {false, true}) {
    const Buffer newer = place_with(0, 8);
    const Buffer file = newer_first ? file_of(newer, kPlace) : file_of(kPlace, newer);
    Cursors cursors;
    std::size_t at = 9;
    REQUIRE(read(file, file.size(), cursors, at).ok());
    CHECK(cursors.count == 8);
    CHECK(at == (newer_first ? 0 : 1));
    // Torn anywhere the older one does.
    const std::size_t place = cursor_place_at(at, kPlaceBytes);
    for (std::size_t bit = 0; bit < kPlace.size() * 8; ++bit) {
      Buffer torn = file;
      torn[place + bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
      Cursors older;
      std::size_t where = 9;
      REQUIRE(read(torn, torn.size(), older, where).ok());
      REQUIRE(older.count == 7);
      REQUIRE(where == (at ^ 1));
    }
  }
}

TEST_CASE("cursor: what is no such file is refused, cut anywhere, with any bit flipped") {
  const Buffer file = file_of(kPlace, {});
  REQUIRE(read(file).ok());
  for (std::size_t count = 0; count < file.size(); count += count < 128 ? 1 : 61) {
    Cursors cursors;
    std::size_t place = 0;
    INFO(count);
    REQUIRE(read(file, count, cursors, place).is(Errc::corrupt));
  }
  for (std::size_t bit = 0; bit < (kCursorPlaceAt + kPlace.size()) * 8; ++bit) {
    Buffer bytes = file;
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    const Status status = read(bytes);
    INFO("bit " << bit);
    REQUIRE((status.is(Errc::corrupt) || status.is(Errc::format_mismatch)));
  }
  CHECK(read(file_of({}, {})).is(Errc::corrupt));
}

TEST_CASE("cursor: positions that cannot be are refused, even with a right crc") {
  const auto read_with = [](std::size_t at, std::uint64_t value) {
    return read(file_of(place_with(at, value), {}));
  };
  CHECK(read_with(0, 0).is(Errc::corrupt));  // a place that was never written
  CHECK(read_with(8, 120).ok());
  CHECK(read_with(8, 121).is(Errc::corrupt));  // above what was reached
  CHECK(read_with(16, kSequenceMax).ok());
  CHECK(read_with(16, kSequenceMax + 1).is(Errc::corrupt));
  CHECK(read_with(56, 5).ok());
  CHECK(read_with(56, 6).is(Errc::corrupt));  // joined above the first number of its own
  CHECK(read_with(64, kSequenceMax + 1).is(Errc::corrupt));
  Buffer trailing = file_of(kPlace, {});
  trailing[kCursorPlaceAt + kPlace.size() + 5] = 1;
  CHECK(read(trailing).is(Errc::corrupt));
}

#endif  // !ARMDB_OMIT_REPLICATION

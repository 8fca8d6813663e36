// db.state: golden bytes, and states that cannot be.
#include "format/state.hpp"

#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "format/entry.hpp"
#include "support/catch.hpp"

using namespace armdb;
using namespace armdb::format;

namespace {

using Buffer = std::vector<std::uint8_t>;

// Both were made by a program of its own, from the specification.
const Buffer kMigrating = {
    // magic, kind, version
    0x41, 0x52, 0x4d, 0x44, 0x07, 0x00, 0x01, 0x00,
    // store_id
    0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf,
    // shard, file_id, reserved, crc
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xf3, 0x9a, 0xbd, 0x02,
    // clock_floor_ms
    0x0d, 0x0c, 0x0b, 0x0a, 0x8f, 0x01, 0x00, 0x00,
    // flags, data_version, migrating_to, shard_count
    0x03, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00,
    // shard 0: start_sequence, done_sequence
    0x64, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x28, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    // shard 1: start_sequence, done_sequence
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    // crc, reserved
    0xc4, 0x96, 0xeb, 0xb8, 0x00, 0x00, 0x00, 0x00};
const Buffer kPlain = {
    // magic, kind, version
    0x41, 0x52, 0x4d, 0x44, 0x07, 0x00, 0x01, 0x00,
    // store_id
    0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf,
    // shard, file_id, reserved, crc
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xf3, 0x9a, 0xbd, 0x02,
    // clock_floor_ms
    0x0d, 0x0c, 0x0b, 0x0a, 0x8f, 0x01, 0x00, 0x00,
    // flags, data_version, migrating_to, shard_count
    0x01, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    // crc, reserved
    0x6e, 0xc9, 0xe7, 0x0b, 0x00, 0x00, 0x00, 0x00};

constexpr std::size_t kFlagsAt = 48;
constexpr std::size_t kTargetAt = 56;
constexpr std::size_t kCountAt = 60;
constexpr std::size_t kFirstAt = 64;   // the first record of kMigrating
constexpr std::size_t kSecondAt = 80;  // the second

State plain_state() {
  State state;
  state.store_id = {0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
                    0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};
  state.clock_floor_ms = 0x18f0a0b0c0d;
  state.joint = true;
  state.data_version = 4;
  return state;
}

State migrating_state() {
  State state = plain_state();
  state.migrating = true;
  state.migrating_to = 5;
  state.shards = {{100, 40}, {0, 0}};
  return state;
}

// From an exact copy on the heap, so that a step outside is seen by the sanitizer.
Status read(const Buffer& bytes, std::size_t count) {
  const std::unique_ptr<std::uint8_t[]> exact(new std::uint8_t[count]);
  if (count != 0) std::memcpy(exact.get(), bytes.data(), count);
  State state;
  return decode_state(Bytes(exact.get(), count), state);
}
Status read(const Buffer& bytes) { return read(bytes, bytes.size()); }

// With right crcs.
Status read_resealed(Buffer bytes) {
  base::store_little<std::uint32_t>(&bytes[36], base::crc32c(0, Bytes(bytes).sub(0, 36)));
  const std::size_t end = bytes.size() - 8;
  base::store_little<std::uint32_t>(&bytes[end], base::crc32c(0, Bytes(bytes).sub(0, end)));
  return read(bytes);
}

// `bytes` with `width` bytes at `at` set to `value`, and right crcs.
Status read_with(Buffer bytes, std::size_t at, std::uint64_t value, std::size_t width) {
  for (std::size_t i = 0; i < width; ++i) {
    bytes[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
  return read_resealed(bytes);
}

// That many records of zeros, each counted, and right crcs.
Status read_shards(std::size_t shards, std::uint32_t flags) {
  Buffer bytes(kStateFixedBytes + shards * kStateShardBytes + kStateEndBytes);
  std::memcpy(bytes.data(), kPlain.data(), kFileHeaderBytes);
  base::store_little<std::uint32_t>(&bytes[kFlagsAt], flags);
  base::store_little<std::uint32_t>(&bytes[kCountAt], static_cast<std::uint32_t>(shards));
  return read_resealed(bytes);
}

}  // namespace

TEST_CASE("state: the bytes are those of the specification [pitfall-38]") {
  CHECK(encode_state(plain_state()) == kPlain);
  CHECK(encode_state(migrating_state()) == kMigrating);
}

TEST_CASE("state: it gives back what was written") {
  State state;
  REQUIRE(decode_state(kMigrating, state).ok());
  CHECK(state.store_id == plain_state().store_id);
  CHECK(state.clock_floor_ms == 0x18f0a0b0c0d);
  CHECK(state.joint);
  CHECK(state.data_version == 4);
  CHECK(state.migrating_to == 5);
  CHECK(state.migrating);
  REQUIRE(state.shards.size() == 2);
  CHECK(state.shards[0].start_sequence == 100);
  CHECK(state.shards[0].done_sequence == 40);
  CHECK(state.shards[1].start_sequence == 0);
  CHECK(state.shards[1].done_sequence == 0);

  // Into one that held something else: nothing of it stays.
  REQUIRE(decode_state(kPlain, state).ok());
  CHECK(state.migrating_to == 0);
  CHECK_FALSE(state.migrating);
  CHECK(state.shards.empty());
  REQUIRE(decode_state(encode_state(State{}), state).ok());
  CHECK(state.store_id == StoreId{});
  CHECK(state.clock_floor_ms == 0);
  CHECK_FALSE(state.joint);
  CHECK(state.data_version == 0);
}

TEST_CASE("state: what is refused leaves the state as it was") {
  State state = migrating_state();
  Buffer bytes = kPlain;
  bytes[kFlagsAt] ^= 1;
  REQUIRE(decode_state(bytes, state).is(Errc::corrupt));
  CHECK(encode_state(state) == kMigrating);
}

TEST_CASE("state: the largest values go round [pitfall-22]") {
  State state = migrating_state();
  state.clock_floor_ms = std::numeric_limits<std::uint64_t>::max();
  state.data_version = std::numeric_limits<std::uint32_t>::max();
  state.migrating_to = std::numeric_limits<std::uint32_t>::max();
  state.shards.assign(kStateShardsMax, {kSequenceMax, kSequenceMax});
  const Buffer bytes = encode_state(state);
  CHECK(bytes.size() == kStateBytesMax);
  CHECK(bytes.size() % 8 == 0);
  State again;
  REQUIRE(decode_state(bytes, again).ok());
  CHECK(again.shards.size() == kStateShardsMax);
  CHECK(encode_state(again) == bytes);
}

TEST_CASE("state: one flipped bit anywhere is corrupt") {
  for (const Buffer& golden : {kPlain, kMigrating}) {
    for (std::size_t bit = 0; bit < golden.size() * 8; ++bit) {
      Buffer bytes = golden;
      bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
      REQUIRE(read(bytes).is(Errc::corrupt));
    }
  }
}

TEST_CASE("state: cut at any byte, or longer, it is corrupt") {
  for (const Buffer& golden : {kPlain, kMigrating}) {
    for (std::size_t count = 0; count < golden.size(); ++count) {
      REQUIRE(read(golden, count).is(Errc::corrupt));
    }
    for (std::size_t more = 1; more <= kStateShardBytes + kStateEndBytes; ++more) {
      Buffer longer = golden;
      longer.resize(golden.size() + more);
      CHECK(read(longer).is(Errc::corrupt));
      CHECK(read_resealed(longer).is(Errc::corrupt));
    }
  }
  CHECK(read(Buffer(72)).is(Errc::corrupt));
}

TEST_CASE("state: shards are listed while migrating, and only then") {
  CHECK(read_shards(0, 0).ok());
  CHECK(read_shards(0, 1).ok());
  CHECK(read_shards(0, 2).is(Errc::corrupt));
  CHECK(read_shards(1, 2).ok());
  CHECK(read_shards(1, 3).ok());
  CHECK(read_shards(1, 0).is(Errc::corrupt));
  CHECK(read_shards(1, 1).is(Errc::corrupt));
  CHECK(read_shards(255, 2).ok());
  CHECK(read_shards(256, 2).ok());
  CHECK(read_shards(256, 0).is(Errc::corrupt));
  CHECK(read_shards(257, 2).is(Errc::corrupt));

  CHECK(read_with(kPlain, kTargetAt, 5, 4).is(Errc::corrupt));
  CHECK(read_with(kMigrating, kTargetAt, 0, 4).ok());
  CHECK(read_with(kMigrating, kFlagsAt, 1, 4).is(Errc::corrupt));
}

TEST_CASE("state: a count of shards that the size has not is corrupt [pitfall-22]") {
  for (const std::uint32_t count : {0u, 1u, 3u, 256u, 257u, 0x10000002u, 0xffffffffu}) {
    CHECK(read_with(kMigrating, kCountAt, count, 4).is(Errc::corrupt));
  }
  // 16 times these is a multiple of 2^32.
  for (const std::uint32_t count : {0x10000000u, 0x80000000u, 0xf0000000u}) {
    CHECK(read_with(kPlain, kCountAt, count, 4).is(Errc::corrupt));
  }
  CHECK(read_with(kMigrating, kCountAt, 2, 4).ok());
}

TEST_CASE("state: sequences that cannot be are corrupt, even with a right crc [pitfall-22]") {
  constexpr std::uint64_t kMax64 = std::numeric_limits<std::uint64_t>::max();
  for (const std::size_t at : {kFirstAt, kSecondAt}) {
    CHECK(read_with(kMigrating, at, kSequenceMax, 8).ok());
    CHECK(read_with(kMigrating, at, kSequenceMax + 1, 8).is(Errc::corrupt));
    CHECK(read_with(kMigrating, at, kMax64, 8).is(Errc::corrupt));
    CHECK(read_with(kMigrating, at + 8, kMax64, 8).is(Errc::corrupt));
  }
  CHECK(read_with(kMigrating, kFirstAt, 39, 8).is(Errc::corrupt));
  CHECK(read_with(kMigrating, kFirstAt, 40, 8).ok());
  CHECK(read_with(kMigrating, kFirstAt + 8, 0, 8).ok());
  CHECK(read_with(kMigrating, kFirstAt + 8, 100, 8).ok());
  CHECK(read_with(kMigrating, kFirstAt + 8, 101, 8).is(Errc::corrupt));
  CHECK(read_with(kMigrating, kSecondAt + 8, 1, 8).is(Errc::corrupt));
}

TEST_CASE("state: reserved bits must be zero, even with a right crc [pitfall-36]") {
  for (const Buffer& golden : {kPlain, kMigrating}) {
    for (std::uint64_t bit = 4; bit <= 0x80000000; bit <<= 1) {
      CHECK(read_with(golden, kFlagsAt, golden[kFlagsAt] | bit, 4).is(Errc::corrupt));
    }
    CHECK(read_with(golden, 24, 1, 4).is(Errc::corrupt));          // a shard
    CHECK(read_with(golden, 28, 1, 4).is(Errc::corrupt));          // a file id
    CHECK(read_with(golden, 32, 1, 4).is(Errc::format_mismatch));  // encrypted
    for (std::size_t at = golden.size() - 4; at < golden.size(); ++at) {
      for (unsigned bit = 0; bit < 8; ++bit) {
        CHECK(read_with(golden, at, std::uint64_t{1} << bit, 1).is(Errc::corrupt));
      }
    }
  }
}

TEST_CASE("state: a newer version or another kind of file is told as such") {
  CHECK(read_with(kPlain, 6, 2, 2).is(Errc::format_mismatch));
  CHECK(read_with(kPlain, 6, 0, 2).is(Errc::corrupt));
  const Status status = read_with(kPlain, 4, 5, 2);
  CHECK(status.is(Errc::format_mismatch));
  CHECK(status.message().find("this is a db.meta where a db.state belongs") != std::string::npos);
}

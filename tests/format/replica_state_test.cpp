// db.replica: golden bytes, and histories that cannot be.
#include "format/replica_state.hpp"

#include <cstring>
#include <limits>
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
const Buffer kReplica = {
    0x41, 0x52, 0x4d, 0x44, 0x09, 0x00, 0x01, 0x00, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
    0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0xe0, 0x88, 0xb1, 0x67, 0xb0, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7,
    0xb8, 0xb9, 0xba, 0xbb, 0xbc, 0xbd, 0xbe, 0xbf, 0x01, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00,
    0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
    0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x22, 0x64, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x8a, 0x94, 0x13, 0x08, 0x00, 0x00, 0x00, 0x00};

constexpr std::size_t kRoleAt = 56;
constexpr std::size_t kShardsAt = 60;
constexpr std::size_t kTermsAt = 64;
constexpr std::size_t kFirstTermAt = 72;
constexpr std::size_t kSecondTermAt = 104;
constexpr std::size_t kReplacingAt = 136;
constexpr std::uint64_t kMax64 = std::numeric_limits<std::uint64_t>::max();

ReplicaState golden_state() {
  ReplicaState state;
  for (std::size_t at = 0; at < 16; ++at) {
    state.store_id[at] = static_cast<std::uint8_t>(0xa0 + at);
    state.lineage[at] = static_cast<std::uint8_t>(0xb0 + at);
  }
  state.follower = true;
  state.terms = {{1, 0x1111111111111111, {0, 0}},
                 {std::uint64_t{1} << 32, 0x2222222222222222, {100, 7}}};
  state.replacing = {2, 0};
  return state;
}

// From an exact copy on the heap, so that a step outside is seen by the sanitizer.
Status read(const Buffer& bytes, std::size_t count) {
  const std::unique_ptr<std::uint8_t[]> exact(new std::uint8_t[count]);
  if (count != 0) std::memcpy(exact.get(), bytes.data(), count);
  ReplicaState state;
  return decode_replica_state(Bytes(exact.get(), count), state);
}
Status read(const Buffer& bytes) { return read(bytes, bytes.size()); }

Buffer resealed(Buffer bytes) {
  base::store_little<std::uint32_t>(&bytes[36], base::crc32c(0, Bytes(bytes).sub(0, 36)));
  const std::size_t end = bytes.size() - 8;
  base::store_little<std::uint32_t>(&bytes[end], base::crc32c(0, Bytes(bytes).sub(0, end)));
  return bytes;
}

// `bytes` with `width` bytes at `at` set to `value`, and right crcs.
Status read_with(Buffer bytes, std::size_t at, std::uint64_t value, std::size_t width) {
  for (std::size_t i = 0; i < width; ++i) {
    bytes[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
  return read(resealed(std::move(bytes)));
}

// That many terms of that many shards.
ReplicaState sized(std::size_t terms, std::size_t shards) {
  ReplicaState state;
  state.replacing.resize(shards);
  for (std::uint64_t at = 0; at < terms; ++at) {
    state.terms.push_back({at + 1, at, std::vector<std::uint64_t>(shards, at)});
  }
  return state;
}

}  // namespace

TEST_CASE("replica_state: the bytes are those of the specification [pitfall-38]") {
  CHECK(encode_replica_state(golden_state()) == kReplica);
}

TEST_CASE("replica_state: it gives back what was written") {
  ReplicaState state = sized(3, 7);
  REQUIRE(decode_replica_state(kReplica, state).ok());
  CHECK(state.store_id == golden_state().store_id);
  CHECK(state.lineage == golden_state().lineage);
  CHECK(state.follower);
  REQUIRE(state.terms.size() == 2);
  CHECK(state.terms[0].number == 1);
  CHECK(state.terms[0].starts == std::vector<std::uint64_t>{0, 0});
  CHECK(state.terms[1].number == std::uint64_t{1} << 32);
  CHECK(state.terms[1].id == 0x2222222222222222);
  CHECK(state.terms[1].starts == std::vector<std::uint64_t>{100, 7});
  CHECK(state.replacing == std::vector<std::uint8_t>{2, 0});
}

TEST_CASE("replica_state: what is refused leaves the state as it was") {
  ReplicaState state = golden_state();
  Buffer bytes = encode_replica_state(sized(3, 7));
  bytes[kRoleAt] ^= 1;
  REQUIRE(decode_replica_state(bytes, state).is(Errc::corrupt));
  CHECK(encode_replica_state(state) == kReplica);
}

TEST_CASE("replica_state: every number of shards and terms goes round [pitfall-22]") {
  for (const std::size_t shards : {1, 2, 7, 8, 9, 255, 256}) {
    for (const std::size_t terms : {0, 1, 2, 63, 64}) {
      const Buffer bytes = encode_replica_state(sized(terms, shards));
      ReplicaState again;
      REQUIRE(decode_replica_state(bytes, again).ok());
      CHECK(again.terms.size() == terms);
      CHECK(again.replacing.size() == shards);
      CHECK(bytes.size() % 8 == 0);
      CHECK(bytes.size() <= kReplicaBytesMax);
      CHECK(encode_replica_state(again) == bytes);
    }
  }
  CHECK(encode_replica_state(sized(kTermsMax, kReplicaShardsMax)).size() == kReplicaBytesMax);
}

TEST_CASE("replica_state: one flipped bit anywhere is corrupt") {
  for (std::size_t bit = 0; bit < kReplica.size() * 8; ++bit) {
    Buffer bytes = kReplica;
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    INFO("bit " << bit);
    REQUIRE(read(bytes).is(Errc::corrupt));
  }
}

TEST_CASE("replica_state: cut at any byte, or longer, it is corrupt") {
  for (std::size_t count = 0; count < kReplica.size(); ++count) {
    REQUIRE(read(kReplica, count).is(Errc::corrupt));
  }
  for (std::size_t more = 1; more <= 64; ++more) {
    Buffer longer = kReplica;
    longer.resize(kReplica.size() + more);
    CHECK(read(longer).is(Errc::corrupt));
    CHECK(read(resealed(longer)).is(Errc::corrupt));
  }
}

TEST_CASE("replica_state: counts that the size has not are corrupt [pitfall-22]") {
  for (const std::uint64_t count :
       {0ull, 1ull, 3ull, 256ull, 257ull, 0x10000002ull, 0x80000000ull, 0xffffffffull}) {
    CHECK(read_with(kReplica, kShardsAt, count, 4).is(Errc::corrupt));
    CHECK(read_with(kReplica, kTermsAt, count, 4).is(Errc::corrupt));
  }
  // One above each limit, with all the bytes for it.
  CHECK(read(encode_replica_state(sized(0, kReplicaShardsMax + 1))).is(Errc::corrupt));
  Buffer most = encode_replica_state(sized(kTermsMax, 1));
  const Buffer term = {255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  most.insert(most.begin() + static_cast<std::ptrdiff_t>(kFirstTermAt + kTermsMax * term.size()),
              term.begin(), term.end());
  CHECK(read_with(most, kTermsAt, kTermsMax + 1, 4).is(Errc::corrupt));
}

TEST_CASE("replica_state: fields that cannot be are corrupt, even with a right crc") {
  CHECK(read_with(kReplica, kRoleAt, 0, 4).ok());
  for (std::uint64_t role = 2; role <= 0x80000000; role <<= 1) {
    CHECK(read_with(kReplica, kRoleAt, role, 4).is(Errc::corrupt));
  }
  CHECK(read_with(kReplica, kFirstTermAt, 0, 8).is(Errc::corrupt));
  CHECK(read_with(kReplica, kFirstTermAt, std::uint64_t{1} << 32, 8).is(Errc::corrupt));
  CHECK(read_with(kReplica, kFirstTermAt, kMax64, 8).is(Errc::corrupt));
  CHECK(read_with(kReplica, kSecondTermAt, 2, 8).ok());
  CHECK(read_with(kReplica, kSecondTermAt, kMax64, 8).ok());
  CHECK(read_with(kReplica, kSecondTermAt, 1, 8).is(Errc::corrupt));
  CHECK(read_with(kReplica, kSecondTermAt + 8, kMax64, 8).ok());  // the id
  for (const std::size_t at : {kFirstTermAt + 16, kSecondTermAt + 24}) {
    CHECK(read_with(kReplica, at, kSequenceMax, 8).ok());
    CHECK(read_with(kReplica, at, kSequenceMax + 1, 8).is(Errc::corrupt));
    CHECK(read_with(kReplica, at, kMax64, 8).is(Errc::corrupt));
  }
  CHECK(read_with(kReplica, kReplacingAt + 1, 2, 1).ok());
  CHECK(read_with(kReplica, kReplacingAt + 1, 4, 1).ok());
  CHECK(read_with(kReplica, kReplacingAt + 1, 5, 1).is(Errc::corrupt));
  CHECK(read_with(kReplica, kReplacingAt, 255, 1).is(Errc::corrupt));
}

TEST_CASE("replica_state: reserved bytes must be zero, even with a right crc [pitfall-36]") {
  CHECK(read_with(kReplica, 24, 1, 4).is(Errc::corrupt));          // a shard
  CHECK(read_with(kReplica, 28, 1, 4).is(Errc::corrupt));          // a file id
  CHECK(read_with(kReplica, 32, 1, 4).is(Errc::format_mismatch));  // encrypted
  const std::size_t end = kReplica.size() - 4;
  for (std::uint64_t bit = 1; bit < 256; bit <<= 1) {
    for (std::size_t at = 68; at < 72; ++at) {
      CHECK(read_with(kReplica, at, bit, 1).is(Errc::corrupt));
    }
    for (std::size_t at = kReplacingAt + 2; at < kReplacingAt + 8; ++at) {
      CHECK(read_with(kReplica, at, bit, 1).is(Errc::corrupt));
    }
    for (std::size_t at = end; at < kReplica.size(); ++at) {
      CHECK(read_with(kReplica, at, bit, 1).is(Errc::corrupt));
    }
  }
}

TEST_CASE("replica_state: a newer version or another kind of file is told as such") {
  CHECK(read_with(kReplica, 6, 2, 2).is(Errc::format_mismatch));
  const Status status = read_with(kReplica, 4, 7, 2);
  CHECK(status.is(Errc::format_mismatch));
  CHECK(status.message().find("this is a db.state where a db.replica belongs") !=
        std::string::npos);
}

TEST_CASE("replica_state: a start may be below the one of the term before") {
  ReplicaState state = golden_state();
  state.terms[0].starts = {200, 9};
  const Buffer bytes = encode_replica_state(state);
  ReplicaState again;
  REQUIRE(decode_replica_state(bytes, again).ok());
  CHECK(again.terms[0].starts == state.terms[0].starts);
}

#endif  // !ARMDB_OMIT_REPLICATION

// Entries: golden bytes, what is refused, and how it is told apart from what was cut off.
#include "format/entry.hpp"

#include <cstring>
#include <initializer_list>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "support/catch.hpp"

using namespace armdb;
using namespace armdb::format;

namespace {

using Buffer = std::vector<std::uint8_t>;

constexpr std::uint32_t kSeed = 0x7419a24f;  // of the segment in file_header_test.cpp

// Padded with 0xcc first: whatever the encoder does not write shows.
Buffer encoded(const Entry& entry, std::uint32_t seed = kSeed) {
  Buffer out(static_cast<std::size_t>(
                 entry_bytes(entry.key.size(), entry.value.size(), (entry.flags & kExpiry) != 0)),
             0xcc);
  REQUIRE(encode_entry(entry, seed, out.data()) == out.size());
  return out;
}

// Reads from an exact copy on the heap, so that a step outside is seen by the sanitizer.
EntryRead read_exact(const Buffer& bytes, std::size_t count, std::uint32_t seed = kSeed) {
  const std::unique_ptr<std::uint8_t[]> exact(new std::uint8_t[count]);
  if (count != 0) std::memcpy(exact.get(), bytes.data(), count);
  Entry entry;
  std::size_t size = 0;
  return decode_entry(Bytes(exact.get(), count), seed, entry, size);
}
EntryRead read_exact(const Buffer& bytes) { return read_exact(bytes, bytes.size()); }

Entry data_entry(std::uint8_t flags, std::uint64_t sequence, Bytes key, Bytes value) {
  Entry entry;
  entry.flags = flags;
  entry.sequence = sequence;
  entry.key = key;
  entry.value = value;
  return entry;
}

// An entry from loose fields, right or wrong, with a right crc.
struct Loose {
  std::uint8_t flags = 0;
  std::uint8_t reserved = 0;
  std::uint16_t key_size = 1;
  std::uint32_t value_size = 0;
  std::uint64_t sequence = 1;
};
Buffer sealed(const Loose& loose, const Buffer& body) {
  Buffer out(kEntryHeaderBytes);
  out[4] = loose.flags;
  out[5] = loose.reserved;
  base::store_little<std::uint16_t>(&out[6], loose.key_size);
  base::store_little<std::uint32_t>(&out[8], loose.value_size);
  base::store_little<std::uint64_t>(&out[12], loose.sequence);
  out.insert(out.end(), body.begin(), body.end());
  base::store_little<std::uint32_t>(&out[0],
                                    base::crc32c(kSeed, Bytes(out.data() + 4, out.size() - 4)));
  out.resize((out.size() + 7) / 8 * 8);
  return out;
}

const Buffer kPlain = {0xaf, 0x38, 0xa5, 0x03, 0x00, 0x00, 0x04, 0x00, 0x05, 0x00, 0x00,
                       0x00, 0x64, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x6b, 0x65,
                       0x79, 0x31, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x00, 0x00, 0x00};
const Buffer kTombstoneOfBatch = {0xf4, 0x55, 0x3c, 0xfc, 0x05, 0x00, 0x04, 0x00,
                                  0x00, 0x00, 0x00, 0x00, 0x65, 0x00, 0x00, 0x00,
                                  0x00, 0x00, 0x00, 0x00, 0x6b, 0x65, 0x79, 0x31};
const Buffer kExpiryOfBatch = {0x69, 0x26, 0xa7, 0xc0, 0x0a, 0x00, 0x01, 0x00, 0x01, 0x00, 0x00,
                               0x00, 0x66, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x68,
                               0xe5, 0xcf, 0x8b, 0x01, 0x00, 0x00, 0x6b, 0x76, 0x00, 0x00};
const Buffer kWatermarkBytes = {0x05, 0x1e, 0x60, 0xd7, 0x10, 0x00, 0x00, 0x00,
                                0x00, 0x00, 0x00, 0x00, 0x63, 0x00, 0x00, 0x00,
                                0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};
const Buffer kFooterBytes = {
    0x5e, 0x65, 0x7b, 0xd0, 0x20, 0x00, 0x00, 0x00, 0x1c, 0x00, 0x00, 0x00, 0x66, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xd0, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00};
const Buffer kJointBytes = {0xcb, 0x42, 0x35, 0x3f, 0x40, 0x00, 0x00, 0x00, 0x20, 0x00, 0x00, 0x00,
                            0x67, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00,
                            0x00, 0x00, 0x00, 0x00, 0x68, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                            0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x4d, 0x00, 0x00, 0x00,
                            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};

const Buffer* const kGolden[] = {&kPlain,          &kTombstoneOfBatch, &kExpiryOfBatch,
                                 &kWatermarkBytes, &kFooterBytes,      &kJointBytes};

}  // namespace

TEST_CASE("entry: the bytes are those of the specification [pitfall-38]") {
  CHECK(encoded(data_entry(0, 100, "key1", "hello")) == kPlain);
  CHECK(encoded(data_entry(kTombstone | kBatchBegin, 101, "key1", {})) == kTombstoneOfBatch);
  Entry expiring = data_entry(kExpiry | kBatchCommit, 102, "k", "v");
  expiring.expiry_ms = 1700000000000;
  CHECK(encoded(expiring) == kExpiryOfBatch);
  CHECK(encoded(data_entry(kWatermark, 99, {}, {})) == kWatermarkBytes);
  Buffer value(footer_value_bytes(2), 0xcc);
  const Buffer sources = {4, 0, 0, 0, 5, 0, 0, 0};
  encode_footer_value({.count = 3, .length = 208, .source_count = 2, .sources = sources}, value);
  CHECK(encoded(data_entry(kFooter, 102, {}, value)) == kFooterBytes);
}

TEST_CASE("entry: a whole entry gives back what was written, and where the next one begins") {
  Entry entry;
  std::size_t size = 0;
  REQUIRE(decode_entry(kExpiryOfBatch, kSeed, entry, size) == EntryRead::whole);
  CHECK(size == 32);
  CHECK(entry.flags == (kExpiry | kBatchCommit));
  CHECK(entry.sequence == 102);
  CHECK(entry.expiry_ms == 1700000000000);
  CHECK(entry.key == Bytes("k"));
  CHECK(entry.value == Bytes("v"));
  CHECK_FALSE(entry.tombstone());
  CHECK_FALSE(entry.mark());

  REQUIRE(decode_entry(kTombstoneOfBatch, kSeed, entry, size) == EntryRead::whole);
  CHECK(entry.tombstone());
  CHECK(entry.expiry_ms == 0);
  REQUIRE(decode_entry(kFooterBytes, kSeed, entry, size) == EntryRead::whole);
  CHECK(entry.mark());
  Footer footer;
  REQUIRE(decode_footer_value(entry.value, footer));
  CHECK(footer.count == 3);
  CHECK(footer.length == 208);
  CHECK(footer.source_count == 2);
  CHECK(footer.sources == Bytes(Buffer{4, 0, 0, 0, 5, 0, 0, 0}));
}

TEST_CASE("entry: sizes of all kinds go round, at any address [pitfall-38]") {
  std::mt19937 random(7);
  for (const std::size_t key_size : {1u, 2u, 7u, 8u, 15u, 16u, 17u, 255u, 1023u, 1024u}) {
    for (const std::size_t value_size : {0u, 1u, 5u, 7u, 8u, 60u, 4096u, 70001u}) {
      Buffer key(key_size);
      Buffer value(value_size);
      for (auto& byte : key) byte = static_cast<std::uint8_t>(random());
      for (auto& byte : value) byte = static_cast<std::uint8_t>(random());
      Entry entry = data_entry(kExpiry, kSequenceMax, key, value);
      entry.expiry_ms = std::numeric_limits<std::uint64_t>::max();
      const Buffer bytes = encoded(entry, 0xffffffff);
      Buffer moved(bytes.size() + 1 + key_size % 8);
      std::memcpy(moved.data() + 1 + key_size % 8, bytes.data(), bytes.size());

      Entry again;
      std::size_t size = 0;
      REQUIRE(decode_entry(Bytes(moved).sub(1 + key_size % 8), 0xffffffff, again, size) ==
              EntryRead::whole);
      REQUIRE(size == bytes.size());
      REQUIRE(size % 8 == 0);
      REQUIRE(again.sequence == kSequenceMax);
      REQUIRE(again.expiry_ms == entry.expiry_ms);
      REQUIRE(again.key == Bytes(key));
      REQUIRE(again.value == Bytes(value));
    }
  }
}

TEST_CASE("entry: every byte of the room it takes is written, padding as zeros [pitfall-36]") {
  for (std::size_t value_size = 0; value_size < 17; ++value_size) {
    const Buffer value(value_size, 0x55);
    const Entry entry = data_entry(0, 1, "abc", value);
    Buffer first(64, 0x00);
    Buffer second(64, 0xff);
    const std::size_t size = encode_entry(entry, kSeed, first.data());
    REQUIRE(encode_entry(entry, kSeed, second.data()) == size);
    REQUIRE(std::memcmp(first.data(), second.data(), size) == 0);
    for (std::size_t i = size; i < 64; ++i) REQUIRE(second[i] == 0xff);
    for (std::size_t i = kEntryHeaderBytes + 3 + value_size; i < size; ++i) {
      REQUIRE(first[i] == 0);
      first[i] = 1;
      REQUIRE(read_exact(first, size) == EntryRead::corrupt);
      first[i] = 0;
    }
  }
}

TEST_CASE("entry: a run of zeros is never an entry [pitfall-2]") {
  std::mt19937 random(2);
  for (int round = 0; round < 20000; ++round) {
    const auto seed = round == 0 ? 0u : round == 1 ? ~0u : static_cast<std::uint32_t>(random());
    const Buffer zeros(round % 200, 0);
    REQUIRE(read_exact(zeros, zeros.size(), seed) ==
            (zeros.size() < kEntryHeaderBytes ? EntryRead::torn : EntryRead::corrupt));
  }
  std::uint64_t size = 0;
  CHECK_FALSE(peek_entry_bytes(Buffer(kEntryHeaderBytes, 0), size));
}

TEST_CASE("entry: one flipped bit anywhere is refused") {
  for (const Buffer* golden : kGolden) {
    REQUIRE(read_exact(*golden) == EntryRead::whole);
    for (std::size_t bit = 0; bit < golden->size() * 8; ++bit) {
      Buffer bytes = *golden;
      bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
      // A larger size may also ask for bytes that are not there.
      REQUIRE(read_exact(bytes) != EntryRead::whole);
      bytes.resize(bytes.size() + 4096);
      REQUIRE(read_exact(bytes) != EntryRead::whole);
    }
  }
}

TEST_CASE("entry: cut at any byte it is torn, never whole and never corrupt") {
  for (const Buffer* golden : kGolden) {
    for (std::size_t count = 0; count < golden->size(); ++count) {
      REQUIRE(read_exact(*golden, count) == EntryRead::torn);
    }
  }
}

TEST_CASE("entry: with the seed of another segment it is refused") {
  std::mt19937 random(3);
  for (int round = 0; round < 1000; ++round) {
    const auto seed = static_cast<std::uint32_t>(random());
    if (seed == kSeed) continue;
    REQUIRE(read_exact(kPlain, kPlain.size(), seed) == EntryRead::corrupt);
  }
}

TEST_CASE("entry: fields that no writer produces are corrupt, even with a right crc") {
  const auto read = [](const Loose& loose, const Buffer& body) {
    const Buffer bytes = sealed(loose, body);
    std::uint64_t size = 0;
    const EntryRead result = read_exact(bytes);
    // What the header alone condemns, a peek condemns as well.
    if (result == EntryRead::corrupt) CHECK_FALSE(peek_entry_bytes(bytes, size));
    return result;
  };
  const Buffer k = {'k'};
  const Buffer kv = {'k', 'v'};
  const Buffer k_expiry = {1, 0, 0, 0, 0, 0, 0, 0, 'k'};
  const Buffer footer(20);
  REQUIRE(read({}, k) == EntryRead::whole);
  REQUIRE(read({.flags = kExpiry}, k_expiry) == EntryRead::whole);
  REQUIRE(read({.flags = kBatchBegin | kBatchCommit}, k) == EntryRead::whole);
  REQUIRE(read({.flags = kTombstone | kBatchBegin | kBatchCommit}, k) == EntryRead::whole);
  REQUIRE(read({.flags = kFooter, .key_size = 0, .value_size = 20}, footer) == EntryRead::whole);
  REQUIRE(read({.flags = kWatermark, .key_size = 0}, {}) == EntryRead::whole);

  CHECK(read({.flags = 64}, k) == EntryRead::corrupt);
  CHECK(read({.flags = 128}, k) == EntryRead::corrupt);
  CHECK(read({.reserved = 1}, k) == EntryRead::corrupt);
  CHECK(read({.key_size = 0}, {}) == EntryRead::corrupt);
  CHECK(read({.key_size = 0, .value_size = 1}, k) == EntryRead::corrupt);
  CHECK(read({.key_size = 1025}, Buffer(1025)) == EntryRead::corrupt);
  CHECK(read({.sequence = 0}, k) == EntryRead::corrupt);
  CHECK(read({.flags = kTombstone, .sequence = 0}, k) == EntryRead::corrupt);
  CHECK(read({.flags = kTombstone, .value_size = 1}, kv) == EntryRead::corrupt);
  CHECK(read({.flags = kTombstone | kExpiry}, k_expiry) == EntryRead::corrupt);
  CHECK(read({.flags = kWatermark}, k) == EntryRead::corrupt);
  CHECK(read({.flags = kFooter, .value_size = 20}, Buffer(21)) == EntryRead::corrupt);
  CHECK(read({.flags = kWatermark, .key_size = 0, .value_size = 4}, Buffer(4)) ==
        EntryRead::corrupt);
  CHECK(read({.flags = kWatermark | kFooter, .key_size = 0, .value_size = 20}, footer) ==
        EntryRead::corrupt);
  for (const std::uint8_t mark : {kWatermark, kFooter}) {
    const std::uint32_t size = mark == kFooter ? 20 : 0;
    const Buffer body(size);
    for (const std::uint8_t flag : {kTombstone, kBatchBegin, kBatchCommit}) {
      CHECK(
          read({.flags = static_cast<std::uint8_t>(mark | flag), .key_size = 0, .value_size = size},
               body) == EntryRead::corrupt);
    }
    CHECK(
        read(
            {.flags = static_cast<std::uint8_t>(mark | kExpiry), .key_size = 0, .value_size = size},
            Buffer(size + 8)) == EntryRead::corrupt);
    CHECK(read({.flags = mark, .key_size = 0, .value_size = size, .sequence = 0}, body) ==
          EntryRead::whole);
    CHECK(read({.flags = mark, .key_size = 0, .value_size = size, .sequence = kSequenceMax + 1},
               body) == EntryRead::corrupt);
  }
  for (const std::uint32_t size : {0u, 4u, 16u, 19u, 21u, 22u, 23u, 25u}) {
    CHECK(read({.flags = kFooter, .key_size = 0, .value_size = size}, Buffer(size)) ==
          EntryRead::corrupt);
  }
}

TEST_CASE("entry: a joint mark gives back its parts, and has 2 to 256 of them") {
  Entry entry;
  std::size_t size = 0;
  REQUIRE(decode_entry(kJointBytes, kSeed, entry, size) == EntryRead::whole);
  CHECK(entry.flags == kJoint);
  CHECK(entry.mark());
  CHECK(entry.sequence == 103);
  REQUIRE(entry.value.size() == 2 * kJointPartBytes);
  CHECK(decode_joint_part(entry.value, 0).shard == 3);
  CHECK(decode_joint_part(entry.value, 0).last_sequence == 104);
  CHECK(decode_joint_part(entry.value, 1).shard == 5);
  CHECK(decode_joint_part(entry.value, 1).last_sequence == 77);

  const auto read = [](Loose loose) {
    loose.key_size = 0;
    return read_exact(sealed(loose, Buffer(loose.value_size)));
  };
  for (const std::uint32_t parts : {2u, 3u, 255u, 256u}) {
    CHECK(read({.flags = kJoint, .value_size = parts * 16}) == EntryRead::whole);
  }
  for (const std::uint32_t bytes : {0u, 16u, 31u, 33u, 40u, 257u * 16}) {
    CHECK(read({.flags = kJoint, .value_size = bytes}) == EntryRead::corrupt);
  }
  CHECK(read({.flags = kJoint, .value_size = 32, .sequence = 0}) == EntryRead::corrupt);
  for (const std::uint8_t flag : {kTombstone, kBatchBegin, kBatchCommit, kWatermark, kFooter}) {
    CHECK(read({.flags = static_cast<std::uint8_t>(kJoint | flag), .value_size = 32}) ==
          EntryRead::corrupt);
  }
  // The reserved bytes of a part.
  for (const std::size_t at : {4u, 7u, 20u, 23u}) {
    Buffer body(32);
    body[at] = 1;
    CHECK(read_exact(sealed({.flags = kJoint, .key_size = 0, .value_size = 32}, body)) ==
          EntryRead::corrupt);
  }
}

TEST_CASE("entry: a footer whose number of sources is not that of its size is corrupt") {
  Buffer value(24);
  for (const std::uint32_t count : {0u, 2u, 0x40000001u, 0xffffffffu}) {
    base::store_little<std::uint32_t>(&value[16], count);
    Footer footer;
    CHECK_FALSE(decode_footer_value(value, footer));
    CHECK(read_exact(sealed({.flags = kFooter, .key_size = 0, .value_size = 24}, value)) ==
          EntryRead::corrupt);
  }
  Footer footer;
  for (std::size_t size = 0; size < 20; ++size) {
    CHECK_FALSE(decode_footer_value(Bytes(value).sub(0, size), footer));
  }
}

TEST_CASE("entry: the largest sizes and sequences are judged without overflow [pitfall-22]") {
  const auto read = [](const Loose& loose) { return read_exact(sealed(loose, Buffer(100))); };
  constexpr auto kMax32 = std::numeric_limits<std::uint32_t>::max();
  constexpr auto kMax64 = std::numeric_limits<std::uint64_t>::max();
  constexpr auto kValueMax = static_cast<std::uint32_t>(kValueBytesMax);
  CHECK(read({.value_size = kValueMax}) == EntryRead::torn);
  CHECK(read({.value_size = kValueMax + 1}) == EntryRead::corrupt);
  CHECK(read({.value_size = kMax32}) == EntryRead::corrupt);
  CHECK(read({.value_size = kMax32 - 20}) == EntryRead::corrupt);
  CHECK(read({.key_size = 1024, .value_size = kValueMax}) == EntryRead::torn);
  CHECK(read({.key_size = 65535}) == EntryRead::corrupt);
  CHECK(read({.value_size = 99, .sequence = kSequenceMax}) == EntryRead::whole);
  CHECK(read({.value_size = 99, .sequence = kSequenceMax + 1}) == EntryRead::corrupt);
  CHECK(read({.value_size = 99, .sequence = kMax64}) == EntryRead::corrupt);
  CHECK(read({.flags = kFooter, .key_size = 0, .value_size = kValueMax}) == EntryRead::torn);
  CHECK(read({.flags = kFooter, .key_size = 0, .value_size = kMax32 - 3}) == EntryRead::corrupt);

  CHECK(entry_bytes(1024, kValueBytesMax, true) == kValueBytesMax + 1024 + 28 + 4);
  CHECK(entry_bytes(1, 0, false) == 24);
  CHECK(entry_bytes(4, 0, false) == 24);
  CHECK(entry_bytes(5, 0, false) == 32);
  CHECK(entry_bytes(16, 60, false) == 96);
  std::uint64_t size = 0;
  REQUIRE(peek_entry_bytes(sealed({.key_size = 1024, .value_size = kValueMax}, {}), size));
  CHECK(size == entry_bytes(1024, kValueBytesMax, false));
}

TEST_CASE("entry: a peek knows the size from the header, and asks for all of that") {
  for (const Buffer* golden : kGolden) {
    std::uint64_t size = 0;
    REQUIRE(peek_entry_bytes(Bytes(*golden).sub(0, kEntryHeaderBytes), size));
    CHECK(size == golden->size());
    for (std::size_t count = 0; count < kEntryHeaderBytes; ++count) {
      CHECK_FALSE(peek_entry_bytes(Bytes(*golden).sub(0, count), size));
    }
  }
}

TEST_CASE("entry: what follows an entry is not part of it") {
  Buffer bytes = kPlain;
  bytes.insert(bytes.end(), kTombstoneOfBatch.begin(), kTombstoneOfBatch.end());
  Entry entry;
  std::size_t size = 0;
  REQUIRE(decode_entry(bytes, kSeed, entry, size) == EntryRead::whole);
  REQUIRE(size == kPlain.size());
  REQUIRE(decode_entry(Bytes(bytes).sub(size), kSeed, entry, size) == EntryRead::whole);
  CHECK(entry.sequence == 101);
}

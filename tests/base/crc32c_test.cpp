// Tests of crc32c.
#include "base/crc32c.hpp"

#include <vector>

#include "os/cpu.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

using armdb::Bytes;
using armdb::base::crc32c;
using armdb::base::crc32c_portable;

namespace {

std::vector<std::uint8_t> random_vector(std::size_t size, std::uint64_t seed) {
  armdb::base::Random random(seed);
  std::vector<std::uint8_t> bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random.next());
  return bytes;
}

// Bit by bit, from the definition.
std::uint32_t crc_by_definition(Bytes bytes) {
  std::uint32_t crc = 0xffffffffu;
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    crc ^= bytes[at];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
  }
  return ~crc;
}

}  // namespace

TEST_CASE("crc32c: the published vectors come out") {
  CHECK(crc32c(0, "123456789") == 0xe3069283u);
  CHECK(crc32c(0, Bytes()) == 0);
  // RFC 3720, B.4.
  CHECK(crc32c(0, std::vector<std::uint8_t>(32, 0)) == 0x8a9136aau);
  CHECK(crc32c(0, std::vector<std::uint8_t>(32, 0xff)) == 0x62a8ab43u);
  std::vector<std::uint8_t> up(32);
  for (std::uint8_t at = 0; at < 32; ++at) up[at] = at;
  CHECK(crc32c(0, up) == 0x46dd794eu);
}

TEST_CASE("crc32c: every kernel agrees with the table") {
  armdb::os::use_cpu_features();  // the ARM kernel, where it has one
  const auto bytes = random_vector(20000, 1);
  for (std::size_t size = 0; size <= 20000 - 16; size += size < 1600 ? 1 : 131) {
    const std::size_t offset = size % 9;
    const Bytes piece = Bytes(bytes).sub(offset, size);
    REQUIRE(crc32c(0x12345678u, piece) == crc32c_portable(0x12345678u, piece));
  }
}

TEST_CASE("crc32c: the table agrees with the definition") {
  const auto bytes = random_vector(100, 2);
  for (std::size_t size = 0; size <= 100; ++size) {
    const Bytes piece = Bytes(bytes).sub(0, size);
    REQUIRE(crc32c_portable(0, piece) == crc_by_definition(piece));
  }
}

TEST_CASE("crc32c: a sum continues over any cut") {
  const auto bytes = random_vector(1000, 3);
  const std::uint32_t whole = crc32c(0, bytes);
  for (std::size_t cut = 0; cut <= 1000; ++cut) {
    const Bytes all(bytes);
    REQUIRE(crc32c(crc32c(0, all.sub(0, cut)), all.sub(cut)) == whole);
    REQUIRE(crc32c_portable(crc32c(0, all.sub(0, cut)), all.sub(cut)) == whole);
  }
}

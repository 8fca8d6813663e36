// Tests of ByteReader.
#include "base/byte_reader.hpp"

#include <vector>

#include "support/catch.hpp"

using armdb::Bytes;
using armdb::base::ByteReader;

TEST_CASE("byte_reader: fields come in order, little-endian, from any address", "[pitfall-38]") {
  const std::uint8_t bytes[] = {0, 1, 0x02, 0x01, 4, 3, 2, 1, 8, 7, 6, 5, 4, 3, 2, 1, 'a', 'b', 9};
  ByteReader reader(Bytes(bytes).sub(1));
  CHECK(reader.little<std::uint8_t>() == 1);
  CHECK(reader.little<std::uint16_t>() == 0x0102);
  CHECK(reader.little<std::uint32_t>() == 0x01020304);
  CHECK(reader.little<std::uint64_t>() == 0x0102030405060708u);
  CHECK(reader.take(2) == Bytes("ab"));
  CHECK(reader.remaining() == 1);
  CHECK(reader.rest()[0] == 9);
  reader.skip(1);
  CHECK(reader.remaining() == 0);
  CHECK_FALSE(reader.failed());
}

TEST_CASE("byte_reader: after the first field that does not fit all is zero and empty") {
  const std::uint8_t bytes[] = {1, 2, 3, 4, 5};
  ByteReader reader{Bytes(bytes)};
  CHECK(reader.little<std::uint16_t>() == 0x0201);
  CHECK(reader.little<std::uint32_t>() == 0);
  CHECK(reader.failed());
  CHECK(reader.little<std::uint8_t>() == 0);
  CHECK(reader.take(1).empty());
  CHECK(reader.take(0).empty());
  CHECK(reader.rest().empty());
  CHECK(reader.remaining() == 0);
  CHECK(reader.failed());
}

TEST_CASE("byte_reader: lengths near the largest number do not wrap") {
  const std::uint8_t bytes[] = {1, 2, 3};
  for (const std::uint64_t count : {std::uint64_t{4}, std::uint64_t{1} << 32,
                                    (std::uint64_t{1} << 32) + 1, ~std::uint64_t{0}}) {
    ByteReader reader{Bytes(bytes)};
    CHECK(reader.take(count).empty());
    CHECK(reader.failed());
    ByteReader skipper{Bytes(bytes)};
    skipper.skip(count);
    CHECK(skipper.failed());
  }
}

TEST_CASE("byte_reader: an empty input holds an empty span and no field") {
  ByteReader reader{Bytes()};
  CHECK(reader.take(0).empty());
  CHECK_FALSE(reader.failed());
  CHECK(reader.little<std::uint8_t>() == 0);
  CHECK(reader.failed());
}

// Tests of ByteWriter.
#include "base/byte_writer.hpp"

#include <cstring>
#include <vector>

#include "base/byte_reader.hpp"
#include "support/catch.hpp"

using armdb::Bytes;
using armdb::base::ByteReader;
using armdb::base::ByteWriter;

TEST_CASE("byte_writer: what it writes is little-endian and a reader gives it back",
          "[pitfall-38]") {
  std::vector<std::uint8_t> buffer(64, 0xee);
  ByteWriter writer(buffer);
  writer.little<std::uint8_t>(1);
  writer.little<std::uint16_t>(0x0203);
  writer.little<std::uint32_t>(0x04050607);
  writer.little<std::uint64_t>(0x08090a0b0c0d0e0fu);
  writer.put("key");
  writer.put(Bytes());
  writer.zeros(2);
  writer.zeros(0);
  CHECK_FALSE(writer.overflow());
  const std::uint8_t expected[] = {1,    0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0f, 0x0e, 0x0d,
                                   0x0c, 0x0b, 0x0a, 0x09, 0x08, 'k',  'e',  'y',  0,    0};
  CHECK(writer.written() == Bytes(expected));
  CHECK(writer.size() == sizeof expected);
  CHECK(buffer[sizeof expected] == 0xee);

  ByteReader reader(writer.written());
  CHECK(reader.little<std::uint8_t>() == 1);
  CHECK(reader.little<std::uint16_t>() == 0x0203);
  CHECK(reader.little<std::uint32_t>() == 0x04050607);
  CHECK(reader.little<std::uint64_t>() == 0x08090a0b0c0d0e0fu);
  CHECK(reader.take(3) == Bytes("key"));
}

TEST_CASE("byte_writer: what does not fit is not written, nor anything after it") {
  std::vector<std::uint8_t> buffer(4, 0xee);
  ByteWriter writer(buffer);
  writer.little<std::uint16_t>(0x0101);
  writer.little<std::uint32_t>(0x02020202);
  CHECK(writer.overflow());
  writer.little<std::uint8_t>(3);
  writer.put("x");
  writer.zeros(1);
  CHECK(writer.overflow());
  CHECK(writer.size() == 2);
  CHECK(buffer[2] == 0xee);
  CHECK(buffer[3] == 0xee);
}

// Tests of Location.
#include "base/location.hpp"

#include "support/catch.hpp"

using armdb::base::Location;

TEST_CASE("location: file, offset and a size not below the true one come back") {
  for (const std::uint32_t file : {1u, 2u, 65535u, Location::kFileIdMax}) {
    for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{8}, std::uint64_t{4096},
                                       std::uint64_t{1} << 32, Location::kOffsetMax}) {
      for (std::uint64_t bytes = 1; bytes < std::uint64_t{1} << 33; bytes = bytes * 5 / 3 + 1) {
        const Location at(file, offset, bytes);
        REQUIRE(at.file_id() == file);
        REQUIRE(at.offset() == offset);
        REQUIRE(at.bytes_max() >= bytes);
        REQUIRE(at.bytes_max() <= (bytes + 7) / 8 * 8 + bytes / 8 + 8);
        REQUIRE_FALSE(at.nowhere());
        REQUIRE(Location(at.packed()) == at);
      }
    }
  }
}

TEST_CASE("location: small sizes are exact up to a multiple of 8") {
  for (std::uint64_t bytes = 1; bytes <= 120; ++bytes) {
    CHECK(Location(1, 0, bytes).bytes_max() == (bytes + 7) / 8 * 8);
  }
}

TEST_CASE("location: nothing but the default is nowhere") {
  CHECK(Location().nowhere());
  CHECK(Location(0).nowhere());
  CHECK_FALSE(Location(1, 0, 0).nowhere());
  CHECK(Location(1, 8, 16) != Location(1, 16, 16));
  CHECK(Location(1, 8, 16) != Location(2, 8, 16));
}

// The block cache: gives the file's bytes, from memory where it can.
#include "store/block_cache.hpp"

#include <cerrno>
#include <numeric>

#include "support/model.hpp"
#include "support/one_shard.hpp"

using namespace armdb;
using store::BlockCache;
using test::FaultFileSystem;

namespace {

struct Fixture {
  explicit Fixture(std::size_t size) {
    test::Dice dice(size);
    bytes = dice.text(size);
    file = *files.open("/file", OpenMode::create_new);
    REQUIRE(file->write_at(0, Bytes(bytes)).ok());
  }
  std::string read(BlockCache& cache, std::uint64_t offset, std::size_t size,
                   std::uint32_t id = 1) {
    std::string out(size, '\0');
    const Status status =
        cache.read(id, *file, offset, bytes.size(),
                   MutableBytes(reinterpret_cast<std::uint8_t*>(out.data()), size));
    INFO(status.message());
    REQUIRE(status.ok());
    return out;
  }
  FaultFileSystem files;
  std::string bytes;
  Owned<File> file;
};

}  // namespace

TEST_CASE("block_cache: what it gives is what the file has, whatever its size") {
  Fixture fixture(200000);
  for (const std::uint64_t memory : {0u, 1000u, 16384u, 65536u, 1048576u}) {
    BlockCache cache(memory);
    CHECK(cache.memory_bytes() <= memory + memory / 64);
    test::Dice dice(memory);
    for (int round = 0; round < 3000; ++round) {
      const std::size_t size = dice.below(dice.one_in(10) ? 60000 : 600);
      const std::uint64_t offset = dice.below(fixture.bytes.size() - size);
      REQUIRE(fixture.read(cache, offset, size) == fixture.bytes.substr(offset, size));
    }
    CHECK((cache.hits() > 0) == (memory >= 16384));
  }
}

TEST_CASE("block_cache: a second read needs no file") {
  Fixture fixture(50000);
  BlockCache cache(65536);
  static_cast<void>(fixture.read(cache, 5000, 100));
  CHECK(cache.misses() == 1);
  const std::size_t reads = fixture.files.calls(test::Call::read);
  CHECK(fixture.read(cache, 4096, 4096) == fixture.bytes.substr(4096, 4096));
  CHECK(fixture.files.calls(test::Call::read) == reads);
  CHECK(cache.hits() == 1);
  // Files have different numbers, and never share a block.
  Fixture other(60000);
  CHECK(other.read(cache, 4096, 4096, 2) == other.bytes.substr(4096, 4096));
}

TEST_CASE("block_cache: a block that is not final yet is not kept") {
  Fixture fixture(10000);
  BlockCache cache(65536);
  CHECK(fixture.read(cache, 9000, 1000) == fixture.bytes.substr(9000));
  CHECK(fixture.read(cache, 9000, 1000) == fixture.bytes.substr(9000));
  CHECK(cache.hits() == 0);
}

TEST_CASE("block_cache: errors are told, and not remembered") {
  Fixture fixture(50000);
  BlockCache cache(65536);
  std::uint8_t out[100];
  fixture.files.fail(test::Call::read, 1, EIO);
  CHECK(cache.read(1, *fixture.file, 0, 50000, out).is(Errc::io_error));
  CHECK(cache.read(1, *fixture.file, 0, 50000, out).ok());
  // Shorter than it was: no hit on what is no longer there.
  CHECK(cache.read(1, *fixture.file, 49950, 60000, out).is(Errc::corrupt));
}

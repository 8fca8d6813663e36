// Writes of many keys that cannot be finished.
#include <utility>
#include <vector>

#include "api/collections.hpp"
#include "support/catch.hpp"
#include "support/fault_file_system.hpp"

using namespace armdb;
using test::FaultFileSystem;
using Number = std::uint64_t;

TEST_CASE("bulk: a load on a full disk what was written before stays, and the error says why") {
  FaultFileSystem files;
  Config config;
  config.file_system = &files;
  config.shard_count = 1;
  config.write_buffer_size = 16u << 10;
  config.max_file_size = 256u << 10;
  auto tree = *ZeroTree<Number, Number>::open("c", config);
  files.set_capacity(1u << 20);
  std::vector<std::pair<Number, Number>> entries;
  for (Number key = 0; key < 200000; ++key) entries.emplace_back(key, key * 3);
  const Status status = tree.load(entries);
  INFO(status.message());
  CHECK(status.is(Errc::no_space));
  const std::uint64_t count = tree.size();
  CHECK(count > 1000);
  std::size_t wrong = 0;
  for (Number key = 0; key < count; ++key) wrong += tree.get(key) == key * 3 ? 0 : 1;
  CHECK(wrong == 0);
  CHECK_FALSE(tree.contains(count));
  CHECK(tree.load(entries).is(Errc::no_space));
  CHECK(tree.size() == count);
  // The same after a restart: nothing was promised that is not there.
  REQUIRE(tree.close().ok());
  tree = *ZeroTree<Number, Number>::open("c", config);
  CHECK(tree.size() == count);
}

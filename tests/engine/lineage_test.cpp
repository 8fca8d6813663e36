// The collection's part in replication: what it takes for true when it cannot be written down.
#include <cerrno>

#include "engine/engine.hpp"
#include "support/catch.hpp"
#include "support/fault_file_system.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

using namespace armdb;
using test::FaultFileSystem;

namespace {

TEST_CASE("lineage: one that could not be made a follower still takes writes", "[replication]") {
  FaultFileSystem files;
  FixedConfig config;
  config.file_system = &files;
  config.shard_count = 1;
  Shape shape;
  shape.key_size = 1;
  shape.payload = Payload::location;
  auto engine = engine::Engine::open("/collection", &shape, config, {});
  REQUIRE(engine.ok());
  const std::uint8_t key[1] = {1};
  const auto put = [&] {
    engine::WriteRequest request;
    request.key = Bytes(key);
    request.value = Bytes(key);
    return (*engine)->write(request, false);
  };
  store::ReplicaState state = (*engine)->replica_state();
  state.follower = true;
  files.fail(test::Call::open, 1, ENOSPC);
  CHECK((*engine)->save_replica_state(state).is(Errc::no_space));
  CHECK(put().ok());
  // What is renamed and not synced may be there after a crash, or not: no writes then.
  files.clear_faults();
  files.fail(test::Call::sync_directory, 1, EIO);
  CHECK((*engine)->save_replica_state(state).is(Errc::failed));
  CHECK(put().is(Errc::read_only));
  files.clear_faults();
  state.follower = false;
  CHECK((*engine)->save_replica_state(state).ok());
  CHECK(put().ok());
}

}  // namespace

#endif

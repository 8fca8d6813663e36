// CursorFile: what a power cut leaves of it.
#include "store/cursor_file.hpp"

#include <cerrno>

#include "support/catch.hpp"
#include "support/fault_file_system.hpp"
#include "support/one_shard.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

using namespace armdb;
using store::CursorFile;
using test::FaultFileSystem;

namespace {

constexpr std::size_t kShards = 3;
const store::StoreId kStore{7};

store::Cursors cursors_at(std::uint64_t position) {
  store::Cursors cursors;
  cursors.store_id = kStore;
  cursors.shards.assign(kShards, {position, position + 5, 0, 0});
  return cursors;
}

void make_directory(FaultFileSystem& files) {
  REQUIRE(files.create_directory("/c").ok());
  REQUIRE(files.sync_directory("/").ok());
}

void move(store::Cursors& cursors, std::uint64_t position) {
  for (store::Cursor& cursor : cursors.shards) cursor = {position, position + 5, 0, 0};
}

// The position in the file; 0 when it says nothing.
std::uint64_t position_in(FaultFileSystem& files) {
  CursorFile file(files, "/c");
  store::Cursors cursors;
  if (!file.read(kStore, kShards, cursors).ok()) return 0;
  for (const store::Cursor& cursor : cursors.shards) {
    CHECK(cursor.position == cursors.shards[0].position);
    CHECK(cursor.reached == cursor.position + 5);
  }
  return cursors.shards[0].position;
}

}  // namespace

TEST_CASE("cursor_file: what was synced stays, what was not may") {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    FaultFileSystem files;
    make_directory(files);
    CursorFile file(files, "/c");
    store::Cursors cursors = cursors_at(1);
    REQUIRE(file.write(cursors, false).ok());  // the first one makes the file, durably
    std::uint64_t synced = 1;
    for (std::uint64_t position = 2; position < 3 + seed % 7; ++position) {
      const bool sync = (seed / 7 >> position & 1) != 0;
      move(cursors, position);
      REQUIRE(file.write(cursors, sync).ok());
      if (sync) synced = position;
      CHECK(position_in(files) == position);
    }
    const std::uint64_t last = cursors.shards[0].position;
    files.power_cut_random(seed);
    const std::uint64_t found = position_in(files);
    INFO("synced " << synced << ", written " << last << ", found " << found);
    CHECK(found >= synced);
    CHECK(found <= last);
  }
}

TEST_CASE("cursor_file: after a call that failed the file is made anew") {
  bool met = true;
  for (std::size_t nth = 1; met; ++nth) {
    FaultFileSystem files;
    make_directory(files);
    CursorFile file(files, "/c");
    store::Cursors cursors = cursors_at(1);
    REQUIRE(file.write(cursors, true).ok());
    files.fail(test::Call::any, nth, EIO);
    move(cursors, 2);
    const Status first = file.write(cursors, true);
    move(cursors, 3);
    const Status second = file.write(cursors, true);
    met = files.fault_met();
    files.clear_faults();
    move(cursors, 4);
    REQUIRE(file.write(cursors, true).ok());
    CHECK((first.ok() && second.ok()) == !met);
    files.power_cut_lose_all();
    CHECK(position_in(files) == 4);
  }
}

TEST_CASE("cursor_file: one of another collection, or of other shards, is refused") {
  FaultFileSystem files;
  make_directory(files);
  CursorFile file(files, "/c");
  store::Cursors cursors = cursors_at(1);
  CHECK(file.read(kStore, kShards, cursors).is(Errc::not_found));
  REQUIRE(file.write(cursors, true).ok());
  CHECK(file.read(store::StoreId{8}, kShards, cursors).is(Errc::corrupt));
  CHECK(file.read(kStore, kShards + 1, cursors).is(Errc::corrupt));
  CHECK(file.read(kStore, kShards, cursors).ok());
}

#endif  // !ARMDB_OMIT_REPLICATION

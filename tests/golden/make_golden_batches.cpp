// Writes the golden stores of v1_batches/. Not built by make: they were made once and are never
// made again; see make_golden.cpp.
//
//   g++ -std=c++20 -Isrc -I. -Itests tests/golden/make_golden_batches.cpp src/armdb.cpp -pthread
//   ./a.out tests/golden/v1_batches
//
//   joint_map       three shards, copied while open: batches over several of them below the
//                   durable sequence, in the segments and in tail.buf; the clock floor is in 2095
//   joint_tree      the same with values on disk and hints; the parts of the last batch in two of
//                   the three shards were never written
//   closed_map      closed: the marks still stand in sealed segments, db.state has no joint flag
//   migrating_tree  one shard, copied while a migration had come to its first entries
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "format/entry.hpp"
#include "format/file_name.hpp"
#include "format/tail.hpp"
#include "golden/golden_batches.hpp"

namespace {

using namespace armdb;
using engine::Engine;
namespace fs = std::filesystem;
using Buffer = std::vector<std::uint8_t>;

void require(const Status& status, const char* what) {
  if (status.ok()) return;
  std::fprintf(stderr, "error: %s: %s\n", what, status.message().c_str());
  std::exit(1);
}

void require(bool holds, const char* what) {
  require(holds ? Status() : Status(Errc::failed), what);
}

Buffer read_all(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  require(file.good(), path.c_str());
  return Buffer((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
}

void write_all(const fs::path& path, const Buffer& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  require(file.good(), path.c_str());
}

// The engine itself: the faces give an expiry as a time from now on.
std::unique_ptr<Engine> open(const fs::path& path, const test::GoldenBatchStore& store) {
  Config config;
  config.shard_count = store.shards;
  config.shard_prefix_bits = test::kGoldenPrefixBits;
  config.write_buffer_size = 16 << 10;
  config.max_file_size = 64 << 10;
  auto opened = Engine::open(path.string(), &store.shape, config, {});
  require(opened.status(), "open");
  return *std::move(opened);
}

void write(Engine& engine, const test::GoldenBatchStore& store, const test::GoldenStepOf& step) {
  std::vector<std::string> keys;
  std::vector<std::string> values;
  for (const test::GoldenWrite& write : step.writes) {
    keys.push_back(test::golden_key(write.number));
    values.push_back(write.version == 0
                         ? std::string()
                         : test::golden_value(store.shape, write.number, write.version));
  }
  std::vector<engine::WriteRequest> requests(keys.size());
  for (std::size_t at = 0; at < requests.size(); ++at) {
    requests[at].key = Bytes(keys[at]);
    requests[at].value = Bytes(values[at]);
    requests[at].erase = step.writes[at].version == 0;
    requests[at].expiry_ms = step.writes[at].expiry_ms;
  }
  bool written = false;
  if (step.step != test::GoldenStep::puts) {
    return require(engine.write_batch(requests, false, written), "batch");
  }
  for (engine::WriteRequest& request : requests) require(engine.write(request, false), "put");
}

void take(Engine& engine, const test::GoldenBatchStore& store, const test::GoldenStepOf& step) {
  switch (step.step) {
    case test::GoldenStep::flush:
      return require(engine.flush(), "flush");
    case test::GoldenStep::sync:
      return require(engine.sync(), "sync");
    case test::GoldenStep::checkpoint:
      return require(engine.checkpoint(), "checkpoint");
    default:
      return write(engine, store, step);
  }
}

void migrate(Engine& engine, std::uint32_t version, std::size_t entries) {
  std::string fresh;
  std::size_t seen = 0;
  const Status status =
      engine.migrate(version, {[&](const store::RecoveredEntry& entry,
                                   engine::WriteRequest& request, bool& change) -> Status {
                                 if (seen++ == entries) return Errc::aborted;
                                 fresh = std::string(entry.key.text()) + "v" +
                                         test::golden_key(test::kGoldenMigrated).substr(1);
                                 request.value = Bytes(fresh);
                                 change = true;
                                 return {};
                               },
                               [](const MigrationProgress&) { return true; }});
  require(status.ok() || status.is(Errc::aborted), "migrate");
}

// As if the process had died before the last joint batch reached this shard: from its mark on
// there is nothing in the tail buffer.
void lose_last_part(const fs::path& shard) {
  fs::path last;
  for (const auto& item : fs::directory_iterator(shard)) {
    if (item.path().extension() == ".data" && item.path() > last) last = item.path();
  }
  format::SegmentHeader header;
  require(format::decode_segment_header(read_all(last), header), "the last segment's header");
  Buffer tail = read_all(shard / "tail.buf");
  std::size_t mark = 0;
  std::size_t at = format::kTailHeaderBytes;
  format::Entry entry;
  for (std::size_t size = 0; format::decode_entry(Bytes(tail).sub(at), format::entry_seed(header),
                                                  entry, size) == format::EntryRead::whole;
       at += size) {
    if (entry.flags == format::kJoint) mark = at;
  }
  require(mark != 0, "a mark in tail.buf");
  std::fill(tail.begin() + static_cast<std::ptrdiff_t>(mark), tail.end(), std::uint8_t{0});
  write_all(shard / "tail.buf", tail);
}

void set_floor(const fs::path& path, const test::GoldenBatchStore& store) {
  FileSystem& files = posix_file_system();
  format::Meta meta;
  require(store::read_meta(files, path.string(), meta), "db.meta");
  format::State state;
  require(store::read_state(files, path.string(), meta.store_id, state), "db.state");
  state.clock_floor_ms = store.clock_floor_ms;
  require(store::replace_state(files, path.string(), state), "db.state");
}

void make(const fs::path& folder, const fs::path& work, const test::GoldenBatchStore& store) {
  const fs::path path = work / store.name;
  std::unique_ptr<Engine> engine = open(path, store);
  if (store.data_version != 0) migrate(*engine, store.data_version, 0);
  for (const test::GoldenStepOf& step : test::golden_batch_steps(store)) take(*engine, store, step);
  const std::string name = store.name;
  if (name == "migrating_tree") migrate(*engine, 4, test::kGoldenMigratedFirst);
  if (!store.killed) require(engine->close(), "close");
  const fs::path to = folder / name;
  fs::copy(path, to, fs::copy_options::recursive);
  for (const auto& item : fs::recursive_directory_iterator(to)) {
    const std::string file = item.path().filename().string();
    if (file == "LOCK" || file == "reserve") fs::remove(item.path());
  }
  set_floor(to, store);
  if (name == "joint_tree") {
    lose_last_part(to / "shard_001");
    lose_last_part(to / "shard_002");
  }
}

}  // namespace

int main(int argc, char** argv) {
  require(argc == 2, "usage: make_golden_batches FOLDER, which must not exist");
  const fs::path folder = argv[1];
  require(!fs::exists(folder), "the folder exists: golden files are never made anew");
  fs::create_directories(folder);
  const fs::path work = fs::temp_directory_path() / ("make_golden." + std::to_string(std::rand()));
  fs::create_directories(work);
  for (const test::GoldenBatchStore& store : test::golden_batch_stores()) {
    make(folder, work, store);
  }
  fs::remove_all(work);
}

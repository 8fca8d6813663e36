// Writes the golden stores of v1_sealed/. Not built by make: they were made once and are never
// made again; see make_golden.cpp.
//
//   g++ -std=c++20 -DARMDB_WITH_OPENSSL=1 -Isrc -I. -Itests tests/golden/make_golden_sealed.cpp
//     tests/support/fault_*.cpp src/armdb.cpp -lssl -lcrypto -pthread
//   ./a.out tests/golden/v1_sealed
//
//   key_tree        two shards, AES-256-GCM, a key: killed with entries in tail.buf, segments and
//                   hints from before; a value over several frames
//   failed_map      closed; a write found the disk full, and its bytes were written again
//   passphrase_map  ChaCha20-Poly1305, a passphrase: killed, after a compaction
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "api/collection.hpp"
#include "golden/golden_sealed.hpp"
#include "support/fault_file_system.hpp"

namespace {

using namespace armdb;
using test::FaultFileSystem;

void require(const Status& status, const char* what) {
  if (status.ok()) return;
  std::fprintf(stderr, "error: %s: %s\n", what, status.message().c_str());
  std::exit(1);
}

Collection open(FaultFileSystem& files, const test::GoldenSealedStore& store) {
  Config config;
  config.file_system = &files;
  config.shard_count = store.shards;
  config.write_buffer_size = 16 << 10;
  config.max_file_size = 64 << 10;
  config.compaction_threshold = 0.01;
  config.encryption_key = test::golden_sealed_key(store);
  config.cipher = store.cipher;
  Result<Collection> opened = Collection::open("/c", store.shape, config);
  require(opened.status(), "open");
  return *std::move(opened);
}

void put(Collection& collection, const test::GoldenSealedStore& store, int number, int version) {
  require(
      collection.put(test::golden_key(number), test::golden_value(store.shape, number, version)),
      "put");
}

FaultFileSystem::Snapshot make(FaultFileSystem& files, const test::GoldenSealedStore& store) {
  {
    Collection collection = open(files, store);
    for (int number = 0; number < 60; ++number) {
      put(collection, store, number, 1);
      if (number % 20 == 7) require(collection.flush_buffers(), "flush");
    }
    require(collection.close(), "close");
  }
  Collection collection = open(files, store);
  for (int number = 0; number < 60; number += 3) put(collection, store, number, 2);
  for (int number = 0; number < 60; number += 5) {
    require(collection.erase(test::golden_key(number)), "erase");
  }
  if (std::string_view(store.name) == "failed_map") {
    files.fail(test::Call::write, 1, ENOSPC, false, 700);
    if (collection.flush_buffers().ok()) require(Errc::failed, "the disk was not full");
    files.clear_faults();
  }
  require(collection.sync(), "sync");
  if (std::string_view(store.name) == "passphrase_map") require(collection.compact(), "compact");
  for (int number = 60; number < 80; ++number) put(collection, store, number, 3);
  if (!store.killed) require(collection.close(), "close");
  files.kill_process();
  return files.snapshot();
}

void copy_out(FaultFileSystem& files, const std::string& from, const std::filesystem::path& to) {
  std::filesystem::create_directories(to);
  std::vector<std::pair<std::string, FileKind>> names;
  require(files.list(from,
                     [&](std::string_view name, FileKind kind) { names.emplace_back(name, kind); }),
          "list");
  for (const auto& [name, kind] : names) {
    const std::string path = from + "/" + name;
    if (kind == FileKind::directory) {
      copy_out(files, path, to / name);
      continue;
    }
    // Neither tells anything.
    if (name == "LOCK" || name == "reserve") continue;
    auto file = files.open(path, OpenMode::read);
    require(file.status(), "open a file");
    std::string bytes(static_cast<std::size_t>((*file)->size().value()), '\0');
    require(
        (*file)
            ->read_at(0, MutableBytes(reinterpret_cast<std::uint8_t*>(bytes.data()), bytes.size()))
            .status(),
        "read a file");
    std::ofstream(to / name, std::ios::binary) << bytes;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  for (const test::GoldenSealedStore& store : test::golden_sealed_stores()) {
    FaultFileSystem files;
    files.restore(make(files, store));
    copy_out(files, "/c", std::filesystem::path(argv[1]) / store.name);
  }
  return 0;
}

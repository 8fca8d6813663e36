// Writes the golden stores. Not built by make: the stores in v1/ were made once, with the first
// version, and are never made again. A later format adds v2/ and keeps v1/.
//
//   g++ -std=c++20 -Isrc -I. -Itests tests/golden/make_golden.cpp src/armdb.cpp -pthread \
//     -lssl -lcrypto
//   ./a.out tests/golden/v1
//
//   const_tree  two shards; closed once, then written on and copied while open: sealed segments
//               with tombstones, an active one with a watermark, entries in tail.buf
//   const_map   closed, then a segment beside it with a batch, and one that never committed
//   var_tree    a compacted segment, hints, tombstones; copied while open, and an entry of
//               tail.buf half written to the segment: a torn tail that the buffer completes
//   var_map     two shards; closed: hints for everything, and a value longer than a buffer
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "api/collection.hpp"
#include "format/entry.hpp"
#include "format/file_header.hpp"
#include "format/file_name.hpp"
#include "format/manifest.hpp"
#include "format/tail.hpp"
#include "golden/golden_content.hpp"

namespace {

using namespace armdb;
namespace fs = std::filesystem;
using Buffer = std::vector<std::uint8_t>;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "error: %s\n", what);
  std::exit(1);
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

Collection open(const fs::path& path, const test::GoldenStore& store) {
  Config config;
  config.shard_count = store.shards;
  config.write_buffer_size = 16 << 10;
  config.max_file_size = 64 << 10;
  config.compaction_threshold = 0.01;
  Result<Collection> opened = Collection::open(path.string(), store.shape, config);
  require(opened.ok(), opened.message().c_str());
  return *std::move(opened);
}

void put(Collection& collection, const test::GoldenStore& store, int number, int version) {
  const std::string value = test::golden_value(store.shape, number, version);
  require(collection.put(test::golden_key(number), value).ok(), "put");
}

void put_synced_part(Collection& collection, const test::GoldenStore& store) {
  for (int number = 0; number < 40; ++number) put(collection, store, number, 1);
  require(collection.checkpoint().ok(), "checkpoint");
  for (int number = 0; number < 40; number += 3) put(collection, store, number, 2);
  for (int number = 0; number < 40; number += 5) {
    require(collection.erase(test::golden_key(number)).ok(), "erase");
  }
  require(collection.sync().ok(), "sync");
}

// A new log segment as a writer would begin it behind what the MANIFEST lists.
format::SegmentHeader next_segment(const fs::path& shard) {
  format::Manifest manifest;
  require(format::decode_manifest(read_all(shard / "MANIFEST"), manifest).ok(), "MANIFEST");
  const format::ManifestSegment& last = manifest.segments.back();
  format::SegmentHeader header;
  header.file.type = format::FileType::segment;
  header.file.store_id = manifest.store_id;
  header.file.file_id = manifest.next_file_id;
  header.predecessor_id = last.file_id;
  header.predecessor_length = last.length;
  header.predecessor_sequence = last.last_sequence;
  header.first_sequence = manifest.last_sequence + 1;
  header.watermark = manifest.durable_sequence;
  header.salt = 0x676f6c64656e2031;
  return header;
}

// Two batches: of three entries, and of two that lack their commit.
void add_batches(const fs::path& shard, const test::GoldenStore& store) {
  const format::SegmentHeader header = next_segment(shard);
  Buffer bytes(format::kSegmentHeaderBytes);
  format::encode_segment_header(header, bytes);
  std::uint64_t sequence = header.first_sequence;
  const auto add = [&](int number, std::uint8_t flags) {
    const std::string key = test::golden_key(number);
    const std::string value = test::golden_value(store.shape, number, 4);
    format::Entry entry;
    entry.flags = flags;
    entry.sequence = sequence++;
    entry.key = key;
    entry.value = value;
    const std::size_t at = bytes.size();
    bytes.resize(at + format::entry_bytes(key.size(), value.size(), false));
    format::encode_entry(entry, format::entry_seed(header), bytes.data() + at);
  };
  add(50, format::kBatchBegin);
  add(51, 0);
  add(52, format::kBatchCommit);
  add(53, format::kBatchBegin);
  add(54, 0);
  write_all(shard / format::file_name(format::FileRole::segment, header.file.file_id), bytes);
}

// Puts the first half of the tail buffer's first entry behind the last segment's entries.
void tear(const fs::path& shard) {
  fs::path last;
  for (const auto& item : fs::directory_iterator(shard)) {
    if (item.path().extension() == ".data" && item.path() > last) last = item.path();
  }
  Buffer bytes = read_all(last);
  format::SegmentHeader header;
  require(format::decode_segment_header(bytes, header).ok(), "the last segment's header");
  std::size_t end = format::kSegmentHeaderBytes;
  format::Entry entry;
  std::size_t size = 0;
  while (format::decode_entry(Bytes(bytes).sub(end), format::entry_seed(header), entry, size) ==
         format::EntryRead::whole) {
    end += size;
  }
  const Buffer tail = read_all(shard / "tail.buf");
  require(tail.size() > format::kTailHeaderBytes + 24 && bytes.size() > end + 24, "sizes");
  std::copy_n(tail.begin() + format::kTailHeaderBytes, 24,
              bytes.begin() + static_cast<std::ptrdiff_t>(end));
  write_all(last, bytes);
}

void make(const fs::path& folder, const fs::path& work, const test::GoldenStore& store) {
  const std::string name = store.name;
  const fs::path path = work / name;
  Collection collection = open(path, store);
  put_synced_part(collection, store);
  if (name == "var_tree") require(collection.compact().ok(), "compact");
  if (name == "const_tree") {
    require(collection.close().ok(), "close");
    collection = open(path, store);
  }
  for (int number = 40; number < 48; ++number) {
    put(collection, store, number, 3);
    if (number == 41) require(collection.sync().ok(), "sync");
    if (number == 43) require(collection.flush_buffers().ok(), "flush");
  }
  const bool copied_open = name == "const_tree" || name == "var_tree";
  if (!copied_open) require(collection.close().ok(), "close");
  const fs::path to = folder / name;
  fs::copy(path, to, fs::copy_options::recursive);
  for (const auto& item : fs::recursive_directory_iterator(to)) {
    const std::string file = item.path().filename().string();
    if (file == "LOCK" || file == "reserve") fs::remove(item.path());
  }
  if (name == "const_map") add_batches(to / "shard_000", store);
  if (name == "var_tree") tear(to / "shard_000");
}

}  // namespace

int main(int argc, char** argv) {
  require(argc == 2, "usage: make_golden FOLDER, which must not exist");
  const fs::path folder = argv[1];
  require(!fs::exists(folder), "the folder exists: golden files are never made anew");
  fs::create_directories(folder);
  const fs::path work = fs::temp_directory_path() / ("make_golden." + std::to_string(std::rand()));
  fs::create_directories(work);
  for (const test::GoldenStore& store : test::golden_stores()) make(folder, work, store);
  fs::remove_all(work);
}

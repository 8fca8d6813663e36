// The handle: opening, closing, moving, what is refused and how it says so, read_only, stats.
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace armdb;
using test::TempDir;
using Tree = ConstTree<std::uint32_t, ByteArray<8>>;

namespace {

constexpr ByteArray<8> kValue{1, 2, 3, 4, 5, 6, 7, 8};

Config small() {
  Config config;
  config.shard_count = 2;
  config.write_buffer_size = 16u << 10;
  config.max_file_size = 64u << 10;
  return config;
}

// Names, sizes, times of change and bytes of everything below a directory.
std::map<std::string, std::string> all_files(const std::string& root) {
  std::map<std::string, std::string> all;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    std::string text;
    if (entry.is_regular_file()) {
      std::ifstream in(entry.path(), std::ios::binary);
      text.assign(std::istreambuf_iterator<char>(in), {});
    }
    struct stat info {};
    REQUIRE(::stat(entry.path().c_str(), &info) == 0);
    text += " " + std::to_string(info.st_mtim.tv_sec) + "." + std::to_string(info.st_mtim.tv_nsec);
    all[entry.path().string()] = text;
  }
  return all;
}

bool says(const std::string& message, const std::string& part) {
  return message.find(part) != std::string::npos;
}

// Runs fn in a child process; its exit code.
template <class F> int in_child(F&& fn) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(fn());
  int state = 0;
  REQUIRE(::waitpid(child, &state, 0) == child);
  return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

}  // namespace

TEST_CASE("collection: create, write, close, open again") {
  TempDir directory;
  const std::string path = directory / "c";
  {
    auto tree = Tree::open(path, small());
    INFO(tree.message());
    REQUIRE(tree.ok());
    CHECK(tree->is_open());
    CHECK(tree->empty());
    REQUIRE(tree->put(7, kValue).ok());
    CHECK(tree->size() == 1);
    REQUIRE(tree->close().ok());
    CHECK_FALSE(tree->is_open());
  }
  auto tree = Tree::open(path);  // shard_count 0: what the store has
  REQUIRE(tree.ok());
  CHECK(tree->stats().shards == 2);
  CHECK(tree->get(7) == kValue);
}

TEST_CASE("collection: every call after close() is closed, a second close() too") {
  TempDir directory;
  auto opened = VarTree<std::uint32_t>::open(directory / "c", small());
  REQUIRE(opened.ok());
  VarTree<std::uint32_t> tree = *std::move(opened);
  REQUIRE(tree.put(1, "one").ok());
  REQUIRE(tree.close().ok());
  CHECK(tree.close().is(Errc::closed));
  CHECK(tree.put(1, "x").is(Errc::closed));
  CHECK(tree.insert(2, "x").is(Errc::closed));
  CHECK(tree.erase(1).is(Errc::closed));
  CHECK(tree.cas(1, "one", "x").is(Errc::closed));
  CHECK(tree.compare_erase(1, "one").is(Errc::closed));
  CHECK(tree.exchange(1, "x").is(Errc::closed));
  CHECK(tree.get(1).is(Errc::closed));
  CHECK(tree.get_or(1, {}).is(Errc::closed));
  CHECK(tree.read(1, [](Bytes) {}).is(Errc::closed));
  const std::vector<std::pair<std::uint32_t, std::string>> pairs{{1, "x"}};
  CHECK(tree.put_many(std::span(pairs.data(), pairs.size())).is(Errc::closed));
  CHECK(tree.flush_buffers().is(Errc::closed));
  CHECK(tree.sync().is(Errc::closed));
  CHECK(tree.checkpoint().is(Errc::closed));
  CHECK(tree.warmup().is(Errc::closed));
  CHECK(tree.verify().is(Errc::closed));
  CHECK(tree.compact().is(Errc::closed));
  CHECK(tree.compact_step(1000).is(Errc::closed));
  CHECK(tree.iter().begin() == tree.iter().end());
  CHECK(tree.iter().begin().status().is(Errc::closed));
  CHECK(tree.collection().for_each([](Bytes, Bytes) { return true; }).is(Errc::closed));
  CHECK(Compactor::start(tree.collection()).is(Errc::closed));
}

TEST_CASE("collection: a handle that was never opened, or was moved away, is closed") {
  VarMap<std::uint32_t> none;
  CHECK_FALSE(none.is_open());
  CHECK(none.put(1, "x").is(Errc::closed));
  CHECK(none.get(1).is(Errc::closed));
  CHECK(none.size() == 0);
  CHECK_FALSE(none.contains(1));
  CHECK(none.durable_sequence() == 0);
  CHECK(none.stats().entries == 0);
  CHECK(none.sync().is(Errc::closed));

  TempDir directory;
  auto opened = VarMap<std::uint32_t>::open(directory / "c", small());
  REQUIRE(opened.ok());
  REQUIRE(opened->put(1, "one").ok());
  VarMap<std::uint32_t> moved = *std::move(opened);
  CHECK(opened->put(2, "x").is(Errc::closed));  // NOLINT(bugprone-use-after-move)
  CHECK((*moved.get(1))->text() == "one");
  VarMap<std::uint32_t> other = *VarMap<std::uint32_t>::open(directory / "d", small());
  moved = std::move(other);  // closes c
  CHECK(VarMap<std::uint32_t>::open(directory / "c", small()).ok());
}

TEST_CASE("collection: one opener at a time, and the error names the holder [pitfall-34]") {
  TempDir directory;
  const std::string path = directory / "c";
  auto tree = Tree::open(path, small());
  REQUIRE(tree.ok());
  const auto again = Tree::open(path, small());
  CHECK(again.is(Errc::locked));
  CHECK(says(again.message(), std::to_string(::getpid())));
  CHECK(in_child([&] {
          const auto other = Tree::open(path, small());
          return other.is(Errc::locked) && says(other.message(), std::to_string(::getppid())) ? 7
                                                                                              : 1;
        }) == 7);
  // An unrelated close of the lock file loses no lock.
  { std::ifstream lock(path + "/LOCK"); }
  CHECK(Tree::open(path, small()).is(Errc::locked));
  REQUIRE(tree->close().ok());
  CHECK(Tree::open(path, small()).ok());
}

TEST_CASE("collection: the lock goes with a process that dies [pitfall-34]") {
  TempDir directory;
  const std::string path = directory / "c";
  CHECK(in_child([&] {
          auto tree = Tree::open(path, small());
          if (!tree.ok() || !tree->put(5, kValue).ok()) return 1;
          if (!tree->stats().written_survives_kill && !tree->flush_buffers().ok()) return 2;
          ::_exit(7);  // no destructor runs
        }) == 7);
  auto tree = Tree::open(path, small());
  INFO(tree.message());
  REQUIRE(tree.ok());
  CHECK(tree->get(5) == kValue);
}

TEST_CASE("collection: another shape is refused, and the message says both") {
  TempDir directory;
  const std::string path = directory / "c";
  REQUIRE(Tree::open(path, small()).ok());
  const auto check = [&](const auto& opened, const std::string& mine) {
    CHECK(opened.is(Errc::shape_mismatch));
    INFO(opened.message());
    CHECK(says(opened.message(), "tree with keys of 4 bytes and values of 8 bytes"));
    CHECK(says(opened.message(), mine));
  };
  check(ConstMap<std::uint32_t, ByteArray<8>>::open(path), "map with keys of 4 bytes");
  check(ConstTree<std::uint64_t, ByteArray<8>>::open(path), "keys of 8 bytes");
  check(ConstTree<std::uint32_t, ByteArray<9>>::open(path), "values of 9 bytes");
  check(VarTree<std::uint32_t>::open(path), "values of any length");
  CHECK(Tree::open(path).ok());
}

TEST_CASE("collection: open_existing takes any shape, and makes nothing") {
  TempDir directory;
  const std::string path = directory / "c";
  CHECK(Collection::open_existing(path).is(Errc::not_found));
  CHECK_FALSE(std::filesystem::exists(path));
  {
    auto tree = Tree::open(path, small());
    REQUIRE(tree->put(3, kValue).ok());
  }
  auto any = Collection::open_existing(path);
  REQUIRE(any.ok());
  CHECK(any->shape() == Shape{4, 8, true, Payload::value});
  const std::uint8_t key[] = {0, 0, 0, 3};
  CHECK((*any->get(Bytes(key)))->size() == 8);
}

TEST_CASE("collection: paths that cannot be one") {
  TempDir directory;
  CHECK(Tree::open("").is(Errc::invalid_argument));
  CHECK_FALSE(Tree::open(directory / "no/such/parent").ok());
  CHECK_FALSE(std::filesystem::exists(directory / "no"));
  { std::ofstream file(directory / "file"); }
  const auto on_file = Tree::open(directory / "file");
  CHECK(on_file.is(Errc::invalid_argument));
  CHECK(says(on_file.message(), directory / "file"));
  Config config;
  config.create = false;
  CHECK(Tree::open(directory / "none", config).is(Errc::not_found));
  CHECK_FALSE(std::filesystem::exists(directory / "none"));
}

TEST_CASE("collection: FIFOs, symbolic links and directories among its files [pitfall-23]") {
  TempDir directory;
  const std::string path = directory / "c";
  Config config = small();
  config.shard_count = 1;
  {
    auto tree = Tree::open(path, config);
    for (std::uint32_t key = 0; key < 100; ++key) REQUIRE(tree->put(key, kValue).ok());
  }
  const std::string shard = path + "/shard_000/";
  REQUIRE(::mkfifo((shard + "0000000050.data").c_str(), 0600) == 0);
  REQUIRE(::mkfifo((shard + "0000000050.hint").c_str(), 0600) == 0);
  REQUIRE(::symlink("/etc/passwd", (shard + "0000000051.data").c_str()) == 0);
  REQUIRE(::mkdir((shard + "0000000052.data").c_str(), 0700) == 0);
  {
    auto tree = Tree::open(path, config);
    INFO(tree.message());
    REQUIRE(tree.ok());
    CHECK(tree->size() == 100);
    CHECK(tree->put(200, kValue).ok());
    CHECK(tree->sync().ok());
  }
  // In the place of files that count: told, and never waited for.
  for (const char* name : {"0000000001.data", "MANIFEST", "tail.buf"}) {
    TempDir copy;
    std::filesystem::remove(shard + "0000000050.data");
    std::filesystem::remove(shard + "0000000050.hint");
    std::filesystem::remove(shard + "0000000051.data");
    std::filesystem::copy(path, copy / "c", std::filesystem::copy_options::recursive);
    const std::string place = (copy / "c/shard_000/") + name;
    std::filesystem::remove(place);
    REQUIRE(::mkfifo(place.c_str(), 0600) == 0);
    const auto tree = Tree::open(copy / "c", config);
    INFO(name << ": " << tree.message());
    CHECK((!tree.ok() || tree->stats().damaged_regions > 0));
  }
}

TEST_CASE("collection: read_only changes not a byte, and writes are refused") {
  TempDir directory;
  const std::string path = directory / "c";
  Config config = small();
  config.read_only = true;
  CHECK(VarTree<std::uint32_t>::open(path, config).is(Errc::not_found));
  CHECK_FALSE(std::filesystem::exists(path));
  // Left by a process that died: there is something to recover.
  CHECK(in_child([&] {
          auto tree = VarTree<std::uint32_t>::open(path, small());
          for (std::uint32_t key = 0; key < 3000; ++key) {
            if (!tree->put(key, "value " + std::to_string(key)).ok()) return 1;
          }
          ::_exit(tree->flush_buffers().ok() ? 7 : 2);
        }) == 7);
  const auto before = all_files(path);
  {
    auto tree = VarTree<std::uint32_t>::open(path, config);
    INFO(tree.message());
    REQUIRE(tree.ok());
    CHECK(tree->size() == 3000);
    CHECK((*tree->get(17))->text() == "value 17");
    CHECK((*tree->get(2999))->text() == "value 2999");
    CHECK(tree->put(1, "x").is(Errc::read_only));
    CHECK(tree->insert(9999, "x").is(Errc::read_only));
    CHECK(tree->erase(1).is(Errc::read_only));
    CHECK(tree->cas(1, "value 1", "x").is(Errc::read_only));
    CHECK(tree->compare_erase(1, "value 1").is(Errc::read_only));
    CHECK(tree->exchange(1, "x").is(Errc::read_only));
    const std::vector<std::pair<std::uint32_t, std::string>> pairs{{1, "x"}};
    CHECK(tree->put_many(std::span(pairs.data(), pairs.size())).is(Errc::read_only));
    CHECK(tree->compact().is(Errc::read_only));
    CHECK(tree->compact_step(1).is(Errc::read_only));
    CHECK(tree->flush_buffers().ok());
    CHECK(tree->sync().ok());
    CHECK(tree->checkpoint().ok());
    CHECK(tree->warmup().ok());
    CHECK(tree->verify()->damaged_regions == 0);
    CHECK_FALSE(tree->stats().written_survives_kill);
    // Readers share; a writer is kept out, and keeps them out.
    CHECK(VarTree<std::uint32_t>::open(path, config).ok());
    CHECK(VarTree<std::uint32_t>::open(path, small()).is(Errc::locked));
    CHECK(tree->close().ok());
  }
  CHECK(all_files(path) == before);
  auto writer = VarTree<std::uint32_t>::open(path, small());
  REQUIRE(writer.ok());
  CHECK(VarTree<std::uint32_t>::open(path, config).is(Errc::locked));
}

TEST_CASE("collection: sequences count the writes of a shard") {
  const Owned<FileSystem> files = make_memory_file_system();
  Config config = small();
  config.file_system = files.get();
  config.shard_count = 1;
  auto tree = *Tree::open("c", config);
  CHECK(tree.durable_sequence() == 0);
  for (std::uint32_t key = 0; key < 10; ++key) REQUIRE(tree.put(key, kValue).ok());
  CHECK(tree.stats().last_sequence == 10);
  CHECK(tree.durable_sequence() == 0);
  CHECK(tree.stats().unsynced_shards == 1);
  REQUIRE(tree.sync().ok());
  CHECK(tree.durable_sequence() == 10);
  CHECK(tree.durable_sequence(3) == 10);
  CHECK(tree.stats().unsynced_shards == 0);
  REQUIRE(tree.put(11, kValue, {.sync = true}).ok());
  CHECK(tree.durable_sequence(11) == 11);
  CHECK_FALSE(tree.erase(999).ok());  // takes no number
  CHECK(tree.stats().last_sequence == 11);
  REQUIRE(tree.close().ok());
  tree = *Tree::open("c", config);
  CHECK(tree.durable_sequence() == 11);
  CHECK(tree.stats().last_sequence == 11);
}

TEST_CASE("collection: stats() tells what is there") {
  const Owned<FileSystem> files = make_memory_file_system();
  Config config = small();
  config.file_system = files.get();
  auto map = *VarMap<std::uint32_t>::open("c", config);
  for (std::uint32_t key = 0; key < 5000; ++key) {
    REQUIRE(map.put(key, std::string(50, 'x')).ok());
  }
  for (std::uint32_t key = 0; key < 1000; ++key) REQUIRE(map.erase(key).ok());
  REQUIRE(map.sync().ok());
  Stats stats = map.stats();
  CHECK(stats.entries == 4000);
  CHECK(stats.shards == 2);
  CHECK(stats.index_bytes > 4000 * 8);
  CHECK(stats.index_bytes_per_key > 8);
  CHECK(stats.buffer_bytes >= 2 * (16u << 10));
  CHECK(stats.segments >= 4);
  CHECK(stats.data_bytes >= 5000 * 80);
  CHECK(stats.file_bytes >= stats.data_bytes);
  CHECK(stats.dead_bytes >= 1000 * 72);
  CHECK(stats.dead_bytes < stats.data_bytes);
  CHECK(stats.tombstones == 1000);
  CHECK(stats.failed_shards + stats.full_shards + stats.damaged_regions == 0);
  CHECK(stats.syncs >= 2);
  CHECK(stats.compactions == 0);
  REQUIRE(map.compact().ok());
  stats = map.stats();
  CHECK(stats.compactions > 0);
  CHECK(stats.dead_bytes < 1000 * 72);
  CHECK(stats.entries == 4000);
  REQUIRE(map.close().ok());
  map = *VarMap<std::uint32_t>::open("c", config);
  CHECK(map.stats().opened_by_hint >= 4000);
}

TEST_CASE("collection: verify() finds flipped bits, and reading them is an error [pitfall-19]") {
  TempDir directory;
  const std::string path = directory / "c";
  for (const bool mapped : {true, false}) {
    std::filesystem::remove_all(path);
    Config config = small();
    config.shard_count = 1;
    config.mapped_reads = mapped;
    {
      auto tree = VarTree<std::uint32_t>::open(path, config);
      for (std::uint32_t key = 0; key < 100; ++key) {
        REQUIRE(tree->put(key, std::string(100, 'x')).ok());
        REQUIRE(tree->flush_buffers().ok());  // encrypted: each gets a frame of its own
      }
    }
    std::fstream file(path + "/shard_000/0000000001.data",
                      std::ios::in | std::ios::out | std::ios::binary);
    constexpr std::streamoff kFlipped = 96 + 128 * 40 + 60;
    file.seekg(kFlipped);
    const int byte = file.get();
    file.seekp(kFlipped);
    file.put(static_cast<char>(byte ^ 1));  // whatever stands there, sealed bytes too
    file.close();
    auto tree = VarTree<std::uint32_t>::open(path, config);
    REQUIRE(tree.ok());
    const auto report = tree->verify();
    REQUIRE(report.ok());
    CHECK(report->damaged_regions == 1);
    CHECK(report->entries == 99);
    const bool sealed = std::filesystem::exists(path + "/db.keys");
    CHECK(report->segments >= 1);
    CHECK(report->bytes > 100 * 128);
    std::size_t bad = 0;
    for (std::uint32_t key = 0; key < 100; ++key) {
      const auto value = tree->get(key);
      bad += value.ok() ? 0 : 1;
      if (value.ok()) {
        CHECK((*value)->size() == 100);
      } else {
        CHECK(value.is(Errc::corrupt));
        CHECK((sealed || value.status().offset() == 96 + 128 * 40));
        CHECK(tree->get_or(key, {}).is(Errc::corrupt));
        CHECK(tree->read(key, [](Bytes) {}).is(Errc::corrupt));
        CHECK(tree->exchange(key, "new").is(Errc::corrupt));
        CHECK(tree->put(key, "new").ok());  // may be written over
      }
    }
    CHECK(bad == 1);
  }
}

TEST_CASE("collection: in memory, nothing is left behind") {
  auto files = make_memory_file_system();
  Config config = small();
  config.file_system = files.get();
  {
    auto tree = *Tree::open("cache", config);
    for (std::uint32_t key = 0; key < 10000; ++key) REQUIRE(tree.put(key, kValue).ok());
  }
  CHECK(Tree::open("cache", config)->size() == 10000);
  CHECK_FALSE(std::filesystem::exists("cache"));
}

// The README's table "What a returned put() means": one test per cell.
//
// Process crashes are real: a forked child writes and kills itself with SIGKILL. Power cuts
// happen to the fault file system, which then forgets everything that was not synced.
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <string>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/fault_file_system.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace armdb;
using Map = ConstMap<std::uint64_t, ByteArray<32>>;
using Values = VarTree<std::uint64_t>;

constexpr std::uint64_t kEntries = 3000;  // several write buffers and segments

Config small_config() {
  Config config;
  config.shard_count = 2;
  config.write_buffer_size = 16 << 10;
  config.max_file_size = 64 << 10;
  return config;
}

ByteArray<32> value_of(std::uint64_t key) {
  ByteArray<32> value;
  value.fill(static_cast<std::uint8_t>(key * 7 + 1));
  return value;
}

std::string text_of(std::uint64_t key) {
  return std::string(key % 200, static_cast<char>('a' + key % 26));
}

// POSIX files without mappings.
class NoMapFile final : public File {
 public:
  explicit NoMapFile(Owned<File> file) : file_(std::move(file)) {}
  Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) override {
    return file_->read_at(offset, out);
  }
  Status write_at(std::uint64_t offset, Bytes data) override {
    return file_->write_at(offset, data);
  }
  Status sync() override { return file_->sync(); }
  Result<std::uint64_t> size() override { return file_->size(); }
  Status truncate(std::uint64_t size) override { return file_->truncate(size); }
  Status allocate(std::uint64_t offset, std::uint64_t length) override {
    return file_->allocate(offset, length);
  }
  Status drop_cache() override { return file_->drop_cache(); }
  Result<Owned<Mapping>> map(std::size_t, MapMode) override { return Errc::unsupported; }

 private:
  Owned<File> file_;
};

class NoMapFileSystem final : public FileSystem {
 public:
  Result<Owned<File>> open(const std::string& path, OpenMode mode) override {
    Result<Owned<File>> file = posix_file_system().open(path, mode);
    if (!file.ok()) return file;
    return Owned<File>(new NoMapFile(std::move(*file)));
  }
  Result<FileInfo> info(const std::string& path) override { return posix_file_system().info(path); }
  Status list(const std::string& path,
              FunctionRef<void(std::string_view name, FileKind kind)> visit) override {
    return posix_file_system().list(path, visit);
  }
  Status create_directory(const std::string& path) override {
    return posix_file_system().create_directory(path);
  }
  Status remove(const std::string& path) override { return posix_file_system().remove(path); }
  Status rename(const std::string& from, const std::string& to) override {
    return posix_file_system().rename(from, to);
  }
  Status sync_directory(const std::string& path) override {
    return posix_file_system().sync_directory(path);
  }
  Result<Owned<FileLock>> lock(const std::string& path, LockMode mode) override {
    return posix_file_system().lock(path, mode);
  }
};

// Runs `body` in a child that ends by SIGKILL without closing anything.
void run_and_kill(const std::function<bool()>& body) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    if (!body()) _exit(3);
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  REQUIRE(WTERMSIG(status) == SIGKILL);
}

bool put_all(const std::string& path, const Config& config, bool flush) {
  auto map = Map::open(path + "/map", config);
  auto values = Values::open(path + "/values", config);
  if (!map.ok() || !values.ok()) return false;
  for (std::uint64_t key = 0; key < kEntries; ++key) {
    if (!map->put(key, value_of(key)).ok() || !values->put(key, text_of(key)).ok()) return false;
  }
  if (flush && (!map->flush_buffers().ok() || !values->flush_buffers().ok())) return false;
  if (map->stats().written_survives_kill == (config.file_system != nullptr)) return false;
  kill(getpid(), SIGKILL);  // before the handles close
  return true;
}

void check_all(const std::string& path) {
  auto map = Map::open(path + "/map");
  auto values = Values::open(path + "/values");
  REQUIRE(map.ok());
  REQUIRE(values.ok());
  CHECK(map->size() == kEntries);
  CHECK(values->size() == kEntries);
  for (std::uint64_t key = 0; key < kEntries; ++key) {
    REQUIRE(map->get(key) == value_of(key));
    const auto value = values->get(key);
    REQUIRE(value.ok());
    REQUIRE(value->has_value());
    REQUIRE(Bytes(**value) == Bytes(text_of(key)));
  }
}

// Puts 0.. in order, syncing before `unsynced_from`; cuts the power; says how many are left.
std::uint64_t survivors(std::uint64_t synced, bool by_option, std::uint64_t seed) {
  test::FaultFileSystem files;
  Config config = small_config();
  config.shard_count = 1;
  config.file_system = &files;
  {
    auto map = Map::open("db", config);
    REQUIRE(map.ok());
    for (std::uint64_t key = 0; key < kEntries; ++key) {
      const bool last_synced = key + 1 == synced;
      REQUIRE(map->put(key, value_of(key), {.sync = last_synced && by_option}).ok());
      if (last_synced && !by_option) REQUIRE(map->sync().ok());
    }
    if (seed == 0) {
      files.power_cut_lose_all();
    } else {
      files.power_cut_random(seed);
    }
  }
  auto map = Map::open("db", config);
  REQUIRE(map.ok());
  const std::uint64_t left = map->size();
  // A prefix, no holes, nothing torn.
  for (std::uint64_t key = 0; key < kEntries; ++key) {
    REQUIRE(map->get(key).has_value() == (key < left));
    if (key < left) REQUIRE(map->get(key) == value_of(key));
  }
  CHECK(map->stats().damaged_regions == 0);
  return left;
}

}  // namespace

TEST_CASE("durability: a returned put survives kill -9") {
  const test::TempDir folder;
  run_and_kill([&] { return put_all(folder.path(), small_config(), false); });
  check_all(folder.path());
}

TEST_CASE("durability: without mappings a flushed put survives kill -9") {
  const test::TempDir folder;
  static NoMapFileSystem files;
  Config config = small_config();
  config.file_system = &files;
  run_and_kill([&] { return put_all(folder.path(), config, true); });
  check_all(folder.path());
}

TEST_CASE("durability: after a power cut a prefix of the puts is there [pitfall-1]") {
  CHECK(survivors(0, false, 0) <= kEntries);
  for (std::uint64_t seed = 1; seed <= 40; ++seed) CHECK(survivors(0, false, seed) <= kEntries);
}

TEST_CASE("durability: what sync() covered survives a power cut", "[serial]") {
  for (const std::uint64_t synced : {1u, 777u, 2999u}) {
    CHECK(survivors(synced, false, 0) >= synced);
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      CHECK(survivors(synced, false, seed) >= synced);
    }
  }
}

TEST_CASE("durability: a put with sync survives a power cut, with all before it", "[serial]") {
  for (const std::uint64_t synced : {1u, 1500u, 3000u}) {
    CHECK(survivors(synced, true, 0) >= synced);
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      CHECK(survivors(synced, true, seed) >= synced);
    }
  }
}

TEST_CASE("durability: what was synced survives kill -9 as well") {
  const test::TempDir folder;
  run_and_kill([&] {
    auto map = Map::open(folder.path() + "/map", small_config());
    auto values = Values::open(folder.path() + "/values", small_config());
    if (!map.ok() || !values.ok()) return false;
    for (std::uint64_t key = 0; key < kEntries; ++key) {
      const WriteOptions options{.sync = key % 500 == 499};
      if (!map->put(key, value_of(key), options).ok()) return false;
      if (!values->put(key, text_of(key), options).ok()) return false;
    }
    kill(getpid(), SIGKILL);
    return true;
  });
  check_all(folder.path());
}

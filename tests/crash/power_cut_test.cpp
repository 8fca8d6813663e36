// Power cuts of a real file system: a loop mount that is shut down below a writing child, by the
// ioctl that ext4 and XFS have for such tests: what was not on the disk then is gone.
//
// Needs root, loop devices and mkfs; says so, and is no failure, where they are missing. What was
// synced counts when the parent read it before the cut: a sync that is under way may return ok
// and be lost (pitfall 8 of the findings).
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <new>
#include <string>

#include "api/collection.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/scale.hpp"
#include "support/temp_dir.hpp"

#if defined(__linux__)

namespace {

using namespace armdb;

constexpr std::uint64_t kKeys = 50;
constexpr Shape kLog{4, 0, true, Payload::location};
constexpr Shape kSlots{4, 40, true, Payload::value, true};

struct Subject {
  Shape shape;
  bool encrypted;
};

struct Progress {
  std::atomic<std::uint64_t> synced;  // operations up to this one survive a power cut
  std::atomic<std::uint64_t> started;
};

std::string key_of(std::uint64_t n) { return std::to_string(1000 + n % kKeys); }
std::string value_of(std::uint64_t n, const Shape& shape) {
  std::string value = std::to_string(n) + " ";
  value.resize(shape.fixed ? shape.value_size : 20 + n * 37 % 900, static_cast<char>('a' + n % 26));
  return value;
}

Config config_of(const Subject& subject) {
  Config config;
  config.shard_count = 1;
  config.max_file_size = 64 << 10;
  config.write_buffer_size = 16 << 10;
  config.mapped_reads = false;
  if (subject.encrypted) config.encryption_key = ByteArray<32>{5, 6, 7};
  return config;
}

bool run(const std::string& command) {
  return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
}

// A file system in a file, mounted in a directory.
class LoopMount {
 public:
  LoopMount(const std::string& kind) : image_(folder_ / "image"), at_(folder_ / "mount") {
    const std::string size = kind == "xfs" ? "320M" : "24M";
    made_ = run("mkdir " + at_) && run("truncate -s " + size + " " + image_) &&
            run("mkfs." + kind + (kind == "xfs" ? " -q -f " : " -q -F ") + image_) && mount();
  }
  ~LoopMount() {
    if (mounted_) unmount();
  }
  LoopMount(const LoopMount&) = delete;
  LoopMount& operator=(const LoopMount&) = delete;
  [[nodiscard]] bool made() const { return made_; }
  [[nodiscard]] const std::string& path() const { return at_; }

  bool mount() { return mounted_ = run("mount -o loop " + image_ + " " + at_); }
  bool unmount() {
    mounted_ = false;
    return run("umount " + at_);
  }
  // From here on nothing reaches the disk, the journal in memory included.
  [[nodiscard]] bool cut_power() const {
    constexpr unsigned long kShutdown = _IOR('X', 125, std::uint32_t);
    std::uint32_t without_flush = 2;
    const int directory = ::open(at_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) return false;
    const bool done = ::ioctl(directory, kShutdown, &without_flush) == 0;
    ::close(directory);
    return done;
  }

 private:
  const test::TempDir folder_;
  const std::string image_;
  const std::string at_;
  bool made_ = false;
  bool mounted_ = false;
};

[[noreturn]] void run_child(const std::string& path, const Subject& subject, std::uint64_t first,
                            std::uint64_t cycle, Progress& progress) {
  Result<Collection> opened = Collection::open(path, subject.shape, config_of(subject));
  base::Random random(cycle);
  // After the cut everything fails; the parent kills.
  for (std::uint64_t n = first; opened.ok(); ++n) {
    progress.started.store(n);
    if (!opened->put(key_of(n), value_of(n, subject.shape)).ok()) break;
    if (random.one_in(150) && !opened->compact().ok()) break;
    if (random.one_in(150) && !opened->checkpoint().ok()) break;
    if (!random.one_in(12)) continue;
    if (!opened->sync().ok()) break;
    progress.synced.store(n);
  }
  for (;;) ::pause();
}

// The last operation on the key up to `n`; 0: none.
std::uint64_t last_on(std::uint64_t key, std::uint64_t n) {
  for (std::uint64_t at = n; at > 0 && at + kKeys > n; --at) {
    if (at % kKeys == key) return at;
  }
  return 0;
}

// What is there is a state past the last sync: of the log as a whole, of slots key by key. `has`
// tells of each key which operation it had when this cycle began after operation `base`, and then
// what it has now.
using Has = std::map<std::uint64_t, std::uint64_t>;
std::uint64_t check(const Collection& collection, const Subject& subject, std::uint64_t base,
                    std::uint64_t synced, std::uint64_t started, Has& has) {
  std::map<std::string, std::string> all;
  REQUIRE(collection
              .for_each([&](Bytes key, Bytes value) {
                all[std::string(key.text())] = std::string(value.text());
                return true;
              })
              .ok());
  std::uint64_t last = synced;
  for (const auto& item : all) {
    last = std::max(last, std::uint64_t{std::stoull(item.second)});
  }
  INFO("synced " << synced << ", started " << started << ", last " << last);
  REQUIRE(last <= started);
  for (std::uint64_t key = 0; key < kKeys; ++key) {
    const auto found = all.find(key_of(key));
    const std::uint64_t here = found == all.end() ? 0 : std::stoull(found->second);
    std::uint64_t least = last_on(key, subject.shape.fixed ? synced : last);
    if (least <= base) least = has[key];
    has[key] = here;
    INFO("key " << key << " has operation " << here << ", wants " << least);
    if (here != 0) REQUIRE(found->second == value_of(here, subject.shape));
    REQUIRE((here == least || (subject.shape.fixed && here > least && here % kKeys == key)));
  }
  return last;
}

void cut_many_times(const char* kind, const Subject& subject, std::uint64_t cycles) {
  LoopMount mount(kind);
  if (!mount.made()) {
    WARN("skipped: power cuts of " << kind << " need root, loop devices and mkfs." << kind);
    return;
  }
  void* const memory =
      ::mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  auto& progress = *new (memory) Progress{};
  const std::string path = mount.path() + "/c";
  std::uint64_t last = 0;
  std::uint64_t most = 0;
  Has has;
  for (std::uint64_t cycle = 1; cycle <= cycles; ++cycle) {
    INFO(kind << ", cycle " << cycle);
    progress.synced.store(last);
    progress.started.store(last);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) run_child(path, subject, last + 1, cycle, progress);
    ::usleep(static_cast<useconds_t>(base::Random(cycle * 3).below(40'000)));
    const std::uint64_t synced = progress.synced.load();
    const bool cut = mount.cut_power();
    ::kill(child, SIGKILL);
    int ending = 0;
    REQUIRE(::waitpid(child, &ending, 0) == child);
    if (!cut) {
      WARN("skipped: " << kind << " cannot be shut down here");
      ::munmap(memory, sizeof(Progress));
      return;
    }
    REQUIRE(WIFSIGNALED(ending));
    REQUIRE(mount.unmount());
    REQUIRE(mount.mount());
    Result<Collection> opened = Collection::open(path, subject.shape, config_of(subject));
    INFO(opened.message());
    REQUIRE(opened.ok());
    REQUIRE(opened->stats().damaged_regions == 0);
    last = check(*opened, subject, last, synced, progress.started.load(), has);
    most = std::max(most, synced);
    REQUIRE(opened->close().ok());
  }
  CHECK(most > cycles);
  WARN(kind << ": " << cycles << " power cuts, " << most << " operations synced");
  ::munmap(memory, sizeof(Progress));
}

void cut_all(const char* kind) {
  const std::uint64_t cycles = test::scaled(60, 4);
  cut_many_times(kind, {kLog, false}, cycles);
  cut_many_times(kind, {kSlots, false}, cycles);
#if ARMDB_WITH_OPENSSL
  cut_many_times(kind, {kLog, true}, cycles);
  cut_many_times(kind, {kSlots, true}, cycles);
#endif
}

}  // namespace

TEST_CASE("power cut: what was synced is there after real file systems were shut down (long)",
          "[crash][slow][pitfall-6][pitfall-8]") {
  SECTION("ext4") { cut_all("ext4"); }
  SECTION("XFS") { cut_all("xfs"); }
}

#endif  // __linux__

// kill -9 of real processes on the real file system: every returned write is there afterwards.
//
// A child opens the collection and writes from two threads, each its own keys in a known order,
// and counts in shared memory what has returned. At a random moment it is killed: while it opens,
// writes, rotates, compacts, makes a checkpoint or closes. The parent reopens and compares. The
// same directory lives through all cycles.
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <map>
#include <new>
#include <string>
#include <thread>

#include "api/collection.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/scale.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace armdb;

constexpr int kThreads = 2;
constexpr std::uint64_t kKeys = 61;  // of each thread

// What the child tells. Lies in memory that survives it.
struct Progress {
  std::atomic<std::uint64_t> returned[kThreads];  // operations 1 to this one have returned
  std::atomic<bool> open;
};

// Operation `n` of a thread, the same at every call.
struct Operation {
  Operation(int thread, std::uint64_t n, const Shape& shape) {
    key = "t" + std::to_string(thread) + "k" + std::to_string(100 + n % kKeys);
    erase = (n / kKeys) % 5 == 4 || (n / kKeys + n) % 11 == 0;
    std::size_t size = shape.value_size;
    if (shape.payload == Payload::location) size = n % 97 == 0 ? 20000 + n % 1000 : n * n % 800;
    value.resize(size);
    base::Random random(n * 2 + static_cast<std::uint64_t>(thread));
    for (char& byte : value) byte = static_cast<char>(random.next());
  }
  std::string key;
  std::string value;
  bool erase = false;
};

using Contents = std::map<std::string, std::string>;

// What one thread's keys hold after its operation `n`.
Contents contents_after(int thread, std::uint64_t n, const Shape& shape) {
  Contents contents;
  for (std::uint64_t at = n > kKeys ? n - kKeys + 1 : 1; at <= n; ++at) {
    Operation operation(thread, at, shape);
    if (!operation.erase) contents[operation.key] = std::move(operation.value);
  }
  return contents;
}

Config small_config(std::uint64_t cycle) {
  Config config;
  config.shard_count = 2;
  config.max_file_size = 64 << 10;
  config.write_buffer_size = 16 << 10;
  config.mapped_reads = cycle % 3 != 0;
  return config;
}

// ---- The child ----

// Leaves the child at once; the parent sees the number.
void require_in_child(bool holds, int number) {
  if (!holds) ::_exit(number);
}

void write_for_ever(Collection& collection, int thread, Progress& progress, std::uint64_t last,
                    const std::atomic<bool>& stop) {
  for (std::uint64_t n = last + 1; !stop.load(); ++n) {
    const Operation operation(thread, n, collection.shape());
    const WriteOptions options{n % 211 == 0};
    Status status;
    if (operation.erase) {
      status = collection.erase(operation.key, options);
      if (status.is(Errc::not_found)) status = {};
    } else {
      status = collection.put(operation.key, operation.value, options);
    }
    require_in_child(status.ok(), 11);
    progress.returned[thread].store(n);
  }
}

[[noreturn]] void run_child(const std::string& path, const Shape& shape, std::uint64_t cycle,
                            Progress& progress) {
  Result<Collection> opened = Collection::open(path, shape, small_config(cycle));
  require_in_child(opened.ok(), 10);
  Collection& collection = *opened;
  progress.open.store(true);
  std::atomic<bool> stop{false};
  std::thread writers[kThreads];
  for (int thread = 0; thread < kThreads; ++thread) {
    writers[thread] = std::thread([&, thread] {
      write_for_ever(collection, thread, progress, progress.returned[thread].load(), stop);
    });
  }
  base::Random random(cycle);
  for (std::uint64_t round = 0; round < 4 + random.below(12) || cycle % 4 != 0; ++round) {
    ::usleep(static_cast<useconds_t>(random.below(1500)));
    const std::uint64_t choice = random.below(4);
    Status status;
    if (choice == 0) status = collection.checkpoint();
    if (choice == 1) status = collection.compact();
    if (choice == 2) status = collection.sync();
    require_in_child(status.ok(), 12);
  }
  stop.store(true);
  for (std::thread& writer : writers) writer.join();
  require_in_child(collection.close().ok(), 13);
  ::_exit(0);
}

// ---- The parent ----

// Shared with the children; unmapped at the end of the test.
class SharedProgress {
 public:
  SharedProgress() {
    memory_ = ::mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                     -1, 0);
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
    progress_ = new (memory_) Progress{};
  }
  ~SharedProgress() { ::munmap(memory_, sizeof(Progress)); }
  SharedProgress(const SharedProgress&) = delete;
  SharedProgress& operator=(const SharedProgress&) = delete;
  Progress& operator*() const { return *progress_; }
  Progress* operator->() const { return progress_; }

 private:
  void* memory_;
  Progress* progress_;
};

// Runs a child, kills it at some moment; how it ended.
int run_and_kill(const std::string& path, const Shape& shape, std::uint64_t cycle,
                 Progress& progress) {
  progress.open.store(false);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) run_child(path, shape, cycle, progress);
  base::Random random(cycle * 7 + 1);
  if (cycle % 5 != 0) {  // else it may still be opening
    for (int tries = 0; tries < 20000 && !progress.open.load(); ++tries) ::usleep(100);
  }
  ::usleep(static_cast<useconds_t>(random.below(cycle % 3 == 0 ? 2000 : 15000)));
  ::kill(child, SIGKILL);
  int ending = 0;
  REQUIRE(::waitpid(child, &ending, 0) == child);
  return ending;
}

void check_thread(const Collection& collection, int thread, Progress& progress,
                  const Shape& shape) {
  Contents there;
  const Status status = collection.for_each([&](Bytes key, Bytes value) {
    if (key[1] == '0' + thread) there[std::string(key.text())] = std::string(value.text());
    return true;
  });
  INFO(status.message());
  REQUIRE(status.ok());
  const std::uint64_t returned = progress.returned[thread].load();
  if (there == contents_after(thread, returned, shape)) return;
  // The operation that was under way may be there too.
  INFO("thread " << thread << " had " << returned << " operations returned");
  REQUIRE((there == contents_after(thread, returned + 1, shape)));
  progress.returned[thread].store(returned + 1);
}

void kill_many_times(const Shape& shape, std::uint64_t cycles) {
  const test::TempDir directory;
  const std::string path = directory / "c";
  const SharedProgress progress;
  std::uint64_t killed = 0;
  for (std::uint64_t cycle = 1; cycle <= cycles; ++cycle) {
    const int ending = run_and_kill(path, shape, cycle, *progress);
    INFO("cycle " << cycle << ", ending " << ending);
    REQUIRE((WIFSIGNALED(ending) ? WTERMSIG(ending) == SIGKILL : WEXITSTATUS(ending) == 0));
    killed += WIFSIGNALED(ending) ? 1 : 0;
    Config config = small_config(cycle);
    config.read_only = cycle % 7 == 0;
    Result<Collection> opened = Collection::open(path, shape, config);
    // Killed before there was a collection.
    if (config.read_only && opened.is(Errc::not_found)) continue;
    INFO(opened.message());
    REQUIRE(opened.ok());
    CHECK(opened->stats().damaged_regions == 0);
    CHECK(opened->stats().segments_set_aside == 0);
    for (int thread = 0; thread < kThreads; ++thread) {
      check_thread(*opened, thread, *progress, shape);
    }
    if (cycle % 8 == 0) {
      const Result<VerifyReport> report = opened->verify();
      REQUIRE(report.ok());
      CHECK(report->damaged_regions == 0);
    }
  }
  CHECK(killed > cycles / 2);
  CHECK(progress->returned[0].load() + progress->returned[1].load() > cycles);
}

constexpr Shape kConstTree{6, 48, true, Payload::value};
constexpr Shape kConstMap{6, 300, false, Payload::value};
constexpr Shape kVarTree{6, 0, true, Payload::location};
constexpr Shape kVarMap{6, 0, false, Payload::location};

std::uint64_t scaled(std::size_t cycles) {
  return std::max<std::uint64_t>(4, test::scaled(cycles));
}

}  // namespace

TEST_CASE("kill -9: every returned write of a ConstTree is there", "[crash][kill][pitfall-21]") {
  kill_many_times(kConstTree, scaled(14));
}

TEST_CASE("kill -9: every returned write of a ConstMap is there", "[crash][kill][pitfall-21]") {
  kill_many_times(kConstMap, scaled(14));
}

TEST_CASE("kill -9: every returned write of a VarTree is there", "[crash][kill][pitfall-21]") {
  kill_many_times(kVarTree, scaled(14));
}

TEST_CASE("kill -9: every returned write of a VarMap is there", "[crash][kill][pitfall-21]") {
  kill_many_times(kVarMap, scaled(14));
}

TEST_CASE("kill -9: every returned write is there, many cycles (long)",
          "[crash][kill][slow][pitfall-21]") {
  SECTION("ConstTree") { kill_many_times(kConstTree, scaled(150)); }
  SECTION("ConstMap") { kill_many_times(kConstMap, scaled(150)); }
  SECTION("VarTree") { kill_many_times(kVarTree, scaled(150)); }
  SECTION("VarMap") { kill_many_times(kVarMap, scaled(150)); }
}

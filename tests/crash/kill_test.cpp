// kill -9 of real processes on the real file system: every returned write is there afterwards.
//
// A child opens the collection and writes from two threads, each its own keys in a known order,
// and counts in shared memory what has returned. At a random moment it is killed: while it opens,
// writes, rotates, compacts, makes a checkpoint, changes keys or closes. The parent reopens and
// compares. The same directory lives through all cycles. Now and then three operations are one
// batch: it is there whole or not at all.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <map>
#include <string>
#include <thread>

#include "api/collection.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/scale.hpp"
#include "support/shared_memory.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace armdb;

constexpr int kThreads = 2;
constexpr std::uint64_t kKeys = 61;  // of each thread

// What the child tells. Lies in memory that survives it.
struct Progress {
  std::atomic<std::uint64_t> returned[kThreads];  // operations 1 to this one have returned
  std::atomic<std::uint64_t> key;                 // that locks it, or the next one does
  std::atomic<bool> open;
};

// What is killed.
struct Subject {
  Shape shape;
  bool encrypted = false;
};

// How many operations the write of operation `n` has.
std::uint64_t together(std::uint64_t n, const Shape& shape) {
  return !shape.fixed && n % 16 == 1 ? 3 : 1;
}

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

ByteArray<32> key_of(std::uint64_t number) {
  ByteArray<32> key{1, 2, 3};
  std::memcpy(key.data() + 8, &number, sizeof number);
  return key;
}

Config small_config(const Subject& subject, std::uint64_t cycle, std::uint64_t key) {
  Config config;
  if (subject.encrypted) config.encryption_key = key_of(key);
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

// Operations `n` and after it, as many as belong together.
Status write_operations(Collection& collection, int thread, std::uint64_t n) {
  const WriteOptions options{n % 211 == 0};
  const std::uint64_t count = together(n, collection.shape());
  if (count == 1) {
    const Operation operation(thread, n, collection.shape());
    if (!operation.erase) return collection.put(operation.key, operation.value, options);
    Status status = collection.erase(operation.key, options);
    return status.is(Errc::not_found) ? Status() : status;
  }
  detail::BatchBuffer batch;
  for (std::uint64_t at = n; at < n + count; ++at) {
    const Operation operation(thread, at, collection.shape());
    const auto kind = operation.erase ? detail::WriteKind::erase : detail::WriteKind::put;
    const Bytes value = operation.erase ? Bytes() : Bytes(operation.value);
    batch.add({.key = Bytes(operation.key), .value = value, .kind = kind}, 0);
  }
  return collection.write_batch(batch, options);
}

void write_for_ever(Collection& collection, int thread, Progress& progress, std::uint64_t last,
                    const std::atomic<bool>& stop) {
  for (std::uint64_t n = last + 1; !stop.load();) {
    require_in_child(write_operations(collection, thread, n).ok(), 11);
    n += together(n, collection.shape());
    progress.returned[thread].store(n - 1);
  }
}

// One thing that a program does beside its writes.
Status take_care(Collection& collection, const Subject& subject, base::Random& random,
                 Progress& progress) {
  switch (random.below(subject.encrypted ? 8 : 5)) {
    case 0:
      return collection.checkpoint();
    case 1:
    case 2:
      return collection.compact();
    case 3:
      return collection.sync();
    case 4:
      return collection.verify().status();
    case 5:
      return collection.reencrypt(key_of(progress.key.load()));
    default: {
      const std::uint64_t now = progress.key.load();
      Status status = collection.rotate_key(key_of(now), key_of(now + 1));
      if (status.ok()) progress.key.store(now + 1);
      return status;
    }
  }
}

[[noreturn]] void run_child(const std::string& path, const Subject& subject, std::uint64_t cycle,
                            Progress& progress) {
  Result<Collection> opened =
      Collection::open(path, subject.shape, small_config(subject, cycle, progress.key.load()));
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
    require_in_child(take_care(collection, subject, random, progress).ok(), 12);
  }
  stop.store(true);
  for (std::thread& writer : writers) writer.join();
  require_in_child(collection.close().ok(), 13);
  ::_exit(0);
}

// ---- The parent ----

// Runs a child, kills it at some moment; how it ended.
int run_and_kill(const std::string& path, const Subject& subject, std::uint64_t cycle,
                 Progress& progress) {
  progress.open.store(false);
  const auto done = [&] { return progress.returned[0].load() + progress.returned[1].load(); };
  const std::uint64_t before = done();
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) run_child(path, subject, cycle, progress);
  base::Random random(cycle * 7 + 1);
  if (cycle % 5 != 0) {  // else it may still be opening
    for (int tries = 0; tries < 20000 && !progress.open.load(); ++tries) ::usleep(100);
    // However slow the machine is, some writes have returned.
    for (int tries = 0; tries < 20000 && done() < before + 2; ++tries) ::usleep(100);
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
  // What was under way may be there too.
  const std::uint64_t next = returned + together(returned + 1, shape);
  INFO("thread " << thread << " had " << returned << " operations returned");
  REQUIRE((there == contents_after(thread, next, shape)));
  progress.returned[thread].store(next);
}

// The key that opens it is the one that the child knew of, or that it was just changing to.
Result<Collection> reopen(const std::string& path, const Subject& subject, std::uint64_t cycle,
                          Progress& progress) {
  Config config = small_config(subject, cycle, progress.key.load());
  config.read_only = cycle % 7 == 0;
  Result<Collection> opened = Collection::open(path, subject.shape, config);
  if (!opened.is(Errc::wrong_key)) return opened;
  progress.key.fetch_add(1);
  config.encryption_key = key_of(progress.key.load());
  return Collection::open(path, subject.shape, config);
}

void kill_many_times(const Subject& subject, std::uint64_t cycles) {
  const test::TempDir directory;
  const std::string path = directory / "c";
  const test::SharedMemory<Progress> progress;
  std::uint64_t killed = 0;
  for (std::uint64_t cycle = 1; cycle <= cycles; ++cycle) {
    const int ending = run_and_kill(path, subject, cycle, *progress);
    INFO("cycle " << cycle << ", ending " << ending);
    REQUIRE((WIFSIGNALED(ending) ? WTERMSIG(ending) == SIGKILL : WEXITSTATUS(ending) == 0));
    killed += WIFSIGNALED(ending) ? 1 : 0;
    Result<Collection> opened = reopen(path, subject, cycle, *progress);
    // Killed before there was a collection.
    if (cycle % 7 == 0 && opened.is(Errc::not_found)) continue;
    INFO(opened.message());
    REQUIRE(opened.ok());
    CHECK(opened->stats().damaged_regions == 0);
    CHECK(opened->stats().segments_set_aside == 0);
    CHECK((cycle % 7 == 0 || opened->stats().written_survives_kill));
    for (int thread = 0; thread < kThreads; ++thread) {
      check_thread(*opened, thread, *progress, subject.shape);
    }
    if (cycle % 8 == 0) {
      const Result<VerifyReport> report = opened->verify();
      REQUIRE(report.ok());
      CHECK(report->damaged_regions == 0);
      CHECK(report->forged_pieces == 0);
    }
  }
  CHECK(killed > cycles / 2);
  CHECK(progress->returned[0].load() + progress->returned[1].load() > cycles);
  if (subject.encrypted && cycles > 40) CHECK(progress->key.load() > 0);
}

constexpr Shape kConstTree{6, 48, true, Payload::value};
constexpr Shape kConstMap{6, 300, false, Payload::value};
constexpr Shape kVarTree{6, 0, true, Payload::location};
constexpr Shape kVarMap{6, 0, false, Payload::location};
constexpr Shape kFixedTree{6, 48, true, Payload::value, true};
constexpr Shape kFixedMap{6, 300, false, Payload::value, true};

std::uint64_t scaled(std::size_t cycles) {
  return std::max<std::uint64_t>(4, test::scaled(cycles));
}

}  // namespace

TEST_CASE("kill -9: every returned write is there", "[crash][kill][pitfall-21]") {
  SECTION("ConstTree") { kill_many_times({kConstTree}, scaled(8)); }
  SECTION("ConstMap") { kill_many_times({kConstMap}, scaled(8)); }
  SECTION("VarTree") { kill_many_times({kVarTree}, scaled(8)); }
  SECTION("VarMap") { kill_many_times({kVarMap}, scaled(8)); }
  SECTION("FixedTree") { kill_many_times({kFixedTree}, scaled(8)); }
  SECTION("FixedMap") { kill_many_times({kFixedMap}, scaled(8)); }
}

TEST_CASE("kill -9: every returned write is there, many cycles (long)",
          "[crash][kill][slow][pitfall-21]") {
  SECTION("ConstTree") { kill_many_times({kConstTree}, scaled(150)); }
  SECTION("ConstMap") { kill_many_times({kConstMap}, scaled(150)); }
  SECTION("VarTree") { kill_many_times({kVarTree}, scaled(150)); }
  SECTION("VarMap") { kill_many_times({kVarMap}, scaled(150)); }
  SECTION("FixedTree") { kill_many_times({kFixedTree}, scaled(150)); }
  SECTION("FixedMap") { kill_many_times({kFixedMap}, scaled(150)); }
}

#if ARMDB_WITH_OPENSSL
TEST_CASE("kill -9: every returned write of an encrypted collection is there, while keys change",
          "[crash][kill][pitfall-21][pitfall-52]") {
  SECTION("VarTree") { kill_many_times({kVarTree, true}, scaled(8)); }
  SECTION("ConstMap") { kill_many_times({kConstMap, true}, scaled(8)); }
  SECTION("FixedTree") { kill_many_times({kFixedTree, true}, scaled(8)); }
}

TEST_CASE("kill -9: the same of encrypted ones, many cycles (long)",
          "[crash][kill][slow][pitfall-21][pitfall-52]") {
  SECTION("VarTree") { kill_many_times({kVarTree, true}, scaled(150)); }
  SECTION("ConstMap") { kill_many_times({kConstMap, true}, scaled(150)); }
  SECTION("FixedTree") { kill_many_times({kFixedTree, true}, scaled(150)); }
  SECTION("FixedMap") { kill_many_times({kFixedMap, true}, scaled(150)); }
}
#endif

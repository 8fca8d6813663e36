// Hazards of real systems around an open collection: interrupting signals, files that shrink
// under a reader, a process that ignores SIGXFSZ, clocks that jump.
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace armdb;
using Values = VarTree<std::uint64_t>;

volatile std::sig_atomic_t interruptions = 0;

extern "C" void count_interruption(int) { interruptions = interruptions + 1; }

// A timer signal every millisecond or so that interrupts system calls, as long as it lives.
class SignalStorm {
 public:
  SignalStorm() {
    struct sigaction action = {};
    action.sa_handler = count_interruption;  // without SA_RESTART
    sigaction(SIGALRM, &action, &old_action_);
    const itimerval often = {{0, 700}, {0, 700}};
    setitimer(ITIMER_REAL, &often, nullptr);
  }
  ~SignalStorm() {
    const itimerval never = {};
    setitimer(ITIMER_REAL, &never, nullptr);
    sigaction(SIGALRM, &old_action_, nullptr);
  }

 private:
  struct sigaction old_action_ = {};
};

Config small_config() {
  Config config;
  config.shard_count = 1;
  config.write_buffer_size = 16 << 10;
  config.max_file_size = 64 << 10;
  return config;
}

std::string text_of(std::uint64_t key) {
  return std::string(100 + key % 400, static_cast<char>('a' + key % 26));
}

}  // namespace

TEST_CASE("hazards: signals that interrupt system calls fail nothing [pitfall-26]") {
  const test::TempDir folder;
  interruptions = 0;
  {
    const SignalStorm storm;
    for (int round = 0; round < 3; ++round) {
      auto values = Values::open(folder.path() + "/v", small_config());
      REQUIRE(values.ok());
      for (std::uint64_t key = 0; key < 1500; ++key) {
        REQUIRE(values->put(key, text_of(key), {.sync = key % 100 == 0}).ok());
      }
      REQUIRE(values->compact().ok());
      REQUIRE(values->verify().ok());
      REQUIRE(values->close().ok());
    }
  }
  CHECK(interruptions > 0);
  auto values = Values::open(folder.path() + "/v");
  REQUIRE(values.ok());
  CHECK(values->size() == 1500);
}

TEST_CASE("hazards: a file that shrinks under a reader is an error, not a signal [pitfall-32]") {
  const test::TempDir folder;
  Config config = small_config();
  config.mapped_reads = false;
  config.cache_bytes = 0;
  auto values = Values::open(folder.path() + "/v", config);
  REQUIRE(values.ok());
  for (std::uint64_t key = 0; key < 100; ++key) REQUIRE(values->put(key, text_of(key)).ok());
  REQUIRE(values->checkpoint().ok());
  REQUIRE(truncate((folder.path() + "/v/shard_000/0000000001.data").c_str(), 4096) == 0);
  std::size_t errors = 0;
  std::size_t whole = 0;
  for (std::uint64_t key = 0; key < 100; ++key) {
    const auto value = values->get(key);
    if (!value.ok()) {
      ++errors;
      CHECK(value.code() == Errc::corrupt);
      CHECK(value.message().find("0000000001.data") != std::string::npos);
      continue;
    }
    REQUIRE(value->has_value());
    CHECK(Bytes(**value) == Bytes(text_of(key)));
    ++whole;
  }
  CHECK(errors > 50);
  CHECK(whole > 0);
}

TEST_CASE("hazards: a limit on file sizes is a full disk that loses nothing [pitfall-28]") {
  const test::TempDir folder;
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    Config config = small_config();
    config.max_file_size = 1 << 20;
    auto values = Values::open(folder.path() + "/v", config);
    if (!values.ok()) _exit(10);
    const rlimit limit = {200 << 10, 200 << 10};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(11);
    std::uint64_t key = 0;
    Status status;
    while (key < 100000 && (status = values->put(key, text_of(key))).ok()) ++key;
    if (!status.is(Errc::no_space)) _exit(12);
    for (std::uint64_t at = 0; at < key; ++at) {
      const auto value = values->get(at);
      if (!value.ok() || !value->has_value()) _exit(13);
    }
    if (!values->erase(0).ok()) _exit(14);
    // Tells how many puts were acknowledged, then dies.
    if (key > 60000) _exit(15);
    FILE* told = fopen((folder.path() + "/told").c_str(), "w");
    fprintf(told, "%d", static_cast<int>(key));
    fclose(told);
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  INFO("exit code " << WEXITSTATUS(status));
  REQUIRE(WIFSIGNALED(status));
  FILE* told = fopen((folder.path() + "/told").c_str(), "r");
  REQUIRE(told != nullptr);
  int keys = 0;
  REQUIRE(fscanf(told, "%d", &keys) == 1);
  fclose(told);
  CHECK(keys > 100);
  auto values = Values::open(folder.path() + "/v");
  REQUIRE(values.ok());
  CHECK(values->size() == static_cast<std::size_t>(keys) - 1);
}

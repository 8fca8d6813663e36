// The program of `make power`: power cuts of real file systems of the running kernel.
//
//   power [--cycles N] [--seed S] [--case TEXT]
//
// A child writes to a collection on a file system of its own, which is shut down at a random moment
// (see Disk) and mounted again: what a sync had covered must be there, and of the rest what the
// contract allows. The same directory lives through all cycles. Closes with "N passed, N failed",
// a case being one test. Needs Linux, root, loop devices, and ext4 and XFS in the kernel: it fails
// where it cannot run.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>

#include "power/disk.hpp"
#include "power/oracle.hpp"
#include "power/work.hpp"
#include "support/random.hpp"
#include "support/shared_memory.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace armdb;
using power::FileSystemKind;
using power::Store;

struct Options {
  std::uint64_t cycles = 25;
  std::uint64_t seed = 0;
  std::string wanted;
};

struct Case {
  const char* name;
  FileSystemKind files;
  power::Subject subject;
};

constexpr Case kCases[] = {
    {"ext4, log", FileSystemKind::ext4, {"VarTree", Store::var_tree, 1}},
    {"xfs, log", FileSystemKind::xfs, {"VarTree", Store::var_tree, 1}},
    {"ext4 writeback, log, two shards",
     FileSystemKind::ext4_writeback,
     {"ConstMap", Store::const_map, 2}},
    {"xfs, log, two shards", FileSystemKind::xfs, {"ConstMap", Store::const_map, 2}},
    {"ext4, fixed", FileSystemKind::ext4, {"FixedMap", Store::fixed_map, 1}},
    {"xfs, fixed, two shards", FileSystemKind::xfs, {"FixedMap", Store::fixed_map, 2}},
    {"ext4 writeback, fixed, one copy",
     FileSystemKind::ext4_writeback,
     {"FixedTree", Store::fixed_tree, 1, false, true}},
#if ARMDB_WITH_OPENSSL
    {"ext4 writeback, log, encrypted",
     FileSystemKind::ext4_writeback,
     {"VarTree", Store::var_tree, 1, true}},
    {"ext4, fixed, encrypted", FileSystemKind::ext4, {"FixedMap", Store::fixed_map, 1, true}},
#endif
};

Options read_arguments(int count, char** arguments) {
  Options options;
  options.seed = static_cast<std::uint64_t>(
      std::chrono::system_clock::now().time_since_epoch().count() / 1000 % 1000000);
  for (int at = 1; at < count; at += 2) {
    const std::string name = arguments[at];
    if (at + 1 == count) throw std::runtime_error(name + ": no such option, or no value for it");
    if (name == "--cycles") {
      options.cycles = std::strtoull(arguments[at + 1], nullptr, 10);
    } else if (name == "--seed") {
      options.seed = std::strtoull(arguments[at + 1], nullptr, 10);
    } else if (name == "--case") {
      options.wanted = arguments[at + 1];
    } else {
      throw std::runtime_error(name + ": no such option");
    }
  }
  if (options.cycles == 0) throw std::runtime_error("--cycles: at least 1");
  return options;
}

// One case, cycle by cycle.
class Run {
 public:
  Run(const Case& played, std::uint64_t seed)
      : played_(played), random_(seed), oracle_(played.subject) {}

  void play(std::uint64_t cycles) {
    power::Disk disk(directory_.path(), played_.files);
    path_ = disk.path() + "/c";
    for (std::uint64_t cycle = 1; cycle <= cycles; ++cycle) {
      oracle_.begin(*progress_);
      cut_amid_writes(disk);
      look(disk, cycle);
    }
    disk.unmount();
    // Cuts that cost nothing would be no test; a few cycles may be like that.
    const bool busy = progress_->syncs.load() > cycles / 4 && oracle_.lost() != 0;
    if (cycles >= 20 && !busy) throw std::runtime_error("nothing happened: " + summary());
  }

  [[nodiscard]] std::string summary() const {
    std::uint64_t writes = 0;
    for (const auto& thread : progress_->threads) writes += thread.returned.load();
    return std::to_string(writes) + " writes, " + std::to_string(progress_->syncs.load()) +
           " syncs, " + std::to_string(progress_->compactions.load()) + " times care, " +
           std::to_string(opening_) + " cuts amid opening, " + std::to_string(oracle_.lost()) +
           " that took what was not synced";
  }

 private:
  // The writer runs for a while, mostly past its opening; then the power goes.
  void cut_amid_writes(power::Disk& disk) {
    progress_->open.store(false);
    progress_->cut.store(false);
    std::fflush(stdout);
    const pid_t child = ::fork();
    if (child < 0) throw std::runtime_error("cannot fork");
    if (child == 0) power::write_for_ever(played_.subject, path_, random_.next(), *progress_);
    const bool amid_opening = random_.one_in(5);
    for (int tries = 0; tries < 100000 && !amid_opening && !progress_->open.load(); ++tries) {
      ::usleep(100);
    }
    ::usleep(static_cast<useconds_t>(random_.below(amid_opening ? 4000 : 40000)));
    for (std::uint64_t times = random_.below(3); times != 0; --times) {
      power::Disk::write_some(path_, random_);
    }
    opening_ += progress_->open.load() ? 0 : 1;
    progress_->cut.store(true);
    disk.cut(random_.one_in(2));
    ::usleep(static_cast<useconds_t>(random_.below(1000)));
    ::kill(child, SIGKILL);
    int ending = 0;
    if (::waitpid(child, &ending, 0) != child) throw std::runtime_error("the writer is lost");
    // A mapped page that cannot be read any more is a SIGBUS.
    const bool killed =
        WIFSIGNALED(ending) && (WTERMSIG(ending) == SIGKILL || WTERMSIG(ending) == SIGBUS);
    const bool good = killed || (WIFEXITED(ending) && WEXITSTATUS(ending) == 0);
    if (!good) throw std::runtime_error("the writer ended with " + std::to_string(ending));
    disk.unmount();
  }

  // What is there after the next mount. What was recovered is durable: another cut, of a reader
  // that wrote nothing of its own, takes none of it.
  void look(power::Disk& disk, std::uint64_t cycle) {
    power::Content found{};
    disk.mount();
    if (random_.one_in(3)) {
      power::read_all(played_.subject, path_, true, found);
      power::Content again{};
      power::read_all(played_.subject, path_, false, again);
      if (found != again) throw std::runtime_error("read-only and writable openings differ");
    } else {
      power::read_all(played_.subject, path_, false, found);
    }
    const std::string wrong = oracle_.judge(found, *progress_);
    if (!wrong.empty()) throw std::runtime_error("cycle " + std::to_string(cycle) + ": " + wrong);
    if (!random_.one_in(3)) return;
    disk.cut(random_.one_in(2));
    disk.unmount();
    disk.mount();
    power::Content kept{};
    power::read_all(played_.subject, path_, false, kept);
    if (kept != found) throw std::runtime_error("what was recovered went with another cut");
  }

  const Case& played_;
  base::Random random_;
  const test::TempDir directory_;
  const test::SharedMemory<power::Progress> progress_;
  power::Oracle oracle_;
  std::string path_;
  std::uint64_t opening_ = 0;
};

bool play_case(const Case& played, const Options& options) {
  Run run(played, options.seed);
  try {
    run.play(options.cycles);
    std::printf("ok %s: %s\n", played.name, run.summary().c_str());
    return true;
  } catch (const std::exception& error) {
    std::printf("FAILED %s, --seed %llu --cycles %llu: %s\n  %s\n", played.name,
                static_cast<unsigned long long>(options.seed),
                static_cast<unsigned long long>(options.cycles), error.what(),
                run.summary().c_str());
    return false;
  }
}

int run_all(const Options& options) {
  power::own_mounts();
  unsigned passed = 0, failed = 0;
  for (const Case& played : kCases) {
    if (std::string(played.name).find(options.wanted) == std::string::npos) continue;
    (play_case(played, options) ? passed : failed) += 1;
    std::fflush(stdout);
  }
  if (passed + failed == 0) {
    std::printf("FAILED no case ran\n");
    failed = 1;
  }
  std::printf("%llu cycles of each case, seed %llu\n%u passed, %u failed\n",
              static_cast<unsigned long long>(options.cycles),
              static_cast<unsigned long long>(options.seed), passed, failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    return run_all(read_arguments(count, arguments));
  } catch (const std::exception& error) {
    std::printf("FAILED %s\n0 passed, 1 failed\n", error.what());
    return 1;
  }
}

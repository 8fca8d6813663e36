// The program of `make power`: power cuts of real file systems of the running kernel. Its options
// are those of support/cycle_program.hpp. When a cut comes is the scheduler's affair: a seed does
// not bring the same one again. What --keep keeps is the image, as the last cut left it.
//
// A child writes to a collection on a file system of its own, which is shut down at a random moment
// (see Disk) and mounted again: what a sync had covered must be there, and of the rest what the
// contract allows. The same directory lives through all cycles. Needs Linux, root, loop devices,
// and ext4 and XFS in the kernel: it fails where it cannot run.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "power/disk.hpp"
#include "power/oracle.hpp"
#include "power/work.hpp"
#include "support/caretaker.hpp"
#include "support/cycle_program.hpp"
#include "support/random.hpp"
#include "support/shared_memory.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace armdb;
using power::FileSystemKind;
using power::Store;
using test::CycleOptions;

struct Case {
  const char* name;
  FileSystemKind files;
  power::Subject subject;
};

constexpr Case kCases[] = {
    {"ext4, log", FileSystemKind::ext4, {.store = Store::var_tree}},
    // One writer: all of the shard ends at one write.
    {"xfs, log, one thread", FileSystemKind::xfs, {.store = Store::var_tree, .threads = 1}},
    {"ext4 writeback, log, two shards",
     FileSystemKind::ext4_writeback,
     {.store = Store::const_map, .shards = 2}},
    {"xfs, log, two shards", FileSystemKind::xfs, {.store = Store::const_map, .shards = 2}},
    {"ext4, fixed", FileSystemKind::ext4, {.store = Store::fixed_map}},
    {"xfs, fixed, two shards", FileSystemKind::xfs, {.store = Store::fixed_map, .shards = 2}},
    {"ext4 writeback, fixed, one copy",
     FileSystemKind::ext4_writeback,
     {.store = Store::fixed_tree, .single_copy = true}},
#if ARMDB_WITH_OPENSSL
    {"ext4 writeback, log, encrypted",
     FileSystemKind::ext4_writeback,
     {.store = Store::var_tree, .encrypted = true}},
    {"ext4, fixed, encrypted",
     FileSystemKind::ext4,
     {.store = Store::fixed_map, .encrypted = true}},
#endif
};

// A child that writes; whatever happens to this process, it ends.
class Writer {
 public:
  Writer(const power::Subject& subject, const std::string& path, std::uint64_t seed,
         power::Progress& progress) {
    const pid_t parent = ::getpid();
    std::fflush(stdout);
    child_ = ::fork();
    if (child_ < 0) throw std::runtime_error("cannot fork");
    if (child_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() == parent) power::write_for_ever(subject, path, seed, progress);
    ::_exit(0);
  }
  ~Writer() {
    if (child_ > 0) static_cast<void>(kill());
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // Before the cut nothing may end it.
  void require_alive() {
    int ending = 0;
    if (::waitpid(child_, &ending, WNOHANG) == 0) return;
    child_ = -1;
    throw std::runtime_error("the writer ended before the cut, with " + std::to_string(ending));
  }
  // How it ended, if it had not by then.
  int kill() {
    int ending = 0;
    ::kill(child_, SIGKILL);
    const pid_t ended = ::waitpid(child_, &ending, 0);
    child_ = -1;
    return ended > 0 ? ending : 0;
  }

 private:
  pid_t child_ = -1;
};

// One case, cycle by cycle.
class Run {
 public:
  Run(const Case& played, const CycleOptions& options, const std::string& directory)
      : played_(played),
        options_(options),
        random_(options.seed),
        oracle_(played.subject),
        disk_(directory, played.files),
        path_(disk_.path() + "/c") {}

  void play() {
    for (std::uint64_t cycle = 1; cycle <= options_.cycles; ++cycle) {
      oracle_.begin(*progress_);
      cut_amid_writes();
      if (!options_.keep.empty()) disk_.keep(options_.keep + "/image");
      look(cycle);
      if (options_.verbose) {
        std::printf("cycle %llu: %s\n", static_cast<unsigned long long>(cycle), summary().c_str());
      }
    }
    disk_.unmount();
    // Cuts that cost nothing would be no test; a few cycles may be like that.
    const bool busy = progress_->syncs.load() > options_.cycles / 4 && oracle_.costly() != 0 &&
                      progress_->compactions.load() != 0 && amid_opening_ != 0;
    if (options_.cycles >= 20 && !busy) throw std::runtime_error("too little happened");
  }

  [[nodiscard]] std::string summary() const {
    std::uint64_t writes = 0;
    for (const auto& thread : progress_->threads) writes += thread.returned.load();
    return std::to_string(writes) + " writes, " + std::to_string(progress_->syncs.load()) +
           " syncs, " + std::to_string(progress_->compactions.load()) + " compactions; " +
           std::to_string(amid_opening_) + " cuts amid opening, " +
           std::to_string(oracle_.costly()) + " that took writes that had returned";
  }

 private:
  template <class Condition> static void await(Writer& writer, Condition condition) {
    for (int tries = 0; tries < 50000 && !condition(); ++tries) {
      writer.require_alive();
      ::usleep(100);
    }
  }

  // The writer runs for a while, mostly past its opening; then the power goes.
  void cut_amid_writes() {
    progress_->open.store(false);
    progress_->cut.store(false);
    Writer writer(played_.subject, path_, random_.next(), *progress_);
    const bool amid_opening = random_.one_in(3);
    if (!amid_opening) {
      // However slow the machine is, now and then a compaction has ended.
      const std::uint64_t compactions = progress_->compactions.load() + (random_.one_in(4) ? 1 : 0);
      await(writer,
            [&] { return progress_->open.load() && progress_->compactions.load() >= compactions; });
    }
    ::usleep(static_cast<useconds_t>(random_.below(amid_opening ? 1500 : 40000)));
    // A slot with one copy may be lost when it is written out while it is changed: not on purpose.
    const bool write_out = !played_.subject.single_copy;
    for (std::uint64_t times = random_.below(3); write_out && times != 0; --times) {
      power::Disk::write_some(path_, random_);
    }
    writer.require_alive();
    amid_opening_ += progress_->open.load() ? 0 : 1;
    oracle_.cut(*progress_);
    progress_->cut.store(true);
    disk_.cut(random_.one_in(2));
    ::usleep(static_cast<useconds_t>(random_.below(1000)));
    const int ending = writer.kill();
    // A mapped page that cannot be read any more is a SIGBUS.
    const bool killed =
        WIFSIGNALED(ending) && (WTERMSIG(ending) == SIGKILL || WTERMSIG(ending) == SIGBUS);
    const bool good = killed || (WIFEXITED(ending) && WEXITSTATUS(ending) == 0);
    if (!good) throw std::runtime_error("the writer ended with " + std::to_string(ending));
    disk_.unmount();
  }

  // What is there after the next mount. Whoever reads it without writing leaves it as it is; one
  // that writes syncs it as it closes, so that another cut takes none of it.
  void look(std::uint64_t cycle) {
    power::Content found{}, again{};
    disk_.mount();
    const bool reads = random_.one_in(2);
    const bool closes = !reads || random_.one_in(2);
    if (reads) power::read_all(played_.subject, path_, true, found);
    if (closes) power::read_all(played_.subject, path_, false, reads ? again : found);
    if (reads && closes && found != again) {
      throw std::runtime_error("read-only and writable openings differ");
    }
    const std::string wrong = oracle_.judge(found, *progress_, closes);
    if (!wrong.empty()) throw std::runtime_error("cycle " + std::to_string(cycle) + ": " + wrong);
    if (!closes || !random_.one_in(3)) return;
    disk_.cut(random_.one_in(2));
    disk_.unmount();
    disk_.mount();
    power::read_all(played_.subject, path_, false, again);
    if (found != again) throw std::runtime_error("what was closed went with another cut");
  }

  const Case& played_;
  const CycleOptions& options_;
  base::Random random_;
  const test::SharedMemory<power::Progress> progress_;
  power::Oracle oracle_;
  power::Disk disk_;
  const std::string path_;
  std::uint64_t amid_opening_ = 0;
};

int run(const CycleOptions& options) {
  const test::TempDir directory;
  // Made where the mounts are not seen: it deletes what they lie on.
  const test::Caretaker caretaker(directory.path());
  power::own_mounts();
  if (!options.keep.empty()) std::filesystem::create_directories(options.keep);
  return test::play_cases(kCases, options, directory.path(),
                          [&](const Case& played, const std::string& own) {
                            Run run(played, options, own);
                            try {
                              run.play();
                            } catch (...) {
                              std::printf("%s\n", run.summary().c_str());
                              throw;
                            }
                            return run.summary();
                          });
}

}  // namespace

int main(int count, char** arguments) { return armdb::test::run_cycles(count, arguments, run); }

// The program of `make net`: replication between real processes over bad networks.
//
//   net [--cycles N] [--seed S] [--case TEXT] [--verbose] [--keep FOLDER]
//
// --keep: where the files of a case that failed are copied to.
// Closes with "N passed, N failed", a case being one test. Needs Linux, /dev/net/tun, and to be
// root or on a machine with user namespaces: it fails where it cannot run.
#include <dirent.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "net/conductor.hpp"
#include "support/caretaker.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace armdb;

struct Options {
  std::uint64_t cycles = 24;
  std::uint64_t seed = 0;
  std::string wanted, keep;
  bool verbose = false;
};

constexpr net::Case kCases[] = {
    {"log, clear", false, false, false},
#if ARMDB_WITH_OPENSSL
    {"log, TLS", false, false, true},
    {"log, TLS, encrypted", false, true, true},
#endif
    {"fixed, clear", true, false, false},
#if ARMDB_WITH_OPENSSL
    {"fixed, TLS, encrypted", true, true, true},
#endif
};

Options read_arguments(int count, char** arguments) {
  Options options;
  options.seed = static_cast<std::uint64_t>(
      std::chrono::system_clock::now().time_since_epoch().count() / 1000 % 1000000);
  for (int at = 1; at < count; ++at) {
    const std::string name = arguments[at];
    if (name == "--verbose") {
      options.verbose = true;
      continue;
    }
    if (++at == count) throw std::runtime_error(name + ": no such option, or no value for it");
    if (name == "--cycles") {
      options.cycles = std::strtoull(arguments[at], nullptr, 10);
    } else if (name == "--seed") {
      options.seed = std::strtoull(arguments[at], nullptr, 10);
    } else if (name == "--case") {
      options.wanted = arguments[at];
    } else if (name == "--keep") {
      options.keep = arguments[at];
    } else {
      throw std::runtime_error(name + ": no such option");
    }
  }
  if (options.cycles == 0) throw std::runtime_error("--cycles: at least 1");
  return options;
}

void show_logs(const std::string& directory) {
  for (unsigned host = 0; host < net::kHosts; ++host) {
    std::ifstream file(directory + "/host" + std::to_string(host) + ".log");
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    std::printf("  host %u, the end of its log:\n", host);
    for (std::size_t at = lines.size() > 20 ? lines.size() - 20 : 0; at < lines.size(); ++at) {
      std::printf("    %s\n", lines[at].c_str());
    }
  }
}

bool play_case(const net::Stage& stage, const Options& options) {
  net::Conductor conductor(stage, options.verbose);
  try {
    conductor.play(options.cycles);
    // A network that does nothing to packets would be no test; a few cycles may have no trouble.
    const net::Traffic& traffic = stage.network->traffic();
    const bool troubled = traffic.lost.load() != 0 && traffic.reordered.load() != 0 &&
                          traffic.twice.load() != 0 && traffic.cut.load() != 0;
    const bool kept = stage.play->promises.load() != 0;
    if (options.cycles >= 20 && !(troubled && kept)) throw std::runtime_error("nothing happened");
    std::printf("%s: ok, %s\n", stage.played.name, conductor.summary().c_str());
    return true;
  } catch (const std::exception& error) {
    std::printf("FAILED %s, --seed %llu --cycles %llu: %s\n  %s\n", stage.played.name,
                static_cast<unsigned long long>(options.seed),
                static_cast<unsigned long long>(options.cycles), error.what(),
                conductor.summary().c_str());
    const auto& log = conductor.log();
    for (std::size_t at = log.size() > 40 ? log.size() - 40 : 0; at < log.size(); ++at) {
      std::printf("  %s\n", log[at].c_str());
    }
    show_logs(stage.directory);
    if (!options.keep.empty()) {
      std::filesystem::copy(stage.directory, options.keep,
                            std::filesystem::copy_options::recursive);
    }
    return false;
  }
}

// Whether this build replicates collections on the Fixed store.
bool replicates_fixed(const std::string& directory) {
  net::Stage stage;
  stage.directory = directory;
  const pid_t child = ::fork();
  if (child == 0) net::probe_fixed(stage);
  int ending = 0;
  ::waitpid(child, &ending, 0);
  const int code = WIFEXITED(ending) ? WEXITSTATUS(ending) : 1;
  if (code != 0 && code != net::kUnable)
    throw std::runtime_error("the probe of the Fixed store failed");
  return code == 0;
}

int run(const Options& options) {
  const test::TempDir directory;
  const test::Caretaker caretaker(directory.path());
  net::Network network(options.seed);
  const bool fixed = replicates_fixed(directory.path());
  unsigned passed = 0, failed = 0, left_out = 0;
  for (const net::Case& played : kCases) {
    if (std::string(played.name).find(options.wanted) == std::string::npos) continue;
    if (played.fixed && !fixed) {
      std::printf("%s: left out, the Fixed store is not replicated by this build\n", played.name);
      ++left_out;
      continue;
    }
    const test::SharedMemory<net::Play> play;
    play->history.batches = play->history.prefixes = !played.fixed;
    net::Stage stage;
    stage.directory = directory.path() + "/case" + std::to_string(passed + failed);
    std::filesystem::create_directory(stage.directory);
    stage.played = played;
    stage.seed = options.seed;
    stage.network = &network;
    stage.play = &*play;
    (play_case(stage, options) ? passed : failed) += 1;
    std::fflush(stdout);
    std::filesystem::remove_all(stage.directory);
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
    return run(read_arguments(count, arguments));
  } catch (const std::exception& error) {
    std::printf("FAILED %s\n0 passed, 1 failed\n", error.what());
    return 1;
  }
}

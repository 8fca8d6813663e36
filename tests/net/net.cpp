// The program of `make net`: replication between real processes over bad networks. Its options are
// those of support/cycle_program.hpp. Needs Linux, /dev/net/tun, and to be root or on a machine
// with user namespaces: it fails where it cannot run.
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "net/conductor.hpp"
#include "support/caretaker.hpp"
#include "support/cycle_program.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace armdb;
using test::CycleOptions;

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

// What led to a failure.
void show_end(const net::Stage& stage, const net::Conductor& conductor) {
  std::printf("%s\n", conductor.summary().c_str());
  const auto& log = conductor.log();
  for (std::size_t at = log.size() > 40 ? log.size() - 40 : 0; at < log.size(); ++at) {
    std::printf("  %s\n", log[at].c_str());
  }
  show_logs(stage.directory);
}

std::string play_case(const net::Stage& stage, const CycleOptions& options) {
  net::Conductor conductor(stage, options.verbose);
  try {
    conductor.play(options.cycles);
    // A network that does nothing to packets would be no test; a few cycles may have no trouble.
    const net::Traffic& traffic = stage.network->traffic();
    const bool troubled = traffic.lost.load() != 0 && traffic.reordered.load() != 0 &&
                          traffic.twice.load() != 0 && traffic.cut.load() != 0;
    const bool kept = stage.play->promises.load() != 0;
    if (options.cycles >= 20 && !(troubled && kept)) throw std::runtime_error("nothing happened");
    return conductor.summary();
  } catch (...) {
    show_end(stage, conductor);
    if (!options.keep.empty()) {
      std::error_code ignored;  // what failed is to be told, whatever becomes of the copy
      std::filesystem::copy(stage.directory, options.keep,
                            std::filesystem::copy_options::recursive, ignored);
    }
    throw;
  }
}

int run(const CycleOptions& options) {
  const test::TempDir directory;
  const test::Caretaker caretaker(directory.path());
  net::Network network(options.seed);
  return test::play_cases(kCases, options, directory.path(),
                          [&](const net::Case& played, const std::string& own) {
                            const test::SharedMemory<net::Play> play;
                            play->history.batches = play->history.prefixes = !played.fixed;
                            return play_case(net::Stage{.directory = own,
                                                        .played = played,
                                                        .seed = options.seed,
                                                        .network = &network,
                                                        .play = &*play},
                                             options);
                          });
}

}  // namespace

int main(int count, char** arguments) { return armdb::test::run_cycles(count, arguments, run); }

// CycleProgram: what the programs of `make net` and `make power` have in common. Each has some
// cases and plays many cycles of one after the other.
//
//   program [--cycles N] [--seed S] [--case TEXT] [--keep FOLDER] [--verbose]
//
// --case: only those with TEXT in their names. --keep: the first case that fails is the last, and
// its files stay there. Closes with "N passed, N failed", a case being one test.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>

namespace armdb::test {

struct CycleOptions {
  std::uint64_t cycles = 25;
  std::uint64_t seed = 0;  // of the clock unless it is given
  std::string wanted, keep;
  bool verbose = false;
};

inline CycleOptions read_cycle_options(int count, char** arguments) {
  CycleOptions options;
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

// Plays those that are wanted, each in a new directory below `directory`; play(case, directory)
// returns a summary, or throws. Returns what the program is to return.
template <class Case, std::size_t kCount, class Play>
int play_cases(const Case (&cases)[kCount], const CycleOptions& options,
               const std::string& directory, Play play) {
  unsigned passed = 0, failed = 0;
  for (const Case& played : cases) {
    if (std::string(played.name).find(options.wanted) == std::string::npos) continue;
    if (failed != 0 && !options.keep.empty()) break;  // what is kept would be written over
    const std::string own = directory + "/case" + std::to_string(passed + failed);
    std::filesystem::create_directory(own);
    try {
      const std::string summary = play(played, own);
      std::printf("ok %s: %s\n", played.name, summary.c_str());
      ++passed;
    } catch (const std::exception& error) {
      std::printf("FAILED %s, --seed %llu --cycles %llu: %s\n", played.name,
                  static_cast<unsigned long long>(options.seed),
                  static_cast<unsigned long long>(options.cycles), error.what());
      ++failed;
    }
    std::fflush(stdout);
    std::filesystem::remove_all(own);
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

// All that main() does.
inline int run_cycles(int count, char** arguments,
                      const std::function<int(const CycleOptions&)>& run) {
  try {
    return run(read_cycle_options(count, arguments));
  } catch (const std::exception& error) {
    std::printf("FAILED %s\n0 passed, 1 failed\n", error.what());
    return 1;
  }
}

}  // namespace armdb::test

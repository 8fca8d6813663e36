// The bench program: arguments, the report, and the order of the groups.
//
//   bench [--filter TEXT,...] [--keys N] [--key-bytes 8|16] [--quick] [--operations N]
//         [--repeats N] [--peers NAME,...] [--folder DIR] [--out FILE]
#include "bench/bench.hpp"

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "bench/store.hpp"

namespace bench {

std::vector<std::uint32_t> uniform_numbers(std::uint64_t bound, std::size_t count,
                                           std::uint64_t seed) {
  Random random(seed);
  std::vector<std::uint32_t> numbers(count);
  for (auto& number : numbers) number = static_cast<std::uint32_t>(random.below(bound));
  return numbers;
}

// Gray et al., "Quickly generating billion-record synthetic databases": as in YCSB.
std::vector<std::uint32_t> zipfian_numbers(std::uint64_t bound, std::size_t count,
                                           std::uint64_t seed) {
  constexpr double kTheta = 0.99;
  double zeta = 0;
  for (std::uint64_t rank = 1; rank <= bound; ++rank) {
    zeta += 1 / std::pow(static_cast<double>(rank), kTheta);
  }
  const auto n = static_cast<double>(bound);
  const double alpha = 1 / (1 - kTheta);
  const double zeta_two = 1 + std::pow(0.5, kTheta);
  const double eta = (1 - std::pow(2 / n, 1 - kTheta)) / (1 - zeta_two / zeta);
  Random random(seed);
  std::vector<std::uint32_t> numbers(count);
  for (auto& number : numbers) {
    const double u = static_cast<double>(random.next() >> 11) * 0x1p-53;
    double rank = 0;
    if (u * zeta >= zeta_two) {
      rank = n * std::pow(eta * u - eta + 1, alpha);
    } else if (u * zeta >= 1) {
      rank = 1;
    }
    number = static_cast<std::uint32_t>(mix64(static_cast<std::uint64_t>(rank)) % bound);
  }
  return numbers;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

Report::Report(const Options& options) : options_(options) {
  out_ = std::fopen(options.out.c_str(), "w");
  if (out_ == nullptr) fail("cannot write " + options.out);
}
Report::~Report() { std::fclose(out_); }

bool has_word_of(const std::string& text, std::string_view words) {
  if (words.empty()) return true;
  while (!words.empty()) {
    const std::size_t end = std::min(words.find(','), words.size());
    if (text.find(words.substr(0, end)) != std::string::npos) return true;
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  return false;
}

bool Report::wanted(const std::string& row) const { return has_word_of(row, options_.filter); }

void Report::add(const std::string& row, const std::string& store, double value) {
  std::vector<Line>& lines = rows_[row];
  for (Line& line : lines) {
    if (line.store == store) return line.values.push_back(value);
  }
  lines.push_back({store, {value}});
}

void Report::failed(const std::string& row, const std::string& store, const std::string& why) {
  failures_[row + " " + store] = why;
  std::fprintf(stderr, "bench: %s, %s: %s\n", row.c_str(), store.c_str(), why.c_str());
}

namespace {
std::string figure(double value) {
  char text[32];
  std::snprintf(text, sizeof text, value < 10 ? "%.2f" : (value < 1000 ? "%.1f" : "%.0f"), value);
  return text;
}
}  // namespace

void Report::finish(const std::string& row, const std::string& unit, const std::string& note) {
  const bool more_is_better = unit.size() > 2 && unit.substr(unit.size() - 2) == "/s";
  double own = 0, best = 0;
  std::string best_name, others;
  for (const Line& line : rows_[row]) {
    const double middle = median(line.values);  // 0: the store knows no such figure
    const auto [low, high] = std::minmax_element(line.values.begin(), line.values.end());
    std::fprintf(out_,
                 "{\"row\":\"%s\",\"store\":\"%s\",\"unit\":\"%s\",\"median\":%.3f,\"min\":%.3f,"
                 "\"max\":%.3f,\"repeats\":%zu,\"keys\":%llu,\"key_bytes\":%zu}\n",
                 row.c_str(), line.store.c_str(), unit.c_str(), middle, *low, *high,
                 line.values.size(), static_cast<unsigned long long>(options_.keys),
                 options_.key_bytes);
    if (line.store == "armdb" || rows_[row].size() == 1) {
      own = middle;
      continue;
    }
    if (middle == 0) continue;
    others += "  " + line.store + " " + figure(middle);
    if (line.store == "raw") continue;  // the disk, not a store
    if (!best_name.empty() && (more_is_better ? middle <= best : middle >= best)) continue;
    best = middle;
    best_name = line.store;
  }
  std::fflush(out_);
  std::string ratio;
  if (!best_name.empty() && own != 0) {
    ratio = figure(more_is_better ? own / best : best / own) + "x " + best_name;
  }
  std::printf("%-30s %9s %-8s %-18s%s%s%s\n", row.c_str(), figure(own).c_str(), unit.c_str(),
              ratio.c_str(), others.c_str(), note.empty() ? "" : "  | ", note.c_str());
  std::fflush(stdout);
}

std::vector<Factory> factories(const std::string& peers) {
  std::vector<Factory> all;
  add_armdb(all);
#ifdef ARMDB_BENCH_PEERS
  add_lmdb(all);
  add_rocksdb(all);
  add_leveldb(all);
  add_sqlite(all);
  add_tkrzw(all);
#endif
  std::erase_if(all, [&](const Factory& factory) {
    return factory.name != "armdb" && !has_word_of(factory.name, peers);
  });
  return all;
}

namespace {

int usage() {
  std::fprintf(stderr,
               "usage: bench [--filter TEXT,...] [--keys N] [--key-bytes 8|16] [--quick]\n"
               "             [--operations N] [--repeats N] [--peers NAME,...] [--folder DIR] "
               "[--out FILE]\n");
  return 2;
}

// bench --victim STORE FOLDER KEY_BYTES KEYS: see run_reopen.
int victim(char** arguments) {
  Setup setup;
  setup.folder = arguments[1];
  setup.key_bytes = static_cast<std::size_t>(std::atoi(arguments[2]));
  setup.keys = std::strtoull(arguments[3], nullptr, 10);
  return run_victim(arguments[0], setup);
}

bool parse(int argc, char** argv, Options& options) {
  for (int at = 1; at < argc; ++at) {
    const std::string name = argv[at];
    if (name == "--quick") {
      options.keys = 100'000;
      options.operations = 50'000;
      options.sync_ms = 50;
      continue;
    }
    if (++at == argc) return false;
    const std::string value = argv[at];
    const auto number = static_cast<std::uint64_t>(std::atoll(value.c_str()));
    if (name == "--filter") {
      options.filter = value;
    } else if (name == "--peers") {
      options.peers = value;
    } else if (name == "--keys") {
      options.keys = number;
    } else if (name == "--operations") {
      options.operations = number;
    } else if (name == "--key-bytes") {
      options.key_bytes = static_cast<std::size_t>(number);
    } else if (name == "--repeats") {
      options.repeats = static_cast<int>(number);
    } else if (name == "--folder") {
      options.folder = value;
    } else if (name == "--out") {
      options.out = value;
    } else {
      return false;
    }
  }
  return options.keys >= 1000 && options.keys < 0xffffffff && options.repeats > 0 &&
         (options.key_bytes == 8 || options.key_bytes == 16);
}

int run(int argc, char** argv) {
  if (argc == 6 && std::string_view(argv[1]) == "--victim") return victim(argv + 2);
  Options options;
  if (!parse(argc, argv, options)) return usage();
  std::filesystem::remove_all(options.folder);
  std::filesystem::create_directories(options.folder);
  Report report(options);
  std::printf(
      "armdb %s, %llu keys of %zu bytes, values of 64; medians of %d repeats, stores in "
      "turn\n%-28s %10s %-8s %-18s  other stores\n",
      std::string(armdb::version()).c_str(), static_cast<unsigned long long>(options.keys),
      options.key_bytes, options.repeats, "row", "armdb", "unit", "ratio to the best");
  std::fflush(stdout);
  run_points(options, report, false);
  run_points(options, report, true);
  run_shards(options, report);
  run_synced(options, report);
  run_variable(options, report);
  run_reopen(options, report);
  run_erasure(options, report);
  run_calls(options, report);
  run_load(options, report);
  run_fixed(options, report);
  run_replication(options, report);
  run_encryption(options, report);
  std::filesystem::remove_all(options.folder);
  std::printf("written to %s\n", options.out.c_str());
  return 0;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  try {
    return bench::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench: %s\n", error.what());
    return 1;
  }
}

// Rows of counters: overwrites of 8-byte keys and 64-byte values at random, one by one and timed
// (the timer's 25 ns included), by 1 and 2 threads. armdb has them in the slots of its Fixed store.
// Nobody syncs, but in the rows named so, where a Compactor syncs armdb every 50 ms.
#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <thread>

#include "bench/store.hpp"

namespace bench {
namespace {

constexpr std::array<double, 4> kShares = {0.5, 0.99, 0.999, 1};
constexpr std::array<const char*, 4> kNames = {"p50", "p99", "p99.9", "max"};

// Of which slots, and who syncs.
enum class Kind { counter, timer, single };

std::string row_name(const char* what, unsigned threads, Kind kind) {
  const char* const kinds[] = {"fixed.counter_", "fixed.timer_", "fixed.single_copy_"};
  return std::string(kinds[static_cast<int>(kind)]) + what + (threads == 1 ? "" : "_2_threads");
}

// The latencies of one thread's overwrites, in ns.
std::vector<std::uint64_t> overwrite(Member& member, const std::vector<std::uint32_t>& numbers) {
  const std::unique_ptr<Session> session = member.store->session();
  KeyBuffer key(member.setup.key_bytes);
  ValueBuffer value(member.setup.value_bytes);
  std::vector<std::uint64_t> times;
  times.reserve(numbers.size());
  for (const std::uint32_t number : numbers) {
    const Bytes bytes = key.make(number);
    const Bytes counter = value.make(times.size());
    const std::uint64_t begin = now_ns();
    session->put(bytes, counter);
    times.push_back(now_ns() - begin);
  }
  return times;
}

void counters(const Options& options, Report& report, Fleet& fleet, unsigned threads, Kind kind) {
  std::map<std::string, std::array<std::vector<double>, kNames.size()>> percentiles;
  const auto numbers = uniform_numbers(options.keys, options.keys, threads);
  fleet.row(
      row_name("mean", threads, kind), "ns/op",
      [&](Member& member, int) {
        std::vector<std::vector<std::uint64_t>> parts(threads);
        std::atomic<bool> failed{false};
        const auto run = [&](unsigned thread) {
          try {
            parts[thread] = overwrite(member, numbers);
          } catch (const std::exception& error) {
            std::fprintf(stderr, "bench: %s\n", error.what());
            failed = true;
          }
        };
        std::vector<std::thread> others;
        for (unsigned thread = 1; thread < threads; ++thread) others.emplace_back(run, thread);
        run(0);
        for (std::thread& other : others) other.join();
        if (failed) fail("a thread failed");
        std::vector<std::uint64_t> times;
        for (const auto& part : parts) times.insert(times.end(), part.begin(), part.end());
        std::sort(times.begin(), times.end());
        for (std::size_t at = 0; at < kShares.size(); ++at) {
          const double place = kShares[at] * static_cast<double>(times.size());
          const std::size_t index = std::min(static_cast<std::size_t>(place), times.size() - 1);
          percentiles[member.factory.name][at].push_back(static_cast<double>(times[index]));
        }
        double sum = 0;
        for (const std::uint64_t time : times) sum += static_cast<double>(time);
        return sum / static_cast<double>(times.size());
      },
      "one overwrite, of each thread");
  for (std::size_t at = 0; at < kNames.size(); ++at) {
    const std::string name = row_name(kNames[at], threads, kind);
    for (const auto& [store, values] : percentiles) {
      for (const double value : values[at]) report.add(name, store, value);
    }
    report.finish(name, "ns");
  }
}

}  // namespace

void run_fixed(const Options& options, Report& report) {
  for (const Kind kind : {Kind::counter, Kind::timer, Kind::single}) {
    const auto wanted = [&](unsigned threads) {
      return report.wanted(row_name("mean", threads, kind));
    };
    if (!wanted(1) && !wanted(2)) continue;
    Setup setup;
    setup.key_bytes = options.key_bytes;
    setup.keys = options.keys;
    setup.fixed = true;
    setup.timer = kind == Kind::timer;
    setup.single_copy = kind == Kind::single;
    Fleet fleet(options, report, "fixed", setup);
    if (kind == Kind::single) fleet.members().resize(1);  // armdb alone
    fleet.load();
    for (const unsigned threads : {1u, 2u}) {
      if (wanted(threads)) counters(options, report, fleet, threads, kind);
    }
  }
}

}  // namespace bench

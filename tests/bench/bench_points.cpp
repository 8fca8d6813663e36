// Rows on one loaded map or tree: load, gets, puts, erases, mixes, counters, scans, ranges.
#include <thread>

#include "bench/store.hpp"

namespace bench {
namespace {

struct Numbers {
  std::vector<std::uint32_t> uniform, zipfian;
};

// One group's state: a fleet and the numbers of the keys to ask for.
struct Points {
  const Options& options;
  Report& report;
  Fleet fleet;
  std::string kind;  // "map" or "tree"
  Numbers numbers;
  std::uint64_t keys;
  std::uint64_t operations;

  Points(const Options& opts, Report& rep, bool ordered)
      : options(opts),
        report(rep),
        fleet(opts, rep, ordered ? "tree" : "map", setup_of(opts, ordered)),
        kind(ordered ? "tree" : "map"),
        keys(opts.keys),
        operations(std::min(opts.operations, opts.keys)) {}
  static Setup setup_of(const Options& options, bool ordered) {
    Setup setup;
    setup.key_bytes = options.key_bytes;
    setup.ordered = ordered;
    setup.keys = options.keys;
    return setup;
  }
  [[nodiscard]] std::string name(const char* row) const { return kind + "." + row; }
};

double get_all(Member& member, const std::vector<std::uint32_t>& numbers, std::uint64_t shift,
               bool there) {
  KeyBuffer key(member.setup.key_bytes);
  std::uint8_t out[64];
  std::uint64_t found = 0;
  const double time = per_operation(numbers.size(), [&] {
    for (const std::uint32_t number : numbers) {
      found += member.session->get(key.make(number + shift), out) ? 1 : 0;
    }
  });
  if (found != (there ? numbers.size() : 0)) fail("a get answered wrongly");
  return time;
}

double put_all(Member& member, const std::vector<std::uint32_t>& numbers, int repeat) {
  KeyBuffer key(member.setup.key_bytes);
  ValueBuffer value(member.setup.value_bytes);
  return per_operation(numbers.size(), [&] {
    for (const std::uint32_t number : numbers) {
      member.session->put(key.make(number), value.make(number + static_cast<unsigned>(repeat)));
    }
  });
}

void rows_load(Points& points) {
  Fleet& fleet = points.fleet;
  fleet.row(
      points.name("load"), "ns/op",
      [&](Member& member, int) {
        member.open(true);
        return per_operation(points.keys,
                             [&] { load_keys(*member.session, member.setup, 0, points.keys); });
      },
      "random keys, batches of 1000");
  fleet.load();
  fleet.row(
      points.name("memory_per_key"), "bytes",
      [&](Member& member, int) { return member.store->memory_per_key(); },
      "index and buffers; 8+64 is the payload", 1);
  fleet.row(
      points.name("disk_per_key"), "bytes",
      [&](Member& member, int) {
        return static_cast<double>(disk_bytes(member.setup.folder)) /
               static_cast<double>(points.keys);
      },
      "blocks allocated", 1);
}

void rows_get(Points& points) {
  Fleet& fleet = points.fleet;
  const auto& uniform = points.numbers.uniform;
  fleet.row(points.name("get_hit"), "ns/op",
            [&](Member& member, int) { return get_all(member, uniform, 0, true); });
  fleet.row(points.name("get_miss"), "ns/op", [&](Member& member, int) {
    return get_all(member, uniform, std::uint64_t{1} << 40, false);
  });
  fleet.row(points.name("get_zipf"), "ns/op",
            [&](Member& member, int) { return get_all(member, points.numbers.zipfian, 0, true); });
  fleet.row(points.name("get_many_32"), "ns/key", [&](Member& member, int) {
    std::vector<KeyBuffer> buffers(32, KeyBuffer(member.setup.key_bytes));
    Bytes keys[32];
    std::vector<std::uint8_t> out(32 * 64);
    const std::size_t rounds = uniform.size() / 32;
    bool all = true;
    const double time = per_operation(rounds * 32, [&] {
      for (std::size_t round = 0; round < rounds; ++round) {
        for (std::size_t at = 0; at < 32; ++at) {
          keys[at] = buffers[at].make(uniform[round * 32 + at]);
        }
        all = member.session->get_many(keys, out.data(), 64) && all;
      }
    });
    if (!all) fail("a key is missing");
    return time;
  });
  fleet.row(points.name("get_hit_2_threads"), "ns/op", [&](Member& member, int) {
    const auto work = [&] {
      Member mine;
      mine.setup = member.setup;
      mine.setup.folder.clear();  // nothing of the store's is this thread's to remove
      mine.session = member.store->session();
      get_all(mine, uniform, 0, true);
    };
    return per_operation(2 * uniform.size(), [&] {
      std::thread other(work);
      work();
      other.join();
    });
  });
}

void rows_put(Points& points) {
  Fleet& fleet = points.fleet;
  const auto& uniform = points.numbers.uniform;
  fleet.row(points.name("overwrite"), "ns/op",
            [&](Member& member, int repeat) { return put_all(member, uniform, repeat); });
  fleet.row(
      points.name("overwrite_batch"), "ns/op",
      [&](Member& member, int) {
        const std::uint64_t count = points.operations;
        return per_operation(count, [&] { load_keys(*member.session, member.setup, 0, count); });
      },
      "batches of 1000");
  const auto fresh = [&](Member& member, bool erase) {
    KeyBuffer key(member.setup.key_bytes);
    ValueBuffer value(64);
    bool all = true;
    const double time = per_operation(points.operations, [&] {
      for (std::uint64_t at = 0; at < points.operations; ++at) {
        const Bytes bytes = key.make(points.keys + at);
        if (erase) {
          all = member.session->erase(bytes) && all;
        } else {
          member.session->put(bytes, value.make(at));
        }
      }
    });
    if (!all) fail("an erase found nothing");
    return time;
  };
  fleet.row(points.name("put_new"), "ns/op", [&](Member& member, int) {
    const double time = fresh(member, false);
    fresh(member, true);
    return time;
  });
  fleet.row(points.name("erase"), "ns/op", [&](Member& member, int) {
    fresh(member, false);
    member.store->settle();
    return fresh(member, true);
  });
}

double mixed(Member& member, const std::vector<std::uint32_t>& numbers, std::uint64_t writes) {
  KeyBuffer key(member.setup.key_bytes);
  ValueBuffer value(64);
  std::uint8_t out[64];
  Random random(writes);
  std::vector<bool> write(numbers.size());
  for (std::size_t at = 0; at < numbers.size(); ++at) write[at] = random.below(100) < writes;
  bool all = true;
  const double time = per_operation(numbers.size(), [&] {
    for (std::size_t at = 0; at < numbers.size(); ++at) {
      const Bytes bytes = key.make(numbers[at]);
      if (write[at]) {
        member.session->put(bytes, value.make(at));
      } else {
        all = member.session->get(bytes, out) && all;
      }
    }
  });
  if (!all) fail("a get found nothing");
  return time;
}

// Latencies of single overwrites, timer included (about 25 ns).
void rows_counters(Points& points) {
  std::map<std::string, std::vector<double>> percentiles[4];
  const double shares[] = {0.5, 0.99, 0.999, 1};
  const char* names[] = {"counter_p50", "counter_p99", "counter_p99.9", "counter_max"};
  if (!points.report.wanted(points.name("counter_mean"))) return;  // all of them or none
  points.fleet.row(points.name("counter_mean"), "ns/op", [&](Member& member, int) {
    KeyBuffer key(member.setup.key_bytes);
    ValueBuffer value(64);
    std::vector<std::uint64_t> times;
    times.reserve(points.operations);
    for (const std::uint32_t number : points.numbers.uniform) {
      const Bytes bytes = key.make(number);
      const Bytes counter = value.make(times.size());
      const std::uint64_t begin = now_ns();
      member.session->put(bytes, counter);
      times.push_back(now_ns() - begin);
    }
    double sum = 0;
    for (const std::uint64_t time : times) sum += static_cast<double>(time);
    std::sort(times.begin(), times.end());
    for (std::size_t at = 0; at < 4; ++at) {
      const auto place = static_cast<std::size_t>(shares[at] * static_cast<double>(times.size()));
      percentiles[at][member.factory.name].push_back(
          static_cast<double>(times[std::min(place, times.size() - 1)]));
    }
    return sum / static_cast<double>(times.size());
  });
  for (std::size_t at = 0; at < 4; ++at) {
    for (auto& member : points.fleet.members()) {
      for (const double value : percentiles[at][member->factory.name]) {
        points.report.add(points.name(names[at]), member->factory.name, value);
      }
    }
    points.report.finish(points.name(names[at]), "ns");
  }
}

double range_all(Member& member, const std::vector<std::uint32_t>& numbers, bool descending,
                 std::uint64_t limit) {
  KeyBuffer key(member.setup.key_bytes);
  const std::size_t count = std::max<std::size_t>(numbers.size() / 20, 1000);
  std::uint64_t seen = 0;
  const double time = per_operation(count, [&] {
    for (std::size_t at = 0; at < count; ++at) {
      seen += member.session->walk({key.make(numbers[at]), {}, descending, limit});
    }
  });
  if (seen + 200 * 100 < count * limit) fail("ranges came out short");
  return time;
}

void rows_scan(Points& points) {
  Fleet& fleet = points.fleet;
  for (const bool descending : {false, true}) {
    fleet.row(points.name(descending ? "scan_reverse" : "scan_forward"), "ns/key",
              [&](Member& member, int) {
                std::uint64_t seen = 0;
                const double time = per_operation(points.keys, [&] {
                  seen = member.session->walk({{}, {}, descending});
                });
                if (seen != points.keys) fail("a scan saw " + std::to_string(seen) + " keys");
                return time;
              });
    fleet.row(points.name(descending ? "range_100_reverse" : "range_100"), "ns/op",
              [&](Member& member, int) {
                return range_all(member, points.numbers.uniform, descending, 100);
              });
  }
}

void rows_compaction(Points& points) {
  Setup setup = Points::setup_of(points.options, points.kind == "tree");
  setup.keys = std::max<std::uint64_t>(points.keys / 4, 1000);
  if (!points.report.wanted(points.name("compact_4x"))) return;
  for (auto& member : points.fleet.members()) member->close();
  Fleet fleet(points.options, points.report, "compact_" + points.kind, setup);
  std::map<std::string, std::vector<double>> before, after;
  fleet.row(
      points.name("compact_4x"), "ms",
      [&](Member& member, int) {
        member.open(true);
        for (int round = 0; round < 4; ++round) {
          load_keys(*member.session, member.setup, 0, member.setup.keys);
        }
        const auto keys = static_cast<double>(member.setup.keys);
        before[member.factory.name].push_back(static_cast<double>(disk_bytes(member.setup.folder)) /
                                              keys);
        bool done = false;
        const double time = per_operation(1, [&] { done = member.store->compact(); });
        after[member.factory.name].push_back(static_cast<double>(disk_bytes(member.setup.folder)) /
                                             keys);
        member.close();
        return done ? time / 1e6 : 0;
      },
      "a quarter of the keys, each written 4 times");
  for (const bool late : {false, true}) {
    const std::string name = points.name(late ? "disk_compacted" : "disk_overwritten_4x");
    for (auto& [store, values] : late ? after : before) {
      for (const double value : values) points.report.add(name, store, value);
    }
    points.report.finish(name, "bytes", "per key");
  }
}

}  // namespace

void run_points(const Options& options, Report& report, bool ordered) {
  const std::vector<const char*> rows = {
      "load",         "memory_per_key", "disk_per_key",      "get_hit",          "get_miss",
      "get_zipf",     "get_many_32",    "get_hit_2_threads", "overwrite",        "overwrite_batch",
      "put_new",      "erase",          "mixed_50_50",       "mixed_95_5",       "counter_p50",
      "counter_p99",  "counter_p99.9",  "counter_max",       "counter_mean",     "compact_4x",
      "scan_forward", "scan_reverse",   "range_100",         "range_100_reverse"};
  Points points(options, report, ordered);
  bool any = false, any_loaded = false;
  for (const char* row : rows) {
    if (!report.wanted(points.name(row))) continue;
    any = true;
    any_loaded = any_loaded || std::string_view(row) != "compact_4x";
  }
  if (!any) return;
  points.numbers = {uniform_numbers(options.keys, points.operations, 1),
                    zipfian_numbers(options.keys, points.operations, 2)};
  if (any_loaded) {
    rows_load(points);
    rows_get(points);
    if (ordered) rows_scan(points);
    rows_put(points);
    points.fleet.row(
        points.name("mixed_50_50"), "ns/op",
        [&](Member& member, int) { return mixed(member, points.numbers.zipfian, 50); }, "zipfian");
    points.fleet.row(
        points.name("mixed_95_5"), "ns/op",
        [&](Member& member, int) { return mixed(member, points.numbers.zipfian, 5); }, "zipfian");
    rows_counters(points);
  }
  rows_compaction(points);
}

}  // namespace bench

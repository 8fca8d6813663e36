// bench: what this machine does with a fresh collection, in nanoseconds per operation.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <utility>

#include "cli/commands.hpp"
#include "cli/open_collection.hpp"
#include "cli/output.hpp"
#include "cli/text_format.hpp"

namespace armdb::cli {

namespace {

using Clock = std::chrono::steady_clock;

// Removes what the bench made, whatever ends it.
class Cleanup {
 public:
  void remove_later(std::string path) { path_ = std::move(path); }
  Cleanup() = default;
  ~Cleanup() {
    std::error_code error;
    if (!path_.empty()) std::filesystem::remove_all(path_, error);
  }
  Cleanup(const Cleanup&) = delete;
  Cleanup& operator=(const Cleanup&) = delete;

 private:
  std::string path_;
};

struct Plan {
  Shape shape;
  std::uint64_t entries = 0;
  std::uint32_t value_bytes = 0;
};

// Distinct keys in no order: a mix of the number that loses none of it (splitmix64).
void make_key(std::uint64_t number, std::uint8_t* key) {
  number += 0x9e3779b97f4a7c15u;
  number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9u;
  number = (number ^ (number >> 27)) * 0x94d049bb133111ebu;
  number ^= number >> 31;
  std::memcpy(key, &number, sizeof number);
}

// Visits all numbers below the count, in another order than they were put.
std::uint64_t shuffled(std::uint64_t at, std::uint64_t count) {
  constexpr std::uint64_t kStride = std::uint64_t{7919} * 104729;
  return count % 7919 == 0 || count % 104729 == 0 ? at : (at % count) * (kStride % count) % count;
}

class Bench {
 public:
  Bench(Collection& collection, const Plan& plan)
      : collection_(collection),
        plan_(plan),
        key_(plan.shape.key_size),
        value_(plan.value_bytes, 0x61) {}

  void run() {
    print("operation       entries     ns/op   operations/s\n");
    report("put", plan_.entries, puts());
    report("get", plan_.entries, gets());
    if (plan_.shape.payload == Payload::value) {
      report("get_many", plan_.entries, many_gets());
    }
    report("scan", plan_.entries, scan());
    const auto [synced, time] = synced_puts();
    report("put, synced", synced, time);
  }

 private:
  static void report(std::string name, std::uint64_t operations, Clock::duration time) {
    const double each =
        std::chrono::duration<double, std::nano>(time).count() / static_cast<double>(operations);
    const auto rate = static_cast<std::uint64_t>(each > 0 ? 1e9 / each : 0);
    name.resize(11, ' ');
    print(name + right(grouped(operations), 12) + right(fixed_text(each, each < 100 ? 1 : 0), 10) +
          right(grouped(rate), 15) + "\n");
  }

  static std::string right(std::string text, std::size_t width) {
    if (text.size() < width) text.insert(0, width - text.size(), ' ');
    return text;
  }

  void put(std::uint64_t number, WriteOptions options) {
    make_key(number, key_.data());
    if (value_.size() >= sizeof number) std::memcpy(value_.data(), &number, sizeof number);
    check(collection_.put(key_, value_, options), "cannot put");
  }

  static void expect_all(std::uint64_t found, std::uint64_t wanted) {
    if (found == wanted) return;
    throw Stop{kFailed, "found " + counted(found, "entry", "entries") + " of " + grouped(wanted) +
                            " that were put; this is a fault of armdb, please report it"};
  }

  Clock::duration puts() {
    const Clock::time_point start = Clock::now();
    for (std::uint64_t at = 0; at < plan_.entries; ++at) put(at, {});
    return Clock::now() - start;
  }

  Clock::duration gets() {
    std::uint64_t found = 0;
    const Clock::time_point start = Clock::now();
    for (std::uint64_t at = 0; at < plan_.entries; ++at) {
      make_key(shuffled(at, plan_.entries), key_.data());
      if (plan_.shape.payload == Payload::value) {
        if (collection_.get_into(key_.data(), value_.data())) ++found;
        continue;
      }
      const Result<bool> read = collection_.read(key_, [](Bytes) {});
      check(read.status(), "cannot get");
      if (*read) ++found;
    }
    const Clock::duration time = Clock::now() - start;
    expect_all(found, plan_.entries);
    return time;
  }

  Clock::duration many_gets() {
    constexpr std::uint64_t kGroup = 64;
    std::vector<std::uint8_t> keys(kGroup * key_.size()), values(kGroup * value_.size() + 1);
    std::vector<BytesLookup> lookups(kGroup);
    std::uint64_t found = 0;
    const Clock::time_point start = Clock::now();
    for (std::uint64_t at = 0; at < plan_.entries; at += kGroup) {
      const std::uint64_t count = std::min(kGroup, plan_.entries - at);
      for (std::uint64_t one = 0; one < count; ++one) {
        std::uint8_t* const key = keys.data() + one * key_.size();
        make_key(shuffled(at + one, plan_.entries), key);
        lookups[one] = {key, values.data() + one * value_.size(), false};
      }
      collection_.get_many({lookups.data(), static_cast<std::size_t>(count)});
      for (std::uint64_t one = 0; one < count; ++one) found += lookups[one].found ? 1 : 0;
    }
    const Clock::duration time = Clock::now() - start;
    expect_all(found, plan_.entries);
    return time;
  }

  Clock::duration scan() {
    std::uint64_t found = 0;
    const Clock::time_point start = Clock::now();
    if (plan_.shape.ordered) {
      Cursor cursor = collection_.cursor(Bound<Bytes>::none(), Bound<Bytes>::none(), false);
      for (; cursor.valid(); cursor.next()) ++found;
      check(cursor.status(), "cannot scan");
    } else {
      const auto count = [&](Bytes, Bytes) {
        ++found;
        return true;
      };
      check(collection_.for_each(count, false), "cannot scan");
    }
    const Clock::duration time = Clock::now() - start;
    expect_all(found, plan_.entries);
    return time;
  }

  // As many as a slow disk does in about two seconds.
  std::pair<std::uint64_t, Clock::duration> synced_puts() {
    constexpr std::uint64_t kMost = 20000;
    WriteOptions options;
    options.sync = true;
    const Clock::time_point start = Clock::now();
    std::uint64_t done = 0;
    while (done < kMost && Clock::now() - start < std::chrono::seconds(2)) {
      put(plan_.entries + done++, options);
    }
    return {done, Clock::now() - start};
  }

  Collection& collection_;
  const Plan& plan_;
  std::vector<std::uint8_t> key_;
  std::vector<std::uint8_t> value_;
};

Plan plan_from(const Arguments& arguments) {
  arguments.at_most_one_of({"tree", "map"});
  Plan plan;
  plan.entries = arguments.number("entries", 500000, 1, 1000000000);
  plan.shape.ordered = !arguments.has("map");
  plan.shape.key_size = static_cast<std::uint32_t>(arguments.number("key-size", 16, 8, 1024));
  plan.value_bytes = static_cast<std::uint32_t>(arguments.number("value-size", 100, 0, 65536));
  arguments.at_most_one_of({"var", "fixed"});
  if (arguments.has("var")) {
    plan.shape.payload = Payload::location;
  } else {
    plan.shape.value_size = plan.value_bytes;
  }
  plan.shape.fixed = arguments.has("fixed");
  return plan;
}

// A name in the directory that is not taken.
std::string fresh_path(const std::string& directory) {
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error)) {
    throw Stop{kFailed, "\"" + directory + "\" is no directory; name one for the bench to use"};
  }
  auto number = static_cast<std::uint64_t>(Clock::now().time_since_epoch().count());
  for (;; ++number) {
    std::string path = directory + "/armdb-bench-" + std::to_string(number);
    if (!std::filesystem::exists(path, error)) return path;
  }
}

int run_bench(const Arguments& arguments, Console& console) {
  const bool in_memory = arguments.has("memory");
  if (in_memory != arguments.operands().empty()) {
    wrong_use(in_memory ? "a DIRECTORY and --memory do not go together; give one of them"
                        : "say where: bench DIRECTORY, or bench --memory");
  }
  const Plan plan = plan_from(arguments);
  Config config;
  config.shard_count = static_cast<std::uint32_t>(arguments.number("shards", 0, 1, 256));
  // In this order: the collection goes first, then what it lies on.
  Owned<FileSystem> memory;
  Cleanup cleanup;
  Collection collection;
  if (in_memory) {
    memory = make_memory_file_system();
    config.file_system = memory.get();
    console.settle(config);
    Result<Collection> opened = Collection::open("bench", plan.shape, config);
    if (!opened.ok()) fail(opened.status(), "cannot create a collection in memory");
    collection = std::move(*opened);
  } else {
    const std::string path = fresh_path(arguments.operands()[0]);
    cleanup.remove_later(path);
    collection = create_collection(path, plan.shape, console, config);
  }
  print(shape_text(plan.shape) +
        (arguments.has("var") ? " (" + counted(plan.value_bytes, "byte", "bytes") + ")" : "") +
        ", " + counted(collection.stats().shards, "shard", "shards") + ", one thread, " +
        (in_memory ? "in memory" : "in " + one_line(arguments.operands()[0])) + "\n");
  Bench(collection, plan).run();
  close_collection(collection);
  return kWell;
}

}  // namespace

Command bench_command() {
  Command command;
  command.name = "bench";
  command.operands = "DIRECTORY | --memory";
  command.summary = "measure this machine";
  command.details =
      "Makes a fresh collection in DIRECTORY (a new name of its own), measures single-threaded\n"
      "puts, gets, scans and synced puts on it, and removes it again.";
  command.operands_min = 0;
  command.operands_max = 1;
  command.options = {
      {'n', "entries", "N", "how many (default 500000)"},
      {0, "tree", "", "an ordered collection (the default)"},
      {0, "map", "", "one without order"},
      {0, "key-size", "N", "bytes of each key, 8 to 1024 (default 16)"},
      {0, "value-size", "N", "bytes of each value, 0 to 65536 (default 100)"},
      {0, "var", "", "values of any length: they stay on disk"},
      {0, "fixed", "", "on the Fixed store: slots that are written in place"},
      {0, "shards", "N", "independent parts (default: one per core, 8 at most)"},
      {0, "memory", "", "on files in memory instead of a directory"},
  };
  add_common_options(command);
  command.run = run_bench;
  return command;
}

}  // namespace armdb::cli

// make demo: indexes the C and C++ headers of this machine, asks, reopens, compacts and checks.
//
//   demo [DIRECTORY]     default /usr/include; data goes to build/demo-data (ARMDB_DEMO_DATA)
//
// Leaves with 0 when everything was found again, 1 when not or when there is nothing to index.
#include <atomic>
#include <cinttypes>
#include <random>
#include <thread>

#include "demo_store.hpp"
#include "identifiers.hpp"

namespace demo {
namespace {

constexpr std::size_t kBatchBytes = std::size_t{24} << 20;

struct Totals {
  std::atomic<std::uint64_t> files{0}, unreadable{0}, binary{0}, bytes{0}, places{0}, merges{0};
};

void say(const char* what, double seconds, double operations, const char* unit) {
  std::printf("  %-44s %7.2f s", what, seconds);
  if (operations > 0 && seconds > 0) std::printf("  %10.0f %s/s", operations / seconds, unit);
  std::printf("\n");
  std::fflush(stdout);
}
double mib(std::uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

// ---- Indexing ----

struct Work {
  const std::vector<std::string>& paths;
  Collections& into;
  Totals totals;
  std::atomic<std::uint32_t> next{0};
  std::array<std::mutex, Batch::kParts> locks;
};

void index_file(Work& work, std::uint32_t file, std::string& text, Batch& batch) {
  const ReadFile outcome = read_file(work.paths[file], text);
  if (outcome == ReadFile::unreadable) work.totals.unreadable += 1;
  if (outcome == ReadFile::binary) work.totals.binary += 1;
  if (outcome != ReadFile::text) return;
  std::unordered_map<Identifier, std::vector<std::uint32_t>, Hash> found;
  Identifiers identifiers(text);
  std::string_view word;
  std::uint32_t line = 0;
  while (identifiers.next(word, line)) {
    std::vector<std::uint32_t>& lines = found[identifier_of(word)];
    if (lines.empty() || lines.back() != line) lines.push_back(line);
  }
  std::uint64_t places = 0;
  for (const auto& [identifier, lines] : found) {
    batch.add(identifier, file, lines);
    places += lines.size();
  }
  work.totals.files += 1;
  work.totals.bytes += text.size();
  work.totals.places += places;
  check(work.into.files.put(file, armdb::Bytes(work.paths[file])), "writing files");
}

void index_some(Work& work, std::size_t worker) {
  Batch batch;
  std::string text;
  for (;;) {
    const std::uint32_t file = work.next.fetch_add(1);
    if (file >= work.paths.size()) break;
    index_file(work, file, text, batch);
    if (batch.bytes() < kBatchBytes) continue;
    batch.merge(work.into, work.locks, worker);
    work.totals.merges += 1;
  }
  batch.merge(work.into, work.locks, worker);
  work.totals.merges += 1;
}

void build(const std::vector<std::string>& paths, Collections& all) {
  Work work{paths, all, {}, {}, {}};
  const Timer timer;
  std::thread other(index_some, std::ref(work), 1);
  index_some(work, 0);
  other.join();
  const double seconds = timer.seconds();
  const Totals& totals = work.totals;
  if (totals.files == 0) fail("no file could be read");
  std::printf("  %" PRIu64 " files, %.1f MiB of text", totals.files.load(), mib(totals.bytes));
  if (totals.binary + totals.unreadable != 0) {
    std::printf(" (left out: %" PRIu64 " binary, %" PRIu64 " unreadable)", totals.binary.load(),
                totals.unreadable.load());
  }
  std::printf("\n  %zu identifiers at %" PRIu64 " places, merged in %" PRIu64 " batches\n",
              all.counts.size(), totals.places.load(), totals.merges.load());
  say("read, split and stored by two threads", seconds, static_cast<double>(totals.places),
      "places");
  const Timer sync_timer;
  check(all.places.sync(), "sync");
  check(all.counts.sync(), "sync");
  check(all.files.sync(), "sync");
  say("made safe against a power cut: sync()", sync_timer.seconds(), 0, "");
}

// ---- Asking ----

void show_prefix(const Collections& all, std::string_view prefix) {
  std::size_t hits = 0;
  std::vector<Place> places;
  for (const auto& [identifier, value] : all.places.prefix(prefix)) {
    if (!value.ok()) fail("reading a value: " + value.message());
    if (++hits > 3) continue;
    if (!decode_places(*value, places) || places.empty()) fail("a list of places is damaged");
    const auto count = all.counts.get(identifier);
    if (!count) fail("an identifier without a count");
    const auto path = take(all.files.get(places.front().file), "reading a path");
    if (!path) fail("a file number without a path");
    const std::string_view name = text_of(identifier);
    std::printf("    %-34.*s %6" PRIu64 " places, such as %.*s:%u\n", static_cast<int>(name.size()),
                name.data(), number_of(*count), static_cast<int>(path->size()), path->text().data(),
                places.front().line);
  }
  std::printf("    \"%.*s\": %zu identifiers begin so\n", static_cast<int>(prefix.size()),
              prefix.data(), hits);
}

std::vector<Identifier> all_identifiers(const Collections& all) {
  std::vector<Identifier> identifiers;
  identifiers.reserve(all.places.size());
  for (const Identifier& identifier : all.places.keys()) identifiers.push_back(identifier);
  return identifiers;
}

void ask(const Collections& all) {
  std::size_t shown = 0;
  for (const char* prefix : {"pthread_mutex_", "unordered_m", "SSL_CTX_", "list_", "init"}) {
    const auto range = all.places.keys_with_prefix(prefix);
    if (shown == 2 || range.begin() == range.end()) continue;
    show_prefix(all, prefix);
    ++shown;
  }
  const Timer walk_timer;
  const std::vector<Identifier> identifiers = all_identifiers(all);
  say("all identifiers, in order", walk_timer.seconds(), static_cast<double>(identifiers.size()),
      "keys");
  if (identifiers.empty()) fail("nothing was found again");
  if (shown == 0) show_prefix(all, text_of(identifiers[identifiers.size() / 2]).substr(0, 3));

  std::mt19937_64 random(1);
  constexpr int kLookups = 200'000, kPrefixes = 20'000;
  std::uint64_t sum = 0;
  const Timer get_timer;
  for (int at = 0; at < kLookups; ++at) {
    const auto count = all.counts.get(identifiers[random() % identifiers.size()]);
    if (!count) fail("a count is missing");
    sum += number_of(*count);
  }
  say("counts of random identifiers", get_timer.seconds(), kLookups, "gets");
  const Timer read_timer;
  for (int at = 0; at < kLookups; ++at) {
    const Identifier& identifier = identifiers[random() % identifiers.size()];
    const auto there =
        all.places.read(identifier, [&](armdb::Bytes value) { sum += value.size(); });
    if (!there.ok() || !*there) fail("a list of places is missing");
  }
  say("places of random identifiers", read_timer.seconds(), kLookups, "reads");
  const Timer prefix_timer;
  for (int at = 0; at < kPrefixes; ++at) {
    const std::string_view name = text_of(identifiers[random() % identifiers.size()]);
    int left = 20;
    for (const Identifier& found : all.places.keys_with_prefix(name.substr(0, 5))) {
      sum += found[0];
      if (--left == 0) break;
    }
  }
  say("first 20 identifiers of a random prefix", prefix_timer.seconds(), kPrefixes, "queries");
  if (sum == 0) fail("every answer was empty");
}

// ---- Reopening, overwriting, compacting ----

void reopen(Collections& all, const std::string& folder) {
  const Timer close_timer;
  all.close();
  say("closed (syncs, writes hints)", close_timer.seconds(), 0, "");
  const Timer open_timer;
  all = Collections::open(folder);
  const double seconds = open_timer.seconds();
  const armdb::Stats a = all.places.stats(), b = all.counts.stats(), c = all.files.stats();
  const std::uint64_t hint = a.opened_by_hint + b.opened_by_hint + c.opened_by_hint;
  const std::uint64_t scan = a.opened_by_scan + b.opened_by_scan + c.opened_by_scan;
  say("opened again", seconds, static_cast<double>(hint + scan), "entries");
  std::printf(
      "    %" PRIu64 " keys read from hint files (places, files), %" PRIu64
      " entries from logs (counts: its values\n    live in memory, so opening reads them)\n",
      hint, scan);
}

// Sorts every list of places, and puts every count once more.
void overwrite(Collections& all) {
  const std::vector<Identifier> identifiers = all_identifiers(all);
  std::vector<Place> places;
  std::vector<std::uint32_t> lines;
  const Timer timer;
  for (const Identifier& identifier : identifiers) {
    const auto value = take(all.places.get(identifier), "reading places");
    if (!value || !decode_places(*value, places)) fail("a list of places is damaged");
    std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
      return a.file != b.file ? a.file < b.file : a.line < b.line;
    });
    Encoded sorted;
    for (std::size_t at = 0; at < places.size();) {
      const std::uint32_t file = places[at].file;
      lines.clear();
      for (; at < places.size() && places[at].file == file; ++at) lines.push_back(places[at].line);
      append_run(sorted, file, lines);
    }
    check(all.places.put(identifier, sorted), "overwriting places");
    check(all.counts.put(identifier, count_of(places.size())), "overwriting counts");
  }
  say("overwritten: every list and count", timer.seconds(),
      static_cast<double>(2 * identifiers.size()), "puts");
}

std::uint64_t file_bytes(const Collections& all) {
  return all.places.stats().file_bytes + all.counts.stats().file_bytes +
         all.files.stats().file_bytes;
}

void compact(Collections& all) {
  // Compaction takes sealed segments; a checkpoint seals the ones in use.
  check(all.places.checkpoint(), "checkpoint");
  check(all.counts.checkpoint(), "checkpoint");
  const std::uint64_t before = file_bytes(all);
  const Timer timer;
  check(all.places.compact(), "compacting places");
  check(all.counts.compact(), "compacting counts");
  const double seconds = timer.seconds();
  say("compacted", seconds, 0, "");
  std::printf("    %.1f MiB of files before, %.1f MiB after\n", mib(before), mib(file_bytes(all)));
}

// ---- Checking ----

template <class C> void verify(const char* name, C& collection) {
  const Timer timer;
  const armdb::VerifyReport report = take(collection.verify(), "verify");
  std::printf("    %-8s %9" PRIu64 " entries in %3" PRIu64
              " segments, %8.1f MiB read, damage: %" PRIu64 "\n",
              name, report.entries, report.segments, mib(report.bytes), report.damaged_regions);
  if (report.damaged_regions != 0) fail("verify found damage");
}

// Every list must hold as many places as its count says, and nobody may have one alone.
std::uint64_t compare(Collections& all) {
  std::vector<Place> places;
  std::uint64_t total = 0, identifiers = 0;
  const auto range = all.places.iter();
  auto at = range.begin();
  for (; at != range.end(); ++at) {
    if (!at->value.ok()) fail("reading places: " + at->value.message());
    if (!decode_places(*at->value, places)) fail("a list of places is damaged");
    const auto count = all.counts.get(at->key);
    if (!count || number_of(*count) != places.size()) {
      fail("the count of " + std::string(text_of(at->key)) + " differs from its places");
    }
    total += places.size();
    identifiers += 1;
  }
  check(at.status(), "walking over places");
  if (identifiers != all.places.size() || identifiers != all.counts.size()) {
    fail("the collections differ in size");
  }
  return total;
}

void check_all(Collections& all, std::uint64_t& places_before) {
  const Timer timer;
  verify("places", all.places);
  verify("counts", all.counts);
  verify("files", all.files);
  const std::uint64_t places = compare(all);
  if (places_before != 0 && places != places_before) fail("places were lost or invented");
  places_before = places;
  say("verified, and both collections agree", timer.seconds(), static_cast<double>(places),
      "places");
}

void print_sizes(const Collections& all) {
  const auto line = [](const char* name, const armdb::Stats& stats) {
    std::printf("    %-8s %9" PRIu64
                " keys, files %7.1f MiB (%4.1f MiB dead), index %6.1f MiB ("
                "%.0f bytes a key), %" PRIu64 " shards\n",
                name, stats.entries, mib(stats.file_bytes), mib(stats.dead_bytes),
                mib(stats.index_bytes), stats.index_bytes_per_key, stats.shards);
  };
  line("places", all.places.stats());
  line("counts", all.counts.stats());
  line("files", all.files.stats());
}

int run(const std::string& root) {
  const char* data = std::getenv("ARMDB_DEMO_DATA");
  const std::string folder = data != nullptr ? data : "build/demo-data";
  std::printf("armdb %s: an index of the C and C++ sources below %s\n",
              std::string(armdb::version()).c_str(), root.c_str());
  const Timer whole;
  std::string trouble;
  const std::vector<std::string> paths = find_sources(root, trouble);
  if (!trouble.empty()) std::fprintf(stderr, "demo: %s\n", trouble.c_str());
  if (paths.empty()) {
    fail("no C or C++ files below " + root +
         "\n    fix: name a tree that has some: make demo "
         "DEMO_DIR=/path/to/sources");
  }
  std::error_code error;
  std::filesystem::remove_all(folder, error);
  std::filesystem::create_directories(folder, error);
  if (error) fail(folder + ": " + error.message());

  std::printf("\nStoring\n");
  Collections all = Collections::open(folder);
  build(paths, all);
  std::uint64_t places = 0;
  std::printf("\nAsking\n");
  ask(all);
  std::printf("\nReopening\n");
  reopen(all, folder);
  check_all(all, places);
  std::printf("\nOverwriting and compacting\n");
  overwrite(all);
  compact(all);
  check_all(all, places);
  reopen(all, folder);
  check_all(all, places);
  std::printf("\nSizes\n");
  print_sizes(all);
  all.close();
  std::printf("\nok: everything stored was found again, %.1f s in all; data is in %s\n",
              whole.seconds(), folder.c_str());
  return 0;
}

}  // namespace
}  // namespace demo

int main(int argc, char** argv) {
  if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
    std::fprintf(stderr, "usage: demo [DIRECTORY]\n");
    return argc == 2 && std::string_view(argv[1]) == "--help" ? 0 : 2;
  }
  return demo::run(argc == 2 ? argv[1] : "/usr/include");
}

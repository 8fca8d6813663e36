// Rows on empty trees that take keys in ascending order: by plain puts, and by the way that a store
// has for keys above all others; in transactions of 1000, and in one.
#include <algorithm>

#include "bench/store.hpp"

namespace bench {
namespace {

// All entries, made before the clock runs.
class Ascending {
 public:
  explicit Ascending(const Setup& setup)
      : entry_bytes_(setup.key_bytes + setup.value_bytes), bytes_(setup.keys * entry_bytes_) {
    std::vector<std::uint64_t> numbers(setup.keys);
    for (std::uint64_t at = 0; at < setup.keys; ++at) numbers[at] = mix64(at + 1);
    std::sort(numbers.begin(), numbers.end());
    ValueBuffer values(setup.value_bytes);
    for (std::uint64_t at = 0; at < setup.keys; ++at) {
      std::uint8_t* const key = bytes_.data() + at * entry_bytes_;
      const std::uint64_t number = __builtin_bswap64(numbers[at]);
      std::memcpy(key, &number, sizeof number);
      std::memcpy(key + setup.key_bytes, values.make(at).data(), setup.value_bytes);
      pairs_.push_back({{key, setup.key_bytes}, {key + setup.key_bytes, setup.value_bytes}});
    }
  }
  [[nodiscard]] std::span<const Pair> pairs() const { return pairs_; }

 private:
  std::size_t entry_bytes_;
  std::vector<std::uint8_t> bytes_;
  std::vector<Pair> pairs_;
};

void load(Session& session, std::span<const Pair> pairs, std::size_t batch, bool append) {
  while (!pairs.empty()) {
    const std::size_t count = std::min(batch, pairs.size());
    append ? session.append_batch(pairs.first(count)) : session.put_batch(pairs.first(count));
    pairs = pairs.subspan(count);
  }
}

}  // namespace

void run_load(const Options& options, Report& report) {
  struct Row {
    const char* name;
    std::size_t batch;
    bool append;
    const char* note;
  };
  const Row rows[] = {
      {"load.sorted_put", 1000, false, "ascending keys, batches of 1000"},
      {"load.sorted_append", 1000, true, "the same; armdb: load(), lmdb: MDB_APPEND"},
      {"load.sorted_put_whole", options.keys, false, "one batch"},
      {"load.sorted_append_whole", options.keys, true, "one batch; load(), MDB_APPEND"},
  };
  bool any = false;
  for (const Row& row : rows) any = any || report.wanted(row.name);
  if (!any) return;
  Setup setup;
  setup.key_bytes = options.key_bytes;
  setup.ordered = true;
  setup.keys = options.keys;
  const Ascending entries(setup);
  Fleet fleet(options, report, "load", setup);
  for (const Row& row : rows) {
    fleet.row(
        row.name, "ns/op",
        [&](Member& member, int) {
          member.open(true);
          return per_operation(
              setup.keys, [&] { load(*member.session, entries.pairs(), row.batch, row.append); });
        },
        row.note);
  }
}

}  // namespace bench

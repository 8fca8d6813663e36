// Rows on how ordered collections are cut: 100-key ranges over 1, 2 and 8 shards, prefix scans.
#include "bench/store.hpp"

namespace bench {
namespace {

// Trees with keys in groups of 100 that share four bytes, put in no order.
void rows_prefix(const Options& options, Report& report) {
  Setup setup;
  setup.key_bytes = options.key_bytes;
  setup.ordered = true;
  setup.keys = std::max<std::uint64_t>(options.keys / 4 / 100, 10) * 100;
  const std::uint64_t groups = setup.keys / 100;
  const auto order =
      uniform_numbers(groups, std::max<std::uint64_t>(options.operations / 20, 1000), 5);
  for (const std::uint32_t prefix_bits : {0u, 16u}) {
    const std::string name = prefix_bits == 0 ? "tree.prefix_100" : "tree.prefix_100_one_shard";
    if (!report.wanted(name) && !report.wanted(name + "_reverse")) continue;
    setup.prefix_bits = prefix_bits;
    Fleet fleet(options, report, "prefix", setup);
    for (auto& member : fleet.members()) {
      if (prefix_bits != 0 && member->factory.name != "armdb") continue;
      member->open(true);
      KeyBuffer key(setup.key_bytes);
      ValueBuffer value(setup.value_bytes);
      for (std::uint64_t at = 0; at < setup.keys; ++at) {
        const std::uint64_t number = at % groups * 100 + at / groups;
        const Pair pair{key.make_grouped(number), value.make(number)};
        member->session->put_batch({&pair, 1});
      }
      member->store->settle();
    }
    if (prefix_bits != 0) fleet.members().resize(1);
    for (const bool descending : {false, true}) {
      fleet.row(
          descending ? name + "_reverse" : name, "ns/op",
          [&](Member& member, int) {
            KeyBuffer key(setup.key_bytes);
            std::uint64_t seen = 0;
            const double time = per_operation(order.size(), [&] {
              for (const std::uint32_t group : order) {
                const Bytes prefix = key.make_grouped(std::uint64_t{group} * 100).sub(0, 4);
                seen += member.session->walk({{}, prefix, descending});
              }
            });
            if (seen < order.size() * 100) fail("a prefix scan came out short");
            return time;
          },
          prefix_bits == 0 ? "" : "shard_prefix_bits 16: no merge");
    }
  }
}

void rows_range(const Options& options, Report& report) {
  const auto starts =
      uniform_numbers(options.keys, std::max<std::uint64_t>(options.operations / 20, 1000), 6);
  const std::uint32_t cuts[] = {1, 2, 8};
  std::vector<std::unique_ptr<Fleet>> fleets;
  for (const std::uint32_t shards : cuts) {
    const std::string name = "tree.range_100_shards_" + std::to_string(shards);
    if (!report.wanted(name)) continue;
    Setup setup;
    setup.key_bytes = options.key_bytes;
    setup.ordered = true;
    setup.shards = shards;
    setup.keys = options.keys;
    Fleet fleet(options, report, "shards", setup);
    fleet.members().resize(1);  // armdb alone
    fleet.load();
    fleet.row(name, "ns/op", [&](Member& member, int) {
      KeyBuffer key(setup.key_bytes);
      std::uint64_t seen = 0;
      const double time = per_operation(starts.size(), [&] {
        for (const std::uint32_t start : starts) {
          seen += member.session->walk({key.make(start), {}, false, 100});
        }
      });
      keep(seen);
      return time;
    });
  }
}

}  // namespace

void run_shards(const Options& options, Report& report) {
  rows_prefix(options, report);
  rows_range(options, report);
}

}  // namespace bench

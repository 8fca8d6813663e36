// Rows on Var collections: values of 1 and 4 KiB, loaded, copied out, and read where they lie.
#include "bench/store.hpp"

namespace bench {

void run_variable(const Options& options, Report& report) {
  for (const std::size_t kib : {1, 4}) {
    const std::string name = "var_" + std::to_string(kib) + "k.";
    if (!report.wanted(name + "load") && !report.wanted(name + "get_copy") &&
        !report.wanted(name + "read") && !report.wanted(name + "overwrite")) {
      continue;
    }
    Setup setup;
    setup.key_bytes = options.key_bytes;
    setup.value_bytes = kib * 1024;
    setup.variable = true;
    setup.keys = options.keys / 10 / kib;
    Fleet fleet(options, report, "variable", setup);
    const auto numbers = uniform_numbers(setup.keys, options.operations / kib / 2, 8);
    const std::string note = std::to_string(setup.keys) + " keys";
    fleet.row(
        name + "load", "ns/op",
        [&](Member& member, int) {
          member.open(true);
          return per_operation(setup.keys,
                               [&] { load_keys(*member.session, setup, 0, setup.keys, 100); });
        },
        note + ", batches of 100");
    fleet.load();
    for (const bool view : {false, true}) {
      fleet.row(
          name + (view ? "read" : "get_copy"), "ns/op",
          [&](Member& member, int) {
            KeyBuffer key(setup.key_bytes);
            std::vector<std::uint8_t> out(setup.value_bytes);
            bool all = true;
            const double time = per_operation(numbers.size(), [&] {
              for (const std::uint32_t number : numbers) {
                const Bytes bytes = key.make(number);
                all = (view ? member.session->view(bytes, out.data())
                            : member.session->get(bytes, out.data())) &&
                      all;
              }
            });
            if (!all) fail("a get found nothing");
            return time;
          },
          view ? "touches both ends" : "");
    }
    fleet.row(name + "overwrite", "ns/op", [&](Member& member, int) {
      KeyBuffer key(setup.key_bytes);
      ValueBuffer value(setup.value_bytes);
      return per_operation(numbers.size(), [&] {
        for (const std::uint32_t number : numbers) {
          member.session->put(key.make(number), value.make(number));
        }
      });
    });
  }
}

}  // namespace bench

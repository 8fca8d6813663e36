// What encryption costs: the same calls on an encrypted collection ("armdb") and on one in the
// clear, in turn. Nothing without OpenSSL.
#include <filesystem>
#include <functional>
#include <string>
#include <utility>

#include "bench/store.hpp"

namespace bench {
namespace {

using Number = std::uint64_t;
using Value = armdb::ByteArray<64>;
using Map = armdb::ConstMap<Number, Value>;
using Tree = armdb::ConstTree<Number, Value>;
using Texts = armdb::VarTree<Number>;
using Slots = armdb::FixedMap<Number, Value>;
using Pair = std::pair<Number, Value>;

class Cost {
 public:
  Cost(const Options& options, Report& report)
      : options_(options),
        report_(report),
        folder_(options.folder + "/encryption"),
        numbers_(uniform_numbers(options.keys, options.operations, 5)) {}

  // `measure(config, path)` gives ns of an operation on a new collection.
  void row(const char* what,
           const std::function<double(const armdb::Config&, const char*)>& measure) {
    const std::string name = std::string("encryption.") + what;
    if (!report_.wanted(name)) return;
    for (int repeat = 0; repeat < options_.repeats; ++repeat) {
      for (const bool sealed : {true, false}) {
        std::filesystem::remove_all(folder_);
        armdb::Config config;
        if (sealed) config.encryption_key = armdb::ByteArray<32>{1, 2, 3};
        report_.add(name, sealed ? "armdb" : "clear", measure(config, folder_.c_str()));
      }
    }
    std::filesystem::remove_all(folder_);
    report_.finish(name, "ns/op");
  }
  // The same for a point operation on a collection that `fill` has filled.
  template <class C, class Fill, class Work>
  void point(const char* what, Fill&& fill, Work&& work) {
    row(what, [&](const armdb::Config& config, const char* path) {
      auto collection = C::open(path, config);
      check(collection.status());
      fill(*collection);
      return per_operation(numbers_.size(), [&] {
        for (const std::uint32_t number : numbers_) work(*collection, mix64(number + 1));
      });
    });
  }
  template <class C, class V> auto filled_with(const V& value) {
    return [this, value](C& collection) {
      for (std::uint64_t at = 0; at < options_.keys; ++at) {
        check(collection.put(mix64(at + 1), value));
      }
      check(collection.checkpoint());
    };
  }
  [[nodiscard]] std::uint64_t keys() const { return options_.keys; }

 private:
  const Options& options_;
  Report& report_;
  const std::string folder_;
  const std::vector<std::uint32_t> numbers_;
};

void load_and_open(Cost& cost) {
  std::vector<Pair> pairs;
  for (std::uint64_t at = 0; at < cost.keys(); ++at) pairs.push_back({at, Value{1}});
  const auto load = [&](const armdb::Config& config, const char* path) {
    auto tree = Tree::open(path, config);
    check(tree.status());
    return per_operation(pairs.size(), [&] {
      check(tree->load(pairs));
      check(tree->flush_buffers());
    });
  };
  cost.row("load_sorted", load);
  cost.row("reopen_per_entry", [&](const armdb::Config& config, const char* path) {
    load(config, path);
    return per_operation(pairs.size(), [&] { check(Tree::open(path, config).status()); });
  });
}

}  // namespace

void run_encryption(const Options& options, Report& report) {
  if (armdb::compile_options().find("OPENSSL") == std::string_view::npos) return;
  Cost cost(options, report);
  load_and_open(cost);
  const Value value{1};
  cost.point<Map>("put", cost.filled_with<Map>(value),
                  [&](Map& map, Number key) { check(map.put(key, value)); });
  cost.point<Map>("get", cost.filled_with<Map>(value),
                  [](Map& map, Number key) { keep(map.get(key).has_value()); });
  const std::string text(1000, 't');
  cost.point<Texts>(
      "put_1000_bytes", [](Texts&) {},
      [&](Texts& texts, Number key) { check(texts.put(key, text)); });
  // The set that is read fits into memory, and a tenth of it into the cache.
  Options less = options;
  less.keys = options.keys / 10;
  less.operations = options.operations / 4;
  Cost few(less, report);
  few.point<Texts>("get_1000_bytes", few.filled_with<Texts>(text),
                   [](Texts& texts, Number key) { keep(texts.get(key).value()->size()); });
  few.point<Slots>("fixed_put", few.filled_with<Slots>(value),
                   [&](Slots& slots, Number key) { check(slots.put(key, value)); });
}

}  // namespace bench

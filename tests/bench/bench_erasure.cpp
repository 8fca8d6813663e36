// What type erasure costs: gets through a typed face, through Collection, and from a flat table
// that the compiler sees whole (no locks, no log, no growth: what cannot be had, as a floor).
#include <filesystem>

#include "bench/store.hpp"

namespace bench {
namespace {

using Key = armdb::ByteArray<8>;
using Value = armdb::ByteArray<64>;

// Open addressing, linear probing, half full.
class FlatTable {
 public:
  explicit FlatTable(std::uint64_t keys) {
    while (mask_ < 2 * keys) mask_ = 2 * mask_ + 1;
    slots_.resize(mask_ + 1);
  }
  void put(const Key& key, const Value& value) { slot_of(key) = {true, key, value}; }
  bool get(const Key& key, Value& out) {
    const Slot& slot = slot_of(key);
    if (slot.used) out = slot.value;
    return slot.used;
  }

 private:
  struct Slot {
    bool used = false;
    Key key;
    Value value;
  };
  Slot& slot_of(const Key& key) {
    std::uint64_t number;
    std::memcpy(&number, key.data(), 8);
    for (std::uint64_t at = mix64(number) & mask_;; at = (at + 1) & mask_) {
      Slot& slot = slots_[at];
      if (!slot.used || slot.key == key) return slot;
    }
  }
  std::vector<Slot> slots_;
  std::uint64_t mask_ = 1;
};

Key key_of(Bytes bytes) {
  Key key;
  std::memcpy(key.data(), bytes.data(), sizeof key);
  return key;
}

template <class Get> double measure(const std::vector<Key>& keys, Get&& get) {
  Value value{};
  std::uint64_t sum = 0;
  const double time = per_operation(keys.size(), [&] {
    for (const Key& key : keys) {
      if (!get(key, value)) fail("a get found nothing");
      sum += value[0];
    }
  });
  keep(sum);
  return time;
}

template <class C>
void rows(const Options& options, Report& report, const std::string& name, std::uint64_t count) {
  if (!report.wanted(name)) return;
  const std::string folder = options.folder + "/erasure";
  std::filesystem::remove_all(folder);
  auto opened = C::open(folder);
  check(opened.status());
  C& collection = *opened;
  FlatTable table(count);
  KeyBuffer key(8);
  ValueBuffer value(64);
  for (std::uint64_t at = 0; at < count; ++at) {
    Value copy;
    std::memcpy(copy.data(), value.make(at).data(), sizeof copy);
    const Key number = key_of(key.make(at));
    check(collection.put(number, copy));
    table.put(number, copy);
  }
  std::vector<Key> keys;
  for (const std::uint32_t number : uniform_numbers(count, 1'000'000, 4)) {
    keys.push_back(key_of(key.make(number)));
  }
  const armdb::Collection& erased = collection.collection();
  for (int repeat = 0; repeat < options.repeats + 2; ++repeat) {
    report.add(name + ".typed_face", "armdb", measure(keys, [&](const Key& at, Value& out) {
                 const auto found = collection.get(at);
                 if (found) out = *found;
                 return found.has_value();
               }));
    report.add(name + ".collection", "armdb", measure(keys, [&](const Key& at, Value& out) {
                 return erased.get_into(at.data(), out.data());
               }));
    report.add(name + ".flat_table", "flat_table",
               measure(keys, [&](const Key& at, Value& out) { return table.get(at, out); }));
  }
  report.finish(name + ".typed_face", "ns/op");
  report.finish(name + ".collection", "ns/op");
  report.finish(name + ".flat_table", "ns/op", "not armdb: the floor");
  check(collection.close());
  std::filesystem::remove_all(folder);
}

}  // namespace

void run_erasure(const Options& options, Report& report) {
  rows<armdb::ConstMap<Key, Value>>(options, report, "erasure.map_10k", 10'000);
  rows<armdb::ConstMap<Key, Value>>(options, report, "erasure.map_full", options.keys);
  rows<armdb::ConstTree<Key, Value>>(options, report, "erasure.tree_10k", 10'000);
  rows<armdb::ConstTree<Key, Value>>(options, report, "erasure.tree_full", options.keys);
}

}  // namespace bench

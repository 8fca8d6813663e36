// Carries stores from one machine to another: `make cross` has each machine write them, and every
// other one open them.
//
//   carry write FOLDER    writes the stores; half of them are left open, as a kill -9 leaves them
//   carry check FOLDER    expects exactly what was written, writes on, and verifies
//
// Contents are numbers and texts in codecs of their own; types that are stored as they lie in
// memory (Zero*) are of one byte order by design, and not among them.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "armdb.hpp"

namespace {

using namespace armdb;

struct Item {
  std::int64_t balance = 0;
  std::string name;
  std::vector<std::uint16_t> parts;
  double rate = 0;
  using armdb_codec = armdb::fields<&Item::balance, &Item::name, &Item::parts, &Item::rate>;
  friend bool operator==(const Item&, const Item&) = default;
};

constexpr std::uint32_t kCount = 500;
int checks = 0;

void require(bool holds, const char* what, const Status& status = {}) {
  ++checks;
  if (holds) return;
  std::fprintf(stderr, "FAILED %s: %s\n", what, status.message().c_str());
  std::exit(1);
}

// Every eleventh is gone, every seventh was written twice.
bool there(std::uint32_t number) { return number % 11 != 0; }
std::uint32_t version(std::uint32_t number) { return number % 7 == 0 ? 2 : 1; }

ByteArray<12> value_of(ByteArray<12>*, std::uint32_t number, std::uint32_t version) {
  ByteArray<12> value{};
  for (std::size_t at = 0; at < value.size(); ++at) {
    value[at] = static_cast<std::uint8_t>(number * (at + 1) + version);
  }
  return value;
}
std::string value_of(std::string*, std::uint32_t number, std::uint32_t version) {
  return std::string(number == 13 ? 70000 : number % 60, static_cast<char>('a' + version));
}
Item value_of(Item*, std::uint32_t number, std::uint32_t version) {
  return {number * -3'000'000'000LL,
          "item " + std::to_string(number),
          {static_cast<std::uint16_t>(number), static_cast<std::uint16_t>(version)},
          number / 8.0};
}
template <class C> struct ValueOf { using type = typename C::In; };
template <class C>
requires std::is_same_v<typename C::In, Bytes>
struct ValueOf<C> {
  using type = std::string;
};

ByteArray<12> own(const ByteArray<12>& value) { return value; }
std::string own(const ByteView& value) { return std::string(value.text()); }
Item own(const Item& value) { return value; }
Item own(const TypedRef<Item>& value) { return *value; }

template <class Out> Out plain(std::optional<Out> got) {
  require(got.has_value(), "an entry is there");
  return std::move(*got);
}
template <class T> TypedRef<T> plain(TypedRef<T> got) {
  require(got.has_value(), "an entry is there");
  return got;
}
template <class Out> Out plain(Result<std::optional<Out>> got) {
  require(got.ok(), "an entry can be read", got.status());
  return plain(std::move(*got));
}

template <class C> using Settings = std::conditional_t<C::kFixed, FixedConfig, Config>;

template <class C> C open(const std::string& path, const Settings<C>& config) {
  auto opened = C::open(path, config);
  require(opened.ok(), path.c_str(), opened.status());
  return std::move(*opened);
}

template <class C> void write(const std::string& path, const Settings<C>& config, bool close) {
  auto* collection = new C(open<C>(path, config));  // stays open when the process ends
  typename ValueOf<C>::type* kind = nullptr;
  for (std::uint32_t round = 1; round <= 2; ++round) {
    for (std::uint32_t number = 0; number < kCount; ++number) {
      if (round > version(number)) continue;
      const Status status = collection->put(number, value_of(kind, number, round));
      require(status.ok(), "put", status);
    }
    if (round == 1) require(collection->sync().ok(), "sync");
  }
  for (std::uint32_t number = 0; number < kCount; ++number) {
    if (!there(number)) require(collection->erase(number).ok(), "erase");
  }
  const auto forever = value_of(kind, 1, 1);
  require(collection->put(1, forever, {.ttl_ms = std::uint64_t{1} << 42}).ok(), "put with expiry");
  if constexpr (!C::kFixed) {
    WriteBatch<C> batch(*collection);
    for (std::uint32_t number = 0; number < kCount; number += 70) {
      if (there(number)) require(batch.put(number, value_of(kind, number, 2)).ok(), "batch");
    }
    require(batch.commit().ok(), "commit");
  }
  if (close) require(collection->close().ok(), "close");
}

template <class C> void check(const std::string& path, const Settings<C>& config, bool) {
  C collection = open<C>(path, config);
  typename ValueOf<C>::type* kind = nullptr;
  std::uint32_t count = 0;
  for (std::uint32_t number = 0; number < kCount; ++number) {
    require(collection.contains(number) == there(number), "what is there");
    if (!there(number)) continue;
    ++count;
    require(own(plain(collection.get(number))) == value_of(kind, number, version(number)),
            "a value is what was written");
  }
  require(collection.size() == count, "nothing else is there");
  const auto expiry = collection.expires_at(1);
  require(expiry.ok() && *expiry != WriteOptions::kForever, "an expiry");
  require(collection.stats().damaged_regions == 0, "nothing is damaged");
  require(collection.put(kCount, value_of(kind, kCount, 1)).ok(), "put");
  require(collection.compact().ok(), "compact");
  const auto report = collection.verify();
  require(report.ok() && report->damaged_regions == 0, "verifies", report.status());
  require(collection.close().ok(), "close");
  C again = open<C>(path, config);
  require(again.size() == count + 1, "what was written on is there");
}

#define EACH(how)                                                                       \
  how<ConstTree<std::uint32_t, ByteArray<12>>>(folder + "/const_tree", plain, false);   \
  how<ConstMap<std::uint32_t, ByteArray<12>>>(folder + "/const_map", plain, true);      \
  how<VarTree<std::uint32_t>>(folder + "/var_tree", plain, true);                       \
  how<VarMap<std::uint32_t>>(folder + "/var_map", plain, false);                        \
  how<TypedTree<std::uint32_t, Item>>(folder + "/typed_tree", plain, false);            \
  how<VarTypedMap<std::uint32_t, Item>>(folder + "/var_typed_map", plain, true);        \
  how<VarTree<std::uint32_t>>(folder + "/embedded_tree", small, false);                 \
  how<ConstMap<std::uint32_t, ByteArray<12>>>(folder + "/embedded_map", small, true);   \
  how<FixedTree<std::uint32_t, ByteArray<12>>>(folder + "/fixed_tree", plain, false);   \
  how<FixedMap<std::uint32_t, ByteArray<12>>>(folder + "/fixed_map", small, true);      \
  how<FixedMap<std::uint32_t, ByteArray<12>>>(folder + "/fixed_single", single, false); \
  how<FixedTree<std::uint32_t, ByteArray<12>>>(folder + "/fixed_closed", single, true)

}  // namespace

int main(int argc, char** argv) {
  const std::string how = argc == 3 ? argv[1] : "";
  if (how != "write" && how != "check") {
    std::fprintf(stderr, "usage: carry write|check FOLDER\n");
    return 2;
  }
  const std::string folder = argv[2];
  Config plain;
  plain.shard_count = 2;
  plain.max_file_size = 64 << 10;
  plain.write_buffer_size = 16 << 10;
  const Config small = Config::embedded();
  FixedConfig single(plain);
  single.single_copy = true;
  if (how == "write") {
    EACH(write);
    std::printf("%s: written, %d calls\n", folder.c_str(), checks);
    std::fflush(stdout);
    std::_Exit(0);  // as a kill: nothing is closed
  }
  EACH(check);
  std::printf("%s: %d checks passed\n", argv[2], checks);
  return 0;
}

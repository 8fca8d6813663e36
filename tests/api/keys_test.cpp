// Keys: integers, enums, byte arrays and user types order as they should and come back whole.
#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/model.hpp"

using namespace armdb;

namespace {

enum class Small : std::int8_t { low = -100, zero = 0, high = 100 };
enum Plain : std::uint16_t { kOne = 1, kMany = 60000 };

struct Point {
  std::int32_t x = 0;
  std::int32_t y = 0;
  friend auto operator<=>(const Point&, const Point&) = default;
};

template <class K> void check_order(std::vector<K> keys) {
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  std::vector<std::vector<std::uint8_t>> encoded;
  for (const K& key : keys) {
    std::vector<std::uint8_t> bytes(key_traits<K>::size);
    key_traits<K>::encode(key, bytes.data());
    CHECK(key_traits<K>::decode(bytes.data()) == key);
    if (!encoded.empty()) CHECK(encoded.back() < bytes);
    encoded.push_back(bytes);
  }
  const auto files = make_memory_file_system();
  Config config;
  config.file_system = files.get();
  config.shard_count = 3;
  config.reversed = false;
  std::vector<K> shuffled = keys;
  test::Dice dice(keys.size());
  for (std::size_t at = shuffled.size(); at > 1; --at) {
    std::swap(shuffled[at - 1], shuffled[dice.below(at)]);
  }
  const auto walk = [&](auto tree) {
    for (const K& key : shuffled) REQUIRE(tree.put(key, {1}).ok());
    std::vector<K> walked;
    for (const auto& [key, value] : tree.iter()) walked.push_back(key);
    CHECK(walked == keys);
    walked.clear();
    for (const K& key : tree.keys().reversed()) walked.push_back(key);
    std::reverse(walked.begin(), walked.end());
    CHECK(walked == keys);
  };
  walk(*ConstTree<K, ByteArray<1>>::open("c", config));
  walk(*FixedTree<K, ByteArray<1>>::open("f", config));
}

template <class K> void check_integer() {
  using Limits = std::numeric_limits<K>;
  std::vector<K> keys{Limits::min(),
                      static_cast<K>(Limits::min() + 1),
                      static_cast<K>(Limits::max() - 1),
                      Limits::max(),
                      K{0},
                      K{1},
                      static_cast<K>(-1),
                      static_cast<K>(127),
                      static_cast<K>(128)};
  test::Dice dice(sizeof(K));
  for (int count = 0; count < 300; ++count) keys.push_back(static_cast<K>(dice.next()));
  check_order(keys);
}

}  // namespace

template <> struct armdb::key_traits<Point> {
  static constexpr std::size_t size = 8;
  static void encode(const Point& point, std::uint8_t* out) {
    key_traits<std::int32_t>::encode(point.x, out);
    key_traits<std::int32_t>::encode(point.y, out + 4);
  }
  static Point decode(const std::uint8_t* in) {
    return {key_traits<std::int32_t>::decode(in), key_traits<std::int32_t>::decode(in + 4)};
  }
};

TEST_CASE("keys: integers of every size order by number, negative ones first [pitfall-38]") {
  check_integer<std::int8_t>();
  check_integer<std::uint8_t>();
  check_integer<char>();
  check_integer<std::int16_t>();
  check_integer<std::uint16_t>();
  check_integer<std::int32_t>();
  check_integer<std::uint32_t>();
  check_integer<std::int64_t>();
  check_integer<std::uint64_t>();
}

TEST_CASE("keys: integers are big-endian with the sign flipped, on every machine [pitfall-38]") {
  std::uint8_t bytes[8];
  key_traits<std::uint32_t>::encode(0x01020304, bytes);
  CHECK(Bytes(bytes, 4) == Bytes(ByteArray<4>{1, 2, 3, 4}));
  key_traits<std::int16_t>::encode(-1, bytes);
  CHECK(Bytes(bytes, 2) == Bytes(ByteArray<2>{0x7f, 0xff}));
  key_traits<std::int16_t>::encode(0, bytes);
  CHECK(Bytes(bytes, 2) == Bytes(ByteArray<2>{0x80, 0}));
}

TEST_CASE("keys: enums order by their numbers") {
  check_order<Small>({Small::high, Small::low, Small::zero});
  check_order<Plain>({kMany, kOne});
}

TEST_CASE("keys: user types order by their encoded bytes") {
  std::vector<Point> points;
  for (std::int32_t x = -3; x <= 3; ++x) {
    for (std::int32_t y = -3; y <= 3; ++y) points.push_back({x * 1000, y * 70000});
  }
  check_order(points);
}

TEST_CASE("keys: byte arrays of every width, up to the largest") {
  test::Dice dice(1);
  const auto check = [&]<std::size_t N>(ByteArray<N>) {
    std::vector<ByteArray<N>> keys;
    for (int count = 0; count < 200; ++count) {
      ByteArray<N> key{};
      for (auto& byte : key) byte = static_cast<std::uint8_t>(dice.one_in(3) ? 0 : dice.next());
      keys.push_back(key);
    }
    check_order(keys);
  };
  check(ByteArray<1>{});
  check(ByteArray<3>{});
  check(ByteArray<8>{});
  check(ByteArray<9>{});
  check(ByteArray<16>{});
  check(ByteArray<17>{});
  check(ByteArray<32>{});
  check(ByteArray<33>{});
  check(ByteArray<1024>{});
}

TEST_CASE("keys: sizes that do not fit are refused by the bytes below") {
  const auto files = make_memory_file_system();
  Config config;
  config.file_system = files.get();
  auto map = *Collection::open("c", {4, 0, false, Payload::location}, config);
  for (const char* key : {"", "abc", "abcde"}) {
    CHECK(map.put(key, "x").is(Errc::invalid_argument));
    CHECK(map.get(key).is(Errc::invalid_argument));
    CHECK(map.erase(key).is(Errc::invalid_argument));
    CHECK_FALSE(map.contains(key));
    CHECK(map.durable_sequence(key) == 0);
  }
  const BytesPair pairs[] = {{"abcd", "x"}, {"abc", "x"}};
  CHECK(map.put_many(pairs).is(Errc::invalid_argument));
  CHECK(map.empty());  // all sizes are looked at first
}

// SlotChanges: the last changes, in order, and what they cover.
#include "store/slot_changes.hpp"

#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

using namespace armdb;
using store::SlotChanges;

namespace {

constexpr std::uint32_t kKeySize = 8;

std::string key_of(std::uint64_t number) {
  std::string key = std::to_string(number);
  return key.insert(0, kKeySize - key.size(), '0');
}

// Every second version is of something else.
void add(SlotChanges& changes, std::uint64_t first, std::uint64_t last) {
  for (std::uint64_t version = first; version <= last; version += 2) {
    changes.add(version, Bytes(key_of(version)));
  }
}

std::vector<std::uint64_t> versions_after(const SlotChanges& changes, std::uint64_t version) {
  std::vector<std::uint64_t> versions;
  changes.each_after(version, [&](std::uint64_t at, const std::uint8_t* key) {
    CHECK(Bytes(key, kKeySize).text() == key_of(at));
    versions.push_back(at);
    return true;
  });
  return versions;
}

}  // namespace

TEST_CASE("slot_changes: what was written after a version is told in order") {
  SlotChanges changes(kKeySize, 10, 1 << 20);
  CHECK(changes.covers(10));
  CHECK_FALSE(changes.covers(9));
  CHECK(versions_after(changes, 10).empty());
  add(changes, 11, 20001);  // over several chunks
  CHECK(changes.covers(10));
  for (const std::uint64_t from : {10, 11, 12, 4000, 4001, 19999, 20000, 20001, 30000}) {
    const std::vector<std::uint64_t> versions = versions_after(changes, from);
    const std::uint64_t first = from < 11 ? 11 : from + 1 + from % 2;
    REQUIRE(versions.size() == (first > 20001 ? 0 : (20001 - first) / 2 + 1));
    for (std::size_t at = 0; at < versions.size(); ++at) REQUIRE(versions[at] == first + 2 * at);
  }
  int told = 0;
  changes.each_after(0, [&](std::uint64_t, const std::uint8_t*) { return ++told < 5; });
  CHECK(told == 5);
}

TEST_CASE("slot_changes: memory stays within the limit, and the oldest are forgotten") {
  SlotChanges changes(kKeySize, 0, 64 << 10);
  CHECK(changes.memory_bytes() == 0);
  add(changes, 1, 99999);
  CHECK(changes.memory_bytes() <= 64 << 10);
  CHECK_FALSE(changes.covers(0));
  const std::vector<std::uint64_t> kept = versions_after(changes, 0);
  REQUIRE_FALSE(kept.empty());
  CHECK(kept.back() == 99999);
  CHECK(changes.covers(kept.front() - 1));
  CHECK(changes.covers(kept.front() - 2));  // the last one that is forgotten
  CHECK_FALSE(changes.covers(kept.front() - 3));

  changes.set_limit(256 << 10);
  add(changes, 100001, 199999);
  const std::size_t more = versions_after(changes, 0).size();
  CHECK(more > 3 * kept.size());
  CHECK(changes.memory_bytes() <= 256 << 10);
  changes.set_limit(0);
  CHECK(changes.memory_bytes() <= 32 << 10);
  const std::vector<std::uint64_t> least = versions_after(changes, 0);
  REQUIRE_FALSE(least.empty());
  CHECK(least.back() == 199999);
  CHECK(changes.covers(least.front() - 2));
  CHECK_FALSE(changes.covers(least.front() - 3));
}

#endif  // !ARMDB_OMIT_REPLICATION

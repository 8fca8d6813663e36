// Batches over shards, atomic blocks, syncs, compaction and readers beside each other.
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/scale.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace armdb;
using Accounts = ZeroMap<std::uint32_t, std::uint64_t>;

constexpr std::uint32_t kAccounts = 16;
constexpr std::uint64_t kEach = 1000;

Config small_config() {
  Config config;
  config.shard_count = 4;
  config.write_buffer_size = 16u << 10;
  config.max_file_size = 64u << 10;
  return config;
}

Accounts open_accounts(const std::string& path) {
  Result<Accounts> opened = Accounts::open(path, small_config());
  INFO(opened.message());
  REQUIRE(opened.ok());
  return *std::move(opened);
}

std::uint64_t total(const Accounts& accounts) {
  std::uint64_t sum = 0;
  REQUIRE(accounts.for_each([&](std::uint32_t, std::uint64_t amount) { sum += amount; }).ok());
  return sum;
}

}  // namespace

TEST_CASE(
    "batch stress: batches, syncs, checkpoints and compaction never block or tear each other") {
  const test::TempDir directory;
  const std::string path = directory.path() + "/c";
  const auto rounds = static_cast<std::uint32_t>(test::scaled(400, 40));
  {
    Accounts accounts = open_accounts(path);
    for (std::uint32_t key = 0; key < kAccounts; ++key) REQUIRE(accounts.put(key, kEach).ok());
    std::atomic<bool> stop{false};
    std::atomic<int> failures{0};
    const auto expect = [&](const Status& status) {
      if (!status.ok()) ++failures;
    };
    // Two writers with batches of their own accounts: each keeps its half's sum.
    const auto writer = [&](std::uint32_t first) {
      for (std::uint32_t round = 1; round <= rounds; ++round) {
        WriteBatch batch(accounts);
        for (std::uint32_t at = 0; at < kAccounts / 2; ++at) {
          const bool up = (at + round) % 2 == 0;
          expect(batch.put(first + at, up ? kEach + round : kEach - round));
        }
        expect(batch.commit({.sync = round % 16 == 0}));
      }
    };
    std::thread one(writer, 0);
    std::thread two(writer, kAccounts / 2);
    std::thread syncer([&] {
      for (std::uint32_t round = 0; !stop; ++round) {
        expect(accounts.put(100 + round % 50, 0, {.sync = true}));
        expect(accounts.sync());
      }
    });
    std::thread keeper([&] {
      while (!stop) {
        expect(accounts.compact());
        expect(accounts.checkpoint());
        expect(accounts.flush_buffers());
      }
    });
    std::thread reader([&] {
      while (!stop) {
        for (std::uint32_t key = 0; key < kAccounts; ++key) {
          if (!accounts.contains(key)) ++failures;
        }
      }
    });
    one.join();
    two.join();
    stop = true;
    syncer.join();
    keeper.join();
    reader.join();
    CHECK(failures == 0);
    CHECK(total(accounts) == kAccounts * kEach);
    REQUIRE(accounts.close().ok());
  }
  CHECK(total(open_accounts(path)) == kAccounts * kEach);
}

TEST_CASE("batch stress: atomic transfers in one shard keep the sum at every moment") {
  const test::TempDir directory;
  Config config = small_config();
  config.shard_count = 1;
  Result<Accounts> opened = Accounts::open(directory.path() + "/c", config);
  REQUIRE(opened.ok());
  Accounts& accounts = *opened;
  for (std::uint32_t key = 0; key < kAccounts; ++key) REQUIRE(accounts.put(key, kEach).ok());
  const auto rounds = static_cast<std::uint32_t>(test::scaled(2000, 200));
  std::atomic<int> failures{0};
  const auto mover = [&](std::uint32_t seed) {
    for (std::uint32_t round = 0; round < rounds; ++round) {
      const std::uint32_t from = (round * 7 + seed) % kAccounts;
      const std::uint32_t to = (round * 3 + seed + 1) % kAccounts;
      if (from == to) continue;
      const bool refuse = round % 5 == 0;
      const Status status = accounts.atomic(from, [&](auto& handle) -> Status {
        std::uint64_t sum = 0;
        for (std::uint32_t key = 0; key < kAccounts; ++key) sum += *handle.get(key).value();
        if (sum != kAccounts * kEach) ++failures;
        const std::uint64_t amount = *handle.get(from).value();
        if (amount == 0) return Errc::aborted;
        Status moved = handle.put(from, amount - 1);
        if (moved.ok()) moved = handle.update(to, [](std::uint64_t had) { return had + 1; });
        if (refuse) return Errc::aborted;
        return moved;
      });
      if (!status.ok() && !status.is(Errc::aborted)) ++failures;
    }
  };
  std::thread one(mover, 0);
  std::thread two(mover, 5);
  one.join();
  two.join();
  CHECK(failures == 0);
  CHECK(total(accounts) == kAccounts * kEach);
}

TEST_CASE("batch stress: two threads that update one counter lose no count") {
  const test::TempDir directory;
  Accounts accounts = open_accounts(directory.path() + "/c");
  REQUIRE(accounts.put(1, 0).ok());
  const auto rounds = static_cast<std::uint64_t>(test::scaled(3000, 300));
  std::atomic<int> failures{0};
  const auto count = [&] {
    for (std::uint64_t round = 0; round < rounds; ++round) {
      if (!accounts.update(1, [](std::uint64_t had) { return had + 1; }).ok()) ++failures;
    }
  };
  std::thread one(count);
  std::thread two(count);
  one.join();
  two.join();
  CHECK(failures == 0);
  CHECK(accounts.get(1) == 2 * rounds);
}

// Backups: what was there comes along, whatever key the copy has; what is half done never opens.
#include <cerrno>
#include <chrono>
#include <thread>

#include "api/collections.hpp"
#include "support/one_shard.hpp"

using namespace armdb;
using test::Call;
using test::FaultFileSystem;

namespace {

[[maybe_unused]] constexpr ByteArray<32> kKey{1, 2, 3};

Config config_of(FileSystem& files, const EncryptionKey& key = {}) {
  Config config = test::one_shard(files);
  config.shard_count = 3;
  config.encryption_key = key;
  return config;
}

// Some thousand entries in several segments, compacted in part, with erased and expiring ones.
Collection make(const Config& config, const Shape& shape) {
  Collection collection = test::open_shard(config, shape);
  test::put_range(collection, 0, 3000);
  REQUIRE(collection.checkpoint().ok());
  test::put_range(collection, 0, 1500, 1);
  REQUIRE(collection.compact().ok());
  for (int number = 100; number < 200; ++number) {
    REQUIRE(collection.erase(test::key_of(number)).ok());
  }
  REQUIRE(collection.put(test::key_of(5), test::value_of(5, 7), {.sync = false, .ttl_ms = 1000000})
              .ok());
  return collection;
}

#if ARMDB_WITH_OPENSSL
void check_same(const Collection& copy, const Collection& original) {
  CHECK(test::contents(copy) == test::contents(original));
  CHECK(copy.size() == original.size());
  CHECK(copy.expires_at(test::key_of(5)).value() == original.expires_at(test::key_of(5)).value());
  CHECK(copy.expires_at(test::key_of(6)).value() == WriteOptions::kForever);
  CHECK(copy.stats().damaged_regions == 0);
}
#endif

}  // namespace

TEST_CASE("backup: a copy has every entry, with its sequence and expiry") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    FaultFileSystem files;
    Collection collection = make(config_of(files), shape);
    REQUIRE(collection.backup_to("/copy", {}).ok());
    const auto wanted = test::contents(collection);
    const std::uint64_t expires = collection.expires_at(test::key_of(5)).value();
    const std::uint64_t sequence = collection.stats().last_sequence;
    // Nothing of it is in a cache only; the original may lose what was not synced.
    files.power_cut_lose_all();
    Result<Collection> copy = Collection::open("/copy", shape, config_of(files));
    INFO(copy.message());
    REQUIRE(copy.ok());
    CHECK(test::contents(*copy) == wanted);
    CHECK(copy->expires_at(test::key_of(5)).value() == expires);
    CHECK(copy->stats().last_sequence == sequence);
    CHECK(copy->stats().damaged_regions == 0);
  }
}

TEST_CASE("backup: encrypted, by another key, and in the clear again") {
#if ARMDB_WITH_OPENSSL
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    FaultFileSystem files;
    Collection collection = make(config_of(files), shape);
    REQUIRE(collection.backup_to("/sealed", kKey).ok());
    Collection sealed = *Collection::open("/sealed", shape, config_of(files, kKey));
    check_same(sealed, collection);
    const EncryptionKey words = EncryptionKey::passphrase("words");
    REQUIRE(sealed.backup_to("/again", words, Cipher::chacha20_poly1305).ok());
    Collection again = *Collection::open("/again", shape, config_of(files, words));
    check_same(again, collection);
    REQUIRE(again.backup_to("/clear", {}).ok());
    Collection clear = *Collection::open("/clear", shape, config_of(files));
    check_same(clear, collection);
    CHECK(clear.stats().last_sequence >= collection.stats().last_sequence);
    // It is a collection of its own.
    test::put(clear, 7000);
    REQUIRE(clear.compact().ok());
    CHECK(!collection.contains(test::key_of(7000)));
    CHECK(Collection::open("/again", shape, config_of(files, kKey)).is(Errc::locked));
    REQUIRE(again.close().ok());
    CHECK(Collection::open("/again", shape, config_of(files, kKey)).is(Errc::wrong_key));
  }
#endif
}

TEST_CASE("backup: a directory with anything in it is refused, and left as it is") {
  FaultFileSystem files;
  Collection collection = make(config_of(files), test::kVarTree);
  CHECK(collection.backup_to("", {}).is(Errc::invalid_argument));
  CHECK(collection.backup_to("/c", {}).is(Errc::invalid_argument));
  REQUIRE(files.create_directory("/other").ok());
  test::write_path(files, "/other/mine", "mine");
  CHECK(collection.backup_to("/other", {}).is(Errc::invalid_argument));
  CHECK(test::list_names(files, "/other").size() == 1);
  CHECK(collection.backup_to("/no/parent", {}).is(Errc::not_found));
  REQUIRE(collection.backup_to("/copy", {}).ok());
  CHECK(collection.backup_to("/copy", {}).is(Errc::invalid_argument));
}

TEST_CASE(
    "backup: when any call fails the copy opens whole or not at all, and the original is as it "
    "was") {
  FaultFileSystem files;
  {
    Collection collection = test::open_shard(config_of(files));
    test::put_range(collection, 0, 200);
  }
  const auto snapshot = files.snapshot();
  bool done = false;
  for (std::size_t call = 1; !done; ++call) {
    files.restore(snapshot);
    {
      Collection collection = test::open_shard(config_of(files));
      files.fail(Call::any, call, EIO, true);
      done = collection.backup_to("/copy", {}).ok();
      files.clear_faults();
    }
    INFO("call " << call);
    Collection collection = test::open_shard(config_of(files));
    REQUIRE(test::prefix_length(test::contents(collection)) == 200);
    Config existing = config_of(files);
    existing.create = false;
    const Result<Collection> copy = Collection::open("/copy", test::kVarTree, existing);
    // The last step may fail when db.meta is there already.
    REQUIRE((copy.ok() || !done));
    if (copy.ok()) CHECK(test::prefix_length(test::contents(*copy)) == 200);
  }
}

TEST_CASE("backup: compaction beside it takes nothing from the copy") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    FaultFileSystem files;
    Collection collection = test::open_shard(test::one_shard(files), shape);
    for (int version = 0; version < 3; ++version) {
      // Live entries in each segment, and dead ones.
      test::put_range(collection, version * 300, 1500, version);
      REQUIRE(collection.checkpoint().ok());
    }
    const auto all = test::contents(collection);
    bool compacted = false;
    files.set_observer([&](Call call, const std::string& path) {
      if (compacted || call != Call::open || !path.starts_with("/copy/shard_000/")) return;
      compacted = true;
      CHECK(collection.compact().ok());
    });
    REQUIRE(collection.backup_to("/copy", {}).ok());
    files.set_observer({});
    REQUIRE(compacted);
    const Collection copy = *Collection::open("/copy", shape, test::one_shard(files));
    CHECK(test::contents(copy) == all);
    CHECK(copy.stats().damaged_regions == 0);
  }
}

TEST_CASE("backup: slots that compact() moves beside it are in the copy") {
  constexpr Shape kSlots{4, 8, true, Payload::value, true};
  FaultFileSystem files;
  Collection collection = test::open_shard(test::one_shard(files), kSlots);
  test::put_range(collection, 0, 4000);
  for (int number = 0; number < 1000; ++number) {
    REQUIRE(collection.erase(test::key_of(number)).ok());
  }
  std::thread beside;
  Status compacted;
  files.set_observer([&](Call call, const std::string& path) {
    if (beside.joinable() || call != Call::allocate || !path.starts_with("/copy/")) return;
    beside = std::thread([&] { compacted = collection.compact(); });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  });
  REQUIRE(collection.backup_to("/copy", {}).ok());
  beside.join();
  CHECK(compacted.ok());
  files.set_observer({});
  CHECK(test::contents(*Collection::open("/copy", kSlots, test::one_shard(files))) ==
        test::contents(collection));
}

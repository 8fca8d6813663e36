// Encrypted stores that released versions wrote must open for ever, with exactly what they held.
#include <filesystem>
#include <map>
#include <string>

#include "base/little.hpp"
#include "format/sealed.hpp"
#include "golden/golden_files.hpp"
#include "golden/golden_sealed.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

#if ARMDB_WITH_OPENSSL

namespace {

using namespace armdb;
namespace fs = std::filesystem;
using test::GoldenSealedStore;

// A copy in a directory of its own.
struct Copy {
  explicit Copy(const GoldenSealedStore& store) : path(directory / "c") {
    fs::copy(fs::path(__FILE__).parent_path() / "v1_sealed" / store.name, path,
             fs::copy_options::recursive);
  }
  test::TempDir directory;
  fs::path path;
};

Config config_for(const GoldenSealedStore& store) {
  Config config;
  config.create = false;
  config.write_buffer_size = 16 << 10;
  config.encryption_key = test::golden_sealed_key(store);
  return config;
}

Collection open(const Copy& copy, const GoldenSealedStore& store, const Config& config) {
  Result<Collection> opened = Collection::open(copy.path.string(), store.shape, config);
  INFO(store.name << ": " << opened.message());
  REQUIRE(opened.ok());
  return *std::move(opened);
}

void check_content(Collection& collection, const std::map<std::string, std::string>& expected) {
  std::map<std::string, std::string> all;
  const Status status = collection.for_each([&](Bytes key, Bytes value) {
    all[std::string(key.text())] = std::string(value.text());
    return true;
  });
  INFO(status.message());
  CHECK(status.ok());
  CHECK((all == expected));
  CHECK(collection.stats().damaged_regions == 0);
  CHECK(collection.stats().segments_set_aside == 0);
  const Result<VerifyReport> report = collection.verify();
  REQUIRE(report.ok());
  CHECK(report->damaged_regions == 0);
}

}  // namespace

TEST_CASE("golden: each encrypted store of version 1 opens read-only and holds what it held",
          "[golden]") {
  for (const GoldenSealedStore& store : test::golden_sealed_stores()) {
    INFO(store.name);
    const Copy copy(store);
    const test::GoldenBytes before = test::golden_bytes_of(copy.path);
    Config config = config_for(store);
    config.read_only = true;
    Collection collection = open(copy, store, config);
    check_content(collection, test::golden_sealed_content(store));
    CHECK(collection.stats().shards == store.shards);
    CHECK((test::golden_bytes_of(copy.path) == before));
  }
}

TEST_CASE("golden: each encrypted store of version 1 can be written on", "[golden]") {
  for (const GoldenSealedStore& store : test::golden_sealed_stores()) {
    INFO(store.name);
    const Copy copy(store);
    auto expected = test::golden_sealed_content(store);
    {
      Collection collection = open(copy, store, config_for(store));
      check_content(collection, expected);
      const std::string value = test::golden_value(store.shape, 7, 9);
      REQUIRE(collection.put(test::golden_key(7), value).ok());
      REQUIRE(collection.erase(test::golden_key(8)).ok());
      expected[test::golden_key(7)] = value;
      expected.erase(test::golden_key(8));
      REQUIRE(collection.compact().ok());
      check_content(collection, expected);
    }
    Collection collection = open(copy, store, config_for(store));
    check_content(collection, expected);
  }
}

TEST_CASE("golden: another key opens no encrypted store of version 1, and changes nothing",
          "[golden]") {
  for (const GoldenSealedStore& store : test::golden_sealed_stores()) {
    INFO(store.name);
    const Copy copy(store);
    const test::GoldenBytes before = test::golden_bytes_of(copy.path);
    Config config = config_for(store);
    for (const EncryptionKey& key :
         {EncryptionKey(ByteArray<32>{1}), EncryptionKey::passphrase("another one")}) {
      config.encryption_key = key;
      CHECK(Collection::open(copy.path.string(), store.shape, config).is(Errc::wrong_key));
    }
    CHECK((test::golden_bytes_of(copy.path) == before));
  }
}

TEST_CASE("golden: no key or value of the encrypted stores can be read in their files",
          "[golden]") {
  for (const GoldenSealedStore& store : test::golden_sealed_stores()) {
    const Copy copy(store);
    for (const auto& [name, bytes] : test::golden_bytes_of(copy.path)) {
      INFO(store.name << " " << name);
      // Every value but the empty ones begins so, with its number and version.
      for (int number = 0; number < 80; ++number) {
        const std::string stem = test::golden_value(store.shape, number, 1).substr(0, 6);
        if (stem.size() == 6) CHECK(bytes.find(stem) == std::string::npos);
      }
    }
  }
}

TEST_CASE("golden: the encrypted stores have what they are there for", "[golden]") {
  for (const GoldenSealedStore& store : test::golden_sealed_stores()) {
    INFO(store.name);
    const Copy copy(store);
    bool after_failure = false, in_buffer = false;
    for (const auto& [name, bytes] : test::golden_bytes_of(copy.path)) {
      const Bytes rest = Bytes(bytes).sub(format::kSealedHeaderBytes);
      if (rest.empty()) continue;
      const auto seed = base::load_little<std::uint32_t>(Bytes(bytes).data() + 92);
      format::Frame frame;
      for (std::size_t at = 0; format::decode_frame(rest.sub(at), seed, frame);
           at += format::frame_bytes(frame.size)) {
        after_failure = after_failure || frame.follows_failure;
        in_buffer = in_buffer || name.ends_with("tail.buf");
      }
    }
    CHECK(after_failure == (std::string_view(store.name) == "failed_map"));
    if (store.killed) CHECK(in_buffer);
  }
}

#endif  // ARMDB_WITH_OPENSSL

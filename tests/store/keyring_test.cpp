// The keyring: what opens it, what does not, and that nothing is touched when it does not.
#include "store/keyring.hpp"

#include <cerrno>
#include <cstdlib>
#include <set>

#include "format/sealed_slot.hpp"
#include "store/manifest_file.hpp"
#include "support/one_shard.hpp"

using namespace armdb;
using test::Call;
using test::FaultFileSystem;

#if ARMDB_WITH_OPENSSL

namespace {

constexpr ByteArray<32> kTestKey{7, 7, 7};

// ARMDB_TEST_ENCRYPTED=1: all tests of this program run on encrypted collections.
const bool all_encrypted = [] {
  const char* const set = std::getenv("ARMDB_TEST_ENCRYPTED");
  if (set == nullptr || *set != '1') return false;
  store::key_for_tests = kTestKey;
  return true;
}();

constexpr ByteArray<32> kKey{1, 2, 3};
constexpr ByteArray<32> kOther{1, 2, 4};
const std::string kKeys = "/c/db.keys";

Config with_key(FileSystem& files, const EncryptionKey& key) {
  Config config = test::one_shard(files);
  config.encryption_key = key;
  return config;
}

// All files with their content.
std::map<std::string, std::string> bytes_of(FaultFileSystem& files,
                                            const std::string& path = "/c") {
  std::map<std::string, std::string> all;
  for (const auto& [name, kind] : test::list_names(files, path)) {
    const std::string whole = path + "/" + name;
    if (kind == FileKind::directory) all.merge(bytes_of(files, whole));
    // Who holds the lock is written there at each opening.
    else if (name != "LOCK")
      all[whole] = test::read_path(files, whole);
  }
  return all;
}

void create(FaultFileSystem& files, const EncryptionKey& key) {
  Collection collection = test::open_shard(with_key(files, key));
  test::put_range(collection, 0, 100);
  REQUIRE(collection.close().ok());
}

Status try_open(FaultFileSystem& files, const EncryptionKey& key) {
  return Collection::open("/c", test::kVarTree, with_key(files, key)).status();
}

void check_opens(FaultFileSystem& files, const EncryptionKey& key) {
  const Collection collection = test::open_shard(with_key(files, key));
  CHECK(test::prefix_length(test::contents(collection)) == 100);
}

}  // namespace

TEST_CASE("keyring: only the key that it was made with opens a collection [pitfall-47]") {
  const EncryptionKey passphrase = EncryptionKey::passphrase("correct horse");
  for (const EncryptionKey& key : {EncryptionKey(kKey), passphrase}) {
    FaultFileSystem files;
    create(files, key);
    check_opens(files, key);
    const auto before = bytes_of(files);
    CHECK(try_open(files, kOther).is(Errc::wrong_key));
    CHECK(try_open(files, EncryptionKey::passphrase("wrong horse")).is(Errc::wrong_key));
    if (!all_encrypted) CHECK(try_open(files, {}).is(Errc::wrong_key));
    CHECK(bytes_of(files) == before);
    check_opens(files, key);
  }
}

TEST_CASE("keyring: an empty passphrase is refused, and makes nothing in the clear") {
  FaultFileSystem files;
  CHECK(try_open(files, EncryptionKey::passphrase("")).is(Errc::invalid_argument));
  CHECK(try_open(files, EncryptionKey::passphrase({})).is(Errc::invalid_argument));
  CHECK(!test::exists(files, "/c"));
}

TEST_CASE("keyring: a collection in the clear refuses a key [pitfall-48]") {
  if (all_encrypted) return;
  FaultFileSystem files;
  create(files, {});
  const auto before = bytes_of(files);
  CHECK(try_open(files, kKey).is(Errc::format_mismatch));
  CHECK(bytes_of(files) == before);
  check_opens(files, {});
}

TEST_CASE("keyring: another cipher than the stored one is refused, none asked for takes it") {
  FaultFileSystem files;
  Config config = with_key(files, kKey);
  config.cipher = Cipher::chacha20_poly1305;
  {
    Collection collection = test::open_shard(config);
    test::put_range(collection, 0, 100);
  }
  check_opens(files, kKey);
  config.cipher = Cipher::aes_256_gcm;
  CHECK(Collection::open("/c", test::kVarTree, config).is(Errc::format_mismatch));
}

TEST_CASE("keyring: a wrong byte anywhere in db.keys or db.meta is told, and nothing is changed") {
  FaultFileSystem files;
  create(files, kKey);
  const auto snapshot = files.snapshot();
  for (const std::string& path : {kKeys, std::string("/c/db.meta")}) {
    const std::size_t size = test::read_path(files, path).size();
    for (std::size_t at = 0; at < size; ++at) {
      files.restore(snapshot);
      test::flip(files, path, at, static_cast<int>(at % 8));
      const auto before = bytes_of(files);
      const Status status = try_open(files, kKey);
      INFO(path << " " << at << " " << status.message());
      CHECK(!status.ok());
      CHECK(bytes_of(files) == before);
    }
  }
}

TEST_CASE("keyring: db.keys of another collection, or none, opens nothing [pitfall-46]") {
  FaultFileSystem files, others;
  create(files, kKey);
  create(others, kKey);
  const std::string own = test::read_path(files, kKeys);
  test::replace(files, kKeys, test::read_path(others, kKeys));
  CHECK(try_open(files, kKey).is(Errc::corrupt));
  REQUIRE(files.remove(kKeys).ok());
  CHECK(try_open(files, kKey).is(Errc::corrupt));
  test::replace(files, kKeys, own);
  check_opens(files, kKey);
}

TEST_CASE("keyring: db.meta that was changed, checksum and all, is noticed") {
  FaultFileSystem files;
  create(files, kKey);
  format::Meta meta;
  REQUIRE(store::read_meta(files, "/c", meta).ok());
  meta.hash_seed ^= 1;
  REQUIRE(store::create_meta(files, "/c", meta).ok());
  const Status status = try_open(files, kKey);
  CHECK(status.is(Errc::corrupt));
  // In the clear by its db.meta, it does not open either: with a key that is refused.
  meta.hash_seed ^= 1;
  meta.cipher = Cipher::stored;
  REQUIRE(store::create_meta(files, "/c", meta).ok());
  CHECK(!try_open(files, kKey).ok());
  const auto before = bytes_of(files);
  CHECK(!try_open(files, {}).ok());
  CHECK(bytes_of(files) == before);
}

TEST_CASE("keyring: rotate_key changes the lock and nothing else [pitfall-52]") {
  FaultFileSystem files;
  create(files, kKey);
  auto before = bytes_of(files);
  {
    Collection collection = test::open_shard(with_key(files, kKey));
    CHECK(collection.rotate_key(kOther, kKey).is(Errc::wrong_key));
    CHECK(collection.rotate_key(kKey, {}).is(Errc::invalid_argument));
    CHECK(collection.rotate_key(kKey, EncryptionKey::passphrase("")).is(Errc::invalid_argument));
    REQUIRE(collection.rotate_key(kKey, EncryptionKey::passphrase("horse")).ok());
    CHECK(collection.rotate_key(kKey, kOther).is(Errc::wrong_key));
    REQUIRE(collection.rotate_key(EncryptionKey::passphrase("horse"), kOther).ok());
    CHECK(test::prefix_length(test::contents(collection)) == 100);
  }
  CHECK(try_open(files, kKey).is(Errc::wrong_key));
  check_opens(files, kOther);
  auto after = bytes_of(files);
  for (const char* own : {"/c/db.keys", "/c/shard_000/MANIFEST", "/c/shard_000/tail.buf"}) {
    before.erase(own);
    after.erase(own);
  }
  CHECK(before == after);
}

// The data keys by which the files of the shard are sealed.
std::set<std::uint32_t> key_ids(FaultFileSystem& files) {
  std::set<std::uint32_t> ids;
  for (const auto& [path, bytes] : bytes_of(files)) {
    format::SealedHeader header;
    if (path.ends_with("/reserve") || !format::decode_sealed_header(bytes, header).ok()) continue;
    ids.insert(header.key_id);
  }
  return ids;
}

TEST_CASE("keyring: reencrypt leaves nothing that an old data key seals") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap}) {
    FaultFileSystem files;
    const Config config = with_key(files, kKey);
    {
      Collection collection = test::open_shard(config, shape);
      for (int version = 0; version < 3; ++version) {
        test::put_range(collection, 0, 1500, version);
        REQUIRE(collection.checkpoint().ok());
      }
      CHECK(key_ids(files) == std::set<std::uint32_t>{1});
      CHECK(collection.reencrypt(kOther).is(Errc::wrong_key));
      REQUIRE(collection.reencrypt(kKey).ok());
      CHECK(key_ids(files) == std::set<std::uint32_t>{2});
      CHECK(test::contents(collection) == test::numbers(0, 1500, 2));
      test::put_range(collection, 0, 1500, 3);
      REQUIRE(collection.reencrypt(kKey).ok());
    }
    CHECK(key_ids(files) == std::set<std::uint32_t>{3});
    for (int open = 0; open < 2; ++open) {
      Collection collection = test::open_shard(config, shape);
      CHECK(test::contents(collection) == test::numbers(0, 1500, 3));
      CHECK(collection.stats().damaged_regions == 0);
    }
  }
}

constexpr Shape kSlots{4, 8, true, Payload::value, true};

// Cuts reencrypt() short at its n-th call, for all n; then by a power cut, too.
void cut_renewal_short(const Shape& shape, bool power) {
  FaultFileSystem files;
  const Config config = with_key(files, kKey);
  {
    Collection collection = test::open_shard(config, shape);
    test::put_range(collection, 0, 100, 1);
    REQUIRE(collection.checkpoint().ok());
    test::put_range(collection, 0, 50, 2);
    REQUIRE(collection.erase(test::key_of(99)).ok());
  }
  const auto snapshot = files.snapshot();
  auto wanted = test::numbers(0, 99, 1);
  for (const auto& [key, value] : test::numbers(0, 50, 2)) wanted[key] = value;
  bool done = false;
  for (std::size_t call = 1; !done; ++call) {
    files.restore(snapshot);
    {
      Collection collection = test::open_shard(config, shape);
      files.fail(Call::any, call, EIO, true);
      done = collection.reencrypt(kKey).ok();
      if (power) files.power_cut_random(call, test::Tearing::half);
      files.clear_faults();
    }
    INFO("call " << call);
    Collection collection = test::open_shard(config, shape);
    REQUIRE(test::contents(collection) == wanted);
    REQUIRE(collection.reencrypt(kKey).ok());
    REQUIRE(test::contents(collection) == wanted);
    REQUIRE(key_ids(files).size() == 1);
    REQUIRE(collection.close().ok());
    collection = test::open_shard(config, shape);
    REQUIRE(test::contents(collection) == wanted);
    REQUIRE(collection.stats().damaged_regions == 0);
  }
}

TEST_CASE("keyring: a failure at any call of reencrypt loses nothing, and it can be done again",
          "[serial]") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap, kSlots}) {
    cut_renewal_short(shape, false);
  }
}

TEST_CASE("keyring: nor does a power cut at any call of reencrypt [pitfall-52]", "[serial]") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap, kSlots}) {
    cut_renewal_short(shape, true);
  }
}

TEST_CASE("keyring: reencrypt goes on where db.keys was replaced and its name not made durable") {
  for (const Shape& shape : {test::kVarTree, test::kConstMap, kSlots}) {
    for (const bool killed : {false, true}) {
      FaultFileSystem files;
      const Config config = with_key(files, kKey);
      {
        Collection collection = test::open_shard(config, shape);
        test::put_range(collection, 0, 100);
        REQUIRE(collection.checkpoint().ok());
        files.fail(Call::sync_directory, 1, EIO, killed);
        REQUIRE(!collection.reencrypt(kKey).ok());
        if (killed) files.kill_process();
        files.clear_faults();
        if (!killed) REQUIRE(collection.reencrypt(kKey).ok());
      }
      {
        Collection collection = test::open_shard(config, shape);
        test::put_range(collection, 100, 200);
        REQUIRE(collection.sync().ok());
        files.power_cut_lose_all();
      }
      const Collection collection = test::open_shard(config, shape);
      CHECK(test::prefix_length(test::contents(collection)) == 200);
    }
  }
}

TEST_CASE("keyring: db.keys that was replaced while the collection was open is not built on") {
  FaultFileSystem files;
  const Config config = with_key(files, kKey);
  Collection collection = test::open_shard(config);
  test::put_range(collection, 0, 100);
  const std::string older = test::read_path(files, kKeys);
  REQUIRE(collection.reencrypt(kKey).ok());
  const std::string right = test::read_path(files, kKeys);
  test::replace(files, kKeys, older);
  CHECK(collection.reencrypt(kKey).is(Errc::corrupt));
  CHECK(collection.rotate_key(kKey, kOther).is(Errc::corrupt));
  test::replace(files, kKeys, right);
  REQUIRE(collection.reencrypt(kKey).ok());
  REQUIRE(collection.close().ok());
  check_opens(files, kKey);
}

TEST_CASE("keyring: slots that became zeros after a close are missed") {
  FaultFileSystem files;
  const Config config = with_key(files, kKey);
  {
    Collection collection = test::open_shard(config, kSlots);
    test::put_range(collection, 0, 500);
    REQUIRE(collection.close().ok());
  }
  const std::string path = test::in_shard("slots.dat");
  const std::string bytes = test::read_path(files, path);
  format::SlotsHeader header;
  REQUIRE(format::decode_slots_header(Bytes(bytes).sub(0, format::kSlotsHeaderBytes), header).ok());
  const format::SlotLayout layout(header.key_size, header.value_size, header.copies,
                                  header.stage_count, true);
  for (std::uint32_t copy = 0; copy < 2; ++copy) {
    test::patch(files, path, layout.offset(0, copy), std::string(4096, '\0'));
  }
  const Collection collection = test::open_shard(config, kSlots);
  CHECK(collection.size() < 500);
  CHECK(collection.size() + collection.stats().damaged_regions == 500);
}

TEST_CASE("keyring: reencrypt keeps the key that a damaged slot needs") {
  FaultFileSystem files;
  const Config config = with_key(files, kKey);
  {
    Collection collection = test::open_shard(config, kSlots);
    test::put_range(collection, 0, 100);
    REQUIRE(collection.close().ok());
  }
  // Whole, but with another seal: the checksum is made to fit.
  const std::string path = test::in_shard("slots.dat");
  const std::string bytes = test::read_path(files, path);
  format::SlotsHeader header;
  REQUIRE(format::decode_slots_header(Bytes(bytes).sub(0, format::kSlotsHeaderBytes), header).ok());
  const format::SlotLayout layout(header.key_size, header.value_size, header.copies,
                                  header.stage_count, true);
  for (std::uint32_t copy = 0; copy < 2; ++copy) {
    std::string one = bytes.substr(layout.offset(0, copy), layout.slot_bytes());
    if (one.find_first_not_of('\0') == std::string::npos) continue;
    one[40] = static_cast<char>(one[40] ^ 1);
    format::finish_sealed_slot(format::slot_seed(header), 0,
                               {reinterpret_cast<std::uint8_t*>(one.data()), one.size()});
    test::patch(files, path, layout.offset(0, copy), one);
  }
  {
    Collection collection = test::open_shard(config, kSlots);
    CHECK(collection.verify()->forged_pieces == 1);
    CHECK(collection.reencrypt(kKey).is(Errc::corrupt));
  }
  const Collection collection = test::open_shard(config, kSlots);
  CHECK(collection.size() == 99);
}

#else

TEST_CASE("keyring: without OpenSSL an encrypted collection is refused, nothing is created") {
  FaultFileSystem files;
  Config config = test::one_shard(files);
  config.encryption_key = ByteArray<32>{1};
  const Result<Collection> collection = Collection::open("/c", test::kVarTree, config);
  CHECK(collection.is(Errc::unsupported));
  CHECK(!test::exists(files, "/c/db.meta"));
}

#endif

// Encryption as a program uses it: keys, passphrases, changing them, copies, and both stores.
#include <cstdlib>
#include <string>

#include "armdb.hpp"
#include "support/catch.hpp"

using namespace armdb;

namespace {

using Accounts = ConstMap<std::uint64_t, ByteArray<8>>;
using Letters = VarTree<std::uint64_t>;
using Counters = FixedTree<std::uint64_t, ByteArray<8>>;

constexpr ByteArray<32> kKey{1, 2, 3};
constexpr ByteArray<32> kOther{3, 2, 1};

bool has_encryption() { return compile_options().find("OPENSSL") != std::string_view::npos; }

ByteArray<8> value_of(std::uint64_t number) {
  ByteArray<8> value{'v', 'a', 'l', 'u', 'e'};
  value[7] = static_cast<std::uint8_t>(number);
  return value;
}
template <class T> auto stored_value(std::uint64_t number) {
  if constexpr (std::is_same_v<T, Letters>) {
    return std::string(100 + number % 3000, static_cast<char>('a' + number % 26));
  } else {
    return value_of(number);
  }
}

// The bytes of a key, for the handle without types.
std::string key_bytes(std::uint64_t number) {
  std::string bytes(8, '\0');
  for (int at = 7; at >= 0; --at, number >>= 8) bytes[at] = static_cast<char>(number & 0xff);
  return bytes;
}

template <class T> bool holds(const T& all, std::uint64_t count) {
  if (all.size() != count) return false;
  for (std::uint64_t number = 0; number < count; ++number) {
    if constexpr (std::is_same_v<T, Letters>) {
      const auto value = all.get(number);
      if (!value.ok() || !value->has_value()) return false;
      if ((*value)->text() != stored_value<T>(number)) return false;
    } else {
      if (all.get(number) != stored_value<T>(number)) return false;
    }
  }
  return true;
}

template <class T> T filled(Config config, const char* path, std::uint64_t count) {
  Result<T> all = T::open(path, config);
  INFO(all.message());
  REQUIRE(all.ok());
  for (std::uint64_t number = 0; number < count; ++number) {
    REQUIRE(all->put(number, stored_value<T>(number)).ok());
  }
  return *std::move(all);
}

}  // namespace

TEST_CASE("encryption: a key is read from the environment, and what is wrong with it is named") {
  const auto says = [](const char* text, const char* part) {
    ::setenv("ARMDB_API_TEST_KEY", text, 1);
    const auto key = key_from_env("ARMDB_API_TEST_KEY");
    INFO(text << ": " << key.message());
    CHECK(key.is(Errc::invalid_argument));
    CHECK(key.message().find("ARMDB_API_TEST_KEY") != std::string::npos);
    CHECK(key.message().find(part) != std::string::npos);
    // It never says what the key is.
    if (*text != 0) CHECK(key.message().find(text) == std::string::npos);
  };
  const std::string digits = "00112233445566778899aabbccddeeffFFEEDDCCBBAA99887766554433221100";
  says("", "short");
  says(digits.substr(1).c_str(), "short");
  says((digits + "0").c_str(), "long");
  says((digits.substr(0, 63) + "g").c_str(), "hexadecimal");
  says((" " + digits.substr(1)).c_str(), "hexadecimal");
  ::setenv("ARMDB_API_TEST_KEY", digits.c_str(), 1);
  const auto key = key_from_env("ARMDB_API_TEST_KEY");
  REQUIRE(key.ok());
  CHECK((*key)[1] == 0x11);
  CHECK((*key)[16] == 0xff);
  CHECK((*key)[31] == 0x00);
  ::unsetenv("ARMDB_API_TEST_KEY");
  CHECK(key_from_env("ARMDB_API_TEST_KEY").message().find("not set") != std::string::npos);
}

TEMPLATE_TEST_CASE("encryption: only the key opens what it locked, and rotate_key changes it", "",
                   Accounts, Letters, Counters) {
  if (!has_encryption()) return;
  const Owned<FileSystem> files = make_memory_file_system();
  Config config;
  config.file_system = files.get();
  config.shard_count = 2;
  config.encryption_key = kKey;
  filled<TestType>(config, "c", 500);
  {
    Result<TestType> again = TestType::open("c", config);
    REQUIRE(again.ok());
    CHECK(holds(*again, 500));
    CHECK(again->rotate_key(kOther, kKey).is(Errc::wrong_key));
    REQUIRE(again->rotate_key(kKey, EncryptionKey::passphrase("correct horse")).ok());
    CHECK(holds(*again, 500));
  }
  CHECK(TestType::open("c", config).is(Errc::wrong_key));
  config.encryption_key = EncryptionKey::passphrase("battery staple");
  CHECK(TestType::open("c", config).is(Errc::wrong_key));
  config.encryption_key = EncryptionKey::passphrase("correct horse");
  const Result<TestType> opened = TestType::open("c", config);
  REQUIRE(opened.ok());
  CHECK(holds(*opened, 500));
}

TEMPLATE_TEST_CASE("encryption: reencrypt keeps everything, also what is written beside it", "",
                   Accounts, Letters, Counters) {
  if (!has_encryption()) return;
  const Owned<FileSystem> files = make_memory_file_system();
  Config config;
  config.file_system = files.get();
  config.shard_count = 2;
  config.encryption_key = kKey;
  config.cipher = Cipher::chacha20_poly1305;
  {
    TestType all = filled<TestType>(config, "c", 800);
    for (std::uint64_t number = 600; number < 800; ++number) REQUIRE(all.erase(number).ok());
    CHECK(all.reencrypt(kOther).is(Errc::wrong_key));
    for (int round = 0; round < 3; ++round) {
      REQUIRE(all.reencrypt(kKey).ok());
      CHECK(holds(all, 600));
      REQUIRE(all.put(5, stored_value<TestType>(5)).ok());
    }
  }
  const Result<TestType> opened = TestType::open("c", config);
  INFO(opened.message());
  REQUIRE(opened.ok());
  CHECK(holds(*opened, 600));
  CHECK(opened->stats().damaged_regions == 0);
}

TEMPLATE_TEST_CASE("encryption: copies under another key, and in the clear", "", Accounts, Letters,
                   Counters) {
  const Owned<FileSystem> files = make_memory_file_system();
  Config config;
  config.file_system = files.get();
  config.shard_count = 2;
  TestType all = filled<TestType>(config, "c", 700);
  REQUIRE(all.put(3, stored_value<TestType>(3), {.ttl_ms = 1000000}).ok());
  const std::uint64_t expires = all.collection().expires_at(key_bytes(3)).value();
  if (!has_encryption()) {
    CHECK(all.backup_to("sealed", kKey).is(Errc::unsupported));
    REQUIRE(all.backup_to("clear", {}).ok());
  } else {
    REQUIRE(all.backup_to("sealed", kKey).ok());
    Config sealed = config;
    sealed.encryption_key = kKey;
    Result<TestType> copy = TestType::open("sealed", sealed);
    INFO(copy.message());
    REQUIRE(copy.ok());
    CHECK(holds(*copy, 700));
    REQUIRE(copy->backup_to("clear", {}).ok());
  }
  const Result<TestType> clear = TestType::open("clear", config);
  REQUIRE(clear.ok());
  CHECK(holds(*clear, 700));
  CHECK(clear->collection().expires_at(key_bytes(3)).value() == expires);
  CHECK(clear->stats().last_sequence >= all.stats().last_sequence);
}

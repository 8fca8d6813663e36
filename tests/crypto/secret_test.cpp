// Keys from keys and from passphrases: the vectors of the standards.
#include "crypto/secret.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/hex.hpp"
#include "support/random.hpp"

#if ARMDB_WITH_OPENSSL

#include <openssl/evp.h>
#include <openssl/hmac.h>

using namespace armdb;
using namespace armdb::crypto;
using test::from_hex;

namespace {

using Buffer = std::vector<std::uint8_t>;

Buffer hmac(const Buffer& key, const Buffer& text) {
  Buffer out(32);
  unsigned size = 0;
  REQUIRE(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), text.data(), text.size(),
               out.data(), &size) != nullptr);
  return out;
}

// HKDF from its definition, in RFC 5869. Our own takes keys of 32 bytes only, and those of the
// RFC's vectors have 22 or 80: so the vectors prove this one, and this one proves ours.
Buffer hkdf(const Buffer& key, const Buffer& salt, const Buffer& info, std::size_t size) {
  const Buffer extracted = hmac(salt.empty() ? Buffer(32) : salt, key);
  Buffer out;
  Buffer block;
  for (std::uint8_t count = 1; out.size() < size; ++count) {
    block.insert(block.end(), info.begin(), info.end());
    block.push_back(count);
    block = hmac(extracted, block);
    out.insert(out.end(), block.begin(), block.end());
  }
  out.resize(size);
  return out;
}

Buffer run(std::uint8_t first, std::size_t count) {
  Buffer bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::uint8_t>(first + i);
  return bytes;
}

Key key_of(const Buffer& bytes) {
  ByteArray<Key::kBytes> array{};
  std::copy_n(bytes.begin(), array.size(), array.begin());
  return Key(array);
}

Buffer derived(const Buffer& key, const Buffer& salt, const Buffer& info) {
  Key out;
  REQUIRE(derive_key(key_of(key), salt, info, out).ok());
  return Buffer(out.bytes().begin(), out.bytes().end());
}

Buffer from_passphrase(std::string_view passphrase, std::string_view salt, const ScryptCost& cost) {
  Key out;
  const Status status = key_from_passphrase(passphrase, salt, cost, out);
  INFO(status.message());
  REQUIRE(status.ok());
  return Buffer(out.bytes().begin(), out.bytes().end());
}

}  // namespace

TEST_CASE("secret: the HKDF that ours is compared with gives the vectors of RFC 5869, A.1 to A.3") {
  CHECK(hkdf(Buffer(22, 0x0b), run(0, 13), run(0xf0, 10), 42) ==
        from_hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
                 "34007208d5b887185865"));
  CHECK(hkdf(run(0, 80), run(0x60, 80), run(0xb0, 80), 82) ==
        from_hex("b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
                 "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
                 "cc30c58179ec3e87c14c01d5c1f3434f1d87"));
  CHECK(hkdf(Buffer(22, 0x0b), {}, {}, 42) ==
        from_hex("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
                 "9d201395faa4b61a96c8"));
}

TEST_CASE("secret: derive_key is HKDF-SHA256, for salts and infos of any length but 0") {
  // Those of A.1 and A.2 with the first 32 bytes of A.2's key; by Python's hmac module.
  CHECK(derived(run(0, 32), run(0, 13), run(0xf0, 10)) ==
        from_hex("194109eabd17e0cb6c156d2bcbb8e54f9aa71ab5cdcf4a730b827c03ee4090f4"));
  CHECK(derived(run(0, 32), run(0x60, 80), run(0xb0, 80)) ==
        from_hex("8a7141ef32a9057f2b399ee37f18a80ce0848c0fc9de046cac1c7866fe73f603"));
  base::Random random(1);
  for (std::size_t size = 1; size < 149; ++size) {
    const auto any = [&](std::size_t count) {
      Buffer bytes(count);
      for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random.next());
      return bytes;
    };
    const Buffer key = any(32), salt = any(size), info = any(149 - size);
    REQUIRE(derived(key, salt, info) == hkdf(key, salt, info, 32));
  }
}

TEST_CASE("secret: another key, salt or info derives another key") {
  const Buffer key = run(0, 32), salt = run(5, 32), info = run(9, 20);
  const Buffer same = derived(key, salt, info);
  CHECK(derived(key, salt, info) == same);
  const auto flipped = [](Buffer bytes, std::size_t bit) {
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    return bytes;
  };
  for (std::size_t bit = 0; bit < 256; ++bit) {
    REQUIRE(derived(flipped(key, bit), salt, info) != same);
    REQUIRE(derived(key, flipped(salt, bit), info) != same);
    if (bit < 160) REQUIRE(derived(key, salt, flipped(info, bit)) != same);
  }
}

// The RFC's keys have 64 bytes; ours are their front, as the last step of scrypt (PBKDF2) makes
// them in blocks of 32.
TEST_CASE("secret: scrypt gives the vectors of RFC 7914, section 12") {
  CHECK(from_passphrase("password", "NaCl", {1024, 8, 16}) ==
        from_hex("fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"));
  CHECK(from_passphrase("pleaseletmein", "SodiumChloride", {16384, 8, 1}) ==
        from_hex("7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"));
}

TEST_CASE("secret: the costs that we write down are within what OpenSSL is allowed") {
  // By Python's hashlib.scrypt.
  CHECK(from_passphrase("correct horse", "salt", ScryptCost()) ==
        from_hex("a3479fbdc10408db76d4413bd916aa53e8cc54bb088da32666d81ab4aa1ea937"));
}

TEST_CASE("secret: costs that are none are an error, not a key") {
  Key out;
  CHECK(!key_from_passphrase("a", "salt", {1000, 8, 1}, out).ok());
  CHECK(!key_from_passphrase("a", "salt", {0, 8, 1}, out).ok());
  CHECK(!key_from_passphrase("a", "salt", {1024, 0, 1}, out).ok());
}

TEST_CASE("secret: wiping leaves zeros, and comparing sees each byte") {
  Buffer bytes = run(1, 40);
  wipe(MutableBytes(bytes).subspan(0, 39));
  Buffer expected(40);
  expected[39] = 40;
  CHECK(bytes == expected);
  const Buffer a = run(0, 32);
  CHECK(equal_in_constant_time(a, Buffer(a)));
  CHECK(!equal_in_constant_time(a, run(0, 31)));
  for (std::size_t at = 0; at < a.size(); ++at) {
    Buffer b = a;
    b[at] ^= 128;
    CHECK(!equal_in_constant_time(a, b));
  }
}

#endif  // ARMDB_WITH_OPENSSL

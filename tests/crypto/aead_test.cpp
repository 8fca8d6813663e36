// Authenticated encryption: the vectors of the standards, and that nothing changed opens.
#include "crypto/aead.hpp"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/hex.hpp"

#if ARMDB_WITH_OPENSSL

using namespace armdb;
using namespace armdb::crypto;
using test::from_hex;

namespace {

using Buffer = std::vector<std::uint8_t>;

struct Vector {
  Cipher cipher;
  Buffer key;
  Buffer nonce;
  Buffer additional;
  Buffer plain;
  Buffer sealed;
  Buffer tag;
};

// McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 13 to 16: those with keys of
// 256 bits and nonces of 96. NIST's CAVP has the first two as well.
std::vector<Vector> gcm_vectors() {
  const Buffer zeros(32);
  const Buffer zero_nonce(12);
  const Buffer key = from_hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
  const Buffer nonce = from_hex("cafebabefacedbaddecaf888");
  const Buffer plain = from_hex(
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
      "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255");
  const Buffer sealed = from_hex(
      "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
      "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad");
  const auto front = [](const Buffer& bytes) { return Buffer(bytes.begin(), bytes.end() - 4); };
  const Cipher gcm = Cipher::aes_256_gcm;
  return {
      {gcm, zeros, zero_nonce, {}, {}, {}, from_hex("530f8afbc74536b9a963b4f1c4cb738b")},
      {gcm,
       zeros,
       zero_nonce,
       {},
       Buffer(16),
       from_hex("cea7403d4d606b6e074ec5d3baf39d18"),
       from_hex("d0d1c8a799996bf0265b98b5d48ab919")},
      {gcm, key, nonce, {}, plain, sealed, from_hex("b094dac5d93471bdec1a502270e3cc6c")},
      {gcm, key, nonce, from_hex("feedfacedeadbeeffeedfacedeadbeefabaddad2"), front(plain),
       front(sealed), from_hex("76fc6ece0f4e1768cddf8853bb2d551b")},
  };
}

// RFC 8439, section 2.8.2.
Vector chacha_vector() {
  const std::string text =
      "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
      "sunscreen would be it.";
  return {Cipher::chacha20_poly1305,
          from_hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"),
          from_hex("070000004041424344454647"),
          from_hex("50515253c0c1c2c3c4c5c6c7"),
          Buffer(text.begin(), text.end()),
          from_hex("d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
                   "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
                   "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
                   "3ff4def08e4b7a9de576d26586cec64b6116"),
          from_hex("1ae10b594f09e26a7e902ecbd0600691")};
}

std::vector<Vector> all_vectors() {
  std::vector<Vector> all = gcm_vectors();
  all.push_back(chacha_vector());
  return all;
}

std::unique_ptr<Aead> aead_with(Cipher cipher, const Buffer& key) {
  ByteArray<Key::kBytes> bytes{};
  std::copy(key.begin(), key.end(), bytes.begin());
  auto aead = std::make_unique<Aead>();
  REQUIRE(aead->set_key(cipher, Key(bytes)).ok());
  return aead;
}

OpenOutcome open(const Vector& from, Buffer* plain = nullptr) {
  Buffer out(from.sealed.size());
  const OpenOutcome outcome =
      aead_with(from.cipher, from.key)
          ->open(from.nonce, from.additional, from.sealed, from.tag, out.data());
  if (plain != nullptr) *plain = out;
  return outcome;
}

}  // namespace

TEST_CASE("aead: AES-256-GCM and ChaCha20-Poly1305 seal and open as their standards print") {
  for (const Vector& vector : all_vectors()) {
    INFO(static_cast<int>(vector.cipher) << ", " << vector.plain.size() << " bytes");
    const auto aead = aead_with(vector.cipher, vector.key);
    Buffer sealed(vector.plain.size());
    Buffer tag(kTagBytes);
    REQUIRE(
        aead->seal(vector.nonce, vector.additional, vector.plain, sealed.data(), tag.data()).ok());
    CHECK(sealed == vector.sealed);
    CHECK(tag == vector.tag);
    Buffer plain;
    CHECK(open(vector, &plain) == OpenOutcome::ok);
    CHECK(plain == vector.plain);
  }
}

TEST_CASE("aead: bytes are sealed in place, and opened in place") {
  for (const Vector& vector : all_vectors()) {
    const auto aead = aead_with(vector.cipher, vector.key);
    Buffer bytes = vector.plain;
    Buffer tag(kTagBytes);
    REQUIRE(aead->seal(vector.nonce, vector.additional, bytes, bytes.data(), tag.data()).ok());
    CHECK(bytes == vector.sealed);
    CHECK(aead->open(vector.nonce, vector.additional, bytes, tag, bytes.data()) == OpenOutcome::ok);
    CHECK(bytes == vector.plain);
  }
}

TEST_CASE("aead: one flipped bit of key, nonce, additional data, bytes or tag is forged") {
  for (const Vector& vector : all_vectors()) {
    for (Buffer Vector::*part :
         {&Vector::key, &Vector::nonce, &Vector::additional, &Vector::sealed, &Vector::tag}) {
      for (std::size_t bit = 0; bit < (vector.*part).size() * 8; ++bit) {
        Vector changed = vector;
        (changed.*part)[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
        REQUIRE(open(changed) == OpenOutcome::forged);
      }
    }
  }
}

TEST_CASE("aead: more or fewer bytes, and the other cipher, are forged") {
  for (const Vector& vector : all_vectors()) {
    for (Buffer Vector::*part : {&Vector::additional, &Vector::sealed}) {
      Vector longer = vector;
      (longer.*part).push_back(0);
      CHECK(open(longer) == OpenOutcome::forged);
      Vector shorter = vector;
      if ((shorter.*part).empty()) continue;
      (shorter.*part).pop_back();
      CHECK(open(shorter) == OpenOutcome::forged);
    }
    Vector other = vector;
    other.cipher =
        vector.cipher == Cipher::aes_256_gcm ? Cipher::chacha20_poly1305 : Cipher::aes_256_gcm;
    CHECK(open(other) == OpenOutcome::forged);
  }
}

TEST_CASE("aead: after a forgery the same contexts open what is right") {
  const Vector right = chacha_vector();
  Vector wrong = right;
  wrong.tag[0] ^= 1;
  const auto aead = aead_with(right.cipher, right.key);
  Buffer out(right.sealed.size());
  for (int round = 0; round < 20; ++round) {
    const Vector& vector = round % 2 == 0 ? wrong : right;
    const OpenOutcome outcome =
        aead->open(vector.nonce, vector.additional, vector.sealed, vector.tag, out.data());
    CHECK(outcome == (round % 2 == 0 ? OpenOutcome::forged : OpenOutcome::ok));
  }
  CHECK(out == right.plain);
}

TEST_CASE("aead: a new key replaces the old one in all contexts") {
  const Vector first = gcm_vectors()[1];
  const Vector second = gcm_vectors()[3];
  const auto aead = aead_with(first.cipher, first.key);
  Buffer out(64);
  REQUIRE(aead->open(first.nonce, first.additional, first.sealed, first.tag, out.data()) ==
          OpenOutcome::ok);
  ByteArray<Key::kBytes> key{};
  std::copy(second.key.begin(), second.key.end(), key.begin());
  REQUIRE(aead->set_key(second.cipher, Key(key)).ok());
  CHECK(aead->open(first.nonce, first.additional, first.sealed, first.tag, out.data()) ==
        OpenOutcome::forged);
  CHECK(aead->open(second.nonce, second.additional, second.sealed, second.tag, out.data()) ==
        OpenOutcome::ok);
}

TEST_CASE("aead: many threads seal and open with one key beside each other", "[threads]") {
  for (const Cipher cipher : {Cipher::aes_256_gcm, Cipher::chacha20_poly1305}) {
    const auto aead = aead_with(cipher, Buffer(32, 9));
    std::vector<std::thread> threads;
    std::vector<int> wrong(8);  // more threads than spare contexts
    for (std::size_t thread = 0; thread < wrong.size(); ++thread) {
      threads.emplace_back([&aead, &wrong, thread] {
        Buffer nonce(kNonceBytes, static_cast<std::uint8_t>(thread));
        Buffer sealed(100), plain(100), tag(kTagBytes);
        for (unsigned round = 0; round < 500; ++round) {
          nonce[0] = static_cast<std::uint8_t>(round);
          nonce[1] = static_cast<std::uint8_t>(round >> 8);
          const Buffer text(100, static_cast<std::uint8_t>(round * 7 + thread));
          const bool forge = round % 5 == 0;
          bool good = aead->seal(nonce, nonce, text, sealed.data(), tag.data()).ok();
          if (forge) tag[round % kTagBytes] ^= 1;
          const OpenOutcome outcome = aead->open(nonce, nonce, sealed, tag, plain.data());
          good = good && outcome == (forge ? OpenOutcome::forged : OpenOutcome::ok) &&
                 (forge || plain == text);
          wrong[thread] += good ? 0 : 1;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == std::vector<int>(8));
  }
}

#endif  // ARMDB_WITH_OPENSSL

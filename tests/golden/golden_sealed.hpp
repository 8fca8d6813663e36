// What the encrypted golden stores hold, and what opens them: the same for the program that made
// them and the test that opens them. Never changes: the files are there for ever.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "golden/golden_content.hpp"

namespace armdb::test {

struct GoldenSealedStore {
  const char* name;
  Shape shape;
  std::uint32_t shards;
  Cipher cipher;
  bool passphrase;
  bool killed;  // entries 60 to 79 are in tail.buf only
};

inline const std::vector<GoldenSealedStore>& golden_sealed_stores() {
  static const std::vector<GoldenSealedStore> stores = {
      {"key_tree", {4, 0, true, Payload::location}, 2, Cipher::aes_256_gcm, false, true},
      {"failed_map", {4, 0, false, Payload::location}, 1, Cipher::aes_256_gcm, false, false},
      {"passphrase_map", {4, 8, false, Payload::value}, 1, Cipher::chacha20_poly1305, true, true},
  };
  return stores;
}

inline EncryptionKey golden_sealed_key(const GoldenSealedStore& store) {
  if (store.passphrase) return EncryptionKey::passphrase("the golden passphrase");
  ByteArray<32> key{};
  for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::uint8_t>(i * 7 + 1);
  return key;
}

// 0 to 59 in version 1, every third again in version 2, every fifth erased; 60 to 79 in version 3.
inline std::map<std::string, std::string> golden_sealed_content(const GoldenSealedStore& store) {
  std::map<std::string, std::string> all;
  for (int number = 0; number < 80; ++number) {
    const int version = number >= 60 ? 3 : number % 3 == 0 ? 2 : 1;
    if (number >= 60 || number % 5 != 0) {
      all[golden_key(number)] = golden_value(store.shape, number, version);
    }
  }
  return all;
}

}  // namespace armdb::test

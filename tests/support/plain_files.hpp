// The files of the collection in /c as plain bytes, where the tests run encrypted, too: what a
// parser meets behind the seal can be read and hurt at every byte, at the offsets of FORMAT.md.
//
// An edit writes the file anew, sealed by the collection's own key, so nobody but the parsers can
// object to it. tail.buf and slots.dat pass as they are: their pieces are sealed one by one.
#pragma once

#include <memory>
#include <string>

#include "store/keyring.hpp"
#include "support/one_shard.hpp"

namespace armdb::test {

// Whether collections are encrypted that do not ask for it.
inline bool runs_encrypted() {
#if ARMDB_WITH_OPENSSL
  return !store::key_for_tests.empty();
#else
  return false;
#endif
}
inline bool is_encrypted(FileSystem& files) { return exists(files, "/c/db.keys"); }

class PlainFiles {
 public:
  // The collection must be there already, and stay.
  explicit PlainFiles(FileSystem& files) : files_(files) {
    store::Description description;
    REQUIRE(store::read_description(files, "/c", description).ok());
    REQUIRE(
        store::Keyring::settle(files, "/c", {}, Cipher::stored, false, description, keys_).ok());
    REQUIRE((keys_ != nullptr) == is_encrypted(files));
  }

  [[nodiscard]] std::string read(const std::string& path) { return read_path(view(), path); }
  void replace(const std::string& path, const std::string& bytes) {
    static_cast<void>(files_.remove(path));
    // A sealed file begins with the header that names it: without one, nothing can be sealed.
    const bool sealed = keys_ != nullptr && bytes.size() >= format::kFileHeaderBytes;
    test::replace(sealed ? view() : files_, path, bytes);
  }
  void patch(const std::string& path, std::size_t at, const std::string& bytes) {
    std::string all = read(path);
    if (all.size() < at + bytes.size()) all.resize(at + bytes.size());
    all.replace(at, bytes.size(), bytes);
    replace(path, all);
  }
  void flip(const std::string& path, std::size_t at, int bit) {
    std::string all = read(path);
    REQUIRE(at < all.size());
    all[at] = static_cast<char>(all[at] ^ (1 << bit));
    replace(path, all);
  }
  void cut(const std::string& path, std::size_t size) {
    std::string all = read(path);
    all.resize(size);
    replace(path, all);
  }

 private:
  FileSystem& view() { return keys_ == nullptr ? files_ : keys_->sealed_files(); }

  FileSystem& files_;
  std::unique_ptr<store::Keyring> keys_;
};

}  // namespace armdb::test

// Keyring: the data keys of an encrypted collection, in memory and in db.keys.
//
// The user's key never seals data: it seals the data keys, so that changing it rewrites db.keys and
// nothing else. Without OpenSSL there is no keyring, and opening one is `unsupported`.
//
// Threads: any thread may call any member beside any other.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/mutex.hpp"
#include "core/config.hpp"
#include "core/file_system.hpp"
#include "crypto/aead.hpp"
#include "format/sealed.hpp"
#include "store/collection_files.hpp"

namespace armdb::store {

#if defined(ARMDB_CHECKS)
// The tests run encrypted, too, without saying so: this key is used where none is given, unless
// the collection is there in the clear.
extern EncryptionKey key_for_tests;
#endif

#if ARMDB_WITH_OPENSSL

class Keyring {
 public:
  // As `key` and the description ask; null for a collection in the clear. A fresh collection gets
  // its cipher here, and db.keys before db.meta. format_mismatch when one of the two is encrypted
  // and the other is not.
  static Status settle(FileSystem& files, const std::string& directory, EncryptionKey key,
                       Cipher cipher, bool fresh, Description& description,
                       std::unique_ptr<Keyring>& ring);

  // unsupported when there is a key and this build has no encryption.
  static Status check(const EncryptionKey& key);

  // Makes a keyring with one random data key and writes db.keys. The files must outlive it.
  static Status create(FileSystem& files, const std::string& directory, const EncryptionKey& key,
                       const Description& description, std::unique_ptr<Keyring>& made);
  // Reads db.keys. wrong_key when it is another key, corrupt when db.keys or db.meta were changed.
  static Status open(FileSystem& files, const std::string& directory, const EncryptionKey& key,
                     const Description& description, std::unique_ptr<Keyring>& opened);
  ~Keyring();

  // The collection's files, decrypted: see store/sealed_file.hpp.
  [[nodiscard]] FileSystem& sealed_files() const noexcept { return *sealed_files_; }

  // Seals db.keys by `to`; `from` must be the key that it is sealed by now.
  Status rotate(const EncryptionKey& from, const EncryptionKey& to);
  // Draws a new data key, by which everything is sealed from now on; `key` is the user's. Goes on
  // with the newest one where old ones are left: then an earlier renewal was not finished.
  Status begin_renewal(const EncryptionKey& key);
  // Forgets all but the newest: nothing is sealed by the others any more.
  Status end_renewal(const EncryptionKey& key);

  // The key of a file with this header; wrong_key when its data key is not here.
  Status file_key(const format::SealedHeader& header, crypto::Aead& key) const {
    return derive(header.key_id, header.salt, "armdb v1 file", header.identity(), key);
  }
  // The same for what `salt`, `purpose` and `identity` name.
  Status derive(std::uint32_t key_id, Bytes salt, std::string_view purpose, Bytes identity,
                crypto::Aead& key) const;
  [[nodiscard]] std::uint32_t newest_id() const;
  [[nodiscard]] Cipher cipher() const noexcept { return cipher_; }

  // Sealed bytes that were met whole and are not what was sealed there: no medium does that.
  void note_forged() const noexcept { forged_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t forged() const noexcept {
    return forged_.load(std::memory_order_relaxed);
  }

 private:
  struct DataKey {
    std::uint32_t id = 0;
    crypto::Key key;
  };
  Keyring(FileSystem& files, std::string directory, const Description& description);
  Status read(const EncryptionKey& key, std::vector<DataKey>& keys) const;
  Status read_again(const EncryptionKey& key, std::vector<DataKey>& keys) const
      ARMDB_REQUIRES(mutex_);
  Status write(const EncryptionKey& key, const std::vector<DataKey>& keys) const;

  FileSystem& files_;
  const std::string directory_;
  const Description description_;
  const Cipher cipher_;
  Owned<FileSystem> sealed_files_;
  mutable std::atomic<std::uint64_t> forged_{0};
  mutable base::Mutex mutex_;
  std::vector<DataKey> keys_ ARMDB_GUARDED_BY(mutex_);  // the newest last
};

#else

// There never is one.
class Keyring {
 public:
  static Status settle(FileSystem& files, const std::string& directory, EncryptionKey key,
                       Cipher cipher, bool fresh, Description& description,
                       std::unique_ptr<Keyring>& ring);
  static Status check(const EncryptionKey& key);
  [[nodiscard]] FileSystem& sealed_files() const noexcept { return posix_file_system(); }
  [[nodiscard]] std::uint64_t forged() const noexcept { return 0; }
  [[nodiscard]] Cipher cipher() const noexcept { return Cipher::stored; }
};

#endif

}  // namespace armdb::store

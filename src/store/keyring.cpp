// Reading, writing and using db.keys.
#include "store/keyring.hpp"

#include <new>

#include "base/errors.hpp"
#include "base/search.hpp"
#include "base/text.hpp"
#include "format/file_name.hpp"
#include "format/keys.hpp"
#include "os/entropy.hpp"
#include "store/manifest_file.hpp"
#include "store/sealed_file.hpp"

namespace armdb::store {

#if ARMDB_WITH_OPENSSL

namespace {

// What the user's key becomes, for one salt.
struct Wrap {
  crypto::Aead seal;
  crypto::Key commitment;
};

Status make_wrap(const EncryptionKey& given, const format::KeysHeader& header, Wrap& wrap) {
  crypto::Key key;
  Status status;
  if (given.is_passphrase()) {
    const crypto::ScryptCost cost{header.scrypt_cost, header.scrypt_block_size,
                                  header.scrypt_parallel};
    status = crypto::key_from_passphrase(given.text(), header.salt, cost, key);
  } else {
    std::memcpy(key.room().data(), given.bytes().data(), crypto::Key::kBytes);
  }
  const auto derive = [&](std::string_view purpose, crypto::Key& out) {
    std::string info(purpose);
    info.append(Bytes(header.store_id).text());
    return crypto::derive_key(key, header.salt, info, out);
  };
  crypto::Key sealing;
  if (status.ok()) status = derive("armdb v1 wrap", sealing);
  if (status.ok()) status = derive("armdb v1 commit", wrap.commitment);
  if (status.ok()) status = wrap.seal.set_key(static_cast<Cipher>(header.cipher), sealing);
  return status;
}

constexpr std::uint8_t kWrapNonce[crypto::kNonceBytes] = {};

}  // namespace

Keyring::Keyring(FileSystem& files, std::string directory, const Description& description)
    : files_(files),
      directory_(std::move(directory)),
      description_(description),
      cipher_(description.cipher),
      sealed_files_(make_sealed_file_system(files, *this)) {}

Keyring::~Keyring() = default;

Status Keyring::create(FileSystem& files, const std::string& directory, const EncryptionKey& key,
                       const Description& description, std::unique_ptr<Keyring>& made) {
  std::unique_ptr<Keyring> ring(new (std::nothrow) Keyring(files, directory, description));
  if (ring == nullptr || !ring->sealed_files_) return base::out_of_memory("no memory for keys");
  std::vector<DataKey> keys(1);
  keys[0].id = 1;
  Status status = os::random_bytes(keys[0].key.room());
  if (status.ok()) status = ring->write(key, keys);
  if (!status.ok()) return status;
  const base::MutexLock lock(ring->mutex_);
  ring->keys_ = std::move(keys);
  made = std::move(ring);
  return {};
}

Status Keyring::open(FileSystem& files, const std::string& directory, const EncryptionKey& key,
                     const Description& description, std::unique_ptr<Keyring>& opened) {
  std::unique_ptr<Keyring> ring(new (std::nothrow) Keyring(files, directory, description));
  if (ring == nullptr || !ring->sealed_files_) return base::out_of_memory("no memory for keys");
  std::vector<DataKey> keys;
  Status status = ring->read(key, keys).at(path_in(directory, format::kKeysName));
  if (!status.ok()) return status;
  const base::MutexLock lock(ring->mutex_);
  ring->keys_ = std::move(keys);
  opened = std::move(ring);
  return {};
}

Status Keyring::write(const EncryptionKey& key, const std::vector<DataKey>& keys) const {
  format::KeysHeader header;
  header.store_id = description_.store_id;
  header.cipher = static_cast<std::uint32_t>(cipher_);
  header.count = static_cast<std::uint32_t>(keys.size());
  if (key.is_passphrase()) {
    const crypto::ScryptCost cost;
    header.source = format::KeySource::passphrase;
    header.scrypt_cost = cost.cost;
    header.scrypt_block_size = cost.block_size;
    header.scrypt_parallel = cost.parallel;
  }
  Status status = os::random_bytes(header.salt);
  Wrap wrap;
  if (status.ok()) status = make_wrap(key, header, wrap);
  if (!status.ok()) return status;
  std::memcpy(header.commitment.data(), wrap.commitment.bytes().data(), header.commitment.size());

  std::vector<std::uint8_t> file = format::encode_keys(header);
  std::vector<std::uint8_t> plain(format::keys_sealed_bytes(header.count));
  const format::Meta meta = meta_of(description_);
  format::encode_meta(meta, plain);
  std::uint8_t* to = plain.data() + format::kKeysMetaBytes;
  for (const DataKey& each : keys) {
    format::DataKey raw;
    raw.id = each.id;
    std::memcpy(raw.bytes.data(), each.key.bytes().data(), raw.bytes.size());
    format::encode_data_key(raw, to);
    crypto::wipe(raw.bytes);
    to += format::kDataKeyBytes;
  }
  status = wrap.seal.seal(Bytes(kWrapNonce), Bytes(file).sub(0, format::kKeysAdditionalBytes),
                          plain, file.data() + format::kKeysFixedBytes,
                          file.data() + format::kKeysAdditionalBytes);
  crypto::wipe(plain);
  if (!status.ok()) return status;
  format::finish_keys(file);
  return replace_file(files_, directory_, format::kKeysName, file);
}

Status Keyring::read(const EncryptionKey& key, std::vector<DataKey>& keys) const {
  std::vector<std::uint8_t> file;
  Status status =
      read_file(files_, path_in(directory_, format::kKeysName), format::kKeysBytesMax, file);
  if (status.is(Errc::not_found)) {
    return base::corrupt(
        "db.keys is missing: without it nothing can be decrypted. Restore it from a backup");
  }
  format::KeysHeader header;
  if (status.ok()) status = format::decode_keys(file, header);
  if (!status.ok()) return status;
  if (header.store_id != description_.store_id ||
      header.cipher != static_cast<std::uint32_t>(cipher_)) {
    return base::corrupt("db.keys and db.meta do not belong together; put the right ones back");
  }
  const bool passphrase = header.source == format::KeySource::passphrase;
  if (passphrase != key.is_passphrase()) {
    return Status(Errc::wrong_key, passphrase
                                       ? "the collection is locked by a passphrase, not by a key"
                                       : "the collection is locked by a key, not by a passphrase");
  }
  Wrap wrap;
  status = make_wrap(key, header, wrap);
  if (!status.ok()) return status;
  if (!crypto::equal_in_constant_time(wrap.commitment.bytes(), header.commitment)) {
    return Status(Errc::wrong_key, "this key does not open the collection; nothing was changed");
  }
  std::vector<std::uint8_t> plain(format::keys_sealed_bytes(header.count));
  const Bytes all(file);
  const crypto::OpenOutcome outcome =
      wrap.seal.open(Bytes(kWrapNonce), all.sub(0, format::kKeysAdditionalBytes),
                     all.sub(format::kKeysFixedBytes, plain.size()),
                     all.sub(format::kKeysAdditionalBytes, crypto::kTagBytes), plain.data());
  if (outcome == crypto::OpenOutcome::failed) return base::out_of_memory("no memory for keys");
  if (outcome != crypto::OpenOutcome::ok) {
    return base::corrupt("db.keys was tampered with: its checksum is right and its seal is not");
  }
  std::uint8_t meta[format::kMetaBytes];
  format::encode_meta(meta_of(description_), meta);
  if (Bytes(plain).sub(0, sizeof meta) != Bytes(meta)) {
    crypto::wipe(plain);
    return base::corrupt("db.meta is not the one that db.keys was sealed with: it was changed");
  }
  keys.resize(header.count);
  const std::uint8_t* from = plain.data() + format::kKeysMetaBytes;
  for (DataKey& each : keys) {
    format::DataKey raw = format::decode_data_key(from);
    each.id = raw.id;
    each.key = crypto::Key(raw.bytes);
    crypto::wipe(raw.bytes);
    from += format::kDataKeyBytes;
  }
  crypto::wipe(plain);
  return {};
}

// The data keys of db.keys, which `key` must open, as the ones in memory are: were it another file
// by now, writing it would lose the key that everything is sealed by.
Status Keyring::read_again(const EncryptionKey& key, std::vector<DataKey>& keys) const {
  Status status = read(key, keys);
  const DataKey& newest = keys_.back();
  const auto same = [&](const DataKey& each) {
    return each.id == newest.id &&
           crypto::equal_in_constant_time(each.key.bytes(), newest.key.bytes());
  };
  if (status.ok() && !base::any_of(keys, same)) {
    status = base::corrupt("db.keys was replaced while the collection was open; put it back");
  }
  return std::move(status).at(path_in(directory_, format::kKeysName));
}

Status Keyring::rotate(const EncryptionKey& from, const EncryptionKey& to) {
  // Held to the end: db.keys is replaced by one at a time.
  const base::MutexLock lock(mutex_);
  std::vector<DataKey> keys;
  Status status = read_again(from, keys);
  return status.ok() ? write(to, keys) : status;
}

Status Keyring::begin_renewal(const EncryptionKey& key) {
  const base::MutexLock lock(mutex_);
  std::vector<DataKey> keys;
  Status status = read_again(key, keys);
  if (!status.ok()) return status;
  if (keys.size() == 1) {
    DataKey fresh;
    fresh.id = keys.back().id + 1;
    status = os::random_bytes(fresh.key.room());
    keys.push_back(fresh);
  }
  // On the disk before anything is sealed by it. Those of an earlier renewal, too: it may have
  // ended where the file had its name, and not durably.
  if (status.ok()) status = write(key, keys);
  if (status.ok()) keys_ = std::move(keys);
  return status;
}

Status Keyring::end_renewal(const EncryptionKey& key) {
  const base::MutexLock lock(mutex_);
  std::vector<DataKey> keys;
  Status status = read_again(key, keys);
  if (!status.ok()) return status;
  keys.assign(1, keys_.back());
  status = write(key, keys);
  if (status.ok()) keys_ = std::move(keys);
  return status;
}

Status Keyring::derive(std::uint32_t key_id, Bytes salt, std::string_view purpose, Bytes identity,
                       crypto::Aead& key) const {
  crypto::Key data_key;
  {
    const base::MutexLock lock(mutex_);
    const DataKey* found = nullptr;
    for (const DataKey& each : keys_) {
      if (each.id == key_id) found = &each;
    }
    if (found == nullptr) {
      return Status(
          Errc::wrong_key,
          base::text("db.keys has no data key %: was it restored from an older copy?", {key_id}));
    }
    data_key = found->key;
  }
  std::string info(purpose);
  info.append(identity.text());
  crypto::Key derived;
  Status status = crypto::derive_key(data_key, salt, info, derived);
  return status.ok() ? key.set_key(cipher_, derived) : status;
}

std::uint32_t Keyring::newest_id() const {
  const base::MutexLock lock(mutex_);
  return keys_.back().id;
}

#endif  // ARMDB_WITH_OPENSSL

#if defined(ARMDB_CHECKS)
EncryptionKey key_for_tests;
#endif

namespace {

Status no_encryption() {
  return Status(Errc::unsupported,
                "this build has no encryption: compile armdb.cpp with -DARMDB_WITH_OPENSSL=1, link "
                "-lssl -lcrypto");
}

}  // namespace

Status Keyring::check(const EncryptionKey& key) {
  if (!crypto::kHasCrypto && !key.empty()) return no_encryption();
  if (key.is_passphrase() && key.text().empty()) {
    return Status(Errc::invalid_argument, "the passphrase is empty: is the variable set?");
  }
  return {};
}

Status Keyring::settle(FileSystem& files, const std::string& directory, EncryptionKey key,
                       Cipher cipher, bool fresh, Description& description,
                       std::unique_ptr<Keyring>& ring) {
  const bool encrypted = description.cipher != Cipher::stored;
#if defined(ARMDB_CHECKS)
  if (key.empty() && (fresh || encrypted)) key = key_for_tests;
#endif
  if (key.empty() && !encrypted) return {};
#if ARMDB_WITH_OPENSSL
  if (fresh) {
    description.cipher = cipher == Cipher::stored ? Cipher::aes_256_gcm : cipher;
    return create(files, directory, key, description, ring);
  }
  if (!encrypted) {
    return Status(Errc::format_mismatch,
                  "the collection is not encrypted, but a key was given: open it without one, or "
                  "make an encrypted copy (armdb encrypt)");
  }
  if (key.empty()) {
    return Status(Errc::wrong_key, "the collection is encrypted: set Config::encryption_key");
  }
  if (cipher != Cipher::stored && cipher != description.cipher) {
    return Status(Errc::format_mismatch,
                  "Config::cipher is not the cipher of the collection; leave it to take that");
  }
  return open(files, directory, key, description, ring);
#else
  static_cast<void>(files);
  static_cast<void>(directory);
  static_cast<void>(cipher);
  static_cast<void>(fresh);
  static_cast<void>(ring);
  return no_encryption();
#endif
}

}  // namespace armdb::store

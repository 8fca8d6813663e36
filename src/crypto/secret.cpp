// Keys from keys and from passphrases, through OpenSSL.
#include "crypto/secret.hpp"

#if ARMDB_WITH_OPENSSL

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

namespace armdb::crypto {

namespace {

// OpenSSL does not write through these; its interface has no const.
void* changeable(const void* pointer) noexcept { return const_cast<void*>(pointer); }

OSSL_PARAM bytes_parameter(const char* name, Bytes bytes) noexcept {
  return OSSL_PARAM_construct_octet_string(name, changeable(bytes.data()), bytes.size());
}

Status run_kdf(const char* name, const OSSL_PARAM* parameters, Key& out) {
  EVP_KDF* kdf = EVP_KDF_fetch(nullptr, name, nullptr);
  EVP_KDF_CTX* context = kdf == nullptr ? nullptr : EVP_KDF_CTX_new(kdf);
  const bool ok = context != nullptr &&
                  EVP_KDF_derive(context, out.room().data(), Key::kBytes, parameters) == 1;
  EVP_KDF_CTX_free(context);
  EVP_KDF_free(kdf);
  if (ok) return {};
  return Status(Errc::out_of_memory,
                "OpenSSL could not derive a key, most likely for want of memory");
}

}  // namespace

void wipe(MutableBytes bytes) noexcept { OPENSSL_cleanse(bytes.data(), bytes.size()); }

Status derive_key(const Key& from, Bytes salt, Bytes info, Key& out) {
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
      bytes_parameter(OSSL_KDF_PARAM_KEY, from.bytes()), bytes_parameter(OSSL_KDF_PARAM_SALT, salt),
      bytes_parameter(OSSL_KDF_PARAM_INFO, info), OSSL_PARAM_construct_end()};
  return run_kdf(OSSL_KDF_NAME_HKDF, parameters, out);
}

Status key_from_passphrase(std::string_view passphrase, Bytes salt, const ScryptCost& cost,
                           Key& out) {
  ScryptCost with = cost;
  // What it needs by RFC 7914, and some room: OpenSSL refuses more than 32 MiB otherwise.
  std::uint64_t memory_max =
      std::uint64_t{128} * with.block_size * (with.cost + with.parallel + 2) +
      (std::uint64_t{1} << 20);
  const OSSL_PARAM parameters[] = {
      bytes_parameter(OSSL_KDF_PARAM_PASSWORD, passphrase),
      bytes_parameter(OSSL_KDF_PARAM_SALT, salt),
      OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &with.cost),
      OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_R, &with.block_size),
      OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_P, &with.parallel),
      OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_MAXMEM, &memory_max),
      OSSL_PARAM_construct_end()};
  return run_kdf(OSSL_KDF_NAME_SCRYPT, parameters, out);
}

bool equal_in_constant_time(Bytes a, Bytes b) noexcept {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace armdb::crypto

#endif  // ARMDB_WITH_OPENSSL

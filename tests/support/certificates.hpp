// Certificates of an authority that lives as long as a test, as PEM files in its directory.
#pragma once

#if ARMDB_WITH_OPENSSL

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>

namespace armdb::test {

struct CertificateOptions {
  std::string common_name;
  std::string dns_name = {};  // a subjectAltName; none when empty
  long valid_from_s = -3600;
  long valid_until_s = 3600;  // from now
};

// Threads: one.
class Authority {
 public:
  // Its own certificate is `<directory>/<name>.pem`.
  Authority(const std::string& directory, const std::string& name)
      : directory_(directory), name_(name), key_(new_key()) {
    certificate_ = made({.common_name = name}, key_.get(), nullptr);
    save_certificate(name, certificate_.get());
  }

  [[nodiscard]] std::string file() const { return directory_ + "/" + name_ + ".pem"; }

  // Signs a certificate for a new key: `<directory>/<file>.pem` and `<directory>/<file>.key`.
  void issue(const std::string& file, const CertificateOptions& options) {
    const Key key = new_key();
    save_certificate(file, made(options, key.get(), certificate_.get()).get());
    save_key(directory_ + "/" + file + ".key", key.get());
  }

  // Its own key, to show its certificate as one of a node.
  void save_key(const std::string& path, const std::string& passphrase = {}) const {
    save_key(path, key_.get(), passphrase);
  }

 private:
  struct Free {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
    void operator()(X509* certificate) const { X509_free(certificate); }
    void operator()(X509_EXTENSION* extension) const { X509_EXTENSION_free(extension); }
  };
  using Key = std::unique_ptr<EVP_PKEY, Free>;
  using Certificate = std::unique_ptr<X509, Free>;

  static void check(bool good) {
    if (!good) throw std::runtime_error("cannot make a certificate");
  }

  static Key new_key() {
    Key key(EVP_EC_gen("P-256"));
    check(key != nullptr);
    return key;
  }

  static void add(X509* to, int kind, const std::string& value) {
    const std::unique_ptr<X509_EXTENSION, Free> extension(
        X509V3_EXT_conf_nid(nullptr, nullptr, kind, value.c_str()));
    check(extension != nullptr && X509_add_ext(to, extension.get(), -1) == 1);
  }

  // Of an authority when there is no issuer.
  Certificate made(const CertificateOptions& options, EVP_PKEY* key, X509* issuer) {
    Certificate made(X509_new());
    X509* const to = made.get();
    check(to != nullptr && X509_set_version(to, 2) == 1);
    check(ASN1_INTEGER_set(X509_get_serialNumber(to), ++serial_) == 1);
    check(X509_gmtime_adj(X509_getm_notBefore(to), options.valid_from_s) != nullptr);
    check(X509_gmtime_adj(X509_getm_notAfter(to), options.valid_until_s) != nullptr);
    check(X509_set_pubkey(to, key) == 1);
    X509_NAME* const name = X509_get_subject_name(to);
    const auto* const text = reinterpret_cast<const unsigned char*>(options.common_name.c_str());
    check(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, text, -1, -1, 0) == 1);
    check(X509_set_issuer_name(to, issuer == nullptr ? name : X509_get_subject_name(issuer)) == 1);
    if (issuer == nullptr) {
      add(to, NID_basic_constraints, "critical,CA:TRUE");
      add(to, NID_key_usage, "critical,keyCertSign");
    }
    if (!options.dns_name.empty()) add(to, NID_subject_alt_name, "DNS:" + options.dns_name);
    check(X509_sign(to, key_.get(), EVP_sha256()) > 0);
    return made;
  }

  static void save_key(const std::string& path, EVP_PKEY* key, const std::string& passphrase = {}) {
    std::FILE* const out = std::fopen(path.c_str(), "w");
    check(out != nullptr);
    const EVP_CIPHER* const cipher = passphrase.empty() ? nullptr : EVP_aes_256_cbc();
    const auto* const text = reinterpret_cast<const unsigned char*>(passphrase.data());
    check(PEM_write_PrivateKey(out, key, cipher, text, static_cast<int>(passphrase.size()), nullptr,
                               nullptr) == 1);
    check(std::fclose(out) == 0);
  }

  void save_certificate(const std::string& file, X509* certificate) {
    std::FILE* const out = std::fopen((directory_ + "/" + file + ".pem").c_str(), "w");
    check(out != nullptr);
    check(PEM_write_X509(out, certificate) == 1);
    check(std::fclose(out) == 0);
  }

  const std::string directory_, name_;
  long serial_ = 0;
  Key key_;
  Certificate certificate_;
};

}  // namespace armdb::test

#endif  // ARMDB_WITH_OPENSSL

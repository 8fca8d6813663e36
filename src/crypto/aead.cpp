// AEAD through OpenSSL's EVP interface, with contexts that are made once and used again.
#include "crypto/aead.hpp"

#include <new>

#include "base/check.hpp"

#if ARMDB_WITH_OPENSSL

#include <openssl/evp.h>

namespace armdb::crypto {

#if defined(ARMDB_CHECKS)
std::atomic<SealObserver> seal_observer{nullptr};
#endif

// Has the key schedule; each use sets a nonce.
struct Aead::Context {
  EVP_CIPHER_CTX* evp = nullptr;
};

Aead::~Aead() {
  for (std::atomic<Context*>& spare : spares_) {
    Context* context = spare.load(std::memory_order_relaxed);
    if (context == nullptr) continue;
    EVP_CIPHER_CTX_free(context->evp);  // wipes the key schedule
    delete context;
  }
}

namespace {

// The texts of OpenSSL are for its own developers: they say no more than this.
Status crypto_failed() {
  return Status(Errc::out_of_memory, "OpenSSL failed, most likely for want of memory");
}

const EVP_CIPHER* evp_cipher(Cipher cipher) noexcept {
  return cipher == Cipher::chacha20_poly1305 ? EVP_chacha20_poly1305() : EVP_aes_256_gcm();
}

int length_of(Bytes bytes) noexcept { return static_cast<int>(bytes.size()); }

}  // namespace

Status Aead::set_key(Cipher cipher, const Key& key) {
  for (std::atomic<Context*>& spare : spares_) {
    Context* context = spare.exchange(nullptr, std::memory_order_acquire);
    if (context == nullptr) continue;
    EVP_CIPHER_CTX_free(context->evp);
    delete context;
  }
  cipher_ = cipher;
  key_ = key;
  Context* first = borrow();
  if (first == nullptr) return crypto_failed();
  give_back(first);
  return {};
}

Aead::Context* Aead::borrow() const {
  for (std::atomic<Context*>& spare : spares_) {
    // Acquire pairs with the release in give_back(): the context is as its last user left it.
    Context* context = spare.exchange(nullptr, std::memory_order_acquire);
    if (context != nullptr) return context;
  }
  auto* context = new (std::nothrow) Context;
  if (context == nullptr) return nullptr;
  context->evp = EVP_CIPHER_CTX_new();
  if (context->evp != nullptr && EVP_CipherInit_ex(context->evp, evp_cipher(cipher_), nullptr,
                                                   key_.bytes().data(), nullptr, 1) == 1) {
    return context;
  }
  EVP_CIPHER_CTX_free(context->evp);
  delete context;
  return nullptr;
}

void Aead::give_back(Context* context) const noexcept {
  for (std::atomic<Context*>& spare : spares_) {
    Context* empty = nullptr;
    if (spare.compare_exchange_strong(empty, context, std::memory_order_release,
                                      std::memory_order_relaxed)) {
      return;
    }
  }
  EVP_CIPHER_CTX_free(context->evp);
  delete context;
}

Status Aead::seal(Bytes nonce, Bytes additional, Bytes plain, std::uint8_t* sealed,
                  std::uint8_t* tag) const {
  ARMDB_ASSERT(nonce.size() == kNonceBytes);
#if defined(ARMDB_CHECKS)
  if (SealObserver observer = seal_observer.load()) observer(key_, nonce);
#endif
  Context* context = borrow();
  if (context == nullptr) return crypto_failed();
  EVP_CIPHER_CTX* evp = context->evp;
  int done = 0;
  const bool ok =
      EVP_CipherInit_ex(evp, nullptr, nullptr, nullptr, nonce.data(), 1) == 1 &&
      EVP_CipherUpdate(evp, nullptr, &done, additional.data(), length_of(additional)) == 1 &&
      EVP_CipherUpdate(evp, sealed, &done, plain.data(), length_of(plain)) == 1 &&
      EVP_CipherFinal_ex(evp, sealed + done, &done) == 1 &&
      EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_AEAD_GET_TAG, static_cast<int>(kTagBytes), tag) == 1;
  give_back(context);
  return ok ? Status() : crypto_failed();
}

OpenOutcome Aead::open(Bytes nonce, Bytes additional, Bytes sealed, Bytes tag,
                       std::uint8_t* plain) const {
  ARMDB_ASSERT(nonce.size() == kNonceBytes && tag.size() == kTagBytes);
  Context* context = borrow();
  if (context == nullptr) return OpenOutcome::failed;
  EVP_CIPHER_CTX* evp = context->evp;
  int done = 0;
  std::uint8_t expected[kTagBytes];
  std::memcpy(expected, tag.data(), kTagBytes);
  const bool ready =
      EVP_CipherInit_ex(evp, nullptr, nullptr, nullptr, nonce.data(), 0) == 1 &&
      EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_AEAD_SET_TAG, static_cast<int>(kTagBytes), expected) == 1 &&
      EVP_CipherUpdate(evp, nullptr, &done, additional.data(), length_of(additional)) == 1 &&
      EVP_CipherUpdate(evp, plain, &done, sealed.data(), length_of(sealed)) == 1;
  const bool whole = ready && EVP_CipherFinal_ex(evp, plain + done, &done) == 1;
  give_back(context);
  if (!ready) return OpenOutcome::failed;
  return whole ? OpenOutcome::ok : OpenOutcome::forged;
}

}  // namespace armdb::crypto

#endif  // ARMDB_WITH_OPENSSL

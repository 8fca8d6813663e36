// Aead: authenticated encryption, AES-256-GCM or ChaCha20-Poly1305, by OpenSSL.
//
// Only builds with ARMDB_WITH_OPENSSL have this; they check kHasCrypto before they come here.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/bytes.hpp"
#include "core/config.hpp"
#include "core/status.hpp"
#include "crypto/secret.hpp"

namespace armdb::crypto {

inline constexpr std::size_t kNonceBytes = 12;
inline constexpr std::size_t kTagBytes = 16;

// How often one (key, nonce) is used: once. A test that keeps the account of all seals sets this.
#if defined(ARMDB_CHECKS)
using SealObserver = void (*)(const Key& key, Bytes nonce);
extern std::atomic<SealObserver> seal_observer;
#endif

enum class OpenOutcome : std::uint8_t {
  ok,
  forged,  // not what was sealed: another key, nonce, additional data, or changed bytes
  failed,  // the library failed, most likely for want of memory
};

// One key, ready to use.
//
// Threads: any, beside each other: each call borrows a context of its own.
class Aead {
 public:
  Aead() noexcept = default;
  ~Aead();
  Aead(const Aead&) = delete;
  Aead& operator=(const Aead&) = delete;

  // Not beside the other calls.
  Status set_key(Cipher cipher, const Key& key);

  // Seals `plain` to `sealed`, of the same length, which may be the same bytes.
  Status seal(Bytes nonce, Bytes additional, Bytes plain, std::uint8_t* sealed,
              std::uint8_t* tag) const;
  // Writes to `plain` in any case; unless it is ok the bytes there must not be used.
  [[nodiscard]] OpenOutcome open(Bytes nonce, Bytes additional, Bytes sealed, Bytes tag,
                                 std::uint8_t* plain) const;

 private:
  struct Context;
  Context* borrow() const;
  void give_back(Context* context) const noexcept;

  Cipher cipher_ = Cipher::stored;
  Key key_;
  // Contexts that nobody uses, for the next ones who do.
  static constexpr std::size_t kSpares = 4;
  mutable std::atomic<Context*> spares_[kSpares] = {};
};

}  // namespace armdb::crypto

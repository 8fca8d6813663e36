// FrameSeal: the key of one sealed file, and the frames that it seals and opens.
//
// Invariant: the counter only rises, also when what was sealed is never written; begin() draws a
// new salt, and with it another key, before it starts again. So no nonce is used twice.
//
// Threads: unseal() by any thread beside the others; those by one.
#pragma once

#include "crypto/aead.hpp"
#include "format/sealed.hpp"
#include "store/keyring.hpp"

namespace armdb::store {

#if ARMDB_WITH_OPENSSL

class FrameSeal {
 public:
  // For a file to come, whose header is filled in: its data key is the newest one.
  Status begin(const Keyring& keys, format::SealedHeader& header);
  // For a file that is there.
  Status open(const Keyring& keys, const format::SealedHeader& header);

  // Writes the whole frame to `to`: `plain` at its position, under the next counter. too_large when
  // there is none.
  Status seal(format::Frame frame, Bytes plain, std::uint8_t* to);
  // `at` is the frame as it lies in the file.
  [[nodiscard]] crypto::OpenOutcome unseal(const format::Frame& frame, Bytes at,
                                           std::uint8_t* plain) const {
    return aead_.open(format::frame_nonce(frame.counter), at.sub(4, 12), frame.sealed, frame.tag,
                      plain);
  }

  [[nodiscard]] std::uint32_t key_id() const noexcept { return key_id_; }
  [[nodiscard]] std::uint32_t seed() const noexcept { return seed_; }  // of the frames' crcs
  [[nodiscard]] std::uint32_t counter() const noexcept { return counter_; }

 private:
  crypto::Aead aead_;
  std::uint32_t key_id_ = 0;
  std::uint32_t seed_ = 0;
  std::uint32_t counter_ = 0;
};

#endif

}  // namespace armdb::store

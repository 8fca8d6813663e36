// Key: 32 bytes that are wiped when they are no longer needed, and what makes keys of others.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/bytes.hpp"
#include "core/status.hpp"

namespace armdb::crypto {

#if ARMDB_WITH_OPENSSL
inline constexpr bool kHasCrypto = true;
#else
inline constexpr bool kHasCrypto = false;
#endif

// Overwrites bytes in a way that the compiler does not leave out.
void wipe(MutableBytes bytes) noexcept;

// Threads: as an int.
class Key {
 public:
  static constexpr std::size_t kBytes = 32;
  Key() noexcept = default;
  explicit Key(const ByteArray<kBytes>& bytes) noexcept : bytes_(bytes) {}
  Key(const Key&) noexcept = default;
  Key& operator=(const Key&) noexcept = default;
  ~Key() { wipe(bytes_); }
  [[nodiscard]] Bytes bytes() const noexcept { return bytes_; }
  [[nodiscard]] MutableBytes room() noexcept { return bytes_; }

 private:
  ByteArray<kBytes> bytes_{};
};

// What scrypt costs: 128 * cost * block_size bytes of memory, and time in proportion (RFC 7914).
struct ScryptCost {
  std::uint64_t cost = std::uint64_t{1} << 15;  // N, a power of two
  std::uint32_t block_size = 8;                 // r
  std::uint32_t parallel = 1;                   // p
};

// HKDF with SHA-256 (RFC 5869).
Status derive_key(const Key& from, Bytes salt, Bytes info, Key& out);
Status key_from_passphrase(std::string_view passphrase, Bytes salt, const ScryptCost& cost,
                           Key& out);
// Takes the same time wherever they differ.
[[nodiscard]] bool equal_in_constant_time(Bytes a, Bytes b) noexcept;

}  // namespace armdb::crypto

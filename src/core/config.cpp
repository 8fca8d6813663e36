// The ready-made configurations, and keys as programs get them.
#include "core/config.hpp"

#include <cstdlib>
#include <string>

namespace armdb {

Config Config::embedded() noexcept {
  Config config;
  config.shard_count = 1;
  config.max_file_size = std::uint64_t{1} << 20;
  config.write_buffer_size = std::uint32_t{64} << 10;
  config.cache_bytes = std::uint64_t{32} << 10;
  config.mapped_reads = false;
  config.index_step_bytes = 16u << 10;
  return config;
}

EncryptionKey EncryptionKey::passphrase(std::string_view text) noexcept {
  EncryptionKey key;
  key.text_ = text.data() == nullptr ? std::string_view("") : text;
  key.set_ = true;
  return key;
}

void EncryptionKey::wipe() noexcept {
  // Volatile, or the compiler would leave out what nobody reads again.
  for (std::uint8_t& byte : bytes_) *static_cast<volatile std::uint8_t*>(&byte) = 0;
  text_ = {};
  set_ = false;
}

namespace {

int hex_digit(char digit) noexcept {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

}  // namespace

Result<ByteArray<32>> key_from_env(const char* name) {
  const auto refuse = [&](const char* what) {
    return Status(Errc::invalid_argument, std::string(name).append(what));
  };
  const char* set = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): it only reads
  if (set == nullptr) return refuse(" is not set; it needs 64 hexadecimal digits");
  const std::string_view text(set);
  ByteArray<32> key{};
  if (text.size() != 2 * key.size()) {
    return refuse(text.size() < 2 * key.size() ? " is too short: a key has 64 hexadecimal digits"
                                               : " is too long: a key has 64 hexadecimal digits");
  }
  for (std::size_t at = 0; at < text.size(); ++at) {
    const int digit = hex_digit(text[at]);
    if (digit < 0) return refuse(" has something else than a hexadecimal digit");
    key[at / 2] = static_cast<std::uint8_t>(key[at / 2] << 4 | digit);
  }
  return key;
}

}  // namespace armdb

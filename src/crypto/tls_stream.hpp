// TLS 1.3 over a Stream: both sides prove who they are before a byte of either is believed.
//
// No tickets, no sessions that are resumed, no early data. Without OpenSSL everything here is
// `unsupported`.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/bytes.hpp"
#include "core/status.hpp"
#include "os/socket.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::crypto {

// Either a pre-shared key or certificates, the same kind on both sides.
struct TlsSettings {
  ByteArray<32> psk{};  // random: a guessable key can be found by whoever answers in its place
  bool use_psk = false;
  std::string identity;  // the name of the key, sent in the clear; the same on both sides
  // Paths of PEM files, all three: this side's certificate (with the chain, if there is one), its
  // private key, and the certificate of the authority that signs those of the other side.
  std::string certificate_file, key_file, ca_file;
  // The name that the other side's certificate must carry: a DNS subjectAltName, or the common
  // name when it has none.
  std::string peer_name;
};

// What all handshakes of one side share. Threads: any, also beside each other.
class TlsContext {
 public:
  static Result<std::unique_ptr<TlsContext>> make(const TlsSettings& settings, bool server);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  struct State;
  [[nodiscard]] State& state() const noexcept { return *state_; }

 private:
  explicit TlsContext(State* state) noexcept : state_(state) {}

  State* state_;
};

// Runs the handshake over `inner` until it is done, timeout_ms are over, or `ending` (may be null)
// is woken, which is `closed`; then all bytes go
// through TLS. `context` may go before the stream does. When the other side proves to be somebody
// else the answer is `wrong_key`; nothing that it says is shown to the caller before that. A peer
// that speaks no TLS 1.3 is `format_mismatch`.
//
// A server knows its client when this returns. A client knows its server; but whether the server
// takes its certificate the first read() tells, with `wrong_key`.
//
// What write() took may stay in the stream until the next read(), write() or wait(), which pass it
// on when there is room. A stream that ends without the peer's farewell is `closed`, as one that
// ends with it; bytes that were changed on their way are `corrupt`.
Result<std::unique_ptr<os::Stream>> tls_handshake(TlsContext& context,
                                                  std::unique_ptr<os::Stream> inner,
                                                  std::uint32_t timeout_ms,
                                                  os::Waker* ending = nullptr);

}  // namespace armdb::crypto

#endif  // !ARMDB_OMIT_REPLICATION

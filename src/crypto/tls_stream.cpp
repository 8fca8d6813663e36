// TLS by OpenSSL, between memory and a Stream: OpenSSL itself never sees a socket.
#include "crypto/tls_stream.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "base/check.hpp"
#include "base/errors.hpp"
#include "crypto/secret.hpp"
#include "os/clock.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

#if ARMDB_WITH_OPENSSL

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

namespace armdb::crypto {

// What the callbacks of a handshake need.
struct TlsContext::State {
  ~State() { SSL_CTX_free(context); }

  SSL_CTX* context = nullptr;
  bool server = false;
  bool use_psk = false;
  Key psk;
  std::string identity, peer_name;
};

namespace {

constexpr std::size_t kRecordBytesMax = 16384;  // of what one record says
constexpr std::size_t kFeedBytes = 16384;       // what is read at once
// What a peer that has not proved anything may make this side hold: a piece of its bytes, a first
// message, a chain of certificates; and what it may send in all.
constexpr std::size_t kHandshakeFeedBytes = 2048;
constexpr std::size_t kHelloBytesMax = 8192;
constexpr long kChainBytesMax = 16384;
constexpr std::size_t kHandshakeBytesMax = 65536;
// A key seals no more records than this; the standard's limit for AES-GCM is 2^24.5.
constexpr std::uint32_t kRecordsPerKey = 1u << 16;
constexpr std::size_t kIdentityBytesMax = 128;

Status openssl_failed() {
  ERR_clear_error();
  return base::out_of_memory("OpenSSL failed, most likely for want of memory");
}

// OpenSSL's own words for the oldest error, or a substitute; the queue is empty afterwards.
std::string reason_of_error() {
  const char* const reason = ERR_reason_error_string(ERR_peek_error());
  std::string text = reason == nullptr ? "no reason given" : reason;
  ERR_clear_error();
  return text;
}

// ---- Pre-shared keys ----

// The session that a pre-shared key stands for in OpenSSL. Bound to SHA-384 by its cipher: the
// older callbacks for keys know SHA-256 alone. Null for want of memory.
SSL_SESSION* session_of(SSL* ssl, const Key& psk) {
  const unsigned char aes_256_gcm_sha384[] = {0x13, 0x02};
  const SSL_CIPHER* const cipher = SSL_CIPHER_find(ssl, aes_256_gcm_sha384);
  SSL_SESSION* const session = SSL_SESSION_new();
  if (session != nullptr && cipher != nullptr &&
      SSL_SESSION_set1_master_key(session, psk.bytes().data(), Key::kBytes) == 1 &&
      SSL_SESSION_set_cipher(session, cipher) == 1 &&
      SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1) {
    return session;
  }
  SSL_SESSION_free(session);
  return nullptr;
}

const TlsContext::State& state_of(const SSL* ssl) {
  return *static_cast<const TlsContext::State*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
}

// Server: the key with the name that the client gives, or none. SSL's app data is a bool.
int find_key(SSL* ssl, const unsigned char* identity, std::size_t size, SSL_SESSION** out) {
  const TlsContext::State& state = state_of(ssl);
  *out = nullptr;
  if (Bytes(identity, size) != Bytes(state.identity)) return 1;
  *static_cast<bool*>(SSL_get_app_data(ssl)) = true;
  *out = session_of(ssl, state.psk);
  return *out == nullptr ? 0 : 1;
}

// Client: the one key there is. `digest` is given when the server has chosen one already.
int use_key(SSL* ssl, const EVP_MD* digest, const unsigned char** identity, std::size_t* size,
            SSL_SESSION** out) {
  const TlsContext::State& state = state_of(ssl);
  *out = nullptr;
  if (digest != nullptr && EVP_MD_get_type(digest) != NID_sha384) return 1;
  *identity = Bytes(state.identity).data();
  *size = state.identity.size();
  *out = session_of(ssl, state.psk);
  return *out == nullptr ? 0 : 1;
}

// ---- Settings ----

Status check_settings(const TlsSettings& settings) {
  const bool any_file = !settings.certificate_file.empty() || !settings.key_file.empty() ||
                        !settings.ca_file.empty() || !settings.peer_name.empty();
  if (settings.use_psk == any_file) {
    return Status(
        Errc::invalid_argument,
        "TLS wants either a pre-shared key, or certificate_file, private_key_file, ca_file and "
        "peer_name");
  }
  if (!settings.use_psk) {
    if (!settings.certificate_file.empty() && !settings.key_file.empty() &&
        !settings.ca_file.empty() && !settings.peer_name.empty() &&
        settings.peer_name.find('\0') == std::string::npos && settings.peer_name[0] != '.') {
      return {};  // a name with a dot in front would stand for all below it
    }
    return Status(
        Errc::invalid_argument,
        "TLS with certificates wants all of certificate_file, private_key_file, ca_file and "
        "peer_name, the name in the other side's certificate");
  }
  if (settings.identity.empty() || settings.identity.size() > kIdentityBytesMax) {
    return Status(Errc::invalid_argument,
                  "the pre-shared key wants a name (identity) of 1 to 128 bytes");
  }
  if (settings.psk == ByteArray<Key::kBytes>{}) {
    return Status(Errc::invalid_argument,
                  "the pre-shared key is all zeros: give 32 random bytes, the same on both sides");
  }
  return {};
}

// A key that is locked with a passphrase is an error; by default OpenSSL asks at the terminal.
int no_passphrase(char*, int, int, void*) { return -1; }

Status unusable(const char* what, const std::string& file) {
  return base::failure(Errc::invalid_argument, "cannot use it as %: %; give a PEM file",
                       {what, reason_of_error()})
      .at(file);
}

Status load_files(SSL_CTX* context, const TlsSettings& settings) {
  ERR_clear_error();
  SSL_CTX_set_default_passwd_cb(context, no_passphrase);
  if (SSL_CTX_use_certificate_chain_file(context, settings.certificate_file.c_str()) != 1) {
    return unusable("the certificate", settings.certificate_file);
  }
  if (SSL_CTX_use_PrivateKey_file(context, settings.key_file.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context) != 1) {
    return unusable("the private key of the certificate, without a passphrase", settings.key_file);
  }
  if (SSL_CTX_load_verify_locations(context, settings.ca_file.c_str(), nullptr) != 1) {
    return unusable("the certificate of the authority", settings.ca_file);
  }
  return {};
}

// Everything is said, for the system's openssl.cnf may say something else.
bool set_rules(SSL_CTX* context) {
  SSL_CTX_set_security_level(context, 2);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_clear_options(context, SSL_OP_ALLOW_NO_DHE_KEX | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_max_cert_list(context, kChainBytesMax);
  // Both modes: with a pre-shared key there is no authority, so that no certificate is good.
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384") == 1 &&
         SSL_CTX_set_num_tickets(context, 0) == 1 && SSL_CTX_set_max_early_data(context, 0) == 1;
}

// The name is a name, not a pattern that others fit too.
bool pin_name(SSL_CTX* context, const std::string& name) {
  X509_VERIFY_PARAM* const rules = SSL_CTX_get0_param(context);
  X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NO_WILDCARDS);
  return X509_VERIFY_PARAM_set1_host(rules, name.data(), name.size()) == 1;
}

}  // namespace

Result<std::unique_ptr<TlsContext>> TlsContext::make(const TlsSettings& settings, bool server) {
  if (Status good = check_settings(settings); !good.ok()) return good;
  std::unique_ptr<State> state(new (std::nothrow) State);
  if (!state) return openssl_failed();
  state->server = server;
  state->use_psk = settings.use_psk;
  state->psk = Key(settings.psk);
  state->identity = settings.identity;
  state->peer_name = settings.peer_name;
  SSL_CTX* const context = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
  state->context = context;
  if (context == nullptr || !set_rules(context)) return openssl_failed();
  SSL_CTX_set_app_data(context, state.get());
  if (server) {
    const unsigned char any[] = {'a', 'r', 'm', 'd', 'b'};  // without it no key is taken
    SSL_CTX_set_session_id_context(context, any, sizeof any);
  }
  if (settings.use_psk && server) SSL_CTX_set_psk_find_session_callback(context, find_key);
  if (settings.use_psk && !server) SSL_CTX_set_psk_use_session_callback(context, use_key);
  if (!settings.use_psk) {
    if (Status loaded = load_files(context, settings); !loaded.ok()) return loaded;
    if (!pin_name(context, settings.peer_name)) return openssl_failed();
  }
  std::unique_ptr<TlsContext> made(new (std::nothrow) TlsContext(state.get()));
  if (!made) return openssl_failed();
  static_cast<void>(state.release());
  return made;
}

TlsContext::~TlsContext() { delete state_; }

namespace {

// ---- What went wrong ----

Status not_proved(const char* pattern, std::initializer_list<base::TextPart> parts) {
  return base::failure(Errc::wrong_key, pattern, parts);
}

// This side does not take the other's certificate.
Status bad_certificate(long verdict, const TlsContext::State& state) {
  if (state.use_psk) {
    return not_proved(
        "the other side shows a certificate in place of the pre-shared key: give "
        "both sides the same kind of settings",
        {});
  }
  switch (verdict) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return not_proved("the other side's certificate has expired: renew it, or set the clock", {});
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return not_proved("the other side's certificate is not valid yet: check both clocks", {});
    case X509_V_ERR_HOSTNAME_MISMATCH:
      return not_proved("the name in the other side's certificate is not \"%\" (peer_name)",
                        {state.peer_name});
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return not_proved("the other side's certificate is not signed by the authority in ca_file: %",
                        {X509_verify_cert_error_string(verdict)});
    default:
      return not_proved("the other side's certificate is no good: %",
                        {X509_verify_cert_error_string(verdict)});
  }
}

// The other side said in an alert what it does not like.
Status refused_by_peer(int alert, bool use_psk) {
  switch (alert) {
    case SSL_AD_HANDSHAKE_FAILURE:
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_ILLEGAL_PARAMETER:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case SSL_AD_DECRYPT_ERROR:
    case SSL_AD_UNKNOWN_PSK_IDENTITY:
    case SSL_AD_CERTIFICATE_REQUIRED:
      return not_proved(use_psk ? "the other side has no pre-shared key of this name, or another: %"
                                : "the other side does not take this side's certificate: %",
                        {SSL_alert_desc_string_long(alert)});
    default:
      return base::failure(Errc::format_mismatch, "the other side gave TLS up: %",
                           {SSL_alert_desc_string_long(alert)});
  }
}

// ---- The stream ----

// Follows the first records, which are in the clear, to the length that a peer's first message
// claims: OpenSSL would make room for 128 KiB on the strength of four bytes.
class HelloGuard {
 public:
  // False when a message claims too much.
  bool pass(Bytes bytes) noexcept {
    for (const std::uint8_t byte : bytes) {
      if (sealed_) return true;
      if (record_left_ == 0) {
        take_header(byte);
      } else {
        --record_left_;
        if (is_handshake_ && !take_message(byte)) return false;
      }
    }
    return true;
  }

 private:
  void take_header(std::uint8_t byte) noexcept {
    constexpr std::uint8_t kHandshake = 22, kApplicationData = 23;
    header_[header_size_++] = byte;
    if (header_size_ < sizeof header_) return;
    header_size_ = 0;
    is_handshake_ = header_[0] == kHandshake;
    sealed_ = header_[0] == kApplicationData;
    record_left_ = std::size_t{header_[3]} << 8 | header_[4];
  }

  bool take_message(std::uint8_t byte) noexcept {
    if (message_left_ > 0) {
      --message_left_;
      return true;
    }
    message_[message_size_++] = byte;
    if (message_size_ < sizeof message_) return true;
    message_size_ = 0;
    message_left_ = std::size_t{message_[1]} << 16 | std::size_t{message_[2]} << 8 | message_[3];
    return message_left_ <= kHelloBytesMax;
  }

  std::uint8_t header_[5] = {};
  std::uint8_t message_[4] = {};
  std::size_t header_size_ = 0, message_size_ = 0;
  std::size_t record_left_ = 0, message_left_ = 0;
  bool is_handshake_ = false, sealed_ = false;
};

class TlsStream final : public os::Stream {
 public:
  explicit TlsStream(std::unique_ptr<os::Stream> inner) noexcept : inner_(std::move(inner)) {}
  ~TlsStream() override;

  Status handshake(const TlsContext::State& state, std::uint64_t deadline_ms, os::Waker* ending);

  Result<std::size_t> read(MutableBytes out) override;
  Result<std::size_t> write(Bytes data) override;
  Result<bool> wait(bool to_write, std::uint32_t timeout_ms, os::Waker* waker) override;
  void shut() noexcept override { inner_->shut(); }
  [[nodiscard]] std::string peer() const override { return inner_->peer(); }

 private:
  Status start(const TlsContext::State& state);
  Status proved(const TlsContext::State& state) const;
  Status handshake_failure(const TlsContext::State& state, int outcome);
  Status read_failure(int outcome);
  Result<bool> flush();
  Result<std::size_t> feed();

  const std::unique_ptr<os::Stream> inner_;
  SSL* ssl_ = nullptr;
  BIO* in_ = nullptr;   // these two are ssl_'s: what came and has not been opened,
  BIO* out_ = nullptr;  // and what is sealed and has not been sent
  Status failed_;       // the first failure stays
  bool ready_ = false;  // the handshake is done
  bool use_psk_ = false;
  bool key_found_ = false;
  std::uint32_t records_ = 0;  // sealed with the present key
  HelloGuard guard_;
};

TlsStream::~TlsStream() {
  if (ready_ && failed_.ok()) {
    // One farewell, if there is room for it: the peer takes its absence for the same.
    ERR_clear_error();
    SSL_shutdown(ssl_);
    static_cast<void>(flush());
    ERR_clear_error();
  }
  SSL_free(ssl_);
}

// Sends what is sealed. False when there is no room for all of it now.
Result<bool> TlsStream::flush() {
  for (;;) {
    char* bytes = nullptr;
    const long size = BIO_get_mem_data(out_, &bytes);
    if (size <= 0) return true;
    Result<std::size_t> sent =
        inner_->write(Bytes(std::string_view(bytes, static_cast<std::size_t>(size))));
    if (!sent.ok()) return std::move(sent).status();
    if (*sent == 0) return false;
    std::uint8_t scrap[1024];
    for (std::size_t left = *sent; left > 0;) {
      const int gone = BIO_read(out_, scrap, static_cast<int>(std::min(left, sizeof scrap)));
      if (gone <= 0) return openssl_failed();
      left -= static_cast<std::size_t>(gone);
    }
  }
}

// Takes in what the peer sent, when OpenSSL has used up what it had. 0: nothing now.
Result<std::size_t> TlsStream::feed() {
  std::uint8_t bytes[kFeedBytes];
  Result<std::size_t> got =
      inner_->read(MutableBytes(bytes).first(ready_ ? kFeedBytes : kHandshakeFeedBytes));
  if (!got.ok() || *got == 0) return got;
  if (!ready_ && !guard_.pass(Bytes(bytes, *got))) {
    return Status(Errc::format_mismatch,
                  "the other side begins with a message longer than any of TLS 1.3 that this side "
                  "takes: does it speak TLS?");
  }
  if (BIO_write(in_, bytes, static_cast<int>(*got)) != static_cast<int>(*got)) {
    return openssl_failed();
  }
  return got;
}

// ---- Handshake ----

Status TlsStream::start(const TlsContext::State& state) {
  use_psk_ = state.use_psk;
  ssl_ = SSL_new(state.context);
  if (ssl_ == nullptr) return openssl_failed();
  in_ = BIO_new(BIO_s_mem());
  out_ = BIO_new(BIO_s_mem());
  if (in_ == nullptr || out_ == nullptr) {
    BIO_free(in_);
    BIO_free(out_);
    return openssl_failed();
  }
  SSL_set_bio(ssl_, in_, out_);  // which owns them from here on
  SSL_set_app_data(ssl_, &key_found_);
  if (state.server) {
    SSL_set_accept_state(ssl_);
  } else {
    SSL_set_connect_state(ssl_);
  }
  return {};
}

// What OpenSSL has checked, asked for once more: all depends on it.
Status TlsStream::proved(const TlsContext::State& state) const {
  const bool good = state.use_psk ? SSL_session_reused(ssl_) == 1
                                  : SSL_get_verify_result(ssl_) == X509_V_OK &&
                                        SSL_get0_peer_certificate(ssl_) != nullptr;
  if (good && SSL_version(ssl_) == TLS1_3_VERSION) return {};
  return not_proved("the other side did not prove who it is", {});
}

Status TlsStream::handshake_failure(const TlsContext::State& state, int outcome) {
  if (outcome == SSL_ERROR_WANT_READ) return {};
  const int reason = ERR_GET_REASON(ERR_peek_error());
  // The alert that says why, if there is room for it.
  static_cast<void>(flush());
  if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    ERR_clear_error();
    return bad_certificate(SSL_get_verify_result(ssl_), state);
  }
  const std::string words = reason_of_error();
  if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
    return not_proved("the other side has no certificate", {});
  }
  if (reason == SSL_R_BINDER_DOES_NOT_VERIFY) {
    return not_proved("the other side has another pre-shared key named \"%\"", {state.identity});
  }
  const int alert = reason - SSL_AD_REASON_OFFSET;
  if (alert >= 0 && alert < 256) return refused_by_peer(alert, state.use_psk);
  const bool no_key = reason == SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM ||
                      reason == SSL_R_NO_SHARED_CIPHER || reason == SSL_R_NO_CERTIFICATE_SET;
  if (state.use_psk && state.server && !key_found_ && no_key) {
    return not_proved("the other side has no pre-shared key named \"%\"", {state.identity});
  }
  return base::failure(Errc::format_mismatch,
                       "the other side does not speak TLS 1.3 as this side does: %", {words});
}

Status TlsStream::handshake(const TlsContext::State& state, std::uint64_t deadline_ms,
                            os::Waker* ending) {
  if (Status started = start(state); !started.ok()) return started;
  std::size_t taken = 0;
  for (;;) {
    ERR_clear_error();
    const int done = SSL_do_handshake(ssl_);
    if (done != 1) {
      Status outcome = handshake_failure(state, SSL_get_error(ssl_, done));
      if (!outcome.ok()) return outcome;
    } else if (Status sure = proved(state); !sure.ok()) {
      return sure;
    }
    const Result<bool> flushed = flush();
    if (!flushed.ok()) return flushed.status();
    if (done == 1 && *flushed) break;
    if (*flushed) {
      const Result<std::size_t> got = feed();
      if (!got.ok()) return got.status();
      taken += *got;
      if (taken > kHandshakeBytesMax) {
        return Status(Errc::format_mismatch, "the other side's handshake does not end");
      }
      if (*got > 0) continue;
    }
    const std::uint64_t now = os::monotonic_ms();
    if (now >= deadline_ms) {
      return Status::from_os(ETIMEDOUT,
                             "the TLS handshake took too long: does the other side "
                             "speak TLS?");
    }
    const Result<bool> ready =
        inner_->wait(!*flushed, static_cast<std::uint32_t>(deadline_ms - now), ending);
    if (!ready.ok()) return ready.status();
    if (ending != nullptr && ending->woken()) {
      return Status(Errc::closed, "stopped amid the handshake");
    }
  }
  ready_ = true;
  return {};
}

// ---- Reading and writing ----

Status TlsStream::read_failure(int outcome) {
  if (outcome == SSL_ERROR_ZERO_RETURN) {
    return Status(Errc::closed, "the other side ended the connection").at(peer());
  }
  const int alert = ERR_GET_REASON(ERR_peek_error()) - SSL_AD_REASON_OFFSET;
  const std::string words = reason_of_error();
  static_cast<void>(flush());
  if (alert >= 0 && alert < 256) {
    return refused_by_peer(alert, use_psk_).at(peer());
  }
  return base::failure(Errc::corrupt, "what came is not what the other side sealed: %", {words})
      .at(peer());
}

Result<std::size_t> TlsStream::read(MutableBytes out) {
  if (!failed_.ok()) return failed_;
  if (out.empty()) return std::size_t{0};
  for (;;) {
    // A peer that takes nothing more may still have said something, such as why.
    static_cast<void>(flush());
    ERR_clear_error();
    std::size_t done = 0;
    if (SSL_read_ex(ssl_, out.data(), out.size(), &done) == 1) return done;
    const int outcome = SSL_get_error(ssl_, 0);
    if (outcome != SSL_ERROR_WANT_READ) return failed_ = read_failure(outcome);
    Result<std::size_t> got = feed();
    if (!got.ok()) return failed_ = std::move(got).status();
    if (*got == 0) return std::size_t{0};
  }
}

// At most one record waits for room in the stream below.
Result<std::size_t> TlsStream::write(Bytes data) {
  if (!failed_.ok()) return failed_;
  std::size_t total = 0;
  for (;;) {
    Result<bool> flushed = flush();
    if (!flushed.ok()) return std::move(flushed).status();
    const Bytes piece = data.sub(total, kRecordBytesMax);
    if (!*flushed || piece.empty()) return total;
    ERR_clear_error();
    if (++records_ == kRecordsPerKey) {
      records_ = 0;
      if (SSL_key_update(ssl_, SSL_KEY_UPDATE_NOT_REQUESTED) != 1)
        return failed_ = openssl_failed();
    }
    std::size_t done = 0;
    if (SSL_write_ex(ssl_, piece.data(), piece.size(), &done) != 1) {
      return failed_ = openssl_failed();
    }
    total += done;
  }
}

Result<bool> TlsStream::wait(bool to_write, std::uint32_t timeout_ms, os::Waker* waker) {
  if (!failed_.ok() || SSL_pending(ssl_) > 0 || BIO_ctrl_pending(in_) > 0) return true;
  const Result<bool> flushed = flush();
  if (!flushed.ok()) return true;  // read() and write() tell
  return inner_->wait(to_write || !*flushed, timeout_ms, waker);
}

}  // namespace

Result<std::unique_ptr<os::Stream>> tls_handshake(TlsContext& context,
                                                  std::unique_ptr<os::Stream> inner,
                                                  std::uint32_t timeout_ms, os::Waker* ending) {
  const std::uint64_t deadline = os::monotonic_ms() + timeout_ms;
  const std::string peer = inner->peer();
  std::unique_ptr<TlsStream> stream(new (std::nothrow) TlsStream(std::move(inner)));
  if (!stream) return openssl_failed();
  Status done = stream->handshake(context.state(), deadline, ending);
  ERR_clear_error();
  if (!done.ok()) return std::move(done).at(peer);
  return std::unique_ptr<os::Stream>(std::move(stream));
}

}  // namespace armdb::crypto

#else

namespace armdb::crypto {

namespace {

Status no_tls() {
  return Status(Errc::unsupported,
                "this build has no TLS: compile armdb.cpp with -DARMDB_WITH_OPENSSL=1 and link "
                "-lssl -lcrypto");
}

}  // namespace

Result<std::unique_ptr<TlsContext>> TlsContext::make(const TlsSettings&, bool) { return no_tls(); }

TlsContext::~TlsContext() = default;

Result<std::unique_ptr<os::Stream>> tls_handshake(TlsContext&, std::unique_ptr<os::Stream>,
                                                  std::uint32_t, os::Waker*) {
  return no_tls();
}

}  // namespace armdb::crypto

#endif  // ARMDB_WITH_OPENSSL

#endif  // !ARMDB_OMIT_REPLICATION

// TLS over streams: who is let in, who is not and why, and what goes through.
#include "crypto/tls_stream.hpp"

#include <atomic>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/certificates.hpp"
#include "support/random.hpp"
#include "support/stream_pair.hpp"
#include "support/temp_dir.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

using namespace armdb;
using namespace armdb::crypto;
using os::Stream;

namespace {

TlsSettings psk_settings(std::uint8_t byte = 1, const std::string& identity = "followers") {
  TlsSettings settings;
  settings.psk.fill(byte);
  settings.use_psk = true;
  settings.identity = identity;
  return settings;
}

}  // namespace

#if ARMDB_WITH_OPENSSL

#include <openssl/ssl.h>

namespace {

constexpr std::uint32_t kLong = 60000;

using StreamResult = Result<std::unique_ptr<Stream>>;

std::unique_ptr<TlsContext> context(const TlsSettings& settings, bool server) {
  Result<std::unique_ptr<TlsContext>> made = TlsContext::make(settings, server);
  INFO(made.message());
  REQUIRE(made.ok());
  return *std::move(made);
}

// The wire at one end: keeps what is sent, and changes the last byte of it when told.
class Tapped final : public Stream {
 public:
  explicit Tapped(std::unique_ptr<Stream> inner) : inner_(std::move(inner)) {}
  Result<std::size_t> read(MutableBytes out) override { return inner_->read(out); }
  Result<std::size_t> write(Bytes data) override {
    std::string copy(data.text());
    if (change) copy.back() = static_cast<char>(copy.back() ^ 1);
    Result<std::size_t> sent = inner_->write(copy);
    if (sent.ok()) wire += copy.substr(0, *sent);
    return sent;
  }
  Result<bool> wait(bool to_write, std::uint32_t timeout_ms, os::Waker* waker) override {
    return inner_->wait(to_write, timeout_ms, waker);
  }
  void shut() noexcept override { inner_->shut(); }
  [[nodiscard]] std::string peer() const override { return inner_->peer(); }

  std::string wire;
  bool change = false;

 private:
  std::unique_ptr<Stream> inner_;
};

// Both sides of a handshake, each in its thread; the contexts are gone afterwards.
struct Handshake {
  Handshake(const TlsSettings& client_settings, const TlsSettings& server_settings,
            const test::StreamPairOptions& options = {}) {
    test::StreamPair pair(options);
    const std::unique_ptr<TlsContext> client_context = context(client_settings, false);
    const std::unique_ptr<TlsContext> server_context = context(server_settings, true);
    auto tapped = std::make_unique<Tapped>(std::move(pair.first));
    tap = tapped.get();
    std::thread thread(
        [&] { server = tls_handshake(*server_context, std::move(pair.second), kLong); });
    client = tls_handshake(*client_context, std::move(tapped), kLong);
    thread.join();
  }
  Tapped* tap;  // below the client; lives as long as it does
  StreamResult client, server;
};

// What a client learns that is refused after its own part is done.
Status first_read(StreamResult& stream) {
  if (!stream.ok()) return stream.status();
  std::uint8_t byte = 0;
  for (;;) {
    Result<std::size_t> got = (*stream)->read({&byte, 1});
    if (!got.ok()) return got.status();
    if (*got > 0) return {};
    if (!*(*stream)->wait(false, kLong, nullptr)) return Status(Errc::aborted, "nothing came");
  }
}

bool says(const Status& status, const char* words) {
  return status.message().find(words) != std::string::npos;
}

void check_refused(const Status& status, const char* words) {
  INFO(status.message());
  CHECK(status.is(Errc::wrong_key));
  CHECK(says(status, words));
  CHECK(says(status, "the other end"));  // the peer's name
}

void write_all(Stream& stream, Bytes data) {
  while (!data.empty()) {
    REQUIRE(*stream.wait(true, kLong, nullptr));
    data = data.sub(*stream.write(data));
  }
  REQUIRE(*stream.wait(true, kLong, nullptr));  // passes on what is left
}

std::string read_all(Stream& stream, std::size_t size) {
  std::string text(size, 0);
  std::size_t done = 0;
  while (done < size) {
    REQUIRE(*stream.wait(false, kLong, nullptr));
    done += *stream.read({reinterpret_cast<std::uint8_t*>(text.data()) + done, size - done});
  }
  return text;
}

void check_both_ways(Handshake& both) {
  INFO(both.client.message() << " / " << both.server.message());
  REQUIRE(both.client.ok());
  REQUIRE(both.server.ok());
  write_all(**both.client, "question");
  CHECK(read_all(**both.server, 8) == "question");
  write_all(**both.server, "answer");
  CHECK(read_all(**both.client, 6) == "answer");
  CHECK((*both.client)->peer() == "the other end");
}

// Certificates of two authorities; each side is a node "leader" or "follower" of the first.
struct Certificates {
  Certificates() : ours(dir.path(), "ours"), theirs(dir.path(), "theirs") {
    ours.issue("leader", {.common_name = "a node", .dns_name = "leader"});
    ours.issue("follower", {.common_name = "a node", .dns_name = "follower"});
  }
  // `own` is a file; `peer_name` the name that is asked of the other side.
  [[nodiscard]] TlsSettings settings(const std::string& own, const std::string& peer_name) const {
    TlsSettings settings;
    settings.certificate_file = dir / (own + ".pem");
    settings.key_file = dir / (own + ".key");
    settings.ca_file = ours.file();
    settings.peer_name = peer_name;
    return settings;
  }
  [[nodiscard]] TlsSettings leader() const { return settings("leader", "follower"); }
  [[nodiscard]] TlsSettings follower() const { return settings("follower", "leader"); }

  test::TempDir dir;
  test::Authority ours, theirs;
};

// Has a handshake with what a peer sends that does not speak TLS, and then goes or stays.
Status against(const std::string& sent, bool server, bool stays = true,
               std::uint32_t timeout_ms = kLong) {
  test::StreamPair pair({.room_bytes = 1 << 20});
  REQUIRE(*pair.second->write(sent) == sent.size());
  if (!stays) pair.second.reset();
  const std::unique_ptr<TlsContext> mine = context(psk_settings(), server);
  StreamResult stream = tls_handshake(*mine, std::move(pair.first), timeout_ms);
  return stream.ok() ? Status() : stream.status();
}

// What a server answers to a client that OpenSSL alone makes, as the product has none like it.
Status against_client(SSL_CTX* client, const TlsSettings& settings, bool& client_done) {
  test::StreamPair pair;
  const std::unique_ptr<TlsContext> mine = context(settings, true);
  StreamResult server;
  std::thread thread([&] { server = tls_handshake(*mine, std::move(pair.second), kLong); });
  SSL* const ssl = SSL_new(client);
  BIO* const in = BIO_new(BIO_s_mem());
  BIO* const out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl, in, out);
  client_done = false;
  for (bool open = true; open && !client_done;) {
    client_done = SSL_connect(ssl) == 1;
    std::uint8_t bytes[4096];
    const int size = BIO_read(out, bytes, sizeof bytes);
    if (size > 0) open = pair.first->write(Bytes(bytes, static_cast<std::size_t>(size))).ok();
    if (client_done || !open) break;
    static_cast<void>(pair.first->wait(false, kLong, nullptr));
    const Result<std::size_t> got = pair.first->read(bytes);
    open = got.ok();
    if (open) BIO_write(in, bytes, static_cast<int>(*got));
  }
  thread.join();
  SSL_free(ssl);
  return server.ok() ? Status() : server.status();
}

}  // namespace

TEST_CASE("tls: with the same key on both sides bytes go both ways, whatever the chunks") {
  for (const std::size_t chunk : {0, 1, 7, 1000}) {
    INFO(chunk);
    Handshake both(psk_settings(), psk_settings(), {.room_bytes = 4096, .chunk_bytes = chunk});
    check_both_ways(both);
  }
}

TEST_CASE("tls: another key of the same name is refused by both sides") {
  Handshake both(psk_settings(1), psk_settings(2));
  check_refused(both.server.status(), "another pre-shared key named \"followers\"");
  check_refused(both.client.status(), "no pre-shared key of this name, or another");
}

TEST_CASE("tls: another name of the same key is refused by both sides") {
  for (const char* name : {"others", "follower", "followers2"}) {
    Handshake both(psk_settings(1, name), psk_settings(1));
    check_refused(both.server.status(), "no pre-shared key named \"followers\"");
    check_refused(both.client.status(), "no pre-shared key of this name, or another");
  }
}

TEST_CASE("tls: certificates of one authority with the names asked for let both sides in") {
  const Certificates made;
  Handshake both(made.follower(), made.leader());
  check_both_ways(both);
}

TEST_CASE("tls: a certificate without subjectAltName is known by its common name") {
  Certificates made;
  made.ours.issue("plain", {.common_name = "leader"});
  Handshake both(made.follower(), made.settings("plain", "follower"));
  check_both_ways(both);
}

TEST_CASE("tls: a server whose certificate is no good is refused, and hears why") {
  Certificates made;
  made.ours.issue("old", {.common_name = "x", .dns_name = "leader", .valid_until_s = -60});
  made.ours.issue("new", {.common_name = "x", .dns_name = "leader", .valid_from_s = 600});
  made.ours.issue("star", {.common_name = "x", .dns_name = "*.example.org"});
  made.ours.issue("only_common", {.common_name = "leader", .dns_name = "other"});
  made.theirs.issue("foreign", {.common_name = "x", .dns_name = "leader"});
  const struct {
    const char* file;
    const char* name;
    const char* why;
  } cases[] = {
      {"old", "leader", "has expired"},
      {"new", "leader", "is not valid yet"},
      {"star", "leader.example.org", "is not \"leader.example.org\""},
      {"only_common", "leader", "is not \"leader\""},
      {"follower", "leader", "is not \"leader\""},
      {"leader", "leade", "is not \"leade\""},
      {"foreign", "leader", "not signed by the authority in ca_file"},
  };
  for (const auto& one : cases) {
    INFO(one.file << " asked for " << one.name);
    Handshake both(made.settings("follower", one.name), made.settings(one.file, "follower"));
    check_refused(both.client.status(), one.why);
    check_refused(both.server.status(), "does not take this side's certificate");
  }
}

TEST_CASE("tls: a client whose certificate is no good is refused, and reads why") {
  Certificates made;
  made.ours.issue("old", {.common_name = "x", .dns_name = "follower", .valid_until_s = -60});
  made.theirs.issue("foreign", {.common_name = "x", .dns_name = "follower"});
  const struct {
    const char* file;
    const char* why;
  } cases[] = {
      {"old", "has expired"},
      {"leader", "is not \"follower\""},
      {"foreign", "not signed by the authority in ca_file"},
  };
  for (const auto& one : cases) {
    INFO(one.file);
    Handshake both(made.settings(one.file, "leader"), made.leader());
    check_refused(both.server.status(), one.why);
    check_refused(first_read(both.client), "does not take this side's certificate");
  }
}

TEST_CASE("tls: a refused client that writes first still reads why") {
  Certificates made;
  made.theirs.issue("foreign", {.common_name = "x", .dns_name = "follower"});
  Handshake both(made.settings("foreign", "leader"), made.leader());
  REQUIRE(both.client.ok());
  CHECK((*both.client)->write("hello").is(Errc::closed));
  check_refused(first_read(both.client), "does not take this side's certificate");
}

TEST_CASE("tls: a certificate that signs itself is not one of the authority") {
  Certificates made;
  test::Authority self(made.dir.path(), "leader");  // the right name
  TlsSettings server = made.leader();
  self.save_key(made.dir / "leader.key");
  Handshake both(made.follower(), server);
  check_refused(both.client.status(), "not signed by the authority in ca_file");
}

TEST_CASE("tls: a side with a key and a side with certificates refuse each other") {
  const Certificates made;
  {
    Handshake both(psk_settings(), made.leader());
    check_refused(both.client.status(), "shows a certificate in place of the pre-shared key");
    CHECK(both.server.is(Errc::wrong_key));
  }
  Handshake both(made.follower(), psk_settings());
  check_refused(both.server.status(), "no pre-shared key named");
  CHECK(both.client.is(Errc::wrong_key));
}

TEST_CASE("tls: a client without a certificate is refused by a server that asks for one") {
  const Certificates made;
  SSL_CTX* const anybody = SSL_CTX_new(TLS_client_method());
  bool client_done = false;
  const Status status = against_client(anybody, made.leader(), client_done);
  SSL_CTX_free(anybody);
  CHECK(client_done);
  check_refused(status, "the other side has no certificate");
}

TEST_CASE("tls: a client of TLS 1.2 is a format_mismatch, however good its certificate") {
  const Certificates made;
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    INFO(version);
    SSL_CTX* const other = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(other, version);
    const TlsSettings own = made.follower();
    REQUIRE(SSL_CTX_use_certificate_chain_file(other, own.certificate_file.c_str()) == 1);
    REQUIRE(SSL_CTX_use_PrivateKey_file(other, own.key_file.c_str(), SSL_FILETYPE_PEM) == 1);
    bool client_done = false;
    const Status status = against_client(other, made.leader(), client_done);
    SSL_CTX_free(other);
    INFO(status.message());
    CHECK(client_done == (version == TLS1_3_VERSION));
    CHECK(status.is(version == TLS1_3_VERSION ? Errc::ok : Errc::format_mismatch));
  }
}

TEST_CASE("tls: megabytes go both ways at once in small chunks, whole and in order") {
  for (const std::size_t chunk : {0, 113}) {
    Handshake both(psk_settings(), psk_settings(), {.room_bytes = 5000, .chunk_bytes = chunk});
    REQUIRE(both.client.ok());
    REQUIRE(both.server.ok());
    std::string text(2000000, 0);
    base::Random random(7);
    for (char& c : text) c = static_cast<char>(random.next());
    Stream* const ends[2] = {both.client->get(), both.server->get()};
    std::size_t written[2] = {}, seen[2] = {};
    std::vector<std::uint8_t> piece(20000);
    bool same = true;
    while (seen[0] < text.size() || seen[1] < text.size()) {
      for (int end = 0; end < 2; ++end) {
        written[end] += *ends[end]->write(Bytes(text).sub(written[end], random.below(60000)));
        const std::size_t got = *ends[end]->read({piece.data(), 1 + random.below(piece.size())});
        same = same && Bytes(piece).sub(0, got) == Bytes(text).sub(seen[end], got);
        seen[end] += got;
      }
    }
    CHECK(same);
  }
}

TEST_CASE("tls: two threads pass megabytes, each waiting when it cannot go on") {
  Handshake both(psk_settings(), psk_settings(), {.room_bytes = 3000});
  REQUIRE(both.client.ok());
  REQUIRE(both.server.ok());
  const std::string text(1000000, 'x');
  std::atomic<bool> all_in_time{true};
  std::thread thread([&] {
    Bytes left(text);
    // The end of it leaves the stream in wait() alone.
    while (!left.empty()) {
      if (!*(*both.server)->wait(true, kLong, nullptr)) all_in_time = false;
      left = left.sub(*(*both.server)->write(left));
    }
    std::uint8_t byte = 0;
    while ((*both.server)->read({&byte, 1}).ok()) {
      if (!*(*both.server)->wait(false, kLong, nullptr)) all_in_time = false;
    }
  });
  const std::string got = read_all(**both.client, text.size());
  both.client->reset();
  thread.join();
  CHECK(got == text);
  CHECK(all_in_time);
}

TEST_CASE("tls: what found no room goes out while its writer waits to read") {
  Handshake both(psk_settings(), psk_settings(), {.room_bytes = 1000});
  REQUIRE(both.client.ok());
  REQUIRE(both.server.ok());
  const std::string text(16384, 'x');
  REQUIRE(*(*both.client)->write(text) == text.size());
  std::string got;
  std::thread thread([&] {
    std::uint8_t bytes[1000];
    while (got.size() < text.size() && *(*both.server)->wait(false, kLong, nullptr)) {
      got += Bytes(bytes, *(*both.server)->read(bytes)).text();
    }
    // Room for this there is.
    if (!(*both.server)->write("answer").ok()) got.clear();
  });
  const std::string answer = read_all(**both.client, 6);
  thread.join();
  CHECK(got == text);
  CHECK(answer == "answer");
}

TEST_CASE("tls: what is sealed takes room for one record when the stream below has none") {
  Handshake both(psk_settings(), psk_settings(), {.room_bytes = 1000});
  REQUIRE(both.client.ok());
  REQUIRE(both.server.ok());
  const std::string text(1000000, 'x');
  CHECK(*(*both.client)->write(text) == 16384);
  CHECK(*(*both.client)->write(text) == 0);
  CHECK_FALSE(*(*both.client)->wait(true, 1, nullptr));
}

TEST_CASE("tls: on the wire the key's name is seen, but neither the key nor what is written") {
  Handshake both(psk_settings('k'), psk_settings('k'));
  REQUIRE(both.client.ok());
  write_all(**both.client, std::string(100, 'w'));
  CHECK(both.tap->wire.find("followers") != std::string::npos);
  CHECK(both.tap->wire.find(std::string(8, 'k')) == std::string::npos);
  CHECK(both.tap->wire.find(std::string(8, 'w')) == std::string::npos);
}

TEST_CASE("tls: an end with and without a farewell are both closed") {
  for (const bool polite : {true, false}) {
    INFO(polite);
    Handshake both(psk_settings(), psk_settings());
    REQUIRE(both.client.ok());
    REQUIRE(both.server.ok());
    write_all(**both.client, "last words");
    if (polite) {
      both.client->reset();
    } else {
      (*both.client)->shut();  // the stream below ends, and no farewell goes through it
    }
    CHECK(read_all(**both.server, 10) == "last words");
    for (int i = 0; i < 2; ++i) {
      const Status end = first_read(both.server);
      CHECK(end.is(Errc::closed));
      CHECK(says(end, polite ? "the other side ended the connection" : "the other end is gone"));
    }
    CHECK(*(*both.server)->wait(false, kLong, nullptr));
    CHECK((*both.server)->write("x").is(Errc::closed));
  }
}

TEST_CASE("tls: shut from another thread ends a wait") {
  Handshake both(psk_settings(), psk_settings());
  REQUIRE(both.server.ok());
  Stream* const stream = both.server->get();
  std::thread thread([stream] { stream->shut(); });
  const Status ended = first_read(both.server);
  thread.join();
  CHECK(ended.is(Errc::closed));
}

TEST_CASE("tls: a wait ends by its waker and at its deadline") {
  Handshake both(psk_settings(), psk_settings());
  REQUIRE(both.client.ok());
  std::unique_ptr<os::Waker> waker;
  REQUIRE(os::Waker::make(waker).ok());
  CHECK_FALSE(*(*both.client)->wait(false, 1, waker.get()));
  waker->wake();
  CHECK(*(*both.client)->wait(false, kLong, waker.get()));
}

TEST_CASE("tls: a silent peer ends the handshake at its deadline") {
  for (const bool server : {true, false}) {
    const Status status = against({}, server, true, 20);
    INFO(status.message());
    CHECK(status.os_error() == ETIMEDOUT);
    CHECK(says(status, "does the other side speak TLS?"));
  }
}

TEST_CASE("tls: a peer that goes during the handshake is closed") {
  for (const bool server : {true, false}) CHECK(against({}, server, false).is(Errc::closed));
}

TEST_CASE("tls: a peer that speaks no TLS is a format_mismatch") {
  base::Random random(3);
  std::string noise(3000, 0);
  for (char& c : noise) c = static_cast<char>(random.next());
  for (const bool server : {true, false}) {
    for (const std::string& sent : {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(100, 0),
                                    std::string(5000, 'x'), noise}) {
      const Status status = against(sent, server);
      INFO(status.message());
      CHECK(status.is(Errc::format_mismatch));
      CHECK(says(status, "does not speak TLS"));
    }
  }
}

TEST_CASE("tls: a first message that claims to be huge is refused before room is made for it") {
  // A record of 16 bytes that begins a ClientHello of 100,000; then the same cut into records.
  std::string whole("\x16\x03\x01\x00\x10\x01\x01\x86\xa0\x03\x03", 11);
  whole.append(10, 'r');
  const std::string cut(
      "\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x02\x86\xa0", 19);
  for (const std::string& sent : {whole, cut}) {
    const Status status = against(sent, true);
    INFO(status.message());
    CHECK(status.is(Errc::format_mismatch));
    CHECK(says(status, "longer than any"));
  }
  // A length that is allowed is waited for.
  std::string fair = whole;
  fair[6] = 0;
  fair[7] = 4;
  CHECK(against(fair, true, true, 20).os_error() == ETIMEDOUT);
}

TEST_CASE("tls: a handshake without end is given up") {
  // Change-cipher-spec and warnings cost nothing to send.
  std::string sent;
  while (sent.size() < 200000) sent += std::string("\x15\x03\x03\x00\x02\x01\x00", 7);
  CHECK(against(sent, true).is(Errc::format_mismatch));
}

TEST_CASE("tls: a byte changed on the wire is corrupt, and is so ever after") {
  Handshake both(psk_settings(), psk_settings());
  REQUIRE(both.client.ok());
  REQUIRE(both.server.ok());
  both.tap->change = true;
  CHECK((*both.client)->write("changed").ok());
  for (int i = 0; i < 2; ++i) {
    const Status status = first_read(both.server);
    INFO(status.message());
    CHECK(status.is(Errc::corrupt));
  }
  CHECK((*both.server)->write("x").is(Errc::corrupt));
  CHECK_FALSE(first_read(both.client).ok());
}

TEST_CASE("tls: each 65,536 records a new key seals, and the other side follows", "[serial]") {
  Handshake both(psk_settings(), psk_settings());
  REQUIRE(both.client.ok());
  REQUIRE(both.server.ok());
  bool same = true;
  std::vector<int> longer;  // a new key is a record of its own
  std::size_t usual = 0;
  for (int i = 1; i <= 140000 && same; ++i) {
    const auto byte = static_cast<std::uint8_t>(i * 7);
    std::uint8_t got = 0;
    both.tap->wire.clear();
    same = *(*both.client)->write(Bytes(&byte, 1)) == 1 && *(*both.server)->read({&got, 1}) == 1 &&
           got == byte;
    if (i == 1) usual = both.tap->wire.size();
    if (both.tap->wire.size() > usual) longer.push_back(i);
  }
  CHECK(same);
  CHECK(longer == std::vector<int>{65536, 131072});
}

TEST_CASE("tls: settings that cannot work are refused with words") {
  const Certificates made;
  const auto refused = [](const TlsSettings& settings, const char* why) {
    for (const bool server : {true, false}) {
      const Result<std::unique_ptr<TlsContext>> none = TlsContext::make(settings, server);
      INFO(none.message());
      CHECK(none.is(Errc::invalid_argument));
      CHECK(says(none.status(), why));
    }
  };
  refused({}, "either a pre-shared key, or");
  TlsSettings settings = made.leader();
  settings.use_psk = true;
  refused(settings, "either a pre-shared key, or");
  refused(psk_settings(0), "all zeros");
  refused(psk_settings(1, ""), "1 to 128 bytes");
  refused(psk_settings(1, std::string(129, 'x')), "1 to 128 bytes");
  refused(made.settings("leader", ""), "wants all of");
  refused(made.settings("leader", ".example"), "wants all of");
  refused(made.settings("none", "follower"), "none.pem");
  settings = made.leader();
  settings.key_file.clear();
  refused(settings, "wants all of");
  settings.key_file = made.dir / "follower.key";
  refused(settings, "follower.key");
  settings.key_file = made.dir / "locked.key";
  made.ours.save_key(settings.key_file, "a passphrase");
  refused(settings, "without a passphrase");
  settings = made.leader();
  settings.ca_file = made.dir / "leader.key";
  refused(settings, "certificate of the authority");
}

#else

TEST_CASE("tls: a build without OpenSSL says that it has none, and how to get it") {
  const Result<std::unique_ptr<TlsContext>> none = TlsContext::make(psk_settings(), true);
  CHECK(none.is(Errc::unsupported));
  CHECK(none.message().find("-DARMDB_WITH_OPENSSL=1") != std::string::npos);
}

#endif  // ARMDB_WITH_OPENSSL

#endif  // !ARMDB_OMIT_REPLICATION

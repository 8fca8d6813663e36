// Addresses of servers: what is one, what is none, and which of them only this machine reaches.
#include "os/address.hpp"

#include <string>

#include "support/catch.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

using namespace armdb;
using namespace armdb::os;

namespace {

Address parsed(std::string_view text) {
  Result<Address> address = parse_address(text);
  INFO(text << ": " << address.message());
  REQUIRE(address.ok());
  CHECK(address->text() == text);
  return *address;
}

bool local(std::string_view text) { return is_local(parsed(text)); }

}  // namespace

TEST_CASE("address: host and port, IPv6 in brackets, and paths of Unix sockets are read") {
  const Address four = parsed("127.0.0.1:7000");
  CHECK(four.host == "127.0.0.1");
  CHECK(four.port == 7000);
  CHECK_FALSE(four.is_unix());
  const Address six = parsed("[fe80::1%eth0]:1");
  CHECK(six.host == "fe80::1%eth0");
  CHECK(six.port == 1);
  CHECK(parsed("db-1.example_x.org:65535").port == 65535);
  CHECK(parsed("localhost:0").port == 0);
  const Address unix = parsed("unix:/run/a:b.sock");
  CHECK(unix.path == "/run/a:b.sock");
  CHECK(unix.is_unix());
  CHECK(parsed("unix:" + std::string(100, 'x')).path.size() == 100);
}

TEST_CASE("address: what is none is refused with a reason and with examples") {
  using namespace std::string_view_literals;
  const struct {
    std::string_view text;
    const char* why;
  } cases[] = {
      {"", "one host and one port"},
      {"7000", "one host and one port"},
      {"host", "one host and one port"},
      {"a:b:7000", "one host and one port"},
      {"::1", "an IPv6 address stands in brackets"},
      {"fe80::1:7000", "an IPv6 address stands in brackets"},
      {":7000", "the host is missing"},
      {"host:", "the port is a number"},
      {"host:-1", "the port is a number"},
      {"host:+1", "the port is a number"},
      {"host: 1", "the port is a number"},
      {"host:65536", "the port is a number"},
      {"host:100000", "the port is a number"},
      {"host:4294967297", "the port is a number"},
      {"host:7000x", "the port is a number"},
      {"host:7000\0"sv, "the port is a number"},
      {"[::1]", "the port is a number"},
      {"[]:1", "no IPv6 address"},
      {"[:1", "no IPv6 address"},
      {"[::1:1", "no IPv6 address"},
      {"[127.0.0.1]:1", "no IPv6 address"},
      {"[::1%]]:1", "no IPv6 address"},
      {"[::1\0]:1"sv, "no IPv6 address"},
      {"[::g]:1", "no IPv6 address"},
      {"ho st:1", "characters that no host name has"},
      {"host/:1", "characters that no host name has"},
      {"h\0st:1"sv, "characters that no host name has"},
      {"unix:", "the path of the Unix socket is missing"},
      {"unix:/a\0b"sv, "zero byte"},
  };
  for (const auto& one : cases) {
    const Result<Address> address = parse_address(one.text);
    INFO(one.text << ": " << address.message());
    CHECK(address.is(Errc::invalid_argument));
    CHECK(address.message().find(one.why) != std::string::npos);
    CHECK(address.message().find("127.0.0.1:7000") != std::string::npos);
  }
  const Result<Address> longer = parse_address("unix:/" + std::string(300, 'x'));
  CHECK(longer.is(Errc::invalid_argument));
  CHECK(longer.message().find("that long") != std::string::npos);
}

TEST_CASE("address: only loopback and Unix sockets are local, and localhost when it is loopback") {
  CHECK(local("127.0.0.1:1"));
  CHECK(local("127.255.3.4:1"));
  CHECK(local("[::1]:1"));
  CHECK(local("[::ffff:127.0.0.1]:1"));
  CHECK(local("unix:/run/x.sock"));
  CHECK_FALSE(local("0.0.0.0:1"));
  CHECK_FALSE(local("[::]:1"));
  CHECK_FALSE(local("128.0.0.1:1"));
  CHECK_FALSE(local("10.0.0.1:1"));
  CHECK_FALSE(local("[::ffff:10.0.0.1]:1"));
  CHECK_FALSE(local("[fe80::1]:1"));
  CHECK_FALSE(local("example.org:1"));
  CHECK_FALSE(local("localhost.example.org:1"));
  Resolved found;
  if (found.find(parsed("localhost:1"), 0).ok()) CHECK(local("localhost:1"));
}

TEST_CASE("address: a name that nobody has is an error that names it") {
  Resolved found;
  // RFC 6761 keeps this domain free of names.
  const Status status = found.find(parsed("no-such-host.invalid:1"), 0);
  INFO(status.message());
  CHECK_FALSE(status.ok());
  CHECK(found.first() == nullptr);
  CHECK(status.message().find("no-such-host.invalid") != std::string::npos);
}

#endif  // !ARMDB_OMIT_REPLICATION

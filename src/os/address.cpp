// Reading addresses, and asking the system's resolver about them.
#include "os/address.hpp"

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "base/errors.hpp"
#include "base/text.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace armdb::os {
namespace {

constexpr std::size_t kPathBytesMax = sizeof(sockaddr_un::sun_path) - 1;

bool is_loopback(const sockaddr* name) noexcept {
  if (name->sa_family == AF_INET) {
    sockaddr_in four{};
    std::memcpy(&four, name, sizeof four);
    return ntohl(four.sin_addr.s_addr) >> 24 == 127;
  }
  if (name->sa_family != AF_INET6) return false;
  sockaddr_in6 six{};
  std::memcpy(&six, name, sizeof six);
  const std::uint8_t* const bytes = six.sin6_addr.s6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&six.sin6_addr)) return bytes[12] == 127;
  return IN6_IS_ADDR_LOOPBACK(&six.sin6_addr);
}

bool is_host_name(std::string_view host) noexcept {
  for (const char c : host) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!letter && !(c >= '0' && c <= '9') && c != '-' && c != '.' && c != '_') return false;
  }
  return host.size() < NI_MAXHOST;
}

// With a zone, such as "fe80::1%eth0".
bool is_ipv6(std::string_view host) {
  in6_addr address{};
  const std::size_t zone = host.find('%');
  if (zone != host.npos && !is_host_name(host.substr(zone + 1))) return false;
  const std::string plain(host.substr(0, zone));
  return plain.find('\0') == plain.npos && ::inet_pton(AF_INET6, plain.c_str(), &address) == 1;
}

bool parse_port(std::string_view text, std::uint16_t& port) noexcept {
  std::uint32_t number = 0;
  if (text.empty() || text.size() > 5) return false;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    number = number * 10 + static_cast<std::uint32_t>(c - '0');
  }
  port = static_cast<std::uint16_t>(number);
  return number <= 65535;
}

}  // namespace

Status bad_address(std::string_view text, const char* why) {
  return base::failure(Errc::invalid_argument,
                       "\"%\" is no address: %; one looks like 127.0.0.1:7000, [::1]:7000, "
                       "host.name:7000 or unix:/run/armdb.sock",
                       {text, why});
}

Status check_path(const Address& address) {
  const std::string& path = address.path;
  const char* why = nullptr;
  if (path.empty()) why = "the path of the Unix socket is missing";
  if (path.size() > kPathBytesMax) why = "the system takes no path of a Unix socket that long";
  if (path.find('\0') != path.npos) why = "the path has a zero byte";
  return why == nullptr ? Status() : bad_address("unix:" + path, why);
}

std::string Address::text() const {
  if (is_unix()) return "unix:" + path;
  return base::text(host.find(':') == host.npos ? "%:%" : "[%]:%", {host, std::uint64_t{port}});
}

Result<Address> parse_address(std::string_view text) {
  Address address;
  constexpr std::string_view kUnix = "unix:";
  if (text.substr(0, kUnix.size()) == kUnix) {
    address.path = text.substr(kUnix.size());
    if (Status good = check_path(address); !good.ok()) return good;
    return address;
  }
  const std::size_t colon = text.rfind(':');
  std::string_view host = text.substr(0, colon);
  if (colon == text.npos || (host.find(':') != host.npos && host.front() != '[')) {
    const bool is_bare = is_ipv6(text);
    return bad_address(text, is_bare ? "an IPv6 address stands in brackets, and a port follows"
                                     : "it wants one host and one port with a colon between them");
  }
  if (!parse_port(text.substr(colon + 1), address.port)) {
    return bad_address(text, "the port is a number from 0 to 65535");
  }
  if (host.empty()) return bad_address(text, "the host is missing");
  if (host.front() == '[') {
    if (host.back() != ']' || !is_ipv6(host.substr(1, host.size() - 2))) {
      return bad_address(text, "what stands in brackets is no IPv6 address");
    }
    host = host.substr(1, host.size() - 2);
  } else if (!is_host_name(host)) {
    return bad_address(text, "the host has characters that no host name has");
  }
  address.host = host;
  return address;
}

bool is_local(const Address& address) {
  if (address.is_unix()) return true;
  Resolved found;
  const bool is_name = address.host == "localhost";
  if (!found.find(address, is_name ? 0 : AI_NUMERICHOST).ok()) return false;
  for (const addrinfo* one = found.first(); one != nullptr; one = one->ai_next) {
    if (!is_loopback(one->ai_addr)) return false;
  }
  return found.first() != nullptr;
}

Resolved::~Resolved() {
  if (first_ != nullptr) ::freeaddrinfo(first_);
}

Status Resolved::find(const Address& address, int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  const std::string port = base::text("%", {std::uint64_t{address.port}});
  const int error = ::getaddrinfo(address.host.c_str(), port.c_str(), &hints, &first_);
  if (error == 0) return {};
  if (error == EAI_MEMORY) return base::out_of_memory("cannot resolve a host name");
  if (error == EAI_SYSTEM) return Status::from_os(errno, "cannot resolve").at(address.host);
  return base::failure(Errc::io_error,
                       "cannot resolve the host name: %; check it, and the resolver",
                       {::gai_strerror(error)})
      .at(address.host);
}

}  // namespace armdb::os

#endif  // !ARMDB_OMIT_REPLICATION

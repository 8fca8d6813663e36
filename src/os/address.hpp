// Address: where a server listens or a client connects, and what its name resolves to.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/status.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

struct addrinfo;

namespace armdb::os {

// "unix:/run/armdb.sock", "127.0.0.1:7000", "[::1]:7000" or "host.name:7000".
struct Address {
  std::string host;
  std::uint16_t port = 0;
  std::string path;  // of a Unix socket; host and port mean nothing then

  [[nodiscard]] bool is_unix() const noexcept { return !path.empty(); }
  [[nodiscard]] std::string text() const;  // as parse_address() reads it
};

// `invalid_argument` says what is wrong, and what an address looks like. Resolves nothing.
Result<Address> parse_address(std::string_view text);

// True for Unix sockets and for what only this machine reaches: 127/8, ::1, and "localhost" when
// all that it resolves to is of that kind. Every other name is taken for a foreign one.
[[nodiscard]] bool is_local(const Address& address);

// The error of parse_address(), for a text that has another fault.
Status bad_address(std::string_view text, const char* why);
// Whether the system takes the path of a Unix socket.
Status check_path(const Address& address);

// Owns what getaddrinfo() found for a host. Threads: as an int.
class Resolved {
 public:
  Resolved() = default;
  Resolved(const Resolved&) = delete;
  Resolved& operator=(const Resolved&) = delete;
  ~Resolved();

  // Once; `flags` are those of getaddrinfo().
  Status find(const Address& address, int flags);
  [[nodiscard]] const addrinfo* first() const noexcept { return first_; }

 private:
  addrinfo* first_ = nullptr;
};

}  // namespace armdb::os

#endif  // !ARMDB_OMIT_REPLICATION

// What serve, follow and lag share: who the other side is, when to end, and how progress is told.
#pragma once

#include <string>
#include <string_view>

#include "armdb.hpp"
#include "cli/arguments.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::cli {

// The options about the other side, and the texts that ReplicationConfig points to.
class Peer {
 public:
  // Ends with wrong use when they do not go together, or the key is none.
  explicit Peer(const Arguments& arguments);
  [[nodiscard]] ReplicationConfig config() const;

 private:
  std::string name_, certificate_, private_key_, ca_, peer_name_;
  EncryptionKey key_;
  bool allow_insecure_ = false;
};

void add_peer_options(Command& command);

// From here on SIGINT and SIGTERM only make asked_to_end() true.
void end_on_signals();
[[nodiscard]] bool asked_to_end();

// As fail(), with advice about the other side instead of the disk.
[[noreturn]] void fail_with_peer(const Status& status, std::string_view doing);

// "streaming, term 3, 12 entries behind", and why not, where that is known.
[[nodiscard]] std::string state_text(const ReplicationStats& stats);
// "12 entries, 1.2 KiB, for 340 ms"
[[nodiscard]] std::string lag_text(const ReplicationStats& stats);

}  // namespace armdb::cli

#endif  // !ARMDB_OMIT_REPLICATION

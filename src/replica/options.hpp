// What both sides are told to do, as copies that outlive the caller's.
#pragma once

#include <memory>
#include <string>

#include "core/status.hpp"
#include "crypto/tls_stream.hpp"
#include "engine/engine.hpp"
#include "format/frame.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::replica {

inline constexpr std::size_t kNameBytesMax = format::kCollectionNameMax;

struct Options {
  std::string name;  // of the collection at the server
  bool secured = false;
  crypto::TlsSettings tls;
  bool allow_insecure = false;
  bool ship_early = false;
  std::uint64_t retain_bytes = std::uint64_t{1} << 30;
  std::uint32_t followers_max = 16;
  std::uint32_t heartbeat_ms = 500;
  std::uint32_t timeout_ms = 10000;
  std::uint32_t retry_ms = 1000;
  std::size_t slot_bytes = std::size_t{1} << 20;  // of all Fixed shards, told at a time
};

// What a follower is doing, as replication_stats() tells it.
enum class Phase : std::uint8_t { stopped, connecting, copying, catching_up, streaming, refused };

struct Progress {
  Phase phase = Phase::stopped;
  std::uint64_t term = 0;
  std::uint64_t lag_entries = 0;
  std::uint64_t lag_bytes = 0;
  std::uint64_t lag_ms = 0;
  std::uint64_t resyncs = 0;
  Status last_error;
};

// Reads an address, and refuses one that other machines reach unless there is a key, or it is
// allowed.
Result<os::Address> address_of(std::string_view text, const Options& options);

}  // namespace armdb::replica

#endif  // !ARMDB_OMIT_REPLICATION

// Replication: a leader ships its log to followers, which are readable collections of their own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "api/collection.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb {

// What a follower is doing. connecting: no leader is heard, see last_error. copying: it gets
// everything anew, because the leader no longer has what it is missing, or because it has what the
// leader never had; reads see the old content until the copy is complete. refused: the leader is
// of an older term, of another collection, or has another key; it goes on asking.
enum class ReplicationState : std::uint8_t {
  stopped,
  connecting,
  copying,
  catching_up,
  streaming,
  refused,
};
[[nodiscard]] std::string_view replication_state_name(ReplicationState state) noexcept;

struct ReplicationStats {
  ReplicationState state = ReplicationState::stopped;
  std::uint64_t term = 0;         // of the leader; a newer one is larger
  std::uint64_t lag_entries = 0;  // written at the leader, as far as it is heard, and not here
  std::uint64_t lag_bytes = 0;    // the same in the leader's log; told by the leader only
  std::uint64_t lag_ms = 0;       // for how long it has been behind
  std::uint64_t resyncs = 0;      // copies that were begun
  Status last_error;              // of the last conversation that ended, or of the last sync
};

struct ReplicationConfig {
  std::string_view name{};  // of the collection, where a server has several
  // Who is who: 32 random bytes that both sides have, or PEM files of certificates. TLS 1.3, both
  // sides authenticated; needs ARMDB_WITH_OPENSSL. Without either only Unix sockets and loopback
  // are accepted, unless allow_insecure is set.
  EncryptionKey pre_shared_key{};
  std::string_view certificate_file{}, private_key_file{}, ca_file{};
  std::string_view peer_name{};  // that the other side's certificate must carry
  bool allow_insecure = false;
  // Leader: ship what the operating system has, not only what survives a power cut. A follower may
  // then have entries that the leader loses in a crash; they are set aside when it is back.
  bool ship_early = false;
  std::uint64_t retain_bytes = std::uint64_t{1} << 30;  // of log per shard kept for followers
  std::uint32_t followers_max = 16;
  std::uint32_t heartbeat_ms = 500;
  std::uint32_t timeout_ms = 10000;  // of connecting, and of silence
  std::uint32_t retry_ms = 1000;     // a follower's pause before it connects again
  // Called by the follower's thread at each change of state; must not call back.
  void (*on_state)(void* context, const ReplicationStats& stats) = nullptr;
  void* context = nullptr;
};

// Serves collections to followers while it lives; each must outlive it. A thread for the
// connections, one for each follower. `address` is "unix:/path", "127.0.0.1:7000", "[::1]:7000"
// or "host:7000"; port 0 takes a free one. Serving begins a new term, durably. stop() waits for no
// peer.
// Threads: start, stop and the destructor by one owner, the rest by any.
class ReplicationServer {
 public:
  ReplicationServer() noexcept = default;
  ReplicationServer(ReplicationServer&&) noexcept;
  ReplicationServer& operator=(ReplicationServer&&) noexcept;
  ~ReplicationServer();
  static Result<ReplicationServer> start(Collection& collection, std::string_view address,
                                         const ReplicationConfig& config = {});
  Status add(Collection& collection, std::string_view name);  // another one, key_exists
  [[nodiscard]] std::string address() const;
  // Waits until `count` followers have, durably, what the collection had in each shard when this
  // was called, or up to `sequence` where that is less. `timed_out` is no failure of the write: it
  // is here, and may still come to them. `fenced`: there is a newer leader.
  Status wait_for_followers(std::uint32_t count, std::uint64_t sequence, std::uint32_t timeout_ms,
                            std::string_view name = {});
  // One call for each follower that has been here, connected or not.
  void replication_stats(
      FunctionRef<void(std::string_view peer, bool connected, const ReplicationStats&)> visit,
      std::string_view name = {}) const;
  Status last_error() const;  // of a connection that ended, or was turned away
  void stop();

 private:
  struct State;
  State* state_ = nullptr;
};

// Keeps a collection a follower while it lives; the collection must outlive it. A follower is read
// as any collection, and refuses writes with read_only, also when nobody follows. stop() waits for
// no peer.
// Threads: one owner; replication_stats by any.
class ReplicationClient {
 public:
  ReplicationClient() noexcept = default;
  ReplicationClient(ReplicationClient&&) noexcept;
  ReplicationClient& operator=(ReplicationClient&&) noexcept;
  ~ReplicationClient();
  // Makes an empty follower of what is served there, in the directory `path`: shards and shape are
  // the leader's, which has to answer; the encryption key is its own. key_exists.
  static Status create(std::string_view path, std::string_view address,
                       const FixedConfig& config = {}, const ReplicationConfig& replication = {});
  // Returns at once; connects, and connects again, in a thread. A former leader becomes a follower.
  // One that is behind gets more threads for that: one that syncs, and one per shard or processor.
  // locked: another client follows with this collection.
  static Result<ReplicationClient> start(Collection& collection, std::string_view address,
                                         const ReplicationConfig& config = {});
  // Makes the collection take writes, in a term above all it has seen; leaders of lower terms are
  // refused from then on by everybody who hears of it. invalid_argument while its client runs, or
  // when it is no follower; failed while a copy is not complete.
  static Status promote(Collection& collection);
  // How far the collection is behind what is served there, without following it: `term` and
  // `lag_entries`; `resyncs` counts the shards that would be copied anew, because they have what
  // the leader never had, or half of a copy. `fenced`, format_mismatch: it would not be followed.
  static Result<ReplicationStats> compare(Collection& collection, std::string_view address,
                                          const ReplicationConfig& config = {});
  [[nodiscard]] ReplicationStats replication_stats() const;
  void stop();

 private:
  struct State;
  State* state_ = nullptr;
};

}  // namespace armdb

#endif  // !ARMDB_OMIT_REPLICATION

// Source: one collection that is served; what its followers have in common.
// LeaderSession: the conversation with one follower.
//
// A session reads the log at its own pace and keeps one piece of it in memory; while it waits it
// costs the writers nothing. Before it reads, it makes durable what was written (one sync for all
// sessions and writers that ask at that moment): only what cannot be lost is shipped. Of a Fixed
// store, which has no log, see slot_lane.hpp.
//
// Threads: a session is one thread's; a Source is shared by all of them and by the program.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/mutex.hpp"
#include "engine/engine.hpp"
#include "replica/channel.hpp"
#include "replica/options.hpp"
#include "replica/slot_lane.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::replica {

class Source {
 public:
  Source(engine::Engine& engine, std::string name, const Options& options)
      : engine_(engine), name_(std::move(name)), options_(options) {}
  ~Source();

  // Begins a term: what is written from here on is told from what any other leader writes.
  Status begin();
  // A follower has seen a newer leader: from here on nothing is written here.
  void fence(std::uint64_t term);
  [[nodiscard]] engine::Engine& engine() const noexcept { return engine_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] bool fenced() const noexcept { return fenced_.load(std::memory_order_acquire); }

  // One follower, also while it is not connected.
  struct Follower {
    store::StoreId id{};
    std::string peer;
    bool connected = false;
    Progress progress;
    std::vector<format::Mark> acked;  // per shard: applied, durable
    std::uint64_t behind_since_ms = 0;
    const void* session = nullptr;  // that reports
  };
  // Of the whole collection, for all sessions; due when the last one was a while ago.
  Status sync();
  [[nodiscard]] bool sync_due() const noexcept;
  // Puts a connected follower's new state in its place, and pins what it still needs.
  void report(const Follower& follower);
  void visit(FunctionRef<void(const Follower&)> visit);
  // How many entries it is behind what is here now, and for how long.
  void measure(Follower& follower) const;
  // While somebody waits, sessions do not rest.
  Status wait_for(std::uint32_t count, std::uint64_t sequence, std::uint32_t timeout_ms);
  // Somebody waits for followers right now.
  [[nodiscard]] bool awaited() const noexcept {
    return awaited_.load(std::memory_order_seq_cst) != 0;
  }
  // Ends all waits.
  void stop();

 private:
  void pin_all() ARMDB_REQUIRES(mutex_);
  void unpin();

  engine::Engine& engine_;
  const std::string name_;
  const Options& options_;
  bool serving_ = false;  // and nobody else does
  std::atomic<bool> fenced_{false};
  std::atomic<std::uint32_t> awaited_{0};  // calls of wait_for()
  std::atomic<std::uint64_t> synced_ms_{0};
  mutable base::Mutex mutex_;
  base::ConditionVariable changed_;
  std::vector<Follower> followers_ ARMDB_GUARDED_BY(mutex_);
  bool stopped_ ARMDB_GUARDED_BY(mutex_) = false;
};

class LeaderSession final : public engine::WriteTap {
 public:
  LeaderSession(Channel& channel, const Options& options, os::Waker& waker)
      : channel_(channel), options_(options), waker_(waker) {}
  ~LeaderSession();

  // Greets the follower, then ships until the channel ends, `stopping` is set, or an error, which
  // it tells the follower. `find` gives the collection of that name, or null.
  Status run(FunctionRef<Source*(const std::string&)> find, const std::atomic<bool>& stopping);
  void wrote() noexcept override { waker_.wake(); }

 private:
  // Per shard.
  struct Lane {
    std::unique_ptr<SlotLane> slots;  // of a Fixed store, in place of all the others
    std::unique_ptr<store::LogFeed> feed;
    store::FeedPiece held;  // one part of a joint batch, until the others have come
    bool copying = false;
    std::uint64_t limit = 0;  // what may be shipped in this round
  };

  Status greet(FunctionRef<Source*(const std::string&)> find);
  Status check_follower(const format::Hello& hello, const format::Hello& own);
  Status ship(const std::atomic<bool>& stopping);
  Status rest();
  Status begin_lane(engine::Engine& engine, std::uint32_t shard, const format::Hello& hello,
                    std::uint64_t common, bool holes, std::uint8_t& replace);
  Status ship_slots(bool& shipped);
  Status ship_log(bool& shipped);
  Status settle_limits();
  Status ship_shard(std::uint32_t shard, bool& shipped);
  Status ship_copy(std::uint32_t shard, bool& shipped);
  Status begin_copy(std::uint32_t shard);
  Status ship_joint(bool& shipped);
  [[nodiscard]] bool joint_ready(std::uint32_t shard) const noexcept;
  Status send_piece(std::uint32_t shard, const store::FeedPiece& piece, std::uint16_t flags);
  Status send_progress();
  Status take_acks();
  [[nodiscard]] bool durable_waits() const;
  [[nodiscard]] bool behind() const;
  void note();

  Channel& channel_;
  const Options& options_;
  os::Waker& waker_;
  Source* source_ = nullptr;
  Source::Follower follower_;
  std::vector<Lane> lanes_;
  store::FeedPiece piece_;
  std::uint64_t progress_sent_ms_ = 0;
  bool stuck_ = false;  // the last sync failed: there is nothing to do until the next heartbeat
};

}  // namespace armdb::replica

#endif  // !ARMDB_OMIT_REPLICATION

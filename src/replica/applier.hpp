// Applier: takes what came for the shards of a follower, and applies it, in order within each
// shard.
//
// Little at a time is applied by the caller, at once. Who is behind gets large pieces: those of
// different shards are applied by threads, beside each other and beside the caller, who receives
// and syncs meanwhile. The threads begin with the first large piece.
//
// Threads: the members by one; its own end with it.
#pragma once

#include <memory>
#include <vector>

#include "base/mutex.hpp"
#include "engine/engine.hpp"
#include "format/entry.hpp"
#include "os/thread.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::replica {

// Bytes of one shard that came.
struct Part {
  std::uint32_t shard = 0;
  bool copy = false;         // of a copy
  std::uint64_t before = 0;  // else: the sequence that they go on behind
  std::vector<std::uint8_t> bytes;
};

// Parsed entries that belong together, some plain ones or a batch: requests whose views point into
// the bytes of a Part.
struct EntryRun {
  std::uint64_t first = 0;               // the sequence of the first one; the others follow it
  std::vector<std::uint64_t> sequences;  // of a copy, which has gaps: those of all
  std::vector<engine::WriteRequest> requests;
  bool batch = false;

  EntryRun() = default;
  ~EntryRun() { clear(); }
  EntryRun(const EntryRun&) = delete;
  EntryRun& operator=(const EntryRun&) = delete;
  void clear() noexcept;
};

// What an entry asks of a shard, with an object for a typed value; corrupt when it does not fit.
Status request_of(const engine::Engine& engine, std::uint32_t shard, const format::Entry& entry,
                  engine::WriteRequest& request);

// Those of `part` from `offset` on, which moves behind them.
Status parse_run(const engine::Engine& engine, const Part& part, std::size_t& offset,
                 EntryRun& run);

// What comes does not go on where the shard is.
Status out_of_place(std::uint64_t before, std::uint64_t last);

class Applier {
 public:
  explicit Applier(engine::Engine& engine) : engine_(engine), lanes_(engine.shard_count()) {}
  ~Applier();
  Applier(const Applier&) = delete;
  Applier& operator=(const Applier&) = delete;

  // Whole entries and batches. Waits while much is waiting already. The error may be that of an
  // earlier part; nothing is applied behind it.
  Status take(Part part);
  // Everything that was taken is applied when it returns.
  Status drain();
  // Something that was taken is not applied yet.
  [[nodiscard]] bool busy();

 private:
  struct Lane {
    std::vector<Part> waiting;  // the next one first
    bool busy = false;          // one of its parts is being applied
  };

  void start_threads();
  void work();
  [[nodiscard]] Lane* next_lane() noexcept ARMDB_REQUIRES(mutex_);
  Status apply(const Part& part, EntryRun& run);

  engine::Engine& engine_;
  EntryRun run_;  // the caller's

  base::Mutex mutex_;
  base::ConditionVariable work_;                      // there is some, or the end
  base::ConditionVariable done_;                      // of a part
  std::vector<Lane> lanes_ ARMDB_GUARDED_BY(mutex_);  // per shard
  std::size_t waiting_bytes_ ARMDB_GUARDED_BY(mutex_) = 0;
  std::size_t unfinished_ ARMDB_GUARDED_BY(mutex_) = 0;  // parts
  Status failure_ ARMDB_GUARDED_BY(mutex_);
  bool ending_ ARMDB_GUARDED_BY(mutex_) = false;
  std::unique_ptr<os::Thread[]> threads_;
  bool tried_ = false;     // to start them
  bool threaded_ = false;  // at least one runs
};

}  // namespace armdb::replica

#endif  // !ARMDB_OMIT_REPLICATION

// Fixed: where the slots are in the numbering of a leader, this one's or another's.
//
// The versions of slots are each store's own, as slots are used again only under higher ones. So a
// follower keeps with its slots a position in the numbers of its leader, per shard, in db.cursor:
// see format/cursor.hpp. It is written when the slots that it speaks for are synced, never before.
#include <algorithm>

#include "base/log.hpp"
#include "engine/engine.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::engine {

namespace {

// What is said to be reached before states come that reach so far: it has to be durable by then,
// and so is said for many at once.
constexpr std::uint64_t kReachAhead = 1 << 16;

}  // namespace

// Once the shards are open. What the file does not say is asked for again, all of it.
void Engine::settle_cursors() {
  if (!shape_.fixed) return;
  const bool follows = replica_state().follower;
  const base::MutexLock io(cursor_io_mutex_);
  const base::MutexLock lock(cursor_mutex_);
  counts_by_cursor_ = follows;
  const Status status = cursor_file_.read(description_.store_id, shards_.size(), saved_cursors_);
  cursors_known_ = status.ok();
  if (!cursors_known_) {
    saved_cursors_ = {};
    saved_cursors_.store_id = description_.store_id;
    saved_cursors_.shards.resize(shards_.size());
    if (!status.is(Errc::not_found)) {
      base::log(config_.log, LogLevel::warning, "a follower's position is lost", status);
    }
  }
  for (std::size_t at = 0; at < shards_.size(); ++at) {
    store::Cursor& cursor = saved_cursors_.shards[at];
    if (counts_by_cursor_ && !cursors_known_ && shards_[at]->last_sequence() != 0) {
      cursor.reached = store::kPositionMax;
    }
    if (!counts_by_cursor_ && !config_.read_only) shards_[at]->raise_sequence(cursor.own_from);
  }
  cursors_ = saved_cursors_.shards;
}

std::uint64_t Engine::position(std::uint32_t at) const {
  if (shape_.fixed) {
    const base::MutexLock lock(cursor_mutex_);
    if (counts_by_cursor_) return cursors_[at].position;
  }
  return shards_[at]->last_sequence();
}

store::Cursor Engine::cursor(std::uint32_t at) const {
  const base::MutexLock lock(cursor_mutex_);
  return cursors_[at];
}

// A store that led takes over its own numbers: they are the leader's.
Status Engine::count_by_cursor() {
  Status status = sync();
  if (!status.ok()) return status;
  const base::MutexLock io(cursor_io_mutex_);
  {
    const base::MutexLock lock(cursor_mutex_);
    for (std::size_t at = 0; at < shards_.size(); ++at) {
      cursors_[at].position = cursors_[at].reached = shards_[at]->last_sequence();
    }
    saved_cursors_.shards = cursors_;
    counts_by_cursor_ = true;
  }
  return save_cursors(true);
}

Status Engine::save_cursors(bool durable) {
  cursors_known_ = true;
  return cursor_file_.write(saved_cursors_, durable);
}

Status Engine::begin_numbering() {
  if (!shape_.fixed) return {};
  const bool fresh = replica_state().terms.empty();
  // What is raised is durable.
  Status status = sync();
  const base::MutexLock io(cursor_io_mutex_);
  if (!status.ok() || cursors_known_) return status;
  {
    const base::MutexLock lock(cursor_mutex_);
    for (std::size_t at = 0; at < shards_.size() && !fresh; ++at) {
      cursors_[at].joined = cursors_[at].own_from =
          shards_[at]->raise_sequence(shards_[at]->last_sequence() + 1);
    }
    saved_cursors_.shards = cursors_;
  }
  return save_cursors(true);
}

Status Engine::begin_own_numbering() {
  if (!shape_.fixed) return {};
  const base::MutexLock io(cursor_io_mutex_);
  {
    const base::MutexLock lock(cursor_mutex_);
    for (std::size_t at = 0; at < shards_.size(); ++at) {
      store::Cursor& cursor = cursors_[at];
      const std::uint64_t last = std::max(cursor.position, shards_[at]->last_sequence());
      cursor.own_from = shards_[at]->raise_sequence(last + 1);
      cursor.joined = cursor.reached <= cursor.position ? cursor.position : cursor.own_from;
    }
    saved_cursors_.shards = cursors_;
  }
  return save_cursors(true);
}

void Engine::end_counting_by_cursor() {
  {
    const base::MutexLock lock(cursor_mutex_);
    counts_by_cursor_ = false;
  }
  for (const auto& shard : shards_) shard->take_own_writes(true);
}

void Engine::move_cursor(std::uint32_t at, std::uint64_t position, std::uint64_t reached) {
  const base::MutexLock lock(cursor_mutex_);
  cursors_[at].position = position;
  cursors_[at].reached = std::max(reached, position);
}

Status Engine::reach(std::uint32_t at, std::uint64_t sequence) {
  const base::MutexLock io(cursor_io_mutex_);
  {
    const base::MutexLock lock(cursor_mutex_);
    cursors_[at].reached = std::max(cursors_[at].reached, sequence);
  }
  store::Cursor& saved = saved_cursors_.shards[at];
  if (sequence <= saved.reached) return {};
  saved.reached = std::min(sequence + kReachAhead, store::kPositionMax);
  return save_cursors(true);
}

Status Engine::save_positions(bool quiet) {
  const base::MutexLock io(cursor_io_mutex_);
  bool news = false;
  {
    const base::MutexLock lock(cursor_mutex_);
    for (std::size_t at = 0; at < cursors_.size(); ++at) {
      store::Cursor& saved = saved_cursors_.shards[at];
      news = news || saved.position != cursors_[at].position ||
             (quiet && saved.reached != cursors_[at].reached);
      saved.position = cursors_[at].position;
      saved.reached = quiet ? cursors_[at].reached : std::max(saved.reached, saved.position);
    }
  }
  if (!news && (!quiet || positions_durable_)) return {};
  Status status = save_cursors(quiet);
  positions_durable_ = quiet && status.ok();
  return status;
}

// What was reached stays known, unless it is `all`: whether it was the leader's, the next greeting
// tells.
Status Engine::forget(std::uint32_t at, bool all) {
  const base::MutexLock io(cursor_io_mutex_);
  store::Cursor& saved = saved_cursors_.shards[at];
  saved.position = 0;
  if (all) saved.reached = 0;
  {
    const base::MutexLock lock(cursor_mutex_);
    cursors_[at].position = 0;
    if (all) cursors_[at].reached = 0;
  }
  return save_cursors(true);
}

// A copy that goes on from a position would leave out what was lost before it. Of holes the
// greeting forgets it, if it does not lead before.
Status Engine::begin_copy_anew(std::uint32_t shard) {
  if (!shape_.fixed) return {};
  const base::MutexLock io(cursor_io_mutex_);
  store::Cursors cursors;
  Status status = cursor_file_.read(description_.store_id, description_.shard_count, cursors);
  // What it does not say is asked for again, all of it.
  if (status.is(Errc::not_found) || status.is(Errc::corrupt)) return {};
  if (!status.ok()) return status;
  cursors.shards[shard].position = 0;
  return cursor_file_.write(cursors, true);
}

Status Engine::keep_aside(std::uint32_t at) { return shards_[at]->keep_aside(plain_files()); }

}  // namespace armdb::engine

#endif  // !ARMDB_OMIT_REPLICATION

// The leader's side: greeting a follower, then shipping the log to it.
#include "replica/leader.hpp"

#include <algorithm>

#include "base/errors.hpp"
#include "base/log.hpp"
#include "os/clock.hpp"
#include "replica/history.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::replica {

namespace {

// Of one shard before the next one has its turn.
constexpr std::size_t kPieceBytes = std::size_t{256} << 10;
// So many times as many changes are kept while a copy goes on.
constexpr std::uint64_t kCopyChanges = 16;
// While something is durable that was not shipped, a sync is asked for no more often: what is
// written now comes after that.
constexpr std::uint64_t kSyncEveryMs = 10;
// After a round of at least so many bytes a session rests: what writers make in the meantime goes
// out at once, with one sync, and wakes nobody.
constexpr std::uint64_t kRestBytes = std::uint64_t{16} << 10;
constexpr std::uint64_t kRestMs = 4;
// So many followers that have gone are remembered, with what they still need.
constexpr std::size_t kFollowersKept = 64;

}  // namespace

// ---- The collection that is served ----

Status Source::begin() {
  if (engine_.shape().fixed && options_.ship_early) {
    return Status(Errc::invalid_argument,
                  "ReplicationConfig::ship_early is for the Bitcask store: slots are overwritten, "
                  "and a state that a crash takes back could not be told from others")
        .at(engine_.path());
  }
  store::ReplicaState state = engine_.replica_state();
  if (state.follower) {
    return Status(Errc::read_only, "the collection is a follower: promote() it before it is served")
        .at(engine_.path());
  }
  serving_ = engine_.begin_serving();
  if (!serving_) {
    return Status(Errc::locked, "another ReplicationServer, or another name, serves the collection")
        .at(engine_.path());
  }
  // A recovery counts less as durable than what the process before it had synced and told; by that
  // a follower would take itself for level with a copy that it has from there.
  Status status = engine_.sync();
  if (status.ok()) status = engine_.begin_numbering();
  if (!status.ok()) return status;
  if (engine_.shape().fixed) {
    const std::uint64_t kept = std::uint64_t{4} * engine_.config().write_buffer_size;
    for (std::uint32_t at = 0; at < engine_.shard_count(); ++at) {
      // One more keeps it from being none.
      engine_.shard(at).keep_changes(std::min(options_.retain_bytes, kept) + 1,
                                     std::min(options_.retain_bytes, kCopyChanges * kept));
    }
  }
  return enter_term(engine_, std::move(state), false);
}

void Source::fence(std::uint64_t term) {
  if (fenced_.exchange(true, std::memory_order_acq_rel)) return;
  engine_.demote();
  // Also after a restart; a failure leaves it refusing writes until then.
  store::ReplicaState state = engine_.replica_state();
  state.follower = true;
  static_cast<void>(engine_.save_replica_state(std::move(state)));
  {
    const base::MutexLock lock(mutex_);
    changed_.notify_all();  // nobody is to wait for followers any longer
  }
  base::log(
      engine_.config().log, LogLevel::error,
      base::text("a follower has seen a leader of term %: this one takes no more writes", {term}));
}

void Source::report(const Follower& follower) {
  const base::MutexLock lock(mutex_);
  auto at = std::find_if(followers_.begin(), followers_.end(),
                         [&](const Follower& known) { return known.id == follower.id; });
  if (at == followers_.end()) {
    if (followers_.size() == kFollowersKept) {
      const auto gone = std::find_if(followers_.begin(), followers_.end(),
                                     [](const Follower& known) { return !known.connected; });
      followers_.erase(gone == followers_.end() ? followers_.begin() : gone);
    }
    followers_.push_back(follower);
  } else if (follower.connected || at->session == follower.session) {
    *at = follower;  // not the end of a conversation that another one has followed
  }
  pin_all();
  changed_.notify_all();
}

// What the slowest one still has to read.
void Source::pin_all() {
  for (std::uint32_t shard = 0; shard < engine_.shard_count(); ++shard) {
    std::uint64_t least = ~std::uint64_t{0};
    for (const Follower& follower : followers_) {
      least = std::min(least, follower.acked[shard].second);
    }
    engine_.shard(shard).pin(least, options_.retain_bytes);
  }
}

Source::~Source() {
  if (!serving_) return;
  unpin();
  engine_.end_serving();
}

void Source::unpin() {
  for (std::uint32_t shard = 0; shard < engine_.shard_count(); ++shard) {
    engine_.shard(shard).pin(~std::uint64_t{0}, 0);
    engine_.shard(shard).keep_changes(0, 0);
  }
}

void Source::visit(FunctionRef<void(const Follower&)> visit) {
  std::vector<Follower> followers;
  {
    const base::MutexLock lock(mutex_);
    // Of one that is away nobody else takes the measure.
    for (Follower& follower : followers_) {
      if (!follower.connected) measure(follower);
    }
    followers = followers_;
  }
  // Here, and not with each ack: it walks all segments under the shard's lock.
  for (Follower& follower : followers) {
    for (std::uint32_t at = 0; at < engine_.shard_count(); ++at) {
      follower.progress.lag_bytes += engine_.shard(at).bytes_above(follower.acked[at].first);
    }
    visit(follower);
  }
}

void Source::measure(Follower& follower) const {
  Progress& progress = follower.progress;
  progress.lag_entries = 0;
  for (std::uint32_t at = 0; at < engine_.shard_count(); ++at) {
    const std::uint64_t last = engine_.shard(at).last_sequence();
    const std::uint64_t applied = follower.acked[at].first;
    progress.lag_entries += last > applied ? last - applied : 0;
  }
  const std::uint64_t now = os::monotonic_ms();
  if (progress.lag_entries == 0) follower.behind_since_ms = 0;
  if (progress.lag_entries != 0 && follower.behind_since_ms == 0) follower.behind_since_ms = now;
  progress.lag_ms = follower.behind_since_ms == 0 ? 0 : now - follower.behind_since_ms;
}

bool Source::sync_due() const noexcept {
  return os::monotonic_ms() - synced_ms_.load(std::memory_order_relaxed) >= kSyncEveryMs;
}

// Due again a while behind its end: one that takes long leaves time to ship between two.
Status Source::sync() {
  synced_ms_.store(os::monotonic_ms(), std::memory_order_relaxed);
  for (std::uint32_t at = 0; at < engine_.shard_count(); ++at) engine_.shard(at).prewrite();
  Status status = engine_.sync();
  synced_ms_.store(os::monotonic_ms(), std::memory_order_relaxed);
  return status;
}

Status Source::wait_for(std::uint32_t count, std::uint64_t sequence, std::uint32_t timeout_ms) {
  std::vector<std::uint64_t> wanted;
  for (std::uint32_t at = 0; at < engine_.shard_count(); ++at) {
    wanted.push_back(std::min(sequence, engine_.shard(at).last_sequence()));
  }
  const std::uint64_t end = os::monotonic_ms() + timeout_ms;
  bool waits = false;
  const auto leave = [&](Status status) {
    if (waits) awaited_.fetch_sub(1, std::memory_order_relaxed);
    return status;
  };
  const base::MutexLock lock(mutex_);
  for (;;) {
    std::uint32_t have = 0;
    for (const Follower& follower : followers_) {
      bool all = true;
      for (std::size_t at = 0; at < wanted.size(); ++at) {
        all = all && follower.acked[at].second >= wanted[at];
      }
      have += all ? 1 : 0;
    }
    if (have >= count) return leave({});
    if (stopped_) return leave(Status(Errc::closed, "the replication server was stopped"));
    if (fenced()) return leave(Status(Errc::fenced, "a newer leader has taken over"));
    const std::uint64_t now = os::monotonic_ms();
    if (now >= end) {
      return leave(
          base::failure(Errc::timed_out,
                        "% of % followers have it durably after % ms; it may still come to "
                        "the others",
                        {std::uint64_t{have}, std::uint64_t{count}, std::uint64_t{timeout_ms}}));
    }
    if (!waits) {
      // Sessions that rest go on.
      waits = true;
      awaited_.fetch_add(1, std::memory_order_seq_cst);
      engine_.taps().wake_all();
    }
    static_cast<void>(changed_.wait_for_ms(mutex_, end - now));
  }
}

void Source::stop() {
  const base::MutexLock lock(mutex_);
  stopped_ = true;
  changed_.notify_all();
}

// ---- Greeting ----

LeaderSession::~LeaderSession() {
  if (source_ == nullptr) return;
  source_->engine().taps().remove(this);
  follower_.connected = false;
  follower_.progress.phase = Phase::stopped;
  source_->report(follower_);
}

Status LeaderSession::run(FunctionRef<Source*(const std::string&)> find,
                          const std::atomic<bool>& stopping) {
  Status status = greet(find);
  if (status.ok() && source_ != nullptr) status = ship(stopping);
  if (status.ok() || status.is(Errc::closed)) return status;
  static_cast<void>(channel_.send_refusal(status.code(), status.message()));
  follower_.progress.last_error = status;
  return status;
}

Status LeaderSession::greet(FunctionRef<Source*(const std::string&)> find) {
  format::FrameHeader header;
  Bytes payload;
  Status status = channel_.expect(format::FrameType::hello, header, payload);
  format::Hello hello;
  if (status.ok()) status = format::decode_hello(payload, hello);
  if (!status.ok()) return status;
  Source* source = find(hello.name);
  if (source == nullptr) {
    return Status(Errc::not_found,
                  "no collection is served by the name that the follower asks for: see "
                  "ReplicationConfig::name");
  }
  engine::Engine& engine = source->engine();
  const store::ReplicaState state = engine.replica_state();
  format::Hello own = hello_of(engine, state);
  // What it lacks itself is nobody's concern.
  own.replace.assign(engine.shard_count(), format::kWhole);
  own.name = hello.name;
  if (!hello.asking) {
    // First of all: the terms of another collection say nothing about this one.
    status = check_follower(hello, own);
    if (!status.ok()) return status;
    if (judge_leader(hello.terms, own.terms) == Standing::stale) {
      source->fence(hello.terms.back().number);
    }
    if (source->fenced() || state.follower) {
      return Status(Errc::fenced, "this is no leader any more: a newer one has taken over");
    }
    for (std::uint32_t at = 0; at < engine.shard_count(); ++at) {
      lanes_.emplace_back();
      const std::uint64_t common = common_end(hello.terms, own.terms, at);
      const bool holes = state.replacing[at] == format::kHoles;
      status = begin_lane(engine, at, hello, common, holes, own.replace[at]);
      if (!status.ok()) return status;
      const std::uint64_t has = own.replace[at] != 0 ? 0 : hello.sequences[at];
      follower_.acked.push_back({has, has});
    }
  }
  header = {};
  header.type = format::FrameType::hello;
  header.sequence = engine.size();
  status = channel_.send(header, format::encode_hello(own));
  if (!status.ok() || hello.asking) return status;
  source_ = source;
  follower_.id = hello.self;
  follower_.peer = channel_.peer();
  follower_.connected = true;
  follower_.session = this;
  follower_.progress.term = own.terms.back().number;
  engine.taps().add(this);
  for (std::uint32_t at = 0; status.ok() && at < lanes_.size(); ++at) {
    if (own.replace[at] != 0) status = begin_copy(at);
  }
  note();
  return status;
}

// Whether the follower goes on where it is, or needs a copy. `holes`: the leader's own shard lost
// something to damage.
Status LeaderSession::begin_lane(engine::Engine& engine, std::uint32_t shard,
                                 const format::Hello& hello, std::uint64_t common, bool holes,
                                 std::uint8_t& replace) {
  Lane& lane = lanes_[shard];
  const std::uint64_t position = hello.sequences[shard];
  engine::Shard& from = engine.shard(shard);
  if (engine.shape().fixed) {
    const SlotStart start = judge_position(engine.cursor(shard), from.last_sequence(), common,
                                           position, hello.replace[shard]);
    const std::size_t piece_bytes =
        std::clamp(options_.slot_bytes / engine.shard_count(), kPieceBytes / 16, kPieceBytes);
    lane.slots = std::make_unique<SlotLane>(channel_, from, shard, piece_bytes, holes);
    return lane.slots->begin(start, position, replace);
  }
  lane.feed = std::make_unique<store::LogFeed>(position);
  const bool parted = hello.replace[shard] != 0 || position > common;
  replace = parted ? format::kAwaitsCopy : format::kWhole;
  Status status;
  // Nothing that it has to be replaced: a copy is only for what the log no longer tells, or where a
  // crash took what the follower has.
  if (!parted) {
    store::FeedStep step = store::FeedStep::end;
    status = from.feed(*lane.feed, 0, 0, piece_, step);
    if (step == store::FeedStep::overtaken) replace = format::kAwaitsCopy;
    if (step == store::FeedStep::foreign) replace = format::kAwaitsCopyAside;
  }
  lane.copying = replace != format::kWhole;
  return status;
}

Status LeaderSession::check_follower(const format::Hello& hello, const format::Hello& own) {
  if (hello.lineage != own.lineage) {
    return Status(Errc::format_mismatch,
                  "the follower was made from another collection: make a new one with "
                  "ReplicationClient::create() in an empty directory");
  }
  if (hello.self == own.self) {
    return Status(Errc::invalid_argument,
                  "the follower has the store id of its leader: it is a copy of its files, or "
                  "the leader itself; make a follower with ReplicationClient::create()");
  }
  if (hello.shape != own.shape || hello.hash_seed != own.hash_seed ||
      hello.shard_prefix_bits != own.shard_prefix_bits ||
      hello.sequences.size() != own.sequences.size()) {
    return Status(Errc::shape_mismatch,
                  "leader and follower differ in key or value sizes, in shards, or in their hash "
                  "seed: make the follower with ReplicationClient::create()");
  }
  return {};
}

// ---- Shipping ----

Status LeaderSession::ship(const std::atomic<bool>& stopping) {
  while (!stopping.load(std::memory_order_acquire)) {
    waker_.reset();
    Status status = take_acks();
    bool shipped = false;
    const std::uint64_t sent_before = channel_.sent_bytes();
    if (status.ok()) {
      status = source_->engine().shape().fixed ? ship_slots(shipped) : ship_log(shipped);
    }
    const std::uint64_t now = os::monotonic_ms();
    if (status.ok() && now - progress_sent_ms_ >= options_.heartbeat_ms) status = send_progress();
    if (!status.ok()) return status;
    if (source_->fenced() || source_->engine().follower()) {
      return Status(Errc::fenced, "this is no leader any more: a newer one has taken over");
    }
    if (shipped) {
      if (channel_.sent_bytes() - sent_before >= kRestBytes && !durable_waits()) status = rest();
      if (!status.ok()) return status;
      continue;
    }
    // Armed before the last look: what is written after that look wakes this thread.
    source_->engine().taps().arm();
    if (!stuck_ && behind()) continue;
    status = send_progress();
    if (status.ok()) status = channel_.wait(options_.heartbeat_ms, &waker_);
    if (!status.ok()) return status;
  }
  return {};
}

Status LeaderSession::rest() {
  const std::uint64_t end = os::monotonic_ms() + kRestMs;
  for (std::uint64_t now = end - kRestMs; now < end; now = os::monotonic_ms()) {
    if (source_->awaited() || waker_.woken()) break;
    Status status = channel_.wait(static_cast<std::uint32_t>(end - now), &waker_);
    if (status.ok()) status = take_acks();
    if (!status.ok()) return status;
  }
  return {};
}

Status LeaderSession::ship_log(bool& shipped) {
  Status status = settle_limits();
  for (std::uint32_t at = 0; status.ok() && at < lanes_.size(); ++at) {
    status = ship_shard(at, shipped);
  }
  return status.ok() ? ship_joint(shipped) : status;
}

// One sync for all shards, between looking and sending.
Status LeaderSession::ship_slots(bool& shipped) {
  engine::Engine& engine = source_->engine();
  if (engine.closed()) return Status(Errc::closed, "the collection was closed");
  bool wanted = false;
  for (Lane& lane : lanes_) {
    const bool copying = lane.slots->copying();
    Status status = lane.slots->collect();
    if (!status.ok()) return status;
    if (lane.slots->copying() && !copying) {
      ++follower_.progress.resyncs;
      shipped = true;
    }
    wanted = wanted || lane.slots->wants_sync();
  }
  Status status = wanted ? engine.sync() : Status();
  if (status.is(Errc::closed)) return status;
  stuck_ = !status.ok();
  if (stuck_) follower_.progress.last_error = std::move(status);
  for (Lane& lane : lanes_) {
    Status sent = lane.slots->send(shipped);
    if (!sent.ok()) return sent;
  }
  return {};
}

// Only what cannot be lost, unless the configuration says otherwise.
Status LeaderSession::settle_limits() {
  engine::Engine& engine = source_->engine();
  if (engine.closed()) return Status(Errc::closed, "the collection was closed");
  Status status;
  // What another session has made durable goes out first: a sync is for all of them.
  if (!options_.ship_early && (source_->sync_due() || !durable_waits())) status = source_->sync();
  for (std::uint32_t at = 0; at < lanes_.size(); ++at) {
    engine::Shard& shard = engine.shard(at);
    lanes_[at].limit = shard.durable_sequence();
    if (!options_.ship_early) continue;
    Status flushed = shard.flush_for_feed(lanes_[at].limit);
    if (!flushed.ok()) status = std::move(flushed);
  }
  // A shard that failed ships what was durable before that.
  if (status.is(Errc::closed)) return status;
  stuck_ = !status.ok();
  if (stuck_) follower_.progress.last_error = std::move(status);
  return {};
}

// Something that could be shipped without a sync.
bool LeaderSession::durable_waits() const {
  for (std::uint32_t at = 0; at < lanes_.size(); ++at) {
    const Lane& lane = lanes_[at];
    if (lane.slots != nullptr) {
      if (lane.slots->waits()) return true;
      continue;
    }
    if (lane.copying) return true;
    if (!lane.held.entries.empty()) continue;
    if (lane.feed->position() < source_->engine().durable_sequence(at)) return true;
  }
  return false;
}

bool LeaderSession::behind() const {
  const engine::Engine& engine = source_->engine();
  for (std::uint32_t at = 0; at < lanes_.size(); ++at) {
    if (lanes_[at].slots != nullptr) {
      if (lanes_[at].slots->behind()) return true;
      continue;
    }
    const std::uint64_t there = engine.shard(at).last_sequence();
    const bool waits = !lanes_[at].held.entries.empty();
    if (!waits && lanes_[at].feed->position() < there) return true;
  }
  return false;
}

Status LeaderSession::begin_copy(std::uint32_t shard) {
  Lane& lane = lanes_[shard];
  engine::Shard& from = source_->engine().shard(shard);
  if (lane.slots != nullptr) {
    ++follower_.progress.resyncs;
    return lane.slots->begin_copy();
  }
  // All shards: what the copy has parts of is below what the next progress calls durable, also
  // where a recovery found the other parts and nobody has synced them since.
  Status status = source_->engine().sync();
  if (!status.ok()) return status;
  const std::uint64_t limit = from.begin_copy(*lane.feed);
  lane.copying = true;
  ++follower_.progress.resyncs;
  format::FrameHeader header;
  header.type = format::FrameType::copy_begin;
  header.shard = shard;
  header.sequence = limit;
  return channel_.send(header, {});
}

Status LeaderSession::ship_copy(std::uint32_t shard, bool& shipped) {
  Lane& lane = lanes_[shard];
  store::FeedStep step = store::FeedStep::end;
  Status status = source_->engine().shard(shard).feed(*lane.feed, 0, kPieceBytes, piece_, step);
  if (!status.ok()) return status;
  shipped = true;
  if (!piece_.entries.empty()) return send_piece(shard, piece_, 0);
  lane.copying = false;
  format::FrameHeader header;
  header.type = format::FrameType::copy_end;
  header.shard = shard;
  header.sequence = lane.feed->position();
  return channel_.send(header, {});
}

Status LeaderSession::ship_shard(std::uint32_t shard, bool& shipped) {
  Lane& lane = lanes_[shard];
  if (lane.copying) return ship_copy(shard, shipped);
  if (!lane.held.entries.empty() || lane.feed->position() >= lane.limit) return {};
  store::FeedStep step = store::FeedStep::end;
  Status status =
      source_->engine().shard(shard).feed(*lane.feed, lane.limit, kPieceBytes, piece_, step);
  if (!status.ok() || step == store::FeedStep::end) return status;
  if (step != store::FeedStep::ready) {
    // Compaction went on, past the bytes that are kept for followers.
    shipped = true;
    return begin_copy(shard);
  }
  shipped = true;
  if (piece_.joint.empty()) return send_piece(shard, piece_, 0);
  std::swap(lane.held, piece_);
  return {};
}

// The other parts of the joint batch that this shard stands at are there too, or were shipped.
bool LeaderSession::joint_ready(std::uint32_t shard) const noexcept {
  for (const store::JointPart& part : lanes_[shard].held.joint) {
    if (part.shard >= lanes_.size()) return false;
    const Lane& lane = lanes_[part.shard];
    if (lane.copying) return false;
    const bool held = !lane.held.entries.empty() && lane.held.last == part.last_sequence;
    const bool past = lane.feed->position() >= part.last_sequence && lane.held.entries.empty();
    const bool later = !lane.held.entries.empty() && lane.held.before >= part.last_sequence;
    if (!held && !past && !later) return false;
  }
  return true;
}

Status LeaderSession::ship_joint(bool& shipped) {
  for (std::uint32_t at = 0; at < lanes_.size(); ++at) {
    if (lanes_[at].held.entries.empty() || !joint_ready(at)) continue;
    shipped = true;
    const std::vector<store::JointPart> parts = lanes_[at].held.joint;
    std::vector<std::uint32_t> shards;
    for (const store::JointPart& part : parts) {
      const store::FeedPiece& held = lanes_[part.shard].held;
      if (!held.entries.empty() && held.last == part.last_sequence) shards.push_back(part.shard);
    }
    for (const std::uint32_t shard : shards) {
      const unsigned flags =
          format::kFrameJoint | (shard == shards.back() ? unsigned{format::kFrameLast} : 0u);
      Status status = send_piece(shard, lanes_[shard].held, static_cast<std::uint16_t>(flags));
      if (!status.ok()) return status;
      lanes_[shard].held = {};
    }
  }
  return {};
}

Status LeaderSession::send_piece(std::uint32_t shard, const store::FeedPiece& piece,
                                 std::uint16_t flags) {
  format::FrameHeader header;
  const bool copy = lanes_[shard].copying;
  header.type = copy ? format::FrameType::copy_data : format::FrameType::data;
  header.shard = shard;
  header.sequence = piece.before;
  const Bytes all(piece.entries);
  for (std::size_t done = 0; done < all.size();) {
    const std::size_t size = std::min(all.size() - done, format::kWirePayloadMax);
    const bool more = !copy && done + size < all.size();
    header.flags = static_cast<std::uint16_t>(flags | (more ? unsigned{format::kFrameMore} : 0u));
    Status status = channel_.send(header, all.sub(done, size));
    if (!status.ok()) return status;
    done += size;
  }
  return {};
}

Status LeaderSession::send_progress() {
  const engine::Engine& engine = source_->engine();
  std::vector<format::Mark> marks(lanes_.size());
  for (std::uint32_t at = 0; at < lanes_.size(); ++at) {
    marks[at] = {engine.shard(at).last_sequence(), engine.shard(at).durable_sequence()};
  }
  format::FrameHeader header;
  header.type = format::FrameType::progress;
  progress_sent_ms_ = os::monotonic_ms();
  return channel_.send(header, format::encode_marks(marks));
}

// ---- What the follower says ----

Status LeaderSession::take_acks() {
  bool heard = false;
  for (;;) {
    format::FrameHeader header;
    Bytes payload;
    const Result<bool> came = channel_.receive(header, payload);
    if (!came.ok()) return came.status();
    if (!*came) break;
    if (header.type != format::FrameType::ack) {
      return base::corrupt("a follower may send nothing but acks");
    }
    std::vector<format::Mark> marks(lanes_.size());
    Status status = format::decode_marks(payload, marks);
    if (!status.ok()) return status;
    for (std::size_t at = 0; at < marks.size(); ++at) {
      // It cannot have what was not shipped, whatever it says; nor does it go back.
      const Lane& lane = lanes_[at];
      const std::uint64_t shipped = lane.slots != nullptr ? lane.slots->position()
                                    : lane.copying        ? 0
                                                          : lane.feed->position();
      format::Mark& acked = follower_.acked[at];
      acked.first = std::max(acked.first, std::min(marks[at].first, shipped));
      acked.second = std::max(acked.second, std::min(marks[at].second, shipped));
    }
    heard = true;
  }
  if (heard) note();
  return {};
}

void LeaderSession::note() {
  source_->measure(follower_);
  Progress& progress = follower_.progress;
  const bool copying = std::any_of(lanes_.begin(), lanes_.end(), [](const Lane& lane) {
    return lane.slots != nullptr ? lane.slots->copying() : lane.copying;
  });
  progress.phase = copying                     ? Phase::copying
                   : progress.lag_entries == 0 ? Phase::streaming
                                               : Phase::catching_up;
  source_->report(follower_);
}

}  // namespace armdb::replica

#endif  // !ARMDB_OMIT_REPLICATION

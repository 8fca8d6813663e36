// The follower's side: greeting a leader, then applying what it ships.
#include "replica/follower.hpp"

#include <algorithm>

#include "base/append.hpp"
#include "base/errors.hpp"
#include "base/log.hpp"
#include "os/clock.hpp"
#include "replica/history.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::replica {

namespace {

// As much is applied before it is synced and acked while more is there already.
constexpr std::uint64_t kUnsyncedBytesMax = std::uint64_t{8} << 20;
// Of a piece that goes over many frames: a batch or an entry, as long as one in a log may be, with
// what a leader may have put before it.
constexpr std::size_t kPieceBytesMax = (std::size_t{1} << 30) + (std::size_t{1} << 20);
// A leader that has so much to say at once has not said all.
constexpr std::size_t kLargePieceBytes = std::size_t{128} << 10;
constexpr std::uint32_t kMoreWaitMs = 2;
// Room for more entries of one shard is not made on a leader's word.
constexpr std::uint64_t kExpectedMax = std::uint64_t{1} << 27;

}  // namespace

FollowerSession::FollowerSession(Channel& channel, engine::Engine& engine, const Options& options,
                                 os::Waker& waker, FunctionRef<void(const Progress&)> told)
    : channel_(channel),
      engine_(engine),
      options_(options),
      waker_(waker),
      told_(told),
      coming_(engine.shard_count()),
      copying_(engine.shard_count()),
      aside_above_(engine.shard_count(), kAllCommon),
      leader_(engine.shard_count()),
      expected_(engine.shard_count()),
      applier_(engine),
      syncer_(engine, waker) {
  if (engine.shape().fixed) slots_ = std::make_unique<SlotTaker>(engine, copying_);
}

FollowerSession::~FollowerSession() {
  for (std::uint32_t at = 0; at < copying_.size(); ++at) {
    if (copying_[at] != Copy::running) continue;
    engine_.shard(at).abandon_replacement();
    engine_.shard(at).abandon_copy();
  }
}

// ---- Greeting ----

Status ask_leader(Channel& channel, const std::string& name, format::Hello& leader) {
  format::Hello hello;
  hello.name = name;
  hello.asking = true;
  hello.sequences.resize(1);
  hello.replace.resize(1);
  format::FrameHeader header;
  header.type = format::FrameType::hello;
  Bytes payload;
  Status status = channel.send(header, format::encode_hello(hello));
  if (status.ok()) status = channel.expect(format::FrameType::hello, header, payload);
  return status.ok() ? format::decode_hello(payload, leader) : status;
}

Status check_leader(const engine::Engine::Origin& origin, const store::ReplicaState& state,
                    const format::Hello& leader) {
  if (leader.lineage != state.lineage || leader.shape != origin.shape ||
      leader.hash_seed != origin.hash_seed || leader.sequences.size() != origin.shard_count) {
    return Status(Errc::format_mismatch,
                  "the leader serves another collection than the one this follower was made "
                  "from: nothing was taken over");
  }
  const Standing standing = judge_leader(state.terms, leader.terms);
  if (standing == Standing::good) return {};
  return Status(Errc::fenced,
                standing == Standing::stale
                    ? "the leader is of an older term than one this follower has seen: it must "
                      "not be followed any more"
                    : "two leaders have the same term: two followers were promoted, or a leader "
                      "was restored from a backup; make this follower anew from the right one");
}

Status FollowerSession::greet() {
  // The leader takes what is greeted with for durable, and a kill may have come before the sync.
  Status status = engine_.sync();
  if (status.ok() && slots_ != nullptr) status = slots_->prepare();
  const store::ReplicaState state = engine_.replica_state();
  const engine::Engine::Origin origin = engine_.origin();
  format::Hello own = hello_of(engine_, state);
  own.name = options_.name;
  std::replace(own.replace.begin(), own.replace.end(), std::uint8_t{format::kUneven},
               std::uint8_t{format::kWhole});
  for (std::uint32_t at = 0; at < engine_.shard_count(); ++at) {
    // What damage took, nobody would send again.
    if (own.replace[at] == format::kHoles) own.replace[at] = format::kAwaitsCopy;
    if (slots_ == nullptr || own.replace[at] != 0) continue;
    if (engine_.cursor(at).reached <= own.sequences[at]) continue;
    // Nobody knows what it has, where it has anything and stands at nothing.
    const bool nothing = own.sequences[at] == 0;
    own.replace[at] = nothing ? std::uint8_t{format::kAwaitsCopy} : std::uint8_t{format::kAhead};
  }
  format::FrameHeader header;
  header.type = format::FrameType::hello;
  Bytes payload;
  if (status.ok()) status = channel_.send(header, format::encode_hello(own));
  if (status.ok()) status = channel_.expect(format::FrameType::hello, header, payload);
  format::Hello leader;
  if (status.ok()) status = format::decode_hello(payload, leader);
  if (!status.ok()) return status;
  status = check_leader(origin, state, leader);
  if (!status.ok()) return status;
  make_room(header.sequence, leader);
  return adopt(leader);
}

// An index that grows entry by entry would do much of its work again and again.
void FollowerSession::make_room(std::uint64_t entries, const format::Hello& leader) {
  for (std::uint32_t at = 0; at < engine_.shard_count(); ++at) {
    const std::uint64_t share = std::min(entries, kExpectedMax) / engine_.shard_count();
    expected_[at] = static_cast<std::size_t>(std::min(share, leader.sequences[at]));
    if (engine_.shard(at).size() == 0) engine_.shard(at).expect(expected_[at]);
  }
}

// From here on the leader's history is the follower's. What of its content does not belong to it
// is marked in the same moment, so that no crash can make it look as if it did.
Status FollowerSession::adopt(const format::Hello& leader) {
  store::ReplicaState state = engine_.replica_state();
  if (slots_ != nullptr) {
    Status status = slots_->adopt(leader, state);
    if (!status.ok()) return status;
  }
  for (std::uint32_t at = 0; slots_ == nullptr && at < engine_.shard_count(); ++at) {
    const std::uint8_t before = state.replacing[at];
    uneven_ = uneven_ || before == format::kUneven;
    if (leader.replace[at] == 0) continue;
    state.replacing[at] = format::kAwaitsCopy;
    copying_[at] = Copy::awaited;
    const std::uint64_t last = engine_.shard(at).last_sequence();
    const std::uint64_t end = common_end(state.terms, leader.terms, at);
    // It has nothing that the leader never had, unless the leader's log says so, which lost the end
    // of the term that they share. Nor had it of the leader whose copy was cut off, and whose terms
    // these are.
    const bool lost = leader.replace[at] == format::kAwaitsCopyAside;
    if (before != format::kAwaitsCopyAside && !lost && end >= last) continue;
    state.replacing[at] = format::kAwaitsCopyAside;
    // In either case nobody knows where the histories parted.
    aside_above_[at] = before == format::kAwaitsCopyAside || end >= last ? 0 : end;
    base::log(engine_.config().log, LogLevel::warning,
              base::text("shard % has entries above % that its leader never had; they are kept in "
                         ".aside files, and the shard is copied anew",
                         {std::uint64_t{at}, aside_above_[at]}));
  }
  state.follower = true;
  state.terms = leader.terms;
  progress_->term = state.terms.empty() ? 0 : state.terms.back().number;
  return engine_.save_replica_state(std::move(state));
}

// ---- The conversation ----

Status FollowerSession::run(Progress& progress, const std::atomic<bool>& stopping) {
  progress_ = &progress;
  Status status = greet();
  while (status.ok() && !stopping.load(std::memory_order_acquire)) {
    format::FrameHeader header;
    Bytes payload;
    const Result<bool> came = channel_.receive(header, payload);
    if (!came.ok()) {
      status = came.status();
      break;
    }
    if (*came) {
      status = take(header, payload);
      if (status.ok()) status = keep_up();
      continue;
    }
    waker_.reset();
    if (!stopping.load(std::memory_order_acquire)) status = rest();
  }
  // What came is kept, whatever ended the conversation.
  Status applied = applier_.drain();
  if (!applied.ok() && (status.ok() || status.is(Errc::closed))) status = std::move(applied);
  if (!status.ok() && !status.is(Errc::closed)) {
    static_cast<void>(channel_.send_refusal(status.code(), status.message()));
  }
  Status synced = engine_.sync();
  if (synced.ok() && slots_ != nullptr) synced = slots_->synced(true);
  if (synced.ok()) synced = level_out();
  return status.ok() && !synced.is(Errc::closed) ? std::move(synced) : std::move(status);
}

// Between two frames: what is applied becomes durable meanwhile.
Status FollowerSession::keep_up() {
  Status status;
  if (syncer_.ended(status)) return status.ok() ? settled() : status;
  if (!syncer_.running() && unsynced_bytes_ > kUnsyncedBytesMax && !begin_sync()) return settle();
  return ack_due() ? send_ack() : Status();  // also amid a copy that comes faster than it is taken
}

// No frame is there.
Status FollowerSession::rest() {
  Status status;
  if (syncer_.ended(status)) return status.ok() ? settled() : status;
  // Of a leader that sends large pieces the next one is on its way, and a sync is for both.
  const bool more = std::exchange(more_likely_, false) || applier_.busy();
  if (more || syncer_.running()) {
    if (ack_due()) status = send_ack();
    if (!status.ok()) return status;
    return channel_.wait(more ? kMoreWaitMs : options_.heartbeat_ms, &waker_);
  }
  status = applier_.drain();
  if (status.ok() && applied_ && unsynced_bytes_ >= kLargePieceBytes && begin_sync()) return {};
  if (status.ok() && (applied_ || ack_due())) status = settle();
  return status.ok() ? channel_.wait(options_.heartbeat_ms, &waker_) : status;
}

bool FollowerSession::ack_due() const {
  return os::monotonic_ms() - acked_ms_ >= options_.heartbeat_ms;
}

// Of pieces and of joint batches only one is under way at a time, or a leader could have all memory
// taken for what it never ends.
bool FollowerSession::in_turn(const format::FrameHeader& header) const noexcept {
  if (coming_shard_ != kNoShard) return header.shard == coming_shard_;
  if (joint_.empty()) return true;
  return header.type == format::FrameType::data && (header.flags & format::kFrameJoint) != 0 &&
         header.shard > joint_.back().shard;
}

Status FollowerSession::take(const format::FrameHeader& header, Bytes payload) {
  if (header.shard >= coming_.size()) {
    return base::corrupt("the leader speaks of a shard that is not there");
  }
  if (!in_turn(header)) return base::corrupt("the leader mixes what belongs together");
  if (slots_ != nullptr && SlotTaker::takes(header.type)) return take_slots(header, payload);
  switch (header.type) {
    case format::FrameType::data:
      return take_data(header, payload);
    case format::FrameType::copy_begin: {
      Status drained = applier_.drain();
      if (!drained.ok()) return drained;
      engine_.shard(header.shard).abandon_replacement();
      copying_[header.shard] = Copy::awaited;
      coming_[header.shard] = {};
      coming_shard_ = kNoShard;
      ++progress_->resyncs;
      Status status = engine_.shard(header.shard).begin_replacement(expected_[header.shard]);
      if (!status.ok()) return status;
      copying_[header.shard] = Copy::running;
      note();
      return status;
    }
    case format::FrameType::copy_data:
      return take_copy(header, payload);
    case format::FrameType::copy_end:
      return end_copy(header.shard, header.sequence);
    case format::FrameType::progress: {
      Status status = format::decode_marks(payload, leader_);
      heard_ = true;
      // All that a copy before it has parts of is durable at the leader, and so below these.
      if (level_.empty()) level_ = leader_;
      if (status.ok()) note();
      return status;
    }
    default:
      return base::corrupt("the leader sent a frame that only followers send");
  }
}

Status FollowerSession::take_slots(const format::FrameHeader& header, Bytes payload) {
  Status heard;
  const auto pulse = [&] {
    if (heard.ok() && ack_due()) heard = send_ack();
  };
  Status status = slots_->take(header, payload, pulse);
  if (header.type == format::FrameType::data) unsynced_bytes_ += payload.size();
  // The end of a piece, or of a copy, is worth an ack.
  if (header.type == format::FrameType::copy_begin) ++progress_->resyncs;
  const bool ends =
      header.type == format::FrameType::cursor || header.type == format::FrameType::copy_end;
  applied_ = applied_ || ends;
  if (status.ok() && (ends || header.type == format::FrameType::copy_begin)) note();
  return status.ok() ? std::move(heard) : std::move(status);
}

Status FollowerSession::take_data(const format::FrameHeader& header, Bytes payload) {
  if (copying_[header.shard] != Copy::none) {
    return base::corrupt("the leader sent entries in the middle of a copy");
  }
  Part& part = coming_[header.shard];
  if (part.bytes.empty()) {
    part.shard = header.shard;
    part.before = header.sequence;
  }
  if (part.before != header.sequence || part.bytes.size() + payload.size() > kPieceBytesMax) {
    return base::corrupt("the frames of one piece do not belong together");
  }
  base::append(part.bytes, payload);
  coming_shard_ = (header.flags & format::kFrameMore) != 0 ? header.shard : kNoShard;
  if (coming_shard_ != kNoShard) return {};
  applied_ = true;
  unsynced_bytes_ += part.bytes.size();
  Status status;
  if ((header.flags & format::kFrameJoint) == 0) {
    more_likely_ = part.bytes.size() >= kLargePieceBytes;
    status = applier_.take(std::move(part));
  } else {
    // Also the limit to how many are kept.
    const bool ascends = joint_.empty() || joint_.back().shard < part.shard;
    if (!ascends) return base::corrupt("the leader sent a batch over several shards that is none");
    joint_.push_back(std::move(part));
    if ((header.flags & format::kFrameLast) != 0) status = apply_joint();
  }
  part = {};
  return status;
}

// ---- Entries ----

Status FollowerSession::apply_joint() {
  const std::vector<Part> parts = std::exchange(joint_, {});
  Status status = applier_.drain();
  if (!status.ok()) return status;
  const std::unique_ptr<EntryRun[]> runs(new (std::nothrow) EntryRun[parts.size()]);
  if (runs == nullptr) return base::out_of_memory("no memory for a batch over several shards");
  std::vector<engine::Shard::JointWrite> writes;
  for (std::size_t at = 0; at < parts.size(); ++at) {
    const std::uint64_t last = engine_.shard(parts[at].shard).last_sequence();
    if (parts[at].before != last) return out_of_place(parts[at].before, last);
    std::size_t offset = 0;
    status = parse_run(engine_, parts[at], offset, runs[at]);
    if (!status.ok()) return status;
    if (offset != parts[at].bytes.size() || !runs[at].batch) {
      return base::corrupt("the leader sent a batch over several shards that is none");
    }
    writes.push_back({&engine_.shard(parts[at].shard), runs[at].requests, runs[at].first});
  }
  // The others have their parts already: they came in a copy.
  if (writes.size() == 1) return writes[0].shard->apply(writes[0].first, writes[0].requests, true);
  return engine_.apply_joint(writes);
}

// ---- Copies ----

Status FollowerSession::take_copy(const format::FrameHeader& header, Bytes payload) {
  if (copying_[header.shard] != Copy::running) {
    return base::corrupt("the leader sent a copy it did not begin");
  }
  Part& part = coming_[header.shard];
  part.shard = header.shard;
  part.copy = true;
  base::append(part.bytes, payload);
  // Where the last whole entry ends; whether they are entries at all is seen as they are applied.
  const Bytes all(part.bytes);
  std::size_t whole = 0;
  for (std::uint64_t size = 0;
       format::peek_entry_bytes(all.sub(whole, all.size() - whole), size);) {
    if (size > all.size() - whole) break;
    whole += static_cast<std::size_t>(size);
  }
  const Bytes rest = all.sub(whole, all.size() - whole);
  std::uint64_t size = 0;
  if (rest.size() >= format::kEntryHeaderBytes && !format::peek_entry_bytes(rest, size)) {
    return base::corrupt("the leader sent bytes that are no entries");
  }
  if (rest.size() > kPieceBytesMax) return base::corrupt("an entry of a copy has no end");
  if (whole == 0) {
    coming_shard_ = all.empty() ? kNoShard : header.shard;
    return {};
  }
  Part next;
  base::append(next.bytes, rest);
  part.bytes.resize(whole);
  std::swap(part, next);
  coming_shard_ = part.bytes.empty() ? kNoShard : header.shard;
  return next.bytes.empty() ? Status() : applier_.take(std::move(next));
}

Status FollowerSession::end_copy(std::uint32_t shard, std::uint64_t sequence) {
  if (copying_[shard] != Copy::running || !coming_[shard].bytes.empty()) {
    return base::corrupt("the leader ended a copy in the middle");
  }
  Status status = applier_.drain();
  if (!status.ok()) return status;
  // Batches over several shards that the others have would be cut off there at the next opening.
  if (sequence < std::min(engine_.shard(shard).last_sequence(), aside_above_[shard])) {
    return base::failure(Errc::corrupt,
                         "the leader sent a copy as of sequence %, which is older than what this "
                         "follower has of the same history: shard % stays as it was",
                         {sequence, std::uint64_t{shard}});
  }
  uneven_ = true;
  level_.clear();
  // Before the copy is there: no crash may leave it, and nothing that tells of it.
  status = mark(shard, format::kWhole, format::kUneven);
  Status heard;
  const auto pulse = [&] {
    if (heard.ok() && ack_due()) heard = send_ack();
  };
  copying_[shard] = Copy::running;  // until all of it is there
  if (status.ok()) {
    status = engine_.shard(shard).finish_replacement(sequence, aside_above_[shard], pulse);
  }
  copying_[shard] = Copy::none;
  if (status.ok()) status = mark(shard, engine_.replica_state().replacing[shard], format::kUneven);
  aside_above_[shard] = kAllCommon;
  applied_ = true;
  return status.ok() ? std::move(heard) : std::move(status);
}

// Saves another state of a shard where it is in this one.
Status FollowerSession::mark(std::uint32_t shard, std::uint8_t from, std::uint8_t to) {
  store::ReplicaState state = engine_.replica_state();
  if (state.replacing[shard] != from || from == to) return {};
  state.replacing[shard] = to;
  return engine_.save_replica_state(std::move(state));
}

// Once all shards have what was durable at the leader after the last copy began its way here, no
// batch over several of them is there in part.
Status FollowerSession::level_out() {
  if (!uneven_ || level_.empty()) return {};
  for (std::uint32_t at = 0; at < level_.size(); ++at) {
    // Of what is only applied a power cut could take one part.
    const bool level = engine_.shard(at).durable_sequence() >= level_[at].second;
    if (copying_[at] != Copy::none || !level) return {};
  }
  for (std::uint32_t at = 0; at < level_.size(); ++at) {
    Status status = mark(at, format::kUneven, format::kWhole);
    if (!status.ok()) return status;
  }
  uneven_ = false;
  return {};
}

// ---- What the leader is told ----

Status FollowerSession::settle() {
  const bool quiet = !applied_;
  const bool busy = applier_.busy();  // with what this sync does not cover, perhaps
  Status status = engine_.sync();
  if (status.ok() && slots_ != nullptr) status = slots_->synced(quiet);
  if (!status.ok()) return status;
  unsynced_bytes_ = 0;
  applied_ = busy;
  return settled();
}

// The same beside what comes. False: there is no thread for it.
bool FollowerSession::begin_sync() {
  const bool busy = applier_.busy();  // with what this sync does not cover, perhaps
  // The position of slots is written down behind a sync of just what it speaks for.
  if (slots_ != nullptr || !syncer_.begin()) return false;
  unsynced_bytes_ = 0;
  applied_ = busy;
  return true;
}

Status FollowerSession::settled() {
  Status status = level_out();
  if (!status.ok()) return status;
  note();
  return send_ack();
}

Status FollowerSession::send_ack() {
  std::vector<format::Mark> marks(coming_.size());
  for (std::uint32_t at = 0; at < marks.size(); ++at) {
    const engine::Shard& shard = engine_.shard(at);
    marks[at] = slots_ == nullptr ? format::Mark{shard.last_sequence(), shard.durable_sequence()}
                                  : format::Mark{engine_.position(at), slots_->durable(at)};
    if (copying_[at] != Copy::none) marks[at] = {};
  }
  format::FrameHeader header;
  header.type = format::FrameType::ack;
  acked_ms_ = os::monotonic_ms();
  return channel_.send(header, format::encode_marks(marks));
}

void FollowerSession::note() {
  const bool copying =
      std::any_of(copying_.begin(), copying_.end(), [](Copy copy) { return copy != Copy::none; });
  progress_->lag_entries = 0;
  for (std::uint32_t at = 0; at < leader_.size(); ++at) {
    const std::uint64_t applied = engine_.position(at);
    if (leader_[at].first > applied) progress_->lag_entries += leader_[at].first - applied;
  }
  const std::uint64_t now = os::monotonic_ms();
  const bool behind = copying || uneven_ || !heard_ || progress_->lag_entries != 0;
  if (!behind) behind_since_ms_ = 0;
  if (behind && behind_since_ms_ == 0) behind_since_ms_ = now;
  progress_->lag_ms = behind ? now - behind_since_ms_ : 0;
  progress_->phase = copying ? Phase::copying : behind ? Phase::catching_up : Phase::streaming;
  if (!behind) progress_->last_error = Status();
  told_(*progress_);
}

}  // namespace armdb::replica

#endif  // !ARMDB_OMIT_REPLICATION

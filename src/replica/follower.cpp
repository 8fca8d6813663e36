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
constexpr std::size_t kRunEntries = 64;

}  // namespace

FollowerSession::Run::~Run() {
  for (const engine::WriteRequest& request : requests) {
    if (request.object != nullptr) detail::unshare(request.object);
  }
}

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
      leader_(engine.shard_count()) {
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
    if (own.replace[at] == 0 && engine_.shard(at).has_holes()) own.replace[at] = 1;
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
  return adopt(leader);
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
    // It has nothing that the leader never had. Nor had it of the leader whose copy was cut off,
    // and whose terms these are.
    if (before != format::kAwaitsCopyAside && end >= last) continue;
    state.replacing[at] = format::kAwaitsCopyAside;
    // Of a copy that was cut off nobody knows any more where the histories parted.
    aside_above_[at] = before == format::kAwaitsCopyAside ? 0 : end;
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
      if (status.ok() && unsynced_bytes_ > kUnsyncedBytesMax) status = settle();
      continue;
    }
    const bool due = os::monotonic_ms() - acked_ms_ >= options_.heartbeat_ms;
    if (applied_ || due) status = settle();
    if (status.ok()) status = channel_.wait(options_.heartbeat_ms, &waker_);
  }
  if (!status.ok() && !status.is(Errc::closed)) {
    static_cast<void>(channel_.send_refusal(status.code(), status.message()));
  }
  // What came is kept, whatever ended the conversation.
  Status synced = engine_.sync();
  if (synced.ok() && slots_ != nullptr) synced = slots_->synced(true);
  if (synced.ok()) synced = level_out();
  return status.ok() && !synced.is(Errc::closed) ? std::move(synced) : std::move(status);
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
      engine_.shard(header.shard).abandon_replacement();
      copying_[header.shard] = Copy::awaited;
      coming_[header.shard] = {};
      coming_shard_ = kNoShard;
      ++progress_->resyncs;
      Status status = engine_.shard(header.shard).begin_replacement();
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
    if (heard.ok() && os::monotonic_ms() - acked_ms_ >= options_.heartbeat_ms) heard = send_ack();
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
  if (part.before != engine_.shard(header.shard).last_sequence()) {
    return base::failure(Errc::corrupt, "the leader goes on behind sequence %, this shard is at %",
                         {part.before, engine_.shard(header.shard).last_sequence()});
  }
  applied_ = true;
  unsynced_bytes_ += part.bytes.size();
  Status status;
  if ((header.flags & format::kFrameJoint) == 0) {
    status = apply(part);
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

// Entries from `offset` on that belong together: some plain ones, or a batch. `whole`: bytes that
// are no whole entry are an error; else they are left for later.
Status FollowerSession::parse(const Part& part, std::size_t& offset, bool whole, Run& run) {
  const Bytes all(part.bytes);
  while (offset < all.size()) {
    format::Entry entry;
    std::size_t size = 0;
    const format::EntryRead read =
        format::decode_entry(all.sub(offset, all.size() - offset), format::kWireSeed, entry, size);
    if (read == format::EntryRead::torn && !whole) break;
    if (read != format::EntryRead::whole || entry.mark()) {
      return base::corrupt("the leader sent bytes that are no entries");
    }
    const bool opens = (entry.flags & format::kBatchBegin) != 0;
    const bool commits = (entry.flags & format::kBatchCommit) != 0;
    const bool follows = run.requests.empty() || entry.sequence == run.first + run.requests.size();
    if (run.batch && (opens || !follows)) {
      return base::corrupt("the leader sent a batch with a hole, or one inside another");
    }
    if (!run.batch && !run.requests.empty() &&
        (opens || !follows || run.requests.size() == kRunEntries)) {
      return {};
    }
    if (run.requests.empty()) run.first = entry.sequence;
    run.batch = run.batch || opens;
    Status status = request_of(part, entry, run);
    if (!status.ok()) return status;
    offset += size;
    if (run.batch && commits) return {};
  }
  return run.batch ? base::corrupt("the leader sent a batch without its end") : Status();
}

Status FollowerSession::request_of(const Part& part, const format::Entry& entry, Run& run) {
  const Shape& shape = engine_.shape();
  engine::WriteRequest request;
  request.key = entry.key;
  request.value = entry.value;
  request.erase = entry.tombstone();
  request.expiry_ms = entry.expiry_ms;
  const bool fits =
      entry.key.size() == shape.key_size && (request.erase || shape.payload == Payload::location ||
                                             entry.value.size() == shape.value_size);
  if (!fits) return base::corrupt("the leader sent an entry of another shape");
  request.hash = engine_.router().hash(entry.key.data(), entry.key.size());
  if (engine_.router().shard(entry.key.data(), entry.key.size(), request.hash) != part.shard) {
    return base::corrupt("the leader sent an entry to a shard that its key does not belong to");
  }
  if (engine_.objects() != nullptr && !request.erase) {
    Status status;
    request.object = engine_.objects()->decode(entry.value, status);
    if (!status.ok()) return engine::key_status(status, entry.key);
  }
  run.requests.push_back(request);
  return {};
}

Status FollowerSession::apply(const Part& part) {
  for (std::size_t offset = 0; offset < part.bytes.size();) {
    Run run;
    Status status = parse(part, offset, true, run);
    if (status.ok()) {
      status = engine_.shard(part.shard).apply(run.first, run.requests, run.batch);
    }
    if (!status.ok()) return status;
  }
  return {};
}

Status FollowerSession::apply_joint() {
  const std::vector<Part> parts = std::exchange(joint_, {});
  std::vector<Run> runs(parts.size());
  std::vector<engine::Shard::JointWrite> writes;
  for (std::size_t at = 0; at < parts.size(); ++at) {
    std::size_t offset = 0;
    Status status = parse(parts[at], offset, true, runs[at]);
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
  base::append(part.bytes, payload);
  std::size_t offset = 0;
  while (offset < part.bytes.size()) {
    Run run;
    const std::size_t before = offset;
    Status status = parse(part, offset, false, run);
    for (std::size_t at = 0; status.ok() && at < run.requests.size(); ++at) {
      status = engine_.shard(header.shard).add_to_replacement(run.first + at, run.requests[at]);
    }
    if (!status.ok()) return status;
    if (offset == before) break;
  }
  part.bytes.erase(part.bytes.begin(), part.bytes.begin() + static_cast<std::ptrdiff_t>(offset));
  coming_shard_ = part.bytes.empty() ? kNoShard : header.shard;
  if (part.bytes.size() > kPieceBytesMax) return base::corrupt("an entry of a copy has no end");
  return {};
}

Status FollowerSession::end_copy(std::uint32_t shard, std::uint64_t sequence) {
  if (copying_[shard] != Copy::running || !coming_[shard].bytes.empty()) {
    return base::corrupt("the leader ended a copy in the middle");
  }
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
  Status status = mark(shard, format::kWhole, format::kUneven);
  Status heard;
  const auto pulse = [&] {
    if (heard.ok() && os::monotonic_ms() - acked_ms_ >= options_.heartbeat_ms) heard = send_ack();
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
    const bool level = engine_.shard(at).last_sequence() >= level_[at].second;
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
  Status status = engine_.sync();
  if (status.ok() && slots_ != nullptr) status = slots_->synced(quiet);
  if (!status.ok()) return status;
  unsynced_bytes_ = 0;
  applied_ = false;
  status = level_out();
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

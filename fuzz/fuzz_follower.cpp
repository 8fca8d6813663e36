// Any bytes as what a leader says to a follower.
//
// The input is a list of what to say: whole frames with chosen fields and entries, sealed here, and
// now and then raw bytes. Oracle: the session ends, whatever comes; a follower of which nothing was
// lost has the same content when it is opened again, one that lost its power opens too; verify()
// finds nothing; and what was acked as durable is there.
//
// Byte 0: 1 values in memory, 2 one shard, 4 raw terms, 8 a second conversation, 48 how it ends:
// closed, killed, power cut (2), 64 on the Fixed store.
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "replica/follower.hpp"
#include "support/fault_file_system.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

#include "support/scripted_peer.hpp"

namespace {

using namespace armdb;
using test::Choices;
using test::FaultFileSystem;
using test::require;
using test::Script;

constexpr const char* kPath = "/c";
constexpr std::size_t kValueBytes = 8;

using Contents = std::map<std::string, std::string>;

FixedConfig config_of(FaultFileSystem& files) {
  Config config;
  config.file_system = &files;
  config.write_buffer_size = 16 << 10;
  config.max_file_size = 64 << 10;
  config.index_step_bytes = 4 << 10;
  config.cache_bytes = 16 << 10;
  return config;
}

std::unique_ptr<engine::Engine> open(FaultFileSystem& files) {
  Result<std::unique_ptr<engine::Engine>> engine =
      engine::Engine::open(kPath, nullptr, config_of(files), {});
  require(engine.ok(), "the follower opens", engine.status());
  return std::move(*engine);
}

// Keys are k000 to k299, looked for until each is of the shard that is wanted.
std::string key_of(const engine::Engine& engine, unsigned number, std::uint32_t shard) {
  for (;; ++number) {
    char text[8];
    std::snprintf(text, sizeof text, "k%03u", number % 300);
    const Bytes key(text);
    const std::uint64_t hash = engine.router().hash(key.data(), key.size());
    if (engine.router().shard(key.data(), key.size(), hash) == shard) return text;
  }
}

class Leader {
 public:
  Leader(engine::Engine& engine, Choices& choices, Script& script, bool raw_terms)
      : engine_(engine), choices_(choices), script_(script), next_(engine.shard_count()) {
    for (std::uint32_t at = 0; at < engine.shard_count(); ++at) {
      next_[at] = engine.position(at) + 1;
    }
    copy_at_.resize(engine.shard_count());
    greet(raw_terms);
  }

  void say_all() {
    for (int left = 64; left != 0 && !choices_.over(); --left) say();
  }

 private:
  void greet(bool raw_terms) {
    format::Hello hello = test::hello_to(engine_);
    hello.terms =
        raw_terms ? test::terms_of(choices_, engine_.shard_count()) : engine_.replica_state().terms;
    if (hello.terms.empty()) {
      hello.terms.push_back({1, 7, std::vector<std::uint64_t>(engine_.shard_count())});
    }
    const std::uint8_t replace = choices_.byte();
    for (std::uint32_t at = 0; at < engine_.shard_count(); ++at) {
      hello.sequences[at] = choices_.near(100) & format::kSequenceMax;
      hello.replace[at] = replace >> 7 != 0 ? replace >> at & 1 : 0;
      // By its position, or from nothing.
      if (engine_.shape().fixed && (replace & 64) != 0) hello.replace[at] *= 2;
    }
    script_.hello(hello);
  }

  void say() {
    const std::uint8_t what = choices_.byte();
    const std::uint32_t shard = (what >> 4) % engine_.shard_count();
    format::FrameHeader header;
    header.shard = shard;
    header.sequence = (choices_.near(next_[shard] - 1)) & format::kSequenceMax;
    if (engine_.shape().fixed && (what & 15) < 12) return say_states(header, what & 15);
    switch (what & 15) {
      default:
        header.type = format::FrameType::data;
        return data(header, choices_.byte() % 8 == 0 ? format::kFrameMore : 0, false);
      case 6:
      case 7:
        return joint();
      case 8:
        header.type = format::FrameType::copy_begin;
        next_[shard] = 1;
        return script_.frame(header, {});
      case 9:
      case 10:
        header.type = format::FrameType::copy_data;
        return data(header, 0, false);
      case 11:
        header.type = format::FrameType::copy_end;
        return script_.frame(header, {});
      case 12:
        return script_.pause();
      case 13: {
        std::vector<format::Mark> marks(engine_.shard_count());
        for (format::Mark& mark : marks) mark.first = mark.second = choices_.byte();
        header = {};
        header.type = format::FrameType::progress;
        return script_.frame(header, format::encode_marks(marks));
      }
      case 14: {  // any frame with a right checksum
        header.type = static_cast<format::FrameType>(1 + choices_.byte() % 11);
        header.shard = choices_.byte();
        header.flags = header.type == format::FrameType::data ? choices_.byte() % 8 : 0;
        return script_.frame(header, choices_.bytes(choices_.byte()));
      }
      case 15:
        return script_.raw(choices_.bytes(choices_.byte()));
    }
  }

  void mark(format::FrameHeader header, format::FrameType type, std::uint64_t sequence) {
    header.type = type;
    header.sequence = sequence & format::kSequenceMax;
    script_.frame(header, {});
  }

  void say_states(format::FrameHeader header, unsigned how) {
    const std::uint32_t shard = header.shard;
    switch (how) {
      default:
        mark(header, format::FrameType::reach, choices_.near(next_[shard] + 8));
        [[fallthrough]];
      case 0:
        header.type = how > 8 ? format::FrameType::copy_data : format::FrameType::data;
        data(header, 0, false);
        if (how > 8 || how < 2) return;
        return mark(header, format::FrameType::cursor, choices_.near(next_[shard] - 1));
      case 5:
        copy_at_[shard] = header.sequence;
        return mark(header, format::FrameType::copy_begin, header.sequence);
      case 6: {
        std::string keys;
        for (unsigned left = choices_.byte() % 4 + 1; left != 0; --left) {
          keys += key_of(engine_, choices_.byte(), shard);
        }
        header.type = format::FrameType::copy_keys;
        return script_.frame(header, Bytes(keys));
      }
      case 7:
      case 8:
        mark(header, format::FrameType::copy_end, choices_.near(copy_at_[shard]));
        next_[shard] = copy_at_[shard] + 1;
    }
  }

  void data(format::FrameHeader header, unsigned flags, bool batch) {
    header.flags = static_cast<std::uint16_t>(flags);
    const std::vector<std::uint8_t> entries = some_entries(header.shard, batch);
    const std::size_t cut = choices_.byte() < 240 ? 0 : choices_.byte() % (entries.size() + 1);
    if (cut != 0 && header.type != format::FrameType::copy_data) {
      header.flags |= format::kFrameMore;
    }
    if (cut != 0) script_.frame(header, Bytes(entries).sub(0, cut));
    header.flags = static_cast<std::uint16_t>(flags);
    script_.frame(header, Bytes(entries).sub(cut));
  }

  void joint() {
    const std::uint8_t how = choices_.byte();
    for (std::uint32_t shard = 0; shard < engine_.shard_count(); ++shard) {
      if ((how >> shard & 1) != 0 && engine_.shard_count() > 1 && how < 64) continue;
      format::FrameHeader header;
      header.type = format::FrameType::data;
      header.shard = shard;
      header.sequence = choices_.near(next_[shard] - 1) & format::kSequenceMax;
      const bool last = shard + 1 == engine_.shard_count() && how != 255;
      data(header, format::kFrameJoint | (last ? unsigned{format::kFrameLast} : 0u), how != 254);
    }
  }

  std::vector<std::uint8_t> some_entries(std::uint32_t shard, bool batch) {
    std::vector<std::uint8_t> out;
    const std::uint8_t how = choices_.byte();
    const unsigned count = how % 6 + (batch ? 1 : 0);
    batch = batch || how >= 192;
    for (unsigned at = 0; at < count; ++at) {
      const std::uint8_t kind = choices_.byte();
      format::Entry entry;
      const std::string key = key_of(engine_, choices_.byte(), (kind & 63) != 63 ? shard : 0);
      entry.key = Bytes(key);
      entry.sequence = choices_.near(next_[shard]) & format::kSequenceMax;
      if (entry.sequence == 0) entry.sequence = 1;
      next_[shard] = entry.sequence + 1;
      std::string value(kValueBytes, static_cast<char>('a' + kind % 16));
      if (kind % 32 == 31) value.resize(choices_.byte() * std::size_t{32});
      if (kind % 4 == 3) entry.flags |= format::kTombstone;
      if (kind % 4 == 2) {
        entry.flags |= format::kExpiry;
        entry.expiry_ms = (kind & 16) != 0 ? 1 : ~std::uint64_t{0};
      }
      if ((entry.flags & format::kTombstone) == 0) entry.value = Bytes(value);
      if (batch && at == 0) entry.flags |= format::kBatchBegin;
      if (batch && at + 1 == count && how != 255) entry.flags |= format::kBatchCommit;
      const std::vector<std::uint8_t> bytes = test::wire_entry(entry);
      out.insert(out.end(), bytes.begin(), bytes.end());
    }
    return out;
  }

  engine::Engine& engine_;
  Choices& choices_;
  Script& script_;
  std::vector<std::uint64_t> next_;
  std::vector<std::uint64_t> copy_at_;  // of a Fixed store
};

// Per shard: what the follower said is durable; it may not say what is not there.
std::vector<std::uint64_t> acked(const Script& script, std::size_t shards) {
  std::vector<std::uint64_t> durable(shards);
  for (Bytes rest(script.heard); !rest.empty();) {
    format::FrameHeader header;
    require(rest.size() >= format::kWireHeaderBytes, "a follower says whole frames");
    const Status status = format::decode_frame_header(rest, header);
    require(status.ok(), "a follower says frames", status);
    const Bytes payload = rest.sub(format::kWireHeaderBytes, header.length);
    require(format::check_frame(rest, header, payload).ok(), "a follower's checksums are right");
    if (header.type == format::FrameType::ack) {
      std::vector<format::Mark> marks(shards);
      require(format::decode_marks(payload, marks).ok(), "acks are of all shards");
      for (std::size_t at = 0; at < shards; ++at) {
        require(marks[at].second <= marks[at].first, "what is durable was applied");
        durable[at] = marks[at].second;
      }
    }
    rest = rest.sub(format::kWireHeaderBytes + header.length);
  }
  return durable;
}

Contents contents_of(engine::Engine& engine) {
  Contents contents;
  for (unsigned number = 0; number < 300; ++number) {
    char text[8];
    std::snprintf(text, sizeof text, "k%03u", number);
    const Bytes key(text);
    std::uint8_t value[kValueBytes];
    if (engine.shape().payload == Payload::value) {
      if (engine.find(key.data(), nullptr, value)) contents[text] = Bytes(value).text();
      continue;
    }
    const Result<bool> there =
        engine.read(key, [&](Bytes bytes) { contents[text] = bytes.text(); });
    require(there.ok(), "a value can be read", there.status());
  }
  return contents;
}

void check_whole(engine::Engine& engine) {
  const Result<VerifyReport> report = engine.verify();
  require(report.ok() && report->damaged_regions == 0, "verify finds nothing", report.status());
}

std::vector<std::uint64_t> converse(engine::Engine& engine, Choices& choices, bool raw_terms) {
  Script script;
  Leader leader(engine, choices, script, raw_terms);
  leader.say_all();
  replica::Options options;
  options.name = "c";
  options.heartbeat_ms = 3600000;
  options.timeout_ms = 3600000;
  std::unique_ptr<os::Waker> waker;
  require(os::Waker::make(waker).ok(), "a waker is made");
  replica::Channel channel(std::make_unique<test::ScriptedPeer>(script), options.timeout_ms);
  replica::Progress progress;
  const std::atomic<bool> stopping{false};
  {
    const auto told = [](const replica::Progress&) {};
    replica::FollowerSession session(channel, engine, options, *waker, told);
    const Status status = session.run(progress, stopping);
    require(!status.ok() && !status.is(Errc::failed) && !status.message().empty(),
            "a session ends with a reason, and hurts no shard", status);
  }
  return acked(script, engine.shard_count());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  Choices choices(data, size);
  const std::uint8_t options = choices.byte();
  FaultFileSystem files(FaultFileSystem::Model::ext4);
  engine::Engine::Origin origin;
  origin.shape = (options & 1) != 0 ? Shape{4, kValueBytes, false, Payload::value}
                                    : Shape{4, 0, true, Payload::location};
  if ((options & 64) != 0) {
    origin.shape = Shape{4, kValueBytes, (options & 1) != 0, Payload::value};
    origin.shape.fixed = true;
  }
  origin.shard_count = (options & 2) != 0 ? 1 : 2;
  origin.hash_seed = 42;
  origin.lineage[0] = 9;
  const Status made = engine::Engine::create_follower(kPath, config_of(files), origin);
  require(made.ok(), "a follower is made", made);
  std::unique_ptr<engine::Engine> engine = open(files);
  std::vector<std::uint64_t> durable = converse(*engine, choices, (options & 4) != 0);
  if ((options & 8) != 0) durable = converse(*engine, choices, (options & 4) != 0);
  check_whole(*engine);
  const Contents before = contents_of(*engine);
  const unsigned ending = options >> 4 & 3;
  if (ending == 1) files.kill_process();
  if (ending == 2) files.power_cut_random(size);
  if (ending == 3) files.power_cut_lose_all();
  if (ending == 0) require(engine->close().ok(), "it closes");
  engine.reset();

  engine = open(files);
  check_whole(*engine);
  // Each session ends with a sync: a power cut takes nothing either.
  // A leader that takes back what it said in one shard may cost batches in another.
  const bool taken_back = (options & 4) != 0;
  require(taken_back || contents_of(*engine) == before, "what was there is there again");
  for (std::uint32_t at = 0; at < engine->shard_count(); ++at) {
    const bool copying = engine->replica_state().replacing[at] != format::kWhole;
    require(taken_back || copying || engine->position(at) >= durable[at],
            "what was acked is there");
  }
  // And a leader that greets it goes on where it is.
  static_cast<void>(converse(*engine, choices, false));
  check_whole(*engine);
  return 0;
}

#else

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t*, std::size_t) { return 0; }

#endif  // !ARMDB_OMIT_REPLICATION

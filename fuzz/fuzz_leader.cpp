// Any bytes as what a follower says to a leader.
//
// The leader has a log of two shards with batches over both, some of it compacted. The input is a
// greeting with chosen fields, then acks and raw bytes. Oracle: the session ends, whatever comes;
// what the leader says is whole frames in an order that a follower can take, and where a copy or
// the stream was told to its end, a follower has what the leader has; the leader's own content
// stays as it was.
//
// Byte 0: 1 another collection, 2 raw terms, 4 asking, 8 raw greeting, 16 ship early.
#include <array>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "api/collection.hpp"
#include "api/write_batch.hpp"
#include "engine/engine.hpp"
#include "replica/leader.hpp"
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
constexpr std::uint32_t kShards = 2;

using Contents = std::map<std::string, std::string>;

FixedConfig config_of(FaultFileSystem& files) {
  Config config;
  config.file_system = &files;
  config.write_buffer_size = 16 << 10;
  config.max_file_size = 64 << 10;
  config.index_step_bytes = 4 << 10;
  config.cache_bytes = 16 << 10;
  config.shard_count = kShards;
  return config;
}

std::unique_ptr<engine::Engine> open(FaultFileSystem& files) {
  const Shape shape{4, 0, true, Payload::location};
  Result<std::unique_ptr<engine::Engine>> engine =
      engine::Engine::open(kPath, &shape, config_of(files), {});
  require(engine.ok(), "the leader opens", engine.status());
  return std::move(*engine);
}

void put(engine::Engine& engine, unsigned number, char value, bool erase = false) {
  char text[8];
  std::snprintf(text, sizeof text, "k%03u", number);
  const std::string bytes(20, value);
  engine::WriteRequest request;
  request.key = Bytes(text);
  if (!erase) request.value = Bytes(bytes);
  request.erase = erase;
  require(engine.write(request, false).ok(), "the leader takes a write");
}

void put_batch(engine::Engine& engine, unsigned first, char value) {
  char texts[6][8];
  std::vector<engine::WriteRequest> requests(6);
  const std::string bytes(20, value);
  for (unsigned at = 0; at < 6; ++at) {
    std::snprintf(texts[at], sizeof texts[at], "k%03u", first + at);
    requests[at].key = Bytes(texts[at]);
    requests[at].value = Bytes(bytes);
    requests[at].hash = engine.router().hash(requests[at].key.data(), requests[at].key.size());
  }
  bool written = false;
  require(engine.write_batch(requests, false, written).ok(), "the leader takes a batch");
}

// Compacted, a segment, a reopening, and more; made once.
const FaultFileSystem::Snapshot& content() {
  static FaultFileSystem files(FaultFileSystem::Model::ext4);
  static const FaultFileSystem::Snapshot snapshot = [] {
    {
      std::unique_ptr<engine::Engine> engine = open(files);
      for (unsigned round = 0; round < 3; ++round) {
        for (unsigned number = 0; number < 10; ++number) put(*engine, number, 'a');
      }
      for (unsigned number = 16; number < 20; ++number) put(*engine, number, 'a');  // only there
      put(*engine, 3, 'x', true);
      require(engine->compact().ok(), "it compacts");
      for (unsigned number = 0; number < 8; ++number) put(*engine, number, 'b');
      put_batch(*engine, 4, 'c');
      require(engine->sync().ok(), "it syncs");
      files.kill_process();
    }
    std::unique_ptr<engine::Engine> engine = open(files);
    for (unsigned number = 6; number < 12; ++number) put(*engine, number, 'd');
    put_batch(*engine, 8, 'e');
    put(*engine, 9, 'x', true);
    require(engine->close().ok(), "it closes");
    return files.snapshot();
  }();
  return snapshot;
}

Contents contents_of(engine::Engine& engine) {
  Contents contents;
  for (unsigned number = 0; number < 20; ++number) {
    char text[8];
    std::snprintf(text, sizeof text, "k%03u", number);
    const Result<bool> there =
        engine.read(Bytes(text), [&](Bytes bytes) { contents[text] = bytes.text(); });
    require(there.ok(), "a value can be read", there.status());
  }
  return contents;
}

// Tells of each shard whether the greeting says that the follower has nothing.
std::array<bool, kShards> greet(engine::Engine& engine, Choices& choices, Script& script,
                                std::uint8_t options) {
  std::array<bool, kShards> nothing{};
  const store::ReplicaState state = engine.replica_state();
  format::Hello hello = test::hello_to(engine);
  if (choices.byte() == 255) hello.name = std::string(choices.bytes(20).text());
  if ((options & 1) != 0) hello.lineage[choices.byte() % 16] ^= 1;
  if (choices.byte() == 255) hello.self = state.store_id;
  if (choices.byte() == 255) hello.shape.key_size = choices.byte();
  hello.hash_seed = choices.near(hello.hash_seed);
  hello.asking = (options & 4) != 0;
  const std::size_t shards = choices.byte() < 248 ? kShards : choices.byte() % 4 + 1;
  hello.terms = (options & 2) != 0 ? test::terms_of(choices, shards) : state.terms;
  if (shards != kShards && (options & 2) == 0) hello.terms.clear();
  hello.sequences.clear();
  hello.replace.clear();
  for (std::uint32_t at = 0; at < shards; ++at) {
    const std::uint8_t how = choices.byte();
    const std::uint64_t last = engine.shard(at % kShards).last_sequence();
    const std::uint64_t position = how < 64 ? 0 : how < 128 ? how - 64 : choices.near(last);
    hello.sequences.push_back(position & format::kSequenceMax);
    hello.replace.push_back(choices.byte() < 224 ? 0 : 1 + choices.byte() % 2);
    if (at < kShards) nothing[at] = hello.sequences[at] == 0 && hello.replace[at] == 0;
  }
  script.hello(hello);
  return nothing;
}

void say_all(Choices& choices, Script& script) {
  for (int left = 32; left != 0 && !choices.over(); --left) {
    script.pause();
    const std::uint8_t what = choices.byte();
    format::FrameHeader header;
    header.type = format::FrameType::ack;
    if (what < 160) {
      std::vector<format::Mark> marks(kShards);
      for (format::Mark& mark : marks) {
        mark.first = choices.byte();
        mark.second = choices.near(mark.first) & format::kSequenceMax;
      }
      script.frame(header, format::encode_marks(marks));
    } else if (what < 200) {
      header.type = static_cast<format::FrameType>(1 + choices.byte() % 8);
      header.shard = choices.byte();
      script.frame(header, choices.bytes(choices.byte()));
    } else {
      script.raw(choices.bytes(choices.byte()));
    }
  }
}

// What a follower would have that believes all of it.
class Follower {
 public:
  void take_all(Bytes heard, const engine::Engine& engine) {
    while (!heard.empty()) {
      format::FrameHeader header;
      require(heard.size() >= format::kWireHeaderBytes, "a leader says whole frames");
      const Status status = format::decode_frame_header(heard, header);
      require(status.ok(), "a leader says frames", status);
      const Bytes payload = heard.sub(format::kWireHeaderBytes, header.length);
      require(format::check_frame(heard, header, payload).ok(), "its checksums are right");
      require(!refused, "nothing follows a refusal");
      take(header, payload, engine);
      heard = heard.sub(format::kWireHeaderBytes + header.length);
    }
    require(!joint_open_, "a batch over several shards is told whole");
  }

  format::Hello hello;
  bool refused = false;
  Contents contents[kShards];
  std::uint64_t position[kShards] = {};
  bool from_copy[kShards] = {};  // complete
  bool copying[kShards] = {};

 private:
  void take(const format::FrameHeader& header, Bytes payload, const engine::Engine& engine) {
    using format::FrameType;
    const std::uint32_t shard = header.shard;
    require(shard < kShards, "there is that shard");
    switch (header.type) {
      case FrameType::hello:
        require(hello.sequences.empty(), "it greets once");
        require(format::decode_hello(payload, hello).ok(), "its greeting can be read");
        return;
      case FrameType::copy_begin:
        require(!copying[shard] && payload.empty(), "a copy begins once");
        copying[shard] = true;
        from_copy[shard] = false;
        contents[shard].clear();
        copied_[shard] = 0;
        return;
      case FrameType::copy_data:
        require(copying[shard], "copies begin");
        return take_entries(shard, payload, copied_[shard], engine);
      case FrameType::copy_end:
        require(copying[shard] && copied_[shard] <= header.sequence, "a copy ends behind it");
        copying[shard] = false;
        from_copy[shard] = true;
        position[shard] = header.sequence;
        return;
      case FrameType::data:
        require(!copying[shard], "no stream in a copy");
        require(!known_[shard] && !from_copy[shard] ? true : header.sequence == position[shard],
                "a stream has no hole");
        known_[shard] = true;
        joint_open_ =
            (header.flags & format::kFrameJoint) != 0 && (header.flags & format::kFrameLast) == 0;
        position[shard] = header.sequence;
        return take_entries(shard, payload, position[shard], engine);
      case FrameType::progress: {
        std::vector<format::Mark> marks(kShards);
        require(format::decode_marks(payload, marks).ok(), "progress is of all shards");
        return;
      }
      case FrameType::error: {
        format::Refusal refusal;
        require(format::decode_refusal(payload, refusal).ok(), "a refusal can be read");
        refused = true;
        return;
      }
      case FrameType::ack:
        require(false, "a leader acks nothing");
        return;
      case FrameType::reach:
      case FrameType::cursor:
      case FrameType::copy_keys:
        require(false, "a log has no states of slots");
    }
  }

  void take_entries(std::uint32_t shard, Bytes payload, std::uint64_t& last,
                    const engine::Engine& engine) {
    require(!payload.empty(), "no piece is empty");
    while (!payload.empty()) {
      format::Entry entry;
      std::size_t size = 0;
      require(format::decode_entry(payload, format::kWireSeed, entry, size) ==
                      format::EntryRead::whole &&
                  !entry.mark(),
              "a piece has whole entries");
      require(entry.sequence > last, "sequences rise");
      const std::uint64_t hash = engine.router().hash(entry.key.data(), entry.key.size());
      require(engine.router().shard(entry.key.data(), entry.key.size(), hash) == shard,
              "an entry is of its shard");
      last = entry.sequence;
      if (entry.tombstone()) {
        contents[shard].erase(std::string(entry.key.text()));
      } else {
        contents[shard][std::string(entry.key.text())] = entry.value.text();
      }
      payload = payload.sub(size);
    }
  }

  std::uint64_t copied_[kShards] = {};
  bool known_[kShards] = {};
  bool joint_open_ = false;
};

void check_told(const Follower& follower, const std::array<bool, kShards>& nothing,
                engine::Engine& engine, const Contents& all) {
  if (follower.hello.sequences.empty() || follower.refused) return;
  for (std::uint32_t shard = 0; shard < kShards; ++shard) {
    // What began with a copy, or with nothing, is complete where it came to the end.
    if ((!follower.from_copy[shard] && !nothing[shard]) || follower.copying[shard] ||
        follower.position[shard] != engine.shard(shard).last_sequence()) {
      continue;
    }
    Contents own;
    for (const auto& [key, value] : all) {
      std::uint64_t hash = 0;
      if (&engine.owner(Bytes(key), hash) == &engine.shard(shard)) own[key] = value;
    }
    require(follower.contents[shard] == own,
            "a copy, or the whole stream, has what the leader has");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  Choices choices(data, size);
  const std::uint8_t option_bits = choices.byte();
  static FaultFileSystem files(FaultFileSystem::Model::ext4);
  files.restore(content());
  std::unique_ptr<engine::Engine> engine = open(files);
  const Contents before = contents_of(*engine);
  Script script;
  replica::Options options;
  options.heartbeat_ms = 3600000;
  options.timeout_ms = 3600000;
  options.ship_early = (option_bits & 16) != 0;
  bool fenced = false;
  {
    replica::Source source(*engine, "c", options);
    require(source.begin().ok(), "a leader begins");
    std::array<bool, kShards> nothing{};
    if ((option_bits & 8) == 0) nothing = greet(*engine, choices, script, option_bits);
    say_all(choices, script);
    std::unique_ptr<os::Waker> waker;
    require(os::Waker::make(waker).ok(), "a waker is made");
    replica::Channel channel(std::make_unique<test::ScriptedPeer>(script), options.timeout_ms);
    replica::LeaderSession session(channel, options, *waker);
    const std::atomic<bool> stopping{false};
    const auto find = [&](const std::string& name) { return name == "c" ? &source : nullptr; };
    const Status status = session.run(find, stopping);
    require(!status.is(Errc::failed) && (status.ok() || !status.message().empty()),
            "a session ends with a reason, and hurts nothing", status);
    fenced = source.fenced();
    require(!fenced || (option_bits & 1) == 0, "only its own followers fence a leader");
    Follower follower;
    follower.take_all(Bytes(script.heard), *engine);
    check_told(follower, nothing, *engine, before);
  }
  require(contents_of(*engine) == before, "the leader's content stays");
  engine::WriteRequest request;
  request.key = Bytes("kkkk");
  request.value = Bytes("v");
  require(engine->write(request, false).ok() != fenced, "a leader takes writes until it is fenced");
  require(engine->close().ok(), "it closes");
  return 0;
}

#else

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t*, std::size_t) { return 0; }

#endif  // !ARMDB_OMIT_REPLICATION

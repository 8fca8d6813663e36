// A follower before a leader that a test plays: what it says about itself, and what it refuses.
#include <memory>
#include <string>
#include <vector>

#include "replica/client.hpp"
#include "replica/history.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

#if !defined(ARMDB_OMIT_THREADS) && !defined(ARMDB_OMIT_REPLICATION)

using namespace armdb;
using format::FrameHeader;
using format::FrameType;

namespace {

constexpr std::uint32_t kShards = 2;
constexpr std::uint32_t kTimeoutMs = 20000;

Shape shape() {
  Shape shape;
  shape.key_size = 8;
  shape.payload = Payload::location;
  shape.ordered = true;
  return shape;
}

replica::Options options() {
  replica::Options options;
  options.heartbeat_ms = 20;
  options.timeout_ms = kTimeoutMs;
  options.retry_ms = 10000;  // one conversation
  return options;
}

// A collection that was a leader once, with entries that no sync has seen, and its new leader.
struct Scene {
  Scene() {
    FixedConfig config;
    config.shard_count = kShards;
    const Shape of = shape();
    auto opened = engine::Engine::open(directory / "follower", &of, config, {});
    REQUIRE(opened.ok());
    engine = std::move(*opened);
    store::ReplicaState state = engine->replica_state();
    const std::uint64_t starts[kShards] = {};
    replica::begin_term(state, starts, false, 7);
    REQUIRE(engine->save_replica_state(state).ok());
    for (std::uint8_t at = 0; at < 50; ++at) {
      const std::uint8_t key[8] = {at};
      engine::WriteRequest request;
      request.key = Bytes(key);
      request.value = Bytes(key);
      REQUIRE(engine->write(request, false).ok());
    }
    auto address = os::parse_address("unix:" + (directory / "socket"));
    REQUIRE(address.ok());
    auto made = os::Listener::listen(*address);
    REQUIRE(made.ok());
    listener = std::move(*made);
    client = std::make_unique<replica::Client>(*engine, options(), nullptr, nullptr);
    REQUIRE(client->start("unix:" + (directory / "socket")).ok());
    auto stream = listener->accept(kTimeoutMs, nullptr);
    REQUIRE(stream.ok());
    REQUIRE(*stream != nullptr);
    channel = std::make_unique<replica::Channel>(std::move(*stream), kTimeoutMs);
    FrameHeader header;
    Bytes payload;
    REQUIRE(channel->expect(FrameType::hello, header, payload).ok());
    REQUIRE(format::decode_hello(payload, hello).ok());
  }
  ~Scene() {
    channel.reset();
    if (client != nullptr) client->stop();
  }

  // Greets as the leader of the next term, which begins at `start` in both shards.
  void greet(std::uint64_t start, std::uint8_t replace) {
    format::Hello own = hello;
    own.self[0] ^= 1;
    own.terms.push_back({2, 8, {start, start}});
    own.replace.assign(kShards, replace);
    send(FrameType::hello, 0, 0, 0, format::encode_hello(own));
  }
  void send(FrameType type, std::uint32_t shard, unsigned flags, std::uint64_t sequence,
            Bytes payload) {
    FrameHeader header;
    header.type = type;
    header.shard = shard;
    header.flags = static_cast<std::uint16_t>(flags);
    header.sequence = sequence;
    REQUIRE(channel->send(header, payload).ok());
  }
  // The follower's next ack, or why it ended the conversation.
  Status next_ack(std::vector<format::Mark>& marks) {
    FrameHeader header;
    Bytes payload;
    Status status = channel->expect(FrameType::ack, header, payload);
    marks.resize(kShards);
    return status.ok() ? format::decode_marks(payload, marks) : status;
  }
  Status refusal() {
    std::vector<format::Mark> marks;
    for (;;) {
      Status status = next_ack(marks);
      if (!status.ok()) return status;
    }
  }

  test::TempDir directory;
  std::unique_ptr<engine::Engine> engine;
  std::unique_ptr<os::Listener> listener;
  std::unique_ptr<replica::Client> client;
  std::unique_ptr<replica::Channel> channel;
  format::Hello hello;
};

TEST_CASE("follower: what it greets with is durable", "[replication][pitfall-61]") {
  Scene scene;
  std::uint64_t entries = 0;
  for (std::uint32_t at = 0; at < kShards; ++at) {
    CHECK(scene.engine->shard(at).durable_sequence() == scene.hello.sequences[at]);
    entries += scene.hello.sequences[at];
  }
  CHECK(entries == 50);
}

TEST_CASE("follower: it acks nothing of a shard that waits for its copy", "[replication]") {
  Scene scene;
  scene.greet(1, 1);
  std::vector<format::Mark> marks;
  REQUIRE(scene.next_ack(marks).ok());
  for (const format::Mark& mark : marks) {
    CHECK(mark.first == 0);
    CHECK(mark.second == 0);
  }
  // When the copy is there it counts.
  for (std::uint32_t at = 0; at < kShards; ++at) {
    scene.send(FrameType::copy_begin, at, 0, 3, {});
    scene.send(FrameType::copy_end, at, 0, 3, {});
  }
  do {
    REQUIRE(scene.next_ack(marks).ok());
  } while (marks[0].second == 0 || marks[1].second == 0);
  CHECK(marks[0].second == 3);
  CHECK(marks[1].second == 3);
  CHECK(scene.engine->size() == 0);
}

TEST_CASE("follower: a leader that does not keep to the order of frames is refused",
          "[replication]") {
  Scene scene;
  SECTION("parts of joint batches without an end") {
    scene.greet(scene.hello.sequences[0] + scene.hello.sequences[1], 0);
    const std::uint8_t some[8] = {};
    for (int n = 0; n < 2; ++n) {
      scene.send(FrameType::data, 0, format::kFrameJoint, scene.hello.sequences[0], Bytes(some));
    }
  }
  SECTION("pieces of several shards at once") {
    scene.greet(scene.hello.sequences[0] + scene.hello.sequences[1], 0);
    const std::uint8_t some[8] = {};
    for (std::uint32_t at = 0; at < kShards; ++at) {
      scene.send(FrameType::data, at, format::kFrameMore, scene.hello.sequences[at], Bytes(some));
    }
  }
  SECTION("a copy without a beginning") {
    scene.greet(1, 1);
    const std::uint8_t some[8] = {};
    scene.send(FrameType::copy_data, 0, 0, 0, Bytes(some));
  }
  SECTION("the end of a copy without a beginning") {
    scene.greet(1, 1);
    scene.send(FrameType::copy_end, 0, 0, 3, {});
  }
  SECTION("entries in place of a copy") {
    scene.greet(1, 1);
    scene.send(FrameType::data, 0, 0, scene.hello.sequences[0], {});
  }
  const Status refusal = scene.refusal();
  INFO(refusal.message());
  CHECK(refusal.is(Errc::corrupt));
  CHECK(scene.engine->size() == 50);
}

}  // namespace

#endif

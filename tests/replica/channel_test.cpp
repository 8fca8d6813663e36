// Channel: frames over a stream, however that cuts them, and peers that do not keep to them.
#include "replica/channel.hpp"

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/simulation.hpp"
#include "support/catch.hpp"

#if !defined(ARMDB_OMIT_THREADS) && !defined(ARMDB_OMIT_REPLICATION)

#include "support/stream_pair.hpp"

using namespace armdb;
using format::FrameHeader;
using format::FrameType;
using replica::Channel;

namespace {

FrameHeader header_of(FrameType type, std::uint64_t sequence) {
  FrameHeader header;
  header.type = type;
  header.sequence = sequence;
  return header;
}

// A frame as bytes, for a peer that a test plays.
std::vector<std::uint8_t> frame(const FrameHeader& header, Bytes payload) {
  std::vector<std::uint8_t> bytes(format::kWireHeaderBytes);
  format::encode_frame_header(header, payload, bytes.data());
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

// What a peer says at once, and goes.
struct Peer {
  explicit Peer(std::uint32_t timeout_ms = 60000)
      : stream(std::move(pair.second)), channel(std::move(pair.first), timeout_ms) {}
  void say(Bytes bytes) { REQUIRE(*stream->write(bytes) == bytes.size()); }
  test::StreamPair pair;
  std::unique_ptr<os::Stream> stream;
  Channel channel;
};

#if defined(ARMDB_CHECKS)
// A peer that is busy for so many waits of 50 ms each, and takes nothing meanwhile; it may say each
// time that it is alive. The clock is its own.
class BusyPeer final : public os::Stream, public base::Simulation {
 public:
  BusyPeer(int waits, bool says_so) : waits_(waits), says_so_(says_so) {
    base::simulation.store(this);
  }
  ~BusyPeer() override { base::simulation.store(nullptr); }

  Result<std::size_t> read(MutableBytes out) override {
    if (!says_so_ || said_ || out.empty()) return std::size_t{0};
    said_ = true;
    out[0] = 0;
    return std::size_t{1};
  }
  Result<std::size_t> write(Bytes data) override { return waits_ > 0 ? 0 : data.size(); }
  Result<bool> wait(bool, std::uint32_t, os::Waker*) override {
    now_ms_ += 50;
    --waits_;
    said_ = false;
    return true;
  }
  void shut() noexcept override {}
  [[nodiscard]] std::string peer() const override { return "one that is busy"; }

  std::uint64_t monotonic_ns() override { return now_ms_ * 1000000; }
  std::uint64_t milliseconds_since_1970() override { return now_ms_; }
  void random_bytes(MutableBytes) override {}
  void wait(std::uint64_t) override {}

 private:
  std::uint64_t now_ms_ = 1000;
  int waits_;
  const bool says_so_;
  bool said_ = false;
};
#endif

}  // namespace

TEST_CASE("channel: frames that are cut anywhere are the same frames [pitfall-56]") {
  std::vector<std::uint8_t> payload(100);
  for (std::size_t at = 0; at < payload.size(); ++at) payload[at] = static_cast<std::uint8_t>(at);
  const std::vector<std::uint8_t> first = frame(header_of(FrameType::data, 7), payload);
  const std::vector<std::uint8_t> second = frame(header_of(FrameType::progress, 8), {});
  std::vector<std::uint8_t> both = first;
  both.insert(both.end(), second.begin(), second.end());
  for (std::size_t cut = 1; cut < both.size(); ++cut) {
    Peer peer;
    INFO("cut at " << cut);
    std::vector<FrameHeader> came;
    const auto take = [&] {
      for (;;) {
        FrameHeader header;
        Bytes bytes;
        const Result<bool> got = peer.channel.receive(header, bytes);
        REQUIRE(got.ok());
        if (!*got) return;
        if (header.type == FrameType::data) CHECK(bytes == Bytes(payload));
        came.push_back(header);
      }
    };
    peer.say(Bytes(both).sub(0, cut));
    take();
    CHECK(came.size() == (cut >= first.size() ? 1u : 0u));
    peer.say(Bytes(both).sub(cut, both.size() - cut));
    take();
    REQUIRE(came.size() == 2);
    CHECK(came[0].sequence == 7);
    CHECK(came[1].sequence == 8);
  }
}

TEST_CASE("channel: a byte at a time is slow, but the same") {
  test::StreamPair pair({.chunk_bytes = 1});
  Channel from(std::move(pair.first), 60000);
  Channel to(std::move(pair.second), 60000);
  const std::string text(5000, 'x');
  REQUIRE(from.send(header_of(FrameType::data, 1), Bytes(text)).ok());
  FrameHeader header;
  Bytes payload;
  for (bool came = false; !came;) {
    const Result<bool> got = to.receive(header, payload);
    REQUIRE(got.ok());
    came = *got;
  }
  CHECK(payload.text() == text);
}

TEST_CASE("channel: a length beyond the limit is refused by the header alone [pitfall-55]") {
  Peer peer;
  std::vector<std::uint8_t> bytes = frame(header_of(FrameType::data, 1), {});
  bytes[11] = 0x7f;  // the highest byte of the length
  peer.say(bytes);
  FrameHeader header;
  Bytes payload;
  CHECK(peer.channel.receive(header, payload).is(Errc::corrupt));
}

TEST_CASE("channel: a frame that trickles in, and a peer that is silent, end at the deadline") {
  Peer peer(30);
  FrameHeader header;
  Bytes payload;
  SECTION("a frame in part [pitfall-55]") {
    const std::vector<std::uint8_t> bytes = frame(header_of(FrameType::data, 1), {});
    Status status;
    for (std::size_t at = 0; status.ok() && at + 1 < bytes.size(); ++at) {
      peer.say(Bytes(bytes).sub(at, 1));
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      status = peer.channel.receive(header, payload).status();
    }
    for (int tries = 0; status.ok() && tries < 1000; ++tries) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      status = peer.channel.receive(header, payload).status();
    }
    CHECK(status.is(Errc::timed_out));
  }
  SECTION("nothing at all") {
    Status status;
    for (int tries = 0; status.ok() && tries < 1000; ++tries) {
      status = peer.channel.wait(5, nullptr);
    }
    CHECK(status.is(Errc::timed_out));
    CHECK(peer.channel.expect(FrameType::hello, header, payload).is(Errc::timed_out));
  }
  SECTION("one that takes nothing") {
    const std::vector<std::uint8_t> large(format::kWirePayloadMax);
    CHECK(peer.channel.send(header_of(FrameType::data, 1), large).is(Errc::timed_out));
  }
}

#if defined(ARMDB_CHECKS)
TEST_CASE("channel: a peer that is busy has time as long as it says that it is alive") {
  for (const bool says_so : {true, false}) {
    Channel channel(std::make_unique<BusyPeer>(20, says_so), 100);
    const Status status = channel.send(header_of(FrameType::data, 1), {});
    CHECK(status.is(Errc::timed_out) == !says_so);
    CHECK(status.ok() == says_so);
  }
}
#endif

TEST_CASE("channel: two that both send more than the stream holds do not wait for each other") {
  test::StreamPair pair({.room_bytes = 4096});
  const std::vector<std::uint8_t> large(format::kWirePayloadMax);
  Status outcomes[2];
  const auto talk = [&](std::unique_ptr<os::Stream> stream, Status& outcome) {
    Channel channel(std::move(stream), 60000);
    outcome = channel.send(header_of(FrameType::data, 1), large);
    FrameHeader header;
    Bytes payload;
    if (outcome.ok()) outcome = channel.expect(FrameType::data, header, payload);
    if (outcome.ok() && payload.size() != large.size()) outcome = Errc::corrupt;
    if (outcome.ok()) outcome = channel.send(header_of(FrameType::ack, 0), {});
    if (outcome.ok()) outcome = channel.expect(FrameType::ack, header, payload);
  };
  std::thread other([&] { talk(std::move(pair.first), outcomes[0]); });
  talk(std::move(pair.second), outcomes[1]);
  other.join();
  INFO(outcomes[0].message() << outcomes[1].message());
  CHECK(outcomes[0].ok());
  CHECK(outcomes[1].ok());
}

TEST_CASE("channel: a refusal is the error of who hears it; flipped bits are one") {
  Peer peer;
  FrameHeader header;
  Bytes payload;
  SECTION("a refusal") {
    peer.say(frame(header_of(FrameType::error, 0), format::encode_refusal({Errc::fenced, "no"})));
    const Result<bool> came = peer.channel.receive(header, payload);
    CHECK(came.is(Errc::fenced));
    CHECK(came.message().find("the peer says: no") != std::string::npos);
  }
  SECTION("a flipped bit") {
    std::vector<std::uint8_t> bytes = frame(header_of(FrameType::data, 1), Bytes("payload"));
    bytes.back() ^= 1;
    peer.say(bytes);
    CHECK(peer.channel.receive(header, payload).is(Errc::corrupt));
  }
  SECTION("an end") {
    peer.stream.reset();
    CHECK(peer.channel.receive(header, payload).is(Errc::closed));
  }
}

#endif

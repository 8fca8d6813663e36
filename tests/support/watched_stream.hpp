// WatchedStream: the follower's end of a conversation in a ReplicationSim: it reads along, and
// looks at the follower when all that came has been taken in.
//
// Threads: one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "support/fixed_replication_oracle.hpp"

#if defined(ARMDB_CHECKS) && !defined(ARMDB_OMIT_THREADS) && !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::test {

class WatchedStream final : public os::Stream {
 public:
  WatchedStream(ReplicationSim& sim, ReplicationSim::Talk& talk, std::unique_ptr<os::Stream> stream)
      : sim_(sim), talk_(talk), stream_(std::move(stream)) {}

  Result<std::size_t> read(MutableBytes out) override {
    Result<std::size_t> got = stream_->read(out);
    if (got.ok()) {
      in_.insert(in_.end(), out.begin(), out.begin() + static_cast<std::ptrdiff_t>(*got));
      frames(in_, [&](const format::FrameHeader& header, Bytes payload) { came(header, payload); });
    }
    return got;
  }
  Result<std::size_t> write(Bytes data) override {
    Result<std::size_t> put = stream_->write(data);
    if (put.ok()) {
      out_.insert(out_.end(), data.begin(), data.begin() + static_cast<std::ptrdiff_t>(*put));
      frames(out_,
             [&](const format::FrameHeader& header, Bytes payload) { goes(header, payload); });
    }
    return put;
  }
  Result<bool> wait(bool to_write, std::uint32_t timeout_ms, os::Waker* waker) override {
    if (!to_write) sim_.check_shown(talk_);
    return stream_->wait(to_write, timeout_ms, waker);
  }
  void shut() noexcept override { stream_->shut(); }
  [[nodiscard]] std::string peer() const override { return stream_->peer(); }

 private:
  template <class Use> static void frames(std::vector<std::uint8_t>& bytes, Use use) {
    format::FrameHeader header;
    std::size_t done = 0;
    while (bytes.size() - done >= format::kWireHeaderBytes) {
      const Bytes rest = Bytes(bytes).sub(done);
      if (!format::decode_frame_header(rest, header).ok()) break;
      if (rest.size() < format::kWireHeaderBytes + header.length) break;
      use(header, rest.sub(format::kWireHeaderBytes, header.length));
      done += format::kWireHeaderBytes + header.length;
    }
    bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(done));
  }

  void came(const format::FrameHeader& header, Bytes payload) {
    sim_.tell("node " + std::to_string(talk_.follower->node.number) + " gets frame " +
              std::to_string(static_cast<int>(header.type)) + " shard " +
              std::to_string(header.shard) + " sequence " + std::to_string(header.sequence) +
              " flags " + std::to_string(header.flags) + ", " + std::to_string(header.length) +
              " bytes");
    if (header.type == format::FrameType::hello) {
      format::Hello hello;
      if (!format::decode_hello(payload, hello).ok()) return;
      talk_.greeted = true;
      for (std::size_t at = 0; at < hello.replace.size(); ++at) {
        if (hello.replace[at] != 0) sim_.begin_copy(talk_, at);
      }
      if (sim_.slots_ != nullptr) sim_.slots_->greeted(talk_, hello.replace);
    }
    if (header.type == format::FrameType::copy_begin) sim_.begin_copy(talk_, header.shard);
    if (header.type == format::FrameType::copy_end) talk_.ending[header.shard] = true;
  }
  void goes(const format::FrameHeader& header, Bytes payload) {
    sim_.tell("node " + std::to_string(talk_.follower->node.number) + " sends frame " +
              std::to_string(static_cast<int>(header.type)));
    if (header.type == format::FrameType::hello) {
      format::Hello hello;
      if (!format::decode_hello(payload, hello).ok()) return;
      if (sim_.slots_ != nullptr) return sim_.slots_->greets(talk_, hello.sequences);
      std::vector<std::uint64_t> claims = hello.sequences;
      for (std::size_t at = 0; at < claims.size(); ++at) {
        if (hello.replace[at] != 0) claims[at] = 0;
      }
      sim_.note_claims(talk_, claims);
    }
    if (header.type == format::FrameType::ack) {
      std::vector<format::Mark> marks(talk_.copying.size());
      if (!format::decode_marks(payload, marks).ok()) return;
      if (sim_.slots_ != nullptr) return sim_.slots_->acks(talk_, marks);
      std::vector<std::uint64_t> claims;
      for (const format::Mark& mark : marks) claims.push_back(mark.second);
      sim_.note_claims(talk_, claims);
    }
  }

  ReplicationSim& sim_;
  ReplicationSim::Talk& talk_;
  const std::unique_ptr<os::Stream> stream_;
  std::vector<std::uint8_t> in_, out_;  // of frames that are not whole yet
};

}  // namespace armdb::test

#endif

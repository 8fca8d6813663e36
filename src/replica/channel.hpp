// Channel: frames over a stream. A frame that has come in part keeps its place; one that comes too
// slowly, or a peer that says nothing for too long, ends the channel.
//
// Threads: one. Another one ends its waits by waking `ending`.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/bytes.hpp"
#include "format/frame.hpp"
#include "os/socket.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::replica {

class Channel {
 public:
  // Once `ending` (may be null) is woken, nothing waits for the peer any more: `closed`.
  Channel(std::unique_ptr<os::Stream> stream, std::uint32_t timeout_ms,
          os::Waker* ending = nullptr);

  // Waits while there is no room, but not for ever: timed_out. Meanwhile it takes what comes in, so
  // that two sides that both send do not wait for each other.
  Status send(const format::FrameHeader& header, Bytes payload);
  Status send_refusal(Errc code, const std::string& text);
  // True: a frame, whose payload is valid until the next call of anything. False: none is there.
  // A refusal of the peer is its error.
  Result<bool> receive(format::FrameHeader& header, Bytes& payload);
  // The same, waiting for one of `type` until the time is over.
  Status expect(format::FrameType type, format::FrameHeader& header, Bytes& payload);
  // Until something comes, `waker` is woken, or the time is over. timed_out: the peer is silent.
  Status wait(std::uint32_t milliseconds, os::Waker* waker);
  [[nodiscard]] std::string peer() const { return stream_->peer(); }
  [[nodiscard]] std::uint64_t sent_bytes() const noexcept { return sent_bytes_; }

 private:
  Result<std::size_t> pull(std::size_t want);
  Status write_all(Bytes bytes, std::uint64_t end);
  Status wait_until(bool to_write, std::uint64_t end_ms);

  const std::unique_ptr<os::Stream> stream_;
  const std::uint32_t timeout_ms_;
  os::Waker* const ending_;
  std::vector<std::uint8_t> in_;
  std::size_t filled_ = 0;  // bytes of it that have come
  std::size_t taken_ = 0;   // of these, the first ones: given out
  std::uint64_t sent_bytes_ = 0;
  std::uint64_t heard_ms_;      // when something came last
  std::uint64_t begun_ms_ = 0;  // when the frame in in_ began to come; 0: none has
};

}  // namespace armdb::replica

#endif  // !ARMDB_OMIT_REPLICATION

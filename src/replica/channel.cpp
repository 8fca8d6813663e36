// Frames over a stream: nothing of the peer's is believed before its checksum is.
#include "replica/channel.hpp"

#include <algorithm>
#include <cstring>

#include "base/errors.hpp"
#include "os/clock.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::replica {

namespace {

constexpr std::size_t kPullBytes = std::size_t{64} << 10;
constexpr std::size_t kJoinedBytes = std::size_t{8} << 10;
// Of frames that wait while one is being sent: more than two sides that take turns ever have.
constexpr std::size_t kWaitingBytesMax = std::size_t{16} << 20;

}  // namespace

Channel::Channel(std::unique_ptr<os::Stream> stream, std::uint32_t timeout_ms, os::Waker* ending)
    : stream_(std::move(stream)),
      timeout_ms_(timeout_ms),
      ending_(ending),
      heard_ms_(os::monotonic_ms()) {}

// For what the peer has to do before this side can go on.
Status Channel::wait_until(bool to_write, std::uint64_t end_ms) {
  const std::uint64_t now = os::monotonic_ms();
  if (now >= end_ms) {
    return Status(Errc::timed_out,
                  to_write ? "the peer takes nothing any more" : "the peer did not answer");
  }
  Status status =
      stream_->wait(to_write, static_cast<std::uint32_t>(end_ms - now), ending_).status();
  if (status.ok() && ending_ != nullptr && ending_->woken()) {
    return Status(Errc::closed, "this side was stopped");
  }
  return status;
}

// Up to `want` bytes that are there now.
Result<std::size_t> Channel::pull(std::size_t want) {
  if (taken_ == filled_ || in_.size() - filled_ < want) {
    filled_ -= taken_;
    if (filled_ != 0) std::memmove(in_.data(), in_.data() + taken_, filled_);
    taken_ = 0;
  }
  if (in_.size() < filled_ + want) in_.resize(filled_ + want);
  Result<std::size_t> got = stream_->read(MutableBytes(in_).subspan(filled_, want));
  if (got.ok()) filled_ += *got;
  if (got.ok() && *got != 0) heard_ms_ = os::monotonic_ms();
  return got;
}

Status Channel::send(const format::FrameHeader& header, Bytes payload) {
  // What is long goes out from where it is; what is short, with its header in one piece.
  const std::size_t joined = payload.size() <= kJoinedBytes ? payload.size() : 0;
  std::uint8_t front[format::kWireHeaderBytes + kJoinedBytes];
  format::encode_frame_header(header, payload, front);
  if (joined != 0) std::memcpy(front + format::kWireHeaderBytes, payload.data(), joined);
  const std::uint64_t end = os::monotonic_ms() + timeout_ms_;
  Status status = write_all(Bytes(front, format::kWireHeaderBytes + joined), end);
  if (status.ok() && joined != payload.size()) status = write_all(payload, end);
  return status;
}

Status Channel::write_all(Bytes bytes, std::uint64_t end) {
  for (std::size_t done = 0; done < bytes.size();) {
    const Result<std::size_t> wrote = stream_->write(bytes.sub(done, bytes.size() - done));
    if (!wrote.ok()) return wrote.status();
    done += *wrote;
    sent_bytes_ += *wrote;
    if (*wrote != 0) continue;
    Status status = wait_until(true, end);
    if (!status.ok()) return status;
    if (filled_ - taken_ > kWaitingBytesMax) {
      return Status(Errc::too_large, "the peer sends and sends, and takes nothing");
    }
    const Result<std::size_t> got = pull(kPullBytes);
    if (!got.ok()) return got.status();
    // It is alive, and busy with what it has.
    if (*got != 0) end = os::monotonic_ms() + timeout_ms_;
  }
  return {};
}

Status Channel::send_refusal(Errc code, const std::string& text) {
  format::FrameHeader header;
  header.type = format::FrameType::error;
  const std::vector<std::uint8_t> payload = format::encode_refusal({code, text});
  Status status = send(header, payload);
  // What TLS still holds goes out with the next call, and this is the last one.
  if (status.ok()) status = stream_->wait(true, 0, nullptr).status();
  return status;
}

Result<bool> Channel::receive(format::FrameHeader& header, Bytes& payload) {
  for (;;) {
    const Bytes there = Bytes(in_).sub(taken_, filled_ - taken_);
    std::size_t need = format::kWireHeaderBytes;
    if (there.size() >= need) {
      Status status = format::decode_frame_header(there, header);
      if (!status.ok()) return status;
      need += header.length;
    }
    if (there.size() >= need && need >= format::kWireHeaderBytes) {
      payload = there.sub(format::kWireHeaderBytes, header.length);
      Status status = format::check_frame(there, header, payload);
      if (!status.ok()) return status;
      taken_ += need;
      begun_ms_ = 0;
      if (header.type != format::FrameType::error) return true;
      format::Refusal refusal;
      status = format::decode_refusal(payload, refusal);
      if (!status.ok()) return status;
      return base::failure(refusal.code, "the peer says: %", {refusal.text});
    }
    const Result<std::size_t> got = pull(std::max(kPullBytes, need - there.size()));
    if (!got.ok()) return got.status();
    const std::uint64_t now = os::monotonic_ms();
    if (filled_ == taken_) return false;
    if (begun_ms_ == 0) begun_ms_ = now;
    if (*got != 0) continue;
    if (now - begun_ms_ > timeout_ms_) {
      return Status(Errc::timed_out, "a frame of the peer came too slowly");
    }
    return false;
  }
}

Status Channel::expect(format::FrameType type, format::FrameHeader& header, Bytes& payload) {
  const std::uint64_t end = os::monotonic_ms() + timeout_ms_;
  for (;;) {
    const Result<bool> came = receive(header, payload);
    if (!came.ok()) return came.status();
    if (*came && header.type == type) return {};
    if (*came) return base::corrupt("the peer sent another frame than the one it had to");
    Status status = wait_until(false, end);
    if (!status.ok()) return status;
  }
}

Status Channel::wait(std::uint32_t milliseconds, os::Waker* waker) {
  const std::uint64_t now = os::monotonic_ms();
  if (now - heard_ms_ > timeout_ms_) {
    return base::failure(Errc::timed_out, "the peer has been silent for % ms", {now - heard_ms_});
  }
  return stream_->wait(false, milliseconds, waker).status();
}

}  // namespace armdb::replica

#endif  // !ARMDB_OMIT_REPLICATION

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
  if (taken_ != 0) {
    in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(taken_));
    taken_ = 0;
  }
  const std::size_t before = in_.size();
  in_.resize(before + want);
  Result<std::size_t> got = stream_->read(MutableBytes(in_).subspan(before));
  in_.resize(before + (got.ok() ? *got : 0));
  if (got.ok() && *got != 0) heard_ms_ = os::monotonic_ms();
  return got;
}

Status Channel::send(const format::FrameHeader& header, Bytes payload) {
  out_.resize(format::kWireHeaderBytes + payload.size());
  format::encode_frame_header(header, payload, out_.data());
  if (!payload.empty()) {
    std::memcpy(out_.data() + format::kWireHeaderBytes, payload.data(), payload.size());
  }
  const std::uint64_t end = os::monotonic_ms() + timeout_ms_;
  for (std::size_t done = 0; done < out_.size();) {
    const Result<std::size_t> wrote = stream_->write(Bytes(out_).sub(done, out_.size() - done));
    if (!wrote.ok()) return wrote.status();
    done += *wrote;
    if (*wrote != 0) continue;
    Status status = wait_until(true, end);
    if (!status.ok()) return status;
    if (in_.size() - taken_ > kWaitingBytesMax) {
      return Status(Errc::too_large, "the peer sends and sends, and takes nothing");
    }
    const Result<std::size_t> got = pull(kPullBytes);
    if (!got.ok()) return got.status();
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
    const Bytes there = Bytes(in_).sub(taken_, in_.size() - taken_);
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
    if (in_.empty()) return false;
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

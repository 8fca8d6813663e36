// Sockets: streams of bytes to another process, over TCP or a Unix socket, that never block.
//
// Nothing here raises SIGPIPE, none of the descriptors is inherited by other programs, and none
// is 0, 1 or 2.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "core/bytes.hpp"
#include "core/status.hpp"
#include "os/address.hpp"
#include "os/descriptor.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::os {

// Wakes a thread that waits in Stream::wait() or Listener::accept(); stays woken until reset().
//
// Who waits calls reset() first and looks for work then: what was handed over before a wake()
// that came too early to be seen again is seen by that look.
//
// Threads: wake() any, at the price of one atomic exchange when it is woken already; reset() the
// one that waits.
class Waker {
 public:
  static Status make(std::unique_ptr<Waker>& out);
  Waker(const Waker&) = delete;
  Waker& operator=(const Waker&) = delete;
  void wake() noexcept;
  void reset() noexcept;
  [[nodiscard]] bool woken() const noexcept { return woken_.load(std::memory_order_acquire); }
  // Becomes readable when it is woken.
  [[nodiscard]] int descriptor() const noexcept { return out_.get(); }

 private:
  Waker(Descriptor out, Descriptor in) noexcept : out_(std::move(out)), in_(std::move(in)) {}

  Descriptor out_, in_;  // the two ends of a pipe
  std::atomic<bool> woken_{false};
};

// A two-way stream of bytes that never blocks but in wait(). An end of it is an end: what the
// peer did not say before is not known.
//
// Threads: one; shut() from any.
class Stream {
 public:
  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  virtual ~Stream() = default;

  // What is there, at most all of `out`, which is not empty; 0: nothing now. `closed`: the peer
  // or shut() ended the stream.
  virtual Result<std::size_t> read(MutableBytes out) = 0;
  // How much was taken from the front of `data`; 0: no room now.
  virtual Result<std::size_t> write(Bytes data) = 0;
  // Waits until there is something to read (an end too), or, with `to_write`, room to write, or
  // until `waker` (may be null) is woken. False when timeout_ms are over. May return early.
  virtual Result<bool> wait(bool to_write, std::uint32_t timeout_ms, Waker* waker) = 0;
  // Ends the stream: wait() returns, and read() and write() say `closed`.
  virtual void shut() noexcept = 0;
  [[nodiscard]] virtual std::string peer() const = 0;  // for messages
};

// Resolves the host's name and tries each of its addresses. The deadline is over all of them, and
// `ending` (may be null) ends it early once it is woken, with `closed`; neither can cut short the
// resolver of the system. Over a Unix socket the server has to run as this
// user or as root, unless this process is root.
Result<std::unique_ptr<Stream>> connect(const Address& address, std::uint32_t timeout_ms,
                                        const Waker* ending = nullptr);

// Takes connections at one address. Over a Unix socket only those of this user and of root.
//
// Threads: accept() one; close() any.
class Listener {
 public:
  // Port 0 is any that is free. The file of a Unix socket gets mode 0600; one at which nobody
  // listens any more is replaced, one that is in use is `locked`, a file of another kind is
  // `invalid_argument`.
  static Result<std::unique_ptr<Listener>> listen(const Address& address);
  // Removes the file of a Unix socket, when it is still ours.
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // The next connection; null when timeout_ms are over or `waker` (may be null) was woken.
  // `closed` after close(). Any other error is of this moment, such as too many open files: try
  // again, but after a pause, for it may come again at once.
  Result<std::unique_ptr<Stream>> accept(std::uint32_t timeout_ms, Waker* waker);
  // Ends accept(), also while it waits; the socket itself goes with the listener.
  void close() noexcept;
  // With the port that the system chose.
  [[nodiscard]] Address address() const { return address_; }

 private:
  Listener(Descriptor socket, Address address) noexcept
      : socket_(std::move(socket)), address_(std::move(address)) {}

  Descriptor socket_;
  Address address_;
  std::unique_ptr<Waker> closing_;
  bool owns_file_ = false;  // these two name it
  std::uint64_t file_device_ = 0;
  std::uint64_t file_number_ = 0;
};

}  // namespace armdb::os

#endif  // !ARMDB_OMIT_REPLICATION

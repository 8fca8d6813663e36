// random_bytes: getrandom, or /dev/urandom where the kernel or a sandbox has no such call.
#include "os/entropy.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>

#include "base/simulation.hpp"
#include "os/descriptor.hpp"

namespace armdb::os {
namespace {

constexpr std::size_t kEntropyPieceBytes = 256;  // never interrupted, and all that getentropy takes

// How many bytes were filled before the call failed; errno is then set.
std::size_t ask_kernel(MutableBytes out) noexcept {
  std::size_t filled = 0;
  while (filled < out.size()) {
    const std::size_t left = out.size() - filled;
    const std::size_t piece = left < kEntropyPieceBytes ? left : kEntropyPieceBytes;
#if defined(__linux__)
    const ssize_t got = ::getrandom(out.data() + filled, piece, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    filled += static_cast<std::size_t>(got);
#else
    if (::getentropy(out.data() + filled, piece) != 0) break;
    filled += piece;
#endif
  }
  return filled;
}

}  // namespace

Status random_bytes(MutableBytes out) {
  if (base::Simulation* const instead = base::simulated()) {
    instead->random_bytes(out);
    return {};
  }
  std::size_t filled = ask_kernel(out);
  if (filled == out.size()) return {};

  constexpr const char* kDevice = "/dev/urandom";
  const Descriptor device(open_no_interrupt(kDevice, O_RDONLY | O_CLOEXEC));
  if (!device.valid()) return failure(errno, "cannot get random numbers", kDevice);
  while (filled < out.size()) {
    const ssize_t got = ::read(device.get(), out.data() + filled, out.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return failure(got < 0 ? errno : EIO, "cannot get random numbers", kDevice);
    filled += static_cast<std::size_t>(got);
  }
  return {};
}

}  // namespace armdb::os

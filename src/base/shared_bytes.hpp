// Bytes that one writer changes while readers look: relaxed word copies and a sequence lock.
//
// The protocol is the seqlock of H. Boehm, "Can seqlocks get along with programming language
// memory models?" (MSPC 2012). Every access to protected bytes is an atomic one, so that a race
// is defined behaviour (a reader may see a mixture, and then throws it away) and
// ThreadSanitizer understands it.
//
// Threads: one writer at a time (the shard's lock holder), any number of readers.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/relax.hpp"
#include "base/step_point.hpp"

namespace armdb::base {

// The widest unit that is always lock-free: 8 bytes on 64-bit machines, 4 on 32-bit ones.
using Word = std::uintptr_t;

template <class T> [[nodiscard]] inline T load_relaxed(const T* from) noexcept {
  step_point(Step::read, from);
  return __atomic_load_n(from, __ATOMIC_RELAXED);
}

template <class T> inline void store_relaxed(T* to, T value) noexcept {
  step_point(Step::write, to);
  __atomic_store_n(to, value, __ATOMIC_RELAXED);
}

// Copies bytes out of shared memory. `from` must be aligned to a Word.
inline void copy_from_shared(std::uint8_t* to, const std::uint8_t* from,
                             std::size_t size) noexcept {
  while (size >= sizeof(Word)) {
    const Word word = load_relaxed(reinterpret_cast<const Word*>(from));
    std::memcpy(to, &word, sizeof word);
    to += sizeof word;
    from += sizeof word;
    size -= sizeof word;
  }
  for (; size != 0; --size) *to++ = load_relaxed(from++);
}

// Copies bytes into shared memory. `to` must be aligned to a Word.
inline void copy_to_shared(std::uint8_t* to, const std::uint8_t* from, std::size_t size) noexcept {
  while (size >= sizeof(Word)) {
    Word word;
    std::memcpy(&word, from, sizeof word);
    store_relaxed(reinterpret_cast<Word*>(to), word);
    to += sizeof word;
    from += sizeof word;
    size -= sizeof word;
  }
  for (; size != 0; --size) store_relaxed(to++, *from++);
}

// A sequence lock's counter: odd while the writer changes what it protects. 32 bits: a reader
// would have to sleep through exactly 2^31 changes of one node to be fooled.
class Version {
 public:
  // Reader: the version before reading; waits while the writer is inside.
  [[nodiscard]] std::uint32_t begin_read() const noexcept {
    step_point(Step::read, this);
    // Acquire pairs with the release in end_write: what that writer stored is seen.
    std::uint32_t version = value_.load(std::memory_order_acquire);
    while ((version & 1) != 0) {
      step_point(Step::blocked, this);
      relax();
      version = value_.load(std::memory_order_acquire);
    }
    return version;
  }

  // Reader: true when nothing changed since begin_read() returned `version`. Nothing read in
  // between may be believed, or followed further than type-stable memory allows, before this.
  [[nodiscard]] bool still(std::uint32_t version) const noexcept {
    step_point(Step::read, this);
    // Keeps the data loads above from sinking below the check; pairs with the fence in
    // begin_write: a reader that saw any byte of a later write sees its odd version here.
    std::atomic_thread_fence(std::memory_order_acquire);
    return value_.load(std::memory_order_relaxed) == version;
  }

  // Writer.
  void begin_write() noexcept {
    step_point(Step::write, this);
    value_.store(value_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    // The odd version is visible before any byte that follows; pairs with still().
    std::atomic_thread_fence(std::memory_order_release);
  }
  void end_write() noexcept {
    step_point(Step::write, this);
    value_.store(value_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }

 private:
  std::atomic<std::uint32_t> value_{0};
};

}  // namespace armdb::base

// relax: tells the processor that this thread is waiting for another one's store.
#pragma once

namespace armdb::base {

inline void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || (defined(__arm__) && __ARM_ARCH >= 7)
  __asm__ volatile("yield");
#endif
}

}  // namespace armdb::base

// Processor features from the auxiliary vector.
#include "os/cpu.hpp"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include "base/crc32c.hpp"

namespace armdb::os {

void use_cpu_features() noexcept {
#if defined(__aarch64__) && defined(__linux__)
  constexpr unsigned long kHwcapCrc32 = 1ul << 7;  // HWCAP_CRC32 of <asm/hwcap.h>
  if ((::getauxval(AT_HWCAP) & kHwcapCrc32) != 0) base::crc32c_use_arm_instructions();
#endif
}

}  // namespace armdb::os

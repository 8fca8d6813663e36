// crc32c: the checksum of everything on disk (CRC-32C, Castagnoli, reflected 0x82f63b78).
#pragma once

#include <cstdint>

#include "core/bytes.hpp"

namespace armdb::base {

// The checksum of `bytes`, continuing `seed`: crc32c(crc32c(0, a), b) is the crc of a and b put
// together. The fastest kernel of this processor is chosen at the first call.
//
// Threads: any.
[[nodiscard]] std::uint32_t crc32c(std::uint32_t seed, Bytes bytes) noexcept;

// The twin of every kernel: tables, any machine.
[[nodiscard]] std::uint32_t crc32c_portable(std::uint32_t seed, Bytes bytes) noexcept;

// Tells that the processor has the ARMv8 crc instructions. Only the operating system knows, so
// os/cpu.cpp calls this; nothing happens on other processors.
void crc32c_use_arm_instructions() noexcept;

}  // namespace armdb::base

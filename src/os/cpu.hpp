// use_cpu_features: tells base/ what only the operating system knows about the processor.
#pragma once

namespace armdb::os {

// Chooses the checksum kernel where the processor cannot be asked directly (aarch64 Linux).
// posix_file_system() calls it; more calls do no harm. Threads: any.
void use_cpu_features() noexcept;

}  // namespace armdb::os

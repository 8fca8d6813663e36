// random_bytes: numbers nobody can guess, from the operating system.
#pragma once

#include "core/bytes.hpp"
#include "core/status.hpp"

namespace armdb::os {

// Fills `out` or fails; after a failure `out` must not be used. For store ids, salts and hash
// seeds. Threads: any.
Status random_bytes(MutableBytes out);

}  // namespace armdb::os

// page_source: memory for arenas straight from the operating system, huge pages where it helps.
#pragma once

#include "base/arena.hpp"

namespace armdb::os {

// Anonymous mappings. The first step (nth 0) stays on small pages, so that a small collection
// costs what it touches; later ones of 2 MiB and more are aligned to 2 MiB and ask for huge
// pages. With ARMDB_OMIT_MMAP it is PageSource::heap().
//
// Threads: any.
[[nodiscard]] base::PageSource page_source() noexcept;

}  // namespace armdb::os

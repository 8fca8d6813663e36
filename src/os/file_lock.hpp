// lock_file: one exclusive holder or many shared ones of a lock file, across processes.
#pragma once

#include <string>

#include "core/file_system.hpp"

namespace armdb::os {

// What FileSystem::lock promises. Threads: any.
Result<Owned<FileLock>> lock_file(const std::string& path, LockMode mode);

// The line an exclusive holder writes into the file:
// "pid 4711 started 123456 locked 2025-11-21T06:14:00Z\n". `started` is field 22 of
// /proc/self/stat (clock ticks since boot), which tells a process from a later one of the same
// number.
[[nodiscard]] std::string lock_holder_text();

// The answer to who comes second. `holder_line` is the untrusted content of the lock file.
Status lock_conflict(const std::string& path, std::string_view holder_line, bool held_by_readers);

}  // namespace armdb::os

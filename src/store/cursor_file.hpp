// CursorFile: db.cursor, see format/cursor.hpp: read whole, written in place.
//
// What is written without a sync survives the process; a power cut may leave what was synced last.
//
// Threads: one at a time.
#pragma once

#include <string>

#include "format/cursor.hpp"
#include "format/entry.hpp"
#include "store/store.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::store {

using format::Cursor;
using format::Cursors;
inline constexpr std::uint64_t kPositionMax = format::kSequenceMax;

class CursorFile {
 public:
  CursorFile(FileSystem& files, std::string directory)
      : files_(files), directory_(std::move(directory)) {}

  // What the file says; not_found, corrupt or format_mismatch when it says nothing.
  Status read(const StoreId& store_id, std::size_t shards, Cursors& cursors);
  // Writes them, under the next count; makes the file when there is none, or nothing in it counts.
  Status write(Cursors& cursors, bool sync);

 private:
  Status make(const Cursors& cursors);

  FileSystem& files_;
  const std::string directory_;
  Owned<File> file_;
  std::size_t place_ = 0;  // that was synced last: it stays until the other one is
};

}  // namespace armdb::store

#endif  // !ARMDB_OMIT_REPLICATION

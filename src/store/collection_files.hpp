// The files of a collection above its shards: db.meta, LOCK and the shards' directories.
//
// Threads: one, under the collection's lock.
#pragma once

#include <string>

#include "core/config.hpp"
#include "core/file_system.hpp"
#include "format/meta.hpp"
#include "store/store.hpp"

namespace armdb::store {

// What db.meta says.
struct Description {
  StoreId store_id{};
  Shape shape;
  std::uint32_t shard_count = 1;
  std::uint32_t shard_prefix_bits = 0;
  std::uint64_t hash_seed = 0;
  Cipher cipher = Cipher::stored;  // stored: not encrypted
};
// As it stands in db.meta, and back.
[[nodiscard]] format::Meta meta_of(const Description& description) noexcept;

[[nodiscard]] std::string lock_path(const std::string& path);
[[nodiscard]] std::string shard_path(const std::string& path, std::uint32_t shard);

// not_found when there is no collection; corrupt when shards are there and db.meta is not.
Status read_description(FileSystem& files, const std::string& path, Description& description);

// Makes the directories of the shards, then db.meta: a crash in between leaves nothing that
// opens, and the next open does it again.
Status create_description(FileSystem& files, const std::string& path,
                          const Description& description);

// Whether nothing is in a directory, but for this name; not so when it cannot be listed.
Status look_if_empty(FileSystem& files, const std::string& path, std::string_view but, bool& empty);
// After a creation in an empty directory that failed: makes it empty. Backwards, so that whatever a
// power cut leaves of that is a creation that was cut short.
void undo_creation(FileSystem& files, const std::string& path);

// True when it has, or had, followers or a leader.
[[nodiscard]] bool was_replicated(FileSystem& files, const std::string& path);
void forget_replication(FileSystem& files, const std::string& path);

// Makes the directory of a copy and locks it; invalid_argument when there is anything in it.
Status begin_copy(FileSystem& files, const std::string& path, Owned<FileLock>& lock);

// After a creation that was cut short behind db.meta: makes that file's name durable, before
// anything relies on it.
Status settle_description(FileSystem& files, const std::string& path);

}  // namespace armdb::store

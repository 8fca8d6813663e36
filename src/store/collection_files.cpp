// Creating and reading what stands above the shards.
#include "store/collection_files.hpp"

#include <cerrno>

#include "base/errors.hpp"
#include "format/file_name.hpp"
#include "store/manifest_file.hpp"

namespace armdb::store {

std::string lock_path(const std::string& path) { return path_in(path, format::kLockName); }

std::string shard_path(const std::string& path, std::uint32_t shard) {
  return path_in(path, format::shard_directory_name(shard));
}

format::Meta meta_of(const Description& description) noexcept {
  format::Meta meta;
  meta.store_id = description.store_id;
  meta.shape = description.shape;
  meta.store = description.shape.fixed ? format::StoreKind::fixed : format::StoreKind::bitcask;
  meta.shard_count = description.shard_count;
  meta.shard_prefix_bits = description.shard_prefix_bits;
  meta.hash_seed = description.hash_seed;
  meta.cipher = description.cipher;
  return meta;
}

Status read_description(FileSystem& files, const std::string& path, Description& description) {
  format::Meta meta;
  Status status = read_meta(files, path, meta);
  if (status.is(Errc::not_found)) {
    // A crash while the collection was created leaves empty shards; anything more was lost.
    const std::string shard = shard_path(path, 0);
    if (file_exists(files, path_in(shard, format::kManifestName)) ||
        file_exists(files, path_in(shard, format::kSlotsName))) {
      return base::corrupt(
          "db.meta is missing, but there are shards: restore it from a "
          "backup, or see README, \"Repair\"");
    }
    return status;
  }
  if (!status.ok()) return status;
  description.store_id = meta.store_id;
  description.shape = meta.shape;
  description.shape.fixed = meta.store == format::StoreKind::fixed;
  description.shard_count = meta.shard_count;
  description.shard_prefix_bits = meta.shard_prefix_bits;
  description.hash_seed = meta.hash_seed;
  description.cipher = meta.cipher;
  return {};
}

Status create_description(FileSystem& files, const std::string& path,
                          const Description& description) {
  for (std::uint32_t shard = 0; shard < description.shard_count; ++shard) {
    Status status = files.create_directory(shard_path(path, shard));
    if (!status.ok()) return status;
  }
  Status status = files.sync_directory(path);
  if (!status.ok()) return status;
  const std::size_t slash = path.find_last_of('/');
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash);
  // The parent may not be ours to open, and in memory there may be none. A disk that fails takes
  // the whole collection with its name, whatever is synced later.
  status = files.sync_directory(parent.empty() ? "/" : parent);
  const int error = status.os_error();
  const bool excused = error == 0 || error == EACCES || error == EPERM || error == ENOENT;
  return excused ? create_meta(files, path, meta_of(description)) : status;
}

Status look_if_empty(FileSystem& files, const std::string& path, std::string_view but,
                     bool& empty) {
  empty = true;
  Status status =
      files.list(path, [&](std::string_view name, FileKind) { empty = empty && name == but; });
  empty = empty && status.ok();
  return status;
}

void undo_creation(FileSystem& files, const std::string& path) {
  for (bool gone = true; gone;) {
    // db.meta and the like come last, when the shards have nothing durable.
    std::string next;
    static_cast<void>(files.list(path, [&](std::string_view name, FileKind) {
      if (next.empty() || next[0] == 'd') next = name;
    }));
    if (next.empty()) break;
    next = path_in(path, next);
    undo_creation(files, next);
    gone = files.remove(next).ok();
  }
  static_cast<void>(files.sync_directory(path));
}

bool was_replicated(FileSystem& files, const std::string& path) {
  return file_exists(files, path_in(path, format::kReplicaName));
}

#if !defined(ARMDB_OMIT_REPLICATION)
void forget_replication(FileSystem& files, const std::string& path) {
  try_remove(files, path_in(path, format::kReplicaName));
  try_remove(files, path_in(path, format::kCursorName));
}
#endif

Status begin_copy(FileSystem& files, const std::string& path, Owned<FileLock>& lock) {
  Status status = files.create_directory(path);
  bool empty = true;
  if (status.ok()) status = look_if_empty(files, path, format::kLockName, empty);
  if (status.ok() && !empty) {
    status = Status(Errc::invalid_argument, "a copy needs an empty directory, or none");
  }
  if (!status.ok()) return status;
  Result<Owned<FileLock>> held = files.lock(lock_path(path), LockMode::exclusive);
  if (held.ok()) lock = std::move(*held);
  return std::move(held).status();
}

Status settle_description(FileSystem& files, const std::string& path) {
  // A MANIFEST is written only once db.meta is durable.
  const std::string manifest = path_in(shard_path(path, 0), format::kManifestName);
  return file_exists(files, manifest) ? Status() : files.sync_directory(path);
}

}  // namespace armdb::store

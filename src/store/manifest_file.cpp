// Reading and atomically replacing the MANIFEST, db.meta and db.state.
#include "store/manifest_file.hpp"

#include <algorithm>

#include "base/errors.hpp"
#include "format/file_name.hpp"

namespace armdb::store {

Status open_file(FileSystem& files, const std::string& path, OpenMode mode, Owned<File>& file,
                 std::uint64_t& size) {
  Result<Owned<File>> opened = files.open(path, mode);
  if (!opened.ok()) return std::move(opened).status().at(path);
  file = std::move(*opened);
  const Result<std::uint64_t> asked = file->size();
  if (!asked.ok()) return Status(asked.status()).at(path);
  size = *asked;
  return {};
}

Status read_file(FileSystem& files, const std::string& path, std::uint64_t bytes_max,
                 std::vector<std::uint8_t>& out) {
  Owned<File> file;
  std::uint64_t size = 0;
  Status status = open_file(files, path, OpenMode::read, file, size);
  if (!status.ok()) return status;
  if (size > bytes_max) {
    return base::corrupt("the file is larger than any that armdb writes").at(path);
  }
  out.resize(static_cast<std::size_t>(size));
  const Result<std::size_t> got = file->read_at(0, out);
  if (!got.ok()) return Status(got.status()).at(path);
  out.resize(*got);
  return {};
}

Status fill_with_zeros(File& file, std::uint64_t offset, std::uint64_t bytes) {
  const std::uint8_t zeros[4096] = {};
  for (std::uint64_t done = 0; done < bytes; done += sizeof zeros) {
    const std::uint64_t piece = std::min<std::uint64_t>(sizeof zeros, bytes - done);
    Status status = file.write_at(offset + done, Bytes(zeros, static_cast<std::size_t>(piece)));
    if (!status.ok()) return status;
  }
  return {};
}

Status replace_file(FileSystem& files, const std::string& directory, std::string_view name,
                    Bytes bytes) {
  const std::string path = path_in(directory, name);
  const std::string temporary = temporary_path(path);
  Status status = files.remove(temporary);
  if (!status.ok() && !status.is(Errc::not_found)) return std::move(status).at(temporary);
  {
    Result<Owned<File>> file = files.open(temporary, OpenMode::create_new);
    if (!file.ok()) return std::move(file).status().at(temporary);
    status = (*file)->write_at(0, bytes);
    if (status.ok()) status = (*file)->sync();
  }
  if (!status.ok()) {
    try_remove(files, temporary);
    return std::move(status).at(temporary);
  }
  status = files.rename(temporary, path);
  if (status.ok()) status = files.sync_directory(directory);
  if (status.ok()) return status;
  // The new file may or may not be the one a crash leaves: never "no space, nothing happened".
  return base::failure(Errc::failed, "a renamed file could not be made durable: %",
                       {status.message()})
      .at(path);
}

Status read_manifest(const StoreContext& context, format::Manifest& manifest) {
  const std::string path = context.path_of(format::kManifestName);
  std::vector<std::uint8_t> bytes;
  Status status = read_file(context.files, path, std::uint64_t{64} << 20, bytes);
  if (status.ok()) status = format::decode_manifest(bytes, manifest);
  if (status.ok() && (manifest.store_id != context.store_id || manifest.shard != context.shard)) {
    status = base::corrupt("the MANIFEST belongs to another store or shard");
  }
  return std::move(status).at(path);
}

Status replace_manifest(const StoreContext& context, Bytes image) {
  return replace_file(context.files, context.directory, format::kManifestName, image);
}

Status read_meta(FileSystem& files, const std::string& directory, format::Meta& meta) {
  const std::string path = path_in(directory, format::kMetaName);
  std::vector<std::uint8_t> bytes;
  Status status = read_file(files, path, 4096, bytes);
  if (status.ok()) status = format::decode_meta(bytes, meta);
  return std::move(status).at(path);
}

Status create_meta(FileSystem& files, const std::string& directory, const format::Meta& meta) {
  std::uint8_t bytes[format::kMetaBytes];
  format::encode_meta(meta, bytes);
  return replace_file(files, directory, format::kMetaName, Bytes(bytes));
}

Status read_state(FileSystem& files, const std::string& directory, const StoreId& store_id,
                  format::State& state, bool* found) {
  const std::string path = path_in(directory, format::kStateName);
  std::vector<std::uint8_t> bytes;
  format::State read;
  read.store_id = store_id;
  Status status = read_file(files, path, format::kStateBytesMax, bytes);
  if (found != nullptr) *found = !status.is(Errc::not_found);
  if (status.ok()) {
    status = format::decode_state(bytes, read);
  } else if (status.is(Errc::not_found)) {
    status = {};
  }
  if (status.ok() && read.store_id != store_id) {
    status = base::corrupt(
        "db.state belongs to another collection: was it copied? put the right one "
        "back");
  }
  if (!status.ok()) return std::move(status).at(path);
  state = std::move(read);
  return {};
}

#if !defined(ARMDB_OMIT_REPLICATION)
Status read_replica_state(FileSystem& files, const std::string& directory, const StoreId& store_id,
                          ReplicaState& state) {
  const std::string path = path_in(directory, format::kReplicaName);
  std::vector<std::uint8_t> bytes;
  ReplicaState read;
  Status status = read_file(files, path, format::kReplicaBytesMax, bytes);
  if (status.ok()) status = format::decode_replica_state(bytes, read);
  if (status.ok() && read.store_id != store_id) {
    status = base::corrupt(
        "db.replica belongs to another collection: was it copied? put the right one back");
  }
  if (!status.ok()) return std::move(status).at(path);
  state = std::move(read);
  return {};
}

Status replace_replica_state(FileSystem& files, const std::string& directory,
                             const ReplicaState& state) {
  return replace_file(files, directory, format::kReplicaName, format::encode_replica_state(state));
}
#endif

Status replace_state(FileSystem& files, const std::string& directory, const format::State& state) {
  return replace_file(files, directory, format::kStateName, format::encode_state(state));
}

}  // namespace armdb::store

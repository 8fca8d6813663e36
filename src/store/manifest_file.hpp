// The MANIFEST, db.meta and db.state on disk: read whole, replaced atomically.
//
// Replacing writes NAME.tmp, syncs it, renames it over NAME and syncs the directory: after a
// crash either the old file is there or the new one.
//
// Threads: one at a time per shard; db.meta and db.state: one at a time.
#pragma once

#include "format/manifest.hpp"
#include "format/meta.hpp"
#include "format/replica_state.hpp"
#include "format/state.hpp"
#include "store/store.hpp"

namespace armdb::store {

// not_found when there is none; corrupt or format_mismatch as the parser says.
Status read_manifest(const StoreContext& context, format::Manifest& manifest);
Status replace_manifest(const StoreContext& context, Bytes image);

Status read_meta(FileSystem& files, const std::string& directory, format::Meta& meta);
Status create_meta(FileSystem& files, const std::string& directory, const format::Meta& meta);

using CollectionState = format::State;
// All zeros, with this store_id, when there is none; corrupt also when it is another store's.
Status read_state(FileSystem& files, const std::string& directory, const StoreId& store_id,
                  format::State& state, bool* found = nullptr);
Status replace_state(FileSystem& files, const std::string& directory, const format::State& state);

#if !defined(ARMDB_OMIT_REPLICATION)
using ReplicaState = format::ReplicaState;
using format::Term;
// not_found when there is none; corrupt also when it is another store's.
Status read_replica_state(FileSystem& files, const std::string& directory, const StoreId& store_id,
                          ReplicaState& state);
Status replace_replica_state(FileSystem& files, const std::string& directory,
                             const ReplicaState& state);
#endif

// Opens a file and asks for its size. Errors name the path.
Status open_file(FileSystem& files, const std::string& path, OpenMode mode, Owned<File>& file,
                 std::uint64_t& size);
// Reads a whole small file; corrupt above `bytes_max`.
Status read_file(FileSystem& files, const std::string& path, std::uint64_t bytes_max,
                 std::vector<std::uint8_t>& out);
// Where there is no File::allocate: zeros in [offset, offset + bytes).
Status fill_with_zeros(File& file, std::uint64_t offset, std::uint64_t bytes);
Status replace_file(FileSystem& files, const std::string& directory, std::string_view name,
                    Bytes bytes);

}  // namespace armdb::store

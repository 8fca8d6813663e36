// db.cursor on disk.
#include "store/cursor_file.hpp"

#include "base/append.hpp"
#include "base/errors.hpp"
#include "format/file_name.hpp"
#include "store/manifest_file.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::store {

Status CursorFile::read(const StoreId& store_id, std::size_t shards, Cursors& cursors) {
  const std::string path = path_in(directory_, format::kCursorName);
  std::vector<std::uint8_t> bytes;
  Status status = read_file(files_, path, format::kCursorBytesMax, bytes);
  Cursors read;
  if (status.ok()) status = format::decode_cursors(bytes, read, place_);
  if (status.ok() && (read.store_id != store_id || read.shards.size() != shards)) {
    status = base::corrupt("db.cursor belongs to another collection");
  }
  if (!status.ok()) return std::move(status).at(path);
  cursors = std::move(read);
  return {};
}

// Both places say the same, so that either may be written first.
Status CursorFile::make(const Cursors& cursors) {
  std::vector<std::uint8_t> image = format::encode_cursor_front(cursors);
  const std::vector<std::uint8_t> place = format::encode_cursor_place(cursors);
  base::append(image, Bytes(place));
  base::append(image, Bytes(place));
  return replace_file(files_, directory_, format::kCursorName, image);
}

Status CursorFile::write(Cursors& cursors, bool sync) {
  ++cursors.count;
  // After an error nobody knows what is there; and of what another process left unsynced in a place
  // a power cut may still take all. Then it begins anew.
  if (!file_) {
    Status status = make(cursors);
    if (!status.ok()) return status;
    const std::string path = path_in(directory_, format::kCursorName);
    std::uint64_t size = 0;
    return open_file(files_, path, OpenMode::read_write, file_, size);
  }
  const std::vector<std::uint8_t> bytes = format::encode_cursor_place(cursors);
  const std::size_t other = place_ ^ 1;
  Status status = file_->write_at(format::cursor_place_at(other, bytes.size()), Bytes(bytes));
  if (status.ok() && sync) {
    status = file_->sync();
    place_ = other;
  }
  if (!status.ok()) file_.reset();
  return std::move(status).at(path_in(directory_, format::kCursorName));
}

}  // namespace armdb::store

#endif  // !ARMDB_OMIT_REPLICATION

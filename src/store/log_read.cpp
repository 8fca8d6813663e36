// The read side of the log: values by location, from the buffer, a mapping or the file.
#include <algorithm>

#include "base/errors.hpp"
#include "base/little.hpp"
#include "format/file_name.hpp"
#include "store/log_store.hpp"

namespace armdb::store {

ReadOutcome LogStore::read(base::Location at, Bytes key, ReadBuffer& buffer, Bytes& value,
                           Status& status) const {
  // Acquire pairs with publish_map(): the segments in the map are complete.
  const SegmentMap* map = map_.load(std::memory_order_acquire);
  const Segment* segment = map == nullptr ? nullptr : map->find(at.file_id());
  if (segment == nullptr) return ReadOutcome::moved;

  Bytes bytes;
  bool out_of_memory = false;
  if (at.offset() >= segment->readable.load(std::memory_order_acquire)) {
    // Still in the write buffer, or just flushed from it: then the file has it by now.
    if (tail_.read(at, buffer, bytes, out_of_memory)) {
      const std::size_t key_at =
          format::kEntryHeaderBytes + ((bytes[4] & format::kExpiry) != 0 ? 8 : 0);
      if (bytes.sub(key_at, key.size()) != key) return ReadOutcome::moved;
      value = bytes.sub(key_at + key.size(), base::load_little<std::uint32_t>(bytes.data() + 8));
      return ReadOutcome::ok;
    }
    if (out_of_memory) {
      status = base::out_of_memory("no memory for a value");
      return ReadOutcome::failed;
    }
    if (at.offset() >= segment->readable.load(std::memory_order_acquire)) return ReadOutcome::moved;
  }
  const ReadOutcome outcome = read_from_file(*segment, at, buffer, bytes, status);
  if (outcome != ReadOutcome::ok) return outcome;

  format::Entry entry;
  std::size_t size = 0;
  if (format::decode_entry(bytes, segment->seed, entry, size) != format::EntryRead::whole ||
      entry.key != key || entry.tombstone()) {
    status = base::corrupt("a stored value fails its checksum; run verify, then repair")
                 .at(segment->path, at.offset());
    return ReadOutcome::failed;
  }
  value = entry.value;
  return ReadOutcome::ok;
}

ReadOutcome LogStore::read_from_file(const Segment& segment, base::Location at, ReadBuffer& buffer,
                                     Bytes& entry, Status& status) const {
  // Acquire pairs with the release after a flush: bytes below it are in the file.
  const std::uint64_t readable = segment.readable.load(std::memory_order_acquire);
  const std::uint64_t bytes = std::min(at.bytes_max(), readable - at.offset());
  if (segment.region != nullptr && at.offset() + bytes <= segment.mapped) {
    buffer.clear();
    buffer.pin = segment.region;
    entry = Bytes(segment.region->mapping->data() + at.offset(), static_cast<std::size_t>(bytes));
    return ReadOutcome::ok;
  }
  std::uint8_t* to = buffer.room(static_cast<std::size_t>(bytes));
  if (to == nullptr) {
    status = base::out_of_memory("no memory for a value");
    return ReadOutcome::failed;
  }
  const MutableBytes out(to, static_cast<std::size_t>(bytes));
  if (cache_ != nullptr) {
    status = cache_->read(segment.id(), *segment.file, at.offset(), readable, out);
  } else {
    const Result<std::size_t> got = segment.file->read_at(at.offset(), out);
    status = got.ok() ? Status() : got.status();
    if (got.ok() && *got < out.size()) status = base::corrupt("a segment is too short");
  }
  if (!status.ok()) {
    status = std::move(status).at(segment.path, at.offset());
    return ReadOutcome::failed;
  }
  entry = Bytes(to, static_cast<std::size_t>(bytes));
  return ReadOutcome::ok;
}

Status LogStore::describe(Status status, base::Location at) const {
  return std::move(status).at(context_.path_of(format::FileRole::segment, at.file_id()),
                              at.offset());
}

void LogStore::touch(base::Location at) const {
  const SegmentMap* map = map_.load(std::memory_order_acquire);
  const Segment* segment = map == nullptr ? nullptr : map->find(at.file_id());
  if (segment == nullptr || segment->region == nullptr) return;
  const std::uint64_t readable = segment->readable.load(std::memory_order_acquire);
  if (at.offset() >= readable || at.offset() >= segment->mapped) return;
  // A volatile read, so that the page is really brought in.
  static_cast<void>(
      *static_cast<volatile const std::uint8_t*>(segment->region->mapping->data() + at.offset()));
}

}  // namespace armdb::store

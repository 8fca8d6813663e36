// Writing and reading hint files.
#include "store/hint_file.hpp"

#include <new>

#include "format/file_name.hpp"
#include "store/manifest_file.hpp"

namespace armdb::store {

namespace {

constexpr std::size_t kHintFlushBytes = std::size_t{64} << 10;

}  // namespace

std::unique_ptr<HintWriter> HintWriter::start(const StoreContext& context, const Segment& segment) {
  const std::string path = context.path_of(format::FileRole::hint, segment.id());
  const std::string temporary = temporary_path(path);
  try_remove(context.files, temporary);
  Result<Owned<File>> file = context.files.open(temporary, OpenMode::create_new);
  if (!file.ok()) return nullptr;
  std::unique_ptr<HintWriter> writer(new (std::nothrow)
                                         HintWriter(context, segment, path, std::move(*file)));
  return writer == nullptr || writer->broken_ ? nullptr : std::move(writer);
}

HintWriter::HintWriter(const StoreContext& context, const Segment& segment, std::string path,
                       Owned<File> file)
    : context_(context), path_(std::move(path)), file_(std::move(file)) {
  format::HintHeader header;
  header.file = segment.header.file;
  header.file.type = format::FileType::hint;
  header.salt = segment.header.salt;
  seed_ = format::hint_seed(header);
  std::uint8_t bytes[format::kHintHeaderBytes];
  format::encode_hint_header(header, bytes);
  broken_ = !file_->write_at(0, Bytes(bytes)).ok();
  offset_ = sizeof bytes;
  block_.resize(format::kHintBlockHeaderBytes);
}

HintWriter::~HintWriter() {
  // Not finished: the next open deletes what is left.
  if (file_) try_remove(context_.files, temporary_path(path_));
}

void HintWriter::add(const format::Entry& entry, std::uint64_t offset) {
  if (broken_ || entry.mark()) return;
  format::HintItem item;
  item.offset = offset;
  item.value_size = static_cast<std::uint32_t>(entry.value.size());
  item.sequence = entry.sequence;
  item.flags = entry.flags;
  item.expiry_ms = entry.expiry_ms;
  item.key = entry.key;
  const std::size_t at = block_.size();
  block_.resize(at + format::hint_item_bytes(item));
  format::encode_hint_item(item, block_.data() + at);
  ++block_count_;
  ++item_count_;
  if (block_.size() >= kHintFlushBytes) write_block(false);
}

void HintWriter::write_block(bool trailer) {
  format::seal_hint_block(seed_, trailer, block_count_, block_);
  broken_ = broken_ || !file_->write_at(offset_, block_).ok();
  offset_ += block_.size();
  block_.resize(format::kHintBlockHeaderBytes);
  block_count_ = 0;
}

bool HintWriter::finish(std::uint64_t segment_length, std::uint64_t last_sequence) {
  if (block_count_ != 0) write_block(false);
  format::HintTrailer trailer;
  trailer.segment_length = segment_length;
  trailer.last_sequence = last_sequence;
  trailer.item_count = item_count_;
  block_.resize(format::kHintBlockHeaderBytes + format::kHintTrailerBytes);
  format::encode_hint_trailer(trailer, MutableBytes(block_).subspan(format::kHintBlockHeaderBytes));
  write_block(true);
  if (broken_) return false;
  file_.reset();
  return context_.files.rename(temporary_path(path_), path_).ok();
}

namespace {

// What read_hint needs to go through a hint file block by block.
struct HintReader {
  File& file;
  std::uint32_t seed;
  std::uint64_t size;
  std::uint64_t offset = format::kHintHeaderBytes;
  std::vector<std::uint8_t> block;

  bool next(format::HintBlock& out) {
    block.resize(format::kHintBlockHeaderBytes);
    if (!read(block)) return false;
    std::uint32_t items_bytes = 0;
    if (!format::peek_hint_block(block, items_bytes)) return false;
    if (items_bytes > size - offset) return false;
    block.resize(format::kHintBlockHeaderBytes + items_bytes);
    if (!read(MutableBytes(block).subspan(format::kHintBlockHeaderBytes))) return false;
    return format::decode_hint_block(block, seed, out);
  }

  bool read(MutableBytes into) {
    if (into.size() > size - offset) return false;
    const Result<std::size_t> got = file.read_at(offset, into);
    offset += into.size();
    return got.ok() && *got == into.size();
  }
};

// The trailer stands last; looked at first, so that a hint of another state is not even begun.
bool trailer_fits(File& file, std::uint64_t size, std::uint32_t seed, std::uint64_t length,
                  std::uint64_t last_sequence) {
  std::uint8_t bytes[format::kHintBlockHeaderBytes + format::kHintTrailerBytes];
  if (size < format::kHintHeaderBytes + sizeof bytes) return false;
  const Result<std::size_t> got = file.read_at(size - sizeof bytes, bytes);
  format::HintBlock block;
  format::HintTrailer trailer;
  return got.ok() && *got == sizeof bytes && format::decode_hint_block(Bytes(bytes), seed, block) &&
         block.trailer && format::decode_hint_trailer(block.items, trailer) &&
         trailer.segment_length == length && trailer.last_sequence == last_sequence;
}

// Gives all items to `visit`. False when a block is damaged, or the count is not the trailer's.
bool walk_items(HintReader& reader, std::size_t key_size,
                FunctionRef<Status(const format::HintItem&)> visit, Status& status) {
  std::uint64_t items = 0;
  format::HintBlock block;
  while (reader.next(block)) {
    if (block.trailer) {
      format::HintTrailer trailer;
      return format::decode_hint_trailer(block.items, trailer) && trailer.item_count == items;
    }
    Bytes rest = block.items;
    format::HintItem item;
    for (std::uint32_t at = 0; at < block.count; ++at, ++items) {
      if (!format::decode_hint_item(rest, item) || item.key.size() != key_size) return false;
      status = visit(item);
      if (!status.ok()) return false;
    }
  }
  return false;
}

}  // namespace

bool read_hint(const StoreContext& context, const Segment& segment, std::uint64_t length,
               std::uint64_t last_sequence, FunctionRef<Status(const format::HintItem&)> visit,
               Status& status) {
  Owned<File> file;
  std::uint64_t size = 0;
  const std::string path = context.path_of(format::FileRole::hint, segment.id());
  if (!open_file(context.files, path, OpenMode::read, file, size).ok()) return false;
  std::uint8_t head[format::kHintHeaderBytes];
  const Result<std::size_t> got = file->read_at(0, head);
  format::HintHeader header;
  if (!got.ok() || *got != sizeof head || !format::decode_hint_header(Bytes(head), header).ok()) {
    return false;
  }
  const format::FileHeader& own = segment.header.file;
  if (header.file.store_id != own.store_id || header.file.shard != own.shard ||
      header.file.file_id != own.file_id || header.salt != segment.header.salt) {
    return false;
  }
  HintReader reader{*file, format::hint_seed(header), size, format::kHintHeaderBytes, {}};
  if (!trailer_fits(*file, size, reader.seed, length, last_sequence)) return false;
  // The whole file first: an item told of cannot be taken back when a later block is damaged.
  const auto nothing = [](const format::HintItem&) { return Status(); };
  if (!walk_items(reader, context.shape.key_size, nothing, status)) return false;
  reader.offset = format::kHintHeaderBytes;
  return walk_items(reader, context.shape.key_size, visit, status);
}

}  // namespace armdb::store

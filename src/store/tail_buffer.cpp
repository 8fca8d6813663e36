// The tail buffer: mapping its file, appending, and reads beside the writer.
#include "store/tail_buffer.hpp"

#include <algorithm>
#include <new>

#include "base/errors.hpp"
#include "format/file_header.hpp"
#include "format/file_name.hpp"
#include "format/tail.hpp"
#include "store/manifest_file.hpp"

namespace armdb::store {

namespace {

constexpr std::uint64_t kTailBytesMax = std::uint64_t{192} << 20;

}  // namespace

Status read_tail_file(const StoreContext& context, TailContents& contents) {
  const std::string path = context.path_of(format::kTailName);
  Owned<File> file;
  std::uint64_t size = 0;
  Status status = open_file(context.files, path, OpenMode::read, file, size);
  if (status.is(Errc::not_found)) return {};
  if (!status.ok()) return status;
  const std::uint64_t bytes = std::min(size, kTailBytesMax);
  contents.memory.reset(new (std::nothrow) std::uint8_t[static_cast<std::size_t>(bytes) + 1]);
  if (contents.memory == nullptr) return base::out_of_memory("no memory to read").at(path);
  const Result<std::size_t> got =
      file->read_at(0, {contents.memory.get(), static_cast<std::size_t>(bytes)});
  if (!got.ok()) return Status(got.status()).at(path, 0);
  const Bytes all(contents.memory.get(), *got);
  if constexpr (crypto::kHasCrypto) {
    if (context.keys != nullptr) {
      status = SealedTail::read(context, all, contents.unsealed);
      contents.bytes = contents.unsealed;
      return status;
    }
  }
  // The header is for people and tools, and a power cut may take it: the entries prove by their
  // seed where they belong.
  contents.bytes = all.sub(format::kTailHeaderBytes);
  return status;
}

Status open_buffer_file(const StoreContext& context, const std::string& path, std::size_t bytes,
                        Owned<File>& file) {
  std::uint64_t size = 0;
  Status status = open_file(context.files, path, OpenMode::read_write, file, size);
  if (status.is(Errc::not_found)) {
    status = open_file(context.files, path, OpenMode::create_new, file, size);
  }
  if (!status.ok()) return status;
  // Real blocks before the first store: a page fault on a full disk would be a signal. A file that
  // has the right size may still have holes, when it was copied.
  if (size != bytes) status = file->truncate(0);
  if (status.ok()) status = file->allocate(0, bytes);
  if (status.is(Errc::unsupported)) {
    status = size == bytes ? Status() : fill_with_zeros(*file, 0, bytes);
  }
  return status;
}

void encode_tail_header(const StoreContext& context, MutableBytes out) noexcept {
  format::FileHeader fields;
  fields.type = format::FileType::tail;
  fields.store_id = context.store_id;
  fields.shard = context.shard;
  format::encode_file_header(fields, out);
}

Status TailBuffer::map_file(const StoreContext& context, const std::string& path,
                            std::size_t bytes) {
  Owned<File> file;
  Status status = open_buffer_file(context, path, bytes, file);
  std::uint8_t header[format::kTailHeaderBytes] = {};
  encode_tail_header(context, header);
  if (status.ok()) status = file->write_at(0, Bytes(header));
  if (!status.ok()) return std::move(status).at(path);

  Result<Owned<Mapping>> mapping = file->map(bytes, MapMode::read_write);
  if (mapping.is(Errc::unsupported)) return {};
  if (!mapping.ok()) return std::move(mapping).status().at(path);
  mapping_ = std::move(*mapping);
  file_ = std::move(file);
  data_ = mapping_->data() + format::kTailHeaderBytes;
  return {};
}

Status TailBuffer::open(const StoreContext& context, std::size_t capacity, bool shared_reads) {
  capacity_ = capacity;
  const std::string path = context.path_of(format::kTailName);
  Status status;
  if (context.keys == nullptr) {
    status = map_file(context, path, capacity + format::kTailHeaderBytes);
  } else if constexpr (crypto::kHasCrypto) {
    status = SealedTail::open(context, path, capacity, sealed_);
  }
  if (!status.ok()) return status;
  if (data_ == nullptr) {
    memory_.reset(new (std::nothrow) std::uint8_t[capacity]);
    data_ = memory_.get();
  }
  if (shared_reads) scratch_.reset(new (std::nothrow) std::uint8_t[capacity]);
  if (data_ == nullptr || (shared_reads && scratch_ == nullptr)) {
    return base::out_of_memory(
        "no memory for a write buffer; set a smaller "
        "Config::write_buffer_size");
  }
  return {};
}

Status TailBuffer::open_memory(Bytes bytes, std::uint32_t segment, std::uint64_t base) {
  memory_.reset(new (std::nothrow) std::uint8_t[bytes.size() + 1]);
  if (memory_ == nullptr) return base::out_of_memory("no memory for a tail buffer");
  if (!bytes.empty()) std::memcpy(memory_.get(), bytes.data(), bytes.size());
  data_ = memory_.get();
  reset(segment, base);
  capacity_ = used_ = bytes.size();
  return {};
}

void TailBuffer::append(const format::Entry& entry, std::uint32_t seed,
                        std::size_t bytes) noexcept {
  ARMDB_ASSERT(bytes <= room());
  if (scratch_ == nullptr) {
    format::encode_entry(entry, seed, data_ + used_);
  } else {
    format::encode_entry(entry, seed, scratch_.get());
    base::copy_to_shared(data_ + used_, scratch_.get(), bytes);
  }
  used_ += bytes;
}

void TailBuffer::reset(std::uint32_t segment, std::uint64_t base) noexcept {
  // Two changes: a reader inside read() sees one of them and asks the file.
  version_.begin_write();
  base::step_point(base::Step::write, &segment_);
  segment_.store(segment, std::memory_order_relaxed);
  base::step_point(base::Step::write, &base_);
  base_.store(base, std::memory_order_relaxed);
  used_ = 0;
  version_.end_write();
  if constexpr (crypto::kHasCrypto) {
    sealed_used_ = 0;
    if (sealed_ != nullptr && !sealed_->restart()) sealed_.reset();
  }
}

void TailBuffer::seal_fresh() noexcept {
  if constexpr (crypto::kHasCrypto) {
    const Bytes fresh(data_ + sealed_used_, used_ - sealed_used_);
    if (!sealed_->add(fresh, next_offset() - fresh.size())) sealed_.reset();
    sealed_used_ = used_;
  }
}

bool TailBuffer::read(base::Location at, ReadBuffer& buffer, Bytes& entry,
                      bool& out_of_memory) const {
  const std::uint32_t version = version_.begin_read();
  base::step_point(base::Step::read, &base_);
  const std::uint64_t base = base_.load(std::memory_order_relaxed);
  base::step_point(base::Step::read, &segment_);
  if (segment_.load(std::memory_order_relaxed) != at.file_id() || at.offset() < base) return false;
  const std::uint64_t start = at.offset() - base;
  if (start + format::kEntryHeaderBytes > capacity_) return false;

  // The writer may be overwriting all this; nothing is believed before the version says so.
  const std::uint8_t* from = data_ + start;
  alignas(8) std::uint8_t header[24];
  base::copy_from_shared(header, from, format::kEntryHeaderBytes);
  std::uint64_t bytes = 0;
  if (!format::peek_entry_bytes(Bytes(header, format::kEntryHeaderBytes), bytes) ||
      bytes > capacity_ - start) {
    return false;
  }
  if (!version_.still(version)) return false;
  std::uint8_t* to = buffer.room(static_cast<std::size_t>(bytes));
  if (to == nullptr) {
    out_of_memory = true;
    return false;
  }
  base::copy_from_shared(to, from, static_cast<std::size_t>(bytes));
  if (!version_.still(version)) return false;
  entry = Bytes(to, static_cast<std::size_t>(bytes));
  return true;
}

}  // namespace armdb::store

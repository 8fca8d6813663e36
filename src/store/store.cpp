// Buffers of reads, and owned views made from them.
#include "store/store.hpp"

#include <new>

#include "base/errors.hpp"
#include "base/text.hpp"

namespace armdb::store {

namespace {

// A value this long is worth two atomic operations on the mapping's count; a shorter one is
// copied faster than two readers can fight over that line.
constexpr std::size_t kPinBytesMin = 4096;

}  // namespace

std::string path_in(std::string_view directory, std::string_view name) {
  return base::text("%/%", {directory, name});
}

std::string temporary_path(std::string_view path) { return base::text("%.tmp", {path}); }

bool file_exists(FileSystem& files, const std::string& path) { return files.info(path).ok(); }

void try_remove(FileSystem& files, const std::string& path) {
  static_cast<void>(files.remove(path));
}

std::string StoreContext::path_of(std::string_view name) const { return path_in(directory, name); }

std::string StoreContext::path_of(format::FileRole role, std::uint32_t file_id) const {
  return path_of(format::file_name(role, file_id));
}

SharedBlock* SharedBlock::make(std::size_t size) noexcept {
  void* memory = ::operator new(sizeof(SharedBlock) + size, std::nothrow);
  if (memory == nullptr) return nullptr;
  auto* block = new (memory) SharedBlock;
  block->destroy = [](detail::Shared* self) noexcept {
    ::operator delete(static_cast<void*>(static_cast<SharedBlock*>(self)));
  };
  return block;
}

void Store::set_failed(const Status& cause) {
  failed_ = base::failure(Errc::failed,
                          "a write or sync failed, so this shard is read-only until it is "
                          "reopened: %",
                          {cause.message()});
}

std::uint8_t* ReadBuffer::room(std::size_t size) noexcept {
  clear();
  if (size <= sizeof small_) return small_;
  block = SharedBlock::make(size);
  return block == nullptr ? nullptr : block->bytes();
}

void ReadBuffer::clear() noexcept {
  if (block != nullptr) detail::unshare(block);
  block = nullptr;
  pin = nullptr;
}

Result<ByteView> make_view(Bytes value, ReadBuffer& buffer) {
  if (value.size() <= ByteView::kInlineBytes) return ByteView::inlined(value);
  if (buffer.block != nullptr) {
    return ByteView::adopt(std::exchange(buffer.block, nullptr), value);
  }
  if (buffer.pin != nullptr && value.size() >= kPinBytesMin) {
    detail::share(buffer.pin);
    return ByteView::adopt(buffer.pin, value);
  }
  SharedBlock* block = SharedBlock::make(value.size());
  if (block == nullptr) return base::out_of_memory("no memory for a value that was read");
  std::memcpy(block->bytes(), value.data(), value.size());
  return ByteView::adopt(block, {block->bytes(), value.size()});
}

}  // namespace armdb::store

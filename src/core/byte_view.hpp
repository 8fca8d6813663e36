// ByteView: a value that was read, owned: up to 20 bytes inside it, longer ones shared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "core/bytes.hpp"

namespace armdb {
namespace detail {

// Something that lives as long as somebody refers to it. The count is changed atomically.
struct Shared {
  std::uint32_t references = 1;
  void (*destroy)(Shared* self) noexcept = nullptr;
};

inline void share(Shared* shared) noexcept {
  __atomic_fetch_add(&shared->references, 1u, __ATOMIC_RELAXED);
}
inline void unshare(Shared* shared) noexcept {
  // Release: what this owner did happens before the end; acquire: the last one sees it all.
  if (__atomic_fetch_sub(&shared->references, 1u, __ATOMIC_ACQ_REL) == 1) shared->destroy(shared);
}

}  // namespace detail

// 24 bytes. Copying a long one shares the bytes, which never change; they may lie in a mapped
// segment, which then stays mapped. Converts to Bytes; valid as long as the view lives.
// Threads: distinct views are independent, also when they share.
class alignas(8) ByteView {
 public:
  static constexpr std::size_t kInlineBytes = 20;
  ByteView() noexcept = default;
  // Copies up to 20 bytes.
  static ByteView inlined(Bytes bytes) noexcept;
  // Takes over one reference to `owner`, which keeps `bytes` (more than 20) alive.
  static ByteView adopt(detail::Shared* owner, Bytes bytes) noexcept;
  ByteView(const ByteView& other) noexcept : size_(other.size_) {
    std::memcpy(store_, other.store_, sizeof store_);
    if (long_form()) detail::share(owner());
  }
  ByteView(ByteView&& other) noexcept : size_(std::exchange(other.size_, 0)) {
    std::memcpy(store_, other.store_, sizeof store_);
  }
  ByteView& operator=(ByteView other) noexcept {
    std::swap(size_, other.size_);
    std::swap(store_, other.store_);
    return *this;
  }
  ~ByteView() {
    if (long_form()) detail::unshare(owner());
  }
  [[nodiscard]] const std::uint8_t* data() const noexcept {
    if (!long_form()) return store_;
    const std::uint8_t* data;
    std::memcpy(&data, store_ + kDataAt, sizeof data);
    return data;
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] const std::uint8_t* begin() const noexcept { return data(); }
  [[nodiscard]] const std::uint8_t* end() const noexcept { return data() + size_; }
  [[nodiscard]] std::string_view text() const noexcept { return Bytes(*this).text(); }
  operator Bytes() const noexcept { return {data(), size_}; }  // NOLINT
  friend bool operator==(const ByteView& a, const ByteView& b) { return Bytes(a) == Bytes(b); }

 private:
  // Behind the size: 20 bytes, or 4 unused, a data pointer and an owner, aligned to 8.
  static constexpr std::size_t kDataAt = 4, kOwnerAt = 12;
  [[nodiscard]] bool long_form() const noexcept { return size_ > kInlineBytes; }
  [[nodiscard]] detail::Shared* owner() const noexcept {
    detail::Shared* owner;
    std::memcpy(&owner, store_ + kOwnerAt, sizeof(void*));
    return owner;
  }
  std::uint32_t size_ = 0;
  std::uint8_t store_[kInlineBytes] = {};
};

}  // namespace armdb

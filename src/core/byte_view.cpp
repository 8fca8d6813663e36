// How a ByteView is made.
#include "core/byte_view.hpp"

namespace armdb {

static_assert(sizeof(ByteView) == 24 && alignof(ByteView) == 8);

ByteView ByteView::inlined(Bytes bytes) noexcept {
  ByteView view;
  view.size_ = static_cast<std::uint32_t>(bytes.size());
  if (!bytes.empty()) std::memcpy(view.store_, bytes.data(), bytes.size());
  return view;
}

ByteView ByteView::adopt(detail::Shared* owner, Bytes bytes) noexcept {
  ByteView view;
  view.size_ = static_cast<std::uint32_t>(bytes.size());
  const std::uint8_t* data = bytes.data();
  std::memcpy(view.store_ + kDataAt, &data, sizeof data);
  std::memcpy(view.store_ + kOwnerAt, &owner, sizeof(void*));
  return view;
}

}  // namespace armdb

// Growing buffers.
#include "base/append.hpp"

#include <cstring>

namespace armdb::base {

// Half the code of vector::insert(), which also has to move what stands behind.
void append(std::vector<std::uint8_t>& buffer, Bytes bytes) {
  if (bytes.empty()) return;
  const std::size_t at = buffer.size();
  buffer.resize(at + bytes.size());
  std::memcpy(buffer.data() + at, bytes.data(), bytes.size());
}

}  // namespace armdb::base

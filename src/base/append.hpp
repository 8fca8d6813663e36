// append: bytes at the end of a buffer.
#pragma once

#include <cstdint>
#include <vector>

#include "core/bytes.hpp"

namespace armdb::base {

// `bytes` must not lie in `buffer`.
void append(std::vector<std::uint8_t>& buffer, Bytes bytes);

}  // namespace armdb::base

// search: plain loops over ranges. Those of <algorithm> come unrolled by four in libstdc++.
#pragma once

#include <utility>
#include <vector>

#include "core/bytes.hpp"

namespace armdb::base {

template <class Range, class Test> [[nodiscard]] bool any_of(const Range& range, Test test) {
  for (const auto& item : range) {
    if (test(item)) return true;
  }
  return false;
}

template <class Range, class T> [[nodiscard]] bool contains(const Range& range, const T& wanted) {
  return any_of(range, [&](const auto& item) { return item == wanted; });
}

// The items stay in their order.
template <class T, class Test> void erase_if(std::vector<T>& items, Test test) {
  auto kept = items.begin();
  for (T& item : items) {
    if (test(item)) continue;
    if (&item != &*kept) *kept = std::move(item);
    ++kept;
  }
  items.erase(kept, items.end());
}

// True for no bytes at all, too.
[[nodiscard]] inline bool all_zeros(Bytes bytes) noexcept {
  // Each byte equals the next one, and the first is zero.
  return bytes.empty() || (bytes[0] == 0 && bytes.sub(0, bytes.size() - 1) == bytes.sub(1));
}

}  // namespace armdb::base

// merge_sort: a stable sort of many small things; std::stable_sort costs ten times the code.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace armdb::base {

// Sorts `count` items, which are trivially copyable; `spare` has room for as many. Runs that are
// in order already are not merged again: sorted input costs one comparison per item and level.
template <class T, class Before>
void merge_sort(T* items, T* spare, std::size_t count, Before before) {
  for (std::size_t width = 1; width < count; width *= 2) {
    for (std::size_t first = 0; first + width < count; first += 2 * width) {
      const std::size_t middle = first + width;
      const std::size_t last = std::min(middle + width, count);
      if (!before(items[middle], items[middle - 1])) continue;
      std::memcpy(spare, items + first, width * sizeof(T));
      std::size_t left = 0;
      std::size_t right = middle;
      for (std::size_t to = first; left < width; ++to) {
        const bool take_right = right < last && before(items[right], spare[left]);
        items[to] = take_right ? items[right++] : spare[left++];
      }
    }
  }
}

// Sorts numbers in ascending order.
void sort_ascending(std::vector<std::uint32_t>& numbers);

}  // namespace armdb::base

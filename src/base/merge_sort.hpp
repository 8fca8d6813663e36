// merge_sort: a stable sort of many small things; std::stable_sort costs ten times the code.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/function_ref.hpp"

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
      std::size_t to = first;
      while (left < width && right < last) {
        // No branch on who is smaller: it would be mispredicted half of the time.
        const std::size_t take_right = before(items[right], spare[left]) ? 1 : 0;
        const T* const from[2] = {spare + left, items + right};
        items[to++] = *from[take_right];
        right += take_right;
        left += 1 - take_right;
      }
      std::memcpy(items + to, spare + left, (width - left) * sizeof(T));
    }
  }
}

// Sorts numbers; one instance for all.
void sort_numbers(std::vector<std::uint32_t>& numbers,
                  FunctionRef<bool(std::uint32_t, std::uint32_t)> before);
void sort_ascending(std::vector<std::uint32_t>& numbers);

}  // namespace armdb::base

// The sort of plain numbers.
#include "base/merge_sort.hpp"

namespace armdb::base {

void sort_ascending(std::vector<std::uint32_t>& numbers) {
  std::vector<std::uint32_t> spare(numbers.size());
  merge_sort(numbers.data(), spare.data(), numbers.size(),
             [](std::uint32_t a, std::uint32_t b) { return a < b; });
}

}  // namespace armdb::base

// The sort of plain numbers.
#include "base/merge_sort.hpp"

namespace armdb::base {

void sort_numbers(std::vector<std::uint32_t>& numbers,
                  FunctionRef<bool(std::uint32_t, std::uint32_t)> before) {
  std::vector<std::uint32_t> spare(numbers.size());
  merge_sort(numbers.data(), spare.data(), numbers.size(), before);
}

void sort_ascending(std::vector<std::uint32_t>& numbers) {
  sort_numbers(numbers, [](std::uint32_t a, std::uint32_t b) { return a < b; });
}

}  // namespace armdb::base

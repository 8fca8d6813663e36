// insertion_sort: stable, small, and linear on what is nearly in order already.
#pragma once

#include <iterator>
#include <utility>

namespace armdb::base {

// For some dozens of elements, or for many that stand almost right; std::stable_sort would cost
// each caller two kilobytes of code and an allocation. `before(a, b)`: a comes before b.
template <class Iterator, class Before>
void insertion_sort(Iterator first, Iterator last, Before before) {
  if (first == last) return;
  for (Iterator at = std::next(first); at != last; ++at) {
    auto value = std::move(*at);
    Iterator hole = at;
    for (; hole != first && before(value, *std::prev(hole)); --hole) {
      *hole = std::move(*std::prev(hole));
    }
    *hole = std::move(value);
  }
}

}  // namespace armdb::base

// Visiting the entries of any collection, and going on behind those that cannot be read.
#pragma once

#include <optional>
#include <string>

#include "armdb.hpp"

namespace armdb::cli {

// Which entries, and in which order. Maps have none, and are filtered.
struct Selection {
  std::optional<std::string> first;   // from this key on
  std::optional<std::string> last;    // up to this key, without it
  std::optional<std::string> prefix;  // not together with the two above
  bool descending = false;
  bool with_values = true;  // false: values on disk are left empty, and not read
};

// Calls `entry` for each, or `unreadable` where the value cannot be read, until one answers
// false. Neither may throw.
Status visit_entries(const Collection& collection, const Selection& selection,
                     FunctionRef<bool(Bytes key, Bytes value)> entry,
                     FunctionRef<bool(Bytes key, const Status& why)> unreadable);

}  // namespace armdb::cli

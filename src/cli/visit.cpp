// The loops over trees and maps.
#include "cli/visit.hpp"

#include <utility>

namespace armdb::cli {

namespace {

Cursor cursor_of(const Collection& collection, const Selection& selection) {
  if (selection.prefix) return collection.prefix_cursor(*selection.prefix, selection.descending);
  const auto first =
      selection.first ? Bound<Bytes>::inclusive(*selection.first) : Bound<Bytes>::none();
  const auto last =
      selection.last ? Bound<Bytes>::exclusive(*selection.last) : Bound<Bytes>::none();
  return collection.cursor(first, last, selection.descending);
}

bool selects(const Selection& selection, Bytes key) {
  if (selection.prefix && key.sub(0, selection.prefix->size()) != Bytes(*selection.prefix)) {
    return false;
  }
  if (selection.first && compare_bytes(key, *selection.first) < 0) return false;
  // A short end stands for the smallest key it begins, as in trees: with NULs behind it.
  if (!selection.last) return true;
  std::string last = *selection.last;
  last.resize(key.size());
  return compare_bytes(key, last) < 0;
}

}  // namespace

Status visit_entries(const Collection& collection, const Selection& selection,
                     FunctionRef<bool(Bytes key, Bytes value)> entry,
                     FunctionRef<bool(Bytes key, const Status& why)> unreadable) {
  const Shape shape = collection.shape();
  const bool read_values = selection.with_values && shape.payload == Payload::location;
  if (shape.ordered) {
    Cursor cursor = cursor_of(collection, selection);
    for (bool go_on = true; go_on && cursor.valid();) {
      if (!read_values) {
        go_on = entry(cursor.key(), cursor.value());
      } else {
        const Result<ByteView> value = cursor.read();
        if (value.ok()) {
          go_on = entry(cursor.key(), *value);
        } else if (!value.is(Errc::not_found)) {
          go_on = unreadable(cursor.key(), value.status());
        }
      }
      if (go_on) cursor.next();
    }
    return cursor.status();
  }
  return collection.for_each(
      [&](Bytes key, Bytes value) {
        if (!selects(selection, key)) return true;
        if (!read_values) return entry(key, value);
        const Result<std::optional<ByteView>> read = collection.get(key);
        if (!read.ok()) return unreadable(key, read.status());
        return !read->has_value() || entry(key, **read);
      },
      false);
}

}  // namespace armdb::cli

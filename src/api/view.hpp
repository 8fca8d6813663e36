// Ranges over trees: what iter(), range(), range_bounds() and prefix() give back.
#pragma once

#include <cstddef>
#include <iterator>
#include <utility>

#include "api/collection.hpp"
#include "api/key_traits.hpp"

namespace armdb {

// What a range yields; binds as [key, value].
template <class K, class V>
struct KeyValue {
  K key{};
  V value{};
};

// Keys and values of a tree between two bounds, in one direction. A C++20 input range: each
// begin() looks afresh. Iterators hold copies and pin nothing; writing while iterating is legal,
// and entries that stay during a whole walk are seen exactly once. `Reader` turns a cursor into
// an element; it may skip an entry that was erased meanwhile.
//
// Threads: one per range and its iterators. The collection must outlive them.
template <class Reader>
class KeyRange {
 public:
  using value_type = typename Reader::value_type;

  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using difference_type = std::ptrdiff_t;
    using value_type = typename Reader::value_type;

    iterator() = default;
    explicit iterator(Cursor cursor) : cursor_(std::move(cursor)) { settle(true); }

    const value_type& operator*() const noexcept { return element_; }
    const value_type* operator->() const noexcept { return &element_; }
    iterator& operator++() {
      cursor_.next();
      settle(true);
      return *this;
    }
    void operator++(int) { ++*this; }
    // Steps back; from the end to the last element.
    iterator& operator--() {
      cursor_.prev();
      settle(false);
      return *this;
    }
    friend bool operator==(const iterator& at, std::default_sentinel_t) noexcept {
      return !at.cursor_.valid();
    }
    // Why the walk ended early; ok at the plain end.
    [[nodiscard]] Status status() const { return cursor_.status(); }

   private:
    void settle(bool forward) {
      while (cursor_.valid() && !Reader::read(cursor_, element_)) {
        forward ? cursor_.next() : cursor_.prev();
      }
    }

    Cursor cursor_;
    value_type element_{};
  };

  KeyRange(const Collection& collection, Bound<ByteArray<Reader::kKeyBytes>> first,
           Bound<ByteArray<Reader::kKeyBytes>> last, bool descending)
      : collection_(&collection),
        first_(std::move(first)),
        last_(std::move(last)),
        descending_(descending) {}
  // All keys that begin with `prefix`.
  KeyRange(const Collection& collection, Bytes prefix, bool descending)
      : collection_(&collection), descending_(descending), by_prefix_(true) {
    prefix_size_ = prefix.size();
    for (std::size_t at = 0; at < prefix.size() && at < Reader::kKeyBytes; ++at) {
      first_.key[at] = prefix[at];
    }
  }

  [[nodiscard]] iterator begin() const {
    if (by_prefix_ && prefix_size_ > Reader::kKeyBytes) return iterator();
    if (by_prefix_) {
      return iterator(
          collection_->prefix_cursor(Bytes(first_.key.data(), prefix_size_), descending_));
    }
    return iterator(collection_->cursor({first_.kind, Bytes(first_.key)},
                                        {last_.kind, Bytes(last_.key)}, descending_));
  }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  // The same entries the other way round.
  [[nodiscard]] KeyRange reversed() const {
    KeyRange other = *this;
    other.descending_ = !descending_;
    return other;
  }

 private:
  const Collection* collection_;
  Bound<ByteArray<Reader::kKeyBytes>> first_;
  Bound<ByteArray<Reader::kKeyBytes>> last_;
  bool descending_;
  bool by_prefix_ = false;
  std::size_t prefix_size_ = 0;
};

namespace detail {

// Keys only: no value is read.
template <class K>
struct KeyReader {
  static constexpr std::size_t kKeyBytes = key_traits<K>::size;
  using value_type = K;
  static bool read(const Cursor& cursor, value_type& out) {
    out = key_traits<K>::decode(cursor.key().data());
    return true;
  }
};

template <class K>
Bound<ByteArray<key_traits<K>::size>> encoded_bound(const Bound<K>& bound) {
  Bound<ByteArray<key_traits<K>::size>> encoded;
  encoded.kind = bound.kind;
  if (bound.kind != BoundKind::none) key_traits<K>::encode(bound.key, encoded.key.data());
  return encoded;
}

}  // namespace detail
}  // namespace armdb

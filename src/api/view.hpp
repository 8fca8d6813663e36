// Ranges over trees: what iter(), range(), range_bounds() and prefix() give back.
#pragma once

#include <cstddef>
#include <cstring>
#include <iterator>
#include <utility>

#include "api/collection.hpp"
#include "api/key_traits.hpp"

namespace armdb {

// What a range yields; binds as [key, value].
template <class K, class V> struct KeyValue {
  K key{};
  V value{};
};

// Keys and values of a tree between two bounds, in one direction. A C++20 input range: each
// begin() looks afresh. Iterators hold copies and pin nothing; writing while iterating is legal,
// and entries that stay during a whole walk are seen exactly once.
// Threads: one per range and its iterators. The collection must outlive them.
template <class Reader> class KeyRange {
  using EncodedBound = Bound<ByteArray<Reader::kKeyBytes>>;

 public:
  using value_type = typename Reader::value_type;
  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using difference_type = std::ptrdiff_t;
    using value_type = typename Reader::value_type;
    iterator() = default;
    explicit iterator(Cursor cursor) : cursor_(std::move(cursor)) { settle(&Cursor::next); }
    const value_type& operator*() const noexcept { return element_; }
    const value_type* operator->() const noexcept { return &element_; }
    iterator& operator++() { return cursor_.next(), settle(&Cursor::next); }
    void operator++(int) { ++*this; }
    // Steps back, from the end to the last element.
    iterator& operator--() { return cursor_.prev(), settle(&Cursor::prev); }
    friend bool operator==(const iterator& at, std::default_sentinel_t) noexcept {
      return !at.cursor_.valid();
    }
    Status status() const { return cursor_.status(); }  // why the walk ended early

   private:
    iterator& settle(bool (Cursor::*step)()) {
      while (cursor_.valid() && !Reader::read(cursor_, element_)) (cursor_.*step)();
      return *this;
    }
    Cursor cursor_;
    value_type element_{};
  };
  KeyRange(const Collection& collection, const EncodedBound& first, const EncodedBound& last,
           bool descending)
      : collection_(&collection), first_(first), last_(last), descending_(descending) {}
  [[nodiscard]] iterator begin() const {
    return iterator(
        collection_->cursor({first_.kind, first_.key}, {last_.kind, last_.key}, descending_));
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
  EncodedBound first_;
  EncodedBound last_;
  bool descending_;
};

namespace detail {

// Keys only: no value is read.
template <class K> struct KeyReader {
  static constexpr std::size_t kKeyBytes = key_traits<K>::size;
  using value_type = K;
  static bool read(const Cursor& cursor, value_type& out) {
    out = key_traits<K>::decode(cursor.key().data());
    return true;
  }
};

template <class K> Bound<ByteArray<key_traits<K>::size>> encoded_bound(const Bound<K>& bound) {
  Bound<ByteArray<key_traits<K>::size>> encoded{bound.kind, {}};
  if (bound.kind != BoundKind::none) key_traits<K>::encode(bound.key, encoded.key.data());
  return encoded;
}

// An end of the keys that begin with `prefix`, for fill 0 and 0xff; nothing lies between them when
// it is longer than a key.
template <std::size_t N> Bound<ByteArray<N>> prefix_bound(Bytes prefix, std::uint8_t fill) {
  if (prefix.size() > N) return {BoundKind::exclusive, {}};
  Bound<ByteArray<N>> bound{BoundKind::inclusive, {}};
  bound.key.fill(fill);
  if (!prefix.empty()) std::memcpy(bound.key.data(), prefix.data(), prefix.size());
  return bound;
}

}  // namespace detail
}  // namespace armdb

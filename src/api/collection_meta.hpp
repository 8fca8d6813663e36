// CollectionMeta: what a value type says about the collection of it, at compile time.
#pragma once

#include <string>
#include <string_view>

#include "api/collections.hpp"

namespace armdb {

// Specialise for your types, and TreeOf<User> spells the whole collection:
//   template <> struct armdb::CollectionMeta<User> {
//     static constexpr std::string_view name = "users";  // of its directory
//     static constexpr std::uint32_t version = 2;        // of its values; see migrate()
//     using key_type = std::uint64_t;
//     using codec = armdb::DefaultCodec<User>;           // may be left out
//   };
template <class T> struct CollectionMeta;

template <class T>
concept HasCollectionMeta = requires {
  { CollectionMeta<T>::name } -> std::convertible_to<std::string_view>;
  { CollectionMeta<T>::version } -> std::convertible_to<std::uint32_t>;
  typename CollectionMeta<T>::key_type;
  requires Key<typename CollectionMeta<T>::key_type>;
};

namespace detail {

template <class T> struct MetaCodec { using type = DefaultCodec<T>; };
template <class T>
requires requires { typename CollectionMeta<T>::codec; }
struct MetaCodec<T> {
  using type = typename CollectionMeta<T>::codec;
};
template <class T> using MetaKey = typename CollectionMeta<T>::key_type;

}  // namespace detail

// Decoded in memory, or decoded when read.
template <HasCollectionMeta T, class Hook = NoHook>
using TreeOf = TypedTree<detail::MetaKey<T>, T, typename detail::MetaCodec<T>::type, Hook>;
template <HasCollectionMeta T, class Hook = NoHook>
using MapOf = TypedMap<detail::MetaKey<T>, T, typename detail::MetaCodec<T>::type, Hook>;
template <HasCollectionMeta T, class Hook = NoHook>
using VarTreeOf = VarTypedTree<detail::MetaKey<T>, T, typename detail::MetaCodec<T>::type, Hook>;
template <HasCollectionMeta T, class Hook = NoHook>
using VarMapOf = VarTypedMap<detail::MetaKey<T>, T, typename detail::MetaCodec<T>::type, Hook>;

// "directory/name".
template <HasCollectionMeta T>
[[nodiscard]] std::string collection_path(std::string_view directory) {
  return std::string(directory) + "/" + std::string(CollectionMeta<T>::name);
}

}  // namespace armdb

// The unordered collections: each as its tree, in a hash table. Operations on one key are O(1).
#pragma once

#include "api/face.hpp"

namespace armdb {

template <Key K, class V, class Hook = NoHook, class Store = Bitcask>
using ConstMap = detail::Typed<K, detail::InlineValues<V, true>, false, Hook, Store>;

template <Key K, class T, class Hook = NoHook, class Store = Bitcask>
using ZeroMap = detail::Typed<K, detail::InlineValues<T, false>, false, Hook, Store>;

template <Key K, class T, class C = DefaultCodec<T>, class Hook = NoHook, class Store = Bitcask>
using TypedMap = detail::Typed<K, detail::ObjectValues<T, C>, false, Hook, Store>;

template <Key K, class Hook = NoHook, class Store = Bitcask>
using VarMap = detail::Typed<K, detail::ByteValues, false, Hook, Store>;

template <Key K, class T, class C = DefaultCodec<T>, class Hook = NoHook, class Store = Bitcask>
using VarTypedMap = detail::Typed<K, detail::DecodedValues<T, C>, false, Hook, Store>;

}  // namespace armdb

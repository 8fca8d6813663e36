// The ten collections: a tree and a map for each kind of values.
//
// detail::Face has all operations, detail::TreeFace those of trees. One key costs O(log n) in trees
// and O(1) in maps.
#pragma once

#include "api/face.hpp"

namespace armdb {

// Values of one size, V = ByteArray<N>, kept in memory and logged to disk. Reads copy, take no
// lock and cannot fail.
template <Key K, class V, class Hook = NoHook, class Store = Bitcask>
using ConstTree = detail::Typed<K, detail::InlineValues<V, true>, true, Hook, Store>;
template <Key K, class V, class Hook = NoHook, class Store = Bitcask>
using ConstMap = detail::Typed<K, detail::InlineValues<V, true>, false, Hook, Store>;

// The same for a trivially copyable type without padding, stored as it lies in memory: in the byte
// order of the machine.
template <Key K, class T, class Hook = NoHook, class Store = Bitcask>
using ZeroTree = detail::Typed<K, detail::InlineValues<T, false>, true, Hook, Store>;
template <Key K, class T, class Hook = NoHook, class Store = Bitcask>
using ZeroMap = detail::Typed<K, detail::InlineValues<T, false>, false, Hook, Store>;

// Const* on the Fixed store: counters, sessions, metrics.
template <Key K, class V, class Hook = NoHook> using FixedTree = ConstTree<K, V, Hook, Fixed>;
template <Key K, class V, class Hook = NoHook> using FixedMap = ConstMap<K, V, Hook, Fixed>;

// A type that codec C encodes, kept decoded in memory. Reads give a TypedRef and copy nothing.
template <Key K, class T, class C = DefaultCodec<T>, class Hook = NoHook, class Store = Bitcask>
using TypedTree = detail::Typed<K, detail::ObjectValues<T, C>, true, Hook, Store>;
template <Key K, class T, class C = DefaultCodec<T>, class Hook = NoHook, class Store = Bitcask>
using TypedMap = detail::Typed<K, detail::ObjectValues<T, C>, false, Hook, Store>;

// Values of any length up to 1 GiB, kept on disk; the index holds where they lie. Ranges yield each
// value as a Result, since reading it can fail.
template <Key K, class Hook = NoHook, class Store = Bitcask>
using VarTree = detail::Typed<K, detail::ByteValues, true, Hook, Store>;
template <Key K, class Hook = NoHook, class Store = Bitcask>
using VarMap = detail::Typed<K, detail::ByteValues, false, Hook, Store>;

// A type that codec C encodes, kept on disk and decoded when it is read.
template <Key K, class T, class C = DefaultCodec<T>, class Hook = NoHook, class Store = Bitcask>
using VarTypedTree = detail::Typed<K, detail::DecodedValues<T, C>, true, Hook, Store>;
template <Key K, class T, class C = DefaultCodec<T>, class Hook = NoHook, class Store = Bitcask>
using VarTypedMap = detail::Typed<K, detail::DecodedValues<T, C>, false, Hook, Store>;

}  // namespace armdb

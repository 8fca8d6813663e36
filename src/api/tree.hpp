// ConstTree and VarTree: ordered collections.
#pragma once

#include <string_view>

#include "api/face.hpp"

namespace armdb {

// An ordered collection of values of one size, V = ByteArray<N>, kept in memory and logged to
// disk. See Collection for errors, durability and threads.
template <Key K, class V>
class ConstTree
    : public detail::TreeFace<detail::ConstFace<K, V, true>, K, detail::InlineReader<K, V>> {
  using Face = detail::TreeFace<detail::ConstFace<K, V, true>, K, detail::InlineReader<K, V>>;

 public:
  ConstTree() noexcept = default;
  static Result<ConstTree> open(std::string_view path, const Config& config = {}) {
    Result<Collection> collection = Collection::open(path, Face::kShape, config);
    if (!collection.ok()) return std::move(collection).status();
    return ConstTree(std::move(*collection), config.reversed);
  }

 private:
  ConstTree(Collection collection, bool descending) noexcept
      : Face(std::move(collection), descending) {}
};

// An ordered collection of values of any length, kept on disk. Ranges yield each value as a
// Result, since reading it can fail.
template <Key K>
class VarTree : public detail::TreeFace<detail::VarFace<K, true>, K, detail::StoredReader<K>> {
  using Face = detail::TreeFace<detail::VarFace<K, true>, K, detail::StoredReader<K>>;

 public:
  VarTree() noexcept = default;
  static Result<VarTree> open(std::string_view path, const Config& config = {}) {
    Result<Collection> collection = Collection::open(path, Face::kShape, config);
    if (!collection.ok()) return std::move(collection).status();
    return VarTree(std::move(*collection), config.reversed);
  }

 private:
  VarTree(Collection collection, bool descending) noexcept
      : Face(std::move(collection), descending) {}
};

}  // namespace armdb

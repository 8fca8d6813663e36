// ConstMap and VarMap: unordered collections.
#pragma once

#include <string_view>

#include "api/face.hpp"

namespace armdb {

// A hash map of values of one size, V = ByteArray<N>, kept in memory and logged to disk. See
// Collection for errors, durability and threads.
template <Key K, class V>
class ConstMap : public detail::ConstFace<K, V, false> {
  using Face = detail::ConstFace<K, V, false>;

 public:
  ConstMap() noexcept = default;
  static Result<ConstMap> open(std::string_view path, const Config& config = {}) {
    Result<Collection> collection = Collection::open(path, Face::kShape, config);
    if (!collection.ok()) return std::move(collection).status();
    return ConstMap(std::move(*collection));
  }

  // Calls fn(const K&, const V&) for each entry, in no order; fn may return false to stop.
  // Writing beside it is legal; entries that stay are seen exactly once.
  template <class F>
  Status for_each(F&& fn) const {
    return this->collection_.for_each([&](Bytes key, Bytes value) {
      V copy;
      std::memcpy(copy.data(), value.data(), sizeof(V));
      if constexpr (std::is_void_v<std::invoke_result_t<F&, const K&, const V&>>) {
        fn(key_traits<K>::decode(key.data()), copy);
        return true;
      } else {
        return static_cast<bool>(fn(key_traits<K>::decode(key.data()), copy));
      }
    });
  }

 private:
  explicit ConstMap(Collection collection) noexcept : Face(std::move(collection)) {}
};

// A hash map of values of any length, kept on disk.
template <Key K>
class VarMap : public detail::VarFace<K, false> {
  using Face = detail::VarFace<K, false>;

 public:
  VarMap() noexcept = default;
  static Result<VarMap> open(std::string_view path, const Config& config = {}) {
    Result<Collection> collection = Collection::open(path, Face::kShape, config);
    if (!collection.ok()) return std::move(collection).status();
    return VarMap(std::move(*collection));
  }

  // Calls fn(const K&, Bytes) for each entry, in no order; fn may return false to stop. A value
  // that cannot be read ends the walk with its error.
  template <class F>
  Status for_each(F&& fn) const {
    return this->collection_.for_each([&](Bytes key, Bytes value) {
      if constexpr (std::is_void_v<std::invoke_result_t<F&, const K&, Bytes>>) {
        fn(key_traits<K>::decode(key.data()), value);
        return true;
      } else {
        return static_cast<bool>(fn(key_traits<K>::decode(key.data()), value));
      }
    });
  }

 private:
  explicit VarMap(Collection collection) noexcept : Face(std::move(collection)) {}
};

}  // namespace armdb

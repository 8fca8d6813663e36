// DecodedValue: the decoded form of a value that came as bytes, where such are kept; ends with its
// scope.
#pragma once

#include "engine/engine.hpp"

namespace armdb::engine {

class DecodedValue {
 public:
  // `given` is taken as it is; without one, `value` is decoded, if it is one at all.
  DecodedValue(const Engine& engine, Bytes value, detail::Shared* given, Status& status,
               bool is_value = true)
      : object_(given) {
    if (given != nullptr || !is_value || engine.objects() == nullptr) return;
    object_ = own_ = engine.objects()->decode(value, status);
  }
  ~DecodedValue() {
    if (own_ != nullptr) detail::unshare(own_);
  }
  DecodedValue(const DecodedValue&) = delete;
  DecodedValue& operator=(const DecodedValue&) = delete;
  [[nodiscard]] detail::Shared* get() const noexcept { return object_; }

 private:
  detail::Shared* object_;
  detail::Shared* own_ = nullptr;
};

}  // namespace armdb::engine

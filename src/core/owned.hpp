// Owned<T>: a unique owner, which deletes. Here in place of <memory>, which costs parse time.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

namespace armdb {

template <class T> class Owned {
 public:
  constexpr Owned() noexcept = default;
  constexpr Owned(std::nullptr_t) noexcept {}  // NOLINT(google-explicit-constructor)
  constexpr explicit Owned(T* pointer) noexcept : pointer_(pointer) {}
  template <class U>
  requires std::is_convertible_v<U*, T*>
  constexpr Owned(Owned<U>&& other) noexcept  // NOLINT(google-explicit-constructor)
      : pointer_(other.release()) {}
  Owned(Owned&& other) noexcept : pointer_(other.release()) {}
  Owned& operator=(Owned&& other) noexcept {
    reset(other.release());
    return *this;
  }
  ~Owned() { delete pointer_; }
  [[nodiscard]] T* get() const noexcept { return pointer_; }
  T* operator->() const noexcept { return pointer_; }
  T& operator*() const noexcept { return *pointer_; }
  explicit operator bool() const noexcept { return pointer_ != nullptr; }
  [[nodiscard]] T* release() noexcept { return std::exchange(pointer_, nullptr); }
  void reset(T* pointer = nullptr) noexcept { delete std::exchange(pointer_, pointer); }

 private:
  T* pointer_ = nullptr;
};

}  // namespace armdb

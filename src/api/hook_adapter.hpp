// HookAdapter: a user's hook, with its types, as the engine sees it.
#pragma once

#include "api/values.hpp"
#include "core/hook.hpp"

namespace armdb {
namespace detail {

template <class H, class K, class Values> class HookAdapter final : public Hook {
 public:
  HookAdapter(H& hook, const Log& log) noexcept
      : Hook(H::needs_old_value, H::needs_init), hook_(hook), log_(log) {}
  void on_write(Bytes key, const HookValue* before, const HookValue* after) noexcept override {
    const K decoded = key_traits<K>::decode(key.data());
    show(before, [&](const V* old_value) {
      show(after, [&](const V* new_value) { hook_.on_write(decoded, old_value, new_value); });
    });
  }
  Status on_init(Bytes key, const HookValue& value) noexcept override {
    return Values::view(value.bytes, value.object, [&](const V& shown) {
      if constexpr (H::needs_init) hook_.on_init(key_traits<K>::decode(key.data()), shown);
    });
  }

 private:
  using V = typename Values::Hooked;
  template <class F> void show(const HookValue* value, F use) {
    if (value == nullptr) return use(nullptr);
    const Status status =
        Values::view(value->bytes, value->object, [&](const V& shown) { use(&shown); });
    if (status.ok()) return;
    if (log_.callback != nullptr) {
      log_.callback(log_.context, LogLevel::error,
                    "a hook is not told a value that cannot be decoded: " + status.message());
    }
    use(nullptr);
  }
  H& hook_;
  const Log log_;
};

}  // namespace detail
}  // namespace armdb

// HookAdapter: a user's hook, with its types, as the engine sees it.
#pragma once

#include "api/key_traits.hpp"
#include "core/config.hpp"
#include "core/hook.hpp"

namespace armdb::detail {

template <class H, class K, class Values>
class HookAdapter final : public Hook {
 public:
  HookAdapter(H& hook, const Log& log) noexcept
      : Hook(H::needs_old_value, H::needs_init), hook_(hook), log_(log) {}

  void on_write(Bytes key, const HookValue* old_value,
                const HookValue* new_value) noexcept override {
    typename Values::HookSlot slots[2]{};
    Status status;
    const auto* before = Values::for_hook(old_value, slots[0], status);
    const auto* after = Values::for_hook(new_value, slots[1], status);
    if (!status.ok() && log_.callback != nullptr) {
      log_.callback(log_.context, LogLevel::error,
                    "a hook is not told a value that cannot be decoded: " + status.message());
    }
    hook_.on_write(key_traits<K>::decode(key.data()), before, after);
  }
  Status on_init(Bytes key, const HookValue& value) noexcept override {
    typename Values::HookSlot slot{};
    Status status;
    const auto* shown = Values::for_hook(&value, slot, status);
    if (status.ok()) hook_.on_init(key_traits<K>::decode(key.data()), *shown);
    return status;
  }

 private:
  H& hook_;
  const Log log_;
};

}  // namespace armdb::detail

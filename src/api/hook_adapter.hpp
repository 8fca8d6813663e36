// HookAdapter: a user's hook, with its types, as the engine sees it.
#pragma once

#include "api/key_traits.hpp"
#include "core/hook.hpp"

namespace armdb::detail {

template <class H, class K, class Values>
class HookAdapter final : public Hook {
 public:
  explicit HookAdapter(H& hook) noexcept : Hook(H::needs_old_value, H::needs_init), hook_(hook) {}

  void on_write(Bytes key, const HookValue* old_value,
                const HookValue* new_value) noexcept override {
    typename Values::HookSlot old_slot{};
    typename Values::HookSlot new_slot{};
    hook_.on_write(key_traits<K>::decode(key.data()), Values::for_hook(old_value, old_slot),
                   Values::for_hook(new_value, new_slot));
  }
  void on_init(Bytes key, const HookValue& value) noexcept override {
    typename Values::HookSlot slot{};
    const auto* shown = Values::for_hook(&value, slot);
    if (shown != nullptr) hook_.on_init(key_traits<K>::decode(key.data()), *shown);
  }

 private:
  H& hook_;
};

}  // namespace armdb::detail

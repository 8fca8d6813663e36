// Hooks: how a program is told of each write, to keep a secondary index right.
#pragma once

#include <cstdint>

#include "core/byte_view.hpp"
#include "core/bytes.hpp"
#include "core/status.hpp"

namespace armdb {

// The hook of a collection that has none. Costs nothing.
struct NoHook {};

// A base for hooks: of collections of a type (Zero*, Typed*, VarTyped*), or with V = Bytes of those
// whose values are bytes (Const*, Var*). Any class with these members will do; overriding `needs_*`
// in it is how it says what it needs.
//
// Called under the lock of the key's shard, after the write happened and readers can see it: in
// the order of the writes of a key. Must be quick, must not throw, and must not call its own
// collection (others may be written). Views end with the call.
template <class K, class V> class TypedWriteHook {
 public:
  // false spares collections with values on disk the read of the old one; it is null then.
  static constexpr bool needs_old_value = true;
  // true: on_init() is called for each entry while the collection is opened, in no order; also for
  // those that have expired and were not swept yet.
  static constexpr bool needs_init = false;
  virtual ~TypedWriteHook() = default;
  // `old_value` is null when the key was not there, `new_value` when it was erased; both, with a
  // word to Config::log, when the bytes are damaged or rejected by the codec. An entry that expired
  // counts as there until it is swept or overwritten.
  virtual void on_write(const K& key, const V* old_value, const V* new_value) = 0;
  // A value that its codec rejects fails the opening instead.
  virtual void on_init(const K& /*key*/, const V& /*value*/) {}
};
template <class K> class WriteHook : public TypedWriteHook<K, Bytes> {};

namespace detail {

// A value as a hook gets it from the engine.
struct HookValue {
  Bytes bytes;
  Shared* object = nullptr;  // collections that keep decoded values
};

// The engine's side of a hook.
class Hook {
 public:
  Hook(bool needs_old_in, bool needs_init_in) noexcept
      : needs_old(needs_old_in), needs_init(needs_init_in) {}
  virtual ~Hook() = default;
  virtual void on_write(Bytes key, const HookValue* before, const HookValue* after) noexcept = 0;
  // An error ends the opening: the hook would miss an entry.
  virtual Status on_init(Bytes key, const HookValue& value) noexcept = 0;
  const bool needs_old;
  const bool needs_init;
};

// How a face decodes values that are kept decoded. The object has one reference.
struct ObjectOps {
  Shared* (*decode)(Bytes value, Status& status) noexcept;
};

}  // namespace detail
}  // namespace armdb

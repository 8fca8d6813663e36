// The four kinds of values: bytes of one size or a trivially copyable type, kept in the index
// (InlineValues); bytes of any length, kept on disk (ByteValues); a type that a codec encodes, kept
// decoded in memory (ObjectValues) or decoded when it is read (DecodedValues).
//
// Each says the same things: what writes take (In), what reads give (Out), how one becomes the
// other. Face has the calls.
#pragma once

#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "api/codec.hpp"
#include "api/collection.hpp"
#include "api/key_traits.hpp"
#include "api/view.hpp"

namespace armdb {

namespace detail {

// A decoded value on the heap, shared by the index and all who read it.
template <class T>
struct ObjectNode : Shared {
  T value;

  explicit ObjectNode(T value_in = T{}) : value(std::move(value_in)) {
    destroy = [](Shared* self) noexcept { delete static_cast<ObjectNode*>(self); };
  }
};

// One reference.
class SharedHold {
 public:
  SharedHold() noexcept = default;
  explicit SharedHold(Shared* owned) noexcept : shared_(owned) {}
  SharedHold(SharedHold&& other) noexcept : shared_(other.release()) {}
  SharedHold& operator=(SharedHold&& other) noexcept {
    SharedHold old(std::exchange(shared_, other.release()));
    return *this;
  }
  SharedHold(const SharedHold& other) noexcept : shared_(other.shared_) {
    if (shared_ != nullptr) share(shared_);
  }
  SharedHold& operator=(const SharedHold& other) noexcept { return *this = SharedHold(other); }
  ~SharedHold() {
    if (shared_ != nullptr) unshare(shared_);
  }
  [[nodiscard]] Shared* get() const noexcept { return shared_; }
  [[nodiscard]] Shared* release() noexcept { return std::exchange(shared_, nullptr); }

 private:
  Shared* shared_ = nullptr;
};

// A value as it goes to the engine, and the memory it lies in.
struct Encoded {
  Bytes bytes;
  SharedHold object;

  Encoded() noexcept = default;
  Encoded(const Encoded&) = delete;
  Encoded& operator=(const Encoded&) = delete;
  Encoded& operator=(Encoded&& other) noexcept {
    object = std::move(other.object);
    bytes = {};
    return *this;
  }
  // Room for `size` bytes, which `bytes` then shows.
  MutableBytes room(std::size_t size) {
    std::uint8_t* at = small_;
    if (size > sizeof small_) {
      large_.resize(size);
      at = reinterpret_cast<std::uint8_t*>(large_.data());
    }
    bytes = Bytes(at, size);
    return {at, size};
  }

 private:
  std::uint8_t small_[128];
  std::string large_;
};

}  // namespace detail

// A decoded value of a TypedTree or TypedMap, valid and unchanged for as long as this is held,
// whatever is written meanwhile. Empty when the key was not there. Copying shares.
// Threads: as a std::shared_ptr.
template <class T>
class TypedRef {
 public:
  TypedRef() noexcept = default;
  explicit TypedRef(detail::SharedHold held) noexcept : held_(std::move(held)) {}

  explicit operator bool() const noexcept { return held_.get() != nullptr; }
  [[nodiscard]] bool has_value() const noexcept { return held_.get() != nullptr; }
  // Only when there is a value.
  const T& operator*() const noexcept {
    return static_cast<const detail::ObjectNode<T>*>(held_.get())->value;
  }
  const T* operator->() const noexcept { return &**this; }

 private:
  detail::SharedHold held_;
};

namespace detail {

// ---- Bytes (Const*) or a trivially copyable type (Zero*), in the index ----

template <class T, bool kIsBytes>
struct InlineValues {
  static_assert(!kIsBytes || std::is_same_v<T, ByteArray<sizeof(T)>>,
                "values of Const* are ByteArray<N>; use Zero* for types, Var* for other lengths");
  static_assert(std::is_trivially_copyable_v<T> && has_no_padding<T>,
                "values of Zero* are trivially copyable, and padding bytes would reach the disk: "
                "give T explicit padding fields, or specialise armdb::has_no_padding<T>");
  using In = T;
  using Out = T;
  using Decoded = T;
  using Changed = T;  // of a MigrateAction
  using Slot = std::optional<T>;
  static constexpr Payload kPayload = Payload::value;
  static constexpr std::uint32_t kValueSize = sizeof(T);
  static constexpr bool kComparesBytes = true;
  static constexpr std::size_t kRound = 64;

  static const ObjectOps* objects() noexcept { return nullptr; }
  static Status encode(const T& value, Encoded& out) noexcept {
    out.bytes = Bytes(reinterpret_cast<const std::uint8_t*>(&value), sizeof(T));
    return {};
  }
  static Status decode(Bytes bytes, Shared*, T& out) noexcept {
    std::memcpy(static_cast<void*>(&out), bytes.data(), sizeof(T));
    return {};
  }
  static const T& show(const T& value) noexcept { return value; }
  static Result<T> own(const T& value) { return value; }

  static std::optional<T> get(const Collection& collection, Bytes key) noexcept {
    std::optional<T> value(std::in_place);
    if (!collection.get_into(key.data(), at(*value))) value.reset();
    return value;
  }
  static Result<std::optional<T>> get_stamped(const Collection& collection, Bytes key,
                                              Stamp& seen) {
    std::optional<T> value(std::in_place);
    if (!collection.get_into(key.data(), at(*value), &seen)) value.reset();
    return value;
  }
  static T or_else(std::optional<T>&& value, const T& fallback) noexcept {
    return value.has_value() ? *value : fallback;
  }
  // Where get_many() copies a value to, and what it does when that is done.
  using Scratch = Shared*;
  static std::uint8_t* lookup_to(Slot& slot, Scratch&) noexcept { return at(slot.emplace()); }
  static void look_up(const Collection& collection, std::span<BytesLookup> lookups) noexcept {
    collection.get_many(lookups);
  }
  static void looked_up(Slot& slot, bool found, Scratch&) noexcept {
    if (!found) slot.reset();
  }
  struct HookSlot {
    T value{};
  };
  // Hooks of Const* get bytes, those of Zero* the type.
  static auto for_hook(const HookValue* value, HookSlot& slot, Status&) noexcept {
    if constexpr (kIsBytes) {
      return value != nullptr ? &value->bytes : nullptr;
    } else {
      if (value != nullptr) static_cast<void>(decode(value->bytes, nullptr, slot.value));
      return value != nullptr ? static_cast<const T*>(&slot.value) : nullptr;
    }
  }
  using Element = T;  // of a range
  static bool element(const Cursor& cursor, T& out) { return decode(cursor.value(), {}, out).ok(); }

 private:
  static std::uint8_t* at(T& value) noexcept { return reinterpret_cast<std::uint8_t*>(&value); }
};

// ---- On disk: bytes (Var*), or a type that is decoded when it is read (VarTyped*) ----

// `D` says how bytes become an Out, which may take the view over.
template <class D, class O>
struct DiskValues {
  using Out = O;
  using Slot = std::optional<O>;
  static constexpr Payload kPayload = Payload::location;
  static constexpr std::uint32_t kValueSize = 0;
  static constexpr std::size_t kRound = 16;

  static const ObjectOps* objects() noexcept { return nullptr; }
  // A value that cannot be decoded is an error with key and file, never "not there".
  static Result<std::optional<O>> get_stamped(const Collection& collection, Bytes key,
                                              Stamp& seen) {
    std::optional<O> out;
    Result<std::optional<ByteView>> bytes = collection.get(key, &seen);
    if (!bytes.ok()) return std::move(bytes).status();
    if (!bytes->has_value()) return out;
    Status status = D::decode_view(std::move(**bytes), out.emplace());
    if (!status.ok()) return collection.describe(status, key);
    return out;
  }
  static Result<std::optional<O>> get(const Collection& collection, Bytes key) {
    Stamp unused;
    return get_stamped(collection, key, unused);
  }
  template <class Fallback>
  static Result<O> or_else(Result<std::optional<O>>&& value, const Fallback& fallback) {
    if (!value.ok()) return std::move(value).status();
    return value->has_value() ? Result<O>(std::move(**value)) : D::own(fallback);
  }
  using Element = Result<O>;
  static bool element(const Cursor& cursor, Element& out) {
    Result<ByteView> bytes = cursor.read();
    if (bytes.is(Errc::not_found)) return false;
    O value{};
    Status status = bytes.ok() ? D::decode_view(std::move(*bytes), value) : bytes.status();
    out = status.ok() ? Element(std::move(value)) : Element(std::move(status));
    return true;
  }
};

struct ByteValues : DiskValues<ByteValues, ByteView> {
  using In = Bytes;
  using Decoded = Bytes;
  using Changed = std::string;
  static constexpr bool kComparesBytes = true;

  static Status encode(Bytes value, Encoded& out) noexcept {
    out.bytes = value;
    return {};
  }
  static Status decode(Bytes bytes, Shared*, Bytes& out) noexcept {
    out = bytes;
    return {};
  }
  static Status decode(Bytes bytes, Shared*, ByteView& out) {
    Result<ByteView> view = make_view(bytes);
    if (view.ok()) out = std::move(*view);
    return std::move(view).status();
  }
  static Status decode_view(ByteView&& view, ByteView& out) noexcept {
    out = std::move(view);
    return {};
  }
  static Bytes show(const ByteView& value) noexcept { return value; }
  static Result<ByteView> own(Bytes value) { return make_view(value); }
  struct HookSlot {};
  static const Bytes* for_hook(const HookValue* value, HookSlot&, Status&) noexcept {
    return value != nullptr ? &value->bytes : nullptr;
  }
};

template <class T, Codec<T> C>
struct DecodedValues : DiskValues<DecodedValues<T, C>, T> {
  using In = T;
  using Decoded = T;
  using Changed = T;
  static constexpr bool kComparesBytes = false;

  static Status encode(const T& value, Encoded& out) {
    return C::encode(value, out.room(C::size(value)));
  }
  static Status decode(Bytes bytes, Shared*, T& out) { return C::decode(bytes, out); }
  static Status decode_view(ByteView&& view, T& out) { return C::decode(view, out); }
  static const T& show(const T& value) noexcept { return value; }
  static Result<T> own(T value) { return value; }
  static bool same(const T& a, const T& b) { return same_value<C>(a, b); }
  using HookSlot = std::optional<T>;
  static const T* for_hook(const HookValue* value, HookSlot& slot, Status& status) {
    if (value == nullptr) return nullptr;
    Status decoded = C::decode(value->bytes, slot.emplace());
    if (decoded.ok()) return &*slot;
    status = std::move(decoded);
    return nullptr;
  }
};

// ---- A type, decoded in memory (Typed*) ----

template <class T, Codec<T> C>
struct ObjectValues {
  using In = T;
  using Out = TypedRef<T>;
  using Decoded = T;
  using Changed = T;
  using Slot = TypedRef<T>;
  using Node = ObjectNode<T>;
  static constexpr Payload kPayload = Payload::location;
  static constexpr std::uint32_t kValueSize = 0;
  static constexpr bool kComparesBytes = false;
  static constexpr std::size_t kRound = 16;

  static Shared* decode_object(Bytes bytes, Status& status) noexcept {
    Node* node = new (std::nothrow) Node;
    status = node == nullptr ? no_memory() : C::decode(bytes, node->value);
    if (status.ok()) return node;
    delete node;
    return nullptr;
  }
  static constexpr ObjectOps kOps{&decode_object};
  static const ObjectOps* objects() noexcept { return &kOps; }

  static Status encode(const T& value, Encoded& out) {
    Status status = C::encode(value, out.room(C::size(value)));
    if (!status.ok()) return status;
    out.object = SharedHold(new (std::nothrow) Node(value));
    return out.object.get() == nullptr ? no_memory() : Status();
  }
  static Status decode(Bytes bytes, Shared*, T& out) { return C::decode(bytes, out); }
  static Status decode(Bytes bytes, Shared* object, TypedRef<T>& out) {
    Status status;
    if (object != nullptr) share(object);
    if (object == nullptr) object = decode_object(bytes, status);
    out = TypedRef<T>(SharedHold(object));
    return status;
  }
  static const T& show(const TypedRef<T>& value) noexcept { return *value; }
  static Result<TypedRef<T>> own(T value) {
    Node* node = new (std::nothrow) Node(std::move(value));
    if (node == nullptr) return no_memory();
    return TypedRef<T>(SharedHold(node));
  }
  static bool same(const T& a, const T& b) { return same_value<C>(a, b); }

  static TypedRef<T> get(const Collection& collection, Bytes key) noexcept {
    return TypedRef<T>(SharedHold(collection.get_object(key)));
  }
  static Result<std::optional<TypedRef<T>>> get_stamped(const Collection& collection, Bytes key,
                                                        Stamp& seen) {
    std::optional<TypedRef<T>> value(SharedHold(collection.get_object(key, &seen)));
    if (!value->has_value()) value.reset();
    return value;
  }
  static T or_else(const TypedRef<T>& value, const T& fallback) {
    return value ? *value : fallback;
  }
  using Scratch = Shared*;
  static std::uint8_t* lookup_to(Slot&, Scratch& found) noexcept {
    return reinterpret_cast<std::uint8_t*>(&found);
  }
  static void look_up(const Collection& collection, std::span<BytesLookup> lookups) noexcept {
    collection.get_objects(lookups);
  }
  static void looked_up(Slot& slot, bool found, Scratch& object) noexcept {
    slot = TypedRef<T>(SharedHold(found ? object : nullptr));
  }
  struct HookSlot {};
  static const T* for_hook(const HookValue* value, HookSlot&, Status&) noexcept {
    return value != nullptr ? &static_cast<const Node*>(value->object)->value : nullptr;
  }
  using Element = TypedRef<T>;
  static bool element(const Cursor& cursor, Element& out) {
    out = TypedRef<T>(SharedHold(cursor.object()));
    return out.has_value();
  }

 private:
  static Status no_memory() { return Status(Errc::out_of_memory, "no memory for a decoded value"); }
};

}  // namespace detail
}  // namespace armdb

// Kinds of values: what writes take (In), what reads give (Out), how one becomes the other.
#pragma once

#include <cstddef>
#include <cstring>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "api/codec.hpp"
#include "api/collection.hpp"
#include "api/key_traits.hpp"

namespace armdb {
namespace detail {

// A decoded value on the heap, shared by the index and all who read it.
template <class T> struct ObjectNode : Shared {
  T value;
  explicit ObjectNode(T value_in = T{}) : value(std::move(value_in)) {
    destroy = [](Shared* self) noexcept { delete static_cast<ObjectNode*>(self); };
  }
};

class SharedHold {
 public:
  explicit SharedHold(Shared* owned = nullptr) noexcept : shared_(owned) {}
  SharedHold(SharedHold&& other) noexcept : shared_(other.release()) {}
  SharedHold(const SharedHold& other) noexcept : shared_(other.shared_) {
    if (shared_ != nullptr) share(shared_);
  }
  SharedHold& operator=(SharedHold other) noexcept {
    std::swap(shared_, other.shared_);
    return *this;
  }
  ~SharedHold() {
    if (shared_ != nullptr) unshare(shared_);
  }
  [[nodiscard]] Shared* get() const noexcept { return shared_; }
  [[nodiscard]] Shared* release() noexcept { return std::exchange(shared_, nullptr); }
  // Where somebody else puts a reference to hold.
  [[nodiscard]] std::uint8_t* place() noexcept {
    *this = SharedHold();
    return reinterpret_cast<std::uint8_t*>(&shared_);
  }

 private:
  Shared* shared_;
};

// A value as it goes to the engine, and the memory it lies in.
struct Encoded {
  Bytes bytes;
  SharedHold object;
  Encoded() noexcept = default;  // cppcheck-suppress uninitMemberVar ; small_ is room
  Encoded(const Encoded&) = delete;
  Encoded& operator=(const Encoded&) = delete;
  // Room for `size` bytes, which `bytes` then shows.
  MutableBytes room(std::size_t size);
  // The call with this value.
  WriteCall in(WriteCall call, Bytes key) const noexcept {
    call.key = key;
    call.value = bytes;
    call.object = object.get();
    return call;
  }

 private:
  std::uint8_t small_[128];
  std::string large_;
};

}  // namespace detail

// A decoded value of a TypedTree or TypedMap, valid and unchanged for as long as this is held,
// whatever is written meanwhile. Empty when the key was not there. Copying shares.
// Threads: as a std::shared_ptr.
template <class T> class TypedRef {
 public:
  TypedRef() noexcept = default;
  explicit TypedRef(detail::SharedHold held) noexcept : held_(std::move(held)) {}
  explicit operator bool() const noexcept { return has_value(); }
  [[nodiscard]] bool has_value() const noexcept { return held_.get() != nullptr; }
  // Only when there is a value.
  const T& operator*() const noexcept {
    return static_cast<const detail::ObjectNode<T>*>(held_.get())->value;
  }
  const T* operator->() const noexcept { return &**this; }
  [[nodiscard]] detail::SharedHold& hold() noexcept { return held_; }

 private:
  detail::SharedHold held_;
};

namespace detail {

// What kind `D` of values leaves as it is: written and shown as I, read as O.
template <class D, class I, class O = I> struct AnyValues {
  using In = I;
  using Out = O;
  using Changed = I;              // of a MigrateAction
  using Hooked = I;               // what hooks are shown
  using Slot = std::optional<O>;  // of get_many
  static constexpr const ObjectOps* kObjects = nullptr;
  static constexpr Payload kPayload = Payload::location;
  static constexpr std::uint32_t kValueSize = 0;
  static const I& show(const I& value) noexcept { return value; }
  static Result<O> own(I value) { return value; }
  // Calls use(const I&), unless the bytes cannot be decoded.
  template <class F> static Status view(Bytes bytes, Shared* object, F use) {
    O value{};
    Status status = D::decode(bytes, object, value);
    if (status.ok()) use(D::show(value));
    return status;
  }
};

// In the index: bytes (Const*), or a trivially copyable type (Zero*).
template <class T, bool kIsBytes> struct InlineValues : AnyValues<InlineValues<T, kIsBytes>, T> {
  static_assert(!kIsBytes || std::is_same_v<T, ByteArray<sizeof(T)>>,
                "values of Const* are ByteArray<N>; use Zero* for types, Var* for other lengths");
  static_assert(std::is_trivially_copyable_v<T> && has_no_padding<T>,
                "values of Zero* are trivially copyable, and padding bytes would reach the disk: "
                "give T explicit padding fields, or specialise armdb::has_no_padding<T>");
  using Hooked = std::conditional_t<kIsBytes, Bytes, T>;
  using Element = T;  // of a range
  static constexpr Payload kPayload = Payload::value;
  static constexpr std::uint32_t kValueSize = sizeof(T);
  static Status encode(const T& value, Encoded& out) noexcept {
    out.bytes = Bytes(reinterpret_cast<const std::uint8_t*>(&value), sizeof(T));
    return {};
  }
  // What is only converted to a T would be gone before its bytes are read.
  template <class U> static Status encode(const U& value, Encoded& out) = delete;
  static Status decode(Bytes bytes, Shared*, T& out) noexcept {
    std::memcpy(static_cast<void*>(&out), bytes.data(), sizeof(T));
    return {};
  }
  static std::uint8_t* place(std::optional<T>& slot) noexcept {
    return reinterpret_cast<std::uint8_t*>(&slot.emplace());
  }
  static std::optional<T> find(const Collection& collection, Bytes key, Stamp* seen) noexcept {
    std::optional<T> value;
    if (!collection.get_into(key.data(), place(value), seen)) value.reset();
    return value;
  }
  static bool element(const Cursor& cursor, T& out) { return decode(cursor.value(), {}, out).ok(); }
};

// On disk: bytes (Var*).
struct ByteValues : AnyValues<ByteValues, Bytes, ByteView> {
  using Changed = std::string;
  using Element = Result<ByteView>;
  static Status encode(Bytes value, Encoded& out) noexcept {
    out.bytes = value;
    return {};
  }
  static Status decode(Bytes bytes, Shared*, ByteView& out) {
    Result<ByteView> view = make_view(bytes);
    if (view.ok()) out = std::move(*view);
    return std::move(view).status();
  }
  static Bytes show(const ByteView& value) noexcept { return value; }
  static Result<ByteView> own(Bytes value) { return make_view(value); }
  template <class F> static Status view(Bytes bytes, Shared*, F use) {
    use(bytes);
    return {};
  }
  static Result<std::optional<ByteView>> find(const Collection& collection, Bytes key,
                                              Stamp* seen) {
    return collection.get(key, seen);
  }
  static bool element(const Cursor& cursor, Element& out) {
    out = cursor.read();
    return !out.is(Errc::not_found);
  }
};

// On disk: a type that is decoded when it is read (VarTyped*).
template <class T, Codec<T> C> struct DecodedValues : AnyValues<DecodedValues<T, C>, T> {
  using Element = Result<T>;
  static Status encode(const T& value, Encoded& out) {
    return C::encode(value, out.room(C::size(value)));
  }
  static Status decode(Bytes bytes, Shared*, T& out) { return C::decode(bytes, out); }
  static bool same(const T& a, const T& b) { return same_value<C>(a, b); }
  // A value that cannot be decoded is an error with key and file, never "not there".
  static Result<std::optional<T>> find(const Collection& collection, Bytes key, Stamp* seen) {
    std::optional<T> out;
    const Result<std::optional<ByteView>> bytes = collection.get(key, seen);
    if (!bytes.ok()) return bytes.status();
    if (!bytes->has_value()) return out;
    Status status = C::decode(**bytes, out.emplace());
    if (!status.ok()) return collection.describe(status, key);
    return out;
  }
  static bool element(const Cursor& cursor, Element& out) {
    const Result<ByteView> bytes = cursor.read();
    T value{};
    Status status = bytes.ok() ? C::decode(*bytes, value) : bytes.status();
    out = status.ok() ? Element(std::move(value)) : Element(cursor.describe(status));
    return !bytes.is(Errc::not_found);
  }
};

// In memory: a type, decoded (Typed*).
template <class T, Codec<T> C> struct ObjectValues : AnyValues<ObjectValues<T, C>, T, TypedRef<T>> {
  using Node = ObjectNode<T>;
  using Slot = TypedRef<T>;
  using Element = TypedRef<T>;
  static Shared* decode_object(Bytes bytes, Status& status) noexcept {
    Node* node = new (std::nothrow) Node;
    status = node == nullptr ? no_memory() : C::decode(bytes, node->value);
    if (status.ok()) return node;
    delete node;
    return nullptr;
  }
  static constexpr ObjectOps kOps{&decode_object};
  static constexpr const ObjectOps* kObjects = &kOps;
  static Status encode(const T& value, Encoded& out) {
    Status status = C::encode(value, out.room(C::size(value)));
    if (!status.ok()) return status;
    out.object = SharedHold(new (std::nothrow) Node(value));
    return out.object.get() == nullptr ? no_memory() : Status();
  }
  static Status decode(Bytes bytes, Shared* object, TypedRef<T>& out) {
    Status status;
    if (object != nullptr) share(object);
    if (object == nullptr) object = decode_object(bytes, status);
    out = TypedRef<T>(SharedHold(object));
    return status;
  }
  static const T& show(const TypedRef<T>& value) noexcept { return *value; }
  static Result<TypedRef<T>> own(T value) {
    SharedHold node(new (std::nothrow) Node(std::move(value)));
    if (node.get() == nullptr) return no_memory();
    return TypedRef<T>(std::move(node));
  }
  static bool same(const T& a, const T& b) { return same_value<C>(a, b); }
  static std::uint8_t* place(TypedRef<T>& slot) noexcept { return slot.hold().place(); }
  static TypedRef<T> find(const Collection& collection, Bytes key, Stamp* seen) noexcept {
    TypedRef<T> value;
    static_cast<void>(collection.get_into(key.data(), place(value), seen));
    return value;
  }
  static bool element(const Cursor& cursor, TypedRef<T>& out) {
    out = TypedRef<T>(SharedHold(cursor.object()));
    return out.has_value();
  }

 private:
  static Status no_memory() { return Status(Errc::out_of_memory, "no memory for a decoded value"); }
};

}  // namespace detail
}  // namespace armdb

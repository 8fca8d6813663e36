// Codecs: how a typed value becomes bytes and comes back.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "api/key_traits.hpp"
#include "core/bytes.hpp"
#include "core/status.hpp"

namespace armdb {

// C is a codec of T: a class of static functions, which may be called from any thread:
//   std::size_t size(const T& value);                  the bytes that encode() will write
//   Status encode(const T& value, MutableBytes out);   out.size() is size(value); it may refuse
//                                                      (too_large, ...): then nothing is stored
//   Status decode(Bytes in, T& out);                   `out` may be anything on an error
// decode() believes nothing. It answers corrupt to all that encode() does not write, so that one
// value has one encoding: bytes behind the value, numbers not in their shortest form, counts beyond
// the bytes there are; and format_mismatch to what a newer program or another machine wrote.
template <class C, class T>
concept Codec = requires(const T& value, T& decoded, Bytes in, MutableBytes out) {
  { C::size(value) } -> std::convertible_to<std::size_t>;
  { C::encode(value, out) } -> std::same_as<Status>;
  { C::decode(in, decoded) } -> std::same_as<Status>;
};

// The codec of T where none is named, the first that fits:
//   a member type T::armdb_codec          that
//   integers and enums of 2 to 8 bytes    VarintCodec
//   bool, one byte, float, double         NumberCodec
//   std::string                           TextCodec
//   std::vector and the like              SequenceCodec, of numbers and trivially copyable classes
//   std::array, trivially copyable        TrivialCodec
// For a class of your own name its fields, public and behind the members; for somebody else's
// specialise codec_of. The disk does not say which codec wrote a value: keep it. Containers and
// arrays of a class with its own codec have none, as their elements could not use it.
//   struct User {
//     std::string name;
//     std::uint32_t age = 0;
//     using armdb_codec = armdb::fields<&User::name, &User::age>;
//   };
//   template <> struct armdb::codec_of<Size> { using type = armdb::fields<&Size::x, &Size::y>; };
template <class T> struct codec_of;
template <class T> using DefaultCodec = typename codec_of<T>::type;

// Every bit of T belongs to its value: no padding. The compiler cannot tell for classes with
// floating point members, so specialise for those:
//   template <> inline constexpr bool armdb::has_no_padding<Point> = sizeof(Point) == 2 * 4;
// Pointers and views do not qualify; nobody sees those that are members of T.
template <class T>
inline constexpr bool has_no_padding = std::has_unique_object_representations_v<T> ||
                                       std::is_same_v<T, float> || std::is_same_v<T, double>;
template <class T, std::size_t N> inline constexpr bool has_no_padding<T[N]> = has_no_padding<T>;
template <class T, std::size_t N>
inline constexpr bool has_no_padding<std::array<T, N>> = N != 0 && has_no_padding<T[N + (N == 0)]>;
template <class T> inline constexpr bool has_no_padding<T*> = false;
template <> inline constexpr bool has_no_padding<Bytes> = false;
template <class T, class Traits>
inline constexpr bool has_no_padding<std::basic_string_view<T, Traits>> = false;
template <class T, std::size_t N> inline constexpr bool has_no_padding<std::span<T, N>> = false;

namespace detail {

// Enums that name their type; a number that is none of the others' is undefined.
template <class T>
concept FixedEnum = std::is_enum_v<T> && requires(std::underlying_type_t<T> number) {
  T{number};
};
template <class T>
concept WholeNumber = (std::integral<T> && sizeof(T) <= 8) || FixedEnum<T>;
template <class T>
concept Number = WholeNumber<T> || std::same_as<T, float> || std::same_as<T, double>;
template <class T>
concept Trivial = std::is_trivially_copyable_v<T> &&(std::is_class_v<T> || std::is_union_v<T>);
template <class C>
concept Sequence = requires(C& out, const C& in, std::size_t count) {
  requires Number<typename C::value_type> || Trivial<typename C::value_type>;
  out.resize(count);
  { out.data() } -> std::same_as<typename C::value_type*>;
  { in.data() } -> std::same_as<const typename C::value_type*>;
  { in.size() } -> std::convertible_to<std::size_t>;
};

inline constexpr bool kLittleMachine = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;

// Takes the byte that names the byte order of objects from `in`: 1 little, 2 big.
Status take_byte_order(Bytes& in);
// That `size` is a whole number of elements, and that each byte is 0 or 1 where they are bools.
Status check_elements(Bytes in, std::size_t size, bool are_bools);
// LEB128.
[[nodiscard]] std::size_t varint_size(std::uint64_t bits) noexcept;
void put_varint(std::uint8_t* out, std::uint64_t bits) noexcept;
Status take_varint(Bytes& in, std::uint64_t& bits);

// Ts side by side: numbers little-endian, objects as they lie in memory behind their byte order.
template <class T> struct Raw {
  static_assert(Number<T> || has_no_padding<T>,
                "padding bytes would reach the disk: give T explicit padding fields, or specialise "
                "armdb::has_no_padding<T> when it has none, or name its armdb::fields<>; "
                "of pointers and views store what they point at");
  static_assert(std::is_default_constructible_v<T>, "decoding begins with T{}");
  static constexpr std::size_t kHead = Number<T> ? 0 : 1;
  static std::size_t size(const T&) noexcept { return kHead + sizeof(T); }
  static Status encode(const T& value, MutableBytes out) noexcept {
    write(&value, 1, out.data());
    return {};
  }
  static Status decode(Bytes in, T& out) {
    Status status = take_head(in);
    if (!status.ok()) return status;
    if (in.size() != sizeof(T)) return Status(Errc::corrupt, "a value of another size");
    copy(&out, in.data(), sizeof(T));
    return {};
  }
  static void write(const T* from, std::size_t count, std::uint8_t* out) noexcept {
    if constexpr (kHead != 0) *out = kLittleMachine ? 1 : 2;
    copy(out + kHead, from, count * sizeof(T));
  }
  // When ok, what is left in `in` are whole values, fit to be copied into Ts.
  static Status take_head(Bytes& in) {
    Status status;
    if constexpr (kHead != 0) status = take_byte_order(in);
    return status.ok() ? check_elements(in, sizeof(T), std::is_same_v<NumberOf<T>, bool>) : status;
  }
  static void copy(void* to, const void* from, std::size_t size) noexcept {
    if constexpr (kLittleMachine || !Number<T>) {
      if (size != 0) std::memcpy(to, from, size);  // the pointers may be null
    } else {
      const auto* in = static_cast<const std::uint8_t*>(from);
      auto* out = static_cast<std::uint8_t*>(to);
      for (std::size_t at = 0; at < size; ++at) out[at] = in[at ^ (sizeof(T) - 1)];
    }
  }
};

}  // namespace detail

// Numbers at full width: integers, bool, enums with a named type, float, double.
// Bytes: sizeof(T), little-endian on any machine. Mind that long and wchar_t are not as wide on
// all. decode: corrupt when the size is another, or a bool neither 0 nor 1.
template <detail::Number T> struct NumberCodec : detail::Raw<T> {};

// Trivially copyable classes without padding, default constructible, as they lie in memory.
// Bytes: 1 + sizeof(T): the byte order (1 little, 2 big), then the object. Any bytes of that size
// are taken, so T should have no bool in it.
// decode: corrupt when the size is another; format_mismatch in the other byte order.
template <detail::Trivial T> struct TrivialCodec : detail::Raw<T> {};

// Integers and enums in as few bytes as they need, 1 to 10.
// Bytes: LEB128: seven bits a byte, lowest first, the high bit set in all but the last; signed
// numbers as zigzag: 0, -1, 1, -2 become 0, 1, 2, 3. The width may grow later, the sign may not
// change. decode: corrupt when cut, not in the shortest form, too large for T, or followed by more.
template <detail::WholeNumber T> struct VarintCodec {
  static std::size_t size(const T& value) noexcept { return detail::varint_size(bits_of(value)); }
  static Status encode(const T& value, MutableBytes out) noexcept {
    detail::put_varint(out.data(), bits_of(value));
    return {};
  }
  static Status decode(Bytes in, T& out) {
    std::uint64_t bits = 0;
    Status status = detail::take_varint(in, bits);
    if (!status.ok()) return status;
    out = static_cast<T>(static_cast<Integer>(kSigned ? (bits >> 1) ^ (0 - (bits & 1)) : bits));
    if (!in.empty()) return Status(Errc::corrupt, "bytes follow a varint");
    return bits_of(out) == bits ? Status() : Status(Errc::corrupt, "a number too large for T");
  }

 private:
  using Integer = detail::NumberOf<T>;
  static constexpr bool kSigned = std::is_signed_v<Integer>;
  static std::uint64_t bits_of(T value) noexcept {
    const auto bits = static_cast<std::uint64_t>(value);  // widened with its sign
    return kSigned ? (bits << 1) ^ (0 - (bits >> 63)) : bits;
  }
};

// Bytes: those of the string, whatever they are. Nothing fails.
struct TextCodec {
  static std::size_t size(const std::string& value) noexcept { return value.size(); }
  static Status encode(const std::string& value, MutableBytes out) noexcept;
  static Status decode(Bytes in, std::string& out);
};

// Containers with contiguous elements and resize(), such as std::vector<float>: of numbers, or of
// trivially copyable classes without padding.
// Bytes: numbers as NumberCodec writes them, one after the other; objects behind one byte for the
// byte order, as TrivialCodec has it, also when there are none. decode: corrupt when an element is
// cut or refused, or there are more than max_size(); format_mismatch in the other byte order.
template <detail::Sequence C> struct SequenceCodec {
  static std::size_t size(const C& value) noexcept {
    return Element::kHead + value.size() * kWidth;
  }
  static Status encode(const C& value, MutableBytes out) noexcept {
    Element::write(value.data(), value.size(), out.data());
    return {};
  }
  static Status decode(Bytes in, C& out) {
    Status status = Element::take_head(in);
    if (!status.ok()) return status;
    if constexpr (requires { out.max_size(); }) {
      if (in.size() / kWidth > out.max_size()) return Status(Errc::corrupt, "too many elements");
    }
    out.resize(in.size() / kWidth);
    Element::copy(out.data(), in.data(), in.size());
    return {};
  }

 private:
  using Element = detail::Raw<typename C::value_type>;
  static constexpr std::size_t kWidth = sizeof(typename C::value_type);
};

namespace detail {

template <class Value, class Class> Class class_of(Value Class::*member);
// T owns one of the members itself: of one that inherits armdb_codec the others would be lost.
template <class T, auto... Members>
concept OwnerOf = (std::same_as<decltype(class_of(Members)), T> || ...);

// Where in a value the fields are read or written, and what went wrong there.
struct FieldWalk {
  Status status;
  std::size_t done = 0;
  // Counts a field; the error names it.
  bool next(const Status& result);
  // The bytes of the next field to read, in `field`.
  bool take(Bytes& in, Bytes& field);
  // Room for the next field to write.
  static MutableBytes room(MutableBytes& out, std::size_t size) noexcept;
  template <class F> bool encode(const F& field, MutableBytes& out) {
    return next(DefaultCodec<F>::encode(field, room(out, DefaultCodec<F>::size(field))));
  }
  template <class F> bool decode(F& field, Bytes& in) {
    Bytes bytes;
    return take(in, bytes) && next(DefaultCodec<F>::decode(bytes, field));
  }
};

template <class F> [[nodiscard]] std::size_t field_size(const F& field) {
  const std::size_t size = DefaultCodec<F>::size(field);
  return varint_size(size) + size;
}

// The number of fields there are; an error when they are none, or more than `known`.
Result<std::size_t> take_field_count(Bytes& in, std::size_t known);

}  // namespace detail

// A class, field by field, each by its DefaultCodec. Later programs may append fields, and do no
// more than that: bytes with fewer give the others, and members not named, as in T{}. T is default
// constructible and can be moved.
// Bytes: one for the number of fields, 1 to 255; then of each its size as a varint, its bytes.
// decode: corrupt when a field is cut or refused, or bytes follow the last; format_mismatch when
// there are more fields than these, as a newer program wrote. The text names the field.
template <auto... Members> struct fields {
  static_assert((std::is_member_object_pointer_v<decltype(Members)> && ...),
                "fields<> takes pointers to data members, as in fields<&User::name, &User::age>");
  static constexpr std::size_t kCount = sizeof...(Members);
  static_assert(kCount >= 1 && kCount <= 255, "1 to 255 fields");
  template <detail::OwnerOf<Members...> T> static std::size_t size(const T& value) {
    return (1 + ... + detail::field_size(value.*Members));
  }
  template <detail::OwnerOf<Members...> T> static Status encode(const T& value, MutableBytes out) {
    out[0] = static_cast<std::uint8_t>(kCount);
    out = out.subspan(1);
    detail::FieldWalk walk;
    static_cast<void>((walk.encode(value.*Members, out) && ...));
    return std::move(walk.status);
  }
  template <detail::OwnerOf<Members...> T> static Status decode(Bytes in, T& out) {
    const Result<std::size_t> count = detail::take_field_count(in, kCount);
    if (!count.ok()) return count.status();
    out = T{};
    detail::FieldWalk walk;
    static_cast<void>(((walk.done < *count && walk.decode(out.*Members, in)) && ...));
    if (!walk.status.ok() || in.empty()) return std::move(walk.status);
    return Status(Errc::corrupt, "bytes follow the last field");
  }
};

namespace detail {

template <class E>
concept RawElement = Number<E> || std::same_as<DefaultCodec<E>, TrivialCodec<E>>;
// No container of elements that have a codec of their own, and so may not lie side by side.
template <class T>
concept RawElements = RawElement<typename T::value_type> || !requires(const T& all) {
  all.size();
};
template <class T> consteval auto default_codec() noexcept {
  if constexpr (requires { typename T::armdb_codec; }) {
    static_assert(Codec<typename T::armdb_codec, T>,
                  "T::armdb_codec is no codec of T: see armdb::Codec. If T inherited it, name "
                  "fields<> in T itself, with a member of its own");
    return std::type_identity<typename T::armdb_codec>{};
  } else if constexpr (WholeNumber<T> && sizeof(T) > 1) {
    return std::type_identity<VarintCodec<T>>{};
  } else if constexpr (Number<T>) {
    return std::type_identity<NumberCodec<T>>{};
  } else if constexpr (std::is_same_v<T, std::string>) {
    return std::type_identity<TextCodec>{};
  } else if constexpr (Sequence<T> && RawElements<T>) {
    return std::type_identity<SequenceCodec<T>>{};
  } else if constexpr (Trivial<T> && RawElements<T>) {
    return std::type_identity<TrivialCodec<T>>{};
  } else {
    static_assert(Number<T>,  // false here
                  "T has no codec: give it using armdb_codec = armdb::fields<&T::a, &T::b>, or "
                  "specialise armdb::codec_of<T> with a type that the concept armdb::Codec takes "
                  "(an enum: name its type, as in enum T : std::uint8_t)");
  }
}

// Whether a == b compiles. Containers say so whatever their elements are.
template <class T> consteval bool compares() noexcept {
  constexpr bool kWhole = requires(const T& a, const T& b) { static_cast<bool>(a == b); };
  if constexpr (Sequence<T> || (Trivial<T> && requires { typename T::value_type; })) {
    return kWhole && compares<typename T::value_type>();
  } else {
    return kWhole;
  }
}

// a == b where T has that (a NaN is never the same); else whether C makes the same bytes of both.
template <class C, class T> [[nodiscard]] bool same_value(const T& a, const T& b) {
  if constexpr (compares<T>()) {
    return static_cast<bool>(a == b);
  } else {
    const std::size_t size = C::size(a);
    if (C::size(b) != size) return false;
    std::string buffer(2 * size, '\0');
    auto* bytes = reinterpret_cast<std::uint8_t*>(buffer.data());
    return C::encode(a, {bytes, size}).ok() && C::encode(b, {bytes + size, size}).ok() &&
           Bytes(bytes, size) == Bytes(bytes + size, size);
  }
}

}  // namespace detail

template <class T> struct codec_of {
  using type = typename decltype(detail::default_codec<T>())::type;
};

}  // namespace armdb

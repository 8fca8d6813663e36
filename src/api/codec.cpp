// What the codecs share that does not depend on the type of a value.
#include "api/codec.hpp"

#include <string>
#include <utility>

#include "base/errors.hpp"

namespace armdb {

Status TextCodec::encode(const std::string& value, MutableBytes out) noexcept {
  detail::Raw<char>::write(value.data(), value.size(), out.data());
  return {};
}

Status TextCodec::decode(Bytes in, std::string& out) {
  out.assign(in.text());
  return {};
}

namespace detail {

Status take_byte_order(Bytes& in) {
  const int order = in.empty() ? 0 : in[0];
  in = in.sub(1);
  if (order != 1 && order != 2) return base::corrupt("no byte order before an object");
  if (order == (kLittleMachine ? 1 : 2)) return {};
  return Status(Errc::format_mismatch, "an object in the byte order of another machine");
}

Status check_elements(Bytes in, std::size_t size, bool are_bools) {
  if (in.size() % size != 0) return base::corrupt("not a whole number of values");
  for (std::size_t at = 0; are_bools && at < in.size(); ++at) {
    if (in[at] > 1) return base::corrupt("a bool that is neither 0 nor 1");
  }
  return {};
}

std::size_t varint_size(std::uint64_t bits) noexcept {
  std::size_t size = 1;
  while ((bits >>= 7) != 0) ++size;
  return size;
}

void put_varint(std::uint8_t* out, std::uint64_t bits) noexcept {
  for (; bits >= 0x80; bits >>= 7) *out++ = static_cast<std::uint8_t>(bits | 0x80);
  *out = static_cast<std::uint8_t>(bits);
}

Status take_varint(Bytes& in, std::uint64_t& bits) {
  bits = 0;
  for (std::size_t at = 0; at < in.size(); ++at) {
    const std::uint64_t byte = in[at];
    if (at == 9 && byte > 1) return base::corrupt("a varint of more than 64 bits");
    bits |= (byte & 0x7f) << (7 * at);
    if (byte >= 0x80) continue;
    if (byte == 0 && at > 0) return base::corrupt("a varint longer than it needs to be");
    in = in.sub(at + 1);
    return {};
  }
  return base::corrupt("a varint that is cut off");
}

bool FieldWalk::next(const Status& result) {
  done += 1;
  if (result.ok()) return true;
  std::string text = result.message().erase(0, errc_name(result.code()).size());
  status = base::failure(result.code(), "field %%", {done, text});
  return false;
}

bool FieldWalk::take(Bytes& in, Bytes& field) {
  std::uint64_t size = 0;
  Status result = take_varint(in, size);
  if (result.ok() && size > in.size()) result = base::corrupt("a size beyond the end");
  if (!result.ok()) return next(result);
  field = in.sub(0, static_cast<std::size_t>(size));
  in = in.sub(field.size());
  return true;
}

MutableBytes FieldWalk::room(MutableBytes& out, std::size_t size) noexcept {
  put_varint(out.data(), size);
  const std::size_t head = varint_size(size);
  const MutableBytes field = out.subspan(head, size);
  out = out.subspan(head + size);
  return field;
}

Result<std::size_t> take_field_count(Bytes& in, std::size_t known) {
  const std::size_t count = in.empty() ? 0 : in[0];
  in = in.sub(1);
  if (count == 0) return base::corrupt("no number of fields");
  if (count <= known) return count;
  return base::failure(Errc::format_mismatch, "written by a newer program: % fields, known are %",
                       {count, known});
}

}  // namespace detail
}  // namespace armdb

// text: one line from a pattern and what belongs in it.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace armdb::base {

// A text or a number; the text is borrowed.
class TextPart {
 public:
  TextPart(std::string_view text) noexcept  // NOLINT(google-explicit-constructor)
      : data_(text.data()), size_(text.size()) {}
  TextPart(const std::string& text) noexcept  // NOLINT(google-explicit-constructor)
      : data_(text.data()), size_(text.size()) {}
  TextPart(const char* text) noexcept  // NOLINT(google-explicit-constructor)
      : TextPart(std::string_view(text)) {}
  TextPart(std::uint64_t number) noexcept  // NOLINT(google-explicit-constructor)
      : data_(&kNumber), size_(number) {}

  void append_to(std::string& line) const;

 private:
  static constexpr char kNumber = 0;  // data_ points here: size_ is the number

  const char* data_;
  std::uint64_t size_;
};

// The pattern, with each '%' replaced by the next part. One call, where a chain of + costs the
// caller a temporary and its destructor for each part.
[[nodiscard]] std::string text(const char* pattern, std::initializer_list<TextPart> parts);

}  // namespace armdb::base

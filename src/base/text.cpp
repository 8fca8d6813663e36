// Lines for people.
#include "base/text.hpp"

#include "base/check.hpp"

namespace armdb::base {

void TextPart::append_to(std::string& line) const {
  if (data_ != &kNumber) {
    line.append(data_, static_cast<std::size_t>(size_));
    return;
  }
  char digits[20];  // of 2^64 - 1
  char* first = digits + sizeof digits;
  std::uint64_t rest = size_;
  do {
    *--first = static_cast<char>('0' + rest % 10);
    rest /= 10;
  } while (rest != 0);
  line.append(first, digits + sizeof digits);
}

std::string text(const char* pattern, std::initializer_list<TextPart> parts) {
  std::string line;
  const TextPart* part = parts.begin();
  for (; *pattern != 0; ++pattern) {
    if (*pattern != '%') {
      line += *pattern;
      continue;
    }
    ARMDB_ASSERT(part != parts.end());
    (part++)->append_to(line);
  }
  ARMDB_ASSERT(part == parts.end());
  return line;
}

}  // namespace armdb::base

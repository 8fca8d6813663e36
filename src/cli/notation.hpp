// Notation: how keys and values stand on the command line and in what is printed.
#pragma once

#include <string>

#include "armdb.hpp"
#include "cli/arguments.hpp"

namespace armdb::cli {

// Text unless asked otherwise. A text key is filled up with NUL bytes to the width of the keys,
// and printed without them. All readers end with wrong use when a word does not fit the shape.
class Notation {
 public:
  explicit Notation(const Arguments& arguments);

  [[nodiscard]] std::string key(const std::string& word, const Shape& shape) const;
  // A prefix or an end of a range: at most the width of the keys, not filled up.
  [[nodiscard]] std::string key_part(const std::string& word, const Shape& shape) const;
  [[nodiscard]] std::string value(const std::string& word, const Shape& shape) const;
  // The value as it is, once its size fits the shape; filled up when that was asked for.
  [[nodiscard]] std::string sized_value(std::string bytes, const Shape& shape) const;

  void append_key(std::string& out, Bytes key) const;
  void append_value(std::string& out, Bytes value) const;

  // Ends with wrong use when keys of this width are no integers but were asked for as such.
  void check(const Shape& shape) const;

 private:
  bool hex_;
  bool integer_;
  bool signed_;
  bool escapes_;
  bool pad_;
};

void add_notation_options(Command& command);

}  // namespace armdb::cli

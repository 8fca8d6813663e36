// Keys and values from words, and back to text.
#include "cli/notation.hpp"

#include <utility>

#include "cli/text_format.hpp"

namespace armdb::cli {

Notation::Notation(const Arguments& arguments)
    : hex_(arguments.has("hex")),
      integer_(arguments.has("int") || arguments.has("signed")),
      signed_(arguments.has("signed")),
      escapes_(arguments.has("escapes")),
      pad_(arguments.has("pad")) {
  arguments.at_most_one_of({"text", "hex"});
  arguments.at_most_one_of({"hex", "escapes"});
}

void Notation::check(const Shape& shape) const {
  if (integer_ && shape.key_size > 8) {
    wrong_use("--int is for keys of 1 to 8 bytes, and these have " +
              std::to_string(shape.key_size) + "; use text or --hex");
  }
}

std::string Notation::key(const std::string& word, const Shape& shape) const {
  std::string key = key_part(word, shape);
  if (hex_ && !integer_ && key.size() != shape.key_size) {
    wrong_use("the key has " + counted(key.size(), "byte", "bytes") +
              ", and keys of this collection have " + std::to_string(shape.key_size) +
              "; write all digits");
  }
  key.resize(shape.key_size);
  return key;
}

std::string Notation::key_part(const std::string& word, const Shape& shape) const {
  check(shape);
  std::string key, why;
  bool good = true;
  if (integer_) {
    good = decode_integer(word, shape.key_size, signed_, key, why);
  } else if (hex_) {
    good = decode_hex(word, key, why);
  } else if (escapes_) {
    good = decode_escaped(word, key, why);
  } else {
    key = word;
  }
  if (!good) wrong_use("the key " + why);
  if (key.size() > shape.key_size) {
    wrong_use("the key has " + counted(key.size(), "byte", "bytes") +
              ", and keys of this collection have " + std::to_string(shape.key_size) +
              "; shorten it");
  }
  return key;
}

std::string Notation::value(const std::string& word, const Shape& shape) const {
  std::string value, why;
  bool good = true;
  if (hex_) {
    good = decode_hex(word, value, why);
  } else if (escapes_) {
    good = decode_escaped(word, value, why);
  } else {
    value = word;
  }
  if (!good) wrong_use("the value " + why);
  return sized_value(std::move(value), shape);
}

std::string Notation::sized_value(std::string bytes, const Shape& shape) const {
  if (shape.payload == Payload::location || bytes.size() == shape.value_size) return bytes;
  if (bytes.size() < shape.value_size && pad_) {
    bytes.resize(shape.value_size);
    return bytes;
  }
  wrong_use(
      "the value has " + counted(bytes.size(), "byte", "bytes") +
      ", and values of this collection have " + std::to_string(shape.value_size) +
      (bytes.size() < shape.value_size ? "; --pad fills it up with NUL bytes" : "; shorten it"));
}

void Notation::append_key(std::string& out, Bytes key) const {
  if (integer_) return append_integer(out, key, signed_);
  if (hex_) return append_hex(out, key);
  std::size_t size = key.size();
  while (size > 0 && key[size - 1] == 0) --size;
  append_escaped(out, key.sub(0, size));
}

void Notation::append_value(std::string& out, Bytes value) const {
  if (hex_) return append_hex(out, value);
  append_escaped(out, value);
}

void add_notation_options(Command& command) {
  command.options.push_back({0, "text", "",
                             "keys and values as text (the default): unprintable\n"
                             "bytes are shown as \\xNN"});
  command.options.push_back({0, "hex", "", "keys and values as hex digits"});
  command.options.push_back({0, "int", "", "keys as integers (big-endian, 1 to 8 bytes)"});
  command.options.push_back({0, "signed", "", "keys as signed integers (sign bit flipped)"});
  command.options.push_back({0, "escapes", "", "\\\\ \\t \\n \\xNN in given text stand for bytes"});
}

}  // namespace armdb::cli

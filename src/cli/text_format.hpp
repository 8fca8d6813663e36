// Bytes as text and back: escapes, hex, integers, and the lines of a dump.
//
// A dump is text. Its first line is the header
//
//   # armdb dump 1 tree|map key=<bytes> value=<bytes>|var
//
// and each further line is one entry: key, TAB, value, newline; an entry that expires has a TAB and
// the time (milliseconds since 1970, decimal) behind the value. In keys and values a backslash is
// `\\`, a tab `\t`, a newline `\n`, and each other byte that is not printable ASCII `\xNN` (two hex
// digits). Reading also takes bytes from 0x80 up as they are, so that UTF-8 may be written by
// hand; raw control characters are refused: a dump never has them, so something changed the file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "armdb.hpp"

namespace armdb::cli {

void append_escaped(std::string& out, Bytes bytes);
void append_hex(std::string& out, Bytes bytes);
// A big-endian integer of 1 to 8 bytes; signed ones have the sign bit flipped.
void append_integer(std::string& out, Bytes bytes, bool is_signed);

// These append to `out`; on false `why` says what is wrong with the text.
bool decode_escaped(std::string_view text, std::string& out, std::string& why);
bool decode_hex(std::string_view text, std::string& out, std::string& why);
bool decode_integer(std::string_view text, std::size_t size, bool is_signed, std::string& out,
                    std::string& why);

// Without the newline.
[[nodiscard]] std::string dump_header(const Shape& shape);
bool parse_dump_header(std::string_view line, Shape& shape, std::string& why);

// "tree, keys of 8 bytes, values of any length"; of a Fixed store it says so.
[[nodiscard]] std::string shape_text(const Shape& shape);

// 1234567 as "1,234,567".
[[nodiscard]] std::string grouped(std::uint64_t number);
// 1234567 as "1.18 MiB", and 1 as "1 byte".
[[nodiscard]] std::string size_text(std::uint64_t bytes);
// "1 entry", "2 entries": `one` and `many` are the nouns.
[[nodiscard]] std::string counted(std::uint64_t number, std::string_view one,
                                  std::string_view many);
[[nodiscard]] std::string fixed_text(double number, int digits);

// Control characters as \xNN, so that the text stays one line and steers no terminal.
[[nodiscard]] std::string one_line(std::string_view text);

}  // namespace armdb::cli

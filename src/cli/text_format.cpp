// The texts for bytes, numbers and dump lines.
#include "cli/text_format.hpp"

#include <charconv>
#include <cstdio>

namespace armdb::cli {

namespace {

constexpr char kHexDigits[] = "0123456789abcdef";

void append_hex_byte(std::string& out, std::uint8_t byte) {
  out += kHexDigits[byte >> 4];
  out += kHexDigits[byte & 15];
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The byte that the two digits at `at` spell, or -1.
int hex_byte(std::string_view text, std::size_t at) {
  if (at + 2 > text.size()) return -1;
  const int high = hex_digit(text[at]);
  const int low = hex_digit(text[at + 1]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

std::string shown(std::string_view text) {
  constexpr std::size_t kShownMax = 40;
  std::string out = "\"";
  out += one_line(text.substr(0, kShownMax));
  return out + (text.size() > kShownMax ? "...\"" : "\"");
}

bool take_number(std::string_view& text, std::uint32_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

bool take(std::string_view& text, std::string_view word) {
  if (!text.starts_with(word)) return false;
  text.remove_prefix(word.size());
  return true;
}

}  // namespace

// ---- Bytes to text ----

void append_escaped(std::string& out, Bytes bytes) {
  for (const std::uint8_t byte : bytes) {
    if (byte == '\\') {
      out += "\\\\";
    } else if (byte == '\t') {
      out += "\\t";
    } else if (byte == '\n') {
      out += "\\n";
    } else if (byte >= 0x20 && byte < 0x7f) {
      out += static_cast<char>(byte);
    } else {
      out += "\\x";
      append_hex_byte(out, byte);
    }
  }
}

void append_hex(std::string& out, Bytes bytes) {
  for (const std::uint8_t byte : bytes) append_hex_byte(out, byte);
}

void append_integer(std::string& out, Bytes bytes, bool is_signed) {
  std::uint64_t bits = 0;
  for (const std::uint8_t byte : bytes) bits = (bits << 8) | byte;
  if (!is_signed) {
    out += std::to_string(bits);
    return;
  }
  // The stored form is the number plus half the range.
  const std::uint64_t half = std::uint64_t{1} << (8 * bytes.size() - 1);
  if (bits >= half) {
    out += std::to_string(bits - half);
  } else {
    out += "-" + std::to_string(half - bits);
  }
}

// ---- Text to bytes ----

bool decode_escaped(std::string_view text, std::string& out, std::string& why) {
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c != '\\') {
      const auto byte = static_cast<std::uint8_t>(c);
      if (byte < 0x20 || byte == 0x7f) {
        std::string name = "\\x";
        append_hex_byte(name, byte);
        why = "has a raw control character (" + name + ") at byte " + std::to_string(at + 1) +
              (byte == '\r' ? "; was the file saved with carriage returns?"
                            : "; write it as an escape");
        return false;
      }
      out += c;
      continue;
    }
    const char kind = at + 1 < text.size() ? text[at + 1] : '\0';
    if (kind == '\\') {
      out += '\\';
    } else if (kind == 't') {
      out += '\t';
    } else if (kind == 'n') {
      out += '\n';
    } else {
      const int byte = kind == 'x' ? hex_byte(text, at + 2) : -1;
      if (byte < 0) {
        why = "has the unknown escape " + shown(text.substr(at, kind == 'x' ? 4 : 2)) +
              " at byte " + std::to_string(at + 1) + "; known are \\\\ \\t \\n \\xNN";
        return false;
      }
      out += static_cast<char>(byte);
      at += 2;
    }
    ++at;
  }
  return true;
}

bool decode_hex(std::string_view text, std::string& out, std::string& why) {
  if (text.size() % 2 != 0) {
    why = shown(text) + " is not hex: it has an odd number of digits";
    return false;
  }
  for (std::size_t at = 0; at < text.size(); at += 2) {
    const int byte = hex_byte(text, at);
    if (byte < 0) {
      why = shown(text) + " is not hex: only 0-9 and a-f count";
      return false;
    }
    out += static_cast<char>(byte);
  }
  return true;
}

bool decode_integer(std::string_view text, std::size_t size, bool is_signed, std::string& out,
                    std::string& why) {
  const bool negative = text.starts_with('-');
  const std::string_view digits = negative ? text.substr(1) : text;
  std::uint64_t number = 0;
  const char* const end = digits.data() + digits.size();
  const auto [stopped, error] = std::from_chars(digits.data(), end, number);
  if (digits.empty() || stopped != end || error == std::errc::invalid_argument) {
    why = shown(text) + " is not an integer";
    return false;
  }
  if (negative && !is_signed) {
    why = shown(text) + " is negative; signed keys need --signed";
    return false;
  }
  const std::uint64_t half = std::uint64_t{1} << (8 * size - 1);
  const std::uint64_t most = is_signed ? (negative ? half : half - 1) : half - 1 + half;
  if (error != std::errc() || number > most) {
    why = shown(text) + " does not fit into " + counted(size, "byte", "bytes");
    return false;
  }
  std::uint64_t bits = is_signed ? (negative ? half - number : half + number) : number;
  const std::size_t start = out.size();
  out.resize(start + size);
  for (std::size_t at = size; at-- > 0; bits >>= 8) {
    out[start + at] = static_cast<char>(static_cast<std::uint8_t>(bits));
  }
  return true;
}

// ---- Dump headers and shapes ----

std::string dump_header(const Shape& shape) {
  std::string text = "# armdb dump 1 ";
  text += shape.ordered ? "tree" : "map";
  text += " key=" + std::to_string(shape.key_size) + " value=";
  return text + (shape.payload == Payload::location ? "var" : std::to_string(shape.value_size));
}

bool parse_dump_header(std::string_view line, Shape& shape, std::string& why) {
  constexpr std::string_view kForm = "\"# armdb dump 1 tree|map key=N value=N|var\"";
  std::string_view rest = line;
  if (!take(rest, "# armdb dump ")) {
    why = "is no header of a dump; it must read " + std::string(kForm);
    return false;
  }
  std::uint32_t version = 0;
  if (take_number(rest, version) && version != 1) {
    why = "is the header of dump version " + std::to_string(version) +
          ", and this program knows version 1; use a newer one";
    return false;
  }
  shape = Shape();
  shape.ordered = rest.starts_with(" tree ");
  bool good = version == 1 && (take(rest, " tree ") || take(rest, " map ")) && take(rest, "key=") &&
              take_number(rest, shape.key_size) && take(rest, " value=");
  if (good && take(rest, "var")) {
    shape.payload = Payload::location;
  } else if (good) {
    good = take_number(rest, shape.value_size);
  }
  if (!good || !rest.empty() || shape.key_size == 0 || shape.key_size > 1024) {
    why = "is a damaged header; it must read " + std::string(kForm);
    return false;
  }
  return true;
}

std::string shape_text(const Shape& shape) {
  std::string text = shape.ordered ? "tree" : "map";
  text += ", keys of " + counted(shape.key_size, "byte", "bytes") + ", values of ";
  text += shape.payload == Payload::location ? "any length"
                                             : counted(shape.value_size, "byte", "bytes");
  return text + (shape.fixed ? ", Fixed store" : "");
}

// ---- Numbers ----

std::string grouped(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3;) {
    at -= 3;
    text.insert(at, 1, ',');
  }
  return text;
}

std::string fixed_text(double number, int digits) {
  char text[64];
  const int size = std::snprintf(text, sizeof text, "%.*f", digits, number);
  return size > 0 && static_cast<std::size_t>(size) < sizeof text ? text : "?";
}

std::string size_text(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return counted(bytes, "byte", "bytes");
  double scaled = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  for (; scaled >= 1024 && unit + 1 < std::size(kUnits); ++unit) scaled /= 1024;
  return fixed_text(scaled, scaled < 100 ? 2 : 0) + " " + kUnits[unit];
}

std::string counted(std::uint64_t number, std::string_view one, std::string_view many) {
  return grouped(number) + " " + std::string(number == 1 ? one : many);
}

std::string one_line(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<std::uint8_t>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      out += c;
    } else {
      out += "\\x";
      append_hex_byte(out, byte);
    }
  }
  return out;
}

}  // namespace armdb::cli

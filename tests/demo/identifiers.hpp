// Finds the identifiers of C and C++ sources: where the demo's data comes from.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace demo {

inline constexpr std::size_t kFileBytesMax = std::size_t{4} << 20;

// The paths of all headers and sources below `root`, sorted. Links to directories are not
// followed, so that a loop of links is no trouble; directories that cannot be read are skipped.
inline std::vector<std::string> find_sources(const std::string& root, std::string& trouble) {
  namespace fs = std::filesystem;
  static constexpr std::array<std::string_view, 17> kEndings = {
      ".h", ".hh", ".hpp", ".hxx", ".h++", ".H",   ".inc", ".ipp", ".tcc",
      ".c", ".cc", ".cpp", ".cxx", ".c++", ".def", ".inl", ".txx"};
  std::vector<std::string> paths;
  std::error_code error;
  fs::recursive_directory_iterator at(root, fs::directory_options::skip_permission_denied, error);
  if (error) {
    trouble = root + ": " + error.message();
    return paths;
  }
  for (const fs::recursive_directory_iterator end; at != end; at.increment(error)) {
    if (error) {
      trouble = error.message();
      break;
    }
    std::error_code ignored;
    const fs::file_status status = at->symlink_status(ignored);
    if (!fs::is_regular_file(status)) continue;
    const std::string ending = at->path().extension().string();
    // The standard headers have no ending: <vector> and its like.
    const bool plain = ending.empty() && at->path().string().find("/c++/") != std::string::npos;
    if (!plain && std::find(kEndings.begin(), kEndings.end(), ending) == kEndings.end()) continue;
    paths.push_back(at->path().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

enum class ReadFile : std::uint8_t { text, unreadable, binary };

// Reads at most kFileBytesMax of a file into `text`.
inline ReadFile read_file(const std::string& path, std::string& text) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return ReadFile::unreadable;
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return ReadFile::unreadable;
  text.resize(static_cast<std::size_t>(std::min<std::uintmax_t>(size, kFileBytesMax)));
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) return ReadFile::unreadable;
  text.resize(static_cast<std::size_t>(file.gcount()));
  const std::size_t head = std::min<std::size_t>(text.size(), 8192);
  if (std::memchr(text.data(), 0, head) != nullptr) return ReadFile::binary;
  return ReadFile::text;
}

inline bool is_keyword(std::string_view word) {
  static constexpr std::string_view kWords[] = {
      "asm",      "auto",      "bool",     "break",    "case",     "catch",    "char",
      "class",    "const",     "continue", "default",  "define",   "defined",  "delete",
      "do",       "double",    "elif",     "else",     "endif",    "enum",     "error",
      "explicit", "extern",    "false",    "float",    "for",      "friend",   "goto",
      "if",       "ifdef",     "ifndef",   "include",  "inline",   "int",      "long",
      "mutable",  "namespace", "new",      "noexcept", "nullptr",  "operator", "pragma",
      "private",  "protected", "public",   "register", "return",   "short",    "signed",
      "sizeof",   "static",    "struct",   "switch",   "template", "this",     "throw",
      "true",     "try",       "typedef",  "typename", "undef",    "union",    "unsigned",
      "using",    "virtual",   "void",     "volatile", "while"};
  return std::binary_search(std::begin(kWords), std::end(kWords), word);
}

// Walks over the identifiers of one text; comments, strings, numbers and keywords are left out.
class Identifiers {
 public:
  explicit Identifiers(std::string_view text) : at_(text.data()), end_(at_ + text.size()) {}

  // The next identifier and its line, from 1; false at the end.
  bool next(std::string_view& word, std::uint32_t& line) {
    while (at_ != end_) {
      const char c = *at_;
      if (begins_word(c)) {
        const char* begin = at_;
        while (at_ != end_ && in_word(*at_)) ++at_;
        word = {begin, static_cast<std::size_t>(at_ - begin)};
        const bool literal = at_ != end_ && (*at_ == '"' || *at_ == '\'') && word.size() <= 3;
        if (literal && word.back() == 'R') skip_raw_string();
        if (literal || is_keyword(word)) continue;
        line = line_;
        return true;
      }
      skip(c);
    }
    return false;
  }

 private:
  static bool begins_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  }
  static bool in_word(char c) { return begins_word(c) || (c >= '0' && c <= '9'); }

  void skip(char c) {
    if (c == '\n') ++line_;
    if (c >= '0' && c <= '9') {
      // A number takes its suffixes and digit separators with it.
      while (at_ != end_ && (in_word(*at_) || *at_ == '.' || *at_ == '\'')) ++at_;
    } else if (c == '"' || c == '\'') {
      skip_quoted(c);
    } else if (c == '/' && end_ - at_ > 1 && at_[1] == '/') {
      while (at_ != end_ && *at_ != '\n') ++at_;
    } else if (c == '/' && end_ - at_ > 1 && at_[1] == '*') {
      skip_until("*/");
    } else {
      ++at_;
    }
  }
  // A literal ends on its line at the latest: an apostrophe in an #error text opens nothing.
  void skip_quoted(char quote) {
    for (++at_; at_ != end_ && *at_ != quote && *at_ != '\n'; ++at_) {
      if (*at_ == '\\' && end_ - at_ > 1 && at_[1] != '\n') ++at_;
    }
    if (at_ != end_ && *at_ == quote) ++at_;
  }
  void skip_raw_string() {
    const char* open = std::find(at_, end_, '(');
    if (open == end_ || open - at_ > 17) return;
    std::string close = ")" + std::string(at_ + 1, open) + "\"";
    skip_until(close);
  }
  void skip_until(std::string_view close) {
    const char* found = std::search(at_, end_, close.begin(), close.end());
    line_ += static_cast<std::uint32_t>(std::count(at_, found, '\n'));
    at_ = found == end_ ? end_ : found + close.size();
  }

  const char* at_;
  const char* end_;
  std::uint32_t line_ = 1;
};

}  // namespace demo

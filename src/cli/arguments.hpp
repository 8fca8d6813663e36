// Arguments: what was asked for on the command line, checked against a table of options.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace armdb::cli {

class Arguments;
class Console;

// What the program answers with.
enum ExitCode : int {
  kWell = 0,
  kNotFound = 1,  // the key is not there, or damage was found
  kWrongUse = 2,
  kFailed = 3,
};

// Thrown to end a command: its exit code, and one line of text (none: it ends quietly). Never
// thrown through the library: callbacks note what went wrong and answer false.
struct Stop {
  int exit_code = kFailed;
  std::string text;
};

[[noreturn]] void wrong_use(std::string text);

// One option. `value` names what follows it, and is empty for a switch.
struct Option {
  char letter = 0;
  std::string_view name;
  std::string_view value;
  std::string_view help;
};

struct Command {
  std::string_view name;
  std::string_view operands;  // as shown behind the name
  std::string_view summary;
  std::string_view details;
  std::size_t operands_min = 0;
  std::size_t operands_max = 0;
  std::vector<Option> options;
  int (*run)(const Arguments& arguments, Console& console) = nullptr;
};

// Options and operands of one call.
class Arguments {
 public:
  // Ends with wrong use when `words` do not fit the command. `--` ends the options; a negative
  // number is an operand.
  static Arguments parse(const Command& command, const std::vector<std::string>& words);

  [[nodiscard]] bool has(std::string_view option) const { return options_.contains(option); }
  // The last one given.
  [[nodiscard]] std::optional<std::string> text(std::string_view option) const;
  // Ends with wrong use when it is no number from `least` to `most`.
  [[nodiscard]] std::uint64_t number(std::string_view option, std::uint64_t fallback,
                                     std::uint64_t least, std::uint64_t most) const;
  [[nodiscard]] const std::vector<std::string>& operands() const { return operands_; }
  // Ends with wrong use when more than one of them was given.
  void at_most_one_of(const std::vector<std::string_view>& options) const;

 private:
  void take_option(const Command& command, const std::vector<std::string>& words, std::size_t& at);

  std::map<std::string, std::string, std::less<>> options_;
  std::vector<std::string> operands_;
};

// The candidate that looks most like `word`, or nothing when none does.
[[nodiscard]] std::optional<std::string_view> nearest(
    std::string_view word, const std::vector<std::string_view>& candidates);

// ` (did you mean "x"?)`, or nothing.
[[nodiscard]] std::string suggestion(std::string_view word,
                                     const std::vector<std::string_view>& candidates,
                                     std::string_view dashes = "");

[[nodiscard]] std::string help_text(const Command& command);
[[nodiscard]] std::string help_text(const std::vector<Command>& commands);

}  // namespace armdb::cli

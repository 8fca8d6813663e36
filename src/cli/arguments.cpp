// Parsing of the command line, suggestions for what was mistyped, and the help texts.
#include "cli/arguments.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

namespace armdb::cli {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool looks_like_option(const std::string& word) {
  return word.size() > 1 && word[0] == '-' && !is_digit(word[1]);
}

std::string quoted(std::string_view text) { return "\"" + std::string(text) + "\""; }

std::string more_help(const Command& command) {
  return "; see \"armdb help " + std::string(command.name) + "\"";
}

// How many letters to change, add, drop or swap with their neighbour to turn a into b.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> cost(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) {
    for (std::size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        cost[i][j] = i + j;
        continue;
      }
      const std::size_t changed = a[i - 1] == b[j - 1] ? 0 : 1;
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + changed});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
      }
    }
  }
  return cost[a.size()][b.size()];
}

const Option* find_option(const Command& command, std::string_view name) {
  for (const Option& option : command.options) {
    if (option.name == name) return &option;
    if (name.size() == 1 && option.letter == name[0]) return &option;
  }
  return nullptr;
}

// Column of the explanations in a help text.
constexpr std::size_t kHelpColumn = 26;

void append_row(std::string& text, std::string left, std::string_view right) {
  if (left.size() + 2 <= kHelpColumn) {
    left.resize(kHelpColumn, ' ');
  } else {
    left += "\n" + std::string(kHelpColumn, ' ');
  }
  text += left;
  for (const char c : right) {
    text += c;
    if (c == '\n') text.append(kHelpColumn, ' ');
  }
  text += '\n';
}

}  // namespace

void wrong_use(std::string text) { throw Stop{kWrongUse, std::move(text)}; }

// ---- Parsing ----

Arguments Arguments::parse(const Command& command, const std::vector<std::string>& words) {
  Arguments arguments;
  bool options_ended = false;
  for (std::size_t at = 0; at < words.size(); ++at) {
    const std::string& word = words[at];
    if (!options_ended && word == "--") {
      options_ended = true;
    } else if (!options_ended && looks_like_option(word)) {
      arguments.take_option(command, words, at);
    } else {
      arguments.operands_.push_back(word);
    }
  }
  if (arguments.has("help")) return arguments;
  const std::size_t count = arguments.operands_.size();
  const std::string usage =
      "use: armdb " + std::string(command.name) + " " + std::string(command.operands);
  if (count < command.operands_min) wrong_use("too few arguments; " + usage + more_help(command));
  if (count > command.operands_max) {
    wrong_use("do not know what to do with " + quoted(arguments.operands_[command.operands_max]) +
              "; " + usage + more_help(command));
  }
  if (count > 0 && arguments.operands_[0].empty()) {
    wrong_use("the path is empty; " + usage + more_help(command));
  }
  return arguments;
}

void Arguments::take_option(const Command& command, const std::vector<std::string>& words,
                            std::size_t& at) {
  const std::string& word = words[at];
  const bool is_long = word.starts_with("--");
  const std::size_t equals = is_long ? word.find('=') : std::string::npos;
  const std::string name =
      is_long ? word.substr(2, equals == std::string::npos ? equals : equals - 2) : word.substr(1);
  const Option* option = name.size() == 1 && is_long ? nullptr : find_option(command, name);
  if (option == nullptr) {
    std::vector<std::string_view> names;
    for (const Option& known : command.options) names.push_back(known.name);
    // A key such as -x is not meant as one.
    const std::string_view operand =
        is_long ? "" : "; behind -- it is a key or value, not an option";
    wrong_use("unknown option " + quoted(word) + suggestion(name, names, "--") +
              std::string(operand) + more_help(command));
  }
  std::string value;
  if (option->value.empty()) {
    if (equals != std::string::npos) {
      wrong_use("--" + std::string(option->name) + " takes no value" + more_help(command));
    }
  } else if (equals != std::string::npos) {
    value = word.substr(equals + 1);
  } else if (at + 1 < words.size()) {
    value = words[++at];
  } else {
    wrong_use("--" + std::string(option->name) + " needs a value: " + std::string(option->value) +
              more_help(command));
  }
  options_[std::string(option->name)] = std::move(value);
}

std::optional<std::string> Arguments::text(std::string_view option) const {
  const auto found = options_.find(option);
  if (found == options_.end()) return std::nullopt;
  return found->second;
}

std::uint64_t Arguments::number(std::string_view option, std::uint64_t fallback,
                                std::uint64_t least, std::uint64_t most) const {
  const std::optional<std::string> given = text(option);
  if (!given) return fallback;
  std::uint64_t value = 0;
  const char* const end = given->data() + given->size();
  const auto [stopped, error] = std::from_chars(given->data(), end, value);
  if (given->empty() || error != std::errc() || stopped != end || value < least || value > most) {
    const std::string range =
        most == UINT64_MAX ? (least == 0 ? "" : " of " + std::to_string(least) + " or more")
                           : " from " + std::to_string(least) + " to " + std::to_string(most);
    wrong_use("--" + std::string(option) + " takes a number" + range + ", not " + quoted(*given));
  }
  return value;
}

void Arguments::at_most_one_of(const std::vector<std::string_view>& options) const {
  std::string_view first;
  for (const std::string_view option : options) {
    if (!has(option)) continue;
    if (!first.empty()) {
      wrong_use("--" + std::string(first) + " and --" + std::string(option) +
                " do not go together; give one of them");
    }
    first = option;
  }
}

// ---- Suggestions ----

std::optional<std::string_view> nearest(std::string_view word,
                                        const std::vector<std::string_view>& candidates) {
  // Longer words cannot be a slip of anything here, and would cost time.
  if (word.empty() || word.size() > 64) return std::nullopt;
  std::optional<std::string_view> best;
  std::size_t best_distance = 3;
  for (const std::string_view candidate : candidates) {
    std::size_t away = distance(word, candidate);
    if (word.size() >= 2 && candidate.starts_with(word)) away = std::min<std::size_t>(away, 1);
    if (away < best_distance && away < std::max(word.size(), candidate.size()) / 2 + 1) {
      best = candidate;
      best_distance = away;
    }
  }
  return best;
}

std::string suggestion(std::string_view word, const std::vector<std::string_view>& candidates,
                       std::string_view dashes) {
  const std::optional<std::string_view> found = nearest(word, candidates);
  if (!found) return "";
  return " (did you mean \"" + std::string(dashes) + std::string(*found) + "\"?)";
}

// ---- Help ----

std::string help_text(const Command& command) {
  std::string text = "armdb " + std::string(command.name) + " - " + std::string(command.summary);
  text += "\n\nUse: armdb " + std::string(command.name) + " " + std::string(command.operands);
  text += "\n\n" + std::string(command.details);
  text += command.details.empty() ? "Options:\n" : "\n\nOptions:\n";
  for (const Option& option : command.options) {
    std::string left = option.letter == 0 ? "      " : std::string("  -") + option.letter + ", ";
    left += "--" + std::string(option.name);
    if (!option.value.empty()) left += " " + std::string(option.value);
    append_row(text, std::move(left), option.help);
  }
  text += "\nExit codes: 0 well, 1 not found or damage found, 2 wrong use, 3 failed.\n";
  return text;
}

std::string help_text(const std::vector<Command>& commands) {
  std::string text =
      "armdb - look into and care for collections of the armdb key-value database\n\n"
      "Use: armdb COMMAND PATH ... [OPTIONS]\n\n"
      "PATH is the directory of a collection. No schema is needed: sizes and kind are stored\n"
      "with it.\n\nCommands:\n";
  for (const Command& command : commands) {
    append_row(text, "  " + std::string(command.name), command.summary);
  }
  append_row(text, "  help [COMMAND]", "this text, or all about one command");
  text +=
      "\nOptions:\n"
      "  -h, --help              this text; behind a command, all about it\n"
      "      --version           version and build of the program\n\n"
      "Exit codes: 0 well, 1 not found or damage found, 2 wrong use, 3 failed.\n";
  return text;
}

}  // namespace armdb::cli

// scan: entries of a prefix, a range or all of a collection.
#include <cstdint>

#include "cli/commands.hpp"
#include "cli/notation.hpp"
#include "cli/open_collection.hpp"
#include "cli/output.hpp"
#include "cli/text_format.hpp"
#include "cli/visit.hpp"

namespace armdb::cli {

namespace {

Selection selection_from(const Arguments& arguments, const Notation& notation, const Shape& shape) {
  Selection selection;
  if (const auto from = arguments.text("from")) selection.first = notation.key_part(*from, shape);
  if (const auto to = arguments.text("to")) selection.last = notation.key_part(*to, shape);
  if (const auto prefix = arguments.text("prefix")) {
    if (arguments.has("int") || arguments.has("signed")) {
      wrong_use("integers have no prefix; give it with --hex, or use --from and --to");
    }
    selection.prefix = notation.key_part(*prefix, shape);
  }
  selection.descending = arguments.has("reverse");
  if (selection.descending && !shape.ordered) {
    wrong_use("--reverse is for trees, and this is a map: it has no order");
  }
  selection.with_values = !arguments.has("keys") && !arguments.has("count");
  return selection;
}

int run_scan(const Arguments& arguments, Console& console) {
  const Notation notation(arguments);
  arguments.at_most_one_of({"prefix", "from"});
  arguments.at_most_one_of({"prefix", "to"});
  arguments.at_most_one_of({"keys", "count"});
  const std::uint64_t limit = arguments.number("limit", UINT64_MAX, 0, UINT64_MAX);
  Collection collection = open_collection(arguments.operands()[0], Access::read, console);
  const Shape shape = collection.shape();
  notation.check(shape);
  const Selection selection = selection_from(arguments, notation, shape);
  const bool print_entries = !arguments.has("count");
  Output output;
  std::string line, unread_key;
  std::uint64_t done = 0;
  Status unread;
  const auto entry = [&](Bytes key, Bytes value) {
    ++done;
    if (!print_entries) return done < limit;
    line.clear();
    notation.append_key(line, key);
    if (selection.with_values) {
      line += '\t';
      notation.append_value(line, value);
    }
    line += '\n';
    return output.write(line) && done < limit;
  };
  const auto unreadable = [&](Bytes key, const Status& why) {
    unread = why;
    append_hex(unread_key, key);
    return false;
  };
  Status status;
  if (limit != 0) status = visit_entries(collection, selection, entry, unreadable);
  if (!print_entries) output.write(std::to_string(done) + "\n");
  output.finish();
  check(status, "cannot scan the collection");
  if (!unread.ok()) {
    fail(unread, "the value of key (hex) " + unread_key + " cannot be read",
         unread.is(Errc::corrupt) ? kNotFound : kFailed);
  }
  return kWell;
}

}  // namespace

Command scan_command() {
  Command command;
  command.name = "scan";
  command.operands = "PATH";
  command.summary = "print entries: all, of a range, or of a prefix";
  command.details =
      "One line per entry: key, TAB, value. Trees in ascending order of keys, maps in none. A\n"
      "scan that finds nothing is no error. \"dump\" writes lines that \"load\" reads.";
  command.operands_min = command.operands_max = 1;
  command.options = {
      {'p', "prefix", "PREFIX", "only keys that begin with this"},
      {0, "from", "KEY", "only keys from this one on; it may be shorter than keys are"},
      {0, "to", "KEY", "only keys before this one; it may be shorter, too"},
      {'r', "reverse", "", "descending (trees)"},
      {'n', "limit", "N", "at most so many entries"},
      {'k', "keys", "", "keys without values"},
      {'c', "count", "", "only how many there are"},
  };
  add_notation_options(command);
  add_common_options(command);
  command.run = run_scan;
  return command;
}

}  // namespace armdb::cli

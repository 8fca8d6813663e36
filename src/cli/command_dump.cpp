// dump: a whole collection as lines of text.
#include <cstdint>

#include "cli/commands.hpp"
#include "cli/open_collection.hpp"
#include "cli/output.hpp"
#include "cli/text_format.hpp"
#include "cli/visit.hpp"

namespace armdb::cli {

namespace {

// What a dump met that it could not write.
struct Unread {
  std::uint64_t count = 0;
  std::string key;  // hex, of the last one
  Status why;
};

Status write_entries(const Collection& collection, Output& output, bool skip_damaged,
                     Console& console, Progress& progress, Unread& unread) {
  std::string line;
  const auto entry = [&](Bytes key, Bytes value) {
    line.clear();
    append_escaped(line, key);
    line += '\t';
    append_escaped(line, value);
    const Result<std::uint64_t> expires = collection.expires_at(key);
    if (expires.ok() && *expires != WriteOptions::kForever) {
      line += '\t' + std::to_string(*expires);
    }
    line += '\n';
    progress.add(1);
    return output.write(line);
  };
  const auto unreadable = [&](Bytes key, const Status& why) {
    ++unread.count;
    unread.key.clear();
    append_hex(unread.key, key);
    unread.why = why;
    if (skip_damaged) console.warn("left out key (hex) " + unread.key + ": " + why.message());
    return skip_damaged;
  };
  output.write(dump_header(collection.shape()) + "\n");
  return visit_entries(collection, Selection(), entry, unreadable);
}

int run_dump(const Arguments& arguments, Console& console) {
  Collection collection = open_collection(arguments.operands()[0], Access::read, console);
  const std::string path = arguments.text("output").value_or("-");
  std::optional<Output> output;
  if (path == "-") {
    output.emplace();
  } else {
    output.emplace(path);
  }
  Unread unread;
  Status status;
  std::uint64_t done = 0;
  {
    Progress progress(console, "dump");
    status = write_entries(collection, *output, arguments.has("skip-damaged"), console, progress,
                           unread);
    done = progress.done();
  }
  check(status, "cannot scan the collection");
  if (unread.count != 0 && !arguments.has("skip-damaged")) {
    fail(unread.why,
         "the dump stops at key (hex) " + unread.key +
             ", which cannot be read (--skip-damaged leaves such entries out)",
         kNotFound);
  }
  output->finish();
  console.note("dumped " + counted(done, "entry", "entries"));
  const std::uint64_t regions = collection.stats().damaged_regions;
  if (unread.count == 0 && regions == 0) return kWell;
  throw Stop{kNotFound, "the dump has " + counted(done, "entry", "entries") + "; " +
                            counted(unread.count, "entry was", "entries were") +
                            " left out, and the collection has " +
                            counted(regions, "damaged region", "damaged regions") +
                            "; see \"armdb help repair\""};
}

}  // namespace

Command dump_command() {
  Command command;
  command.name = "dump";
  command.operands = "PATH";
  command.summary = "write all entries as lines of text";
  command.details =
      "The first line is \"# armdb dump 1 tree|map key=N value=N|var\"; each further line is one\n"
      "entry: key, TAB, value, with \\\\ \\t \\n \\xNN for what is not printable; one that\n"
      "expires has another TAB and the time, in milliseconds since 1970. Any bytes come back\n"
      "with \"armdb load\". Exit code 1 when damage was found.\n\n"
      "  armdb dump old | armdb load new --create";
  command.operands_min = command.operands_max = 1;
  command.options = {
      {'o', "output", "FILE",
       "write FILE.tmp, and rename it to FILE when it is whole and\n"
       "synced; - is standard output (the default)"},
      {0, "skip-damaged", "", "leave out entries that cannot be read, and name them"},
  };
  add_common_options(command);
  command.run = run_dump;
  return command;
}

}  // namespace armdb::cli

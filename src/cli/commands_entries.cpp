// create, get, put and erase: a collection and its single entries.
#include <cerrno>
#include <cstdio>
#include <utility>

#include "cli/commands.hpp"
#include "cli/notation.hpp"
#include "cli/open_collection.hpp"
#include "cli/output.hpp"
#include "cli/text_format.hpp"

namespace armdb::cli {

namespace {

Shape shape_from(const Arguments& arguments) {
  arguments.at_most_one_of({"tree", "map"});
  if (!arguments.has("tree") && !arguments.has("map")) {
    wrong_use("say which kind: --tree (ordered) or --map (faster look-ups, no order)");
  }
  if (!arguments.has("key-size") || !arguments.has("value-size")) {
    wrong_use("--key-size and --value-size are needed, such as --key-size 16 --value-size var");
  }
  Shape shape;
  shape.ordered = arguments.has("tree");
  shape.key_size = static_cast<std::uint32_t>(arguments.number("key-size", 0, 1, 1024));
  if (arguments.text("value-size") == "var") {
    shape.payload = Payload::location;
  } else {
    shape.value_size = static_cast<std::uint32_t>(arguments.number("value-size", 0, 0, 65536));
  }
  shape.fixed = arguments.has("fixed");
  if (shape.fixed && shape.payload == Payload::location) {
    wrong_use("--fixed needs values of one width: give --value-size a number");
  }
  if (arguments.has("single-copy") && !shape.fixed) {
    wrong_use("--single-copy goes with --fixed only: a log has no copies");
  }
  constexpr std::uint32_t kSingleCopyMax = 488;  // 24 bytes less than a sector
  if (arguments.has("single-copy") && shape.key_size + shape.value_size > kSingleCopyMax) {
    wrong_use("--single-copy takes keys and values of 488 bytes at most, together");
  }
  return shape;
}

int run_create(const Arguments& arguments, Console& console) {
  const std::string& path = arguments.operands()[0];
  const Shape shape = shape_from(arguments);
  FixedConfig config;
  config.single_copy = arguments.has("single-copy");
  config.shard_count = static_cast<std::uint32_t>(arguments.number("shards", 0, 1, 256));
  config.shard_prefix_bits = static_cast<std::uint32_t>(
      arguments.number("prefix-bits", 0, 1, std::uint64_t{8} * shape.key_size));
  Collection collection = create_collection(path, shape, console, config);
  const std::uint64_t shards = collection.stats().shards;
  close_collection(collection);
  print("created " + one_line(path) + ": " + shape_text(shape) + ", " +
        counted(shards, "shard", "shards") + "\n");
  return kWell;
}

// What a key is called in a message.
std::string shown_key(const Notation& notation, Bytes key) {
  std::string text = "the key \"";
  notation.append_key(text, key);
  return text + "\"";
}

int run_get(const Arguments& arguments, Console& console) {
  const Notation notation(arguments);
  arguments.at_most_one_of({"raw", "hex"});
  Collection collection = open_collection(arguments.operands()[0], Access::read, console);
  const std::string key = notation.key(arguments.operands()[1], collection.shape());
  const Result<std::optional<ByteView>> value = collection.get(key);
  if (!value.ok()) {
    const int code = value.is(Errc::corrupt) ? kNotFound : kFailed;
    fail(value.status(), "cannot read " + shown_key(notation, key), code);
  }
  if (!value->has_value()) {
    throw Stop{kNotFound, "not found: " + shown_key(notation, key) + " is not in \"" +
                              arguments.operands()[0] + "\""};
  }
  if (arguments.has("raw")) {
    print((*value)->text());
    return kWell;
  }
  std::string text;
  notation.append_value(text, **value);
  print(text + "\n");
  return kWell;
}

// The bytes of a file, or of standard input.
std::string read_whole(const std::string& path) {
  constexpr std::size_t kBytesMax = std::size_t{1} << 30;
  const std::string doing = "cannot read \"" + path + "\"";
  std::FILE* const file = path == "-" ? stdin : std::fopen(path.c_str(), "rb");
  if (file == nullptr) fail(Status::from_os(errno, "cannot open"), doing);
  std::string bytes;
  std::vector<char> buffer(std::size_t{64} << 10);
  std::size_t got = 1;
  while (got != 0 && bytes.size() <= kBytesMax) {
    got = std::fread(buffer.data(), 1, buffer.size(), file);
    bytes.append(buffer.data(), got);
  }
  const int error = std::ferror(file) != 0 ? errno : 0;
  if (file != stdin) static_cast<void>(std::fclose(file));
  if (error != 0) fail(Status::from_os(error, "the read failed"), doing);
  if (bytes.size() > kBytesMax) throw Stop{kFailed, doing + ": a value has 1 GiB at most"};
  return bytes;
}

int run_put(const Arguments& arguments, Console& console) {
  const Notation notation(arguments);
  const std::vector<std::string>& operands = arguments.operands();
  const std::optional<std::string> file = arguments.text("file");
  if (file.has_value() == (operands.size() == 3)) {
    wrong_use(file ? "a VALUE and --file do not go together; give one of them"
                   : "the value is missing; give a VALUE or --file FILE");
  }
  // Before the collection is locked: a pipe may take its time.
  std::string from_file;
  if (file) from_file = read_whole(*file);
  Collection collection = open_collection(operands[0], Access::write, console);
  const Shape shape = collection.shape();
  const std::string key = notation.key(operands[1], shape);
  const std::string value =
      file ? notation.sized_value(std::move(from_file), shape) : notation.value(operands[2], shape);
  const Status status =
      arguments.has("insert") ? collection.insert(key, value) : collection.put(key, value);
  if (status.is(Errc::key_exists)) {
    throw Stop{kNotFound, shown_key(notation, key) +
                              " is there already; put without --insert "
                              "replaces it"};
  }
  check(status, "cannot put " + shown_key(notation, key));
  close_collection(collection);
  return kWell;
}

int run_erase(const Arguments& arguments, Console& console) {
  const Notation notation(arguments);
  Collection collection = open_collection(arguments.operands()[0], Access::write, console);
  const std::string key = notation.key(arguments.operands()[1], collection.shape());
  const Status status = collection.erase(key);
  if (status.is(Errc::not_found)) {
    throw Stop{kNotFound, "not found: " + shown_key(notation, key) + " is not in \"" +
                              arguments.operands()[0] + "\""};
  }
  check(status, "cannot erase " + shown_key(notation, key));
  close_collection(collection);
  return kWell;
}

}  // namespace

Command create_command() {
  Command command;
  command.name = "create";
  command.operands = "PATH --tree|--map --key-size N --value-size N|var";
  command.summary = "make an empty collection";
  command.details =
      "Makes the directory PATH, whose parent must exist. Keys have one width; values have one\n"
      "(then they are kept in memory), or any length with \"var\" (then they stay on disk).\n"
      "A collection is a log that is compacted, or with --fixed slots that are written in place.";
  command.operands_min = command.operands_max = 1;
  command.options = {
      {0, "tree", "", "ordered by key: scans, ranges, prefixes"},
      {0, "map", "", "no order, faster look-ups"},
      {0, "key-size", "N", "bytes of each key, 1 to 1024"},
      {0, "value-size", "N|var", "bytes of each value, 0 to 65536, or any length"},
      {0, "shards", "N",
       "independent parts, 1 to 256 (default: one per core, 8 at\nmost); fixed "
       "for ever"},
      {0, "fixed", "", "on the Fixed store: overwriting takes no more space"},
      {0, "single-copy", "",
       "with --fixed: one copy of each slot, for disks that write\n"
       "a sector whole or not at all"},
      {0, "prefix-bits", "N", "choose the shard by this many first bits of the key"},
  };
  add_common_options(command);
  command.run = run_create;
  return command;
}

Command get_command() {
  Command command;
  command.name = "get";
  command.operands = "PATH KEY";
  command.summary = "print the value of a key";
  command.details = "Exit code 1 when the key is not there, or its value is damaged.";
  command.operands_min = command.operands_max = 2;
  add_notation_options(command);
  command.options.push_back({0, "raw", "", "the bytes of the value and nothing else"});
  add_common_options(command);
  command.run = run_get;
  return command;
}

Command put_command() {
  Command command;
  command.name = "put";
  command.operands = "PATH KEY VALUE | PATH KEY --file FILE";
  command.summary = "write one entry";
  command.details =
      "Replaces the value when the key is there. When the command has ended well, the entry is\n"
      "synced: it survives a power cut.";
  command.operands_min = 2;
  command.operands_max = 3;
  add_notation_options(command);
  command.options.push_back({0, "pad", "", "fill a short value up with NUL bytes"});
  command.options.push_back({0, "file", "FILE",
                             "the value is what the file holds; - is standard "
                             "input"});
  command.options.push_back({0, "insert", "", "only when the key is not there; else exit code 1"});
  add_common_options(command);
  command.run = run_put;
  return command;
}

Command erase_command() {
  Command command;
  command.name = "erase";
  command.operands = "PATH KEY";
  command.summary = "erase one entry";
  command.details = "Exit code 1 when the key is not there.";
  command.operands_min = command.operands_max = 2;
  add_notation_options(command);
  add_common_options(command);
  command.run = run_erase;
  return command;
}

}  // namespace armdb::cli

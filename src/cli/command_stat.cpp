// stat: shape and statistics of a collection, for people or as JSON.
#include <utility>
#include <variant>

#include "cli/commands.hpp"
#include "cli/open_collection.hpp"
#include "cli/output.hpp"
#include "cli/text_format.hpp"

namespace armdb::cli {

namespace {

enum class Unit { none, bytes };

// One line of stat: its words for people, and its name in JSON. No value: only a writer knows.
struct Row {
  std::string_view label;
  std::string_view name;
  std::variant<std::uint64_t, double, std::monostate> value;
  Unit unit = Unit::none;
};

struct Section {
  std::string_view title;
  std::vector<Row> rows;
};

std::vector<Section> sections_of(const Stats& stats) {
  return {
      {"Entries",
       {{"entries", "entries", stats.entries},
        {"shards", "shards", stats.shards},
        {"last sequence", "last_sequence", stats.last_sequence}}},
      {"Memory",
       {{"index", "index_bytes", stats.index_bytes, Unit::bytes},
        {"index per key", "index_bytes_per_key", stats.index_bytes_per_key, Unit::bytes},
        {"buffers and caches", "buffer_bytes", stats.buffer_bytes, Unit::bytes},
        {"cache hits", "cache_hits", stats.cache_hits},
        {"cache misses", "cache_misses", stats.cache_misses}}},
      {"Disk",
       {{"segments", "segments", stats.segments},
        {"all files", "file_bytes", stats.file_bytes, Unit::bytes},
        {"entries in them", "data_bytes", stats.data_bytes, Unit::bytes},
        {"of these dead", "dead_bytes", stats.dead_bytes, Unit::bytes},
        {"tombstones", "tombstones", stats.tombstones}}},
      {"State",
       {{"unsynced shards", "unsynced_shards", stats.unsynced_shards},
        {"failed shards", "failed_shards", stats.failed_shards},
        {"full shards", "full_shards", stats.full_shards},
        {"put survives kill -9", "written_survives_kill", std::monostate()},
        {"compactions", "compactions", stats.compactions},
        {"syncs", "syncs", stats.syncs}}},
      {"What opening found",
       {{"entries by hint", "opened_by_hint", stats.opened_by_hint},
        {"entries by scan", "opened_by_scan", stats.opened_by_scan},
        {"torn by a crash", "torn_bytes", stats.torn_bytes, Unit::bytes},
        {"damaged regions", "damaged_regions", stats.damaged_regions},
        {"segments set aside", "segments_set_aside", stats.segments_set_aside}}},
  };
}

std::string value_text(const Row& row) {
  if (std::holds_alternative<std::monostate>(row.value)) return "known to writers only";
  if (const double* const number = std::get_if<double>(&row.value)) {
    return fixed_text(*number, 1) + (row.unit == Unit::bytes ? " bytes" : "");
  }
  const std::uint64_t number = std::get<std::uint64_t>(row.value);
  if (row.unit == Unit::none) return grouped(number);
  std::string text = counted(number, "byte", "bytes");
  if (number >= 1024) text += " (" + size_text(number) + ")";
  return text;
}

void append_line(std::string& text, std::string_view label, std::string_view value) {
  constexpr std::size_t kValueColumn = 24;
  std::string left = "  " + std::string(label);
  if (left.size() < kValueColumn) left.resize(kValueColumn, ' ');
  text += left + std::string(value) + "\n";
}

std::string people_text(const std::string& path, const Shape& shape, const Stats& stats) {
  std::string text = one_line(path) + "\n";
  append_line(text, "kind", shape.ordered ? "tree" : "map");
  append_line(text, "store",
              shape.fixed ? "Fixed (slots, written in place)" : "Bitcask (logs, compacted)");
  append_line(text, "key size", counted(shape.key_size, "byte", "bytes"));
  append_line(text, "value size",
              shape.payload == Payload::location
                  ? "any (values stay on disk)"
                  : counted(shape.value_size, "byte", "bytes") + " (values are kept in memory)");
  for (const Section& section : sections_of(stats)) {
    text += std::string(section.title) + "\n";
    for (const Row& row : section.rows) append_line(text, row.label, value_text(row));
  }
  return text;
}

// All names and texts in it are our own and need no escapes.
std::string json_text(const Shape& shape, const Stats& stats) {
  std::string text = "{\"kind\": \"";
  text += shape.ordered ? "tree" : "map";
  text += "\", \"store\": \"";
  text += shape.fixed ? "fixed" : "bitcask";
  text += "\", \"key_size\": " + std::to_string(shape.key_size) + ", \"value_size\": ";
  text += shape.payload == Payload::location ? "null" : std::to_string(shape.value_size);
  for (const Section& section : sections_of(stats)) {
    for (const Row& row : section.rows) {
      text += ", \"" + std::string(row.name) + "\": ";
      if (std::holds_alternative<std::monostate>(row.value)) {
        text += "null";
      } else if (const double* const number = std::get_if<double>(&row.value)) {
        text += fixed_text(*number, 3);
      } else {
        text += std::to_string(std::get<std::uint64_t>(row.value));
      }
    }
  }
  return text + "}\n";
}

int run_stat(const Arguments& arguments, Console& console) {
  const std::string& path = arguments.operands()[0];
  Collection collection = open_collection(path, Access::read, console);
  const Stats stats = collection.stats();
  print(arguments.has("json") ? json_text(collection.shape(), stats)
                              : people_text(path, collection.shape(), stats));
  return kWell;
}

}  // namespace

Command stat_command() {
  Command command;
  command.name = "stat";
  command.operands = "PATH";
  command.summary = "show shape, sizes and state";
  command.details =
      "Opens the collection for reading and changes nothing. In JSON \"value_size\" is null when\n"
      "values have any length, and \"written_survives_kill\" because only writers know it.";
  command.operands_min = command.operands_max = 1;
  command.options = {{'j', "json", "", "one JSON object"}};
  add_common_options(command);
  command.run = run_stat;
  return command;
}

}  // namespace armdb::cli

// verify, compact and checkpoint: looking after a collection.
#include <algorithm>
#include <charconv>
#include <cstdint>

#include "cli/commands.hpp"
#include "cli/open_collection.hpp"
#include "cli/output.hpp"
#include "cli/text_format.hpp"

namespace armdb::cli {

namespace {

int run_verify(const Arguments& arguments, Console& console) {
  const std::string& path = arguments.operands()[0];
  Config config;
  config.read_only = true;
  config.create = false;
  config.mapped_reads = false;  // a read error of the disk must be an error, not a signal
  console.settle(config);
  Result<Collection> opened = Collection::open_existing(path, config);
  if (opened.is(Errc::corrupt)) fail(opened.status(), "damaged", kNotFound);
  check(opened.status(), "cannot open the collection");
  Collection collection = std::move(*opened);
  const Result<VerifyReport> report = collection.verify();
  check(report.status(), "cannot verify the collection");
  const Stats stats = collection.stats();
  const bool fixed = collection.shape().fixed;
  std::string text = "verified " + one_line(path) + ": " +
                     (fixed ? counted(stats.shards, "shard", "shards")
                            : counted(report->segments, "segment", "segments")) +
                     ", " + counted(report->entries, "stored entry", "stored entries") + ", " +
                     counted(report->bytes, "byte", "bytes") + "; " +
                     counted(stats.entries, "live key", "live keys") + "\n";
  if (stats.torn_bytes != 0) {
    text += "note: a crash cut " + counted(stats.torn_bytes, "byte", "bytes") +
            " that were never synced; that is no damage\n";
  }
  if (stats.segments_set_aside != 0) {
    text += "note: " + counted(stats.segments_set_aside, "segment", "segments") +
            " behind a hole that a crash left, never synced, will be set aside\n";
  }
  print(text);
  // Opening passes over what it has a hint for, verify() over what only opening reads.
  const std::uint64_t regions = std::max(report->damaged_regions, stats.damaged_regions);
  if (report->forged_pieces != 0) {
    throw Stop{kNotFound, "tampered with: " + counted(report->forged_pieces, "piece", "pieces") +
                              " of \"" + path + "\" are whole and not what was sealed there; " +
                              "restore a backup"};
  }
  if (regions == 0) return kWell;
  throw Stop{kNotFound, "damaged: " + counted(regions, "region", "regions") + " in \"" + path +
                            "\"; \"armdb " + (fixed ? "dump\" writes" : "repair\" copies") +
                            " what is whole"};
}

// Prints what a command did to what is stored.
void print_change(std::string_view what, bool fixed, const Stats& before, const Stats& after) {
  const auto text = [fixed](const Stats& stats) {
    if (fixed) {
      return size_text(stats.file_bytes) + " of files, " + size_text(stats.dead_bytes) + " free";
    }
    return counted(stats.segments, "segment", "segments") + " with " + size_text(stats.data_bytes) +
           " of entries, " + size_text(stats.dead_bytes) + " dead";
  };
  print(std::string(what) + ": before " + text(before) + "; after " + text(after) + "\n");
}

double threshold_from(const Arguments& arguments, double fallback) {
  const std::optional<std::string> given = arguments.text("threshold");
  if (!given) return fallback;
  double value = 0;
  const char* const end = given->data() + given->size();
  const auto [stopped, error] = std::from_chars(given->data(), end, value);
  if (error != std::errc() || stopped != end || !(value >= 0.01 && value <= 1)) {
    wrong_use("--threshold takes a share from 0.01 to 1, not \"" + *given + "\"");
  }
  return value;
}

int run_compact(const Arguments& arguments, Console& console) {
  Config config;
  config.compaction_threshold = threshold_from(arguments, config.compaction_threshold);
  Collection collection = open_collection(arguments.operands()[0], Access::write, console, config);
  const bool fixed = collection.shape().fixed;
  if (fixed && arguments.has("threshold")) {
    console.warn("--threshold means nothing here: a Fixed store gives back all that it can");
  }
  const Stats before = collection.stats();
  check(collection.compact(), "cannot compact the collection");
  const Stats after = collection.stats();
  close_collection(collection);
  print_change("compacted", fixed, before, after);
  return kWell;
}

int run_checkpoint(const Arguments& arguments, Console& console) {
  Collection collection = open_collection(arguments.operands()[0], Access::write, console);
  const Stats before = collection.stats();
  check(collection.checkpoint(), "cannot make a checkpoint");
  const bool fixed = collection.shape().fixed;
  const Stats after = collection.stats();
  close_collection(collection);
  print_change("checkpoint made", fixed, before, after);
  return kWell;
}

}  // namespace

Command verify_command() {
  Command command;
  command.name = "verify";
  command.operands = "PATH";
  command.summary = "read all that is stored, and tell what is damaged";
  command.details =
      "Changes nothing. Names each damaged place on standard error. Exit code 1 when there is\n"
      "any; what a crash tore off before it was synced is noted and is no damage.";
  command.operands_min = command.operands_max = 1;
  add_common_options(command);
  command.run = run_verify;
  return command;
}

Command compact_command() {
  Command command;
  command.name = "compact";
  command.operands = "PATH";
  command.summary = "rewrite segments that hold much that is dead";
  command.details =
      "Of a Fixed store: moves entries to free slots, and gives back the end of its files.";
  command.operands_min = command.operands_max = 1;
  command.options = {
      {'t', "threshold", "SHARE",
       "rewrite segments with at least this share of dead bytes,\n"
       "0.01 to 1 (default 0.3)"},
  };
  add_common_options(command);
  command.run = run_compact;
  return command;
}

Command checkpoint_command() {
  Command command;
  command.name = "checkpoint";
  command.operands = "PATH";
  command.summary = "sync, and write hints so that the next open is fast";
  command.details = "A Fixed store has no hints: it is synced.";
  command.operands_min = command.operands_max = 1;
  add_common_options(command);
  command.run = run_checkpoint;
  return command;
}

}  // namespace armdb::cli

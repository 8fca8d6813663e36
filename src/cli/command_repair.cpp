// repair: copies what is whole to a new collection, or lets the library mend one in place.
#include <cstdint>
#include <filesystem>
#include <utility>

#include "cli/commands.hpp"
#include "cli/open_collection.hpp"
#include "cli/output.hpp"
#include "cli/text_format.hpp"
#include "cli/visit.hpp"

namespace armdb::cli {

namespace {

// Copies entries in groups. Runs inside visit_entries: keeps errors, and throws nothing.
class Copier {
 public:
  Copier(Collection& target, Progress& progress) : target_(target), progress_(progress) {}

  bool add(Bytes key, Bytes value, std::uint64_t expires_at_ms) {
    bytes_.append(key.text());
    bytes_.append(value.text());
    sizes_.push_back({key.size(), value.size(), expires_at_ms});
    progress_.add(1);
    return bytes_.size() < kBytesMax && sizes_.size() < kEntriesMax ? true : write();
  }

  bool write() {
    std::vector<BytesPair> pairs;
    pairs.reserve(sizes_.size());
    Bytes rest(bytes_);
    for (const auto& [key_size, value_size, expires_at_ms] : sizes_) {
      pairs.push_back(
          {rest.sub(0, key_size), rest.sub(key_size, value_size), nullptr, expires_at_ms});
      rest = rest.sub(key_size + value_size);
    }
    status_ = target_.put_many(pairs);
    bytes_.clear();
    sizes_.clear();
    return status_.ok();
  }

  [[nodiscard]] const Status& status() const { return status_; }

 private:
  static constexpr std::size_t kBytesMax = std::size_t{4} << 20;
  static constexpr std::size_t kEntriesMax = 4096;

  Collection& target_;
  Progress& progress_;
  std::string bytes_;
  struct Sizes {
    std::size_t key;
    std::size_t value;
    std::uint64_t expires_at_ms;
  };
  std::vector<Sizes> sizes_;
  Status status_;
};

// Damage that costs nothing: a MANIFEST is rebuilt from the segments.
bool only_manifest(const std::string& damage) {
  return damage.find("MANIFEST is damaged") != std::string::npos;
}

// What a repair found and did.
struct Summary {
  std::uint64_t copied = 0;
  std::uint64_t unreadable = 0;
  bool all_verified = true;
  std::vector<std::string> damage;

  [[nodiscard]] bool lost() const {
    if (unreadable != 0 || !all_verified) return true;
    for (const std::string& line : damage) {
      if (!only_manifest(line)) return true;
    }
    return false;
  }
};

void print_damage(Output& output, const Summary& summary) {
  for (const std::string& line : summary.damage) output.write("damage: " + line + "\n");
}

// All entries of `source` that can be read go to `target`; the others are listed.
void copy_entries(Collection& source, Collection& target, Console& console, Output& output,
                  Summary& summary) {
  Progress progress(console, "repair");
  Copier copier(target, progress);
  const auto entry = [&](Bytes key, Bytes value) {
    const Result<std::uint64_t> expires = source.expires_at(key);
    const bool stays = !expires.ok() || *expires == WriteOptions::kForever;
    return copier.add(key, value, stays ? 0 : *expires);
  };
  const auto unreadable = [&](Bytes key, const Status& why) {
    std::string line = "lost: key (hex) ";
    append_hex(line, key);
    ++summary.unreadable;
    return output.write(line + ": " + one_line(why.message()) + "\n");
  };
  const Status status = visit_entries(source, Selection(), entry, unreadable);
  constexpr std::string_view kWriting = "cannot write the copy, which is not whole";
  check(copier.status(), kWriting);
  check(status, "cannot read the source on, and the copy is not whole");
  if (output.failed()) output.finish();
  if (!copier.write()) check(copier.status(), kWriting);
  summary.copied = progress.done();
}

// The copy, opened anew, must be whole and have every entry.
void verify_copy(const std::string& path, std::uint64_t entries, Console& console) {
  Collection copy = open_collection(path, Access::read, console);
  const Result<VerifyReport> report = copy.verify();
  check(report.status(), "cannot verify the copy");
  if (report->damaged_regions == 0 && copy.size() == entries) return;
  throw Stop{kFailed, "the copy \"" + path + "\" is not whole: it has " +
                          counted(copy.size(), "entry", "entries") + " of " + grouped(entries) +
                          " and " + counted(report->damaged_regions, "region", "regions") +
                          " of damage; check that disk, and repair to another one"};
}

bool lies_in(const std::string& path, const std::string& directory) {
  std::error_code error;
  const std::filesystem::path outer = std::filesystem::canonical(directory, error);
  if (error) return false;
  std::filesystem::path inner = std::filesystem::weakly_canonical(path, error);
  for (; inner.has_relative_path(); inner = inner.parent_path()) {
    if (inner == outer) return true;
  }
  return false;
}

int run_copy(const std::string& from, const std::string& to, Console& console) {
  std::error_code error;
  if (std::filesystem::exists(std::filesystem::symlink_status(to, error))) {
    throw Stop{kFailed, "\"" + to + "\" exists; name a new directory for the copy"};
  }
  if (lies_in(to, from)) {
    throw Stop{kFailed, "\"" + to + "\" lies inside the source; name a place outside of it"};
  }
  // The list goes to standard output, once for each place.
  console.hold_damage(true);
  // A read error of the disk must be an error, not a signal: no mapped reads.
  Config config;
  config.mapped_reads = false;
  Collection source = open_collection(from, Access::read, console, config);
  Config target_config;
  target_config.shard_count = static_cast<std::uint32_t>(source.stats().shards);
  const Result<VerifyReport> report = source.verify();
  if (!report.ok()) console.warn("cannot verify all of it: " + report.status().message());
  Output output;
  Summary summary;
  summary.all_verified = report.ok();
  Collection target = create_collection(to, source.shape(), console, target_config);
  copy_entries(source, target, console, output, summary);
  close_collection(target);
  summary.damage = console.damage();
  print_damage(output, summary);
  verify_copy(to, summary.copied, console);
  output.write("copied " + counted(summary.copied, "entry", "entries") + " to " + one_line(to) +
               "; the copy is whole\n");
  output.finish();
  if (!summary.lost()) return kWell;
  throw Stop{kNotFound, "not all of \"" + from + "\" was whole: " +
                            counted(summary.unreadable, "entry", "entries") + " unreadable, " +
                            counted(summary.damage.size(), "damaged place", "damaged places") +
                            "; what they held is not in the copy, or in an older version"};
}

int run_in_place(const std::string& path, Console& console) {
  console.hold_damage(true);
  Collection collection = open_collection(path, Access::write, console);
  const Result<VerifyReport> report = collection.verify();
  check(report.status(), "cannot verify the collection");
  const std::uint64_t entries = collection.size();
  close_collection(collection);
  Summary summary;
  summary.damage = console.damage();
  Output output;
  print_damage(output, summary);
  output.write("opened, recovered and verified " + one_line(path) + ": " +
               counted(entries, "entry", "entries") + "\n");
  output.finish();
  if (!summary.lost() && report->damaged_regions == 0) return kWell;
  throw Stop{kNotFound, "damage was found in \"" + path +
                            "\": " + counted(summary.damage.size(), "place", "places") +
                            "; \"armdb repair SOURCE TARGET\" copies what is whole"};
}

int run_repair(const Arguments& arguments, Console& console) {
  const std::vector<std::string>& operands = arguments.operands();
  const bool in_place = arguments.has("in-place");
  if (in_place == (operands.size() == 2)) {
    wrong_use(in_place ? "a TARGET and --in-place do not go together; give one of them"
                       : "say where to: repair SOURCE TARGET, or repair SOURCE --in-place");
  }
  // A log has older versions and more than one place to look; a slot that lost all its copies is
  // gone, and opening has mended what a crash left.
  if (is_fixed(operands[0])) {
    throw Stop{kFailed, "\"" + operands[0] +
                            "\" is a Fixed store, and repair is for logs; \"armdb verify\" names "
                            "what is damaged, \"armdb dump OLD | armdb load NEW --create --fixed\" "
                            "copies what is whole"};
  }
  return in_place ? run_in_place(operands[0], console)
                  : run_copy(operands[0], operands[1], console);
}

}  // namespace

Command repair_command() {
  Command command;
  command.name = "repair";
  command.operands = "SOURCE TARGET | SOURCE --in-place";
  command.summary = "copy what is whole to a new collection";
  command.details =
      "With TARGET, changes nothing in SOURCE: copies each entry that can be read to a new\n"
      "collection of the same shape, lists what cannot be and where the damage is, and verifies\n"
      "the copy. With --in-place, opens SOURCE for writing, which rebuilds a damaged or missing\n"
      "MANIFEST and drops what a crash tore, and verifies it. Exit code 1 when something was\n"
      "lost. Make a copy of the directory before --in-place.\n\n"
      "Only for logs. Of a Fixed store \"armdb verify\" names what is damaged, and\n\n"
      "  armdb dump OLD | armdb load NEW --create --fixed\n\n"
      "copies what is whole.";
  command.operands_min = 1;
  command.operands_max = 2;
  command.options = {{0, "in-place", "", "mend SOURCE itself"}};
  add_common_options(command);
  command.run = run_repair;
  return command;
}

}  // namespace armdb::cli

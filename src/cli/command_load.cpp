// load: entries from the lines of a dump.
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <utility>

#include "cli/commands.hpp"
#include "cli/open_collection.hpp"
#include "cli/output.hpp"
#include "cli/text_format.hpp"

namespace armdb::cli {

namespace {

// The lines of a file or of standard input, and their numbers.
class LineReader {
 public:
  enum class Outcome { line, cut_off, too_long, end };

  explicit LineReader(const std::string& path)
      : name_(path == "-" ? "standard input" : path),
        file_(path == "-" ? stdin : std::fopen(path.c_str(), "rb")),
        buffer_(std::size_t{64} << 10) {
    if (file_ == nullptr) fail(Status::from_os(errno, "cannot open"), doing());
  }
  ~LineReader() {
    if (file_ != nullptr && file_ != stdin) static_cast<void>(std::fclose(file_));
  }
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // The next line without its newline. A line above `bytes_max` is skipped, and `too_long`; the
  // last one is `cut_off` when no newline ends it. Ends with `failed` when reading fails.
  Outcome next(std::string& line, std::uint64_t bytes_max) {
    line.clear();
    bool too_long = false;
    for (std::uint64_t taken = 0;;) {
      if (at_ == end_ && !refill()) {
        if (taken == 0) return Outcome::end;
        ++number_;
        return too_long ? Outcome::too_long : Outcome::cut_off;
      }
      const char* const start = buffer_.data() + at_;
      const void* const newline = std::memchr(start, '\n', end_ - at_);
      const std::size_t size =
          newline == nullptr ? end_ - at_
                             : static_cast<std::size_t>(static_cast<const char*>(newline) - start);
      taken += size + 1;
      too_long = too_long || line.size() + size > bytes_max;
      if (!too_long) line.append(start, size);
      at_ += size;
      if (newline == nullptr) continue;
      ++at_;
      ++number_;
      return too_long ? Outcome::too_long : Outcome::line;
    }
  }

  // "file:12", for messages.
  [[nodiscard]] std::string place() const { return name_ + ":" + std::to_string(number_); }

 private:
  [[nodiscard]] std::string doing() const { return "cannot read \"" + name_ + "\""; }

  bool refill() {
    at_ = 0;
    end_ = std::fread(buffer_.data(), 1, buffer_.size(), file_);
    if (end_ == 0 && std::ferror(file_) != 0) {
      fail(Status::from_os(errno, "the read failed"), doing());
    }
    return end_ != 0;
  }

  const std::string name_;
  std::FILE* const file_;
  std::vector<char> buffer_;
  std::size_t at_ = 0;
  std::size_t end_ = 0;
  std::uint64_t number_ = 0;
};

constexpr std::uint64_t kValueBytesMax = std::uint64_t{1} << 30;

// The longest line that can be an entry: each byte as \xNN.
std::uint64_t line_bytes_max(const Shape& shape) {
  const std::uint64_t value =
      shape.payload == Payload::location ? kValueBytesMax : shape.value_size;
  return 4 * (std::uint64_t{shape.key_size} + value) + 1;
}

// Takes a line apart; false with the reason when it is no entry of the shape.
bool parse_entry(std::string_view line, const Shape& shape, std::string& key, std::string& value,
                 std::uint64_t& expires_at_ms, std::string& why) {
  key.clear();
  value.clear();
  expires_at_ms = 0;
  const std::size_t tab = line.find('\t');
  if (tab == std::string_view::npos) {
    why = "there is no TAB between key and value";
    return false;
  }
  const std::size_t second = line.find('\t', tab + 1);
  if (second != std::string_view::npos) {
    const std::string_view time = line.substr(second + 1);
    const auto [end, error] =
        std::from_chars(time.data(), time.data() + time.size(), expires_at_ms);
    if (error != std::errc() || end != time.data() + time.size() || expires_at_ms == 0) {
      why = "behind the second TAB is no time of expiry; a TAB inside a value is written \\t";
      return false;
    }
    line = line.substr(0, second);
  }
  std::string detail;
  if (!decode_escaped(line.substr(0, tab), key, detail)) {
    why = "the key " + detail;
    return false;
  }
  if (!decode_escaped(line.substr(tab + 1), value, detail)) {
    why = "the value " + detail;
    return false;
  }
  if (key.size() != shape.key_size) {
    why = "the key has " + counted(key.size(), "byte", "bytes") + ", not " +
          std::to_string(shape.key_size);
    return false;
  }
  const bool fits = shape.payload == Payload::location ? value.size() <= kValueBytesMax
                                                       : value.size() == shape.value_size;
  if (fits) return true;
  why = "the value has " + counted(value.size(), "byte", "bytes") + ", not " +
        (shape.payload == Payload::location ? "1 GiB at most" : std::to_string(shape.value_size));
  return false;
}

// Entries that wait for the next put_many.
class Group {
 public:
  explicit Group(Collection& collection) : collection_(collection) {}

  Status add(const std::string& key, const std::string& value, std::uint64_t expires_at_ms) {
    bytes_ += key;
    bytes_ += value;
    value_sizes_.push_back(value.size());
    expiries_.push_back(expires_at_ms);
    if (value_sizes_.size() < kEntriesMax && bytes_.size() < kBytesMax) return {};
    return write();
  }

  Status write() {
    std::vector<BytesPair> pairs;
    pairs.reserve(value_sizes_.size());
    Bytes rest(bytes_);
    const std::size_t key_size = collection_.shape().key_size;
    for (const std::size_t size : value_sizes_) {
      pairs.push_back(
          {rest.sub(0, key_size), rest.sub(key_size, size), nullptr, expiries_[pairs.size()]});
      rest = rest.sub(key_size + size);
    }
    Status status = collection_.put_many(pairs);
    if (status.ok()) written_ += pairs.size();
    bytes_.clear();
    value_sizes_.clear();
    expiries_.clear();
    return status;
  }

  [[nodiscard]] std::uint64_t written() const { return written_; }

 private:
  static constexpr std::size_t kEntriesMax = 4096;
  static constexpr std::size_t kBytesMax = std::size_t{4} << 20;

  Collection& collection_;
  std::string bytes_;
  std::vector<std::size_t> value_sizes_;
  std::vector<std::uint64_t> expiries_;
  std::uint64_t written_ = 0;
};

// One run: header, collection, entries, sync.
class Load {
 public:
  Load(const Arguments& arguments, Console& console)
      : path_(arguments.operands()[0]),
        arguments_(arguments),
        console_(console),
        reader_(arguments.operands().size() > 1 ? arguments.operands()[1] : "-"),
        skip_bad_(arguments.has("skip-bad")) {}

  int run() {
    // The collection first where it can be: a locked one is told before input is awaited.
    const bool create = arguments_.has("create") && !has_collection(path_);
    if (!create) collection_ = open_collection(path_, Access::write, console_);
    if (!arguments_.has("no-header")) read_header();
    if (create) {
      Config config;
      config.shard_count = static_cast<std::uint32_t>(arguments_.number("shards", 0, 1, 256));
      if (arguments_.has("fixed") && header_.payload == Payload::location) {
        throw Stop{kFailed, reader_.place() + ": the dump is of a " + shape_text(header_) +
                                ", and a Fixed store has one size; load it without --fixed"};
      }
      header_.fixed = arguments_.has("fixed");
      collection_ = create_collection(path_, header_, console_, config);
    }
    Group group(collection_);
    const Status status = load_lines(group);
    // What went before a bad line is kept, and kept well.
    const Status synced = status.ok() ? collection_.sync() : Status();
    const std::string loaded = counted(group.written(), "entry", "entries");
    check(status, "cannot go on after " + loaded);
    check(synced, "cannot sync after " + loaded);
    close_collection(collection_);
    if (!stopped_.empty()) throw Stop{kFailed, stopped_ + " (" + loaded + " loaded)"};
    print("loaded " + loaded + "\n");
    if (bad_ == 0) return kWell;
    throw Stop{kNotFound, counted(bad_, "bad line was", "bad lines were") + " skipped"};
  }

 private:
  void read_header() {
    std::string line, why;
    constexpr std::uint64_t kHeaderBytesMax = 200;
    const LineReader::Outcome outcome = reader_.next(line, kHeaderBytesMax);
    if (outcome == LineReader::Outcome::end) {
      throw Stop{kFailed, reader_.place() + ": the input is empty; not even a header is there"};
    }
    bool good = outcome == LineReader::Outcome::line;
    if (!good) why = "is no header of a dump";
    if (good) good = parse_dump_header(line, header_, why);
    if (!good) {
      throw Stop{kFailed,
                 reader_.place() + ": the line " + why + " (--no-header loads lines without one)"};
    }
    if (!collection_.is_open()) return;
    const Shape shape = collection_.shape();
    const bool both_fixed = header_.payload == Payload::value && shape.payload == Payload::value;
    if (header_.key_size != shape.key_size ||
        (both_fixed && header_.value_size != shape.value_size)) {
      throw Stop{kFailed, reader_.place() + ": the dump is of a " + shape_text(header_) +
                              ", and the collection is a " + shape_text(shape) +
                              "; load it into a new one with --create"};
    }
  }

  // Ends at the first bad line, which `stopped_` then names, or goes on behind it.
  Status load_lines(Group& group) {
    const Shape shape = collection_.shape();
    const std::uint64_t bytes_max = line_bytes_max(shape);
    std::string line, key, value, why;
    std::uint64_t expires_at_ms = 0;
    Progress progress(console_, "load");
    for (;;) {
      const LineReader::Outcome outcome = reader_.next(line, bytes_max);
      if (outcome == LineReader::Outcome::end) break;
      bool good = outcome == LineReader::Outcome::line;
      if (outcome == LineReader::Outcome::too_long) why = "the line is longer than any entry";
      if (outcome == LineReader::Outcome::cut_off) {
        why = "no newline ends the line: the input was cut off";
      }
      if (good) good = parse_entry(line, shape, key, value, expires_at_ms, why);
      if (!good) {
        const std::string what = reader_.place() + ": " + why;
        if (!skip_bad_) {
          stopped_ = what + "; correct it, or use --skip-bad";
          break;
        }
        ++bad_;
        console_.warn(what + "; skipped");
        continue;
      }
      Status status = group.add(key, value, expires_at_ms);
      if (!status.ok()) return status;
      progress.add(1);
    }
    return group.write();
  }

  const std::string& path_;
  const Arguments& arguments_;
  Console& console_;
  LineReader reader_;
  const bool skip_bad_;
  Collection collection_;
  Shape header_;
  std::string stopped_;
  std::uint64_t bad_ = 0;
};

int run_load(const Arguments& arguments, Console& console) {
  arguments.at_most_one_of({"create", "no-header"});
  if (arguments.has("shards") && !arguments.has("create")) {
    wrong_use("--shards goes with --create only: the shards of a collection are fixed");
  }
  if (arguments.has("fixed") && !arguments.has("create")) {
    wrong_use("--fixed goes with --create only: a collection stays what it is");
  }
  return Load(arguments, console).run();
}

}  // namespace

Command load_command() {
  Command command;
  command.name = "load";
  command.operands = "PATH [FILE]";
  command.summary = "put entries from lines of text";
  command.details =
      "Reads what \"armdb dump\" writes, from FILE or standard input (\"-\", the default), and\n"
      "puts each entry. Stops at the first line that is no entry; what went before it stays.\n"
      "All is synced at the end. \"armdb help dump\" tells the format.";
  command.operands_min = 1;
  command.operands_max = 2;
  command.options = {
      {0, "create", "", "make the collection from the header when there is none"},
      {0, "shards", "N", "with --create: independent parts, 1 to 256"},
      {0, "fixed", "", "with --create: on the Fixed store, which a dump does not tell"},
      {0, "skip-bad", "", "name bad lines and go on; exit code 1 when there were any"},
      {0, "no-header", "", "the first line is an entry already"},
  };
  add_common_options(command);
  command.run = run_load;
  return command;
}

}  // namespace armdb::cli

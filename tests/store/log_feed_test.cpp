// LogFeed: what a follower is told has no hole, no half of a batch, and no damage.
#include "store/log_feed.hpp"

#include <memory>
#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "format/frame.hpp"
#include "support/one_shard.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

using namespace armdb;
using store::FeedPiece;
using store::FeedStep;
using store::LogFeed;
using test::FaultFileSystem;

namespace {

constexpr std::uint64_t kAll = ~std::uint64_t{0};

// An entry as it was written, or as it was told.
struct Told {
  std::uint64_t sequence = 0;
  std::uint8_t flags = 0;
  std::uint64_t expiry_ms = 0;
  std::string key;
  std::string value;
  friend bool operator==(const Told&, const Told&) = default;
};
using Entries = std::vector<Told>;

// A collection on files that remembers what each shard's log should say.
class Writer {
 public:
  explicit Writer(std::uint32_t shards = 1) : logs(shards) { reopen(); }

  void reopen() {
    engine.reset();
    Config config = test::one_shard(files);
    config.shard_count = static_cast<std::uint32_t>(logs.size());
    Result<std::unique_ptr<engine::Engine>> opened =
        engine::Engine::open("/c", &test::kVarTree, config, {});
    INFO(opened.status().message());
    REQUIRE(opened.ok());
    engine = std::move(*opened);
  }
  // New sequences begin behind a gap.
  void crash() {
    REQUIRE(engine->sync().ok());
    files.kill_process();
    reopen();
  }

  void put(int key, std::size_t size = 100, std::uint64_t expiry_ms = 0) {
    write(test::key_of(key), std::string(size, static_cast<char>('a' + key % 26)), expiry_ms,
          false);
  }
  void erase(int key) { write(test::key_of(key), "", 0, true); }

  void batch(std::vector<int> keys, char value) {
    std::vector<std::string> texts;
    for (const int key : keys) texts.push_back(test::key_of(key));
    const std::string bytes(50, value);
    std::vector<engine::WriteRequest> requests(keys.size());
    for (std::size_t at = 0; at < keys.size(); ++at) {
      requests[at].key = Bytes(texts[at]);
      requests[at].value = Bytes(bytes);
    }
    std::vector<Entries> parts(logs.size());
    for (const std::string& text : texts) {
      parts[shard_of(text)].push_back({0, 0, 0, text, bytes});
    }
    bool written = false;
    REQUIRE(engine->write_batch(requests, false, written).ok());
    for (std::size_t shard = 0; shard < parts.size(); ++shard) {
      Entries& part = parts[shard];
      if (part.empty()) continue;
      const std::uint64_t last = engine->shard(static_cast<std::uint32_t>(shard)).last_sequence();
      for (std::size_t at = 0; at < part.size(); ++at) {
        part[at].sequence = last - part.size() + 1 + at;
      }
      part.front().flags |= format::kBatchBegin;
      part.back().flags |= format::kBatchCommit;
      logs[shard].insert(logs[shard].end(), part.begin(), part.end());
    }
  }

  [[nodiscard]] std::uint32_t shard_of(const std::string& key) const {
    const Bytes bytes(key);
    const std::uint64_t hash = engine->router().hash(bytes.data(), bytes.size());
    return engine->router().shard(bytes.data(), bytes.size(), hash);
  }
  [[nodiscard]] engine::Shard& shard(std::uint32_t at = 0) const { return engine->shard(at); }

  FaultFileSystem files;
  std::unique_ptr<engine::Engine> engine;
  std::vector<Entries> logs;

 private:
  void write(const std::string& key, const std::string& value, std::uint64_t expiry_ms,
             bool erase) {
    engine::WriteRequest request;
    request.key = Bytes(key);
    request.value = Bytes(value);
    request.expiry_ms = expiry_ms;
    request.erase = erase;
    REQUIRE(engine->write(request, false).ok());
    const std::uint32_t shard = shard_of(key);
    const unsigned flags = (erase ? unsigned{format::kTombstone} : 0u) |
                           (expiry_ms != 0 ? unsigned{format::kExpiry} : 0u);
    logs[shard].push_back({engine->shard(shard).last_sequence(), static_cast<std::uint8_t>(flags),
                           expiry_ms, key, value});
  }
};

// Everything that can stand in a log: three segments and more, then a reopening with a gap.
void fill(Writer& writer) {
  for (int key = 0; key < 20; ++key) writer.put(key);
  REQUIRE(writer.engine->sync().ok());  // a watermark
  writer.batch({1, 2, 3, 4, 5, 6}, 'B');
  writer.erase(3);
  writer.put(4, 100, 1);  // over, but still in the log
  writer.put(5, 100, std::uint64_t{1} << 60);
  REQUIRE(writer.engine->sync().ok());
  REQUIRE(writer.engine->checkpoint().ok());  // a footer
  writer.put(6, 40000);                       // larger than the write buffer
  writer.batch({7, 11}, 'C');
  for (int key = 0; key < 40; ++key) writer.put(key, 2000);
  writer.batch({8, 9, 10}, 'D');
  writer.crash();
  for (int key = 30; key < 50; ++key) writer.put(key);
  writer.batch({1, 2, 3, 4}, 'E');
  writer.erase(40);
  REQUIRE(writer.engine->sync().ok());
}

Entries entries_of(const FeedPiece& piece) {
  Entries told;
  for (Bytes rest(piece.entries); !rest.empty();) {
    format::Entry entry;
    std::size_t size = 0;
    REQUIRE(format::decode_entry(rest, format::kWireSeed, entry, size) == format::EntryRead::whole);
    told.push_back({entry.sequence, entry.flags, entry.expiry_ms, std::string(entry.key.text()),
                    std::string(entry.value.text())});
    rest = rest.sub(size);
  }
  return told;
}

// All that a feed tells until it stops, and why it did. Each piece goes on where the last one
// ended, and has whole batches.
FeedStep read_all(engine::Shard& shard, LogFeed& feed, std::uint64_t limit, std::size_t bytes_max,
                  Entries& told) {
  FeedPiece piece;
  FeedStep step = FeedStep::end;
  for (;;) {
    const std::uint64_t before = feed.position();
    const Status status = shard.feed(feed, limit, bytes_max, piece, step);
    INFO(status.message());
    REQUIRE(status.ok());
    if (step != FeedStep::ready) {
      CHECK(feed.position() == before);
      return step;
    }
    const Entries more = entries_of(piece);
    REQUIRE_FALSE(more.empty());
    CHECK(piece.before == before);
    CHECK(piece.last == more.back().sequence);
    CHECK(feed.position() == piece.last);
    bool open = false;
    for (const Told& entry : more) {
      open = (open || (entry.flags & format::kBatchBegin) != 0) &&
             (entry.flags & format::kBatchCommit) == 0;
    }
    CHECK_FALSE(open);
    told.insert(told.end(), more.begin(), more.end());
  }
}

Entries behind(const Entries& log, std::uint64_t position, std::uint64_t limit = kAll) {
  Entries rest;
  for (const Told& entry : log) {
    if (entry.sequence > position && entry.sequence <= limit) rest.push_back(entry);
  }
  return rest;
}

// Positions that a follower can have: none inside a batch.
std::vector<std::uint64_t> positions_of(const Entries& log) {
  std::vector<std::uint64_t> positions{0};
  bool open = false;
  for (const Told& entry : log) {
    open = (open || (entry.flags & format::kBatchBegin) != 0) &&
           (entry.flags & format::kBatchCommit) == 0;
    if (!open) positions.push_back(entry.sequence);
  }
  return positions;
}

// What a log leaves of its keys.
std::map<std::string, std::string> content_of(const Entries& log) {
  std::map<std::string, std::string> content;
  for (const Told& entry : log) {
    if ((entry.flags & format::kTombstone) != 0) content.erase(entry.key);
    if ((entry.flags & format::kTombstone) == 0) content[entry.key] = entry.value;
  }
  return content;
}

// A copy to its end. It may have fewer entries than the log: compaction may have been there.
Entries read_copy(engine::Shard& shard, LogFeed& feed, std::size_t bytes_max) {
  Entries told;
  FeedPiece piece;
  FeedStep step = FeedStep::ready;
  while (feed.copying()) {
    const Status status = shard.feed(feed, 0, bytes_max, piece, step);
    INFO(status.message());
    REQUIRE(status.ok());
    const Entries more = entries_of(piece);
    for (const Told& entry : more) {
      CHECK((told.empty() || entry.sequence > told.back().sequence));
      CHECK((entry.flags & ~(format::kTombstone | format::kExpiry)) == 0);
      told.push_back(entry);
    }
    CHECK(feed.copying() != more.empty());
  }
  return told;
}

}  // namespace

TEST_CASE("log_feed: from every position it tells what stands behind it, and nothing else") {
  Writer writer;
  fill(writer);
  const Entries& log = writer.logs[0];
  REQUIRE(test::names_with(writer.files, ".data").size() >= 4);
  REQUIRE(log.back().sequence > std::uint64_t{1} << 32);
  for (const std::size_t bytes_max : {std::size_t{1}, std::size_t{3000}, std::size_t{1} << 20}) {
    for (const std::uint64_t position : positions_of(log)) {
      LogFeed feed(position);
      Entries told;
      INFO("from " << position << " by " << bytes_max);
      CHECK(read_all(writer.shard(), feed, kAll, bytes_max, told) == FeedStep::end);
      REQUIRE(told == behind(log, position));
    }
  }
}

TEST_CASE("log_feed: it goes on while the log is written, and ends where it does") {
  Writer writer;
  LogFeed feed(0);
  Entries told;
  CHECK(read_all(writer.shard(), feed, kAll, 100, told) == FeedStep::end);
  for (int round = 0; round < 120; ++round) {
    if (round % 3 == 0) writer.put(round, 3000);
    if (round % 3 == 1) writer.batch({1, 2, 3}, 'x');
    if (round % 40 == 2) REQUIRE(writer.engine->checkpoint().ok());
    if (round == 60) writer.crash();
    std::uint64_t flushed = 0;
    REQUIRE(writer.shard().flush_for_feed(flushed).ok());
    CHECK(flushed == writer.shard().last_sequence());
    CHECK(read_all(writer.shard(), feed, kAll, 1000, told) == FeedStep::end);
    REQUIRE(told == writer.logs[0]);
    // A reopening ends the log that a feed has: its session ended with it.
    if (round == 59) feed = LogFeed(feed.position());
  }
}

TEST_CASE("log_feed: one piece has what was asked for and one entry more at most [pitfall-57]") {
  Writer writer;
  constexpr std::size_t kEntryBytes = 1100;
  for (int key = 0; key < 200; ++key) writer.put(key, 1000);
  REQUIRE(writer.engine->sync().ok());
  for (const std::size_t most : {std::size_t{1}, std::size_t{5000}, std::size_t{60000}}) {
    LogFeed feed(0);
    FeedPiece piece;
    FeedStep step = FeedStep::ready;
    std::size_t pieces = 0;
    for (; step == FeedStep::ready; ++pieces) {
      REQUIRE(writer.shard().feed(feed, kAll, most, piece, step).ok());
      REQUIRE(piece.entries.size() < most + kEntryBytes);
    }
    CHECK(feed.position() == 200);
    CHECK(pieces > 200000 / (most + kEntryBytes));
  }
}

TEST_CASE("log_feed: nothing above the limit is told, and of a batch nothing or all") {
  Writer writer;
  fill(writer);
  const Entries& log = writer.logs[0];
  for (const Told& entry : log) {
    const std::uint64_t limit = entry.sequence;
    std::uint64_t whole = 0;  // the last position that is not above it
    for (const std::uint64_t position : positions_of(log)) {
      if (position <= limit) whole = position;
    }
    LogFeed feed(0);
    Entries told;
    INFO("limit " << limit);
    CHECK(read_all(writer.shard(), feed, limit, 5000, told) == FeedStep::end);
    CHECK(told == behind(log, 0, whole));
    CHECK(feed.position() == whole);
    // Raised, it goes on from there.
    CHECK(read_all(writer.shard(), feed, kAll, 5000, told) == FeedStep::end);
    REQUIRE(told == log);
  }
}

TEST_CASE("log_feed: a part of a batch over several shards comes alone, with the others' names") {
  Writer writer(2);
  for (int key = 0; key < 10; ++key) writer.put(key);
  writer.batch({0, 1, 2, 3, 4, 5, 6, 7}, 'J');
  for (int key = 10; key < 20; ++key) writer.put(key);
  writer.batch({0, 1, 2, 3, 4, 5, 6, 7}, 'K');
  REQUIRE(writer.engine->sync().ok());
  for (std::uint32_t shard = 0; shard < 2; ++shard) {
    for (const std::uint64_t position : positions_of(writer.logs[shard])) {
      LogFeed feed(position);
      Entries told;
      FeedPiece piece;
      for (;;) {
        FeedStep step = FeedStep::end;
        REQUIRE(writer.shard(shard).feed(feed, kAll, 1 << 20, piece, step).ok());
        if (step != FeedStep::ready) break;
        const Entries more = entries_of(piece);
        const bool joint = more.front().value[0] == 'J' || more.front().value[0] == 'K';
        CHECK(joint == (more.front().flags != 0));
        REQUIRE(piece.joint.size() == (joint ? 2u : 0u));
        if (joint) {
          CHECK(piece.joint[0].shard == 0);
          CHECK(piece.joint[1].shard == 1);
          CHECK(piece.joint[shard].last_sequence == piece.last);
          CHECK((more.back().flags & format::kBatchCommit) != 0);
        }
        told.insert(told.end(), more.begin(), more.end());
      }
      INFO("shard " << shard << " from " << position);
      REQUIRE(told == behind(writer.logs[shard], position));
    }
  }
}

TEST_CASE("log_feed: a position that this log never had is foreign") {
  Writer writer;
  fill(writer);
  const Entries& log = writer.logs[0];
  std::size_t gap = 0;  // the first entry behind it
  while (log[gap].sequence < std::uint64_t{1} << 32) ++gap;
  const std::uint64_t last_before = log[gap - 1].sequence;
  const std::uint64_t last = log.back().sequence;
  for (const std::uint64_t position : {last + 1, last + 1000, format::kSequenceMax, last_before + 1,
                                       last_before + 1000, log[gap].sequence - 2}) {
    LogFeed feed(position);
    Entries told;
    INFO("position " << position);
    CHECK(read_all(writer.shard(), feed, kAll, 100, told) == FeedStep::foreign);
    CHECK(told.empty());
  }
}

TEST_CASE("log_feed: what compaction took is told as overtaken, what it left is told") {
  Writer writer;
  for (int round = 0; round < 3; ++round) {
    for (int key = 0; key < 30; ++key) writer.put(key, 1000);
  }
  REQUIRE(writer.engine->compact().ok());
  for (int key = 0; key < 10; ++key) writer.put(key);
  REQUIRE(writer.engine->sync().ok());
  const std::uint64_t last = writer.shard().last_sequence();
  std::uint64_t taken = 0;  // up to here
  for (std::uint64_t position = 0; position <= last; ++position) {
    LogFeed feed(position);
    Entries told;
    INFO("from " << position);
    if (read_all(writer.shard(), feed, kAll, 100, told) == FeedStep::overtaken) {
      REQUIRE(told.empty());
      REQUIRE(taken == position);
      ++taken;
    } else {
      REQUIRE(told == behind(writer.logs[0], position));
    }
  }
  CHECK(taken > 30);
  CHECK(taken < last);
}

TEST_CASE("log_feed: overtaken also where compaction has left nothing at all") {
  Writer writer;
  for (int key = 0; key < 30; ++key) writer.put(key);
  for (int key = 0; key < 30; ++key) writer.erase(key);
  REQUIRE(writer.engine->compact().ok());
  REQUIRE(test::names_with(writer.files, ".data").empty());
  const std::uint64_t last = writer.shard().last_sequence();
  CHECK(last == 60);
  const auto step_from = [&](std::uint64_t position) {
    LogFeed feed(position);
    Entries told;
    const FeedStep step = read_all(writer.shard(), feed, kAll, 100, told);
    CHECK((step != FeedStep::end || told == behind(writer.logs[0], last)));
    return step;
  };
  CHECK(step_from(0) == FeedStep::overtaken);
  CHECK(step_from(last - 1) == FeedStep::overtaken);
  CHECK(step_from(last) == FeedStep::end);
  CHECK(step_from(last + 1) == FeedStep::foreign);
  // A hole before the first segment: who has nothing lacks it too, such as its part of a batch over
  // several shards, of which the others may be there.
  writer.put(1);
  REQUIRE(writer.engine->sync().ok());
  CHECK(step_from(0) == FeedStep::overtaken);
  CHECK(step_from(1) == FeedStep::overtaken);
  CHECK(step_from(last - 1) == FeedStep::overtaken);
  CHECK(step_from(last) == FeedStep::end);
}

TEST_CASE("log_feed: a segment that is being read is read to its end, though it was replaced") {
  Writer writer;
  for (int round = 0; round < 3; ++round) {
    for (int key = 0; key < 100; ++key) writer.put(key, 1000);
  }
  REQUIRE(writer.engine->sync().ok());
  LogFeed feed(0);
  FeedPiece piece;
  FeedStep step = FeedStep::end;
  REQUIRE(writer.shard().feed(feed, kAll, 1, piece, step).ok());
  REQUIRE(step == FeedStep::ready);
  CHECK(feed.position() == 1);
  REQUIRE(writer.engine->compact().ok());
  Entries told;
  CHECK(read_all(writer.shard(), feed, kAll, 3000, told) == FeedStep::overtaken);
  CHECK(feed.position() > 50);
  CHECK(feed.position() < 100);
  CHECK(told == behind(writer.logs[0], 1, feed.position()));
}

// In the open file, so that only the feed meets it: sealed bytes would be judged by the seal.
TEST_CASE("log_feed: damage is told, never passed on [pitfall-63]", "[clear]") {
  Writer clean;
  fill(clean);
  const Entries& log = clean.logs[0];
  const std::string path = test::segment_path(1);
  const auto file_bytes = clean.files.info(path);
  REQUIRE(file_bytes.ok());
  const FaultFileSystem::Snapshot snapshot = clean.files.snapshot();
  clean.engine.reset();
  for (std::uint64_t at = 96; at < file_bytes->size; at += 61) {
    for (const bool copy : {false, true}) {
      Writer writer;
      writer.engine.reset();
      writer.files.restore(snapshot);
      writer.files.kill_process();
      writer.reopen();
      test::flip(writer.files, path, at, static_cast<int>(at % 8));
      LogFeed feed(0);
      if (copy) {
        REQUIRE(writer.engine->sync().ok());
        CHECK(writer.shard().begin_copy(feed) == log.back().sequence);
      }
      Status status;
      FeedStep step = FeedStep::ready;
      Entries told;
      FeedPiece piece;
      while (status.ok() && step == FeedStep::ready) {
        status = writer.shard().feed(feed, kAll, 500, piece, step);
        if (!status.ok() || step != FeedStep::ready) break;
        const Entries more = entries_of(piece);
        told.insert(told.end(), more.begin(), more.end());
      }
      INFO("byte " << at << (copy ? " in a copy" : ""));
      REQUIRE(status.is(Errc::corrupt));
      CHECK(status.message().find("0000000001.data") != std::string::npos);
      CHECK(told.size() < log.size());
      for (std::size_t n = 0; n < told.size(); ++n) {
        CHECK(told[n].key == log[n].key);
        CHECK(told[n].value == log[n].value);
      }
    }
  }
}

TEST_CASE("log_feed: a copy has what is durable, and the stream goes on there") {
  Writer writer;
  for (int round = 0; round < 4; ++round) {
    fill(writer);
    REQUIRE(writer.engine->sync().ok());
    const Entries& log = writer.logs[0];
    const std::uint64_t limit = log.back().sequence;
    for (int key = 0; key < 40; ++key) writer.put(key, 700);  // not durable yet
    writer.erase(3);
    LogFeed feed(12345);
    REQUIRE(writer.shard().begin_copy(feed) == limit);
    const Entries copied = read_copy(writer.shard(), feed, 3000);
    CHECK(content_of(copied) == content_of(behind(log, 0, limit)));
    CHECK(feed.position() == limit);
    std::uint64_t flushed = 0;
    REQUIRE(writer.shard().flush_for_feed(flushed).ok());
    Entries told;
    CHECK(read_all(writer.shard(), feed, kAll, 3000, told) == FeedStep::end);
    REQUIRE(told == behind(log, limit));
  }
}

TEST_CASE("log_feed: a copy is whole though compaction replaces what it reads") {
  for (std::size_t pieces_before = 0; pieces_before < 12; ++pieces_before) {
    Writer writer;
    for (int round = 0; round < 4; ++round) {
      for (int key = 0; key < 30; ++key) writer.put(key + round, 1500);
      writer.erase(round * 7);
      REQUIRE(writer.engine->checkpoint().ok());
    }
    const std::uint64_t limit = writer.shard().durable_sequence();
    LogFeed feed(0);
    CHECK(writer.shard().begin_copy(feed) == limit);
    Entries copied;
    FeedPiece piece;
    FeedStep step = FeedStep::ready;
    for (std::size_t n = 0; n < pieces_before; ++n) {
      REQUIRE(writer.shard().feed(feed, 0, 9000, piece, step).ok());
      const Entries more = entries_of(piece);
      copied.insert(copied.end(), more.begin(), more.end());
    }
    for (int key = 0; key < 30; ++key) writer.put(key, 10);
    REQUIRE(writer.engine->compact().ok());
    const Entries rest = read_copy(writer.shard(), feed, 9000);
    copied.insert(copied.end(), rest.begin(), rest.end());
    INFO("after " << pieces_before);
    CHECK(content_of(copied) == content_of(behind(writer.logs[0], 0, limit)));
    CHECK(feed.position() == limit);
  }
}

TEST_CASE("log_feed: a copy of nothing, and one of a log that was compacted away") {
  Writer writer;
  LogFeed feed(0);
  CHECK(writer.shard().begin_copy(feed) == 0);
  CHECK(read_copy(writer.shard(), feed, 100).empty());
  CHECK(feed.position() == 0);
  for (int key = 0; key < 5; ++key) writer.put(key);
  for (int key = 0; key < 5; ++key) writer.erase(key);
  REQUIRE(writer.engine->compact().ok());
  CHECK(writer.shard().begin_copy(feed) == writer.shard().durable_sequence());
  CHECK(content_of(read_copy(writer.shard(), feed, 100)).empty());
  CHECK(feed.position() == 10);
}

#endif  // !ARMDB_OMIT_REPLICATION

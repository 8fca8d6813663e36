// One example per operation, as a program would write it: hooks, expiry, migration, the care of a
// collection, CollectionMeta and codecs. The rest is in examples_test.cpp; a secondary index in
// full is in secondary_index_test.cpp.
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

using namespace armdb;

namespace {

struct User {
  std::string name;
  std::uint32_t age = 0;

  using armdb_codec = fields<&User::name, &User::age>;
};

using Users = TypedTree<std::uint64_t, User>;
using Sessions = VarMap<std::uint64_t>;
using Documents = VarTree<std::uint32_t>;

struct Memory {
  Owned<FileSystem> files = make_memory_file_system();
  Config config;

  Memory() {
    config.file_system = files.get();
    config.shard_count = 2;
  }
};

constexpr std::uint64_t kHour = 3600 * 1000;

// An entry is gone when its time has come, however busy the machine is.
template <class T> void wait_until_gone(const T& all, typename T::key_type key) {
  while (all.contains(key)) std::this_thread::yield();
}

}  // namespace

template <> struct armdb::CollectionMeta<User> {
  static constexpr std::string_view name = "users";  // of its directory
  static constexpr std::uint32_t version = 2;        // of its values
  using key_type = std::uint64_t;
};

// ---- Hooks ----

namespace {

// How many users have which age.
class AgeCounts {
 public:
  static constexpr bool needs_old_value = true;
  static constexpr bool needs_init = true;

  void on_write(std::uint64_t, const User* old_value, const User* new_value) {
    if (old_value != nullptr) --counts_[old_value->age];
    if (new_value != nullptr) ++counts_[new_value->age];
  }
  void on_init(std::uint64_t, const User& user) { ++counts_[user.age]; }

  int operator[](std::uint32_t age) { return counts_[age]; }

 private:
  std::map<std::uint32_t, int> counts_;  // one thread here: no lock
};

// A hook of bytes may begin with WriteHook, which has a default for all but on_write().
class Trace : public WriteHook<std::uint32_t> {
 public:
  void on_write(const std::uint32_t& key, const Bytes* old_value, const Bytes* new_value) override {
    text += std::to_string(key) + ":";
    text += old_value != nullptr ? old_value->text() : "-";
    text += ">";
    text += new_value != nullptr ? new_value->text() : "-";
    text += " ";
  }
  std::string text;
};

}  // namespace

TEST_CASE("example: open_hooked tells a hook of what is there, and then of each write") {
  using Counted = TypedTree<std::uint64_t, User, DefaultCodec<User>, AgeCounts>;
  Memory memory;
  {
    AgeCounts ages;  // outlives the collection
    Result<Counted> users = Counted::open_hooked("users", memory.config, ages);
    REQUIRE(users.ok());
    REQUIRE(users->put(1, {"ann", 31}).ok());
    REQUIRE(users->put(2, {"bob", 31}).ok());
    CHECK(ages[31] == 2);
    REQUIRE(users->put(2, {"bob", 32}).ok());
    REQUIRE(users->erase(1).ok());
    CHECK(ages[31] == 0);
    CHECK(ages[32] == 1);
  }
  AgeCounts ages;
  Result<Counted> users = Counted::open_hooked("users", memory.config, ages);
  REQUIRE(users.ok());
  CHECK(ages[32] == 1);
}

TEST_CASE("example: a hook hears of a group when it is committed, in order") {
  using Traced = VarTree<std::uint32_t, Trace>;
  Memory memory;
  memory.config.shard_count = 1;
  Trace trace;
  Result<Traced> documents = Traced::open_hooked("documents", memory.config, trace);
  REQUIRE(documents.ok());
  Status status = documents->atomic(1, [&](Traced::Handle& shard) -> Status {
    Status put = shard.put(1, "a");
    if (put) put = shard.put(1, "b");
    if (put) put = shard.put(2, "c");
    CHECK(trace.text.empty());
    return put;
  });
  CHECK(status.ok());
  CHECK(trace.text == "1:->a 1:a>b 2:->c ");
  trace.text.clear();
  status = documents->atomic(1, [&](Traced::Handle& shard) -> Status {
    Status put = shard.put(1, "x");
    return put ? Status(Errc::aborted) : put;
  });
  CHECK(status.is(Errc::aborted));
  CHECK(trace.text.empty());
}

// ---- Expiry ----

TEST_CASE("example: ttl_ms, expires_at and persist") {
  Memory memory;
  Result<Sessions> sessions = Sessions::open("sessions", memory.config);
  REQUIRE(sessions.ok());
  REQUIRE(sessions->put(1, "ann", {.ttl_ms = 1}).ok());
  REQUIRE(sessions->put(2, "bob", {.ttl_ms = kHour}).ok());
  REQUIRE(sessions->put(3, "cyd").ok());
  wait_until_gone(*sessions, 1);
  CHECK_FALSE(sessions->get(1)->has_value());
  CHECK(sessions->expires_at(1).is(Errc::not_found));
  CHECK(*sessions->expires_at(2) > kHour);  // milliseconds since 1970
  CHECK(*sessions->expires_at(3) == WriteOptions::kForever);
  CHECK(sessions->persist(2).ok());
  CHECK(*sessions->expires_at(2) == WriteOptions::kForever);
  CHECK(sessions->persist(1).is(Errc::not_found));
}

TEST_CASE("example: a change keeps the time that an entry has, a put gives it a new one") {
  Memory memory;
  Result<Sessions> sessions = Sessions::open("sessions", memory.config);
  REQUIRE(sessions.ok());
  REQUIRE(sessions->put(1, "one", {.ttl_ms = kHour}).ok());
  const std::uint64_t ends = *sessions->expires_at(1);
  const auto twice = [](Bytes old) { return std::string(old.text()) + std::string(old.text()); };
  REQUIRE(sessions->update(1, twice).ok());
  CHECK(*sessions->expires_at(1) == ends);
  REQUIRE(sessions->update(1, twice, {.ttl_ms = 2 * kHour}).ok());
  CHECK(*sessions->expires_at(1) > ends);
  REQUIRE(sessions->put(1, "one").ok());
  CHECK(*sessions->expires_at(1) == WriteOptions::kForever);
}

TEST_CASE("example: default_ttl_ms is for puts that say nothing") {
  Memory memory;
  memory.config.default_ttl_ms = kHour;
  Result<Sessions> sessions = Sessions::open("sessions", memory.config);
  REQUIRE(sessions.ok());
  REQUIRE(sessions->put(1, "ann").ok());
  REQUIRE(sessions->put(2, "bob", {.ttl_ms = WriteOptions::kForever}).ok());
  CHECK(*sessions->expires_at(1) != WriteOptions::kForever);
  CHECK(*sessions->expires_at(2) == WriteOptions::kForever);
}

TEST_CASE("example: sweep_expired erases what has expired") {
  Memory memory;
  Result<Sessions> sessions = Sessions::open("sessions", memory.config);
  REQUIRE(sessions.ok());
  for (std::uint64_t id = 0; id < 10; ++id) REQUIRE(sessions->put(id, "x", {.ttl_ms = 1}).ok());
  REQUIRE(sessions->put(10, "x", {.ttl_ms = kHour}).ok());
  for (std::uint64_t id = 0; id < 10; ++id) wait_until_gone(*sessions, id);
  CHECK(sessions->size() == 11);  // they still take room
  std::uint64_t erased = 0;
  while (erased < 10) {  // a piece at a time, from a timer say; compact() does all of it
    Result<std::uint64_t> some = sessions->sweep_expired(4);
    REQUIRE(some.ok());
    erased += *some;
  }
  CHECK(erased == 10);
  CHECK(sessions->size() == 1);
}

// ---- Migration ----

TEST_CASE("example: migrate asks about every entry, once per version") {
  Memory memory;
  Result<Users> users = Users::open("users", memory.config);
  REQUIRE(users.ok());
  REQUIRE(users->put(1, {"ann", 31}).ok());
  REQUIRE(users->put(2, {"BOB", 25}).ok());
  REQUIRE(users->put(3, {"", 0}).ok());
  using Action = MigrateAction<User>;
  const auto clean = [](std::uint64_t, const User& user) {
    if (user.name.empty()) return Action::erase();
    if (user.name != "BOB") return Action::keep();
    return Action::update({"bob", user.age});
  };
  CHECK(users->data_version() == 0);
  CHECK(users->migrate(clean, {.to_version = 2}).ok());
  CHECK(users->data_version() == 2);
  CHECK(users->get(2)->name == "bob");
  CHECK_FALSE(users->contains(3));
  REQUIRE(users->put(4, {"", 0}).ok());
  CHECK(users->migrate(clean, {.to_version = 2}).ok());  // did that: asks about nothing
  CHECK(users->contains(4));
}

TEST_CASE("example: the progress of a migration, and how to stop it") {
  Memory memory;
  Result<Documents> documents = Documents::open("documents", memory.config);
  REQUIRE(documents.ok());
  for (std::uint32_t key = 0; key < 3000; ++key) REQUIRE(documents->put(key, "old").ok());
  struct Job {
    std::uint64_t seen = 0;
    bool stop = true;
  } job;
  MigrateOptions options;
  options.to_version = 1;
  options.context = &job;
  options.progress = [](void* context, const MigrationProgress& progress) {
    static_cast<Job*>(context)->seen = progress.seen;
    return !static_cast<Job*>(context)->stop;
  };
  const auto renew = [](std::uint32_t, Bytes old) {  // values that are bytes: std::string
    return old == Bytes("old") ? MigrateAction<std::string>::update("new")
                               : MigrateAction<std::string>::keep();
  };
  CHECK(documents->migrate(renew, options).is(Errc::aborted));
  CHECK(job.seen == 1024);
  CHECK(documents->data_version() == 0);
  job.stop = false;
  CHECK(documents->migrate(renew, options).ok());  // goes on
  CHECK(documents->data_version() == 1);
  std::size_t renewed = 0;
  REQUIRE(
      documents
          ->for_each([&](std::uint32_t, Bytes text) { renewed += text == Bytes("new") ? 1u : 0u; })
          .ok());
  CHECK(renewed == 3000);
}

TEST_CASE("example: another codec, migrated as bytes") {
  Memory memory;
  {
    auto users = TypedTree<std::uint64_t, std::string>::open("users", memory.config);
    REQUIRE(users.ok());
    REQUIRE(users->put(1, "ann").ok());
    REQUIRE(users->put(2, "bob").ok());
  }
  {
    auto bytes = VarTree<std::uint64_t>::open("users", memory.config);
    REQUIRE(bytes.ok());
    const auto wrap = [](std::uint64_t, Bytes name) {
      const User user{std::string(name.text()), 0};
      std::string encoded(DefaultCodec<User>::size(user), '\0');
      auto* to = reinterpret_cast<std::uint8_t*>(encoded.data());
      CHECK(DefaultCodec<User>::encode(user, {to, encoded.size()}).ok());
      return MigrateAction<std::string>::update(encoded);
    };
    CHECK(bytes->migrate(wrap, {.to_version = 1}).ok());
  }
  auto users = Users::open("users", memory.config);
  REQUIRE(users.ok());
  CHECK(users->data_version() == 1);
  CHECK(users->get(2)->name == "bob");
}

// ---- The care of a collection ----

TEST_CASE("example: flush_buffers, sync and durable_sequence") {
  Memory memory;
  Result<Documents> documents = Documents::open("documents", memory.config);
  REQUIRE(documents.ok());
  REQUIRE(documents->put(1, "one").ok());
  CHECK(documents->flush_buffers().ok());  // survives kill -9, wherever the files are
  CHECK(documents->durable_sequence(1) == 0);
  CHECK(documents->stats().unsynced_shards == 1);
  CHECK(documents->sync().ok());  // survives a power cut
  CHECK(documents->durable_sequence(1) == 1);
  CHECK(documents->stats().unsynced_shards == 0);
  REQUIRE(documents->put(1, "two", {.sync = true}).ok());
  CHECK(documents->durable_sequence(1) == 2);
}

TEST_CASE("example: checkpoint makes the next open fast") {
  Memory memory;
  {
    Result<Documents> documents = Documents::open("documents", memory.config);
    REQUIRE(documents.ok());
    for (std::uint32_t key = 0; key < 100; ++key) REQUIRE(documents->put(key, "x").ok());
    CHECK(documents->checkpoint().ok());
    CHECK(documents->close().ok());
  }
  Result<Documents> documents = Documents::open("documents", memory.config);
  REQUIRE(documents.ok());
  CHECK(documents->stats().opened_by_hint == 100);
  CHECK(documents->warmup().ok());  // and values on disk come into memory
}

TEST_CASE("example: stats and verify") {
  test::TempDir directory;
  Result<Documents> documents = Documents::open(directory / "documents");
  REQUIRE(documents.ok());
  REQUIRE(documents->put(1, "one").ok());
  REQUIRE(documents->put(2, "two").ok());
  REQUIRE(documents->erase(2).ok());
  const Stats stats = documents->stats();
  CHECK(stats.entries == 1);
  CHECK(stats.dead_bytes > 0);
  Result<VerifyReport> report = documents->verify();
  REQUIRE(report.ok());
  CHECK(report->damaged_regions == 0);
}

TEST_CASE("example: compact in one go, or in steps between other work") {
  Memory memory;
  memory.config.shard_count = 1;
  memory.config.max_file_size = 64u << 10;
  memory.config.write_buffer_size = 16u << 10;
  Result<Documents> documents = Documents::open("documents", memory.config);
  REQUIRE(documents.ok());
  const auto overwrite = [&] {
    for (int round = 0; round < 20; ++round) {
      for (std::uint32_t key = 0; key < 20; ++key) {
        REQUIRE(documents->put(key, std::string(1000, 'x')).ok());
      }
    }
  };
  overwrite();
  const std::uint64_t before = documents->stats().file_bytes;
  CHECK(documents->compact().ok());
  CHECK(documents->stats().file_bytes < before);
  overwrite();
  for (bool more = true; more;) {
    Result<bool> step = documents->compact_step(64u << 10);
    REQUIRE(step.ok());
    more = *step;
  }
  CHECK(documents->stats().compactions > 0);
  CHECK(documents->size() == 20);
}

// ---- CollectionMeta and codecs ----

TEST_CASE("example: CollectionMeta says where and what the collection of a type is") {
  test::TempDir directory;
  const std::string path = collection_path<User>(directory.path());
  CHECK(path == directory / "users");
  {
    Result<TreeOf<User>> users = TreeOf<User>::open(path);  // TypedTree<std::uint64_t, User, ...>
    REQUIRE(users.ok());
    REQUIRE(users->put(1, {"ann", 31}).ok());
    const auto keep = [](std::uint64_t, const User&) { return MigrateAction<User>::keep(); };
    CHECK(users->migrate(keep, {.to_version = CollectionMeta<User>::version}).ok());
    CHECK(users->data_version() == 2);
  }
  // The same bytes with the values on disk.
  Result<VarTreeOf<User>> users = VarTreeOf<User>::open(path);
  REQUIRE(users.ok());
  CHECK((*users->get(1))->name == "ann");

  Result<MapOf<User>> map = MapOf<User>::open(directory / "map");
  REQUIRE(map.ok());
  CHECK(map->put(1, {"ann", 31}).ok());
  Result<VarMapOf<User>> var_map = VarMapOf<User>::open(directory / "var_map");
  REQUIRE(var_map.ok());
  CHECK(var_map->put(1, {"ann", 31}).ok());
}

namespace {

// User as a later version of the program has it: with one more field, at the end.
struct UserNow {
  std::string name;
  std::uint32_t age = 0;
  std::string city = "nowhere";

  using armdb_codec = fields<&UserNow::name, &UserNow::age, &UserNow::city>;
};

// A codec of one's own: text without its trailing spaces, and never empty.
struct Trimmed {
  static std::size_t size(const std::string& text) { return text.find_last_not_of(' ') + 1; }
  static Status encode(const std::string& text, MutableBytes out) {
    if (size(text) == 0) return Status(Errc::invalid_argument, "an empty line");
    text.copy(reinterpret_cast<char*>(out.data()), size(text));
    return {};
  }
  static Status decode(Bytes in, std::string& text) {
    if (in.empty()) return Status(Errc::corrupt, "an empty line");
    text.assign(in.text());
    return {};
  }
};

}  // namespace

TEST_CASE("example: fields may be added at the end") {
  Memory memory;
  REQUIRE(Users::open("users", memory.config)->put(1, {"ann", 31}).ok());
  auto users = TypedTree<std::uint64_t, UserNow>::open("users", memory.config);
  REQUIRE(users.ok());
  CHECK(users->get(1)->name == "ann");
  CHECK(users->get(1)->city == "nowhere");
  REQUIRE(users->put(2, {"bob", 25, "Rome"}).ok());
  REQUIRE(users->close().ok());
  // The old program says so, instead of dropping what it does not know.
  CHECK(Users::open("users", memory.config).is(Errc::format_mismatch));
}

TEST_CASE("example: a codec of one's own") {
  Memory memory;
  auto lines = VarTypedTree<std::uint32_t, std::string, Trimmed>::open("lines", memory.config);
  REQUIRE(lines.ok());
  CHECK(lines->put(1, "one  ").ok());
  CHECK(*lines->get(1) == "one");
  CHECK(lines->put(2, "  ").is(Errc::invalid_argument));
  CHECK_FALSE(lines->contains(2));
}

// One example per operation, as a program would write it. Hooks, expiry, migration, the care of a
// collection and CollectionMeta are in examples_hooks_test.cpp.
#include <array>
#include <optional>
#include <string>
#include <string_view>
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
  friend bool operator==(const User&, const User&) = default;
};

// What a game keeps of a player: trivially copyable, and every byte of it is a value.
struct Score {
  std::uint32_t points = 0;
  std::uint32_t games = 0;

  friend bool operator==(const Score&, const Score&) = default;
};

using Users = TypedTree<std::uint64_t, User>;
using UserMap = TypedMap<std::uint64_t, User>;
using Archive = VarTypedTree<std::uint64_t, User>;
using Scores = ZeroMap<std::uint64_t, Score>;
using Counters = ConstTree<std::uint32_t, ByteArray<4>>;
using Documents = VarTree<std::uint32_t>;

// An open collection in a file system in memory.
template <class T> class Opened {
 public:
  explicit Opened(Config config = {}) {
    config.file_system = files_.get();
    if (config.shard_count == 0) config.shard_count = 2;
    Result<T> opened = T::open("collection", config);
    INFO(opened.message());
    REQUIRE(opened.ok());
    all_ = std::move(*opened);
  }
  T& operator*() { return all_; }
  T* operator->() { return &all_; }

 private:
  Owned<FileSystem> files_ = make_memory_file_system();
  T all_;
};

}  // namespace

// ---- Opening ----

TEST_CASE("example: open creates a collection, and finds it again") {
  test::TempDir directory;
  const std::string path = directory / "users";
  {
    Result<Users> users = Users::open(path);
    REQUIRE(users.ok());  // else users.message() says what, where and what to do
    REQUIRE(users->put(1, {"ann", 31}).ok());
    REQUIRE(users->close().ok());
  }
  Config config;
  config.create = false;
  CHECK(Users::open(directory / "nothing", config).is(Errc::not_found));
  Result<Users> users = Users::open(path, config);
  REQUIRE(users.ok());
  CHECK(users->get(1)->name == "ann");
  CHECK(Users::open(path).is(Errc::locked));     // one at a time
  CHECK(Counters::open(path).is(Errc::locked));  // whatever its type
  CHECK(users->close().ok());
  CHECK(Counters::open(path).is(Errc::shape_mismatch));
}

TEST_CASE("example: close is the end of a handle, and says how the last writes went") {
  Opened<Documents> documents;
  REQUIRE(documents->put(1, "one").ok());
  CHECK(documents->is_open());
  CHECK(documents->close().ok());
  CHECK_FALSE(documents->is_open());
  CHECK(documents->put(2, "two").is(Errc::closed));
  CHECK(documents->get(1).is(Errc::closed));
}

// ---- One key: writing ----

TEST_CASE("example: put writes a value, over an older one too") {
  Opened<Counters> counters;
  CHECK(counters->put(7, {1, 2, 3, 4}).ok());
  CHECK(counters->put(7, {5, 6, 7, 8}).ok());
  CHECK(counters->get(7) == ByteArray<4>{5, 6, 7, 8});

  Opened<Documents> documents;
  CHECK(documents->put(7, "any bytes").ok());
  CHECK(documents->put(8, std::string(100000, 'x'), {.sync = true}).ok());  // and on the disk
  CHECK((*documents->get(8))->size() == 100000);

  Opened<Scores> scores;
  CHECK(scores->put(7, {.points = 10, .games = 1}).ok());
  CHECK(scores->get(7)->points == 10);
}

TEST_CASE("example: insert refuses a key that is there") {
  Opened<UserMap> users;
  CHECK(users->insert(1, {"ann", 31}).ok());
  CHECK(users->insert(1, {"bob", 25}).is(Errc::key_exists));
  CHECK(users->get(1)->name == "ann");
}

TEST_CASE("example: erase, and what is not there") {
  Opened<Users> users;
  REQUIRE(users->put(1, {"ann", 31}).ok());
  CHECK(users->erase(1).ok());
  CHECK(users->erase(1).is(Errc::not_found));
  CHECK_FALSE(users->get(1));
}

TEST_CASE("example: exchange puts, and gives the value before") {
  Opened<Scores> scores;
  Result<std::optional<Score>> before = scores->exchange(1, {.points = 4, .games = 2});
  REQUIRE(before.ok());
  CHECK_FALSE(before->has_value());
  before = scores->exchange(1, {});
  REQUIRE(before.ok());
  CHECK((*before)->points == 4);
}

TEST_CASE("example: cas replaces a value that is still the expected one") {
  Opened<Users> users;
  CHECK(users->cas(1, {"ann", 31}, {"ann", 32}).is(Errc::not_found));
  REQUIRE(users->put(1, {"ann", 31}).ok());
  CHECK(users->cas(1, {"ann", 30}, {"ann", 32}).is(Errc::value_mismatch));
  CHECK(users->cas(1, {"ann", 31}, {"ann", 32}).ok());
  CHECK(users->get(1)->age == 32);

  Opened<Documents> documents;
  REQUIRE(documents->put(1, "draft").ok());
  CHECK(documents->cas(1, "draft", "final").ok());
  CHECK(documents->cas(1, "draft", "other").is(Errc::value_mismatch));
}

TEST_CASE("example: compare_erase erases a value that is still the expected one") {
  Opened<Archive> archive;
  REQUIRE(archive->put(1, {"ann", 31}).ok());
  CHECK(archive->compare_erase(1, {"bob", 31}).is(Errc::value_mismatch));
  CHECK(archive->compare_erase(1, {"ann", 31}).ok());
  CHECK(archive->compare_erase(1, {"ann", 31}).is(Errc::not_found));
}

// ---- One key: writing what depends on what is there ----

TEST_CASE("example: update changes a value, and returns the new one") {
  Opened<Scores> scores;
  const auto win = [](const Score& old) { return Score{old.points + 3, old.games + 1}; };
  CHECK(scores->update(1, win).is(Errc::not_found));
  REQUIRE(scores->put(1, {.points = 4, .games = 2}).ok());
  Result<Score> now = scores->update(1, win);
  REQUIRE(now.ok());
  CHECK(*now == Score{7, 3});

  Opened<Documents> documents;  // the function gets Bytes and returns what converts to them
  REQUIRE(documents->put(1, "log:").ok());
  Result<ByteView> text =
      documents->update(1, [](Bytes old) { return std::string(old.text()) + " more"; });
  REQUIRE(text.ok());
  CHECK(text->text() == "log: more");
}

TEST_CASE("example: update refuses by returning nothing, or an error of its own") {
  Opened<Scores> scores;
  REQUIRE(scores->put(1, {.points = 4, .games = 2}).ok());
  const auto take_five = [](const Score& old) -> std::optional<Score> {
    if (old.points < 5) return std::nullopt;
    return Score{old.points - 5, old.games};
  };
  CHECK(scores->update(1, take_five).is(Errc::aborted));
  const auto too_few = [](const Score&) -> Result<Score> {
    return Status(Errc::invalid_argument, "too few points");
  };
  Result<Score> refused = scores->update(1, too_few);
  CHECK(refused.is(Errc::invalid_argument));
  CHECK(refused.message().find("too few points") != std::string::npos);
  CHECK(scores->get(1) == Score{4, 2});
}

TEST_CASE("example: fetch_update returns the value before, for numbers that nobody gets twice") {
  Opened<ZeroMap<std::uint8_t, std::uint64_t>> numbers;
  REQUIRE(numbers->put(0, 100).ok());
  const auto next = [](std::uint64_t old) { return old + 1; };
  CHECK(*numbers->fetch_update(0, next) == 100);
  CHECK(*numbers->fetch_update(0, next) == 101);
  CHECK(numbers->get(0) == 102u);
}

TEST_CASE("example: upsert makes or changes a value, and may refuse") {
  Opened<Users> users;
  const auto birthday = [](std::optional<User> old) -> std::optional<User> {
    if (!old) return User{"new", 0};
    if (old->age >= 2) return std::nullopt;
    old->age += 1;
    return old;
  };
  CHECK((*users->upsert(1, birthday))->age == 0);
  CHECK((*users->upsert(1, birthday))->age == 1);
  CHECK((*users->upsert(1, birthday))->age == 2);
  CHECK(users->upsert(1, birthday).is(Errc::aborted));
  CHECK(users->get(1)->age == 2);
}

// ---- One key: reading ----

TEST_CASE("example: get of values in memory cannot fail, get of values on disk can") {
  Opened<Scores> scores;
  REQUIRE(scores->put(1, {.points = 4, .games = 2}).ok());
  if (std::optional<Score> score = scores->get(1)) CHECK(score->points == 4);
  CHECK_FALSE(scores->get(2).has_value());

  Opened<Users> users;
  REQUIRE(users->put(1, {"ann", 31}).ok());
  TypedRef<User> ann = users->get(1);  // no copy
  REQUIRE(users->put(1, {"bob", 25}).ok());
  CHECK(ann->name == "ann");  // what was read stays as it was

  Opened<Archive> archive;
  REQUIRE(archive->put(1, {"ann", 31}).ok());
  Result<std::optional<User>> read = archive->get(1);
  REQUIRE(read.ok());  // else the disk failed, and read.message() says where
  CHECK((*read)->name == "ann");
  read = archive->get(2);
  REQUIRE(read.ok());
  CHECK_FALSE(read->has_value());
}

TEST_CASE("example: get_or gives a fallback for a key that is not there") {
  Opened<Users> users;
  CHECK(users->get_or(1, {"nobody", 0}).name == "nobody");
  Opened<Documents> documents;
  Result<ByteView> text = documents->get_or(1, "nothing");
  REQUIRE(text.ok());
  CHECK(text->text() == "nothing");
}

TEST_CASE("example: contains reads no value") {
  Opened<Archive> archive;
  REQUIRE(archive->put(1, {"ann", 31}).ok());
  CHECK(archive->contains(1));
  CHECK_FALSE(archive->contains(2));
}

TEST_CASE("example: read calls a function with the value, and copies nothing") {
  Opened<Documents> documents;
  REQUIRE(documents->put(1, std::string(1000, 'x')).ok());
  std::size_t size = 0;
  Result<bool> found = documents->read(1, [&](Bytes value) { size = value.size(); });
  REQUIRE(found.ok());
  CHECK(*found);
  CHECK(size == 1000);
  CHECK_FALSE(*documents->read(2, [](Bytes) {}));
}

TEST_CASE("example: size counts keys, empty says that there are none") {
  Opened<Counters> counters;
  CHECK(counters->empty());
  REQUIRE(counters->put(1, {}).ok());
  REQUIRE(counters->put(2, {}).ok());
  CHECK(counters->size() == 2);
}

// ---- Many keys ----

TEST_CASE("example: put_many and get_many") {
  Opened<UserMap> users;
  const std::vector<std::pair<std::uint64_t, User>> people{
      {1, {"ann", 31}}, {2, {"bob", 25}}, {1, {"ann", 32}}};
  CHECK(users->put_many(people).ok());  // of two entries with one key the later one wins
  const std::vector<std::uint64_t> keys{1, 2, 3};
  std::vector<TypedRef<User>> found(keys.size());
  users->get_many(keys, found);  // values in memory: it cannot fail
  CHECK(found[0]->age == 32);
  CHECK(found[1]->name == "bob");
  CHECK_FALSE(found[2]);

  Opened<Documents> documents;  // values on disk: it can
  const std::array<std::pair<std::uint32_t, std::string_view>, 2> pages{{{1, "one"}, {2, "two"}}};
  CHECK(documents->put_many(pages, {.sync = true}).ok());
  const std::array<std::uint32_t, 2> numbers{2, 5};
  std::array<std::optional<ByteView>, 2> texts;
  REQUIRE(documents->get_many(numbers, texts).ok());
  CHECK(texts[0]->text() == "two");
  CHECK_FALSE(texts[1].has_value());
}

TEST_CASE("example: load takes many entries at once, sorted or not") {
  Opened<Counters> counters;
  std::vector<std::pair<std::uint32_t, ByteArray<4>>> entries;
  for (std::uint32_t n = 0; n < 1000; ++n) entries.push_back({n * 7919 % 1000, {1, 2, 3, 4}});
  CHECK(counters->load(entries).ok());
  CHECK(counters->size() == 1000);
  CHECK(counters->contains(999));
}

TEST_CASE("example: erase_range, erase_prefix and clear say how much they erased") {
  Opened<Counters> counters;
  for (std::uint32_t key = 0; key < 1000; ++key) REQUIRE(counters->put(key, {}).ok());
  CHECK(*counters->erase_range(10, 20) == 10);  // [10, 20)
  CHECK_FALSE(counters->contains(10));
  CHECK(counters->contains(20));
  // Keys are big-endian: these three bytes begin 768 to 1023.
  CHECK(*counters->erase_prefix(ByteArray<3>{0, 0, 3}) == 1000 - 768);
  CHECK(*counters->clear() == 768 - 10);
  CHECK(counters->empty());

  Opened<Scores> scores;
  REQUIRE(scores->put(1, {}).ok());
  CHECK(*scores->clear() == 1);
}

// ---- Several writes as one ----

TEST_CASE("example: atomic moves points from one player to another, or does nothing") {
  Config config;
  config.shard_count = 1;  // or shard_prefix_bits: both keys have to be in one shard
  Opened<Scores> scores(config);
  REQUIRE(scores->put(1, {.points = 10, .games = 1}).ok());
  REQUIRE(scores->put(2, {.points = 0, .games = 1}).ok());
  const auto move = [&](std::uint32_t points) {
    return scores->atomic(1, [&](Scores::Handle& shard) -> Status {
      Status taken = shard.update(1, [&](const Score& from) -> std::optional<Score> {
        if (from.points < points) return std::nullopt;
        return Score{from.points - points, from.games};
      });
      if (!taken) return taken;  // nothing of it happens
      return shard.update(2, [&](const Score& to) { return Score{to.points + points, to.games}; });
    });
  };
  CHECK(move(7).ok());
  CHECK(move(7).is(Errc::aborted));
  CHECK(scores->get(1)->points == 3);
  CHECK(scores->get(2)->points == 7);
}

TEST_CASE("example: an atomic block reads its own writes") {
  Config config;
  config.shard_count = 1;
  Opened<Documents> documents(config);
  Status status = documents->atomic(
      1,
      [](Documents::Handle& shard) -> Status {
        Status put = shard.put(1, "one");
        if (put) put = shard.insert(2, "two");
        if (put) put = shard.erase(1);
        if (!put) return put;
        Result<bool> there = shard.contains(1);
        Result<std::optional<ByteView>> two = shard.get(2);
        if (!there.ok() || !two.ok()) return Errc::io_error;
        return !*there && (*two)->text() == "two" ? Status() : Status(Errc::aborted);
      },
      {.sync = true});
  CHECK(status.ok());
  CHECK(documents->size() == 1);
  status = documents->atomic(1, [](Documents::Handle& shard) { return shard.insert(2, "three"); });
  CHECK(status.is(Errc::key_exists));
}

TEST_CASE("example: a key of another shard is not for an atomic block") {
  Config config;
  config.shard_count = 8;
  config.shard_prefix_bits = 16;  // keys that share their first two bytes are in one shard
  Opened<Counters> counters(config);
  const auto write_both = [&](std::uint32_t first, std::uint32_t second) {
    return counters->atomic(first, [&](Counters::Handle& shard) -> Status {
      Status status = shard.put(first, {1});
      return status ? shard.put(second, {2}) : status;
    });
  };
  CHECK(write_both(0x10001, 0x1ffff).ok());
  Status status;
  for (std::uint32_t group = 2; status && group < 100; ++group) {
    status = write_both(0x10001, group << 16);
  }
  CHECK(status.is(Errc::shard_mismatch));
  CHECK(counters->get(0x10001) == ByteArray<4>{1});  // by the block that was whole
}

TEST_CASE("example: WriteBatch writes to any keys as a whole") {
  Opened<Users> users;
  REQUIRE(users->put(1, {"ann", 31}).ok());
  WriteBatch batch(*users);
  REQUIRE(batch.put(2, {"bob", 25}).ok());  // fails only when the codec does
  REQUIRE(batch.put(2, {"bob", 26}).ok());
  REQUIRE(batch.erase(1).ok());
  CHECK(batch.size() == 3);
  CHECK_FALSE(users->contains(2));  // nothing yet
  CHECK(batch.commit({.sync = true}).ok());
  CHECK(batch.empty());  // may be used again
  CHECK(users->get(2)->age == 26);
  CHECK_FALSE(users->contains(1));
  REQUIRE(batch.put(3, {"cyd", 40}).ok());
  batch.clear();  // thought better of it
  CHECK(batch.commit().ok());
  CHECK_FALSE(users->contains(3));
}

// ---- Walking ----

TEST_CASE("example: iter runs from the largest key down, reversed the other way") {
  Opened<Users> users;
  REQUIRE(users->put(1, {"ann", 31}).ok());
  REQUIRE(users->put(2, {"bob", 25}).ok());
  REQUIRE(users->put(3, {"cyd", 40}).ok());
  std::string names;
  for (const auto& [id, user] : users->iter()) names += user->name;
  CHECK(names == "cydbobann");
  names.clear();
  for (const auto& [id, user] : users->iter().reversed()) names += user->name;
  CHECK(names == "annbobcyd");

  Config config;
  config.reversed = false;  // then iter() is the way up
  Opened<Counters> counters(config);
  REQUIRE(counters->put(5, {}).ok());
  REQUIRE(counters->put(4, {}).ok());
  CHECK(counters->iter().begin()->key == 4);
}

TEST_CASE("example: over values on disk each value is a Result") {
  Opened<Documents> documents;
  REQUIRE(documents->put(1, "one").ok());
  REQUIRE(documents->put(2, "two").ok());
  std::string all;
  const auto range = documents->iter();
  auto at = range.begin();
  for (; at != range.end(); ++at) {
    const auto& [key, value] = *at;
    REQUIRE(value.ok());
    all += value->text();
  }
  CHECK(at.status().ok());  // the walk came to its end and did not break off
  CHECK(all == "twoone");
}

TEST_CASE("example: range takes [first, last), range_bounds says which ends belong to it") {
  Opened<Counters> counters;
  for (std::uint32_t key = 1; key <= 9; ++key) REQUIRE(counters->put(key, {}).ok());
  const auto keys_of = [](const auto& range) {
    std::vector<std::uint32_t> keys;
    for (const auto& [key, value] : range) keys.push_back(key);
    return keys;
  };
  using Keys = std::vector<std::uint32_t>;
  using End = Bound<std::uint32_t>;
  CHECK(keys_of(counters->range(3, 6)) == Keys{5, 4, 3});
  CHECK(keys_of(counters->range(3, 6).reversed()) == Keys{3, 4, 5});
  CHECK(keys_of(counters->range_bounds(End::exclusive(3), End::inclusive(6))) == Keys{6, 5, 4});
  CHECK(keys_of(counters->range_bounds(End::inclusive(8), End::none())) == Keys{9, 8});
}

TEST_CASE("example: prefix takes keys that begin with some bytes") {
  Opened<VarTree<ByteArray<4>>> words;
  for (const std::string_view word : {"bean", "bear", "boar", "seal"}) {
    ByteArray<4> key{};
    std::copy(word.begin(), word.end(), key.begin());
    REQUIRE(words->put(key, word).ok());
  }
  std::string found;
  for (const auto& [key, value] : words->prefix("be").reversed()) found += value->text();
  CHECK(found == "beanbear");
  std::size_t count = 0;
  for (const auto& key : words->keys_with_prefix("b")) count += key[0] == 'b' ? 1u : 0u;
  CHECK(count == 3);
}

TEST_CASE("example: keys reads no value from disk") {
  Opened<Archive> archive;
  for (std::uint64_t id = 1; id <= 4; ++id) REQUIRE(archive->put(id, {"somebody", 20}).ok());
  std::vector<std::uint64_t> ids;
  for (const std::uint64_t id : archive->keys()) ids.push_back(id);
  CHECK(ids == std::vector<std::uint64_t>{4, 3, 2, 1});
  using End = Bound<std::uint64_t>;
  CHECK(*archive->keys(End::none(), End::exclusive(3)).reversed().begin() == 1);
}

TEST_CASE("example: for_each sees every entry, in no order, and may stop") {
  Opened<UserMap> users;
  for (std::uint64_t id = 0; id < 10; ++id) REQUIRE(users->put(id, {"x", 2}).ok());
  std::uint32_t ages = 0;
  CHECK(users->for_each([&](std::uint64_t, const User& user) { ages += user.age; }).ok());
  CHECK(ages == 20);
  int seen = 0;
  CHECK(users->for_each([&](std::uint64_t, const User&) { return ++seen < 3; }).ok());
  CHECK(seen == 3);
}

TEST_CASE("example: scan walks a map in pieces") {
  Opened<Scores> scores;
  for (std::uint64_t id = 0; id < 500; ++id) REQUIRE(scores->put(id, {}).ok());
  std::size_t seen = 0;
  std::uint64_t cursor = 0;
  do {  // the cursor may be kept between requests, say
    Result<std::uint64_t> next =
        scores->scan(cursor, 100, [&](std::uint64_t, const Score&) { ++seen; });
    REQUIRE(next.ok());
    cursor = *next;
  } while (cursor != 0);
  CHECK(seen == 500);
}

// A secondary index kept by a hook: after everything that can happen to a collection of users, the
// index by email is the one that a full walk gives.
//
// It runs over six kinds of collections. The emails are unique; a user that has expired keeps its
// email in the index until it is swept or overwritten.
#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/model.hpp"
#include "support/mortal_file_system.hpp"

using namespace armdb;

namespace {

using Id = std::uint64_t;
using Emails = std::map<std::string, Id>;

// ---- The same user as four kinds of values ----

struct User {
  std::string email;
  std::uint32_t age = 0;

  using armdb_codec = fields<&User::email, &User::age>;
  friend bool operator==(const User&, const User&) = default;
};

struct Account {
  char email[28] = {};
  std::uint32_t age = 0;
};

std::string email_of(const User& user) { return user.email; }
std::string email_of(const Account& account) { return account.email; }
std::string email_of(Bytes text) {  // ends at the first space or zero
  const std::string_view all = text.text();
  return std::string(all.substr(0, all.find_first_of(std::string_view(" \0", 2))));
}

template <class V> V make_user(const std::string& email, std::uint32_t age) {
  if constexpr (std::is_same_v<V, User>) {
    return {email, age};
  } else if constexpr (std::is_same_v<V, Account>) {
    Account account;
    email.copy(account.email, sizeof account.email - 1);
    account.age = age;
    return account;
  } else if constexpr (std::is_same_v<V, std::string>) {
    return email + " " + std::string(age, 'y');
  } else {
    V bytes{};
    std::memcpy(bytes.data(), email.data(), std::min(email.size(), bytes.size() - 1));
    bytes.back() = static_cast<std::uint8_t>(age);
    return bytes;
  }
}

// ---- The index ----

// `V` is how the hook is shown a value. Shards call it side by side, hence the lock.
template <class V>
using HookBase = std::conditional_t<std::is_same_v<V, Bytes>, WriteHook<Id>, TypedWriteHook<Id, V>>;

template <class V> class EmailIndex : public HookBase<V> {
 public:
  static constexpr bool needs_init = true;

  void on_write(const Id& id, const V* old_value, const V* new_value) override {
    const std::lock_guard lock(mutex_);
    if (old_value != nullptr) {
      // Somebody else may have the email of a user that expired.
      const auto at = ids_.find(email_of(*old_value));
      if (at != ids_.end() && at->second == id) ids_.erase(at);
    }
    if (new_value != nullptr) ids_[email_of(*new_value)] = id;
  }
  void on_init(const Id& id, const V& value) override { on_write(id, nullptr, &value); }

  std::optional<Id> find(const std::string& email) const {
    const std::lock_guard lock(mutex_);
    const auto at = ids_.find(email);
    return at != ids_.end() ? std::optional<Id>(at->second) : std::nullopt;
  }
  Emails all() const {
    const std::lock_guard lock(mutex_);
    return ids_;
  }

 private:
  mutable std::mutex mutex_;
  Emails ids_;
};

// ---- Six collections of users ----

struct InTypedTree {
  static constexpr const char* kName = "TypedTree";
  using Value = User;
  using Index = EmailIndex<User>;
  using Users = TypedTree<Id, User, DefaultCodec<User>, Index>;
};
struct InTypedMap {
  static constexpr const char* kName = "TypedMap";
  using Value = User;
  using Index = EmailIndex<User>;
  using Users = TypedMap<Id, User, DefaultCodec<User>, Index>;
};
struct InVarTypedTree {
  static constexpr const char* kName = "VarTypedTree";
  using Value = User;
  using Index = EmailIndex<User>;
  using Users = VarTypedTree<Id, User, DefaultCodec<User>, Index>;
};
struct InVarTree {
  static constexpr const char* kName = "VarTree";
  using Value = std::string;
  using Index = EmailIndex<Bytes>;
  using Users = VarTree<Id, Index>;
};
struct InConstMap {
  static constexpr const char* kName = "ConstMap";
  using Value = ByteArray<32>;
  using Index = EmailIndex<Bytes>;
  using Users = ConstMap<Id, ByteArray<32>, Index>;
};
struct InZeroMap {
  static constexpr const char* kName = "ZeroMap";
  using Value = Account;
  using Index = EmailIndex<Account>;
  using Users = ZeroMap<Id, Account, Index>;
};
struct InFixedMap {
  static constexpr const char* kName = "FixedMap";
  using Value = ByteArray<32>;
  using Index = EmailIndex<Bytes>;
  using Users = FixedMap<Id, ByteArray<32>, Index>;
};

template <class Kind> class World {
 public:
  using Value = typename Kind::Value;
  using Handle = typename Kind::Users::Handle;

  explicit World(std::uint32_t shards = 2) {
    config_.file_system = &files_;
    config_.shard_count = shards;
    config_.write_buffer_size = 16u << 10;
    config_.max_file_size = 64u << 10;
    open();
  }

  typename Kind::Users* operator->() { return &users_; }
  typename Kind::Users& operator*() { return users_; }
  static Value make(const std::string& email, std::uint32_t age = 20) {
    return make_user<Value>(email, age);
  }
  [[nodiscard]] std::optional<Id> find(const std::string& email) const {
    return index_->find(email);
  }
  [[nodiscard]] Emails indexed() const { return index_->all(); }
  [[nodiscard]] Emails walked() const {
    Emails walked;
    const Status status =
        users_.for_each([&](Id id, const auto& value) { walked[email_of(value)] = id; });
    INFO(status.message());
    CHECK(status.ok());
    return walked;
  }
  void check() const { CHECK(indexed() == walked()); }

  void reopen() {
    REQUIRE(users_.close().ok());
    open();
  }
  // The process dies where it stands, and another one comes.
  void crash() {
    files_.kill();
    files_.set_dying(true);
    users_ = {};
    files_.set_dying(false);
    open();
  }
  void put_expired(Id id, const std::string& email) {
    REQUIRE(users_.put(id, make(email), {.ttl_ms = 1}).ok());
    while (users_.contains(id)) std::this_thread::yield();
  }

 private:
  void open() {
    users_ = {};
    index_ = std::make_unique<typename Kind::Index>();
    auto opened = Kind::Users::open_hooked("users", config_, *index_);
    INFO(opened.message());
    REQUIRE(opened.ok());
    users_ = std::move(*opened);
    // The index was told of expired users too: they count until they are swept.
    REQUIRE(users_.sweep_expired(~std::uint64_t{0}).ok());
    check();
  }

  test::MortalFileSystem files_;
  Config config_;
  std::unique_ptr<typename Kind::Index> index_;
  typename Kind::Users users_;
};

template <class Kind, class F> void run_one(F& body, std::uint32_t shards) {
  INFO(Kind::kName);
  World<Kind> users(shards);
  body(users);
  users.check();
  users.reopen();
}

template <class F> void for_each_kind(F body, std::uint32_t shards = 2) {
  run_one<InTypedTree>(body, shards);
  run_one<InTypedMap>(body, shards);
  run_one<InVarTypedTree>(body, shards);
  run_one<InVarTree>(body, shards);
  run_one<InConstMap>(body, shards);
  run_one<InZeroMap>(body, shards);
}

// On slots, too, which have no batches and no atomic blocks.
template <class F> void for_each_store(F body, std::uint32_t shards = 2) {
  for_each_kind(body, shards);
  run_one<InFixedMap>(body, shards);
}

}  // namespace

TEST_CASE("secondary_index: put, insert and erase") {
  for_each_store([](auto& users) {
    REQUIRE(users->put(1, users.make("ann@a")).ok());
    CHECK(users.find("ann@a") == 1u);
    REQUIRE(users->put(1, users.make("ann@b")).ok());
    CHECK_FALSE(users.find("ann@a"));
    CHECK(users.find("ann@b") == 1u);
    REQUIRE(users->put(1, users.make("ann@b", 21)).ok());  // the email stays
    CHECK(users.find("ann@b") == 1u);
    users.check();
    REQUIRE(users->insert(2, users.make("bob@a")).ok());
    CHECK(users.find("bob@a") == 2u);
    CHECK(users->insert(2, users.make("eve@a")).is(Errc::key_exists));
    CHECK_FALSE(users.find("eve@a"));
    users.check();
    REQUIRE(users->erase(1).ok());
    CHECK_FALSE(users.find("ann@b"));
    CHECK(users->erase(1).is(Errc::not_found));
    users.check();
    CHECK(users.indexed().size() == 1);
  });
}

TEST_CASE("secondary_index: cas, compare_erase and exchange") {
  for_each_store([](auto& users) {
    REQUIRE(users->put(1, users.make("ann@a")).ok());
    CHECK(users->cas(1, users.make("eve@a"), users.make("ann@b")).is(Errc::value_mismatch));
    CHECK(users.find("ann@a") == 1u);
    REQUIRE(users->cas(1, users.make("ann@a"), users.make("ann@b")).ok());
    CHECK_FALSE(users.find("ann@a"));
    CHECK(users.find("ann@b") == 1u);
    CHECK(users->compare_erase(1, users.make("ann@a")).is(Errc::value_mismatch));
    users.check();
    REQUIRE(users->exchange(1, users.make("ann@c")).ok());
    REQUIRE(users->exchange(2, users.make("bob@a")).ok());
    CHECK(users.indexed() == Emails{{"ann@c", 1}, {"bob@a", 2}});
    users.check();
    REQUIRE(users->compare_erase(1, users.make("ann@c")).ok());
    CHECK(users.indexed() == Emails{{"bob@a", 2}});
  });
}

TEST_CASE("secondary_index: update, fetch_update and upsert, done and refused") {
  for_each_store([](auto& users) {
    using Value = typename std::remove_reference_t<decltype(users)>::Value;
    REQUIRE(users->put(1, users.make("ann")).ok());
    const auto longer = [&](const auto& old) { return users.make(email_of(old) + "+"); };
    REQUIRE(users->update(1, longer).ok());
    CHECK(users.indexed() == Emails{{"ann+", 1}});
    const auto before = users->fetch_update(1, longer);
    REQUIRE(before.ok());
    CHECK(users.indexed() == Emails{{"ann++", 1}});
    users.check();
    const auto refuse = [](const auto&) -> std::optional<Value> { return std::nullopt; };
    CHECK(users->update(1, refuse).is(Errc::aborted));
    CHECK(users->upsert(1, refuse).is(Errc::aborted));
    CHECK(users->upsert(2, refuse).is(Errc::aborted));
    CHECK(users->update(2, longer).is(Errc::not_found));
    CHECK(users.indexed() == Emails{{"ann++", 1}});
    const auto upsert = [&](const auto& old) -> std::optional<Value> {
      return users.make(old ? email_of(*old) + "-" : "new");
    };
    REQUIRE(users->upsert(1, upsert).ok());
    REQUIRE(users->upsert(2, upsert).ok());
    CHECK(users.indexed() == Emails{{"ann++-", 1}, {"new", 2}});
  });
}

TEST_CASE("secondary_index: an atomic block, committed and rolled back") {
  const auto body = [](auto& users) {
    using Handle = typename std::remove_reference_t<decltype(users)>::Handle;
    REQUIRE(users->put(1, users.make("ann")).ok());
    REQUIRE(users->put(2, users.make("bob")).ok());
    const auto swap = [&](bool commits) {
      return users->atomic(1, [&](Handle& shard) -> Status {
        Status status = shard.put(1, users.make("tmp"));
        if (status.ok()) status = shard.put(2, users.make("ann"));
        if (status.ok()) {
          status =
              shard.update(1, [&](const auto& old) { return users.make(email_of(old) + "2"); });
        }
        if (status.ok()) status = shard.insert(3, users.make("cyd"));
        if (status.ok()) status = shard.erase(3);
        if (status.ok()) status = shard.put(1, users.make("bob"));
        CHECK(users.indexed() == Emails{{"ann", 1}, {"bob", 2}});  // told at the end
        if (status.ok() && !commits) status = Errc::aborted;
        return status;
      });
    };
    CHECK(swap(false).is(Errc::aborted));
    users.check();
    CHECK(users.find("ann") == 1u);
    CHECK(swap(true).ok());
    users.check();
    CHECK(users.indexed() == Emails{{"ann", 2}, {"bob", 1}});
    CHECK_THROWS_AS(users->atomic(1,
                                  [&](Handle& shard) -> Status {
                                    Status status = shard.put(1, users.make("eve"));
                                    if (status.ok()) throw 1;
                                    return status;
                                  }),
                    int);
    users.check();
    users.crash();
    CHECK(users.indexed() == Emails{{"ann", 2}, {"bob", 1}});
  };
  for_each_kind(body, 1);
}

TEST_CASE("secondary_index: a WriteBatch, with one key twice") {
  for_each_kind([](auto& users) {
    REQUIRE(users->put(1, users.make("ann")).ok());
    REQUIRE(users->put(2, users.make("bob")).ok());
    WriteBatch batch(*users);
    REQUIRE(batch.put(1, users.make("ann2")).ok());
    REQUIRE(batch.put(1, users.make("ann3")).ok());
    REQUIRE(batch.erase(2).ok());
    REQUIRE(batch.put(2, users.make("bob2")).ok());
    REQUIRE(batch.put(3, users.make("cyd")).ok());
    REQUIRE(batch.erase(3).ok());
    REQUIRE(batch.erase(4).ok());  // is not there
    for (Id id = 10; id < 30; ++id) REQUIRE(batch.put(id, users.make(std::to_string(id))).ok());
    CHECK(users.indexed() == Emails{{"ann", 1}, {"bob", 2}});
    REQUIRE(batch.commit().ok());
    users.check();
    CHECK(users.find("ann3") == 1u);
    CHECK(users.find("bob2") == 2u);
    CHECK(users.indexed().size() == 22);
    users.crash();
    CHECK(users.indexed().size() == 22);
  });
}

TEST_CASE("secondary_index: put_many, load, erase_range, erase_prefix and clear") {
  for_each_store([](auto& users) {
    using Value = typename std::remove_reference_t<decltype(users)>::Value;
    std::vector<std::pair<Id, Value>> entries;
    for (Id id = 0; id < 300; ++id) entries.push_back({id, users.make("a" + std::to_string(id))});
    entries.push_back({7, users.make("seven")});
    REQUIRE(users->put_many(entries).ok());
    users.check();
    CHECK(users.find("seven") == 7u);
    CHECK(users.indexed().size() == 300);
    entries.clear();
    for (Id id = 500; id-- > 100;) entries.push_back({id, users.make("b" + std::to_string(id))});
    entries.push_back({200, users.make("later")});
    REQUIRE(users->load(entries).ok());
    users.check();
    CHECK(users.find("later") == 200u);
    CHECK(users.indexed().size() == 500);
    if constexpr (requires { users->erase_range(1, 2); }) {
      CHECK(*users->erase_range(90, 110) == 20);
      users.check();
      CHECK(*users->erase_prefix(ByteArray<7>{}) == 256 - 20);
      users.check();
      CHECK(users.indexed().size() == 244);
    }
    users.crash();
    REQUIRE(users->clear().ok());
    CHECK(users.indexed().empty());
  });
}

TEST_CASE("secondary_index: a migration that keeps, updates and erases") {
  for_each_store([](auto& users) {
    using Value = typename std::remove_reference_t<decltype(users)>::Value;
    for (Id id = 0; id < 300; ++id) {
      REQUIRE(users->put(id, users.make("a" + std::to_string(id))).ok());
    }
    const auto decide = [&](Id id, const auto& value) {
      if (id % 3 == 0) return MigrateAction<Value>::erase();
      if (id % 3 == 1) return MigrateAction<Value>::keep();
      return MigrateAction<Value>::update(users.make(email_of(value) + "@b"));
    };
    REQUIRE(users->migrate(decide, {.to_version = 1}).ok());
    users.check();
    CHECK(users.indexed().size() == 200);
    CHECK(users.find("a1") == 1u);
    CHECK(users.find("a2@b") == 2u);
    users.crash();
    CHECK(users.indexed().size() == 200);
  });
}

TEST_CASE("secondary_index: a user that expired leaves when it is swept or overwritten") {
  for_each_kind([](auto& users) {
    REQUIRE(users->put(1, users.make("ann")).ok());
    users.put_expired(2, "bob");
    users.put_expired(3, "cyd");
    users.put_expired(4, "dan");
    users.put_expired(5, "eve");
    CHECK(users->erase(2).is(Errc::not_found));
    CHECK(users->update(2, [&](const auto&) { return users.make("x"); }).is(Errc::not_found));
    CHECK(users.indexed().size() == 5);
    REQUIRE(users->put(2, users.make("bob2")).ok());
    REQUIRE(users->insert(3, users.make("cyd2")).ok());
    REQUIRE(users
                ->upsert(4,
                         [&](const auto& old) {
                           CHECK_FALSE(old);
                           return users.make("dan2");
                         })
                .ok());
    CHECK(users.indexed() == Emails{{"ann", 1}, {"bob2", 2}, {"cyd2", 3}, {"dan2", 4}, {"eve", 5}});
    CHECK(*users->sweep_expired(1000) == 1);
    CHECK_FALSE(users.find("eve"));
    users.check();
    users.put_expired(5, "eve");
    WriteBatch batch(*users);
    REQUIRE(batch.put(5, users.make("eve2")).ok());
    REQUIRE(batch.commit().ok());
    users.check();
    users.put_expired(5, "eve3");
    REQUIRE(users->compact().ok());  // sweeps too
    users.check();
    users.put_expired(6, "fay");
    users.crash();
    CHECK_FALSE(users.find("fay"));
    REQUIRE(users->put(6, users.make("fay2")).ok());
    users.check();
  });
}

TEST_CASE("secondary_index: the email of a user that expired may be taken by another one") {
  for_each_store([](auto& users) {
    users.put_expired(1, "ann");
    REQUIRE(users->put(2, users.make("ann")).ok());
    CHECK(*users->sweep_expired(1000) == 1);
    CHECK(users.find("ann") == 2u);
    users.put_expired(3, "bob");
    users.crash();
    REQUIRE(users->put(4, users.make("bob")).ok());
    REQUIRE(users->put(3, users.make("cyd")).ok());
    CHECK(users.indexed() == Emails{{"ann", 2}, {"bob", 4}, {"cyd", 3}});
  });
}

#if !defined(ARMDB_OMIT_THREADS)

TEST_CASE("secondary_index: threads that write the same users") {
  for_each_kind([](auto& users) {
    std::vector<std::thread> threads;
    for (unsigned thread = 0; thread < 3; ++thread) {
      threads.emplace_back([&users, thread] {
        test::Dice dice(thread);
        for (int step = 0; step < 400; ++step) {
          const Id id = dice.below(10);
          const std::string email = std::to_string(thread) + "." + std::to_string(step);
          const auto change = [&](const auto&) { return users.make(email); };
          if (dice.one_in(4)) {
            static_cast<void>(users->erase(id));
          } else if (dice.one_in(2)) {
            static_cast<void>(users->put(id, users.make(email)));
          } else {
            static_cast<void>(users->upsert(id, change));
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    users.check();
  });
}

#endif

namespace {

// Any writes in any order. Emails are never used twice; those of users that expired may be in the
// index until somebody sweeps.
template <class W> class Program {
 public:
  using Value = typename W::Value;
  using Handle = typename W::Handle;

  Program(W& users, std::uint64_t seed) : users_(users), dice_(seed) {}

  void run(int steps) {
    for (int step = 0; step < steps; ++step) {
      INFO("step " << step);
      do_something();
      check();
    }
    REQUIRE(users_->sweep_expired(~std::uint64_t{0}).ok());
    users_.check();
  }

 private:
  Id any() { return dice_.below(30); }
  Value fresh() { return users_.make(std::to_string(++made_)); }

  void expect(const Status& status) {
    INFO(status.message());
    CHECK((status.ok() || status.is(Errc::not_found) || status.is(Errc::key_exists)));
  }

  void do_something() {
    const auto change = [&](const auto&) { return fresh(); };
    switch (dice_.below(16)) {
      case 0:
      case 1:
        return expect(users_->insert(any(), fresh()));
      case 2:
        return expect(users_->erase(any()));
      case 3:
        return expect(users_->update(any(), change).status());
      case 4:
        return expect(users_->upsert(any(), change).status());
      case 5:
        return expect(users_->exchange(any(), fresh()).status());
      case 6:
        return expect(batch());
      case 7:
        return expect(block());
      case 8:
        return expire();
      case 9:
        return expect(users_->sweep_expired(dice_.below(20)).status());
      case 10:
        return expect(dice_.one_in(4) ? users_->compact() : users_->checkpoint());
      case 11:
        if (dice_.one_in(2)) return users_.crash();
        return users_.reopen();
      default:
        return expect(users_->put(any(), fresh()));
    }
  }

  Status batch() {
    WriteBatch batch(*users_);
    for (std::uint64_t count = dice_.below(8); count > 0; --count) {
      Status status = dice_.one_in(4) ? batch.erase(any()) : batch.put(any(), fresh());
      CHECK(status.ok());
    }
    return batch.commit();
  }

  Status block() {
    const Id id = any();
    Status status = users_->atomic(id, [&](Handle& shard) -> Status {
      Status put = shard.put(id, fresh());
      if (put.ok() && dice_.one_in(2)) put = shard.erase(id);
      if (put.ok() && dice_.one_in(2)) put = shard.put(id, fresh());
      return put.ok() && dice_.one_in(3) ? Status(Errc::aborted) : std::move(put);
    });
    return status.is(Errc::aborted) ? Status() : std::move(status);
  }

  void expire() {
    users_.put_expired(any(), std::to_string(++made_));
    gone_.insert(std::to_string(made_));
  }

  void check() {
    const Emails walked = users_.walked();
    for (const auto& [email, id] : users_.indexed()) {
      if (gone_.count(email) == 0) CHECK(walked.count(email) == 1);
    }
    for (const auto& [email, id] : walked) CHECK(users_.find(email) == id);
  }

  W& users_;
  test::Dice dice_;
  std::uint64_t made_ = 0;
  std::set<std::string> gone_;
};

}  // namespace

TEST_CASE("secondary_index: any program, through closes and kills", "[serial]") {
  std::uint64_t seed = 1;
  for_each_kind([&](auto& users) { Program(users, ++seed).run(400); });
  for_each_kind([&](auto& users) { Program(users, ++seed).run(200); }, 1);
}

// ---- Hooks that do not ask for the old value ----

namespace {

template <bool kNeedsOld> class CountingHook : public WriteHook<Id> {
 public:
  static constexpr bool needs_old_value = kNeedsOld;
  void on_write(const Id&, const Bytes* old_value, const Bytes* new_value) override {
    old_values += old_value != nullptr ? 1u : 0u;
    new_values += new_value != nullptr ? 1u : 0u;
  }
  std::size_t old_values = 0;
  std::size_t new_values = 0;
};

// Overwrites and erases entries whose values lie in segments that are not mapped; how many blocks
// that read.
template <bool kNeedsOld> std::uint64_t blocks_read(CountingHook<kNeedsOld>& hook) {
  const auto files = make_memory_file_system();
  Config config;
  config.file_system = files.get();
  config.shard_count = 1;
  config.mapped_reads = false;
  auto all = VarTree<Id, CountingHook<kNeedsOld>>::open_hooked("c", config, hook);
  REQUIRE(all.ok());
  for (Id id = 0; id < 20; ++id) REQUIRE(all->put(id, std::string(10000, 'x')).ok());
  REQUIRE(all->checkpoint().ok());
  hook.old_values = hook.new_values = 0;
  const auto blocks = [&] { return all->stats().cache_hits + all->stats().cache_misses; };
  const std::uint64_t before = blocks();
  for (Id id = 0; id < 10; ++id) REQUIRE(all->put(id, "short").ok());
  for (Id id = 10; id < 15; ++id) REQUIRE(all->erase(id).ok());
  WriteBatch batch(*all);
  REQUIRE(batch.put(15, "batch").ok());
  REQUIRE(batch.commit().ok());
  REQUIRE(all->atomic(16, [](auto& shard) { return shard.put(16, "block"); }).ok());
  return blocks() - before;
}

}  // namespace

TEST_CASE("secondary_index: without needs_old_value a Var hook gets none, and no disk is read") {
  CountingHook<false> spared;
  CHECK(blocks_read(spared) == 0);
  CHECK(spared.old_values == 0);
  CHECK(spared.new_values == 12);
  CountingHook<true> told;
  CHECK(blocks_read(told) > 0);
  CHECK(told.old_values == 17);
  CHECK(told.new_values == 12);
}

// Every public call, with the n-th allocation failing, once and from then on, for each n until it
// succeeds without meeting one: of `new (std::nothrow)` and mmap(), where builds without
// exceptions can go on; and of any `new` where the library was built with exceptions.
//
// Oracle: the call is ok or answers out_of_memory (or bad_alloc passes through); each key then
// reads as before the call or as after it; the collection goes on when there is memory again;
// opened again it has all that was accepted, and no damage; nothing leaks.
#include <algorithm>
#include <functional>
#include <map>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/new_fails.hpp"

#if !ARMDB_TEST_SANITIZED

using namespace armdb;
using test::NewFails;
using test::News;

namespace {

using Number = std::uint32_t;
using Contents = std::map<Number, std::string>;
using Inline = ByteArray<120>;
using Log = VarTree<Number>;
using Table = ConstMap<Number, Inline>;
using Slots = FixedTree<Number, Inline>;

constexpr Number kCount = 60;
constexpr Number kSpare = 4000;  // a key that only the harness writes

constexpr ByteArray<32> kKey{1, 2, 3}, kNewKey{4, 5, 6};

bool has_exceptions() { return compile_options().find("no-exceptions") == std::string_view::npos; }
bool has_openssl() { return compile_options().find("OPENSSL") != std::string_view::npos; }

template <class C> std::string text_of(Number number, int version) {
  std::string text = std::to_string(number) + "." + std::to_string(version) + ".";
  std::size_t size = sizeof(Inline);
  if constexpr (std::is_same_v<C, Log>) size = number % 9 == 0 ? 700 : 20 + number % 100;
  text.resize(size, static_cast<char>('a' + number % 26));
  return text;
}
template <class C> auto value_of(const std::string& text) {
  if constexpr (std::is_same_v<C, Log>) {
    return Bytes(text);
  } else {
    Inline value{};
    std::copy_n(text.begin(), std::min(text.size(), value.size()), value.begin());
    return value;
  }
}

// What the call under test works with; made before memory runs out. Without memory nothing of
// Catch2 may be called.
template <class C> struct Work {
  C collection;
  Contents before;
  Contents after;  // what is there when the call is ok
  std::vector<std::pair<Number, std::string>> texts;
  std::vector<std::pair<Number, decltype(value_of<C>(std::string()))>> pairs;
  EncryptionKey key;  // of the collection
  bool wrong = false;

  void change(Number number, int version) {
    after[number] = text_of<C>(number, version);
    texts.emplace_back(number, after[number]);
  }
};

template <class C> struct Operation {
  const char* name;
  std::function<void(Work<C>& work)> prepare;
  std::function<Status(Work<C>& work)> run;
};

template <class C> class Sweep {
 public:
  Sweep(bool encrypted, bool full) : stride_(full ? 1 : 31) {
    config_.shard_count = 1;  // opened by this thread
    config_.write_buffer_size = 16 << 10;
    config_.max_file_size = 64 << 10;
    config_.index_step_bytes = 4 << 10;
    config_.compaction_threshold = 0.01;
    config_.cache_bytes = 16 << 10;
    if (encrypted) config_.encryption_key = kKey;
    if constexpr (C::kFixed) config_.sync_interval_ms = 0;
  }

  void sweep(const Operation<C>& operation) {
    std::vector<News> kinds{News::nothrow};
    if (has_exceptions()) kinds.push_back(News::all);
    for (const News which : kinds) {
      for (const bool once : {false, true}) {
        // Destructors remove files, and make names for that: they must not throw. Nor must what
        // gives the write buffer a new key.
        const bool ends = !once || std::string_view(operation.name) == "reencrypt";
        if (which == News::all && ends) continue;
        for (long more = 0;; more += more < 3 ? 1 : stride_) {
          INFO(operation.name << " with " << more << (which == News::all ? " news" : " pieces")
                              << (once ? ", once" : ""));
          if (!run_case(operation, which, once, more)) break;
          REQUIRE(more < 3000);
        }
      }
    }
  }

  std::size_t refused = 0;

 private:
  using CaseConfig = typename C::Config;

  bool run_case(const Operation<C>& operation, News which, bool once, long more) {
    bool met = false;
    long leaked = 1;
    // Blocks that Catch2 keeps come once.
    for (int tries = 0; tries < 3 && leaked != 0; ++tries) {
      const long alive = test::news_alive();
      met = run_inside(operation, which, once, more);
      leaked = test::news_alive() - alive;
    }
    // What readers may still look at is kept for good where there is no memory to remember it.
    REQUIRE(leaked <= (met ? 60 : 0));
    return met;
  }

  // All that it makes is gone when it returns.
  bool run_inside(const Operation<C>& operation, News which, bool once, long more) {
    const Owned<FileSystem> files = make_memory_file_system();
    CaseConfig config = config_;
    config.file_system = files.get();
    bool met = false;
    bool copied = false;
    Work<C> work;
    fill(config, work);
    const Status status = attempt(config, work, operation, which, once, more, met);
    INFO("the call: " << status.message());
    REQUIRE((met || status.ok()));
    if (met && !status.ok()) ++refused;
    REQUIRE((status.ok() || status.is(Errc::out_of_memory) || status.is(Errc::failed)));
    REQUIRE_FALSE(work.wrong);
    if (work.collection.is_open()) {
      check(work.collection, work, status);
      go_on(work.collection);
      const Status closed = work.collection.close();
      INFO("closing: " << closed.message());
      REQUIRE((closed.ok() || work.collection.stats().failed_shards != 0));
    }
    work.collection = C();
    copied = files->info("/copy").ok();
    reopen(config, work, status);
    if (copied && status.ok()) check_copy(config, work);
    return met;
  }

  static void fill(const CaseConfig& config, Work<C>& work) {
    work.key = config.encryption_key;
    Result<C> opened = C::open("c", config);
    INFO(opened.message());
    REQUIRE(opened.ok());
    const auto put = [&](Number number, int version, std::uint64_t ttl_ms = 0) {
      work.before[number] = text_of<C>(number, version);
      REQUIRE(opened->put(number, value_of<C>(work.before[number]), {.ttl_ms = ttl_ms}).ok());
    };
    for (Number number = 0; number < kCount; ++number)
      put(number, 0, number % 7 == 0 ? 1u << 30 : 0);
    REQUIRE(opened->checkpoint().ok());
    for (Number number = 0; number < kCount; number += 3) put(number, 1);
    REQUIRE(opened->close().ok());
    opened = C::open("c", config);
    REQUIRE(opened.ok());
    work.collection = *std::move(opened);
    work.after = work.before;
  }

  // Runs it without memory; bad_alloc counts as out_of_memory.
  static Status attempt(const CaseConfig& config, Work<C>& work, const Operation<C>& operation,
                        News which, bool once, long more, bool& met) {
    const bool opening = std::string_view(operation.name).starts_with("open");
    if (opening) REQUIRE(work.collection.close().ok());
    if (opening) work.collection = C();
    operation.prepare(work);
    Status status;
    {
      const NewFails limit(more, which, once);
      try {
        if (opening) {
          Result<C> opened = C::open("c", config);
          if (opened.ok()) {
            work.collection = *std::move(opened);
          } else {
            status = opened.status();
          }
        } else {
          status = operation.run(work);
        }
      } catch (const std::bad_alloc&) {
        status = Errc::out_of_memory;
      }
      met = limit.met();
    }
    return status;
  }

  static bool read(const C& collection, Contents& all) {
    const Status status = collection.for_each(
        [&](Number number, const auto& value) { all[number] = std::string(Bytes(value).text()); });
    INFO(status.message());
    CHECK(status.ok());
    return status.ok();
  }

  static void check(const C& collection, const Work<C>& work, const Status& status) {
    Contents all;
    REQUIRE(read(collection, all));
    all.erase(kSpare);
    if (status.ok()) {
      REQUIRE((all == work.after));
      return;
    }
    for (Number number = 0; number < kSpare; ++number) {
      const auto same = [&](const Contents& other) {
        const auto here = all.find(number);
        const auto there = other.find(number);
        if (here == all.end() || there == other.end()) {
          return (here == all.end()) == (there == other.end());
        }
        return here->second == there->second;
      };
      INFO("key " << number);
      if (!same(work.before) && !same(work.after)) FAIL("is neither old nor new");
    }
  }

  static void go_on(C& collection) {
    const Status status =
        collection.put(kSpare, value_of<C>(text_of<C>(kSpare, 0)), {.sync = true});
    INFO("going on: " << status.message());
    REQUIRE((status.ok() || collection.stats().failed_shards != 0));
  }

  static void reopen(CaseConfig config, const Work<C>& work, const Status& status) {
    Result<C> again = C::open("c", config);
    if (again.is(Errc::wrong_key)) {
      config.encryption_key = kNewKey;
      again = C::open("c", config);
    }
    INFO("opened again: " << again.message());
    REQUIRE(again.ok());
    REQUIRE(again->stats().damaged_regions == 0);
    check(*again, work, status);
    const Result<VerifyReport> report = again->verify();
    REQUIRE(report.ok());
    REQUIRE(report->damaged_regions == 0);
  }

  static void check_copy(const CaseConfig& config, const Work<C>& work) {
    const Result<C> copy = C::open("/copy", config);
    INFO("the copy: " << copy.message());
    REQUIRE(copy.ok());
    Contents all;
    REQUIRE(read(*copy, all));
    all.erase(kSpare);
    REQUIRE((all == work.before));
  }

  const long stride_;  // between the numbers tried, but for the first ones
  CaseConfig config_;
};

// ---- The calls ----

template <class C> void prepare_nothing(Work<C>&) {}

template <class C> Operation<C> puts(const char* name, Number first, Number last) {
  return {name,
          [=](Work<C>& work) {
            for (Number number = first; number < last; ++number) work.change(number, 2);
          },
          [](Work<C>& work) -> Status {
            for (const auto& [number, text] : work.texts) {
              const Status status = work.collection.put(number, value_of<C>(text));
              if (!status.ok()) return status;
            }
            return {};
          }};
}

template <class C> Operation<C> pairs(const char* name, Status (*run)(Work<C>&)) {
  return {name,
          [](Work<C>& work) {
            for (Number number = 50; number < 300; ++number) work.change(number, 3);
            for (const auto& [number, text] : work.texts) {
              work.pairs.emplace_back(number, value_of<C>(text));
            }
          },
          run};
}

template <class C> std::vector<Operation<C>> writes() {
  std::vector<Operation<C>> all;
  all.push_back(puts<C>("put over an old value", 5, 6));
  all.push_back(puts<C>("puts while the index grows", 100, 1100));
  all.push_back({"erase, sync", [](Work<C>& work) { work.after.erase(7); },
                 [](Work<C>& work) { return work.collection.erase(7, {.sync = true}); }});
  all.push_back({"cas", [](Work<C>& work) { work.change(9, 2); },
                 [](Work<C>& work) {
                   return work.collection.cas(9, value_of<C>(work.before[9]),
                                              value_of<C>(work.after[9]));
                 }});
  all.push_back({"exchange", [](Work<C>& work) { work.change(9, 2); },
                 [](Work<C>& work) {
                   return work.collection.exchange(9, value_of<C>(work.after[9])).status();
                 }});
  all.push_back({"put with a time to live",
                 [](Work<C>& work) {
                   for (Number number = 700; number < 900; ++number) work.change(number, 2);
                 },
                 [](Work<C>& work) -> Status {
                   for (const auto& [number, text] : work.texts) {
                     const Status status =
                         work.collection.put(number, value_of<C>(text), {.ttl_ms = 1u << 30});
                     if (!status.ok()) return status;
                   }
                   return {};
                 }});
  all.push_back(pairs<C>("put_many", [](Work<C>& work) {
    return work.collection.put_many(work.pairs, {.sync = true});
  }));
  all.push_back(pairs<C>("load", [](Work<C>& work) { return work.collection.load(work.pairs); }));
  if constexpr (!C::kFixed) {
    all.push_back(pairs<C>("batch", [](Work<C>& work) -> Status {
      WriteBatch<C> batch(work.collection);
      for (const auto& [number, value] : work.pairs) {
        const Status status = batch.put(number, value);
        if (!status.ok()) return status;
      }
      return batch.commit({.sync = true});
    }));
    all.push_back({"atomic", [](Work<C>& work) { work.change(4, 9); },
                   [](Work<C>& work) {
                     return work.collection.atomic(
                         4, [&](auto& shard) { return shard.put(4, value_of<C>(work.after[4])); });
                   }});
  }
  all.push_back({"clear", [](Work<C>& work) { work.after.clear(); },
                 [](Work<C>& work) { return work.collection.clear().status(); }});
  return all;
}

template <class C> std::vector<Operation<C>> reads() {
  std::vector<Operation<C>> all;
  all.push_back({"read", prepare_nothing<C>, [](Work<C>& work) -> Status {
                   for (const auto& item : work.before) {
                     const auto found = work.collection.read(item.first, [&](const auto& value) {
                       work.wrong = work.wrong || Bytes(value) != Bytes(item.second);
                     });
                     if (!found.ok()) return found.status();
                     work.wrong = work.wrong || !*found;
                   }
                   return {};
                 }});
  if constexpr (std::is_same_v<C, Log>) {
    all.push_back({"get and range", prepare_nothing<C>, [](Work<C>& work) -> Status {
                     std::size_t count = 0;
                     Cursor at = work.collection.collection().cursor({}, {}, false);
                     while (at.valid()) {
                       const Result<ByteView> value = at.read();
                       if (!value.ok()) return value.status();
                       ++count;
                       at.next();
                     }
                     if (!at.status().ok()) return at.status();
                     work.wrong = count != kCount;
                     const auto value = work.collection.get(9);
                     if (!value.ok()) return value.status();
                     work.wrong = Bytes(**value) != Bytes(work.before[9]);
                     return {};
                   }});
  }
  all.push_back({"for_each", prepare_nothing<C>, [](Work<C>& work) {
                   return work.collection.for_each([&](Number number, const auto& value) {
                     const auto found = work.before.find(number);
                     work.wrong = work.wrong || found == work.before.end() ||
                                  Bytes(value) != Bytes(found->second);
                   });
                 }});
  return all;
}

template <class C> std::vector<Operation<C>> care(bool encrypted) {
  std::vector<Operation<C>> all;
  const auto add = [&](const char* name, Status (*run)(Work<C>&)) {
    all.push_back({name, prepare_nothing<C>, run});
  };
  add("open", nullptr);
  add("flush_buffers", [](Work<C>& w) { return w.collection.flush_buffers(); });
  add("sync", [](Work<C>& w) { return w.collection.sync(); });
  add("checkpoint", [](Work<C>& w) { return w.collection.checkpoint(); });
  add("compact", [](Work<C>& w) { return w.collection.compact(); });
  add("verify", [](Work<C>& w) { return w.collection.verify().status(); });
  add("warmup", [](Work<C>& w) { return w.collection.warmup(); });
  add("sweep_expired", [](Work<C>& w) { return w.collection.sweep_expired(100).status(); });
  add("backup_to", [](Work<C>& w) { return w.collection.backup_to("/copy", w.key); });
  add("close", [](Work<C>& w) { return w.collection.close(); });
  if (encrypted) {
    add("rotate_key", [](Work<C>& w) { return w.collection.rotate_key(kKey, kNewKey); });
    add("reencrypt", [](Work<C>& w) { return w.collection.reencrypt(kKey); });
  }
  return all;
}

template <class C> void sweep_all(bool full) {
  for (const bool encrypted : {false, true}) {
    if (encrypted && !has_openssl()) continue;
    Sweep<C> sweep(encrypted, full);
    for (const auto& group : {writes<C>(), reads<C>(), care<C>(encrypted)}) {
      for (const Operation<C>& operation : group) sweep.sweep(operation);
    }
    CHECK(sweep.refused > 20);
  }
}

}  // namespace

TEMPLATE_TEST_CASE("memory: whichever allocation fails, the call says so and nothing is lost",
                   "[pitfall-33]", Log, Table, Slots) {
  sweep_all<TestType>(false);
}

TEMPLATE_TEST_CASE("memory: the same for each allocation (long)", "[slow][pitfall-33]", Log, Table,
                   Slots) {
  sweep_all<TestType>(true);
}

#endif  // !ARMDB_TEST_SANITIZED

// Every public call, with the n-th call to the file system failing, for each n until it succeeds
// without meeting the fault; each errno, once and sticky, on both stores, clear and encrypted.
//
// Oracle: the call is ok or tells an error that names a file or says what to do, and is never
// `corrupt`, `not_found` or `wrong_key`; each key then reads as before the call or as after it;
// what was accepted earlier is there after the fault is gone and the collection is opened again,
// with no damage; a shard that has not failed goes on; no file, mapping or lock stays open.
#include <algorithm>
#include <cerrno>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "api/collections.hpp"
#include "api/write_batch.hpp"
#include "support/catch.hpp"
#include "support/fault_file_system.hpp"
#include "support/scale.hpp"

namespace {

using namespace armdb;
using test::Call;
using test::FaultFileSystem;

using Number = std::uint32_t;
using Contents = std::map<Number, std::string>;
using Inline = ByteArray<120>;
using Log = VarTree<Number>;
using Table = ConstMap<Number, Inline>;
using Slots = FixedTree<Number, Inline>;

constexpr ByteArray<32> kKey{1, 2, 3}, kNewKey{4, 5, 6};
constexpr Number kOld = 40;       // durable: 0 to 39
constexpr Number kWritten = 60;   // and these survive kill -9
constexpr Number kExpired = 900;  // from here on: over, and nobody's
constexpr std::uint64_t kYear1995 = 788'918'400'000;
constexpr std::size_t kKinds = 12;

struct Kind {
  int error;
  bool sticky;
  bool partial;  // a write writes some of its bytes first
};
Kind kind_of(std::size_t at) {
  static constexpr int kErrors[] = {EIO, ENOSPC, EDQUOT, EROFS, EINTR, EIO};
  return {kErrors[at / 2], at % 2 == 1, at / 2 == 5};
}

template <class C> std::string text_of(Number number, int version) {
  std::string text = std::to_string(number) + "." + std::to_string(version) + ".";
  std::size_t size = sizeof(Inline);
  if constexpr (std::is_same_v<C, Log>) size = number % 9 == 0 ? 3000 : 20 + number % 100;
  text.resize(size, static_cast<char>('a' + number % 26));
  return text;
}
template <class C> auto value_of(const std::string& text) {
  if constexpr (std::is_same_v<C, Log>) {
    return text;
  } else {
    Inline value{};
    std::copy_n(text.begin(), std::min(text.size(), value.size()), value.begin());
    return value;
  }
}

// One call under test; it makes of `after` what is there when it is ok.
template <class C> struct Operation {
  const char* name;
  std::function<Status(C& collection, Contents& after)> run;
  bool together = false;  // all its writes or none
};

template <class C> class Sweep {
 public:
  Sweep(bool encrypted, bool full) : encrypted_(encrypted), stride_(full ? 1 : 2 * kKinds) {
    config_.file_system = &files_;
    config_.shard_count = std::is_same_v<C, Table> ? 2 : 1;
    config_.write_buffer_size = 16 << 10;
    config_.max_file_size = 64 << 10;
    config_.index_step_bytes = 4 << 10;
    config_.compaction_threshold = 0.01;
    config_.mapped_reads = false;
    config_.cache_bytes = 0;
    if (encrypted) config_.encryption_key = kKey;
    // Two shards may fail at once.
    config_.log.context = this;
    config_.log.callback = [](void* context, LogLevel, std::string_view text) {
      auto* const self = static_cast<Sweep*>(context);
      const std::lock_guard lock(self->log_mutex_);
      self->log_.append(text).append("\n");
    };
    if constexpr (C::kFixed) config_.sync_interval_ms = 0;
    make();
  }

  std::size_t cases = 0;

  // Each errno, once and sticky, at each n; or each n once, in the clear or encrypted.
  void sweep(const Operation<C>& operation) {
    for (std::size_t kind = 0; kind < kKinds; ++kind) {
      bool met = true;
      for (std::size_t nth = first(kind); met; nth += stride_) {
        INFO(operation.name << ", call " << nth << ", errno " << kind_of(kind).error
                            << (kind_of(kind).sticky ? ", sticky" : "")
                            << (encrypted_ ? ", encrypted" : ""));
        met = run_case(operation, kind_of(kind), nth);
        REQUIRE(nth < 5000);
      }
    }
  }

  // The same for calls that begin with no open collection.
  void sweep_open(const char* name, bool fresh, bool read_only) {
    for (std::size_t kind = 0; kind < kKinds; ++kind) {
      bool met = true;
      for (std::size_t nth = first(kind); met; nth += stride_) {
        INFO(name << ", call " << nth << ", errno " << kind_of(kind).error
                  << (kind_of(kind).sticky ? ", sticky" : "") << (encrypted_ ? ", encrypted" : ""));
        met = run_open(fresh, read_only, kind_of(kind), nth);
        REQUIRE(nth < 5000);
      }
    }
  }

 private:
  [[nodiscard]] std::size_t first(std::size_t kind) const {
    return 1 + (2 * kind + (encrypted_ ? 1 : 0)) % stride_;
  }
  using CaseConfig = typename C::Config;

  C open(CaseConfig config) {
    Result<C> opened = C::open("/c", config);
    if (opened.is(Errc::wrong_key) && encrypted_) {
      config.encryption_key = kNewKey;
      opened = C::open("/c", config);
    }
    INFO(opened.message());
    REQUIRE(opened.ok());
    return *std::move(opened);
  }

  // Durable entries, in several segments with some dead, and expired ones; closed.
  void make() {
    C collection = open(config_);
    const auto put = [&](Number number, int version) {
      const std::string text = text_of<C>(number, version);
      REQUIRE(collection.put(number, value_of<C>(text)).ok());
      durable_[number] = text;
    };
    for (Number number = 0; number < kOld; ++number) put(number, 0);
    REQUIRE(collection.checkpoint().ok());
    for (Number number = 0; number < kOld; number += 3) put(number, 1);
    for (Number number = kExpired; number < kExpired + 6; ++number) {
      const std::string text = text_of<C>(number, 0);
      std::uint8_t key[4];
      key_traits<Number>::encode(number, key);
      REQUIRE(collection.collection()
                  .write({.key = key, .value = Bytes(text), .expires_at_ms = kYear1995}, {})
                  .ok());
    }
    REQUIRE(collection.close().ok());
    closed_ = files_.snapshot();
  }

  // Opens it and writes what survives kill -9.
  C begin(Contents& before) {
    files_.restore(closed_);
    files_.clear_faults();
    log_.clear();
    C collection = open(config_);
    before = durable_;
    for (Number number = kOld; number < kWritten; ++number) {
      before[number] = text_of<C>(number, 0);
      REQUIRE(collection.put(number, value_of<C>(before[number])).ok());
    }
    REQUIRE(collection.flush_buffers().ok());
    return collection;
  }

  void arm(const Kind& kind, std::size_t nth) {
    files_.fail(Call::any, nth, kind.error, kind.sticky, kind.partial ? 1 + nth * 97 % 700 : 0);
  }

  bool run_case(const Operation<C>& operation, const Kind& kind, std::size_t nth) {
    ++cases;
    Contents before;
    bool met = false;
    bool sync_failed = false;
    Contents after;
    {
      C collection = begin(before);
      after = before;
      files_.set_trace(true);
      arm(kind, nth);
      const Status status = operation.run(collection, after);
      for (const std::string& call : files_.trace()) log_ += call + "\n";
      met = files_.fault_met();
      sync_failed = files_.first_fault() == Call::sync;
      INFO("the call: " << status.message());
      REQUIRE((met || status.ok()));
      check_status(status);
      if (!kind.sticky || nth % 2 == 0) files_.clear_faults();
      if (collection.is_open()) {
        check_memory(collection, status, before, after, sync_failed, operation.together);
        go_on(collection, kind.sticky && nth % 2 != 0);
      }
      files_.clear_faults();
      if (nth % 3 == 0) files_.kill_process();
      if (nth % 3 == 1) static_cast<void>(collection.close());
    }
    REQUIRE(files_.open_handles() == 0);
    check_reopened(before, after, sync_failed, operation.together);
    check_backup(before);
    return met;
  }

  bool run_open(bool fresh, bool read_only, const Kind& kind, std::size_t nth) {
    ++cases;
    Contents before;
    if (fresh) {
      files_.restore(FaultFileSystem().snapshot());
      files_.clear_faults();
    } else {
      static_cast<void>(begin(before));  // and closes it
      if (nth % 2 == 0) {
        C collection = begin(before);
        files_.kill_process();
      }
    }
    bool met = false;
    bool sync_failed = false;
    {
      CaseConfig config = config_;
      config.read_only = read_only;
      arm(kind, nth);
      Result<C> opened = C::open("/c", config);
      met = files_.fault_met();
      sync_failed = files_.first_fault() == Call::sync;
      INFO("open: " << opened.message());
      REQUIRE((met || opened.ok()));
      files_.clear_faults();
      check_status(opened.status());
      if (opened.ok()) {
        REQUIRE(opened->stats().damaged_regions == 0);
        REQUIRE(contents(*opened) == before);
      }
      if (nth % 3 == 0) files_.kill_process();
    }
    REQUIRE(files_.open_handles() == 0);
    check_reopened(before, before, sync_failed, false);
    return met;
  }

  static void check_status(const Status& status) {
    if (status.ok()) return;
    const std::string message = status.message();
    INFO(message);
    const bool told = message.find("[/") != std::string::npos ||
                      message.find("reopen") != std::string::npos ||
                      message.find("space") != std::string::npos;
    REQUIRE(told);
    REQUIRE((status.is(Errc::io_error) || status.is(Errc::no_space) || status.is(Errc::failed)));
  }

  static Contents contents(const C& collection) {
    Contents all;
    const Status status = collection.collection().for_each([&](Bytes key, Bytes value) {
      all[key_traits<Number>::decode(key.data())] = std::string(value.text());
      return true;
    });
    INFO(status.message());
    REQUIRE(status.ok());
    return all;
  }

  // Each key as in one of these; what is not in any of them is not there.
  static bool mixed(const Contents& read, const std::vector<const Contents*>& of) {
    const auto judge = [&](Number number) {
      const auto here = read.find(number);
      const auto same = [&](const Contents* all) {
        const auto there = all->find(number);
        if (here == read.end() || there == all->end()) {
          return (here == read.end()) == (there == all->end());
        }
        return here->second == there->second;
      };
      if (std::any_of(of.begin(), of.end(), same)) return true;
      UNSCOPED_INFO("key " << number << " is "
                           << (here == read.end() ? "gone" : here->second.substr(0, 20)));
      return false;
    };
    const auto right = [&](const auto& item) { return judge(item.first); };
    return std::all_of(read.begin(), read.end(), right) &&
           std::all_of(of.begin(), of.end(), [&](const Contents* all) {
             return std::all_of(all->begin(), all->end(), right);
           });
  }

  // What a reader sees in the collection that met the fault.
  void check_memory(const C& collection, const Status& status, const Contents& before,
                    const Contents& after, bool sync_failed, bool together) {
    // Entries that no sync covered may be gone with the pages of a failed one; then reading says
    // so, and the disk that still fails says so too.
    Contents read;
    const Status reading = collection.collection().for_each([&](Bytes key, Bytes value) {
      read[key_traits<Number>::decode(key.data())] = std::string(value.text());
      return true;
    });
    if (!reading.ok()) {
      INFO("reading: " << reading.message());
      REQUIRE((sync_failed || files_.fault_met()));
      return;
    }
    if (status.ok()) {
      REQUIRE(mixed(read, {&after}));
    } else if (together) {
      REQUIRE((read == before || read == after));
    } else {
      REQUIRE(mixed(read, {&before, &after}));
    }
  }

  // A collection that has not failed takes writes, as soon as the disk does.
  void go_on(C& collection, bool disk_fails) {
    const std::string text = text_of<C>(1999, 1);
    Status status = collection.put(1999, value_of<C>(text));
    if (status.ok()) status = collection.sync();
    INFO("going on: " << status.message());
    if (disk_fails) return;
    if (collection.stats().failed_shards != 0) {
      REQUIRE((status.ok() || status.is(Errc::failed)));
      if (!status.ok()) REQUIRE(status.message().find("reopen") != std::string::npos);
    } else {
      REQUIRE(status.ok());
    }
    if (status.ok()) REQUIRE(collection.erase(1999).ok());
  }

  void check_reopened(const Contents& before, const Contents& after, bool sync_failed,
                      bool together) {
    {
      C collection = open(config_);
      Contents read = contents(collection);
      read.erase(1999);
      INFO(log_ << "opened again" << (sync_failed ? ", a sync had failed" : ""));
      if (sync_failed) {
        REQUIRE(mixed(read, {&durable_, &before, &after}));
      } else if (together) {
        REQUIRE((read == before || read == after));
      } else {
        REQUIRE(mixed(read, {&before, &after}));
      }
      REQUIRE(collection.stats().damaged_regions == 0);
      if (!sync_failed) REQUIRE(collection.stats().segments_set_aside == 0);
      const Result<VerifyReport> report = collection.verify();
      INFO(report.message());
      REQUIRE(report.ok());
      REQUIRE(report->damaged_regions == 0);
      REQUIRE(report->forged_pieces == 0);
      REQUIRE(collection.put(1, value_of<C>(text_of<C>(1, 7)), {.sync = true}).ok());
      const Status closed = collection.close();
      INFO(closed.message());
      REQUIRE(closed.ok());
    }
    REQUIRE(files_.open_handles() == 0);
  }

  // A copy has everything, or does not open.
  void check_backup(const Contents& before) {
    if (!files_.info("/copy").ok()) return;
    CaseConfig config = config_;
    config.create = false;
    const Result<C> opened = C::open("/copy", config);
    INFO("the copy: " << opened.message());
    if (opened.ok()) {
      REQUIRE(contents(*opened) == before);
    } else {
      const bool half = opened.message().find("db.meta is missing") != std::string::npos;
      REQUIRE((opened.is(Errc::not_found) || half));
    }
  }

  const bool encrypted_;
  const std::size_t stride_;
  FaultFileSystem files_;
  CaseConfig config_;
  FaultFileSystem::Snapshot closed_;
  Contents durable_;
  std::mutex log_mutex_;
  std::string log_;  // the calls that changed something, and what the collection said of it
};

// ---- The calls ----

template <class C> Operation<C> writes(const char* name, Number first, Number last, bool sync) {
  return {name, [=](C& collection, Contents& after) -> Status {
            for (Number number = first; number < last; ++number) {
              after[number] = text_of<C>(number, 5);
              const Status status =
                  collection.put(number, value_of<C>(after[number]), {.sync = sync});
              if (!status.ok()) return status;
            }
            return {};
          }};
}

template <class C> std::vector<Operation<C>> single_writes() {
  std::vector<Operation<C>> all;
  all.push_back(writes<C>("put", 7, 8, false));
  all.push_back(writes<C>("put, sync", 7, 8, true));
  all.push_back(writes<C>("puts into new segments or slots", 100, 900, false));
  all.push_back({"insert", [](C& collection, Contents& after) {
                   after[70] = text_of<C>(70, 2);
                   return collection.insert(70, value_of<C>(after[70]), {.sync = true});
                 }});
  all.push_back({"erase", [](C& collection, Contents& after) {
                   after.erase(8);
                   return collection.erase(8, {.sync = true});
                 }});
  all.push_back({"cas", [](C& collection, Contents& after) {
                   const std::string old = after[5];
                   after[5] = text_of<C>(5, 3);
                   return collection.cas(5, value_of<C>(old), value_of<C>(after[5]),
                                         {.sync = true});
                 }});
  all.push_back({"compare_erase", [](C& collection, Contents& after) {
                   const std::string old = after[9];
                   after.erase(9);
                   return collection.compare_erase(9, value_of<C>(old));
                 }});
  all.push_back({"exchange", [](C& collection, Contents& after) {
                   after[27] = text_of<C>(27, 4);
                   return collection.exchange(27, value_of<C>(after[27]), {.sync = true}).status();
                 }});
  all.push_back({"update", [](C& collection, Contents& after) {
                   after[18] = text_of<C>(18, 5);
                   const auto fresh = [&](const auto&) { return value_of<C>(after[18]); };
                   return collection.update(18, fresh, {.sync = true}).status();
                 }});
  all.push_back({"upsert", [](C& collection, Contents& after) {
                   after[71] = text_of<C>(71, 5);
                   const auto fresh = [&](const auto&) { return value_of<C>(after[71]); };
                   return collection.upsert(71, fresh).status();
                 }});
  all.push_back(
      {"persist", [](C& collection, Contents&) { return collection.persist(10, {.sync = true}); }});
  return all;
}

template <class C>
std::vector<std::pair<Number, decltype(value_of<C>(std::string()))>> many_pairs(Contents& after) {
  std::vector<std::pair<Number, decltype(value_of<C>(std::string()))>> pairs;
  for (Number number = 30; number < 330; ++number) {
    after[number] = text_of<C>(number, 6);
    pairs.emplace_back(number, value_of<C>(after[number]));
  }
  return pairs;
}

template <class C> std::vector<Operation<C>> group_writes() {
  std::vector<Operation<C>> all;
  all.push_back({"put_many", [](C& collection, Contents& after) {
                   return collection.put_many(many_pairs<C>(after), {.sync = true});
                 }});
  all.push_back({"load", [](C& collection, Contents& after) {
                   return collection.load(many_pairs<C>(after));
                 }});
  all.push_back({"clear", [](C& collection, Contents& after) {
                   after.clear();
                   return collection.clear().status();
                 }});
  all.push_back({"sweep_expired",
                 [](C& collection, Contents&) { return collection.sweep_expired(1000).status(); }});
  all.push_back({"migrate", [](C& collection, Contents& after) {
                   for (auto& [number, text] : after) {
                     if (number % 2 == 0) text = text_of<C>(number, 8);
                   }
                   std::erase_if(after, [](const auto& item) { return item.first % 5 == 0; });
                   using Action = MigrateAction<decltype(value_of<C>(std::string()))>;
                   const auto decide = [](Number number, const auto&) {
                     if (number % 5 == 0) return Action::erase();
                     if (number % 2 != 0) return Action::keep();
                     return Action::update(value_of<C>(text_of<C>(number, 8)));
                   };
                   return collection.migrate(decide, {.to_version = 3});
                 }});
  if constexpr (requires(C & c) { c.erase_range(1, 2); }) {
    all.push_back({"erase_range", [](C& collection, Contents& after) {
                     std::erase_if(after, [](const auto& item) {
                       return item.first >= 10 && item.first < 50;
                     });
                     return collection.erase_range(10, 50).status();
                   }});
  }
  return all;
}

template <class C> std::vector<Operation<C>> atomic_writes() {
  std::vector<Operation<C>> all;
  if constexpr (!C::kFixed) {
    for (const bool sync : {false, true}) {
      all.push_back({sync ? "batch, sync" : "batch",
                     [sync](C& collection, Contents& after) {
                       WriteBatch<C> batch(collection);
                       for (Number number = 0; number < 80; ++number) {
                         if (number % 4 == 0) {
                           after.erase(number);
                           REQUIRE(batch.erase(number).ok());
                           continue;
                         }
                         after[number] = text_of<C>(number, 9);
                         REQUIRE(batch.put(number, value_of<C>(after[number])).ok());
                       }
                       return batch.commit({.sync = sync});
                     },
                     true});
    }
    all.push_back({"atomic",
                   [](C& collection, Contents& after) {
                     after[4] = text_of<C>(4, 9);
                     return collection.atomic(
                         4,
                         [&](auto& shard) {
                           Status status = shard.put(4, value_of<C>(text_of<C>(4, 8)));
                           return status.ok() ? shard.put(4, value_of<C>(after[4])) : status;
                         },
                         {.sync = true});
                   },
                   true});
  }
  return all;
}

// Values come right or with an error.
template <class C> Status read_each(const C& collection, const Contents& expected) {
  for (const auto& item : expected) {
    bool same = false;
    const auto compare = [&](const auto& value) { same = Bytes(value) == Bytes(item.second); };
    const Result<bool> found = collection.read(item.first, compare);
    if (!found.ok()) return found.status();
    REQUIRE((*found && same));
  }
  return {};
}

template <class C> std::vector<Operation<C>> reads() {
  std::vector<Operation<C>> all;
  all.push_back(
      {"read", [](C& collection, Contents& after) { return read_each(collection, after); }});
  all.push_back({"for_each", [](C& collection, Contents& after) {
                   std::size_t count = 0;
                   Status status = collection.for_each([&](Number number, const auto& value) {
                     REQUIRE(Bytes(value) == Bytes(after.at(number)));
                     ++count;
                   });
                   if (status.ok()) REQUIRE(count == after.size());
                   return status;
                 }});
  if constexpr (std::is_same_v<C, Log>) {
    all.push_back({"range", [](C& collection, Contents& after) -> Status {
                     for (Cursor cursor = collection.collection().cursor({}, {}, false);
                          cursor.valid(); cursor.next()) {
                       const Result<ByteView> value = cursor.read();
                       if (!value.ok()) return value.status();
                       const Number number = key_traits<Number>::decode(cursor.key().data());
                       REQUIRE(Bytes(*value) == Bytes(after.at(number)));
                     }
                     return {};
                   }});
  }
  all.push_back({"warmup", [](C& collection, Contents&) { return collection.warmup(); }});
  all.push_back({"verify", [](C& collection, Contents&) {
                   const Result<VerifyReport> report = collection.verify();
                   if (report.ok()) REQUIRE(report->damaged_regions == 0);
                   return report.status();
                 }});
  return all;
}

template <class C> std::vector<Operation<C>> care(bool encrypted) {
  std::vector<Operation<C>> all;
  all.push_back({"flush_buffers", [](C& c, Contents&) { return c.flush_buffers(); }});
  all.push_back({"sync", [](C& c, Contents&) { return c.sync(); }});
  all.push_back({"checkpoint", [](C& c, Contents&) { return c.checkpoint(); }});
  all.push_back({"compact", [](C& c, Contents&) { return c.compact(); }});
  all.push_back({"compact_step", [](C& c, Contents&) { return c.compact_step(9000).status(); }});
  all.push_back({"tick", [](C& c, Contents&) { return c.tick(); }});
  all.push_back({"close", [](C& c, Contents&) { return c.close(); }});
  all.push_back({"backup_to", [=](C& c, Contents&) {
                   return c.backup_to("/copy", encrypted ? EncryptionKey(kKey) : EncryptionKey());
                 }});
  if (encrypted) {
    all.push_back({"rotate_key", [](C& c, Contents&) { return c.rotate_key(kKey, kNewKey); }});
    all.push_back({"reencrypt", [](C& c, Contents&) { return c.reencrypt(kKey); }});
  }
  return all;
}

template <class C> std::size_t sweep_all(bool full) {
  std::size_t cases = 0;
  for (const bool encrypted : {false, true}) {
#if !ARMDB_WITH_OPENSSL
    if (encrypted) continue;
#endif
    Sweep<C> sweep(encrypted, full);
    for (const auto& group : {single_writes<C>(), group_writes<C>(), atomic_writes<C>(), reads<C>(),
                              care<C>(encrypted)}) {
      for (const Operation<C>& operation : group) sweep.sweep(operation);
    }
    sweep.sweep_open("create", true, false);
    sweep.sweep_open("open", false, false);
    sweep.sweep_open("open read-only", false, true);
    cases += sweep.cases;
  }
  return cases;
}

}  // namespace

TEMPLATE_TEST_CASE("faults: whichever call to the file system fails, nothing accepted is lost",
                   "[serial][crash][pitfall-4][pitfall-25][pitfall-27][pitfall-30]", Log, Table,
                   Slots) {
  const std::size_t cases = sweep_all<TestType>(false);
  CHECK(cases > 500);
}

TEMPLATE_TEST_CASE("faults: the same with each errno at each call (long)",
                   "[crash][slow][pitfall-4][pitfall-25][pitfall-27][pitfall-30]", Log, Table,
                   Slots) {
  const bool full = test::scaled(1000) >= 1000;  // else as the short one
  const std::size_t cases = sweep_all<TestType>(full);
  WARN(cases << " failed calls");
  CHECK(cases > (full ? 5000u : 500u));
}

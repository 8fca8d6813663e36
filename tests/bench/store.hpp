// What the bench asks of every store: armdb's typed faces and the peers sit behind it alike. One
// virtual call (1-2 ns) per operation is in every figure of every store.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bench/bench.hpp"

namespace bench {

struct Setup {
  std::string folder;
  std::size_t key_bytes = 8;
  std::size_t value_bytes = 64;  // of each value; stores of variable values size buffers by it
  bool variable = false;         // values on disk (armdb: VarMap, VarTree)
  bool ordered = false;
  bool fixed = false;        // armdb alone: on the Fixed store
  bool timer = false;        // and a Compactor syncs it
  bool single_copy = false;  // of each slot
  bool synced = false;       // every put and batch returns when it would survive a power cut
  bool hints = true;
  std::uint32_t shards = 0;  // armdb alone: 0 is its default
  std::uint32_t prefix_bits = 0;
  std::uint64_t keys = 0;  // expected; sizes buckets and caches where a store asks for it
};

using Pair = armdb::BytesPair;

struct Walk {
  Bytes first;   // start here (going down: from here down); empty: at the end
  Bytes prefix;  // or: all keys that begin so
  bool descending = false;
  std::uint64_t limit = ~std::uint64_t{0};
};

// One thread's way to a store.
class Session {
 public:
  virtual ~Session() = default;
  virtual void put(Bytes key, Bytes value) = 0;
  virtual void put_batch(std::span<const Pair> pairs) = 0;
  // The same, of keys that ascend and lie above all that are there, where the store knows a faster
  // way for them.
  virtual void append_batch(std::span<const Pair> pairs) { put_batch(pairs); }
  virtual bool erase(Bytes key) = 0;
  // Copies the value to `out`.
  virtual bool get(Bytes key, std::uint8_t* out) = 0;
  // Touches both ends of the value where it lies, when the store can; else as get().
  virtual bool view(Bytes key, std::uint8_t* out) { return get(key, out); }
  // Copies the values one after the other; true when all were there.
  virtual bool get_many(std::span<const Bytes> keys, std::uint8_t* out, std::size_t value_bytes) {
    bool all = true;
    for (const Bytes key : keys) {
      all = get(key, out) && all;
      out += value_bytes;
    }
    return all;
  }
  // Touches each key and value in order; their number. Ordered stores.
  virtual std::uint64_t walk(const Walk&) { fail("no order"); }
};

class Store {
 public:
  virtual ~Store() = default;
  virtual std::unique_ptr<Session> session() = 0;
  // Ends cleanly; only the destructor may follow. Sessions are gone by then.
  virtual void close() = 0;
  // Waits for work in the background, so that it disturbs no other store's turn.
  virtual void settle() {}
  // False when there is no such thing.
  virtual bool compact() { return false; }
  // Bytes of memory per key where the store knows it; else 0.
  virtual double memory_per_key() { return 0; }
};

struct Factory {
  std::string name;
  std::unique_ptr<Store> (*open)(const Setup&);
  bool ordered = true;    // can serve the tree rows
  bool unordered = true;  // serves the map rows
};

// armdb first.
std::vector<Factory> factories(const std::string& peers);
void add_armdb(std::vector<Factory>& out);
#ifdef ARMDB_BENCH_PEERS
void add_lmdb(std::vector<Factory>& out);
void add_rocksdb(std::vector<Factory>& out);
void add_leveldb(std::vector<Factory>& out);
void add_sqlite(std::vector<Factory>& out);
void add_tkrzw(std::vector<Factory>& out);
#endif

// The groups of rows.
void run_points(const Options& options, Report& report, bool ordered);
void run_shards(const Options& options, Report& report);
void run_synced(const Options& options, Report& report);
void run_reopen(const Options& options, Report& report);
void run_variable(const Options& options, Report& report);
void run_erasure(const Options& options, Report& report);
// The calls beyond put and get.
void run_calls(const Options& options, Report& report);
void run_load(const Options& options, Report& report);
void run_fixed(const Options& options, Report& report);
void run_replication(const Options& options, Report& report);
void run_encryption(const Options& options, Report& report);
// The child that run_reopen kills: loads `keys` entries, says so on file descriptor 1, waits.
int run_victim(const std::string& store, const Setup& setup);

// One open store of a comparison.
struct Member {
  Factory factory;
  Setup setup;
  std::unique_ptr<Store> store;
  std::unique_ptr<Session> session;

  void open(bool fresh);
  void close();
  ~Member();
};

// Stores that do the same work in turn: each repeat of a row visits all of them, so that what
// else happens on the machine hits them alike.
class Fleet {
 public:
  // `name` becomes a folder below Options::folder.
  Fleet(const Options& options, Report& report, const std::string& name, const Setup& setup);

  using Measure = std::function<double(Member&, int repeat)>;
  void row(const std::string& name, const std::string& unit, const Measure& measure,
           const std::string& note = "", int repeats = 0);
  std::vector<std::unique_ptr<Member>>& members() { return members_; }
  // Opens all afresh and loads them; not measured.
  void load();

 private:
  const Options& options_;
  Report& report_;
  std::vector<std::unique_ptr<Member>> members_;
};

// Puts keys [begin, end) in batches of `batch`.
void load_keys(Session& session, const Setup& setup, std::uint64_t begin, std::uint64_t end,
               std::size_t batch = 1000);
// What the files in a folder take on the disk.
std::uint64_t disk_bytes(const std::string& folder);

}  // namespace bench

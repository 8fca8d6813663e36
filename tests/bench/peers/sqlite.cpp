// SQLite. WAL mode; synchronous=OFF (a commit survives kill -9), synced rows: synchronous=FULL. A
// WITHOUT ROWID table keyed by the blob, prepared statements, 1 GiB of cache and of mmap. One
// transaction per put (autocommit) or per batch; one connection per thread.
#include <sqlite3.h>

#include "bench/store.hpp"

namespace bench {
namespace {

class SqliteSession : public Session {
 public:
  SqliteSession(const std::string& path, bool synced) {
    check(sqlite3_open(path.c_str(), &db_));
    sqlite3_busy_timeout(db_, 10'000);
    run("PRAGMA journal_mode=WAL");
    run(synced ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=OFF");
    run("PRAGMA cache_size=-1048576");
    run("PRAGMA mmap_size=1073741824");
    run("CREATE TABLE IF NOT EXISTS t(k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID");
    put_ = prepare("INSERT INTO t VALUES(?1,?2) ON CONFLICT(k) DO UPDATE SET v=excluded.v");
    get_ = prepare("SELECT v FROM t WHERE k=?1");
    erase_ = prepare("DELETE FROM t WHERE k=?1");
    begin_ = prepare("BEGIN IMMEDIATE");
    commit_ = prepare("COMMIT");
    up_ = prepare("SELECT k,v FROM t WHERE k>=?1 ORDER BY k LIMIT ?2");
    down_ = prepare("SELECT k,v FROM t WHERE k<=?1 ORDER BY k DESC LIMIT ?2");
  }
  ~SqliteSession() override {
    for (sqlite3_stmt* statement : {put_, get_, erase_, begin_, commit_, up_, down_}) {
      sqlite3_finalize(statement);
    }
    sqlite3_close(db_);
  }
  void run(const char* text) { check(sqlite3_exec(db_, text, nullptr, nullptr, nullptr)); }

  void put(Bytes key, Bytes value) override {
    bind(put_, 1, key);
    bind(put_, 2, value);
    step(put_);
  }
  void put_batch(std::span<const Pair> pairs) override {
    step(begin_);
    for (const Pair& pair : pairs) put(pair.key, pair.value);
    step(commit_);
  }
  bool erase(Bytes key) override {
    bind(erase_, 1, key);
    step(erase_);
    return sqlite3_changes(db_) == 1;
  }
  bool get(Bytes key, std::uint8_t* out) override {
    bind(get_, 1, key);
    const bool found = sqlite3_step(get_) == SQLITE_ROW;
    if (found) {
      std::memcpy(out, sqlite3_column_blob(get_, 0),
                  static_cast<std::size_t>(sqlite3_column_bytes(get_, 0)));
    }
    sqlite3_reset(get_);
    return found;
  }
  bool get_many(std::span<const Bytes> keys, std::uint8_t* out, std::size_t value_bytes) override {
    run("BEGIN");
    const bool all = Session::get_many(keys, out, value_bytes);
    step(commit_);
    return all;
  }
  std::uint64_t walk(const Walk& walk) override {
    std::uint8_t edge[16];
    std::memset(edge, walk.descending ? 0xff : 0, sizeof edge);
    Bytes from = walk.first;
    if (from.empty()) {
      if (!walk.prefix.empty()) std::memcpy(edge, walk.prefix.data(), walk.prefix.size());
      from = walk.descending ? Bytes(edge) : walk.prefix;
    }
    sqlite3_stmt* statement = walk.descending ? down_ : up_;
    if (from.empty()) {
      sqlite3_bind_zeroblob(statement, 1, 0);
    } else {
      bind(statement, 1, from);
    }
    sqlite3_bind_int64(
        statement, 2,
        static_cast<sqlite3_int64>(walk.limit >> 1 == ~0ull >> 1 ? ~0ull >> 1 : walk.limit));
    std::uint64_t count = 0, sum = 0;
    while (sqlite3_step(statement) == SQLITE_ROW) {
      const auto* key = static_cast<const std::uint8_t*>(sqlite3_column_blob(statement, 0));
      if (!walk.prefix.empty() && std::memcmp(key, walk.prefix.data(), walk.prefix.size()) != 0) {
        break;
      }
      sum += key[0] + static_cast<const std::uint8_t*>(sqlite3_column_blob(statement, 1))[0];
      ++count;
    }
    sqlite3_reset(statement);
    keep(sum);
    return count;
  }

 private:
  void check(int code) {
    if (code != SQLITE_OK) fail(std::string("sqlite: ") + sqlite3_errmsg(db_));
  }
  sqlite3_stmt* prepare(const char* text) {
    sqlite3_stmt* statement = nullptr;
    check(sqlite3_prepare_v3(db_, text, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr));
    return statement;
  }
  void bind(sqlite3_stmt* statement, int at, Bytes bytes) {
    sqlite3_bind_blob(statement, at, bytes.data(), static_cast<int>(bytes.size()), SQLITE_STATIC);
  }
  void step(sqlite3_stmt* statement) {
    const int code = sqlite3_step(statement);
    sqlite3_reset(statement);
    if (code != SQLITE_DONE) fail(std::string("sqlite: ") + sqlite3_errmsg(db_));
  }

  sqlite3* db_ = nullptr;
  sqlite3_stmt *put_, *get_, *erase_, *begin_, *commit_, *up_, *down_;
};

class SqliteStore : public Store {
 public:
  explicit SqliteStore(const Setup& setup)
      : path_(setup.folder + "/t.db"), synced_(setup.synced), first_(path_, synced_) {}
  std::unique_ptr<Session> session() override {
    return std::make_unique<SqliteSession>(path_, synced_);
  }
  void close() override {}
  bool compact() override {
    first_.run("VACUUM");
    first_.run("PRAGMA wal_checkpoint(TRUNCATE)");
    return true;
  }

 private:
  std::string path_;
  bool synced_;
  SqliteSession first_;  // opening a store is opening a connection: measured as such
};

}  // namespace

void add_sqlite(std::vector<Factory>& out) {
  out.push_back({"sqlite", [](const Setup& setup) -> std::unique_ptr<Store> {
                   return std::make_unique<SqliteStore>(setup);
                 }});
}

}  // namespace bench

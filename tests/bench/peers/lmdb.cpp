// LMDB. MDB_NOSYNC for unsynced rows: a commit is in the page cache, so it survives kill -9 as
// armdb's "written" does; synced rows leave it off (two syncs a commit, its default). One write
// transaction per put or per batch; a read transaction per get, renewed (its fastest way).
// No WRITEMAP: with it a stray pointer damages the store, and armdb has no such mode.
#include <lmdb.h>

#include "bench/store.hpp"

namespace bench {
namespace {

void check(int code) {
  if (code != 0) fail(std::string("lmdb: ") + mdb_strerror(code));
}
MDB_val val_of(Bytes bytes) { return {bytes.size(), const_cast<std::uint8_t*>(bytes.data())}; }

class LmdbSession : public Session {
 public:
  LmdbSession(MDB_env* env, MDB_dbi dbi) : env_(env), dbi_(dbi) {
    check(mdb_txn_begin(env_, nullptr, MDB_RDONLY, &read_));
    mdb_txn_reset(read_);
  }
  ~LmdbSession() override { mdb_txn_abort(read_); }

  void put(Bytes key, Bytes value) override {
    const Pair pair{key, value};
    put_batch({&pair, 1});
  }
  void put_batch(std::span<const Pair> pairs) override {
    MDB_txn* write = nullptr;
    check(mdb_txn_begin(env_, nullptr, 0, &write));
    for (const Pair& pair : pairs) {
      MDB_val key = val_of(pair.key), value = val_of(pair.value);
      check(mdb_put(write, dbi_, &key, &value, 0));
    }
    check(mdb_txn_commit(write));
  }
  void append_batch(std::span<const Pair> pairs) override {
    MDB_txn* write = nullptr;
    MDB_cursor* cursor = nullptr;
    check(mdb_txn_begin(env_, nullptr, 0, &write));
    check(mdb_cursor_open(write, dbi_, &cursor));
    for (const Pair& pair : pairs) {
      MDB_val key = val_of(pair.key), value = val_of(pair.value);
      check(mdb_cursor_put(cursor, &key, &value, MDB_APPEND));
    }
    mdb_cursor_close(cursor);
    check(mdb_txn_commit(write));
  }
  bool erase(Bytes key) override {
    MDB_txn* write = nullptr;
    check(mdb_txn_begin(env_, nullptr, 0, &write));
    MDB_val bytes = val_of(key);
    const int code = mdb_del(write, dbi_, &bytes, nullptr);
    check(mdb_txn_commit(write));
    return code == 0;
  }
  bool get(Bytes key, std::uint8_t* out) override {
    const Reading reading(read_);
    return find(key, out, true);
  }
  bool view(Bytes key, std::uint8_t* out) override {
    const Reading reading(read_);
    return find(key, out, false);
  }
  bool get_many(std::span<const Bytes> keys, std::uint8_t* out, std::size_t value_bytes) override {
    const Reading reading(read_);
    bool all = true;
    for (const Bytes key : keys) {
      all = find(key, out, true) && all;
      out += value_bytes;
    }
    return all;
  }
  std::uint64_t walk(const Walk& walk) override {
    const Reading reading(read_);
    MDB_cursor* cursor = nullptr;
    check(mdb_cursor_open(read_, dbi_, &cursor));
    MDB_val key, value;
    std::uint64_t count = 0, sum = 0;
    for (int code = seek(cursor, walk, key, value); code == 0 && count != walk.limit;
         code = mdb_cursor_get(cursor, &key, &value, walk.descending ? MDB_PREV : MDB_NEXT)) {
      const auto* bytes = static_cast<const std::uint8_t*>(key.mv_data);
      if (!walk.prefix.empty() && std::memcmp(bytes, walk.prefix.data(), walk.prefix.size()) != 0) {
        break;
      }
      sum += bytes[0] + static_cast<const std::uint8_t*>(value.mv_data)[0];
      ++count;
    }
    mdb_cursor_close(cursor);
    keep(sum);
    return count;
  }

 private:
  struct Reading {
    explicit Reading(MDB_txn* txn) : txn_(txn) { check(mdb_txn_renew(txn)); }
    ~Reading() { mdb_txn_reset(txn_); }
    MDB_txn* txn_;
  };
  bool find(Bytes key, std::uint8_t* out, bool copy) {
    MDB_val bytes = val_of(key), value;
    const int code = mdb_get(read_, dbi_, &bytes, &value);
    if (code == MDB_NOTFOUND) return false;
    check(code);
    const auto* data = static_cast<const std::uint8_t*>(value.mv_data);
    if (copy) {
      std::memcpy(out, data, value.mv_size);
    } else {
      out[0] = static_cast<std::uint8_t>(data[0] + data[value.mv_size - 1]);
    }
    return true;
  }
  static int seek(MDB_cursor* cursor, const Walk& walk, MDB_val& key, MDB_val& value) {
    if (walk.first.empty() && walk.prefix.empty()) {
      return mdb_cursor_get(cursor, &key, &value, walk.descending ? MDB_LAST : MDB_FIRST);
    }
    std::uint8_t end[16];
    Bytes from = walk.prefix.empty() ? walk.first : walk.prefix;
    if (walk.descending && !walk.prefix.empty()) {
      std::memset(end, 0xff, sizeof end);
      std::memcpy(end, walk.prefix.data(), walk.prefix.size());
      from = {end, sizeof end};
    }
    key = val_of(from);
    int code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    if (!walk.descending) return code;
    if (code == MDB_NOTFOUND) return mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    const Bytes found(static_cast<const std::uint8_t*>(key.mv_data), key.mv_size);
    if (code == 0 && armdb::compare_bytes(found, from) > 0) {
      code = mdb_cursor_get(cursor, &key, &value, MDB_PREV);
    }
    return code;
  }

  MDB_env* env_;
  MDB_dbi dbi_;
  MDB_txn* read_ = nullptr;
};

class LmdbStore : public Store {
 public:
  explicit LmdbStore(const Setup& setup) {
    check(mdb_env_create(&env_));
    check(mdb_env_set_mapsize(env_, std::size_t{64} << 30));
    check(mdb_env_open(env_, setup.folder.c_str(), MDB_NOTLS | (setup.synced ? 0 : MDB_NOSYNC),
                       0600));
    MDB_txn* txn = nullptr;
    check(mdb_txn_begin(env_, nullptr, 0, &txn));
    check(mdb_dbi_open(txn, nullptr, 0, &dbi_));
    check(mdb_txn_commit(txn));
  }
  ~LmdbStore() override { mdb_env_close(env_); }
  std::unique_ptr<Session> session() override { return std::make_unique<LmdbSession>(env_, dbi_); }
  void close() override { check(mdb_env_sync(env_, 1)); }

 private:
  MDB_env* env_ = nullptr;
  MDB_dbi dbi_ = 0;
};

}  // namespace

void add_lmdb(std::vector<Factory>& out) {
  out.push_back({"lmdb", [](const Setup& setup) -> std::unique_ptr<Store> {
                   return std::make_unique<LmdbStore>(setup);
                 }});
}

}  // namespace bench

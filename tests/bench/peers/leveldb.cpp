// LevelDB. Its log is always on; sync=false (a put survives kill -9), synced rows: sync=true.
// 1 GiB block cache, 64 MiB write buffer, bloom filters of 10 bits, no compression.
#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/filter_policy.h>
#include <leveldb/write_batch.h>

#include "bench/store.hpp"

namespace bench {
namespace {

void check(const leveldb::Status& status) {
  if (!status.ok()) fail("leveldb: " + status.ToString());
}
leveldb::Slice slice_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class LevelSession : public Session {
 public:
  LevelSession(leveldb::DB* db, bool synced) : db_(db) { write_.sync = synced; }

  void put(Bytes key, Bytes value) override {
    check(db_->Put(write_, slice_of(key), slice_of(value)));
  }
  void put_batch(std::span<const Pair> pairs) override {
    leveldb::WriteBatch batch;
    for (const Pair& pair : pairs) batch.Put(slice_of(pair.key), slice_of(pair.value));
    check(db_->Write(write_, &batch));
  }
  // Says true always: LevelDB does not look whether the key was there.
  bool erase(Bytes key) override { return db_->Delete(write_, slice_of(key)).ok(); }
  bool get(Bytes key, std::uint8_t* out) override {
    const leveldb::Status status = db_->Get({}, slice_of(key), &value_);
    if (status.IsNotFound()) return false;
    check(status);
    std::memcpy(out, value_.data(), value_.size());
    return true;
  }
  std::uint64_t walk(const Walk& walk) override {
    const std::unique_ptr<leveldb::Iterator> at(db_->NewIterator({}));
    seek(*at, walk);
    std::uint64_t count = 0, sum = 0;
    const leveldb::Slice prefix = slice_of(walk.prefix);
    for (; at->Valid() && count != walk.limit; walk.descending ? at->Prev() : at->Next()) {
      if (!at->key().starts_with(prefix)) break;
      sum += static_cast<std::uint8_t>(at->key()[0]) + static_cast<std::uint8_t>(at->value()[0]);
      ++count;
    }
    keep(sum);
    return count;
  }

 private:
  static void seek(leveldb::Iterator& at, const Walk& walk) {
    if (walk.first.empty() && walk.prefix.empty()) {
      return walk.descending ? at.SeekToLast() : at.SeekToFirst();
    }
    std::string from = slice_of(walk.prefix.empty() ? walk.first : walk.prefix).ToString();
    if (walk.descending && !walk.prefix.empty()) from.append(16 - from.size(), '\xff');
    at.Seek(from);
    if (!walk.descending) return;
    if (!at.Valid()) return at.SeekToLast();
    if (at.key() != leveldb::Slice(from)) at.Prev();
  }

  leveldb::DB* db_;
  leveldb::WriteOptions write_;
  std::string value_;
};

class LevelStore : public Store {
 public:
  explicit LevelStore(const Setup& setup)
      : cache_(leveldb::NewLRUCache(std::size_t{1} << 30)),
        filter_(leveldb::NewBloomFilterPolicy(10)),
        synced_(setup.synced) {
    leveldb::Options options;
    options.create_if_missing = true;
    options.compression = leveldb::kNoCompression;
    options.write_buffer_size = std::size_t{64} << 20;
    options.block_cache = cache_.get();
    options.filter_policy = filter_.get();
    leveldb::DB* db = nullptr;
    check(leveldb::DB::Open(options, setup.folder, &db));
    db_.reset(db);
  }
  std::unique_ptr<Session> session() override {
    return std::make_unique<LevelSession>(db_.get(), synced_);
  }
  void close() override { db_.reset(); }
  // It does not say whether it compacts: a fixed pause, outside of all measurements.
  void settle() override {
    struct timespec pause = {0, 200'000'000};
    ::nanosleep(&pause, nullptr);
  }
  bool compact() override {
    db_->CompactRange(nullptr, nullptr);
    return true;
  }

 private:
  std::unique_ptr<leveldb::Cache> cache_;
  std::unique_ptr<const leveldb::FilterPolicy> filter_;
  std::unique_ptr<leveldb::DB> db_;
  bool synced_;
};

}  // namespace

void add_leveldb(std::vector<Factory>& out) {
  out.push_back({"leveldb", [](const Setup& setup) -> std::unique_ptr<Store> {
                   return std::make_unique<LevelStore>(setup);
                 }});
}

}  // namespace bench

// RocksDB. WAL on, sync=false (a put survives kill -9, as armdb's "written"); synced rows:
// sync=true. 1 GiB block cache, 64 MiB write buffers, bloom filters of 10 bits, no compression (no
// other store here compresses), two background threads.
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include "bench/store.hpp"

namespace bench {
namespace {

void check(const rocksdb::Status& status) {
  if (!status.ok()) fail("rocksdb: " + status.ToString());
}
rocksdb::Slice slice_of(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class RocksSession : public Session {
 public:
  RocksSession(rocksdb::DB* db, bool synced) : db_(db) { write_.sync = synced; }

  void put(Bytes key, Bytes value) override {
    check(db_->Put(write_, slice_of(key), slice_of(value)));
  }
  void put_batch(std::span<const Pair> pairs) override {
    rocksdb::WriteBatch batch;
    for (const Pair& pair : pairs) check(batch.Put(slice_of(pair.key), slice_of(pair.value)));
    check(db_->Write(write_, &batch));
  }
  // Says true always: RocksDB does not look whether the key was there.
  bool erase(Bytes key) override { return db_->Delete(write_, slice_of(key)).ok(); }
  bool get(Bytes key, std::uint8_t* out) override {
    if (!find(key)) return false;
    std::memcpy(out, value_.data(), value_.size());
    return true;
  }
  bool view(Bytes key, std::uint8_t* out) override {
    if (!find(key)) return false;
    out[0] = static_cast<std::uint8_t>(value_[0] + value_[value_.size() - 1]);
    return true;
  }
  bool get_many(std::span<const Bytes> keys, std::uint8_t* out, std::size_t value_bytes) override {
    keys_.clear();
    for (const Bytes key : keys) keys_.push_back(slice_of(key));
    values_.resize(keys.size());
    statuses_.resize(keys.size());
    db_->MultiGet(read_, db_->DefaultColumnFamily(), keys_.size(), keys_.data(), values_.data(),
                  statuses_.data());
    bool all = true;
    for (std::size_t at = 0; at < keys.size(); ++at) {
      all = statuses_[at].ok() && all;
      std::memcpy(out, values_[at].data(), values_[at].size());
      values_[at].Reset();
      out += value_bytes;
    }
    return all;
  }
  std::uint64_t walk(const Walk& walk) override {
    const std::unique_ptr<rocksdb::Iterator> at(db_->NewIterator(read_));
    seek(*at, walk);
    std::uint64_t count = 0, sum = 0;
    const rocksdb::Slice prefix = slice_of(walk.prefix);
    for (; at->Valid() && count != walk.limit; walk.descending ? at->Prev() : at->Next()) {
      if (!at->key().starts_with(prefix)) break;
      sum += static_cast<std::uint8_t>(at->key()[0]) + static_cast<std::uint8_t>(at->value()[0]);
      ++count;
    }
    keep(sum);
    return count;
  }

 private:
  bool find(Bytes key) {
    value_.Reset();
    const rocksdb::Status status =
        db_->Get(read_, db_->DefaultColumnFamily(), slice_of(key), &value_);
    if (status.IsNotFound()) return false;
    check(status);
    return true;
  }
  static void seek(rocksdb::Iterator& at, const Walk& walk) {
    if (!walk.prefix.empty() && walk.descending) {
      std::string end(16, '\xff');
      end.replace(0, walk.prefix.size(), slice_of(walk.prefix).ToString());
      at.SeekForPrev(end);
    } else if (!walk.prefix.empty()) {
      at.Seek(slice_of(walk.prefix));
    } else if (walk.first.empty()) {
      walk.descending ? at.SeekToLast() : at.SeekToFirst();
    } else if (walk.descending) {
      at.SeekForPrev(slice_of(walk.first));
    } else {
      at.Seek(slice_of(walk.first));
    }
  }

  rocksdb::DB* db_;
  rocksdb::ReadOptions read_;
  rocksdb::WriteOptions write_;
  rocksdb::PinnableSlice value_;
  std::vector<rocksdb::Slice> keys_;
  std::vector<rocksdb::PinnableSlice> values_;
  std::vector<rocksdb::Status> statuses_;
};

class RocksStore : public Store {
 public:
  explicit RocksStore(const Setup& setup) : synced_(setup.synced) {
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = rocksdb::NewLRUCache(std::size_t{1} << 30);
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
    rocksdb::Options options;
    options.create_if_missing = true;
    options.compression = rocksdb::kNoCompression;
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    options.IncreaseParallelism(2);
    rocksdb::DB* db = nullptr;
    check(rocksdb::DB::Open(options, setup.folder, &db));
    db_.reset(db);
  }
  std::unique_ptr<Session> session() override {
    return std::make_unique<RocksSession>(db_.get(), synced_);
  }
  void close() override { check(db_->Close()); }
  void settle() override {
    for (int left = 600; left > 0; --left) {
      std::uint64_t flushing = 0, compacting = 0;
      db_->GetIntProperty("rocksdb.num-running-flushes", &flushing);
      db_->GetIntProperty("rocksdb.num-running-compactions", &compacting);
      if (flushing + compacting == 0) return;
      struct timespec pause = {0, 50'000'000};
      ::nanosleep(&pause, nullptr);
    }
  }
  bool compact() override {
    check(db_->CompactRange({}, nullptr, nullptr));
    return true;
  }

 private:
  std::unique_ptr<rocksdb::DB> db_;
  bool synced_;
};

}  // namespace

void add_rocksdb(std::vector<Factory>& out) {
  out.push_back({"rocksdb", [](const Setup& setup) -> std::unique_ptr<Store> {
                   return std::make_unique<RocksStore>(setup);
                 }});
}

}  // namespace bench

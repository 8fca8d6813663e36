// tkrzw: HashDBM for the map rows, TreeDBM for the tree rows, both on its default mapped file.
// HashDBM updates in place and gets twice as many buckets as keys: a put survives kill -9, but
// opening then checks the whole file. TreeDBM keeps pages in a cache that holds all of them here:
// its unsynced puts do not survive kill -9. Neither has batches: one Set per key. Synced rows:
// Synchronize(true) after each put or batch.
#include <tkrzw_dbm_hash.h>
#include <tkrzw_dbm_tree.h>

#include "bench/store.hpp"

namespace bench {
namespace {

void check(const tkrzw::Status& status) {
  if (!status.IsOK()) fail("tkrzw: " + tkrzw::ToString(status));
}
std::string_view text_of(Bytes bytes) { return bytes.text(); }

class TkrzwSession : public Session {
 public:
  TkrzwSession(tkrzw::DBM& db, bool synced) : db_(db), synced_(synced) {}

  void put(Bytes key, Bytes value) override {
    const Pair pair{key, value};
    put_batch({&pair, 1});
  }
  void put_batch(std::span<const Pair> pairs) override {
    for (const Pair& pair : pairs) check(db_.Set(text_of(pair.key), text_of(pair.value)));
    if (synced_) check(db_.Synchronize(true));
  }
  bool erase(Bytes key) override { return db_.Remove(text_of(key)).IsOK(); }
  bool get(Bytes key, std::uint8_t* out) override {
    if (!db_.Get(text_of(key), &value_).IsOK()) return false;
    std::memcpy(out, value_.data(), value_.size());
    return true;
  }
  std::uint64_t walk(const Walk& walk) override {
    const std::unique_ptr<tkrzw::DBM::Iterator> at = db_.MakeIterator();
    seek(*at, walk);
    std::uint64_t count = 0, sum = 0;
    while (count != walk.limit && at->Get(&key_, &value_).IsOK()) {
      if (key_.compare(0, walk.prefix.size(), text_of(walk.prefix)) != 0) break;
      sum += static_cast<std::uint8_t>(key_[0]) + static_cast<std::uint8_t>(value_[0]);
      ++count;
      if (!(walk.descending ? at->Previous() : at->Next()).IsOK()) break;
    }
    keep(sum);
    return count;
  }

 private:
  static void seek(tkrzw::DBM::Iterator& at, const Walk& walk) {
    if (!walk.prefix.empty() && walk.descending) {
      std::string end(16, '\xff');
      end.replace(0, walk.prefix.size(), text_of(walk.prefix));
      at.JumpLower(end, true);
    } else if (!walk.prefix.empty()) {
      at.Jump(text_of(walk.prefix));
    } else if (walk.first.empty()) {
      walk.descending ? at.Last() : at.First();
    } else if (walk.descending) {
      at.JumpLower(text_of(walk.first), true);
    } else {
      at.Jump(text_of(walk.first));
    }
  }

  tkrzw::DBM& db_;
  bool synced_;
  std::string key_, value_;
};

class TkrzwStore : public Store {
 public:
  explicit TkrzwStore(const Setup& setup) : synced_(setup.synced) {
    if (setup.ordered) {
      auto tree = std::make_unique<tkrzw::TreeDBM>();
      tkrzw::TreeDBM::TuningParameters tuning;
      tuning.max_cached_pages = 1 << 20;
      check(tree->OpenAdvanced(setup.folder + "/t.tkt", true, tkrzw::File::OPEN_DEFAULT, tuning));
      db_ = std::move(tree);
    } else {
      auto hash = std::make_unique<tkrzw::HashDBM>();
      tkrzw::HashDBM::TuningParameters tuning;
      tuning.num_buckets = static_cast<std::int64_t>(2 * setup.keys + 1);
      check(hash->OpenAdvanced(setup.folder + "/t.tkh", true, tkrzw::File::OPEN_DEFAULT, tuning));
      db_ = std::move(hash);
    }
  }
  std::unique_ptr<Session> session() override {
    return std::make_unique<TkrzwSession>(*db_, synced_);
  }
  void close() override { check(db_->Close()); }
  bool compact() override {
    check(db_->Rebuild());
    return true;
  }

 private:
  std::unique_ptr<tkrzw::DBM> db_;
  bool synced_;
};

std::unique_ptr<Store> open_tkrzw(const Setup& setup) {
  return std::make_unique<TkrzwStore>(setup);
}

}  // namespace

void add_tkrzw(std::vector<Factory>& out) {
  out.push_back({"tkrzw_hash", open_tkrzw, false, true});
  out.push_back({"tkrzw_tree", open_tkrzw, true, false});
}

}  // namespace bench

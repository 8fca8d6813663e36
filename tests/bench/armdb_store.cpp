// armdb behind the bench's interface, through its typed faces. Default Config (so: a returned put
// survives kill -9) unless a row says otherwise.
#include "bench/store.hpp"

namespace bench {
namespace {

using Value = armdb::ByteArray<64>;

template <class C, bool kOrdered, bool kVariable> class ArmdbSession : public Session {
  using Key = typename C::key_type;
  using Value = typename C::value_type;

 public:
  ArmdbSession(C& collection, bool synced) : collection_(collection), options_{synced} {}

  void put(Bytes key, Bytes value) override {
    if constexpr (kVariable) {
      check(collection_.put(key_of(key), value, options_));
    } else {
      Value copy;
      std::memcpy(copy.data(), value.data(), sizeof copy);
      check(collection_.put(key_of(key), copy, options_));
    }
  }
  void put_batch(std::span<const Pair> pairs) override {
    check(collection_.collection().put_many(pairs, options_));
  }
  // What load() does with its range.
  void append_batch(std::span<const Pair> pairs) override {
    const auto order =
        collection_.collection().begin_load(pairs.size(), [&](std::size_t at, std::uint8_t* out) {
          std::memcpy(out, pairs[at].key.data(), pairs[at].key.size());
        });
    check(order.status());
    if (!order->empty()) fail("the keys do not ascend");
    put_batch(pairs);
  }
  bool erase(Bytes key) override { return collection_.erase(key_of(key), options_).ok(); }

  bool get(Bytes key, std::uint8_t* out) override {
    if constexpr (kVariable) {
      auto value = collection_.get(key_of(key));
      check(value.status());
      if (!*value) return false;
      std::memcpy(out, (*value)->data(), (*value)->size());
      return true;
    } else {
      const auto value = collection_.get(key_of(key));
      if (!value) return false;
      std::memcpy(out, value->data(), sizeof(Value));
      return true;
    }
  }
  bool view(Bytes key, std::uint8_t* out) override {
    if constexpr (kVariable) {
      return *collection_.read(key_of(key), [&](Bytes value) {
        out[0] = static_cast<std::uint8_t>(value[0] + value[value.size() - 1]);
      });
    } else {
      return get(key, out);
    }
  }
  bool get_many(std::span<const Bytes> keys, std::uint8_t* out, std::size_t value_bytes) override {
    if constexpr (kVariable) {
      return Session::get_many(keys, out, value_bytes);
    } else {
      keys_.resize(keys.size());
      values_.resize(keys.size());
      for (std::size_t at = 0; at < keys.size(); ++at) keys_[at] = key_of(keys[at]);
      collection_.get_many(keys_, values_);
      for (const auto& value : values_) {
        if (!value) return false;
        std::memcpy(out, value->data(), sizeof(Value));
        out += value_bytes;
      }
      return true;
    }
  }
  std::uint64_t walk(const Walk& walk) override {
    if constexpr (kOrdered) {
      using Bound = armdb::Bound<Key>;
      const Bound from = walk.first.empty() ? Bound::none() : Bound::inclusive(key_of(walk.first));
      auto range = !walk.prefix.empty() ? collection_.prefix(walk.prefix)
                   : walk.descending    ? collection_.range_bounds(Bound::none(), from)
                                        : collection_.range_bounds(from, Bound::none());
      if (walk.descending) range = range.reversed();
      std::uint64_t count = 0, sum = 0;
      for (auto at = range.begin(); at != range.end(); ++at) {
        if constexpr (kVariable) {
          sum += at->key[0] + at->value->data()[0];
        } else {
          sum += at->key[0] + at->value[0];
        }
        if (++count == walk.limit) break;
      }
      keep(sum);
      return count;
    } else {
      return Session::walk(walk);
    }
  }

 private:
  static Key key_of(Bytes bytes) {
    Key key;
    std::memcpy(key.data(), bytes.data(), sizeof key);
    return key;
  }
  C& collection_;
  armdb::WriteOptions options_;
  std::vector<Key> keys_;
  std::vector<std::optional<Value>> values_;
};

template <class C, bool kOrdered, bool kVariable> class ArmdbStore : public Store {
 public:
  explicit ArmdbStore(const Setup& setup) : synced_(setup.synced) {
    typename C::Config config;
    config.reversed = false;
    config.hints = setup.hints;
    config.shard_count = setup.shards;
    config.shard_prefix_bits = setup.prefix_bits;
    if constexpr (requires { config.single_copy; }) config.single_copy = setup.single_copy;
    auto collection = C::open(setup.folder, config);
    check(collection.status());
    collection_ = std::move(*collection);
    if (!setup.timer) return;
    auto timer = armdb::Compactor::start(collection_.collection());
    check(timer.status());
    timer_ = std::move(*timer);
  }
  std::unique_ptr<Session> session() override {
    return std::make_unique<ArmdbSession<C, kOrdered, kVariable>>(collection_, synced_);
  }
  void close() override {
    timer_.stop();
    check(collection_.close());
  }
  bool compact() override {
    check(collection_.compact());
    return true;
  }
  double memory_per_key() override {
    const armdb::Stats stats = collection_.stats();
    return stats.entries == 0 ? 0
                              : static_cast<double>(stats.index_bytes + stats.buffer_bytes) /
                                    static_cast<double>(stats.entries);
  }

 private:
  C collection_;
  armdb::Compactor timer_;
  bool synced_;
};

template <std::size_t kKeyBytes> std::unique_ptr<Store> open_sized(const Setup& setup) {
  using K = armdb::ByteArray<kKeyBytes>;
  if (setup.variable) {
    if (setup.ordered) return std::make_unique<ArmdbStore<armdb::VarTree<K>, true, true>>(setup);
    return std::make_unique<ArmdbStore<armdb::VarMap<K>, false, true>>(setup);
  }
  if (setup.fixed) {
    return std::make_unique<ArmdbStore<armdb::FixedMap<K, Value>, false, false>>(setup);
  }
  if (setup.ordered) {
    return std::make_unique<ArmdbStore<armdb::ConstTree<K, Value>, true, false>>(setup);
  }
  return std::make_unique<ArmdbStore<armdb::ConstMap<K, Value>, false, false>>(setup);
}

std::unique_ptr<Store> open_armdb(const Setup& setup) {
  return setup.key_bytes == 8 ? open_sized<8>(setup) : open_sized<16>(setup);
}

}  // namespace

void add_armdb(std::vector<Factory>& out) { out.push_back({"armdb", open_armdb, true, true}); }

}  // namespace bench

// The sealed tail: what put() left in tail.buf is there after a kill, and nothing else ever is.
#include "store/sealed_tail.hpp"

#include <vector>

#include "store/tail_buffer.hpp"
#include "support/nonce_ledger.hpp"
#include "support/one_shard.hpp"
#include "support/scale.hpp"
#include "support/sealed_store.hpp"

#if ARMDB_WITH_OPENSSL

using namespace armdb;
using test::no_zeros;
using test::SealedStore;

namespace {

const std::string kTail = "/c/tail.buf";
constexpr std::size_t kHeader = format::kSealedHeaderBytes;

// A tail in the collection's own directory, and what a recovery would read of it.
struct TailStore : SealedStore {
  explicit TailStore(Cipher cipher = Cipher::aes_256_gcm, std::uint8_t first_of_id = 1)
      : SealedStore(cipher, first_of_id), context{sealed(), config, epochs, "/c", {}, 0, 1, {}} {
    context.store_id = description.store_id;
    context.keys = ring.get();
  }
  std::unique_ptr<store::SealedTail> open(std::size_t capacity = 16 << 10) {
    std::unique_ptr<store::SealedTail> tail;
    const Status status = store::SealedTail::open(context, kTail, capacity, tail);
    INFO(status.message());
    REQUIRE(status.ok());
    REQUIRE(tail != nullptr);
    return tail;
  }
  std::string read() {
    store::TailContents contents;
    const Status status = store::read_tail_file(context, contents);
    INFO(status.message());
    REQUIRE(status.ok());
    return std::string(contents.bytes.text());
  }

  Config config;
  base::EpochDomain epochs;
  store::StoreContext context;
};

// Adds pieces of these sizes; all of them in one.
std::string add(store::SealedTail& tail, const std::vector<std::size_t>& sizes,
                std::uint64_t position, std::uint64_t seed) {
  std::string all;
  for (const std::size_t size : sizes) {
    const std::string piece = no_zeros(size, seed++);
    REQUIRE(tail.add(piece, position + all.size()));
    all += piece;
  }
  return all;
}

bool is_prefix(const std::string& part, const std::string& whole) {
  return whole.compare(0, part.size(), part) == 0;
}

Config encrypted_shard(FileSystem& files, Cipher cipher) {
  Config config = test::one_shard(files);
  config.encryption_key = ByteArray<32>{5};
  config.cipher = cipher;
  return config;
}

}  // namespace

TEST_CASE("sealed_tail: every returned put survives a kill, one after another", "[serial]") {
  for (const Cipher cipher : {Cipher::aes_256_gcm, Cipher::chacha20_poly1305}) {
    test::FaultFileSystem files;
    const Config config = encrypted_shard(files, cipher);
    for (int number = 0; number < 40; ++number) {
      Collection collection = test::open_shard(config);
      CHECK(collection.stats().written_survives_kill);
      CHECK(test::prefix_length(test::contents(collection)) == number);
      test::put(collection, number);
      files.kill_process();
    }
  }
}

TEST_CASE("sealed_tail: puts, batches and large values survive a kill however the buffer stands",
          "[serial]") {
  base::Random random(3);
  for (std::size_t round = 0; round < test::scaled(60, 10); ++round) {
    test::FaultFileSystem files;
    const Config config = encrypted_shard(files, Cipher::aes_256_gcm);
    std::map<std::string, std::string> model;
    for (int open = 0; open < 3; ++open) {
      Collection collection = test::open_shard(config);
      REQUIRE(test::contents(collection) == model);
      for (std::uint64_t left = random.below(400); left > 0; --left) {
        const std::string key = test::key_of(static_cast<int>(random.below(60)));
        std::string value = no_zeros(random.below(random.one_in(9) ? 20'000 : 90), left);
        REQUIRE(collection.put(key, value).ok());
        model[key] = std::move(value);
        if (random.one_in(60)) REQUIRE(collection.flush_buffers().ok());
      }
      files.kill_process();
    }
    const Collection collection = test::open_shard(config);
    REQUIRE(test::contents(collection) == model);
    CHECK(collection.stats().damaged_regions == 0);
  }
}

TEST_CASE("sealed_tail: it gives back what was added, pieces of any size") {
  for (const Cipher cipher : {Cipher::aes_256_gcm, Cipher::chacha20_poly1305}) {
    TailStore store(cipher);
    const auto tail = store.open();
    CHECK(store.read().empty());
    std::string all;
    for (const std::size_t size : {1u, 24u, 31u, 32u, 33u, 4063u, 4064u, 4065u, 6000u}) {
      all += add(*tail, {size}, 96 + all.size(), size);
      CHECK((store.read() == all));
    }
    CHECK(test::read_path(store.files, kTail).find(all.substr(100, 6)) == std::string::npos);
  }
}

TEST_CASE("sealed_tail: a buffer full of the smallest entries finds room, more is refused") {
  TailStore store;
  const auto tail = store.open(16 << 10);
  const std::vector<std::size_t> entries((16 << 10) / 24, 24);
  const std::string all = add(*tail, entries, 96, 1);
  CHECK((store.read() == all));
  bool refused = false;
  for (int more = 0; more < 1000 && !refused; ++more) refused = !tail->add(Bytes("more"), 0);
  CHECK(refused);
  CHECK(is_prefix(all, store.read()));
}

TEST_CASE("sealed_tail: cut at any byte, or one flipped anywhere, it is a prefix in whole frames",
          "[serial]") {
  TailStore store;
  const std::vector<std::size_t> sizes = {24, 40, 33, 500, 1, 24, 90};
  const auto tail = store.open();
  const std::string all = add(*tail, sizes, 96, 1);
  const std::string raw = test::read_path(store.files, kTail).substr(0, kHeader + 1200);
  std::vector<std::size_t> ends = {kHeader};
  for (const std::size_t size : sizes) ends.push_back(ends.back() + format::frame_bytes(size));
  // What the frames hold that end at `at` or before.
  const auto before = [&](std::size_t at) {
    std::size_t count = 0, bytes = 0;
    for (; count < sizes.size() && ends[count + 1] <= at; ++count) bytes += sizes[count];
    return at < kHeader ? std::string() : all.substr(0, bytes);
  };
  for (std::size_t at = 0; at < ends.back() + 50; ++at) {
    INFO("byte " << at);
    test::replace(store.files, kTail, raw.substr(0, at));
    REQUIRE((store.read() == before(at)));
    for (int bit = 0; bit < 8; ++bit) {
      std::string changed = raw;
      changed[at] = static_cast<char>(changed[at] ^ (1 << bit));
      test::replace(store.files, kTail, changed);
      REQUIRE((store.read() == before(at)));
    }
  }
  CHECK(before(ends.back() + 1) == all);
}

TEST_CASE("sealed_tail: old frames behind new ones are never taken [pitfall-49]") {
  base::Random random(17);
  for (std::size_t round = 0; round < test::scaled(300, 50); ++round) {
    TailStore store;
    auto tail = store.open();
    // Sizes that often repeat, so that old frames lie just where new ones end.
    const auto sizes = [&](std::uint64_t most) {
      std::vector<std::size_t> all(1 + random.below(most));
      for (std::size_t& size : all) size = random.one_in(4) ? 24 + random.below(200) : 24;
      return all;
    };
    std::uint64_t position = 96;
    std::string last = add(*tail, sizes(40), position, random.next());
    for (int times = 0; times < 5; ++times) {
      position += last.size();
      if (random.one_in(4)) {
        tail.reset();
        tail = store.open();  // the next open: another key
        REQUIRE(store.read().empty());
      } else {
        REQUIRE(tail->restart());
      }
      last.clear();
      for (const std::size_t size : sizes(30)) {
        last += add(*tail, {size}, position + last.size(), random.next());
        REQUIRE((store.read() == last));
      }
    }
  }
}

TEST_CASE("sealed_tail: frames put back, moved, or of another shard or store are never taken") {
  TailStore store, other(Cipher::aes_256_gcm, 9);
  const std::vector<std::size_t> sizes(20, 64);
  const std::size_t frame = format::frame_bytes(64);
  const auto tail = store.open();
  const std::string first = add(*tail, sizes, 96, 1);
  const std::string old = test::read_path(store.files, kTail);
  REQUIRE(tail->restart());
  const std::string second = add(*tail, sizes, 96 + first.size(), 100);
  const std::string raw = test::read_path(store.files, kTail);
  add(*other.open(), sizes, 96, 1);
  const std::string strange = test::read_path(other.files, kTail);
  store.context.shard = 1;
  static_cast<void>(store.files.remove(kTail));
  add(*store.open(), sizes, 96, 1);
  const std::string next_shard = test::read_path(store.files, kTail);
  store.context.shard = 0;
  for (std::size_t at = 0; at < sizes.size(); ++at) {
    const std::size_t to = kHeader + at * frame;
    for (const std::string* from : {&old, &strange, &next_shard}) {
      std::string changed = raw;
      changed.replace(to, frame, from->substr(to, frame));
      test::replace(store.files, kTail, changed);
      // An old one at the very front is alone: the new ones do not follow it.
      const std::string wanted =
          from == &old && at == 0 ? first.substr(0, 64) : second.substr(0, at * 64);
      CHECK((store.read() == wanted));
    }
    std::string swapped = raw;
    swapped.replace(to, frame, raw.substr(kHeader + (at + 3) % 20 * frame, frame));
    test::replace(store.files, kTail, swapped);
    const std::string read = store.read();
    if (at != 0) CHECK((read == second.substr(0, at * 64)));
    // Nothing stands before the first one: that it is of a later place, its entries' sequences say.
    if (at == 0) CHECK(second.find(read) == 3 * 64);
  }
  for (const std::string* whole : {&strange, &next_shard}) {
    test::replace(store.files, kTail, *whole);
    CHECK(store.read().empty());
    test::replace(store.files, kTail, whole->substr(0, kHeader) + raw.substr(kHeader));
    CHECK(store.read().empty());
    test::replace(store.files, kTail, raw.substr(0, kHeader) + whole->substr(kHeader));
    CHECK(store.read().empty());
  }
}

TEST_CASE("sealed_tail: no nonce comes twice, over rounds, reopenings and kills") {
  const test::NonceLedger ledger;
  {
    TailStore store;
    for (int open = 0; open < 5; ++open) {
      const auto tail = store.open();
      for (int round = 0; round < 20; ++round) {
        add(*tail, std::vector<std::size_t>(50, 24), 96, 1);
        REQUIRE(tail->restart());
      }
    }
    CHECK(ledger.seals() >= 5000);
  }
  test::FaultFileSystem files;
  for (int open = 0; open < 10; ++open) {
    Collection collection = test::open_shard(encrypted_shard(files, Cipher::aes_256_gcm));
    test::put_range(collection, 0, 700, open);
    if (open % 2 == 0) files.kill_process();
  }
  CHECK(ledger.repeats() == 0);
}

TEST_CASE("sealed_tail: what a data key that is gone has sealed counts as empty") {
  TailStore store;
  add(*store.open(), {24}, 96, 1);
  std::string raw = test::read_path(store.files, kTail);
  format::SealedHeader header;
  REQUIRE(format::decode_sealed_header(raw, header).ok());
  header.key_id = 2;
  format::encode_sealed_header(
      header, MutableBytes(reinterpret_cast<std::uint8_t*>(raw.data()), raw.size()));
  test::replace(store.files, kTail, raw);
  store::TailContents contents;
  // Left behind by an open that could not use it. A db.keys that is too old is found by the
  // MANIFEST.
  CHECK(store::read_tail_file(store.context, contents).ok());
  CHECK(contents.bytes.empty());
}

#endif  // ARMDB_WITH_OPENSSL

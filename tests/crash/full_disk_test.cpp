// A disk that fills up and becomes free again, several times, on both stores, clear and encrypted.
//
// Oracle: a full disk is no_space and nothing else; no shard fails; reads go on and are right, a
// kill and a reopening on the full disk included; each key is as the last write that returned ok
// left it; with space the writes go on by themselves.
#include <map>
#include <string>

#include "support/one_shard.hpp"
#include "support/random.hpp"
#include "support/scale.hpp"

namespace {

using namespace armdb;
using test::FaultFileSystem;

constexpr ByteArray<32> kKey{3, 1, 4};
constexpr std::uint32_t kValueBytes = 300;
constexpr Shape kLog{4, 0, true, Payload::location};
constexpr Shape kTable{4, kValueBytes, false, Payload::value};
constexpr Shape kSlots{4, kValueBytes, true, Payload::value, true};

class FullDisk {
 public:
  FullDisk(const Shape& shape, bool encrypted, std::uint64_t seed) : shape_(shape), random_(seed) {
    config_ = test::one_shard(files_);
    config_.compaction_threshold = 0.01;
    config_.mapped_reads = false;
    if (encrypted) config_.encryption_key = kKey;
    open();
  }

  void run(int rounds) {
    std::uint64_t capacity = files_.used_bytes() + (std::uint64_t{200} << 10);
    for (int round = 0; round < rounds; ++round) {
      INFO("round " << round << ", capacity " << capacity);
      files_.set_capacity(capacity);
      fill();
      live_with_it();
      if (round % 3 == 1) reopen_full(false);
      if (round % 3 == 2) reopen_full(true);
      capacity += std::uint64_t{30 + random_.below(60)} << 10;
      files_.set_capacity(capacity);
      go_on();
    }
    files_.set_capacity(~std::uint64_t{0});
    const Status closed = collection_.close();
    INFO(closed.message());
    REQUIRE(closed.ok());
    open();
    check();
  }

  std::size_t refusals = 0;

 private:
  void open() {
    Result<Collection> opened = Collection::open("/c", shape_, config_);
    INFO(opened.message());
    REQUIRE(opened.ok());
    collection_ = *std::move(opened);
  }

  std::string value() {
    std::string text(shape_.value_size, 0);
    if (shape_.payload == Payload::location) text.resize(random_.below(2 * kValueBytes));
    for (char& byte : text) byte = static_cast<char>('a' + random_.below(26));
    return text;
  }

  // Any answer but these two is wrong.
  bool took(const Status& status, const char* what) {
    INFO(what << ": " << status.message());
    REQUIRE((status.ok() || status.is(Errc::no_space)));
    REQUIRE(collection_.stats().failed_shards == 0);
    refusals += status.ok() ? 0 : 1;
    return status.ok();
  }

  bool put(int number) {
    const std::string text = value();
    const bool sync = random_.one_in(20);
    const Status status = collection_.put(test::key_of(number), text, {.sync = sync});
    // One that only its sync refused is there all the same.
    if (!status.ok() && sync && collection_.contains(test::key_of(number))) {
      const auto now = collection_.get(test::key_of(number));
      REQUIRE(now.ok());
      if (Bytes(**now) == Bytes(text)) all_[test::key_of(number)] = text;
    }
    if (!took(status, "put")) {
      REQUIRE((sync || collection_.stats().full_shards == 1));
      return false;
    }
    all_[test::key_of(number)] = text;
    return true;
  }

  void fill() {
    int refused = 0;
    for (int count = 0; refused < 5; ++count) {
      REQUIRE(count < 20000);
      if (!put(next_++ % 9000)) ++refused;
    }
    check();
  }

  // Every call answers; deletes and compaction may go on from the reserve.
  void live_with_it() {
    for (int count = 0; count < 40; ++count) {
      const std::string key = test::key_of(static_cast<int>(random_.below(next_ % 9000 + 1)));
      switch (random_.below(9)) {
        case 0: {
          const Status status = collection_.erase(key);
          if (status.is(Errc::not_found)) break;
          if (took(status, "erase")) all_.erase(key);
          break;
        }
        case 1:
          took(collection_.flush_buffers(), "flush_buffers");
          break;
        case 2:
          took(collection_.sync(), "sync");
          break;
        case 3:
          took(collection_.checkpoint(), "checkpoint");
          break;
        case 4:
          took(collection_.compact(), "compact");
          break;
        case 5:
          took(collection_.verify().status(), "verify");
          break;
        case 6:
          took(collection_.backup_to("/copy", config_.encryption_key), "backup_to");
          drop_copy();
          break;
        case 7:
          if (!config_.encryption_key.empty()) took(collection_.reencrypt(kKey), "reencrypt");
          break;
        default:
          put(static_cast<int>(random_.below(9000)));
      }
    }
    check();
  }

  void drop_copy() {
    const auto drop_all = [&](const std::string& folder) {
      if (!test::exists(files_, folder)) return;
      for (const auto& [name, kind] : test::list_names(files_, folder)) {
        REQUIRE(files_.remove(folder + "/" + name).ok());
      }
      REQUIRE(files_.remove(folder).ok());
    };
    drop_all("/copy/shard_000");
    drop_all("/copy");
  }

  // On the disk that is still full: it opens, or says why not, and can be read in any case.
  void reopen_full(bool kill) {
    if (kill) {
      static_cast<void>(took(collection_.flush_buffers(), "flush_buffers"));
      if (!collection_.stats().written_survives_kill) return;
      files_.kill_process();
    } else {
      took(collection_.close(), "close");
    }
    collection_ = Collection();
    Config reader = config_;
    reader.read_only = true;
    Result<Collection> opened = Collection::open("/c", shape_, reader);
    INFO("reading on the full disk: " << opened.message());
    REQUIRE(opened.ok());
    collection_ = *std::move(opened);
    check();
    collection_ = Collection();
    opened = Collection::open("/c", shape_, config_);
    INFO("writing on the full disk: " << opened.message());
    REQUIRE((opened.ok() || opened.is(Errc::no_space)));
    if (opened.ok()) {
      collection_ = *std::move(opened);
    } else {
      files_.set_capacity(files_.used_bytes() + (std::uint64_t{300} << 10));
      open();
    }
    check();
  }

  // With space again.
  void go_on() {
    for (int count = 0; count < 30; ++count) REQUIRE(put(next_++ % 9000));
    took(collection_.sync(), "sync");
    REQUIRE(collection_.stats().full_shards == 0);
    check();
  }

  void check() {
    const auto read = test::contents(collection_);
    REQUIRE((read == all_));
    REQUIRE(collection_.stats().damaged_regions == 0);
  }

  const Shape shape_;
  base::Random random_;
  FaultFileSystem files_;
  Config config_;
  std::map<std::string, std::string> all_;
  int next_ = 0;
  Collection collection_;
};

}  // namespace

TEST_CASE("full disk: nothing is lost, reads go on, and so do writes when there is space",
          "[serial][crash][pitfall-27]") {
  for (const Shape& shape : {kLog, kTable, kSlots}) {
    for (const bool encrypted : {false, true}) {
#if !ARMDB_WITH_OPENSSL
      if (encrypted) continue;
#endif
      for (std::uint64_t seed = 1; seed <= test::scaled(4); ++seed) {
        INFO((shape.fixed     ? "Fixed"
              : shape.ordered ? "VarTree"
                              : "ConstMap")
             << (encrypted ? ", encrypted" : "") << ", seed " << seed);
        FullDisk disk(shape, encrypted, seed);
        disk.run(5);
        CHECK(disk.refusals > 10);
      }
    }
  }
}

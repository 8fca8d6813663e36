// Encrypted collections under crashes: no nonce comes twice, nothing can be read on the disk, and
// pieces of one store are never served by another.
#include <cerrno>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "store/keyring.hpp"
#include "support/crash_simulator.hpp"
#include "support/fixed_crash_simulator.hpp"
#include "support/nonce_ledger.hpp"
#include "support/one_shard.hpp"
#include "support/scale.hpp"

#if ARMDB_WITH_OPENSSL

using namespace armdb;
using test::Call;
using test::FaultFileSystem;

namespace {

constexpr ByteArray<32> kKey{'u', 's', 'e', 'r', 's', '-', 's', 'e', 'c', 'r', 'e', 't'};

// While it lives, collections that are made without a key have this one.
class KeyForTests {
 public:
  KeyForTests() : before_(store::key_for_tests) { store::key_for_tests = kKey; }
  ~KeyForTests() { store::key_for_tests = before_; }
  KeyForTests(const KeyForTests&) = delete;
  KeyForTests& operator=(const KeyForTests&) = delete;

 private:
  EncryptionKey before_;
};

// All regular files with their bytes, but for the lock: who holds it is written there.
using Disk = std::map<std::string, std::string>;
Disk disk_of(FileSystem& files, const std::string& path = "/c") {
  Disk all;
  for (const auto& [name, kind] : test::list_names(files, path)) {
    const std::string whole = path + "/" + name;
    if (kind == FileKind::directory) all.merge(disk_of(files, whole));
    if (kind == FileKind::regular && name != "LOCK") all[whole] = test::read_path(files, whole);
  }
  return all;
}

// ---- What stands on the disk ----

constexpr std::string_view kKeyMarker = "KEYMARK", kValueMarker = "VALUEMARK";

std::string marked_key(std::uint64_t number) {
  return std::string(kKeyMarker) + test::key_of(static_cast<int>(number));
}
std::string marked_value(std::uint64_t size) {
  std::string value;
  while (value.size() < size + kValueMarker.size()) value += kValueMarker;
  return value;
}

// Random work of one collection, with its crashes and faults, watched at every call.
class WatchedWork {
 public:
  WatchedWork(const Config& config, std::uint64_t seed) : random_(seed), config_(config) {
    config_.file_system = &files_;
    // One, opened by this thread: snapshots share bytes with the files that they are of.
    config_.shard_count = 1;
    config_.write_buffer_size = 16 << 10;
    config_.max_file_size = 64 << 10;
    config_.compaction_threshold = 0.01;
    config_.log = log_.log();
  }

  void run(std::size_t operations) {
    for (std::size_t opening = 0; opening < 6; ++opening) {
      files_.set_observer([this](Call, const std::string&) { look(); });
      Result<Collection> opened = Collection::open("/c", {11, 0, true, Payload::location}, config_);
      INFO(opened.message());
      REQUIRE(opened.ok());
      for (std::size_t at = 0; at < operations; ++at) work(*opened);
      files_.clear_faults();
      if (opening % 3 == 0) static_cast<void>(opened->close());
      files_.set_observer(nullptr);
      look();
      if (opening % 3 == 1) files_.kill_process();
      if (opening % 3 == 2) files_.power_cut_random(opening);
      *opened = Collection();
      look();
    }
  }

  std::size_t looks = 0;
  std::size_t segments = 0;     // most that there were
  std::set<std::string> found;  // files in which a marker stood, and the log

 private:
  void work(Collection& collection) {
    const std::string key = marked_key(random_.below(50));
    Status status;
    switch (random_.below(12)) {
      case 0:
        status = collection.erase(key);
        break;
      case 1:
        status = collection.sync();
        break;
      case 2:
        status = collection.flush_buffers();
        break;
      case 3:
        if (random_.one_in(8)) status = collection.compact();
        break;
      case 4: {
        const std::string value = marked_value(500), other = marked_key(random_.below(50));
        status = collection.put_many(std::vector<BytesPair>{{key, value}, {other, value}});
        break;
      }
      case 5:
        status = collection.put(key, marked_value(20'000));
        break;
      case 6:
        files_.fail(Call::any, 1 + random_.below(30), random_.one_in(2) ? ENOSPC : EIO, false,
                    random_.below(3000));
        break;
      default:
        status = collection.put(key, marked_value(random_.below(1500)), {.ttl_ms = 1u << 30});
    }
    look();
  }

  // The live state, what a power cut leaves at least, and a mix of the two.
  // Shards recover beside each other, each with its calls.
  void look() {
    const std::lock_guard lock(mutex_);
    looks += 1;
    lab_.restore(files_.snapshot());
    search(lab_);
    lab_.power_cut_lose_all();
    search(lab_);
    lab_.restore(files_.snapshot());
    lab_.power_cut_random(looks);
    search(lab_);
  }
  void search(FileSystem& files) {
    if (!test::exists(files, "/c")) return;
    std::size_t count = 0;
    for (const auto& [path, bytes] : disk_of(files)) {
      count += path.ends_with(".data") ? 1 : 0;
      for (const std::string_view marker :
           {kKeyMarker.substr(0, 6), kKeyMarker.substr(1), kValueMarker.substr(0, 6),
            kValueMarker.substr(3), Bytes(kKey).text().substr(0, 12)}) {
        if (bytes.find(marker) != std::string::npos) found.insert(path);
      }
    }
    segments = std::max(segments, count);
    for (const std::string& line : log_.lines) {
      if (line.find("MARK") != std::string::npos) found.insert("the log");
    }
  }

  base::Random random_;
  std::mutex mutex_;
  FaultFileSystem files_, lab_;
  Config config_;
  test::LogLines log_;
};

// ---- Swaps ----

constexpr Shape kSmall{4, 0, true, Payload::location};

Config two_shards(FileSystem& files) {
  Config config = test::one_shard(files);
  config.shard_count = 2;
  config.encryption_key = kKey;
  return config;
}

// Two shards, each with two segments, hints and a MANIFEST; closed, or killed with some entries
// in the write buffers. The version tells whose values they are.
void make_store(FaultFileSystem& files, int version, bool closed) {
  for (int opening = 0; opening < 2; ++opening) {
    Collection collection = test::open_shard(two_shards(files), kSmall);
    test::put_range(collection, opening * 60, opening * 60 + 60, version);
    if (opening == 0 || closed) {
      REQUIRE(collection.close().ok());
    } else {
      REQUIRE(collection.flush_buffers().ok());
      test::put_range(collection, 120, 140, version);
      files.kill_process();
    }
  }
}

// Opens what became of the store. Whatever it serves is its own; and where something is gone that
// was durable, that is told. (What no sync covered may be gone after a power cut, too.)
void check_own(FaultFileSystem& files, bool closed, const std::string& what) {
  const std::size_t durable = closed ? 120 : 60;
  test::LogLines log;
  Config config = two_shards(files);
  config.log = log.log();
  const Result<Collection> opened = Collection::open("/c", kSmall, config);
  INFO(what << ": " << opened.message());
  if (!opened.ok()) {
    REQUIRE((opened.is(Errc::corrupt) || opened.is(Errc::format_mismatch) ||
             opened.is(Errc::wrong_key)));
    return;
  }
  const auto all = test::numbers(0, 140, 1);
  const auto read = test::contents(*opened);
  bool told = !log.lines.empty();
  std::size_t whole = 0;
  for (const auto& [key, value] : read) {
    if (value.starts_with("error: ")) {
      told = true;
    } else {
      INFO(key << " is " << value);
      REQUIRE(all.contains(key));
      REQUIRE(all.at(key) == value);
      ++whole;
    }
  }
  const Stats stats = opened->stats();
  told = told || stats.damaged_regions != 0 || stats.segments_set_aside != 0;
  INFO(whole << " entries");
  if (whole < durable) REQUIRE(told);
}

}  // namespace

TEST_CASE("encryption: the ledger notes a nonce that comes twice", "[nonces]") {
  const test::NonceLedger ledger;
  crypto::Aead first, second, other;
  REQUIRE(first.set_key(Cipher::aes_256_gcm, crypto::Key(kKey)).ok());
  REQUIRE(second.set_key(Cipher::chacha20_poly1305, crypto::Key(kKey)).ok());
  REQUIRE(other.set_key(Cipher::aes_256_gcm, crypto::Key()).ok());
  std::uint8_t byte = 0, tag[crypto::kTagBytes];
  const auto seal = [&](const crypto::Aead& aead, std::uint8_t counter) {
    const ByteArray<crypto::kNonceBytes> nonce{counter};
    REQUIRE(aead.seal(nonce, {}, Bytes(&byte, 1), &byte, tag).ok());
  };
  seal(first, 1);
  seal(first, 2);
  seal(other, 1);
  CHECK(ledger.repeats() == 0);
  seal(second, 2);
  CHECK(ledger.repeats() == 1);
  CHECK(ledger.seals() == 4);
}

TEST_CASE("encryption: no nonce comes twice, over power cuts, kills, failed calls and recoveries",
          "[serial][nonces][crash][pitfall-45]") {
  using Faults = test::CrashSettings::Faults;
  const KeyForTests encrypted;
  const test::NonceLedger ledger;
  test::CrashCounts counts;
  for (const Faults faults : {Faults::none, Faults::syncs, Faults::calls}) {
    test::CrashSettings settings;
    settings.operations = 30;
    settings.states_per_place = 2;
    settings.states_most = counts.all() + test::scaled(1500, 300);
    settings.faults = faults;
    while (counts.all() < settings.states_most) {
      test::CrashSimulator simulator(settings, counts);
      if (!simulator.run()) FAIL(simulator.failure());
      settings.seed += 1;
    }
  }
  CHECK(ledger.seals() > 1000);
  CHECK(ledger.repeats() == 0);
}

TEST_CASE("encryption: no nonce comes twice on the Fixed store, while keys change",
          "[nonces][pitfall-45]") {
  const test::NonceLedger ledger;
  test::CrashCounts counts;
  test::CrashSettings settings;
  settings.operations = 80;
  settings.states_per_place = 1;
  settings.keys = true;
  settings.states_most = test::scaled(1500, 300);
  while (counts.all() < settings.states_most) {
    test::FixedCrashSimulator simulator(settings, counts);
    if (!simulator.run()) FAIL(simulator.failure());
    settings.seed += 1;
  }
  CHECK(ledger.seals() > 100);
  CHECK(ledger.repeats() == 0);
}

TEST_CASE("encryption: no nonce comes twice where every write may fail", "[nonces][pitfall-45]") {
  const test::NonceLedger ledger;
  base::Random random(1);
  for (std::size_t round = 0; round < test::scaled(60, 10); ++round) {
    FaultFileSystem files;
    Config config = two_shards(files);
    config.cipher = round % 2 == 0 ? Cipher::aes_256_gcm : Cipher::chacha20_poly1305;
    config.compaction_threshold = 0.01;
    for (int opening = 0; opening < 3; ++opening) {
      files.clear_faults();
      Collection collection = test::open_shard(config, kSmall);
      for (int write = 0; write < 300; ++write) {
        if (random.one_in(8)) {
          files.clear_faults();
          files.fail(Call::write, 1 + random.below(3), random.one_in(6) ? EIO : ENOSPC,
                     random.one_in(5), random.below(9000));
        }
        const std::string value(random.below(random.one_in(9) ? 30'000 : 300), 'v');
        static_cast<void>(collection.put(test::key_of(write % 90), value));
        if (random.one_in(30)) static_cast<void>(collection.flush_buffers());
        if (random.one_in(90)) static_cast<void>(collection.compact());
      }
      files.clear_faults();
      if (random.one_in(2)) files.kill_process();
    }
  }
  CHECK(ledger.seals() > 1000);
  CHECK(ledger.repeats() == 0);
}

TEST_CASE("encryption: no key or value can be found in any file, at any moment [pitfall-51]",
          "[serial][crash]") {
  for (const Cipher cipher : {Cipher::aes_256_gcm, Cipher::chacha20_poly1305}) {
    for (std::uint64_t seed = 1; seed <= test::scaled(2); ++seed) {
      Config config;
      config.encryption_key = kKey;
      config.cipher = cipher;
      WatchedWork work(config, seed);
      work.run(test::scaled(100, 40));
      CHECK(work.found == std::set<std::string>());
      CHECK(work.looks > 100);
      CHECK(work.segments > 2);
    }
  }
}

TEST_CASE("encryption: the search finds keys and values of a collection in the clear",
          "[serial][crash][clear]") {
  WatchedWork work(Config(), 1);
  work.run(40);
  std::set<std::string> kinds;
  for (const std::string& path : work.found) {
    kinds.insert(path.substr(path.find_last_of("./") + 1));
  }
  CHECK(kinds.contains("data"));
  CHECK(kinds.contains("hint"));
  CHECK(kinds.contains("buf"));
}

TEST_CASE("encryption: files of another shard or store are never served [pitfall-46]") {
  base::Random random(1);
  for (const bool closed : {true, false}) {
    FaultFileSystem files, others;
    make_store(files, 1, closed);
    make_store(others, 2, closed);
    const FaultFileSystem::Snapshot before = files.snapshot();
    const Disk own = disk_of(files), strange = disk_of(others);
    check_own(files, closed, "nothing changed");
    for (const auto& [to, bytes] : own) {
      for (const auto* from : {&own, &strange}) {
        for (const auto& [path, piece] : *from) {
          if (from == &own && path == to) continue;
          if (random.below(100) >= test::scaled(100)) continue;
          files.restore(before);
          test::replace(files, to, piece);
          if (from == &own) test::replace(files, path, bytes);
          check_own(files, closed, to + " is " + path + (from == &own ? "" : " of another store"));
        }
      }
    }
  }
}

// Nothing in a directory can tell that it is not the newest: README, "Encryption".
TEST_CASE("encryption: an old copy of the whole directory opens as it was [pitfall-50]") {
  FaultFileSystem files;
  make_store(files, 1, true);
  const FaultFileSystem::Snapshot old = files.snapshot();
  const Disk before = disk_of(files);
  {
    Collection collection = test::open_shard(two_shards(files), kSmall);
    REQUIRE(collection.put(test::key_of(1), "newer").ok());
    REQUIRE(collection.close().ok());
  }
  CHECK(disk_of(files) != before);
  files.restore(old);
  check_own(files, true, "the whole directory is an old one");
}

TEST_CASE("encryption: blocks of another file, shard or store are never served [pitfall-46]",
          "[serial]") {
  for (const bool closed : {true, false}) {
    FaultFileSystem files, others;
    make_store(files, 1, closed);
    make_store(others, 2, closed);
    const FaultFileSystem::Snapshot before = files.snapshot();
    const Disk own = disk_of(files), strange = disk_of(others);
    constexpr std::size_t kBlock = 512;
    base::Random random(3);
    for (std::size_t round = 0; round < test::scaled(1500, 200); ++round) {
      const auto any = [&](const Disk& disk) {
        return std::next(disk.begin(), static_cast<std::ptrdiff_t>(random.below(disk.size())));
      };
      const auto to = any(own);
      const auto from = random.one_in(3)   ? strange.find(to->first)
                        : random.one_in(2) ? any(strange)
                                           : any(own);
      if (from == strange.end() || from->second.empty() || to->second.empty()) continue;
      const std::size_t blocks = 1 + random.below(9);
      const std::size_t at = random.below(to->second.size()) / kBlock * kBlock;
      const std::size_t source =
          random.one_in(2) ? at : random.below(from->second.size()) / kBlock * kBlock;
      if (source >= from->second.size()) continue;
      std::string bytes = to->second;
      const std::string piece = from->second.substr(source, blocks * kBlock);
      bytes.replace(at, std::min(piece.size(), bytes.size() - at), piece);
      files.restore(before);
      test::replace(files, to->first, bytes);
      check_own(files, closed,
                to->first + " at " + std::to_string(at) + " is " + from->first + " at " +
                    std::to_string(source));
    }
  }
}

#endif  // ARMDB_WITH_OPENSSL

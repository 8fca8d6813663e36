// What the crash simulators of both stores share.
#include "support/crash_lab.hpp"

#include <cerrno>

#include "base/little.hpp"
#include "engine/router.hpp"
#include "store/collection_files.hpp"

namespace armdb::test {

namespace {

bool is_strict(std::uint64_t seed) { return seed % 3 != 0; }

FaultFileSystem::Model model_of(std::uint64_t seed) {
  return is_strict(seed) ? FaultFileSystem::Model::strict : FaultFileSystem::Model::ext4;
}

ByteArray<32> numbered_key(std::uint64_t number) {
  ByteArray<32> key{'k', 'e', 'y'};
  base::store_little<std::uint64_t>(key.data() + 8, number);
  return key;
}

}  // namespace

std::string CrashCounts::text() const {
  return std::to_string(works) + " works, " + std::to_string(places) + " places, " +
         std::to_string(states) + " states, " + std::to_string(second_states) +
         " second crashes, " + std::to_string(kills) + " kills, " + std::to_string(faults) +
         " failed calls";
}

CrashLab::CrashLab(const CrashSettings& settings, CrashCounts& counts)
    : settings_(settings),
      counts_(counts),
      random_(settings.seed * 977 + static_cast<std::uint64_t>(settings.faults)),
      strict_(is_strict(settings.seed)),
      disk_(model_of(settings.seed)),
      lab_(model_of(settings.seed)),
      second_lab_(model_of(settings.seed)) {}

bool CrashLab::fail(const std::string& what) {
  if (!failure_.empty()) return false;
  const bool var = shape_.payload == Payload::location;
  failure_ = what + "\n  seed " + std::to_string(settings_.seed) + ", faults " +
             std::to_string(static_cast<int>(settings_.faults)) + ", " +
             (strict_ ? "strict" : "ext4") + ", " + (shape_.ordered ? "tree" : "map") + " of " +
             (var ? "var" : std::to_string(shape_.value_size)) + ", shards " +
             std::to_string(config_.shard_count) + (expiring_ ? ", expiring" : "") +
             (settings_.keys ? ", encrypted" : "") + options_ + "\n" + past_ + "  " + step_ +
             "\n  " + plan_ + "\n  after " + counts_.text() + "\n" + log_;
  return false;
}

FixedConfig CrashLab::config_for(FileSystem& files) {
  FixedConfig config = config_;
  config.file_system = &files;
  config.log.context = &log_;
  config.log.callback = [](void* context, LogLevel, std::string_view text) {
    static base::Mutex mutex;
    const base::MutexLock lock(mutex);
    auto& log = *static_cast<std::string*>(context);
    if (log.size() < 4000) log.append("    log: ").append(text).append("\n");
  };
  return config;
}

Result<Collection> CrashLab::open_with(FixedConfig config, std::uint64_t& key_first,
                                       std::uint64_t key_last) {
  for (;; ++key_first) {
    if (settings_.keys) config.encryption_key = numbered_key(key_first);
    Result<Collection> opened = Collection::open(kPath, shape_, config);
    if (!opened.is(Errc::wrong_key) || key_first == key_last) return opened;
  }
}

std::size_t CrashLab::find_shards(std::array<std::size_t, kCrashKeys>& shard_of) {
  store::Description description;
  const Status status = store::read_description(disk_, kPath, description);
  if (!status.ok()) {
    fail("db.meta cannot be read: " + status.message());
    return 0;
  }
  const engine::Router router(description.shard_count, description.shard_prefix_bits,
                              description.hash_seed);
  for (std::size_t number = 0; number < kCrashKeys; ++number) {
    const auto key = crash_key(number);
    shard_of[number] = router.shard(key.data(), key.size(), router.hash(key.data(), key.size()));
  }
  return description.shard_count;
}

bool CrashLab::read_contents(const Collection& collection, bool any_expired,
                             CrashContents& contents) {
  contents = {};
  bool strange = false;
  std::size_t count = 0;
  const Status status = collection.for_each([&](Bytes key, Bytes value) {
    const std::size_t number = crash_key_number(key);
    strange = strange || number == kCrashKeys || contents[number % kCrashKeys] != 0;
    const Result<std::uint64_t> expiry = collection.expires_at(key);
    strange = strange || !expiry.ok();
    if (strange) return false;
    contents[number] = crash_value_hash(value, *expiry == WriteOptions::kForever ? 0 : *expiry);
    ++count;
    return true;
  });
  if (!status.ok()) return fail("a recovered value cannot be read: " + status.message());
  if (strange) return fail("a key is there that was never written, or twice");
  // Entries that are over count until they are swept.
  const std::size_t size = collection.size();
  if (any_expired ? count > size : count != size) {
    return fail("size() is not the number of entries");
  }
  return true;
}

bool CrashLab::examine_read_only(const CrashPlace& place, bool any_expired,
                                 const CrashContents& expected) {
  const std::uint64_t hash = lab_.hash();
  FixedConfig config = config_for(lab_);
  config.read_only = true;
  log_.clear();
  std::uint64_t key = place.key_first;
  Result<Collection> collection = open_with(config, key, place.key_last);
  if (collection.is(Errc::not_found)) {
    return expected == CrashContents() || fail("read_only finds no collection");
  }
  if (!collection.ok()) return fail("read_only does not open: " + collection.message());
  CrashContents contents;
  if (!read_contents(*collection, any_expired, contents)) return false;
  if (collection->stats().damaged_regions != 0) return fail("read_only reports damage");
  if (contents != expected) return fail("read_only sees other contents than a writer");
  *collection = Collection();
  return lab_.hash() == hash || fail("a read_only open changed the disk");
}

CrashPlace CrashLab::place_now(const std::string& call) const {
  return {disk_.snapshot(), call, sync_failed_ || disk_.fault_met(), key_first_, key_last_};
}

void CrashLab::record(std::vector<Snapshot>* inside) {
  if (inside == nullptr) return lab_.set_observer(nullptr);
  lab_.set_observer([this, inside](Call, const std::string&) {
    const base::MutexLock lock(inside_mutex_);
    inside->push_back(lab_.snapshot());
  });
}

std::string CrashLab::random_bytes(std::size_t size) {
  std::string bytes(size, 0);
  for (char& byte : bytes) byte = static_cast<char>(random_.next());
  return bytes;
}

void CrashLab::arm_fault() {
  if (settings_.faults == CrashSettings::Faults::none || !random_.one_in(5)) return;
  static constexpr Call kCalls[] = {Call::write,          Call::truncate, Call::allocate,
                                    Call::open,           Call::remove,   Call::rename,
                                    Call::sync_directory, Call::sync,     Call::any};
  Call call = Call::sync;
  if (settings_.faults == CrashSettings::Faults::calls) {
    call = kCalls[random_.below(std::size(kCalls))];
  }
  static constexpr int kErrors[] = {EIO, ENOSPC, EROFS, EDQUOT};
  const int error = random_.one_in(2) ? EIO : kErrors[random_.below(4)];
  // Never all calls for good: dropping pages works even where the disk does not.
  const bool sticky = random_.one_in(6) && call != Call::any;
  disk_.clear_faults();
  disk_.fail(call, 1 + random_.below(4), error, sticky, random_.below(600));
}

Status CrashLab::reencrypt(Collection& collection) {
  step_ += ", reencrypt";
  return collection.reencrypt(numbered_key(key_last_));
}

Status CrashLab::rotate_key(Collection& collection) {
  step_ += ", rotate_key";
  const std::uint64_t now = key_last_;
  key_last_ = now + 1;
  Status status = collection.rotate_key(numbered_key(now), numbered_key(now + 1));
  if (status.ok()) key_first_ = key_last_;
  return status;
}

}  // namespace armdb::test

// Operations, reopenings, kills, power cuts and failed calls against a model.
//
// Oracle: after a reopening all is there; after a kill all that returned is there; after a power
// cut the collection is in its state after some write at or past the last sync, in each shard, and
// no batch is half there; no damage is reported, and no operation fails but by an injected fault.
// See tests/support/crash_model.hpp.
//
// The first byte chooses type and options; the rest are operations with their operands.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "api/collection.hpp"
#include "engine/router.hpp"
#include "store/collection_files.hpp"
#include "support/crash_model.hpp"
#include "support/fault_file_system.hpp"

namespace {

using namespace armdb;
using test::CrashContents;
using test::CrashMark;
using test::CrashModel;
using test::CrashWrite;
using test::FaultFileSystem;
using test::kCrashKeys;

void require(bool holds, const char* what, const Status& status = {}) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s %s\n", what, status.message().c_str());
  std::abort();
}

class Program {
 public:
  Program(const std::uint8_t* data, std::size_t size)
      : data_(data),
        size_(size),
        files_((byte() & 1) != 0 ? FaultFileSystem::Model::strict : FaultFileSystem::Model::ext4) {
    const std::uint8_t options = data[0];
    shape_.key_size = test::kCrashKeyBytes;
    shape_.ordered = (options & 2) != 0;
    shape_.payload = (options & 4) != 0 ? Payload::location : Payload::value;
    shape_.value_size = shape_.payload == Payload::value ? 40 : 0;
    config_.file_system = &files_;
    config_.shard_count = (options & 128) != 0 ? 2 : 1;
    config_.max_file_size = 64 << 10;
    config_.write_buffer_size = 16 << 10;
    config_.index_step_bytes = 4 << 10;
    config_.mapped_reads = (options & 8) != 0;
    config_.hints = (options & 16) == 0;
    config_.enable_fsync = (options & 32) != 0;
    config_.compaction_threshold = (options & 64) != 0 ? 0.01 : 0.5;
    create();
  }

  void run() {
    reopen(true);
    for (int steps = 0; steps < 300 && at_ < size_; ++steps) step();
    files_.clear_faults();
    if (sick_) return;
    const Status status = collection_.close();
    require(status.ok(), "closes", status);
    reopen(true);
  }

 private:
  std::uint8_t byte() { return at_ < size_ ? data_[at_++] : 0; }

  std::string value() {
    const std::size_t choice = byte();
    std::size_t size = shape_.value_size;
    if (shape_.payload == Payload::location) size = choice < 250 ? choice : (choice - 249) * 4000;
    std::string text(size, static_cast<char>(choice));
    const std::string stamp = std::to_string(++stamp_);
    for (std::size_t at = 0; at < size && at < stamp.size(); ++at) text[at] = stamp[at];
    return text;
  }

  // With a hash seed that is always the same: keys then lie in the same shards.
  void create() {
    store::Description description;
    description.store_id.fill(0x41);
    description.shape = shape_;
    description.hash_seed = 7;
    description.shard_count = config_.shard_count;
    require(files_.create_directory("/db").ok(), "directory");
    require(store::create_description(files_, "/db", description).ok(), "db.meta");
    files_.power_cut_keep_all();
    const engine::Router router(description.shard_count, 0, description.hash_seed);
    std::array<std::size_t, kCrashKeys> shard_of{};
    for (std::size_t number = 0; number < kCrashKeys; ++number) {
      const auto key = test::crash_key(number);
      shard_of[number] = router.shard(key.data(), key.size(), router.hash(key.data(), key.size()));
    }
    model_.begin(shard_of, description.shard_count);
  }

  // `all`: every completed write must be there, else every durable one.
  void reopen(bool all) {
    Result<Collection> opened = Collection::open("/db", shape_, config_);
    if (!opened.ok() && files_.fault_met()) {
      files_.clear_faults();
      opened = Collection::open("/db", shape_, config_);
    }
    require(opened.ok(), "opens", opened.status());
    files_.clear_faults();
    sick_ = false;
    collection_ = std::move(*opened);
    require(collection_.stats().damaged_regions == 0, "no damage is reported");
    CrashContents contents{};
    const Status status = collection_.for_each([&](Bytes key, Bytes bytes) {
      const std::size_t number = test::crash_key_number(key);
      require(number < kCrashKeys, "keys are those that were written");
      const Result<std::uint64_t> expiry = collection_.expires_at(key);
      require(expiry.ok(), "a listed key has not expired", expiry.status());
      contents[number] =
          test::crash_value_hash(bytes, *expiry == WriteOptions::kForever ? 0 : *expiry);
      return true;
    });
    require(status.ok(), "everything can be read", status);
    std::vector<CrashModel::Range> ranges;
    for (std::size_t shard = 0; shard < model_.shards(); ++shard) {
      const CrashMark mark = model_.mark(shard);
      ranges.push_back({all ? mark.completed : mark.durable, mark.started});
    }
    const auto j = model_.find_all(contents, ranges);
    require(j.has_value(), all ? "all completed writes are there" : "all durable writes are there");
    for (std::size_t shard = 0; shard < j->size(); ++shard) model_.cut(shard, (*j)[shard]);
  }

  void crash(bool power, std::uint64_t seed) {
    const FaultFileSystem::Snapshot disk = files_.snapshot();
    collection_ = Collection();
    files_.restore(disk);
    files_.clear_faults();
    if (power) files_.power_cut_random(seed);
    reopen(!power && !sick_);
  }

  void done(const Status& status, bool synced) {
    const bool met = files_.fault_met();
    if (status.ok() && collection_.stats().failed_shards == 0) {
      model_.complete();
      for (std::size_t shard = 0; shard < model_.shards(); ++shard) {
        const std::size_t key = model_.key_of(shard);
        if (key == kCrashKeys) continue;
        const std::uint64_t sequence = collection_.durable_sequence(test::crash_key(key));
        if (synced) model_.synced(shard, sequence);
        if (!synced) model_.durable_sequence(shard, sequence);
      }
      return;
    }
    require(met, "only injected faults make operations fail", status);
    sick_ = true;  // what no sync covered may be gone
    crash(false, 0);
  }

  void write() {
    const std::size_t number = byte() % kCrashKeys;
    const auto key = test::crash_key(number);
    const auto& old = model_.value(number);
    const std::uint8_t choice = byte();
    if (choice % 4 == 0) {
      if (!old) return require(collection_.erase(key).is(Errc::not_found), "erase of nothing");
      model_.start({number});
      return done(collection_.erase(key, {choice > 200}), choice > 200 && alone());
    }
    const std::string fresh = value();
    if (choice % 16 == 15) {
      const std::uint64_t expiry_ms = choice > 128 ? test::kCrashExpired : test::kCrashFar;
      model_.start({number, fresh, expiry_ms});
      const Status status = collection_.write(
          {.key = Bytes(key), .value = Bytes(fresh), .expires_at_ms = expiry_ms}, {});
      return done(status, false);
    }
    const bool swap = choice % 4 == 1 && old.has_value();
    const std::string before = swap ? *old : std::string();
    model_.start({number, fresh});
    if (swap) return done(collection_.cas(key, before, fresh), false);
    done(collection_.put(key, fresh, {choice > 200}), choice > 200 && alone());
  }

  // The sync of a write covers its shard, and those that batches bind to it.
  [[nodiscard]] bool alone() const { return config_.shard_count == 1; }

  // Operands of a batch or a block; `one_shard`: only keys of the first one's shard.
  std::vector<CrashWrite> batch_writes(bool one_shard) {
    std::vector<CrashWrite> writes;
    const std::size_t count = 1 + byte() % 8;
    for (std::size_t at = 0; at < count; ++at) {
      const std::uint8_t choice = byte();
      CrashWrite write{choice % kCrashKeys};
      if (one_shard && at != 0 && model_.shard_of(write.key) != model_.shard_of(writes[0].key)) {
        write.key = writes[0].key;
      }
      if (choice < 192) write.value = value();
      if (choice >= 128 && write.value) write.expiry_ms = test::kCrashFar;
      writes.push_back(std::move(write));
    }
    return writes;
  }

  static detail::WriteCall call_of(const CrashWrite& write, Bytes key) {
    detail::WriteCall call{.key = key};
    if (write.value) call.value = Bytes(*write.value);
    if (!write.value) call.kind = detail::WriteKind::erase;
    return call;
  }

  void write_batch() {
    const std::uint8_t choice = byte();
    const std::vector<CrashWrite> writes = batch_writes((choice & 1) != 0);
    detail::BatchBuffer batch;
    for (const CrashWrite& write : writes) {
      const auto key = test::crash_key(write.key);
      batch.add(call_of(write, Bytes(key)), write.expiry_ms);
    }
    model_.start_batch(writes);
    done(collection_.write_batch(batch, {choice > 200}), choice > 200 && alone());
  }

  // An error from the block takes everything back.
  void atomic_block() {
    const std::uint8_t choice = byte();
    std::vector<CrashWrite> writes = batch_writes(true);
    for (CrashWrite& write : writes) {
      if (!write.value) write.value = std::string(shape_.value_size, 'a');
    }
    const bool refuse = choice % 4 == 0;
    if (!refuse) model_.start_batch(writes);
    const auto key = test::crash_key(writes[0].key);
    const Status status = collection_.atomic(
        Bytes(key),
        [&](detail::AtomicCalls& calls) -> Status {
          for (const CrashWrite& write : writes) {
            const auto at = test::crash_key(write.key);
            const Status one = calls.write(call_of(write, Bytes(at)), {.ttl_ms = write.expiry_ms});
            if (!one.ok()) return one;
          }
          return refuse ? Status(Errc::aborted) : Status();
        },
        {choice > 200});
    if (refuse) return require(status.is(Errc::aborted), "a block is refused", status);
    done(status, choice > 200 && alone());
  }

  // Many erases, each for itself; in which order is not promised, so a sync follows.
  void erase_many() {
    files_.clear_faults();
    const std::uint8_t choice = byte();
    const bool all = !shape_.ordered || choice % 4 == 0;
    const auto from = test::crash_key(choice / 4 % kCrashKeys);
    const auto to = test::crash_key(choice / 64 * 5);
    std::uint64_t expected = 0;
    for (std::size_t number = 0; number < kCrashKeys; ++number) {
      const auto key = test::crash_key(number);
      if ((!all && (key < from || key >= to)) || !model_.value(number)) continue;
      model_.start({number});
      ++expected;
    }
    const Result<std::uint64_t> erased =
        all ? collection_.clear()
            : collection_.erase_range(Bound<Bytes>::inclusive(from), Bound<Bytes>::exclusive(to));
    require(erased.ok(), "erases", erased.status());
    require(*erased == expected, "just those that are there are erased");
    done(collection_.sync(), true);
  }

  void sweep() {
    model_.swept();
    const Result<std::uint64_t> swept = collection_.sweep_expired(byte());
    done(swept.status(), false);
  }

  void step() {
    const std::uint8_t choice = byte();
    switch (choice % 16) {
      case 0:
        return done(collection_.sync(), true);
      case 1:
        return done(collection_.flush_buffers(), false);
      case 2:
        return done(collection_.checkpoint(), true);
      case 3:
        model_.swept();
        return done(collection_.compact(), false);
      case 4: {
        model_.swept();
        const Result<bool> more = collection_.compact_step(byte() * 16 + 1);
        return done(more.ok() ? Status() : more.status(), false);
      }
      case 5:
        return crash(false, 0);
      case 6:
        return crash(true, choice * 256u + byte());
      case 7: {
        const Status status = collection_.close();
        require(status.ok() || files_.fault_met(), "closes", status);
        sick_ = !status.ok();
        for (std::size_t shard = 0; !sick_ && shard < model_.shards(); ++shard) {
          model_.synced(shard, 0);
        }
        return reopen(!sick_);
      }
      case 8: {
        const auto call = static_cast<test::Call>(byte() % 16);
        static constexpr int kErrors[] = {EIO, ENOSPC};
        return files_.fail(call, 1 + byte() % 4, kErrors[choice / 16 % 2]);
      }
      default:
        if (choice < 160) return write();
        if (choice < 208) return write_batch();
        if (choice < 232) return atomic_block();
        return choice < 248 ? erase_many() : sweep();
    }
  }

  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t at_ = 0;
  FaultFileSystem files_;
  Shape shape_;
  Config config_;
  CrashModel model_;
  bool sick_ = false;
  std::uint64_t stamp_ = 0;
  Collection collection_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  Program(data, size).run();
  return 0;
}

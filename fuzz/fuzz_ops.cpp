// Operations, reopenings, kills, power cuts and failed calls against a model.
//
// Oracle: after a reopening all is there; after a kill all that returned is there; after a power
// cut the collection is in its state after some write at or past the last sync; no damage is
// reported, and no operation fails but by an injected fault. See tests/support/crash_model.hpp.
//
// The first byte chooses type and options; the rest are operations with their operands.
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "api/collection.hpp"
#include "support/crash_model.hpp"
#include "support/fault_file_system.hpp"

namespace {

using namespace armdb;
using test::CrashContents;
using test::CrashMark;
using test::CrashModel;
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
    config_.shard_count = 1;
    config_.max_file_size = 64 << 10;
    config_.write_buffer_size = 16 << 10;
    config_.index_step_bytes = 4 << 10;
    config_.mapped_reads = (options & 8) != 0;
    config_.hints = (options & 16) == 0;
    config_.enable_fsync = (options & 32) != 0;
    config_.compaction_threshold = (options & 64) != 0 ? 0.01 : 0.5;
    model_.begin({}, 1);
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
      contents[number] = test::crash_value_hash(bytes);
      return true;
    });
    require(status.ok(), "everything can be read", status);
    const CrashMark mark = model_.mark(0);
    const auto j = model_.find(0, contents, all ? mark.completed : mark.durable, mark.started);
    require(j.has_value(), all ? "all completed writes are there" : "all durable writes are there");
    model_.cut(0, *j);
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
      const std::uint64_t sequence = collection_.durable_sequence(test::crash_key(0));
      if (synced) model_.synced(0, sequence);
      if (!synced) model_.durable_sequence(0, sequence);
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
      model_.start(number, std::nullopt);
      return done(collection_.erase(key, {choice > 200}), choice > 200);
    }
    const std::string fresh = value();
    const bool swap = choice % 4 == 1 && old.has_value();
    const std::string before = swap ? *old : std::string();
    model_.start(number, fresh);
    if (swap) return done(collection_.cas(key, before, fresh), false);
    done(collection_.put(key, fresh, {choice > 200}), choice > 200);
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
        return done(collection_.compact(), false);
      case 4: {
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
        if (!sick_) model_.synced(0, 0);
        return reopen(!sick_);
      }
      case 8: {
        const auto call = static_cast<test::Call>(byte() % 16);
        static constexpr int kErrors[] = {EIO, ENOSPC};
        return files_.fail(call, 1 + byte() % 4, kErrors[choice / 16 % 2]);
      }
      default:
        return write();
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

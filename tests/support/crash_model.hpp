// CrashModel: what a collection should hold after each of its writes, shard by shard.
//
// A write is accepted in memory before the call and completed after it; a sync makes all
// completed ones durable. After a crash a shard must equal its state after write j for some
// durable <= j <= started; after a mere kill of the process, for some completed <= j <= started.
// A batch is there whole or not at all, in all its shards.
//
// Entries may expire: far ahead, or long ago, and then they are there for no reader.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/bytes.hpp"

namespace armdb::test {

inline constexpr std::size_t kCrashKeys = 16;
inline constexpr std::size_t kCrashKeyBytes = 8;

// Hashes of the values by number of the key; 0: the key is not there.
using CrashContents = std::array<std::uint64_t, kCrashKeys>;

[[nodiscard]] std::array<std::uint8_t, kCrashKeyBytes> crash_key(std::size_t number);
// The number of a key that crash_key() made, or kCrashKeys.
[[nodiscard]] std::size_t crash_key_number(Bytes key);
[[nodiscard]] std::uint64_t crash_value_hash(Bytes value, std::uint64_t expiry_ms = 0);

// Times of expiry: over by any clock (1995), and the end of time, which a time to live of that
// length gives too.
inline constexpr std::uint64_t kCrashExpired = 788'918'400'000;
inline constexpr std::uint64_t kCrashFar = std::uint64_t{1} << 62;

struct CrashWrite {
  std::size_t key = 0;
  std::optional<std::string> value{};  // nothing erases
  std::uint64_t expiry_ms = 0;         // 0: never
};

// What is promised at one moment, counted in writes of a shard.
struct CrashMark {
  std::size_t durable = 0;    // survive a power cut
  std::size_t completed = 0;  // survive kill -9
  std::size_t started = 0;    // may be there
  std::uint64_t exposed = 0;  // the largest sequence that was ever called durable
};

// Threads: one.
class CrashModel {
 public:
  // `shard_of` has the shard of each key.
  void begin(std::array<std::size_t, kCrashKeys> shard_of, std::size_t shards);
  [[nodiscard]] bool begun() const noexcept { return !shards_.empty(); }
  [[nodiscard]] std::size_t shards() const noexcept { return shards_.size(); }
  [[nodiscard]] std::size_t shard_of(std::size_t key) const noexcept { return shard_of_[key]; }
  // A key of the shard, or kCrashKeys when it has none.
  [[nodiscard]] std::size_t key_of(std::size_t shard) const noexcept;

  void start(const CrashWrite& write);
  // Writes that count together.
  void start_batch(std::span<const CrashWrite> writes);
  // All writes that began are done.
  void complete();
  // A sync of everything returned ok; `sequence` is what the shard then calls durable.
  void synced(std::size_t shard, std::uint64_t sequence);
  // The shard says that everything up to `sequence` is durable.
  void durable_sequence(std::size_t shard, std::uint64_t sequence);
  // How many writes have this sequence or a smaller one, as far as known.
  [[nodiscard]] std::size_t writes_up_to(std::size_t shard, std::uint64_t sequence) const;

  // Expired entries may have been swept, each with a write of its own: sequences are unknown until
  // the next sync.
  void swept();

  // What a reader finds.
  [[nodiscard]] const std::optional<std::string>& value(std::size_t key) const {
    return values_[key];
  }
  // Whether any entry that is over was written.
  [[nodiscard]] bool any_expired() const noexcept { return any_expired_; }
  [[nodiscard]] CrashMark mark(std::size_t shard) const noexcept;
  // The largest j in [from, to] after which the shard held just `contents`, and no batch was half
  // written; nothing if there is none.
  [[nodiscard]] std::optional<std::size_t> find(std::size_t shard, const CrashContents& contents,
                                                std::size_t from, std::size_t to) const;
  // The largest ones of all shards such that no batch is in some of them and not in others.
  struct Range {
    std::size_t from = 0;
    std::size_t to = 0;
  };
  [[nodiscard]] std::optional<std::vector<std::size_t>> find_all(
      const CrashContents& contents, std::span<const Range> ranges) const;
  // A crash took what came after write j. Sequences are unknown until the next sync.
  void cut(std::size_t shard, std::size_t j);

 private:
  struct Write : CrashWrite {
    std::uint64_t hash_after = 0;
    std::uint64_t sequence = 0;  // 0: unknown
    bool open = false;           // the batch goes on behind it
    // What a reader finds of it.
    [[nodiscard]] bool visible() const noexcept {
      return value.has_value() && expiry_ms != kCrashExpired;
    }
  };
  // What a batch over several shards has in one: the writes from `from` to `to`.
  struct Part {
    std::size_t shard = 0;
    std::size_t from = 0;
    std::size_t to = 0;
  };
  struct Shard {
    std::vector<Write> writes;
    std::size_t completed = 0;
    std::size_t durable = 0;
    std::uint64_t sequence_last = 0;
    bool sequence_known = false;
    bool written = false;  // since it was opened
    std::uint64_t exposed = 0;
  };
  [[nodiscard]] static std::uint64_t contribution(std::size_t key, std::uint64_t value_hash);

  std::array<std::size_t, kCrashKeys> shard_of_{};
  std::vector<Shard> shards_;
  std::vector<std::vector<Part>> joints_;
  std::array<std::optional<std::string>, kCrashKeys> values_;
  std::array<std::uint64_t, kCrashKeys> hashes_{};  // of what a reader finds
  bool any_expired_ = false;
};

}  // namespace armdb::test

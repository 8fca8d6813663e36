// History: what a leader wrote and what followers showed of it, and whether both fit together.
//
// Write number n is of a key, and of a kind, that n alone tells, and its value tells n: whoever
// reads a value knows which write it is of, and a key that is not there was erased by one of the
// writes that erase it. The object lies in memory that survives the processes that write and read.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>

#include "net/network.hpp"

namespace armdb::net {

// Keys of a group begin with the same byte, and so lie in one shard. Primes, so that each key gets
// writes of all kinds.
inline constexpr std::uint64_t kGroups = 6, kSingles = 293, kPlaces = kSingles + kGroups;
inline constexpr std::uint64_t kBatchEvery = 7, kEraseEvery = 11;
inline constexpr std::uint64_t kWritesMax = std::uint64_t{16} << 20;

// Per place of a key: the number of the write it shows, 0 when it is not there.
using Content = std::uint64_t[kPlaces];

inline std::uint64_t group_of(std::uint64_t place) { return place % kGroups; }
inline std::uint64_t key_of(std::uint64_t place) { return group_of(place) << 56 | place; }

// Threads: any, but one writer, and one that shows for each host.
struct History {
  bool batches = false;   // else these writes are of one key, as any
  bool prefixes = false;  // a shard is what the leader's was after some write: see README.md
  std::atomic<std::uint64_t> started, completed;  // writes
  std::atomic<std::uint64_t> shown[kHosts][kPlaces];
  // By how many followers: all up to this write is durable at so many, as a leader was told.
  std::atomic<std::uint64_t> promised[kHosts];
  // A copy came, and the host has not been level since: batches may be there in part.
  std::atomic<bool> uneven[kHosts];
  // A leader that had less has taken over, and the host has not been level since.
  std::atomic<bool> parted[kHosts];
  std::atomic<std::uint8_t> lost[kWritesMax];  // the leader was killed before it had these

  [[nodiscard]] bool is_batch(std::uint64_t n) const { return batches && n % kBatchEvery == 0; }
  [[nodiscard]] bool erases(std::uint64_t n) const { return n % kEraseEvery == 0 && !is_batch(n); }
  [[nodiscard]] bool touches(std::uint64_t n, std::uint64_t place) const {
    return place < kSingles ? !is_batch(n) && n % kSingles == place : is_batch(n);
  }

  // Each of these tells what is wrong, or nothing.

  // A follower shows write `n` at `place`, or, for 0, nothing.
  std::string show(unsigned host, std::uint64_t place, std::uint64_t n);
  // A leader has opened its collection: all that was written and shown is there, and what was not
  // begun to be kept will never be.
  std::string settle_leader(const Content& content, bool keeps_completed);
  // A follower takes over with what it has: what it does not have is lost, and others that have it
  // may go back.
  std::string take_over(unsigned host, const Content& content);
  // A follower that nobody feeds.
  std::string judge_standing(unsigned host, const Content& content) const;
  // The hosts but the leader, while nobody feeds them: what was promised is at enough of them.
  std::string judge_promises(unsigned leader, std::span<const Content> contents) const;

 private:
  // The last write to a place, at or below n, that was not lost; 0: there is none.
  [[nodiscard]] std::uint64_t last_write(std::uint64_t place, std::uint64_t n) const;
  // The first erasure of a place, at or above n; 0: there is none.
  [[nodiscard]] std::uint64_t next_erasure(std::uint64_t place, std::uint64_t n) const;
  // Whether a place that shows `n` has all its writes up to `low`.
  [[nodiscard]] bool reaches(std::uint64_t place, std::uint64_t n, std::uint64_t low) const;
  // The write that all of a group's keys have come to, and none is past.
  std::string find_end(std::uint64_t group, const Content& content, std::uint64_t& end) const;
};

}  // namespace armdb::net

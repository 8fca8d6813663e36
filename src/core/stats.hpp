// Stats and VerifyReport: what a collection tells about itself.
#pragma once

#include <cstdint>

namespace armdb {

// Sums over all shards at about one moment. Sizes are bytes.
struct Stats {
  std::uint64_t entries = 0;  // live keys
  std::uint64_t shards = 0;
  std::uint64_t index_bytes = 0;  // memory of the index, all of it
  double index_bytes_per_key = 0;
  std::uint64_t buffer_bytes = 0;  // write buffers and caches
  std::uint64_t segments = 0;
  std::uint64_t file_bytes = 0;        // segments, hints, tail buffers and manifests
  std::uint64_t data_bytes = 0;        // entries in segments and tail buffers
  std::uint64_t dead_bytes = 0;        // of these, what compaction could drop
  std::uint64_t tombstones = 0;        // in segments
  std::uint64_t last_sequence = 0;     // the largest of any shard
  std::uint64_t unsynced_shards = 0;   // with writes a power cut could take; read_only: found ones
  bool written_survives_kill = false;  // a returned put survives kill -9: see README
  std::uint64_t failed_shards = 0;     // read-only after a failed write or sync
  std::uint64_t full_shards = 0;       // refusing puts for want of disk space
  // What opening found.
  std::uint64_t opened_by_hint = 0;      // entries read from hint files
  std::uint64_t opened_by_scan = 0;      // entries read from segments and tail buffers
  std::uint64_t torn_bytes = 0;          // cut by a crash, never acknowledged as synced
  std::uint64_t damaged_regions = 0;     // wrong bytes that no crash explains, skipped
  std::uint64_t segments_set_aside = 0;  // kept on disk, not served: they follow a hole
  std::uint64_t cache_hits = 0;
  std::uint64_t cache_misses = 0;
  std::uint64_t compactions = 0;  // segments rewritten or dropped since open
  std::uint64_t syncs = 0;        // syncs of a shard since open
};

// What verify() read.
struct VerifyReport {
  std::uint64_t segments = 0;
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;
  std::uint64_t damaged_regions = 0;  // 0: everything stored is readable and whole
  std::uint64_t forged_pieces = 0;    // encrypted: whole, but tampered with, as no disk does it
};

}  // namespace armdb

// Names of files in a collection's directory.
//
//   LOCK  db.meta  db.keys  db.state  db.replica  db.cursor  shard_000/
//   of a shard: MANIFEST  tail.buf  0000000001.data  0000000001.hint, or slots.dat
//
// Further endings: .tmp (being written, deleted at open), .aside (set aside by recovery, never
// read again), .failed (a sync of that segment failed: drop its cached pages before reading).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace armdb::format {

enum class FileRole : std::uint8_t {
  segment,    // 0000000001.data
  hint,       // 0000000001.hint
  aside,      // 0000000001.aside
  failed,     // 0000000001.failed
  manifest,   // MANIFEST
  tail,       // tail.buf
  temporary,  // anything.tmp
  unknown,
};

struct FileName {
  FileRole role = FileRole::unknown;
  std::uint32_t file_id = 0;  // for the numbered roles; 1 to Location::kFileIdMax
};

inline constexpr std::string_view kLockName = "LOCK";
inline constexpr std::string_view kMetaName = "db.meta";
inline constexpr std::string_view kStateName = "db.state";
inline constexpr std::string_view kKeysName = "db.keys";
inline constexpr std::string_view kReplicaName = "db.replica";
inline constexpr std::string_view kCursorName = "db.cursor";
inline constexpr std::string_view kManifestName = "MANIFEST";
inline constexpr std::string_view kTailName = "tail.buf";
inline constexpr std::string_view kSlotsName = "slots.dat";
// Disk space kept for compaction on a full disk; its content means nothing.
inline constexpr std::string_view kReserveName = "reserve";

// Exactly ten digits and the ending; anything else is unknown.
[[nodiscard]] FileName parse_file_name(std::string_view name) noexcept;
[[nodiscard]] std::string file_name(FileRole role, std::uint32_t file_id);
// "shard_000" .. "shard_255".
[[nodiscard]] std::string shard_directory_name(std::uint32_t shard);

}  // namespace armdb::format

// A small collection of one shard on a FaultFileSystem, and the means to hurt its files.
#pragma once

#include <algorithm>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "api/collection.hpp"
#include "support/catch.hpp"
#include "support/fault_file_system.hpp"
#include "support/file_system_contract.hpp"

namespace armdb::test {

inline constexpr Shape kVarTree{4, 0, true, Payload::location};
inline constexpr Shape kConstMap{4, 8, false, Payload::value};
inline constexpr const char* kShard = "/c/shard_000";

// "0007": what a key looks like.
inline std::string key_of(int number) {
  std::string text = std::to_string(number);
  text.insert(0, 4 - std::min<std::size_t>(4, text.size()), '0');
  return text;
}
// "v0007..1": eight bytes, so that it fits kConstMap too.
inline std::string value_of(int number, int version = 0) {
  return "v" + key_of(number) + key_of(version).substr(1);
}

inline Config one_shard(FileSystem& files) {
  Config config;
  config.file_system = &files;
  config.shard_count = 1;
  config.write_buffer_size = 16u << 10;
  config.max_file_size = 64u << 10;
  config.index_step_bytes = 4u << 10;
  config.reversed = false;
  return config;
}

// Errors and warnings that a collection logged.
struct LogLines {
  std::mutex mutex;
  std::vector<std::string> lines;
  Log log() {
    return {[](void* self, LogLevel, std::string_view text) {
              auto* const all = static_cast<LogLines*>(self);
              const std::lock_guard lock(all->mutex);
              all->lines.emplace_back(text);
            },
            this};
  }
};

inline Collection open_shard(const Config& config, const Shape& shape = kVarTree) {
  Result<Collection> collection = Collection::open("/c", shape, config);
  INFO(collection.message());
  REQUIRE(collection.ok());
  return *std::move(collection);
}

inline void put(Collection& collection, int number, int version = 0) {
  const Status status = collection.put(key_of(number), value_of(number, version));
  INFO(status.message());
  REQUIRE(status.ok());
}
inline void put_range(Collection& collection, int first, int last, int version = 0) {
  for (int number = first; number < last; ++number) put(collection, number, version);
}

// Everything in it; a value that cannot be read is "error: ...".
inline std::map<std::string, std::string> contents(const Collection& collection) {
  std::map<std::string, std::string> all;
  const Status status = collection.for_each(
      [&](Bytes key, Bytes) {
        const auto value = collection.get(key);
        if (!value.ok()) {
          all[std::string(key.text())] = "error: " + value.message();
        } else if (value->has_value()) {
          all[std::string(key.text())] = std::string((*value)->text());
        }
        return true;
      },
      false);
  INFO(status.message());
  REQUIRE(status.ok());
  return all;
}
inline std::map<std::string, std::string> numbers(int first, int last, int version = 0) {
  std::map<std::string, std::string> all;
  for (int number = first; number < last; ++number) all[key_of(number)] = value_of(number, version);
  return all;
}
// When the contents are the entries from 0 up to some number: that number, else -1.
inline int prefix_length(const std::map<std::string, std::string>& all) {
  const int count = static_cast<int>(all.size());
  return all == numbers(0, count) ? count : -1;
}

// ---- Files ----

inline std::string in_shard(const char* name) {
  std::string path = kShard;
  path += '/';
  path += name;
  return path;
}
inline std::string segment_path(int id, const char* ending = "data") {
  const std::string text = std::to_string(id);
  std::string name(10 - text.size(), '0');
  name += text;
  name += '.';
  name += ending;
  return in_shard(name.c_str());
}
inline bool exists(FileSystem& files, const std::string& path) { return files.info(path).ok(); }

// Replaces a file, durably.
inline void replace(FileSystem& files, const std::string& path, const std::string& bytes) {
  static_cast<void>(files.remove(path));
  auto file = files.open(path, OpenMode::create_new);
  REQUIRE(file.ok());
  REQUIRE((*file)->write_at(0, Bytes(bytes)).ok());
  REQUIRE((*file)->sync().ok());
  REQUIRE(files.sync_directory(path.substr(0, path.rfind('/'))).ok());
}
// Changes bytes in place.
inline void patch(FileSystem& files, const std::string& path, std::uint64_t at,
                  const std::string& bytes) {
  auto file = files.open(path, OpenMode::read_write);
  REQUIRE(file.ok());
  REQUIRE((*file)->write_at(at, Bytes(bytes)).ok());
  REQUIRE((*file)->sync().ok());
}
inline void flip(FileSystem& files, const std::string& path, std::uint64_t at, int bit) {
  auto file = files.open(path, OpenMode::read_write);
  REQUIRE(file.ok());
  std::uint8_t byte[1];
  REQUIRE((*file)->read_at(at, byte).value() == 1);
  byte[0] = static_cast<std::uint8_t>(byte[0] ^ (1u << bit));
  REQUIRE((*file)->write_at(at, Bytes(byte)).ok());
  REQUIRE((*file)->sync().ok());
}
inline void cut(FileSystem& files, const std::string& path, std::uint64_t size) {
  auto file = files.open(path, OpenMode::read_write);
  REQUIRE(file.ok());
  REQUIRE((*file)->truncate(size).ok());
  REQUIRE((*file)->sync().ok());
}
// The names in the shard's directory with this ending, in order.
inline std::vector<std::string> names_with(FileSystem& files, const std::string& ending,
                                           const std::string& directory = kShard) {
  std::vector<std::string> names;
  for (const auto& [name, kind] : list_names(files, directory)) {
    if (name.ends_with(ending)) names.push_back(name);
  }
  return names;
}
// The length without zeros at the end, rounded up to whole entries.
inline std::size_t used_length(const std::string& bytes) {
  std::size_t used = bytes.find_last_not_of('\0') + 1;
  return (used + 7) / 8 * 8;
}

}  // namespace armdb::test

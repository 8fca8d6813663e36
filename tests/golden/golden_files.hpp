// What the golden tests share: copies of stores, and all that is in them.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include "api/collection.hpp"
#include "support/catch.hpp"

namespace armdb::test {

using GoldenBytes = std::map<std::string, std::string>;

// Names and bytes of all files, LOCK left out.
inline GoldenBytes golden_bytes_of(const std::filesystem::path& folder) {
  GoldenBytes all;
  for (const auto& item : std::filesystem::recursive_directory_iterator(folder)) {
    if (!item.is_regular_file() || item.path().filename() == "LOCK") continue;
    std::ifstream file(item.path(), std::ios::binary);
    all[std::filesystem::relative(item.path(), folder).string()].assign(
        std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return all;
}

inline Collection open_golden(const std::filesystem::path& path, const Shape& shape, bool read_only,
                              bool mapped) {
  Config config;
  config.read_only = read_only;
  config.create = false;
  config.mapped_reads = mapped;
  config.write_buffer_size = 16 << 10;
  Result<Collection> opened = Collection::open(path.string(), shape, config);
  INFO(path << ": " << opened.message());
  REQUIRE(opened.ok());
  return *std::move(opened);
}

}  // namespace armdb::test

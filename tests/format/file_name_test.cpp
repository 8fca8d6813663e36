// File names: what is ours, what is not, and that names go round.
#include "format/file_name.hpp"

#include <string>

#include "base/location.hpp"
#include "support/catch.hpp"

using namespace armdb;
using namespace armdb::format;

namespace {

bool is_role(std::string_view name, FileRole role, std::uint32_t file_id = 0) {
  const FileName parsed = parse_file_name(name);
  return parsed.role == role && parsed.file_id == file_id;
}

}  // namespace

TEST_CASE("file_name: the names of a shard's directory are known") {
  CHECK(is_role("0000000001.data", FileRole::segment, 1));
  CHECK(is_role("0000000012.hint", FileRole::hint, 12));
  CHECK(is_role("0000000123.aside", FileRole::aside, 123));
  CHECK(is_role("0000001234.failed", FileRole::failed, 1234));
  CHECK(is_role("MANIFEST", FileRole::manifest));
  CHECK(is_role("tail.buf", FileRole::tail));
  CHECK(is_role("MANIFEST.tmp", FileRole::temporary));
  CHECK(is_role("0000000001.hint.tmp", FileRole::temporary));
  CHECK(is_role("0000000001.tmp", FileRole::temporary));
}

TEST_CASE("file_name: names that only look alike are unknown") {
  for (const char* name : {"",
                           ".",
                           "..",
                           ".tmp",
                           "LOCK",
                           "db.meta",
                           "1.data",
                           "000000001.data",
                           "00000000001.data",
                           "0000000001",
                           "0000000001.",
                           "0000000001.dat",
                           "0000000001.data ",
                           "0000000001.data.bak",
                           "0000000001.DATA",
                           "0000000001data",
                           " 000000001.data",
                           "+000000001.data",
                           "-000000001.data",
                           "0x00000001.data",
                           "000000000a.data",
                           "0000000001.hint~",
                           "manifest",
                           "MANIFEST.",
                           "MANIFEST2",
                           "tail.buf2",
                           "tail",
                           "0000000001.tmpx",
                           "x0000000001.data"}) {
    INFO(name);
    CHECK(is_role(name, FileRole::unknown));
  }
  CHECK(is_role(std::string_view("0000000001.data\0", 16), FileRole::unknown));
  CHECK(is_role(std::string_view("000000000\0.data", 15), FileRole::unknown));
  CHECK(is_role("000000000\xb2.data", FileRole::unknown));
}

TEST_CASE("file_name: ids are from 1 to the largest of a location [pitfall-22]") {
  CHECK(is_role("0000000000.data", FileRole::unknown));
  CHECK(is_role("0016777215.data", FileRole::segment, base::Location::kFileIdMax));
  CHECK(is_role("0016777216.data", FileRole::unknown));
  CHECK(is_role("4294967297.data", FileRole::unknown));  // 2^32 + 1
  CHECK(is_role("9999999999.data", FileRole::unknown));
}

TEST_CASE("file_name: what is written is read back") {
  CHECK(file_name(FileRole::segment, 1) == "0000000001.data");
  CHECK(file_name(FileRole::manifest, 0) == "MANIFEST");
  CHECK(file_name(FileRole::tail, 0) == "tail.buf");
  CHECK(file_name(FileRole::temporary, 5) == "0000000005.tmp");
  for (const FileRole role :
       {FileRole::segment, FileRole::hint, FileRole::aside, FileRole::failed}) {
    for (const std::uint32_t file_id : {1u, 9u, 10u, 99999u, base::Location::kFileIdMax}) {
      CHECK(is_role(file_name(role, file_id), role, file_id));
    }
  }
}

TEST_CASE("file_name: shards have directories of three digits") {
  CHECK(shard_directory_name(0) == "shard_000");
  CHECK(shard_directory_name(7) == "shard_007");
  CHECK(shard_directory_name(255) == "shard_255");
}

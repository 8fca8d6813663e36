// What every FileSystem must do, as checks that the tests of each one run.
#pragma once

#include <cerrno>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "core/file_system.hpp"
#include "support/catch.hpp"

namespace armdb::test {

inline std::string read_all(File& file) {
  std::string text(static_cast<std::size_t>(file.size().value()), '\0');
  const auto got =
      file.read_at(0, MutableBytes(reinterpret_cast<std::uint8_t*>(text.data()), text.size()));
  REQUIRE(got.ok());
  text.resize(*got);
  return text;
}

inline std::string read_path(FileSystem& files, const std::string& path) {
  auto file = files.open(path, OpenMode::read);
  INFO(file.message());
  REQUIRE(file.ok());
  return read_all(**file);
}

inline void write_path(FileSystem& files, const std::string& path, const std::string& text) {
  auto file = files.open(path, OpenMode::create_new);
  INFO(file.message());
  REQUIRE(file.ok());
  REQUIRE((*file)->write_at(0, text).ok());
}

inline std::map<std::string, FileKind> list_names(FileSystem& files, const std::string& path) {
  std::map<std::string, FileKind> names;
  REQUIRE(files
              .list(path,
                    [&](std::string_view name, FileKind kind) { names[std::string(name)] = kind; })
              .ok());
  return names;
}

// Reading, writing, sizes. `root` is an empty directory.
inline void check_file_contract(FileSystem& files, const std::string& root) {
  const std::string path = root + "/file";
  CHECK(files.open(path, OpenMode::read).is(Errc::not_found));
  CHECK(files.open(path, OpenMode::read_write).is(Errc::not_found));
  auto opened = files.open(path, OpenMode::create_new);
  INFO(opened.message());
  REQUIRE(opened.ok());
  File& file = **opened;
  CHECK(file.size().value() == 0);
  const auto again = files.open(path, OpenMode::create_new);
  CHECK_FALSE(again.ok());
  CHECK(again.status().os_error() == EEXIST);
  CHECK(again.status().file() == path);

  std::uint8_t buffer[16];
  CHECK(file.read_at(0, buffer).value() == 0);
  REQUIRE(file.write_at(0, "hello world").ok());
  REQUIRE(file.write_at(6, Bytes()).ok());
  CHECK(file.read_at(6, buffer).value() == 5);
  CHECK(std::memcmp(buffer, "world", 5) == 0);
  CHECK(file.read_at(11, buffer).value() == 0);
  CHECK(file.read_at(std::uint64_t{1} << 62, buffer).value() == 0);
  CHECK(file.read_at(0, MutableBytes()).value() == 0);

  REQUIRE(file.write_at(20, "!").ok());  // a hole reads as zeros
  CHECK(read_all(file) == std::string("hello world") + std::string(9, '\0') + "!");
  REQUIRE(file.truncate(5).ok());
  REQUIRE(file.truncate(8).ok());  // and so does what a truncation cut
  CHECK(read_all(file) == std::string("hello\0\0\0", 8));
  CHECK(file.sync().ok());
  CHECK(file.drop_cache().ok());
  CHECK(read_all(file) == std::string("hello\0\0\0", 8));

  const Status allocated = file.allocate(4, 10000);
  CHECK((allocated.ok() || allocated.is(Errc::unsupported)));
  if (allocated.ok()) {
    CHECK(file.size().value() == 10004);
    CHECK(read_path(files, path).substr(0, 8) == std::string("hello\0\0\0", 8));
    REQUIRE(file.allocate(0, 100).ok());  // never shrinks
    CHECK(file.size().value() == 10004);
  }
  CHECK(files.info(path).value().size == file.size().value());

  auto reader = files.open(path, OpenMode::read);
  REQUIRE(reader.ok());
  const Status refused = (*reader)->write_at(0, "x");
  CHECK_FALSE(refused.ok());
  CHECK(refused.file() == path);
  auto writer = files.open(path, OpenMode::read_write);
  REQUIRE(writer.ok());
  REQUIRE((*writer)->write_at(0, "J").ok());
  CHECK((*reader)->read_at(0, buffer).value() == sizeof buffer);
  CHECK(buffer[0] == 'J');
}

// Directories, renames and removals.
inline void check_names_contract(FileSystem& files, const std::string& root) {
  CHECK(files.info(root + "/none").is(Errc::not_found));
  CHECK(files.info(root).value().kind == FileKind::directory);
  CHECK(files.create_directory(root + "/a/b").is(Errc::not_found));
  REQUIRE(files.create_directory(root + "/a").ok());
  REQUIRE(files.create_directory(root + "/a").ok());  // again is ok
  REQUIRE(files.create_directory(root + "/a/b").ok());
  CHECK(files.open(root + "/no/file", OpenMode::create_new).is(Errc::not_found));
  write_path(files, root + "/a/one", "1");
  write_path(files, root + "/a/two", "2");
  CHECK(files.create_directory(root + "/a/one").is(Errc::invalid_argument));
  CHECK(files.open(root + "/a", OpenMode::read).is(Errc::invalid_argument));
  CHECK(files.open(root + "/a", OpenMode::read_write).is(Errc::invalid_argument));
  CHECK(list_names(files, root + "/a") ==
        std::map<std::string, FileKind>{
            {"b", FileKind::directory}, {"one", FileKind::regular}, {"two", FileKind::regular}});
  CHECK(list_names(files, root).size() == 1);
  CHECK(files.list(root + "/none", [](std::string_view, FileKind) {}).is(Errc::not_found));
  CHECK_FALSE(files.list(root + "/a/one", [](std::string_view, FileKind) {}).ok());

  auto old_two = files.open(root + "/a/two", OpenMode::read);
  REQUIRE(old_two.ok());
  REQUIRE(files.rename(root + "/a/one", root + "/a/two").ok());
  CHECK(files.info(root + "/a/one").is(Errc::not_found));
  CHECK(read_path(files, root + "/a/two") == "1");
  CHECK(read_all(**old_two) == "2");  // who has it open keeps it
  REQUIRE(files.rename(root + "/a/two", root + "/a/b/three").ok());
  CHECK(files.rename(root + "/a/none", root + "/a/x").is(Errc::not_found));
  CHECK_FALSE(files.rename(root + "/a/b/three", root + "/a/b").ok());
  CHECK(files.sync_directory(root + "/a").ok());
  CHECK(files.sync_directory(root + "/none").is(Errc::not_found));

  CHECK_FALSE(files.remove(root + "/a").ok());  // not empty
  auto three = files.open(root + "/a/b/three", OpenMode::read_write);
  REQUIRE(three.ok());
  REQUIRE(files.remove(root + "/a/b/three").ok());
  CHECK(files.remove(root + "/a/b/three").is(Errc::not_found));
  REQUIRE((*three)->write_at(1, "more").ok());
  CHECK(read_all(**three) == "1more");
  REQUIRE(files.remove(root + "/a/b").ok());
  REQUIRE(files.remove(root + "/a").ok());
  CHECK(list_names(files, root).empty());
}

// Mappings, where there are any.
inline void check_mapping_contract(FileSystem& files, const std::string& root) {
  auto opened = files.open(root + "/mapped", OpenMode::create_new);
  REQUIRE(opened.ok());
  File& file = **opened;
  REQUIRE(file.write_at(0, std::vector<std::uint8_t>(1000, 'a')).ok());
  auto mapped = file.map(100000, MapMode::read);
  if (mapped.is(Errc::unsupported)) return;
  INFO(mapped.message());
  REQUIRE(mapped.ok());
  CHECK((*mapped)->size() == 100000);
  const std::uint8_t* const bytes = (*mapped)->data();
  CHECK(bytes[999] == 'a');
  REQUIRE(file.write_at(1000, std::vector<std::uint8_t>(50000, 'b')).ok());
  CHECK(bytes[1000] == 'b');
  CHECK(bytes[50999] == 'b');
  REQUIRE(file.write_at(5, "c").ok());
  CHECK(bytes[5] == 'c');

  {
    auto writable = file.map(51000, MapMode::read_write);
    REQUIRE(writable.ok());
    (*writable)->data()[7] = 'w';
    CHECK(bytes[7] == 'w');
    std::uint8_t byte[1];
    CHECK(file.read_at(7, byte).value() == 1);
    CHECK(byte[0] == 'w');
    CHECK(file.sync().ok());
  }
  opened->reset();
  CHECK(bytes[7] == 'w');  // a mapping outlives the handle
  CHECK(read_path(files, root + "/mapped")[7] == 'w');
  auto reader = files.open(root + "/mapped", OpenMode::read);
  REQUIRE(reader.ok());
  CHECK((*reader)->map(10, MapMode::read).ok());
  CHECK_FALSE((*reader)->map(10, MapMode::read_write).ok());
  CHECK_FALSE((*reader)->map(0, MapMode::read).ok());
}

// Locks inside one process.
inline void check_lock_contract(FileSystem& files, const std::string& root) {
  const std::string path = root + "/LOCK";
  CHECK(files.lock(path, LockMode::shared).is(Errc::not_found));
  {
    auto held = files.lock(path, LockMode::exclusive);
    INFO(held.message());
    REQUIRE(held.ok());
    for (const LockMode mode : {LockMode::exclusive, LockMode::shared}) {
      const auto second = files.lock(path, mode);
      CHECK(second.is(Errc::locked));
      CHECK(second.message().find("pid ") != std::string::npos);
      CHECK(second.status().file() == path);
    }
    CHECK(read_path(files, path).starts_with("pid "));
  }
  auto one = files.lock(path, LockMode::shared);
  auto two = files.lock(path, LockMode::shared);
  REQUIRE(one.ok());
  REQUIRE(two.ok());
  one->reset();
  CHECK(files.lock(path, LockMode::exclusive).is(Errc::locked));
  two->reset();
  CHECK(files.lock(path, LockMode::exclusive).ok());
  CHECK_FALSE(files.lock(root, LockMode::exclusive).ok());
}

}  // namespace armdb::test

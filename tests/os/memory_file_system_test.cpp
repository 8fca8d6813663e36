// Tests of files in memory.
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "core/file_system.hpp"
#include "support/catch.hpp"
#include "support/file_system_contract.hpp"

using namespace armdb;

TEST_CASE("memory_file_system: keeps the contract of a FileSystem") {
  const Owned<FileSystem> files = make_memory_file_system();
  REQUIRE(files);
  SECTION("files") { test::check_file_contract(*files, ""); }
  SECTION("names") { test::check_names_contract(*files, ""); }
  SECTION("mappings") { test::check_mapping_contract(*files, ""); }
  SECTION("locks") { test::check_lock_contract(*files, ""); }
}

TEST_CASE("memory_file_system: paths mean the same however they are written") {
  const Owned<FileSystem> files = make_memory_file_system();
  REQUIRE(files->create_directory("dir").ok());
  test::write_path(*files, "dir/file", "x");
  CHECK(test::read_path(*files, "/dir//./file") == "x");
  CHECK(test::read_path(*files, "dir/../dir/file") == "x");
  CHECK(files->info("/").value().kind == FileKind::directory);
  CHECK(files->info("..").value().kind == FileKind::directory);
}

TEST_CASE("memory_file_system: a renamed directory takes its content along") {
  const Owned<FileSystem> files = make_memory_file_system();
  REQUIRE(files->create_directory("a").ok());
  REQUIRE(files->create_directory("a/b").ok());
  REQUIRE(files->create_directory("ab").ok());
  test::write_path(*files, "a/b/file", "x");
  test::write_path(*files, "a/two", "y");
  CHECK_FALSE(files->rename("a", "a/b/c").ok());
  CHECK_FALSE(files->rename("ab", "a").ok());  // not empty
  REQUIRE(files->rename("a", "z").ok());
  CHECK(test::read_path(*files, "z/b/file") == "x");
  CHECK(test::read_path(*files, "z/two") == "y");
  CHECK(files->info("a").is(Errc::not_found));
  CHECK(files->info("a/b/file").is(Errc::not_found));
  CHECK(test::list_names(*files, "/").size() == 2);
}

TEST_CASE("memory_file_system: two file systems share nothing") {
  const Owned<FileSystem> one = make_memory_file_system();
  const Owned<FileSystem> two = make_memory_file_system();
  test::write_path(*one, "file", "x");
  CHECK(two->info("file").is(Errc::not_found));
}

TEST_CASE("memory_file_system: a mapping that cannot stay coherent is unsupported") {
  const Owned<FileSystem> files = make_memory_file_system();
  auto file = files->open("file", OpenMode::create_new);
  REQUIRE(file.ok());
  CHECK((*file)->map((std::size_t{64} << 20) + 1, MapMode::read).is(Errc::unsupported));
  auto small = (*file)->map(8192, MapMode::read);
  REQUIRE(small.ok());
  CHECK((*file)->map(1 << 20, MapMode::read).is(Errc::unsupported));
  small->reset();
  CHECK((*file)->map(1 << 20, MapMode::read).ok());
}

TEST_CASE("memory_file_system: sizes no memory can hold are errors, and change nothing") {
  const Owned<FileSystem> files = make_memory_file_system();
  auto file = files->open("file", OpenMode::create_new);
  REQUIRE(file.ok());
  REQUIRE((*file)->write_at(0, "x").ok());
  CHECK((*file)->write_at(~std::uint64_t{0} - 1, "xyz").is(Errc::no_space));
  CHECK((*file)->truncate(~std::uint64_t{0}).is(Errc::no_space));
  CHECK((*file)->allocate(~std::uint64_t{0}, 2).is(Errc::no_space));
  CHECK(test::read_all(**file) == "x");
}

#if !defined(ARMDB_OMIT_THREADS)

TEST_CASE("memory_file_system: mapped bytes may be read while others are appended", "[threads]") {
  const Owned<FileSystem> files = make_memory_file_system();
  auto opened = files->open("log", OpenMode::create_new);
  REQUIRE(opened.ok());
  File& file = **opened;
  constexpr std::size_t kPiece = 100;
  constexpr std::size_t kPieces = 2000;
  auto mapped = file.map(kPiece * kPieces, MapMode::read);
  REQUIRE(mapped.ok());
  const std::uint8_t* const bytes = (*mapped)->data();
  std::atomic<std::size_t> readable{0};
  std::atomic<bool> wrong{false};
  std::thread reader([&] {
    std::size_t seen = 0;
    while (seen < kPieces) {
      seen = readable.load(std::memory_order_acquire);
      if (seen == 0) continue;
      const std::size_t piece = seen - 1;
      for (std::size_t at = 0; at < kPiece; ++at) {
        if (bytes[piece * kPiece + at] != static_cast<std::uint8_t>(piece)) wrong = true;
      }
    }
  });
  std::thread opener([&] {
    for (int i = 0; i < 200; ++i) {
      const auto other = files->open("log", OpenMode::read);
      if (!other.ok() || !files->info("log").ok()) wrong = true;
    }
  });
  for (std::size_t piece = 0; piece < kPieces; ++piece) {
    const std::vector<std::uint8_t> data(kPiece, static_cast<std::uint8_t>(piece));
    if (!file.write_at(piece * kPiece, data).ok()) wrong = true;
    readable.store(piece + 1, std::memory_order_release);
  }
  reader.join();
  opener.join();
  CHECK_FALSE(wrong);
}

#endif

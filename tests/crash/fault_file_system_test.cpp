// Tests of the file system that forgets: what the crash tests stand on.
#include "support/fault_file_system.hpp"

#include <algorithm>
#include <cerrno>
#include <set>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/file_system_contract.hpp"

using namespace armdb;
using test::AtomFate;
using test::Call;
using test::FaultFileSystem;
using test::PendingAtom;

namespace {

Owned<File> create(FaultFileSystem& files, const std::string& path) {
  auto file = files.open(path, OpenMode::create_new);
  INFO(file.message());
  REQUIRE(file.ok());
  return *std::move(file);
}

// A file that is durable, name and all.
Owned<File> create_durable(FaultFileSystem& files, const std::string& path,
                           const std::string& text) {
  Owned<File> file = create(files, path);
  REQUIRE(file->write_at(0, text).ok());
  REQUIRE(file->sync().ok());
  REQUIRE(files.sync_directory("/").ok());
  return file;
}

bool exists(FaultFileSystem& files, const std::string& path) { return files.info(path).ok(); }

}  // namespace

TEST_CASE("fault_file_system: keeps the contract of a FileSystem") {
  FaultFileSystem files;
  SECTION("files") { test::check_file_contract(files, ""); }
  SECTION("names") { test::check_names_contract(files, ""); }
  SECTION("mappings") { test::check_mapping_contract(files, ""); }
  SECTION("locks") { test::check_lock_contract(files, ""); }
}

TEST_CASE("fault_file_system: a power cut loses what was not synced, names too") {
  FaultFileSystem files;
  Owned<File> file = create_durable(files, "kept", "first");
  REQUIRE(file->write_at(5, " second").ok());
  const Owned<File> unnamed = create(files, "unnamed");
  REQUIRE(unnamed->write_at(0, "x").ok());
  REQUIRE(unnamed->sync().ok());
  REQUIRE(files.create_directory("dir").ok());
  test::write_path(files, "dir/file", "y");
  REQUIRE(files.sync_directory("dir").ok());  // in a directory that is not there yet

  files.power_cut_lose_all();
  CHECK(test::read_path(files, "kept") == "first");
  CHECK(test::list_names(files, "/").size() == 1);
  CHECK(files.pending_atoms() == 0);
  CHECK(files.pending_directory_operations() == 0);
}

TEST_CASE("fault_file_system: under ext4 a file's sync keeps its name, under strict it does not") {
  for (const auto model : {FaultFileSystem::Model::strict, FaultFileSystem::Model::ext4}) {
    FaultFileSystem files(model);
    const Owned<File> file = create(files, "file");
    REQUIRE(file->sync().ok());
    files.power_cut_lose_all();
    CHECK(exists(files, "file") == (model == FaultFileSystem::Model::ext4));
  }
}

TEST_CASE("fault_file_system: a power cut that keeps all changes nothing but the handles") {
  FaultFileSystem files;
  Owned<File> file = create(files, "a");
  REQUIRE(file->write_at(100, std::string(5000, 'x')).ok());
  REQUIRE(file->truncate(3000).ok());
  REQUIRE(file->allocate(0, 4000).ok());
  REQUIRE(files.rename("a", "b").ok());
  const std::uint64_t hash = files.hash();
  files.power_cut_keep_all();
  CHECK(files.hash() == hash);
  CHECK(files.info("b").value().size == 4000);

  CHECK(file->write_at(0, "x").is(Errc::io_error));
  CHECK(file->sync().is(Errc::io_error));
  CHECK(file->size().is(Errc::io_error));
  CHECK(file->map(10, MapMode::read).is(Errc::io_error));
  std::uint8_t byte[1];
  CHECK(file->read_at(0, byte).is(Errc::io_error));
}

TEST_CASE("fault_file_system: each atom of 512 bytes has its own fate") {
  FaultFileSystem files;
  const Owned<File> file = create_durable(files, "file", std::string(1000, 'o'));
  REQUIRE(file->write_at(100, std::string(2460, 'n')).ok());  // to 2560
  CHECK(files.pending_atoms() == 5);
  std::vector<std::uint64_t> offsets;
  files.power_cut(
      [&](const PendingAtom& atom) {
        CHECK(atom.path == "/file");
        CHECK(atom.index == offsets.size());
        offsets.push_back(atom.offset);
        constexpr AtomFate kFates[] = {AtomFate::present, AtomFate::half, AtomFate::zero,
                                       AtomFate::garbage, AtomFate::absent};
        return kFates[atom.index];
      },
      [](std::size_t) { return true; });
  CHECK(offsets == std::vector<std::uint64_t>{100, 512, 1024, 1536, 2048});
  const std::string text = test::read_path(files, "file");
  REQUIRE(text.size() == 2048);
  CHECK(text.substr(0, 100) == std::string(100, 'o'));
  CHECK(text.substr(100, 412) == std::string(412, 'n'));
  CHECK(text.substr(512, 256) == std::string(256, 'n'));
  CHECK(text.substr(768, 232) == std::string(232, 'o'));
  CHECK(text.substr(1000, 536) == std::string(536, '\0'));
  CHECK(text.substr(1536) != std::string(512, 'n'));
  CHECK(text.substr(1536) != std::string(512, '\0'));
}

TEST_CASE("fault_file_system: changes of size are atoms, in order with the writes") {
  FaultFileSystem files;
  const Owned<File> file = create_durable(files, "file", "abcdef");
  REQUIRE(file->truncate(2).ok());
  REQUIRE(file->write_at(2, "X").ok());
  CHECK(files.pending_atoms() == 2);
  const auto before = files.snapshot();
  const auto cut = [&](std::size_t kept) {
    files.restore(before);
    files.power_cut(
        [&](const PendingAtom& atom) {
          return (kept >> atom.index & 1) != 0 ? AtomFate::present : AtomFate::absent;
        },
        [](std::size_t) { return true; });
    return test::read_path(files, "file");
  };
  CHECK(cut(0) == "abcdef");
  CHECK(cut(1) == "ab");
  CHECK(cut(2) == "abXdef");
  CHECK(cut(3) == "abX");
}

TEST_CASE("fault_file_system: directory operations are kept one by one") {
  FaultFileSystem files;
  create_durable(files, "old", "old");
  const Owned<File> next = create(files, "new");  // operation 0
  REQUIRE(next->write_at(0, "new").ok());
  REQUIRE(next->sync().ok());
  REQUIRE(files.rename("new", "old").ok());     // 1: atomic
  REQUIRE(files.create_directory("dir").ok());  // 2
  CHECK(files.pending_directory_operations() == 3);
  const auto before = files.snapshot();
  const auto cut = [&](unsigned kept) {
    files.restore(before);
    files.power_cut([](const PendingAtom&) { return AtomFate::absent; },
                    [&](std::size_t operation) { return (kept >> operation & 1) != 0; });
  };
  cut(0);
  CHECK(test::read_path(files, "old") == "old");
  CHECK_FALSE(exists(files, "new"));
  cut(1);
  CHECK(test::read_path(files, "old") == "old");
  CHECK(test::read_path(files, "new") == "new");
  for (const unsigned kept : {2u, 3u}) {
    cut(kept);
    CHECK(test::read_path(files, "old") == "new");
    CHECK_FALSE(exists(files, "new"));
  }
  cut(4);
  CHECK(exists(files, "dir"));
}

TEST_CASE("fault_file_system: a removed file comes back unless its directory was synced") {
  FaultFileSystem files;
  create_durable(files, "file", "text");
  REQUIRE(files.remove("file").ok());
  const auto before = files.snapshot();
  files.power_cut_lose_all();
  CHECK(test::read_path(files, "file") == "text");
  files.restore(before);
  REQUIRE(files.sync_directory("/").ok());
  files.power_cut_lose_all();
  CHECK_FALSE(exists(files, "file"));
}

TEST_CASE("fault_file_system: a failed sync forgets, hides it until the cache is dropped",
          "[pitfall-3]") {
  for (const int error : {EIO, ENOSPC, EDQUOT, EROFS}) {
    FaultFileSystem files;
    const Owned<File> file = create_durable(files, "file", "durable");
    REQUIRE(file->write_at(7, " lost").ok());
    files.fail(Call::sync, 1, error);
    const Status failed = file->sync();
    CHECK_FALSE(failed.ok());
    CHECK(failed.os_error() == error);
    CHECK(files.fault_met());
    REQUIRE(file->sync().ok());  // a retry lies
    REQUIRE(file->write_at(12, " later").ok());
    REQUIRE(file->sync().ok());
    CHECK(test::read_all(*file) == "durable lost later");
    files.kill_process();
    CHECK(test::read_path(files, "file") == "durable lost later");  // the cache is the system's
    const auto before = files.snapshot();
    const std::string on_disk = std::string("durable") + std::string(5, '\0') + " later";
    files.power_cut_keep_all();
    CHECK(test::read_path(files, "file") == on_disk);
    files.restore(before);
    auto reopened = files.open("file", OpenMode::read);
    REQUIRE(reopened.ok());
    REQUIRE((*reopened)->drop_cache().ok());
    CHECK(test::read_all(**reopened) == on_disk);
  }
}

TEST_CASE("fault_file_system: on request slots are written whole or not at all") {
  FaultFileSystem files;
  files.set_whole_sectors(true);
  REQUIRE(files.create_directory("dir").ok());
  const auto left = [&](const std::string& path, std::uint64_t offset, std::size_t part) {
    const Owned<File> file = create(files, path);
    files.fail(Call::write, 1, EIO, false, part);
    CHECK_FALSE(file->write_at(offset, std::string(1500, 'x')).ok());
    const std::size_t size = test::read_all(*file).size();
    REQUIRE(files.remove(path).ok());
    return size;
  };
  CHECK(left("dir/slots.dat", 100, 411) == 0);
  CHECK(left("dir/slots.dat", 100, 412) == 512);
  CHECK(left("dir/slots.dat", 100, 1000) == 1024);
  CHECK(left("dir/slots.dat", 1024, 511) == 0);
  CHECK(left("dir/slots.tmp", 100, 411) == 511);
  files.set_whole_sectors(false);
  CHECK(left("dir/slots.dat", 100, 411) == 511);
}

TEST_CASE("fault_file_system: a killed process leaves the page cache and frees its locks") {
  FaultFileSystem files;
  const Owned<File> file = create(files, "file");
  REQUIRE(file->write_at(0, "written").ok());
  auto mapped = file->map(4096, MapMode::read_write);
  REQUIRE(mapped.ok());
  (*mapped)->data()[0] = 'W';
  const auto held = files.lock("LOCK", LockMode::exclusive);
  REQUIRE(held.ok());
  files.kill_process();
  (*mapped)->data()[1] = 'X';  // a dead one stores into nothing
  CHECK(test::read_path(files, "file") == "Written");
  CHECK(files.lock("LOCK", LockMode::exclusive).ok());
  CHECK(file->write_at(0, "x").is(Errc::io_error));
}

TEST_CASE("fault_file_system: stores through a mapping are pending until the sync") {
  FaultFileSystem files;
  const Owned<File> file = create_durable(files, "tail", std::string(4096, '\0'));
  auto mapped = file->map(4096, MapMode::read_write);
  REQUIRE(mapped.ok());
  std::uint8_t* const bytes = (*mapped)->data();
  bytes[10] = 1;
  bytes[3000] = 2;
  CHECK(files.pending_atoms() == 2);
  bytes[10] = 3;
  CHECK(files.pending_atoms() == 3);  // what was there in between may be what stays
  const auto before = files.snapshot();
  bytes[11] = 9;  // after the snapshot

  FaultFileSystem other;
  other.restore(before);
  CHECK(test::read_path(other, "tail")[10] == 3);
  CHECK(test::read_path(other, "tail")[11] == 0);
  other.power_cut(
      [](const PendingAtom& atom) {
        return atom.index == 0 ? AtomFate::present : AtomFate::absent;
      },
      [](std::size_t) { return true; });
  CHECK(test::read_path(other, "tail")[10] == 1);
  CHECK(test::read_path(other, "tail")[3000] == 0);

  REQUIRE(file->write_at(2000, "pwrite").ok());
  CHECK(bytes[2000] == 'p');
  REQUIRE(file->sync().ok());
  CHECK(files.pending_atoms() == 0);
  files.power_cut_lose_all();
  const std::string text = test::read_path(files, "tail");
  CHECK(text[10] == 3);
  CHECK(text[11] == 9);
  CHECK(text[3000] == 2);
  CHECK(text.substr(2000, 6) == "pwrite");
}

TEST_CASE("fault_file_system: the n-th call of a kind fails, once or for good") {
  FaultFileSystem files;
  const Owned<File> file = create(files, "file");
  files.fail(Call::write, 2, EIO);
  CHECK(file->write_at(0, "1").ok());
  CHECK_FALSE(files.fault_met());
  const Status failed = file->write_at(0, "2");
  CHECK(failed.is(Errc::io_error));
  CHECK(failed.os_error() == EIO);
  CHECK(failed.file() == "file");
  CHECK(file->write_at(0, "3").ok());

  files.fail(Call::sync, 1, EIO, true);
  CHECK_FALSE(file->sync().ok());
  CHECK_FALSE(file->sync().ok());
  files.clear_faults();
  CHECK(file->sync().ok());

  for (const Call call : {Call::read, Call::write, Call::sync, Call::truncate, Call::allocate,
                          Call::map, Call::open, Call::info, Call::list, Call::create_directory,
                          Call::remove, Call::rename, Call::sync_directory, Call::lock}) {
    files.clear_faults();
    REQUIRE(files.create_directory("file2").ok());
    files.fail(call, 1, EACCES, true);
    std::uint8_t byte[1];
    const bool failures[] = {!file->read_at(0, byte).ok(),
                             !file->write_at(0, "x").ok(),
                             !file->sync().ok(),
                             !file->truncate(1).ok(),
                             !file->allocate(0, 1).ok(),
                             !file->map(1, MapMode::read).ok(),
                             !files.open("file", OpenMode::read).ok(),
                             !files.info("file").ok(),
                             !files.list("/", [](std::string_view, FileKind) {}).ok(),
                             !files.create_directory("file2").ok(),
                             !files.remove("file2").ok(),
                             !files.rename("file", "file").ok(),
                             !files.sync_directory("/").ok(),
                             !files.lock("file", LockMode::shared).ok()};
    CHECK(std::count(std::begin(failures), std::end(failures), true) == 1);
  }
  files.clear_faults();
  files.fail(Call::any, 3, EIO);
  CHECK(files.info("file").ok());
  CHECK(file->sync().ok());
  CHECK_FALSE(files.info("file").ok());
}

TEST_CASE("fault_file_system: a write may fail after some of its bytes", "[pitfall-25]") {
  FaultFileSystem files;
  const Owned<File> file = create(files, "file");
  files.fail(Call::write, 1, ENOSPC, false, 3);
  CHECK(file->write_at(0, "abcdef").is(Errc::no_space));
  CHECK(test::read_all(*file) == "abc");
}

TEST_CASE("fault_file_system: calls that are not there are unsupported") {
  FaultFileSystem files;
  const Owned<File> file = create(files, "file");
  files.fail(Call::allocate, 1, EOPNOTSUPP);
  CHECK(file->allocate(0, 1).is(Errc::unsupported));
  files.fail(Call::map, 1, ENODEV);
  CHECK(file->map(1, MapMode::read).is(Errc::unsupported));
}

TEST_CASE("fault_file_system: a full disk takes what fits, and space comes back", "[pitfall-27]") {
  FaultFileSystem files;
  files.set_capacity(4 * 4096);
  const Owned<File> file = create(files, "file");
  REQUIRE(file->allocate(0, 8192).ok());
  CHECK(files.used_bytes() == 8192);
  REQUIRE(file->write_at(0, std::string(8192, 'x')).ok());  // has its blocks already
  CHECK(file->allocate(8192, 3 * 4096).is(Errc::no_space));
  CHECK(file->size().value() == 8192);
  CHECK(files.used_bytes() == 8192);
  Owned<File> other = create(files, "other");
  CHECK(other->write_at(100, std::string(20000, 'y')).is(Errc::no_space));
  CHECK(other->size().value() == 8192);
  CHECK(files.used_bytes() == 4 * 4096);
  CHECK(file->write_at(8192, "z").is(Errc::no_space));
  REQUIRE(files.remove("other").ok());
  CHECK(files.used_bytes() == 4 * 4096);  // still open
  other.reset();
  CHECK(files.used_bytes() == 8192);
  REQUIRE(file->truncate(100).ok());
  CHECK(files.used_bytes() == 4096);
  files.set_capacity(0);
  CHECK(file->write_at(0, "in place").ok());
  CHECK(file->write_at(5000, "more").is(Errc::no_space));
}

TEST_CASE("fault_file_system: snapshots do not change, and fork") {
  FaultFileSystem files;
  const Owned<File> file = create_durable(files, "file", "one");
  const auto one = files.snapshot();
  const std::uint64_t hash_one = files.hash();
  REQUIRE(file->write_at(0, "two").ok());
  REQUIRE(file->sync().ok());
  REQUIRE(files.create_directory("dir").ok());
  CHECK(files.hash() != hash_one);
  FaultFileSystem fork;
  for (int round = 0; round < 2; ++round) {
    fork.restore(one);
    CHECK(fork.hash() == hash_one);
    CHECK(test::read_path(fork, "file") == "one");
    auto forked = fork.open("file", OpenMode::read_write);
    REQUIRE(forked.ok());
    REQUIRE((*forked)->write_at(0, "xyz").ok());
    REQUIRE((*forked)->sync().ok());
  }
  CHECK(test::read_all(*file) == "two");
  CHECK(exists(files, "dir"));
}

TEST_CASE("fault_file_system: calls are counted, traced and shown to an observer first") {
  FaultFileSystem files;
  files.set_trace(true);
  std::vector<std::size_t> sizes;
  files.set_observer([&](Call call, const std::string& path) {
    if (call == Call::write) {
      CHECK(path == "file");
      sizes.push_back(static_cast<std::size_t>(files.info("file").value().size));
      static_cast<void>(files.snapshot());
    }
  });
  const Owned<File> file = create(files, "file");
  REQUIRE(file->write_at(0, "abc").ok());
  REQUIRE(file->write_at(3, "de").ok());
  REQUIRE(file->sync().ok());
  files.set_observer(nullptr);
  CHECK(sizes == std::vector<std::size_t>{0, 3});
  CHECK(files.calls(Call::write) == 2);
  CHECK(files.calls(Call::sync) == 1);
  CHECK(files.calls() == 6);
  CHECK(files.trace() ==
        std::vector<std::string>{"open file", "write file 0 3", "write file 3 2", "sync file"});
}

TEST_CASE("fault_file_system: random power cuts leave a mix, the same for the same seed") {
  std::set<std::uint64_t> states;
  for (const auto model : {FaultFileSystem::Model::strict, FaultFileSystem::Model::ext4}) {
    FaultFileSystem files(model);
    const Owned<File> file = create_durable(files, "file", std::string(100, 'd'));
    REQUIRE(file->write_at(100, std::string(3000, 'p')).ok());
    create(files, "two");
    create(files, "three");
    const auto before = files.snapshot();
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
      files.restore(before);
      files.power_cut_random(seed);
      const std::uint64_t hash = files.hash();
      states.insert(hash);
      REQUIRE(test::read_path(files, "file").substr(0, 100) == std::string(100, 'd'));
      if (model == FaultFileSystem::Model::ext4) {
        REQUIRE((exists(files, "two") || !exists(files, "three")));
      }
      files.restore(before);
      files.power_cut_random(seed);
      REQUIRE(files.hash() == hash);
    }
  }
  CHECK(states.size() > 50);
}

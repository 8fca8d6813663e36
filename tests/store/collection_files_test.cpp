// db.meta and the shards' directories: what is there, what is missing, what belongs to others.
#include "store/collection_files.hpp"

#include "format/meta.hpp"
#include "store/manifest_file.hpp"
#include "support/one_shard.hpp"

using namespace armdb;
using test::FaultFileSystem;

namespace {

FaultFileSystem::Snapshot closed_collection() {
  FaultFileSystem files;
  Config config = test::one_shard(files);
  config.shard_count = 2;
  Collection collection = test::open_shard(config);
  test::put_range(collection, 0, 50);
  REQUIRE(collection.close().ok());
  return files.snapshot();
}

Result<Collection> open_any(FaultFileSystem& files) {
  Config config = test::one_shard(files);
  config.shard_count = 0;
  return Collection::open_existing("/c", config);
}

}  // namespace

TEST_CASE("collection_files: paths") {
  CHECK(store::lock_path("a/b") == "a/b/LOCK");
  CHECK(store::shard_path("a/b", 17) == "a/b/shard_017");
}

TEST_CASE("collection_files: db.meta says what the collection is") {
  FaultFileSystem files;
  REQUIRE(files.create_directory("/c").ok());
  store::Description out;
  CHECK(store::read_description(files, "/c", out).is(Errc::not_found));
  store::Description in;
  in.store_id[3] = 7;
  in.shape = {8, 24, true, Payload::value};
  in.shard_count = 5;
  in.shard_prefix_bits = 12;
  in.hash_seed = 99;
  REQUIRE(store::create_description(files, "/c", in).ok());
  files.power_cut_lose_all();
  // The path itself is the caller's to make durable, but here it was made durable with it.
  REQUIRE(store::read_description(files, "/c", out).ok());
  CHECK(out.store_id == in.store_id);
  CHECK(out.shape == in.shape);
  CHECK(out.shard_count == 5);
  CHECK(out.shard_prefix_bits == 12);
  CHECK(out.hash_seed == 99);
  CHECK(test::exists(files, "/c/shard_004"));
}

TEST_CASE("collection_files: without db.meta shards are not overwritten") {
  FaultFileSystem files;
  files.restore(closed_collection());
  REQUIRE(files.remove("/c/db.meta").ok());
  const std::uint64_t hash = files.hash();
  CHECK(open_any(files).is(Errc::corrupt));
  Config config = test::one_shard(files);
  CHECK(Collection::open("/c", test::kVarTree, config).is(Errc::corrupt));
  CHECK(files.hash() == hash);
}

TEST_CASE("collection_files: a wrong byte in db.meta, or a cut, is refused, nothing changed") {
  const auto snapshot = closed_collection();
  FaultFileSystem files;
  for (std::size_t at = 0; at < 128; ++at) {
    for (const bool cut : {false, true}) {
      files.restore(snapshot);
      if (cut) {
        test::cut(files, "/c/db.meta", at);
      } else {
        test::flip(files, "/c/db.meta", at, static_cast<int>(at % 8));
      }
      const std::uint64_t hash = files.hash();
      const Result<Collection> opened = open_any(files);
      INFO("byte " << at << ": " << opened.message());
      CHECK((opened.is(Errc::corrupt) || opened.is(Errc::format_mismatch)));
      CHECK(opened.status().file() == "/c/db.meta");
      CHECK(files.hash() == hash);
    }
  }
}

TEST_CASE("collection_files: a missing shard directory is an error, and not made anew") {
  FaultFileSystem files;
  files.restore(closed_collection());
  for (const auto& [name, kind] : test::list_names(files, "/c/shard_001")) {
    REQUIRE(files.remove("/c/shard_001/" + name).ok());
  }
  REQUIRE(files.remove("/c/shard_001").ok());
  const Result<Collection> opened = open_any(files);
  REQUIRE_FALSE(opened.ok());
  CHECK(opened.message().find("shard_001") != std::string::npos);
  CHECK_FALSE(opened.is(Errc::not_found));  // that would say: there is no collection
  CHECK_FALSE(test::exists(files, "/c/shard_001"));
}

TEST_CASE("collection_files: another store kind is named") {
  FaultFileSystem files;
  files.restore(closed_collection());
  format::Meta meta;
  REQUIRE(store::read_meta(files, "/c", meta).ok());
  meta.store = format::StoreKind::fixed;
  meta.shape = {4, 8, true, Payload::value};
  REQUIRE(store::create_meta(files, "/c", meta).ok());
  const Result<Collection> opened = open_any(files);
  // There is a log and no slots.dat; and a sealed description was changed by somebody else.
  CHECK(opened.is(Errc::corrupt));
  const char* const named = test::exists(files, "/c/db.keys") ? "db.meta" : "slots.dat";
  CHECK(opened.message().find(named) != std::string::npos);
}

TEST_CASE("collection_files: unknown names stay, unfinished ones go [pitfall-23]") {
  FaultFileSystem files;
  files.restore(closed_collection());
  const char* const kKeep[] = {"/c/notes.txt", "/c/shard_000/notes.txt", "/c/shard_000/1.data",
                               "/c/shard_000/0000000000.data", "/c/shard_000/99999999999.data"};
  for (const char* name : kKeep) test::write_path(files, name, "mine");
  test::write_path(files, "/c/shard_000/0000000900.hint", "a hint of no segment");
  test::write_path(files, "/c/shard_000/0000000950.hint.tmp", "unfinished");
  test::write_path(files, "/c/shard_000/MANIFEST.tmp", "unfinished");
  REQUIRE(files.create_directory("/c/shard_000/0000000901.data").ok());
  {
    Result<Collection> opened = open_any(files);
    INFO(opened.message());
    REQUIRE(opened.ok());
    CHECK(test::prefix_length(test::contents(*opened)) == 50);
    test::put_range(*opened, 0, 50);
    REQUIRE(opened->sync().ok());
  }
  for (const char* name : kKeep) CHECK(test::read_path(files, name) == "mine");
  CHECK(test::names_with(files, ".tmp").empty());
  CHECK_FALSE(test::exists(files, "/c/shard_000/0000000900.hint"));
  // Numbers are never used twice, not even those of strangers.
  for (const std::string& name : test::names_with(files, ".data")) {
    if (name.size() == 15 && name > "0000000003.data") CHECK(name > "0000000900.data");
  }
}

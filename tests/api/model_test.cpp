// Random programs on all collections, compared with a std::map after every step.
#include <cstdint>
#include <memory>
#include <string>

#include "armdb.hpp"
#include "support/catch.hpp"
#include "support/model.hpp"
#include "support/mortal_file_system.hpp"
#include "support/scale.hpp"
#include "support/temp_dir.hpp"

using namespace armdb;
using test::MortalFileSystem;
using test::ProgramOptions;
using test::SubjectKind;

namespace {

// Bit 0: many shards, bit 1: reversed; the others what should make no difference.
Config small_config(FileSystem* files, std::uint64_t variant) {
  Config config;
  config.file_system = files;
  config.shard_count = (variant & 1) != 0 ? 4 : 1;
  config.write_buffer_size = 16u << 10;
  config.max_file_size = 64u << 10;
  config.index_step_bytes = 16u << 10;
  config.reversed = (variant & 2) != 0;
  config.mapped_reads = (variant & 4) != 0;
  config.hints = (variant & 8) == 0;
  config.cache_bytes = (variant & 16) != 0 ? 0 : 64u << 10;
  config.shard_prefix_bits = (variant & 32) != 0 ? 26 : 0;
  if ((variant & 64) != 0) config.default_ttl_ms = std::uint64_t{1000} * 3600 * 1000;
  return config;
}

// Fills in what programs on these files have in common.
ProgramOptions small_program(MortalFileSystem& files, SubjectKind kind, std::uint64_t variant) {
  ProgramOptions options;
  options.kind = kind;
  options.path = "collection";
  options.config = small_config(&files, variant);
  options.seed = 1000 * static_cast<std::uint64_t>(kind) + variant;
  options.kill = [&files] { files.kill(); };
  return options;
}

void run_kind(SubjectKind kind) {
  for (const std::uint64_t variant : {0u, 1u, 2u, 3u, 36u, 45u, 82u, 119u}) {
    MortalFileSystem files;
    ProgramOptions options = small_program(files, kind, variant);
    options.operations = test::scaled(5000, 1000);
    options.expiries = (variant & 4) == 0;
    INFO("variant " << variant);
    CHECK(run_program(options) == "");
  }
}

template <class Run> void for_all_kinds(Run run) {
  for (int kind = 0; kind < test::kSubjectKinds; ++kind) run(static_cast<SubjectKind>(kind));
}

}  // namespace

TEST_CASE("model: ConstTree does what a std::map does, through closes and kills") {
  run_kind(SubjectKind::const_tree);
}

TEST_CASE("model: ConstMap does what a std::map does, through closes and kills") {
  run_kind(SubjectKind::const_map);
}

TEST_CASE("model: ZeroTree does what a std::map does, through closes and kills") {
  run_kind(SubjectKind::zero_tree);
}

TEST_CASE("model: ZeroMap does what a std::map does, through closes and kills") {
  run_kind(SubjectKind::zero_map);
}

TEST_CASE("model: TypedTree does what a std::map does, through closes and kills") {
  run_kind(SubjectKind::typed_tree);
}

TEST_CASE("model: TypedMap does what a std::map does, through closes and kills") {
  run_kind(SubjectKind::typed_map);
}

TEST_CASE("model: VarTree does what a std::map does, through closes and kills") {
  run_kind(SubjectKind::var_tree);
}

TEST_CASE("model: VarMap does what a std::map does, through closes and kills") {
  run_kind(SubjectKind::var_map);
}

TEST_CASE("model: VarTypedTree does what a std::map does, through closes and kills") {
  run_kind(SubjectKind::var_typed_tree);
}

TEST_CASE("model: VarTypedMap does what a std::map does, through closes and kills") {
  run_kind(SubjectKind::var_typed_map);
}

TEST_CASE("model: FixedTree does what a std::map does, through closes and kills") {
  run_kind(SubjectKind::fixed_tree);
}

TEST_CASE("model: FixedMap does what a std::map does, through closes and kills") {
  run_kind(SubjectKind::fixed_map);
}

TEST_CASE("model: FixedTree with single copies does what a std::map does") {
  run_kind(SubjectKind::fixed_single);
}

TEST_CASE("model: few keys that change often") {
  for_all_kinds([](SubjectKind kind) {
    MortalFileSystem files;
    ProgramOptions options = small_program(files, kind, 5);
    options.seed += 500;
    options.operations = test::scaled(4000, 1000);
    options.keys = 8;
    CHECK(run_program(options) == "");
  });
}

TEST_CASE("model: many keys, short programs", "[serial]") {
  for_all_kinds([](SubjectKind kind) {
    MortalFileSystem files;
    ProgramOptions options = small_program(files, kind, 3);
    options.seed += 600;
    options.operations = test::scaled(1500, 500);
    options.keys = 20000;
    options.long_values = false;
    CHECK(run_program(options) == "");
  });
}

TEST_CASE("model: migrations that are stopped and go on, through writes and kills", "[serial]") {
  for_all_kinds([](SubjectKind kind) {
    for (const std::uint64_t variant : {0u, 1u}) {
      MortalFileSystem files;
      ProgramOptions options = small_program(files, kind, variant);
      options.seed += 700;
      options.operations = test::scaled(100, 60);
      options.keys = 6000;
      options.long_values = false;
      options.bulky = true;
      CHECK(run_program(options) == "");
    }
  });
}

TEST_CASE("model: what has expired is gone for every call, and sweeps erase just that",
          "[serial]") {
  for_all_kinds([](SubjectKind kind) {
    for (const std::uint64_t variant : {0u, 1u, 2u, 3u}) {
      MortalFileSystem files;
      const ProgramOptions options = small_program(files, kind, variant);
      REQUIRE(run_expiry_program(options) == "");
    }
  });
}

TEST_CASE("model: on the operating system's files") {
  for_all_kinds([](SubjectKind kind) {
    for (const std::uint64_t variant : {1u, 4u}) {
      test::TempDir directory;
      MortalFileSystem files(posix_file_system());
      ProgramOptions options = small_program(files, kind, variant);
      options.path = directory / "collection";
      options.seed += 800;
      options.operations = test::scaled(600, 300);
      CHECK(run_program(options) == "");
    }
  });
}

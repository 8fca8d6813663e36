// Random programs on all four collections, compared with a std::map after every step.
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
  return config;
}

void run_in_memory(SubjectKind kind, std::uint64_t variant, std::size_t operations,
                   bool dies = true) {
  MortalFileSystem files;
  ProgramOptions options;
  options.kind = kind;
  options.path = "collection";
  options.config = small_config(&files, variant);
  options.seed = 1000 * static_cast<std::uint64_t>(kind) + variant;
  options.operations = operations;
  if (dies) options.kill = [&] { files.kill(); };
  const std::string failure = run_program(options);
  INFO("variant " << variant);
  CHECK(failure == "");
}

}  // namespace

TEST_CASE("model: ConstTree does what a std::map does, through closes and kills") {
  for (std::uint64_t variant : {0u, 1u, 2u, 3u, 35u}) {
    run_in_memory(SubjectKind::const_tree, variant, test::scaled(100000, 1000));
  }
}

TEST_CASE("model: ConstMap does what a std::map does, through closes and kills") {
  for (std::uint64_t variant : {0u, 1u, 33u}) {
    run_in_memory(SubjectKind::const_map, variant, test::scaled(100000, 1000));
  }
}

TEST_CASE("model: VarTree does what a std::map does, through closes and kills") {
  for (std::uint64_t variant : {0u, 1u, 4u, 7u, 11u, 16u, 39u}) {
    run_in_memory(SubjectKind::var_tree, variant, test::scaled(60000, 1000));
  }
}

TEST_CASE("model: VarMap does what a std::map does, through closes and kills") {
  for (std::uint64_t variant : {0u, 1u, 4u, 5u, 9u, 37u}) {
    run_in_memory(SubjectKind::var_map, variant, test::scaled(60000, 1000));
  }
}

TEST_CASE("model: few keys that change often") {
  for (int kind = 0; kind < 4; ++kind) {
    MortalFileSystem files;
    ProgramOptions options;
    options.kind = static_cast<SubjectKind>(kind);
    options.path = "collection";
    options.config = small_config(&files, 5);
    options.seed = 77 + static_cast<std::uint64_t>(kind);
    options.operations = test::scaled(20000, 1000);
    options.keys = 8;
    options.kill = [&] { files.kill(); };
    CHECK(run_program(options) == "");
  }
}

TEST_CASE("model: many keys, short programs") {
  for (int kind = 0; kind < 4; ++kind) {
    MortalFileSystem files;
    ProgramOptions options;
    options.kind = static_cast<SubjectKind>(kind);
    options.path = "collection";
    options.config = small_config(&files, 3);
    options.seed = 177 + static_cast<std::uint64_t>(kind);
    options.operations = test::scaled(20000, 1000);
    options.keys = 20000;
    options.long_values = false;
    options.kill = [&] { files.kill(); };
    CHECK(run_program(options) == "");
  }
}

TEST_CASE("model: on the operating system's files") {
  for (int kind = 0; kind < 4; ++kind) {
    for (const std::uint64_t variant : {1u, 4u}) {
      test::TempDir directory;
      MortalFileSystem files(posix_file_system());
      ProgramOptions options;
      options.kind = static_cast<SubjectKind>(kind);
      options.path = directory / "collection";
      options.config = small_config(&files, variant);
      options.seed = 277 + static_cast<std::uint64_t>(kind);
      options.operations = test::scaled(6000, 500);
      options.kill = [&] { files.kill(); };
      CHECK(run_program(options) == "");
    }
  }
}

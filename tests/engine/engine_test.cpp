// Random programs with power cuts: every shard must stand as it stood after some write at or
// past the last synced one, a batch in all of its shards or in none, and go on from there.
#include "engine/engine.hpp"

#include <string>

#include "api/collection.hpp"
#include "engine/router.hpp"
#include "format/slot.hpp"
#include "store/collection_files.hpp"
#include "support/catch.hpp"
#include "support/fault_file_system.hpp"
#include "support/model.hpp"
#include "support/plain_files.hpp"
#include "support/scale.hpp"

using namespace armdb;
using test::FaultFileSystem;
using test::ProgramOptions;
using test::SubjectKind;

namespace {

// Runs a program with kills and power cuts. Empty when all went well.
std::string run_with_cuts(SubjectKind kind, FaultFileSystem::Model model, std::uint64_t variant,
                          std::uint64_t seed, std::size_t operations, bool bulky = false) {
  FaultFileSystem files(model);
  ProgramOptions options;
  options.kind = kind;
  options.path = "/collection";
  options.config.file_system = &files;
  options.config.shard_count = (variant & 1) != 0 ? 3 : 1;
  options.config.write_buffer_size = 16u << 10;
  options.config.max_file_size = 64u << 10;
  options.config.index_step_bytes = 16u << 10;
  options.config.mapped_reads = (variant & 2) != 0;
  options.config.hints = (variant & 4) == 0;
  options.config.enable_fsync = (variant & 8) != 0;
  options.seed = seed;
  options.operations = operations;
  options.keys = bulky ? 4000 : 300;
  options.long_values = !bulky;
  options.bulky = bulky;
  options.kill = [&] { files.kill_process(); };
  test::Tearing tearing = test::Tearing::any;
  if (kind == SubjectKind::fixed_tree || kind == SubjectKind::fixed_map) {
    tearing = test::Tearing::half;
  }
  if (kind == SubjectKind::fixed_single) tearing = test::Tearing::none;
  options.power_cut = [&files, tearing](std::uint64_t cut) {
    files.power_cut_random(cut, tearing);
  };
  engine::Router router;
  bool known = false;
  options.shard_of = [&](test::ModelKey key) {
    if (!known) {
      store::Description description;
      REQUIRE(store::read_description(files, options.path, description).ok());
      router = engine::Router(description.shard_count, description.shard_prefix_bits,
                              description.hash_seed);
      known = true;
    }
    std::uint8_t bytes[sizeof key];
    key_traits<test::ModelKey>::encode(key, bytes);
    return router.shard(bytes, sizeof bytes, router.hash(bytes, sizeof bytes));
  };
  return run_program(options);
}

void run_kind(SubjectKind kind, std::size_t operations) {
  for (const auto model : {FaultFileSystem::Model::strict, FaultFileSystem::Model::ext4}) {
    for (std::uint64_t variant = 0; variant < 16; ++variant) {
      const std::uint64_t seed = 100 * static_cast<std::uint64_t>(kind) + variant;
      const std::string failure = run_with_cuts(kind, model, variant, seed, operations);
      const bool strict = model == FaultFileSystem::Model::strict;
      INFO("variant " << variant << (strict ? " strict" : " ext4"));
      CHECK(failure == "");
    }
  }
}

}  // namespace

TEST_CASE("engine: ConstTree is a prefix of its writes after power cuts [pitfall-1] [pitfall-8]") {
  run_kind(SubjectKind::const_tree, test::scaled(600, 300));
}

TEST_CASE("engine: ConstMap is a prefix of its writes after power cuts [pitfall-6] [pitfall-16]",
          "[serial]") {
  run_kind(SubjectKind::const_map, test::scaled(600, 300));
}

TEST_CASE("engine: ZeroTree is a prefix of its writes after power cuts") {
  run_kind(SubjectKind::zero_tree, test::scaled(600, 300));
}

TEST_CASE("engine: ZeroMap is a prefix of its writes after power cuts", "[serial]") {
  run_kind(SubjectKind::zero_map, test::scaled(600, 300));
}

TEST_CASE("engine: TypedTree is a prefix of its writes after power cuts", "[serial]") {
  run_kind(SubjectKind::typed_tree, test::scaled(600, 300));
}

TEST_CASE("engine: TypedMap is a prefix of its writes after power cuts", "[serial]") {
  run_kind(SubjectKind::typed_map, test::scaled(600, 300));
}

TEST_CASE("engine: VarTree is a prefix of its writes after power cuts [pitfall-2] [pitfall-9]",
          "[serial]") {
  run_kind(SubjectKind::var_tree, test::scaled(600, 300));
}

TEST_CASE("engine: VarMap is a prefix of its writes after power cuts [pitfall-12]", "[serial]") {
  run_kind(SubjectKind::var_map, test::scaled(600, 300));
}

TEST_CASE("engine: VarTypedTree is a prefix of its writes after power cuts", "[serial]") {
  run_kind(SubjectKind::var_typed_tree, test::scaled(600, 300));
}

TEST_CASE("engine: VarTypedMap is a prefix of its writes after power cuts", "[serial]") {
  run_kind(SubjectKind::var_typed_map, test::scaled(600, 300));
}

TEST_CASE("engine: after power cuts a FixedTree has of each key a state past its last sync") {
  run_kind(SubjectKind::fixed_tree, test::scaled(600, 300));
}

TEST_CASE("engine: after power cuts a FixedMap has of each key a state past its last sync") {
  run_kind(SubjectKind::fixed_map, test::scaled(600, 300));
}

TEST_CASE("engine: after power cuts single copies have a state past their last sync") {
  run_kind(SubjectKind::fixed_single, test::scaled(600, 300));
}

TEST_CASE("engine: migrations go on after power cuts", "[serial]") {
  for (int kind = 0; kind < test::kSubjectKinds; ++kind) {
    for (std::uint64_t variant = 0; variant < 2; ++variant) {
      const auto model =
          kind % 2 == 0 ? FaultFileSystem::Model::strict : FaultFileSystem::Model::ext4;
      const std::uint64_t seed = 5000 + 10 * static_cast<std::uint64_t>(kind) + variant;
      CHECK(run_with_cuts(static_cast<SubjectKind>(kind), model, variant, seed,
                          test::scaled(60, 30), true) == "");
    }
  }
}

TEST_CASE("engine: a key that a power cut left in two slots is erased with the newer one") {
  FaultFileSystem files;
  FixedConfig config;
  config.file_system = &files;
  config.shard_count = 1;
  // A slot fills a page, so that the cut can take one of them and leave the other.
  const bool sealed = test::runs_encrypted();
  const std::size_t header = sealed ? format::kSealedSlotBytes : format::kSlotHeaderBytes;
  const auto value_size = static_cast<std::uint32_t>(format::kSlotPageBytes - header - 8);
  const Shape shape{.key_size = 8, .value_size = value_size, .ordered = true, .fixed = true};
  const std::string old_value(shape.value_size, 'o');
  const std::string new_value(shape.value_size, 'n');
  const auto open = [&] {
    Result<Collection> opened = Collection::open("/c", shape, config);
    INFO(opened.message());
    REQUIRE(opened.ok());
    return *std::move(opened);
  };
  Collection collection = open();
  REQUIRE(collection.put("key_left", old_value).ok());
  REQUIRE(collection.put("key_two_", old_value).ok());
  REQUIRE(collection.sync().ok());
  REQUIRE(collection.erase("key_two_").ok());
  REQUIRE(collection.erase("key_left").ok());
  REQUIRE(collection.put("key_two_", new_value).ok());  // into the first slot
  REQUIRE(collection.verify().ok());                    // what is on its way goes to its slot
  std::uint8_t head[format::kSlotsHeaderBytes];
  REQUIRE((*files.open("/c/shard_000/slots.dat", OpenMode::read))->read_at(0, head).ok());
  format::SlotsHeader slots;
  REQUIRE(format::decode_slots_header(Bytes(head), slots).ok());
  const format::SlotLayout layout(shape.key_size, shape.value_size, 2, slots.stage_count, sealed);
  files.power_cut(
      [&](const test::PendingAtom& atom) {
        const bool first_slot = atom.offset >= layout.slots_at() &&
                                atom.offset < layout.slots_at() + layout.group_bytes();
        return first_slot ? test::AtomFate::present : test::AtomFate::absent;
      },
      [](std::size_t) { return true; });

  collection = open();
  CHECK(collection.size() == 1);
  CHECK((*collection.get("key_two_"))->text() == new_value);
  CHECK(collection.verify()->entries == 1);
  REQUIRE(collection.compact().ok());
  REQUIRE(collection.erase("key_two_").ok());
  REQUIRE(collection.close().ok());
  collection = open();
  CHECK(collection.size() == 0);
}

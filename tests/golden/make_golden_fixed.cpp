// Writes the golden stores of v1_fixed/. Not built by make: they were made once and are never
// made again; see make_golden.cpp.
//
//   g++ -std=c++20 -Isrc -I. -Itests tests/golden/make_golden_fixed.cpp src/armdb.cpp -pthread
//   ./a.out tests/golden/v1_fixed
//
//   closed_tree    two copies, two shards; closed
//   killed_map     the same, copied while it was open; then a newer state of one entry stands in
//                  the stage alone, and of another one copy was half written
//   killed_single  one copy, one shard; copied while it was open, a slot half written
//
// All have entries that were overwritten, that were erased and that expire.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "engine/engine.hpp"
#include "format/slot.hpp"
#include "golden/golden_fixed.hpp"

namespace {

using namespace armdb;
using engine::Engine;
namespace fs = std::filesystem;
using Buffer = std::vector<std::uint8_t>;

void require(const Status& status, const char* what) {
  if (status.ok()) return;
  std::fprintf(stderr, "error: %s: %s\n", what, status.message().c_str());
  std::exit(1);
}

void require(bool holds, const char* what) {
  require(holds ? Status() : Status(Errc::failed), what);
}

Buffer read_all(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  require(file.good(), path.c_str());
  return Buffer((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
}

void write_all(const fs::path& path, const Buffer& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  require(file.good(), path.c_str());
}

// The engine itself: the faces give an expiry as a time from now on.
std::unique_ptr<Engine> open(const fs::path& path, const test::GoldenFixedStore& store) {
  FixedConfig config;
  config.shard_count = store.shards;
  config.single_copy = store.single_copy;
  config.grow_step = 4 << 10;
  auto opened = Engine::open(path.string(), &store.shape, config, {});
  require(opened.status(), "open");
  return *std::move(opened);
}

void write(Engine& engine, const test::GoldenFixedStore& store, const test::GoldenWrite& write) {
  const std::string key = test::golden_key(write.number);
  const std::string value = test::golden_value(store.shape, write.number, write.version);
  engine::WriteRequest request;
  request.key = Bytes(key);
  request.value = Bytes(value);
  request.erase = write.version == 0;
  request.expiry_ms = write.expiry_ms;
  require(engine.write(request, false), "write");
}

// A slots.dat, changed as a writer that is then killed would.
class Slots {
 public:
  explicit Slots(const fs::path& path) : path_(path), bytes_(read_all(path)) {
    require(format::decode_slots_header(Bytes(bytes_), header_), "the header");
    layout_ = format::SlotLayout(header_.key_size, header_.value_size, header_.copies,
                                 header_.stage_count);
  }

  // Whether the key is in this shard.
  bool find(const std::string& key) {
    for (std::uint64_t number = 0; number < layout_.slots_in(bytes_.size()); ++number) {
      for (std::uint32_t copy = 0; copy < header_.copies; ++copy) look_at(number, copy, key);
    }
    return newest_ != 0;
  }

  // Of the key that was found: the entry in a place of the stage; then its slot's copy in part.
  void stage(std::uint32_t place, const test::GoldenFixedStore& store,
             const test::GoldenWrite& write, std::size_t bytes_of_slot) {
    const std::string key = test::golden_key(write.number);
    const std::string value = test::golden_value(store.shape, write.number, write.version);
    format::Slot slot;
    slot.state = format::SlotState::live;
    // What is in the second place was written before.
    slot.version = version_ + (place == 0 ? 2 : 1);
    slot.expiry_ms = write.expiry_ms;
    slot.key = Bytes(key);
    slot.value = Bytes(value);
    std::uint8_t* const staged = bytes_.data() + layout_.stage_at(place);
    format::encode_staged(slot, format::slot_seed(header_), number_,
                          {staged, layout_.stage_bytes()});
    const std::uint32_t copy = header_.copies == 2 ? 1 - copy_ : 0;
    std::copy_n(staged + 8, bytes_of_slot, bytes_.data() + layout_.offset(number_, copy));
    write_all(path_, bytes_);
  }

 private:
  void look_at(std::uint64_t number, std::uint32_t copy, const std::string& key) {
    format::Slot slot;
    const Bytes bytes = Bytes(bytes_).sub(layout_.offset(number, copy), layout_.slot_bytes());
    if (format::decode_slot(bytes, format::slot_seed(header_), number, header_.key_size,
                            header_.value_size, slot) != format::SlotRead::whole) {
      return;
    }
    version_ = std::max(version_, slot.version);
    if (slot.key != Bytes(key) || slot.version <= newest_) return;
    newest_ = slot.version;
    number_ = number;
    copy_ = copy;
  }

  const fs::path path_;
  Buffer bytes_;
  format::SlotsHeader header_;
  format::SlotLayout layout_;
  std::uint64_t version_ = 0;  // the largest of all
  std::uint64_t newest_ = 0;   // of the key that find() was asked for
  std::uint64_t number_ = 0;
  std::uint32_t copy_ = 0;
};

void stage(const fs::path& path, const test::GoldenFixedStore& store, std::uint32_t place,
           const test::GoldenWrite& write, std::size_t bytes_of_slot) {
  for (std::uint32_t shard = 0; shard < store.shards; ++shard) {
    Slots slots(path / ("shard_00" + std::to_string(shard)) / "slots.dat");
    if (!slots.find(test::golden_key(write.number))) continue;
    return slots.stage(place, store, write, bytes_of_slot);
  }
  require(false, "the key is in no shard");
}

// When the files were made stays out of them.
void set_floor(const fs::path& path) {
  FileSystem& files = posix_file_system();
  format::Meta meta;
  require(store::read_meta(files, path.string(), meta), "db.meta");
  format::State state;
  require(store::read_state(files, path.string(), meta.store_id, state), "db.state");
  state.clock_floor_ms = test::kGoldenFloorEarly;
  require(store::replace_state(files, path.string(), state), "db.state");
}

void make(const fs::path& folder, const fs::path& work, const test::GoldenFixedStore& store) {
  const fs::path path = work / store.name;
  std::unique_ptr<Engine> engine = open(path, store);
  const auto steps = test::golden_fixed_steps();
  for (std::size_t step = 0; step < steps.size(); ++step) {
    for (const test::GoldenWrite& one : steps[step]) write(*engine, store, one);
    if (step + 1 < steps.size()) require(engine->sync(), "sync");
  }
  if (!store.killed) require(engine->close(), "close");
  const fs::path to = folder / store.name;
  fs::copy(path, to, fs::copy_options::recursive);
  for (const auto& item : fs::recursive_directory_iterator(to)) {
    const std::string file = item.path().filename().string();
    if (file == "LOCK" || file == "reserve") fs::remove(item.path());
  }
  set_floor(to);
  constexpr std::uint32_t kSecondPlace = 1;
  constexpr std::size_t kHalf = 20;
  if (store.killed && !store.single_copy) stage(to, store, kSecondPlace, test::kGoldenStaged, 0);
  if (store.killed) stage(to, store, 0, test::kGoldenHalf, kHalf);
}

}  // namespace

int main(int argc, char** argv) {
  require(argc == 2, "usage: make_golden_fixed FOLDER, which must not exist");
  const fs::path folder = argv[1];
  require(!fs::exists(folder), "the folder exists: golden files are never made anew");
  fs::create_directories(folder);
  const fs::path work = fs::temp_directory_path() / ("make_golden." + std::to_string(std::rand()));
  fs::create_directories(work);
  for (const test::GoldenFixedStore& store : test::golden_fixed_stores()) make(folder, work, store);
  fs::remove_all(work);
}

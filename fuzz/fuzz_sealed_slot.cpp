// An encrypted slots.dat that is sealed first and then damaged.
//
// Oracle: it opens or is refused, and never crashes; each key that is there has a value that was
// put under it at some time, and no other key is there; a second recovery agrees with the first.
//
// Input: one byte of options (single copies, ChaCha20, killed), then pieces of 6 bytes: what to do,
// two places in units of 8 bytes (2 bytes each), and a byte for it.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <string>

#include "api/collection.hpp"
#include "base/little.hpp"
#include "format/sealed_slot.hpp"
#include "support/fault_file_system.hpp"

#if ARMDB_WITH_OPENSSL

namespace {

using namespace armdb;
using test::FaultFileSystem;

constexpr const char* kSlots = "/db/shard_000/slots.dat";
constexpr Shape kShape{4, 8, true, Payload::value, true};
constexpr std::size_t kPieceBytes = 6;

void require(bool holds, const char* what, const Status& status = {}) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s %s\n", what, status.message().c_str());
  std::abort();
}

std::string key_of(int number) { return "k" + std::to_string(100 + number); }
std::string value_of(int number, int version) {
  return std::to_string(1000 + number) + std::to_string(1000 + version);
}

FixedConfig config_of(FileSystem& files, std::uint8_t options) {
  FixedConfig config;
  config.file_system = &files;
  config.shard_count = 1;
  config.write_buffer_size = 16 << 10;
  config.index_step_bytes = 4 << 10;
  config.encryption_key = ByteArray<32>{1, 2, 3};
  config.single_copy = (options & 1) != 0;
  config.cipher = (options & 2) != 0 ? Cipher::chacha20_poly1305 : Cipher::aes_256_gcm;
  return config;
}

// What is on the disk, and what each key ever had.
struct Written {
  FaultFileSystem::Snapshot files;
  std::map<std::string, std::set<std::string>> values;
};

Written make(std::uint8_t options) {
  Written written;
  FaultFileSystem files;
  Result<Collection> opened = Collection::open("/db", kShape, config_of(files, options));
  require(opened.ok(), "creating", opened.status());
  for (int at = 0; at < 150; ++at) {
    const int number = at * 7 % 60;
    const std::string key = key_of(number), value = value_of(number, at);
    require(opened->put(key, value).ok(), "put");
    written.values[key].insert(value);
    if (at % 11 == 3) static_cast<void>(opened->erase(key));
    if (at % 50 == 20) require(opened->sync().ok(), "sync");
  }
  if ((options & 4) != 0) {
    files.kill_process();
  } else {
    require(opened->close().ok(), "close");
  }
  written.files = files.snapshot();
  return written;
}

const Written& written_with(std::uint8_t options) {
  static std::map<std::uint8_t, Written> all;
  const auto found = all.find(options);
  return found != all.end() ? found->second : all.emplace(options, make(options)).first->second;
}

void damage(std::string& bytes, Bytes pieces, const format::SlotsHeader& header) {
  const format::SlotLayout layout(header.key_size, header.value_size, header.copies,
                                  header.stage_count, true);
  const std::size_t copy = layout.slot_bytes();
  auto* const raw = reinterpret_cast<std::uint8_t*>(bytes.data());
  for (; pieces.size() >= kPieceBytes; pieces = pieces.sub(kPieceBytes)) {
    const std::size_t units = bytes.size() / 8;
    if (units == 0) return;
    const std::size_t a = base::load_little<std::uint16_t>(pieces.data() + 1) % units * 8;
    const std::size_t b = base::load_little<std::uint16_t>(pieces.data() + 3) % units * 8;
    const std::uint8_t byte = pieces[5];
    const std::uint64_t slots = layout.slots_in(bytes.size());
    const std::uint64_t from = a / 8 % (slots + 1), to = b / 8 % (slots + 1);
    const auto place = [&](std::uint64_t number) {
      return static_cast<std::size_t>(layout.offset(number, byte % header.copies));
    };
    switch (pieces[0] % 5) {
      case 0:  // a byte
        raw[a + byte % 8] ^= static_cast<std::uint8_t>(byte | 1);
        break;
      case 1:  // a block to another place
        if (std::max(a, b) + 8u * byte <= bytes.size()) std::memmove(raw + b, raw + a, 8u * byte);
        break;
      case 2:  // zeros
        if (a + 8u * byte <= bytes.size()) std::memset(raw + a, 0, 8u * byte);
        break;
      case 3:  // a slot's copy to another slot, with a right checksum
        if (std::max(place(from), place(to)) + copy > bytes.size()) break;
        std::memmove(raw + place(to), raw + place(from), copy);
        format::finish_sealed_slot(format::slot_seed(header), to, {raw + place(to), copy});
        break;
      default:  // a byte of a copy, with a right checksum
        if (place(from) + copy > bytes.size()) break;
        raw[place(from) + 4 + b % (copy - 4)] ^= static_cast<std::uint8_t>(byte | 1);
        format::finish_sealed_slot(format::slot_seed(header), from, {raw + place(from), copy});
    }
  }
}

std::map<std::string, std::string> contents(Collection& collection) {
  std::map<std::string, std::string> all;
  const Status status = collection.for_each([&](Bytes key, Bytes value) {
    all[std::string(key.text())] = std::string(value.text());
    return true;
  });
  require(status.ok(), "reading all", status);
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > 400) return 0;
  const std::uint8_t options = data[0] & 7;
  const Written& written = written_with(options);
  FaultFileSystem files;
  files.restore(written.files);
  {
    auto file = files.open(kSlots, OpenMode::read_write);
    require(file.ok(), "slots.dat");
    std::string bytes((*file)->size().value(), '\0');
    const MutableBytes room(reinterpret_cast<std::uint8_t*>(bytes.data()), bytes.size());
    require((*file)->read_at(0, room).ok(), "reading slots.dat");
    format::SlotsHeader header;
    require(format::decode_slots_header(Bytes(bytes), header).ok(), "the header");
    damage(bytes, Bytes(data + 1, size - 1), header);
    require((*file)->write_at(0, Bytes(bytes)).ok() && (*file)->sync().ok(), "writing slots.dat");
  }
  std::map<std::string, std::string> first;
  for (int open = 0; open < 2; ++open) {
    Result<Collection> opened = Collection::open("/db", kShape, config_of(files, options));
    if (!opened.ok()) {
      require(open == 0 && !opened.is(Errc::out_of_memory), "a refusal", opened.status());
      return 0;
    }
    const auto all = contents(*opened);
    for (const auto& [key, value] : all) {
      const auto known = written.values.find(key);
      require(known != written.values.end(), "a key that nobody put");
      require(known->second.contains(value), "a value that nobody put");
    }
    require(open == 0 || all == first, "a second recovery");
    first = all;
  }
  return 0;
}

#else

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t*, std::size_t) { return 0; }

#endif

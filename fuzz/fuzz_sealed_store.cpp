// An encrypted collection, as it is written and then damaged: entries, hints, manifest, tail and
// slots, through recovery and reads.
//
// Oracle: a value that is read was once put under that key, whatever was done to the files; a
// collection that does not open says why; where only hint files were damaged, all is there, and
// where nothing was, too. Verifying and reopening change nothing of that.
//
// Input: a byte of options, a byte with the number of writes, two bytes for each (key and size);
// then damages, of seven bytes each. The collection is sealed first and damaged then, so the fuzzer
// never meets a tag that it would have to guess. Without OpenSSL there is nothing to try.
#include <cstddef>
#include <cstdint>

#if ARMDB_WITH_OPENSSL

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "api/collection.hpp"
#include "base/byte_reader.hpp"
#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "format/sealed.hpp"
#include "format/sealed_slot.hpp"
#include "support/fault_file_system.hpp"

namespace {

using namespace armdb;
using test::FaultFileSystem;
using Buffer = std::vector<std::uint8_t>;

void require(bool holds, const char* what, const Status& status = {}) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s %s\n", what, status.message().c_str());
  std::abort();
}

enum Option : std::uint8_t { kChaCha = 1, kFixed = 2, kConst = 4, kKill = 8, kUnmapped = 16 };

constexpr std::size_t kKeys = 12;
constexpr std::uint32_t kValueBytes = 40;
constexpr const char* kShard = "/c/shard_000/";
// What may be damaged, each by its number; the segments' numbers follow.
constexpr std::array<const char*, 4> kNames = {"slots.dat", "tail.buf", "MANIFEST", ""};
constexpr std::array<const char*, 4> kCommon = {"/c/db.keys", "/c/db.state", "/c/db.meta", ""};
constexpr unsigned kSegmentsMax = 12;

std::string key_of(std::size_t number) { return "key" + std::string(1, char('a' + number)); }

class Program {
 public:
  explicit Program(std::uint8_t options, std::uint8_t store) : options_(options) {
    config_.file_system = &files_;
    config_.shard_count = 1;
    config_.max_file_size = 64 << 10;
    config_.write_buffer_size = 16 << 10;
    config_.index_step_bytes = 4 << 10;
    config_.mapped_reads = (options & kUnmapped) == 0;
    config_.encryption_key = ByteArray<32>{store};
    config_.cipher = (options & kChaCha) != 0 ? Cipher::chacha20_poly1305 : Cipher::aes_256_gcm;
    const bool inlined = (options & (kConst | kFixed)) != 0;
    shape_ = {4, inlined ? kValueBytes : 0, true, inlined ? Payload::value : Payload::location};
    shape_.fixed = (options & kFixed) != 0;
  }

  void write(base::ByteReader input, std::size_t count) {
    Result<Collection> opened = open();
    require(opened.ok(), "a fresh one opens", opened.status());
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t key = input.little<std::uint8_t>();
      const std::size_t size = input.little<std::uint8_t>();
      Status status;
      if (size == 255) {
        status = opened->sync();
      } else if (size >= 240) {
        status = opened->erase(key_of(key % kKeys));
        if (status.is(Errc::not_found)) status = {};
        last_[key % kKeys].clear();
      } else {
        std::string value = std::to_string(++stamp_) + "/";
        value.resize(shape_.value_size != 0 ? kValueBytes : value.size() + size * size / 4, 'v');
        status = opened->put(key_of(key % kKeys), value);
        ever_[key % kKeys].insert(value);
        last_[key % kKeys] = value;
      }
      require(status.ok(), "writes", status);
    }
    if ((options_ & kKill) != 0) {
      files_.kill_process();
      return;
    }
    const Status status = opened->close();
    require(status.ok(), "closes", status);
  }

  // Where the damage goes, the kind, place (2 bytes), another place (2 bytes) or a mask, length.
  void damage(base::ByteReader& input, const Program& other) {
    const std::string path = path_of(input.little<std::uint8_t>());
    const auto kind = input.little<std::uint8_t>();
    const std::size_t at = input.little<std::uint16_t>();
    const auto more = input.little<std::uint16_t>();
    const std::size_t size = std::size_t{input.little<std::uint8_t>()} * 8 + 1;
    Buffer raw;
    if (input.failed() || !read(files_, path, raw)) return;
    change(raw, kind, at, more, size, path, other);
    const bool hint = path.ends_with(".hint");
    (hint ? hints_changed_ : others_changed_) = true;
    write_raw(path, raw);
    if (kind % 8 == 6 && more % 4 == 0) static_cast<void>(files_.remove(path));
  }

  void check() {
    if (!read_all()) return;
    static_cast<void>(read_all());
  }

 private:
  Result<Collection> open() {
    if (!shape_.fixed) return Collection::open("/c", shape_, config_);
    FixedConfig fixed;
    static_cast<Config&>(fixed) = config_;
    return Collection::open("/c", shape_, fixed);
  }

  std::string path_of(std::uint8_t choice) const {
    const unsigned part = choice % 8;
    if (part == 0) return kCommon[choice / 8 % 4];
    if (part < 3) return std::string(kShard) + kNames[choice / 8 % 4];
    std::string digits = std::to_string(1 + choice / 16 % kSegmentsMax);
    digits.insert(0, 10 - digits.size(), '0');
    return kShard + digits + (part < 6 ? ".hint" : ".data");
  }

  static bool read(FaultFileSystem& files, const std::string& path, Buffer& bytes) {
    if (path.ends_with('/') || path.empty()) return false;
    auto file = files.open(path, OpenMode::read);
    if (!file.ok()) return false;
    bytes.resize(static_cast<std::size_t>((*file)->size().value()));
    require((*file)->read_at(0, bytes).value() == bytes.size(), "reads");
    return true;
  }
  void write_raw(const std::string& path, const Buffer& bytes) {
    static_cast<void>(files_.remove(path));
    auto file = files_.open(path, OpenMode::create_new);
    require(file.ok() && (bytes.empty() || (*file)->write_at(0, bytes).ok()), "writes");
  }

  void change(Buffer& raw, std::uint8_t kind, std::size_t at, std::uint16_t more, std::size_t size,
              const std::string& path, const Program& other) const {
    if (raw.empty()) return;
    Buffer from = raw;
    switch (kind % 8) {
      case 0:
        raw[at % raw.size()] ^= static_cast<std::uint8_t>(more);
        break;
      case 1:
        for (std::size_t i = at; i < std::min(raw.size(), at + size); ++i) raw[i] = 0;
        break;
      case 2:
        raw.resize(std::min(raw.size(), at));
        break;
      case 3:
        raw.resize(raw.size() + size, static_cast<std::uint8_t>(more));
        break;
      case 4:
        if (!read(other.files_, path, from)) from.clear();
        [[fallthrough]];
      case 5:  // a piece of this file or the other store's, with its checksums
        at = at * 8 % raw.size();
        for (std::size_t i = 0, source = std::size_t{more} * 8;
             i < size * 16 && at + i < raw.size() && source + i < from.size(); ++i) {
          raw[at + i] = from[source + i];
        }
        break;
      case 6:
        break;  // perhaps removed
      default:
        make_checksum_right(raw, at * 8);
    }
  }

  // Of the frame at `at`, when it can be one.
  static void make_checksum_right(Buffer& raw, std::size_t at) {
    if (at + format::kFrameBytesMin > raw.size()) return;
    const std::size_t size = base::load_little<std::uint16_t>(&raw[at + 14]) & 0x1fff;
    const std::size_t whole = format::frame_bytes(size);
    if (size == 0 || at + whole > raw.size()) return;
    const auto seed = base::load_little<std::uint32_t>(&raw[92]);
    base::store_little<std::uint32_t>(&raw[at], base::crc32c(seed, Bytes(&raw[at + 4], whole - 4)));
  }

  bool read_all() {
    Result<Collection> opened = open();
    if (!opened.ok()) {
      require(hints_changed_ || others_changed_, "an untouched one opens", opened.status());
      require(others_changed_, "hints are never needed", opened.status());
      require(!opened.message().empty(), "a refusal says why");
      return false;
    }
    for (std::size_t key = 0; key < kKeys; ++key) {
      const auto value = opened->get(key_of(key));
      const bool found = value.ok() && value->has_value();
      const std::string text = found ? std::string(Bytes(**value).text()) : std::string();
      require(!found || ever_[key].contains(text), "what is read was put under its key");
      if (others_changed_) continue;
      require(value.ok(), "what nobody touched can be read", value.status());
      require(text == last_[key], "what nobody touched is there");
    }
    const auto report = opened->verify();
    require(others_changed_ || (report.ok() && report->damaged_regions == 0),
            "no damage is told of what nobody touched", report.status());
    const Status status = opened->close();
    require(others_changed_ || status.ok(), "closes", status);
    return true;
  }

  const std::uint8_t options_;
  mutable FaultFileSystem files_;
  Config config_;
  Shape shape_;
  std::uint64_t stamp_ = 0;
  std::array<std::set<std::string>, kKeys> ever_;
  std::array<std::string, kKeys> last_;  // empty: erased
  bool hints_changed_ = false;
  bool others_changed_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  base::ByteReader input(Bytes(data, size));
  const auto options = input.little<std::uint8_t>();
  const std::size_t count = input.little<std::uint8_t>() % 96;
  if (input.failed() || input.rest().size() < 2 * count) return 0;
  Program program(options, 1);
  Program other(options, 2);
  program.write(input, count);
  other.write(input, count);
  for (std::size_t i = 0; i < 2 * count; ++i) static_cast<void>(input.little<std::uint8_t>());
  for (std::size_t times = 0; times < 24 && !input.rest().empty(); ++times) {
    program.damage(input, other);
  }
  program.check();
  return 0;
}

#else

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t*, std::size_t) { return 0; }

#endif  // ARMDB_WITH_OPENSSL

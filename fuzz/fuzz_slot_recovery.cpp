// Any bytes as slots.dat of a collection: it opens or is refused, and never crashes.
//
// Oracle: opening read_only changes nothing and sees what a writer sees; verify() finds every live
// key, and what opening found damaged; a second recovery, after a kill as after a close, agrees
// with the first on keys and values; what is written and synced then is there after a power cut;
// erased keys stay away, sweeping and compacting change no other.
//
// Input: one byte of options, then pieces of the file: kind, place, length (2 bytes), bytes. Header
// and stage are whole where no piece changes them. A copy that is given in part ends in zeros. The
// mutator seals checksums 7 times in 8, under the salt of the header that counts.
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "api/collection.hpp"
#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "format/file_name.hpp"
#include "format/slot.hpp"
#include "store/collection_files.hpp"
#include "support/fault_file_system.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max);

namespace {

using namespace armdb;
using test::FaultFileSystem;

constexpr const char* kPath = "/db";
constexpr std::size_t kPiecesMax = 40;
constexpr std::size_t kPieceHead = 4;  // kind, place, length
constexpr std::size_t kCopyHead = 4;   // the crc of a copy
constexpr std::size_t kFileMax = 1 << 18;

enum Kind : std::uint8_t { kHeader, kMark, kStaged, kFirst, kSecond, kCut, kAnywhere, kKinds };
enum Option : std::uint8_t { kOrdered = 1, kSingle = 2, kLarge = 4, kUnmapped = 8, kFailed = 16 };

void require(bool holds, const char* what, const Status& status = {}) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s %s\n", what, status.message().c_str());
  std::abort();
}

// One piece of an input; the bytes lie in it.
struct Piece {
  Kind kind = kHeader;
  std::uint8_t place = 0;
  std::uint8_t* bytes = nullptr;
  std::size_t size = 0;
};

std::vector<Piece> pieces_of(std::uint8_t* data, std::size_t size) {
  std::vector<Piece> pieces;
  for (std::size_t at = 1; at + kPieceHead <= size && pieces.size() < kPiecesMax;) {
    const std::size_t length = data[at + 2] + 256u * data[at + 3];
    Piece piece{static_cast<Kind>(data[at] % kKinds), data[at + 1], data + at + kPieceHead,
                std::min(length, size - at - kPieceHead)};
    at += kPieceHead + piece.size;
    pieces.push_back(piece);
  }
  return pieces;
}

store::Description description_of(std::uint8_t options) {
  store::Description description;
  description.store_id.fill(0x41);
  description.shape.key_size = 4;
  // The large ones reach over more than a page, or fill half a sector.
  const std::uint32_t large = (options & kSingle) != 0 ? 200 : 5000;
  description.shape.value_size = (options & kLarge) != 0 ? large : 8;
  description.shape.ordered = (options & kOrdered) != 0;
  description.shape.fixed = true;
  description.hash_seed = 7;
  description.shard_count = 1;
  return description;
}

format::SlotsHeader header_of(std::uint8_t options) {
  const store::Description description = description_of(options);
  format::SlotsHeader header;
  header.file.type = format::FileType::slots;
  header.file.store_id = description.store_id;
  header.key_size = description.shape.key_size;
  header.value_size = description.shape.value_size;
  header.copies = (options & kSingle) != 0 ? 1 : 2;
  header.stage_count = 5;
  header.salt = 0x5a17;
  return header;
}

// ---- The mutator's seals ----

// The header that the file will have: its own fields as the piece gives them.
format::SlotsHeader seal_header(std::vector<Piece>& pieces, std::uint8_t options) {
  using base::load_little;
  format::SlotsHeader header = header_of(options);
  for (Piece& piece : pieces) {
    if (piece.kind != kHeader || piece.size < format::kSlotsHeaderBytes) continue;
    header.stage_count = load_little<std::uint32_t>(piece.bytes + 52) % 64 + 1;
    header.salt = load_little<std::uint64_t>(piece.bytes + 56);
    format::encode_slots_header(header, MutableBytes(piece.bytes, format::kSlotsHeaderBytes));
  }
  return header;
}

void seal_copy(std::uint8_t* bytes, std::size_t size, const format::SlotsHeader& header,
               std::uint64_t number, std::size_t slot_bytes) {
  if (size < format::kSlotHeaderBytes) return;
  std::vector<std::uint8_t> copy(slot_bytes);
  // Reserved bytes and the padding are zero, of what was erased the expiry and the value too.
  bytes[4] = bytes[4] % 8 == 2 ? 2 : 1;
  std::memset(bytes + 5, 0, 3);
  bytes[15] &= 0x7f;
  const bool live = bytes[4] == 1;
  if (!live) std::memset(bytes + 16, 0, 8);
  const std::size_t content =
      format::kSlotHeaderBytes + header.key_size + (live ? header.value_size : 0);
  if (size > content) std::memset(bytes + content, 0, size - content);
  std::memcpy(copy.data(), bytes, std::min(size, slot_bytes));
  std::uint8_t place[8];
  base::store_little<std::uint64_t>(place, number);
  const std::uint32_t seed = base::crc32c(format::slot_seed(header), Bytes(place));
  base::store_little<std::uint32_t>(bytes, base::crc32c(seed, Bytes(copy).sub(kCopyHead)));
}

void seal_all(std::vector<Piece>& pieces, std::uint8_t options) {
  const format::SlotsHeader header = seal_header(pieces, options);
  const format::SlotLayout layout(header.key_size, header.value_size, header.copies,
                                  header.stage_count);
  for (Piece& piece : pieces) {
    if (piece.kind == kFirst || piece.kind == kSecond) {
      seal_copy(piece.bytes, piece.size, header, piece.place, layout.slot_bytes());
    } else if (piece.kind == kStaged && piece.size > 8) {
      std::memset(piece.bytes + 1, 0, 7);
      seal_copy(piece.bytes + 8, piece.size - 8, header, piece.bytes[0], layout.slot_bytes());
    } else if (piece.kind == kMark && piece.size >= format::kCleanMarkBytes) {
      format::CleanMark mark;
      mark.version_last = base::load_little<std::uint64_t>(piece.bytes) & format::kSlotVersionMax;
      mark.slot_count = piece.bytes[8];
      mark.live_count = std::min<std::uint64_t>(piece.bytes[16], mark.slot_count);
      format::encode_clean_mark(mark, header, MutableBytes(piece.bytes, format::kCleanMarkBytes));
    }
  }
}

// ---- The file ----

std::vector<std::uint8_t> file_of(const std::vector<Piece>& pieces, std::uint8_t options) {
  const format::SlotsHeader made = header_of(options);
  std::vector<std::uint8_t> file(format::kSlotsHeaderBytes);
  format::encode_slots_header(made, file);
  format::SlotsHeader header = made;
  for (const Piece& piece : pieces) {
    if (piece.kind != kHeader) continue;
    std::copy_n(piece.bytes, std::min(piece.size, file.size()), file.begin());
    // Where the header says nothing that can be, the pieces lie as if it did.
    if (!format::decode_slots_header(Bytes(file), header).ok()) header = made;
  }
  const format::SlotLayout layout(header.key_size, header.value_size, header.copies,
                                  header.stage_count);
  file.resize(std::min<std::size_t>(static_cast<std::size_t>(layout.slots_at()), kFileMax));
  const auto put = [&](std::uint64_t at, const Piece& piece, std::size_t most) {
    const std::size_t size = std::min(piece.size, most);
    if (at + size > kFileMax) return;
    file.resize(std::max(file.size(), static_cast<std::size_t>(at) + size));
    std::copy_n(piece.bytes, size, file.begin() + static_cast<std::ptrdiff_t>(at));
  };
  for (const Piece& piece : pieces) {
    const std::uint32_t copy = piece.kind == kSecond && header.copies == 2 ? 1 : 0;
    if (piece.kind == kMark) put(format::kCleanMarkAt, piece, format::kCleanMarkBytes);
    if (piece.kind == kStaged) {
      put(layout.stage_at(piece.place % header.stage_count), piece, layout.stage_bytes());
    }
    if (piece.kind == kFirst || piece.kind == kSecond) {
      put(layout.offset(piece.place, copy), piece, layout.slot_bytes());
    }
    if (piece.kind == kAnywhere) put(piece.place * std::uint64_t{512}, piece, piece.size);
  }
  for (const Piece& piece : pieces) {
    // The file ends at a sector, or within one.
    const std::size_t end = piece.place * std::size_t{512} + piece.size % 512;
    if (piece.kind == kCut) file.resize(std::min(file.size(), end));
  }
  return file;
}

void make_files(FaultFileSystem& files, const store::Description& description, Bytes slots,
                std::uint8_t options) {
  require(files.create_directory(kPath).ok(), "directory");
  require(store::create_description(files, kPath, description).ok(), "db.meta");
  const std::string shard = store::shard_path(kPath, 0) + "/";
  Result<Owned<File>> file =
      files.open(shard + std::string(format::kSlotsName), OpenMode::create_new);
  require(file.ok() && (*file)->write_at(0, slots).ok(), "slots.dat");
  if ((options & kFailed) != 0) {
    const std::string mark = shard + format::file_name(format::FileRole::failed, 1);
    require(files.open(mark, OpenMode::create_new).ok(), "the mark");
  }
  files.power_cut_keep_all();
}

// ---- The harness ----

using Contents = std::map<std::string, std::string>;

Contents contents_of(const Collection& collection, bool swept = false) {
  Contents contents;
  const Status status = collection.for_each(
      [&](Bytes key, Bytes) {
        const auto value = collection.get(key);
        require(value.ok() && value->has_value(), "a listed key is there", value.status());
        contents[std::string(key.text())] = (*value)->text();
        return true;
      },
      false);
  require(status.ok(), "keys can be listed", status);
  // Entries that are over count until they are swept.
  require(swept ? contents.size() == collection.size() : contents.size() <= collection.size(),
          "size() is the number of keys");
  return contents;
}

void require_same(const Contents& now, const Contents& before, const char* what) {
  if (now == before) return;
  for (const auto* contents : {&before, &now}) {
    for (const auto& [key, value] : *contents) {
      std::fprintf(stderr, "%s: ", contents == &now ? "now" : "before");
      for (const char c : key + value.substr(0, 8)) {
        std::fprintf(stderr, "%02x", static_cast<unsigned>(static_cast<std::uint8_t>(c)));
      }
      std::fprintf(stderr, "\n");
    }
  }
  require(false, what);
}

// One input on its way through openings.
class Subject {
 public:
  Subject(FaultFileSystem& files, const store::Description& description, std::uint8_t options)
      : files_(files), shape_(description.shape), options_(options) {
    config_.file_system = &files;
    config_.write_buffer_size = 16 << 10;
    config_.index_step_bytes = 4 << 10;
    config_.grow_step = 16 << 10;
    if (std::getenv("ARMDB_FUZZ_LOG") != nullptr) {
      config_.log.callback = [](void*, LogLevel, std::string_view text) {
        std::fprintf(stderr, "log: %.*s\n", static_cast<int>(text.size()), text.data());
      };
    }
  }

  void check() {
    const std::uint64_t before = files_.hash();
    const bool opens = open(true);
    Contents seen;
    if (opens) seen = contents_of(collection_);
    if (opens) verify();
    collection_ = Collection();
    require(files_.hash() == before, "read_only changes nothing");

    const bool writes = open(false);
    // What a crafted version leaves no larger one for cannot be put in order.
    if (opens && !writes && status_.is(Errc::too_large)) return;
    require(writes == opens, "a writer opens what a reader opened", status_);
    if (!writes) return;
    require_same(contents_of(collection_), seen, "a writer sees what a reader saw");
    verify();
    const FaultFileSystem::Snapshot snapshot = files_.snapshot();
    collection_ = Collection();
    files_.restore(snapshot);  // the first recovery's process was killed
    reopen();
    require_same(contents_of(collection_), seen, "a second recovery agrees");
    const bool used_up = collection_.stats().last_sequence > format::kSlotVersionMax - kWritesMax;
    used_up ? use_up(std::move(seen)) : write(std::move(seen));
  }

 private:
  static constexpr std::uint64_t kWritesMax = 100;

  bool open(bool read_only) {
    // Every mapping is refused.
    files_.clear_faults();
    if ((options_ & kUnmapped) != 0) files_.fail(test::Call::map, 1, ENODEV, true);
    config_.read_only = read_only;
    Result<Collection> opened = Collection::open(kPath, shape_, config_);
    status_ = opened.status();
    if (opened.ok()) collection_ = std::move(*opened);
    return opened.ok();
  }

  void reopen() { require(open(false), "opens again", status_); }

  void verify() {
    const Result<VerifyReport> report = collection_.verify();
    require(report.ok(), "verifies", report.status());
    // A reader has to leave what lost its key to another slot.
    require(report->entries >= collection_.size(), "verify() finds each key");
    require(report->entries == collection_.size() || config_.read_only, "and finds it once");
    require(report->damaged_regions == collection_.stats().damaged_regions, "damage is counted");
  }

  bool put(Contents& contents, const std::string& key, char fill) {
    const std::string value(shape_.value_size, fill);
    const Status status = collection_.put(key, value);
    require(status.ok(), "a recovered shard can be written", status);
    contents[key] = value;
    return true;
  }

  // The last versions: then the shard refuses to be written, and loses nothing.
  void use_up(Contents contents) {
    const std::string value(shape_.value_size, 'a');
    bool refused = false;
    for (std::uint64_t at = 0; at < kWritesMax && !refused; ++at) {
      refused = !collection_.put("kkkk", value).ok();
      if (!refused) contents["kkkk"] = value;
    }
    require(refused, "versions end");
    require_same(contents_of(collection_), contents, "what is there stays");
    collection_ = Collection();
    require(open(true), "can be read", status_);
    require_same(contents_of(collection_), contents, "and is there again");
  }

  // New keys, keys that were there, erased ones; then what compacting moves.
  void write(Contents contents) {
    put(contents, "kkkk", 'a');
    const std::string some = contents.rbegin()->first;
    put(contents, some, 'b');
    require(collection_.sync().ok(), "syncs");
    put(contents, some, 'c');
    if (contents.size() > 1) {
      const std::string gone = contents.begin()->first;
      require(collection_.erase(gone).ok(), "erases");
      contents.erase(gone);
    }
    require(collection_.sync().ok(), "syncs again");
    const FaultFileSystem::Snapshot snapshot = files_.snapshot();
    collection_ = Collection();
    files_.restore(snapshot);
    files_.power_cut_random(contents.size(), test::Tearing::half);
    reopen();
    require_same(contents_of(collection_), contents, "what was synced is there");
    const Result<std::uint64_t> gone = collection_.sweep_expired(~std::uint64_t{0});
    require(gone.ok(), "sweeps", gone.status());
    require_same(contents_of(collection_, true), contents, "a sweep changes nothing else");
    const Status compacted = collection_.compact();
    require(compacted.ok(), "compacts", compacted);
    require_same(contents_of(collection_, true), contents, "so does compacting");
    verify();
    const Status closed = collection_.close();
    require(closed.ok(), "closes", closed);
    reopen();
    require_same(contents_of(collection_, true), contents, "it agrees after a close");
    verify();
    for (const auto& [key, value] : contents) require(collection_.erase(key).ok(), "erases all");
    require(collection_.close().ok(), "closes again");
    reopen();
    require_same(contents_of(collection_, true), {}, "nothing comes back");
  }

  FaultFileSystem& files_;
  const Shape shape_;
  const std::uint8_t options_;
  FixedConfig config_;
  Collection collection_;
  Status status_;
};

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max, unsigned seed) {
  size = LLVMFuzzerMutate(data, size, max);
  if (seed % 8 == 0 || size == 0) return size;
  std::vector<Piece> pieces = pieces_of(data, size);
  seal_all(pieces, data[0]);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  std::vector<std::uint8_t> copy(data, data + size);
  FaultFileSystem files;
  const store::Description description = description_of(data[0]);
  const std::vector<std::uint8_t> slots = file_of(pieces_of(copy.data(), size), data[0]);
  make_files(files, description, Bytes(slots), data[0]);
  Subject(files, description, data[0]).check();
  return 0;
}

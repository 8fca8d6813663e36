// Any bytes as the files of a shard, or of two that joint batches bind together.
//
// Oracle: the shard opens or is refused, without a crash, a leak or a step outside; a read-only
// open changes nothing and sees what a writer sees; a second recovery, after a kill as after a
// close, agrees with the first on keys and values; a new write is there after it. Without a hint,
// which may tell anything, a key has the expiry of an entry of it in the files.
//
// Input: one byte of options, then files: kind, id, length (2 bytes), bytes. With two shards kinds
// from kKinds on are those of the second one, and db.state says that there are joint batches. The
// mutator seals checksums 7 times in 8: several stand in a row, each the seed of the next.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "api/collection.hpp"
#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "format/entry.hpp"
#include "format/file_header.hpp"
#include "format/file_name.hpp"
#include "format/hint.hpp"
#include "format/tail.hpp"
#include "store/collection_files.hpp"
#include "store/manifest_file.hpp"
#include "support/fault_file_system.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max);

namespace {

using namespace armdb;
using test::FaultFileSystem;

constexpr const char* kPath = "/db";
constexpr std::size_t kFilesMax = 12;
constexpr std::size_t kFileHead = 4;  // kind, id, length

enum Kind : std::uint8_t { kSegment, kHint, kManifest, kTail, kFailed, kAside, kTemporary, kKinds };

void require(bool holds, const char* what, const Status& status = {}) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s %s\n", what, status.message().c_str());
  std::abort();
}

constexpr std::uint8_t kTwoShards = 16;  // an option

// One file of an input; the bytes lie in it.
struct Piece {
  Kind kind = kSegment;
  std::uint32_t shard = 0;
  std::uint8_t id = 0;
  std::uint8_t* bytes = nullptr;
  std::size_t size = 0;
};

std::vector<Piece> pieces_of(std::uint8_t* data, std::size_t size) {
  std::vector<Piece> pieces;
  const std::uint32_t shards = size != 0 && (data[0] & kTwoShards) != 0 ? 2 : 1;
  for (std::size_t at = 1; at + kFileHead <= size && pieces.size() < kFilesMax;) {
    const std::size_t length = data[at + 2] + 256u * data[at + 3];
    Piece piece{static_cast<Kind>(data[at] % kKinds), data[at] / kKinds % shards, data[at + 1],
                data + at + kFileHead, std::min(length, size - at - kFileHead)};
    at += kFileHead + piece.size;
    pieces.push_back(piece);
  }
  return pieces;
}

store::Description description_of(std::uint8_t options) {
  store::Description description;
  description.store_id.fill(0x41);
  description.shape.key_size = 4;
  description.shape.ordered = (options & 1) != 0;
  description.shape.payload = (options & 2) != 0 ? Payload::location : Payload::value;
  description.shape.value_size = (options & 2) != 0 ? 0 : 8;
  description.hash_seed = 7;
  description.shard_count = (options & kTwoShards) != 0 ? 2 : 1;
  return description;
}

// ---- The mutator's seals ----

void seal_file_header(Piece& piece, format::FileType type, std::uint32_t id) {
  if (piece.size < format::kFileHeaderBytes) return;
  format::FileHeader header;
  header.type = type;
  header.store_id.fill(0x41);
  header.shard = piece.shard;
  header.file_id = id;
  format::encode_file_header(header, MutableBytes(piece.bytes, format::kFileHeaderBytes));
}

// Seals whatever looks like an entry, one after another.
void seal_entries(std::uint8_t* bytes, std::size_t size, std::uint32_t seed) {
  for (std::size_t at = 0; at < size;) {
    std::uint64_t need = 0;
    if (!format::peek_entry_bytes(Bytes(bytes + at, size - at), need) || need > size - at) {
      at += 8;
      continue;
    }
    const bool expiry = (bytes[at + 4] & format::kExpiry) != 0;
    const std::size_t content = format::kEntryHeaderBytes + (expiry ? 8 : 0) +
                                base::load_little<std::uint16_t>(bytes + at + 6) +
                                base::load_little<std::uint32_t>(bytes + at + 8);
    std::fill(bytes + at + content, bytes + at + need, std::uint8_t{0});
    base::store_little<std::uint32_t>(bytes + at,
                                      base::crc32c(seed, Bytes(bytes + at + 4, content - 4)));
    at += static_cast<std::size_t>(need);
  }
}

// The seed of the segment's entries, 0 when it has no header.
std::uint32_t seal_segment(Piece& piece) {
  if (piece.size < format::kSegmentHeaderBytes) return 0;
  seal_file_header(piece, format::FileType::segment, piece.id);
  std::memset(piece.bytes + 88, 0, 4);
  const auto crc = base::load_little<std::uint32_t>(piece.bytes + 36);
  base::store_little<std::uint32_t>(piece.bytes + 92, base::crc32c(crc, {piece.bytes + 40, 52}));
  format::SegmentHeader header;
  if (!format::decode_segment_header(Bytes(piece.bytes, piece.size), header).ok()) return 0;
  const std::uint32_t seed = format::entry_seed(header);
  seal_entries(piece.bytes + format::kSegmentHeaderBytes, piece.size - format::kSegmentHeaderBytes,
               seed);
  return seed;
}

// `salts` are those of the segments: a MANIFEST names them, and a hint too.
void seal_manifest(Piece& piece, const std::map<std::uint32_t, std::uint64_t>& salts) {
  if (piece.size < 88) return;
  seal_file_header(piece, format::FileType::manifest, 0);
  const std::size_t count = (piece.size - 88) / 56;
  base::store_little<std::uint32_t>(piece.bytes + 52, static_cast<std::uint32_t>(count));
  for (std::size_t at = 0; at < count; ++at) {
    std::uint8_t* const record = piece.bytes + 80 + 56 * at;
    const auto found = salts.find(base::load_little<std::uint32_t>(record));
    if (found != salts.end()) base::store_little<std::uint64_t>(record + 48, found->second);
  }
  const std::size_t end = 80 + 56 * count;
  base::store_little<std::uint32_t>(piece.bytes + end, base::crc32c(0, {piece.bytes, end}));
  std::memset(piece.bytes + end + 4, 0, 4);
}

void seal_hint(Piece& piece, const std::map<std::uint32_t, std::uint64_t>& salts) {
  if (piece.size < format::kHintHeaderBytes) return;
  seal_file_header(piece, format::FileType::hint, piece.id);
  const auto salt = salts.find(piece.id);
  if (salt != salts.end()) base::store_little<std::uint64_t>(piece.bytes + 40, salt->second);
  const auto crc = base::load_little<std::uint32_t>(piece.bytes + 36);
  const std::uint32_t seed = base::crc32c(crc, {piece.bytes + 40, 8});
  base::store_little<std::uint32_t>(piece.bytes + 48, seed);
  std::memset(piece.bytes + 52, 0, 4);
  for (std::size_t at = format::kHintHeaderBytes; at + 16 <= piece.size;) {
    std::uint32_t items = 0;
    const std::size_t left = piece.size - at - 16;
    if (!format::peek_hint_block(Bytes(piece.bytes + at, 16), items) || items > left) return;
    base::store_little<std::uint32_t>(
        piece.bytes + at, base::crc32c(seed, {piece.bytes + at + 4, std::size_t{items} + 12}));
    at += 16 + items;
  }
}

void seal_shard(std::vector<Piece>& pieces, std::uint32_t shard) {
  std::map<std::uint32_t, std::uint64_t> salts;
  std::uint32_t seed = 0;
  std::uint32_t seed_id = 0;
  for (Piece& piece : pieces) {
    if (piece.kind != kSegment || piece.shard != shard) continue;
    const std::uint32_t own = seal_segment(piece);
    if (own == 0) continue;
    salts[piece.id] = base::load_little<std::uint64_t>(piece.bytes + 80);
    if (piece.id >= seed_id) std::tie(seed, seed_id) = std::pair(own, std::uint32_t{piece.id});
  }
  for (Piece& piece : pieces) {
    if (piece.shard != shard) continue;
    if (piece.kind == kManifest) seal_manifest(piece, salts);
    if (piece.kind == kHint) seal_hint(piece, salts);
    if (piece.kind != kTail || piece.size < format::kTailHeaderBytes) continue;
    seal_file_header(piece, format::FileType::tail, 0);
    seal_entries(piece.bytes + format::kTailHeaderBytes, piece.size - format::kTailHeaderBytes,
                 seed);
  }
}

void seal_all(std::vector<Piece>& pieces) {
  seal_shard(pieces, 0);
  seal_shard(pieces, 1);
}

// ---- The harness ----

std::string name_of(const Piece& piece) {
  using format::FileRole;
  switch (piece.kind) {
    case kManifest:
      return std::string(format::kManifestName);
    case kTail:
      return std::string(format::kTailName);
    case kTemporary:
      return "MANIFEST.tmp";
    default:
      break;
  }
  static constexpr FileRole kRoles[] = {FileRole::segment, FileRole::hint,   FileRole::manifest,
                                        FileRole::tail,    FileRole::failed, FileRole::aside};
  return format::file_name(kRoles[piece.kind], std::max<std::uint32_t>(piece.id, 1));
}

// True when the files stand on the disk, durable.
void make_files(FaultFileSystem& files, const store::Description& description,
                const std::vector<Piece>& pieces) {
  require(files.create_directory(kPath).ok(), "directory");
  require(store::create_description(files, kPath, description).ok(), "db.meta");
  if (description.shard_count > 1) {
    store::CollectionState state;
    state.store_id = description.store_id;
    state.joint = true;
    require(store::replace_state(files, kPath, state).ok(), "db.state");
  }
  for (const Piece& piece : pieces) {
    const std::string path = store::shard_path(kPath, piece.shard) + "/" + name_of(piece);
    Result<Owned<File>> file = files.open(path, OpenMode::create_new);
    if (!file.ok()) continue;  // twice the same name
    require((*file)->write_at(0, Bytes(piece.bytes, piece.size)).ok(), "write");
  }
  files.power_cut_keep_all();
}

using Contents = std::map<std::string, std::string>;

// A value that cannot be read is left out. Only a crafted hint leads to one: a segment that is
// scanned has its checksums compared, and where the hint is wrong as a whole the next opening,
// which scans, may have one key less. With two shards a key may lie where no writer puts it, and
// then is listed, but not found.
Contents contents_of(const Collection& collection, bool swept = false) {
  Contents contents;
  std::size_t keys = 0;
  const Status status = collection.for_each(
      [&](Bytes key, Bytes) {
        const auto value = collection.get(key);
        const bool there = !value.ok() || value->has_value();
        require(there || collection.stats().shards > 1, "a listed key is there");
        require(value.ok() || value.is(Errc::corrupt), "values are whole or corrupt",
                value.status());
        if (value.ok() && there) contents[std::string(key.text())] = (*value)->text();
        ++keys;
        return true;
      },
      false);
  require(status.ok(), "keys can be listed", status);
  // Entries that are over count until they are swept.
  require(swept ? keys == collection.size() : keys <= collection.size(),
          "size() is the number of keys");
  return contents;
}

void require_same(const Contents& now, const Contents& before, const char* what) {
  if (now == before) return;
  for (const auto* contents : {&before, &now}) {
    for (const auto& [key, value] : *contents) {
      std::fprintf(stderr, "%s: %s = %s\n", contents == &now ? "now" : "before", key.c_str(),
                   value.c_str());
    }
  }
  require(false, what);
}

Contents open_and_read(const Shape& shape, const Config& config, bool must_open,
                       Collection& collection) {
  Result<Collection> opened = Collection::open(kPath, shape, config);
  require(opened.ok() || !must_open, "opens again", opened.status());
  if (!opened.ok()) return {{"refused", ""}};
  collection = std::move(*opened);
  return contents_of(collection);
}

// Of each key and value what their entries in the files say, whole or not; 0: it stays.
using Expiries = std::map<std::pair<std::string, std::string>, std::set<std::uint64_t>>;

Expiries expiries_in(const std::vector<Piece>& pieces) {
  Expiries expiries;
  for (const Piece& piece : pieces) {
    for (std::size_t at = 0; at < piece.size; at += 8) {
      const std::uint8_t* const entry = piece.bytes + at;
      std::uint64_t need = 0;
      if (!format::peek_entry_bytes(Bytes(entry, piece.size - at), need)) continue;
      if (need > piece.size - at) continue;
      const bool has = (entry[4] & format::kExpiry) != 0;
      const std::uint8_t* const behind = entry + format::kEntryHeaderBytes;
      const Bytes key(behind + (has ? 8 : 0), base::load_little<std::uint16_t>(entry + 6));
      const Bytes value(key.data() + key.size(), base::load_little<std::uint32_t>(entry + 8));
      const std::uint64_t told = has ? base::load_little<std::uint64_t>(behind) : 0;
      expiries[{std::string(key.text()), std::string(value.text())}].insert(
          told == WriteOptions::kForever ? 0 : told);
    }
  }
  return expiries;
}

void check_expiries(const Collection& collection, const Contents& contents,
                    const Expiries& expiries) {
  for (const auto& [key, value] : contents) {
    const Result<std::uint64_t> expiry = collection.expires_at(Bytes(key));
    require(expiry.ok(), "a key that is there has an expiry", expiry.status());
    const auto found = expiries.find({key, value});
    const std::uint64_t told = *expiry == WriteOptions::kForever ? 0 : *expiry;
    require(found != expiries.end() && found->second.contains(told), "an expiry that none had");
  }
}

void check(FaultFileSystem& files, const Shape& shape, std::uint8_t options, bool has_hint,
           const Expiries& expiries) {
  Config config;
  config.file_system = &files;
  config.write_buffer_size = 16 << 10;
  config.max_file_size = 64 << 10;
  config.index_step_bytes = 4 << 10;
  config.cache_bytes = 16 << 10;
  config.mapped_reads = (options & 4) != 0;
  config.hints = (options & 8) == 0;
  if (std::getenv("ARMDB_FUZZ_LOG") != nullptr) {
    config.log.callback = [](void*, LogLevel, std::string_view text) {
      std::fprintf(stderr, "log: %.*s\n", static_cast<int>(text.size()), text.data());
    };
  }

  Config reading = config;
  reading.read_only = true;
  const std::uint64_t before = files.hash();
  Collection collection;
  const Contents seen = open_and_read(shape, reading, false, collection);
  collection = Collection();
  require(files.hash() == before, "read_only changes nothing");

  Contents first = open_and_read(shape, config, !seen.contains("refused"), collection);
  require_same(first, seen, "a writer sees what a reader saw");
  if (first.contains("refused")) return;
  if (!has_hint) check_expiries(collection, first, expiries);
  // After damage the next recovery need not know which sequences were durable, and then judges
  // joint batches by what is there; nor does it judge any after a close.
  const bool forgets = (options & kTwoShards) != 0 && collection.stats().damaged_regions != 0;
  const FaultFileSystem::Snapshot snapshot = files.snapshot();
  collection = Collection();
  files.restore(snapshot);  // the first recovery's process was killed
  const Contents second = open_and_read(shape, config, true, collection);
  // A crafted hint may have told of entries before it turned out wrong: once, and no more.
  if (!has_hint && !forgets) require_same(second, first, "a second recovery agrees");
  first = second;
  const Status put = collection.put("kkkk", "vvvvvvvv");
  // All file numbers are used up where a MANIFEST says so.
  require(put.ok() || put.is(Errc::too_large), "a recovered shard can be written", put);
  static_cast<void>(collection.close());
  if (put.ok()) first["kkkk"] = "vvvvvvvv";
  const Contents third = open_and_read(shape, config, true, collection);
  const Result<std::uint64_t> gone = collection.sweep_expired(~std::uint64_t{0});
  require(gone.ok() || gone.is(Errc::too_large), "sweeps", gone.status());
  if (gone.ok()) require_same(contents_of(collection, true), third, "a sweep changes nothing else");
  if (!forgets) return require_same(third, first, "a third one agrees");
  require(!put.ok() || (third.contains("kkkk") && third.at("kkkk") == "vvvvvvvv"),
          "a new write is there");
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max, unsigned seed) {
  size = LLVMFuzzerMutate(data, size, max);
  if (seed % 8 == 0) return size;
  std::vector<Piece> pieces = pieces_of(data, size);
  seal_all(pieces);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  std::vector<std::uint8_t> copy(data, data + size);
  FaultFileSystem files;
  const store::Description description = description_of(data[0]);
  const std::vector<Piece> pieces = pieces_of(copy.data(), size);
  make_files(files, description, pieces);
  const bool has_hint = std::any_of(pieces.begin(), pieces.end(),
                                    [](const Piece& piece) { return piece.kind == kHint; });
  check(files, description.shape, data[0], has_hint, expiries_in(pieces));
  return 0;
}

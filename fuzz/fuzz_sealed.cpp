// A sealed file, and a sealed tail buffer, as they are written and then damaged by any means.
//
// Oracle: what is read of a file is right or zero, byte for byte, whatever was done to it; where
// only bytes were changed, frames that were not touched are right. What is read of a tail is a run
// of whole frames that were added one after the other; where only bytes were changed, the first
// ones. A file that does not open says why.
//
// Input: a byte of options, a byte with the number of writes, two bytes with the size of each;
// then damages, of six bytes each. So the harness seals first and damages then, and the fuzzer
// never meets a tag that it would have to guess. Without OpenSSL there is nothing to try.
#include <cstddef>
#include <cstdint>

#if ARMDB_WITH_OPENSSL

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/byte_reader.hpp"
#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "store/keyring.hpp"
#include "store/sealed_tail.hpp"
#include "store/tail_buffer.hpp"

namespace {

using namespace armdb;
using Buffer = std::vector<std::uint8_t>;

void require(bool holds, const char* what, const Status& status = {}) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s %s\n", what, status.message().c_str());
  std::abort();
}

enum Option : std::uint8_t { kChaCha = 1, kTail = 2, kOtherShard = 4, kLong = 8 };

// Made once: what takes time is db.keys.
struct Store {
  explicit Store(Cipher cipher) {
    description.cipher = cipher;
    description.shape = {4, 0, true, Payload::location};
    require(files->create_directory("/c").ok(), "directory");
    const Status status = store::Keyring::create(*files, "/c", ByteArray<32>{1}, description, ring);
    require(status.ok(), "keyring", status);
  }
  Owned<FileSystem> files = make_memory_file_system();
  store::Description description;
  std::unique_ptr<store::Keyring> ring;
  Config config;
  base::EpochDomain epochs;
};

Store& store_of(std::uint8_t options) {
  static Store aes(Cipher::aes_256_gcm), chacha(Cipher::chacha20_poly1305);
  return (options & kChaCha) != 0 ? chacha : aes;
}

// What was written: the plain bytes, and the file.
struct Written {
  std::string plain;
  std::string ever;  // of a tail: also what stood there before it began anew
  Buffer raw;
  bool bytes_only = true;  // nothing was copied, and no checksum made right
  Buffer touched;          // 1: the byte was changed
};

// Bytes without a zero, others for each seed.
std::string_view plain_bytes(std::size_t size, std::size_t seed) {
  static const std::string pattern = [] {
    std::string bytes(300'000, '\0');
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<char>((i * 131 + i / 251 * 7 + i / 7919) % 255 + 1);
    }
    return bytes;
  }();
  return std::string_view(pattern).substr(seed * 733, size);
}

Buffer read_raw(FileSystem& files, const std::string& path) {
  auto file = files.open(path, OpenMode::read);
  require(file.ok(), "opens", file.status());
  Buffer bytes(static_cast<std::size_t>((*file)->size().value()));
  require((*file)->read_at(0, bytes).value() == bytes.size(), "reads");
  return bytes;
}

void write_raw(FileSystem& files, const std::string& path, const Buffer& bytes) {
  static_cast<void>(files.remove(path));
  auto file = files.open(path, OpenMode::create_new);
  require(file.ok() && (bytes.empty() || (*file)->write_at(0, bytes).ok()), "writes");
}

std::string header_of(const Store& store, std::uint32_t file_id, std::uint32_t shard) {
  format::FileHeader fields;
  fields.store_id = store.description.store_id;
  fields.file_id = file_id;
  fields.shard = shard;
  std::uint8_t bytes[format::kFileHeaderBytes];
  format::encode_file_header(fields, bytes);
  return std::string(Bytes(bytes).text());
}

Written write_file(Store& store, const std::vector<std::size_t>& sizes, std::uint32_t shard,
                   std::size_t seed) {
  const std::string path = "/c/written";
  static_cast<void>(store.files->remove(path));
  auto file = store.ring->sealed_files().open(path, OpenMode::create_new);
  require(file.ok(), "creates", file.status());
  Written written;
  // A header has zeros: they read right in any case.
  written.plain = header_of(store, 1, shard);
  require((*file)->write_at(0, written.plain).ok(), "writes the header");
  for (const std::size_t size : sizes) {
    const std::string_view more = plain_bytes(size, ++seed);
    const Status status = (*file)->write_at(written.plain.size(), more);
    require(status.ok(), "writes", status);
    written.plain += more;
  }
  written.raw = read_raw(*store.files, path);
  return written;
}

store::StoreContext context_of(Store& store, std::uint32_t shard) {
  return {store.ring->sealed_files(),
          store.config,
          store.epochs,
          "/c",
          store.description.store_id,
          shard,
          1,
          {},
          false,
          store.ring.get()};
}

Written write_tail(Store& store, const std::vector<std::size_t>& sizes, std::uint32_t shard,
                   std::size_t seed) {
  const store::StoreContext context = context_of(store, shard);
  std::unique_ptr<store::SealedTail> tail;
  const Status status = store::SealedTail::open(context, "/c/tail.buf", 4 << 10, tail);
  require(status.ok() && tail != nullptr, "opens a tail", status);
  Written written;
  for (const std::size_t wanted : sizes) {
    const std::size_t size = wanted % 1500 + 1;
    const std::string_view more = plain_bytes(size, ++seed);
    if (size % 7 == 0) {
      require(tail->restart(), "begins anew");
      written.ever += written.plain + std::string(1, '\0');
      written.plain.clear();
    }
    if (!tail->add(more, written.plain.size())) {
      // A part of it may be there; the shard gives such a file up.
      written.plain += more;
      break;
    }
    written.plain += more;
  }
  written.ever += written.plain;
  tail.reset();
  written.raw = read_raw(*store.files, "/c/tail.buf");
  return written;
}

// ---- Damage ----

// The checksum of a frame at `at` made right, when it can be one.
void seal_checksum(Buffer& raw, std::size_t at) {
  if (at + format::kFrameBytesMin > raw.size()) return;
  const std::size_t size = base::load_little<std::uint16_t>(&raw[at + 14]) & 0x1fff;
  const std::size_t whole = format::frame_bytes(size);
  if (size == 0 || at + whole > raw.size()) return;
  const auto seed = base::load_little<std::uint32_t>(&raw[92]);
  base::store_little<std::uint32_t>(&raw[at], base::crc32c(seed, Bytes(&raw[at + 4], whole - 4)));
}

void copy_piece(Written& to, const Buffer& from, std::size_t at, std::size_t source,
                std::size_t size) {
  to.bytes_only = false;
  for (std::size_t i = 0; i < size && at + i < to.raw.size() && source + i < from.size(); ++i) {
    to.raw[at + i] = from[source + i];
  }
}

// kind, place (2 bytes, in steps of 8), another place (2 bytes) or a mask, length.
void damage(Written& written, const Written& other, base::ByteReader& input) {
  const auto kind = input.little<std::uint8_t>();
  const std::size_t at = std::size_t{input.little<std::uint16_t>()} * 8;
  const auto more = input.little<std::uint16_t>();
  const auto length = input.little<std::uint8_t>();
  Buffer& raw = written.raw;
  if (input.failed() || raw.empty()) return;
  const std::size_t size = std::size_t{length} * 8 + 1;
  switch (kind % 8) {
    case 0: {
      const std::size_t byte = (at + more / 256 % 8) % raw.size();
      raw[byte] ^= static_cast<std::uint8_t>(more);
      written.touched[byte] = 1;
      break;
    }
    case 1:
      for (std::size_t i = at; i < std::min(raw.size(), at + size); ++i) {
        raw[i] = more % 2 == 0 ? 0 : static_cast<std::uint8_t>(i * more);
        written.touched[i] = 1;
      }
      break;
    case 2:
      raw.resize(std::min(raw.size(), at));
      for (std::size_t i = raw.size(); i < written.touched.size(); ++i) written.touched[i] = 1;
      break;
    case 3:
      raw.resize(raw.size() + size, static_cast<std::uint8_t>(more));
      written.touched.resize(std::max(written.touched.size(), raw.size()), 1);
      break;
    case 4:
      copy_piece(written, Buffer(raw), at, std::size_t{more} * 8, size * 17);
      break;
    case 5:
      copy_piece(written, other.raw, at, std::size_t{more} * 8, size * 17);
      break;
    case 6:
      copy_piece(written, other.raw, at, at, size * 17);
      break;
    default:
      written.bytes_only = false;
      seal_checksum(raw, at);
  }
}

// ---- Oracles ----

// In pieces, most of which are right or all zero.
bool right_or_zero(Bytes read, std::string_view plain, std::uint64_t offset) {
  static constexpr std::uint8_t kZeros[64] = {};
  const Bytes expected = Bytes(plain).sub(static_cast<std::size_t>(offset));
  for (std::size_t at = 0; at < read.size(); at += sizeof kZeros) {
    const Bytes piece = read.sub(at, sizeof kZeros);
    const Bytes right = expected.sub(at, piece.size());
    if (piece == right || piece == Bytes(kZeros).sub(0, piece.size())) continue;
    for (std::size_t i = 0; i < piece.size(); ++i) {
      if (piece[i] != 0 && (i >= right.size() || piece[i] != right[i])) return false;
    }
  }
  return true;
}

// Frames of the undamaged file whose bytes nobody touched.
void check_untouched(const Written& written, const Buffer& whole, Bytes read) {
  const Bytes all(whole);
  if (whole.size() < format::kSealedHeaderBytes) return;
  const auto seed = base::load_little<std::uint32_t>(&whole[92]);
  for (std::size_t at = format::kSealedHeaderBytes; at < whole.size();) {
    const std::size_t end = (at / format::kSealedPageBytes + 1) * format::kSealedPageBytes;
    format::Frame frame;
    if (!format::decode_frame(all.sub(at, end - at), seed, frame)) {
      at = end;
      continue;
    }
    const std::size_t next = at + format::frame_bytes(frame.size);
    bool touched = next > written.raw.size();
    touched = touched || std::memchr(&written.touched[at], 1, next - at) != nullptr;
    const auto position = static_cast<std::size_t>(frame.position);
    require(
        touched || read.sub(position, frame.size) == Bytes(written.plain).sub(position, frame.size),
        "an untouched frame is right");
    at = end - next < format::kFrameBytesMin ? end : next;
  }
}

void check_file(Store& store, const Written& written, const Buffer& whole) {
  const std::string path = "/c/0000000001.data";
  write_raw(*store.files, path, written.raw);
  auto file = store.ring->sealed_files().open(path, OpenMode::read);
  if (!file.ok()) {
    require(file.is(Errc::corrupt) || file.is(Errc::format_mismatch) || file.is(Errc::wrong_key),
            "a refusal says why", file.status());
    return;
  }
  const std::uint64_t size = (*file)->size().value();
  require(size <= written.plain.size(), "nothing stands behind the end");
  Buffer all(written.plain.size() + 10);
  const auto got = (*file)->read_at(0, all);
  require(got.ok() && *got == size, "reads as far as its size says", got.status());
  all.resize(*got);
  require(right_or_zero(all, written.plain, 0), "what is read is right or zero");
  if (written.bytes_only) check_untouched(written, whole, all);
  for (std::uint64_t at = 0; at < size; at += size / 7 + 1) {
    Buffer some(static_cast<std::size_t>(size / 5 + at % 50));
    const auto part = (*file)->read_at(at, some);
    require(part.ok(), "reads", part.status());
    require(right_or_zero(Bytes(some).sub(0, *part), written.plain, at),
            "what is read in parts is right or zero");
    if (!written.bytes_only) continue;
    // A short read asks no checksum: a frame that lost only that is there for it.
    for (std::size_t i = 0; i < *part; ++i) {
      const std::uint8_t whole_has = all[static_cast<std::size_t>(at) + i];
      require(whole_has == 0 || some[i] == whole_has, "a part has what the whole has there");
    }
  }
}

void check_tail(Store& store, const Written& written, const Buffer& whole) {
  const store::StoreContext context = context_of(store, 0);
  Buffer front, plain;
  Status status = store::SealedTail::read(context, whole, front);
  require(status.ok(), "a tail reads", status);
  status = store::SealedTail::read(context, written.raw, plain);
  require(status.ok() || status.is(Errc::wrong_key), "a damaged tail reads", status);
  const std::string_view read = Bytes(plain).text();
  require(written.ever.find(read) != std::string::npos, "what is read was written");
  if (!written.bytes_only) return;
  require(written.plain.starts_with(Bytes(front).text()), "a whole tail is what was added");
  require(Bytes(front).text().starts_with(read), "a damaged tail is its front");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  base::ByteReader input(Bytes(data, size));
  const auto options = input.little<std::uint8_t>();
  const std::size_t count = input.little<std::uint8_t>() % 24;
  std::vector<std::size_t> sizes;
  std::size_t most = (options & kLong) != 0 ? 150'000 : 30'000;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t wanted = input.little<std::uint16_t>();
    sizes.push_back(std::min(most, wanted));
    most -= sizes.back();
  }
  if (input.failed()) return 0;
  Store& store = store_of(options);
  const std::uint32_t shard = (options & kOtherShard) != 0 ? 1 : 0;
  const bool tail = (options & kTail) != 0;
  const auto write = tail ? write_tail : write_file;
  const Written other = write(store, sizes, shard, 100);
  Written written = write(store, sizes, 0, 0);
  const Buffer whole = written.raw;
  written.touched.resize(whole.size());
  for (std::size_t times = 0; times < 40 && !input.rest().empty(); ++times) {
    damage(written, other, input);
  }
  // With its header the file is the other one, as if an older one had been put back.
  const Bytes header = Bytes(other.raw).sub(0, format::kSealedHeaderBytes);
  if (Bytes(written.raw).sub(0, header.size()) == header) {
    written.plain = other.plain;
    written.ever = other.ever;
  }
  if (tail) {
    check_tail(store, written, whole);
  } else {
    check_file(store, written, whole);
  }
  return 0;
}

#else

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t*, std::size_t) { return 0; }

#endif  // ARMDB_WITH_OPENSSL

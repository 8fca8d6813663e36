// Damage to sealed files, by media and by hand: what is read is right, or zeros, and nothing else.
#include <memory>
#include <vector>

#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "support/one_shard.hpp"
#include "support/sealed_store.hpp"

#if ARMDB_WITH_OPENSSL

using namespace armdb;
using test::append;
using test::FramePlace;
using test::no_zeros;
using test::read_range;
using test::SealedStore;

namespace {

const std::string kPath = "/c/0000000001.data";
constexpr std::size_t kPage = format::kSealedPageBytes;

// Each byte of `read` is the one of `plain` at that place, or zero.
bool right_or_zero(std::string_view read, std::string_view plain, std::uint64_t offset) {
  for (std::size_t i = 0; i < read.size(); ++i) {
    if (read[i] != 0 && (offset + i >= plain.size() || read[i] != plain[offset + i])) return false;
  }
  return true;
}

// Reads the file as it is now: whole, in small pieces from every frame's place, and at random.
void check_never_wrong(const SealedStore& store, const std::string& plain,
                       const std::vector<FramePlace>& frames, base::Random& random) {
  const auto file = store.sealed().open(kPath, OpenMode::read);
  if (!file.ok()) {
    CHECK(!file.is(Errc::io_error));
    return;
  }
  const std::uint64_t size = (*file)->size().value();
  REQUIRE(size <= plain.size());
  REQUIRE(right_or_zero(read_range(**file, 0, plain.size()), plain, 0));
  for (const FramePlace& frame : frames) {
    REQUIRE(right_or_zero(read_range(**file, frame.position, frame.size), plain, frame.position));
    REQUIRE(right_or_zero(read_range(**file, frame.position + frame.size / 2, 1), plain,
                          frame.position + frame.size / 2));
  }
  for (int read = 0; read < 20; ++read) {
    const std::uint64_t at = random.below(plain.size());
    const std::string bytes = read_range(**file, at, random.below(3000));
    REQUIRE(right_or_zero(bytes, plain, at));
  }
}

struct Sample {
  std::string plain;
  std::string raw;
  std::vector<FramePlace> frames;
};
// A file of frames of this size, of about three pages.
Sample make_sample(SealedStore& store, std::size_t frame_size, std::uint64_t seed,
                   std::uint32_t file_id = 1, std::uint32_t shard = 0) {
  const std::string path = "/c/sample";
  static_cast<void>(store.files.remove(path));
  const Owned<File> file = store.create(path);
  Sample sample;
  append(*file, sample.plain, store.header(file_id, shard) + std::string(24, 'h'));
  while (sample.plain.size() < 2 * kPage + 900) {
    append(*file, sample.plain, no_zeros(frame_size, seed++));
  }
  sample.raw = test::read_path(store.files, path);
  sample.frames = test::frames_of(sample.raw);
  return sample;
}

// What lies at `from` in one file, put to `to` in another.
std::string with_piece(std::string raw, std::uint64_t to, std::string_view from_raw,
                       std::uint64_t from, std::size_t size) {
  raw.replace(static_cast<std::size_t>(to), size, from_raw.substr(from, size));
  return raw;
}

}  // namespace

TEST_CASE("sealed_file: a flipped bit costs its frame, and no other byte [pitfall-46]",
          "[serial]") {
  for (const Cipher cipher : {Cipher::aes_256_gcm, Cipher::chacha20_poly1305}) {
    SealedStore store(cipher);
    const Sample sample = make_sample(store, 1000, 1);
    test::replace(store.files, kPath, sample.raw);
    const std::string& plain = sample.plain;
    for (std::size_t bit = 0; bit < sample.raw.size() * 8; ++bit) {
      const std::size_t at = bit / 8;
      // All bits of the first pages' headers; of the rest one of each byte.
      if (at > 300 && at % 1032 > 40 && bit % 8 != at % 8) continue;
      test::flip(store.files, kPath, at, static_cast<int>(bit % 8));
      const auto file = store.sealed().open(kPath, OpenMode::read);
      if (at < format::kSealedHeaderBytes) {
        REQUIRE(!file.ok());
      } else {
        REQUIRE(file.ok());
        std::string expected = plain;
        for (const FramePlace& frame : sample.frames) {
          if (at < frame.at || at >= frame.at + frame.bytes) continue;
          const bool ends = frame.position + frame.size == plain.size();
          // Where only the checksum is wrong the tag still tells that the bytes are right.
          if (at < frame.at + 4 && !ends) continue;
          expected.replace(frame.position, frame.size, frame.size, '\0');
          if (ends) expected.resize(frame.position);
        }
        REQUIRE((test::read_all(**file) == expected));
      }
      test::flip(store.files, kPath, at, static_cast<int>(bit % 8));
    }
  }
}

TEST_CASE("sealed_file: a frame that was moved, or two that were swapped, are never served",
          "[serial]") {
  for (const std::size_t size : {100u, 1000u, 4064u}) {
    SealedStore store;
    const Sample sample = make_sample(store, size, 1);
    base::Random random(size);
    for (const FramePlace& a : sample.frames) {
      for (const FramePlace& b : sample.frames) {
        if (a.at == b.at || a.bytes != b.bytes || !random.one_in(size == 100 ? 20 : 1)) continue;
        std::string raw = with_piece(sample.raw, a.at, sample.raw, b.at, b.bytes);
        test::replace(store.files, kPath, raw);
        check_never_wrong(store, sample.plain, sample.frames, random);
        raw = with_piece(raw, b.at, sample.raw, a.at, a.bytes);
        test::replace(store.files, kPath, raw);
        check_never_wrong(store, sample.plain, sample.frames, random);
      }
    }
    // Whole pages, too.
    for (std::size_t page = 0; page < 3; ++page) {
      const std::string raw = with_piece(sample.raw, page * kPage, sample.raw, 0, kPage);
      test::replace(store.files, kPath, raw);
      check_never_wrong(store, sample.plain, sample.frames, random);
    }
  }
}

TEST_CASE("sealed_file: frames of another file, shard or store are never served [pitfall-46]") {
  SealedStore store, other(Cipher::aes_256_gcm, 66);
  base::Random random(4);
  const Sample own = make_sample(store, 700, 1);
  const std::vector<Sample> strangers = {
      make_sample(store, 700, 500),        // the same number, made again
      make_sample(store, 700, 500, 2),     // another number
      make_sample(store, 700, 500, 1, 3),  // another shard
      make_sample(other, 700, 500),        // another store
  };
  for (const Sample& stranger : strangers) {
    REQUIRE(stranger.raw.size() == own.raw.size());
    for (const FramePlace& frame : own.frames) {
      test::replace(store.files, kPath,
                    with_piece(own.raw, frame.at, stranger.raw, frame.at, frame.bytes));
      check_never_wrong(store, own.plain, own.frames, random);
    }
    for (std::size_t page = 0; page * kPage < own.raw.size(); ++page) {
      const std::size_t size = std::min(kPage, own.raw.size() - page * kPage);
      test::replace(store.files, kPath,
                    with_piece(own.raw, page * kPage, stranger.raw, page * kPage, size));
      // The first page has the header: the file is the stranger from there on.
      const std::string& plain = page == 0 ? stranger.plain : own.plain;
      check_never_wrong(store, plain, own.frames, random);
    }
    // One header, and all frames of the other.
    const std::size_t header = format::kSealedHeaderBytes;
    test::replace(store.files, kPath, with_piece(stranger.raw, 0, own.raw, 0, header));
    CHECK(store.open(kPath)->size().value() == 0);
  }
  // A file of another store has another data key: not a byte of it opens.
  test::replace(store.files, kPath, strangers[3].raw);
  CHECK(store.open(kPath)->size().value() == 0);
}

TEST_CASE("sealed_file: a header that was changed, checksums and all, opens no frame") {
  SealedStore store;
  const Sample sample = make_sample(store, 700, 1);
  for (std::size_t at = 0; at < format::kSealedHeaderBytes; ++at) {
    std::string raw = sample.raw;
    raw[at] = static_cast<char>(raw[at] ^ 1);
    auto* const bytes = reinterpret_cast<std::uint8_t*>(raw.data());
    const std::uint32_t first = base::crc32c(0, Bytes(bytes, 36));
    base::store_little<std::uint32_t>(bytes + 36, first);
    base::store_little<std::uint32_t>(bytes + 92, base::crc32c(first, Bytes(bytes + 40, 52)));
    test::replace(store.files, kPath, raw);
    const auto file = store.sealed().open(kPath, OpenMode::read);
    const bool checksum = (at >= 36 && at < 40) || at >= 92;
    INFO("byte " << at);
    if (checksum) {
      CHECK(raw == sample.raw);
    } else if (file.ok()) {
      CHECK((*file)->size().value() == 0);
    }
  }
}

TEST_CASE("sealed_file: a frame whose fields were changed, checksum and all, is zeros",
          "[serial]") {
  SealedStore store;
  const Sample sample = make_sample(store, 700, 1);
  base::Random random(8);
  for (const FramePlace& frame : sample.frames) {
    for (std::size_t bit = 32; bit < (format::kFrameHeaderBytes + 8) * 8; ++bit) {
      if (!random.one_in(4)) continue;
      std::string raw = sample.raw;
      auto* const at = reinterpret_cast<std::uint8_t*>(raw.data() + frame.at);
      at[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
      const std::uint64_t size = base::load_little<std::uint16_t>(at + 14) & 0x1fff;
      const std::size_t left = raw.size() - static_cast<std::size_t>(frame.at);
      const std::size_t covered = std::min(left, format::frame_bytes(size));
      const auto seed =
          base::load_little<std::uint32_t>(reinterpret_cast<const std::uint8_t*>(raw.data()) + 92);
      base::store_little<std::uint32_t>(at, base::crc32c(seed, Bytes(at + 4, covered - 4)));
      test::replace(store.files, kPath, raw);
      check_never_wrong(store, sample.plain, sample.frames, random);
      const auto file = store.open(kPath);
      const std::string read = read_range(*file, frame.position, frame.size);
      REQUIRE(read.find_first_not_of('\0') == std::string::npos);
    }
  }
}

// Somebody who kept a copy of the disk from between the two writes can do this, as he can put back
// any older state: a short read that does not reach the place where they meet cannot see it.
TEST_CASE("sealed_file: frames put back from a write that failed are noticed where they end") {
  SealedStore store;
  const Owned<File> file = store.create(kPath);
  std::string plain;
  append(*file, plain, store.header(1) + no_zeros(500, 1));
  // A write of five frames fails with all its bytes in the file.
  const std::string given_up = no_zeros(4 * 4064 + 500, 2);
  store.files.fail(test::Call::write, 1, ENOSPC, false, 100'000);
  REQUIRE(!file->write_at(plain.size(), given_up).ok());
  store.files.clear_faults();
  const std::string failed = test::read_path(store.files, kPath);
  REQUIRE(file->truncate(plain.size()).ok());
  // The same again with other bytes, and then some more.
  append(*file, plain, no_zeros(given_up.size(), 3));
  for (int write = 0; write < 10; ++write) append(*file, plain, no_zeros(1000, 4));
  const std::string raw = test::read_path(store.files, kPath);
  const auto frames = test::frames_of(raw);
  const auto old_frames = test::frames_of(failed);
  REQUIRE(old_frames.size() == 6);
  for (std::size_t first = 1; first < old_frames.size(); ++first) {
    std::string changed = raw;
    for (std::size_t last = first; last < old_frames.size(); ++last) {
      const FramePlace& frame = old_frames[last];
      REQUIRE(frame.position == frames[last].position);
      changed = with_piece(changed, frame.at, failed, frame.at, frame.bytes);
      INFO("frames " << first << " to " << last);
      test::replace(store.files, kPath, changed);
      const std::uint64_t forged = store.ring->forged();
      const Owned<File> again = store.open(kPath);
      const std::string read = test::read_all(*again);
      CHECK(store.ring->forged() > forged);
      REQUIRE(read.size() == plain.size());
      // The last of them is not served, nor what stands behind it in this read.
      REQUIRE(right_or_zero(std::string_view(read).substr(frame.position), plain, frame.position));
      if (first > 1) {
        // The first one does not fit to what stands before it either.
        const std::uint64_t from = frames[first].position;
        REQUIRE(right_or_zero(std::string_view(read).substr(from), plain, from));
      }
    }
  }
}

#endif  // ARMDB_WITH_OPENSSL

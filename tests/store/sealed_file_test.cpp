// Sealed files: they read and write like plain ones, and a reopened one ends where it ended.
#include "store/sealed_file.hpp"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "support/nonce_ledger.hpp"
#include "support/one_shard.hpp"
#include "support/scale.hpp"
#include "support/sealed_store.hpp"

#if ARMDB_WITH_OPENSSL

using namespace armdb;
using test::append;
using test::no_zeros;
using test::read_all;
using test::read_range;
using test::SealedStore;

namespace {

const std::string kPath = "/c/0000000001.data";
constexpr std::size_t kPage = format::kSealedPageBytes;
constexpr std::size_t kPayload = format::kFramePayloadMax;

void check_whole(const SealedStore& store, File& writer, const std::string& plain) {
  CHECK(writer.size().value() == plain.size());
  CHECK((read_all(writer) == plain));
  const Owned<File> reader = store.open(kPath);
  CHECK(reader->size().value() == plain.size());
  CHECK((read_all(*reader) == plain));
}

// A file of some writes of this size, at least two pages and two writes.
void check_writes_of(std::size_t size) {
  INFO("writes of " << size);
  SealedStore store;
  const Owned<File> file = store.create(kPath);
  std::string plain;
  append(*file, plain, store.header(1));
  std::size_t writes = 0;
  while (plain.size() < 2 * kPage || ++writes < 2) append(*file, plain, no_zeros(size, size));
  check_whole(store, *file, plain);
}

// The lengths at which something may go wrong: of pages, of frames, of what is written at a time.
std::vector<std::size_t> edges() {
  std::vector<std::size_t> all;
  for (const std::size_t edge :
       {std::size_t{8}, format::kFrameHeaderBytes, format::kFrameBytesMin,
        kPage - format::kSealedHeaderBytes - format::kFrameHeaderBytes, kPayload, kPage,
        2 * kPayload, 16 * kPayload - format::kSealedHeaderBytes, 16 * kPayload, 16 * kPage,
        17 * kPayload}) {
    for (std::size_t size = edge - 3; size <= edge + 3; ++size) all.push_back(size);
  }
  return all;
}

}  // namespace

TEST_CASE("sealed_file: what is written reads back, for writes of every awkward size", "[serial]") {
  for (std::size_t size = 1; size <= 130; ++size) check_writes_of(size);
  for (const std::size_t size : edges()) check_writes_of(size);
  check_writes_of(3 << 20);
}

TEST_CASE("sealed_file: a file of one write of every awkward size reads back", "[serial]") {
  const auto check = [](std::size_t size) {
    INFO(size);
    SealedStore store;
    const Owned<File> file = store.create(kPath);
    std::string plain;
    append(*file, plain, store.header(1) + no_zeros(size, size));
    check_whole(store, *file, plain);
  };
  for (std::size_t size = 0; size <= 64; ++size) check(size);
  for (const std::size_t edge : edges()) {
    check(edge);
    if (edge > 40) check(edge - format::kFileHeaderBytes);
  }
  for (const Cipher cipher : {Cipher::aes_256_gcm, Cipher::chacha20_poly1305}) {
    SealedStore store(cipher);
    const Owned<File> file = store.create(kPath);
    std::string plain;
    append(*file, plain, store.header(1) + no_zeros(5'000'000, 1));
    check_whole(store, *file, plain);
  }
}

TEST_CASE(
    "sealed_file: frames have no plain byte run, cross no page, and fill what they may "
    "[pitfall-53]") {
  SealedStore store;
  const Owned<File> file = store.create(kPath);
  std::string plain;
  append(*file, plain, store.header(1));
  base::Random random(5);
  while (plain.size() < 40 * kPage) append(*file, plain, std::string(1 + random.below(9000), 'm'));
  const std::string raw = test::read_path(store.files, kPath);
  CHECK(raw.find("mmm") == std::string::npos);
  CHECK(raw.find(store.header(1).substr(0, 33)) == std::string::npos);
  std::uint64_t position = 0;
  std::uint32_t counter = 0;
  for (const test::FramePlace& frame : test::frames_of(raw)) {
    REQUIRE(frame.at / kPage == (frame.at + frame.bytes - 1) / kPage);
    REQUIRE(frame.position == position);
    REQUIRE(frame.counter == ++counter);
    position += frame.size;
  }
  CHECK(position == plain.size());
}

TEST_CASE("sealed_file: any bytes can be read at any offset, by the writer and after reopening") {
  base::Random random(7);
  for (std::size_t round = 0; round < test::scaled(12, 2); ++round) {
    SealedStore store(round % 2 == 0 ? Cipher::aes_256_gcm : Cipher::chacha20_poly1305);
    const Owned<File> file = store.create(kPath);
    std::string plain;
    append(*file, plain, store.header(1));
    static constexpr std::size_t kMost[] = {3, 60, 500, 9000, 200'000};
    for (int write = 0; write < 300 && plain.size() < 600'000; ++write) {
      append(*file, plain, no_zeros(1 + random.below(kMost[random.below(5)]), random.next()));
      const std::size_t size = random.below(kMost[random.below(5)]);
      const std::uint64_t at = random.below(plain.size() + 100);
      const std::string expected = at < plain.size() ? plain.substr(at, size) : "";
      REQUIRE((read_range(*file, at, size) == expected));
    }
    const Owned<File> reader = store.open(kPath);
    for (int read = 0; read < 2000; ++read) {
      const std::size_t size = random.below(kMost[random.below(5)]);
      const std::uint64_t at = random.below(plain.size() + 100);
      const std::string expected = at < plain.size() ? plain.substr(at, size) : "";
      REQUIRE((read_range(*reader, at, size) == expected));
    }
  }
}

TEST_CASE("sealed_file: reading nothing, behind the end, and of an empty file gives nothing") {
  SealedStore store;
  const Owned<File> file = store.create(kPath);
  CHECK(read_range(*file, 0, 10).empty());
  std::string plain;
  append(*file, plain, store.header(1));
  CHECK(file->read_at(0, {}).value() == 0);
  CHECK(file->read_at(3, {}).value() == 0);
  CHECK(file->write_at(7, {}).ok());
  CHECK(read_range(*file, 40, 10).empty());
  CHECK(read_range(*file, ~std::uint64_t{0}, 10).empty());
  CHECK(file->map(100, MapMode::read).is(Errc::unsupported));
}

TEST_CASE("sealed_file: only its creator writes it, and only at its end") {
  SealedStore store;
  std::string plain;
  {
    const Owned<File> file = store.create(kPath);
    CHECK(file->write_at(0, "too short").is(Errc::invalid_argument));
    CHECK(file->write_at(1, store.header(1)).is(Errc::invalid_argument));
    append(*file, plain, store.header(1));
    CHECK(file->write_at(0, "x").is(Errc::invalid_argument));
    CHECK(file->write_at(41, "x").is(Errc::invalid_argument));
    append(*file, plain, "abc");
  }
  const auto file = store.sealed().open(kPath, OpenMode::read_write);
  REQUIRE(file.ok());
  const std::string before = test::read_path(store.files, kPath);
  CHECK((*file)->write_at(43, "x").is(Errc::invalid_argument));
  CHECK((*file)->truncate(40).is(Errc::invalid_argument));
  CHECK((*file)->truncate(0).is(Errc::invalid_argument));
  CHECK(test::read_path(store.files, kPath) == before);
  CHECK(read_all(**file) == plain);
}

TEST_CASE("sealed_file: reads beside the writer see what was written before", "[threads]") {
  SealedStore store;
  const Owned<File> file = store.create(kPath);
  std::string plain = store.header(1) + no_zeros(test::scaled(2'000'000, 300'000), 3);
  REQUIRE(file->write_at(0, Bytes(plain).sub(0, 40)).ok());
  std::atomic<bool> done{false};
  std::atomic<std::size_t> wrong{0}, reads{0};
  std::vector<std::thread> readers;
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    readers.emplace_back([&, seed] {
      base::Random random(seed);
      std::string bytes(70'000, '\0');
      while (!done || reads < 300) {
        const std::uint64_t end = file->size().value();
        const std::uint64_t at = random.below(end);
        const std::size_t size = 1 + random.below(random.one_in(20) ? bytes.size() : 600);
        const auto got =
            file->read_at(at, MutableBytes(reinterpret_cast<std::uint8_t*>(bytes.data()), size));
        const bool good = got.ok() && *got >= std::min<std::uint64_t>(size, end - at) &&
                          Bytes(bytes).sub(0, *got) == Bytes(plain).sub(at, *got);
        wrong += good ? 0 : 1;
        reads += 1;
      }
    });
  }
  base::Random random(99);
  bool written = true;
  for (std::size_t at = 40; at < plain.size();) {
    const std::size_t size = 1 + random.below(random.one_in(30) ? 100'000 : 700);
    const Bytes piece = Bytes(plain).sub(at, size);
    written = written && file->write_at(at, piece).ok();
    at += piece.size();
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(written);
  CHECK(wrong == 0);
  check_whole(store, *file, plain);
}

// ---- Reopening ----

TEST_CASE("sealed_file: blocks allocated ahead do not move the end, however many they are") {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, 100 * kPage}) {
    for (const std::uint64_t ahead : {1ull, 5000ull, 65536ull, 3'000'000ull}) {
      SealedStore store;
      const Owned<File> file = store.create(kPath);
      std::string plain;
      append(*file, plain, store.header(1) + no_zeros(size, 1));
      REQUIRE(file->allocate(plain.size(), ahead).ok());
      CHECK(store.files.info(kPath)->size > plain.size() + ahead);
      check_whole(store, *file, plain);
      // Going on uses them, and needs no more.
      const std::uint64_t before = store.files.info(kPath)->size;
      append(*file, plain, no_zeros(static_cast<std::size_t>(ahead), 2));
      CHECK(store.files.info(kPath)->size == before);
      check_whole(store, *file, plain);
      REQUIRE(file->truncate(plain.size()).ok());
      CHECK(store.files.info(kPath)->size <= plain.size() + plain.size() / 100 + 200);
      check_whole(store, *file, plain);
    }
  }
}

// Some small frames, then some large ones; three pages and a bit.
std::string mixed_file(const SealedStore& store) {
  const Owned<File> file = store.create(kPath);
  std::string plain;
  append(*file, plain, store.header(1));
  for (std::size_t size = 1; size < 60; ++size) append(*file, plain, no_zeros(size, size));
  append(*file, plain, no_zeros(9000, 60));
  append(*file, plain, no_zeros(100, 61));
  return plain;
}

TEST_CASE(
    "sealed_file: cut at any byte it ends with a whole frame, and has all before it [pitfall-49]",
    "[serial]") {
  SealedStore store;
  const std::string plain = mixed_file(store);
  const std::string raw = test::read_path(store.files, kPath);
  const auto frames = test::frames_of(raw);
  for (std::size_t size = format::kSealedHeaderBytes; size <= raw.size(); ++size) {
    test::replace(store.files, kPath, raw.substr(0, size));
    std::uint64_t expected = 0;
    for (const test::FramePlace& frame : frames) {
      if (frame.at + frame.bytes <= size) expected = frame.position + frame.size;
    }
    const Owned<File> file = store.open(kPath);
    REQUIRE(file->size().value() == expected);
    if (size % 61 == 0) REQUIRE(read_all(*file) == plain.substr(0, expected));
  }
}

TEST_CASE("sealed_file: zeros, garbage or strange frames behind the end do not move it") {
  SealedStore store, other(Cipher::aes_256_gcm, 77);
  const std::string plain = mixed_file(store);
  std::string longer;
  append(*other.create(kPath), longer, other.header(1) + no_zeros(20 * kPage, 8));
  const std::string raw = test::read_path(store.files, kPath);
  const std::string strange = test::read_path(other.files, kPath);
  const std::size_t page_left = kPage - raw.size() % kPage;
  const auto check = [&](const std::string& behind) {
    test::replace(store.files, kPath, raw + behind);
    const Owned<File> file = store.open(kPath);
    CHECK(file->size().value() == plain.size());
    CHECK((read_all(*file) == plain));
  };
  for (const std::size_t size : {std::size_t{1}, std::size_t{7}, page_left, page_left + 1,
                                 page_left + kPage, page_left + 40 * kPage}) {
    check(std::string(size, '\0'));
    check(no_zeros(size, size));
    check(std::string(size, '\xff'));
  }
  // Frames whose checksums are right, as they may lie in blocks that were in use before.
  check(std::string(page_left, '\0') + strange.substr(kPage));
  check(std::string(page_left, '\0') + strange.substr(5 * kPage, kPage));
  check(strange.substr(kPage, 4000) + strange);
}

TEST_CASE("sealed_file: after a hole the rest is there, and the hole is zeros") {
  SealedStore store;
  const std::string plain = mixed_file(store);
  const std::string raw = test::read_path(store.files, kPath);
  const auto frames = test::frames_of(raw);
  for (std::size_t hole = 0; hole * 512 < raw.size(); ++hole) {
    for (const std::size_t atoms : {1u, 8u}) {
      std::string changed = raw;
      const std::size_t from = std::max(hole * 512, format::kSealedHeaderBytes);
      const std::size_t end = std::min(raw.size(), (hole + atoms) * 512);
      std::fill(changed.begin() + static_cast<std::ptrdiff_t>(from),
                changed.begin() + static_cast<std::ptrdiff_t>(end), '\0');
      std::string expected = plain;
      std::uint64_t last = 0;
      for (const test::FramePlace& frame : frames) {
        const bool hit = frame.at < end && frame.at + frame.bytes > from;
        if (hit) expected.replace(frame.position, frame.size, frame.size, '\0');
        if (!hit) last = frame.position + frame.size;
      }
      test::replace(store.files, kPath, changed);
      const Owned<File> file = store.open(kPath);
      INFO("zeros from " << from << " to " << end);
      REQUIRE(file->size().value() == last);
      REQUIRE((read_all(*file) == expected.substr(0, last)));
    }
  }
}

TEST_CASE("sealed_file: what a crashed creation leaves is empty, or told to be corrupt") {
  SealedStore store;
  mixed_file(store);
  const std::string raw = test::read_path(store.files, kPath);
  for (std::size_t size = 0; size < format::kSealedHeaderBytes; ++size) {
    test::replace(store.files, kPath, raw.substr(0, size));
    const auto file = store.sealed().open(kPath, OpenMode::read);
    if (size == 0) REQUIRE((file.ok() && (*file)->size().value() == 0));
    if (size != 0) REQUIRE(file.is(Errc::corrupt));
    test::replace(store.files, kPath, std::string(size * 100, '\0'));
    REQUIRE(store.sealed().open(kPath, OpenMode::read).ok() == (size == 0));
  }
  test::replace(store.files, kPath, raw.substr(0, format::kSealedHeaderBytes));
  CHECK(store.open(kPath)->size().value() == 0);
}

TEST_CASE("sealed_file: a file whose data key is not in db.keys is wrong_key, and not changed") {
  SealedStore store;
  mixed_file(store);
  std::string raw = test::read_path(store.files, kPath);
  format::SealedHeader header;
  REQUIRE(format::decode_sealed_header(raw, header).ok());
  header.key_id = 2;
  format::encode_sealed_header(
      header, MutableBytes(reinterpret_cast<std::uint8_t*>(raw.data()), raw.size()));
  test::replace(store.files, kPath, raw);
  const auto file = store.sealed().open(kPath, OpenMode::read);
  CHECK(file.is(Errc::wrong_key));
  CHECK(file.status().file() == kPath);
  CHECK(test::read_path(store.files, kPath) == raw);
}

TEST_CASE("sealed_file: files that tell nothing of data pass as they are") {
  SealedStore store;
  for (const char* name :
       {"reserve", "tail.buf", "slots.dat", "0000000001.failed", "slots.dat.tmp"}) {
    const std::string path = std::string("/c/") + name;
    const Owned<File> file = store.create(path);
    REQUIRE(file->write_at(3, "as it is").ok());
    CHECK(test::read_path(store.files, path) == std::string(3, '\0') + "as it is");
  }
}

// ---- Writes that fail ----

TEST_CASE("sealed_file: after a write that failed the next one replaces it, by new nonces",
          "[serial]") {
  const test::NonceLedger ledger;
  base::Random random(11);
  for (std::size_t round = 0; round < test::scaled(400, 60); ++round) {
    SealedStore store;
    const Owned<File> file = store.create(kPath);
    std::string plain;
    const auto fail_some = [&](const std::string& bytes) {
      for (std::uint64_t times = random.below(4); times > 0; --times) {
        const std::size_t most = bytes.size() + bytes.size() / 60 + 200;
        store.files.fail(test::Call::write, 1 + random.below(2), ENOSPC, false, random.below(most));
        const Status status = file->write_at(plain.size(), bytes + no_zeros(round % 7000, times));
        if (status.ok()) plain += bytes + no_zeros(round % 7000, times);
        CHECK(file->size().value() == plain.size());
        store.files.clear_faults();
        if (random.one_in(2)) REQUIRE(file->truncate(plain.size()).ok());
        if (status.ok()) return true;
      }
      return false;
    };
    if (!fail_some(store.header(1))) append(*file, plain, store.header(1));
    for (int write = 0; write < 6; ++write) {
      const std::string bytes =
          no_zeros(1 + random.below(random.one_in(3) ? 150'000 : 5000), round);
      fail_some(bytes);
      append(*file, plain, no_zeros(1 + random.below(9000), 3));
      REQUIRE((read_all(*file) == plain));
    }
    // As the log does before anybody relies on the end.
    REQUIRE(file->truncate(plain.size()).ok());
    check_whole(store, *file, plain);
  }
  CHECK(ledger.seals() > 1000);
  CHECK(ledger.repeats() == 0);
}

TEST_CASE("sealed_file: it is cut where a write began, and written on by new nonces") {
  const test::NonceLedger ledger;
  for (std::size_t keep = 0; keep < 40; ++keep) {
    SealedStore store;
    const Owned<File> file = store.create(kPath);
    std::string plain;
    std::vector<std::size_t> begins;
    for (std::size_t write = 0; write < 40; ++write) {
      begins.push_back(plain.size());
      append(*file, plain, (write == 0 ? store.header(1) : "") + no_zeros(1 + write * 17, write));
    }
    CHECK(file->truncate(begins[20] + 1).is(Errc::invalid_argument));
    CHECK(file->truncate(plain.size() + 1).is(Errc::invalid_argument));
    check_whole(store, *file, plain);
    REQUIRE(file->truncate(begins[keep]).ok());
    plain.resize(begins[keep]);
    check_whole(store, *file, plain);
    append(*file, plain, (keep == 0 ? store.header(1) : "") + no_zeros(5000, keep));
    append(*file, plain, no_zeros(50, keep));
    check_whole(store, *file, plain);
  }
  CHECK(ledger.repeats() == 0);
}

TEST_CASE("sealed_file: a read, a sync or a truncate that fails is told, and the next one works") {
  SealedStore store;
  const Owned<File> file = store.create(kPath);
  std::string plain;
  append(*file, plain, store.header(1) + no_zeros(300'000, 1));
  std::string bytes(200'000, '\0');
  const MutableBytes out(reinterpret_cast<std::uint8_t*>(bytes.data()), bytes.size());
  for (std::size_t nth = 1; nth < 30; ++nth) {
    store.files.fail(test::Call::read, nth, EIO);
    const auto got = file->read_at(1000, out);
    const bool met = store.files.fault_met();
    store.files.clear_faults();
    REQUIRE(got.ok() == !met);
    if (met) CHECK(got.status().os_error() == EIO);
    if (!met) CHECK((bytes == plain.substr(1000, bytes.size())));
    if (!met) break;
  }
  store.files.fail(test::Call::truncate, 1, EIO);
  CHECK(!file->truncate(plain.size()).ok());
  store.files.clear_faults();
  append(*file, plain, "more");
  check_whole(store, *file, plain);
}

#endif  // ARMDB_WITH_OPENSSL

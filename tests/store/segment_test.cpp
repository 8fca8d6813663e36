// Scanning a segment: entries, ends, damage, and the way on behind it.
#include "store/segment.hpp"

#include "support/one_shard.hpp"

using namespace armdb;
using store::ScanStep;
using store::Segment;
using store::SegmentScanner;
using test::FaultFileSystem;

namespace {

// A segment with `count` entries of one key each, and room behind them.
struct Fixture {
  explicit Fixture(int count, std::size_t value_bytes = 10, std::size_t zeros = 0) {
    header.file.file_id = 1;
    header.salt = 77;
    file = *files.open("/1.data", OpenMode::create_new);
    std::vector<std::uint8_t> bytes(format::kSegmentHeaderBytes);
    format::encode_segment_header(header, bytes);
    const std::uint32_t seed = format::entry_seed(header);
    for (int number = 0; number < count; ++number) {
      const std::string key = test::key_of(number);
      const std::string value(value_bytes, 'v');
      format::Entry entry;
      entry.sequence = static_cast<std::uint64_t>(number) + 1;
      entry.key = Bytes(key);
      entry.value = Bytes(value);
      offsets.push_back(bytes.size());
      const std::size_t at = bytes.size();
      bytes.resize(at + format::entry_bytes(key.size(), value.size(), false));
      format::encode_entry(entry, seed, bytes.data() + at);
    }
    length = bytes.size();
    bytes.resize(length + zeros);
    REQUIRE(file->write_at(0, bytes).ok());
    size = bytes.size();
    segment = std::make_unique<Segment>("/1.data", header, std::move(file));
  }
  FaultFileSystem files;
  format::SegmentHeader header;
  Owned<File> file;
  std::unique_ptr<Segment> segment;
  std::vector<std::size_t> offsets;
  std::size_t length = 0;
  std::size_t size = 0;
};

int count_entries(SegmentScanner& scanner, ScanStep& last) {
  int count = 0;
  while ((last = scanner.next()) == ScanStep::entry) ++count;
  return count;
}

}  // namespace

TEST_CASE("segment: a scan gives every entry, small ones and larger than its buffer") {
  for (const std::size_t value_bytes : {0u, 10u, 5000u, 3000000u}) {
    Fixture fixture(value_bytes > 100000 ? 5 : 300, value_bytes, 100);
    SegmentScanner scanner(*fixture.segment, format::kSegmentHeaderBytes, fixture.size);
    ScanStep last{};
    CHECK(count_entries(scanner, last) == static_cast<int>(fixture.offsets.size()));
    CHECK(last == ScanStep::end);
    CHECK(scanner.offset == fixture.length);
  }
}

TEST_CASE("segment: behind damage a scan goes on with the next whole entry [pitfall-17]") {
  for (int damaged = 0; damaged < 20; ++damaged) {
    Fixture fixture(20);
    const std::size_t at = fixture.offsets[static_cast<std::size_t>(damaged)];
    test::flip(fixture.files, "/1.data", at + 21, 2);
    SegmentScanner scanner(*fixture.segment, format::kSegmentHeaderBytes, fixture.size);
    ScanStep last{};
    CHECK(count_entries(scanner, last) == damaged);
    REQUIRE(last == ScanStep::broken);
    CHECK(scanner.offset == at);
    const ScanStep found =
        scanner.resync(static_cast<std::uint64_t>(damaged), format::kSequenceMax, 4);
    if (damaged == 19) {
      CHECK(found == ScanStep::end);
      continue;
    }
    REQUIRE(found == ScanStep::entry);
    CHECK(scanner.entry.sequence == static_cast<std::uint64_t>(damaged) + 2);
    CHECK(count_entries(scanner, last) == 18 - damaged);
    CHECK(last == ScanStep::end);
  }
}

TEST_CASE("segment: a crafted file costs no more than a few times its size [pitfall-22]") {
  // Every 8 bytes a header that claims all that follows.
  FaultFileSystem files;
  format::SegmentHeader header;
  header.file.file_id = 1;
  Owned<File> file = *files.open("/1.data", OpenMode::create_new);
  std::string bytes(400000, '\0');
  for (std::size_t at = 96; at + 24 < bytes.size(); at += 24) {
    bytes[at + 6] = 4;
    const auto claimed = static_cast<std::uint32_t>(bytes.size() - at - 24);
    std::memcpy(bytes.data() + at + 8, &claimed, 4);
    bytes[at + 12] = 1;
  }
  REQUIRE(file->write_at(0, Bytes(bytes)).ok());
  const Segment segment("/1.data", header, std::move(file));
  SegmentScanner scanner(segment, 96, bytes.size());
  CHECK(scanner.next() == ScanStep::broken);
  CHECK(scanner.resync(0, format::kSequenceMax, 4) == ScanStep::end);
}

TEST_CASE("segment: a read error ends a scan with its reason") {
  Fixture fixture(20);
  fixture.files.fail(test::Call::read, 1, EIO);
  SegmentScanner scanner(*fixture.segment, format::kSegmentHeaderBytes, fixture.size);
  CHECK(scanner.next() == ScanStep::failed);
  CHECK(scanner.status.is(Errc::io_error));
}

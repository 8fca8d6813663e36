// File and segment headers: golden bytes, what is refused and with which answer.
#include "format/file_header.hpp"

#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/crc32c.hpp"
#include "base/little.hpp"
#include "base/location.hpp"
#include "format/entry.hpp"
#include "support/catch.hpp"

using namespace armdb;
using namespace armdb::format;

namespace {

using Buffer = std::vector<std::uint8_t>;

const StoreId kStore = {0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
                        0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};

const Buffer kSegmentBytes = {
    0x41, 0x52, 0x4d, 0x44, 0x01, 0x00, 0x01, 0x00, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
    0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0x03, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x1d, 0x01, 0xa0, 0x26, 0x00, 0x00, 0x00, 0x00, 0x06, 0x00, 0x00, 0x00,
    0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x63, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x64, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x2a, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x3a, 0x6c, 0xf7};

SegmentHeader segment_header() {
  SegmentHeader header;
  header.file = {FileType::segment, 1, kStore, 3, 7};
  header.kind = SegmentKind::log;
  header.predecessor_id = 6;
  header.predecessor_length = 4096;
  header.predecessor_sequence = 99;
  header.first_sequence = 100;
  header.watermark = 42;
  header.salt = 0x1122334455667788;
  return header;
}

Buffer encoded(const FileHeader& header) {
  Buffer out(kFileHeaderBytes, 0xcc);
  encode_file_header(header, out);
  return out;
}
Buffer encoded(const SegmentHeader& header) {
  Buffer out(kSegmentHeaderBytes, 0xcc);
  encode_segment_header(header, out);
  return out;
}

// Right crcs for bytes that were changed on purpose.
void reseal(Buffer& bytes) {
  base::store_little<std::uint32_t>(&bytes[36], base::crc32c(0, Bytes(bytes).sub(0, 36)));
  if (bytes.size() < kSegmentHeaderBytes) return;
  const auto first = base::load_little<std::uint32_t>(&bytes[36]);
  base::store_little<std::uint32_t>(&bytes[92], base::crc32c(first, Bytes(bytes).sub(40, 52)));
}

// From an exact copy on the heap, so that a step outside is seen by the sanitizer.
Status read_segment(const Buffer& bytes, std::size_t count) {
  const std::unique_ptr<std::uint8_t[]> exact(new std::uint8_t[count]);
  if (count != 0) std::memcpy(exact.get(), bytes.data(), count);
  SegmentHeader header;
  return decode_segment_header(Bytes(exact.get(), count), header);
}
Status read_segment(const Buffer& bytes) { return read_segment(bytes, bytes.size()); }

}  // namespace

TEST_CASE("file_header: the bytes are those of the specification [pitfall-38]") {
  CHECK(encoded(segment_header()) == kSegmentBytes);
  CHECK(encoded(segment_header().file) ==
        Buffer(kSegmentBytes.begin(), kSegmentBytes.begin() + 40));
  CHECK(entry_seed(segment_header()) == 0x7419a24f);
}

TEST_CASE("file_header: a header gives back what was written") {
  SegmentHeader header;
  REQUIRE(decode_segment_header(kSegmentBytes, header).ok());
  CHECK(header.file.type == FileType::segment);
  CHECK(header.file.version == 1);
  CHECK(header.file.store_id == kStore);
  CHECK(header.file.shard == 3);
  CHECK(header.file.file_id == 7);
  CHECK(header.kind == SegmentKind::log);
  CHECK(header.predecessor_id == 6);
  CHECK(header.predecessor_length == 4096);
  CHECK(header.predecessor_sequence == 99);
  CHECK(header.first_sequence == 100);
  CHECK(header.watermark == 42);
  CHECK(header.salt == 0x1122334455667788);

  for (const FileType type : {FileType::segment, FileType::hint, FileType::manifest, FileType::tail,
                              FileType::meta, FileType::slots, FileType::state}) {
    FileHeader file;
    file.shard = std::numeric_limits<std::uint32_t>::max();
    file.type = type;
    const Buffer bytes = encoded(file);
    FileHeader again;
    again.type = FileType::slots;
    REQUIRE(decode_file_header(bytes, type, again).ok());
    CHECK(again.type == type);
    CHECK(again.shard == file.shard);
  }
}

TEST_CASE("file_header: the largest values go round [pitfall-22]") {
  SegmentHeader header = segment_header();
  header.kind = SegmentKind::compacted;
  header.file.file_id = base::Location::kFileIdMax;
  header.predecessor_id = base::Location::kFileIdMax;
  header.predecessor_length = std::numeric_limits<std::uint64_t>::max();
  header.predecessor_sequence = kSequenceMax;
  header.first_sequence = kSequenceMax;
  header.watermark = kSequenceMax;
  header.salt = std::numeric_limits<std::uint64_t>::max();
  SegmentHeader again;
  REQUIRE(decode_segment_header(encoded(header), again).ok());
  CHECK(encoded(again) == encoded(header));
}

TEST_CASE("file_header: one flipped bit anywhere is corrupt") {
  for (std::size_t bit = 0; bit < kSegmentBytes.size() * 8; ++bit) {
    Buffer bytes = kSegmentBytes;
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    REQUIRE(read_segment(bytes).is(Errc::corrupt));
    FileHeader file;
    if (bit < 320) REQUIRE(decode_file_header(bytes, FileType::segment, file).is(Errc::corrupt));
  }
}

TEST_CASE("file_header: cut at any byte it is corrupt") {
  for (std::size_t count = 0; count < kSegmentBytes.size(); ++count) {
    REQUIRE(read_segment(kSegmentBytes, count).is(Errc::corrupt));
  }
  FileHeader file;
  for (std::size_t count = 0; count < kFileHeaderBytes; ++count) {
    const Buffer cut(kSegmentBytes.begin(),
                     kSegmentBytes.begin() + static_cast<std::ptrdiff_t>(count));
    REQUIRE(decode_file_header(cut, FileType::segment, file).is(Errc::corrupt));
  }
}

TEST_CASE("file_header: zeros are no header [pitfall-2]") {
  CHECK(read_segment(Buffer(4096)).is(Errc::corrupt));
}

TEST_CASE("file_header: a newer version is told as such, and what to do") {
  for (const std::uint16_t version : {std::uint16_t{2}, std::uint16_t{65535}}) {
    SegmentHeader header = segment_header();
    header.file.version = version;
    const Status status = read_segment(encoded(header));
    CHECK(status.is(Errc::format_mismatch));
    CHECK(status.message().find("written by a newer armdb (format " + std::to_string(version) +
                                "); this one reads up to 1: update armdb") != std::string::npos);
  }
  SegmentHeader header = segment_header();
  header.file.version = 0;
  CHECK(read_segment(encoded(header)).is(Errc::corrupt));
}

TEST_CASE("file_header: a file of another kind is told as such") {
  FileHeader header = segment_header().file;
  header.type = FileType::hint;
  FileHeader again;
  const Status status = decode_file_header(encoded(header), FileType::segment, again);
  CHECK(status.is(Errc::format_mismatch));
  CHECK(status.message().find("this is a hint file where a segment belongs") != std::string::npos);
  header.type = FileType::state;
  CHECK(decode_file_header(encoded(header), FileType::meta, again).message().find("a db.state") !=
        std::string::npos);
  for (const std::uint16_t type : {std::uint16_t{0}, std::uint16_t{11}, std::uint16_t{65535}}) {
    header.type = static_cast<FileType>(type);
    const Status unknown = decode_file_header(encoded(header), FileType::segment, again);
    CHECK(unknown.is(Errc::format_mismatch));
    CHECK(unknown.message().find("of an unknown kind") != std::string::npos);
  }
}

TEST_CASE("file_header: reserved bytes must be zero, even with a right crc [pitfall-36]") {
  for (const std::size_t at : {32u, 33u, 34u, 35u, 88u, 89u, 90u, 91u}) {
    Buffer bytes = kSegmentBytes;
    bytes[at] = 1;
    reseal(bytes);
    // At 32 it says that the file is encrypted.
    CHECK(read_segment(bytes).is(at < 36 ? Errc::format_mismatch : Errc::corrupt));
  }
}

TEST_CASE("file_header: segments that no writer produces are corrupt, even with a right crc") {
  const auto with32 = [](std::size_t at, std::uint32_t value) {
    Buffer bytes = kSegmentBytes;
    base::store_little<std::uint32_t>(&bytes[at], value);
    reseal(bytes);
    return read_segment(bytes);
  };
  const auto with64 = [](std::size_t at, std::uint64_t value) {
    Buffer bytes = kSegmentBytes;
    base::store_little<std::uint64_t>(&bytes[at], value);
    reseal(bytes);
    return read_segment(bytes);
  };
  CHECK(with32(40, 1).ok());
  CHECK(with32(40, 2).is(Errc::corrupt));
  CHECK(with32(28, 0).is(Errc::corrupt));
  CHECK(with32(28, base::Location::kFileIdMax + 1).is(Errc::corrupt));
  CHECK(with32(44, 0).ok());
  CHECK(with32(44, base::Location::kFileIdMax + 1).is(Errc::corrupt));
  for (const std::size_t at : {56u, 64u, 72u}) {
    CHECK(with64(at, 0).ok());
    CHECK(with64(at, kSequenceMax + 1).is(Errc::corrupt));
  }
}

TEST_CASE("file_header: the seed of entries changes with store, shard, file and salt") {
  const SegmentHeader header = segment_header();
  const std::uint32_t seed = entry_seed(header);
  SegmentHeader other = header;
  other.file.store_id[15] ^= 1;
  CHECK(entry_seed(other) != seed);
  other = header;
  other.file.shard += 1;
  CHECK(entry_seed(other) != seed);
  other = header;
  other.file.file_id += 1;
  CHECK(entry_seed(other) != seed);
  other = header;
  other.salt += 1;
  CHECK(entry_seed(other) != seed);
  other = header;
  other.watermark += 1;
  other.predecessor_id += 1;
  CHECK(entry_seed(other) == seed);
}

// Sealed files whose end is not what a writer left: what stands there is judged by its seal.
#include "store/sealed_file.hpp"

#include "base/little.hpp"
#include "format/sealed.hpp"
#include "support/one_shard.hpp"

#if ARMDB_WITH_OPENSSL

using namespace armdb;
using test::FaultFileSystem;

namespace {

constexpr int kCount = 600;

Config with_key(FileSystem& files) {
  Config config = test::one_shard(files);
  config.encryption_key = ByteArray<32>{1, 2, 3};
  return config;
}

std::string last_segment(FileSystem& files) {
  return test::in_shard(test::names_with(files, ".data").back().c_str());
}

// The segment that is being written as the process dies, all of it synced.
std::string killed_segment(FaultFileSystem& files) {
  Collection collection = test::open_shard(with_key(files));
  test::put_range(collection, 0, kCount, 1);
  REQUIRE(collection.sync().ok());
  files.kill_process();
  return last_segment(files);
}

std::uint64_t page_behind(const std::string& bytes) {
  constexpr std::size_t kPage = format::kSealedPageBytes;
  return (test::used_length(bytes) + kPage - 1) / kPage * kPage;
}

void check_whole(FaultFileSystem& files) {
  const Collection collection = test::open_shard(with_key(files));
  CHECK(test::contents(collection) == test::numbers(0, kCount, 1));
  CHECK(collection.stats().damaged_regions == 0);
}

}  // namespace

TEST_CASE(
    "sealed file: pages of another file behind the end do not hide synced entries "
    "[pitfall-49]") {
  FaultFileSystem files;
  std::string foreign;
  {
    Collection collection = test::open_shard(with_key(files));
    test::put_range(collection, 0, kCount);
    REQUIRE(collection.close().ok());
    foreign = test::read_path(files, last_segment(files)).substr(4096, 4096);
  }
  const std::string path = killed_segment(files);
  test::patch(files, path, page_behind(test::read_path(files, path)), foreign);
  check_whole(files);
}

TEST_CASE("sealed file: nor does a frame of its own that was put there [pitfall-46]") {
  FaultFileSystem files;
  const std::string path = killed_segment(files);
  const std::string bytes = test::read_path(files, path);
  // The first one, in a page of its own and then right behind the last one.
  const std::string frame = bytes.substr(format::kSealedHeaderBytes, 4000);
  for (const std::uint64_t at : {page_behind(bytes), std::uint64_t{test::used_length(bytes)}}) {
    test::replace(files, path, bytes);
    test::patch(files, path, at, frame);
    const auto snapshot = files.snapshot();
    check_whole(files);
    files.restore(snapshot);
  }
}

TEST_CASE("sealed file: a checksum alone makes no end, however far away") {
  FaultFileSystem files;
  const std::string path = killed_segment(files);
  const std::string bytes = test::read_path(files, path);
  std::uint8_t raw[format::kFrameBytesMin] = {};
  format::Frame frame;
  frame.counter = 100000;
  frame.position = std::uint64_t{1} << 47;
  frame.size = 8;
  format::encode_frame_header(frame, raw);
  const auto* const head = reinterpret_cast<const std::uint8_t*>(bytes.data());
  format::finish_frame(base::load_little<std::uint32_t>(head + 92), raw, frame.size);
  test::patch(files, path, page_behind(bytes), std::string(Bytes(raw).text()));
  check_whole(files);
}

TEST_CASE("sealed file: a segment of which a crash left a part of its header held no entries") {
  FaultFileSystem files;
  std::string begun;
  {
    Collection collection = test::open_shard(with_key(files));
    test::put_range(collection, 0, kCount, 1);
    REQUIRE(collection.close().ok());
    begun = test::read_path(files, last_segment(files));
  }
  constexpr std::size_t kHeader =
      format::kSealedHeaderBytes + format::kFrameHeaderBytes + format::kSegmentHeaderBytes;
  const auto closed = files.snapshot();
  for (std::size_t bytes = 1; bytes <= kHeader + 1; ++bytes) {
    INFO(bytes);
    test::replace(files, test::segment_path(99), begun.substr(0, bytes));
    const Collection collection = test::open_shard(with_key(files));
    CHECK(test::contents(collection) == test::numbers(0, kCount, 1));
    CHECK(collection.stats().damaged_regions == 0);
    CHECK(collection.stats().segments_set_aside == (bytes <= kHeader ? 0 : 1));
    files.restore(closed);
  }
}

// Would take minutes if each read looked through the hole again.
TEST_CASE("sealed file: a long hole is looked through once", "[serial]") {
  const Owned<FileSystem> files = make_memory_file_system();
  Config config = with_key(*files);
  config.max_file_size = 64u << 20;
  {
    Collection collection = test::open_shard(config);
    const std::string value(30000, 'x');
    for (int number = 0; number < 1400; ++number) {
      REQUIRE(collection.put(test::key_of(number), value).ok());
    }
  }
  const std::string path = last_segment(*files);
  const std::string bytes = test::read_path(*files, path);
  test::patch(*files, path, 20 * 4096, std::string(test::used_length(bytes) - 60 * 4096, '\0'));
  static_cast<void>(files->remove(test::in_shard("MANIFEST")));
  Collection collection = test::open_shard(config);
  CHECK(collection.size() < 1400);
  CHECK(collection.verify().ok());
}

#endif

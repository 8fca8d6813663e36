// A keyring on a FaultFileSystem: sealed files, and the bytes that they are on disk.
#pragma once

#include <memory>
#include <string>

#include "base/little.hpp"
#include "format/file_header.hpp"
#include "format/sealed.hpp"
#include "store/keyring.hpp"
#include "support/catch.hpp"
#include "support/fault_file_system.hpp"
#include "support/file_system_contract.hpp"
#include "support/random.hpp"

namespace armdb::test {

#if ARMDB_WITH_OPENSSL

struct SealedStore {
  explicit SealedStore(Cipher cipher = Cipher::aes_256_gcm, std::uint8_t first_of_id = 1) {
    description.store_id = {first_of_id, 2, 3};
    description.cipher = cipher;
    description.shape = {4, 0, true, Payload::location};
    REQUIRE(files.create_directory("/c").ok());
    REQUIRE(store::Keyring::create(files, "/c", ByteArray<32>{9}, description, ring).ok());
  }
  // The plain header that a file with this number begins with.
  [[nodiscard]] std::string header(std::uint32_t file_id, std::uint32_t shard = 0) const {
    format::FileHeader fields;
    fields.store_id = description.store_id;
    fields.shard = shard;
    fields.file_id = file_id;
    std::uint8_t bytes[format::kFileHeaderBytes];
    format::encode_file_header(fields, bytes);
    return std::string(Bytes(bytes).text());
  }
  [[nodiscard]] FileSystem& sealed() const { return ring->sealed_files(); }
  Owned<File> create(const std::string& path) const {
    auto file = sealed().open(path, OpenMode::create_new);
    INFO(file.message());
    REQUIRE(file.ok());
    return std::move(*file);
  }
  Owned<File> open(const std::string& path) const {
    auto file = sealed().open(path, OpenMode::read);
    INFO(file.message());
    REQUIRE(file.ok());
    return std::move(*file);
  }

  FaultFileSystem files;
  store::Description description;
  std::unique_ptr<store::Keyring> ring;
};

// Bytes none of which is zero: a zero that is read stands for what could not be authenticated.
inline std::string no_zeros(std::size_t size, std::uint64_t seed) {
  base::Random random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(1 + random.below(255));
  return bytes;
}

inline std::string read_range(File& file, std::uint64_t offset, std::size_t size) {
  std::string bytes(size, 'x');
  const auto got =
      file.read_at(offset, MutableBytes(reinterpret_cast<std::uint8_t*>(bytes.data()), size));
  INFO(got.message());
  REQUIRE(got.ok());
  bytes.resize(*got);
  return bytes;
}

// Appends to what `plain` has, there and in the file.
inline void append(File& file, std::string& plain, std::string_view bytes) {
  const Status status = file.write_at(plain.size(), bytes);
  INFO(status.message());
  REQUIRE(status.ok());
  plain += bytes;
}

// One frame of a sealed file, as it lies there.
struct FramePlace {
  std::uint64_t at = 0;
  std::size_t bytes = 0;
  std::uint64_t position = 0;
  std::size_t size = 0;
  std::uint32_t counter = 0;
};
// The frames of a file that is whole.
inline std::vector<FramePlace> frames_of(std::string_view raw) {
  std::vector<FramePlace> all;
  if (raw.size() < format::kSealedHeaderBytes) return all;
  const auto seed = base::load_little<std::uint32_t>(Bytes(raw).data() + 92);
  for (std::uint64_t at = format::kSealedHeaderBytes; at < raw.size();) {
    const std::uint64_t end = (at / format::kSealedPageBytes + 1) * format::kSealedPageBytes;
    format::Frame frame;
    const Bytes page = Bytes(raw).sub(at, static_cast<std::size_t>(end - at));
    if (!format::decode_frame(page, seed, frame)) {
      at = end;
      continue;
    }
    const std::size_t bytes = format::frame_bytes(frame.size);
    all.push_back({at, bytes, frame.position, frame.size, frame.counter});
    at += bytes;
    if (end - at < format::kFrameBytesMin) at = end;
  }
  return all;
}

#endif

}  // namespace armdb::test

// Drawing keys of files, and sealing frames by them.
#include "store/frame_seal.hpp"

#include <cstring>

#include "os/entropy.hpp"

#if ARMDB_WITH_OPENSSL

namespace armdb::store {

Status FrameSeal::begin(const Keyring& keys, format::SealedHeader& header) {
  header.key_id = keys.newest_id();
  Status status = os::random_bytes(header.salt);
  if (status.ok()) status = open(keys, header);
  if (status.ok()) counter_ = 0;
  return status;
}

Status FrameSeal::open(const Keyring& keys, const format::SealedHeader& header) {
  Status status = keys.file_key(header, aead_);
  if (!status.ok()) return status;
  key_id_ = header.key_id;
  seed_ = format::frame_seed(header);
  return status;
}

Status FrameSeal::seal(format::Frame frame, Bytes plain, std::uint8_t* to) {
  if (counter_ == format::kSealCountMax) {
    return Status(Errc::too_large, "a file was sealed as often as its key allows");
  }
  frame.counter = ++counter_;
  frame.size = plain.size();
  // The padding.
  std::memset(to + format::frame_bytes(frame.size) - 8, 0, 8);
  format::encode_frame_header(frame, to);
  Status status = aead_.seal(format::frame_nonce(frame.counter), Bytes(to + 4, 12), plain,
                             to + format::kFrameHeaderBytes, to + 16);
  if (status.ok()) format::finish_frame(seed_, to, frame.size);
  return status;
}

}  // namespace armdb::store

#endif  // ARMDB_WITH_OPENSSL

// Sealed tail: frames in a mapped file, as they are written and as recovery reads them.
#include "store/sealed_tail.hpp"

#include <algorithm>
#include <new>

#include "base/errors.hpp"
#include "format/tail.hpp"
#include "store/keyring.hpp"
#include "store/tail_buffer.hpp"

#if ARMDB_WITH_OPENSSL

namespace armdb::store {

namespace {

// A buffer full of the smallest entries, each in a frame of its own.
constexpr std::size_t kEntryBytesMin = 24;
constexpr std::size_t sealed_bytes(std::size_t capacity) noexcept {
  return format::kSealedHeaderBytes +
         capacity / kEntryBytesMin * format::frame_bytes(kEntryBytesMin) + format::kSealedPageBytes;
}

format::SealedHeader tail_header(const StoreContext& context) noexcept {
  std::uint8_t plain[format::kTailHeaderBytes];
  encode_tail_header(context, plain);
  return format::sealed_header(Bytes(plain), static_cast<std::uint32_t>(context.keys->cipher()));
}

}  // namespace

Status SealedTail::open(const StoreContext& context, const std::string& path, std::size_t capacity,
                        std::unique_ptr<SealedTail>& opened) {
  std::unique_ptr<SealedTail> tail(new (std::nothrow) SealedTail(context));
  if (tail == nullptr) return base::out_of_memory("no memory for a write buffer");
  const std::size_t bytes = sealed_bytes(capacity);
  Status status = open_buffer_file(context, path, bytes, tail->file_);
  if (status.ok()) status = tail->new_key();
  if (!status.ok()) return std::move(status).at(path);
  Result<Owned<Mapping>> mapping = tail->file_->map(bytes, MapMode::read_write);
  if (mapping.is(Errc::unsupported)) return {};
  if (!mapping.ok()) return std::move(mapping).status().at(path);
  tail->mapping_ = std::move(*mapping);
  opened = std::move(tail);
  return {};
}

Status SealedTail::new_key() {
  format::SealedHeader header = tail_header(context_);
  Status status = seal_.begin(*context_.keys, header);
  if (!status.ok()) return status;
  std::uint8_t bytes[format::kSealedHeaderBytes];
  format::encode_sealed_header(header, bytes);
  used_ = format::kSealedHeaderBytes;
  return file_->write_at(0, Bytes(bytes));
}

bool SealedTail::add(Bytes bytes, std::uint64_t position) noexcept {
  while (!bytes.empty()) {
    const Bytes plain = bytes.sub(0, format::kFramePayloadMax);
    const std::size_t size = format::frame_bytes(plain.size());
    format::Frame frame;
    frame.position = position;
    if (used_ + size > mapping_->size() ||
        !seal_.seal(frame, plain, mapping_->data() + used_).ok()) {
      return false;
    }
    used_ += size;
    position += plain.size();
    bytes = bytes.sub(plain.size());
  }
  return true;
}

bool SealedTail::restart() noexcept {
  // All that the file has is in the segment by now: nobody misses it when the key changes.
  if (seal_.counter() > format::kSealCountMax / 2 || seal_.key_id() != context_.keys->newest_id()) {
    return new_key().ok();
  }
  used_ = format::kSealedHeaderBytes;
  return true;
}

Status SealedTail::read(const StoreContext& context, Bytes file, std::vector<std::uint8_t>& plain) {
  format::SealedHeader header;
  Status status = format::decode_sealed_header(file, header);
  // A power cut may take the header, and with it all that the file had.
  if (!status.ok() || header.file != tail_header(context).file) return {};
  FrameSeal seal;
  status = seal.open(*context.keys, header);
  // Left behind by an open that could not use it: were the right db.keys gone, the MANIFEST would
  // have said so.
  if (status.is(Errc::wrong_key)) return {};
  if (!status.ok()) return status;
  std::uint32_t counter = 0;
  format::Frame frame;
  for (Bytes rest = file.sub(format::kSealedHeaderBytes);
       format::decode_frame(rest, seal.seed(), frame) &&
       (counter == 0 || frame.counter == counter + 1);
       rest = rest.sub(format::frame_bytes(frame.size))) {
    const std::size_t at = plain.size();
    plain.resize(at + frame.size);
    const crypto::OpenOutcome outcome = seal.unseal(frame, rest, plain.data() + at);
    if (outcome == crypto::OpenOutcome::failed) return base::out_of_memory("no memory to decrypt");
    if (outcome == crypto::OpenOutcome::forged) {
      context.keys->note_forged();
      plain.resize(at);
      break;
    }
    counter = frame.counter;
  }
  return {};
}

}  // namespace armdb::store

#endif  // ARMDB_WITH_OPENSSL

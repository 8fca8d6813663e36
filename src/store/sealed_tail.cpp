// Sealed tail: frames in a mapped file, as they are written and as recovery reads them.
#include "store/sealed_tail.hpp"

#include <algorithm>
#include <new>

#include "base/errors.hpp"
#include "format/tail.hpp"
#include "os/entropy.hpp"
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
  header.key_id = context_.keys->newest_id();
  Status status = os::random_bytes(header.salt);
  if (status.ok()) status = context_.keys->file_key(header, aead_);
  if (!status.ok()) return status;
  std::uint8_t bytes[format::kSealedHeaderBytes];
  format::encode_sealed_header(header, bytes);
  key_id_ = header.key_id;
  seed_ = format::frame_seed(header);
  counter_ = 0;
  used_ = format::kSealedHeaderBytes;
  return file_->write_at(0, Bytes(bytes));
}

bool SealedTail::add(Bytes bytes, std::uint64_t position) noexcept {
  while (!bytes.empty()) {
    format::Frame frame;
    frame.counter = ++counter_;
    frame.position = position;
    frame.size = std::min(bytes.size(), format::kFramePayloadMax);
    if (counter_ == format::kSealCountMax ||
        used_ + format::frame_bytes(frame.size) > mapping_->size()) {
      return false;
    }
    std::uint8_t* to = mapping_->data() + used_;
    std::memset(to + format::frame_bytes(frame.size) - 8, 0, 8);
    format::encode_frame_header(frame, to);
    Status status = aead_.seal(format::frame_nonce(frame.counter), Bytes(to + 4, 12),
                               bytes.sub(0, frame.size), to + format::kFrameHeaderBytes, to + 16);
    if (!status.ok()) return false;
    format::finish_frame(seed_, to, frame.size);
    used_ += format::frame_bytes(frame.size);
    position += frame.size;
    bytes = bytes.sub(frame.size);
  }
  return true;
}

bool SealedTail::restart() noexcept {
  // All that the file has is in the segment by now: nobody misses it when the key changes.
  if (counter_ > format::kSealCountMax / 2 || key_id_ != context_.keys->newest_id()) {
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
  crypto::Aead aead;
  status = context.keys->file_key(header, aead);
  // Left behind by an open that could not use it: were the right db.keys gone, the MANIFEST would
  // have said so.
  if (status.is(Errc::wrong_key)) return {};
  if (!status.ok()) return status;
  const std::uint32_t seed = format::frame_seed(header);
  std::uint32_t counter = 0;
  format::Frame frame;
  for (Bytes rest = file.sub(format::kSealedHeaderBytes);
       format::decode_frame(rest, seed, frame) && (counter == 0 || frame.counter == counter + 1);
       rest = rest.sub(format::frame_bytes(frame.size))) {
    const std::size_t at = plain.size();
    plain.resize(at + frame.size);
    const crypto::OpenOutcome outcome =
        aead.open(format::frame_nonce(frame.counter), rest.sub(4, 12), frame.sealed, frame.tag,
                  plain.data() + at);
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

// Sealed files: sealing what is appended, and finding, opening and judging frames.
#include "store/sealed_file.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <new>
#include <string>

#include "base/check.hpp"
#include "base/errors.hpp"
#include "base/search.hpp"
#include "format/file_name.hpp"
#include "format/sealed.hpp"
#include "store/frame_seal.hpp"

#if ARMDB_WITH_OPENSSL

namespace armdb::store {

namespace {

using format::kFrameBytesMin;
using format::kFrameHeaderBytes;
using format::kFramePayloadMax;
using format::kSealedHeaderBytes;
using format::kSealedPageBytes;

// Pages written, or read, at a time.
constexpr std::size_t kWindowPages = 16;
constexpr std::size_t kWindowBytes = kWindowPages * kSealedPageBytes;

constexpr std::size_t kNearBytes = 4 * kFramePayloadMax;  // of reads that try to do with one call

constexpr std::uint64_t kNoPosition = ~std::uint64_t{0};

std::uint64_t page_at(std::uint64_t offset) noexcept { return offset / kSealedPageBytes; }
// Where the first frame of a page begins.
std::uint64_t frames_at(std::uint64_t page) noexcept {
  return page == 0 ? kSealedHeaderBytes : page * kSealedPageBytes;
}
std::uint64_t page_end(std::uint64_t offset) noexcept {
  return (page_at(offset) + 1) * kSealedPageBytes;
}
Status no_memory_to_decrypt() { return base::out_of_memory("no memory to decrypt"); }

// Where a frame belongs that can be put behind `offset`: there, or at the next page.
std::uint64_t next_frame_at(std::uint64_t offset) noexcept {
  return page_end(offset) - offset < kFrameBytesMin ? page_end(offset) : offset;
}

// The next whole frame of a page at or behind `at`, which then says where it is. Behind bytes that
// are none it is looked for: damage to one frame must not cost the others of its page.
bool find_frame(Bytes page, std::uint32_t seed, std::size_t& at, format::Frame& frame) noexcept {
  for (; at + kFrameBytesMin <= page.size(); at += 8) {
    const Bytes rest = page.sub(at);
    if (format::decode_frame(rest, seed, frame)) return true;
    if (base::all_zeros(rest)) return false;
  }
  return false;
}

// A row of pages in which no frame begins, as a crash may leave them in the middle of a file: what
// was found once is passed over from then on, or each read would look through all of it again.
//
// Threads: any. It is about a file that does not change.
class Hole {
 public:
  // `page`, or the first one behind the hole.
  [[nodiscard]] std::uint64_t pass(std::uint64_t page) const noexcept {
    const std::uint64_t both = both_.load(std::memory_order_relaxed);
    const std::uint64_t end = both & 0xffffffff;
    return page >= both >> 32 && page < end ? end : page;
  }
  // A row that begins or ends at the one before becomes one with it.
  void note(std::uint64_t first, std::uint64_t end) noexcept {
    if (end > 0xffffffff || end <= first) return;
    const std::uint64_t both = both_.load(std::memory_order_relaxed);
    const std::uint64_t old_first = both >> 32;
    const std::uint64_t old_end = both & 0xffffffff;
    if (first <= old_end && old_first <= end) {
      first = std::min(first, old_first);
      end = std::max(end, old_end);
    }
    if (end - first > old_end - old_first || end - first >= kWorth) {
      both_.store(first << 32 | end, std::memory_order_relaxed);
    }
  }

 private:
  static constexpr std::uint64_t kWorth = 16;  // pages, for which a longer row is forgotten
  std::atomic<std::uint64_t> both_{0};
};

class SealedFile final : public File {
 public:
  SealedFile(Owned<File> file, const Keyring& keys, OpenMode mode)
      : file_(std::move(file)), keys_(keys), writable_(mode == OpenMode::create_new) {}

  // Reads the header and finds the end.
  Status open();

  Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) override;
  Status write_at(std::uint64_t offset, Bytes data) override;
  Status sync() override { return file_->sync(); }
  Result<std::uint64_t> size() override { return end_.load(std::memory_order_acquire); }
  Status truncate(std::uint64_t size) override;
  Status allocate(std::uint64_t offset, std::uint64_t length) override;
  Status drop_cache() override { return file_->drop_cache(); }
  Result<Owned<Mapping>> map(std::size_t, MapMode) override { return Errc::unsupported; }
  [[nodiscard]] std::uint32_t key_id() const noexcept { return seal_.key_id(); }

 private:
  // The frames in some pages, one after the other; reads the pages as it comes to them.
  class Walk;

  Status begin(Bytes first_write, std::uint8_t* out);
  Status seal_frames(std::uint64_t& position, Bytes& data, std::uint64_t& at, std::uint64_t from,
                     std::size_t& used);
  Status find_end(std::uint64_t file_bytes);
  Status last_page(std::uint64_t& pages);
  Status last_frame(std::uint64_t page, std::uint64_t& at, format::Frame& last);
  Status first_position(std::uint64_t page, std::uint64_t& position);
  Status page_of(std::uint64_t position, std::uint64_t& page);
  // Forged: zeros.
  Status open_frame(const format::Frame& frame, Bytes at, std::uint64_t offset, MutableBytes out,
                    bool& forged);
  bool read_near(std::uint64_t offset, MutableBytes out);

  const Owned<File> file_;
  const Keyring& keys_;
  FrameSeal seal_;
  const bool writable_;                     // this open created it
  bool begun_ = false;                      // has a header, by this open
  std::unique_ptr<std::uint8_t[]> window_;  // what is being written
  bool failed_write_ = false;               // since the last good one
  std::uint64_t allocated_ = 0;             // bytes of the file with real blocks
  // The writer stores first file_end_, then end_; readers load them the other way round.
  std::atomic<std::uint64_t> file_end_{0};  // bytes of the file up to the end of the last frame
  std::atomic<std::uint64_t> end_{0};       // plain bytes
  Hole hole_;                               // of a file that this open did not create
};

class SealedFile::Walk {
 public:
  Walk(SealedFile& of, std::uint64_t page, std::uint64_t file_end)
      : of_(of), at_(frames_at(page)), file_end_(file_end) {}

  // The next whole frame; false at the end, or when reading failed.
  bool next() {
    for (; at_ < file_end_; at_ = page_end(at_)) {
      const std::uint64_t page_next = of_.hole_.pass(page_at(at_));
      if (page_next != page_at(at_)) at_ = frames_at(page_next);
      if (at_ >= file_end_ || !fill()) return false;
      const auto skip = static_cast<std::size_t>(at_ - window_at_);
      const std::size_t left = std::min<std::size_t>(static_cast<std::size_t>(page_end(at_) - at_),
                                                     window_bytes_ - skip);
      const Bytes page(window_.get() + skip, left);
      std::size_t found = 0;
      if (find_frame(page, of_.seal_.seed(), found, frame)) {
        start = at_ + found;
        bytes = page.sub(found);
        at_ = next_frame_at(start + format::frame_bytes(frame.size));
        return true;
      }
    }
    return false;
  }

  // How many pages reading may take at a time.
  void expect(std::size_t pages) { pages_ = std::clamp<std::size_t>(pages, 1, kWindowPages); }

  Status status;
  format::Frame frame;
  Bytes bytes;              // of the frame, from its header on
  std::uint64_t start = 0;  // where it lies

 private:
  bool fill() {
    if (at_ >= window_at_ && at_ < window_at_ + window_bytes_) return true;
    if (window_ == nullptr) {
      window_.reset(new (std::nothrow) std::uint8_t[pages_ * kSealedPageBytes]);
      if (window_ == nullptr) {
        status = no_memory_to_decrypt();
        return false;
      }
    }
    window_at_ = page_at(at_) * kSealedPageBytes;
    const Result<std::size_t> got =
        of_.file_->read_at(window_at_, {window_.get(), pages_ * kSealedPageBytes});
    window_bytes_ = got.ok() ? *got : 0;
    if (!got.ok()) status = got.status();
    return at_ < window_at_ + window_bytes_;
  }

  SealedFile& of_;
  std::uint64_t at_;
  const std::uint64_t file_end_;
  std::size_t pages_ = 2;
  std::unique_ptr<std::uint8_t[]> window_;
  std::uint64_t window_at_ = 0;
  std::size_t window_bytes_ = 0;
};

// ---- Writing ----

// The plain file's own header, which every first write begins with, names the file. Writes the
// sealed one to `out`.
Status SealedFile::begin(Bytes first_write, std::uint8_t* out) {
  if (first_write.size() < format::kFileHeaderBytes) {
    return Status(Errc::invalid_argument, "a sealed file begins with a file header");
  }
  format::SealedHeader header =
      format::sealed_header(first_write, static_cast<std::uint32_t>(keys_.cipher()));
  Status status = seal_.begin(keys_, header);
  format::encode_sealed_header(header, {out, kSealedHeaderBytes});
  return status;
}

// Puts frames of `data` to the window, which begins at `from` in the file, until it is full.
Status SealedFile::seal_frames(std::uint64_t& position, Bytes& data, std::uint64_t& at,
                               std::uint64_t from, std::size_t& used) {
  while (!data.empty()) {
    const std::uint64_t start = next_frame_at(at);
    const auto room = static_cast<std::size_t>(page_end(start) - start);
    const auto offset = static_cast<std::size_t>(start - from);
    if (offset + room > kWindowBytes) return {};
    const Bytes plain = data.sub(0, room - kFrameHeaderBytes);
    format::Frame frame;
    frame.position = position;
    frame.follows_failure = failed_write_;
    failed_write_ = false;
    // What is left of the page before: never what the window held before.
    std::memset(window_.get() + used, 0, offset - used);
    Status status = seal_.seal(frame, plain, window_.get() + offset);
    if (!status.ok()) return status;
    used = offset + format::frame_bytes(plain.size());
    at = from + used;
    position += plain.size();
    data = data.sub(plain.size());
  }
  return {};
}

Status SealedFile::write_at(std::uint64_t offset, Bytes data) {
  if (data.empty()) return {};
  const std::uint64_t end = end_.load(std::memory_order_relaxed);
  if (!writable_ || offset != end) {
    return Status(Errc::invalid_argument, "a sealed file is only appended to, by its creator");
  }
  if (window_ == nullptr) window_.reset(new (std::nothrow) std::uint8_t[kWindowBytes]);
  if (window_ == nullptr) return base::out_of_memory("no memory to encrypt");
  std::uint64_t position = end;
  std::uint64_t at = file_end_.load(std::memory_order_relaxed);
  while (!data.empty()) {
    Status status;
    // The window begins with the page that this write goes on with.
    const std::uint64_t from = page_at(at) * kSealedPageBytes;
    auto used = static_cast<std::size_t>(at - from);
    const std::size_t skip = used;
    if (at == 0) {
      status = begin(data, window_.get());
      at = used = kSealedHeaderBytes;
    }
    if (status.ok()) status = seal_frames(position, data, at, from, used);
    if (status.ok()) {
      status = file_->write_at(from + skip, Bytes(window_.get() + skip, used - skip));
    }
    if (!status.ok()) {
      failed_write_ = true;
      return status;
    }
  }
  begun_ = true;
  allocated_ = std::max(allocated_, at);
  file_end_.store(at, std::memory_order_relaxed);
  // Release pairs with the acquire in read_at(): the frames below it are in the file.
  end_.store(position, std::memory_order_release);
  return {};
}

// Down to a place where a write began, or to drop what was allocated ahead.
Status SealedFile::truncate(std::uint64_t size) {
  if (!writable_)
    return Status(Errc::invalid_argument, "a sealed file is only changed as it grows");
  if (!begun_) return file_->truncate(0);
  std::uint64_t at = file_end_.load(std::memory_order_relaxed);
  const bool cut = size != end_.load(std::memory_order_relaxed);
  if (cut) {
    std::uint64_t page = 0;
    Status status = page_of(size, page);
    Walk walk(*this, page, at);
    at = 0;
    while (status.ok() && walk.next()) {
      if (walk.frame.position != size) continue;
      at = walk.start;
      break;
    }
    if (status.ok()) status = std::move(walk.status);
    if (status.ok() && at == 0) {
      status = Status(Errc::invalid_argument, "a sealed file is cut only where a write began");
    }
    if (!status.ok()) return status;
  }
  Status status = file_->truncate(at);
  if (!status.ok()) return status;
  failed_write_ = failed_write_ || cut;
  allocated_ = at;
  end_.store(size, std::memory_order_relaxed);
  file_end_.store(at, std::memory_order_relaxed);
  return {};
}

// Room for so many plain bytes more in full frames, and for one frame that is not full. Many small
// writes may need more; the write that does not find it then answers no_space itself.
Status SealedFile::allocate(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t end = end_.load(std::memory_order_relaxed);
  const std::uint64_t at = file_end_.load(std::memory_order_relaxed);
  if (offset + length <= end) return {};
  const std::uint64_t more = offset + length - end;
  const std::uint64_t want = at + (more / kFramePayloadMax + 2) * kSealedPageBytes;
  const std::uint64_t from = std::max(allocated_, at);
  if (want <= from) return {};
  Status status = file_->allocate(from, want - from);
  if (status.ok()) allocated_ = want;
  return status;
}

// ---- Opening and reading ----

Status SealedFile::open() {
  const Result<std::uint64_t> size = file_->size();
  if (!size.ok()) return size.status();
  std::uint8_t bytes[kSealedHeaderBytes];
  const Result<std::size_t> got = file_->read_at(0, bytes);
  if (!got.ok()) return got.status();
  // What a crash leaves of a file that was just created: no bytes.
  if (*got == 0) return {};
  format::SealedHeader header;
  Status status = format::decode_sealed_header(Bytes(bytes, *got), header);
  if (status.ok() && header.cipher != static_cast<std::uint32_t>(keys_.cipher())) {
    status = base::corrupt("the file was encrypted by another cipher than the collection");
  }
  if (status.ok()) status = seal_.open(keys_, header);
  return status.ok() ? find_end(*size) : status;
}

// Makes `pages` end with the last page that has a frame; 0 when none has.
Status SealedFile::last_page(std::uint64_t& pages) {
  std::unique_ptr<std::uint8_t[]> window(new (std::nothrow) std::uint8_t[kWindowBytes]);
  if (window == nullptr) return no_memory_to_decrypt();
  while (pages != 0) {
    const std::uint64_t first = pages > kWindowPages ? pages - kWindowPages : 0;
    const Result<std::size_t> got =
        file_->read_at(first * kSealedPageBytes, {window.get(), kWindowBytes});
    if (!got.ok()) return got.status();
    for (const Bytes all(window.get(), *got); pages != first; --pages) {
      const std::uint64_t start = frames_at(pages - 1);
      const Bytes page = all.sub(static_cast<std::size_t>(start - first * kSealedPageBytes),
                                 static_cast<std::size_t>(page_end(start) - start));
      format::Frame frame;
      std::size_t found = 0;
      if (find_frame(page, seal_.seed(), found, frame)) return {};
    }
  }
  return {};
}

// The last frame of a page that was sealed there, and where it ends; size 0 when there is none.
Status SealedFile::last_frame(std::uint64_t page, std::uint64_t& at, format::Frame& last) {
  Walk walk(*this, page, (page + 1) * kSealedPageBytes);
  std::uint8_t plain[kFramePayloadMax];
  last.size = 0;
  while (walk.next()) {
    const format::Frame& frame = walk.frame;
    const crypto::OpenOutcome outcome = seal_.unseal(frame, walk.bytes, plain);
    if (outcome == crypto::OpenOutcome::failed) return no_memory_to_decrypt();
    if (outcome != crypto::OpenOutcome::ok || (last.size != 0 && frame.counter <= last.counter)) {
      keys_.note_forged();
      continue;
    }
    last = frame;
    at = walk.start + format::frame_bytes(frame.size);
  }
  crypto::wipe(plain);
  return std::move(walk.status);
}

// From the end of the file back to the last page with a frame: behind it lies what was allocated
// ahead, or what a crash tore. What is read at all depends on the end, and anybody can make a
// checksum: so it is a frame with the right seal, and not one of those before it put there.
Status SealedFile::find_end(std::uint64_t file_bytes) {
  std::uint64_t pages = (file_bytes + kSealedPageBytes - 1) / kSealedPageBytes;
  format::Frame end;
  std::uint64_t end_at = kSealedHeaderBytes;
  for (;; --pages) {
    Status status = last_page(pages);
    if (!status.ok()) return status;
    if (pages == 0) break;
    format::Frame frame;
    std::uint64_t at = 0;
    status = last_frame(pages - 1, at, frame);
    if (!status.ok()) return status;
    if (frame.size == 0) continue;
    if (end.size != 0 && frame.counter < end.counter) break;
    if (end.size != 0) keys_.note_forged();
    end = frame;
    end_at = at;
  }
  file_end_.store(end_at, std::memory_order_relaxed);
  end_.store(end.position + end.size, std::memory_order_release);
  return {};
}

// The position of the first frame of a page, or kNoPosition where none begins.
Status SealedFile::first_position(std::uint64_t page, std::uint64_t& position) {
  std::uint8_t bytes[kSealedPageBytes];
  const std::uint64_t at = frames_at(page);
  const Result<std::size_t> got =
      file_->read_at(at, {bytes, static_cast<std::size_t>(page_end(at) - at)});
  if (!got.ok()) return got.status();
  format::Frame frame;
  std::size_t found = 0;
  position =
      find_frame(Bytes(bytes, *got), seal_.seed(), found, frame) ? frame.position : kNoPosition;
  return {};
}

// The last page whose first frame does not lie behind `position`. Pages hold about the same number
// of bytes, so that the first guess is most often right; damaged pages are passed over.
Status SealedFile::page_of(std::uint64_t position, std::uint64_t& page) {
  std::uint64_t low = 0, low_position = 0;
  std::uint64_t high_position = end_.load(std::memory_order_acquire);
  std::uint64_t high = page_at(file_end_.load(std::memory_order_relaxed) + kSealedPageBytes - 1);
  for (bool guess = true; high - low > 1; guess = !guess) {
    std::uint64_t middle = low + (high - low) / 2;
    if (guess && high_position > low_position && position >= low_position) {
      const auto share = static_cast<double>(position - low_position) /
                         static_cast<double>(high_position - low_position);
      middle = low + static_cast<std::uint64_t>(share * static_cast<double>(high - low));
      middle = std::clamp(middle, low + 1, high - 1);
    }
    std::uint64_t found = kNoPosition;
    std::uint64_t at = middle;
    while (found == kNoPosition && (at = hole_.pass(at)) < high) {
      Status status = first_position(at++, found);
      if (!status.ok()) return status;
    }
    at = std::min(at, high);
    if (!writable_) hole_.note(middle, found == kNoPosition ? at : at - 1);
    if (found == kNoPosition) {
      high = middle;  // nothing from there on: what is asked for can only stand before it
    } else if (found <= position) {
      low = at - 1;
      low_position = found;
    } else {
      high = middle;
      high_position = found;
    }
  }
  page = low;
  return {};
}

// Copies what `out`, which stands for the plain bytes from `offset` on, wants of a frame.
Status SealedFile::open_frame(const format::Frame& frame, Bytes at, std::uint64_t offset,
                              MutableBytes out, bool& forged) {
  std::uint8_t plain[kFramePayloadMax];
  const std::uint64_t first = std::max(frame.position, offset);
  const std::uint64_t last = std::min(frame.position + frame.size, offset + out.size());
  const bool whole = first == frame.position && last == frame.position + frame.size;
  std::uint8_t* to = out.data() + (first - offset);
  std::uint8_t* into = whole ? to : plain;
  switch (seal_.unseal(frame, at, into)) {
    case crypto::OpenOutcome::ok:
      if (!whole) {
        std::memcpy(to, plain + (first - frame.position), static_cast<std::size_t>(last - first));
      }
      break;
    case crypto::OpenOutcome::forged:
      forged = true;
      std::memset(to, 0, static_cast<std::size_t>(last - first));
      break;
    case crypto::OpenOutcome::failed:
      return no_memory_to_decrypt();
  }
  if (!whole) crypto::wipe(plain);
  return {};
}

// True when `frame` can be the one behind that with the counter `before`: no frame was put back
// from a write that failed and was done again.
bool follows(const format::Frame& frame, std::uint32_t before) noexcept {
  return frame.follows_failure ? frame.counter > before + 1 : frame.counter == before + 1;
}

// Short reads, where nothing is wrong: the pages that probably hold it are read with one call, and
// no frame is put through a checksum. False when it is not all there; `out` is anything then.
bool SealedFile::read_near(std::uint64_t offset, MutableBytes out) {
  const std::uint64_t last = offset + out.size();
  const std::uint64_t file_end = file_end_.load(std::memory_order_relaxed);
  const double share =
      static_cast<double>(offset) / static_cast<double>(end_.load(std::memory_order_relaxed));
  const auto guess = static_cast<std::uint64_t>(share * static_cast<double>(page_at(file_end) + 1));
  const std::uint64_t first = guess == 0 ? 0 : guess - 1;
  const std::size_t bytes = (out.size() / kFramePayloadMax + 4) * kSealedPageBytes;
  const std::unique_ptr<std::uint8_t[]> window(new (std::nothrow) std::uint8_t[bytes]);
  if (window == nullptr) return false;
  const std::uint64_t base = first * kSealedPageBytes;
  const Result<std::size_t> got = file_->read_at(base, {window.get(), bytes});
  if (!got.ok()) return false;
  const Bytes all(window.get(), *got);
  format::Frame frame;
  format::Frame before;
  for (std::uint64_t at = frames_at(first);
       peek_frame(all.sub(static_cast<std::size_t>(at - base)), frame);
       at = next_frame_at(at + format::frame_bytes(frame.size))) {
    const bool joins = before.size == 0 ? frame.position <= offset
                                        : frame.position == before.position + before.size &&
                                              follows(frame, before.counter);
    if (!joins) return false;
    before = frame;
    const std::uint64_t behind = frame.position + frame.size;
    if (behind <= offset) continue;
    bool forged = false;
    const Status status =
        open_frame(frame, all.sub(static_cast<std::size_t>(at - base)), offset, out, forged);
    if (!status.ok() || forged) return false;
    if (behind >= last) return true;
  }
  return false;
}

Result<std::size_t> SealedFile::read_at(std::uint64_t offset, MutableBytes out) {
  const std::uint64_t end = end_.load(std::memory_order_acquire);
  if (offset >= end || out.empty()) return std::size_t{0};
  const std::uint64_t last = std::min<std::uint64_t>(offset + out.size(), end);
  out = out.first(static_cast<std::size_t>(last - offset));
  if (out.size() <= kNearBytes && read_near(offset, out)) return out.size();
  // Where no whole frame stands there are zeros.
  std::memset(out.data(), 0, out.size());
  std::uint64_t page = 0;
  Status status = page_of(offset, page);
  if (!status.ok()) return status;
  // Long reads see whether the first frame fits to the one before it, too.
  if (page != 0 && out.size() >= kWindowBytes) --page;
  Walk walk(*this, page, file_end_.load(std::memory_order_relaxed));
  walk.expect(out.size() / kFramePayloadMax + 2);
  format::Frame before;
  std::uint64_t done = offset;
  while (done < last && walk.next()) {
    const format::Frame frame = walk.frame;
    if (frame.position >= last) break;
    if (before.size != 0 && before.position + before.size == frame.position &&
        !follows(frame, before.counter)) {
      // One of the two is from a write that was given up; which one, nobody can tell.
      keys_.note_forged();
      const std::uint64_t from = std::max(before.position, offset);
      std::memset(out.data() + (from - offset), 0, static_cast<std::size_t>(last - from));
      break;
    }
    before = frame;
    // Overlapping what was read already it can only have been put there.
    if (frame.position + frame.size <= done || (frame.position < done && done != offset)) continue;
    bool forged = false;
    status = open_frame(frame, walk.bytes, offset, out, forged);
    if (!status.ok()) return status;
    if (forged) keys_.note_forged();
    done = std::min(frame.position + frame.size, last);
  }
  if (!walk.status.ok()) return std::move(walk.status);
  return out.size();
}

// ---- The file system ----

class SealedFileSystem final : public FileSystem {
 public:
  SealedFileSystem(FileSystem& files, const Keyring& keys) : files_(files), keys_(keys) {}

  Result<Owned<File>> open(const std::string& path, OpenMode mode) override;
  Result<FileInfo> info(const std::string& path) override { return files_.info(path); }
  Status list(const std::string& path,
              FunctionRef<void(std::string_view name, FileKind kind)> visit) override {
    return files_.list(path, visit);
  }
  Status create_directory(const std::string& path) override {
    return files_.create_directory(path);
  }
  Status remove(const std::string& path) override { return files_.remove(path); }
  Status rename(const std::string& from, const std::string& to) override {
    return files_.rename(from, to);
  }
  Status sync_directory(const std::string& path) override { return files_.sync_directory(path); }
  Result<Owned<FileLock>> lock(const std::string& path, LockMode mode) override {
    return files_.lock(path, mode);
  }

 private:
  static bool passes(std::string_view path) noexcept;

  FileSystem& files_;
  const Keyring& keys_;
};

// Nothing in these tells about data, or they are sealed by those who write them, piece by piece.
bool SealedFileSystem::passes(std::string_view path) noexcept {
  std::string_view name = path.substr(path.find_last_of('/') + 1);
  if (name.ends_with(".tmp")) name.remove_suffix(4);
  return name == format::kReserveName || name == format::kSlotsName || name == format::kTailName ||
         format::parse_file_name(name).role == format::FileRole::failed;
}

Result<Owned<File>> SealedFileSystem::open(const std::string& path, OpenMode mode) {
  Result<Owned<File>> file = files_.open(path, mode);
  if (!file.ok() || passes(path)) return file;
  auto* sealed = new (std::nothrow) SealedFile(std::move(*file), keys_, mode);
  if (sealed == nullptr) return base::out_of_memory("no memory to open a file");
  Owned<File> owned(sealed);
  Status status = mode == OpenMode::create_new ? Status() : sealed->open();
  if (!status.ok()) return std::move(status).at(path);
  return owned;
}

}  // namespace

Owned<FileSystem> make_sealed_file_system(FileSystem& files, const Keyring& keys) {
  return Owned<FileSystem>(new (std::nothrow) SealedFileSystem(files, keys));
}

std::uint32_t sealed_key_id(const File& file) noexcept {
  return static_cast<const SealedFile&>(file).key_id();
}

}  // namespace armdb::store

#endif  // ARMDB_WITH_OPENSSL

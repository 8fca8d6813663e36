// Segments: identity and mapping, sequential scans, and finding the next entry behind damage.
#include "store/segment.hpp"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/errors.hpp"
#include "base/little.hpp"
#include "base/search.hpp"

namespace armdb::store {

namespace {

// How many bytes resync() may put through a checksum per byte of the segment. Behind damage a
// crafted file could offer a plausible header every 8 bytes, each claiming all that follows.
constexpr std::uint64_t kResyncEffort = 16;

}  // namespace

MappedRegion* MappedRegion::make(Owned<Mapping> mapping) noexcept {
  auto* region = new (std::nothrow) MappedRegion;
  if (region == nullptr) return nullptr;
  region->mapping = std::move(mapping);
  region->destroy = [](detail::Shared* self) noexcept { delete static_cast<MappedRegion*>(self); };
  return region;
}

Segment::Segment(std::string path_in, const format::SegmentHeader& header_in, Owned<File> file_in)
    : header(header_in),
      seed(format::entry_seed(header_in)),
      path(std::move(path_in)),
      file(std::move(file_in)),
      first_sequence(header_in.first_sequence) {}

Segment::~Segment() {
  if (region != nullptr) detail::unshare(region);
}

void Segment::map(std::uint64_t bytes, std::uint64_t usable) {
  if constexpr (sizeof(void*) < 8) return;
  Result<Owned<Mapping>> mapping = file->map(static_cast<std::size_t>(bytes), MapMode::read);
  if (mapping.ok()) region = MappedRegion::make(std::move(*mapping));
  if (region != nullptr) mapped = usable;
}

format::ManifestSegment Segment::manifest_record() const {
  format::ManifestSegment record;
  record.file_id = id();
  record.kind = header.kind;
  record.durable = durable;
  record.length = length;
  record.first_sequence = first_sequence;
  record.last_sequence = last_sequence;
  record.count = count;
  record.salt = header.salt;
  return record;
}

SegmentScanner::SegmentScanner(const Segment& segment, std::uint64_t offset_in, std::uint64_t limit)
    : segment_(segment),
      position_(offset_in),
      limit_(limit),
      effort_(kResyncEffort * (limit > offset_in ? limit - offset_in : 0)) {}

Bytes SegmentScanner::window() const noexcept {
  if (position_ < buffer_at_ || position_ >= buffer_at_ + buffer_size_) return {};
  const auto skip = static_cast<std::size_t>(position_ - buffer_at_);
  return {buffer_.get() + skip, buffer_size_ - skip};
}

bool SegmentScanner::fill(std::size_t need) {
  const std::uint64_t left = limit_ > position_ ? limit_ - position_ : 0;
  if (window().size() >= std::min<std::uint64_t>(need, left)) return true;
  const auto want =
      static_cast<std::size_t>(std::min<std::uint64_t>(std::max(need, segment_.scan_bytes), left));
  if (want > capacity_) {
    buffer_.reset(new (std::nothrow) std::uint8_t[want]);
    capacity_ = buffer_ == nullptr ? 0 : want;
    buffer_size_ = 0;
    if (buffer_ == nullptr) {
      status = base::out_of_memory("no memory to scan a segment").at(segment_.path);
      return false;
    }
  }
  Result<std::size_t> got = segment_.file->read_at(position_, {buffer_.get(), want});
  if (!got.ok()) {
    status = std::move(got).status().at(segment_.path, position_);
    return false;
  }
  buffer_at_ = position_;
  buffer_size_ = *got;
  if (*got < want) limit_ = position_ + *got;  // the file ends here
  return true;
}

ScanStep SegmentScanner::next() {
  offset = position_;
  if (position_ >= limit_) return ScanStep::end;
  if (!fill(format::kEntryHeaderBytes)) return ScanStep::failed;
  format::EntryRead read = format::decode_entry(window(), segment_.seed, entry, size);
  if (read == format::EntryRead::torn) {
    std::uint64_t bytes = 0;
    if (format::peek_entry_bytes(window(), bytes) && bytes <= limit_ - position_ &&
        bytes > window().size()) {
      if (!fill(static_cast<std::size_t>(bytes))) return ScanStep::failed;
      read = format::decode_entry(window(), segment_.seed, entry, size);
    }
  }
  if (read == format::EntryRead::whole) {
    position_ += size;
    return ScanStep::entry;
  }
  return only_zeros_left() ? ScanStep::end : (status.ok() ? ScanStep::broken : ScanStep::failed);
}

bool SegmentScanner::only_zeros_left() {
  const std::uint64_t keep = position_;
  bool zeros = true;
  while (zeros && position_ < limit_) {
    if (!fill(1)) {
      zeros = false;
      break;
    }
    const Bytes bytes = window();
    if (bytes.empty()) break;
    const auto take =
        static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), limit_ - position_));
    zeros = base::all_zeros(bytes.sub(0, take));
    position_ += take;
  }
  position_ = keep;
  return zeros;
}

ScanStep SegmentScanner::resync(std::uint64_t sequence_min, std::uint64_t sequence_max,
                                std::size_t key_size) {
  for (position_ = offset + 8; position_ < limit_; position_ += 8) {
    if (!fill(format::kEntryHeaderBytes)) return ScanStep::failed;
    const Bytes bytes = window();
    if (bytes.size() < format::kEntryHeaderBytes) break;
    // Cheap looks first: the sizes and the sequence must be such as stand in this segment.
    std::uint64_t need = 0;
    if (!format::peek_entry_bytes(bytes, need) || need > limit_ - position_) continue;
    const auto key_bytes = base::load_little<std::uint16_t>(bytes.data() + 6);
    const auto sequence = base::load_little<std::uint64_t>(bytes.data() + 12);
    if (key_bytes != 0 && key_bytes != key_size) continue;
    if (key_bytes != 0 && (sequence <= sequence_min || sequence > sequence_max)) continue;
    if (need > effort_) return ScanStep::end;
    effort_ -= need;
    if (!fill(static_cast<std::size_t>(need))) return ScanStep::failed;
    if (format::decode_entry(window(), segment_.seed, entry, size) == format::EntryRead::whole) {
      offset = position_;
      position_ += size;
      return ScanStep::entry;
    }
  }
  offset = limit_;
  position_ = limit_;
  return ScanStep::end;
}

}  // namespace armdb::store

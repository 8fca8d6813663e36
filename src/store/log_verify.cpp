// Verifying a segment: every entry's checksum, and that nothing else stands between them.
#include "base/errors.hpp"
#include "base/log.hpp"
#include "store/log_store.hpp"

namespace armdb::store {

Status verify_segment(const StoreContext& context, const Segment& segment, VerifyReport& report) {
  const std::uint64_t length = segment.readable.load(std::memory_order_acquire);
  SegmentScanner scanner(segment, format::kSegmentHeaderBytes, length);
  ++report.segments;
  report.bytes += length;
  ScanStep step = scanner.next();
  for (;; step = scanner.next()) {
    if (step == ScanStep::broken) {
      ++report.damaged_regions;
      base::log(context.config.log, LogLevel::error,
                base::corrupt("these bytes are no entry; repair copies what is whole")
                    .at(segment.path, scanner.offset)
                    .message());
      step = scanner.resync(0, format::kSequenceMax, context.shape.key_size);
    }
    if (step != ScanStep::entry) break;
    if (!scanner.entry.mark()) ++report.entries;
  }
  if (step == ScanStep::failed) return scanner.status;
  if (scanner.position() < length && step == ScanStep::end) {
    ++report.damaged_regions;
    base::log(context.config.log, LogLevel::error,
              base::corrupt("the segment is shorter than what was written to it")
                  .at(segment.path, scanner.position())
                  .message());
  }
  return {};
}

Status visit_segment(const Segment& segment, FunctionRef<Status(const RecoveredEntry&)> visit) {
  SegmentScanner scanner(segment, format::kSegmentHeaderBytes,
                         segment.readable.load(std::memory_order_acquire));
  ScanStep step = scanner.next();
  for (; step == ScanStep::entry; step = scanner.next()) {
    const format::Entry& entry = scanner.entry;
    if (entry.mark()) continue;
    Status status =
        visit({entry.key, entry.value, entry.tombstone(), entry.sequence, entry.expiry_ms,
               base::Location(segment.id(), scanner.offset, scanner.size)});
    if (!status.ok()) return status;
  }
  if (step == ScanStep::end) return {};
  if (step == ScanStep::failed) return scanner.status;
  return base::corrupt("these bytes are no entry; run repair").at(segment.path, scanner.offset);
}

}  // namespace armdb::store

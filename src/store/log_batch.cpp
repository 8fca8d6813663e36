// Batches: entries that count whole or not at all, in one shard or, with a joint mark, in several.
//
// A batch never spans segments. One that fits into the write buffer is only copied there; a longer
// one is written to the file with one call, before anything of it is accepted.
#include <new>

#include "base/errors.hpp"
#include "store/log_store.hpp"

namespace armdb::store {

// The entries of a batch as they go to the log, its first one under `sequence`.
void LogStore::each_of(const Batch& batch, std::uint64_t sequence,
                       FunctionRef<void(const format::Entry&, std::size_t bytes)> take) {
  format::Entry entry;
  if (!batch.mark.empty()) {
    entry.flags = format::kJoint;
    entry.sequence = sequence;
    entry.value = Bytes(batch.mark);
    take(entry, static_cast<std::size_t>(format::entry_bytes(0, entry.value.size(), false)));
  }
  // One entry alone is whole by itself.
  const bool marked = batch.count > 1 || !batch.mark.empty();
  for (std::size_t at = 0; at < batch.count; ++at) {
    const Write write = batch.write(batch.writes, at);
    unsigned flags = write.tombstone ? format::kTombstone : 0;
    if (write.expiry_ms != 0) flags |= format::kExpiry;
    if (marked && at == 0) flags |= format::kBatchBegin;
    if (marked && at + 1 == batch.count) flags |= format::kBatchCommit;
    entry.flags = static_cast<std::uint8_t>(flags);
    entry.key = write.key;
    entry.value = write.value;
    entry.expiry_ms = write.expiry_ms;
    entry.sequence = sequence + at;
    take(entry, static_cast<std::size_t>(format::entry_bytes(write.key.size(), write.value.size(),
                                                             write.expiry_ms != 0)));
  }
}

Status LogStore::prepare_batch(Batch& batch) {
  constexpr std::uint64_t kBatchBytesMax = std::uint64_t{1} << 30;
  batch.bytes = 0;
  batch.mark.resize(batch.parts.size() * format::kJointPartBytes);
  for (std::size_t at = 0; at < batch.parts.size(); ++at) {
    const JointPart& part = batch.parts[at];
    format::encode_joint_part({part.shard, part.last_sequence},
                              batch.mark.data() + at * format::kJointPartBytes);
  }
  each_of(batch, 0, [&](const format::Entry&, std::size_t bytes) { batch.bytes += bytes; });
  if (batch.bytes > kBatchBytesMax) {
    return Status(Errc::too_large, "a batch can have 1 GiB in one shard at most");
  }
  Status status = make_room(batch.bytes, false);
  if (!status.ok()) return status;
  // A batch longer than a segment of this configuration is in one of its own, whose file outgrows
  // its mapping.
  if (tail_.next_offset() + batch.bytes > context_.config.max_file_size) active_->mapped = 0;
  if (batch.bytes <= tail_.room()) return {};
  status = flush();
  if (!status.ok()) return status;
  batch.image.reset(new (std::nothrow) std::uint8_t[static_cast<std::size_t>(batch.bytes)]);
  if (batch.image == nullptr) return base::out_of_memory("no memory to write a batch");
  std::uint8_t* to = batch.image.get();
  each_of(batch, sequence_next_, [&](const format::Entry& entry, std::size_t bytes) {
    format::encode_entry(entry, active_->seed, to);
    to += bytes;
  });
  return write_behind({batch.image.get(), static_cast<std::size_t>(batch.bytes)});
}

void LogStore::accept_batch(Batch& batch, FunctionRef<void(std::size_t, base::Location)> accepted) {
  std::uint64_t offset = tail_.next_offset();
  std::size_t count = 0;
  if (batch.image != nullptr) accept_behind(batch.bytes);
  each_of(batch, sequence_next_, [&](const format::Entry& entry, std::size_t bytes) {
    const base::Location at(active_->id(), offset, bytes);
    if (batch.image == nullptr) tail_.append(entry, active_->seed, bytes);
    offset += bytes;
    if (entry.mark()) return;
    account(*active_, entry, at);
    if (hint_ != nullptr) hint_->add(entry, at.offset());
    accepted(count++, at);
  });
  sequence_next_ += count;
  last_sequence_ = sequence_next_ - 1;
  tail_.seal();
}

// What is in the buffer was never accepted; what is in the file has to go, or it would stand
// where the next entry belongs. Durably so, while the other shards cannot go on: a power cut could
// bring this part back when they have passed the sequences that it names as theirs.
void LogStore::abandon_batch(Batch& batch) noexcept {
  if (batch.image == nullptr) return;
  batch.image.reset();
  Status status = active_->file->truncate(active_->length);
  if (status.ok()) status = active_->file->sync();
  if (!status.ok()) {
    static_cast<void>(poison_active(std::move(status)));
    return;
  }
  active_->allocated = active_->length;
  set_put_limit();
}

}  // namespace armdb::store

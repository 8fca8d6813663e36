// db.replica: written and judged as a whole.
#include "format/replica_state.hpp"

#include <algorithm>
#include <utility>

#include "base/byte_writer.hpp"
#include "base/check.hpp"
#include "base/crc32c.hpp"
#include "base/errors.hpp"
#include "base/search.hpp"
#include "format/entry.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::format {
namespace {

constexpr std::size_t kReplicaFixedBytes = 72;

constexpr std::size_t replica_bytes(std::size_t terms, std::size_t shards) noexcept {
  return kReplicaFixedBytes + terms * (16 + 8 * shards) + (shards + 7) / 8 * 8 + 8;
}

// Numbers grow. A start may be below the one before it: what a crash took was counted in that one.
bool terms_possible(std::span<const Term> terms) noexcept {
  for (std::size_t at = 0; at < terms.size(); ++at) {
    if (terms[at].number == 0 || (at != 0 && terms[at].number <= terms[at - 1].number)) {
      return false;
    }
    for (const std::uint64_t start : terms[at].starts) {
      if (start > kSequenceMax) return false;
    }
  }
  return true;
}

}  // namespace

void append_terms(std::vector<std::uint8_t>& out, std::span<const Term> terms) {
  for (const Term& term : terms) {
    append_little<std::uint64_t>(out, term.number);
    append_little<std::uint64_t>(out, term.id);
    for (const std::uint64_t start : term.starts) append_little<std::uint64_t>(out, start);
  }
}

bool take_terms(base::ByteReader& reader, std::size_t count, std::size_t shards,
                std::vector<Term>& terms) {
  terms.clear();
  // Judged before anything is allocated for what it claims to hold.
  if (count > kTermsMax || shards > kReplicaShardsMax ||
      reader.remaining() < count * (16 + 8 * shards)) {
    return false;
  }
  terms.resize(count);
  for (Term& term : terms) {
    term.number = reader.little<std::uint64_t>();
    term.id = reader.little<std::uint64_t>();
    term.starts.resize(shards);
    for (std::uint64_t& start : term.starts) start = reader.little<std::uint64_t>();
  }
  return !reader.failed() && terms_possible(terms);
}

std::vector<std::uint8_t> encode_replica_state(const ReplicaState& state) {
  ARMDB_ASSERT(state.terms.size() <= kTermsMax && terms_possible(state.terms));
  std::vector<std::uint8_t> out(kFileHeaderBytes);
  encode_file_header({.type = FileType::replica, .version = 1, .store_id = state.store_id}, out);
  out.insert(out.end(), state.lineage.begin(), state.lineage.end());
  append_little<std::uint32_t>(out, state.follower ? 1 : 0);
  append_little<std::uint32_t>(out, static_cast<std::uint32_t>(state.replacing.size()));
  append_little<std::uint32_t>(out, static_cast<std::uint32_t>(state.terms.size()));
  append_little<std::uint32_t>(out, 0);
  append_terms(out, state.terms);
  out.insert(out.end(), state.replacing.begin(), state.replacing.end());
  out.resize((out.size() + 7) / 8 * 8);
  append_little<std::uint32_t>(out, base::crc32c(0, out));
  append_little<std::uint32_t>(out, 0);
  return out;
}

Status decode_replica_state(Bytes in, ReplicaState& state) {
  FileHeader header;
  if (Status status = decode_file_header(in, FileType::replica, header); !status) return status;
  base::ByteReader reader(in.sub(kFileHeaderBytes));
  ReplicaState read;
  read.store_id = header.store_id;
  const Bytes lineage = reader.take(read.lineage.size());
  std::copy(lineage.begin(), lineage.end(), read.lineage.begin());
  const auto role = reader.little<std::uint32_t>();
  const auto shards = reader.little<std::uint32_t>();
  const auto count = reader.little<std::uint32_t>();
  const auto reserved = reader.little<std::uint32_t>();
  if (reader.failed() || shards == 0 || shards > kReplicaShardsMax || count > kTermsMax ||
      in.size() != replica_bytes(count, shards)) {
    return base::corrupt("the size of db.replica does not match its counts");
  }
  const std::uint32_t crc_computed = base::crc32c(0, in.sub(0, in.size() - 8));
  if (base::load_little<std::uint32_t>(in.data() + in.size() - 8) != crc_computed) {
    return base::corrupt("the checksum of db.replica is wrong");
  }
  const bool listed = take_terms(reader, count, shards, read.terms);
  const Bytes replacing = reader.take(shards);
  read.replacing.assign(replacing.begin(), replacing.end());
  const bool flags = std::all_of(replacing.begin(), replacing.end(),
                                 [](std::uint8_t flag) { return flag <= kHoles; });
  const Bytes padding = reader.take(reader.remaining() - 8);
  reader.skip(4);  // the checksum
  const bool zeros =
      base::all_zeros(padding) && reserved == 0 && reader.little<std::uint32_t>() == 0;
  if (!listed || !flags || role > 1 || !zeros || header.shard != 0 || header.file_id != 0) {
    return base::corrupt("db.replica has a history that cannot be");
  }
  read.follower = role == 1;
  state = std::move(read);
  return {};
}

}  // namespace armdb::format

#endif  // !ARMDB_OMIT_REPLICATION

// Comparing histories, and beginning a new term.
#include "replica/history.hpp"

#include <algorithm>

#include "base/little.hpp"
#include "os/entropy.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::replica {

namespace {

// A promotion counts above any number of starts.
constexpr std::uint64_t kPromotion = std::uint64_t{1} << 32;

bool same_term(const format::Term& a, const format::Term& b) noexcept {
  return a.number == b.number && a.id == b.id;
}

// Where the term at `at` ends in this list: where any later one begins. That need not be the next
// one: a follower that is promoted before it has caught up begins its term below the start of one
// that it had only heard of.
std::uint64_t end_of(std::span<const format::Term> terms, std::size_t at,
                     std::size_t shard) noexcept {
  std::uint64_t end = kAllCommon;
  for (const format::Term& later : terms.subspan(at + 1)) end = std::min(end, later.starts[shard]);
  return end;
}

}  // namespace

std::uint64_t common_end(std::span<const format::Term> a, std::span<const format::Term> b,
                         std::size_t shard) noexcept {
  for (std::size_t at = a.size(); at-- != 0;) {
    for (std::size_t of = b.size(); of-- != 0;) {
      if (same_term(a[at], b[of])) return std::min(end_of(a, at, shard), end_of(b, of, shard));
    }
  }
  return 0;
}

void begin_term(format::ReplicaState& state, std::span<const std::uint64_t> lasts, bool promoted,
                std::uint64_t id) {
  format::Term term;
  const std::uint64_t last = state.terms.empty() ? 0 : state.terms.back().number;
  term.number = promoted ? (last / kPromotion + 1) * kPromotion : last + 1;
  term.id = id;
  term.starts.assign(lasts.begin(), lasts.end());
  // A term in which nothing was written, here or by anybody who heard of it, need not be kept; who
  // stood in it gets a copy.
  if (state.terms.size() == format::kTermsMax) state.terms.erase(state.terms.begin());
  state.terms.push_back(std::move(term));
  state.follower = false;
}

format::Hello hello_of(const engine::Engine& engine, const store::ReplicaState& state) {
  const engine::Engine::Origin origin = engine.origin();
  format::Hello hello;
  hello.lineage = state.lineage;
  hello.self = state.store_id;
  hello.shape = origin.shape;
  hello.shard_prefix_bits = origin.shard_prefix_bits;
  hello.hash_seed = origin.hash_seed;
  hello.terms = state.terms;
  for (std::uint32_t at = 0; at < engine.shard_count(); ++at) {
    hello.sequences.push_back(engine.position(at));
  }
  hello.replace = state.replacing;
  return hello;
}

Status enter_term(engine::Engine& engine, format::ReplicaState state, bool promoted) {
  const std::vector<std::uint64_t> starts = engine.term_starts();
  std::uint8_t random[8];
  Status status = os::random_bytes(random);
  if (!status.ok()) return status;
  begin_term(state, starts, promoted, base::load_little<std::uint64_t>(random));
  return engine.save_replica_state(std::move(state));
}

Standing judge_leader(std::span<const format::Term> own,
                      std::span<const format::Term> theirs) noexcept {
  if (own.empty()) return Standing::good;
  if (theirs.empty() || theirs.back().number < own.back().number) return Standing::stale;
  const bool same_number = theirs.back().number == own.back().number;
  return same_number && theirs.back().id != own.back().id ? Standing::rival : Standing::good;
}

}  // namespace armdb::replica

#endif  // !ARMDB_OMIT_REPLICATION

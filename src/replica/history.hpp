// Histories: which part of what two stores have was written by the same leaders.
//
// As in Kafka's KIP-101: each term begins at a sequence per shard; two lists of terms agree up to
// the last term they share, and that one's entries up to where the next one began, on either side.
#pragma once

#include <cstdint>
#include <span>

#include "engine/engine.hpp"
#include "format/frame.hpp"

#if !defined(ARMDB_OMIT_REPLICATION)

namespace armdb::replica {

// The last sequence of `shard` that both have in common; kAllCommon when neither list ends it.
inline constexpr std::uint64_t kAllCommon = ~std::uint64_t{0};
[[nodiscard]] std::uint64_t common_end(std::span<const format::Term> a,
                                       std::span<const format::Term> b, std::size_t shard) noexcept;

// Adds a term that begins behind `lasts`: a leader's next start, or one above all that any other
// leader could reach by starting when it is `promoted`.
void begin_term(format::ReplicaState& state, std::span<const std::uint64_t> lasts, bool promoted,
                std::uint64_t id);

// The same from where the shards are now, with an id drawn for it; durable when it returns ok.
Status enter_term(engine::Engine& engine, format::ReplicaState state, bool promoted);

// What either side says of itself first, but for the name.
[[nodiscard]] format::Hello hello_of(const engine::Engine& engine,
                                     const format::ReplicaState& state);

// How a follower that has seen `own` takes a leader with `theirs`.
enum class Standing : std::uint8_t { good, stale, rival };
[[nodiscard]] Standing judge_leader(std::span<const format::Term> own,
                                    std::span<const format::Term> theirs) noexcept;

}  // namespace armdb::replica

#endif  // !ARMDB_OMIT_REPLICATION
